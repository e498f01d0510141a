//! Everything at a glance, and what customers may see.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::batch::BatchView;
use super::inbox::LostInboxView;
use super::queue::{QueueDepth, QueueItem};
use super::source::SourceView;
use crate::domain::ids::SourceId;

/// Numbers of batches by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct StatusCounts {
    /// Accepted, not begun.
    pub pending: u64,
    /// Being planned.
    pub planning: u64,
    /// Planned; perhaps parked.
    pub plan_complete: u64,
    /// Being executed.
    pub executing: u64,
    /// Published.
    pub complete: u64,
    /// Ended without being published in full.
    pub failed: u64,
    /// Waiting for the next attempt.
    pub retrying: u64,
}

impl StatusCounts {
    /// All batches.
    pub fn total(&self) -> u64 {
        self.unfinished() + self.complete + self.failed
    }

    /// Batches that have not ended.
    pub fn unfinished(&self) -> u64 {
        self.pending + self.planning + self.plan_complete + self.executing + self.retrying
    }
}

/// Everything at a glance.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OverviewView {
    /// When it was put together.
    pub at: Timestamp,
    /// The process.
    pub service: ServiceInfo,
    /// Why nothing is accepted and begun now: a disk has too little room.
    pub stopped: Option<String>,
    /// Inboxes that can't be looked into.
    #[serde(default)]
    #[schema(required)]
    pub lost_inboxes: Vec<LostInboxView>,
    /// All batches by status.
    pub counts: StatusCounts,
    /// How much waits of each source.
    pub depth: Vec<QueueDepth>,
    /// Batches that are planned or executed now.
    pub running: Vec<BatchView>,
    /// The first 20 of those that wait.
    pub waiting: Vec<QueueItem>,
    /// Batches that wait for a person, at most 50.
    pub parked: Vec<BatchView>,
    /// The 20 that ended last, newest first.
    pub results: Vec<BatchView>,
    /// The sources.
    pub sources: Vec<SourceView>,
}

/// The process that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceInfo {
    /// Version of the program.
    pub version: String,
    /// Whether it publishes: a command that opens the data directory itself does not.
    pub serving: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// Name of the data directory.
    pub data: String,
    /// Formats that it reads and writes.
    pub formats: Vec<FormatView>,
}

/// A format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FormatView {
    /// What is stored in it.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// How a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Everything that came is published.
    UpToDate,
    /// A batch is planned or executed.
    Publishing,
    /// Batches wait for their turn.
    Waiting,
    /// A batch waits for its next attempt.
    Retrying,
    /// A batch waits until its target can be used, a maintenance window ends or
    /// a known issue is solved.
    Delayed,
    /// A plan waits for a person.
    Parked,
    /// The source waits for a person.
    Held,
    /// An operator paused it.
    Paused,
    /// The newest batch failed.
    Failing,
}

impl SourceState {
    /// As in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "up_to_date",
            Self::Publishing => "publishing",
            Self::Waiting => "waiting",
            Self::Retrying => "retrying",
            Self::Delayed => "delayed",
            Self::Parked => "parked",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Failing => "failing",
        }
    }
}

/// What customers may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// When it was put together.
    pub at: Timestamp,
    /// The sources.
    pub sources: Vec<SourceStatus>,
}

/// What customers may see of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceStatus {
    /// The source.
    pub source_id: SourceId,
    /// How it stands.
    pub state: SourceState,
    /// The same in words.
    pub words: String,
    /// When a batch of it was last published.
    pub last_success: Option<Timestamp>,
}
