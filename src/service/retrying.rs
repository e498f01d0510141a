//! When a batch that failed is tried again, and what it waits for: the retry
//! tiers 2 and 3. Tier 1 is in `publishing/send.rs`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::SELF;
use super::breaker::Down;
use super::engine::Engine;
use super::failing::failure;
use crate::config::Settings;
use crate::domain::due;
use crate::domain::ids::{BatchId, TargetName};
use crate::domain::publish_state::PublishStatus;
use crate::domain::retry::LONGEST_ASKED;
use crate::domain::transition::Event;
use crate::error::{Error, Result, Retry};
use crate::store::{BatchRecord, RetryRecord, RetryWait, Suspicion};

/// What follows a failure that may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Follows {
    /// The batch is tried again.
    Again(Again),
    /// Its budget is spent: it fails.
    Fails,
}

/// How a batch is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Again {
    /// Not before this time.
    pub(super) at: Timestamp,
    /// Failures in a row.
    pub(super) attempts: u32,
    /// What it waits for.
    pub(super) retry: RetryRecord,
}

impl Again {
    /// Puts it into the batch's record.
    pub(super) fn put(self, record: &mut BatchRecord) {
        record.attempts = self.attempts;
        record.next_attempt = Some(self.at);
        record.retry = Some(self.retry);
    }
}

/// What is known of a batch's failures when one more is not its own: the wait
/// until then is none of the budget that those before have used.
fn stalled(before: Option<RetryRecord>, code: &str, now: Timestamp, until: Timestamp) -> RetryRecord {
    let (code, until) = (code.to_owned(), Some(until));
    match before {
        Some(before) if before.wait == RetryWait::Backoff => {
            let began = before.until.unwrap_or(now);
            let not_its_own = until.unwrap_or(now).duration_since(began).max(SignedDuration::ZERO);
            let since = before.since.checked_add(not_its_own).unwrap_or(now);
            RetryRecord { since, until, code, ..before }
        }
        Some(before) if before.code == code => {
            RetryRecord { until, wait: RetryWait::Unavailable, asked: 0, ..before }
        }
        Some(RetryRecord { suspicion, .. }) => {
            RetryRecord { since: now, until, wait: RetryWait::Unavailable, asked: 0, code, suspicion }
        }
        None => {
            RetryRecord { since: now, until, wait: RetryWait::Unavailable, asked: 0, code, suspicion: None }
        }
    }
}

impl Engine {
    /// How long a request to a target may take effect without an answer.
    pub(super) fn request_limit(&self, target: &TargetName) -> Duration {
        self.targets.get(target).map_or(Duration::ZERO, |open| open.target.capabilities().request_limit)
    }

    /// When a batch that is tried again may be, if not now.
    pub(super) fn next_attempt(
        &self,
        settings: &Settings,
        batch: &BatchRecord,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if batch.status == PublishStatus::Executing {
            return due::ahead(batch.next_attempt?, now, due::LONGEST);
        }
        let asked = batch.retry.as_ref().map_or(0, |retry| retry.asked);
        // It waits for a request without an answer, too.
        let limit = self.request_limit(&settings.source(batch.batch_id.source()).target);
        let longest = settings.retry.longest(Duration::from_secs(asked)).max(limit);
        due::ahead(batch.next_attempt?, now, longest)
    }

    /// What follows when an attempt at a batch failed. `further`: it has
    /// published something, so that the budget begins anew.
    ///
    /// A wait for what is not there, for a window or for an operator spends no
    /// budget: the time that it took is not counted either.
    pub(super) fn follows(
        &self,
        record: &BatchRecord,
        target: &TargetName,
        error: &Error,
        down: Option<&Down>,
        further: bool,
        suspicion: Option<Suspicion>,
    ) -> Result<Follows> {
        let now = self.clock.now();
        let settings = self.settings();
        let source = record.batch_id.source();
        let code = error.kind().info().code;
        let issue = self.store.read(|view| view.known_issue(target, source, Some(code), now))?;
        let backoff = |retry: &&RetryRecord| retry.wait == RetryWait::Backoff;
        let began = match record.retry.as_ref().filter(backoff).filter(|_| !further) {
            // What came after the wait was not the batch's own: its turn, a
            // window, an outage. Nor was what the target asked for.
            Some(before) => {
                let late = before.until.map_or(SignedDuration::ZERO, |until| now.duration_since(until));
                let asked = SignedDuration::from_secs(i64::try_from(before.asked).unwrap_or(i64::MAX));
                let not_its_own = late.max(SignedDuration::ZERO).saturating_add(asked);
                before.since.checked_add(not_its_own).unwrap_or(now)
            }
            None => now,
        };
        let spent = if further { 0 } else { record.attempts };
        let attempts = spent.saturating_add(1);
        let asked = error.answer().and_then(|answer| answer.retry_after);
        let again = |at, attempts, since, wait| {
            let asked = match wait {
                RetryWait::Backoff | RetryWait::Unavailable => {
                    asked.unwrap_or_default().min(LONGEST_ASKED).as_secs()
                }
                RetryWait::Window | RetryWait::KnownIssue(_) => 0,
            };
            let retry = RetryRecord { since, until: Some(at), wait, asked, code: code.into(), suspicion };
            Ok(Follows::Again(Again { at, attempts, retry }))
        };
        if let Some(issue) = issue {
            return again(now, spent, now, RetryWait::KnownIssue(issue.id));
        }
        if settings.window_open(target, source, now).is_some() {
            // Whether it is still open is asked when its turn comes.
            return again(now, spent, now, RetryWait::Window);
        }
        if down.is_some() {
            // The breaker says when.
            return again(now, spent, now, RetryWait::Unavailable);
        }
        // It is counted by time alone: an attempt here is none of the budget.
        let gone = || {
            let before =
                record.retry.as_ref().filter(|retry| retry.wait == RetryWait::Unavailable && !further);
            let since = before.map_or(now, |before| before.since);
            let gone = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            let at = due::after(now, settings.retry.wait_after(gone, asked, self.clock.random()));
            again(at, spent, since, RetryWait::Unavailable)
        };
        match error.kind().info().retry {
            // What is needed is there: the breaker would be open.
            Retry::Unavailable if !error.kind().is_of_target() => gone(),
            Retry::Scheduled => gone(),
            Retry::Immediate | Retry::Delayed | Retry::Unavailable | Retry::Never => {
                if settings.retry.is_spent(attempts, began, now) {
                    return Ok(Follows::Fails);
                }
                let at = due::after(now, settings.retry.wait(attempts, asked, self.clock.random()));
                again(at, attempts, began, RetryWait::Backoff)
            }
        }
    }

    /// What went wrong while a batch was planned may go well later: it waits,
    /// and lets others go on. It fails when its budget is spent.
    pub(super) fn retry_later(&self, id: &BatchId, error: &Error) -> Result<BatchRecord> {
        let record = self.batch(id)?;
        let (target, _) = self.target_of(id.source())?;
        let down = self.down(target, id.source(), error, None);
        let again = match self.follows(&record, target, error, down.as_ref(), false, None)? {
            Follows::Again(again) => again,
            Follows::Fails => return self.fail(id, error, Some("planning".into())),
        };
        self.tell_retry(id, error);
        let details = failure(id, error, Some("planning".into()), again.attempts);
        let (id, cause, target) = (id.clone(), error.to_string(), target.clone());
        let (settings, random) = (self.settings().retry, self.clock.random());
        self.store.write(move |tx| {
            if let Some(down) = &down {
                down.take(tx, &target, &settings, random)?;
            }
            let record = tx.expect_batch(&id)?;
            if matches!(record.status, PublishStatus::Pending | PublishStatus::Retrying) {
                tx.transition_batch(&id, Event::PlanningStarted, "its turn has come", SELF, |_| {})?;
            }
            tx.transition_batch(&id, Event::RetryScheduled, &cause, SELF, |record| {
                again.put(record);
                record.failure = Some(details);
            })
        })
    }

    /// Has a batch that is being executed wait: nothing of what failed is its
    /// own, or the target's. It stays EXECUTING, with why and until when.
    pub(super) fn go_on_later(&self, id: &BatchId, error: &Error) -> Result<()> {
        let source = id.source();
        let news = self.folded.is_news(&format!("retry of {source}"), &error.to_string());
        if news {
            tracing::warn!(batch = %id, %source, %error, "it goes on later");
        }
        let until = due::after(self.clock.now(), due::doubling(self.work.failed(source)));
        let (id, code) = (id.clone(), error.kind().info().code);
        let cause = format!("it goes on later: {error}");
        self.store.write(move |tx| {
            let mut record = tx.expect_batch(&id)?;
            record.retry = Some(stalled(record.retry.take(), code, tx.now(), until));
            record.next_attempt = Some(until);
            tx.put_batch(&record)?;
            if news { tx.remark(&record, cause, SELF) } else { Ok(()) }
        })
    }

    /// Says that a batch is tried again, once for the same reason.
    pub(super) fn tell_retry(&self, id: &BatchId, error: &Error) {
        let what = format!("retry of {}", id.source());
        if self.folded.is_news(&what, &error.to_string()) {
            tracing::warn!(batch = %id, source = %id.source(), code = error.kind().info().code, %error, "it is tried again later");
        }
    }
}
