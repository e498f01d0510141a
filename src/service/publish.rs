//! Executing a plan, and the commit of what came of it.

use std::sync::PoisonError;

use jiff::Timestamp;

use super::SELF;
use super::dead_letters::said_anew;
use super::engine::Engine;
use super::failing::{Exchange, failure, hold};
use super::holds::{self, applied_row};
use super::queue::is_parked;
use super::retrying::{Again, Follows};
use super::views::Phase;
use crate::domain::completion::Completion;
use crate::domain::due;
use crate::domain::ids::{SourceId, TargetName};
use crate::domain::key::Kind;
use crate::domain::publish_state::PublishStatus;
use crate::domain::stamp::Stamp;
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::planning::format::layer::CacheBudget;
use crate::planning::plan_file::Plan;
use crate::planning::snapshot::Snapshot;
use crate::planning::{next, unpublished};
use crate::publishing::execute::Executor;
use crate::publishing::going::Going;
use crate::publishing::operation;
use crate::publishing::outcome::{Ended, Executed};
use crate::store::{
    APPLIED, BatchRecord, CommitRecord, PlanState, Read, SnapshotRecord, SourceHoldReason, Tx,
};

impl Engine {
    /// Executes a plan from where its journal ends, and commits the outcome.
    pub(super) fn execute(&self, record: BatchRecord) -> Result<Option<BatchRecord>> {
        let id = &record.batch_id;
        let Some(plan_id) = &record.plan_id else {
            return Err(Error::internal(format!("batch {id} is executing and has no plan")));
        };
        let plan = Plan::open(&self.state, id.source(), plan_id)?;
        // Its plan is for the target that it was made for.
        let (name, open) = self.target_named(&plan.manifest().header.target, id.source())?;
        // One that was cancelled sends nothing more, wherever that would go.
        let just_began = self.work.just_began(id.source(), plan_id);
        if !just_began && record.cancel.is_none() && !self.work.is_cancelled(id) {
            self.check_resumed(&plan, open)?;
        }
        let changes = plan.manifest().operations.iter().map(|op| u64::from(op.changes)).sum();
        self.live.begin(id, Phase::Executing, Some(changes));
        self.progress.executing(id, changes);
        let answered = |more: Completion| {
            // It has answered: others need not wait for the end of this.
            if more.done > 0 {
                self.took(name);
            }
            if more.done + more.failed > 0
                && self.work.trial_of(name).as_ref() == Some(id.source())
                && let Err(error) = self.close_breaker(name)
            {
                tracing::debug!(batch = %id, source = %id.source(), %error, "a breaker could not be closed");
            }
            self.progress.executed(more.ended());
        };
        let executed = Executor {
            store: &self.store,
            target: &*open.target,
            clock: &*self.clock,
            retry: &self.settings().retry,
            crash: &self.crash,
            going: &|| {
                if record.cancel.is_some() || self.work.is_cancelled(id) {
                    Going::Cancelled
                } else if self.stopping() {
                    Going::Stopped
                } else {
                    self.paused(id.source(), name)
                }
            },
            progress: &|more| {
                answered(more);
                self.live.add(id, more.ended());
            },
            resumed: &|before| {
                answered(before);
                self.live.resume(id, before.ended());
            },
            suspect: self.suspect(&record, name),
        }
        .run(&plan, id, &self.settings().source(id.source()).isolation);
        self.progress.finished(id);
        tracing::debug!(batch = %id, source = %id.source(), "executed");
        let executed = match executed {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
            other => other?,
        };
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).add(&executed.counts);
        self.live.begin(id, Phase::Committing, None);
        let record = self.commit(&record, &plan, executed)?;
        self.work.succeeded(id.source());
        if record.status != PublishStatus::Retrying {
            self.goes_on(id);
        }
        // Should this be lost, the stored outcomes are only not needed.
        if let Err(error) = open.target.forget_operations(plan_id) {
            tracing::warn!(batch = %id, source = %id.source(), plan = %plan_id, %error, "the target kept outcomes that are not needed any more");
        }
        self.tidy_up(&record);
        Ok((record.status != PublishStatus::Retrying).then_some(record))
    }

    /// Whether a target and a source are to be left alone from now on.
    fn paused(&self, source: &SourceId, target: &TargetName) -> Going {
        let now = self.clock.now();
        if let Some(until) = self.settings().window_open(target, source, now) {
            let text = format!("a maintenance window is open until {}", until.strftime("%F %T UTC"));
            return Going::Paused(ErrorKind::Maintenance, text);
        }
        match self.store.read(|view| view.known_issue(target, source, None, now)) {
            Ok(Some(issue)) => {
                Going::Paused(ErrorKind::KnownIssue, format!("known issue {}: {}", issue.id, issue.note))
            }
            // A store that fails ends everything at the next write.
            Ok(None) | Err(_) => Going::On,
        }
    }

    /// Collects what the commit leaves. The batch is published, whatever
    /// becomes of this: what is left is found again after the next one.
    fn tidy_up(&self, record: &BatchRecord) {
        let source = record.batch_id.source();
        let what = format!("collecting of {source}");
        match self
            .collect(source)
            .and_then(|()| self.collect_requeues(source))
            .and_then(|()| self.collect_letters(source))
            .and_then(|()| self.keep_letters())
            .and_then(|()| self.keep_batches())
        {
            Ok(()) => drop(self.folded.over(&what)),
            Err(error) => {
                if self.folded.is_news(&what, &error.to_string()) {
                    tracing::warn!(%source, %error, "files that nothing needs could not be removed");
                }
            }
        }
    }

    /// The commit point (`SEMANTICS` 10, steps 9 and 10).
    fn commit(&self, record: &BatchRecord, plan: &Plan, executed: Executed) -> Result<BatchRecord> {
        let id = record.batch_id.clone();
        let source = id.source().clone();
        let further = executed.completion.done > 0;
        let (name, open) = self.target_named(&plan.manifest().header.target, &source)?;
        let suspicion = match &executed.end {
            Ended::Later(error) => self.suspicion(record, error, further),
            Ended::Whole | Ended::Failed(_) => None,
        };
        let down = match &executed.end {
            Ended::Later(error) => self.down(name, &source, error, suspicion),
            Ended::Whole | Ended::Failed(_) => None,
        };
        let again = match &executed.end {
            Ended::Later(error) => {
                match self.follows(record, name, error, down.as_ref(), further, suspicion)? {
                    Follows::Again(again) => Some(again),
                    Follows::Fails => None,
                }
            }
            Ended::Whole | Ended::Failed(_) => None,
        };
        let manifest = plan.manifest();
        let budget = CacheBudget::new(self.planning_options().index_memory / 2);
        let (current, held_back) = self.store.read(|view| {
            let current = view.current_snapshot(name, &source)?;
            let mut oldest: Option<Timestamp> = None;
            view.each_unfinished(&source, |other| {
                if other.batch_id == id && again.is_none() {
                    return Ok(true);
                }
                oldest = Some(other.stamp.source_timestamp);
                Ok(false)
            })?;
            let letter = view.oldest_open_letter(&source)?;
            Ok((current, oldest.into_iter().chain(letter).min()))
        })?;
        let own = match &current {
            Some(current) => Some(Snapshot::open(&self.state, &source, name, current, &budget)?),
            None => None,
        };
        let outcome = &executed.outcome;
        let unpublished = unpublished::keys(&self.state, plan, outcome)?;
        let now = self.clock.now();
        let letters = self.dead_letters(record, plan, &executed, own.as_ref())?;
        // The horizon does not pass the dead letters that this commit opens.
        let ends = matches!((&executed.end, &again), (Ended::Whole, _) | (Ended::Later(_), Some(_)));
        let opens = letters.left() > 0 || !ends;
        let held_back = held_back.into_iter().chain(opens.then_some(record.stamp.source_timestamp)).min();
        let snapshot = next::write(&self.state, plan, own.as_ref(), outcome, &unpublished, now, held_back)?;
        tracing::debug!(batch = %id, %source, "the snapshot is written");
        drop(own);
        let moot = self.moot(plan, &executed, &unpublished, &snapshot)?;
        let path = self.state.snapshot_path(&source, name, &snapshot.snapshot_id);
        let url = self.state.url_of(&path);
        let count = letters.left();
        let snapshot_record = SnapshotRecord {
            id: snapshot.snapshot_id.clone(),
            target: name.clone(),
            source: source.clone(),
            parent: snapshot.parent.clone(),
            batch_id: id.clone(),
            newest: snapshot.newest.stamp.clone(),
            created_at: snapshot.created_at,
            url: url.clone(),
            entities: snapshot.live(Kind::Entity),
            relationships: snapshot.live(Kind::Relationship),
        };
        let plan_id = manifest.header.plan_id.clone();
        let capabilities = open.target.capabilities();
        // A request without an answer may take effect as long as this.
        let lingers = (executed.given_up && !capabilities.request_limit.is_zero())
            .then_some(capabilities.request_limit);
        let Executed { outcome, unjournalled, mut completion, end, at, .. } = executed;
        if record.absence.is_some() {
            // Its bad lines are its original's, and dead letters of that.
            completion.total = completion.total.saturating_sub(manifest.reject_count);
            completion.failed = completion.failed.saturating_sub(manifest.reject_count);
        }
        let end = End::of(end, again);
        if let End::Later(error, _) = &end {
            self.tell_retry(&id, error);
        }
        let whole = snapshot.newest_of_everything().map(|info| info.stamp.clone());
        let newer = said_anew(&snapshot, record).cloned();
        let held = self.hold_after(record, end.failed(), newer.as_ref());
        // Perhaps nothing of the plan was sent: then the last one there is that
        // from before it. Any other one tells that the target is not the same.
        let unsent = !outcome.complete && outcome.done.is_empty() && capabilities.tracks_plans;
        let last = if unsent { Some(open.target.last_plan(&source)?) } else { None };
        let (retry, random) = (self.settings().retry, self.clock.random());
        let summary = manifest.header.summary;
        let exceptions = if record.letters > 0 { manifest.exceptions.clone() } else { Vec::new() };
        let target = name.clone();
        let sends_nothing = manifest.header.operations == 0;
        let record = self.store.write_much(move |tx| {
            tx.commit_snapshot(&snapshot_record)?;
            moot.resolve(tx, &id)?;
            tx.open_all_dead_letters(letters)?;
            tx.drop_journal(&plan_id)?;
            if matches!(end, End::Whole) {
                // The others that it was made of are settled with it.
                tx.reopen_skipped(&id, &exceptions)?;
                tx.count_skipped(summary.skipped())?;
            }
            let mut plan = tx.plan(&plan_id)?.ok_or_else(|| Error::internal("a plan is gone"))?;
            let now = tx.now();
            tx.end_lingering(&target, now)?;
            plan.lingers_until = lingers.map(|most| due::after(now, most));
            plan.state = match plan.lingers_until {
                Some(_) => PlanState::Lingering,
                None => PlanState::Committed,
            };
            let lingers_until = plan.lingers_until;
            tx.put_plan(&plan)?;
            if let Some(down) = &down {
                down.take(tx, &target, &retry, random)?;
            }
            let commit =
                CommitRecord { plan_id: plan_id.clone(), batch_id: id.clone(), footprint: plan.footprint };
            tx.put_commit(&target, &commit)?;
            let before_row = holds::before_row(target.as_str(), source.as_str());
            let before = tx.get(APPLIED, &before_row)?;
            if last.is_none() && !sends_nothing {
                // It is there, and the one from before it would be another target.
                tx.remove(APPLIED, before_row);
            }
            if let Some(last) = last {
                let row = applied_row(target.as_str(), source.as_str());
                let last = last.as_ref().map(|plan| plan.as_str().as_bytes());
                if before.is_none_or(|before| before == holds::before(&plan_id, last)) {
                    match last {
                        Some(last) => tx.put(APPLIED, row, last.to_vec()),
                        None => tx.remove(APPLIED, row),
                    }
                }
            }
            for other in tx.alive_plans(Some(&target))? {
                let same = *other.batch_id.source() == source && other.batch_id != id;
                if same && is_parked(&tx.expect_batch(&other.batch_id)?) {
                    let cause = format!("batch {id} was published before it: it is planned again");
                    tx.transition_batch(&other.batch_id, Event::PlanStale, &cause, SELF, |record| {
                        record.hold = None;
                    })?;
                }
            }
            if let Some(held) = &held {
                hold(tx, &id, held)?;
            } else if let Some(whole) = &whole {
                lift_hold(tx, &source, whole, whole.batch_id == id)?;
            }
            let (event, cause) = match &end {
                End::Whole => (Event::Completed, "published".to_owned()),
                End::Failed(error) if error.kind() == ErrorKind::Cancelled => {
                    (Event::Cancelled, error.to_string())
                }
                End::Failed(error) => (Event::Failed, error.to_string()),
                End::Later(error, _) => (Event::RetryScheduled, error.to_string()),
            };
            let exchange = end.failed().map(Exchange::of);
            let change = |record: &mut BatchRecord| {
                operation::add(record.metrics.get_or_insert_default(), &unjournalled);
                record.completion = Some(completion);
                record.snapshot_path = Some(url);
                record.failure = match &end {
                    End::Failed(error) => Some(failure(&id, error, at, record.attempts)),
                    End::Later(error, again) => Some(failure(&id, error, at, again.attempts)),
                    End::Whole if count > 0 => {
                        let Completion { total, done, failed, skipped } = completion;
                        let text = format!(
                            "batch {id}: of {total} lines and changes {done} published, {failed} failed, {skipped} skipped; dead letters: {count}"
                        );
                        Some(failure(&id, &Error::new(ErrorKind::Partial, text), None, record.attempts))
                    }
                    End::Whole => None,
                };
                match end {
                    End::Whole | End::Failed(_) => {
                        record.publish_end = Some(now);
                        record.retry = None;
                        record.next_attempt = None;
                    }
                    End::Later(_, again) => {
                        again.put(record);
                        record.next_attempt = record.next_attempt.max(lingers_until);
                    }
                }
            };
            let record = match event {
                Event::Failed => tx.fail_batch(&id, (&cause, SELF), newer, change),
                _ => tx.transition_batch(&id, event, &cause, SELF, change),
            }?;
            if let Some(exchange) = exchange {
                exchange.keep(tx, &id)?;
            }
            Ok(record)
        })?;
        tracing::info!(batch = %record.batch_id, source = %record.batch_id.source(), status = record.status.as_str(), "done");
        Ok(record)
    }
}

/// Ends the holds that failed batches left a source with, if the newest full
/// batch of everything without exceptions, of stamp `whole`, is newer than these.
/// `is_new`: it was published just now.
fn lift_hold(tx: &mut Tx<'_>, source: &SourceId, whole: &Stamp, is_new: bool) -> Result<()> {
    for hold in tx.source_holds(source)? {
        let failed = hold.batch_id.as_ref().map(|id| tx.batch(id)).transpose()?.flatten();
        let is_before = failed.is_none_or(|failed| failed.stamp < *whole);
        // One from the future is newer than nothing (`SEMANTICS` 1): what came since is.
        let is_bogus = is_new && hold.code == ErrorKind::FromFuture.info().code;
        if hold.reason == SourceHoldReason::BatchFailed && (is_before || is_bogus) {
            tx.lift_source_hold(source, hold.reason, hold.batch_id.as_ref())?;
            let text = format!("goes on: batch {} says everything anew", whole.batch_id);
            tx.note_source(source, &text, SELF)?;
        }
    }
    Ok(())
}

/// How a batch leaves EXECUTING.
enum End {
    /// COMPLETE.
    Whole,
    /// FAILED.
    Failed(Error),
    /// RETRYING.
    Later(Error, Again),
}

impl End {
    fn of(end: Ended, again: Option<Again>) -> Self {
        match (end, again) {
            (Ended::Whole, _) => Self::Whole,
            (Ended::Later(error), Some(again)) => Self::Later(error, again),
            // The budget is spent, or there never was one.
            (Ended::Failed(error) | Ended::Later(error), _) => Self::Failed(error),
        }
    }

    fn failed(&self) -> Option<&Error> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Whole | Self::Later(..) => None,
        }
    }
}
