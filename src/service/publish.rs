//! Executing a plan, and the commit of what came of it.

use super::SELF;
use super::engine::Engine;
use super::failing::{failure, hold};
use super::holds::applied_row;
use super::live::Phase;
use super::queue::is_parked;
use crate::domain::ids::PlanId;
use crate::domain::key::Kind;
use crate::domain::publish_state::BatchMetrics;
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::planning::format::layer::CacheBudget;
use crate::planning::next;
use crate::planning::plan_file::Plan;
use crate::planning::snapshot::{Snapshot, SnapshotManifest};
use crate::publishing::execute::{Executed, Executor, Going};
use crate::store::{BatchRecord, CommitRecord, PlanState, SnapshotRecord, SourceHoldReason};

impl Engine {
    /// Executes a plan from where its journal ends, and commits the outcome.
    pub(super) fn execute(&self, record: BatchRecord) -> Result<Option<BatchRecord>> {
        let id = &record.batch_id;
        let Some(plan_id) = &record.plan_id else {
            return Err(Error::internal(format!("batch {id} is executing and has no plan")));
        };
        let plan = Plan::open(&self.state, id.source(), plan_id)?;
        let (_, open) = self.target_of(id.source())?;
        let changes = plan.manifest().operations.iter().map(|op| u64::from(op.changes)).sum();
        self.live.begin(id, Phase::Executing, Some(changes));
        self.progress.executing(id, changes);
        let executed = Executor {
            store: &self.store,
            target: &*open.target,
            clock: &*self.clock,
            crash: &self.crash,
            going: &|| {
                if record.cancel.is_some() || self.work.is_cancelled(id) {
                    Going::Cancelled
                } else if self.stopping() {
                    Going::Stopped
                } else {
                    Going::On
                }
            },
            progress: &|changes| {
                self.live.add(id, changes);
                self.progress.executed(changes);
            },
        }
        .run(&plan, id, &self.settings().source(id.source()).isolation);
        self.progress.finished(id);
        tracing::debug!(batch = %id, source = %id.source(), "executed");
        let executed = match executed {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
            other => other?,
        };
        self.live.begin(id, Phase::Committing, None);
        let record = self.commit(&record, &plan, executed)?;
        self.work.succeeded(id.source());
        self.goes_on(id);
        // Should this be lost, the stored outcomes are only not needed.
        if let Err(error) = open.target.forget_operations(plan_id) {
            tracing::warn!(batch = %id, source = %id.source(), plan = %plan_id, %error, "the target kept outcomes that are not needed any more");
        }
        self.tidy_up(&record);
        Ok(Some(record))
    }

    /// Collects what the commit leaves. The batch is published, whatever
    /// becomes of this: what is left is found again after the next one.
    fn tidy_up(&self, record: &BatchRecord) {
        let source = record.batch_id.source();
        let what = format!("collecting of {source}");
        match self.collect(source) {
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
        let manifest = plan.manifest();
        let (name, open) = self.target_of(&source)?;
        let budget = CacheBudget::new(self.planning_options().index_memory / 2);
        let (current, held_back) = self.store.read(|view| {
            let current = view.current_snapshot(name, &source)?;
            let mut oldest = None;
            view.each_unfinished(&source, |other| {
                if other.batch_id == id {
                    return Ok(true);
                }
                oldest = Some(other.stamp.source_timestamp);
                Ok(false)
            })?;
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
        tracing::debug!(batch = %id, %source, "the snapshot is written");

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
            entities: snapshot.live(Kind::Entity),
            relationships: snapshot.live(Kind::Relationship),
        };
        let plan_id = manifest.header.plan_id.clone();
        let held = self.hold_after(record, executed.failed.as_ref());
        let lifts = manifest.asserts_absence
            && manifest.scope.is_everything()
            && snapshot_is_whole(&snapshot, &executed);
        // Perhaps nothing of the plan was sent: then it is not the last one there.
        let last: Option<Option<PlanId>> =
            if executed.outcome.complete { None } else { Some(open.target.last_plan(&source)?) };
        let failed = executed.failed;
        let summary = manifest.header.summary;
        let target = name.clone();
        let record = self.store.write(move |tx| {
            tx.commit_snapshot(&snapshot_record)?;
            moot.resolve(tx, &id)?;
            for letter in letters {
                tx.open_dead_letter(letter)?;
            }
            tx.drop_journal(&plan_id)?;
            tx.count_skipped(summary.skipped())?;
            let mut plan = tx.plan(&plan_id)?.ok_or_else(|| Error::internal("a plan is gone"))?;
            plan.state = PlanState::Committed;
            tx.put_plan(&plan)?;
            let commit =
                CommitRecord { plan_id: plan_id.clone(), batch_id: id.clone(), footprint: plan.footprint };
            tx.put_commit(&target, &commit)?;
            if let Some(last) = last {
                let row = applied_row(target.as_str(), source.as_str());
                match last {
                    Some(last) => tx.put(crate::store::APPLIED, row, last.as_str().as_bytes().to_vec()),
                    None => tx.remove(crate::store::APPLIED, row),
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
            } else if lifts && tx.lift_source_hold(&source, SourceHoldReason::BatchFailed)?.is_some() {
                tx.note_source(&source, &format!("goes on: batch {id} says everything anew"), SELF)?;
            }
            let now = tx.now();
            let (event, cause, actor) = match &failed {
                Some(error) if error.kind() == ErrorKind::Cancelled => {
                    (Event::Cancelled, error.to_string(), SELF)
                }
                Some(error) => (Event::Failed, error.to_string(), SELF),
                None => (Event::Completed, "published".to_owned(), SELF),
            };
            tx.transition_batch(&id, event, &cause, actor, |record| {
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
}

fn snapshot_is_whole(snapshot: &SnapshotManifest, executed: &Executed) -> bool {
    let newest = snapshot.full_records.iter().max_by(|a, b| a.stamp.stamp.cmp(&b.stamp.stamp));
    executed.outcome.complete && newest.is_some_and(|record| record.exceptions.is_empty())
}
