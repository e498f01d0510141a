//! EXECUTING, if the plan is still one of what is published now
//! (`SEMANTICS` 6 and 10, step 4): no commit since its bases touches what it
//! touches, and nothing in work does.
//!
//! Footprints are compared outside of the transaction, which then looks
//! whether those that were compared are all that there are.

use jiff::Timestamp;

use super::SELF;
use super::engine::Engine;
use super::holds::{self, applied_row};
use super::queue::is_parked;
use super::work::Wait;
use crate::domain::due;
use crate::domain::ids::{BatchId, PlanId, SnapshotId, SourceId, TargetName};
use crate::domain::plan::FootprintRef;
use crate::domain::publish_state::PublishStatus;
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::planning::footprint;
use crate::planning::format::layer::CacheBudget;
use crate::planning::halt::Halt;
use crate::planning::plan_file::Plan;
use crate::planning::snapshot::Snapshot;
use crate::store::{APPLIED, BatchRecord, PlanRecord, PlanState};

/// A plan of which it matters what it touches.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Other {
    plan: PlanId,
    batch: BatchId,
    footprint: FootprintRef,
    /// Set when it is not in work any more, but a request of it may still
    /// take effect: until then.
    lingers_until: Option<Timestamp>,
}

/// What a plan is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// The present snapshot of the plan's own source.
    own: Option<SnapshotId>,
    /// Commits since its base; `None`: not all of them are known any more.
    commits: Option<Vec<Other>>,
    /// Plans in work.
    active: Vec<Other>,
}

/// Reads [`Seen`] of a view or a transaction.
macro_rules! seen {
    ($view:expr, $plan:expr, $target:expr, $now:expr) => {{
        let commits = $view.commits_since($target, $plan.base_commit)?.map(|commits| {
            let other = |(_, commit): (u64, crate::store::CommitRecord)| Other {
                plan: commit.plan_id,
                batch: commit.batch_id,
                footprint: commit.footprint,
                lingers_until: None,
            };
            commits.into_iter().map(other).collect()
        });
        let active = $view.alive_plans(Some($target))?.into_iter();
        let active = active.filter(|plan| match plan.state {
            PlanState::Executing => true,
            PlanState::Lingering => plan.lingers_until.is_some_and(|until| until > $now),
            PlanState::Registered | PlanState::Complete | PlanState::Committed | PlanState::Dropped => false,
        });
        let other = |plan: PlanRecord| Other {
            plan: plan.plan_id,
            batch: plan.batch_id,
            footprint: plan.footprint,
            lingers_until: plan.lingers_until,
        };
        Seen {
            own: $view.current_snapshot($target, $plan.batch_id.source())?,
            commits,
            active: active.map(other).collect(),
        }
    }};
}

/// What the comparison finds.
#[derive(Debug, Clone)]
enum Verdict {
    /// Nothing is in its way.
    Fresh,
    /// It is made again.
    Stale(String),
    /// It is made again, when this is over.
    Behind(Wait, String),
}

impl Engine {
    /// Why a plan is not one of what is published now; `None`: it is.
    pub(super) fn is_stale(&self, id: &PlanId) -> Result<Option<String>> {
        let now = self.clock.now();
        let found = self.store.read(|view| {
            let Some(plan) = view.plan(id)? else { return Ok(None) };
            let settings = self.settings();
            let target = settings.source(plan.batch_id.source()).target.clone();
            let seen = seen!(view, plan, &target, now);
            Ok(Some((plan, seen)))
        })?;
        let Some((plan, seen)) = found else { return Ok(None) };
        Ok(match self.judge_plan(&plan, &seen, plan.batch_id.source())? {
            Verdict::Stale(why) => Some(why),
            Verdict::Fresh | Verdict::Behind(..) => None,
        })
    }

    /// A clock that was put back must not have a plan linger for longer than
    /// its request may take effect. When that was sent is not known any more,
    /// so it is counted from now.
    fn bound_lingering(&self, target: &TargetName, now: Timestamp) -> Result<()> {
        let latest = due::after(now, self.request_limit(target));
        let beyond = move |plan: &PlanRecord| plan.lingers_until.is_some_and(|until| until > latest);
        if !self.store.read(|view| view.alive_plans(Some(target)))?.iter().any(beyond) {
            return Ok(());
        }
        let target = target.clone();
        self.store.write(move |tx| {
            for plan in tx.alive_plans(Some(&target))? {
                if beyond(&plan) {
                    tx.put_plan(&PlanRecord { lingers_until: Some(latest), ..plan })?;
                }
            }
            Ok(())
        })
    }

    /// Begins the execution of a plan, or has it made again. `None`: the
    /// batch waits.
    pub(super) fn begin(&self, record: BatchRecord) -> Result<Option<BatchRecord>> {
        let id = record.batch_id.clone();
        let source = id.source();
        let Some(plan_id) = record.plan_id.clone() else {
            return Err(Error::internal(format!("batch {id} is planned and has no plan")));
        };
        let last = self.check_target(source)?;
        let (name, _) = self.target_of(source)?;
        if let Some(first) = self.work.goes_first(source) {
            self.work.set_wait(source, Some(Wait::Source(first)));
            return Ok(None);
        }
        let now = self.clock.now();
        self.bound_lingering(name, now)?;
        let damage = match self.damage_of(&record, &plan_id) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
            damage => damage?,
        };
        loop {
            let (plan, seen) = self.store.read(|view| {
                let plan = view
                    .plan(&plan_id)?
                    .ok_or_else(|| Error::internal(format!("batch {id} has lost its plan")))?;
                let seen = seen!(view, plan, name, now);
                Ok((plan, seen))
            })?;
            let verdict = match &plan.target {
                Some(target) if target != name => Verdict::Stale(format!(
                    "it was planned for the target {target}, its source has {name} now"
                )),
                Some(_) | None => match &damage {
                    Some(damage) => Verdict::Stale(damage.clone()),
                    None => self.judge_plan(&plan, &seen, source)?,
                },
            };
            match self.decide(&id, (name, last.as_ref()), plan, seen, now, verdict.clone())? {
                Decided::Again => continue,
                Decided::Waits => return Ok(None),
                Decided::Is(record) => {
                    if record.status == PublishStatus::Executing {
                        self.work.not_stale(source);
                        self.work.begins(source, &plan_id);
                        return Ok(Some(*record));
                    }
                    self.work.was_stale(source);
                    // An approval is compared with; no other use is left.
                    if record.approval.as_ref().is_none_or(|approval| approval.plan_id != plan_id) {
                        self.remove_plan_files(source, &plan_id);
                    }
                    if let Verdict::Behind(wait, _) = verdict {
                        self.work.set_wait(source, Some(wait));
                        return Ok(None);
                    }
                    return Ok(Some(*record));
                }
            }
        }
    }

    /// What is wrong with the files of a plan that was not made just now: it is
    /// made again then, for its batch is still there, and what it would leave in
    /// the snapshot would be found out when somebody wants it.
    fn damage_of(&self, record: &BatchRecord, id: &PlanId) -> Result<Option<String>> {
        let source = record.batch_id.source();
        if record.approval.is_none() && self.work.made_just_now(source, id, self.clock.monotonic()) {
            return Ok(None);
        }
        let asked = || self.stopping() || self.work.is_cancelled(&record.batch_id);
        let halt = Halt::when(&asked);
        // What its commit needs of the snapshot is missed now, and not when all is done.
        let (name, _) = self.target_of(source)?;
        if let Some(current) = self.store.read(|view| view.current_snapshot(name, source))? {
            Snapshot::open(&self.state, source, name, &current, &CacheBudget::new(0))?;
        }
        match Plan::open(&self.state, source, id).and_then(|plan| plan.verify(&self.state, halt)) {
            Ok(()) => Ok(None),
            // A sector that can't be read is damage too.
            Err(error) if matches!(error.kind(), ErrorKind::SnapshotInvalid | ErrorKind::Io) => {
                tracing::warn!(batch = %record.batch_id, %source, "its plan is made again: {error}");
                Ok(Some(format!("the files of its plan are damaged: {error}")))
            }
            Err(error) => Err(error),
        }
    }

    fn judge_plan(&self, plan: &PlanRecord, seen: &Seen, source: &SourceId) -> Result<Verdict> {
        if seen.own.as_ref() != plan.bases.get(source) {
            return Ok(Verdict::Stale(
                "another batch of its source was published since it was planned".into(),
            ));
        }
        let path = |plan: &PlanId, batch: &BatchId| self.state.plan_path(batch.source(), plan);
        let own = path(&plan.plan_id, &plan.batch_id);
        let meets = |other: &Other| {
            let theirs = path(&other.plan, &other.batch);
            footprint::meet((&own, &plan.footprint), (&theirs, &other.footprint))
        };
        let Some(commits) = &seen.commits else {
            return Ok(Verdict::Stale("more was published since it was planned than is remembered".into()));
        };
        for commit in commits {
            let met = match meets(commit) {
                // One that is made now is held against what comes later alone.
                Err(error) if error.kind() == ErrorKind::SnapshotInvalid => {
                    let text = format!("what batch {} touched can't be read any more: {error}", commit.batch);
                    return Ok(Verdict::Stale(text));
                }
                met => met?,
            };
            if met {
                let text = format!(
                    "batch {} was published since it was planned, and touches what it does",
                    commit.batch
                );
                return Ok(Verdict::Stale(text));
            }
        }
        for active in &seen.active {
            let (wait, text) = match active.lingers_until {
                None if active.batch == plan.batch_id => continue,
                None => {
                    let text = format!("batch {} is being published, and touches what it does", active.batch);
                    (Wait::Plan(active.plan.clone()), text)
                }
                Some(until) => {
                    let text = format!(
                        "a request of batch {} got no answer and may still take effect until {}, and touches what it does",
                        active.batch,
                        until.strftime("%F %T UTC")
                    );
                    (Wait::Unanswered(active.batch.clone(), until), text)
                }
            };
            if meets(active)? {
                return Ok(Verdict::Behind(wait, text));
            }
        }
        Ok(Verdict::Fresh)
    }

    /// The transaction: all that was seen is as it was, so the verdict holds.
    fn decide(
        &self,
        id: &BatchId,
        (target, last): (&TargetName, Option<&PlanId>),
        plan: PlanRecord,
        seen: Seen,
        now: Timestamp,
        verdict: Verdict,
    ) -> Result<Decided> {
        let (id, target, last) = (id.clone(), target.clone(), last.cloned());
        self.store.write(move |tx| {
            let source = id.source();
            let record = tx.expect_batch(&id)?;
            let holds = tx.source_holds(source)?;
            if is_parked(&record) || holds.iter().any(|hold| !hold.reason.is_overtaken()) {
                return Ok(Decided::Waits);
            }
            if seen!(tx, plan, &target, now) != seen {
                return Ok(Decided::Again);
            }
            let cause = match verdict {
                Verdict::Fresh => {
                    let Some(header) = plan.header.clone() else {
                        let text = format!("batch {id} is planned and its plan is not complete");
                        return Err(Error::internal(text));
                    };
                    let plan_id = plan.plan_id.clone();
                    tx.put_plan(&PlanRecord { state: PlanState::Executing, ..plan })?;
                    if header.operations > 0 {
                        let row = applied_row(target.as_str(), source.as_str());
                        let last = last.as_ref().map(|plan| plan.as_str().as_bytes());
                        let before = holds::before(&plan_id, last);
                        tx.put(APPLIED, holds::before_row(target.as_str(), source.as_str()), before);
                        tx.put(APPLIED, row, plan_id.as_str().as_bytes().to_vec());
                    }
                    return tx
                        .transition_batch(&id, Event::ExecutionStarted, "executing", SELF, |record| {
                            record.metrics.get_or_insert_default();
                        })
                        .map(|record| Decided::Is(Box::new(record)));
                }
                Verdict::Stale(cause) | Verdict::Behind(_, cause) => cause,
            };
            tx.transition_batch(&id, Event::PlanStale, &cause, SELF, |_| {})
                .map(|record| Decided::Is(Box::new(record)))
        })
    }
}

/// What the transaction made of it.
enum Decided {
    /// Something moved since it was compared.
    Again,
    /// It may not begin now.
    Waits,
    /// How the batch stands.
    Is(Box<BatchRecord>),
}
