//! Time and randomness, injected.
//!
//! Nothing else in the program asks the operating system for either (clippy
//! forbids it), so that tests and simulations can decide both.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

/// Where the program gets the time and its random numbers from.
pub trait Clock: Send + Sync + 'static {
    /// The wall-clock time, in UTC.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment, for measuring durations.
    fn monotonic(&self) -> Duration;
    /// 64 random bits. Not for secrets.
    fn random(&self) -> u64;
    /// Blocks the calling thread for `duration`.
    fn sleep(&self, duration: Duration);
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl Default for SystemClock {
    #[allow(clippy::disallowed_methods)]
    fn default() -> Self {
        Self { started: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn random(&self) -> u64 {
        // The standard library seeds every `RandomState` differently; that is
        // all the randomness that ids and jitter need.
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = std::hash::RandomState::new().build_hasher();
        hasher.write_u128(self.started.elapsed().as_nanos());
        hasher.finish()
    }

    #[allow(clippy::disallowed_methods)]
    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A clock that stands still until it is told to move, with a seeded
/// sequence of random numbers (SplitMix64).
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<(Timestamp, Duration, u64)>,
}

impl ManualClock {
    /// A clock that shows `now` and draws its random numbers from `seed`.
    pub fn new(now: Timestamp, seed: u64) -> Self {
        Self { state: Mutex::new((now, Duration::ZERO, seed)) }
    }

    /// Moves the clock forward. A time past the calendar's end is ignored.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        if let Ok(later) = state.0.checked_add(by) {
            state.0 = later;
            state.1 += by;
        }
    }

    /// Sets the time, also back. Durations are measured as if nothing had happened.
    pub fn set(&self, now: Timestamp) {
        self.lock().0 = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Timestamp, Duration, u64)> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.lock().1
    }

    fn random(&self) -> u64 {
        let mut state = self.lock();
        state.2 = state.2.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state.2;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
