//! Why an entity or relationship looks as it does: what each source asserts
//! of it, who won each attribute, and what became of the last assertion.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::domain::ids::{BatchId, SourceId, TargetName};
use crate::domain::key::{EntityKey, RelationshipKey};

/// Why an entity looks as it does.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhyView {
    /// The entity.
    pub key: EntityKey,
    /// The target that was looked at.
    pub target: TargetName,
    /// Whether the target has it, archived ones not counted.
    pub live: bool,
    /// Whether the target has it archived.
    pub archived: bool,
    /// What each source of the target says of it, the highest precedence first.
    pub sources: Vec<WhySource>,
    /// Its attributes, by name.
    pub attributes: Vec<WhyAttribute>,
    /// What became of the newest assertion that is known.
    pub verdict: WhyVerdict,
    /// Relationships that are asserted and not shown; at most 100.
    pub waiting: Vec<WaitingRelationship>,
}

/// What a source says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssertionKind {
    /// A value.
    Value,
    /// Absent, by an incremental batch.
    Deleted,
    /// Absent: a full batch did not list it.
    NotListed,
    /// Nothing.
    Nothing,
}

/// A source's newest assertion of the key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhySource {
    /// The source.
    pub source_id: SourceId,
    /// Its precedence, as its snapshot has it.
    pub precedence: i64,
    /// What it says.
    pub asserts: AssertionKind,
    /// The batch that said so last.
    pub batch_id: Option<BatchId>,
    /// When that batch's data was extracted.
    pub source_timestamp: Option<Timestamp>,
    /// When it was transformed and written.
    pub processing_timestamp: Option<Timestamp>,
    /// The workflow that wrote that batch.
    pub workflow: String,
    /// The attributes that it asserts.
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Box<RawValue>>,
    /// Whether it is not known what a lost request did to the key at the target.
    pub unsure: bool,
    /// The open dead letter of the key: its number.
    pub dead_letter: Option<u64>,
    /// A batch that has not ended, and may say something newer.
    pub pending_batch: Option<BatchId>,
}

/// Who won an attribute.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhyAttribute {
    /// Its name.
    pub name: String,
    /// Whether the target has the attribute.
    pub at_target: bool,
    /// The value there; `null` also when it does not have it.
    #[schema(value_type = Option<Object>)]
    pub value: Option<Box<RawValue>>,
    /// The source that it comes from; `null`: no source asserts it, it was set at the target.
    pub source_id: Option<SourceId>,
    /// The batch that said so last.
    pub batch_id: Option<BatchId>,
    /// Sources of lower precedence that assert it too.
    pub overruled: Vec<SourceId>,
    /// Whether the target has another value than the sources assert: a volatile
    /// attribute, or an edit at the target.
    pub differs: bool,
}

/// What became of the newest assertion of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictCode {
    /// It is at the target.
    Published,
    /// It said absent, and the target does not have it.
    Absent,
    /// The target refused it, or its line was bad.
    DeadLetter,
    /// A batch without an unreadable line would have deleted it.
    Withheld,
    /// An operator skips the key.
    Skipped,
    /// A newer assertion was there before it.
    Superseded,
    /// A batch that has not ended may say something newer.
    Waiting,
    /// No source ever said anything of it, as far as is remembered.
    Unknown,
}

/// What became of the newest assertion of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyVerdict {
    /// What became of it.
    pub code: VerdictCode,
    /// The same in words.
    pub text: String,
    /// The batch that it was in.
    pub batch_id: Option<BatchId>,
}

/// A relationship that is asserted and not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingRelationship {
    /// Which one.
    pub key: RelationshipKey,
    /// The source that asserts it.
    pub source_id: SourceId,
    /// What it waits for.
    pub reason: String,
}
