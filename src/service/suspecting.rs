//! Whether a batch's content is suspected of the failures that it met, and
//! whether its target takes what others bring.

use std::sync::PoisonError;

use super::engine::Engine;
use crate::domain::ids::TargetName;
use crate::error::{Error, ErrorKind};
use crate::publishing::suspect::{SUSPECTED_AFTER, Suspect, may_be_content};
use crate::store::{BatchRecord, Suspicion};

impl Engine {
    /// A target took a change.
    pub(super) fn took(&self, target: &TargetName) {
        let mut took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        took.insert(target.clone(), self.clock.now());
    }

    /// What the next execution of a batch suspects. Each time so many more
    /// attempts failed: where the target takes nothing at all, most of them
    /// are to cost one request.
    pub(super) fn suspect(&self, record: &BatchRecord, target: &TargetName) -> Suspect {
        let Some(before) = record.retry.as_ref().and_then(|retry| retry.suspicion) else {
            return Suspect::default();
        };
        let took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        Suspect::new(
            before.failures.saturating_add(1).is_multiple_of(SUSPECTED_AFTER),
            took.get(target).is_some_and(|at| *at > before.since),
        )
    }

    /// What is suspected after one more failure. `further`: the attempt
    /// published something, so this is another place.
    pub(super) fn suspicion(&self, record: &BatchRecord, error: &Error, further: bool) -> Option<Suspicion> {
        let before = record.retry.as_ref().and_then(|retry| retry.suspicion).filter(|_| !further);
        match error.kind() {
            // A wait says nothing of either.
            ErrorKind::Maintenance | ErrorKind::KnownIssue | ErrorKind::TargetThrottled => before,
            _ if !may_be_content(error) => None,
            _ => Some(Suspicion {
                since: before.map_or_else(|| self.clock.now(), |before| before.since),
                failures: before.map_or(0, |before| before.failures).saturating_add(1),
            }),
        }
    }
}
