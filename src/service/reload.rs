//! Other settings, while everything runs.

use std::sync::{Arc, PoisonError};

use url::Url;

use super::engine::Engine;
use crate::config::{Reload, Settings};
use crate::error::Result;

/// A value as the log tells it. The path of a webhook or of a target may be
/// known to its owner alone.
fn shown(key: &str, value: Option<&str>) -> String {
    match value {
        None => "(not set)".to_owned(),
        Some(_) if key.starts_with("webhook") => "(not shown)".to_owned(),
        Some(value) if key.starts_with("targets.") && key.ends_with(".url") => {
            Url::parse(value.trim_matches(['"', '\'']))
                .map_or_else(|_| "(not shown)".to_owned(), |url| url.origin().ascii_serialization())
        }
        Some(value) => value.to_owned(),
    }
}

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
            let shown = |value: &Option<String>| shown(&change.key, value.as_deref());
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
