//! Records of version 1: dead letters. Never edited after a release.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Decision;
use crate::domain::change::Action;
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::key::Key;
use crate::domain::stamp::Stamp;

/// What could not be published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LetterKind {
    /// One entity or relationship of a batch.
    #[default]
    Entity,
    /// A batch as a whole.
    Batch,
}

impl LetterKind {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Batch => "batch",
        }
    }
}

/// Whether a dead letter waits for repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterState {
    /// It does.
    Open,
    /// It was put back into the queue, and is settled or open again when that
    /// batch has ended.
    Requeued {
        /// The batch that brings it.
        batch: BatchId,
        /// When.
        at: Timestamp,
        /// Who did it.
        by: String,
    },
    /// It is settled.
    Resolved {
        /// When.
        at: Timestamp,
        /// By what: a batch or a person.
        by: String,
    },
    /// A person gave it up.
    Discarded {
        /// When.
        at: Timestamp,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Nobody decided about it for as long as `retention.open_dead_letters` says.
    Expired {
        /// When.
        at: Timestamp,
    },
}

impl DeadLetterState {
    /// Its name, as it is shown and filtered by.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Requeued { .. } => "requeued",
            Self::Resolved { .. } => "resolved",
            Self::Discarded { .. } => "discarded",
            Self::Expired { .. } => "expired",
        }
    }

    /// The batch that brings it again, while it is requeued.
    pub fn requeued_as(&self) -> Option<&BatchId> {
        match self {
            Self::Requeued { batch, .. } => Some(batch),
            Self::Open | Self::Resolved { .. } | Self::Discarded { .. } | Self::Expired { .. } => None,
        }
    }

    /// When it was settled; `None` while it is not.
    pub fn settled_at(&self) -> Option<Timestamp> {
        match self {
            Self::Open | Self::Requeued { .. } => None,
            Self::Resolved { at, .. } | Self::Discarded { at, .. } | Self::Expired { at } => Some(*at),
        }
    }
}

/// What is known of a failure besides its reason. May hold attribute values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterDiagnostics {
    /// What the change was to do.
    #[serde(default)]
    pub action: Option<Action>,
    /// The request as it was sent: where it went and its body, cut.
    #[serde(default)]
    pub request: Option<String>,
    /// The target's answer in its own words, cut.
    #[serde(default)]
    pub answer: Option<String>,
    /// The causes of the failure, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The attributes that were to change as they were before: JSON.
    #[serde(default)]
    pub before: Option<String>,
    /// The same as they were to be: JSON.
    #[serde(default)]
    pub after: Option<String>,
    /// What was being done.
    #[serde(default)]
    pub operation: Option<String>,
}

/// A batch that brought it and failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterAttempt {
    /// The batch.
    pub batch_id: BatchId,
    /// The batch's stamp.
    pub stamp: Stamp,
    /// When.
    pub at: Timestamp,
    /// A code of `error.rs`.
    pub code: String,
    /// What is wrong.
    pub message: String,
}

/// What somebody did about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterAction {
    /// When.
    pub at: Timestamp,
    /// What, in words.
    pub what: String,
    /// Who: `tidegate`, or a person.
    pub actor: String,
    /// Why; empty where there is no more to say.
    pub reason: String,
}

/// What a person put in the place of the original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterEdit {
    /// An entity's line, or a batch's manifest.
    pub content: Vec<u8>,
    /// Who, when and why.
    pub by: Decision,
    /// XXH3-128 of the manifest that it was made of, 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// Where the original of a letter lies that is too long for the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongContent {
    /// Its file, from the state folder, which may hold others too.
    pub file: String,
    /// Where in the file it begins.
    pub at: u64,
    /// Its size.
    pub bytes: u64,
    /// The XXH3-128 of its bytes, in hexadecimal.
    pub xxh3: String,
}

/// Something that could not be published, with all that is needed to repair it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number.
    pub id: u64,
    /// What it is.
    #[serde(default)]
    pub kind: LetterKind,
    /// The source.
    pub source: SourceId,
    /// The batch that brought it last.
    pub batch_id: BatchId,
    /// That batch's stamp.
    pub stamp: Stamp,
    /// Its key; `None` when it could not be read, and of a batch.
    pub key: Option<Key>,
    /// The original line of an entity, and of a key of which its batch says
    /// different things a line for each; empty of a batch, where nobody
    /// asserts anything of the key, and where it is long.
    pub content: Vec<u8>,
    /// Where the original lies instead, when it is long.
    #[serde(default)]
    pub long: Option<LongContent>,
    /// Whether something of the original was left out.
    pub cut: bool,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// A code of `error.rs`.
    pub code: String,
    /// What is wrong. Of a target's refusal it may name attribute values.
    pub message: String,
    /// The pattern of its message: without names, numbers and quoted values.
    #[serde(default)]
    pub pattern: String,
    /// When it was first seen.
    pub opened_at: Timestamp,
    /// When it was changed last.
    #[serde(default)]
    pub changed_at: Option<Timestamp>,
    /// How many batches brought it.
    pub attempts: u32,
    /// The attempts, oldest first; of very many the first and the last ones.
    #[serde(default)]
    pub history: Vec<LetterAttempt>,
    /// What was done about it, oldest first.
    #[serde(default)]
    pub actions: Vec<LetterAction>,
    /// What is known of the failure besides.
    #[serde(default)]
    pub diagnostics: LetterDiagnostics,
    /// What is requeued in the original's place.
    #[serde(default)]
    pub edited: Option<LetterEdit>,
    /// Rises with every change of the record.
    #[serde(default)]
    pub revision: u64,
    /// Whether it waits for repair.
    pub state: DeadLetterState,
}

impl DeadLetter {
    /// One that is about to be opened, of which nothing but the reason is known:
    /// of an entity or relationship in the batch of this stamp.
    pub fn new(stamp: Stamp, code: &str, message: String, opened_at: Timestamp) -> Self {
        Self {
            id: 0,
            kind: LetterKind::Entity,
            source: stamp.batch_id.source().clone(),
            batch_id: stamp.batch_id.clone(),
            stamp,
            key: None,
            content: Vec::new(),
            long: None,
            cut: false,
            file: String::new(),
            line: 0,
            code: code.to_owned(),
            message,
            pattern: String::new(),
            opened_at,
            changed_at: None,
            attempts: 0,
            history: Vec::new(),
            actions: Vec::new(),
            diagnostics: LetterDiagnostics::default(),
            edited: None,
            revision: 0,
            state: DeadLetterState::Open,
        }
    }

    /// Whether it holds what a source asserts. Else it is about a change that
    /// takes away what nobody asserts any more.
    pub fn asserts(&self) -> bool {
        self.kind == LetterKind::Batch || !self.content.is_empty() || self.long.is_some()
    }

    /// Whether it is neither settled nor in the queue.
    pub fn is_open(&self) -> bool {
        self.state == DeadLetterState::Open
    }
}

/// Unsettled dead letters that have one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterGroup {
    /// Its id, 16 hex digits: the same for the same reason at the same source.
    pub signature: String,
    /// The source.
    pub source: SourceId,
    /// What they are.
    pub kind: LetterKind,
    /// A code of `error.rs`.
    pub code: String,
    /// The pattern of their messages.
    pub pattern: String,
    /// How many are not settled.
    pub count: u64,
    /// When the first of them came.
    pub first_at: Timestamp,
    /// When the last one came.
    pub last_at: Timestamp,
}
