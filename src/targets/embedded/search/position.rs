//! How far the index has followed the catalogue. Lies in the index's own commit
//! record, so that documents and position change together.

use redb::{ReadTransaction, ReadableTable};
use serde::{Deserialize, Serialize};

use super::feed;
use crate::targets::embedded::tables::ORIGINS;

/// Version of what an index holds. An index with another one is built anew.
const FORMAT: u32 = 1;

/// A state of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Operations up to there.
    pub operations: u32,
    /// Hash of the last one's origin: another one shows that the catalogue was
    /// put back and went on differently.
    origin: u64,
    /// Changes of entities that the feed had counted.
    pub changes: u64,
}

impl Mark {
    /// The state that a transaction sees.
    pub fn now(tx: &ReadTransaction) -> Result<Self, redb::Error> {
        let origins = tx.open_table(ORIGINS)?;
        let last = origins.last()?;
        let changes = feed::changes(tx)?;
        Ok(match last {
            Some((number, origin)) => Self {
                operations: number.value() + 1,
                origin: xxhash_rust::xxh3::xxh3_64(origin.value()),
                changes,
            },
            None => Self { operations: 0, origin: 0, changes },
        })
    }

    /// The state behind the first `operations` operations.
    pub fn at(tx: &ReadTransaction, operations: u32, changes: u64) -> Result<Self, redb::Error> {
        let origin = origin(tx, operations)?.unwrap_or_default();
        Ok(Self { operations, origin, changes })
    }

    /// Whether the catalogue has been in this state.
    pub fn is_past(&self, tx: &ReadTransaction) -> Result<bool, redb::Error> {
        Ok(self.operations == 0 || origin(tx, self.operations)? == Some(self.origin))
    }
}

fn origin(tx: &ReadTransaction, operations: u32) -> Result<Option<u64>, redb::Error> {
    let Some(number) = operations.checked_sub(1) else { return Ok(None) };
    let origin = tx.open_table(ORIGINS)?.get(number)?;
    Ok(origin.map(|origin| xxhash_rust::xxh3::xxh3_64(origin.value())))
}

/// A walk over all rows, which takes several commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// What the index has seen when the walk is over.
    pub to: Mark,
    /// Key of the last row that was looked at.
    pub cursor: Vec<u8>,
}

/// A position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    format: u32,
    identity: String,
    /// What the index has seen; `None` while it is built.
    pub seen: Option<Mark>,
    /// The walk that is under way.
    pub scan: Option<Scan>,
}

impl Position {
    /// That of an index with nothing in it.
    pub fn start(identity: &str) -> Self {
        Self { format: FORMAT, identity: identity.into(), seen: None, scan: None }
    }

    /// Reads what a commit record holds.
    pub fn parse(record: &str) -> Option<Self> {
        serde_json::from_str(record).ok()
    }

    /// What a commit record holds.
    pub fn record(&self) -> String {
        // Numbers, strings and options always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Why an index at this position is of no use to a catalogue.
    pub fn problem(&self, identity: &str, tx: &ReadTransaction) -> Result<Option<&'static str>, redb::Error> {
        if self.format != FORMAT {
            return Ok(Some("another version of Tidegate wrote it"));
        }
        if self.identity != identity {
            return Ok(Some("it belongs to another catalogue"));
        }
        for mark in self.seen.iter().chain(self.scan.iter().map(|scan| &scan.to)) {
            if !mark.is_past(tx)? {
                return Ok(Some("the catalogue was put back to an earlier state"));
            }
        }
        Ok(None)
    }
}
