//! Other settings, while everything runs.

use std::sync::{Arc, PoisonError};

use super::engine::Engine;
use crate::config::{Reload, Settings};
use crate::error::Result;

impl Engine {
    /// Puts other settings in force, as far as that is possible without a
    /// restart, and says what changed.
    ///
    /// # Errors
    /// When the store fails.
    pub fn reload(&self, new: &Settings) -> Result<Reload> {
        let reload = {
            let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
            let reload = settings.reload(new);
            *settings = Arc::new(reload.settings.clone());
            reload
        };
        for change in &reload.changes {
            let none = || "(not set)".to_owned();
            let (old, new) =
                (change.old.clone().unwrap_or_else(none), change.new.clone().unwrap_or_else(none));
            if change.needs_restart {
                tracing::warn!(
                    key = change.key,
                    old,
                    new,
                    "a setting changed; it is in force after a restart"
                );
            } else {
                tracing::info!(key = change.key, old, new, "a setting changed");
            }
        }
        if reload.changes.is_empty() {
            tracing::info!("the settings were read again; nothing changed");
            return Ok(reload);
        }
        self.recheck_holds(None)?;
        self.events.settings();
        self.work.notify();
        Ok(reload)
    }
}
