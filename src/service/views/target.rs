//! A target: a metadata catalogue that is published to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::{SourceId, TargetName};
use crate::domain::settings::Deletion;

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetView {
    /// Its name.
    pub target: TargetName,
    /// What it is: `embedded` or `http`.
    pub kind: String,
    /// What a deletion means there.
    pub deletion: Deletion,
    /// Tells what it holds from any other data; `null` when it can't be reached.
    pub identity: Option<String>,
    /// Sources that are published to it.
    pub sources: Vec<SourceId>,
    /// Set while it can't be used, or is tried again.
    pub down: Option<DownView>,
    /// When it could be used again after it last could not.
    pub last_outage: Option<Timestamp>,
    /// Its maintenance windows.
    pub maintenance: Vec<WindowView>,
    /// Why it can't be used, or does not hold what was published to it; empty
    /// when all is well.
    pub problems: Vec<String>,
}

/// That a target can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DownView {
    /// Since when.
    pub since: Timestamp,
    /// An error code.
    pub code: String,
    /// What it said.
    pub message: String,
    /// What to do.
    pub action: Option<String>,
    /// Probes that failed.
    pub probes: u32,
    /// When it is probed next.
    pub next_probe: Timestamp,
    /// Whether it answers again, and is tried with one batch at a time.
    pub half_open: bool,
}

/// A maintenance window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WindowView {
    /// When it begins: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// The time zone that this is meant in.
    pub time_zone: String,
    /// How long it is, in seconds.
    pub seconds: u64,
    /// When it ends, while it is open.
    pub open_until: Option<Timestamp>,
    /// When it opens next.
    pub opens: Option<Timestamp>,
}
