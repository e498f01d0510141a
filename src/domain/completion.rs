//! What became of a batch, in lines and changes.

use serde::{Deserialize, Serialize};

/// Partial completion: what became of a batch's changes, and of those of its
/// lines that lead to none. Once its plan is executed, `total` is the sum of
/// the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Completion {
    /// Changes of the plan, bad lines, and keys that an operator skips.
    pub total: u64,
    /// Changes that are published.
    pub done: u64,
    /// Bad lines, and changes that the target refused: each is a dead letter.
    pub failed: u64,
    /// Keys that an operator skips, and changes that were not sent:
    /// relationships that wait for an entity that was refused.
    pub skipped: u64,
}

impl Completion {
    /// So many changes were done.
    pub fn all_done(done: u64) -> Self {
        Self { done, ..Self::default() }
    }

    /// So many changes are planned, of a batch with so many bad lines and
    /// skipped keys.
    pub fn planned(changes: u64, bad: u64, skipped: u64) -> Self {
        Self { total: changes + bad + skipped, done: 0, failed: bad, skipped }
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
