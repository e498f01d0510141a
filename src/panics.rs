//! Panics that are expected, of libraries that meet damaged files.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static EXPECTED: Cell<u32> = const { Cell::new(0) };
}

/// Counts, until it is dropped.
struct Expecting;

impl Expecting {
    fn new() -> Self {
        EXPECTED.set(EXPECTED.get() + 1);
        Self
    }
}

impl Drop for Expecting {
    fn drop(&mut self) {
        EXPECTED.set(EXPECTED.get().saturating_sub(1));
    }
}

/// Runs something; `None` when it ended in a panic. What it was is told in the
/// log at debug, for whoever asks says by an error what it means.
pub fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    let _expecting = Expecting::new();
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// Has the process print nothing of expected panics.
pub fn hide_expected() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match EXPECTED.get() {
        0 => otherwise(info),
        _ => tracing::debug!("a library met what it takes for impossible: {info}"),
    }));
}
