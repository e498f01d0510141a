//! Dead letters that a published plan opens, and those that it makes moot.

use std::collections::{BTreeSet, HashSet};

use super::engine::Engine;
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::key::{Key, KeyHash};
use crate::domain::scope::Scope;
use crate::domain::stamp::Stamp;
use crate::error::{ErrorKind, Result};
use crate::planning::format::layer::{CacheBudget, Layer, Scratch};
use crate::planning::plan_file::Plan;
use crate::planning::planner::Planner;
use crate::planning::snapshot::Snapshot;
use crate::planning::view::{Reader, TargetView};
use crate::publishing::outcome::Executed;
use crate::store::{BatchRecord, DeadLetter, DeadLetterState, Tx};

impl Engine {
    /// The dead letters that a plan and its execution leave.
    pub(super) fn dead_letters(
        &self,
        record: &BatchRecord,
        plan: &Plan,
        executed: &Executed,
    ) -> Result<Vec<DeadLetter>> {
        let base = |code: &str, message| DeadLetter {
            id: 0,
            source: record.batch_id.source().clone(),
            batch_id: record.batch_id.clone(),
            stamp: record.stamp.clone(),
            key: None,
            content: Vec::new(),
            cut: false,
            file: String::new(),
            line: 0,
            code: code.to_owned(),
            message,
            opened_at: self.clock.now(),
            attempts: 0,
            state: DeadLetterState::Open,
        };
        let mut letters = Vec::new();
        plan.rejects(|reject| {
            let field = if reject.field.is_empty() { String::new() } else { format!("`{}` ", reject.field) };
            let message = format!("{} line {}: {field}{}", reject.file, reject.line, reject.problem);
            letters.push(DeadLetter {
                key: reject.key,
                content: reject.content,
                cut: reject.cut,
                file: reject.file,
                line: reject.line,
                ..base(&reject.code, message)
            });
            Ok(())
        })?;
        let mut owners = None;
        for refused in &executed.refused {
            let owners = match &mut owners {
                Some(owners) => owners,
                None => owners.insert(Owners::new(self, plan)?),
            };
            let code = ErrorKind::EntityRejected.info().code;
            let mut letter = DeadLetter {
                key: Some(refused.key.clone()),
                content: refused.content.clone(),
                ..base(code, format!("the target refused it: {}", refused.rejection.reason))
            };
            if let Some((source, stamp)) = owners.published(&refused.key)? {
                letter.source = source;
                letter.batch_id = stamp.batch_id.clone();
                letter.stamp = stamp;
            }
            letters.push(letter);
        }
        Ok(letters)
    }

    /// Which open dead letters a plan makes moot.
    pub(super) fn moot(&self, plan: &Plan, executed: &Executed) -> Result<Moot> {
        let manifest = plan.manifest();
        let source = &manifest.header.source_id;
        let mut exceptions: HashSet<KeyHash> = manifest.exceptions.iter().map(Key::hash).collect();
        exceptions.extend(executed.outcome.failed.keys());
        let mut letters = Vec::new();
        for of in self.store.read(|view| view.sources())? {
            letters.extend(self.store.read(|view| view.open_dead_letters(&of))?);
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
            brought = self.brought(plan, &letters, |hash| published(hash) && !exceptions.contains(hash))?;
        }
        let full = (executed.outcome.complete && manifest.asserts_absence).then(|| manifest.scope.clone());
        Ok(Moot {
            source: source.clone(),
            full,
            exceptions,
            listed,
            stamp: manifest.stamp.stamp.clone(),
            sources: letters.into_iter().map(|letter| letter.source).collect(),
            brought,
        })
    }

    /// Dead letters of changes that no new assertion asked for, and that a
    /// plan brought after all: what they wanted is what is asserted already.
    fn brought(
        &self,
        plan: &Plan,
        letters: &[DeadLetter],
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
            let asserted = owners.asserted_by(&letter.source, key)?;
            if asserted.is_some_and(|stamp| stamp >= letter.stamp) {
                found.insert(letter.id);
            }
        }
        Ok(found)
    }
}

/// Who asserts a key that a plan changes though its batch does not: perhaps
/// not the plan's source.
struct Owners {
    view: TargetView,
    layer: Layer,
    reader: Reader,
}

impl Owners {
    fn new(engine: &Engine, plan: &Plan) -> Result<Self> {
        let header = &plan.manifest().header;
        let options = engine.planning_options();
        let planner = Planner::new(&engine.state, &options);
        let view = planner.view(&header.source_id, &header.target, &header.bases)?;
        let path = engine.state.layer_path(&header.source_id, &plan.manifest().layer.file);
        Ok(Self { view, layer: Layer::open(&path, &CacheBudget::new(1 << 20))?, reader: Reader::new()? })
    }

    /// The source whose published assertion a change of `key` is about, and
    /// its stamp; `None`: it is about what the batch asserts.
    fn published(&mut self, key: &Key) -> Result<Option<(SourceId, Stamp)>> {
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
pub(super) struct Moot {
    source: SourceId,
    full: Option<Scope>,
    exceptions: HashSet<KeyHash>,
    listed: HashSet<KeyHash>,
    stamp: Stamp,
    sources: BTreeSet<SourceId>,
    brought: HashSet<u64>,
}

impl Moot {
    /// Resolves them.
    pub(super) fn resolve(&self, tx: &mut Tx<'_>, batch: &BatchId) -> Result<()> {
        for source in &self.sources {
            tx.resolve_dead_letters(source, &batch.to_string(), |letter| {
                self.brought.contains(&letter.id) || *source == self.source && self.is(letter)
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
