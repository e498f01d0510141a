//! The first failure of the file. redb answers every call with an error after
//! it, so the process has to end; whoever waits for work has to learn of that.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, ErrorKind};

/// Called once, when the file failed, by whoever met that.
pub type OnFailure = Arc<dyn Fn() + Send + Sync>;

/// See the head of this file.
pub struct Failure {
    first: OnceLock<String>,
    tell: Option<OnFailure>,
}

impl Failure {
    pub(super) fn new(tell: Option<OnFailure>) -> Self {
        Self { first: OnceLock::new(), tell }
    }

    /// Takes note of what was met; the first one counts.
    pub fn met(&self, text: &str) {
        if self.first.set(text.to_owned()).is_ok()
            && let Some(tell) = &self.tell
        {
            tell();
        }
    }

    /// What every call is told after the first failure.
    pub fn error(&self) -> Option<Error> {
        let first = self.first.get()?;
        let text = format!("tidegate.redb failed before ({first}); start Tidegate again");
        Some(Error::new(ErrorKind::StoreFailed, text))
    }

    /// The first failure itself.
    pub fn first(&self) -> Option<Error> {
        self.first.get().map(|first| Error::new(ErrorKind::StoreFailed, first.clone()))
    }
}
