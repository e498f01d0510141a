//! Which keys are unsure after a plan that was not published as a whole: what
//! the snapshots say of them together is not what the target holds.
//!
//! A change of the source's own that was not published is no such key: the
//! snapshot keeps the old value, and the next diff finds it again.

use super::bodies::Bodies;
use super::format::layer::{CacheBudget, Layer, Scratch};
use super::next::PlanOutcome;
use super::plan_file::{Plan, PlannedChange, PlannedValue};
use super::snapshot::{Snapshot, SnapshotManifest};
use super::state_dir::StateDir;
use crate::domain::change::Action;
use crate::domain::key::{Key, KeyHash, Kind};
use crate::error::Result;

/// The keys that a plan leaves unsure. `next` has the layers of the snapshot
/// that follows it.
pub fn keys(
    state: &StateDir,
    plan: &Plan,
    own: Option<&Snapshot>,
    outcome: &PlanOutcome,
    next: &SnapshotManifest,
) -> Result<Vec<Key>> {
    let manifest = plan.manifest();
    let layer_path = state.layer_path(&manifest.header.source_id, &manifest.layer.file);
    let mut finding = Finding {
        own,
        layer: Layer::open(&layer_path, &CacheBudget::new(16 << 20))?,
        scratch: Scratch::default(),
        outcome,
        // The merged values of all keys were to change, not of those alone
        // that the source changed.
        merge_changed: own.is_some_and(|own| own.manifest().precedence != manifest.precedence),
    };
    let mut bodies = Bodies::new()?;
    let mut keys = Vec::new();
    let mut stayed = Vec::new();
    plan.changes(|change| {
        if finding.is_unsure(&change)? {
            keys.push(key_of(plan, &change, &mut bodies)?);
        }
        let failed = outcome.failed.contains_key(&change.hash);
        if change.hash.kind() == Kind::Entity && change.action == Action::Delete && failed {
            stayed.push(change.hash);
        }
        Ok(())
    })?;
    if !stayed.is_empty() {
        // What was to wait for an end that should have gone does not wait,
        // whoever asserts it.
        let budget = CacheBudget::new(16 << 20);
        let header = &manifest.header;
        let mut snapshots = vec![Snapshot::from_manifest(state, next.clone(), &budget)?];
        for (source, id) in header.bases.iter().filter(|(source, _)| **source != header.source_id) {
            snapshots.push(Snapshot::open(state, source, &header.target, id, &budget)?);
        }
        for (snapshot, entity) in snapshots.iter().flat_map(|s| stayed.iter().map(move |e| (s, *e))) {
            for (found, _) in snapshot.relationships_of(entity, &mut finding.scratch, &mut bodies)? {
                keys.push(snapshot.body(&found, &mut bodies)?.body()?.key());
            }
        }
    }
    Ok(keys)
}

struct Finding<'a> {
    own: Option<&'a Snapshot>,
    layer: Layer,
    scratch: Scratch,
    outcome: &'a PlanOutcome,
    merge_changed: bool,
}

impl Finding<'_> {
    fn is_unsure(&mut self, change: &PlannedChange) -> Result<bool> {
        let hash = change.hash;
        // An end came or went: that may have been for nothing, or not be so yet.
        if change.moved {
            return Ok(true);
        }
        let failed = self.outcome.failed.contains_key(&hash);
        let done = if self.outcome.complete { !failed } else { self.outcome.done.contains(&hash) };
        if done {
            // Done by a precedence that the snapshot does not take over.
            return Ok(self.merge_changed && !self.outcome.complete);
        }
        let live_before = self.live_before(hash)?;
        match (hash.kind(), change.action) {
            // Asserted before or by another source, and waiting: it seems to be
            // there now.
            (Kind::Relationship, Action::Create) if !is_new(change) => return Ok(true),
            // Still at the target, though an end of it may be gone.
            (Kind::Relationship, Action::Delete) if failed => return Ok(true),
            (Kind::Entity | Kind::Relationship, _) => {}
        }
        if !failed {
            return Ok(false);
        }
        let own_change = match (self.layer.lookup(hash, &mut self.scratch)?, live_before) {
            (Some((_, entry)), Some(canon)) => !entry.is_live() || entry.canon != canon,
            (Some((_, entry)), None) => entry.is_live(),
            (None, _) => false,
        };
        Ok(self.merge_changed || !own_change)
    }

    /// The hash of the source's own value before the plan.
    fn live_before(&mut self, hash: KeyHash) -> Result<Option<u64>> {
        match self.own {
            Some(own) => Ok(own.live(hash, &mut self.scratch)?.map(|found| found.entry.canon)),
            None => Ok(None),
        }
    }
}

/// Whether a creation is of a key that nobody asserted before: the only ones
/// whose value the plan leaves in the pack.
fn is_new(change: &PlannedChange) -> bool {
    matches!(change.value, PlannedValue::Packed(..))
}

/// The key of a planned change.
pub fn key_of(plan: &Plan, change: &PlannedChange, bodies: &mut Bodies) -> Result<Key> {
    Ok(match &change.value {
        PlannedValue::Packed(loc, _, _) => bodies.get(plan.pack(), *loc)?.body()?.key(),
        PlannedValue::Whole(key, _) | PlannedValue::Patch(key, _, _) | PlannedValue::Gone(key, _) => {
            key.clone()
        }
    })
}
