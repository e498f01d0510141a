//! The breaker of each target: while a target can't be used, nothing is sent
//! to it but one probe at a time, and nobody's budget is spent.
//!
//! ```text
//! closed → (a failure of the target as a whole) → open → (a probe goes well)
//!        → half open: one batch at a time → (it answered a request) → closed
//! ```
//!
//! It is stored, so that a restart changes nothing.

use std::time::Duration;

use jiff::Timestamp;

use super::engine::Engine;
use crate::domain::due;
use crate::domain::ids::{SourceId, TargetName};
use crate::domain::retry::RetrySettings;
use crate::error::{Error, ErrorKind, Result};
use crate::publishing::suspect::SUSPECTED_AFTER;
use crate::store::{BreakerRecord, Suspicion, Tx, View};

/// That a target can't be used, and why.
#[derive(Debug, Clone)]
pub(super) struct Down {
    code: &'static str,
    message: String,
    /// How long it asked to be left alone.
    asked: Option<Duration>,
    /// Whether a probe said so.
    probed: bool,
    /// The source whose batch met it.
    tried: Option<SourceId>,
}

impl Down {
    /// What an error says of its target.
    pub(super) fn of(error: &Error) -> Self {
        Self {
            code: error.kind().info().code,
            message: error.to_string(),
            asked: error.answer().and_then(|answer| answer.retry_after),
            probed: false,
            tried: None,
        }
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
        let probes = before.as_ref().map_or(0, |before| before.probes.saturating_add(1));
        let mut in_vain = before.as_ref().map_or_else(Vec::new, |before| before.in_vain.clone());
        if let Some(tried) = &self.tried {
            in_vain.retain(|source| source != tried);
            in_vain.push(tried.clone());
        }
        tx.put_breaker(
            target,
            &BreakerRecord {
                since: before.as_ref().map_or(now, |before| before.since),
                code: self.code.to_owned(),
                message: self.message.clone(),
                probes,
                next_probe: due::after(
                    now,
                    settings
                        .probe_wait(probes + 1, random)
                        .max(self.asked.unwrap_or_default().min(LONGEST_ASKED)),
                ),
                half_open: false,
                in_vain,
                closed_at: None,
            },
        )
    }
}

/// Longest time that a target is not probed because it asked for that.
const LONGEST_ASKED: Duration = Duration::from_secs(15 * 60);

/// When a target that can't be used is probed next, if not now.
pub(super) fn next_probe(
    breaker: &BreakerRecord,
    settings: &RetrySettings,
    now: Timestamp,
) -> Option<Timestamp> {
    due::ahead(breaker.next_probe, now, settings.longest_probe.max(LONGEST_ASKED))
}

impl Engine {
    /// That a target can't be used, if a failure of a batch of `source` says
    /// so: by its kind, or because the target fails when it is asked how it
    /// is, too. One that is well, though the batch fails again and again at
    /// the same place, is not down.
    pub(super) fn down(
        &self,
        target: &TargetName,
        source: &SourceId,
        error: &Error,
        suspicion: Option<Suspicion>,
    ) -> Option<Down> {
        use ErrorKind::*;
        let suspected = suspicion.is_some_and(|suspicion| suspicion.failures >= SUSPECTED_AFTER);
        let down = match error.kind() {
            kind if kind.is_of_target() && !suspected => Some(Down::of(error)),
            // It asks to be left alone: as a whole, when it says so of
            // everything.
            TargetThrottled if error.is_answer() => None,
            TargetInterrupted | TargetAnswer | TargetFailed | TargetThrottled | TargetUnavailable
            | TargetTimeout | TargetUnauthorized | TargetContract => {
                let health = self.targets.get(target)?.target.health();
                health.err().map(|error| Down::of(&error))
            }
            _ => None,
        };
        down.map(|down| Down { tried: Some(source.clone()), ..down })
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

    /// The target has answered a request of a trial, or nothing is there to
    /// try it with: everything goes on.
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

    /// The targets with a half open breaker that no batch waits for.
    pub(super) fn idle_breakers(&self, view: &View<'_>) -> Result<Vec<TargetName>> {
        let mut open = view.open_breakers()?;
        open.retain(|(_, breaker)| breaker.half_open);
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let settings = self.settings();
        let wanted: Vec<TargetName> =
            view.sources_with_unfinished()?.iter().map(|source| settings.source(source).target).collect();
        Ok(open.into_iter().map(|(name, _)| name).filter(|name| !wanted.contains(name)).collect())
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
