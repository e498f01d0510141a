//! A source: its settings in force, its hold, its batches and snapshots.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::batch::BatchView;
use super::overview::{SourceState, StatusCounts};
use super::snapshot::SnapshotView;
use crate::domain::ids::{BatchId, SourceId, TargetName};
use crate::domain::publish_state::PublishStatus;
use crate::store::SkipRecord;

/// A source.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SourceView {
    /// Its id.
    pub source_id: SourceId,
    /// The target that it is published to.
    pub target: TargetName,
    /// 0 to 100: how much it matters against the others.
    pub importance: u8,
    /// Which source's value of an attribute shows: the highest.
    pub precedence: i64,
    /// How it stands.
    pub state: SourceState,
    /// The same in words.
    pub words: String,
    /// Why it waits for a person.
    pub hold: Option<SourceHoldView>,
    /// Its batches by status.
    pub counts: StatusCounts,
    /// Batches that have not ended.
    pub waiting: u64,
    /// Its newest batch.
    pub newest_batch: Option<BatchId>,
    /// How that stands.
    pub newest_status: Option<PublishStatus>,
    /// When a batch of it was last published.
    pub last_success: Option<Timestamp>,
    /// Open dead letters.
    pub open_dead_letters: u64,
    /// What is published of it.
    pub snapshot: Option<SnapshotView>,
}

/// Why a source waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceHoldView {
    /// A code of the table of errors, or `PAUSED`.
    pub code: String,
    /// The same in words.
    pub note: String,
    /// Since when.
    pub since: Timestamp,
    /// The batch that led to it.
    pub batch_id: Option<BatchId>,
}

/// A source with all that is known of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SourceDetail {
    /// The source.
    pub source: SourceView,
    /// Keys that are skipped now.
    pub skips: Vec<SkipView>,
    /// Its settings in force.
    pub settings: Vec<SettingView>,
    /// Its newest batches, at most 20.
    pub batches: Vec<BatchView>,
    /// Its newest snapshots, at most 20.
    pub snapshots: Vec<SnapshotView>,
}

/// Keys that an operator skips: what the source newly asserts of them is not
/// published, absence included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SkipView {
    /// Their type, as it is.
    #[serde(rename = "type")]
    pub type_name: String,
    /// A glob of their qualified names; of relationships of the names of their `from` ends.
    pub name: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Who skipped them.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl From<SkipRecord> for SkipView {
    fn from(record: SkipRecord) -> Self {
        Self {
            type_name: record.type_name,
            name: record.name.as_str().to_owned(),
            until: record.until,
            actor: record.actor,
            reason: record.reason,
            at: record.at,
        }
    }
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingView {
    /// Its key, such as `sources.warehouse.importance`.
    pub key: String,
    /// Its value, as the settings file would have it.
    pub value: String,
    /// Where it came from: a file and line, a variable, or `default`.
    pub origin: String,
}
