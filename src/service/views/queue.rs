//! The queue: what runs, what waits, in which order and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::batch::{HoldView, PrioritisedView, PriorityView, ProgressView, WaitView};
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::publish_state::PublishStatus;

/// Batches that have not ended, in the order in which they would run now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// The batches.
    pub items: Vec<QueueItem>,
    /// Given back as `cursor`, it brings what follows.
    pub next_cursor: Option<String>,
    /// How much waits of each source.
    pub depth: Vec<QueueDepth>,
    /// Batches that have not ended.
    pub total: u64,
}

/// A batch of the queue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueItem {
    /// From 1: what runs, then what may run, then what waits.
    pub position: u64,
    /// The batch.
    pub batch_id: BatchId,
    /// Its source.
    pub source_id: SourceId,
    /// Where it stands.
    pub status: PublishStatus,
    /// When its data was extracted.
    pub source_timestamp: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Its score with its parts.
    pub priority: PriorityView,
    /// That an operator put it ahead.
    pub prioritised: Option<PrioritisedView>,
    /// Why it waits for a person.
    pub hold: Option<HoldView>,
    /// Why it does not run now; `null` while it runs.
    pub waits: Option<WaitView>,
    /// How far its work has come.
    pub progress: Option<ProgressView>,
    /// When the present phase is estimated to end.
    pub eta: Option<Timestamp>,
}

/// How much of a source has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueDepth {
    /// The source.
    pub source_id: SourceId,
    /// Batches that wait, parked and retrying ones included.
    pub waiting: u64,
    /// Batches that are planned or executed now: 0 or 1.
    pub running: u64,
    /// Whether the source waits for a person.
    pub held: bool,
}
