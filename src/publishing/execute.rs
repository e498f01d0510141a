//! Executing a plan: operation by operation, each journalled before it is
//! sent and after its outcome is known. Makes no choices of its own.

use std::collections::HashMap;

use super::crash::CrashPoints;
use super::isolate::Density;
use super::operation::{self, MissingEnd, Prepared, Refusals, prepare};
use super::send::{Fate, Fates, SendCounts, Sender, Stopped};
use crate::clock::Clock;
use crate::domain::change::{Action, Rejection};
use crate::domain::completion::Completion;
use crate::domain::ids::{BatchId, OperationNo};
use crate::domain::isolation::IsolationLimit;
use crate::domain::key::{Key, KeyHash};
use crate::domain::publish_state::BatchMetrics;
use crate::domain::retry::RetrySettings;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::planning::bodies::Bodies;
use crate::planning::next::PlanOutcome;
use crate::planning::plan_file::Plan;
use crate::planning::unsure::key_of;
use crate::store::{JournalEntry, Store};
use crate::targets::{Operation, Target, TargetChange};

/// What execution works with.
pub struct Executor<'a> {
    /// Where the journal is.
    pub store: &'a Store,
    /// Where the plan is executed.
    pub target: &'a dyn Target,
    /// The time.
    pub clock: &'a dyn Clock,
    /// How requests are repeated.
    pub retry: &'a RetrySettings,
    /// Where a test may kill the process.
    pub crash: &'a CrashPoints,
    /// Whether to go on, asked between operations.
    pub going: &'a (dyn Fn() -> Going + Sync),
    /// Called when the target has answered, with how many more changes are
    /// done, refused and skipped.
    pub progress: &'a (dyn Fn(Completion) + Sync),
}

/// Whether an execution goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Going {
    /// It does.
    On,
    /// The process is to stop: it goes on from its journal at the next start.
    Stopped,
    /// A person cancelled the batch: it ends with what was published.
    Cancelled,
    /// The target or the source is to be left alone, for this reason: the
    /// batch is committed as far as it came, and goes on later.
    Paused(ErrorKind, String),
}

/// A change that the target refused.
#[derive(Debug, Clone)]
pub struct Refused {
    /// What it was to do.
    pub action: Action,
    /// Its key.
    pub key: Key,
    /// Its value as it was sent.
    pub content: Vec<u8>,
    /// Why.
    pub rejection: Rejection,
    /// The operation that it was in.
    pub operation: OperationNo,
}

/// How an execution ended.
pub struct Executed {
    /// What the next snapshot is made from.
    pub outcome: PlanOutcome,
    /// Changes that the target refused.
    pub refused: Vec<Refused>,
    /// What was done, over all attempts at this plan.
    pub metrics: BatchMetrics,
    /// What of that is in no journal entry, for its operation was not done to
    /// its end.
    pub unjournalled: BatchMetrics,
    /// How far it came.
    pub completion: Completion,
    /// Requests and retries of this process.
    pub counts: SendCounts,
    /// Why not everything was done.
    pub end: Ended,
}

/// How an execution ended.
#[derive(Debug)]
pub enum Ended {
    /// Everything was done, or refused.
    Whole,
    /// The batch fails: so much was refused, or a person cancelled it.
    Failed(Error),
    /// A failure that quick retries did not mend, or a wait that begins: what
    /// was published is committed, and the batch is planned again later.
    Later(Error),
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

/// The state of one execution.
struct Run<'a, 'b> {
    plan: &'a Plan,
    batch: &'a BatchId,
    sender: Sender<'b>,
    refusals: Refusals,
    out: Executed,
    /// Operations that were executed, where the plan is not.
    executed: Vec<OperationNo>,
}

impl Executor<'_> {
    /// Executes what the journal does not have yet.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when the process is to stop; failures of
    /// the store and of the plan's files. The journal has everything that was
    /// done.
    pub fn run(&self, plan: &Plan, batch: &BatchId, limit: &IsolationLimit) -> Result<Executed> {
        let manifest = plan.manifest();
        let plan_id = &manifest.header.plan_id;
        let journal: HashMap<OperationNo, JournalEntry> =
            self.store.read(|view| view.journal(plan_id))?.into_iter().collect();
        let total: u64 = manifest.operations.iter().map(|op| u64::from(op.changes)).sum();
        let count = manifest.operations.len() as u32;
        let mut bodies = Bodies::new()?;
        let stop = || (self.going)() == Going::Stopped;
        let mut run = Run {
            plan,
            batch,
            sender: Sender {
                target: self.target,
                clock: self.clock,
                retry: self.retry,
                crash: self.crash,
                stop: &stop,
                most_parts: limit.requests,
                density: Density::default(),
                counts: SendCounts::default(),
            },
            refusals: Refusals::default(),
            out: Executed::new(total),
            executed: Vec::new(),
        };
        let mut sent_ahead = false;
        let mut ahead = Ahead { plan, bodies: Bodies::new()?, prepared: None };
        // Why and before which operation it ends early.
        let mut early: Option<(OperationNo, Going)> = None;
        for no in (0..count).map(OperationNo) {
            let known = journal.get(&no);
            match (self.going)() {
                Going::On => {}
                Going::Stopped => return Err(stopped(batch, no, count)),
                going @ (Going::Cancelled | Going::Paused(..)) => match known {
                    Some(JournalEntry::Done { .. }) => {}
                    Some(JournalEntry::Sent { .. }) => {
                        // Whether it arrived before the process ended nobody knows.
                        early.get_or_insert((no, going));
                        plan.operation(no, |change| {
                            run.out.outcome.unsure.push(key_of(plan, &change, &mut bodies)?);
                            Ok(())
                        })?;
                        continue;
                    }
                    None => {
                        early.get_or_insert((no, going));
                        break;
                    }
                },
            }
            let changes = u64::from(manifest.operations[no.0 as usize].changes);
            let journalled: Option<Vec<(u32, Rejection)>> = match known {
                Some(JournalEntry::Done { rejected, metrics, .. }) => {
                    operation::add(&mut run.out.metrics, metrics);
                    if rejected.is_empty() && run.refusals.keys.is_empty() {
                        run.executed.push(no);
                        self.tell(&mut run.out, Completion::all_done(changes));
                        continue;
                    }
                    Some(rejected.clone())
                }
                Some(JournalEntry::Sent { .. }) | None => None,
            };
            let prepared = match ahead.take(no, &run.refusals) {
                Some(prepared) => prepared,
                None => prepare(plan, no, &run.refusals, &mut bodies)?,
            };
            let Prepared { changes: prepared, hashes, unsure } = prepared;
            run.out.outcome.unsure.extend(unsure);
            let skipped = changes.saturating_sub(prepared.len() as u64);
            if let Some(rejected) = journalled {
                let refused = run.refuse(no, &prepared, &hashes, rejected);
                let done = (prepared.len() as u64).saturating_sub(refused.failed + refused.skipped);
                let told = Completion { done, skipped: refused.skipped + skipped, ..refused };
                run.executed.push(no);
                self.tell(&mut run.out, told);
            } else {
                let started = self.clock.monotonic();
                if known.is_none() && !sent_ahead {
                    let (id, at) = (plan_id.clone(), self.clock.now());
                    self.store.write(move |tx| tx.put_journal(&id, no, &JournalEntry::Sent { at }))?;
                }
                let operation = Operation {
                    plan_id: plan_id.clone(),
                    no,
                    part: None,
                    source_id: manifest.header.source_id.clone(),
                    batch_id: batch.clone(),
                    at: self.clock.now(),
                    changes: prepared,
                };
                let next = OperationNo(no.0 + 1);
                let allowed = limit.allowed(total).saturating_sub(run.refusals.keys.len() as u64);
                let maybe_sent = known.is_some();
                let fates = if operation.changes.is_empty() {
                    Fates { changes: Vec::new(), stopped: None }
                } else if run.refusals.keys.is_empty() && !journal.contains_key(&next) {
                    ahead.beside(next, || Ok(run.sender.send(&operation, allowed, maybe_sent)))?
                } else {
                    run.sender.send(&operation, allowed, maybe_sent)
                };
                let mut metrics = operation::metrics(&operation.changes, &fates.changes);
                let elapsed = self.clock.monotonic().saturating_sub(started);
                metrics.execution_time_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                operation::add(&mut run.out.metrics, &metrics);
                let rejected: Vec<(u32, Rejection)> = rejections(&fates.changes);
                if let Some(why) = fates.stopped {
                    let later = match why {
                        Stopped::Interrupted => return Err(stopped(batch, no, count)),
                        // Trying again makes no difference: it goes on from
                        // its journal when what is wrong here was mended.
                        Stopped::Failed(error) if error.kind().info().retry == Retry::Never => {
                            return Err(error.context(format!("batch {batch}")));
                        }
                        Stopped::Failed(error) => Some(error),
                        Stopped::TooMany | Stopped::TooManyRequests => None,
                    };
                    run.out.unjournalled = metrics;
                    let refused = run.refuse(no, &operation.changes, &hashes, rejected);
                    let done = run.take_rest(&operation, &hashes, &fates.changes);
                    let told = Completion { done, skipped: refused.skipped + skipped, ..refused };
                    self.tell(&mut run.out, told);
                    let place = format!("batch {batch}, operation {} of {count}", no.0 + 1);
                    let end = match later {
                        Some(error) => Ended::Later(error.context(place)),
                        None => Ended::Failed(run.too_many(total, limit)),
                    };
                    return run.ended(end);
                }
                run.executed.push(no);
                let before = run.out.completion;
                let refused = run.refuse(no, &operation.changes, &hashes, rejected.clone());
                let done = (operation.changes.len() as u64).saturating_sub(refused.failed + refused.skipped);
                let told = Completion { done, skipped: refused.skipped + skipped, ..refused };
                let completion = before.plus(&told);
                // The next operation is marked as sent in the same commit,
                // unless it may not be sent.
                let past = limit.exceeded(run.refusals.keys.len() as u64, total);
                sent_ahead = next.0 < count && !journal.contains_key(&next) && !past;
                let ahead = sent_ahead.then_some(next);
                let (id, at, batch) = (plan_id.clone(), self.clock.now(), batch.clone());
                let entry = JournalEntry::Done { at, rejected, metrics };
                self.store.write(move |tx| {
                    tx.put_journal(&id, no, &entry)?;
                    if let Some(next) = ahead {
                        tx.put_journal(&id, next, &JournalEntry::Sent { at })?;
                    }
                    let mut record = tx.expect_batch(&batch)?;
                    operation::add(record.metrics.get_or_insert_default(), &metrics);
                    record.completion = Some(completion);
                    tx.put_batch(&record)
                })?;
                self.tell(&mut run.out, told);
            }
            if limit.exceeded(run.refusals.keys.len() as u64, total) {
                let error = run.too_many(total, limit);
                return run.ended(Ended::Failed(error));
            }
        }
        match early {
            None => {
                run.out.outcome.complete = true;
                run.out.outcome.failed =
                    run.out.refused.iter().map(|r| (r.key.hash(), r.key.clone())).collect();
                run.out.counts = run.sender.counts;
                Ok(run.out)
            }
            Some((_, Going::Paused(kind, why))) => {
                let text = format!("batch {batch}: {why}");
                run.ended(Ended::Later(Error::new(kind, text)))
            }
            Some((no, _)) => {
                let text = format!("batch {batch} was cancelled before operation {} of {count}", no.0 + 1);
                run.ended(Ended::Failed(Error::new(ErrorKind::Cancelled, text)))
            }
        }
    }

    fn tell(&self, out: &mut Executed, more: Completion) {
        out.completion = out.completion.plus(&more);
        (self.progress)(more);
    }
}

fn stopped(batch: &BatchId, no: OperationNo, count: u32) -> Error {
    Error::new(ErrorKind::Interrupted, format!("batch {batch}: stopped before operation {no} of {count}"))
}

fn rejections(fates: &[Fate]) -> Vec<(u32, Rejection)> {
    let rejected = fates.iter().enumerate().filter_map(|(n, fate)| match fate {
        Fate::Rejected(rejection) => Some((n as u32, rejection.clone())),
        Fate::Done | Fate::Unsent | Fate::Unsure => None,
    });
    rejected.collect()
}

impl Executed {
    fn new(total: u64) -> Self {
        Self {
            outcome: PlanOutcome::default(),
            refused: Vec::new(),
            metrics: BatchMetrics::default(),
            unjournalled: BatchMetrics::default(),
            completion: Completion { total, ..Completion::default() },
            counts: SendCounts::default(),
            end: Ended::Whole,
        }
    }

    /// Why the batch fails, if it does.
    pub fn failed(&self) -> Option<&Error> {
        match &self.end {
            Ended::Failed(error) => Some(error),
            Ended::Whole | Ended::Later(_) => None,
        }
    }
}

impl Run<'_, '_> {
    /// Takes the refused changes of an operation: how many failed, and how
    /// many wait for an end that did.
    fn refuse(
        &mut self,
        operation: OperationNo,
        changes: &[TargetChange],
        hashes: &[KeyHash],
        rejected: Vec<(u32, Rejection)>,
    ) -> Completion {
        let mut told = Completion::default();
        for (n, rejection) in rejected {
            let (Some(change), Some(hash)) = (changes.get(n as usize), hashes.get(n as usize)) else {
                continue;
            };
            // It came in one operation with an end that was refused: it waits
            // for it, as it would have had it come later.
            match self.refusals.end_of(change) {
                Some(MissingEnd::Missing) => {
                    told.skipped += 1;
                    continue;
                }
                Some(MissingEnd::Unknown) => {
                    told.skipped += 1;
                    self.out.outcome.unsure.push(change.key.clone());
                    continue;
                }
                None => {}
            }
            told.failed += 1;
            self.refusals.add(*hash, change);
            let (key, content) = (change.key.clone(), change.set.clone());
            let action = change.action;
            self.out.refused.push(Refused { action, key, content, rejection, operation });
        }
        told
    }

    /// Takes what was done, and what nobody knows of, of an operation that
    /// was not done to its end. How many were done.
    fn take_rest(&mut self, operation: &Operation, hashes: &[KeyHash], fates: &[Fate]) -> u64 {
        let mut done = 0;
        for ((change, hash), fate) in operation.changes.iter().zip(hashes).zip(fates) {
            match fate {
                Fate::Done => {
                    done += 1;
                    self.out.outcome.done.insert(*hash);
                }
                Fate::Unsure => self.out.outcome.unsure.push(change.key.clone()),
                Fate::Rejected(_) | Fate::Unsent => {}
            }
        }
        done
    }

    fn too_many(&self, total: u64, limit: &IsolationLimit) -> Error {
        let refused = self.refusals.keys.len();
        if !limit.exceeded(refused as u64, total) {
            let text = format!(
                "batch {}: the target refused {refused} of {total} changes so far, and more requests would be needed to find the others than the {} that the isolation limit allows",
                self.batch, limit.requests
            );
            return Error::new(ErrorKind::EntityRejected, text);
        }
        Error::new(
            ErrorKind::EntityRejected,
            format!(
                "batch {}: the target refused {} of {total} changes, more than the isolation limit allows",
                self.batch,
                self.refusals.keys.len()
            ),
        )
    }

    /// It ends before all was done: the keys whose changes were published.
    fn ended(mut self, end: Ended) -> Result<Executed> {
        for no in &self.executed {
            self.plan.operation(*no, |change| {
                if !self.refusals.keys.contains(&change.hash) {
                    self.out.outcome.done.insert(change.hash);
                }
                Ok(())
            })?;
        }
        self.out.counts = self.sender.counts;
        self.out.end = end;
        Ok(self.out)
    }
}
