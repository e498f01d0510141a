//! The whole store as text, in a stable order, for tests and for people.

use std::fmt::Write;

use super::open::Store;
use super::tables::Table;
use super::tx::Read;
use crate::error::{Error, Result};

impl Store {
    /// Every table with its rows: keys as text, values as JSON.
    pub fn dump(&self) -> Result<String> {
        self.read(|view| {
            let mut out = String::new();
            for table in Table::ALL {
                let rows = view.all(table, b"")?;
                // Writing to a string can't fail.
                let _ = writeln!(out, "# {} ({})", table.name(), rows.len());
                for (key, value) in rows {
                    let _ = writeln!(out, "{} = {}", readable(&key), show(table, &value)?);
                }
            }
            Ok(out)
        })
    }
}

fn readable(key: &[u8]) -> String {
    key.iter()
        .map(|byte| match byte {
            0 => "|".to_owned(),
            0x21..=0x7e => char::from(*byte).to_string(),
            other => format!("\\x{other:02x}"),
        })
        .collect()
}

pub(super) fn show(table: Table, value: &[u8]) -> Result<String> {
    match table {
        Table::Meta
        | Table::Unfinished
        | Table::ByStamp
        | Table::ByTime
        | Table::ByStatus
        | Table::BySourceStatus
        | Table::Ended
        | Table::Counts
        | Table::PlansBySource
        | Table::SnapshotIds
        | Table::SnapshotsByTime
        | Table::Current
        | Table::Prioritised
        | Table::LetterIndex
        | Table::Alive => Ok(readable(value)),
        Table::Batches
        | Table::Timeline
        | Table::Plans
        | Table::Journal
        | Table::Snapshots
        | Table::DeadLetters
        | Table::OpenDeadLetters
        | Table::Inbox
        | Table::Holds
        | Table::SourceTimeline
        | Table::Commits
        | Table::Outbox
        | Table::Breakers
        | Table::KnownIssues
        | Table::LetterGroups
        | Table::Alerts
        | Table::Pins
        | Table::Skips => {
            let value: serde_json::Value = super::tables::decode(table, value)?;
            serde_json::to_string(&value).map_err(|e| Error::internal("a record").caused_by(e))
        }
    }
}
