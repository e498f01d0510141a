//! The breaker of each target: while a target can't be used, nothing is sent
//! to it but one probe at a time, and nobody's budget is spent.
//!
//! ```text
//! closed → (a failure of the target as a whole) → open → (a probe goes well)
//!        → half open: one batch at a time → (it came to its end) → closed
//! ```
//!
//! It is stored, so that a restart changes nothing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::engine::Engine;
use crate::domain::ids::TargetName;
use crate::domain::retry::RetrySettings;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{BreakerRecord, Tx};

/// That a target can't be used, and why.
#[derive(Debug, Clone)]
pub(super) struct Down {
    code: &'static str,
    message: String,
    /// Whether a probe said so.
    probed: bool,
}

impl Down {
    /// What an error says of its target.
    pub(super) fn of(error: &Error) -> Self {
        Self { code: error.kind().info().code, message: error.to_string(), probed: false }
    }

    /// Opens the breaker, or keeps it open.
    pub(super) fn take(
        &self,
        tx: &mut Tx<'_>,
        target: &TargetName,
        settings: &RetrySettings,
        random: u64,
    ) -> Result<()> {
        let now = tx.now();
        let before = tx.breaker(target)?.filter(BreakerRecord::is_open);
        if before.is_none() {
            tracing::warn!(%target, code = self.code, "the target can't be used: {}", self.message);
        }
        // Others that were in work fail too, and say nothing new.
        if before.as_ref().is_some_and(|before| !before.half_open) && !self.probed {
            return Ok(());
        }
        let probes = before.as_ref().map_or(0, |before| before.probes + 1);
        tx.put_breaker(
            target,
            &BreakerRecord {
                since: before.map_or(now, |before| before.since),
                code: self.code.to_owned(),
                message: self.message.clone(),
                probes,
                next_probe: after(now, settings.probe_wait(probes + 1, random)),
                half_open: false,
                closed_at: None,
            },
        )
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

impl Engine {
    /// That a target can't be used, if a failure says so: by its kind, or
    /// because the target fails when it is asked how it is, too.
    pub(super) fn down(&self, target: &TargetName, error: &Error) -> Option<Down> {
        use ErrorKind::*;
        match error.kind() {
            kind if kind.is_of_target() => Some(Down::of(error)),
            TargetInterrupted | TargetAnswer | TargetFailed => {
                let health = self.targets.get(target)?.target.health();
                health.err().map(|error| Down::of(&error))
            }
            _ => None,
        }
    }

    /// Looks whether a target can be used again.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn probe(&self, target: &TargetName) -> Result<()> {
        let Some(open) = self.targets.get(target) else { return Ok(()) };
        let health = open.target.health();
        let (name, settings, random) = (target.clone(), self.settings().retry, self.clock.random());
        self.store.write(move |tx| match (&health, tx.breaker(&name)?) {
            (Ok(()), Some(breaker)) if breaker.is_open() => {
                tracing::info!(target = %name, probes = breaker.probes, "the target answers again: one batch is tried");
                tx.put_breaker(&name, &BreakerRecord { half_open: true, ..breaker })
            }
            (Err(error), Some(breaker)) if breaker.is_open() => {
                Down { probed: true, ..Down::of(error) }.take(tx, &name, &settings, random)
            }
            _ => Ok(()),
        })
    }

    /// The trial of a half open breaker came to an end that was not the
    /// target's fault: everything goes on.
    pub(super) fn close_breaker(&self, target: &TargetName) -> Result<()> {
        let half_open = |breaker: &BreakerRecord| breaker.is_open() && breaker.half_open;
        if !self.store.read(|view| view.breaker(target))?.is_some_and(|b| half_open(&b)) {
            return Ok(());
        }
        let name = target.clone();
        self.store.write(move |tx| {
            let Some(breaker) = tx.breaker(&name)?.filter(half_open) else { return Ok(()) };
            let now = tx.now();
            let down = now.duration_since(breaker.since).as_secs();
            tracing::info!(target = %name, seconds = down, "the target can be used again");
            tx.put_breaker(&name, &BreakerRecord { closed_at: Some(now), half_open: false, ..breaker })
        })
    }

    /// Has the targets that can't be used be probed now: of one, or all.
    ///
    /// # Errors
    /// When the store fails.
    pub fn probe_now(&self, only: Option<&TargetName>) -> Result<()> {
        for (target, breaker) in self.store.read(|view| view.open_breakers())? {
            if !breaker.half_open && only.is_none_or(|only| *only == target) {
                self.probe(&target)?;
            }
        }
        Ok(())
    }
}
