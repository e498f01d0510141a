//! Whose turn it is: strictly by stamp within a source, by score across them
//! (`SEMANTICS` 8). What is shown of the queue is what workers choose by.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::breaker::next_probe;
use super::engine::Engine;
use super::space::RECHECK;
use super::views::WaitCode;
use super::waiting::Waiting;
use super::work::{Busy, Probing, Wait};
use crate::config::Settings;
use crate::domain::due;
use crate::domain::ids::{BatchId, PlanId, SourceId};
use crate::domain::priority::Score;
use crate::domain::publish_state::PublishStatus;
use crate::domain::settings::Mode;
use crate::error::Result;
use crate::store::{BatchRecord, PlanState, SourceHold, SourceHoldReason, View};

/// How a source that has something to do stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// A worker has it.
    InWork,
    /// It runs when its turn comes.
    Ready,
    /// It is tried again at this time, after a passing failure.
    Until(Timestamp),
    /// What it needs is not there, or is to be left alone.
    Waits(Waiting),
    /// It is held; this is what holds it most.
    Held(SourceHold),
    /// A parked batch is ahead, and nothing may overtake it.
    Parked(BatchId),
    /// Another plan that touches the same keys is being executed, or begins first.
    Behind(SourceId),
}

/// A source that has unfinished batches, and how it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The source.
    pub source: SourceId,
    /// How it stands.
    pub standing: Standing,
    /// The batch that runs, or would run, next.
    pub batch: Option<BatchRecord>,
    /// That batch's score.
    pub score: Option<Score>,
    /// Whether a person put a batch of the source before those of others.
    pub prioritised: bool,
}

impl Turn {
    fn is_executed(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.status == PublishStatus::Executing)
    }

    /// What the turn is compared by: the greatest goes first.
    fn rank(&self) -> (bool, bool, f64) {
        (self.is_executed(), self.prioritised, self.score.map_or(0.0, |score| score.total()))
    }
}

/// A batch in work. Its source is free again when this is dropped.
pub(super) struct Claim<'a> {
    /// The batch as it was when it was claimed.
    pub(super) batch: Box<BatchRecord>,
    _busy: Busy<'a>,
}

/// What a worker gets.
pub(super) enum Next<'a> {
    /// A batch to work on.
    Batch(Claim<'a>),
    /// A target to look at that could not be used.
    Probe(Probing<'a>),
    /// Nothing now; something at this time, if nothing happens before.
    Nothing(Option<Timestamp>),
}

impl Engine {
    /// Every source that has unfinished batches, in the order in which
    /// workers take them up; those that can't run come last.
    pub fn turns(&self) -> Result<Vec<Turn>> {
        let settings = self.settings();
        let now = self.clock.now();
        let mut turns = self.store.read(|view| {
            let executing = executing(view)?;
            view.sources_with_unfinished()?
                .into_iter()
                .filter_map(|source| self.turn(view, &settings, source, now, &executing).transpose())
                .collect::<Result<Vec<Turn>>>()
        })?;
        for turn in &mut turns {
            if self.work.is_busy(&turn.source) {
                turn.standing = Standing::InWork;
            }
        }
        let place = |turn: &Turn| match turn.standing {
            Standing::InWork => 0,
            Standing::Ready => 1,
            Standing::Until(_)
            | Standing::Waits(_)
            | Standing::Held(_)
            | Standing::Parked(_)
            | Standing::Behind(_) => 2,
        };
        turns.sort_by(|a, b| {
            let ((ae, ap, a_score), (be, bp, b_score)) = (a.rank(), b.rank());
            let score = b_score.total_cmp(&a_score);
            place(a).cmp(&place(b)).then(be.cmp(&ae)).then(bp.cmp(&ap)).then(score)
        });
        Ok(turns)
    }

    /// Takes the next batch into work: of one source, or of all.
    pub(super) fn claim(&self, only: Option<&SourceId>) -> Result<Next<'_>> {
        loop {
            let settings = self.settings();
            let now = self.clock.now();
            let turns = self.store.read(|view| {
                let executing = executing(view)?;
                let sources = match only {
                    Some(source) => vec![source.clone()],
                    None => view.sources_with_unfinished()?,
                };
                let free = sources.into_iter().filter(|source| !self.work.is_busy(source));
                free.filter_map(|source| self.turn(view, &settings, source, now, &executing).transpose())
                    .collect::<Result<Vec<_>>>()
            })?;
            let mut due: Option<Timestamp> = None;
            let soonest = |due: Option<Timestamp>, at: Timestamp| Some(due.map_or(at, |due| due.min(at)));
            if only.is_none() {
                for target in self.store.read(|view| self.idle_breakers(view))? {
                    self.close_breaker(&target)?;
                }
                for (target, breaker) in self.store.read(|view| view.open_breakers())? {
                    if breaker.half_open || !self.targets.contains_key(&target) {
                        continue;
                    }
                    if let Some(at) = next_probe(&breaker, &settings.retry, now) {
                        due = soonest(due, at);
                    } else if let Some(probing) = self.work.claim_probe(&target) {
                        return Ok(Next::Probe(probing));
                    }
                }
            }
            let in_vain = self.store.read(|view| self.tried_in_vain(view))?;
            // Of those that a target is tried with, those that were tried in vain
            // come last, the most recent one behind the others.
            let place = |turn: &Turn| in_vain.get(&turn.source).copied().unwrap_or(0);
            let rank = |turn: &Turn| (Reverse(place(turn)), turn.rank());
            let mut best: Option<&Turn> = None;
            let low = self.too_little_room().is_some();
            for turn in &turns {
                match &turn.standing {
                    // Without room only what runs comes to its end.
                    Standing::Ready if low && !turn.is_executed() => {
                        due = soonest(due, due::after(now, RECHECK));
                    }
                    Standing::Ready => {
                        if best.is_none_or(|best| rank(best) < rank(turn)) {
                            best = Some(turn);
                        }
                    }
                    Standing::Until(at) => due = soonest(due, *at),
                    Standing::Waits(waiting) => {
                        if let Some(batch) = &turn.batch {
                            self.tell_wait(batch, waiting)?;
                        }
                        if let Some(at) = waiting.until {
                            due = soonest(due, at);
                        }
                    }
                    Standing::InWork | Standing::Held(_) | Standing::Parked(_) | Standing::Behind(_) => {}
                }
            }
            let Some(best) = best else { return Ok(Next::Nothing(due)) };
            let Some(busy) = self.work.claim(&best.source) else { continue };
            if !self.may_try(&best.source)? {
                continue;
            }
            // Another worker may have had it since it was looked at.
            let turn = self
                .store
                .read(|view| self.turn(view, &settings, best.source.clone(), now, &executing(view)?))?;
            if let Some(Turn { standing: Standing::Ready, batch: Some(batch), .. }) = turn {
                return Ok(Next::Batch(Claim { batch: Box::new(batch), _busy: busy }));
            }
        }
    }

    pub(super) fn turn(
        &self,
        view: &View<'_>,
        settings: &Settings,
        source: SourceId,
        now: Timestamp,
        executing: &Executing,
    ) -> Result<Option<Turn>> {
        let holds = view.source_holds(&source)?;
        let found = match executing.get(&source) {
            Some((id, _)) => {
                let batch = view.expect_batch(id)?;
                match holds.iter().find(|hold| stops_execution(hold.reason)) {
                    // It touches nothing outside any more, and ends.
                    Some(hold) if batch.cancel.is_none() => Some(Found::Held(hold.clone(), Some(batch))),
                    Some(_) | None => match self.next_attempt(settings, &batch, now) {
                        Some(at) => Some(Found::Until(at, batch)),
                        None => Some(Found::Runs(batch)),
                    },
                }
            }
            None => match holds.iter().find(|hold| !hold.reason.is_overtaken()) {
                Some(hold) => Some(Found::Held(hold.clone(), None)),
                None => {
                    let until = |batch: &BatchRecord| self.next_attempt(settings, batch, now);
                    runnable(view, &source, holds.into_iter().next(), until)?
                }
            },
        };
        let Some(found) = found else { return Ok(None) };
        let (standing, batch) = match found {
            Found::Runs(batch) => match self.waits_for(view, settings, &batch, now)? {
                Some(waiting) => (Standing::Waits(waiting), Some(batch)),
                None => (self.standing_of(settings, &source, executing, now), Some(batch)),
            },
            Found::Held(hold, batch) => (Standing::Held(hold), batch),
            // A known issue is to be seen at once, and so is what outlasts the
            // batch's own time.
            Found::Until(at, batch) => match self.waits_for(view, settings, &batch, now)? {
                Some(waiting)
                    if waiting.code == WaitCode::KnownIssue
                        || waiting.until.is_some_and(|then| then > at) =>
                {
                    (Standing::Waits(waiting), Some(batch))
                }
                Some(_) | None => (Standing::Until(at), Some(batch)),
            },
            Found::Parked(id) => (Standing::Parked(id), None),
        };
        let score = batch.as_ref().map(|batch| self.score(settings, batch, now));
        Ok(Some(Turn { prioritised: view.is_prioritised(&source)?, source, standing, batch, score }))
    }

    /// How a source that has a batch which may run stands.
    fn standing_of(
        &self,
        settings: &Settings,
        source: &SourceId,
        executing: &Executing,
        now: Timestamp,
    ) -> Standing {
        let over = match self.work.wait_of(source) {
            None => return Standing::Ready,
            Some(Wait::Plan(plan)) => {
                let other = executing.iter().find(|(_, (_, executed))| *executed == plan);
                if let Some((other, _)) = other {
                    return Standing::Behind(other.clone());
                }
                None
            }
            Some(Wait::Source(_)) => self.work.goes_first(source).map(Standing::Behind),
            Some(Wait::Unanswered(batch, until)) => {
                let limit = self.request_limit(&settings.source(source).target);
                due::ahead(until, now, limit).map(|until| {
                    let time = until.strftime("%F %T UTC");
                    let text = format!(
                        "a request of batch {batch} got no answer and may take effect until {time}: what it touches is left alone"
                    );
                    Standing::Waits(Waiting { code: WaitCode::Turn, text, until: Some(until) })
                })
            }
        };
        over.unwrap_or_else(|| {
            self.work.set_wait(source, None);
            Standing::Ready
        })
    }

    /// The score of a batch, by the settings in force.
    fn score(&self, settings: &Settings, batch: &BatchRecord, now: Timestamp) -> Score {
        let source = settings.source(batch.batch_id.source());
        let age = now.duration_since(batch.stamp.source_timestamp).as_secs_f64();
        Score::new(&settings.priority, age, source.importance, batch.complexity())
    }
}

/// Whether a hold stops a batch that is being executed, too.
fn stops_execution(reason: SourceHoldReason) -> bool {
    match reason {
        SourceHoldReason::Trouble | SourceHoldReason::TargetMoved => true,
        SourceHoldReason::Paused | SourceHoldReason::UnknownSource | SourceHoldReason::BatchFailed => false,
    }
}

/// The batch of each source that is being executed, with its plan.
pub(super) type Executing = BTreeMap<SourceId, (BatchId, PlanId)>;

/// Finds those.
pub(super) fn executing(view: &View<'_>) -> Result<Executing> {
    let plans = view.alive_plans(None)?.into_iter().filter(|plan| plan.state == PlanState::Executing);
    Ok(plans.map(|plan| (plan.batch_id.source().clone(), (plan.batch_id, plan.plan_id))).collect())
}

/// Whether a batch waits for a person.
pub fn is_parked(batch: &BatchRecord) -> bool {
    batch.is_parked()
}

/// What a look at a source's unfinished batches finds.
enum Found {
    Runs(BatchRecord),
    Held(SourceHold, Option<BatchRecord>),
    Until(Timestamp, BatchRecord),
    Parked(BatchId),
}

/// The batch of a source that may run, of its unfinished ones, oldest first.
///
/// Only the oldest, but a parked one is overtaken by a full batch of the same
/// or wider scope, a parked incremental one only by a full batch of scope
/// everything; so is everything in a source that is held for a failed batch.
fn runnable(
    view: &View<'_>,
    source: &SourceId,
    held: Option<SourceHold>,
    until: impl Fn(&BatchRecord) -> Option<Timestamp>,
) -> Result<Option<Found>> {
    let mut found = None;
    let mut ahead: Vec<BatchRecord> = Vec::new();
    view.each_unfinished(source, |batch| {
        let full = batch.mode == Some(Mode::Full);
        let everything = full && batch.scope.is_everything();
        let overtakes = |parked: &BatchRecord| match parked.mode {
            Some(Mode::Full) => full && batch.scope.covers(&parked.scope),
            Some(Mode::Incremental) | None => everything,
        };
        if batch.status == PublishStatus::Retrying
            && let Some(at) = until(&batch)
        {
            found = Some(Found::Until(at, batch));
            return Ok(false);
        }
        if is_parked(&batch) {
            ahead.push(batch);
            return Ok(true);
        }
        if ahead.iter().all(overtakes) && (held.is_none() || everything) {
            found = Some(Found::Runs(batch));
            return Ok(false);
        }
        // What is passed by is overtaken under the same rule as what is
        // parked. Behind a parked one, others of its kind wait with it.
        if held.is_some() && ahead.is_empty() {
            ahead.push(batch);
        }
        Ok(true)
    })?;
    Ok(found
        .or_else(|| held.map(|hold| Found::Held(hold, None)))
        .or_else(|| ahead.into_iter().next().map(|parked| Found::Parked(parked.batch_id))))
}
