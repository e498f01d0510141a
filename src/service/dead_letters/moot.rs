//! Dead letters that a published plan makes moot.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::super::engine::Engine;
use super::line;
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::key::{Key, KeyHash};
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::domain::stamp::Stamp;
use crate::error::{Error, Result};
use crate::planning::format::layer::{CacheBudget, Layer, Scratch};
use crate::planning::plan_file::Plan;
use crate::planning::planner::Planner;
use crate::planning::snapshot::Snapshot;
use crate::planning::state_dir::Pack;
use crate::planning::view::{Reader, TargetView};
use crate::publishing::outcome::Executed;
use crate::store::{BatchRecord, DeadLetter, LetterKind, Tx};

impl Engine {
    /// Which open dead letters a plan makes moot. `unpublished` are the keys
    /// whose assertion by its batch was not published.
    pub(in crate::service) fn moot(
        &self,
        plan: &Plan,
        executed: &Executed,
        unpublished: &[Key],
    ) -> Result<Moot> {
        let manifest = plan.manifest();
        let source = &manifest.header.source_id;
        let exceptions: HashSet<KeyHash> =
            manifest.exceptions.iter().chain(unpublished).map(Key::hash).collect();
        let full = (executed.outcome.complete && manifest.asserts_absence).then(|| manifest.scope.clone());
        let mut letters = Vec::new();
        let mut batches = HashSet::new();
        for of in self.store.read(|view| view.sources())? {
            self.store.read(|view| {
                view.each_open_dead_letter(&of, |letter| {
                    if letter.kind == LetterKind::Batch {
                        let failed = view.batch(&letter.batch_id)?;
                        let covered = full.as_ref().is_some_and(|scope| says_all_of(scope, failed.as_ref()));
                        if of == *source && covered && letter.stamp < manifest.stamp.stamp {
                            batches.insert(letter.id);
                        }
                    } else {
                        letters.push(Brief {
                            id: letter.id,
                            asserts: letter.asserts(),
                            source: letter.source,
                            key: letter.key,
                            stamp: letter.stamp,
                        });
                    }
                    Ok(())
                })
            })?;
        }
        let published = |hash: &KeyHash| executed.outcome.complete || executed.outcome.done.contains(hash);
        let (mut listed, mut brought) = (HashSet::new(), HashSet::new());
        if !letters.is_empty() {
            let path = self.state.layer_path(source, &manifest.layer.file);
            let layer = Layer::open(&path, &CacheBudget::new(1 << 20))?;
            let mut scratch = Scratch::default();
            let own = letters.iter().filter(|letter| letter.source == *source);
            for hash in own.filter_map(|letter| letter.key.as_ref()).map(Key::hash) {
                if published(&hash) && layer.lookup(hash, &mut scratch)?.is_some() {
                    listed.insert(hash);
                }
            }
            let failed = &executed.outcome.failed;
            brought = self.brought(plan, &letters, |hash| {
                published(hash) && !exceptions.contains(hash) && !failed.contains_key(hash)
            })?;
        }
        Ok(Moot {
            source: source.clone(),
            full,
            exceptions,
            listed,
            stamp: manifest.stamp.stamp.clone(),
            sources: letters.into_iter().map(|letter| letter.source).chain([source.clone()]).collect(),
            brought,
            batches,
        })
    }

    /// Dead letters of changes that no new assertion asked for, and that a
    /// plan brought after all: what they wanted is what is asserted already.
    fn brought(
        &self,
        plan: &Plan,
        letters: &[Brief],
        published: impl Fn(&KeyHash) -> bool,
    ) -> Result<HashSet<u64>> {
        let mut keys = HashSet::new();
        plan.changes(|change| {
            if (change.moved || change.replace) && published(&change.hash) {
                keys.insert(change.hash);
            }
            Ok(())
        })?;
        let mut found = HashSet::new();
        if keys.is_empty() {
            return Ok(found);
        }
        let mut owners = Owners::new(self, plan)?;
        for letter in letters {
            let Some(key) = letter.key.as_ref().filter(|key| keys.contains(&key.hash())) else { continue };
            // Where nobody asserts anything, that it was brought is all.
            if !letter.asserts {
                found.insert(letter.id);
                continue;
            }
            let asserted = owners.asserted_by(&letter.source, key)?;
            if asserted.is_some_and(|stamp| stamp >= letter.stamp) {
                found.insert(letter.id);
            }
        }
        Ok(found)
    }
}

/// What has to be known of a letter to tell whether it is moot.
struct Brief {
    id: u64,
    /// Whether it holds an assertion.
    asserts: bool,
    source: SourceId,
    key: Option<Key>,
    stamp: Stamp,
}

/// Whether a full batch of this scope says anew all that a failed batch said.
fn says_all_of(scope: &Scope, failed: Option<&BatchRecord>) -> bool {
    match failed {
        Some(failed) if failed.mode == Some(Mode::Full) => scope.covers(&failed.scope),
        // It may have said something of any key.
        Some(_) | None => scope.is_everything(),
    }
}

/// Who asserts a key that a plan changes though its batch does not: perhaps
/// not the plan's source.
pub(super) struct Owners {
    view: TargetView,
    layer: Layer,
    packs: Vec<Arc<Pack>>,
    reader: Reader,
}

impl Owners {
    pub(super) fn new(engine: &Engine, plan: &Plan) -> Result<Self> {
        let header = &plan.manifest().header;
        let options = engine.planning_options();
        let planner = Planner::new(&engine.state, &options);
        let view = planner.view(&header.source_id, &header.target, &header.bases)?;
        let path = engine.state.layer_path(&header.source_id, &plan.manifest().layer.file);
        let layer = Layer::open(&path, &CacheBudget::new(1 << 20))?;
        let state = &engine.state;
        let pack = |name: &String| state.pack(&state.pack_path(&header.source_id, name));
        let packs = layer.meta().packs.iter().map(pack).collect();
        Ok(Self { view, layer, packs, reader: Reader::new()? })
    }

    /// What a change of `key` is to bring, as a line: what the plan's batch
    /// asserts of it, else what the source asserts whose published assertion
    /// it is about. `None`: nobody asserts anything; the change takes away
    /// what perhaps came to the target before.
    pub(super) fn line_of(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        let body = match self.layer.lookup(key.hash(), &mut self.reader.scratch)? {
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
                    None => return Ok(None),
                }
            }
        };
        line::of_value(key, body.body()?.attributes).map(Some)
    }

    /// The source whose published assertion a change of `key` is about, and
    /// its stamp; `None`: it is about what the batch asserts.
    pub(super) fn published(&mut self, key: &Key) -> Result<Option<(SourceId, Stamp)>> {
        if self.layer.lookup(key.hash(), &mut self.reader.scratch)?.is_some() {
            return Ok(None);
        }
        for snapshot in self.view.own.iter().chain(&self.view.others) {
            if let Some(stamp) = stamp_of(snapshot, key, &mut self.reader)? {
                return Ok(Some((snapshot.manifest().source_id.clone(), stamp)));
            }
        }
        Ok(None)
    }

    /// The stamp of a source's published assertion of a key.
    fn asserted_by(&mut self, source: &SourceId, key: &Key) -> Result<Option<Stamp>> {
        let mut snapshots = self.view.own.iter().chain(&self.view.others);
        match snapshots.find(|snapshot| snapshot.manifest().source_id == *source) {
            Some(snapshot) => stamp_of(snapshot, key, &mut self.reader),
            None => Ok(None),
        }
    }
}

/// The stamp of a live key.
fn stamp_of(snapshot: &Snapshot, key: &Key, reader: &mut Reader) -> Result<Option<Stamp>> {
    let hash = key.hash();
    let Some(found) = snapshot.live(hash, &mut reader.scratch)? else { return Ok(None) };
    let stamp = snapshot.effective_stamp(hash, key.type_name(), key.scope_name(), Some(&found))?;
    Ok(stamp.map(|info| info.stamp.clone()))
}

/// Which open dead letters a plan makes moot: a newer assertion of their key,
/// absence included, was published or found unchanged (`SEMANTICS` 9); or the
/// plan brought what they are about.
pub(in crate::service) struct Moot {
    source: SourceId,
    full: Option<Scope>,
    exceptions: HashSet<KeyHash>,
    listed: HashSet<KeyHash>,
    stamp: Stamp,
    sources: BTreeSet<SourceId>,
    brought: HashSet<u64>,
    batches: HashSet<u64>,
}

impl Moot {
    /// Resolves them.
    pub(in crate::service) fn resolve(&self, tx: &mut Tx<'_>, batch: &BatchId) -> Result<()> {
        for source in &self.sources {
            tx.resolve_dead_letters(source, &batch.to_string(), |letter| match letter.kind {
                LetterKind::Batch => self.batches.contains(&letter.id),
                LetterKind::Entity => {
                    self.brought.contains(&letter.id) || *source == self.source && self.is(letter)
                }
            })?;
        }
        Ok(())
    }

    fn is(&self, letter: &DeadLetter) -> bool {
        if letter.stamp > self.stamp {
            return false;
        }
        match &letter.key {
            Some(key) => {
                let hash = key.hash();
                !self.exceptions.contains(&hash)
                    && (self.listed.contains(&hash)
                        || self.full.as_ref().is_some_and(|scope| scope.contains(key)))
            }
            None => self.full.as_ref().is_some_and(Scope::is_everything),
        }
    }
}
