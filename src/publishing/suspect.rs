//! When what is sent is suspected of a failure, and not the target.
//!
//! One entity's text may keep a target at work past `timeout`, or have a
//! firewall before it answer 403: to whoever sends it, the target as a whole
//! seems to be down. What tells the two apart is that the target is well when
//! it is asked, and that it fails again and again at the same place. Then the
//! request is taken apart as if it had been refused.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// After so many failures in a row at the same place of a batch, the target
/// being well, what is sent is suspected.
pub const SUSPECTED_AFTER: u32 = 3;
/// Most requests that fail while one execution takes requests apart.
const MOST_FAILURES: u32 = 60;
/// How long that may take. Each failure may cost the whole of `timeout`.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// So many changes may have failed alone before the target took any.
const IN_VAIN: u32 = 3;

/// Whether content may have led to a failure of a request. A target that asks
/// to be left alone, or is not there, says nothing of content.
pub fn may_be_content(error: &Error) -> bool {
    use ErrorKind::*;
    match error.kind() {
        TargetTimeout | TargetUnauthorized | TargetContract | TargetFailed | TargetInterrupted
        | TargetAnswer => true,
        TargetUnavailable => error.answer().is_some(),
        _ => false,
    }
}

/// What an execution suspects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Suspect {
    /// Whether failures in a row led to this execution.
    pub suspected: bool,
    /// Whether the target took changes since the first of them: without that
    /// nobody knows that it takes any, and nothing is a change's own fault.
    pub vouched: bool,
    /// Whether a request was given up that may still take effect.
    pub given_up: bool,
    failures: u32,
    alone: u32,
    began: Option<Duration>,
}

impl Suspect {
    /// Nothing failed in it yet.
    pub fn new(suspected: bool, vouched: bool) -> Self {
        Self { suspected, vouched, ..Self::default() }
    }

    /// One more request failed, at this time of the monotonic clock. Whether
    /// another one may.
    pub fn failed(&mut self, unsure: bool, now: Duration) -> bool {
        self.given_up |= unsure;
        self.failures += 1;
        let began = *self.began.get_or_insert(now);
        self.failures < MOST_FAILURES && now.saturating_sub(began) < LONGEST
    }

    /// One more change failed alone. Whether that means anything yet.
    pub fn failed_alone(&mut self) -> bool {
        self.alone += 1;
        self.vouched || self.alone < IN_VAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_apart_is_bounded_by_failures_and_by_time() {
        let mut suspect = Suspect::default();
        let second = Duration::from_secs(1);
        assert!((1..MOST_FAILURES).all(|_| suspect.failed(false, second)));
        assert!(!suspect.failed(false, second));
        let mut suspect = Suspect::default();
        assert!(suspect.failed(true, second));
        assert!(!suspect.failed(false, second + LONGEST));
        assert!(suspect.given_up);
    }

    #[test]
    fn changes_that_fail_alone_mean_nothing_where_the_target_takes_none() {
        let mut suspect = Suspect::default();
        assert_eq!([(); 3].map(|()| suspect.failed_alone()), [true, true, false]);
        suspect.vouched = true;
        assert!(suspect.failed_alone());
    }
}
