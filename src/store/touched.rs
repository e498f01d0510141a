//! What a commit was about, for whoever wants to hear of changes. Only what a
//! timeline, a hold or an inbox tells of: metrics that grow are no news.

use std::sync::Arc;

use super::tables::Table;
use crate::domain::ids::{BatchId, SourceId};

/// Something that a commit changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// A batch has something new in its timeline.
    Batch(BatchId),
    /// A source is held, or goes on.
    Source(SourceId),
    /// A folder of an inbox was decided on.
    Inbox,
    /// A target can't be used, can again, or an operator said something that
    /// has batches wait or go on.
    Target,
}

/// Called with what a durable commit changed, before anyone who waits for the
/// commit goes on. Runs on the writing thread, and must not wait for anything.
pub type OnChange = Arc<dyn Fn(&[Touched]) + Send + Sync>;

/// What a changed row tells of, if anything.
pub(super) fn of(table: Table, key: &[u8]) -> Option<Touched> {
    let first = || String::from_utf8_lossy(key.split(|b| *b == 0).next().unwrap_or_default()).into_owned();
    match table {
        Table::Timeline => first().parse().ok().map(Touched::Batch),
        Table::Holds | Table::SourceTimeline => SourceId::new(first()).ok().map(Touched::Source),
        Table::Inbox => Some(Touched::Inbox),
        Table::Breakers | Table::KnownIssues => Some(Touched::Target),
        Table::Meta
        | Table::Batches
        | Table::Unfinished
        | Table::ByStamp
        | Table::ByTime
        | Table::ByStatus
        | Table::BySourceStatus
        | Table::Ended
        | Table::Counts
        | Table::Plans
        | Table::PlansBySource
        | Table::SnapshotIds
        | Table::SnapshotsByTime
        | Table::Journal
        | Table::Snapshots
        | Table::Current
        | Table::DeadLetters
        | Table::OpenDeadLetters
        | Table::Prioritised
        | Table::Alive
        | Table::Commits
        | Table::Outbox
        | Table::LetterIndex
        | Table::LetterGroups
        | Table::Alerts
        | Table::Pins
        | Table::Skips => None,
    }
}
