//! A snapshot: what is published of a source to a target.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::{BatchId, SnapshotId, SourceId, TargetName};

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotView {
    /// Its id.
    pub snapshot_id: SnapshotId,
    /// The source.
    pub source_id: SourceId,
    /// The target.
    pub target: TargetName,
    /// The snapshot before.
    pub parent: Option<SnapshotId>,
    /// The batch that was published.
    pub batch_id: BatchId,
    /// The source timestamp of the newest batch published.
    pub newest: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its URL.
    pub url: String,
    /// Entities live in it.
    pub entities: u64,
    /// Relationships live in it.
    pub relationships: u64,
    /// Whether it is the current one.
    pub current: bool,
}
