//! Keys of a source that are perhaps not at the target as it asserts them, after
//! a plan of it.

use std::collections::HashSet;

use super::super::engine::Engine;
use crate::domain::key::{Key, KeyHash};
use crate::error::Result;
use crate::planning::format::layer::{CacheBudget, Scratch};
use crate::planning::plan_file::Plan;
use crate::planning::snapshot::{Snapshot, SnapshotManifest};
use crate::store::View;

/// Looks them up; what is large is read when it is needed.
pub(super) struct Missing<'a> {
    engine: &'a Engine,
    plan: &'a Plan,
    next: &'a SnapshotManifest,
    own: Option<HashSet<KeyHash>>,
    others: Option<HashSet<KeyHash>>,
    snapshot: Option<Snapshot>,
    scratch: Scratch,
}

impl<'a> Missing<'a> {
    /// `next` is the snapshot that the plan leaves.
    pub(super) fn new(engine: &'a Engine, plan: &'a Plan, next: &'a SnapshotManifest) -> Self {
        Self { engine, plan, next, own: None, others: None, snapshot: None, scratch: Scratch::default() }
    }

    /// Whether a key is among them: its own snapshot has it unsure, or asserts it
    /// and another source's has.
    pub(super) fn has(&mut self, view: &View<'_>, hash: KeyHash) -> Result<bool> {
        let own = self.own.get_or_insert_with(|| self.next.unsure.iter().map(Key::hash).collect());
        if own.contains(&hash) {
            return Ok(true);
        }
        let snapshot = match &mut self.snapshot {
            Some(snapshot) => snapshot,
            none => none.insert(Snapshot::from_manifest(
                &self.engine.state,
                self.next.clone(),
                &CacheBudget::new(1 << 20),
            )?),
        };
        if snapshot.live(hash, &mut self.scratch)?.is_none() {
            return Ok(false);
        }
        let others = match &mut self.others {
            Some(others) => others,
            None => {
                let read = self.of_others(view)?;
                self.others.insert(read)
            }
        };
        Ok(others.contains(&hash))
    }

    fn of_others(&self, view: &View<'_>) -> Result<HashSet<KeyHash>> {
        let header = &self.plan.manifest().header;
        let mut unsure = HashSet::new();
        for source in header.bases.keys().filter(|source| **source != header.source_id) {
            let Some(id) = view.current_snapshot(&header.target, source)? else { continue };
            let path = self.engine.state.snapshot_path(source, &header.target, &id);
            let theirs = SnapshotManifest::read(&path)?;
            let settled: HashSet<&Key> = self.next.settled.get(&id).into_iter().flatten().collect();
            unsure.extend(theirs.unsure.iter().filter(|key| !settled.contains(key)).map(Key::hash));
        }
        Ok(unsure)
    }
}
