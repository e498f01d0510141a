//! A known issue: what an operator has batches wait for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::{SourceId, TargetName};

/// A known issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KnownIssueView {
    /// Its number.
    pub id: u64,
    /// Batches that are published to this target wait; `null`: to any.
    pub target: Option<TargetName>,
    /// Batches of this source wait; `null`: of any.
    pub source_id: Option<SourceId>,
    /// Batches that failed with this error code wait; `null`: all of them.
    pub code: Option<String>,
    /// What is known.
    pub note: String,
    /// Who declared it.
    pub declared_by: String,
    /// When.
    pub declared_at: Timestamp,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Whether batches wait for it now.
    pub in_force: bool,
    /// Who lifted it, and why.
    pub lifted: Option<LiftedView>,
}

/// That a known issue was lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiftedView {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}
