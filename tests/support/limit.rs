//! A time for processes that tests start.

use std::process::Child;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// For ever, as far as a process of a test goes, on the slowest machine.
const LONGEST: Duration = Duration::from_secs(240);

/// Ends a process that is still there after [`LONGEST`], unless this is dropped before.
/// Whoever waits for what it says reads an end then: a test that would wait for
/// ever fails, and says where.
pub struct Limit {
    /// Dropped with it, which ends the thread that waits.
    _done: Sender<()>,
}

impl Limit {
    /// To be dropped as soon as the process was waited for: its id may be used again.
    pub fn of(process: &Child) -> Self {
        let (done, ended) = channel();
        let id = Pid::from_child(process);
        std::thread::spawn(move || {
            if ended.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
                eprintln!("process {} is still there after too long and is ended", id.as_raw_nonzero());
                let _ = kill_process(id, Signal::KILL);
            }
        });
        Self { _done: done }
    }
}
