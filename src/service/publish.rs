//! The way of one batch: plan, park or execute, commit.

use std::collections::HashSet;

use super::engine::Engine;
use super::queue::is_parked;
use crate::domain::change::Action;
use crate::domain::guards::{self, GuardRule};
use crate::domain::ids::BatchId;
use crate::domain::key::KeyHash;
use crate::domain::publish_state::{BatchMetrics, FailureDetails, PublishStatus};
use crate::domain::settings::OnFailure;
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::planning::format::layer::CacheBudget;
use crate::planning::next;
use crate::planning::plan_file::{Plan, PlanManifest};
use crate::planning::snapshot::{Snapshot, SnapshotManifest};
use crate::publishing::execute::{Executed, Executor};
use crate::store::{
    Approval, BatchRecord, Hold, HoldReason, PlanRecord, PlanState, Read, SnapshotRecord, SourceHold,
};

/// The actor of what the program does by itself.
const SELF: &str = "tidegate";

/// How an error is told in a publish state.
pub(super) fn failure(error: &Error, operation: Option<String>, retries: u32) -> FailureDetails {
    let info = error.kind().info();
    let causes = error.causes();
    FailureDetails {
        error_code: info.code.into(),
        error_message: format!("{}. {} {}", error.message().trim_end_matches('.'), info.meaning, info.action),
        failed_operation: operation,
        stack_trace: (!causes.is_empty()).then(|| causes.join("\n")),
        retry_count: retries,
    }
}

/// Whether an error is the batch's own, so that the batch fails and its
/// source goes on; else it concerns the machine, and the batch waits.
fn concerns_batch(kind: ErrorKind) -> bool {
    use ErrorKind::*;
    match kind {
        ManifestMissing | ManifestInvalid | ManifestMismatch | ManifestVersion | ModeMissing | FromFuture
        | TooLate | IdReused | FolderChanged | FileMissing | FileUnsafe | SizeMismatch | ChecksumMismatch
        | CountMismatch | CompressionInvalid | ExpansionLimit | TooManyBadLines | LineInvalid
        | KeyConflict | EntityRejected | PlanInvalid | Rejected | Cancelled | Superseded | Partial => true,
        Usage | Settings | NotFound | Conflict | PlanStale | Parked | SnapshotInvalid | StateForeign
        | StoreInUse | StoreNewer | StoreFailed | DiskFull | Io | ObjectStore | TargetUnavailable
        | TargetThrottled | TargetFailed | TargetMoved | Interrupted | Internal => false,
    }
}

/// The row of the store that has the last plan of a source with an operation.
fn applied_row(target: &str, source: &str) -> Vec<u8> {
    format!("applied:{target}:{source}").into_bytes()
}

impl Engine {
    /// Takes a batch as far as it goes now.
    pub(super) fn attempt(&self, mut batch: BatchRecord) -> Result<()> {
        loop {
            match batch.status {
                PublishStatus::Pending | PublishStatus::Planning | PublishStatus::Retrying => {
                    batch = self.plan_batch(batch)?;
                }
                PublishStatus::PlanComplete if !is_parked(&batch) => batch = self.begin(batch)?,
                PublishStatus::Executing => batch = self.execute(batch)?,
                PublishStatus::PlanComplete => return Ok(()),
                PublishStatus::Complete | PublishStatus::Failed => {
                    self.clear_spool(&batch);
                    return Ok(());
                }
            }
            if batch.status == PublishStatus::Retrying {
                return Ok(());
            }
            if self.stopping() {
                return Ok(());
            }
        }
    }

    fn plan_batch(&self, record: BatchRecord) -> Result<BatchRecord> {
        let id = record.batch_id.clone();
        if let Err(error) = self.check_target(&record) {
            if error.kind() != ErrorKind::TargetMoved {
                return Err(error);
            }
            self.hold_source(&record, &error)?;
            return Err(error);
        }
        let batch = self.batch_of(&record)?;
        let plan_id = self.new_plan_id()?;
        let (name, _) = self.target_of(id.source())?;
        let old_plan = record.plan_id.clone();
        let (registered, target) = (plan_id.clone(), name.clone());
        let batch_id = id.clone();
        self.store.write(move |tx| {
            let bases = tx.current_snapshots(&target)?;
            tx.put_plan(&PlanRecord {
                plan_id: registered.clone(),
                batch_id: batch_id.clone(),
                registered_at: tx.now(),
                bases,
                header: None,
                state: PlanState::Registered,
            })?;
            let now = tx.now();
            tx.transition_batch(&batch_id, Event::PlanningStarted, "its turn has come", SELF, |record| {
                record.publish_start.get_or_insert(now);
                record.plan_id = Some(registered);
                record.hold = None;
                record.next_attempt = None;
            })?;
            Ok(())
        })?;
        tracing::info!(batch = %id, source = %id.source(), plan = %plan_id, "planning");
        let manifest = match self.make_plan(&batch, plan_id.clone()) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.remove_plan_files(id.source(), &plan_id);
                if error.kind().info().retry == Retry::Delayed {
                    return self.retry_later(&id, &error);
                }
                if !concerns_batch(error.kind()) {
                    return Err(error);
                }
                return self.fail(&id, &error, Some("planning".into()));
            }
        };
        let covered = self.covered(&record, &manifest)?;
        let superseded = record.hold.is_some() || record.approval.is_some() || old_plan.is_some();
        let nothing_left = manifest.header.summary.changes() == 0 && manifest.layer.entries == 0;
        if superseded && nothing_left && self.was_parked(&id)? {
            self.remove_plan_files(id.source(), &plan_id);
            let error =
                Error::new(ErrorKind::Superseded, format!("batch {id}: newer batches left it nothing to do"));
            return self.end(&id, Event::Superseded, &error);
        }
        let path = self.state.url_of(&self.state.plan_path(id.source(), &plan_id));
        let header = manifest.header.clone();
        let batch_id = id.clone();
        let parks = !header.guards.is_empty() && !covered;
        let record = self.store.write(move |tx| {
            let reasons: Vec<&str> = header.guards.iter().map(|trip| trip.reason.as_str()).collect();
            let note = reasons.join("; ");
            let mut plan = tx.plan(&plan_id)?.ok_or_else(|| Error::internal("a plan was not registered"))?;
            plan.header = Some(header.clone());
            plan.state = PlanState::Complete;
            tx.put_plan(&plan)?;
            let now = tx.now();
            let cause =
                if parks { format!("planned; waits for approval: {note}") } else { "planned".to_owned() };
            tx.transition_batch(&batch_id, Event::PlanCompleted, &cause, SELF, |record| {
                record.plan_path = Some(path);
                record.hold = parks.then_some(Hold { reason: HoldReason::Approval, since: now, note });
            })
        })?;
        if parks {
            tracing::warn!(batch = %id, source = %id.source(), "a guard parked the plan");
        }
        Ok(record)
    }

    /// Whether the batch was parked at some time.
    fn was_parked(&self, id: &BatchId) -> Result<bool> {
        let timeline = self.store.read(|view| view.timeline(id))?;
        Ok(timeline.iter().any(|entry| entry.cause.contains("waits for approval")))
    }

    /// Whether an approval covers what a new plan trips: the same guards, and
    /// no deletion or update that the approved plan did not have
    /// (`SEMANTICS` 8).
    fn covered(&self, record: &BatchRecord, manifest: &PlanManifest) -> Result<bool> {
        let Some(approval) = &record.approval else { return Ok(false) };
        if approval.digest == manifest.header.digest {
            return Ok(true);
        }
        if !guards::covers(&approval.trips, &manifest.header.guards) {
            return Ok(false);
        }
        self.subset(record, approval, manifest)
    }

    fn subset(&self, record: &BatchRecord, approval: &Approval, manifest: &PlanManifest) -> Result<bool> {
        let source = record.batch_id.source();
        if !self.state.plan_manifest_path(source, &approval.plan_id).exists() {
            return Ok(false);
        }
        let updates = manifest.header.guards.iter().any(|trip| trip.rule == GuardRule::UpdateRatio);
        let watched = |action: Action| match action {
            Action::Delete => true,
            Action::Update => updates,
            Action::Create => false,
        };
        let approved = Plan::open(&self.state, source, &approval.plan_id)?;
        let mut known: HashSet<(KeyHash, Action)> = HashSet::new();
        approved.changes(|change| {
            if watched(change.action) {
                known.insert((change.hash, change.action));
            }
            Ok(())
        })?;
        let new = Plan::open(&self.state, source, &manifest.header.plan_id)?;
        let mut covered = true;
        new.changes(|change| {
            covered &=
                !watched(change.action) || change.moved || known.contains(&(change.hash, change.action));
            Ok(())
        })?;
        Ok(covered)
    }

    /// The target must be the one that the snapshot was published to, with
    /// what was published last (`SEMANTICS` 10).
    fn check_target(&self, record: &BatchRecord) -> Result<()> {
        let source = record.batch_id.source();
        let (name, open) = self.target_of(source)?;
        let (current, applied) = self.store.read(|view| {
            let applied = view.get(crate::store::APPLIED, &applied_row(name.as_str(), source.as_str()))?;
            Ok((view.current_snapshot(name, source)?, applied))
        })?;
        let Some(current) = current else { return Ok(()) };
        let path = self.state.snapshot_path(source, name, &current);
        let snapshot: SnapshotManifest = crate::planning::state_dir::read_checked(&path)?;
        let identity = open.target.identity()?;
        let moved = |what: String| {
            Err(Error::new(
                ErrorKind::TargetMoved,
                format!("source {source}: {what}; publishing goes on when they belong together again"),
            ))
        };
        if identity != snapshot.target_identity {
            return moved(format!(
                "the target {name} is {identity}, snapshot {current} was published to {}",
                snapshot.target_identity
            ));
        }
        let applied = applied.map(|plan| String::from_utf8_lossy(&plan).into_owned());
        let last = open.target.last_plan(source)?.map(|plan| plan.to_string());
        if applied != last {
            let text = |plan: Option<String>| plan.unwrap_or_else(|| "none".into());
            return moved(format!(
                "the target {name} had plan {} last, tidegate.redb says {}",
                text(last),
                text(applied)
            ));
        }
        Ok(())
    }

    fn hold_source(&self, record: &BatchRecord, error: &Error) -> Result<()> {
        let (id, source) = (record.batch_id.clone(), record.batch_id.source().clone());
        let hold = SourceHold {
            code: error.kind().info().code.into(),
            note: error.to_string(),
            since: self.clock.now(),
            batch_id: Some(id),
        };
        self.store.write(move |tx| tx.put_source_hold(&source, Some(&hold)))
    }

    /// EXECUTING, if the plan is still one from the present snapshots; else
    /// it is made again.
    fn begin(&self, record: BatchRecord) -> Result<BatchRecord> {
        let id = record.batch_id.clone();
        let Some(plan_id) = record.plan_id.clone() else {
            return Err(Error::internal(format!("batch {id} is planned and has no plan")));
        };
        let (name, _) = self.target_of(id.source())?;
        let name = name.clone();
        self.store.write(move |tx| {
            let mut plan =
                tx.plan(&plan_id)?.ok_or_else(|| Error::internal(format!("batch {id} has lost its plan")))?;
            let Some(header) = plan.header.clone() else {
                return Err(Error::internal(format!("batch {id} is planned and its plan is not complete")));
            };
            if header.bases != tx.current_snapshots(&name)? {
                plan.state = PlanState::Dropped;
                tx.put_plan(&plan)?;
                let cause = "another batch was published since it was planned";
                return tx.transition_batch(&id, Event::PlanStale, cause, SELF, |_| {});
            }
            plan.state = PlanState::Executing;
            tx.put_plan(&plan)?;
            if header.operations > 0 {
                let row = applied_row(name.as_str(), id.source().as_str());
                tx.put(crate::store::APPLIED, row, plan_id.as_str().as_bytes().to_vec());
            }
            tx.transition_batch(&id, Event::ExecutionStarted, "executing", SELF, |record| {
                record.metrics.get_or_insert_default();
            })
        })
    }

    fn execute(&self, record: BatchRecord) -> Result<BatchRecord> {
        let id = &record.batch_id;
        let Some(plan_id) = &record.plan_id else {
            return Err(Error::internal(format!("batch {id} is executing and has no plan")));
        };
        let plan = Plan::open(&self.state, id.source(), plan_id)?;
        let (_, open) = self.target_of(id.source())?;
        self.progress.executing(id, plan.manifest().header.summary.changes());
        let executed = Executor {
            store: &self.store,
            target: &*open.target,
            clock: &*self.clock,
            crash: &self.crash,
            stop: &self.stop,
            progress: &|changes| self.progress.executed(changes),
        }
        .run(&plan, id, &self.settings.source(id.source()).isolation);
        self.progress.finished(id);
        tracing::debug!(batch = %id, "executed");
        let executed = match executed {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(record),
            other => other?,
        };
        let record = self.commit(&record, &plan, executed)?;
        // Should this be lost, the stored outcomes are only not needed.
        if let Err(error) = open.target.forget_operations(plan_id) {
            tracing::warn!(plan = %plan_id, %error, "the target kept outcomes that are not needed any more");
        }
        self.after_commit(&record)?;
        Ok(record)
    }

    /// The commit point (`SEMANTICS` 10, steps 9 and 10).
    fn commit(&self, record: &BatchRecord, plan: &Plan, executed: Executed) -> Result<BatchRecord> {
        let id = record.batch_id.clone();
        let source = id.source().clone();
        let manifest = plan.manifest();
        let (name, _) = self.target_of(&source)?;
        let budget = CacheBudget::new(self.options.index_memory / 2);
        let (current, held_back) = self.store.read(|view| {
            let current = view.current_snapshot(name, &source)?;
            let waiting = view.unfinished(&source)?.into_iter().filter(|other| other.batch_id != id);
            let oldest = waiting.map(|other| other.stamp.source_timestamp).min();
            let letters = view.open_dead_letters(&source)?;
            let oldest_letter = letters.iter().map(|letter| letter.stamp.source_timestamp).min();
            Ok((current, oldest.into_iter().chain(oldest_letter).min()))
        })?;
        let own = match &current {
            Some(current) => Some(Snapshot::open(&self.state, &source, name, current, &budget)?),
            None => None,
        };
        let snapshot =
            next::write(&self.state, plan, own.as_ref(), &executed.outcome, self.clock.now(), held_back)?;
        drop(own);
        tracing::debug!(batch = %id, "the snapshot is written");

        let letters = self.dead_letters(record, plan, &executed)?;
        let moot = self.moot(plan, &executed)?;
        let path = self.state.snapshot_path(&source, name, &snapshot.snapshot_id);
        let url = self.state.url_of(&path);
        let count = letters.len();
        let snapshot_record = SnapshotRecord {
            id: snapshot.snapshot_id.clone(),
            target: name.clone(),
            source: source.clone(),
            parent: snapshot.parent.clone(),
            batch_id: id.clone(),
            newest: snapshot.newest.stamp.clone(),
            created_at: snapshot.created_at,
            url: url.clone(),
            entities: snapshot.live(crate::domain::key::Kind::Entity),
            relationships: snapshot.live(crate::domain::key::Kind::Relationship),
        };
        let plan_id = manifest.header.plan_id.clone();
        let hold = self.hold_after(record, executed.failed.as_ref());
        let lifts = manifest.asserts_absence
            && manifest.scope.is_everything()
            && snapshot_is_whole(&snapshot, &executed);
        let failed = executed.failed;
        let summary = manifest.header.summary;
        let record = self.store.write(move |tx| {
            tx.commit_snapshot(&snapshot_record)?;
            moot.resolve(tx, &id)?;
            for letter in letters {
                tx.open_dead_letter(letter)?;
            }
            tx.drop_journal(&plan_id)?;
            let mut plan = tx.plan(&plan_id)?.ok_or_else(|| Error::internal("a plan is gone"))?;
            plan.state = PlanState::Committed;
            tx.put_plan(&plan)?;
            for other in tx.unfinished(&source)? {
                if other.batch_id != id && is_parked(&other) {
                    let cause = format!("batch {id} was published before it: it is planned again");
                    tx.transition_batch(&other.batch_id, Event::PlanStale, &cause, SELF, |record| record.hold = None)?;
                }
            }
            if let Some(hold) = &hold {
                tx.put_source_hold(&source, Some(hold))?;
            } else if lifts {
                tx.put_source_hold(&source, None)?;
            }
            let now = tx.now();
            let (event, cause) = match &failed {
                Some(error) => (Event::Failed, error.to_string()),
                None => (Event::Completed, "published".to_owned()),
            };
            tx.transition_batch(&id, event, &cause, SELF, |record| {
                record.publish_end = Some(now);
                record.snapshot_path = Some(url);
                record.metrics.get_or_insert_with(BatchMetrics::default);
                record.failure = match &failed {
                    Some(error) => Some(failure(error, Some("execution".into()), record.attempts)),
                    None if count > 0 => {
                        let published = summary.changes();
                        let text = format!(
                            "batch {id}: {count} entities or relationships became dead letters, {published} changes were planned"
                        );
                        Some(failure(&Error::new(ErrorKind::Partial, text), None, record.attempts))
                    }
                    None => None,
                };
            })
        })?;
        tracing::info!(batch = %record.batch_id, source = %record.batch_id.source(), status = record.status.as_str(), "done");
        Ok(record)
    }

    /// The hold that a failed batch leaves its source with.
    fn hold_after(&self, record: &BatchRecord, failed: Option<&Error>) -> Option<SourceHold> {
        let error = failed?;
        match self.settings.source(record.batch_id.source()).on_failure(record.mode) {
            OnFailure::Continue => None,
            OnFailure::Hold => Some(SourceHold {
                code: error.kind().info().code.into(),
                note: format!("batch {} failed: {}", record.batch_id, error.message()),
                since: self.clock.now(),
                batch_id: Some(record.batch_id.clone()),
            }),
        }
    }

    fn fail(&self, id: &BatchId, error: &Error, operation: Option<String>) -> Result<BatchRecord> {
        tracing::warn!(batch = %id, source = %id.source(), code = error.kind().info().code, "failed: {error}");
        let record = self.batch(id)?;
        let hold = self.hold_after(&record, Some(error));
        let details = failure(error, operation, record.attempts);
        let (id, cause) = (id.clone(), error.to_string());
        self.store.write(move |tx| {
            if let Some(hold) = &hold {
                tx.put_source_hold(id.source(), Some(hold))?;
            }
            let now = tx.now();
            tx.transition_batch(&id, Event::Failed, &cause, SELF, |record| {
                record.publish_end = Some(now);
                record.failure = Some(details);
            })
        })
    }

    /// What a disk or an object store refused now may go well later: the batch
    /// waits, twice as long each time, and lets others go on.
    fn retry_later(&self, id: &BatchId, error: &Error) -> Result<BatchRecord> {
        tracing::warn!(batch = %id, source = %id.source(), %error, "it is tried again later");
        let attempts = self.batch(id)?.attempts.saturating_add(1);
        let wait = jiff::SignedDuration::from_secs((1i64 << attempts.min(8)).min(300));
        let details = failure(error, Some("planning".into()), attempts);
        let (id, cause) = (id.clone(), error.to_string());
        self.store.write(move |tx| {
            let at = tx.now().checked_add(wait).unwrap_or(jiff::Timestamp::MAX);
            tx.transition_batch(&id, Event::RetryScheduled, &cause, SELF, |record| {
                record.attempts = attempts;
                record.next_attempt = Some(at);
                record.failure = Some(details);
            })
        })
    }

    fn end(&self, id: &BatchId, event: Event, error: &Error) -> Result<BatchRecord> {
        let record = self.batch(id)?;
        let details = failure(error, None, record.attempts);
        let (id, cause) = (id.clone(), error.to_string());
        self.store.write(move |tx| {
            let now = tx.now();
            tx.transition_batch(&id, event, &cause, SELF, |record| {
                record.publish_end = Some(now);
                record.failure = Some(details);
                record.hold = None;
            })
        })
    }

    fn after_commit(&self, record: &BatchRecord) -> Result<()> {
        self.collect(record.batch_id.source())
    }
}

fn snapshot_is_whole(snapshot: &SnapshotManifest, executed: &Executed) -> bool {
    let newest = snapshot.full_records.iter().max_by(|a, b| a.stamp.stamp.cmp(&b.stamp.stamp));
    executed.outcome.complete && newest.is_some_and(|record| record.exceptions.is_empty())
}
