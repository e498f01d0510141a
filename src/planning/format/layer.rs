//! A layer of a snapshot's index: entries sorted by key, and for its
//! relationships an index from each end to them.
//!
//! ```text
//! header   magic "TGLAYER1"
//! entries  blocks of 32 × 48 bytes, the last one shorter
//! ends     blocks of 256 × 16 bytes: upper half of the end's key hash u64, entry number u32, 0 from / 1 to u32
//! tables   first key of each entry block u128 …, xxh3 of each entry block u64 …,
//!          first end of each end block u64 …, xxh3 of each end block u64 …
//! meta     JSON: packs, stamps, comparison fingerprint
//! trailer  entries u64, ends u64, meta length u64, xxh3 of header + tables + meta u64, "TGLAYEND"
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::block_file::invalid;
use super::bytes::{u32_at, u64_at, u128_at};
use super::entry::{ENTRY, Entry};
use super::sealed::Sealed;
use super::written::Written;
use crate::domain::key::KeyHash;
use crate::domain::stamp::Stamp;
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"TGLAYER1";
const END: &[u8; 8] = b"TGLAYEND";
const HEADER: u64 = 8;
const TRAILER: usize = 40;
/// Entries of a block.
pub const BLOCK: usize = 32;
const BLOCK_BYTES: usize = BLOCK * ENTRY;
const END_ROW: usize = 16;
const END_BLOCK: usize = 256;
/// Blocks behind the last one that are looked at before all are.
const NEAR: usize = 8;

/// A row of a layer's stamp table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StampInfo {
    /// The stamp of the batch that asserted the key last.
    pub stamp: Stamp,
    /// The workflow that wrote that batch.
    pub workflow: String,
}

/// What a layer says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerMeta {
    /// Names of the packs that its entries refer to, by number.
    pub packs: Vec<String>,
    /// Stamps that its entries refer to, by number.
    pub stamps: Vec<StampInfo>,
    /// Fingerprint of the settings that its `canon` hashes were made under.
    pub comparison: u64,
    /// Whether an entry above the base has its key's position in the base's
    /// line order wherever there is one. Layers of early versions forgot it of
    /// keys that had been gone for a while.
    #[serde(default)]
    pub knows_positions: bool,
}

/// One end of a relationship in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndRow {
    /// Upper half of the hash of the end's key.
    pub end: u64,
    /// Number of the relationship's entry in this layer.
    pub entry: u32,
    /// Whether the end is the `to` end.
    pub to: bool,
}

/// The part of an entity's key hash that the end index is sorted by.
pub fn end_prefix(entity: KeyHash) -> u64 {
    (entity.0 >> 64) as u64
}

/// Writes a layer, entries first, then ends.
pub struct LayerWriter {
    path: PathBuf,
    out: BufWriter<File>,
    entries: u64,
    ends: u64,
    block: Vec<u8>,
    first_keys: Vec<u8>,
    hashes: Vec<u8>,
    first_ends: Vec<u8>,
    end_hashes: Vec<u8>,
    last: Option<KeyHash>,
}

impl LayerWriter {
    /// Creates the file; one of that name is overwritten.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|e| Error::io(path, e))?;
        let mut out = BufWriter::with_capacity(1 << 18, file);
        out.write_all(MAGIC).map_err(|e| Error::io(path, e))?;
        Ok(Self {
            path: path.into(),
            out,
            entries: 0,
            ends: 0,
            block: Vec::with_capacity(BLOCK_BYTES),
            first_keys: Vec::new(),
            hashes: Vec::new(),
            first_ends: Vec::new(),
            end_hashes: Vec::new(),
            last: None,
        })
    }

    /// Appends an entry and returns its number. Keys must rise.
    pub fn push(&mut self, entry: &Entry) -> Result<u32> {
        if self.last.is_some_and(|last| last >= entry.key) || self.ends > 0 {
            return Err(Error::internal("entries of a layer must come sorted by key, before its ends"));
        }
        self.last = Some(entry.key);
        if self.block.is_empty() {
            self.first_keys.extend_from_slice(&entry.key.0.to_le_bytes());
        }
        let start = self.block.len();
        self.block.resize(start + ENTRY, 0);
        entry.write(&mut self.block[start..]);
        if self.block.len() == BLOCK_BYTES {
            self.flush_entries()?;
        }
        let number =
            u32::try_from(self.entries).map_err(|_| Error::internal("a layer is limited to 2^32 entries"))?;
        self.entries += 1;
        Ok(number)
    }

    /// Number of entries so far.
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether no entry was written.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn flush_entries(&mut self) -> Result<()> {
        if !self.block.is_empty() {
            self.hashes.extend_from_slice(&xxh3_64(&self.block).to_le_bytes());
            self.out.write_all(&self.block).map_err(|e| Error::io(&self.path, e))?;
            self.block.clear();
        }
        Ok(())
    }

    fn flush_ends(&mut self) -> Result<()> {
        if !self.block.is_empty() {
            self.end_hashes.extend_from_slice(&xxh3_64(&self.block).to_le_bytes());
            self.out.write_all(&self.block).map_err(|e| Error::io(&self.path, e))?;
            self.block.clear();
        }
        Ok(())
    }

    /// Appends an end, after all entries, in rising order.
    pub fn push_end(&mut self, row: EndRow) -> Result<()> {
        if self.ends == 0 {
            self.flush_entries()?;
        }
        if self.block.is_empty() {
            self.first_ends.extend_from_slice(&row.end.to_le_bytes());
        }
        self.block.extend_from_slice(&row.end.to_le_bytes());
        self.block.extend_from_slice(&row.entry.to_le_bytes());
        self.block.extend_from_slice(&u32::from(row.to).to_le_bytes());
        self.ends += 1;
        if self.block.len() == END_BLOCK * END_ROW { self.flush_ends() } else { Ok(()) }
    }

    /// Writes tables, meta and trailer.
    pub fn finish(mut self, meta: &LayerMeta) -> Result<Written> {
        if self.ends == 0 {
            self.flush_entries()?;
        } else {
            self.flush_ends()?;
        }
        let meta = serde_json::to_vec(meta).map_err(|e| Error::internal("layer meta").caused_by(e))?;
        let tables = [&self.first_keys[..], &self.hashes, &self.first_ends, &self.end_hashes, &meta];
        let mut hash = Xxh3::new();
        hash.update(MAGIC);
        let at = |e| Error::io(&self.path, e);
        for table in tables {
            hash.update(table);
            self.out.write_all(table).map_err(at)?;
        }
        let mut trailer = [0; TRAILER];
        trailer[..8].copy_from_slice(&self.entries.to_le_bytes());
        trailer[8..16].copy_from_slice(&self.ends.to_le_bytes());
        trailer[16..24].copy_from_slice(&(meta.len() as u64).to_le_bytes());
        trailer[24..32].copy_from_slice(&hash.digest().to_le_bytes());
        trailer[32..].copy_from_slice(END);
        self.out.write_all(&trailer).map_err(at)?;
        let file = self.out.into_inner().map_err(|e| Error::io(&self.path, e.into_error()))?;
        Ok(Written::new(file, self.path))
    }
}

/// How many bytes of blocks the layers of a run may keep in memory together.
pub struct CacheBudget(AtomicI64);

impl CacheBudget {
    /// A budget in bytes.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(bytes as i64)))
    }

    fn take(&self, bytes: usize) -> bool {
        if self.0.fetch_sub(bytes as i64, Ordering::Relaxed) >= bytes as i64 {
            return true;
        }
        self.0.fetch_add(bytes as i64, Ordering::Relaxed);
        false
    }
}

/// Room for a block that found none in the cache; one per thread.
#[derive(Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    holds: Option<(PathBuf, usize)>,
    /// The block of the last key that was looked up.
    near: usize,
}

/// An open layer.
pub struct Layer {
    path: PathBuf,
    file: File,
    entries: u64,
    ends: u64,
    first_keys: Vec<u128>,
    hashes: Vec<u64>,
    first_ends: Vec<u64>,
    end_hashes: Vec<u64>,
    meta: LayerMeta,
    blocks: Vec<OnceLock<Box<[u8]>>>,
    budget: Arc<CacheBudget>,
}

impl Drop for Layer {
    fn drop(&mut self) {
        let held: usize = self.blocks.iter().filter_map(OnceLock::get).map(|b| b.len()).sum();
        self.budget.0.fetch_add(held as i64, Ordering::Relaxed);
    }
}

impl Layer {
    /// Opens the file and checks everything but its blocks, which are checked
    /// as they are read.
    pub fn open(path: &Path, budget: &Arc<CacheBudget>) -> Result<Self> {
        let sealed = Sealed::<8, TRAILER>::open(path)?;
        if &sealed.header != MAGIC || &sealed.trailer[32..] != END {
            return Err(sealed.unknown(path, MAGIC, "snapshot layer"));
        }
        let Sealed { file, header, body_end, trailer } = sealed;
        let (entries, ends, meta_len) = (u64_at(&trailer, 0), u64_at(&trailer, 8), u64_at(&trailer, 16));
        let bad = || invalid(path, "its parts do not add up to its size");
        if entries > u64::from(u32::MAX) || ends > 2 * u64::from(u32::MAX) || meta_len > body_end {
            return Err(bad());
        }
        let (blocks, end_blocks) = (entries.div_ceil(BLOCK as u64), ends.div_ceil(END_BLOCK as u64));
        let tables_at = HEADER + entries * ENTRY as u64 + ends * END_ROW as u64;
        let tables_len = blocks * 24 + end_blocks * 16 + meta_len;
        if tables_at + tables_len != body_end {
            return Err(bad());
        }
        let mut tables = vec![0; tables_len as usize];
        file.read_exact_at(&mut tables, tables_at).map_err(|e| Error::io(path, e))?;
        let mut hash = Xxh3::new();
        hash.update(&header);
        hash.update(&tables);
        if hash.digest() != u64_at(&trailer, 24) {
            return Err(invalid(path, "the checksum of its tables does not match"));
        }
        let (keys, rest) = tables.split_at(blocks as usize * 16);
        let (hashes, rest) = rest.split_at(blocks as usize * 8);
        let (first_ends, rest) = rest.split_at(end_blocks as usize * 8);
        let (end_hashes, meta) = rest.split_at(end_blocks as usize * 8);
        let words = |bytes: &[u8]| (0..bytes.len() / 8).map(|n| u64_at(bytes, n * 8)).collect::<Vec<_>>();
        Ok(Self {
            entries,
            ends,
            first_keys: (0..blocks as usize).map(|n| u128_at(keys, n * 16)).collect(),
            hashes: words(hashes),
            first_ends: words(first_ends),
            end_hashes: words(end_hashes),
            meta: serde_json::from_slice(meta)
                .map_err(|e| invalid(path, format!("its meta can't be read: {e}")))?,
            blocks: (0..blocks).map(|_| OnceLock::new()).collect(),
            budget: Arc::clone(budget),
            path: path.into(),
            file,
        })
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether the layer has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Number of ends.
    pub fn ends(&self) -> u64 {
        self.ends
    }

    /// What the layer says of itself.
    pub fn meta(&self) -> &LayerMeta {
        &self.meta
    }

    /// The stamp of one of its entries.
    pub fn stamp(&self, entry: &Entry) -> Result<&StampInfo> {
        self.meta
            .stamps
            .get(entry.stamp as usize)
            .ok_or_else(|| invalid(&self.path, format!("stamp {} is not in its table", entry.stamp)))
    }

    fn load(&self, block: usize, out: &mut Vec<u8>) -> Result<()> {
        let from = block as u64 * BLOCK_BYTES as u64;
        let len = (self.entries * ENTRY as u64 - from).min(BLOCK_BYTES as u64);
        out.resize(len as usize, 0);
        self.file.read_exact_at(out, HEADER + from).map_err(|e| Error::io(&self.path, e))?;
        if xxh3_64(out) != self.hashes[block] {
            return Err(invalid(&self.path, format!("the checksum of entry block {block} does not match")));
        }
        Ok(())
    }

    fn block<'a>(&'a self, block: usize, scratch: &'a mut Scratch) -> Result<&'a [u8]> {
        if let Some(bytes) = self.blocks[block].get() {
            return Ok(bytes);
        }
        if self.budget.take(BLOCK_BYTES) {
            let mut bytes = Vec::new();
            self.load(block, &mut bytes)?;
            return Ok(self.blocks[block].get_or_init(|| bytes.into_boxed_slice()));
        }
        let held = scratch.holds.as_ref().is_some_and(|(path, n)| *n == block && *path == self.path);
        if !held {
            scratch.holds = None;
            self.load(block, &mut scratch.bytes)?;
            scratch.holds = Some((self.path.clone(), block));
        }
        Ok(&scratch.bytes)
    }

    /// The entry of a key and its number.
    pub fn lookup(&self, key: KeyHash, scratch: &mut Scratch) -> Result<Option<(u32, Entry)>> {
        // Keys often come in rising order: then it is one of the next blocks.
        let near = self.first_keys.get(scratch.near..).unwrap_or_default();
        let near = &near[..near.len().min(NEAR)];
        let behind = match near.iter().position(|first| *first > key.0) {
            Some(behind) if behind > 0 => scratch.near + behind,
            Some(_) | None => self.first_keys.partition_point(|first| *first <= key.0),
        };
        let Some(block) = behind.checked_sub(1) else { return Ok(None) };
        scratch.near = block;
        let bytes = self.block(block, scratch)?;
        let count = bytes.len() / ENTRY;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = (low + high) / 2;
            if u128_at(bytes, middle * ENTRY) < key.0 { low = middle + 1 } else { high = middle }
        }
        if low < count && u128_at(bytes, low * ENTRY) == key.0 {
            let entry = Entry::read(&bytes[low * ENTRY..]);
            return Ok(Some(((block * BLOCK + low) as u32, entry)));
        }
        Ok(None)
    }

    /// How many of its entries are entities: they come first.
    pub fn entities(&self, scratch: &mut Scratch) -> Result<u32> {
        let first = KeyHash::FIRST_RELATIONSHIP.0;
        let block = match self.first_keys.partition_point(|key| *key < first) {
            0 => return Ok(0),
            behind => behind - 1,
        };
        let bytes = self.block(block, scratch)?;
        let within = bytes.chunks_exact(ENTRY).filter(|entry| u128_at(entry, 0) < first).count();
        Ok((block * BLOCK + within) as u32)
    }

    /// The entry of a number.
    pub fn get(&self, number: u32, scratch: &mut Scratch) -> Result<Entry> {
        if u64::from(number) >= self.entries {
            return Err(invalid(&self.path, format!("entry {number} is not there")));
        }
        let bytes = self.block(number as usize / BLOCK, scratch)?;
        Ok(Entry::read(&bytes[number as usize % BLOCK * ENTRY..]))
    }

    /// All entries in order of their keys, read past the cache.
    pub fn scan(&self) -> Scan<'_> {
        Scan { layer: self, block: 0, at: 0, bytes: Vec::new() }
    }

    /// The relationships that have `entity` for an end: entry number and
    /// whether it is the `to` end. A few may be of another entity whose hash
    /// begins alike: look at the relationship to be sure.
    pub fn ends_of(&self, entity: KeyHash) -> Result<Vec<(u32, bool)>> {
        let wanted = end_prefix(entity);
        let mut found = Vec::new();
        let mut block = self.first_ends.partition_point(|first| *first < wanted).saturating_sub(1);
        let mut bytes = Vec::new();
        while block < self.first_ends.len() && self.first_ends[block] <= wanted {
            self.load_ends(block, &mut bytes)?;
            for row in bytes.chunks_exact(END_ROW) {
                if u64_at(row, 0) == wanted {
                    found.push((u32_at(row, 8), u32_at(row, 12) == 1));
                }
            }
            block += 1;
        }
        Ok(found)
    }

    /// All ends in order.
    pub fn scan_ends(&self, mut each: impl FnMut(EndRow) -> Result<()>) -> Result<()> {
        let mut bytes = Vec::new();
        for block in 0..self.first_ends.len() {
            self.load_ends(block, &mut bytes)?;
            for row in bytes.chunks_exact(END_ROW) {
                each(EndRow { end: u64_at(row, 0), entry: u32_at(row, 8), to: u32_at(row, 12) == 1 })?;
            }
        }
        Ok(())
    }

    fn load_ends(&self, block: usize, out: &mut Vec<u8>) -> Result<()> {
        let from = block as u64 * (END_BLOCK * END_ROW) as u64;
        let len = (self.ends * END_ROW as u64 - from).min((END_BLOCK * END_ROW) as u64);
        out.resize(len as usize, 0);
        let start = HEADER + self.entries * ENTRY as u64 + from;
        self.file.read_exact_at(out, start).map_err(|e| Error::io(&self.path, e))?;
        if xxh3_64(out) != self.end_hashes[block] {
            return Err(invalid(&self.path, format!("the checksum of end block {block} does not match")));
        }
        Ok(())
    }
}

/// The entries of a layer in order.
pub struct Scan<'a> {
    layer: &'a Layer,
    block: usize,
    at: usize,
    bytes: Vec<u8>,
}

impl Scan<'_> {
    /// The next entry and its number, or `None` at the end.
    pub fn advance(&mut self) -> Result<Option<(u32, Entry)>> {
        if self.at == self.bytes.len() {
            if self.block == self.layer.first_keys.len() {
                return Ok(None);
            }
            self.layer.load(self.block, &mut self.bytes)?;
            self.block += 1;
            self.at = 0;
        }
        let entry = Entry::read(&self.bytes[self.at..]);
        let number = (self.block - 1) * BLOCK + self.at / ENTRY;
        self.at += ENTRY;
        Ok(Some((number as u32, entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Loc, NO_POSITION, State};
    use super::*;

    fn entry(key: u128) -> Entry {
        Entry {
            key: KeyHash(key),
            raw: key as u64,
            canon: 1,
            loc: Loc::new(0, 1, 2).unwrap(),
            pos: NO_POSITION,
            stamp: 0,
            state: State::Live,
            stale: false,
        }
    }

    fn write(path: &Path, entries: u128, ends: u64) {
        let mut writer = LayerWriter::create(path).unwrap();
        for n in 0..entries {
            assert_eq!(writer.push(&entry(n * 2 + 1)).unwrap(), n as u32);
        }
        for n in 0..ends {
            writer.push_end(EndRow { end: n / 3, entry: n as u32, to: n % 2 == 1 }).unwrap();
        }
        writer
            .finish(&LayerMeta { packs: vec!["p".into()], ..LayerMeta::default() })
            .unwrap()
            .sync()
            .unwrap();
    }

    #[test]
    fn finds_every_entry_and_end_with_and_without_a_cache() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.layer");
        write(&path, 1000, 2500);
        for budget in [0, 1 << 20] {
            let layer = Layer::open(&path, &CacheBudget::new(budget)).unwrap();
            let mut scratch = Scratch::default();
            for n in 0..1000u128 {
                let (number, found) = layer.lookup(KeyHash(n * 2 + 1), &mut scratch).unwrap().unwrap();
                assert_eq!((number, found), (n as u32, entry(n * 2 + 1)));
                assert_eq!(layer.get(number, &mut scratch).unwrap(), found);
                assert!(layer.lookup(KeyHash(n * 2), &mut scratch).unwrap().is_none());
            }
            assert_eq!(layer.entities(&mut scratch).unwrap(), 1000);
            let mut scan = layer.scan();
            for n in 0..1000u32 {
                assert_eq!(scan.advance().unwrap().unwrap().0, n);
            }
            assert!(scan.advance().unwrap().is_none());
            for end in 0..833u64 {
                let found = layer.ends_of(KeyHash(u128::from(end) << 64)).unwrap();
                assert_eq!(
                    found.iter().map(|f| u64::from(f.0)).collect::<Vec<_>>(),
                    [end * 3, end * 3 + 1, end * 3 + 2]
                );
            }
            assert!(layer.ends_of(KeyHash(900 << 64)).unwrap().is_empty());
        }
    }

    #[test]
    fn what_was_looked_up_before_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.layer");
        write(&path, 5000, 0);
        let layer = Layer::open(&path, &CacheBudget::new(0)).unwrap();
        let mut scratch = Scratch::default();
        let mut key = 0u128;
        for n in 0..4000u128 {
            // Steps to keys close by, far behind and far ahead, some not there.
            key = if n % 5 == 0 { n * 7919 % 10_100 } else { key + n % 600 };
            let found = layer.lookup(KeyHash(key), &mut scratch).unwrap();
            assert_eq!(found, layer.lookup(KeyHash(key), &mut Scratch::default()).unwrap(), "{key}");
            assert_eq!(found.is_some(), key % 2 == 1 && key < 10_000, "{key}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.layer");
        write(&path, 3, 2);
        let good = std::fs::read(&path).unwrap();
        let read = || -> Result<()> {
            let layer = Layer::open(&path, &CacheBudget::new(0))?;
            let mut scan = layer.scan();
            while scan.advance()?.is_some() {}
            layer.scan_ends(|_| Ok(()))
        };
        read().unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, bad).unwrap();
            assert!(read().is_err(), "byte {at}");
        }
    }
}
