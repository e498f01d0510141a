//! Who asserts a key that a plan changes though its batch does not: perhaps
//! not the plan's source.

use std::sync::Arc;

use super::super::engine::Engine;
use super::line;
use crate::domain::ids::SourceId;
use crate::domain::key::Key;
use crate::domain::stamp::Stamp;
use crate::error::{Error, Result};
use crate::planning::of_batch::OfBatch;
use crate::planning::plan_file::{Plan, PlanManifest};
use crate::planning::planner::Planner;
use crate::planning::snapshot::Snapshot;
use crate::planning::state_dir::Pack;
use crate::planning::view::{Reader, TargetView};

/// What a plan's batch and the published snapshots of its target say of keys.
pub(super) struct Owners<'a> {
    manifest: &'a PlanManifest,
    /// Whether all of the plan was executed: else its batch says nothing by its
    /// scope (`SEMANTICS` 4).
    complete: bool,
    view: TargetView,
    said: OfBatch,
    packs: Vec<Arc<Pack>>,
    reader: Reader,
}

impl<'a> Owners<'a> {
    pub(super) fn new(engine: &Engine, plan: &'a Plan, complete: bool) -> Result<Self> {
        let manifest = plan.manifest();
        let header = &manifest.header;
        let options = engine.planning_options();
        let planner = Planner::new(&engine.state, &options);
        let view = planner.view(&header.source_id, &header.target, &header.bases)?;
        let said = OfBatch::open(&engine.state, manifest)?;
        let state = &engine.state;
        let pack = |name: &String| state.pack(&state.pack_path(&header.source_id, name));
        let packs = said.layer().meta().packs.iter().map(pack).collect();
        Ok(Self { manifest, complete, view, said, packs, reader: Reader::new()? })
    }

    /// What a change of `key` is to bring, as a line: what the plan's batch
    /// asserts of it, or what is published in its new form; else what the source
    /// asserts whose published assertion it is about. `None`: nobody ever said anything of it; the change takes
    /// away what perhaps came to the target before.
    pub(super) fn line_of(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        let body = match self.said.layer().lookup(key.hash(), &mut self.reader.scratch)? {
            Some((_, entry)) if entry.is_live() => {
                let pack = self.packs.get(entry.loc.pack() as usize);
                let pack = pack.ok_or_else(|| Error::internal("a pack of a plan's layer"))?;
                self.reader.bodies.get(pack, entry.loc)?
            }
            Some(_) => return line::of_absence(key).map(Some),
            None => {
                let mut body = None;
                for snapshot in self.view.own.iter().chain(&self.view.others) {
                    if let Some(found) = snapshot.live(key.hash(), &mut self.reader.scratch)? {
                        body = Some(snapshot.body(&found, &mut self.reader.bodies)?);
                        break;
                    }
                }
                match body {
                    Some(body) => body,
                    None if self.speaks_for(key) || self.said_before(key)?.is_some() => {
                        return line::of_absence(key).map(Some);
                    }
                    None => return Ok(None),
                }
            }
        };
        line::of_value(key, body.body()?.attributes).map(Some)
    }

    /// The source whose published assertion a change of `key` is about, and
    /// its stamp; `None`: it is about what the batch asserts.
    pub(super) fn published(&mut self, key: &Key) -> Result<Option<(SourceId, Stamp)>> {
        if self.said.entry(key.hash())?.is_some() {
            return Ok(None);
        }
        let mut of_other = None;
        for snapshot in self.view.own.iter().chain(&self.view.others) {
            if snapshot.live(key.hash(), &mut self.reader.scratch)?.is_some() {
                of_other = Some(snapshot)
                    .filter(|snapshot| snapshot.manifest().source_id != self.manifest.header.source_id);
                break;
            }
        }
        if let Some(snapshot) = of_other {
            let stamp = stamp_of(snapshot, key, &mut self.reader)?;
            return Ok(stamp.map(|stamp| (snapshot.manifest().source_id.clone(), stamp)));
        }
        // The plan's source has it, or nobody does. Of what a full batch lists as it is
        // published the layer has nothing by it, nor of what it leaves out and nobody
        // has: it says that as of its own time.
        let said = self.said_before(key)?;
        let newer = said.filter(|said| !self.speaks_for(key) || *said > self.manifest.stamp.stamp);
        Ok(newer.map(|said| (self.manifest.header.source_id.clone(), said)))
    }

    /// Whether the plan's batch says something of a key by its scope alone.
    fn speaks_for(&self, key: &Key) -> bool {
        let PlanManifest { asserts_absence, scope, exceptions, .. } = self.manifest;
        self.complete && *asserts_absence && scope.contains(key) && !exceptions.contains(key)
    }

    /// The stamp of what the plan's source published of a key, absence included.
    fn said_before(&mut self, key: &Key) -> Result<Option<Stamp>> {
        match &self.view.own {
            Some(own) => stamp_of(own, key, &mut self.reader),
            None => Ok(None),
        }
    }

    /// The stamp of what a source published of a key, absence included.
    pub(super) fn said_by(&mut self, source: &SourceId, key: &Key) -> Result<Option<Stamp>> {
        let mut snapshots = self.view.own.iter().chain(&self.view.others);
        match snapshots.find(|snapshot| snapshot.manifest().source_id == *source) {
            Some(snapshot) => stamp_of(snapshot, key, &mut self.reader),
            None => Ok(None),
        }
    }
}

/// The effective stamp of a key, live or not.
fn stamp_of(snapshot: &Snapshot, key: &Key, reader: &mut Reader) -> Result<Option<Stamp>> {
    let hash = key.hash();
    let found = snapshot.lookup(hash, &mut reader.scratch)?;
    let stamp = snapshot.effective_stamp(hash, key.type_name(), key.scope_name(), found.as_ref())?;
    Ok(stamp.map(|info| info.stamp.clone()))
}
