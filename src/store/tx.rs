//! Reading and writing within a transaction.

use std::collections::BTreeMap;
use std::ops::Bound;

use redb::{ReadTransaction, ReadableTable, TableError, WriteTransaction};

use super::tables::Table;
use super::touched::{self, Touched};
use crate::error::{Error, ErrorKind, Result};

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A failure of redb.
pub fn failed(error: impl Into<redb::Error>) -> Error {
    let error: redb::Error = error.into();
    let full = matches!(&error, redb::Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull);
    let kind = if full { ErrorKind::DiskFull } else { ErrorKind::StoreFailed };
    Error::new(kind, "tidegate.redb").caused_by(error)
}

/// Whether redb met an I/O error, now or before.
pub fn is_io(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<redb::Error>());
    matches!(cause, Some(redb::Error::Io(_) | redb::Error::PreviousIo))
}

/// What can be read in a transaction.
pub trait Read {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Up to `limit` rows with `prefix`, in order of keys, behind `after` if
    /// it is given.
    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>>;

    /// All rows with `prefix`.
    fn all(&self, table: Table, prefix: &[u8]) -> Result<Vec<Row>> {
        self.scan(table, prefix, None, usize::MAX)
    }
}

/// A consistent view for reading.
pub struct View<'a> {
    pub(super) tx: &'a ReadTransaction,
}

fn collect(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Row>> {
    let start = match after {
        Some(after) => Bound::Excluded(after),
        None => Bound::Included(prefix),
    };
    let mut rows = Vec::new();
    for row in table.range::<&[u8]>((start, Bound::Unbounded)).map_err(failed)? {
        let (key, value) = row.map_err(failed)?;
        if rows.len() >= limit || !key.value().starts_with(prefix) {
            break;
        }
        rows.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(rows)
}

impl Read for View<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.tx.open_table(table.definition()) {
            Ok(table) => Ok(table.get(key).map_err(failed)?.map(|value| value.value().to_vec())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>> {
        match self.tx.open_table(table.definition()) {
            Ok(table) => collect(&table, prefix, after, limit),
            Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }
}

/// A transaction that writes. Its changes are kept aside until the closure
/// that makes them has ended well.
pub struct Tx<'a> {
    tx: &'a WriteTransaction,
    now: jiff::Timestamp,
    changes: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(tx: &'a WriteTransaction, now: jiff::Timestamp) -> Self {
        Self { tx, now, changes: BTreeMap::new() }
    }

    /// The time of the transaction.
    pub fn now(&self) -> jiff::Timestamp {
        self.now
    }

    /// Sets a value.
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert((table, key), Some(value));
    }

    /// Removes a key.
    pub fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.changes.insert((table, key), None);
    }

    /// What the changes tell of.
    pub(super) fn touched(&self) -> Vec<Touched> {
        let mut touched: Vec<Touched> =
            self.changes.keys().filter_map(|(table, key)| touched::of(*table, key)).collect();
        touched.dedup();
        touched
    }

    /// Hands the changes to redb.
    pub(super) fn apply(self) -> Result<()> {
        let mut changes = self.changes.into_iter().peekable();
        while let Some(table_id) = changes.peek().map(|((table, _), _)| *table) {
            let mut table = self.tx.open_table(table_id.definition()).map_err(failed)?;
            while let Some(((_, key), value)) = changes.next_if(|((table, _), _)| *table == table_id) {
                match value {
                    Some(value) => drop(table.insert(&key[..], &value[..]).map_err(failed)?),
                    None => drop(table.remove(&key[..]).map_err(failed)?),
                }
            }
        }
        Ok(())
    }
}

impl Read for Tx<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(change) = self.changes.get(&(table, key.to_vec())) {
            return Ok(change.clone());
        }
        let table = self.tx.open_table(table.definition()).map_err(failed)?;
        Ok(table.get(key).map_err(failed)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>> {
        let stored = {
            let table = self.tx.open_table(table.definition()).map_err(failed)?;
            // Removed rows may hide some of the first ones.
            let removed = self.changes.values().filter(|value| value.is_none()).count();
            collect(&table, prefix, after, limit.saturating_add(removed))?
        };
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
        for ((_, key), value) in self
            .changes
            .range((table, prefix.to_vec())..)
            .take_while(|((t, key), _)| *t == table && key.starts_with(prefix))
        {
            if after.is_some_and(|after| &key[..] <= after) {
                continue;
            }
            match value {
                Some(value) => drop(rows.insert(key.clone(), value.clone())),
                None => drop(rows.remove(key)),
            }
        }
        Ok(rows.into_iter().take(limit).collect())
    }
}
