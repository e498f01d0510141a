//! What a person can do to batches and sources. Each is journalled in the
//! timeline of the batch or source, with who did it and why, and takes effect
//! whether a server works on the data directory or not.

use super::SELF;
use super::dead_letters::taken;
use super::engine::Engine;
use super::failing::failure;
use super::pinned::pin_manifest;
use super::queue::is_parked;
use super::reopen::{Edited, Lies, Whole};
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::plan::PlanDigest;
use crate::domain::publish_state::PublishStatus;
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{
    Approval, BatchRecord, BreakerRecord, Decision, PinTask, PinWork, SourceHold, SourceHoldReason,
};

/// As what a batch is tried again, and for what.
#[derive(Default)]
pub(super) struct Retry {
    /// What a person made of its manifest.
    pub fresh: Option<BatchRecord>,
    /// Hash of the manifest that was made of, as far as it is known.
    pub shown: Option<String>,
    /// Whether its files come with it, and are not those of the copy.
    pub delivered: bool,
    /// The dead letter that is requeued, as it was at a revision.
    pub of: Option<(u64, u64)>,
}

pub(super) fn conflict(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, text)
}

impl Engine {
    /// Approves what a guard parks, or what a batch that is COMPLETE withheld;
    /// the batch that goes on. With a digest, only if it is that of the plan.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the batch does not wait for it,
    /// [`ErrorKind::PlanStale`] when the digest is another one than that of
    /// its present plan, or the plan is being made anew.
    pub fn approve(
        &self,
        id: &BatchId,
        digest: Option<PlanDigest>,
        actor: &str,
        reason: &str,
    ) -> Result<BatchRecord> {
        if self.batch(id)?.status == PublishStatus::Complete {
            return self.approve_withheld(id, digest, actor, reason);
        }
        if digest.is_some() {
            self.check_moved_on(id)?;
        }
        let (id, actor, reason) = (id.clone(), actor.to_owned(), reason.to_owned());
        self.store.write(move |tx| {
            let mut record = tx.expect_batch(&id)?;
            let plan = match &record.plan_id {
                Some(plan) if is_parked(&record) => tx.plan(plan)?,
                Some(_) | None => None,
            };
            let Some(header) = plan.and_then(|plan| plan.header) else {
                return Err(not_parked(&record, digest));
            };
            if let Some(digest) = digest.filter(|digest| *digest != header.digest) {
                let text = format!("batch {id} has a plan with digest {}, not {digest}", header.digest);
                return Err(Error::new(ErrorKind::PlanStale, text));
            }
            record.approval = Some(Approval {
                plan_id: header.plan_id,
                digest: header.digest,
                trips: header.guards,
                actor: actor.clone(),
                reason: reason.clone(),
                at: tx.now(),
            });
            record.hold = None;
            tx.put_batch(&record)?;
            tx.remark(&record, format!("approved: {reason}"), &actor)?;
            Ok(record)
        })
    }

    /// Has a parked plan made again when what is published has moved on since
    /// it was made: whoever approves it looked at something else.
    ///
    /// # Errors
    /// [`ErrorKind::PlanStale`] when it has.
    fn check_moved_on(&self, id: &BatchId) -> Result<()> {
        let record = self.batch(id)?;
        let Some(plan) = record.plan_id.as_ref().filter(|_| is_parked(&record)) else { return Ok(()) };
        let stale = match self.is_stale(plan) {
            // Whoever begins it has it made again too.
            Err(error) if error.kind() == ErrorKind::SnapshotInvalid => {
                Some(format!("the files of its plan are damaged: {error}"))
            }
            stale => stale?.map(|why| format!("what is published has moved on: {why}")),
        };
        let Some(why) = stale else { return Ok(()) };
        let (batch, plan, cause) = (id.clone(), plan.clone(), why.clone());
        self.store.write(move |tx| {
            let now = tx.expect_batch(&batch)?;
            if !is_parked(&now) || now.plan_id.as_ref() != Some(&plan) {
                return Ok(());
            }
            tx.transition_batch(&batch, Event::PlanStale, &cause, SELF, |record| record.hold = None)
                .map(|_| ())
        })?;
        self.work.notify();
        let text = format!("batch {id} is planned again, for {why}");
        Err(Error::new(ErrorKind::PlanStale, text))
    }

    /// Rejects what a guard parks: the batch asserts nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the batch is not parked.
    pub fn reject(&self, id: &BatchId, actor: &str, reason: &str) -> Result<BatchRecord> {
        let (id, actor, reason) = (id.clone(), actor.to_owned(), reason.to_owned());
        self.store.write(move |tx| {
            let record = tx.expect_batch(&id)?;
            if !is_parked(&record) {
                return Err(not_parked(&record, None));
            }
            let at = tx.now();
            let error =
                Error::new(ErrorKind::Rejected, format!("batch {id} was rejected by {actor}: {reason}"));
            let failure = failure(&id, &error, None, record.attempts);
            tx.transition_batch(&id, Event::Rejected, &reason, &actor, |record| {
                record.hold = None;
                record.failure = Some(failure);
                record.publish_end = Some(at);
            })
        })
    }

    /// Puts a batch before the batches of other sources. What is older in its
    /// own source runs before it still, and jumps with it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when it has ended.
    pub fn prioritize(&self, id: &BatchId, actor: &str, reason: &str) -> Result<BatchRecord> {
        self.set_priority(id, actor, reason, true)
    }

    /// Takes that back.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when it has ended, or has no priority.
    pub fn unprioritize(&self, id: &BatchId, actor: &str, reason: &str) -> Result<BatchRecord> {
        self.set_priority(id, actor, reason, false)
    }

    fn set_priority(&self, id: &BatchId, actor: &str, reason: &str, first: bool) -> Result<BatchRecord> {
        let (id, actor, reason) = (id.clone(), actor.to_owned(), reason.to_owned());
        self.store.write(move |tx| {
            let mut record = tx.expect_batch(&id)?;
            if record.status.is_final() {
                return Err(conflict(format!("batch {id} has ended {}", record.status.as_str())));
            }
            if !first && record.priority.is_none() {
                return Err(conflict(format!("batch {id} was not prioritised")));
            }
            let decision = Decision { actor: actor.clone(), reason: reason.clone(), at: tx.now() };
            record.priority = first.then_some(decision);
            tx.put_batch(&record)?;
            let what = if first { "prioritised" } else { "no longer prioritised" };
            tx.remark(&record, format!("{what}: {reason}"), &actor)?;
            Ok(record)
        })
    }

    /// Cancels a batch. One that is being executed ends between two
    /// operations, and its snapshot holds what was published; every other ends
    /// at once.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when it has ended, or was cancelled before.
    pub fn cancel(&self, id: &BatchId, actor: &str, reason: &str) -> Result<BatchRecord> {
        let (batch, actor, reason) = (id.clone(), actor.to_owned(), reason.to_owned());
        let record = self.store.write(move |tx| {
            let mut record = tx.expect_batch(&batch)?;
            match record.status {
                PublishStatus::Complete | PublishStatus::Failed => {
                    Err(conflict(format!("batch {batch} has ended {}", record.status.as_str())))
                }
                PublishStatus::Executing if record.cancel.is_some() => {
                    Err(conflict(format!("batch {batch} was cancelled before; it is coming to its end")))
                }
                PublishStatus::Executing => {
                    let at = tx.now();
                    record.next_attempt = None;
                    record.cancel = Some(Decision { actor: actor.clone(), reason: reason.clone(), at });
                    tx.put_batch(&record)?;
                    tx.remark(
                        &record,
                        format!("cancelled, to end between two operations: {reason}"),
                        &actor,
                    )?;
                    Ok(record)
                }
                PublishStatus::Pending
                | PublishStatus::Planning
                | PublishStatus::PlanComplete
                | PublishStatus::Retrying => {
                    let text = format!("batch {batch} was cancelled by {actor}: {reason}");
                    let details =
                        failure(&batch, &Error::new(ErrorKind::Cancelled, text), None, record.attempts);
                    let at = tx.now();
                    tx.transition_batch(&batch, Event::Cancelled, &reason, &actor, |record| {
                        record.hold = None;
                        record.next_attempt = None;
                        record.failure = Some(details);
                        record.publish_end = Some(at);
                    })
                }
            }
        })?;
        self.work.cancel(id);
        self.work.notify();
        Ok(record)
    }

    /// Has a batch tried again: a failed one is put back into the queue with
    /// its own stamp, whatever it failed for; one that waits for its next
    /// attempt does not wait, and a target that can't be used is probed now.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when there is nothing to try again; what is wrong
    /// with the manifest that lies there now.
    pub fn retry(&self, id: &BatchId, actor: &str, reason: &str) -> Result<BatchRecord> {
        self.retry_as(id, Retry::default(), actor, reason)
    }

    /// The same, as what a person made of it, or for its dead letter.
    pub(super) fn retry_as(
        &self,
        id: &BatchId,
        Retry { fresh, shown, delivered, of }: Retry,
        actor: &str,
        reason: &str,
    ) -> Result<BatchRecord> {
        let record = self.batch(id)?;
        let is_failed = record.status == PublishStatus::Failed;
        // Perhaps it was mended where it lies; else what is left is the copy.
        let edited = fresh.as_ref().map(|record| Edited { record, of: shown.as_deref() });
        let lies = match is_failed && !delivered {
            true => self.as_it_lies(&record, edited.as_ref())?,
            false => Lies::Elsewhere,
        };
        let is_whole = matches!(lies, Lies::Whole(_));
        let anew = is_failed && record.pin.is_some() && (delivered || is_whole);
        let Whole { fresh: mended, found, brought, there } = match lies {
            Lies::Whole(whole) => *whole,
            Lies::Copied(fresh) => Whole { fresh: Some(*fresh), ..Whole::default() },
            Lies::Elsewhere | Lies::Away | Lies::Partly => Whole::default(),
        };
        let is_edited = fresh.is_some();
        // What lies there now is what is asked for.
        let reopened = mended.or(fresh.map(|edited| {
            // The edit was made of that: it is what was delivered from then on.
            let Some(manifest_hash) = there else { return edited };
            BatchRecord { manifest_hash, listing: None, ..edited }
        }));
        let files = match &reopened {
            // What was approved is of the files that were seen.
            None if is_failed && (anew || record.pin.is_none()) && record.absence.is_none() => {
                Some(self.files_as_they_are(&self.batch_of(&record)?)?)
            }
            None | Some(_) => None,
        };
        if is_edited && is_failed && !anew && record.pin.is_some() {
            // What can't be used is told now, and not when the batch fails for it.
            pin_manifest(id, &self.state.pin_path(id))?;
        }
        // The signature of its folder says nothing of what lies in folders within.
        let is_nested = self.batch_of(&record)?.files.iter().any(|file| file.listed.is_some());
        let clear = self.clearing(&record, found.is_some() || is_nested, brought);
        let target = self.settings().source(id.source()).target;
        let down = self.store.read(|view| view.breaker(&target))?.filter(BreakerRecord::is_open);
        let waits = down.is_some() || record.waits_in_execution();
        let (batch, actor, reason) = (id.clone(), actor.to_owned(), reason.to_owned());
        let record = self.store.write(move |tx| {
            if let Some((letter, revision)) = of {
                taken(tx, letter, Some(revision))?;
            }
            let mut record = tx.expect_batch(&batch)?;
            if let Some(found) = found.filter(|_| record.status == PublishStatus::Failed) {
                found.note(tx, &batch)?;
            }
            if let Some(breaker) = tx.breaker(&target)?.filter(|b| b.is_open() && !b.half_open) {
                let next_probe = tx.now();
                tx.put_breaker(&target, &BreakerRecord { next_probe, ..breaker })?;
            }
            match record.status {
                PublishStatus::Failed => {
                    let source = batch.source();
                    let failed = tx.lift_source_hold(source, SourceHoldReason::BatchFailed, Some(&batch))?;
                    if failed.is_some() {
                        let text = format!("goes on: batch {batch} is tried again: {reason}");
                        tx.note_source(source, &text, &actor)?;
                    }
                    let record = tx.transition_batch(&batch, Event::Requeued, &reason, &actor, |record| {
                        if let Some(fresh) = reopened {
                            // All else may have changed since it was read.
                            record.stamp = fresh.stamp;
                            record.url = fresh.url;
                            record.folder = fresh.folder;
                            record.workflow = fresh.workflow;
                            record.mode = fresh.mode;
                            record.scope = fresh.scope;
                            record.complexity = fresh.complexity;
                            record.estimate = fresh.estimate;
                            record.files = fresh.files;
                            record.listing = fresh.listing;
                            record.totals = fresh.totals;
                            record.manifest_hash = fresh.manifest_hash;
                        }
                        if let Some(files) = files {
                            record.files = files;
                        }
                        // Also one that was finished since it was looked at.
                        if delivered || is_whole {
                            record.pin = None;
                        }
                        record.failure = None;
                        record.publish_end = None;
                        record.hold = None;
                        record.approval = None;
                        record.cancel = None;
                        record.completion = None;
                        record.attempts = 0;
                        record.retry = None;
                        record.next_attempt = None;
                    })?;
                    if !is_edited
                        && let Some(letter) = tx.batch_letter(&batch)?.filter(|l| l.edited.is_some())
                    {
                        let id = letter.id;
                        let text = format!("the edit of dead letter {id} is kept: `tidegate dlq requeue {id}` tries it, should this fail");
                        tx.remark(&record, text, SELF)?;
                    }
                    if is_edited && record.pin.is_some() {
                        tx.set_pin_work(&batch, Some(&PinWork::new(PinTask::Tell)))?;
                    }
                    // No worker sees it before it is committed.
                    clear()?;
                    Ok(record)
                }
                PublishStatus::Retrying => {
                    record.next_attempt = None;
                    tx.put_batch(&record)?;
                    tx.remark(&record, format!("to be tried again now: {reason}"), &actor)?;
                    Ok(record)
                }
                PublishStatus::Executing | PublishStatus::Pending if waits => {
                    record.next_attempt = None;
                    tx.put_batch(&record)?;
                    tx.remark(&record, format!("to be tried again now: {reason}"), &actor)?;
                    Ok(record)
                }
                PublishStatus::Executing
                | PublishStatus::Pending
                | PublishStatus::Complete
                | PublishStatus::Planning
                | PublishStatus::PlanComplete => {
                    let text =
                        format!("batch {batch} is {}: there is nothing to try again", record.status.as_str());
                    Err(conflict(text))
                }
            }
        })?;
        if is_edited {
            self.tell_pin_now(id);
        }
        self.work.end_wait(id.source());
        self.forget_finished(&record);
        self.work.notify();
        Ok(record)
    }

    /// Pauses a source: no batch of it is begun. One that is being executed
    /// comes to its end.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when nobody knows the source,
    /// [`ErrorKind::Conflict`] when it is paused.
    pub fn pause_source(&self, source: &SourceId, actor: &str, reason: &str) -> Result<()> {
        self.expect_source(source)?;
        let (source, actor, reason) = (source.clone(), actor.to_owned(), reason.to_owned());
        self.store.write(move |tx| {
            let holds = tx.source_holds(&source)?;
            if holds.iter().any(|hold| hold.reason == SourceHoldReason::Paused) {
                return Err(conflict(format!("source {source} is paused")));
            }
            let hold = SourceHold {
                reason: SourceHoldReason::Paused,
                code: "PAUSED".into(),
                note: format!("paused by {actor}: {reason}"),
                since: tx.now(),
                batch_id: None,
            };
            tx.hold_source(&source, &hold)?;
            tx.note_source(&source, &format!("paused: {reason}"), &actor)
        })
    }

    /// Lets a source go on, whatever holds it. What is still wrong holds it
    /// again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when nobody knows the source,
    /// [`ErrorKind::Conflict`] when nothing holds it.
    pub fn resume_source(&self, source: &SourceId, actor: &str, reason: &str) -> Result<()> {
        self.expect_source(source)?;
        self.work.end_wait(source);
        let (source, actor, reason) = (source.clone(), actor.to_owned(), reason.to_owned());
        self.store.write(move |tx| {
            let holds = tx.source_holds(&source)?;
            if holds.is_empty() {
                return Err(conflict(format!("nothing holds source {source}")));
            }
            for hold in &holds {
                tx.lift_source_hold(&source, hold.reason, hold.batch_id.as_ref())?;
            }
            for plan in tx.alive_plans(None)?.into_iter().filter(|plan| *plan.batch_id.source() == source) {
                let mut batch = tx.expect_batch(&plan.batch_id)?;
                if batch.waits_in_execution() {
                    batch.next_attempt = None;
                    tx.put_batch(&batch)?;
                }
            }
            let mut was: Vec<&str> = holds.iter().map(|hold| hold.reason.as_str()).collect();
            // Several batches may have failed.
            was.dedup();
            tx.note_source(&source, &format!("resumed (was {}): {reason}", was.join(", ")), &actor)
        })
    }

    pub(super) fn expect_source(&self, source: &SourceId) -> Result<()> {
        let known = self.settings().sources.contains_key(source)
            || self
                .store
                .read(|view| Ok(view.has_batches(source)? || !view.source_holds(source)?.is_empty()))?;
        if known {
            return Ok(());
        }
        let text =
            format!("there is no source {source}: no batch of it was accepted, and no setting names it");
        Err(Error::new(ErrorKind::NotFound, text))
    }
}

/// Why a batch that is not parked can't be decided on.
fn not_parked(record: &BatchRecord, digest: Option<PlanDigest>) -> Error {
    let id = &record.batch_id;
    if let Some(approval) = record.approval.as_ref().filter(|_| !record.status.is_final()) {
        let text = format!("batch {id} was approved by {} at {}", approval.actor, approval.at);
        return conflict(text);
    }
    let planned_again =
        matches!(record.status, PublishStatus::Pending | PublishStatus::Planning) && record.plan_id.is_some();
    if digest.is_some() && planned_again {
        let text = format!("batch {id} is planned again, for what is published has moved on");
        return Error::new(ErrorKind::PlanStale, text);
    }
    conflict(format!("batch {id} does not wait for an approval"))
}
