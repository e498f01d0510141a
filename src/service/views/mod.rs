//! What is shown of a data directory: plain values that are the JSON of the
//! API, what the command line prints and what pages show. They hold no rules;
//! `service/query` fills them.

mod batch;
mod catalogue;
mod dead_letter;
mod disk;
mod doctor;
mod inbox;
mod issue;
mod overview;
mod plan;
mod problem;
mod queue;
mod snapshot;
mod source;
mod target;
mod why;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use crate::targets::embedded::{
    Direction, EntityView, FindHit, FindPage, FindQuery, MAX_OFFSET, Matched, Origin, RelationshipView,
    TextRange, TypeCount as FoundType,
};
pub use batch::{
    ApprovalView, BatchAction, BatchView, HoldView, Phase, PlanBrief, PrioritisedView, PriorityView,
    ProgressUnit, ProgressView, RetryView, TimelineItem, WaitCode, WaitView,
};
pub use catalogue::{CatalogueHit, EntityPage, RelationshipsPage, SearchPage};
pub use dead_letter::{
    ActionView, AttemptView, DeadLetterDetail, DeadLetterView, DiagnosticsView, LetterGroupView,
    LetterPreview, LetterResult, LetterResults, LetterState, PlanPreview, RetriedView,
};
pub use disk::DiskView;
pub use doctor::{CheckStatus, CheckView, DoctorView};
pub use inbox::{InboxFolderState, InboxFolderView, InboxListView, InboxView, LostInboxView};
pub use issue::{KnownIssueView, LiftedView};
pub use overview::{
    FormatView, OverviewView, ServiceInfo, SourceState, SourceStatus, StatusCounts, StatusView,
};
pub use plan::{
    AttributeCount, ChangeFilter, ChangeGroup, ChangeView, PlanGroups, PlanPage, RejectView, TypeCount,
};
pub use problem::ProblemView;
pub use queue::{QueueDepth, QueueItem, QueueView};
pub use snapshot::{SnapshotChange, SnapshotView};
pub use source::{SettingView, SkipView, SourceDetail, SourceHoldView, SourceView};
pub use target::{DownView, TargetView, WindowView};
pub use why::{
    AssertionKind, VerdictCode, WaitingRelationship, WhyAttribute, WhySource, WhyVerdict, WhyView,
};

/// A part of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What it holds, in the order that was asked for.
    pub items: Vec<T>,
    /// Given back as `cursor`, it brings what follows; `null` at the end.
    pub next_cursor: Option<String>,
}
