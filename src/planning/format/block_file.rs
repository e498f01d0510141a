//! A file of compressed blocks of records, written by appending, readable at
//! random by block: the container of packs and plans.
//!
//! ```text
//! header    magic "TGBLOCKS", kind (4 bytes), version (u32)
//! blocks    zstd, one after the other
//! index     per block: offset u64, stored u32, raw u32, records u32, 0 u32, xxh3 of the stored bytes u64
//! meta      JSON
//! trailer   index offset u64, blocks u64, meta length u64, xxh3 of header + index + meta u64, "TGBLKEND"
//! ```
//! All numbers are little-endian. A raw block is a run of records, each a
//! `u32` length and that many bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::bytes::{u32_at, u64_at};
use super::sealed::Sealed;
use crate::error::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"TGBLOCKS";
const END: &[u8; 8] = b"TGBLKEND";
const VERSION: u32 = 1;
const HEADER: usize = 16;
const INDEX_ROW: usize = 32;
const TRAILER: usize = 40;
/// Level 1: half of the time of the default for a tenth more bytes.
const LEVEL: i32 = 1;

/// Room for a raw block is made in steps of so many bytes.
const ROOM: usize = 8 << 10;

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

/// A compressed block that waits for its place in a file.
#[derive(Debug)]
pub struct PackedBlock {
    bytes: Vec<u8>,
    raw: u32,
    records: u32,
}

impl PackedBlock {
    /// Stored size in bytes.
    pub fn stored(&self) -> usize {
        self.bytes.len()
    }
}

impl PackedBlock {
    /// The block with its sizes in front, for a temporary file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + self.bytes.len());
        for word in [self.bytes.len() as u32, self.raw, self.records] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.bytes);
        out
    }

    /// The block of a 12-byte head of [`Self::encode`] and the bytes behind it.
    pub fn decode(head: &[u8], bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), raw: u32_at(head, 4), records: u32_at(head, 8) }
    }
}

/// Compresses blocks; one per thread.
pub struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    room: Vec<u8>,
}

impl Packer {
    /// A compressor of the format's level.
    pub fn new() -> Result<Self> {
        let zstd = zstd::bulk::Compressor::new(LEVEL)
            .map_err(|e| Error::internal("zstd could not be set up").caused_by(e))?;
        Ok(Self { zstd, room: Vec::new() })
    }

    /// Compresses a run of `records` records.
    pub fn pack(&mut self, raw: &[u8], records: u32) -> Result<PackedBlock> {
        self.room.clear();
        self.room.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.zstd
            .compress_to_buffer(raw, &mut self.room)
            .map_err(|e| Error::internal("zstd could not compress a block").caused_by(e))?;
        Ok(PackedBlock { bytes: self.room.clone(), raw: raw.len() as u32, records })
    }
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
}

impl BlockWriter {
    /// Creates the file; one of that name is overwritten.
    pub fn create(path: &Path, kind: FileKind) -> Result<Self> {
        let file = File::create(path).map_err(|e| Error::io(path, e))?;
        let mut out = BufWriter::with_capacity(1 << 18, file);
        out.write_all(&header(kind)).map_err(|e| Error::io(path, e))?;
        let inner = Inner { out, offset: HEADER as u64, index: Vec::new() };
        Ok(Self { path: path.into(), kind, inner: Mutex::new(inner) })
    }

    /// Appends a block and returns its number.
    pub fn append(&self, block: &PackedBlock) -> Result<u32> {
        let mut inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = inner.index.len() / INDEX_ROW;
        inner.out.write_all(&block.bytes).map_err(|e| Error::io(&self.path, e))?;
        let mut row = [0; INDEX_ROW];
        row[..8].copy_from_slice(&inner.offset.to_le_bytes());
        row[8..12].copy_from_slice(&(block.bytes.len() as u32).to_le_bytes());
        row[12..16].copy_from_slice(&block.raw.to_le_bytes());
        row[16..20].copy_from_slice(&block.records.to_le_bytes());
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

    /// Writes index, meta and trailer, and makes the file durable. Returns its size.
    pub fn finish(self, meta: &[u8]) -> Result<u64> {
        let inner = self.inner.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Inner { mut out, offset, index } = inner;
        let mut hash = Xxh3::new();
        hash.update(&header(self.kind));
        hash.update(&index);
        hash.update(meta);
        let mut trailer = [0; TRAILER];
        trailer[..8].copy_from_slice(&offset.to_le_bytes());
        trailer[8..16].copy_from_slice(&((index.len() / INDEX_ROW) as u64).to_le_bytes());
        trailer[16..24].copy_from_slice(&(meta.len() as u64).to_le_bytes());
        trailer[24..32].copy_from_slice(&hash.digest().to_le_bytes());
        trailer[32..].copy_from_slice(END);
        let at = |e| Error::io(&self.path, e);
        out.write_all(&index).map_err(at)?;
        out.write_all(meta).map_err(at)?;
        out.write_all(&trailer).map_err(at)?;
        let file = out.into_inner().map_err(|e| at(e.into_error()))?;
        file.sync_all().map_err(at)?;
        Ok(offset + index.len() as u64 + meta.len() as u64 + TRAILER as u64)
    }
}

/// Reads a block file at random.
pub struct BlockReader {
    path: PathBuf,
    file: File,
    index: Vec<u8>,
    meta: Vec<u8>,
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
        if u32_at(&head, 12) != VERSION {
            return Err(invalid(path, format!("format version {} is not known here", u32_at(&head, 12))));
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
        Ok(Self { path: path.into(), file, index, meta })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of blocks.
    pub fn blocks(&self) -> u32 {
        (self.index.len() / INDEX_ROW) as u32
    }

    /// The JSON that the writer put in.
    pub fn meta(&self) -> &[u8] {
        &self.meta
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
        let n = unpacker
            .zstd
            .decompress_to_buffer(&unpacker.stored, raw)
            .map_err(|e| invalid(&self.path, format!("block {block} can't be unpacked: {e}")))?;
        if n != raw_len {
            return Err(invalid(&self.path, format!("block {block} has {n} bytes instead of {raw_len}")));
        }
        Ok(())
    }
}

/// Unpacks blocks; one per thread.
pub struct Unpacker {
    zstd: zstd::bulk::Decompressor<'static>,
    stored: Vec<u8>,
}

impl Unpacker {
    /// A decompressor.
    pub fn new() -> Result<Self> {
        let zstd = zstd::bulk::Decompressor::new()
            .map_err(|e| Error::internal("zstd could not be set up").caused_by(e))?;
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

    fn write(path: &Path) {
        let writer = BlockWriter::create(path, FileKind::Pack).unwrap();
        let mut packer = Packer::new().unwrap();
        for n in 0..3u8 {
            let mut raw = Vec::new();
            push_record(&mut raw, |out| out.extend_from_slice(&[n; 100]));
            push_record(&mut raw, |out| out.push(n));
            assert_eq!(writer.append(&packer.pack(&raw, 2).unwrap()).unwrap(), u32::from(n));
        }
        writer.finish(b"{}").unwrap();
    }

    fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
        let reader = BlockReader::open(path, FileKind::Pack)?;
        let (mut unpacker, mut raw, mut records) = (Unpacker::new()?, Vec::new(), Vec::new());
        for block in 0..reader.blocks() {
            reader.read(block, &mut unpacker, &mut raw)?;
            let mut at = 0;
            while let Some((record, next)) = record_at(&raw, at) {
                records.push(record.to_vec());
                at = next;
            }
        }
        records.push(reader.meta().to_vec());
        Ok(records)
    }

    #[test]
    fn reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pack");
        write(&path);
        let records = read(&path).unwrap();
        assert_eq!(records.len(), 7);
        assert_eq!(records[2], vec![1; 100]);
        assert!(BlockReader::open(&path, FileKind::Plan).is_err());
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
