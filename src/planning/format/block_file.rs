//! A file of compressed blocks of records, written by appending, readable at
//! random by block: the container of packs and plans.
//!
//! ```text
//! header    magic "TGBLOCKS", kind (4 bytes), version (u32)
//! blocks    zstd, one after the other
//! index     per block: offset u64, stored u32, raw u32, records u32, dictionary u32, xxh3 of the stored bytes u64
//! meta      JSON: the dictionaries
//! trailer   index offset u64, blocks u64, meta length u64, xxh3 of header + index + meta u64, "TGBLKEND"
//! ```
//! All numbers are little-endian. A raw block is a run of records, each a
//! `u32` length and that many bytes; or a dictionary, and has no records. What
//! the index says of a block's dictionary is one more than the number of the
//! block that holds it, or 0 for none. Version 1 had no dictionaries, and is
//! read as it was.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};
use zstd::zstd_safe::{self, CCtx, DCtx};

use super::bytes::{u32_at, u64_at};
use super::dictionary::{Dictionary, DictionaryRef};
use super::sealed::Sealed;
use super::written::Written;
use crate::error::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"TGBLOCKS";
const END: &[u8; 8] = b"TGBLKEND";
const VERSION: u32 = 2;
/// The oldest version that is read.
const OLDEST: u32 = 1;
const HEADER: usize = 16;
const INDEX_ROW: usize = 32;
const TRAILER: usize = 40;
/// Level 1: half of the time of the default for a tenth more bytes.
pub const LEVEL: i32 = 1;
/// Most bytes that a dictionary unfolds to: no more is made room for.
const MAX_DICTIONARY: usize = 1 << 20;

/// Room for a raw block is made in steps of so many bytes.
const ROOM: usize = 1 << 10;

/// What a block file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Bodies of entities and relationships.
    Pack,
    /// Changes of a plan.
    Plan,
}

impl FileKind {
    fn tag(self) -> &'static [u8; 4] {
        match self {
            Self::Pack => b"PACK",
            Self::Plan => b"PLAN",
        }
    }
}

fn header(kind: FileKind) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(kind.tag());
    header[12..].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// A damaged or foreign file.
pub fn invalid(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::SnapshotInvalid, format!("{}: {problem}", path.display()))
}

/// A file of a version that is not known here yet.
pub fn newer(path: &Path, version: impl std::fmt::Display, known: impl std::fmt::Display) -> Error {
    let text = format!("{} has format {version}, this program knows up to {known}", path.display());
    Error::new(ErrorKind::StoreNewer, text)
}

/// A compressed block that waits for its place in a file.
#[derive(Debug)]
pub struct PackedBlock {
    bytes: Vec<u8>,
    raw: u32,
    records: u32,
    /// One more than the number of its dictionary's block, or 0.
    dictionary: u32,
}

/// A dictionary and the number of its block in the file that it is used in.
#[derive(Clone)]
pub struct Placed {
    /// The dictionary.
    pub dictionary: Arc<Dictionary>,
    /// The number of its block.
    pub block: u32,
}

impl PackedBlock {
    /// Stored size in bytes.
    pub fn stored(&self) -> usize {
        self.bytes.len()
    }
}

impl PackedBlock {
    /// The block with its sizes in front, for a temporary file. It must be one
    /// without a dictionary.
    pub fn encode(&self) -> Vec<u8> {
        debug_assert_eq!(self.dictionary, 0, "a block with a dictionary can't be moved");
        let mut out = Vec::with_capacity(12 + self.bytes.len());
        for word in [self.bytes.len() as u32, self.raw, self.records] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.bytes);
        out
    }

    /// The block of a 12-byte head of [`Self::encode`] and the bytes behind it.
    pub fn decode(head: &[u8], bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), raw: u32_at(head, 4), records: u32_at(head, 8), dictionary: 0 }
    }
}

/// Compresses blocks; one per thread.
pub struct Packer {
    zstd: CCtx<'static>,
    room: Vec<u8>,
}

impl Packer {
    /// A compressor of the format's level.
    pub fn new() -> Result<Self> {
        let zstd = CCtx::try_create().ok_or_else(|| Error::internal("zstd could not be set up"))?;
        Ok(Self { zstd, room: Vec::new() })
    }

    /// Compresses a run of `records` records.
    pub fn pack(&mut self, raw: &[u8], records: u32) -> Result<PackedBlock> {
        self.pack_with(raw, records, None)
    }

    /// The same with a dictionary of the file that the block goes to.
    pub fn pack_with(&mut self, raw: &[u8], records: u32, with: Option<&Placed>) -> Result<PackedBlock> {
        self.room.clear();
        self.room.reserve(zstd_safe::compress_bound(raw.len()));
        let packed = match with {
            Some(with) => self.zstd.compress_using_cdict(&mut self.room, raw, with.dictionary.for_writing()?),
            None => self.zstd.compress(&mut self.room, raw, LEVEL),
        };
        packed.map_err(|code| Error::internal(format!("a block can't be packed: {}", told(code))))?;
        let dictionary = with.map_or(0, |with| with.block + 1);
        Ok(PackedBlock { bytes: self.room.clone(), raw: raw.len() as u32, records, dictionary })
    }
}

fn told(code: zstd_safe::ErrorCode) -> &'static str {
    zstd_safe::get_error_name(code)
}

/// The JSON behind the index.
#[derive(Default, Serialize, Deserialize)]
struct Meta {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dictionaries: Vec<DictionaryRef>,
}

/// Writes a block file. Blocks may come from several threads.
pub struct BlockWriter {
    path: PathBuf,
    kind: FileKind,
    inner: Mutex<Inner>,
}

struct Inner {
    out: BufWriter<File>,
    offset: u64,
    index: Vec<u8>,
    meta: Meta,
}

impl BlockWriter {
    /// Creates the file; one of that name is overwritten.
    pub fn create(path: &Path, kind: FileKind) -> Result<Self> {
        let file = File::create(path).map_err(|e| Error::io(path, e))?;
        let mut out = BufWriter::with_capacity(1 << 18, file);
        out.write_all(&header(kind)).map_err(|e| Error::io(path, e))?;
        let inner = Inner { out, offset: HEADER as u64, index: Vec::new(), meta: Meta::default() };
        Ok(Self { path: path.into(), kind, inner: Mutex::new(inner) })
    }

    /// Appends a block and returns its number.
    pub fn append(&self, block: &PackedBlock) -> Result<u32> {
        self.put(&mut self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner), block)
    }

    /// Puts a dictionary into the file, for the bodies of a type of this name.
    pub fn add_dictionary(&self, name: &str, dictionary: Arc<Dictionary>) -> Result<Placed> {
        let packed = Packer::new()?.pack(dictionary.bytes(), 0)?;
        let mut inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let block = self.put(&mut inner, &packed)?;
        inner.meta.dictionaries.push(DictionaryRef { name: name.to_owned(), block });
        Ok(Placed { dictionary, block })
    }

    fn put(&self, inner: &mut Inner, block: &PackedBlock) -> Result<u32> {
        let number = inner.index.len() / INDEX_ROW;
        inner.out.write_all(&block.bytes).map_err(|e| Error::io(&self.path, e))?;
        let mut row = [0; INDEX_ROW];
        row[..8].copy_from_slice(&inner.offset.to_le_bytes());
        row[8..12].copy_from_slice(&(block.bytes.len() as u32).to_le_bytes());
        row[12..16].copy_from_slice(&block.raw.to_le_bytes());
        row[16..20].copy_from_slice(&block.records.to_le_bytes());
        row[20..24].copy_from_slice(&block.dictionary.to_le_bytes());
        row[24..].copy_from_slice(&xxh3_64(&block.bytes).to_le_bytes());
        inner.index.extend_from_slice(&row);
        inner.offset += block.bytes.len() as u64;
        u32::try_from(number).map_err(|_| Error::internal("a block file is limited to 2^32 blocks"))
    }

    /// Number of blocks so far.
    pub fn blocks(&self) -> u32 {
        let inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (inner.index.len() / INDEX_ROW) as u32
    }

    /// Writes index, meta and trailer.
    pub fn finish(self) -> Result<Written> {
        let inner = self.inner.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Inner { mut out, offset, index, meta } = inner;
        let meta = serde_json::to_vec(&meta).map_err(|e| Error::internal("pack meta").caused_by(e))?;
        let mut hash = Xxh3::new();
        hash.update(&header(self.kind));
        hash.update(&index);
        hash.update(&meta);
        let mut trailer = [0; TRAILER];
        trailer[..8].copy_from_slice(&offset.to_le_bytes());
        trailer[8..16].copy_from_slice(&((index.len() / INDEX_ROW) as u64).to_le_bytes());
        trailer[16..24].copy_from_slice(&(meta.len() as u64).to_le_bytes());
        trailer[24..32].copy_from_slice(&hash.digest().to_le_bytes());
        trailer[32..].copy_from_slice(END);
        let at = |e| Error::io(&self.path, e);
        out.write_all(&index).map_err(at)?;
        out.write_all(&meta).map_err(at)?;
        out.write_all(&trailer).map_err(at)?;
        let file = out.into_inner().map_err(|e| at(e.into_error()))?;
        Ok(Written::new(file, self.path))
    }
}

/// Reads a block file at random.
pub struct BlockReader {
    path: PathBuf,
    file: File,
    index: Vec<u8>,
    /// In the order of their blocks, each read when it is needed first.
    dictionaries: Vec<(DictionaryRef, OnceLock<Arc<Dictionary>>)>,
}

impl BlockReader {
    /// Opens the file and checks everything but the blocks, which are checked
    /// as they are read.
    pub fn open(path: &Path, kind: FileKind) -> Result<Self> {
        let Sealed { file, header: head, body_end, trailer } = Sealed::<HEADER, TRAILER>::open(path)?;
        let at = |e| Error::io(path, e);
        if &head[..8] != MAGIC || &trailer[32..] != END || &head[8..12] != kind.tag() {
            return Err(invalid(path, "this is no file of the expected kind, or it is cut short"));
        }
        match u32_at(&head, 12) {
            OLDEST..=VERSION => {}
            version if version > VERSION => return Err(newer(path, version, VERSION)),
            version => return Err(invalid(path, format!("format version {version} is not known here"))),
        }
        let (offset, blocks, meta_len) = (u64_at(&trailer, 0), u64_at(&trailer, 8), u64_at(&trailer, 16));
        let index_len = blocks.checked_mul(INDEX_ROW as u64);
        let end = index_len.and_then(|n| n.checked_add(offset)).and_then(|n| n.checked_add(meta_len));
        if end != Some(body_end) {
            return Err(invalid(path, "its parts do not add up to its size"));
        }
        let mut index = vec![0; (blocks * INDEX_ROW as u64) as usize];
        file.read_exact_at(&mut index, offset).map_err(at)?;
        let mut meta = vec![0; meta_len as usize];
        file.read_exact_at(&mut meta, offset + index.len() as u64).map_err(at)?;
        let mut hash = Xxh3::new();
        hash.update(&head);
        hash.update(&index);
        hash.update(&meta);
        if hash.digest() != u64_at(&trailer, 24) {
            return Err(invalid(path, "the checksum of its index does not match"));
        }
        let meta: Meta = serde_json::from_slice(&meta)
            .map_err(|e| invalid(path, format!("its meta can't be read: {e}")))?;
        let mut dictionaries = meta.dictionaries;
        if dictionaries.iter().any(|dictionary| u64::from(dictionary.block) >= blocks) {
            return Err(invalid(path, "a dictionary is in a block that is not there"));
        }
        dictionaries.sort_unstable_by_key(|dictionary| dictionary.block);
        let dictionaries = dictionaries.into_iter().map(|at| (at, OnceLock::new())).collect();
        Ok(Self { path: path.into(), file, index, dictionaries })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of blocks.
    pub fn blocks(&self) -> u32 {
        (self.index.len() / INDEX_ROW) as u32
    }

    /// The dictionary for the bodies of a type.
    pub fn dictionary(&self, name: &str) -> Result<Option<Arc<Dictionary>>> {
        match self.dictionaries.iter().find(|(at, _)| at.name == name) {
            Some((at, _)) => self.dictionary_of(at.block + 1).map(|found| Some(Arc::clone(found))),
            None => Ok(None),
        }
    }

    /// The dictionary that the index names so.
    fn dictionary_of(&self, named: u32) -> Result<&Arc<Dictionary>> {
        let at = self.dictionaries.binary_search_by_key(&named, |(at, _)| at.block + 1);
        let Some((at, place)) = at.ok().and_then(|at| self.dictionaries.get(at)) else {
            return Err(invalid(&self.path, format!("dictionary {named} is not there")));
        };
        if let Some(dictionary) = place.get() {
            return Ok(dictionary);
        }
        let row = at.block as usize * INDEX_ROW;
        if u32_at(&self.index, row + 20) != 0 || u32_at(&self.index, row + 12) as usize > MAX_DICTIONARY {
            return Err(invalid(&self.path, format!("block {} is no dictionary", at.block)));
        }
        let mut bytes = Vec::new();
        self.read(at.block, &mut Unpacker::new()?, &mut bytes)?;
        Ok(place.get_or_init(|| Arc::new(Dictionary::new(bytes))))
    }

    /// Number of records in a block; 0 for a block that is not there.
    pub fn records(&self, block: u32) -> u32 {
        u32_at(&self.index, block as usize * INDEX_ROW + 16)
    }

    /// Number of records in all blocks.
    pub fn total_records(&self) -> u64 {
        (0..self.blocks()).map(|block| u64::from(self.records(block))).sum()
    }

    /// Reads and checks a block into `raw`, which is cleared first.
    pub fn read(&self, block: u32, unpacker: &mut Unpacker, raw: &mut Vec<u8>) -> Result<()> {
        let row = block as usize * INDEX_ROW;
        if row >= self.index.len() {
            return Err(invalid(&self.path, format!("block {block} is not there")));
        }
        let (offset, stored) = (u64_at(&self.index, row), u32_at(&self.index, row + 8) as usize);
        let (raw_len, hash) = (u32_at(&self.index, row + 12) as usize, u64_at(&self.index, row + 24));
        unpacker.stored.resize(stored, 0);
        self.file.read_exact_at(&mut unpacker.stored, offset).map_err(|e| Error::io(&self.path, e))?;
        if xxh3_64(&unpacker.stored) != hash {
            return Err(invalid(&self.path, format!("the checksum of block {block} does not match")));
        }
        raw.clear();
        if raw.capacity() < raw_len {
            // A little more than asked for: room that is used again fits the
            // next block too, and is not moved about.
            *raw = Vec::with_capacity(raw_len.next_multiple_of(ROOM));
        }
        let stored = &unpacker.stored;
        let unpacked = match u32_at(&self.index, row + 20) {
            0 => unpacker.zstd.decompress(raw, stored),
            named => {
                let dictionary = self.dictionary_of(named)?.for_reading()?;
                unpacker.zstd.decompress_using_ddict(raw, stored, dictionary)
            }
        };
        let n = unpacked.map_err(|code| {
            invalid(&self.path, format!("block {block} can't be unpacked: {}", told(code)))
        })?;
        if n != raw_len {
            return Err(invalid(&self.path, format!("block {block} has {n} bytes instead of {raw_len}")));
        }
        Ok(())
    }
}

/// Unpacks blocks; one per thread.
pub struct Unpacker {
    zstd: DCtx<'static>,
    stored: Vec<u8>,
}

impl Unpacker {
    /// A decompressor.
    pub fn new() -> Result<Self> {
        let zstd = DCtx::try_create().ok_or_else(|| Error::internal("zstd could not be set up"))?;
        Ok(Self { zstd, stored: Vec::new() })
    }
}

/// Appends a record (length, bytes) to a raw block.
pub fn push_record(raw: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = raw.len();
    raw.extend_from_slice(&[0; 4]);
    write(raw);
    let len = (raw.len() - start - 4) as u32;
    raw[start..start + 4].copy_from_slice(&len.to_le_bytes());
    start
}

/// The record at `offset` of a raw block and the offset of the one behind it.
pub fn record_at(raw: &[u8], offset: usize) -> Option<(&[u8], usize)> {
    let start = offset.checked_add(4)?;
    if start > raw.len() {
        return None;
    }
    let end = start.checked_add(u32_at(raw, offset) as usize)?;
    Some((raw.get(start..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dictionary, and blocks with it and without.
    fn write(path: &Path) {
        let writer = BlockWriter::create(path, FileKind::Pack).unwrap();
        let mut packer = Packer::new().unwrap();
        let common = Arc::new(Dictionary::new((0..100).collect()));
        let with = writer.add_dictionary("Table", common).unwrap();
        for n in 0..3u8 {
            let mut raw = Vec::new();
            push_record(&mut raw, |out| out.extend_from_slice(&[n; 100]));
            push_record(&mut raw, |out| out.extend(n..90));
            let with = (n < 2).then_some(&with);
            let packed = packer.pack_with(&raw, 2, with).unwrap();
            assert_eq!(writer.append(&packed).unwrap(), u32::from(n) + 1);
        }
        writer.finish().unwrap().sync().unwrap();
    }

    fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
        let reader = BlockReader::open(path, FileKind::Pack)?;
        let (mut unpacker, mut raw, mut records) = (Unpacker::new()?, Vec::new(), Vec::new());
        for block in 0..reader.blocks() {
            reader.read(block, &mut unpacker, &mut raw)?;
            let mut at = 0;
            while let Some((record, next)) = record_at(&raw, at).filter(|_| reader.records(block) > 0) {
                records.push(record.to_vec());
                at = next;
            }
        }
        Ok(records)
    }

    #[test]
    fn reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pack");
        write(&path);
        let records = read(&path).unwrap();
        assert_eq!(records.len(), 6);
        assert_eq!(records[2], vec![1; 100]);
        assert_eq!(records[3], (1..90).collect::<Vec<u8>>());
        let reader = BlockReader::open(&path, FileKind::Pack).unwrap();
        let found = reader.dictionary("Table").unwrap().unwrap();
        assert_eq!(found.bytes(), (0..100).collect::<Vec<u8>>());
        assert!(reader.dictionary("View").unwrap().is_none());
        assert_eq!(reader.total_records(), 6);
        assert!(BlockReader::open(&path, FileKind::Plan).is_err());
    }

    #[test]
    fn a_dictionary_makes_small_blocks_smaller() {
        // Bodies of one type have the same members with other values.
        let block = |n: usize| -> Vec<u8> {
            let member = |m: usize| format!("\"the_{m}th_of_{}\":{},", m * 37, (n * 31 + m) * 7919 % 9973);
            (0..40).flat_map(|m| member(m).into_bytes()).collect()
        };
        let blocks: Vec<Vec<u8>> = (0..64).map(block).collect();
        let dictionary = Arc::new(Dictionary::train(blocks.iter().map(Vec::as_slice)).unwrap());
        let mut packer = Packer::new().unwrap();
        let raw = block(1_000);
        let plain = packer.pack(&raw, 40).unwrap().stored();
        let with = packer.pack_with(&raw, 40, Some(&Placed { dictionary, block: 0 })).unwrap().stored();
        assert!(with < plain * 4 / 5, "{with} of {plain} bytes");
        assert!(Dictionary::train(std::iter::empty()).is_none());
        assert!(Dictionary::train([&b"short"[..]].into_iter()).is_none());
    }

    #[test]
    fn a_file_of_the_version_before_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pack");
        let writer = BlockWriter::create(&path, FileKind::Pack).unwrap();
        let mut raw = Vec::new();
        push_record(&mut raw, |out| out.extend_from_slice(b"body"));
        writer.append(&Packer::new().unwrap().pack(&raw, 1).unwrap()).unwrap();
        writer.finish().unwrap().sync().unwrap();
        // Version 1: the same without dictionaries.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[12] = 1;
        let trailer = bytes.len() - TRAILER;
        let index = u64_at(&bytes, trailer) as usize;
        let mut hash = Xxh3::new();
        hash.update(&bytes[..HEADER]);
        hash.update(&bytes[index..trailer]);
        bytes[trailer + 24..trailer + 32].copy_from_slice(&hash.digest().to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap(), [b"body"]);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pack");
        write(&path);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
        }
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(read(&path).is_err(), "cut to {len}");
        }
    }
}
