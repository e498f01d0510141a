//! Whether work at a target goes on.

use crate::error::ErrorKind;

/// Whether an execution goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Going {
    /// It does.
    On,
    /// The process is to stop: it goes on from its journal at the next start.
    Stopped,
    /// A person cancelled the batch: it ends with what was published.
    Cancelled,
    /// The target or the source is to be left alone, for this reason: the
    /// batch is committed as far as it came, and goes on later.
    Paused(ErrorKind, String),
}
