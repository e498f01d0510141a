//! `[alerts]`: from when on somebody is told.

use std::time::Duration;

use toml::Table;

use super::read::Reading;
use super::reference;
use super::values::duration;

/// From when on somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertSettings {
    /// A target that can't be used for so long is told of.
    pub target_down_after: Duration,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self { target_down_after: Duration::from_secs(15 * 60) }
    }
}

impl Reading {
    pub(super) fn alerts(&mut self, table: &Table, into: &mut AlertSettings) {
        self.unknown(table, "alerts", &reference::names("alerts"));
        self.value(table, "alerts", "target_down_after", &mut into.target_down_after, duration);
    }
}
