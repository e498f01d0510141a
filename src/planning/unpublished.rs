//! Of which keys a full batch says nothing, because their change was not
//! published (`SEMANTICS` 2, "exceptions").

use super::format::layer::{CacheBudget, Layer, Scratch};
use super::next::PlanOutcome;
use super::plan_file::Plan;
use super::snapshot::Snapshot;
use super::state_dir::StateDir;
use crate::domain::key::Key;
use crate::error::Result;

/// The refused keys of a plan whose assertion by its batch was not published.
///
/// Not one that the source did not assert before, and that the batch is silent
/// about: its absence is what was published before. What was refused then was
/// to bring another source's value, or to take away what perhaps had come to
/// the target.
pub fn keys(
    state: &StateDir,
    plan: &Plan,
    own: Option<&Snapshot>,
    outcome: &PlanOutcome,
) -> Result<Vec<Key>> {
    let manifest = plan.manifest();
    if outcome.failed.is_empty() {
        return Ok(Vec::new());
    }
    let path = state.layer_path(&manifest.header.source_id, &manifest.layer.file);
    let layer = Layer::open(&path, &CacheBudget::new(1 << 20))?;
    let mut scratch = Scratch::default();
    let mut keys = Vec::new();
    for (hash, key) in &outcome.failed {
        let in_layer = layer.lookup(*hash, &mut scratch)?.is_some();
        let asserted = match own {
            Some(own) if !in_layer => own.live(*hash, &mut scratch)?.is_some(),
            Some(_) | None => in_layer,
        };
        if asserted {
            keys.push(key.clone());
        }
    }
    keys.sort();
    Ok(keys)
}
