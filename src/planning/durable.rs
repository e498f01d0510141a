//! Making a plan's files durable while planning goes on: nothing depends on
//! them before the plan's manifest is written, which waits for all of them.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use super::format::written::Written;
use super::state_dir::StateDir;
use crate::error::Result;

/// Files that are being made durable, each by a thread of its own.
pub struct Durable<'scope, 'env> {
    state: &'env StateDir,
    scope: &'scope Scope<'scope, 'env>,
    begun: RefCell<Vec<ScopedJoinHandle<'scope, Result<()>>>>,
}

impl<'scope, 'env> Durable<'scope, 'env> {
    /// None so far.
    pub fn new(state: &'env StateDir, scope: &'scope Scope<'scope, 'env>) -> Self {
        Self { state, scope, begun: RefCell::default() }
    }

    /// Has a file and its name made durable; at once, where no thread can be
    /// started.
    ///
    /// # Errors
    /// Of the disk, as far as they are known.
    pub fn begin(&self, written: Written) -> Result<()> {
        let (state, written) = (self.state, Arc::new(written));
        let own = Arc::clone(&written);
        let thread = std::thread::Builder::new()
            .name("durable".into())
            .spawn_scoped(self.scope, move || state.make_durable(&own));
        match thread {
            Ok(thread) => {
                self.begun.borrow_mut().push(thread);
                Ok(())
            }
            Err(_) => state.make_durable(&written),
        }
    }

    /// Waits until all files are durable.
    ///
    /// # Errors
    /// Of the first file that could not be made so.
    pub fn wait(self) -> Result<()> {
        let ended = self.begun.into_inner().into_iter().map(|thread| match thread.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect()
    }
}
