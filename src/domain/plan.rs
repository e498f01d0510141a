//! What is known of a plan without opening its file.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::change::Action;
use super::guards::GuardTrip;
use super::ids::{BatchId, PlanId, SnapshotId, SourceId, TargetName};
use super::key::Kind;

/// Counts of one kind in a plan. Of the batch's assertions, each is one of
/// create, update, delete, unchanged, superseded, rejected or skipped;
/// relationships that move because an end came or went are counted on top.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KindSummary {
    /// Come to be at the target.
    pub create: u64,
    /// Change at the target.
    pub update: u64,
    /// Go from the target.
    pub delete: u64,
    /// Asserted as they are published already, or not visible for another
    /// source's precedence.
    pub unchanged: u64,
    /// Older than what is known of the key.
    pub superseded: u64,
    /// Bad lines and conflicting duplicates.
    pub rejected: u64,
    /// Deletions that a bad line without a readable key holds back.
    pub withheld: u64,
    /// Not published because an operator skips the key, deletions included.
    #[serde(default)]
    pub skipped: u64,
}

impl KindSummary {
    /// Counts one change.
    pub fn count(&mut self, action: Action) {
        match action {
            Action::Create => self.create += 1,
            Action::Update => self.update += 1,
            Action::Delete => self.delete += 1,
        }
    }

    /// Changes at the target.
    pub fn changes(&self) -> u64 {
        self.create + self.update + self.delete
    }

    fn add(&mut self, more: &Self) {
        self.create += more.create;
        self.update += more.update;
        self.delete += more.delete;
        self.unchanged += more.unchanged;
        self.superseded += more.superseded;
        self.rejected += more.rejected;
        self.withheld += more.withheld;
        self.skipped += more.skipped;
    }
}

/// [`KindSummary`] and the relationships that wait for an end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RelationshipSummary {
    /// The counts that both kinds have.
    #[serde(flatten)]
    pub counts: KindSummary,
    /// Asserted by this batch, but not shown: an end is missing.
    pub waiting: u64,
}

/// The counts of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanSummary {
    /// Of entities.
    pub entities: KindSummary,
    /// Of relationships.
    pub relationships: RelationshipSummary,
}

impl PlanSummary {
    /// The counts of one kind.
    pub fn of(&mut self, kind: Kind) -> &mut KindSummary {
        match kind {
            Kind::Entity => &mut self.entities,
            Kind::Relationship => &mut self.relationships.counts,
        }
    }

    /// Adds the counts of another part of the plan.
    pub fn add(&mut self, more: &Self) {
        self.entities.add(&more.entities);
        self.relationships.counts.add(&more.relationships.counts);
        self.relationships.waiting += more.relationships.waiting;
    }

    /// What is skipped, of both kinds.
    pub fn skipped(&self) -> u64 {
        self.entities.skipped + self.relationships.counts.skipped
    }

    /// Changes at the target, of both kinds.
    pub fn changes(&self) -> u64 {
        self.entities.changes() + self.relationships.counts.changes()
    }
}

/// 128-bit digest of the set of changes: a sum over a hash of each, so that
/// neither order nor ids, bases or times take part (`SEMANTICS` 8). Written
/// as 32 hex digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PlanDigest(pub u128);

impl utoipa::PartialSchema for PlanDigest {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl utoipa::ToSchema for PlanDigest {}

impl PlanDigest {
    /// Takes one change in, by the hash of its canonical text.
    pub fn add(&mut self, change_hash: u128) {
        self.0 = self.0.wrapping_add(change_hash);
    }
}

impl fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for PlanDigest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text.len(), u128::from_str_radix(text, 16)) {
            (32, Ok(value)) => Ok(Self(value)),
            _ => Err(format!("a plan digest is 32 hex digits, not {text:?}")),
        }
    }
}

impl Serialize for PlanDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PlanDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a plan's footprint lies in its file (`SEMANTICS` 6): the keys of
/// which no other plan in work may change anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FootprintRef {
    /// Its first block.
    pub first_block: u32,
    /// Number of its blocks.
    pub blocks: u32,
    /// Number of its keys.
    pub keys: u64,
    /// Whether it is every key of the target, whatever the blocks say.
    pub whole: bool,
}

impl FootprintRef {
    /// Whether it meets no other footprint.
    pub fn is_empty(&self) -> bool {
        self.keys == 0 && !self.whole
    }
}

/// What the store keeps of a plan, and what leads its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanHeader {
    /// The plan's own id.
    pub plan_id: PlanId,
    /// The batch that it publishes.
    pub batch_id: BatchId,
    /// The source that the batch belongs to.
    pub source_id: SourceId,
    /// The target that it changes.
    pub target: TargetName,
    /// The current snapshot of every source of the target when it was made.
    pub bases: BTreeMap<SourceId, SnapshotId>,
    /// Digest of its changes.
    pub digest: PlanDigest,
    /// Its counts.
    pub summary: PlanSummary,
    /// The guards that it trips.
    pub guards: Vec<GuardTrip>,
    /// Number of operations.
    pub operations: u32,
}
