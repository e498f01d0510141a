//! Records of version 1. Never edited after a release.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::change::Rejection;
use crate::domain::completion::Completion;
use crate::domain::glob::Glob;
use crate::domain::guards::GuardTrip;
use crate::domain::ids::{BatchId, PlanId, SnapshotId, SourceId, TargetName};
use crate::domain::notice::NoticeKind;
use crate::domain::plan::{FootprintRef, PlanDigest, PlanHeader};
use crate::domain::priority::UNKNOWN_COMPLEXITY;
use crate::domain::publish_state::{BatchMetrics, FailureDetails, PublishState, PublishStatus};
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::domain::skip::SkipRule;
use crate::domain::stamp::Stamp;
use crate::domain::transition::Event;

/// Why a batch waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// A guard tripped: approve or reject.
    Approval,
}

/// A batch that waits for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// Since when.
    pub since: Timestamp,
    /// The same in words.
    pub note: String,
}

/// A person's approval of what tripped a plan's guards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// The plan that was looked at.
    pub plan_id: PlanId,
    /// Its digest.
    pub digest: PlanDigest,
    /// What it tripped.
    pub trips: Vec<GuardTrip>,
    /// Who approved.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What a person decided about a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// How much a batch has, as its manifest states it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchTotals {
    /// Data files.
    pub files: u64,
    /// Lines of all of them, where every file's is stated.
    pub lines: Option<u64>,
    /// Stored bytes of all of them, where every file's are stated.
    pub bytes: Option<u64>,
}

/// A copy of a batch's files under the state URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// When it was complete.
    pub at: Timestamp,
    /// Its files, the manifest among them.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// What is to be done about a batch's pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinTask {
    /// Its files are to be copied.
    Copy,
    /// The copy is to go.
    Remove,
    /// The copy is to tell what a person made of the batch.
    Tell,
}

/// The same, and how often it was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinWork {
    /// What.
    pub task: PinTask,
    /// How often it failed.
    pub attempts: u32,
    /// When it is tried again; `None`: at once.
    pub next_attempt: Option<Timestamp>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// How often another task was asked for, from 1, since there was nothing to
    /// do; 0: an older version asked for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asked: u64,
}

impl PinWork {
    /// To be done at once.
    pub fn new(task: PinTask) -> Self {
        Self { task, attempts: 0, next_attempt: None, last_error: None, asked: 0 }
    }

    /// Whether it is what was begun, and nothing else was asked for meanwhile.
    pub fn is_still(&self, begun: &Self) -> bool {
        self.task == begun.task && self.asked == begun.asked
    }
}

/// Keys of a source that an operator knows to be bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkipRecord {
    /// Their type, as it is.
    pub type_name: String,
    /// Their qualified names; of relationships those of the `from` ends.
    pub name: Glob,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Who skipped them.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl SkipRecord {
    /// Whether it is in force.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }

    /// The keys.
    pub fn rule(&self) -> SkipRule {
        SkipRule { type_name: self.type_name.clone(), name: self.name.clone() }
    }
}

/// Everything that is known of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchRecord {
    /// Its id.
    pub batch_id: BatchId,
    /// Its place in its source's order.
    pub stamp: Stamp,
    /// Where it was delivered.
    pub url: String,
    /// Where its files are.
    pub folder: PathBuf,
    /// The workflow that wrote it.
    pub workflow: String,
    /// `None` when the manifest could not be read.
    pub mode: Option<Mode>,
    /// What a full batch speaks for.
    pub scope: Scope,
    /// The workflow's own word for its complexity.
    pub complexity: Option<u8>,
    /// An estimate of it, where there is no such word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<u8>,
    /// Its files, as JSON of intake's own form.
    pub files: String,
    /// Its files as they were delivered, where it has no manifest, they tell which
    /// batch it is and a person made others of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// What they have together.
    #[serde(default)]
    pub totals: BatchTotals,
    /// Hash of the manifest.
    pub manifest_hash: String,
    /// Where it stands.
    pub status: PublishStatus,
    /// What it did.
    pub metrics: Option<BatchMetrics>,
    /// Why it failed, waits or is partial.
    pub failure: Option<FailureDetails>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When publishing began.
    pub publish_start: Option<Timestamp>,
    /// When it ended.
    pub publish_end: Option<Timestamp>,
    /// Its newest plan.
    pub plan_id: Option<PlanId>,
    /// URL of that plan.
    pub plan_path: Option<String>,
    /// URL of the snapshot that holds what it published.
    pub snapshot_path: Option<String>,
    /// Why it waits for a person.
    pub hold: Option<Hold>,
    /// What a person approved.
    pub approval: Option<Approval>,
    /// How far its last plan has come.
    #[serde(default)]
    pub completion: Option<Completion>,
    /// How often it was tried again since it last came further.
    pub attempts: u32,
    /// Since when it is tried again, and what it waits for.
    #[serde(default)]
    pub retry: Option<RetryRecord>,
    /// When it is tried again.
    pub next_attempt: Option<Timestamp>,
    /// Set when a person put it before the batches of other sources.
    #[serde(default)]
    pub priority: Option<Decision>,
    /// Set when a person cancelled it while it was executing: it ends between
    /// two operations.
    #[serde(default)]
    pub cancel: Option<Decision>,
    /// How many dead letters it was made of; 0 for a batch that was delivered.
    #[serde(default)]
    pub letters: u64,
    /// Set when a person approved the deletions that the batch it is made of
    /// withheld.
    #[serde(default)]
    pub absence: Option<Decision>,
    /// Set when its files were copied out of the inbox's reach: it is read
    /// from there.
    #[serde(default)]
    pub pin: Option<Pin>,
}

impl BatchRecord {
    /// A batch that was just accepted, of which nothing but this is known.
    /// `url`: where it was delivered. `folder`: where its files are.
    pub fn pending(stamp: Stamp, url: String, folder: PathBuf, accepted_at: Timestamp) -> Self {
        Self {
            batch_id: stamp.batch_id.clone(),
            stamp,
            url,
            folder,
            workflow: String::new(),
            mode: None,
            scope: Scope::default(),
            complexity: None,
            estimate: None,
            files: "[]".into(),
            listing: None,
            totals: BatchTotals::default(),
            manifest_hash: String::new(),
            status: PublishStatus::Pending,
            metrics: None,
            failure: None,
            accepted_at,
            publish_start: None,
            publish_end: None,
            plan_id: None,
            plan_path: None,
            snapshot_path: None,
            hold: None,
            approval: None,
            completion: None,
            attempts: 0,
            retry: None,
            next_attempt: None,
            priority: None,
            cancel: None,
            letters: 0,
            absence: None,
            pin: None,
        }
    }

    /// 1 to 10: the workflow's own word, or an estimate. What an older version
    /// accepted has none.
    pub fn complexity(&self) -> u8 {
        self.complexity.or(self.estimate).unwrap_or(UNKNOWN_COMPLEXITY)
    }

    /// Whether it is being executed, and goes on at a time of its own.
    pub fn waits_in_execution(&self) -> bool {
        self.status == PublishStatus::Executing && self.next_attempt.is_some()
    }

    /// The record that the API returns (contract: the publish state).
    pub fn publish_state(&self) -> PublishState {
        PublishState {
            batch_id: self.batch_id.to_string(),
            source_id: self.batch_id.source().to_string(),
            workflow_run_id: self.batch_id.folder().run_id().to_string(),
            s3_path: self.url.clone(),
            source_timestamp: self.stamp.source_timestamp,
            processing_timestamp: self.stamp.processing_timestamp,
            publish_start_timestamp: self.publish_start,
            publish_end_timestamp: self.publish_end,
            status: self.status,
            metrics: self.metrics,
            // What it failed for before is kept while it is tried again.
            failure_details: self.failure.clone().filter(|_| {
                matches!(
                    self.status,
                    PublishStatus::Retrying | PublishStatus::Failed | PublishStatus::Complete
                )
            }),
            state_snapshot_path: self.snapshot_path.clone(),
            execution_plan_path: self.plan_path.clone(),
        }
    }
}

/// What a batch that is tried again waits for, besides its next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryWait {
    /// The backoff of tier 2.
    Backoff,
    /// What is needed and is not there.
    Unavailable,
    /// The end of a maintenance window.
    Window,
    /// An operator who lifts this known issue.
    KnownIssue(u64),
}

/// A batch that is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRecord {
    /// When the first attempt of those in a row failed that came no further;
    /// moved on by all that was no wait of tier 2.
    pub since: Timestamp,
    /// When it was to be tried again.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// What it waits for.
    pub wait: RetryWait,
    /// Of the wait until then, what the other side asked for, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asked: u64,
    /// The code of its last failure.
    pub code: String,
    /// Set when what it sends may have led to the failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<Suspicion>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Failures in a row at the same place of a batch for which its content may
/// be to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// When the first of them came.
    pub since: Timestamp,
    /// How many.
    pub failures: u32,
}

impl RetryRecord {
    /// The retry tier, 2 or 3.
    pub fn tier(&self) -> u8 {
        match self.wait {
            RetryWait::Backoff | RetryWait::Unavailable => 2,
            RetryWait::Window | RetryWait::KnownIssue(_) => 3,
        }
    }
}

/// A target that can't be used: nothing is sent to it but probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerRecord {
    /// Since when.
    pub since: Timestamp,
    /// Why: a code of `error.rs`.
    pub code: String,
    /// The same in words.
    pub message: String,
    /// Probes that failed in a row.
    pub probes: u32,
    /// When it is probed next.
    pub next_probe: Timestamp,
    /// A probe went well: one batch at a time is tried, until one has come to
    /// its end.
    pub half_open: bool,
    /// The sources whose batches it was tried with since then, and failed: the
    /// one that was tried least recently first.
    #[serde(default)]
    pub in_vain: Vec<SourceId>,
    /// When it could be used again; set when this is over.
    pub closed_at: Option<Timestamp>,
}

impl BreakerRecord {
    /// Whether the target is left alone, but for probes and a trial.
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }
}

impl BatchRecord {
    /// Whether it waits for a person, because a guard parked its plan.
    pub fn is_parked(&self) -> bool {
        self.status == PublishStatus::PlanComplete && self.hold.is_some()
    }

    /// Whether it FAILED when it was accepted, for a manifest that could not be
    /// used: all that is known of it is its id.
    pub fn was_unread(&self) -> bool {
        let at_intake = |failure: &FailureDetails| failure.failed_operation.as_deref() == Some("intake");
        self.status == PublishStatus::Failed
            && self.mode.is_none()
            && self.failure.as_ref().is_some_and(at_intake)
    }

    /// Whether it was delivered to a folder of this machine.
    pub fn is_local(&self) -> bool {
        self.url.starts_with("file:")
    }
}

/// Something that an operator knows of, for which matching batches wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownIssue {
    /// Its number.
    pub id: u64,
    /// Batches that are published to this target.
    pub target: Option<TargetName>,
    /// Batches of this source.
    pub source: Option<SourceId>,
    /// Batches that fail with this code; without one, all of them.
    pub code: Option<String>,
    /// What is known.
    pub note: String,
    /// Who declared it, and why.
    pub declared: Decision,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Who lifted it; set when it is over.
    pub lifted: Option<Decision>,
}

impl KnownIssue {
    /// Whether it is neither lifted nor over.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.lifted.is_none() && self.until.is_none_or(|until| until > now)
    }

    /// When it ended, if it did.
    pub fn ended(&self, now: Timestamp) -> Option<Timestamp> {
        let over = self.until.filter(|until| *until <= now);
        self.lifted.as_ref().map(|lifted| lifted.at).into_iter().chain(over).min()
    }

    /// Whether a batch of `source` for `target`, which failed last with
    /// `code`, waits for it while it is in force.
    pub fn is_about(&self, target: &TargetName, source: &SourceId, code: Option<&str>) -> bool {
        self.target.as_ref().is_none_or(|of| of == target)
            && self.source.as_ref().is_none_or(|of| of == source)
            && self.code.as_ref().is_none_or(|of| Some(of.as_str()) == code)
    }
}

/// Something that happened to a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// What; `None` for something that does not change the status.
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

/// How far a plan has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// It is being made.
    Registered,
    /// It is made and checked.
    Complete,
    /// It is being executed.
    Executing,
    /// Its outcome is in a snapshot.
    Committed,
    /// The same, but a request of it got no answer and may still take effect:
    /// it holds its footprint until a time.
    Lingering,
    /// It will not be executed.
    Dropped,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Its id.
    pub plan_id: PlanId,
    /// The batch that it publishes.
    pub batch_id: BatchId,
    /// When it was begun.
    pub registered_at: Timestamp,
    /// The snapshots that it is made from.
    pub bases: BTreeMap<SourceId, SnapshotId>,
    /// What it says of itself; `None` while it is being made.
    pub header: Option<PlanHeader>,
    /// How far it has come.
    pub state: PlanState,
    /// The target that it changes.
    #[serde(default)]
    pub target: Option<TargetName>,
    /// The number of the target's last commit when it was begun.
    #[serde(default)]
    pub base_commit: u64,
    /// What it touches; empty while it is being made.
    #[serde(default)]
    pub footprint: FootprintRef,
    /// Until when it holds its footprint, lingering.
    #[serde(default)]
    pub lingers_until: Option<Timestamp>,
}

impl PlanRecord {
    /// Whether it may still be executed, so that commits keep their
    /// footprints for it.
    pub fn is_alive(&self) -> bool {
        match self.state {
            PlanState::Registered | PlanState::Complete | PlanState::Executing | PlanState::Lingering => true,
            PlanState::Committed | PlanState::Dropped => false,
        }
    }
}

/// A commit at a target whose footprint is kept for older plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// The plan that was committed.
    pub plan_id: PlanId,
    /// Its batch.
    pub batch_id: BatchId,
    /// What it touched.
    pub footprint: FootprintRef,
}

/// What the journal says of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalEntry {
    /// Its request is about to be sent.
    Sent {
        /// When.
        at: Timestamp,
    },
    /// Its outcome is known.
    Done {
        /// When.
        at: Timestamp,
        /// The changes that the target refused, by their place, with its reason.
        rejected: Vec<(u32, Rejection)>,
        /// What it did.
        metrics: BatchMetrics,
    },
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its id.
    pub id: SnapshotId,
    /// The target.
    pub target: TargetName,
    /// The source.
    pub source: SourceId,
    /// The snapshot before.
    pub parent: Option<SnapshotId>,
    /// The batch that was published.
    pub batch_id: BatchId,
    /// The newest stamp published.
    pub newest: Stamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its URL.
    pub url: String,
    /// Entities live in it.
    pub entities: u64,
    /// Relationships live in it.
    pub relationships: u64,
}

/// What became of a folder of an inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InboxState {
    /// It is a batch.
    Accepted {
        /// The batch.
        batch_id: BatchId,
    },
    /// It was changed after it became a batch.
    Changed {
        /// The batch.
        batch_id: BatchId,
    },
    /// It can't be a batch.
    Ignored {
        /// Why.
        reason: String,
    },
}

/// A folder of an inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxEntry {
    /// Hash over names, sizes and tags of its objects.
    pub signature: String,
    /// What became of it.
    pub state: InboxState,
    /// When it was decided.
    pub at: Timestamp,
}

/// What holds a source; decides what may overtake the hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceHoldReason {
    /// A person paused it. Nothing overtakes this.
    Paused,
    /// The target is not the one that was published to. Nothing overtakes this.
    TargetMoved,
    /// It is not in the settings, which want that. Nothing overtakes this.
    UnknownSource,
    /// Something that concerns no single batch failed. Nothing overtakes this.
    Trouble,
    /// An incremental batch failed. A full batch of scope everything overtakes this.
    #[default]
    BatchFailed,
}

impl SourceHoldReason {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::TargetMoved => "target_moved",
            Self::UnknownSource => "unknown_source",
            Self::Trouble => "trouble",
            Self::BatchFailed => "batch_failed",
        }
    }

    /// Whether a full batch of scope everything runs in spite of it.
    pub fn is_overtaken(self) -> bool {
        match self {
            Self::Paused | Self::TargetMoved | Self::UnknownSource | Self::Trouble => false,
            Self::BatchFailed => true,
        }
    }
}

/// Something that happened to a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// When.
    pub at: Timestamp,
    /// What, and why, in words.
    pub cause: String,
    /// Who: `tidegate`, or a person.
    pub actor: String,
}

/// A source that waits for a person. It may have one for each reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceHold {
    /// What holds it.
    #[serde(default)]
    pub reason: SourceHoldReason,
    /// Why: a code of `error.rs`.
    pub code: String,
    /// The same in words.
    pub note: String,
    /// Since when.
    pub since: Timestamp,
    /// The batch that led to it.
    pub batch_id: Option<BatchId>,
}

/// A message that waits to be delivered to one outlet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxMessage {
    /// Its number: messages of an outlet are delivered in this order.
    pub number: u64,
    /// Where it goes: the URL of a webhook.
    pub outlet: String,
    /// Its id, the same for every outlet and every attempt.
    pub id: String,
    /// What it is about.
    pub kind: NoticeKind,
    /// Of what: the id of a batch.
    pub subject: String,
    /// What is sent: JSON.
    pub body: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// How often its delivery failed.
    pub attempts: u32,
    /// When it is tried again; `None`: at once.
    pub next_attempt: Option<Timestamp>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// The alert that it tells of, if it does.
    #[serde(default)]
    pub alert: Option<String>,
}

/// An alert that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRecord {
    /// What tells it apart: it is told once for as long as it is in force.
    pub key: String,
    /// What it is about.
    pub kind: NoticeKind,
    /// Of what.
    pub subject: String,
    /// Since when.
    pub since: Timestamp,
    /// Whom a message tells of it: outlets that have it, or will.
    #[serde(default)]
    pub outlets: Vec<String>,
}
