//! Executing a plan: operation by operation, each journalled before it is
//! sent and after its outcome is known. Makes no choices of its own.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::ahead::Ahead;
use super::crash::CrashPoints;
use super::going::Going;
use super::isolate::Density;
use super::operation::{self, MissingEnd, Prepared, Refusals, prepare_at_once};
use super::outcome::{Ended, Executed, Refused};
use super::send::{Fate, Fates, SendCounts, Sender, Stopped};
use super::suspect::Suspect;
use crate::clock::Clock;
use crate::domain::change::{Action, Rejection};
use crate::domain::completion::Completion;
use crate::domain::ids::{BatchId, OperationNo};
use crate::domain::isolation::IsolationLimit;
use crate::domain::key::{Key, KeyHash};
use crate::domain::publish_state::BatchMetrics;
use crate::domain::retry::RetrySettings;
use crate::error::{Answer, Error, ErrorKind, Result, Retry};
use crate::planning::bodies::Bodies;
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
    /// The same of what the journal has from before: it took no time now.
    pub resumed: &'a (dyn Fn(Completion) + Sync),
    /// Whether what is sent is suspected of failures.
    pub suspect: Suspect,
}

/// The state of one execution.
struct Run<'a> {
    plan: &'a Plan,
    batch: &'a BatchId,
    limit: &'a IsolationLimit,
    /// Operations, and changes in all of them.
    count: u32,
    total: u64,
    journal: HashMap<OperationNo, Journalled>,
    bodies: Bodies,
    ahead: Ahead<'a>,
    sender: Sender<'a>,
    refusals: Refusals,
    /// Their keys.
    failed: HashMap<KeyHash, Key>,
    /// Relationships that wait for an end that was refused.
    waiting: HashSet<KeyHash>,
    /// What the target said of the last refused change.
    last_answer: String,
    out: Executed,
    /// Operations that were executed, where the plan is not.
    executed: Vec<OperationNo>,
    /// When the next operation was marked as sent, with the one before.
    marked: Option<Timestamp>,
}

/// What the journal has of an operation; what was refused, and why, is read
/// when it is needed.
enum Journalled {
    Sent(Timestamp),
    Done { refused: bool, metrics: BatchMetrics },
}

impl Journalled {
    fn of(entry: JournalEntry) -> Self {
        match entry {
            JournalEntry::Sent { at } => Self::Sent(at),
            JournalEntry::Done { rejected, metrics, .. } => {
                Self::Done { refused: !rejected.is_empty(), metrics }
            }
        }
    }
}

/// Where the reasons of an operation's refusals are, from then on.
#[derive(Clone, Copy)]
enum Kept {
    Journal,
    Memory,
}

/// What becomes of an operation, before it is read.
enum Before {
    /// It is executed, or its journal entry is taken.
    Do,
    /// It is passed over: nobody knows of it.
    Unsure(Going),
    /// Execution ends before it.
    End(Going),
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
        let total = manifest.operations.iter().map(|op| u64::from(op.changes)).sum();
        let mut journal = HashMap::new();
        self.store.read(|view| {
            view.each_journal_entry(plan_id, |no, entry| {
                journal.insert(no, Journalled::of(entry));
            })
        })?;
        let mut run = Run {
            plan,
            batch,
            limit,
            count: manifest.operations.len() as u32,
            total,
            journal,
            bodies: Bodies::new()?,
            ahead: Ahead::new(plan)?,
            sender: Sender {
                target: self.target,
                clock: self.clock,
                retry: self.retry,
                crash: self.crash,
                going: self.going,
                most_parts: limit.requests,
                density: Density::default(),
                suspect: self.suspect,
                counts: SendCounts::default(),
            },
            refusals: Refusals::default(),
            failed: HashMap::new(),
            waiting: HashSet::new(),
            last_answer: String::new(),
            out: Executed::new(Completion::planned(
                total,
                manifest.reject_count,
                manifest.header.summary.skipped(),
            )),
            executed: Vec::new(),
            marked: None,
        };
        // Why and before which operation it ends early.
        let mut early: Option<(OperationNo, Going)> = None;
        for no in (0..run.count).map(OperationNo) {
            match self.before(&run, no)? {
                Before::Do => {}
                Before::Unsure(going) => {
                    early.get_or_insert((no, going));
                    run.pass_over(no)?;
                    continue;
                }
                Before::End(going) => {
                    early.get_or_insert((no, going));
                    break;
                }
            }
            let end = match run.journal.remove(&no) {
                Some(Journalled::Done { refused, metrics }) => {
                    self.take(&mut run, no, refused, &metrics)?;
                    None
                }
                Some(Journalled::Sent(at)) => self.send(&mut run, no, Some(at))?,
                None => self.send(&mut run, no, None)?,
            };
            if let Some(end) = end {
                return run.ended(end);
            }
            if run.is_too_many() {
                let error = run.too_many();
                run.out.at = Some(run.place(no));
                return run.ended(Ended::Failed(error));
            }
        }
        match early {
            None => Ok(run.whole()),
            Some((no, going)) => {
                let end = run.early(no, going);
                run.out.at = Some(run.place(no));
                run.ended(end)
            }
        }
    }

    fn before(&self, run: &Run<'_>, no: OperationNo) -> Result<Before> {
        match (self.going)() {
            Going::On => Ok(Before::Do),
            Going::Stopped => Err(run.stopped(no)),
            going @ (Going::Cancelled | Going::Paused(..)) => Ok(match run.journal.get(&no) {
                Some(Journalled::Done { .. }) => Before::Do,
                Some(Journalled::Sent(_)) => Before::Unsure(going),
                None => Before::End(going),
            }),
        }
    }

    /// Takes an operation whose outcome the journal has.
    fn take(&self, run: &mut Run<'_>, no: OperationNo, refused: bool, metrics: &BatchMetrics) -> Result<()> {
        operation::add(&mut run.out.metrics, metrics);
        let mut told = Completion::all_done(run.changes_of(no));
        if refused || !run.refusals.keys.is_empty() {
            let plan_id = &run.plan.manifest().header.plan_id;
            let rejected = self.store.read(|view| view.rejections(plan_id, no))?;
            let (prepared, skipped) = run.prepare(no)?;
            let refused = run.refuse(no, &prepared.changes, &prepared.hashes, &rejected, Kept::Journal);
            told = outcome_of(&prepared.changes, skipped, refused);
        }
        run.sender.suspect.vouched |= told.done > 0;
        run.executed.push(no);
        run.out.completion = run.out.completion.plus(&told);
        (self.resumed)(told);
        Ok(())
    }

    /// Sends an operation and journals its outcome. `before`: when it was
    /// perhaps sent before. Returns how the execution ends, if it does.
    fn send(&self, run: &mut Run<'_>, no: OperationNo, before: Option<Timestamp>) -> Result<Option<Ended>> {
        let started = self.clock.monotonic();
        let (prepared, skipped) = run.prepare(no)?;
        let header = &run.plan.manifest().header;
        // The same request each time, by the journal.
        let at = match before.or(run.marked) {
            Some(at) => at,
            None => {
                let (id, at) = (header.plan_id.clone(), self.clock.now());
                self.store.write(move |tx| tx.put_journal(&id, no, &JournalEntry::Sent { at }))?;
                at
            }
        };
        let operation = Operation {
            plan_id: header.plan_id.clone(),
            no,
            part: None,
            source_id: header.source_id.clone(),
            batch_id: run.batch.clone(),
            at,
            changes: prepared.changes,
        };
        let mut fates = run.request(&operation, before.is_some())?;
        self.mark_missing(&operation, &mut fates.changes);
        let mut metrics = operation::metrics(&operation.changes, &fates.changes);
        let elapsed = self.clock.monotonic().saturating_sub(started);
        metrics.execution_time_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        operation::add(&mut run.out.metrics, &metrics);
        let rejected = rejections(&fates.changes);
        match fates.stopped {
            None => {}
            Some(Stopped::Interrupted) => return Err(run.stopped(no)),
            // Trying again makes no difference: it goes on from its journal
            // when what is wrong here was mended.
            Some(Stopped::Failed(error)) if error.kind().info().retry == Retry::Never => {
                return Err(error.context(format!("batch {}", run.batch)));
            }
            Some(why) => {
                run.out.at = Some(format!("{}: {}", run.place(no), operation::told(&operation.changes)));
                run.out.unjournalled = metrics;
                let refused = run.refuse(no, &operation.changes, &prepared.hashes, &rejected, Kept::Memory);
                let done = run.take_rest(&operation, &prepared.hashes, &fates.changes);
                self.tell(run, Completion { done, skipped: refused.skipped + skipped, ..refused });
                return Ok(Some(match why {
                    Stopped::Failed(error) => {
                        let place = format!("batch {}, {}", run.batch, run.place(no));
                        Ended::Later(error.context(place))
                    }
                    Stopped::TooManyFailures(error) => {
                        let place = format!("batch {}, {}", run.batch, run.place(no));
                        let many =
                            "too many requests failed while the changes that lead to it were looked for";
                        Ended::Failed(error.context(many).context(place))
                    }
                    Stopped::Early(going) => run.early(no, going),
                    Stopped::TooMany | Stopped::TooManyRequests | Stopped::Interrupted => {
                        Ended::Failed(run.too_many())
                    }
                }));
            }
        }
        run.executed.push(no);
        let refused = run.refuse(no, &operation.changes, &prepared.hashes, &rejected, Kept::Journal);
        let told = outcome_of(&operation.changes, skipped, refused);
        self.journal(run, no, rejected, metrics, told)?;
        self.tell(run, told);
        Ok(None)
    }

    /// Of refused updates: which the target refuses because it does not have
    /// what they change. What it holds is then not what the snapshot says.
    fn mark_missing(&self, operation: &Operation, fates: &mut [Fate]) {
        let refused: Vec<usize> = (operation.changes.iter().zip(&*fates).enumerate())
            .filter(|(_, (change, fate))| match fate {
                Fate::Rejected(rejection) => {
                    change.action == Action::Update && !change.replace && rejection.code.is_empty()
                }
                Fate::Done | Fate::Waits | Fate::Unsent | Fate::Unsure => false,
            })
            .map(|(n, _)| n)
            .collect();
        if refused.is_empty() {
            return;
        }
        let keys: Vec<Key> = refused.iter().map(|n| operation.changes[*n].key.clone()).collect();
        let held = match self.target.read(&keys) {
            Ok(held) => held,
            Err(error) => {
                // Then they count as refused for what they bring.
                tracing::debug!(batch = %operation.batch_id, %error, "refused keys can't be read");
                return;
            }
        };
        for (n, held) in refused.into_iter().zip(held) {
            if held.is_none_or(|held| held.archived)
                && let Some(Fate::Rejected(rejection)) = fates.get_mut(n)
            {
                ErrorKind::EntityMissing.info().code.clone_into(&mut rejection.code);
            }
        }
    }

    /// Journals an outcome, and with it that the next operation is about to
    /// be sent, unless it may not be.
    fn journal(
        &self,
        run: &mut Run<'_>,
        no: OperationNo,
        rejected: Vec<(u32, Rejection)>,
        metrics: BatchMetrics,
        told: Completion,
    ) -> Result<()> {
        let next = OperationNo(no.0 + 1);
        let may_follow = next.0 < run.count && !run.journal.contains_key(&next) && !run.is_too_many();
        let marked = may_follow.then_some(next);
        let (id, at) = (run.plan.manifest().header.plan_id.clone(), self.clock.now());
        run.marked = marked.map(|_| at);
        let (batch, completion) = (run.batch.clone(), run.out.completion.plus(&told));
        let entry = JournalEntry::Done { at, rejected, metrics };
        self.store.write(move |tx| {
            tx.put_journal(&id, no, &entry)?;
            if let Some(next) = marked {
                tx.put_journal(&id, next, &JournalEntry::Sent { at })?;
            }
            let mut record = tx.expect_batch(&batch)?;
            operation::add(record.metrics.get_or_insert_default(), &metrics);
            record.completion = Some(completion);
            tx.put_batch(&record)
        })
    }

    fn tell(&self, run: &mut Run<'_>, more: Completion) {
        run.out.completion = run.out.completion.plus(&more);
        (self.progress)(more);
    }
}

/// What became of an operation that was done to its end: `skipped` changes
/// were not sent, and these of those that were sent failed or wait.
fn outcome_of(sent: &[TargetChange], skipped: u64, refused: Completion) -> Completion {
    let done = (sent.len() as u64).saturating_sub(refused.failed + refused.skipped);
    Completion { done, skipped: refused.skipped + skipped, ..refused }
}

fn rejections(fates: &[Fate]) -> Vec<(u32, Rejection)> {
    let rejected = fates.iter().enumerate().filter_map(|(n, fate)| match fate {
        Fate::Rejected(rejection) => Some((n as u32, rejection.clone())),
        // Taken as one that waits, for its end was refused before it.
        Fate::Waits => Some((n as u32, Rejection::default())),
        Fate::Done | Fate::Unsent | Fate::Unsure => None,
    });
    rejected.collect()
}

impl Run<'_> {
    fn changes_of(&self, no: OperationNo) -> u64 {
        u64::from(self.plan.manifest().operations[no.0 as usize].changes)
    }

    fn place(&self, no: OperationNo) -> String {
        format!("operation {} of {}", no.0.saturating_add(1), self.count)
    }

    fn stopped(&self, no: OperationNo) -> Error {
        let text = format!("batch {}: stopped before operation {no} of {}", self.batch, self.count);
        Error::new(ErrorKind::Interrupted, text)
    }

    /// Whether an operation arrived before the process ended nobody knows.
    fn pass_over(&mut self, no: OperationNo) -> Result<()> {
        self.out.given_up = true;
        let (plan, bodies, unsure) = (self.plan, &mut self.bodies, &mut self.out.outcome.unsure);
        plan.operation(no, |change| {
            unsure.push(key_of(plan, &change, bodies)?);
            Ok(())
        })
    }

    /// Reads an operation. With it how many of its changes are not sent.
    fn prepare(&mut self, no: OperationNo) -> Result<(Prepared, u64)> {
        let mut prepared = match self.ahead.take(no, &self.refusals) {
            Some(prepared) => prepared,
            None => prepare_at_once(self.plan, no, &self.refusals, &mut self.bodies)?,
        };
        self.out.outcome.unsure.append(&mut prepared.unsure);
        self.waiting.extend(prepared.left_out.drain(..));
        let skipped = self.changes_of(no).saturating_sub(prepared.changes.len() as u64);
        Ok((prepared, skipped))
    }

    /// Has an operation sent, and the next one prepared beside it.
    fn request(&mut self, operation: &Operation, known: bool) -> Result<Fates> {
        if operation.changes.is_empty() {
            return Ok(Fates { changes: Vec::new(), stopped: None });
        }
        let refused = self.refusals.keys.len() as u64;
        let allowed = self.limit.allowed(self.total).saturating_sub(refused);
        let next = OperationNo(operation.no.0 + 1);
        let sender = &mut self.sender;
        if refused == 0 && !self.journal.contains_key(&next) {
            return self.ahead.beside(next, || Ok(sender.send(operation, allowed, known)));
        }
        Ok(sender.send(operation, allowed, known))
    }

    /// Takes the refused changes of an operation: how many failed, and how
    /// many wait for an end that did.
    fn refuse(
        &mut self,
        operation: OperationNo,
        changes: &[TargetChange],
        hashes: &[KeyHash],
        rejected: &[(u32, Rejection)],
        kept: Kept,
    ) -> Completion {
        let mut told = Completion::default();
        for (n, rejection) in rejected {
            let (Some(change), Some(hash)) = (changes.get(*n as usize), hashes.get(*n as usize)) else {
                continue;
            };
            // It came in one operation with an end that was refused: it waits
            // for it, as it would have had it come later.
            match self.refusals.end_of(change) {
                Some(MissingEnd::Missing) if !change.replace => {
                    told.skipped += 1;
                    self.waiting.insert(*hash);
                    continue;
                }
                Some(MissingEnd::Missing | MissingEnd::Unknown) => {
                    told.skipped += 1;
                    self.waiting.insert(*hash);
                    self.out.outcome.unsure.push(change.key.clone());
                    continue;
                }
                None => {}
            }
            told.failed += 1;
            let missing = rejection.code == ErrorKind::EntityMissing.info().code;
            self.refusals.add(*hash, change, rejection.unsure || missing);
            self.out.given_up |= rejection.unsure;
            if rejection.unsure || missing {
                self.out.outcome.unsure.push(change.key.clone());
            }
            self.failed.insert(*hash, change.key.clone());
            let words = if rejection.answer.is_empty() { &rejection.reason } else { &rejection.answer };
            self.last_answer.clone_from(words);
            let rejection = match kept {
                Kept::Journal => None,
                Kept::Memory => Some(rejection.clone()),
            };
            self.out.refused.push(Refused { hash: *hash, operation, place: *n, rejection });
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
                Fate::Unsure => {
                    self.out.given_up = true;
                    self.out.outcome.unsure.push(change.key.clone());
                }
                Fate::Rejected(_) | Fate::Waits | Fate::Unsent => {}
            }
        }
        done
    }

    fn is_too_many(&self) -> bool {
        self.limit.exceeded(self.refusals.keys.len() as u64, self.total)
    }

    fn too_many(&self) -> Error {
        let (batch, refused, total) = (self.batch, self.refusals.keys.len(), self.total);
        let text = if self.is_too_many() {
            format!(
                "batch {batch}: the target refused {refused} of {total} changes, more than the isolation limit allows"
            )
        } else {
            format!(
                "batch {batch}: the target refused {refused} of {total} changes so far, and more requests would be needed to find the others than the {} that the isolation limit allows",
                self.limit.requests
            )
        };
        // One of them stands for all.
        let answer = Answer { text: self.last_answer.clone(), ..Answer::default() };
        Error::new(ErrorKind::TooManyRefused, text).with_answer(answer)
    }

    /// It ends before an operation, or within it, for a reason of ours.
    fn early(&self, no: OperationNo, going: Going) -> Ended {
        match going {
            Going::Paused(kind, why) => {
                Ended::Later(Error::new(kind, format!("batch {}: {why}", self.batch)))
            }
            Going::On | Going::Stopped | Going::Cancelled => {
                let place = self.place(no);
                let text = format!("batch {} was cancelled before the end of {place}", self.batch);
                Ended::Failed(Error::new(ErrorKind::Cancelled, text))
            }
        }
    }

    /// Everything was done, or refused.
    fn whole(mut self) -> Executed {
        self.out.outcome.complete = true;
        self.out.outcome.failed = self.failed;
        self.out.counts = self.sender.counts;
        self.out.given_up |= self.sender.suspect.given_up;
        self.out
    }

    /// It ends before all was done: the keys whose changes were published.
    fn ended(mut self, end: Ended) -> Result<Executed> {
        for no in &self.executed {
            self.plan.operation(*no, |change| {
                if !self.refusals.keys.contains(&change.hash) && !self.waiting.contains(&change.hash) {
                    self.out.outcome.done.insert(change.hash);
                }
                Ok(())
            })?;
        }
        self.out.outcome.failed = self.failed;
        self.out.counts = self.sender.counts;
        self.out.given_up |= self.sender.suspect.given_up;
        self.out.end = end;
        Ok(self.out)
    }
}
