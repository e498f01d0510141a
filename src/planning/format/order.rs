//! The line order: the hash of the line that gave each key its value, in the
//! order in which the lines of a full batch came.
//!
//! Positions are handed out in chunks of 4096, and a chunk is one thread's: it
//! has lines of files that this one read one after the other. Unused positions,
//! and those whose line gave no key its value, have no entry.
//!
//! 16 positions are a run; a file begins with one, so that a small file takes
//! little more than its lines. A batch that has its lines as one behind the
//! other is recognised by one hash for all of them.
//!
//! ```text
//! header   magic "TGORDER2"
//! chunks   per chunk 256 × XXH3-128 of a run, 256 × u32 bytes of a run,
//!          4096 × XXH3-128 of the line
//! entries  per chunk 4096 × u32: number of the entry in the base layer, or all ones
//! tables   xxh3 of each chunk's runs u64 …, of its line hashes u64 …, of its entries u64 …
//! meta     JSON: which chunks have lines of which file, in order, and at which place of the first of them these
//!          begin (`at`; 0 where it is missing); which lines have members that the contract does not name
//!          (`unknown`, per chunk its bits, 64 a word; may be missing)
//! trailer  chunks u64, meta length u64, xxh3 of header + tables + meta u64, "TGORDEND"
//! ```
//!
//! The hash of a run is over its lines, each with a line feed behind it. One
//! of 0 bytes can't be taken at once: it is not full, or too long, or has a
//! line that is. Nor can one that has a line without an entry. `TGORDER1` had no runs, and is read as it was.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::block_file::invalid;
use super::bytes::{u32_at, u64_at, u128_at};
use super::entry::NO_POSITION;
use super::sealed::Sealed;
use super::written::Written;
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"TGORDER2";
/// Of the version before, without runs.
const MAGIC_1: &[u8; 8] = b"TGORDER1";
const END: &[u8; 8] = b"TGORDEND";
const HEADER: u64 = 8;
const TRAILER: usize = 32;
/// Positions of a chunk.
pub const CHUNK: usize = 4096;
/// Positions of a run.
pub const RUN: usize = 16;
const RUNS: usize = CHUNK / RUN;
/// Most bytes of a run that is taken at once: it has to be in memory as a whole.
pub const MAX_RUN: usize = 64 << 10;
const RUN_BYTES: usize = RUNS * 20;
const HASH_BYTES: usize = CHUNK * 16;
const ENTRY_BYTES: usize = CHUNK * 4;
/// Words of a bit for each position of a chunk.
const WORDS: usize = CHUNK / 64;

/// The chunks of one file of the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileChunks {
    /// The file's path in the batch folder.
    path: String,
    /// Those with lines of it, in the order of these.
    chunks: Vec<u32>,
    /// The place of its first line in the first of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    at: u32,
}

/// Lines of a chunk.
#[derive(Debug, Serialize, Deserialize)]
struct Marks {
    chunk: u32,
    /// A bit for each.
    words: Vec<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Meta {
    files: Vec<FileChunks>,
    /// Those that have members which the contract does not name: whoever takes
    /// them without parsing them has to tell of that too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<Marks>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Writes an order while the files of a batch are read, each by one thread.
/// A position takes memory until it is finished: there are as many as lines,
/// up to 15 more a file, and a chunk more a thread.
pub struct OrderWriter {
    path: PathBuf,
    file: File,
    chunks: AtomicU32,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    /// Number of the chunk, hash of its runs and of its line hashes.
    chunks: Vec<(u32, u64, u64)>,
    meta: Meta,
}

impl OrderWriter {
    /// Creates the file; one of that name is overwritten.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|e| Error::io(path, e))?;
        file.write_all_at(MAGIC, 0).map_err(|e| Error::io(path, e))?;
        Ok(Self { path: path.into(), file, chunks: AtomicU32::new(0), done: Mutex::default() })
    }

    /// Begins the part of one thread.
    pub fn thread(&self) -> ThreadOrder<'_> {
        ThreadOrder {
            writer: self,
            file: FileChunks { path: String::new(), chunks: Vec::new(), at: 0 },
            chunk: 0,
            hashes: Vec::with_capacity(HASH_BYTES),
            runs: Vec::with_capacity(RUNS),
            run: None,
            unknown: [0; WORDS],
        }
    }

    fn lock(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Positions handed out so far, those of begun chunks included.
    pub fn positions(&self) -> u32 {
        self.chunks.load(Ordering::Relaxed).saturating_mul(CHUNK as u32)
    }

    /// Writes the entries, tables and trailer. `entries` has the number of the
    /// base entry of each position, or [`NO_POSITION`].
    pub fn finish(self, entries: &[u32]) -> Result<Written> {
        let chunks = self.chunks.into_inner() as usize;
        let Done { chunks: mut done, mut meta } =
            self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_unstable();
        meta.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        meta.unknown.sort_unstable_by_key(|marks| marks.chunk);
        if done.len() != chunks || entries.len() != chunks * CHUNK {
            return Err(Error::internal("a line order is not whole"));
        }
        let at = |e| Error::io(&self.path, e);
        let mut offset = HEADER + (chunks * (RUN_BYTES + HASH_BYTES)) as u64;
        let runs = done.iter().flat_map(|(_, runs, _)| runs.to_le_bytes());
        let mut tables: Vec<u8> =
            runs.chain(done.iter().flat_map(|(.., hashes)| hashes.to_le_bytes())).collect();
        for chunk in entries.chunks_exact(CHUNK) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|n| n.to_le_bytes()).collect();
            tables.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
            self.file.write_all_at(&bytes, offset).map_err(at)?;
            offset += bytes.len() as u64;
        }
        let meta = serde_json::to_vec(&meta).map_err(|e| Error::internal("order meta").caused_by(e))?;
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
        Ok(Written::new(self.file, self.path))
    }
}

/// The order of the files that one thread reads, while it is written.
pub struct ThreadOrder<'a> {
    writer: &'a OrderWriter,
    /// The file that is being read.
    file: FileChunks,
    /// The chunk that is being filled, if `hashes` is not empty.
    chunk: u32,
    /// Hashes of its lines.
    hashes: Vec<u8>,
    /// Hash and bytes of its full runs.
    runs: Vec<(u128, u32)>,
    /// The lines of the run that is being filled; `None` when it can't be
    /// taken at once.
    run: Option<Vec<u8>>,
    /// Lines of the chunk that have members which the contract does not name.
    unknown: [u64; WORDS],
}

impl ThreadOrder<'_> {
    /// Begins a file, with a run.
    pub fn begin(&mut self, path: &str) {
        self.file = FileChunks { path: path.into(), chunks: Vec::new(), at: 0 };
        let begun = self.hashes.len().next_multiple_of(RUN * 16);
        if begun > self.hashes.len() {
            self.hashes.resize(begun, 0);
            self.runs.push((0, 0));
        }
        self.run.get_or_insert_default().clear();
    }

    /// Takes the hash of the next line, and the line, and returns its position.
    #[inline]
    pub fn push(&mut self, hash: u128, line: &[u8]) -> Result<u32> {
        if let Some(run) = self.run.as_mut().filter(|run| run.len() + line.len() < MAX_RUN) {
            run.extend_from_slice(line);
            run.push(b'\n');
        } else {
            self.run = None;
        }
        self.place(hash)
    }

    /// Takes a line that can't be read.
    pub fn push_bad(&mut self) -> Result<()> {
        self.run = None;
        self.place(0).map(drop)
    }

    /// The line that was taken last has members that the contract does not name.
    pub fn has_unknown_members(&mut self) {
        let place = (self.hashes.len() / 16).saturating_sub(1);
        self.unknown[place / 64] |= 1 << (place % 64);
    }

    fn place(&mut self, hash: u128) -> Result<u32> {
        // Not before: something may be said of its last line.
        if self.hashes.len() == HASH_BYTES {
            self.flush()?;
        }
        if self.hashes.is_empty() {
            self.chunk = self.writer.chunks.fetch_add(1, Ordering::Relaxed);
            if self.chunk >= u32::MAX / CHUNK as u32 {
                return Err(Error::internal("a line order is limited to 2^32 lines"));
            }
        }
        let at = (self.hashes.len() / 16) as u32;
        if self.file.chunks.is_empty() {
            self.file.at = at;
        }
        if self.file.chunks.last() != Some(&self.chunk) {
            self.file.chunks.push(self.chunk);
        }
        self.hashes.extend_from_slice(&hash.to_le_bytes());
        if self.hashes.len().is_multiple_of(RUN * 16) {
            let run = self.run.as_ref().map_or((0, 0), |run| (run_hash(run), run.len() as u32));
            self.runs.push(run);
            self.run.get_or_insert_default().clear();
        }
        Ok(self.chunk * CHUNK as u32 + at)
    }

    fn flush(&mut self) -> Result<()> {
        if self.hashes.is_empty() {
            return Ok(());
        }
        let chunk = self.chunk;
        self.hashes.resize(HASH_BYTES, 0);
        self.runs.resize(RUNS, (0, 0));
        let mut runs: Vec<u8> = self.runs.iter().flat_map(|(hash, _)| hash.to_le_bytes()).collect();
        runs.extend(self.runs.iter().flat_map(|(_, bytes)| bytes.to_le_bytes()));
        let at = |e| Error::io(&self.writer.path, e);
        let offset = HEADER + u64::from(chunk) * (RUN_BYTES + HASH_BYTES) as u64;
        self.writer.file.write_all_at(&runs, offset).map_err(at)?;
        self.writer.file.write_all_at(&self.hashes, offset + RUN_BYTES as u64).map_err(at)?;
        let mut done = self.writer.lock();
        done.chunks.push((chunk, xxh3_64(&runs), xxh3_64(&self.hashes)));
        let words = std::mem::replace(&mut self.unknown, [0; WORDS]);
        if words != [0; WORDS] {
            done.meta.unknown.push(Marks { chunk, words: words.into() });
        }
        self.hashes.clear();
        self.runs.clear();
        Ok(())
    }

    /// Ends the file.
    pub fn end_of_file(&mut self) {
        let file = FileChunks { path: String::new(), chunks: Vec::new(), at: 0 };
        self.writer.lock().meta.files.push(std::mem::replace(&mut self.file, file));
    }

    /// Ends the thread's part.
    pub fn finish(mut self) -> Result<()> {
        self.flush()
    }
}

/// The hash of a run: of its lines, each with a line feed behind it.
#[inline]
pub fn run_hash(lines: &[u8]) -> u128 {
    XxHash3_128::oneshot(lines)
}

/// An open order.
pub struct Order {
    path: PathBuf,
    file: File,
    chunks: u32,
    has_runs: bool,
    tables: Vec<u8>,
    /// Where the lines of each file begin.
    files: HashMap<String, Begin>,
    /// For each chunk the next one of the same file.
    next: Vec<u32>,
    /// A bit for each position whose line has members that the contract does
    /// not name; empty when none has.
    unknown: Vec<u64>,
}

/// Where the lines of a file begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The chunk.
    pub chunk: u32,
    /// The place in it.
    pub at: usize,
}

impl Order {
    /// Opens the file and checks everything but its chunks, which are checked
    /// as they are read.
    pub fn open(path: &Path) -> Result<Self> {
        let sealed = Sealed::<8, TRAILER>::open(path)?;
        let has_runs = &sealed.header == MAGIC;
        if !(has_runs || &sealed.header == MAGIC_1) || &sealed.trailer[24..] != END {
            return Err(sealed.unknown(path, MAGIC, "line order"));
        }
        let Sealed { file, header, body_end, trailer } = sealed;
        let (chunks, meta_len) = (u64_at(&trailer, 0), u64_at(&trailer, 8));
        let bad = || invalid(path, "its parts do not add up to its size");
        if chunks > u64::from(u32::MAX) / CHUNK as u64 || meta_len > body_end {
            return Err(bad());
        }
        let run_bytes = if has_runs { RUN_BYTES } else { 0 };
        let rows = if has_runs { 3 } else { 2 };
        let tables_at = HEADER + chunks * (run_bytes + HASH_BYTES + ENTRY_BYTES) as u64;
        if tables_at + chunks * rows * 8 + meta_len != body_end {
            return Err(bad());
        }
        let mut tables = vec![0; (chunks * rows * 8 + meta_len) as usize];
        file.read_exact_at(&mut tables, tables_at).map_err(|e| Error::io(path, e))?;
        let mut hash = Xxh3::new();
        hash.update(&header);
        hash.update(&tables);
        if hash.digest() != u64_at(&trailer, 16) {
            return Err(invalid(path, "the checksum of its tables does not match"));
        }
        let meta: Meta = serde_json::from_slice(&tables[(chunks * rows * 8) as usize..])
            .map_err(|e| invalid(path, format!("its meta can't be read: {e}")))?;
        let mut next = vec![u32::MAX; chunks as usize];
        let mut files = HashMap::with_capacity(meta.files.len());
        for file in meta.files {
            for pair in file.chunks.windows(2) {
                *next.get_mut(pair[0] as usize).ok_or_else(bad)? = pair[1];
            }
            if let Some(&chunk) = file.chunks.first() {
                files.insert(file.path, Begin { chunk, at: file.at as usize });
            }
        }
        let mut unknown = vec![0; if meta.unknown.is_empty() { 0 } else { chunks as usize * WORDS }];
        for Marks { chunk, words } in meta.unknown {
            let from = chunk as usize * WORDS;
            let of_chunk = unknown.get_mut(from..from + words.len().min(WORDS)).ok_or_else(bad)?;
            of_chunk.copy_from_slice(&words[..of_chunk.len()]);
        }
        Ok(Self { path: path.into(), file, chunks: chunks as u32, has_runs, tables, files, next, unknown })
    }

    /// Number of positions, unused ones included.
    pub fn positions(&self) -> u32 {
        self.chunks * CHUNK as u32
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Where the lines of a file of this path begin.
    pub fn begin(&self, path: &str) -> Option<Begin> {
        self.files.get(path).copied()
    }

    /// How many of 64 positions' lines, of those in `mask`, have members that the
    /// contract does not name.
    #[inline]
    pub fn unknown_members(&self, word: usize, mask: u64) -> u64 {
        self.unknown.get(word).map_or(0, |bits| u64::from((bits & mask).count_ones()))
    }

    /// The chunk behind `chunk` in its file.
    pub fn next_chunk(&self, chunk: u32) -> Option<u32> {
        self.next.get(chunk as usize).copied().filter(|next| *next < self.chunks)
    }

    /// Where a chunk's parts are: its runs, its line hashes and its entries.
    fn places(&self, chunk: u32) -> [u64; 3] {
        let run_bytes = if self.has_runs { RUN_BYTES as u64 } else { 0 };
        let block = run_bytes + HASH_BYTES as u64;
        let runs = HEADER + u64::from(chunk) * block;
        let entries = HEADER + u64::from(self.chunks) * block + u64::from(chunk) * ENTRY_BYTES as u64;
        [runs, runs + run_bytes, entries]
    }

    /// Reads and checks the runs and entries of a chunk. The hashes of its
    /// lines are read by [`Self::read_hashes`], when they are needed.
    pub fn read(&self, chunk: u32, into: &mut Chunk) -> Result<()> {
        self.read_entries(chunk, &mut into.entries)?;
        into.hashes.clear();
        into.runs.clear();
        if self.has_runs {
            into.runs.resize(RUN_BYTES, 0);
            self.fill(&mut into.runs, self.places(chunk)[0])?;
            self.check(chunk as usize, &into.runs, "runs", chunk)?;
        }
        Ok(())
    }

    /// Reads and checks the line hashes of a chunk that [`Self::read`] has read.
    pub fn read_hashes(&self, chunk: u32, into: &mut Chunk) -> Result<()> {
        into.hashes.resize(HASH_BYTES, 0);
        self.fill(&mut into.hashes, self.places(chunk)[1])?;
        let row = if self.has_runs { self.chunks + chunk } else { chunk };
        self.check(row as usize, &into.hashes, "hashes", chunk)
    }

    fn fill(&self, into: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(into, offset).map_err(|e| Error::io(&self.path, e))
    }

    fn read_entries(&self, chunk: u32, into: &mut Vec<u8>) -> Result<()> {
        if chunk >= self.chunks {
            return Err(invalid(&self.path, format!("chunk {chunk} is not there")));
        }
        into.resize(ENTRY_BYTES, 0);
        self.fill(into, self.places(chunk)[2])?;
        let row = self.chunks * if self.has_runs { 2 } else { 1 } + chunk;
        self.check(row as usize, into, "entries", chunk)
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
            self.read_hashes(number, &mut chunk)?;
            for n in 0..CHUNK {
                each(u128_at(&chunk.hashes, n * 16), u32_at(&chunk.entries, n * 4));
            }
        }
        Ok(())
    }

    /// Hands out the entry numbers of some positions of these chunks, those that
    /// have one, in order. `wanted` is asked for 64 positions at a time, and answers with a
    /// bit for each, the lowest for the first. Returns how many positions have
    /// an entry at all.
    pub fn scan_entries(
        &self,
        chunks: Range<u32>,
        mut wanted: impl FnMut(usize) -> Result<u64>,
        mut each: impl FnMut(u32) -> Result<()>,
    ) -> Result<u64> {
        let mut bytes = Vec::new();
        let mut count = 0;
        for chunk in chunks {
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
    /// Empty until they are needed.
    hashes: Vec<u8>,
    entries: Vec<u8>,
    /// Empty where the order has none.
    runs: Vec<u8>,
}

impl Chunk {
    /// Whether the hashes of its lines are read.
    #[inline]
    pub fn has_hashes(&self) -> bool {
        !self.hashes.is_empty()
    }

    /// Hash and bytes of the run that begins at place `n`; `None` when none
    /// does, or it can't be taken at once.
    #[inline]
    pub fn run(&self, n: usize) -> Option<(u128, usize)> {
        if n >= CHUNK || !n.is_multiple_of(RUN) {
            return None;
        }
        let bytes = u32_at(&self.runs, RUNS * 16 + n / RUN * 4) as usize;
        (bytes > 0).then(|| (u128_at(&self.runs, n / RUN * 16), bytes))
    }

    /// Whether every place of the run at `n` has an entry, and `is` holds for each.
    #[inline]
    pub fn run_entries(&self, n: usize, is: impl Fn(u32) -> bool) -> bool {
        let entries = self.entries.get(n * 4..(n + RUN) * 4).unwrap_or_default();
        let number = |at: &[u8]| u32_at(at, 0);
        !entries.is_empty() && entries.chunks_exact(4).map(number).all(|n| n != NO_POSITION && is(n))
    }

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
        let (mut first, mut second) = (writer.thread(), writer.thread());
        first.begin("a");
        second.begin("b");
        for n in 0..5000u128 {
            let position = first.push(n + 1, n.to_string().as_bytes()).unwrap();
            assert_eq!(position, if n < 4096 { n as u32 } else { n as u32 + 4096 });
            if n == 10 {
                assert_eq!(second.push(77, b"x").unwrap(), 4096);
            }
            if [4094, 4095, 4100].contains(&n) {
                first.has_unknown_members();
            }
        }
        for thread in [&mut first, &mut second] {
            thread.end_of_file();
        }
        // Others behind them in their chunks.
        first.begin("c");
        assert_eq!(first.push(5001, b"y").unwrap(), 8192 + 904 + 8);
        first.end_of_file();
        second.begin("none");
        second.end_of_file();
        first.finish().unwrap();
        second.finish().unwrap();
        let mut entries = vec![NO_POSITION; writer.positions() as usize];
        entries[0] = 5;
        entries[4096] = 6;
        writer.finish(&entries).unwrap().sync().unwrap();
    }

    #[test]
    fn reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.order");
        write(&path);
        let order = Order::open(&path).unwrap();
        let mut chunk = Chunk::default();
        let begin = |path| order.begin(path).map(|begin| (begin.chunk, begin.at));
        assert_eq!((begin("a"), order.next_chunk(0), order.next_chunk(2)), (Some((0, 0)), Some(2), None));
        assert_eq!((begin("b"), begin("c"), begin("none")), (Some((1, 0)), Some((2, 912)), None));
        let unknown = [63, 64, 128].map(|word| order.unknown_members(word, u64::MAX));
        assert_eq!((unknown, order.unknown_members(63, u64::MAX >> 1)), ([2, 0, 1], 1));
        order.read(0, &mut chunk).unwrap();
        assert!(!chunk.has_hashes());
        let lines: Vec<u8> = (32..48).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        assert_eq!(chunk.run(32), Some((run_hash(&lines), 48)));
        assert_eq!(chunk.run(33), None);
        order.read_hashes(0, &mut chunk).unwrap();
        assert!(chunk.matches(0, 1) && !chunk.matches(0, 2) && !chunk.matches(1, 2) && chunk.is_used(4095));
        order.read(1, &mut chunk).unwrap();
        assert_eq!(chunk.run(0), None, "a run that is not full");
        order.read_hashes(1, &mut chunk).unwrap();
        assert!(chunk.matches(0, 77) && !chunk.is_used(1));
        let mut seen = Vec::new();
        let mut scan = |bits: u64| {
            let count = order.scan_entries(
                0..order.chunks(),
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
        let mut first = writer.thread();
        first.begin("a");
        for n in 0..20 {
            first.push(n + 1, b"line").unwrap();
        }
        first.end_of_file();
        first.finish().unwrap();
        let count = writer.positions() as usize;
        writer.finish(&vec![NO_POSITION; count]).unwrap().sync().unwrap();
        let read = || -> Result<()> {
            let order = Order::open(&path)?;
            let mut chunk = Chunk::default();
            (0..order.chunks).try_for_each(|n| {
                order.read(n, &mut chunk)?;
                order.read_hashes(n, &mut chunk)
            })
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
