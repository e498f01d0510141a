//! How much of a batch may be bad before the batch as a whole is not trusted.

use serde::{Deserialize, Serialize};

/// The larger of a number and a share (`SEMANTICS` 9): bad lines against
/// lines, rejected changes against the plan's changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IsolationLimit {
    /// So many are always allowed.
    pub count: u64,
    /// So large a share is allowed, 0 to 1.
    pub ratio: f64,
    /// Requests that may be spent on finding bad changes in one execution,
    /// where the target refuses requests as a whole.
    #[serde(default = "requests")]
    pub requests: u64,
}

fn requests() -> u64 {
    20_000
}

impl Default for IsolationLimit {
    fn default() -> Self {
        Self { count: 10, ratio: 0.05, requests: requests() }
    }
}

impl IsolationLimit {
    /// How many of `total` may be bad.
    pub fn allowed(&self, total: u64) -> u64 {
        // A ratio is 0 to 1, so the product is within u64.
        self.count.max((total as f64 * self.ratio) as u64)
    }

    /// Whether `bad` of `total` is past the limit.
    pub fn exceeded(&self, bad: u64, total: u64) -> bool {
        bad > self.allowed(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_ten_and_five_percent() {
        let limit = IsolationLimit::default();
        for (bad, total, exceeded) in [
            (10, 10, false),
            (11, 11, true),
            (11, 200, true),
            (10, 200, false),
            (50, 1000, false),
            (51, 1000, true),
        ] {
            assert_eq!(limit.exceeded(bad, total), exceeded, "{bad} of {total}");
        }
    }
}
