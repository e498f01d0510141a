//! Which keys are unsure after a plan that was not published as a whole: what
//! the snapshots say of them together is not what the target holds.
//!
//! A change of the source's own that was not published is no such key: the
//! snapshot keeps the old value, and the next diff finds it again.

use std::collections::HashSet;

use super::bodies::Bodies;
use super::format::layer::{CacheBudget, Layer, Scratch};
use super::layer_tables::OWN_PACK;
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
    let mut ends = Ends::default();
    plan.changes(|change| {
        if finding.is_unsure(&change)? {
            keys.push(key_of(plan, &change, &mut bodies)?);
        }
        ends.take(&change, outcome);
        Ok(())
    })?;
    // Without a snapshot before nothing went, and nothing waited.
    let half_way = !outcome.complete && own.is_some() && !ends.came.is_empty();
    if ends.refused.is_empty() && !half_way {
        return Ok(keys);
    }
    let budget = CacheBudget::new(16 << 20);
    let header = &manifest.header;
    let mut snapshots = vec![Snapshot::from_manifest(state, next.clone(), &budget)?];
    for (source, id) in header.bases.iter().filter(|(source, _)| **source != header.source_id) {
        snapshots.push(Snapshot::open(state, source, &header.target, id, &budget)?);
    }
    for (n, snapshot) in snapshots.iter().enumerate() {
        // What was to wait for an end that should have gone does not wait,
        // whoever asserts it.
        for entity in &ends.refused {
            for (found, _) in snapshot.relationships_of(*entity, &mut finding.scratch, &mut bodies)? {
                keys.push(snapshot.body(&found, &mut bodies)?.body()?.key());
            }
        }
        if !half_way {
            continue;
        }
        // Nor does what has got an end that came, if what would have kept it
        // from being there did not happen: that its other end went, or that
        // the source took it back or changed it.
        for entity in &ends.came {
            for (found, is_from) in snapshot.relationships_of(*entity, &mut finding.scratch, &mut bodies)? {
                let body = snapshot.body(&found, &mut bodies)?;
                let body = body.body()?;
                let (from, to) = body.ends();
                let other = if is_from { to } else { from };
                let hash = found.entry.key;
                let taken_back = n == 0 && !outcome.done.contains(&hash) && finding.is_in_layer(hash)?;
                if taken_back || ends.stayed.contains(&other) {
                    keys.push(body.key());
                }
            }
        }
    }
    Ok(keys)
}

/// Entities that are, or are not, there other than the plan had it.
#[derive(Default)]
struct Ends {
    /// Those whose deletion was refused.
    refused: Vec<KeyHash>,
    /// Those whose deletion was not done, for whatever reason.
    stayed: HashSet<KeyHash>,
    /// Those that came; only of an incomplete plan.
    came: Vec<KeyHash>,
}

impl Ends {
    fn take(&mut self, change: &PlannedChange, outcome: &PlanOutcome) {
        if change.hash.kind() != Kind::Entity {
            return;
        }
        let failed = outcome.failed.contains_key(&change.hash);
        let done = outcome.done.contains(&change.hash);
        match change.action {
            Action::Delete if failed => self.refused.push(change.hash),
            Action::Create if !outcome.complete && done => self.came.push(change.hash),
            Action::Create | Action::Update | Action::Delete => {}
        }
        if change.action == Action::Delete && (failed || !outcome.complete && !done) {
            self.stayed.insert(change.hash);
        }
    }
}

struct Finding<'a> {
    own: Option<&'a Snapshot>,
    layer: Layer,
    scratch: Scratch,
    outcome: &'a PlanOutcome,
    merge_changed: bool,
}

impl Finding<'_> {
    /// Whether the plan says something of the key by itself.
    fn is_in_layer(&mut self, hash: KeyHash) -> Result<bool> {
        Ok(self.layer.lookup(hash, &mut self.scratch)?.is_some())
    }

    fn is_unsure(&mut self, change: &PlannedChange) -> Result<bool> {
        let hash = change.hash;
        let failed = self.outcome.failed.contains_key(&hash);
        // An end came or went: that may not be so yet. Of a whole plan the ends that
        // did not are known by themselves.
        if change.moved {
            return Ok(failed || !self.outcome.complete);
        }
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
            // One whose stamp alone rises has the body that it had.
            (Some((_, entry)), true) => !entry.is_live() || entry.loc.pack() == OWN_PACK,
            (Some((_, entry)), false) => entry.is_live(),
            (None, _) => false,
        };
        Ok(self.merge_changed || !own_change)
    }

    /// Whether the source asserted the key before the plan.
    fn live_before(&mut self, hash: KeyHash) -> Result<bool> {
        match self.own {
            Some(own) => Ok(own.live(hash, &mut self.scratch)?.is_some()),
            None => Ok(false),
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
