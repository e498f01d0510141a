//! Rejects of one key: a batch may have several bad lines about it, and good
//! ones beside them. They are one dead letter, which has the bytes of all.

use std::collections::{BTreeMap, HashSet};

use crate::domain::key::KeyHash;
use crate::error::Result;
use crate::planning::plan_file::Plan;
use crate::planning::rejects::Reject;

/// Bytes of such rejects that are held. What is more is left out, and the dead
/// letters say so.
const MOST: usize = 64 << 20;

/// Hands out the rejects of a plan, those of one key as one: the first of them,
/// with the contents of all, a line behind the other.
pub fn merged(plan: &Plan, mut each: impl FnMut(Reject) -> Result<()>) -> Result<()> {
    if plan.manifest().reject_count < 2 {
        return plan.rejects(each);
    }
    let (mut once, mut again) = (HashSet::new(), HashSet::new());
    plan.rejects(|reject| {
        if let Some(hash) = reject.key.as_ref().map(|key| key.hash())
            && !once.insert(hash)
        {
            again.insert(hash);
        }
        Ok(())
    })?;
    drop(once);
    let mut held = 0;
    let mut waiting: BTreeMap<KeyHash, Reject> = BTreeMap::new();
    plan.rejects(|reject| {
        let hash = reject.key.as_ref().map(|key| key.hash()).filter(|hash| again.contains(hash));
        let Some(hash) = hash else { return each(reject) };
        let room = held + reject.content.len() <= MOST;
        match waiting.get_mut(&hash) {
            Some(first) if !room => first.cut = true,
            Some(first) => {
                held += reject.content.len() + 1;
                first.content.push(b'\n');
                first.content.extend_from_slice(&reject.content);
                first.cut |= reject.cut;
            }
            // What is handed out now is a letter that the next one adds to.
            None if !room => return each(Reject { cut: true, ..reject }),
            None => {
                held += reject.content.len();
                waiting.insert(hash, reject);
            }
        }
        Ok(())
    })?;
    waiting.into_values().try_for_each(each)
}
