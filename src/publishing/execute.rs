//! Executing a plan: operation by operation, each journalled before it is
//! sent and after its outcome is known. Makes no choices of its own.

use std::collections::{HashMap, HashSet};

use super::crash::{CrashPoints, Point};
use super::operation::{self, MissingEnd, Prepared, Refusals, prepare, prepare_at_once};
use crate::clock::Clock;
use crate::domain::ids::{BatchId, OperationNo};
use crate::domain::isolation::IsolationLimit;
use crate::domain::key::{Key, KeyHash};
use crate::domain::publish_state::BatchMetrics;
use crate::error::{Error, ErrorKind, Result};
use crate::planning::bodies::Bodies;
use crate::planning::next::PlanOutcome;
use crate::planning::plan_file::Plan;
use crate::planning::unsure::key_of;
use crate::store::{JournalEntry, Store};
use crate::targets::{ChangeOutcome, Operation, Target};

/// What execution works with.
pub struct Executor<'a> {
    /// Where the journal is.
    pub store: &'a Store,
    /// Where the plan is executed.
    pub target: &'a dyn Target,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Where a test may kill the process.
    pub crash: &'a CrashPoints,
    /// Whether to go on, asked between operations.
    pub going: &'a (dyn Fn() -> Going + Sync),
    /// Called with the number of changes done.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// Whether an execution goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Going {
    /// It does.
    On,
    /// The process is to stop: it goes on from its journal at the next start.
    Stopped,
    /// A person cancelled the batch: it ends with what was published.
    Cancelled,
}

/// A change that the target refused.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Its key.
    pub key: Key,
    /// Its value as it was sent.
    pub content: Vec<u8>,
    /// The target's reason.
    pub reason: String,
}

/// How an execution ended.
pub struct Executed {
    /// What the next snapshot is made from.
    pub outcome: PlanOutcome,
    /// Changes that the target refused.
    pub refused: Vec<Refused>,
    /// What was done, over all attempts at this plan.
    pub metrics: BatchMetrics,
    /// Set when so much was refused that the batch fails as a whole, or when
    /// it was cancelled.
    pub failed: Option<Error>,
}

/// The next operation, read and unpacked while the target works on this one.
struct Ahead<'a> {
    plan: &'a Plan,
    bodies: Bodies,
    prepared: Option<(OperationNo, Prepared)>,
}

/// Operations of fewer changes are not worth a thread.
const WORTH_A_THREAD: u32 = 256;

impl Ahead<'_> {
    /// Runs `work`, and prepares operation `next` beside it as if nothing will
    /// have been refused.
    fn beside<T>(&mut self, next: OperationNo, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let operation = self.plan.manifest().operations.get(next.0 as usize);
        if operation.is_none_or(|operation| operation.changes < WORTH_A_THREAD) {
            return work();
        }
        let (plan, bodies) = (self.plan, &mut self.bodies);
        let (done, prepared) = std::thread::scope(|scope| {
            let thread = scope.spawn(move || prepare(plan, next, &Refusals::default(), bodies));
            let done = work();
            match thread.join() {
                Ok(prepared) => (done, prepared),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        let done = done?;
        self.prepared = Some((next, prepared?));
        Ok(done)
    }

    /// What was prepared of an operation, if that still holds.
    fn take(&mut self, no: OperationNo, refusals: &Refusals) -> Option<Prepared> {
        let (prepared_no, prepared) = self.prepared.take()?;
        (prepared_no == no && refusals.keys.is_empty()).then_some(prepared)
    }
}

impl Executor<'_> {
    /// Executes what the journal does not have yet.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when the process is to stop; failures of
    /// store and target. The journal has everything that was done.
    pub fn run(&self, plan: &Plan, batch: &BatchId, limit: &IsolationLimit) -> Result<Executed> {
        let manifest = plan.manifest();
        let plan_id = &manifest.header.plan_id;
        let journal: HashMap<OperationNo, JournalEntry> =
            self.store.read(|view| view.journal(plan_id))?.into_iter().collect();
        let total: u64 = manifest.operations.iter().map(|op| u64::from(op.changes)).sum();
        let mut bodies = Bodies::new()?;
        let mut refusals = Refusals::default();
        let mut out = Executed {
            outcome: PlanOutcome::default(),
            refused: Vec::new(),
            metrics: BatchMetrics::default(),
            failed: None,
        };
        let count = manifest.operations.len() as u32;
        let mut sent_ahead = false;
        let mut ahead = Ahead { plan, bodies: Bodies::new()?, prepared: None };
        // Operations that were executed, of a batch that was cancelled.
        let mut executed: Vec<OperationNo> = Vec::new();
        let mut cancelled: Option<OperationNo> = None;
        for no in (0..count).map(OperationNo) {
            let known = journal.get(&no);
            match (self.going)() {
                Going::On => {}
                Going::Stopped => {
                    let text = format!("batch {batch}: stopped before operation {no} of {count}");
                    return Err(Error::new(ErrorKind::Interrupted, text));
                }
                Going::Cancelled => match known {
                    Some(JournalEntry::Done { .. }) => {}
                    Some(JournalEntry::Sent { .. }) => {
                        // Whether it arrived before the process ended nobody knows.
                        cancelled.get_or_insert(no);
                        plan.operation(no, |change| {
                            out.outcome.unsure.push(key_of(plan, &change, &mut bodies)?);
                            Ok(())
                        })?;
                        continue;
                    }
                    None => {
                        cancelled.get_or_insert(no);
                        break;
                    }
                },
            }
            executed.push(no);
            let mut rejected: Vec<(u32, String)> = match known {
                Some(JournalEntry::Done { rejected, metrics, .. }) => {
                    operation::add(&mut out.metrics, metrics);
                    if rejected.is_empty() && refusals.keys.is_empty() {
                        (self.progress)(u64::from(manifest.operations[no.0 as usize].changes));
                        continue;
                    }
                    rejected.clone()
                }
                Some(JournalEntry::Sent { .. }) | None => Vec::new(),
            };
            let prepared = match ahead.take(no, &refusals) {
                Some(prepared) => prepared,
                None => prepare_at_once(plan, no, &refusals, &mut bodies)?,
            };
            out.outcome.unsure.extend(prepared.unsure);
            if !matches!(known, Some(JournalEntry::Done { .. })) {
                let started = self.clock.monotonic();
                if known.is_none() && !sent_ahead {
                    let (id, at) = (plan_id.clone(), self.clock.now());
                    self.store.write(move |tx| tx.put_journal(&id, no, &JournalEntry::Sent { at }))?;
                }
                let operation = Operation {
                    plan_id: plan_id.clone(),
                    no,
                    source_id: manifest.header.source_id.clone(),
                    batch_id: batch.clone(),
                    at: self.clock.now(),
                    changes: prepared.changes,
                };
                let next = OperationNo(no.0 + 1);
                let outcomes = if operation.changes.is_empty() {
                    Vec::new()
                } else if refusals.keys.is_empty() && !journal.contains_key(&next) {
                    ahead.beside(next, || self.target.apply(&operation))?
                } else {
                    self.target.apply(&operation)?
                };
                self.crash.reached(Point::Target);
                if outcomes.len() != operation.changes.len() {
                    let text = format!(
                        "batch {batch}: the target answered for {} of {} changes of operation {no}",
                        outcomes.len(),
                        operation.changes.len()
                    );
                    return Err(Error::new(ErrorKind::TargetFailed, text));
                }
                let mut metrics = operation::metrics(&operation.changes, &outcomes);
                let elapsed = self.clock.monotonic().saturating_sub(started);
                metrics.execution_time_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                operation::add(&mut out.metrics, &metrics);
                for (n, outcome) in outcomes.into_iter().enumerate() {
                    match outcome {
                        ChangeOutcome::Done => {}
                        ChangeOutcome::Rejected(reason) => rejected.push((n as u32, reason)),
                    }
                }
                // The next operation is marked as sent in the same commit,
                // unless it may not be sent.
                sent_ahead = next.0 < count && !journal.contains_key(&next);
                let ahead = sent_ahead.then_some(next);
                let (id, at, batch) = (plan_id.clone(), self.clock.now(), batch.clone());
                let entry = JournalEntry::Done { at, rejected: rejected.clone(), metrics };
                self.store.write(move |tx| {
                    tx.put_journal(&id, no, &entry)?;
                    if let Some(next) = ahead {
                        tx.put_journal(&id, next, &JournalEntry::Sent { at })?;
                    }
                    let mut record = tx.expect_batch(&batch)?;
                    operation::add(record.metrics.get_or_insert_default(), &metrics);
                    tx.put_batch(&record)
                })?;
                self.refuse(&mut out, &mut refusals, &operation.changes, &prepared.hashes, rejected);
            } else {
                self.refuse(&mut out, &mut refusals, &prepared.changes, &prepared.hashes, rejected);
            }
            (self.progress)(u64::from(manifest.operations[no.0 as usize].changes));
            if limit.exceeded(refusals.keys.len() as u64, total) {
                out.failed = Some(Error::new(
                    ErrorKind::EntityRejected,
                    format!(
                        "batch {batch}: the target refused {} of {total} changes, more than the isolation limit allows",
                        refusals.keys.len()
                    ),
                ));
                self.collect_done(plan, &executed, &refusals.keys, &mut out.outcome)?;
                return Ok(out);
            }
        }
        if let Some(no) = cancelled {
            let text = format!("batch {batch} was cancelled before operation {} of {count}", no.0 + 1);
            out.failed = Some(Error::new(ErrorKind::Cancelled, text));
            self.collect_done(plan, &executed, &refusals.keys, &mut out.outcome)?;
            return Ok(out);
        }
        out.outcome.complete = true;
        out.outcome.failed =
            out.refused.iter().map(|refused| (refused.key.hash(), refused.key.clone())).collect();
        Ok(out)
    }

    fn refuse(
        &self,
        out: &mut Executed,
        refusals: &mut Refusals,
        changes: &[crate::targets::TargetChange],
        hashes: &[KeyHash],
        rejected: Vec<(u32, String)>,
    ) {
        for (n, reason) in rejected {
            let (Some(change), Some(hash)) = (changes.get(n as usize), hashes.get(n as usize)) else {
                continue;
            };
            // It came in one operation with an end that was refused: it waits
            // for it, as it would have had it come later.
            match refusals.end_of(change) {
                Some(MissingEnd::Missing) => continue,
                Some(MissingEnd::Unknown) => {
                    out.outcome.unsure.push(change.key.clone());
                    continue;
                }
                None => {}
            }
            refusals.add(*hash, change);
            out.refused.push(Refused { key: change.key.clone(), content: change.set.clone(), reason });
        }
    }

    /// The keys whose changes these operations published.
    fn collect_done(
        &self,
        plan: &Plan,
        executed: &[OperationNo],
        failed: &HashSet<KeyHash>,
        outcome: &mut PlanOutcome,
    ) -> Result<()> {
        for no in executed {
            plan.operation(*no, |change| {
                if !failed.contains(&change.hash) {
                    outcome.done.insert(change.hash);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
