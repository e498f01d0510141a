//! Metadata catalogues that plans are executed against, behind one trait.

pub mod embedded;
pub mod http;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::domain::change::{Part, Rejection};

use crate::domain::change::Action;
use crate::domain::ids::{BatchId, OperationNo, PlanId, SourceId};
use crate::domain::key::Key;
use crate::error::Result;

/// What a target can take in one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Most changes of one operation.
    pub max_changes: usize,
    /// Most bytes of attributes of one operation.
    pub max_bytes: usize,
    /// Whether an operation takes effect as a whole or not at all.
    pub atomic: bool,
    /// Whether it keeps track of the last plan of each source.
    pub tracks_plans: bool,
    /// How long a request that got no answer may still take effect.
    pub request_limit: Duration,
}

/// One change as it is sent. Attribute values are canonical JSON objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetChange {
    /// What to do.
    pub action: Action,
    /// Which entity or relationship.
    pub key: Key,
    /// Create: all attributes. Update: the attributes that change, with their
    /// new values. Delete: `{}`.
    pub set: Vec<u8>,
    /// Update: the names of the attributes that go.
    pub unset: Vec<String>,
    /// Whether `set` is the whole value and replaces whatever the target has
    /// (sent for keys whose last outcome is unknown).
    pub replace: bool,
}

/// A request's worth of changes, applied at most once by its id: plan, number
/// and part together.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The plan that it belongs to.
    pub plan_id: PlanId,
    /// Its place in the plan.
    pub no: OperationNo,
    /// What of it is sent; `None`: all of it.
    pub part: Option<Part>,
    /// The source whose batch is published.
    pub source_id: SourceId,
    /// The batch that is published.
    pub batch_id: BatchId,
    /// When it is sent: recorded by the target as the time of the change.
    pub at: jiff::Timestamp,
    /// What to change.
    pub changes: Vec<TargetChange>,
}

/// What became of one change of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeOutcome {
    /// The target holds it durably.
    Done,
    /// The target refuses it.
    Rejected(Rejection),
}

/// What became of an operation: an outcome per change, in order.
pub type Outcomes = Vec<ChangeOutcome>;

/// An entity or relationship as the target holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetValue {
    /// Which one.
    pub key: Key,
    /// Canonical JSON object.
    pub attributes: Vec<u8>,
    /// Whether it is archived.
    pub archived: bool,
}

/// A metadata catalogue.
///
/// Calls block; they are made from worker threads, never from async code.
pub trait Target: Send + Sync {
    /// What one operation may hold.
    fn capabilities(&self) -> Capabilities;

    /// A text that is the same as long as the target holds the same data:
    /// changes when it is replaced or emptied.
    fn identity(&self) -> Result<String>;

    /// Applies an operation and answers when its effect is durable. An
    /// operation whose (plan id, number, part) was applied before has no
    /// second effect, and gets the first answer again.
    ///
    /// # Errors
    /// The kind says whether to try again, and whether it may have taken
    /// effect ([`Error::is_answer`](crate::error::Error::is_answer)).
    /// [`ErrorKind::BulkRejected`](crate::error::ErrorKind::BulkRejected):
    /// nothing of it took effect, for some change in it is bad.
    fn apply(&self, operation: &Operation) -> Result<Outcomes>;

    /// The request that [`apply`](Self::apply) sends of an operation, for
    /// whoever looks into its failure: where it goes and its body, without
    /// secrets. Empty where there is none.
    fn describe(&self, _operation: &Operation) -> String {
        String::new()
    }

    /// Reads what the target holds of these keys, in their order.
    fn read(&self, keys: &[Key]) -> Result<Vec<Option<TargetValue>>>;

    /// Whether the target can be reached and used.
    fn health(&self) -> Result<()>;

    /// The last plan of `source` that the target applied an operation of, if
    /// it keeps track (`SEMANTICS` 10).
    fn last_plan(&self, source: &SourceId) -> Result<Option<PlanId>>;

    /// Tells the target that all of a plan's operations have their outcomes
    /// in the journal, so that it need not remember them.
    fn forget_operations(&self, plan: &PlanId) -> Result<()>;
}
