//! Sending an operation: quick retries in place (tier 1), and taking a
//! request apart that the target refused as a whole, until its bad changes
//! are alone.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use super::crash::{CrashPoints, Point};
use super::going::Going;
use super::isolate::Density;
use super::suspect::{Suspect, may_be_content};
use crate::clock::Clock;
use crate::domain::change::{Action, SentIn};
use crate::domain::key::{Key, KeyHash, Kind};
use crate::domain::retry::RetrySettings;
use crate::error::{Answer, Error, ErrorKind, Result, Retry};
use crate::targets::{ChangeOutcome, Operation, Outcomes, Part, Rejection, Target};

/// What became of a change of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The target holds it durably.
    Done,
    /// The target refuses it.
    Rejected(Rejection),
    /// It was not sent, or certainly had no effect.
    Unsent,
    /// It was sent, and nobody knows whether it took effect.
    Unsure,
    /// It was not sent, for an entity at an end of it was refused.
    Waits,
}

/// What became of an operation.
#[derive(Debug)]
pub struct Fates {
    /// Of each of its changes, in order.
    pub changes: Vec<Fate>,
    /// Why it was not done to its end.
    pub stopped: Option<Stopped>,
}

/// Why an operation was not done to its end.
#[derive(Debug)]
pub enum Stopped {
    /// A failure that quick retries did not mend.
    Failed(Error),
    /// More changes were refused than are allowed.
    TooMany,
    /// More requests would be needed to find them all than are allowed.
    TooManyRequests,
    /// More requests failed so while they were looked for than are allowed.
    TooManyFailures(Error),
    /// The process is to stop: nothing of the operation is journalled.
    Interrupted,
    /// The batch is cancelled, or the target is to be left alone.
    Early(Going),
}

/// Figures of an execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendCounts {
    /// Requests, repetitions included.
    pub requests: u64,
    /// Repetitions of tier 1.
    pub quick_retries: u64,
    /// Requests that were parts of others.
    pub parts: u64,
}

impl SendCounts {
    /// Adds those of an execution.
    pub fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.quick_retries += more.quick_retries;
        self.parts += more.parts;
    }
}

/// Sends operations of one execution.
pub struct Sender<'a> {
    /// Where to.
    pub target: &'a dyn Target,
    /// For waits and their jitter.
    pub clock: &'a dyn Clock,
    /// How often, how quickly.
    pub retry: &'a RetrySettings,
    /// Where a test may kill the process.
    pub crash: &'a CrashPoints,
    /// Whether to go on, asked between requests.
    pub going: &'a (dyn Fn() -> Going + Sync),
    /// Requests that may be parts of others.
    pub most_parts: u64,
    /// What is known of how many changes are bad.
    pub density: Density,
    /// Whether what is sent is suspected of failures.
    pub suspect: Suspect,
    /// Figures so far.
    pub counts: SendCounts,
}

/// An operation that is being taken apart.
struct Apart<'a> {
    operation: &'a Operation,
    fates: Vec<Fate>,
    /// How many may still be refused.
    allowed: u64,
    refused: u64,
    /// Whether it was perhaps sent before, by a process that ended.
    maybe_sent: bool,
    /// Entities that do not come to be, for they were refused.
    gone: HashSet<KeyHash>,
    /// The last failure of a change alone that was no refusal.
    alone: Option<Error>,
    /// Changes that failed so before the target took anything.
    doubted: Vec<usize>,
}

impl Apart<'_> {
    /// Whether a change creates a relationship at a refused entity.
    fn waits(&self, n: usize) -> bool {
        let change = &self.operation.changes[n];
        match &change.key {
            Key::Relationship(key) if change.action == Action::Create => {
                self.gone.contains(&key.from.hash()) || self.gone.contains(&key.to.hash())
            }
            Key::Entity(_) | Key::Relationship(_) => false,
        }
    }

    /// Takes what became of a change.
    fn take(&mut self, n: usize, fate: Fate) {
        if matches!(fate, Fate::Rejected(_)) {
            self.refused += 1;
            let change = &self.operation.changes[n];
            if change.key.kind() == Kind::Entity && (change.action == Action::Create || change.replace) {
                self.gone.insert(change.key.hash());
            }
        }
        self.fates[n] = fate;
    }

    /// A request with these changes failed, and perhaps took effect.
    fn perhaps(&mut self, places: &[usize]) {
        for n in places {
            self.fates[*n] = Fate::Unsure;
        }
    }

    /// Nothing was a change's own fault.
    fn absolve(&mut self) {
        for fate in &mut self.fates {
            match fate {
                Fate::Rejected(rejection) if !rejection.code.is_empty() => {
                    *fate = if rejection.unsure { Fate::Unsure } else { Fate::Unsent };
                    self.refused -= 1;
                }
                // It waits for an end that was not refused then.
                Fate::Waits => *fate = Fate::Unsent,
                _ => {}
            }
        }
    }

    /// Takes back what failed alone before the target took anything, and what
    /// waits for it. Returns the places, in runs.
    fn doubt(&mut self) -> Vec<Range<usize>> {
        for n in std::mem::take(&mut self.doubted) {
            let Some(Fate::Rejected(rejection)) = self.fates.get(n) else { continue };
            self.fates[n] = if rejection.unsure { Fate::Unsure } else { Fate::Unsent };
            self.refused -= 1;
            self.gone.remove(&self.operation.changes[n].key.hash());
        }
        let mut runs: Vec<Range<usize>> = Vec::new();
        for n in 0..self.fates.len() {
            match &mut self.fates[n] {
                Fate::Done | Fate::Rejected(_) => continue,
                fate @ Fate::Waits => *fate = Fate::Unsent,
                Fate::Unsent | Fate::Unsure => {}
            }
            match runs.last_mut() {
                Some(run) if run.end == n => run.end = n + 1,
                _ => runs.push(n..n + 1),
            }
        }
        runs
    }
}

impl Sender<'_> {
    /// Sends an operation. `allowed`: how many of its changes may be refused
    /// before the rest is not tried any more. `maybe_sent`: whether it was
    /// perhaps sent before, by a process that ended.
    pub fn send(&mut self, operation: &Operation, allowed: u64, maybe_sent: bool) -> Fates {
        let count = operation.changes.len();
        match self.request(operation, maybe_sent) {
            Ok(outcomes) => {
                let bad = outcomes.iter().filter(|o| matches!(o, ChangeOutcome::Rejected(_))).count();
                self.density.told(count as u64, bad as u64);
                self.suspect.vouched |= bad < count;
                let fate = |outcome| fate(outcome, operation);
                Fates { changes: outcomes.into_iter().map(fate).collect(), stopped: None }
            }
            Err((error, unsure)) => {
                let fate = if unsure { Fate::Unsure } else { Fate::Unsent };
                let (error, certain) = match self.takes_apart(error, unsure) {
                    Ok(taken) => taken,
                    Err(stopped) => return Fates { changes: vec![fate; count], stopped: Some(stopped) },
                };
                // Parts of it may have arrived before that process ended.
                let fate = if certain && !maybe_sent { Fate::Unsent } else { fate };
                let (fates, gone) = (vec![fate; count], HashSet::new());
                let doubted = Vec::new();
                let mut apart =
                    Apart { operation, fates, allowed, refused: 0, maybe_sent, gone, alone: None, doubted };
                let stopped = match count {
                    0 | 1 if error.kind() == ErrorKind::BulkRejected => {
                        self.alone(&mut apart, 0, operation, error, unsure).err()
                    }
                    _ => self.isolate(&mut apart, 0..count, true).err(),
                };
                let stopped = stopped.or_else(|| self.try_doubted(&mut apart).err());
                let stopped = match apart.alone.take() {
                    // It may be that the target takes nothing at all.
                    Some(error) if !self.suspect.vouched => {
                        apart.absolve();
                        match stopped {
                            Some(stopped @ (Stopped::Interrupted | Stopped::Early(_))) => Some(stopped),
                            _ => Some(Stopped::Failed(error)),
                        }
                    }
                    _ => stopped,
                };
                Fates { changes: apart.fates, stopped }
            }
        }
    }

    /// Whether a request that failed is taken apart: with its error, and
    /// whether it certainly had no effect; else why all ends here.
    fn takes_apart(&mut self, error: Error, unsure: bool) -> std::result::Result<(Error, bool), Stopped> {
        match error.kind() {
            ErrorKind::BulkRejected => return Ok((error, true)),
            ErrorKind::Interrupted => return Err(Stopped::Interrupted),
            _ => {}
        }
        if !self.suspect.suspected || !may_be_content(&error) || self.target.health().is_err() {
            return Err(Stopped::Failed(error));
        }
        match (self.suspect.failed(unsure, self.clock.monotonic()), self.suspect.vouched) {
            (true, _) => Ok((error, !unsure)),
            (false, true) => Err(Stopped::TooManyFailures(error)),
            (false, false) => Err(Stopped::Failed(error)),
        }
    }

    /// A request with one change failed.
    fn alone(
        &mut self,
        apart: &mut Apart<'_>,
        n: usize,
        operation: &Operation,
        error: Error,
        unsure: bool,
    ) -> std::result::Result<(), Stopped> {
        let refused = error.kind() == ErrorKind::BulkRejected;
        let rejection = match refused {
            true => rejection(&error, operation),
            false => Rejection {
                code: error.kind().info().code.to_owned(),
                reason: error.to_string(),
                unsure,
                ..rejection(&error, operation)
            },
        };
        if n < apart.fates.len() {
            apart.take(n, Fate::Rejected(rejection));
        }
        self.density.told(1, 1);
        if !refused {
            apart.alone = Some(error);
            if !self.suspect.vouched {
                apart.doubted.push(n);
            }
            if !self.suspect.failed_alone() {
                return Err(Stopped::TooMany);
            }
        }
        Ok(())
    }

    /// Sends once more what failed alone before the target took anything, now
    /// that it did: it may have been the target's fault after all.
    fn try_doubted(&mut self, apart: &mut Apart<'_>) -> std::result::Result<(), Stopped> {
        if apart.doubted.is_empty() || !self.suspect.vouched {
            return Ok(());
        }
        for run in apart.doubt() {
            self.isolate(apart, run, false)?;
        }
        Ok(())
    }

    /// Sends changes of a range in order, in parts that get smaller where
    /// bad ones are. `known_bad`: there is a bad one in them for certain.
    ///
    /// At most one request a level of halving and bad change, and one for
    /// each good stretch between: for k bad ones of n at most
    /// 2·k·(1 + log2 n) + 1, and never more than 2·n. Where most are bad, they
    /// are sent one by one.
    fn isolate(
        &mut self,
        apart: &mut Apart<'_>,
        range: Range<usize>,
        mut known_bad: bool,
    ) -> std::result::Result<(), Stopped> {
        let mut at = range.start;
        // The change that failed alone, and is tried once more.
        let mut once = None;
        while at < range.end {
            let rest = range.end - at;
            let half = if known_bad { rest.div_ceil(2).min(rest - 1).max(1) } else { rest };
            let size = if once == Some(at) { 1 } else { half.min(self.density.group()).max(1) };
            if self.counts.parts >= self.most_parts {
                return Err(Stopped::TooManyRequests);
            }
            let (waiting, sent): (Vec<usize>, Vec<usize>) = (at..at + size).partition(|n| apart.waits(*n));
            for n in waiting {
                apart.take(n, Fate::Waits);
            }
            if sent.is_empty() {
                at += size;
                continue;
            }
            match (self.going)() {
                Going::On | Going::Stopped => {}
                early @ (Going::Cancelled | Going::Paused(..)) => return Err(Stopped::Early(early)),
            }
            let operation = part(apart.operation, &sent);
            match self.request(&operation, apart.maybe_sent) {
                Ok(outcomes) => {
                    let before = apart.refused;
                    for (n, outcome) in sent.iter().zip(outcomes) {
                        apart.take(*n, fate(outcome, &operation));
                    }
                    let bad = apart.refused - before;
                    self.density.told(sent.len() as u64, bad);
                    self.suspect.vouched |= bad < sent.len() as u64;
                    known_bad &= bad == 0;
                }
                Err((error, unsure)) => {
                    let taken = self.takes_apart(error, unsure);
                    if unsure && !matches!(taken, Ok((_, true))) {
                        apart.perhaps(&sent);
                    }
                    let (error, _) = taken?;
                    if let [alone] = sent[..] {
                        if error.kind() != ErrorKind::BulkRejected && once != Some(alone) {
                            // It may have been the moment's fault.
                            once = Some(alone);
                            self.clock.sleep(self.retry.quick_window);
                            continue;
                        }
                        self.alone(apart, alone, &operation, error, unsure)?;
                    } else {
                        self.isolate(apart, at..at + size, true)?;
                    }
                    known_bad = false;
                }
            }
            at += size;
            if apart.refused > apart.allowed {
                return Err(Stopped::TooMany);
            }
        }
        Ok(())
    }

    fn stopping(&self) -> bool {
        (self.going)() == Going::Stopped
    }

    /// One request, with its quick retries. The flag of a failure: whether
    /// any of the tries may have taken effect.
    fn request(
        &mut self,
        operation: &Operation,
        maybe_sent: bool,
    ) -> std::result::Result<Outcomes, (Error, bool)> {
        let mut unsure = maybe_sent;
        let mut tries = 0;
        loop {
            if operation.part.is_some() && self.stopping() {
                let text = format!("stopped between two parts of operation {}", operation.no);
                return Err((Error::new(ErrorKind::Interrupted, text), unsure));
            }
            tries += 1;
            self.counts.requests += 1;
            self.counts.parts += u64::from(operation.part.is_some());
            let result = self.target.apply(operation).and_then(|outcomes| {
                whole(operation, outcomes).map_err(|e| e.with_request(&self.target.describe(operation)))
            });
            self.crash.reached(Point::Target);
            let error = match result {
                Ok(outcomes) => return Ok(outcomes),
                Err(error) => error,
            };
            unsure |= !error.is_answer();
            if !is_quick(&error) || tries >= self.retry.quick_tries.max(1) || self.stopping() {
                return Err((error, unsure));
            }
            self.counts.quick_retries += 1;
            let wait = self.retry.quick_wait(tries, self.clock.random());
            tracing::debug!(
                batch = %operation.batch_id, source = %operation.source_id,
                code = error.kind().info().code, tries, "tried again at once"
            );
            self.clock.sleep(wait);
        }
    }
}

/// Whether quick retries may help. Who asked to be left alone is.
fn is_quick(error: &Error) -> bool {
    let asked = error.answer().and_then(|answer| answer.retry_after).unwrap_or(Duration::ZERO);
    let quick = match error.kind() {
        // The process is to end.
        ErrorKind::Interrupted => false,
        // It answered; a connection that is not there takes its time to fail.
        ErrorKind::TargetUnavailable => error.answer().is_some(),
        kind => kind.info().retry == Retry::Immediate,
    };
    quick && asked.is_zero()
}

fn whole(operation: &Operation, outcomes: Outcomes) -> Result<Outcomes> {
    if outcomes.len() == operation.changes.len() {
        return Ok(outcomes);
    }
    let problem = format!("it answered for {} of {} changes", outcomes.len(), operation.changes.len());
    Err(Error::new(ErrorKind::TargetAnswer, "publishing").caused_by(problem))
}

/// The changes at these places, in one request.
fn part(operation: &Operation, places: &[usize]) -> Operation {
    let first = places.first().map_or(0, |first| *first as u32);
    Operation {
        part: Some(Part { first, count: places.len() as u32 }),
        changes: places.iter().map(|n| operation.changes[*n].clone()).collect(),
        plan_id: operation.plan_id.clone(),
        no: operation.no,
        source_id: operation.source_id.clone(),
        batch_id: operation.batch_id.clone(),
        at: operation.at,
    }
}

fn fate(outcome: ChangeOutcome, operation: &Operation) -> Fate {
    match outcome {
        ChangeOutcome::Done => Fate::Done,
        ChangeOutcome::Rejected(rejection) => {
            Fate::Rejected(Rejection { sent: Some(sent_in(operation)), ..rejection })
        }
    }
}

fn sent_in(operation: &Operation) -> SentIn {
    SentIn { at: operation.at, part: operation.part, changes: operation.changes.len() as u32 }
}

fn rejection(error: &Error, operation: &Operation) -> Rejection {
    let reason = match error.answer().and_then(Answer::said) {
        Some(said) => format!("{}: {said}", error.message()),
        None => error.message().to_owned(),
    };
    let answer = error.answer().map(|answer| answer.text.clone()).unwrap_or_default();
    Rejection { reason, answer, sent: Some(sent_in(operation)), ..Rejection::default() }
}
