//! Why a batch does not run now, what an operator can do with it, and how its
//! source stands: the same words for command line, API and pages.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::engine::Engine;
use super::super::queue::{Executing, Standing, Turn, executing, is_parked};
use super::super::space::RECHECK;
use super::super::views::{
    BatchAction, HoldView, PrioritisedView, PriorityView, ProgressView, SourceHoldView, SourceState,
    WaitCode, WaitView,
};
use super::super::waiting::Waiting;
use super::super::withheld::withheld;
use crate::domain::due;
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::priority::Score;
use crate::domain::publish_state::{FailureDetails, PublishStatus};
use crate::error::Result;
use crate::store::{BatchRecord, HoldReason, SourceHold, SourceHoldReason, View};

/// What decides over a source's unfinished batches.
#[derive(Debug, Clone)]
pub struct Front {
    /// The oldest one.
    pub oldest: Option<BatchRecord>,
    /// How the source stands; `None` when it has none.
    pub turn: Option<Turn>,
    /// What holds the source most.
    pub hold: Option<SourceHold>,
}

impl Front {
    /// The batch that is in work.
    pub fn running(&self) -> Option<&BatchRecord> {
        let turn = self.turn.as_ref().filter(|turn| turn.standing == Standing::InWork)?;
        turn.batch.as_ref()
    }

    /// The batch that runs, or would run, next.
    pub fn next(&self) -> Option<&BatchId> {
        self.turn.as_ref()?.batch.as_ref().map(|batch| &batch.batch_id)
    }
}

/// The fronts of sources, each read once.
pub struct Fronts<'a> {
    engine: &'a Engine,
    view: &'a View<'a>,
    now: Timestamp,
    executing: Option<Executing>,
    known: BTreeMap<SourceId, Front>,
}

impl<'a> Fronts<'a> {
    /// None read yet.
    pub fn new(engine: &'a Engine, view: &'a View<'a>) -> Self {
        Self { engine, view, now: engine.clock.now(), executing: None, known: BTreeMap::new() }
    }

    /// The time that everything is looked at.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The front of a source.
    pub fn of(&mut self, source: &SourceId) -> Result<&Front> {
        if !self.known.contains_key(source) {
            let executing = match &mut self.executing {
                Some(executing) => executing,
                None => self.executing.insert(executing(self.view)?),
            };
            let settings = self.engine.settings();
            let mut turn = self.engine.turn(self.view, &settings, source.clone(), self.now, executing)?;
            if let Some(turn) = &mut turn
                && self.engine.work.is_busy(source)
            {
                turn.standing = Standing::InWork;
            }
            let oldest = self.view.unfinished_page(source, None, 1)?.pop();
            let hold = self.view.source_hold(source)?;
            self.known.insert(source.clone(), Front { oldest, turn, hold });
        }
        Ok(&self.known[source])
    }

    /// Why a batch does not run now; `None` when it runs or has ended.
    pub fn wait(&mut self, batch: &BatchRecord) -> Result<Option<WaitView>> {
        if batch.status.is_final() {
            return Ok(None);
        }
        let now = self.now;
        self.of(batch.batch_id.source())?;
        let front = &self.known[batch.batch_id.source()];
        if front.running().is_some_and(|running| running.batch_id == batch.batch_id) {
            return Ok(None);
        }
        let wait = |code, text, batch_id, until| Ok(Some(WaitView { code, text, batch_id, until }));
        if let Some(hold) = batch.hold.as_ref().filter(|_| is_parked(batch)) {
            let text = format!("a guard parked its plan, a person approves or rejects it: {}", hold.note);
            return wait(WaitCode::Approval, text, None, None);
        }
        let is_next = front.next() == Some(&batch.batch_id);
        let standing = front.turn.as_ref().map(|turn| &turn.standing);
        match standing {
            Some(Standing::Until(at)) if is_next => {
                let failed = batch.failure.as_ref().map(|failure| failure.error_code.as_str());
                let code = batch.retry.as_ref().map(|retry| retry.code.as_str());
                // What is being executed has no failure of its own.
                let why = match batch.status {
                    PublishStatus::Executing => code,
                    _ => failed,
                };
                let why = why.unwrap_or_default();
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                let text = format!("it is tried again at {}{why}", at.strftime("%F %T UTC"));
                return wait(WaitCode::Retry, text, None, Some(*at));
            }
            Some(Standing::Waits(waiting)) if is_next => {
                return wait(waiting.code, waiting.text.clone(), None, waiting.until);
            }
            Some(Standing::Behind(other)) if is_next => {
                let text =
                    format!("a batch of {other} that touches the same entities or relationships goes first");
                let first = self.executing.as_ref().and_then(|executing| executing.get(other));
                return wait(WaitCode::Turn, text, first.map(|(id, _)| id.clone()), None);
            }
            Some(Standing::Ready) if is_next && self.engine.too_little_room().is_some() => {
                let text =
                    "nothing is begun as long as there is too little room: `tidegate doctor` says where";
                return wait(WaitCode::Turn, text.to_owned(), None, Some(due::after(now, RECHECK)));
            }
            Some(Standing::Ready | Standing::InWork) if is_next => {
                let text = turn_comes(&batch.batch_id, self.engine.has_workers());
                return wait(WaitCode::Turn, text.to_owned(), None, None);
            }
            Some(Standing::Held(hold)) => {
                let (code, word) = match hold.reason {
                    SourceHoldReason::Paused => (WaitCode::SourcePaused, "paused"),
                    SourceHoldReason::TargetMoved
                    | SourceHoldReason::UnknownSource
                    | SourceHoldReason::Trouble
                    | SourceHoldReason::BatchFailed => (WaitCode::SourceHeld, "held"),
                };
                let text = format!("its source is {word}: {}", hold.note);
                return wait(code, text, hold.batch_id.clone(), None);
            }
            Some(
                Standing::Until(_)
                | Standing::Waits(_)
                | Standing::Behind(_)
                | Standing::Ready
                | Standing::InWork
                | Standing::Parked(_),
            )
            | None => {}
        }
        let parked = match standing {
            Some(Standing::Parked(parked)) => Some(parked),
            Some(_) | None => None,
        };
        let first = front.next().or(parked).cloned();
        let oldest = front.oldest.as_ref().filter(|oldest| Some(&oldest.batch_id) == first.as_ref());
        let text = match (&first, oldest) {
            (Some(id), Some(oldest)) => {
                format!("an older batch of its source goes first: {id}, which {}", stands(oldest, now))
            }
            (Some(id), None) => format!("another batch of its source goes first: {id}"),
            (None, _) => "it waits for its source".to_owned(),
        };
        wait(WaitCode::OlderBatch, text, first, None)
    }

    /// What an operator can do with a batch now.
    pub fn actions(&mut self, batch: &BatchRecord) -> Result<Vec<BatchAction>> {
        if batch.status.is_final() {
            let view = self.view;
            let waits = withheld(batch, |plan| view.plan(plan), |batch| view.batch(batch))?.is_some();
            return Ok(match batch.status {
                PublishStatus::Failed => vec![BatchAction::Retry],
                _ if waits => vec![BatchAction::Approve],
                _ => Vec::new(),
            });
        }
        let mut actions = Vec::new();
        if is_parked(batch) {
            actions.extend([BatchAction::Approve, BatchAction::Reject]);
        }
        let front = self.of(batch.batch_id.source())?;
        let waits = front.turn.as_ref().is_some_and(|turn| {
            let down = |waiting: &Waiting| waiting.code == WaitCode::TargetDown;
            matches!(&turn.standing, Standing::Until(_))
                || matches!(&turn.standing, Standing::Waits(waiting) if down(waiting))
        });
        if batch.status == PublishStatus::Retrying || waits && front.next() == Some(&batch.batch_id) {
            actions.push(BatchAction::Retry);
        }
        let first = batch.priority.is_some();
        actions.push(if first { BatchAction::Unprioritize } else { BatchAction::Prioritize });
        if batch.cancel.is_none() {
            actions.push(BatchAction::Cancel);
        }
        Ok(actions)
    }
}

/// When the turn of a batch comes that is the next of its source.
fn turn_comes(batch: &BatchId, has_workers: bool) -> &'static str {
    if has_workers {
        "it is the next of its source; it runs when a worker is free and no other source's batch goes first"
    } else if batch.n() > 0 {
        // No folder is it: `publish` of the one that it was made of means that batch.
        "it is the next of its source; no server works on this data directory: `tidegate serve` publishes it"
    } else {
        "it is the next of its source; no server works on this data directory: `tidegate serve` publishes it, and so does `tidegate publish` of the same batch"
    }
}

/// When a batch is tried again: its `own` time, or that of what holds it
/// beyond. `None` where nobody knows, and where its time has come.
pub fn next_attempt(own: Option<Timestamp>, waits: Option<&WaitView>, now: Timestamp) -> Option<Timestamp> {
    let at = match waits {
        Some(WaitView {
            code: WaitCode::TargetDown | WaitCode::Window | WaitCode::KnownIssue,
            until,
            ..
        }) => until.map(|until| own.map_or(until, |own| own.max(until))),
        Some(_) | None => own,
    };
    at.filter(|at| *at > now)
}

/// How a batch stands, to follow "which".
fn stands(batch: &BatchRecord, now: Timestamp) -> String {
    match batch.status {
        PublishStatus::Pending => "waits for its turn".to_owned(),
        PublishStatus::Planning => "is being planned".to_owned(),
        PublishStatus::PlanComplete if is_parked(batch) => {
            "waits for a person to approve or reject it".to_owned()
        }
        PublishStatus::PlanComplete => "is planned".to_owned(),
        PublishStatus::Executing => "is being published".to_owned(),
        PublishStatus::Retrying => match batch.next_attempt.filter(|at| *at > now) {
            Some(at) => format!("is tried again at {}", at.strftime("%F %T UTC")),
            None => "is tried again".to_owned(),
        },
        PublishStatus::Complete | PublishStatus::Failed => "has ended".to_owned(),
    }
}

/// That an operator put a batch ahead.
pub fn prioritised(batch: &BatchRecord) -> Option<PrioritisedView> {
    let decision = batch.priority.as_ref().filter(|_| !batch.status.is_final())?;
    let (actor, reason) = (decision.actor.clone(), decision.reason.clone());
    Some(PrioritisedView { actor, reason, at: decision.at })
}

/// A batch's score with its parts.
pub fn priority(engine: &Engine, batch: &BatchRecord, now: Timestamp) -> PriorityView {
    let settings = engine.settings();
    let importance = settings.source(batch.batch_id.source()).importance;
    let age = now.duration_since(batch.stamp.source_timestamp).as_secs_f64().max(0.0);
    let complexity = batch.complexity();
    let score = Score::new(&settings.priority, age, importance, complexity);
    PriorityView {
        score: score.total(),
        age: score.age,
        importance: score.importance,
        simplicity: score.simplicity,
        age_seconds: age as u64,
        source_importance: importance,
        complexity,
    }
}

/// When a phase ends, should it go on at its rate.
pub fn eta(progress: &ProgressView, now: Timestamp) -> Option<Timestamp> {
    let rate = progress.rate.filter(|rate| *rate > 0.0)?;
    let left = progress.total?.saturating_sub(progress.done) as f64 / rate;
    let wait = jiff::SignedDuration::try_from_secs_f64(left.min(1e9)).ok()?;
    now.checked_add(wait).ok()
}

/// Why a batch waits for a person.
pub fn hold(batch: &BatchRecord) -> Option<HoldView> {
    let hold = batch.hold.as_ref()?;
    let reason = match hold.reason {
        HoldReason::Approval => "approval",
    };
    Some(HoldView { reason: reason.to_owned(), note: hold.note.clone(), since: hold.since })
}

/// Why a source waits for a person.
pub fn source_hold(hold: &SourceHold) -> SourceHoldView {
    SourceHoldView {
        code: hold.code.clone(),
        note: hold.note.clone(),
        since: hold.since,
        batch_id: hold.batch_id.clone(),
    }
}

/// How a source stands, and the same in words that name nothing of the
/// inside.
pub fn state_of(front: &Front, newest: Option<&BatchRecord>) -> (SourceState, &'static str) {
    if front.running().is_some() {
        return (SourceState::Publishing, "being published");
    }
    if let Some(hold) = &front.hold {
        return match hold.reason {
            SourceHoldReason::Paused => (SourceState::Paused, "paused by an operator"),
            SourceHoldReason::TargetMoved
            | SourceHoldReason::UnknownSource
            | SourceHoldReason::Trouble
            | SourceHoldReason::BatchFailed => (SourceState::Held, "held: a person has to look at it"),
        };
    }
    match front.turn.as_ref().map(|turn| &turn.standing) {
        Some(Standing::InWork) => (SourceState::Publishing, "being published"),
        Some(Standing::Parked(_)) => (SourceState::Parked, "changes wait for a person's approval"),
        Some(Standing::Until(_)) => (SourceState::Retrying, "delayed: it is tried again"),
        Some(Standing::Waits(waiting)) if waiting.code == WaitCode::SourceHeld => {
            (SourceState::Held, "held: a person has to look at it")
        }
        Some(Standing::Waits(waiting)) => {
            let next = front.turn.as_ref().and_then(|turn| turn.batch.as_ref());
            let tried = next.is_some_and(|batch| batch.status == PublishStatus::Retrying);
            let state = if tried { SourceState::Retrying } else { SourceState::Delayed };
            (state, waiting.code.in_words())
        }
        Some(Standing::Held(_)) => (SourceState::Held, "held: a person has to look at it"),
        Some(Standing::Ready | Standing::Behind(_)) => (SourceState::Waiting, "new data waits for its turn"),
        None => match newest.map(|batch| (batch.status, batch.failure.as_ref())) {
            Some((PublishStatus::Failed, failure)) if !ended_on_purpose(failure) => {
                (SourceState::Failing, "the newest data could not be published")
            }
            Some(_) => (SourceState::UpToDate, "up to date"),
            None => (SourceState::UpToDate, "no data has come yet"),
        },
    }
}

/// Whether a FAILED batch failed at nothing (`SEMANTICS` 13).
fn ended_on_purpose(failure: Option<&FailureDetails>) -> bool {
    failure
        .is_some_and(|failure| ["REJECTED", "CANCELLED", "SUPERSEDED"].contains(&failure.error_code.as_str()))
}
