//! How far the execution of a plan has come, in changes.

use serde::{Deserialize, Serialize};

/// Partial completion: what became of so many changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Completion {
    /// Changes of the plan.
    pub total: u64,
    /// That are published.
    pub done: u64,
    /// That the target refused.
    pub failed: u64,
    /// That were not sent: relationships that wait for an entity that was
    /// refused.
    pub skipped: u64,
}

impl Completion {
    /// So many changes were done.
    pub fn all_done(done: u64) -> Self {
        Self { done, ..Self::default() }
    }

    /// With what became of some more; the total stays.
    pub fn plus(&self, more: &Self) -> Self {
        Self {
            total: self.total,
            done: self.done + more.done,
            failed: self.failed + more.failed,
            skipped: self.skipped + more.skipped,
        }
    }

    /// Changes of which something became.
    pub fn ended(&self) -> u64 {
        self.done + self.failed + self.skipped
    }
}
