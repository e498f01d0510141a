//! From the changes of a plan to what is sent to the target.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::send::Fate;
use crate::domain::change::Action;
use crate::domain::ids::OperationNo;
use crate::domain::key::{Key, KeyHash, Kind};
use crate::domain::merge::Patch;
use crate::domain::publish_state::BatchMetrics;
use crate::error::Result;
use crate::planning::bodies::Bodies;
use crate::planning::plan_file::{BlockRoom, Plan, PlannedChange, PlannedValue};
use crate::targets::TargetChange;

/// Blocks of an operation from which on two threads read it.
const WORTH_A_THREAD: u32 = 4;

/// One operation's changes, ready to be sent.
pub struct Prepared {
    /// The changes, in order.
    pub changes: Vec<TargetChange>,
    /// Their keys' hashes.
    pub hashes: Vec<KeyHash>,
    /// Relationships that are not sent because nobody knows whether an end is
    /// there: they are unsure.
    pub unsure: Vec<Key>,
    /// All that is not sent.
    pub left_out: Vec<KeyHash>,
}

impl Prepared {
    fn new() -> Self {
        Self { changes: Vec::new(), hashes: Vec::new(), unsure: Vec::new(), left_out: Vec::new() }
    }
}

/// Changes that the target refused so far.
#[derive(Debug, Default)]
pub struct Refusals {
    /// All of them.
    pub keys: HashSet<KeyHash>,
    /// Entities that are not at the target, for their creation was refused.
    pub missing: HashSet<KeyHash>,
    /// Entities of which nobody knows whether they are there.
    pub unknown: HashSet<KeyHash>,
}

/// Why a relationship can't be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingEnd {
    /// An end is not at the target.
    Missing,
    /// Nobody knows whether an end is there.
    Unknown,
}

impl Refusals {
    /// Whether a change creates a relationship with an end that was refused.
    pub fn end_of(&self, change: &TargetChange) -> Option<MissingEnd> {
        match &change.key {
            Key::Relationship(_) if change.action == Action::Create => self.missing_end(&change.key),
            Key::Entity(_) | Key::Relationship(_) => None,
        }
    }

    fn missing_end(&self, key: &Key) -> Option<MissingEnd> {
        let Key::Relationship(relationship) = key else { return None };
        if self.keys.is_empty() {
            return None;
        }
        let ends = [relationship.from.hash(), relationship.to.hash()];
        if ends.iter().any(|end| self.unknown.contains(end)) {
            Some(MissingEnd::Unknown)
        } else if ends.iter().any(|end| self.missing.contains(end)) {
            Some(MissingEnd::Missing)
        } else {
            None
        }
    }

    /// Takes a refused change. `unsure`: it may have taken effect all the same.
    pub fn add(&mut self, hash: KeyHash, change: &TargetChange, unsure: bool) {
        self.keys.insert(hash);
        if change.key.kind() == Kind::Relationship {
            return;
        }
        match (change.action, change.replace || unsure) {
            (Action::Create | Action::Update, true) => drop(self.unknown.insert(hash)),
            (Action::Create, false) => drop(self.missing.insert(hash)),
            (Action::Update, false) | (Action::Delete, _) => {}
        }
    }
}

/// Reads an operation's changes and their values.
///
/// Relationships with an end that could not be created are left out: their
/// entity is a dead letter, and they wait for it.
pub fn prepare(plan: &Plan, no: OperationNo, refusals: &Refusals, bodies: &mut Bodies) -> Result<Prepared> {
    let mut out = Prepared::new();
    plan.operation(no, |change| take(plan, change, refusals, bodies, &mut out))?;
    Ok(out)
}

/// The same by several threads, for an operation that is waited for.
pub fn prepare_at_once(
    plan: &Plan,
    no: OperationNo,
    refusals: &Refusals,
    bodies: &mut Bodies,
) -> Result<Prepared> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let op = plan.manifest().operations.get(no.0 as usize);
    let Some(op) = op.filter(|op| threads > 1 && op.blocks >= WORTH_A_THREAD) else {
        return prepare(plan, no, refusals, bodies);
    };
    let middle = op.first_block + op.blocks / 2;
    let share = |blocks: Range<u32>, bodies: &mut Bodies| -> Result<(Prepared, u32)> {
        let mut out = Prepared::new();
        let mut room = BlockRoom::new()?;
        let mut count = 0;
        for block in blocks {
            count += plan.block(block, &mut room, |change| take(plan, change, refusals, bodies, &mut out))?;
        }
        Ok((out, count))
    };
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| share(middle..op.first_block + op.blocks, &mut Bodies::new()?));
        let first = share(op.first_block..middle, bodies);
        match second.join() {
            Ok(second) => (first, second),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let ((mut out, count), (mut second, second_count)) = (first?, second?);
    plan.expect_changes(no, count + second_count)?;
    out.changes.append(&mut second.changes);
    out.hashes.append(&mut second.hashes);
    out.unsure.append(&mut second.unsure);
    out.left_out.append(&mut second.left_out);
    Ok(out)
}

fn take(
    plan: &Plan,
    change: PlannedChange,
    refusals: &Refusals,
    bodies: &mut Bodies,
    out: &mut Prepared,
) -> Result<()> {
    let hash = change.hash;
    let change = sent(plan, change, bodies)?;
    if change.action == Action::Create {
        match refusals.missing_end(&change.key) {
            // One that was unsure before may be there, and stays unsure.
            Some(MissingEnd::Missing) if !change.replace => {
                out.left_out.push(hash);
                return Ok(());
            }
            Some(MissingEnd::Missing | MissingEnd::Unknown) => {
                out.left_out.push(hash);
                out.unsure.push(change.key);
                return Ok(());
            }
            None => {}
        }
    }
    out.changes.push(change);
    out.hashes.push(hash);
    Ok(())
}

/// A change of a plan as it is sent.
pub fn sent(plan: &Plan, change: PlannedChange, bodies: &mut Bodies) -> Result<TargetChange> {
    let (key, set, unset) = match change.value {
        PlannedValue::Packed(loc, _, _) => {
            let body = bodies.get(plan.pack(), loc)?;
            let body = body.body()?;
            (body.key(), body.attributes.to_vec(), Vec::new())
        }
        PlannedValue::Whole(key, after) => (key, after, Vec::new()),
        PlannedValue::Patch(key, before, after) => {
            let patch = Patch { before, after };
            let unset = patch.unset();
            (key, patch.after, unset)
        }
        PlannedValue::Gone(key, _) => (key, b"{}".to_vec(), Vec::new()),
    };
    Ok(TargetChange { action: change.action, key, set, unset, replace: change.replace })
}

/// What an operation does: `create 3 entities, delete 1 relationship`.
pub fn told(changes: &[TargetChange]) -> String {
    let mut counts: BTreeMap<(Kind, Action), u64> = BTreeMap::new();
    for change in changes {
        *counts.entry((change.key.kind(), change.action)).or_default() += 1;
    }
    let told = counts.into_iter().map(|((kind, action), count)| {
        let kind = match (kind, count) {
            (Kind::Entity, 1) => "entity",
            (Kind::Entity, _) => "entities",
            (Kind::Relationship, 1) => "relationship",
            (Kind::Relationship, _) => "relationships",
        };
        format!("{} {count} {kind}", action.as_str())
    });
    told.collect::<Vec<_>>().join(", ")
}

/// What an operation's outcomes add to the batch's metrics.
pub fn metrics(changes: &[TargetChange], fates: &[Fate]) -> BatchMetrics {
    let mut metrics = BatchMetrics::default();
    for (change, fate) in changes.iter().zip(fates) {
        match fate {
            Fate::Rejected(_) | Fate::Waits | Fate::Unsent | Fate::Unsure => continue,
            Fate::Done => {}
        }
        let slot = match (change.key.kind(), change.action) {
            (Kind::Entity, Action::Create) => &mut metrics.entities_created,
            (Kind::Entity, Action::Update) => &mut metrics.entities_updated,
            (Kind::Entity, Action::Delete) => &mut metrics.entities_deleted,
            (Kind::Relationship, Action::Create) => &mut metrics.relationships_created,
            (Kind::Relationship, Action::Update) => &mut metrics.relationships_updated,
            (Kind::Relationship, Action::Delete) => &mut metrics.relationships_deleted,
        };
        *slot += 1;
    }
    metrics
}

/// Adds one batch's metrics to another's.
pub fn add(total: &mut BatchMetrics, more: &BatchMetrics) {
    total.entities_created += more.entities_created;
    total.entities_updated += more.entities_updated;
    total.entities_deleted += more.entities_deleted;
    total.relationships_created += more.relationships_created;
    total.relationships_updated += more.relationships_updated;
    total.relationships_deleted += more.relationships_deleted;
    total.execution_time_ms += more.execution_time_ms;
}
