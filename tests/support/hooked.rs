//! A clock that a test has a hand in: what it tells, and what happens then.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tidegate::clock::Clock;

/// Another clock, but for what time it is: `told` gets that, and says it.
pub struct HookedClock<F> {
    pub inner: Arc<dyn Clock>,
    pub told: F,
}

impl<F: Fn(Timestamp) -> Timestamp + Send + Sync + 'static> Clock for HookedClock<F> {
    fn now(&self) -> Timestamp {
        (self.told)(self.inner.now())
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration);
    }
}
