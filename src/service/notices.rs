//! The thread that brings notices to their webhooks while the service runs,
//! and looks after what time does to dead letters.

use std::time::Duration;

use super::engine::Engine;
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
            courier.round(&self.store, &settings.webhooks, &*self.clock, &|| self.stopping())?;
            self.keep_letters()?;
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
        self.store.tell_alerts()
    }

    /// The store writes notices for the webhooks of the settings in force.
    pub(super) fn set_outlets(&self) {
        let settings = self.settings();
        self.store.set_address(settings.server.address(self.listening.get()));
        self.store.set_outlets(outlets(&settings.webhooks));
    }
}
