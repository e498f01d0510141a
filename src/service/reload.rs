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
            // The path of a webhook may be known to its owner alone.
            let shown = |value: &Option<String>| match value {
                None => "(not set)".to_owned(),
                Some(_) if change.key.starts_with("webhook") => "(not shown)".to_owned(),
                Some(value) => value.clone(),
            };
            let (old, new) = (shown(&change.old), shown(&change.new));
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
        self.set_outlets();
        self.recheck_holds(None)?;
        self.events.settings();
        self.work.notify();
        Ok(reload)
    }
}
