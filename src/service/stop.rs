//! The request to end all work: a flag for those who look, a signal for those
//! who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::work::Work;

/// See the head of this file.
pub(super) struct Stop {
    flag: AtomicBool,
    signal: watch::Sender<bool>,
    work: Arc<Work>,
}

impl Stop {
    /// Not asked for yet. Wakes whoever waits for `work` when it is.
    pub(super) fn new(work: Arc<Work>) -> Self {
        Self { flag: AtomicBool::new(false), signal: watch::Sender::new(false), work }
    }

    /// Asks for it.
    pub(super) fn request(&self) {
        self.flag.store(true, Ordering::Release);
        self.signal.send_replace(true);
        self.work.notify();
    }

    /// Whether it was asked for.
    pub(super) fn requested(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Becomes `true` when it is.
    pub(super) fn signal(&self) -> watch::Receiver<bool> {
        self.signal.subscribe()
    }
}
