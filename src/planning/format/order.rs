//! The line order: the hash of the line that gave each key its value, in the
//! order in which the lines of a full batch came.
//!
//! Positions are handed out in chunks of 4096; a chunk belongs to one file of
//! the batch. Unused positions, and those whose line gave no key its value,
//! have no entry.
//!
//! ```text
//! header   magic "TGORDER1"
//! hashes   per chunk 4096 × XXH3-128 of the line
//! entries  per chunk 4096 × u32: number of the entry in the base layer, or all ones
//! tables   xxh3 of each chunk's hashes u64 …, xxh3 of each chunk's entries u64 …
//! meta     JSON: which chunks belong to which file, in order
//! trailer  chunks u64, meta length u64, xxh3 of header + tables + meta u64, "TGORDEND"
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::block_file::invalid;
use super::bytes::{u32_at, u64_at, u128_at};
use super::entry::NO_POSITION;
use super::sealed::Sealed;
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"TGORDER1";
const END: &[u8; 8] = b"TGORDEND";
const HEADER: u64 = 8;
const TRAILER: usize = 32;
/// Positions of a chunk.
pub const CHUNK: usize = 4096;
const HASH_BYTES: usize = CHUNK * 16;
const ENTRY_BYTES: usize = CHUNK * 4;

/// The chunks of one file of the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChunks {
    /// The file's path in the batch folder.
    pub path: String,
    /// Its chunks, in the order of its lines.
    pub chunks: Vec<u32>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Meta {
    files: Vec<FileChunks>,
}

/// Writes an order while the files of a batch are read, each by one thread.
pub struct OrderWriter {
    path: PathBuf,
    file: File,
    chunks: AtomicU32,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    hashes: Vec<(u32, u64)>,
    files: Vec<FileChunks>,
}

impl OrderWriter {
    /// Creates the file; one of that name is overwritten.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|e| Error::io(path, e))?;
        file.write_all_at(MAGIC, 0).map_err(|e| Error::io(path, e))?;
        Ok(Self { path: path.into(), file, chunks: AtomicU32::new(0), done: Mutex::default() })
    }

    /// Begins the order of one file.
    pub fn file(&self, path: &str) -> FileOrder<'_> {
        let chunks = FileChunks { path: path.into(), chunks: Vec::new() };
        FileOrder { writer: self, chunks, buffer: Vec::with_capacity(HASH_BYTES) }
    }

    /// Positions handed out so far, those of begun chunks included.
    pub fn positions(&self) -> u32 {
        self.chunks.load(Ordering::Relaxed).saturating_mul(CHUNK as u32)
    }

    /// Writes the entries, tables and trailer, and makes the file durable.
    /// `entries` has the number of the base entry of each position, or
    /// [`NO_POSITION`]. Returns the file's size.
    pub fn finish(self, entries: &[u32]) -> Result<u64> {
        let chunks = self.chunks.into_inner() as usize;
        let Done { mut hashes, mut files } =
            self.done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        hashes.sort_unstable();
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        if hashes.len() != chunks || entries.len() != chunks * CHUNK {
            return Err(Error::internal("a line order is not whole"));
        }
        let at = |e| Error::io(&self.path, e);
        let mut offset = HEADER + (chunks * HASH_BYTES) as u64;
        let mut tables: Vec<u8> = hashes.iter().flat_map(|(_, hash)| hash.to_le_bytes()).collect();
        for chunk in entries.chunks_exact(CHUNK) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|n| n.to_le_bytes()).collect();
            tables.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
            self.file.write_all_at(&bytes, offset).map_err(at)?;
            offset += bytes.len() as u64;
        }
        let meta =
            serde_json::to_vec(&Meta { files }).map_err(|e| Error::internal("order meta").caused_by(e))?;
        let mut hash = Xxh3::new();
        hash.update(MAGIC);
        hash.update(&tables);
        hash.update(&meta);
        let mut tail = tables;
        tail.extend_from_slice(&meta);
        tail.extend_from_slice(&(chunks as u64).to_le_bytes());
        tail.extend_from_slice(&(meta.len() as u64).to_le_bytes());
        tail.extend_from_slice(&hash.digest().to_le_bytes());
        tail.extend_from_slice(END);
        self.file.write_all_at(&tail, offset).map_err(at)?;
        self.file.sync_all().map_err(at)?;
        Ok(offset + tail.len() as u64)
    }
}

/// The order of one file while it is written.
pub struct FileOrder<'a> {
    writer: &'a OrderWriter,
    chunks: FileChunks,
    buffer: Vec<u8>,
}

impl FileOrder<'_> {
    /// Takes the hash of the next line and returns its position.
    #[inline]
    pub fn push(&mut self, hash: u128) -> Result<u32> {
        if self.buffer.is_empty() {
            let chunk = self.writer.chunks.fetch_add(1, Ordering::Relaxed);
            if chunk >= u32::MAX / CHUNK as u32 {
                return Err(Error::internal("a line order is limited to 2^32 lines"));
            }
            self.chunks.chunks.push(chunk);
        }
        let chunk = self.chunks.chunks.last().copied().unwrap_or_default();
        let position = chunk * CHUNK as u32 + (self.buffer.len() / 16) as u32;
        self.buffer.extend_from_slice(&hash.to_le_bytes());
        if self.buffer.len() == HASH_BYTES {
            self.flush()?;
        }
        Ok(position)
    }

    fn flush(&mut self) -> Result<()> {
        let Some(chunk) = self.chunks.chunks.last().copied().filter(|_| !self.buffer.is_empty()) else {
            return Ok(());
        };
        self.buffer.resize(HASH_BYTES, 0);
        let offset = HEADER + u64::from(chunk) * HASH_BYTES as u64;
        self.writer.file.write_all_at(&self.buffer, offset).map_err(|e| Error::io(&self.writer.path, e))?;
        let mut done = self.writer.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        done.hashes.push((chunk, xxh3_64(&self.buffer)));
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        let mut done = self.writer.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        done.files.push(self.chunks);
        Ok(())
    }
}

/// An open order.
pub struct Order {
    path: PathBuf,
    file: File,
    chunks: u32,
    tables: Vec<u8>,
    files: Vec<FileChunks>,
    /// For each chunk the next one of the same file.
    next: Vec<u32>,
}

impl Order {
    /// Opens the file and checks everything but its chunks, which are checked
    /// as they are read.
    pub fn open(path: &Path) -> Result<Self> {
        let Sealed { file, header, body_end, trailer } = Sealed::<8, TRAILER>::open(path)?;
        if &header != MAGIC || &trailer[24..] != END {
            return Err(invalid(path, "this is no line order of a known version, or it is cut short"));
        }
        let (chunks, meta_len) = (u64_at(&trailer, 0), u64_at(&trailer, 8));
        let bad = || invalid(path, "its parts do not add up to its size");
        if chunks > u64::from(u32::MAX) / CHUNK as u64 || meta_len > body_end {
            return Err(bad());
        }
        let tables_at = HEADER + chunks * (HASH_BYTES + ENTRY_BYTES) as u64;
        if tables_at + chunks * 16 + meta_len != body_end {
            return Err(bad());
        }
        let mut tables = vec![0; (chunks * 16 + meta_len) as usize];
        file.read_exact_at(&mut tables, tables_at).map_err(|e| Error::io(path, e))?;
        let mut hash = Xxh3::new();
        hash.update(&header);
        hash.update(&tables);
        if hash.digest() != u64_at(&trailer, 16) {
            return Err(invalid(path, "the checksum of its tables does not match"));
        }
        let meta: Meta = serde_json::from_slice(&tables[chunks as usize * 16..])
            .map_err(|e| invalid(path, format!("its meta can't be read: {e}")))?;
        let mut next = vec![u32::MAX; chunks as usize];
        for file in &meta.files {
            for pair in file.chunks.windows(2) {
                *next.get_mut(pair[0] as usize).ok_or_else(bad)? = pair[1];
            }
        }
        Ok(Self { path: path.into(), file, chunks: chunks as u32, tables, files: meta.files, next })
    }

    /// Number of positions, unused ones included.
    pub fn positions(&self) -> u32 {
        self.chunks * CHUNK as u32
    }

    /// The first chunk of a file of this path.
    pub fn first_chunk(&self, path: &str) -> Option<u32> {
        self.files.iter().find(|file| file.path == path)?.chunks.first().copied()
    }

    /// The chunk behind `chunk` in its file.
    pub fn next_chunk(&self, chunk: u32) -> Option<u32> {
        self.next.get(chunk as usize).copied().filter(|next| *next < self.chunks)
    }

    /// Reads and checks a chunk.
    pub fn read(&self, chunk: u32, into: &mut Chunk) -> Result<()> {
        self.read_entries(chunk, &mut into.entries)?;
        into.hashes.resize(HASH_BYTES, 0);
        let offset = HEADER + u64::from(chunk) * HASH_BYTES as u64;
        self.file.read_exact_at(&mut into.hashes, offset).map_err(|e| Error::io(&self.path, e))?;
        self.check(chunk as usize, &into.hashes, "hashes", chunk)
    }

    fn read_entries(&self, chunk: u32, into: &mut Vec<u8>) -> Result<()> {
        if chunk >= self.chunks {
            return Err(invalid(&self.path, format!("chunk {chunk} is not there")));
        }
        into.resize(ENTRY_BYTES, 0);
        let offset =
            HEADER + u64::from(self.chunks) * HASH_BYTES as u64 + u64::from(chunk) * ENTRY_BYTES as u64;
        self.file.read_exact_at(into, offset).map_err(|e| Error::io(&self.path, e))?;
        self.check(self.chunks as usize + chunk as usize, into, "entries", chunk)
    }

    fn check(&self, row: usize, bytes: &[u8], what: &str, chunk: u32) -> Result<()> {
        if xxh3_64(bytes) == u64_at(&self.tables, row * 8) {
            return Ok(());
        }
        Err(invalid(&self.path, format!("the checksum of the {what} of chunk {chunk} does not match")))
    }

    /// Hands out hash and entry number, or [`NO_POSITION`], of every position in turn.
    pub fn scan(&self, mut each: impl FnMut(u128, u32)) -> Result<()> {
        let mut chunk = Chunk::default();
        for number in 0..self.chunks {
            self.read(number, &mut chunk)?;
            for n in 0..CHUNK {
                each(u128_at(&chunk.hashes, n * 16), u32_at(&chunk.entries, n * 4));
            }
        }
        Ok(())
    }

    /// Hands out the entry numbers of some positions, those that have one, in
    /// order. `wanted` is asked for 64 positions at a time, and answers with a
    /// bit for each, the lowest for the first. Returns how many positions have
    /// an entry at all.
    pub fn scan_entries(
        &self,
        mut wanted: impl FnMut(usize) -> Result<u64>,
        mut each: impl FnMut(u32) -> Result<()>,
    ) -> Result<u64> {
        let mut bytes = Vec::new();
        let mut count = 0;
        for chunk in 0..self.chunks {
            self.read_entries(chunk, &mut bytes)?;
            count += bytes.chunks_exact(4).filter(|entry| *entry != NO_POSITION.to_le_bytes()).count() as u64;
            for (n, entries) in bytes.chunks_exact(64 * 4).enumerate() {
                let mut bits = wanted(chunk as usize * CHUNK / 64 + n)?;
                while bits != 0 {
                    let entry = u32_at(entries, bits.trailing_zeros() as usize * 4);
                    bits &= bits - 1;
                    if entry != NO_POSITION {
                        each(entry)?;
                    }
                }
            }
        }
        Ok(count)
    }
}

/// A chunk in memory.
#[derive(Default)]
pub struct Chunk {
    hashes: Vec<u8>,
    entries: Vec<u8>,
}

impl Chunk {
    /// Whether the line at place `n` of the chunk has this hash and an entry.
    #[inline]
    pub fn matches(&self, n: usize, hash: u128) -> bool {
        n < CHUNK && u128_at(&self.hashes, n * 16) == hash && u32_at(&self.entries, n * 4) != NO_POSITION
    }

    /// The base entry of place `n`, or [`NO_POSITION`].
    #[inline]
    pub fn entry(&self, n: usize) -> u32 {
        if n < CHUNK { u32_at(&self.entries, n * 4) } else { NO_POSITION }
    }

    /// Whether place `n` was used at all.
    #[inline]
    pub fn is_used(&self, n: usize) -> bool {
        n < CHUNK && u128_at(&self.hashes, n * 16) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path) {
        let writer = OrderWriter::create(path).unwrap();
        let mut first = writer.file("a");
        let mut second = writer.file("b");
        for n in 0..5000u128 {
            let position = first.push(n + 1).unwrap();
            assert_eq!(position, if n < 4096 { n as u32 } else { n as u32 + 4096 });
            if n == 10 {
                assert_eq!(second.push(77).unwrap(), 4096);
            }
        }
        first.finish().unwrap();
        second.finish().unwrap();
        let mut entries = vec![NO_POSITION; writer.positions() as usize];
        entries[0] = 5;
        entries[4096] = 6;
        writer.finish(&entries).unwrap();
    }

    #[test]
    fn reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.order");
        write(&path);
        let order = Order::open(&path).unwrap();
        let mut chunk = Chunk::default();
        assert_eq!(
            (order.first_chunk("a"), order.next_chunk(0), order.next_chunk(2)),
            (Some(0), Some(2), None)
        );
        order.read(0, &mut chunk).unwrap();
        assert!(chunk.matches(0, 1) && !chunk.matches(0, 2) && !chunk.matches(1, 2) && chunk.is_used(4095));
        order.read(order.first_chunk("b").unwrap(), &mut chunk).unwrap();
        assert!(chunk.matches(0, 77) && !chunk.is_used(1));
        let mut seen = Vec::new();
        let mut scan = |bits: u64| {
            let count = order.scan_entries(
                |_| Ok(bits),
                |entry| {
                    seen.push(entry);
                    Ok(())
                },
            );
            (count.unwrap(), std::mem::take(&mut seen))
        };
        assert_eq!(scan(u64::MAX), (2, vec![5, 6]));
        assert_eq!(scan(u64::MAX - 1), (2, vec![]));
    }

    #[test]
    fn a_flipped_byte_is_found_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.order");
        // One chunk, so that every byte can be tried; all chunks are alike.
        let writer = OrderWriter::create(&path).unwrap();
        let mut first = writer.file("a");
        for n in 0..5 {
            first.push(n + 1).unwrap();
        }
        first.finish().unwrap();
        let count = writer.positions() as usize;
        writer.finish(&vec![NO_POSITION; count]).unwrap();
        let read = || -> Result<()> {
            let order = Order::open(&path)?;
            let mut chunk = Chunk::default();
            (0..order.chunks).try_for_each(|n| order.read(n, &mut chunk))
        };
        read().unwrap();
        let good = std::fs::read(&path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        for (at, byte) in good.iter().enumerate() {
            file.write_all_at(&[byte ^ (1 << (at % 8))], at as u64).unwrap();
            assert!(read().is_err(), "byte {at}");
            file.write_all_at(&[*byte], at as u64).unwrap();
        }
        read().unwrap();
    }
}
