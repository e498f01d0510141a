//! Points at which a test may kill the process.
//!
//! `TIDEGATE_CRASH_AFTER=store:<n>`, `target:<n>` or `files:<n>` kills the
//! process with SIGKILL right after the n-th durable commit of
//! `tidegate.redb`, the n-th answer of a target, or the n-th durable file
//! under the state URL. `TIDEGATE_CRASH_COUNT=<file>` has an undisturbed run
//! write down how many of each there were. Neither is of use outside tests. Which
//! file is the n-th is left to the threads that make them durable.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A durable commit of the store.
    Store,
    /// A target's answer.
    Target,
    /// A durable file under the state URL.
    Files,
}

/// Counts points, and kills the process at one of them.
#[derive(Debug, Default)]
pub struct CrashPoints {
    counts: [AtomicU64; 3],
    after: Option<(Point, u64)>,
    report: Option<PathBuf>,
}

impl CrashPoints {
    /// Never kills and reports nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads the two variables' values.
    ///
    /// # Errors
    /// When `after` is not of the form `store:<n>`, `target:<n>` or `files:<n>`.
    pub fn new(after: Option<&str>, report: Option<PathBuf>) -> Result<Self> {
        let after = after.map(parse).transpose()?;
        Ok(Self { counts: Default::default(), after, report })
    }

    /// Says that a point was passed.
    pub fn reached(&self, point: Point) {
        let count = self.counts[point as usize].fetch_add(1, Ordering::SeqCst) + 1;
        if self.after == Some((point, count)) {
            // A process can't survive its own SIGKILL; should the call be
            // refused, the test that asked for it fails.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }

    /// Writes down the counts, if that was asked for.
    pub fn report(&self) -> Result<()> {
        let Some(path) = &self.report else { return Ok(()) };
        let [store, target, files] = [0, 1, 2].map(|n: usize| self.counts[n].load(Ordering::SeqCst));
        let text = format!("{{\"store\":{store},\"target\":{target},\"files\":{files}}}\n");
        std::fs::write(path, text).map_err(|e| Error::io(path, e))
    }
}

fn parse(text: &str) -> Result<(Point, u64)> {
    let error = || {
        Error::new(
            ErrorKind::Usage,
            format!("TIDEGATE_CRASH_AFTER must be store:<n>, target:<n> or files:<n>, not {text:?}"),
        )
    };
    let (point, n) = text.split_once(':').ok_or_else(error)?;
    let point = match point {
        "store" => Point::Store,
        "target" => Point::Target,
        "files" => Point::Files,
        _ => return Err(error()),
    };
    Ok((point, n.parse().map_err(|_| error())?))
}
