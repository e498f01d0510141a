//! The publish state: the record that the API returns for a batch, exactly
//! the model of the specification (contract: the publish state).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a batch stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PublishStatus {
    /// Accepted, not begun.
    Pending,
    /// Its plan is being made.
    Planning,
    /// Its plan is made and checked; it may be held.
    PlanComplete,
    /// Its plan is being executed.
    Executing,
    /// Published.
    Complete,
    /// Ended without being published in full; see `failure_details`.
    Failed,
    /// Waits for its next attempt.
    Retrying,
}

impl PublishStatus {
    /// Every status, in the order in which a batch passes through them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Planning,
        Self::PlanComplete,
        Self::Executing,
        Self::Complete,
        Self::Failed,
        Self::Retrying,
    ];

    /// As in the API: `PENDING`, `PLAN_COMPLETE`, ….
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Planning => "PLANNING",
            Self::PlanComplete => "PLAN_COMPLETE",
            Self::Executing => "EXECUTING",
            Self::Complete => "COMPLETE",
            Self::Failed => "FAILED",
            Self::Retrying => "RETRYING",
        }
    }

    /// Whether the batch has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

/// What a batch did at its target, summed over attempts. An archive counts as
/// deleted, a revival as created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BatchMetrics {
    /// Entities created.
    pub entities_created: u64,
    /// Entities updated.
    pub entities_updated: u64,
    /// Entities deleted or archived.
    pub entities_deleted: u64,
    /// Relationships created, those that had waited included.
    pub relationships_created: u64,
    /// Relationships updated.
    pub relationships_updated: u64,
    /// Relationships deleted, those that began to wait included.
    pub relationships_deleted: u64,
    /// Time spent executing, in milliseconds.
    pub execution_time_ms: u64,
}

/// Why a batch failed, waits for its next attempt, or completed in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FailureDetails {
    /// A code of `error.rs`.
    pub error_code: String,
    /// What happened, where, and what to do.
    pub error_message: String,
    /// What was being done: `planning`, or the operation of the plan and what
    /// it does, such as `operation 3 of 5: create 500 entities`.
    pub failed_operation: Option<String>,
    /// The chain of causes, one a line, down to the status and the words of
    /// the target's answer. May hold attribute values.
    pub stack_trace: Option<String>,
    /// How often it is or was tried again since it last came further. Waits
    /// for an outage, a window or a known issue are no tries.
    pub retry_count: u32,
}

/// The specification's `PublishState`, field by field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PublishState {
    /// `<source_id>:<folder name>`, with `~<n>` for a requeue.
    pub batch_id: String,
    /// The source system.
    pub source_id: String,
    /// The run that wrote the batch.
    pub workflow_run_id: String,
    /// URL of the batch folder (`s3://…`, `file:///…`).
    pub s3_path: String,
    /// When the data was extracted.
    pub source_timestamp: Timestamp,
    /// When the data was transformed and written.
    pub processing_timestamp: Timestamp,
    /// When publishing began.
    pub publish_start_timestamp: Option<Timestamp>,
    /// When publishing ended.
    pub publish_end_timestamp: Option<Timestamp>,
    /// Where the batch stands.
    pub status: PublishStatus,
    /// What it did at the target.
    pub metrics: Option<BatchMetrics>,
    /// Why it failed, waits or is partial.
    pub failure_details: Option<FailureDetails>,
    /// URL of the snapshot that holds what it published.
    pub state_snapshot_path: Option<String>,
    /// URL of its plan.
    pub execution_plan_path: Option<String>,
}
