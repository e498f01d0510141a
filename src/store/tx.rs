//! Reading and writing within a transaction.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableError, WriteTransaction};

use super::outbox::Outlets;
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

    /// Up to `limit` rows between two keys, in order of keys or backwards.
    fn range(&self, table: Table, range: &KeyRange, limit: usize) -> Result<Vec<Row>>;

    /// Up to `limit` rows with `prefix`, in order of keys, behind `after` if
    /// it is given.
    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>> {
        let mut range = KeyRange::of_prefix(prefix);
        if let Some(after) = after {
            range.from = Bound::Excluded(after.to_vec());
        }
        self.range(table, &range, limit)
    }

    /// The last row with `prefix`.
    fn last(&self, table: Table, prefix: &[u8]) -> Result<Option<Row>> {
        let range = KeyRange { backwards: true, ..KeyRange::of_prefix(prefix) };
        Ok(self.range(table, &range, 1)?.pop())
    }

    /// All rows with `prefix`.
    fn all(&self, table: Table, prefix: &[u8]) -> Result<Vec<Row>> {
        self.scan(table, prefix, None, usize::MAX)
    }
}

/// A consistent view for reading.
pub struct View<'a> {
    tx: &'a ReadTransaction,
    /// Tables that were read already: a list reads one of them hundreds of times.
    open: [OnceCell<Option<StoredTable>>; Table::ALL.len()],
}

/// A table as a transaction that reads has it.
type StoredTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl<'a> View<'a> {
    pub(super) fn new(tx: &'a ReadTransaction) -> Self {
        Self { tx, open: std::array::from_fn(|_| OnceCell::new()) }
    }

    /// A table; `None` when the file has none of its name.
    fn table(&self, table: Table) -> Result<Option<&StoredTable>> {
        let place = &self.open[table as usize];
        if let Some(open) = place.get() {
            return Ok(open.as_ref());
        }
        let open = match self.tx.open_table(table.definition()) {
            Ok(open) => Some(open),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(place.get_or_init(|| open).as_ref())
    }
}

/// The keys between two bounds, and the direction in which they are read.
#[derive(Debug, Clone)]
pub struct KeyRange {
    /// Where it begins, in the order of keys.
    pub from: Bound<Vec<u8>>,
    /// Where it ends.
    pub to: Bound<Vec<u8>>,
    /// Whether the last rows come first.
    pub backwards: bool,
}

/// Both bounds of a range.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl KeyRange {
    /// All keys that begin with `prefix`.
    pub fn of_prefix(prefix: &[u8]) -> Self {
        let to = successor(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Self { from: Bound::Included(prefix.to_vec()), to, backwards: false }
    }

    /// The bounds as redb and maps of the standard library take them;
    /// `None` when nothing is between them.
    fn bounds(&self) -> Option<Bounds<'_>> {
        let (from, to) = (as_slice(&self.from), as_slice(&self.to));
        let empty = match (from, to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
                from >= to
            }
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        };
        (!empty).then_some((from, to))
    }

    /// Whether a key is within it.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        let behind = match &self.from {
            Bound::Included(from) => key >= &from[..],
            Bound::Excluded(from) => key > &from[..],
            Bound::Unbounded => true,
        };
        let before = match &self.to {
            Bound::Included(to) => key <= &to[..],
            Bound::Excluded(to) => key < &to[..],
            Bound::Unbounded => true,
        };
        behind && before
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// The first key behind all that begin with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.pop() {
        if last < u8::MAX {
            out.push(last + 1);
            return Some(out);
        }
    }
    None
}

fn collect(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    range: &KeyRange,
    limit: usize,
) -> Result<Vec<Row>> {
    let Some(bounds) = range.bounds() else { return Ok(Vec::new()) };
    let mut found = table.range::<&[u8]>(bounds).map_err(failed)?;
    let mut rows = Vec::new();
    while rows.len() < limit {
        let next = if range.backwards { found.next_back() } else { found.next() };
        let Some(row) = next else { break };
        let (key, value) = row.map_err(failed)?;
        rows.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(rows)
}

impl Read for View<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(table) = self.table(table)? else { return Ok(None) };
        Ok(table.get(key).map_err(failed)?.map(|value| value.value().to_vec()))
    }

    fn range(&self, table: Table, range: &KeyRange, limit: usize) -> Result<Vec<Row>> {
        match self.table(table)? {
            Some(table) => collect(table, range, limit),
            None => Ok(Vec::new()),
        }
    }
}

/// Bytes of changes that a large transaction keeps aside.
const ASIDE: usize = 1 << 20;

/// A transaction that writes. Its changes are kept aside until the closure
/// that makes them has ended well. One that is large has its commit for itself,
/// and may hand them to redb before: nothing of it is committed if it fails.
pub struct Tx<'a> {
    tx: &'a WriteTransaction,
    now: jiff::Timestamp,
    outlets: &'a Outlets,
    changes: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    is_large: bool,
    /// Bytes of the changes that are kept aside.
    aside: usize,
    /// What the changes tell of that are with redb already.
    told: Vec<Touched>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(tx: &'a WriteTransaction, now: jiff::Timestamp, outlets: &'a Outlets) -> Self {
        Self { tx, now, outlets, changes: BTreeMap::new(), is_large: false, aside: 0, told: Vec::new() }
    }

    /// One that is large.
    pub(super) fn large(tx: &'a WriteTransaction, now: jiff::Timestamp, outlets: &'a Outlets) -> Self {
        Self { is_large: true, ..Self::new(tx, now, outlets) }
    }

    /// Hands changes to redb when they are many, so that memory is bounded.
    /// Called between the steps of what is done many times; in a transaction
    /// that is not large nothing happens.
    pub fn spill(&mut self) -> Result<()> {
        if !self.is_large || self.aside < ASIDE {
            return Ok(());
        }
        self.told = self.touched();
        self.aside = 0;
        hand_over(self.tx, std::mem::take(&mut self.changes))
    }

    /// The time of the transaction.
    pub fn now(&self) -> jiff::Timestamp {
        self.now
    }

    /// Who wants to hear of what happens.
    pub(super) fn outlets(&self) -> &'a Outlets {
        self.outlets
    }

    /// Sets a value.
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.aside += key.len() + value.len();
        self.changes.insert((table, key), Some(value));
    }

    /// Removes a key.
    pub fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.aside += key.len();
        self.changes.insert((table, key), None);
    }

    /// What the changes tell of.
    pub(super) fn touched(&self) -> Vec<Touched> {
        let mut touched = self.told.clone();
        touched.extend(self.changes.keys().filter_map(|(table, key)| touched::of(*table, key)));
        touched.dedup();
        touched
    }

    /// Hands the changes to redb.
    pub(super) fn apply(self) -> Result<()> {
        hand_over(self.tx, self.changes)
    }
}

fn hand_over(tx: &WriteTransaction, changes: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>) -> Result<()> {
    let mut changes = changes.into_iter().peekable();
    while let Some(table_id) = changes.peek().map(|((table, _), _)| *table) {
        let mut table = tx.open_table(table_id.definition()).map_err(failed)?;
        while let Some(((_, key), value)) = changes.next_if(|((table, _), _)| *table == table_id) {
            match value {
                Some(value) => drop(table.insert(&key[..], &value[..]).map_err(failed)?),
                None => drop(table.remove(&key[..]).map_err(failed)?),
            }
        }
    }
    Ok(())
}

impl Read for Tx<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(change) = self.changes.get(&(table, key.to_vec())) {
            return Ok(change.clone());
        }
        let table = self.tx.open_table(table.definition()).map_err(failed)?;
        Ok(table.get(key).map_err(failed)?.map(|value| value.value().to_vec()))
    }

    fn range(&self, table: Table, range: &KeyRange, limit: usize) -> Result<Vec<Row>> {
        // The changes within the range, and how many stored rows they may hide.
        let from = match &range.from {
            Bound::Included(key) | Bound::Excluded(key) => key.clone(),
            Bound::Unbounded => Vec::new(),
        };
        let changes = self.changes.range((table, from)..).take_while(|((t, _), _)| *t == table);
        let changes: Vec<_> = changes.filter(|((_, key), _)| range.has(key)).collect();
        let stored = {
            let table = self.tx.open_table(table.definition()).map_err(failed)?;
            collect(&table, range, limit.saturating_add(changes.len()))?
        };
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
        for ((_, key), value) in changes {
            match value {
                Some(value) => drop(rows.insert(key.clone(), value.clone())),
                None => drop(rows.remove(key)),
            }
        }
        let rows = rows.into_iter();
        Ok(if range.backwards { rows.rev().take(limit).collect() } else { rows.take(limit).collect() })
    }
}
