//! Alerts: what somebody should look at, told once for as long as it lasts.
//! What raises and clears them is decided where it happens; that each is told
//! once is the store's work, and how it travels that of `observe`.

use jiff::Timestamp;
use serde::Serialize;

use super::ids::{BatchId, PlanId, SourceId, TargetName};
use super::key::Key;

/// Dead letters of one reason where there was none: the data of a
/// `dead_letter.opened` message. Holds no value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLettersOpened {
    /// The group: the same for the same reason at the same source.
    pub group: String,
    /// The source.
    pub source_id: SourceId,
    /// `entity` or `batch`.
    pub what: &'static str,
    /// A code of the table of errors.
    pub code: String,
    /// What the code means.
    pub meaning: String,
    /// What to do.
    pub action: String,
    /// What is wrong, without names, numbers and values; `null` where a
    /// target's words may hold a value.
    pub message: Option<String>,
    /// How many there are so far.
    pub count: u64,
    /// One of them: its number.
    pub dead_letter: u64,
    /// The batch that brought it.
    pub batch_id: BatchId,
    /// Its key, if it has one.
    pub key: Option<Key>,
    /// The page that shows them.
    pub link: String,
}

/// A plan that waits for a person's approval: the data of a `batch.parked`
/// message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchParked {
    /// The source.
    pub source_id: SourceId,
    /// The batch.
    pub batch_id: BatchId,
    /// The plan.
    pub plan_id: Option<PlanId>,
    /// What the guards say of it.
    pub message: String,
    /// What to do.
    pub action: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// The page that shows it.
    pub link: String,
}

/// A source of which nothing is begun: the data of a `source.held` message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceHeld {
    /// The source.
    pub source_id: SourceId,
    /// What holds it: `batch_failed`, `target_moved`, `unknown_source` or
    /// `trouble`.
    pub reason: &'static str,
    /// A code of the table of errors.
    pub code: String,
    /// What the code means.
    pub meaning: String,
    /// What to do.
    pub action: String,
    /// Why, without names, numbers and quoted values.
    pub message: String,
    /// The batch that led to it.
    pub batch_id: Option<BatchId>,
    /// Since when.
    pub since: Timestamp,
    /// The page that shows it.
    pub link: String,
}

/// A target that can't be used: the data of a `target.down` message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetDown {
    /// The target.
    pub target: TargetName,
    /// A code of the table of errors.
    pub code: String,
    /// What the code means.
    pub meaning: String,
    /// What to do.
    pub action: String,
    /// Since when.
    pub since: Timestamp,
    /// The page that shows it.
    pub link: String,
}
