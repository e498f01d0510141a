//! A batch: its publish state and all that has no place in that.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::completion::Completion;
use crate::domain::guards::GuardTrip;
use crate::domain::ids::{BatchId, PlanId, SnapshotId, TargetName};
use crate::domain::plan::{PlanDigest, PlanSummary};
use crate::domain::publish_state::{PublishState, PublishStatus};
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::domain::transition::Event;

/// A batch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BatchView {
    /// The publish state, as the specification has it.
    pub publish_state: PublishState,
    /// The workflow that wrote it; empty when the batch does not say.
    pub workflow: String,
    /// How its lines are meant; `null` when its manifest could not be read, or it
    /// has none and its source's settings do not say it yet.
    pub mode: Option<Mode>,
    /// What a full batch speaks for.
    pub scope: Scope,
    /// 1 to 10: the workflow's own word, or an estimate.
    pub complexity: u8,
    /// Whether `complexity` is an estimate.
    pub complexity_estimated: bool,
    /// Number of its data files.
    pub files: u64,
    /// Lines of all files, where the manifest states them.
    pub lines: Option<u64>,
    /// Stored bytes of all files, where they are known.
    pub bytes: Option<u64>,
    /// When it was accepted into the queue.
    pub accepted_at: Timestamp,
    /// Its score against batches of other sources; `null` once it has ended.
    pub priority: Option<PriorityView>,
    /// That an operator put it ahead of other sources' batches.
    pub prioritised: Option<PrioritisedView>,
    /// Why it waits for a person.
    pub hold: Option<HoldView>,
    /// Why it does not run now; `null` while it runs and once it has ended.
    pub waits: Option<WaitView>,
    /// How far its work has come, while it runs in this process.
    pub progress: Option<ProgressView>,
    /// When the present phase is estimated to end, from its rate so far.
    pub eta: Option<Timestamp>,
    /// How far its newest execution has come, and what became of its lines and
    /// changes.
    pub completion: Option<Completion>,
    /// How often it was tried again since it last came further.
    pub attempts: u32,
    /// Since when and why it is tried again.
    pub retry: Option<RetryView>,
    /// When it is tried again, never a time in the past: its own time, or when
    /// what holds it is looked at again; `null` where that is not known.
    pub next_attempt: Option<Timestamp>,
    /// What a person approved.
    pub approval: Option<ApprovalView>,
    /// Its newest plan, while that is stored.
    pub plan: Option<PlanBrief>,
    /// Open dead letters that it brought last.
    pub open_dead_letters: u64,
    /// What an operator can do with it now.
    pub actions: Vec<BatchAction>,
}

/// That a batch is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetryView {
    /// The retry tier: 2 waits by itself, 3 for a maintenance window's end or
    /// an operator.
    pub tier: u8,
    /// When the first of its failures in a row was.
    pub since: Timestamp,
    /// The code of the last of them.
    pub code: String,
}

/// A score with its parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PriorityView {
    /// The sum of `age`, `importance` and `simplicity`.
    pub score: f64,
    /// `age_weight · age / half_life`
    pub age: f64,
    /// `importance_weight · importance / 100`
    pub importance: f64,
    /// `simplicity_weight · (10 − complexity) / 9`
    pub simplicity: f64,
    /// The age that went into it, in seconds since the source timestamp.
    pub age_seconds: u64,
    /// The source's importance that went into it, 0 to 100.
    pub source_importance: u8,
    /// The complexity that went into it, 1 to 10.
    pub complexity: u8,
}

/// An operator's prioritisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrioritisedView {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// Why a batch waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldView {
    /// `approval`: a guard parked the plan.
    pub reason: String,
    /// The same in words.
    pub note: String,
    /// Since when.
    pub since: Timestamp,
}

/// The kinds of reasons for which a batch does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitCode {
    /// A guard parked its plan.
    Approval,
    /// A failure, a restored target or a missing setting holds its source.
    SourceHeld,
    /// An operator paused its source.
    SourcePaused,
    /// The time of its next attempt has not come.
    Retry,
    /// Its target can't be used.
    TargetDown,
    /// A maintenance window is open.
    Window,
    /// An operator knows of something that it would fail for.
    KnownIssue,
    /// An older batch of its source goes first.
    OlderBatch,
    /// It is the next of its source, and other sources' batches go first.
    Turn,
}

impl WaitCode {
    /// As in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::SourceHeld => "source_held",
            Self::SourcePaused => "source_paused",
            Self::Retry => "retry",
            Self::TargetDown => "target_down",
            Self::Window => "window",
            Self::KnownIssue => "known_issue",
            Self::OlderBatch => "older_batch",
            Self::Turn => "turn",
        }
    }

    /// The retry tier that a batch which is tried again is in while it waits
    /// for this; `None` where that says nothing of it.
    pub fn tier(self) -> Option<u8> {
        match self {
            Self::Window | Self::KnownIssue => Some(3),
            Self::Approval
            | Self::SourceHeld
            | Self::SourcePaused
            | Self::Retry
            | Self::TargetDown
            | Self::OlderBatch
            | Self::Turn => None,
        }
    }

    /// How a source stands whose next batch waits for it, in words that name
    /// nothing of the inside.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::TargetDown => "delayed: the catalogue can't be reached",
            Self::Window => "delayed: maintenance",
            Self::KnownIssue => "delayed: a known issue is being solved",
            Self::Approval
            | Self::SourceHeld
            | Self::SourcePaused
            | Self::Retry
            | Self::OlderBatch
            | Self::Turn => "delayed",
        }
    }
}

/// Why a batch does not run now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitView {
    /// The kind of reason.
    pub code: WaitCode,
    /// The same in words.
    pub text: String,
    /// The batch that it waits for.
    pub batch_id: Option<BatchId>,
    /// When it goes on by itself.
    pub until: Option<Timestamp>,
}

/// What is being done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its files are read and compared.
    Reading,
    /// Its plan is put together and checked.
    Planning,
    /// Its changes are sent to the target.
    Executing,
    /// The next snapshot is written.
    Committing,
}

/// What progress is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProgressUnit {
    /// Stored bytes of the batch.
    Bytes,
    /// Changes of the plan.
    Changes,
}

/// How far work has come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProgressView {
    /// What is being done.
    pub phase: Phase,
    /// So much is done.
    pub done: u64,
    /// Of so much, where that is known.
    pub total: Option<u64>,
    /// What both are counted in.
    pub unit: ProgressUnit,
    /// When the phase began.
    pub since: Timestamp,
    /// Units a second, once that can be told.
    pub rate: Option<f64>,
}

/// What a person approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalView {
    /// The plan that was looked at.
    pub plan_id: PlanId,
    /// Its digest.
    pub digest: PlanDigest,
    /// The guards that it tripped.
    pub guards: Vec<GuardTrip>,
    /// Who approved.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A plan without its changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanBrief {
    /// Its id.
    pub plan_id: PlanId,
    /// Digest of its changes: what an approval names.
    pub digest: PlanDigest,
    /// The target that it changes.
    pub target: TargetName,
    /// The snapshot of the source that it is made from.
    pub base_snapshot: Option<SnapshotId>,
    /// How far it has come: `registered`, `complete`, `executing`, `committed` or `dropped`.
    pub state: String,
    /// Changes at the target.
    pub changes: u64,
    /// Its counts.
    pub summary: PlanSummary,
    /// The guards that it trips.
    pub guards: Vec<GuardTrip>,
    /// Number of operations.
    pub operations: u32,
    /// When it was begun.
    pub registered_at: Timestamp,
}

/// What an operator can do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BatchAction {
    /// Let a parked plan run.
    Approve,
    /// End a parked batch; it asserts nothing.
    Reject,
    /// Put it ahead of other sources' batches.
    Prioritize,
    /// Take that back.
    Unprioritize,
    /// End it.
    Cancel,
    /// Put an ended one back into the queue, or try a waiting one now.
    Retry,
}

impl BatchAction {
    /// As in the API's paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Prioritize => "prioritize",
            Self::Unprioritize => "unprioritize",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }
}

/// Something that happened to a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineItem {
    /// When.
    pub at: Timestamp,
    /// What; `null` for something that does not change the status.
    pub event: Option<Event>,
    /// The status before.
    pub from: PublishStatus,
    /// The status after.
    pub to: PublishStatus,
    /// Why, in words.
    pub cause: String,
    /// Who: `tidegate`, or a person.
    pub actor: String,
}
