//! A snapshot: what is published of a source to a target.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::change::Action;
use crate::domain::ids::{BatchId, SnapshotId, SourceId, TargetName};
use crate::domain::key::{Key, Kind};
use serde_json::value::RawValue;

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
    /// The source timestamp of the newest batch published; none while nothing is.
    pub newest: Option<Timestamp>,
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

/// A key that two snapshots have otherwise.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SnapshotChange {
    /// What happened to it.
    pub action: Action,
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub key: Key,
    /// The attributes before, of an update those that changed; `null` where it
    /// was not there.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Box<RawValue>>,
    /// The same after.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Box<RawValue>>,
}
