//! Sorting of more records than memory should hold: sorted runs go to
//! temporary files and are merged while they are read.

use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::format::bytes::u128_at;
use crate::domain::key::KeyHash;
use crate::error::{Error, Result};

/// A record of fixed size that knows its place in the order.
pub trait Record: Copy + Send {
    /// Bytes of its stored form.
    const SIZE: usize;
    /// What it is sorted by. Records that compare equal may come in any order.
    type Key: Ord + Copy;
    /// Its sort key.
    fn key(&self) -> Self::Key;
    /// Writes its stored form into `out`, which has [`Self::SIZE`] bytes.
    fn write(&self, out: &mut [u8]);
    /// Reads what [`Self::write`] wrote.
    fn read(bytes: &[u8]) -> Self;
}

/// A key alone.
impl Record for KeyHash {
    const SIZE: usize = 16;
    type Key = Self;

    fn key(&self) -> Self {
        *self
    }

    fn write(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        Self(u128_at(bytes, 0))
    }
}

/// Takes records in any order and hands them out sorted.
///
/// Holds up to `budget` bytes of them in memory; what is over goes to files in
/// `folder`, which are removed when the sorter or its output is dropped.
pub struct Sorter<R: Record> {
    folder: PathBuf,
    name: String,
    budget: usize,
    buffer: Vec<R>,
    runs: Vec<Run>,
    len: u64,
}

struct Run {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Drop for Run {
    fn drop(&mut self) {
        // A file that stays behind is collected with the folder later on.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl<R: Record> Sorter<R> {
    /// A sorter that spills to `folder`, with files called `name-<n>.run`.
    pub fn new(folder: &Path, name: impl Into<String>, budget: usize) -> Self {
        Self {
            folder: folder.into(),
            name: name.into(),
            budget,
            buffer: Vec::new(),
            runs: Vec::new(),
            len: 0,
        }
    }

    /// Takes one record.
    ///
    /// # Errors
    /// When a run can't be written.
    #[inline]
    pub fn push(&mut self, record: R) -> Result<()> {
        if (self.buffer.len() + 1) * size_of::<R>() > self.budget && !self.buffer.is_empty() {
            self.spill()?;
        }
        self.buffer.push(record);
        self.len += 1;
        Ok(())
    }

    /// Number of records taken.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no record was taken.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn spill(&mut self) -> Result<()> {
        self.buffer.sort_unstable_by_key(Record::key);
        let path = self.folder.join(format!("{}-{}.run", self.name, self.runs.len()));
        let at = |e| Error::io(&path, e);
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).map_err(at)?;
        let mut out = BufWriter::with_capacity(1 << 18, &file);
        let mut bytes = vec![0; R::SIZE];
        for record in &self.buffer {
            record.write(&mut bytes);
            out.write_all(&bytes).map_err(at)?;
        }
        out.flush().map_err(at)?;
        drop(out);
        self.runs.push(Run { path, file, len: self.buffer.len() as u64 });
        self.buffer.clear();
        Ok(())
    }

    /// Takes over everything that `other` has taken.
    ///
    /// # Errors
    /// When a run can't be written.
    pub fn absorb(&mut self, mut other: Self) -> Result<()> {
        self.runs.append(&mut other.runs);
        self.len += other.len - other.buffer.len() as u64;
        if self.buffer.is_empty() {
            self.len += other.buffer.len() as u64;
            self.buffer = std::mem::take(&mut other.buffer);
            return Ok(());
        }
        for record in other.buffer.drain(..) {
            self.push(record)?;
        }
        Ok(())
    }

    /// The records in order.
    ///
    /// # Errors
    /// When a run can't be read.
    pub fn finish(mut self) -> Result<Sorted<R>> {
        self.buffer.sort_unstable_by_key(Record::key);
        let mut sources = Vec::new();
        for mut run in std::mem::take(&mut self.runs) {
            run.file.rewind().map_err(|e| Error::io(&run.path, e))?;
            let file = run.file.try_clone().map_err(|e| Error::io(&run.path, e))?;
            sources.push(Source {
                reader: BufReader::with_capacity(1 << 16, file),
                left: run.len,
                run,
                bytes: vec![0; R::SIZE],
            });
        }
        let mut sorted = Sorted { memory: self.buffer.into_iter(), sources, heap: BinaryHeap::new() };
        for index in 0..sorted.sources.len() {
            sorted.refill(index)?;
        }
        sorted.refill(usize::MAX)?;
        Ok(sorted)
    }
}

struct Source {
    reader: BufReader<File>,
    left: u64,
    run: Run,
    bytes: Vec<u8>,
}

struct Head<R: Record> {
    record: R,
    source: usize,
}

impl<R: Record> PartialEq for Head<R> {
    fn eq(&self, other: &Self) -> bool {
        self.record.key() == other.record.key() && self.source == other.source
    }
}
impl<R: Record> Eq for Head<R> {}
impl<R: Record> PartialOrd for Head<R> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<R: Record> Ord for Head<R> {
    // Reversed: `BinaryHeap` hands out the greatest first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.record.key(), other.source).cmp(&(self.record.key(), self.source))
    }
}

/// Sorted records, read once.
pub struct Sorted<R: Record> {
    memory: std::vec::IntoIter<R>,
    sources: Vec<Source>,
    heap: BinaryHeap<Head<R>>,
}

impl<R: Record> Sorted<R> {
    /// The next record, or `None` at the end.
    ///
    /// # Errors
    /// When a run can't be read.
    #[inline]
    pub fn take_next(&mut self) -> Result<Option<R>> {
        if self.sources.is_empty() {
            // Everything stayed in memory; only the first record is in the heap.
            return Ok(match self.heap.pop() {
                Some(head) => Some(head.record),
                None => self.memory.next(),
            });
        }
        let Some(head) = self.heap.pop() else { return Ok(None) };
        self.refill(head.source)?;
        Ok(Some(head.record))
    }

    fn refill(&mut self, source: usize) -> Result<()> {
        let record = match self.sources.get_mut(source) {
            None => self.memory.next(),
            Some(Source { left: 0, .. }) => None,
            Some(from) => {
                from.reader.read_exact(&mut from.bytes).map_err(|e| Error::io(&from.run.path, e))?;
                from.left -= 1;
                Some(R::read(&from.bytes))
            }
        };
        if let Some(record) = record {
            self.heap.push(Head { record, source });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    struct Pair(u32, u32);

    impl Record for Pair {
        const SIZE: usize = 8;
        type Key = (u32, u32);
        fn key(&self) -> (u32, u32) {
            (self.0, self.1)
        }
        fn write(&self, out: &mut [u8]) {
            out[..4].copy_from_slice(&self.0.to_le_bytes());
            out[4..].copy_from_slice(&self.1.to_le_bytes());
        }
        fn read(bytes: &[u8]) -> Self {
            let word =
                |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            Self(word(0), word(4))
        }
    }

    proptest! {
        #[test]
        fn hands_out_what_it_took_in_order(
            pairs in prop::collection::vec((0u32..50, any::<u32>()), 0..200),
            more in prop::collection::vec((0u32..50, any::<u32>()), 0..50),
            budget in 1usize..400,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(folder.path(), "a", budget);
            let mut other = Sorter::new(folder.path(), "b", budget);
            for (a, b) in &pairs {
                sorter.push(Pair(*a, *b)).unwrap();
            }
            for (a, b) in &more {
                other.push(Pair(*a, *b)).unwrap();
            }
            sorter.absorb(other).unwrap();
            prop_assert_eq!(sorter.len(), (pairs.len() + more.len()) as u64);
            let mut sorted = sorter.finish().unwrap();
            let mut out = Vec::new();
            while let Some(pair) = sorted.take_next().unwrap() {
                out.push(pair);
            }
            drop(sorted);
            let mut expected: Vec<_> = pairs.iter().chain(&more).map(|(a, b)| Pair(*a, *b)).collect();
            expected.sort();
            prop_assert_eq!(out, expected);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
