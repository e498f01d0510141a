//! A dead letter: what failed, all that is known of it, and what a repair of
//! it would change.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ProblemView, SkipView};
use crate::domain::change::{Action, Change};
use crate::domain::guards::GuardTrip;
use crate::domain::ids::{BatchId, SourceId, TargetName};
use crate::domain::key::Key;
use crate::domain::plan::PlanSummary;
use crate::store::LetterKind;

/// Whether a dead letter waits for repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LetterState {
    /// It does.
    Open,
    /// A batch brings it again, and settles or opens it.
    Requeued,
    /// A batch settled it.
    Resolved,
    /// A person gave it up.
    Discarded,
    /// Nobody decided about it in time.
    Expired,
}

impl LetterState {
    /// Every state.
    pub const ALL: [LetterState; 5] =
        [Self::Open, Self::Requeued, Self::Resolved, Self::Discarded, Self::Expired];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Requeued => "requeued",
            Self::Resolved => "resolved",
            Self::Discarded => "discarded",
            Self::Expired => "expired",
        }
    }
}

/// A dead letter, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterView {
    /// Its number.
    pub id: u64,
    /// Rises with every change: who decides gives it back, and is told when it
    /// is another one by then.
    pub revision: u64,
    /// One entity or relationship, or a batch as a whole.
    pub kind: LetterKind,
    /// Whether it waits for repair.
    pub state: LetterState,
    /// The source.
    pub source_id: SourceId,
    /// The batch that brought it last.
    pub batch_id: BatchId,
    /// That batch's source timestamp.
    pub source_timestamp: Timestamp,
    /// Its key; `null` when it could not be read, and of a batch.
    pub key: Option<Key>,
    /// A code of the table of errors.
    pub code: String,
    /// What is wrong. Of a target's refusal it may name attribute values.
    pub message: String,
    /// Its group: the same for the same reason at the same source.
    pub signature: String,
    /// How many batches brought it.
    pub attempts: u32,
    /// When it was first seen.
    pub opened_at: Timestamp,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// Whether something else than the original is requeued.
    pub edited: bool,
    /// The batch that brings it again; set while it is requeued.
    pub requeued_as: Option<BatchId>,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
    /// What settled it: a batch or a person.
    pub settled_by: Option<String>,
}

/// A dead letter with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterDetail {
    /// The letter.
    #[serde(flatten)]
    pub letter: DeadLetterView,
    /// What its code means.
    pub meaning: String,
    /// What to do.
    pub action: String,
    /// The original: of an entity its line, of a batch its manifest; `null`
    /// where that is not known.
    pub content: Option<String>,
    /// Of a batch the hash of its manifest: who edits it gives it back, and is told
    /// when another one is there by then. `null` of anything else.
    #[serde(default)]
    pub original_hash: Option<String>,
    /// Of a batch the URL of the folder with its files: of their copy under the
    /// state URL, else of where it was delivered; `null` of anything else.
    pub files: Option<String>,
    /// Whether `content` is the original byte for byte. Else what is no UTF-8
    /// in it was replaced; `GET /api/v1/dlq/{id}/content` gives the bytes.
    pub content_exact: bool,
    /// Why the original can't be read; `null` where it can.
    pub content_problem: Option<String>,
    /// Whether something of the original was left out when it was kept.
    pub cut: bool,
    /// What is requeued in its place.
    pub edited_content: Option<String>,
    /// The file of the batch that it was in; empty where it was in none.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is known of the failure besides its reason.
    pub diagnostics: DiagnosticsView,
    /// The attempts, oldest first; of very many the first and the last ones.
    pub history: Vec<AttemptView>,
    /// Of a batch the retries before it failed, oldest first: of very many the
    /// newest 50.
    pub retries: Vec<RetriedView>,
    /// What was done about it, oldest first.
    pub actions: Vec<ActionView>,
    /// Why it was given up.
    pub discard_reason: Option<String>,
    /// The skip that its key is under: until that is lifted nothing is published
    /// of it, and it can't be requeued.
    pub skip: Option<SkipView>,
}

/// What is known of a failure besides its reason. May hold attribute values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiagnosticsView {
    /// What the change was to do.
    pub action: Option<Action>,
    /// What was being done.
    pub operation: Option<String>,
    /// The request as it was sent, cut: where it went and its body, without
    /// secrets. Of many changes in it that one.
    pub request: Option<String>,
    /// The target's answer in its own words, cut.
    pub answer: Option<String>,
    /// The causes of the failure, outermost first.
    pub causes: Vec<String>,
    /// The attributes that were to change as they were before: JSON.
    pub before: Option<String>,
    /// The same as they were to be: JSON.
    pub after: Option<String>,
}

/// A batch that brought it and failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// The batch.
    pub batch_id: BatchId,
    /// When.
    pub at: Timestamp,
    /// A code of the table of errors.
    pub code: String,
    /// What was wrong.
    pub message: String,
}

/// That a batch failed and was tried again later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetriedView {
    /// When it failed.
    pub at: Timestamp,
    /// What was wrong.
    pub message: String,
}

/// What somebody did about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActionView {
    /// When.
    pub at: Timestamp,
    /// What, in words.
    pub what: String,
    /// Who: `tidegate`, or a person.
    pub actor: String,
    /// Why; may be empty.
    pub reason: String,
}

/// Unsettled dead letters that have one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LetterGroupView {
    /// Its id.
    pub signature: String,
    /// The source.
    pub source_id: SourceId,
    /// What they are.
    pub kind: LetterKind,
    /// A code of the table of errors.
    pub code: String,
    /// What the code means.
    pub meaning: String,
    /// Their message without names, numbers and quoted values.
    pub message: String,
    /// How many there are.
    pub count: u64,
    /// When the first of them came.
    pub first_at: Timestamp,
    /// When the last one came.
    pub last_at: Timestamp,
    /// The newest of them.
    pub example: Option<DeadLetterView>,
}

/// What a dead letter's content would do now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LetterPreview {
    /// Whether it can be requeued as it is.
    pub valid: bool,
    /// Whether the content that was given can be kept as an edit, though it may
    /// be of no use: it is what it has to be, and about the same key or batch.
    pub keepable: bool,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// What to do about that.
    pub action: Option<String>,
    /// What to know about the changes, in words.
    pub note: Option<String>,
    /// The plan that its batch would have now; `null` when it can't be requeued.
    pub plan: Option<PlanPreview>,
    /// What would change against what is published now, in the order of
    /// execution; of many changes the first 100.
    pub changes: Vec<Change>,
}

/// A plan that was made to be looked at: nothing of it is kept.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanPreview {
    /// The target that it would change.
    pub target: TargetName,
    /// Changes at the target.
    pub changes: u64,
    /// Its counts.
    pub summary: PlanSummary,
    /// The guards that it would trip: the batch would be parked.
    pub guards: Vec<GuardTrip>,
    /// Lines that it would leave out, and that would become dead letters.
    pub rejects: u64,
    /// What should be looked at, in words.
    pub warnings: Vec<String>,
}

/// What became of one letter of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LetterResult {
    /// Its number.
    pub id: u64,
    /// Whether it was done.
    pub done: bool,
    /// The batch that brings it again.
    pub batch_id: Option<BatchId>,
    /// Why it was not done.
    pub problem: Option<ProblemView>,
}

/// What became of the letters of an action, a part at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LetterResults {
    /// Each letter that was taken up.
    pub items: Vec<LetterResult>,
    /// How many of them it was done for.
    pub done: u64,
    /// How many of them it was refused for.
    pub refused: u64,
    /// Given back as `cursor`, it goes on; `null` when all were taken up.
    pub next_cursor: Option<String>,
}
