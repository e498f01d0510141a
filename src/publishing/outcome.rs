//! What comes of an execution.

use super::send::SendCounts;
use crate::domain::change::Rejection;
use crate::domain::completion::Completion;
use crate::domain::ids::OperationNo;
use crate::domain::key::KeyHash;
use crate::domain::publish_state::BatchMetrics;
use crate::error::Error;
use crate::planning::next::PlanOutcome;

/// A change that the target refused. What it was to bring is in the plan, and
/// why it was refused in the journal: many may be refused, and each may be long.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The hash of its key.
    pub hash: KeyHash,
    /// The operation that it was in.
    pub operation: OperationNo,
    /// Its place among those that were sent of it.
    pub place: u32,
    /// Why, where the journal has nothing of the operation.
    pub rejection: Option<Rejection>,
}

/// How an execution ended.
pub struct Executed {
    /// What the next snapshot is made from.
    pub outcome: PlanOutcome,
    /// Changes that the target refused, by operation.
    pub refused: Vec<Refused>,
    /// What was done, over all attempts at this plan.
    pub metrics: BatchMetrics,
    /// What of that is in no journal entry, for its operation was not done to
    /// its end.
    pub unjournalled: BatchMetrics,
    /// How far it came.
    pub completion: Completion,
    /// Whether a request was given up that may still take effect, whatever
    /// became of its changes in other requests.
    pub given_up: bool,
    /// The operation at which it ended, where not everything was done.
    pub at: Option<String>,
    /// Requests and retries of this process.
    pub counts: SendCounts,
    /// Why not everything was done.
    pub end: Ended,
}

/// How an execution ended.
#[derive(Debug)]
pub enum Ended {
    /// Everything was done, or refused.
    Whole,
    /// The batch fails: so much was refused, or a person cancelled it.
    Failed(Error),
    /// A failure that quick retries did not mend, or a wait that begins: what
    /// was published is committed, and the batch is planned again later.
    Later(Error),
}

impl Executed {
    /// Nothing is done yet.
    pub(super) fn new(completion: Completion) -> Self {
        Self {
            outcome: PlanOutcome::default(),
            refused: Vec::new(),
            metrics: BatchMetrics::default(),
            unjournalled: BatchMetrics::default(),
            completion,
            given_up: false,
            at: None,
            counts: SendCounts::default(),
            end: Ended::Whole,
        }
    }
}
