//! When something that failed is tried again: quick tries in place, and a
//! wait with exponential backoff and full jitter, within a budget.
//!
//! Full jitter: a wait is drawn evenly from nothing to the whole of it
//! (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
//! 2015), so that many who failed together do not come back together.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What is set for retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetrySettings {
    /// Tier 1: tries of a request in place, the first one included.
    pub quick_tries: u32,
    /// Tier 1: all waits together take at most so long.
    pub quick_window: Duration,
    /// Tier 2: the first wait is drawn from this.
    pub first_wait: Duration,
    /// Tier 2: no wait is drawn from more.
    pub longest_wait: Duration,
    /// Tier 2: after so many attempts in a row that published nothing the
    /// batch fails.
    pub attempts: u32,
    /// Tier 2: and so long after the first of them.
    pub give_up_after: Duration,
    /// A target that can't be used is probed at least so often.
    pub longest_probe: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            quick_tries: 4,
            quick_window: Duration::from_secs(1),
            first_wait: Duration::from_secs(5),
            longest_wait: Duration::from_secs(15 * 60),
            attempts: 50,
            give_up_after: Duration::from_secs(24 * 3600),
            longest_probe: Duration::from_secs(30),
        }
    }
}

impl RetrySettings {
    /// Tier 1: the wait before quick try `n`, counted from 1 for the first
    /// repetition. Doubles from a twentieth of the window; three of them stay
    /// inside it. `random`: 64 random bits.
    pub fn quick_wait(&self, n: u32, random: u64) -> Duration {
        let whole = self.quick_window / 20 * (1 << n.clamp(1, 4));
        jitter(whole.min(self.quick_window / 3), random)
    }

    /// Tier 2: the wait after attempt `attempts` (from 1) failed. What the
    /// other side asked for is waited in any case, and the jitter comes on top.
    pub fn wait(&self, attempts: u32, asked: Option<Duration>, random: u64) -> Duration {
        let whole = 2u32
            .checked_pow(attempts.saturating_sub(1))
            .and_then(|factor| self.first_wait.checked_mul(factor))
            .map_or(self.longest_wait, |wait| wait.min(self.longest_wait));
        match asked {
            Some(asked) => asked.min(LONGEST_ASKED).saturating_add(jitter(whole, random)),
            None => jitter(whole, random),
        }
    }

    /// The wait for something that is not there, and has not been there for
    /// so long: drawn from that time, so that waits grow, up to the longest.
    pub fn wait_after(&self, gone: Duration, asked: Option<Duration>, random: u64) -> Duration {
        let whole = gone.max(self.first_wait).min(self.longest_wait);
        asked.unwrap_or_default().min(LONGEST_ASKED).saturating_add(jitter(whole, random))
    }

    /// The longest that either wait may be for which so much was asked.
    pub fn longest(&self, asked: Duration) -> Duration {
        // What was asked is kept in whole seconds.
        asked.saturating_add(self.longest_wait).saturating_add(Duration::from_secs(1))
    }

    /// The wait before probe `n` (from 1) of a target that can't be used:
    /// doubles from a fifth of the first wait. At least half of it, for there
    /// is one probe at a time and nothing to be parted.
    pub fn probe_wait(&self, n: u32, random: u64) -> Duration {
        let whole = 2u32
            .checked_pow(n.saturating_sub(1))
            .and_then(|factor| (self.first_wait / 5).checked_mul(factor))
            .map_or(self.longest_probe, |wait| wait.min(self.longest_probe));
        whole / 2 + jitter(whole / 2, random)
    }

    /// Whether the budget is spent: after so many attempts, the first of
    /// which failed at `since`.
    pub fn is_spent(&self, attempts: u32, since: Timestamp, now: Timestamp) -> bool {
        let most = SignedDuration::try_from(self.give_up_after).unwrap_or(SignedDuration::MAX);
        attempts >= self.attempts || now.duration_since(since) >= most
    }
}

/// Longest wait that another side may ask for at once: a week.
pub const LONGEST_ASKED: Duration = Duration::from_secs(7 * 24 * 3600);

/// A share of `whole`, from nothing to all of it.
pub fn jitter(whole: Duration, random: u64) -> Duration {
    whole.mul_f64(random as f64 / u64::MAX as f64)
}

/// The value of a Retry-After header: seconds, or a date (RFC 9110, 10.2.3).
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    // IMF-fixdate; the obsolete forms are not sent by anyone.
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_to_their_limit_and_are_drawn_from_the_whole() {
        let settings = RetrySettings::default();
        for (attempts, seconds) in [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (60, 900), (u32::MAX, 900)]
        {
            assert_eq!(settings.wait(attempts, None, u64::MAX), Duration::from_secs(seconds), "{attempts}");
            assert_eq!(settings.wait(attempts, None, 0), Duration::ZERO);
        }
        let asked = Some(Duration::from_secs(120));
        assert_eq!(settings.wait(1, asked, 0), Duration::from_secs(120));
        assert_eq!(settings.wait(1, asked, u64::MAX), Duration::from_secs(125));
        // Who asks for little, again and again, is left alone more and more.
        assert_eq!(settings.wait(4, Some(Duration::from_secs(1)), u64::MAX), Duration::from_secs(41));
    }

    #[test]
    fn waits_for_what_is_not_there_grow_with_the_time_that_it_is_not() {
        let settings = RetrySettings::default();
        for (gone, seconds) in [(0, 5), (4, 5), (60, 60), (3600, 900), (1_000_000, 900)] {
            let gone = Duration::from_secs(gone);
            assert_eq!(settings.wait_after(gone, None, u64::MAX), Duration::from_secs(seconds), "{gone:?}");
        }
        let asked = Some(Duration::from_secs(30));
        assert_eq!(settings.wait_after(Duration::ZERO, asked, 0), Duration::from_secs(30));
    }

    #[test]
    fn the_budget_ends_by_attempts_or_by_time() {
        let settings = RetrySettings { attempts: 3, ..RetrySettings::default() };
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        for (attempts, hour, spent) in [(1, 0, false), (2, 23, false), (3, 0, true), (1, 24, true)] {
            assert_eq!(settings.is_spent(attempts, at(0), at(hour)), spent, "{attempts} after {hour} h");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Tue, 24 Nov 2026 12:00:30 GMT", Some(30)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    proptest! {
        #[test]
        fn three_quick_waits_stay_inside_the_window(randoms in prop::array::uniform3(any::<u64>())) {
            let settings = RetrySettings::default();
            let all: Duration = randoms.iter().zip(1..).map(|(r, n)| settings.quick_wait(n, *r)).sum();
            prop_assert!(all <= settings.quick_window);
        }
    }
}
