//! A clock that lets something happen at a certain moment within a call: what
//! another person or thread does just then.

use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use jiff::Timestamp;
use tidegate::clock::{Clock, ManualClock};

type Happens = Box<dyn FnOnce() + Send>;

/// Which time a thread asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// What time it is.
    Now,
    /// How long something takes.
    Monotonic,
}

/// What happens when a thread has asked for a time so often.
#[derive(Default)]
pub struct Moment(Mutex<Option<(ThreadId, Asks, u32, Happens)>>);

impl Moment {
    /// Has `happens` run when this thread asks what time it is the next time
    /// but `n`.
    pub fn after(&self, n: u32, happens: impl FnOnce() + Send + 'static) {
        self.when(Asks::Now, n, happens);
    }

    /// The same of one of the two times.
    pub fn when(&self, asks: Asks, n: u32, happens: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some((std::thread::current().id(), asks, n, Box::new(happens)));
    }

    /// Whether it has not come.
    pub fn is_ahead(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    fn asked(&self, for_what: Asks) {
        let mut ahead = self.0.lock().unwrap();
        let here = std::thread::current().id();
        let found = ahead.as_mut().filter(|(thread, asks, ..)| *thread == here && *asks == for_what);
        let Some((_, _, left, _)) = found else { return };
        if *left > 0 {
            *left -= 1;
            return;
        }
        let happens = ahead.take();
        // It may ask for the time itself.
        drop(ahead);
        if let Some((.., happens)) = happens {
            happens();
        }
    }
}

/// A clock with such a moment.
pub struct MomentClock {
    pub inner: Arc<ManualClock>,
    pub moment: Arc<Moment>,
}

impl Clock for MomentClock {
    fn now(&self) -> Timestamp {
        self.moment.asked(Asks::Now);
        self.inner.now()
    }

    fn monotonic(&self) -> Duration {
        self.moment.asked(Asks::Monotonic);
        self.inner.monotonic()
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration);
    }
}
