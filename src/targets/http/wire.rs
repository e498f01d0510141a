//! The bodies of the contract (`docs/http-target.md`). A changed contract
//! changes its name.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::change::Action;
use crate::domain::ids::{BatchId, PlanId, SourceId};
use crate::domain::json::canonicalize;
use crate::domain::key::{Key, Kind};
use crate::domain::settings::Deletion;
use crate::error::{Error, Result};
use crate::targets::{ChangeOutcome, Operation, Rejection, TargetChange, TargetValue};

/// What a target says of itself.
pub const TARGET_FORMAT: &str = "tidegate.target/1";
/// What an operation says of itself.
pub const OPERATION_FORMAT: &str = "tidegate.operation/1";

/// The answer to `GET .`.
#[derive(Debug, Deserialize)]
pub struct About {
    /// [`TARGET_FORMAT`].
    pub format: String,
    /// See [`Target::identity`](crate::targets::Target::identity).
    pub identity: String,
}

/// The body of `POST operations`.
#[derive(Debug, Serialize)]
pub struct OperationBody<'a> {
    format: &'static str,
    plan_id: &'a PlanId,
    operation: u32,
    source_id: &'a SourceId,
    batch_id: &'a BatchId,
    at: jiff::Timestamp,
    changes: Vec<ChangeBody<'a>>,
}

#[derive(Debug, Serialize)]
struct ChangeBody<'a> {
    action: &'static str,
    kind: Kind,
    key: &'a Key,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    unset: &'a [String],
    replace: bool,
}

fn change(change: &TargetChange, deletion: Deletion) -> Result<ChangeBody<'_>> {
    let set = match change.action {
        Action::Delete => None,
        Action::Create | Action::Update => Some(
            serde_json::from_slice(&change.set)
                .map_err(|e| Error::internal("the attributes of a change are no JSON").caused_by(e))?,
        ),
    };
    let action = match (change.action, deletion) {
        (Action::Create, _) => "create",
        (Action::Update, _) => "update",
        (Action::Delete, Deletion::Delete) => "delete",
        (Action::Delete, Deletion::Archive) => "archive",
    };
    Ok(ChangeBody {
        action,
        kind: change.key.kind(),
        key: &change.key,
        set,
        unset: &change.unset,
        replace: change.replace,
    })
}

/// An operation's body.
pub fn operation(operation: &Operation, deletion: Deletion) -> Result<Vec<u8>> {
    let body = OperationBody {
        format: OPERATION_FORMAT,
        plan_id: &operation.plan_id,
        operation: operation.no.0,
        source_id: &operation.source_id,
        batch_id: &operation.batch_id,
        at: operation.at,
        changes: operation.changes.iter().map(|c| change(c, deletion)).collect::<Result<_>>()?,
    };
    serde_json::to_vec(&body).map_err(|e| Error::internal("an operation can't be written").caused_by(e))
}

/// What a target does an operation at most once by: its plan, its number, and
/// the part of it that is sent.
pub fn idempotency_key(operation: &Operation) -> String {
    let whole = format!("{}.{}", operation.plan_id, operation.no.0);
    match operation.part {
        Some(part) => format!("{whole}.{}+{}", part.first, part.count),
        None => whole,
    }
}

/// The answer to `POST operations`.
#[derive(Debug, Deserialize)]
pub struct OutcomesBody {
    /// Of each change, in order.
    pub outcomes: Vec<OutcomeBody>,
}

/// What became of a change, as the contract has it.
#[derive(Debug, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Outcome {
    /// It is held durably.
    Done,
    /// It is refused, and why.
    Rejected { reason: String },
}

/// What became of a change, as the trait has it. `answer` of a rejection is
/// all that the target says of it, cut.
#[derive(Debug)]
pub struct OutcomeBody(pub ChangeOutcome);

impl<'de> Deserialize<'de> for OutcomeBody {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        Ok(Self(match serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)? {
            Outcome::Done => ChangeOutcome::Done,
            Outcome::Rejected { reason } => ChangeOutcome::Rejected(Rejection {
                reason: super::cut(&reason),
                answer: super::cut(raw.get()),
                ..Rejection::default()
            }),
        }))
    }
}

/// The body of `POST read`.
#[derive(Debug, Serialize)]
struct ReadBody<'a> {
    keys: Vec<KeyOfKind<'a>>,
}

#[derive(Debug, Serialize)]
struct KeyOfKind<'a> {
    kind: Kind,
    key: &'a Key,
}

/// The body that reads keys.
pub fn read(keys: &[Key]) -> Result<Vec<u8>> {
    let keys = keys.iter().map(|key| KeyOfKind { kind: key.kind(), key }).collect();
    serde_json::to_vec(&ReadBody { keys }).map_err(|e| Error::internal("keys can't be written").caused_by(e))
}

/// The answer to it.
#[derive(Debug, Deserialize)]
pub struct ValuesBody {
    /// Of each key, in order; `null` where there is nothing.
    pub values: Vec<Option<ValueBody>>,
}

/// What is held of a key.
#[derive(Debug, Deserialize)]
pub struct ValueBody {
    attributes: Box<RawValue>,
    #[serde(default)]
    archived: bool,
}

impl ValueBody {
    /// As the trait has it: attributes in canonical form. `None`: they are no
    /// JSON object.
    pub fn value(self, key: &Key) -> Option<TargetValue> {
        let raw = self.attributes.get().as_bytes();
        let mut attributes = Vec::with_capacity(raw.len());
        let is_object = raw.first() == Some(&b'{');
        canonicalize(raw, &mut attributes).ok().filter(|()| is_object)?;
        Some(TargetValue { key: key.clone(), attributes, archived: self.archived })
    }
}
