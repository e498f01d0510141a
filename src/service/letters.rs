//! Dead letters that a published plan opens, and those that it makes moot.

use std::collections::{BTreeMap, HashSet};

use super::engine::Engine;
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::key::{Key, KeyHash};
use crate::domain::scope::Scope;
use crate::domain::stamp::Stamp;
use crate::error::{ErrorKind, Result};
use crate::planning::format::layer::{CacheBudget, Layer, Scratch};
use crate::planning::plan_file::Plan;
use crate::planning::planner::Planner;
use crate::planning::view::{Reader, TargetView};
use crate::publishing::execute::Executed;
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
                ..base(code, format!("the target refused it: {}", refused.reason))
            };
            if let Some((source, stamp)) = owners.other(&refused.key)? {
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
        let mut letters = BTreeMap::new();
        for of in self.store.read(|view| view.sources())? {
            letters.insert(of.clone(), self.store.read(|view| view.open_dead_letters(&of))?);
        }
        let published = |hash: &KeyHash| executed.outcome.complete || executed.outcome.done.contains(hash);
        let mut listed = HashSet::new();
        let own = letters.remove(source).unwrap_or_default();
        if !own.is_empty() {
            let path = self.state.layer_path(source, &manifest.layer.file);
            let layer = Layer::open(&path, &CacheBudget::new(1 << 20))?;
            let mut scratch = Scratch::default();
            for hash in own.iter().filter_map(|letter| letter.key.as_ref()).map(Key::hash) {
                if published(&hash) && layer.lookup(hash, &mut scratch)?.is_some() {
                    listed.insert(hash);
                }
            }
        }
        letters.retain(|_, open| !open.is_empty());
        let mut brought = HashSet::new();
        if !letters.is_empty() {
            plan.changes(|change| {
                if (change.moved || change.replace)
                    && published(&change.hash)
                    && !exceptions.contains(&change.hash)
                {
                    brought.insert(change.hash);
                }
                Ok(())
            })?;
        }
        let full = (executed.outcome.complete && manifest.asserts_absence).then(|| manifest.scope.clone());
        Ok(Moot {
            source: source.clone(),
            full,
            exceptions,
            listed,
            stamp: manifest.stamp.stamp.clone(),
            others: if brought.is_empty() { Vec::new() } else { letters.into_keys().collect() },
            brought,
        })
    }
}

/// Who asserts a relationship that a plan moves: perhaps not the plan's source.
struct Owners {
    view: TargetView,
    layer: Layer,
    reader: Reader,
}

impl Owners {
    fn new(engine: &Engine, plan: &Plan) -> Result<Self> {
        let header = &plan.manifest().header;
        let view = Planner::new(&engine.state, &engine.options).view(
            &header.source_id,
            &header.target,
            &header.bases,
        )?;
        let path = engine.state.layer_path(&header.source_id, &plan.manifest().layer.file);
        Ok(Self { view, layer: Layer::open(&path, &CacheBudget::new(1 << 20))?, reader: Reader::new()? })
    }

    /// The other source that asserts a key which the plan's own does not, and
    /// the stamp of its assertion.
    fn other(&mut self, key: &Key) -> Result<Option<(SourceId, Stamp)>> {
        let hash = key.hash();
        let own = self.layer.lookup(hash, &mut self.reader.scratch)?.is_some()
            || self.view.own_live(hash, &mut self.reader)?.is_some();
        if own {
            return Ok(None);
        }
        for other in &self.view.others {
            if let Some(found) = other.live(hash, &mut self.reader.scratch)? {
                let stamp = other.effective_stamp(hash, key.type_name(), key.scope_name(), Some(&found))?;
                return Ok(stamp.map(|info| (other.manifest().source_id.clone(), info.stamp.clone())));
            }
        }
        Ok(None)
    }
}

/// Which open dead letters a plan makes moot: a newer assertion of their key,
/// absence included, was published or found unchanged (`SEMANTICS` 9); or
/// they are relationships of other sources that the plan brought after all.
pub(super) struct Moot {
    source: SourceId,
    full: Option<Scope>,
    exceptions: HashSet<KeyHash>,
    listed: HashSet<KeyHash>,
    stamp: Stamp,
    others: Vec<SourceId>,
    brought: HashSet<KeyHash>,
}

impl Moot {
    /// Resolves them.
    pub(super) fn resolve(&self, tx: &mut Tx<'_>, batch: &BatchId) -> Result<()> {
        let by = batch.to_string();
        tx.resolve_dead_letters(&self.source, &by, |letter| self.is(letter))?;
        for other in &self.others {
            tx.resolve_dead_letters(other, &by, |letter| {
                letter.key.as_ref().is_some_and(|key| self.brought.contains(&key.hash()))
            })?;
        }
        Ok(())
    }

    fn is(&self, letter: &DeadLetter) -> bool {
        if letter.stamp > self.stamp {
            // Brought by the way, for an end came: that is all it waited for.
            return letter.key.as_ref().is_some_and(|key| self.brought.contains(&key.hash()));
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
