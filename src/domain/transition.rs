//! The life of a batch as one pure function: `(status, event) → status`.
//!
//! ```text
//! PENDING → PLANNING → PLAN_COMPLETE → EXECUTING → COMPLETE
//!              ↘            ↘ (hold)       ↘
//!               RETRYING → back to PLANNING or EXECUTING
//!               FAILED → (requeue) → PENDING
//! ```

use serde::{Deserialize, Serialize};

use super::publish_state::PublishStatus::{self, *};

/// Something that happened to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A worker takes the batch up.
    PlanningStarted,
    /// The plan is made, checked and stored.
    PlanCompleted,
    /// The plan met a base that moved; it is made again.
    PlanStale,
    /// Execution begins.
    ExecutionStarted,
    /// The commit of everything that the plan holds.
    Completed,
    /// The batch can't be published.
    Failed,
    /// A person rejected the plan.
    Rejected,
    /// A person cancelled the batch.
    Cancelled,
    /// Newer batches left it nothing to do.
    Superseded,
    /// A passing failure: the batch waits for its next attempt.
    RetryScheduled,
    /// A person puts a failed batch back into the queue.
    Requeued,
}

impl Event {
    /// Every event, for tables and tests.
    pub const ALL: [Event; 11] = [
        Event::PlanningStarted,
        Event::PlanCompleted,
        Event::PlanStale,
        Event::ExecutionStarted,
        Event::Completed,
        Event::Failed,
        Event::Rejected,
        Event::Cancelled,
        Event::Superseded,
        Event::RetryScheduled,
        Event::Requeued,
    ];
}

/// An event that the batch's status does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a batch that is {} can't take {event:?}", status.as_str())]
pub struct Forbidden {
    /// The status that the batch had.
    pub status: PublishStatus,
    /// The event that came.
    pub event: Event,
}

/// The status that follows `event`.
///
/// A parked plan stays `PLAN_COMPLETE` with a hold beside it; parking is no
/// transition. `EXECUTING` is left only together with the commit transaction
/// (`SEMANTICS` 4).
pub fn transition(status: PublishStatus, event: Event) -> Result<PublishStatus, Forbidden> {
    let next = match (status, event) {
        (Pending | Retrying, Event::PlanningStarted) => Planning,
        // A restart finds a batch that was being planned, and plans it again.
        (Planning, Event::PlanningStarted) => Planning,
        (Planning, Event::PlanCompleted) => PlanComplete,
        // An approved plan whose base moved, a parked one that newer batches
        // overtook, and the commit of an attempt that is to be planned again.
        (PlanComplete | Executing, Event::PlanStale) => Planning,
        (PlanComplete | Retrying, Event::ExecutionStarted) => Executing,
        (Executing, Event::Completed) => Complete,
        (Pending | Planning | PlanComplete | Executing | Retrying, Event::Failed) => Failed,
        (PlanComplete, Event::Rejected) => Failed,
        (Pending | Planning | PlanComplete | Executing | Retrying, Event::Cancelled) => Failed,
        (Pending | Planning | PlanComplete | Retrying, Event::Superseded) => Failed,
        (Planning | PlanComplete | Executing, Event::RetryScheduled) => Retrying,
        (Failed, Event::Requeued) => Pending,
        (Pending | Planning | PlanComplete | Executing | Complete | Failed | Retrying, _) => {
            return Err(Forbidden { status, event });
        }
    };
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [PublishStatus; 7] = [Pending, Planning, PlanComplete, Executing, Complete, Failed, Retrying];

    #[test]
    fn the_whole_table() {
        use Event::*;
        let allowed: &[(PublishStatus, &[(Event, PublishStatus)])] = &[
            (
                PublishStatus::Pending,
                &[
                    (PlanningStarted, Planning),
                    (Event::Failed, PublishStatus::Failed),
                    (Cancelled, PublishStatus::Failed),
                    (Superseded, PublishStatus::Failed),
                ],
            ),
            (
                Planning,
                &[
                    (PlanningStarted, Planning),
                    (PlanCompleted, PlanComplete),
                    (Event::Failed, PublishStatus::Failed),
                    (Cancelled, PublishStatus::Failed),
                    (Superseded, PublishStatus::Failed),
                    (RetryScheduled, Retrying),
                ],
            ),
            (
                PlanComplete,
                &[
                    (PlanStale, Planning),
                    (ExecutionStarted, Executing),
                    (Event::Failed, PublishStatus::Failed),
                    (Rejected, PublishStatus::Failed),
                    (Cancelled, PublishStatus::Failed),
                    (Superseded, PublishStatus::Failed),
                    (RetryScheduled, Retrying),
                ],
            ),
            (
                Executing,
                &[
                    (PlanStale, Planning),
                    (Completed, Complete),
                    (Event::Failed, PublishStatus::Failed),
                    (Cancelled, PublishStatus::Failed),
                    (RetryScheduled, Retrying),
                ],
            ),
            (Complete, &[]),
            (PublishStatus::Failed, &[(Requeued, PublishStatus::Pending)]),
            (
                Retrying,
                &[
                    (PlanningStarted, Planning),
                    (ExecutionStarted, Executing),
                    (Event::Failed, PublishStatus::Failed),
                    (Cancelled, PublishStatus::Failed),
                    (Superseded, PublishStatus::Failed),
                ],
            ),
        ];
        assert_eq!(allowed.len(), ALL.len());
        for (status, events) in allowed {
            for event in Event::ALL {
                let expected = events.iter().find(|(e, _)| *e == event).map(|(_, next)| *next);
                assert_eq!(transition(*status, event).ok(), expected, "{status:?} {event:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_complete_batch_stays_complete(events in prop::collection::vec(0..Event::ALL.len(), 0..40)) {
            let mut status = Pending;
            for event in events {
                let next = transition(status, Event::ALL[event]).unwrap_or(status);
                prop_assert!(status != Complete || next == Complete);
                status = next;
            }
        }
    }
}
