//! The tables, and how values are stored in them: a version byte, then
//! MessagePack with named fields.

use redb::TableDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

/// The tables of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Name → text: format version, owner.
    Meta,
    /// Batch id → [`super::BatchRecord`].
    Batches,
    /// Source, stamp → batch id, of batches that have not ended.
    Unfinished,
    /// Source, stamp → batch id, of all batches.
    ByStamp,
    /// Stamp, source → batch id, of all batches.
    ByTime,
    /// Status, stamp, source → batch id, of all batches.
    ByStatus,
    /// Source, status, stamp → batch id, of all batches.
    BySourceStatus,
    /// Time of its end, batch id → batch id, of batches that have ended.
    Ended,
    /// What is counted → how many.
    Counts,
    /// Batch id, number → [`super::TimelineEntry`].
    Timeline,
    /// Plan id → [`super::PlanRecord`].
    Plans,
    /// Source, plan id → nothing.
    PlansBySource,
    /// Plan id, operation → [`super::JournalEntry`].
    Journal,
    /// Target, source, snapshot id → [`super::SnapshotRecord`].
    Snapshots,
    /// Snapshot id → its row in `Snapshots`.
    SnapshotIds,
    /// Time at which it was made, snapshot id → its row in `Snapshots`.
    SnapshotsByTime,
    /// Target, source → id of the current snapshot.
    Current,
    /// Number → [`super::DeadLetter`].
    DeadLetters,
    /// Source, key → [`super::OpenLetter`]: what is known of the unsettled dead letter.
    OpenDeadLetters,
    /// Inbox URL, folder → [`super::InboxEntry`].
    Inbox,
    /// Source, reason → [`super::SourceHold`].
    Holds,
    /// Source, stamp → batch id, of batches that a person put first.
    Prioritised,
    /// Source, number → [`super::SourceEntry`].
    SourceTimeline,
    /// Target, plan id → nothing: plans that may still be executed.
    Alive,
    /// Target, number → [`super::CommitRecord`].
    Commits,
    /// Outlet, number → [`super::OutboxMessage`].
    Outbox,
    /// Target → [`super::BreakerRecord`].
    Breakers,
    /// Number → [`super::KnownIssue`].
    KnownIssues,
    /// What is looked for, number → nothing: where unsettled dead letters are
    /// found.
    LetterIndex,
    /// Signature → [`super::LetterGroup`].
    LetterGroups,
    /// What tells it apart → [`super::AlertRecord`].
    Alerts,
    /// Batch id → [`super::PinWork`].
    Pins,
    /// Source, type, name → [`super::SkipRecord`].
    Skips,
}

impl Table {
    /// All of them, in the order of a dump.
    pub const ALL: [Table; 33] = [
        Table::Meta,
        Table::Batches,
        Table::Unfinished,
        Table::ByStamp,
        Table::ByTime,
        Table::ByStatus,
        Table::BySourceStatus,
        Table::Ended,
        Table::Counts,
        Table::Timeline,
        Table::Plans,
        Table::PlansBySource,
        Table::Journal,
        Table::Snapshots,
        Table::SnapshotIds,
        Table::SnapshotsByTime,
        Table::Current,
        Table::DeadLetters,
        Table::OpenDeadLetters,
        Table::Inbox,
        Table::Holds,
        Table::Prioritised,
        Table::SourceTimeline,
        Table::Alive,
        Table::Commits,
        Table::Outbox,
        Table::Breakers,
        Table::KnownIssues,
        Table::LetterIndex,
        Table::LetterGroups,
        Table::Alerts,
        Table::Pins,
        Table::Skips,
    ];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Batches => "batches",
            Self::Unfinished => "unfinished",
            Self::ByStamp => "by_stamp",
            Self::ByTime => "by_time",
            Self::ByStatus => "by_status",
            Self::BySourceStatus => "by_source_status",
            Self::Ended => "ended",
            Self::Counts => "counts",
            Self::Timeline => "timeline",
            Self::Plans => "plans",
            Self::PlansBySource => "plans_by_source",
            Self::Journal => "journal",
            Self::Snapshots => "snapshots",
            Self::SnapshotIds => "snapshot_ids",
            Self::SnapshotsByTime => "snapshots_by_time",
            Self::Current => "current",
            Self::DeadLetters => "dead_letters",
            Self::OpenDeadLetters => "open_dead_letters",
            Self::Inbox => "inbox",
            Self::Holds => "holds",
            Self::Prioritised => "prioritised",
            Self::SourceTimeline => "source_timeline",
            Self::Alive => "alive",
            Self::Commits => "commits",
            Self::Outbox => "outbox",
            Self::Breakers => "breakers",
            Self::KnownIssues => "known_issues",
            Self::LetterIndex => "letter_index",
            Self::LetterGroups => "letter_groups",
            Self::Alerts => "alerts",
            Self::Pins => "pins",
            Self::Skips => "skips",
        }
    }

    /// Its definition for redb.
    pub fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

/// Version of the records that this version writes.
const RECORD_VERSION: u8 = 1;

/// The stored form of a record.
pub fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    let mut out = vec![RECORD_VERSION];
    rmp_serde::encode::write_named(&mut out, record).map_err(|e| Error::internal("a record").caused_by(e))?;
    Ok(out)
}

/// Reads a stored record. Older versions are brought up to date here; there
/// is none yet.
pub fn decode<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((&RECORD_VERSION, body)) => rmp_serde::from_slice(body).map_err(|e| {
            Error::new(
                ErrorKind::StoreFailed,
                format!("tidegate.redb: a record of {} can't be read", table.name()),
            )
            .caused_by(e)
        }),
        Some((version, _)) if *version > RECORD_VERSION => Err(Error::new(
            ErrorKind::StoreNewer,
            format!(
                "tidegate.redb: a record of {} has version {version}, this program knows {RECORD_VERSION}",
                table.name()
            ),
        )),
        Some(_) | None => Err(Error::new(
            ErrorKind::StoreFailed,
            format!("tidegate.redb: a record of {} is empty", table.name()),
        )),
    }
}

/// A key of several parts: texts end with a zero byte, which no id contains.
pub fn key(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(part);
        out.push(0);
    }
    out
}

/// A key of text parts and a number behind them, in the order of the number.
pub fn numbered(parts: &[&[u8]], number: u64) -> Vec<u8> {
    let mut out = key(parts);
    out.extend_from_slice(&number.to_be_bytes());
    out
}

/// The number at the end of such a key.
pub fn number_behind(key: &[u8]) -> u64 {
    let mut number = [0; 8];
    let from = key.len().saturating_sub(8);
    number[8 - (key.len() - from)..].copy_from_slice(&key[from..]);
    u64::from_be_bytes(number)
}
