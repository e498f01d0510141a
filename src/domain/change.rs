//! One change of a plan, as it is shown, counted and sent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::key::{Key, Kind};

/// What a change does at the target.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It comes to be, or is revived.
    Create,
    /// Some of its attributes change.
    Update,
    /// It goes, or is archived.
    Delete,
}

impl Action {
    /// `create`, `update` or `delete`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// `+`, `~` or `-`, as a plan shows it.
    pub fn sign(self) -> char {
        match self {
            Self::Create => '+',
            Self::Update => '~',
            Self::Delete => '-',
        }
    }
}

/// A change with its values, as `plan --json` lists it (contract: command
/// line). Values are JSON objects of attributes in canonical form. Of an
/// update they hold the changed attributes only: one that is missing in
/// `before` is new, one that is missing in `after` goes.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Change {
    /// What it does.
    pub action: Action,
    /// What it does it to.
    pub kind: Kind,
    /// Which one.
    pub key: Key,
    /// Whether a relationship comes or goes for one of its ends alone. With
    /// `delete` it begins to wait for that end, and counts as no deletion.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
    /// The attributes before; `None` for a create.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Box<RawValue>>,
    /// The attributes after; `None` for a delete.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Box<RawValue>>,
}

impl Change {
    /// Whether a relationship begins to wait for an end: it goes from the
    /// target, and is still asserted (`SEMANTICS` 5).
    pub fn begins_to_wait(&self) -> bool {
        self.moved && self.action == Action::Delete
    }
}

/// Which changes of an operation are sent, when it was taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// The place of the first one.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

/// The request that a change was sent in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentIn {
    /// The time that it named.
    pub at: Timestamp,
    /// Which part of its operation it was; `None`: all of it.
    pub part: Option<Part>,
    /// How many changes it had.
    pub changes: u32,
}

/// Why a target refuses a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredRejection")]
pub struct Rejection {
    /// Its reason, in words. May name attribute values.
    pub reason: String,
    /// Its whole answer, cut, where it says more than the reason.
    pub answer: String,
    /// The code of the failure that the change leads to when it is sent alone,
    /// or that of what is not there to be changed; empty where the target
    /// refused what it brings.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// Whether it may have taken effect all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
    /// The request that it was in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<SentIn>,
}

/// A rejection as it may be stored: the first journals had the reason alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredRejection {
    Reason(String),
    Whole {
        reason: String,
        #[serde(default)]
        answer: String,
        #[serde(default)]
        code: String,
        #[serde(default)]
        unsure: bool,
        #[serde(default)]
        sent: Option<SentIn>,
    },
}

impl From<StoredRejection> for Rejection {
    fn from(stored: StoredRejection) -> Self {
        match stored {
            StoredRejection::Reason(reason) => reason.into(),
            StoredRejection::Whole { reason, answer, code, unsure, sent } => {
                Self { reason, answer, code, unsure, sent }
            }
        }
    }
}

impl From<String> for Rejection {
    fn from(reason: String) -> Self {
        Self { reason, ..Self::default() }
    }
}

impl From<&str> for Rejection {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}
