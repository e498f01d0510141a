//! `tidegate.redb`: the only place that knows redb.
//!
//! One thread writes. A write is a closure; it sees its own changes, and they
//! become durable together or not at all. Closures that wait at the same time
//! share a commit.

mod alert_data;
mod alerts;
mod batches;
mod breakers;
mod commits;
mod dead_letters;
mod dump;
mod failure;
mod inbox;
mod index;
mod known_issues;
mod open;
mod outbox;
mod pins;
mod plans;
pub mod records;
mod skips;
mod snapshots;
mod sources;
mod tables;
mod totals;
mod touched;
mod tx;
mod verify;
mod writer;

pub use batches::BatchFilter;
pub use dead_letters::{
    DueLetters, LetterCounts, LetterList, LetterRows, LettersFrom, NewLetter, OpenLetter,
};
pub use failure::OnFailure;
pub use index::{BatchList, BatchRows};
pub use open::{FILE, FORMAT_VERSION, Store, StoreOptions, is_there};
pub use outbox::{MESSAGE_FORMAT, OutboxCounts, Outlet};
pub use records::*;
pub use snapshots::{SnapshotList, SnapshotRows};
pub use totals::{BUCKETS, Durations, Totals};
pub use touched::{OnChange, Touched};
pub use tx::{KeyRange, Read, Row, Tx, View};

/// Where the last plan with an operation is kept, per target and source.
pub const APPLIED: tables::Table = tables::Table::Meta;
