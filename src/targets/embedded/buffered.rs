//! A table with a write buffer: rows written lately lie in a small table in
//! front of the large one, and are folded into it bit by bit.
//!
//! A batch of a large source changes one row in a hundred, all over the
//! table. Written in place, each would cost a page of its own; in the buffer
//! they lie side by side, and when they are folded, many go to one page. (The
//! idea of the log-structured merge tree: O'Neil and others, 1996.)

use std::iter::Peekable;
use std::ops::{Bound, RangeBounds};

use redb::{
    AccessGuard, Range, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, StorageError,
    Table, TableDefinition, WriteTransaction,
};

type Key = &'static [u8];
type Entry<'a> = (AccessGuard<'a, Key>, AccessGuard<'a, Key>);
type Rows<'a> = Peekable<Range<'a, Key, Key>>;

/// From so many new rows on an operation writes past the buffer: those of a
/// first publish lie side by side.
const DIRECT: usize = 40_000;
/// So many rows may always wait.
const WAITING: u64 = 4_096;

/// The two tables. Values are never empty: in the buffer that says that the
/// row is gone.
#[derive(Clone, Copy)]
pub struct Definition {
    base: TableDefinition<'static, Key, Key>,
    buffer: TableDefinition<'static, Key, Key>,
}

impl Definition {
    /// Tables of these names.
    pub const fn new(base: &'static str, buffer: &'static str) -> Self {
        Self { base: TableDefinition::new(base), buffer: TableDefinition::new(buffer) }
    }

    /// Names of both.
    pub fn names(&self) -> [&str; 2] {
        use redb::TableHandle;
        [self.base.name(), self.buffer.name()]
    }

    /// Opens it for reading.
    pub fn read(&self, tx: &ReadTransaction) -> Result<Reader, redb::Error> {
        Ok(Reader { base: tx.open_table(self.base)?, buffer: tx.open_table(self.buffer)? })
    }

    /// Opens it for an operation that writes about `rows` rows; `new`: most of
    /// them are not there yet.
    pub fn write<'t>(
        &self,
        tx: &'t WriteTransaction,
        rows: usize,
        new: bool,
    ) -> Result<Writer<'t>, redb::Error> {
        let base = tx.open_table(self.base)?;
        let buffer = tx.open_table(self.buffer)?;
        // Where rows lie this close, pages are shared anyway.
        let direct = new && rows >= DIRECT || rows as u64 >= base.len()? / 32;
        let buffered = !buffer.is_empty()?;
        Ok(Writer { base, buffer, direct, buffered, waiting: WAITING, written: 0 })
    }
}

/// For reading.
pub struct Reader {
    base: ReadOnlyTable<Key, Key>,
    buffer: ReadOnlyTable<Key, Key>,
}

impl Reader {
    /// Whether there is no row. Rows that are gone but not folded yet count.
    pub fn is_empty(&self) -> Result<bool, redb::Error> {
        Ok(self.base.is_empty()? && self.buffer.is_empty()?)
    }

    /// About how many rows there are: one that waits in the buffer may count
    /// twice.
    pub fn about(&self) -> Result<u64, redb::Error> {
        Ok(self.base.len()? + self.buffer.len()?)
    }

    /// The row of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<AccessGuard<'_, Key>>, redb::Error> {
        get(&self.base, &self.buffer, key)
    }

    /// The rows of a range of keys, in their order.
    pub fn range<'k>(
        &self,
        keys: impl RangeBounds<&'k [u8]> + Clone + 'k,
    ) -> Result<Merged<'_>, redb::Error> {
        Merged::new(&self.base, &self.buffer, keys)
    }
}

/// For writing.
pub struct Writer<'t> {
    base: Table<'t, Key, Key>,
    buffer: Table<'t, Key, Key>,
    direct: bool,
    /// Whether anything may lie in the buffer.
    buffered: bool,
    waiting: u64,
    written: usize,
}

impl Writer<'_> {
    /// Whether there is no row. Rows that are gone but not folded yet count.
    pub fn is_empty(&self) -> Result<bool, redb::Error> {
        Ok(!self.buffered && self.base.is_empty()?)
    }

    /// The row of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<AccessGuard<'_, Key>>, redb::Error> {
        if self.buffered { get(&self.base, &self.buffer, key) } else { Ok(self.base.get(key)?) }
    }

    /// The rows of a range of keys, in their order.
    pub fn range<'k>(
        &self,
        keys: impl RangeBounds<&'k [u8]> + Clone + 'k,
    ) -> Result<Merged<'_>, redb::Error> {
        Merged::new(&self.base, &self.buffer, keys)
    }

    /// Puts a row in, or in the place of the one that is there.
    pub fn insert(&mut self, key: &[u8], row: &[u8]) -> Result<(), redb::Error> {
        self.written += 1;
        if self.direct {
            if self.buffered {
                self.buffer.remove(key)?;
            }
            self.base.insert(key, row)?;
        } else {
            self.buffer.insert(key, row)?;
            self.buffered = true;
        }
        Ok(())
    }

    /// Takes a row out, if it is there.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), redb::Error> {
        self.written += 1;
        if self.direct {
            if self.buffered {
                self.buffer.remove(key)?;
            }
            self.base.remove(key)?;
        } else {
            // Whether the large table has it is seen when it is folded.
            self.buffer.insert(key, &[][..])?;
            self.buffered = true;
        }
        Ok(())
    }

    /// Folds some rows into the large table when too many wait: twice as many
    /// as were written, so that no operation pays for all. Begins behind
    /// `cursor` and leaves there where it ended.
    pub fn fold(&mut self, cursor: &mut Vec<u8>) -> Result<(), redb::Error> {
        if !self.buffered || self.buffer.len()? <= self.waiting.max(self.base.len()? / 4) {
            return Ok(());
        }
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let budget = 2 * self.written.max(32);
        for entry in
            self.buffer.range::<&[u8]>((Bound::Excluded(&cursor[..]), Bound::Unbounded))?.take(budget)
        {
            let (key, row) = entry?;
            rows.push((key.value().to_vec(), row.value().to_vec()));
        }
        let to_the_end = rows.len() < budget;
        for (key, row) in &rows {
            if row.is_empty() {
                self.base.remove(&key[..])?;
            } else {
                self.base.insert(&key[..], &row[..])?;
            }
            self.buffer.remove(&key[..])?;
        }
        *cursor = match rows.pop() {
            Some((last, _)) if !to_the_end => last,
            Some(_) | None => Vec::new(),
        };
        Ok(())
    }
}

fn get<'a>(
    base: &'a impl ReadableTable<Key, Key>,
    buffer: &'a impl ReadableTable<Key, Key>,
    key: &[u8],
) -> Result<Option<AccessGuard<'a, Key>>, redb::Error> {
    match buffer.get(key)? {
        Some(row) if row.value().is_empty() => Ok(None),
        Some(row) => Ok(Some(row)),
        None => Ok(base.get(key)?),
    }
}

/// Rows of both tables in the order of their keys.
pub struct Merged<'a> {
    base: Rows<'a>,
    buffer: Rows<'a>,
}

impl<'a> Merged<'a> {
    fn new<'k>(
        base: &'a impl ReadableTable<Key, Key>,
        buffer: &'a impl ReadableTable<Key, Key>,
        keys: impl RangeBounds<&'k [u8]> + Clone + 'k,
    ) -> Result<Self, redb::Error> {
        Ok(Self {
            base: base.range::<&[u8]>(keys.clone())?.peekable(),
            buffer: buffer.range::<&[u8]>(keys)?.peekable(),
        })
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = Result<Entry<'a>, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // Mostly nothing is buffered: then nothing is moved into a peeked
            // place and out of it again.
            let Some(buffered) = self.buffer.peek() else { return self.base.next() };
            let order = match (self.base.peek(), buffered) {
                (Some(Ok((a, _))), Ok((b, _))) => a.value().cmp(b.value()),
                (Some(Err(_)), _) => std::cmp::Ordering::Less,
                (None, _) | (_, Err(_)) => std::cmp::Ordering::Greater,
            };
            if order.is_lt() {
                return self.base.next();
            }
            if order.is_eq() {
                self.base.next();
            }
            match self.buffer.next() {
                Some(Ok((_, row))) if row.value().is_empty() => {}
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use redb::{Database, ReadableDatabase};

    use super::*;

    const TABLE: Definition = Definition::new("rows", "rows_buffer");

    /// One operation: how it writes, how many rows may wait, and its rows.
    #[derive(Debug, Clone)]
    struct Write {
        direct: bool,
        waiting: u64,
        rows: Vec<(u8, Option<u8>)>,
    }

    fn writes() -> impl Strategy<Value = Vec<Write>> {
        let rows = prop::collection::vec((0u8..40, prop::option::weighted(0.7, any::<u8>())), 1..12);
        let write = (any::<bool>(), 0u64..30, rows).prop_map(|(direct, waiting, rows)| Write {
            direct,
            waiting,
            rows,
        });
        prop::collection::vec(write, 1..25)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]
        #[test]
        fn is_a_map_wherever_its_rows_lie(writes in writes(), from in 0u8..40, to in 0u8..40) {
            let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            let mut cursor = Vec::new();
            for write in writes {
                let tx = db.begin_write().unwrap();
                {
                    let mut table = TABLE.write(&tx, 0, false).unwrap();
                    table.direct = write.direct;
                    table.waiting = write.waiting;
                    for (key, row) in write.rows {
                        match row {
                            Some(row) => {
                                table.insert(&[key], &[row]).unwrap();
                                model.insert(vec![key], vec![row]);
                            }
                            None => {
                                table.remove(&[key]).unwrap();
                                model.remove(&vec![key]);
                            }
                        }
                        let found = table.get(&[key]).unwrap().map(|row| row.value().to_vec());
                        prop_assert_eq!(found.as_ref(), model.get(&vec![key]));
                    }
                    table.fold(&mut cursor).unwrap();
                    let both = table.base.len().unwrap() + table.buffer.len().unwrap();
                    prop_assert!(both >= model.len() as u64);
                }
                tx.commit().unwrap();
                let tx = db.begin_read().unwrap();
                let table = TABLE.read(&tx).unwrap();
                let all: Vec<(Vec<u8>, Vec<u8>)> = table
                    .range(..)
                    .unwrap()
                    .map(|entry| entry.map(|(key, row)| (key.value().to_vec(), row.value().to_vec())).unwrap())
                    .collect();
                prop_assert_eq!(&all, &model.clone().into_iter().collect::<Vec<_>>());
                let (low, high) = (vec![from.min(to)], vec![from.max(to)]);
                let some = table.range(&low[..]..&high[..]).unwrap().count();
                prop_assert_eq!(some, model.range(low..high).count());
            }
        }
    }

    #[test]
    fn many_rows_are_folded_by_and_by() {
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let mut cursor = Vec::new();
        let mut most = 0;
        for n in 0..400u32 {
            let tx = db.begin_write().unwrap();
            {
                let mut table = TABLE.write(&tx, 10, false).unwrap();
                table.direct = n == 0;
                table.waiting = 500;
                for m in 0..10 {
                    let key = (m * 1_000 + n * 7919 % 1_000).to_be_bytes();
                    table.insert(&key, b"x").unwrap();
                }
                table.fold(&mut cursor).unwrap();
                most = most.max(table.buffer.len().unwrap());
                if n == 399 {
                    assert!(table.base.len().unwrap() > 2_000, "{}", table.base.len().unwrap());
                }
            }
            tx.commit().unwrap();
        }
        assert!((500..1_100).contains(&most), "{most}");
    }
}
