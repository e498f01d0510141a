//! When something is done again, and whether that time has come.
//!
//! A time that was stored while the clock ran ahead may lie far from now once
//! the clock is right again. Who waits knows how long a wait of its kind is at
//! most; a time further ahead than that has come.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Longest wait of [`doubling`].
pub const LONGEST: Duration = Duration::from_secs(300);

/// The time so long after `now`.
pub fn after(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// The wait after so many failures in a row: twice as long each time, up to
/// five minutes.
pub fn doubling(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(9)).min(LONGEST)
}

/// `at`, if it is still to come: `longest` is the longest wait of its kind.
pub fn ahead(at: Timestamp, now: Timestamp, longest: Duration) -> Option<Timestamp> {
    (at > now && at <= after(now, longest)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_further_ahead_than_any_wait_has_come() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let longest = Duration::from_secs(60);
        for (second, ahead_of) in [(99, None), (100, None), (101, Some(101)), (160, Some(160)), (161, None)] {
            assert_eq!(ahead(at(second), at(100), longest), ahead_of.map(at), "{second}");
        }
        assert_eq!(ahead(Timestamp::MAX, at(100), longest), None);
    }

    #[test]
    fn waits_double_up_to_five_minutes_and_no_time_is_past_the_calendar() {
        for (failures, seconds) in [(0, 1), (1, 2), (8, 256), (9, 300), (u32::MAX, 300)] {
            assert_eq!(doubling(failures), Duration::from_secs(seconds), "{failures}");
        }
        assert_eq!(after(Timestamp::MIN, Duration::MAX), Timestamp::MAX);
    }
}
