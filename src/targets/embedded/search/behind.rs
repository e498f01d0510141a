//! The thread that keeps the index behind publishing.
//!
//! It sleeps until an operation was committed, waits a little for more of
//! them, and takes as many steps as it needs. It runs at low priority, so that
//! publishing comes first where there are few cores. What fails is tried again
//! after a while; what fails again and again is built anew.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::targets::embedded::EmbeddedCatalogue;
use crate::threads;

/// How long to wait for more operations behind the first one.
const GATHER: Duration = Duration::from_millis(250);
/// How long to wait after the first failure; doubles with each one.
const RETRY: Duration = Duration::from_secs(1);
/// The longest wait.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Failures in a row from which on the index is taken for the culprit.
const REBUILD_AFTER: u32 = 3;

#[derive(Default)]
struct State {
    /// A thread follows.
    followed: bool,
    /// There is something to look at.
    woken: bool,
    /// The thread has to end.
    stop: bool,
}

/// Wakes and ends the thread.
#[derive(Default)]
pub struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

impl Signal {
    /// An operation was committed.
    pub fn wake(&self) {
        lock(&self.state).woken = true;
        self.changed.notify_all();
    }

    /// Whether a thread follows.
    pub fn is_followed(&self) -> bool {
        lock(&self.state).followed
    }

    fn stopping(&self) -> bool {
        lock(&self.state).stop
    }

    fn stop(&self) {
        lock(&self.state).stop = true;
        self.changed.notify_all();
    }

    /// Sleeps until woken, or for `longest`; then until `GATHER` has passed.
    /// Tells whether to go on.
    fn sleep(&self, longest: Option<Duration>) -> bool {
        let idle = |state: &mut State| !state.woken && !state.stop;
        let state = lock(&self.state);
        let state = match longest {
            None => self.changed.wait_while(state, idle).unwrap_or_else(|e| e.into_inner()),
            Some(longest) => {
                let waited = self.changed.wait_timeout_while(state, longest, |state| !state.stop);
                waited.unwrap_or_else(|e| e.into_inner()).0
            }
        };
        let gathered = self.changed.wait_timeout_while(state, GATHER, |state| !state.stop);
        let mut state = gathered.unwrap_or_else(|e| e.into_inner()).0;
        state.woken = false;
        !state.stop
    }
}

/// The thread that follows a catalogue. Ends when this is dropped.
pub struct Following {
    catalogue: Arc<EmbeddedCatalogue>,
    thread: Option<JoinHandle<()>>,
}

impl Following {
    /// Ends the thread, and waits until it has ended. What it did not get to
    /// is done the next time.
    pub fn stop(self) {}
}

impl Drop for Following {
    fn drop(&mut self) {
        self.catalogue.search.signal.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the search index ended by a panic");
        }
        let mut state = lock(&self.catalogue.search.signal.state);
        (state.followed, state.stop) = (false, false);
    }
}

impl EmbeddedCatalogue {
    /// Keeps the index behind publishing, on a thread of its own, until what
    /// this returns is dropped.
    ///
    /// # Errors
    /// When a thread follows already, or none can be made.
    pub fn index_behind(self: &Arc<Self>) -> Result<Following> {
        {
            let mut state = lock(&self.search.signal.state);
            if state.followed {
                return Err(Error::internal("the search index is followed already"));
            }
            state.followed = true;
        }
        self.search.follower.follow();
        let catalogue = Arc::clone(self);
        let thread = std::thread::Builder::new().name("search".into()).spawn(move || follow(&catalogue));
        match thread {
            Ok(thread) => Ok(Following { catalogue: Arc::clone(self), thread: Some(thread) }),
            Err(error) => {
                lock(&self.search.signal.state).followed = false;
                Err(Error::new(ErrorKind::Io, "a thread for the search index").caused_by(error))
            }
        }
    }
}

fn follow(catalogue: &EmbeddedCatalogue) {
    threads::stand_back(threads::INDEXING);
    let signal = &catalogue.search.signal;
    let (mut failures, mut tries) = (0, 0);
    loop {
        let stop = || signal.stopping();
        // A panic of the library is one more way to fail.
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
            if failures >= REBUILD_AFTER && catalogue.begin_read().is_ok() {
                catalogue.start_anew("it failed several times")?;
            }
            catalogue.catch_up(true, &stop)
        }));
        let result = result.unwrap_or_else(|_| {
            *lock(&catalogue.search.open) = None;
            *lock(&catalogue.search.writer) = None;
            Err(Error::internal("the search index met a panic"))
        });
        let wait = match result {
            Ok(()) => {
                (failures, tries) = (0, 0);
                None
            }
            Err(error) => {
                let wait = RETRY.saturating_mul(1 << tries.min(16)).min(RETRY_MAX);
                tracing::warn!("{error}; tried again in {} s", wait.as_secs());
                tries += 1;
                // A full disk is no fault of the index, nor is a damaged catalogue.
                if !matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::CatalogueFailed) {
                    failures += 1;
                }
                Some(wait)
            }
        };
        if !signal.sleep(wait) {
            break;
        }
    }
    lock(&catalogue.search.writer).take();
}
