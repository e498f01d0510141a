//! The thread that brings notices to their webhooks while the service runs,
//! and looks after what time does to dead letters.

use std::time::Duration;

use jiff::Timestamp;

use super::engine::Engine;
use crate::domain::due;
use crate::domain::ids::TargetName;
use crate::domain::notice::NoticeKind;
use crate::error::Result;
use crate::observe::webhooks::{Courier, outlets};

/// Longest wait where nothing waits to be sent.
const IDLE: Duration = Duration::from_secs(60);
/// Longest wait where something has to be sent again.
const AGAIN: Duration = Duration::from_millis(500);

/// How often those are told of an alert in force that did not take it.
const TELL_AGAIN: Duration = Duration::from_secs(3600);

impl Engine {
    /// Brings notices until all work is to end.
    ///
    /// # Errors
    /// Of the store.
    pub(super) fn bring_notices(&self, courier: &Courier) -> Result<()> {
        let (mut told, mut webhooks) = (None, Vec::new());
        while !self.stopping() {
            let generation = self.work.generation();
            let settings = self.settings();
            // Webhooks may be new, and may take again what they did not take.
            let now = self.clock.monotonic();
            if told.is_none_or(|at| now.saturating_sub(at) >= TELL_AGAIN) || webhooks != settings.webhooks {
                self.keep_alerts()?;
                told = Some(now);
                webhooks.clone_from(&settings.webhooks);
            }
            self.watch_targets()?;
            courier.round(&self.store, &settings.webhooks, &*self.clock, &|| self.stopping())?;
            self.keep_letters()?;
            self.keep_batches()?;
            let waiting = !self.store.read(|view| view.outlets_with_messages())?.is_empty();
            self.work.wait(generation, if waiting { AGAIN } else { IDLE });
        }
        Ok(())
    }

    /// Tells of what is in force those webhooks that were not told of it.
    ///
    /// # Errors
    /// Of the store.
    pub fn keep_alerts(&self) -> Result<()> {
        self.watch_targets()?;
        self.store.tell_alerts()
    }

    /// Raises the alerts of targets that can't be used for long, and ends those
    /// of targets that are no longer in the settings.
    fn watch_targets(&self) -> Result<()> {
        let settings = self.settings();
        let is_long =
            |since: Timestamp| due::after(since, settings.alerts.target_down_after) <= self.clock.now();
        let (long, over) = self.store.read(|view| {
            let open = view.open_breakers()?;
            // It is looked at every commit.
            let alerts = if open.is_empty() { Vec::new() } else { view.alerts()? };
            let raised = |target: &TargetName| {
                alerts.iter().any(|a| a.kind == NoticeKind::TargetDown && a.subject == target.as_str())
            };
            let mut long = Vec::new();
            for (target, breaker) in &open {
                let known = settings.targets.contains_key(target);
                if known && is_long(breaker.since) && !raised(target) {
                    long.push(target.clone());
                }
            }
            let is_over = |target: &TargetName| raised(target) && !settings.targets.contains_key(target);
            let over: Vec<TargetName> = open.into_iter().map(|(target, _)| target).filter(is_over).collect();
            Ok((long, over))
        })?;
        if long.is_empty() && over.is_empty() {
            return Ok(());
        }
        self.store.write(move |tx| {
            over.iter().for_each(|target| tx.clear_target_down(target));
            for target in &long {
                // It may have come back.
                if tx.breaker(target)?.is_some_and(|breaker| breaker.is_open()) {
                    tx.raise_target_down(target)?;
                }
            }
            Ok(())
        })
    }

    /// The store writes notices for the webhooks of the settings in force.
    pub(super) fn set_outlets(&self) {
        let settings = self.settings();
        self.store.set_address(settings.server.address(self.listening.get()));
        self.store.set_outlets(outlets(&settings.webhooks));
    }
}
