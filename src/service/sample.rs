//! Whether a target still has what was published to it, by a look at a few
//! entities of each source: one that acknowledges what it does not store, or
//! from which somebody deletes, keeps its identity.

use super::engine::{Engine, OpenTarget};
use crate::domain::ids::{SourceId, TargetName};
use crate::domain::key::{Key, KeyHash};
use crate::domain::publish_state::PublishStatus;
use crate::error::Result;
use crate::planning::snapshot::{Found, Snapshot};
use crate::planning::view::Reader;

/// Entities that are looked at of the layer that holds what changed last, and
/// of the base.
const OF_A_LAYER: u32 = 20;

/// What a look at entities of a source found.
pub(super) struct Sampled {
    /// The source.
    pub source: SourceId,
    /// How many were looked at.
    pub looked_at: usize,
    /// How many of them the target does not have.
    pub lost: usize,
    /// The first of these.
    pub first: Option<Key>,
}

impl Engine {
    /// Reads a few entities of each source that publishes to a target.
    ///
    /// # Errors
    /// Those of the snapshots, and of the target.
    pub(super) fn sample(&self, name: &TargetName, open: &OpenTarget) -> Result<Vec<Sampled>> {
        let mut found = Vec::new();
        for snapshot in self.current(name)? {
            let source = &snapshot.manifest().source_id;
            // While a plan is executed the target is ahead of what is stored.
            let unfinished = self.store.read(|view| view.unfinished(source))?;
            if unfinished.iter().any(|batch| batch.status == PublishStatus::Executing) {
                continue;
            }
            let keys = some(&snapshot)?;
            let held = open.target.read(&keys)?;
            let mut lost =
                keys.iter().zip(&held).filter(|(_, held)| held.as_ref().is_none_or(|held| held.archived));
            let first = lost.next().map(|(key, _)| key.clone());
            found.push(Sampled {
                source: source.clone(),
                looked_at: keys.len(),
                lost: lost.count() + usize::from(first.is_some()),
                first,
            });
        }
        Ok(found)
    }
}

/// Live entities of the newest layer and of the base, all over them, but for
/// those of which nobody knows whether they are there.
fn some(snapshot: &Snapshot) -> Result<Vec<Key>> {
    let mut reader = Reader::new()?;
    let unsure: Vec<KeyHash> = snapshot.manifest().unsure.iter().map(Key::hash).collect();
    let mut layers = vec![0, snapshot.layers().saturating_sub(1)];
    layers.dedup();
    let mut keys = Vec::new();
    for index in layers.into_iter().filter(|index| *index < snapshot.layers()) {
        let layer = snapshot.layer(index);
        let entities = layer.entities(&mut reader.scratch)?;
        let step = entities.div_ceil(OF_A_LAYER).max(1);
        for number in (0..entities).step_by(step as usize) {
            let entry = layer.get(number, &mut reader.scratch)?;
            let hidden = snapshot.is_hidden(index, entry.key, &mut reader.scratch)?;
            if !entry.is_live() || hidden || unsure.contains(&entry.key) {
                continue;
            }
            let found = Found { layer: index, number, entry };
            keys.push(snapshot.body(&found, &mut reader.bodies)?.body()?.key());
        }
    }
    Ok(keys)
}
