//! Folders of the inboxes that are no batches, and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::{BatchId, SourceId};

/// The inboxes, and every folder that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InboxListView {
    /// When they were looked into.
    pub seen_at: Timestamp,
    /// Why nothing is accepted now: a disk has too little room.
    pub stopped: Option<String>,
    /// The inboxes.
    pub inboxes: Vec<InboxView>,
    /// The folders.
    pub items: Vec<InboxFolderView>,
    /// Given back as `cursor`, it brings what follows.
    pub next_cursor: Option<String>,
}

/// An inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InboxView {
    /// Its URL.
    pub url: String,
    /// Milliseconds between two looks at it.
    pub poll_ms: u64,
    /// How complete batches are known: `manifest`, `marker:<name>` or `quiet:<duration>`.
    pub complete: String,
    /// Why it can't be looked into now.
    pub error: Option<String>,
    /// Folders of it that are not accepted; 0 while it can't be looked into.
    pub waiting: u64,
}

/// An inbox that can't be looked into: what lies there is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LostInboxView {
    /// Its URL.
    pub url: String,
    /// Why not.
    pub error: String,
    /// Since when, as far as this process knows.
    pub since: Timestamp,
}

/// What became of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InboxFolderState {
    /// It is not complete, or its settings are missing.
    Waiting,
    /// It can't be a batch, and is never taken: its name is none of a batch,
    /// or what it holds was refused.
    Ignored,
    /// It was changed after it became a batch.
    Changed,
}

/// A folder that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InboxFolderView {
    /// URL of the inbox.
    pub inbox: String,
    /// Its path below the inbox: `<source>/<folder>`.
    pub folder: String,
    /// The source, if its name can be read.
    pub source_id: Option<SourceId>,
    /// What became of it.
    pub state: InboxFolderState,
    /// Why it is no batch.
    pub reason: String,
    /// Seconds since it changed.
    pub age_seconds: u64,
    /// The batch that it was accepted as, of a changed one.
    pub batch_id: Option<BatchId>,
}
