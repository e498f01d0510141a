//! Of which keys a full batch says nothing, because their change was not
//! published (`SEMANTICS` 2, "exceptions").

use super::next::PlanOutcome;
use super::of_batch::OfBatch;
use super::plan_file::Plan;
use super::state_dir::StateDir;
use crate::domain::key::Key;
use crate::error::Result;

/// The refused keys of a plan whose assertion by its batch was not published.
///
/// Not one of which the batch says what was published before, be that a value
/// or its absence: the plan's layer has nothing of it by the batch. What was refused then was to bring
/// it to the target, another source's value of it, or to take away what perhaps
/// had come there; the key is unsure.
pub fn keys(state: &StateDir, plan: &Plan, outcome: &PlanOutcome) -> Result<Vec<Key>> {
    let manifest = plan.manifest();
    if outcome.failed.is_empty() {
        return Ok(Vec::new());
    }
    let mut said = OfBatch::open(state, manifest)?;
    let mut keys = Vec::new();
    for (hash, key) in &outcome.failed {
        if said.entry(*hash)?.is_some() {
            keys.push(key.clone());
        }
    }
    keys.sort();
    Ok(keys)
}
