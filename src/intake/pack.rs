//! A data file of a batch that is written: packed, counted and hashed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use xxhash_rust::xxh3::Xxh3;

use super::batch::{BatchFile, Compression};
use super::reader::{LineSink, RATIO_FROM, ReadLimits, read_unverified};
use crate::domain::assertion::BadLine;
use crate::domain::key::Kind;
use crate::error::{Error, ErrorKind, Result};

enum Packing {
    None(Hashed),
    Zstd(zstd::stream::write::Encoder<'static, Hashed>),
    Gzip(flate2::write::GzEncoder<Hashed>),
}

/// A data file that is being written.
pub(super) struct OpenFile {
    /// What is known of it so far.
    file: BatchFile,
    folder: PathBuf,
    path: PathBuf,
    out: Packing,
    count: u64,
    unpacked: u64,
}

struct Hashed {
    file: BufWriter<File>,
    hash: Xxh3,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl OpenFile {
    /// Makes the file of a kind and number.
    pub(super) fn create(folder: &Path, kind: Kind, number: u32, compression: Compression) -> Result<Self> {
        let suffix = match compression {
            Compression::None => "",
            Compression::Zstd => ".zst",
            Compression::Gzip => ".gz",
        };
        let name = format!("{}-{number:05}.ndjson{suffix}", word(kind));
        let path = folder.join(&name);
        let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
        let hashed = Hashed { file: BufWriter::with_capacity(1 << 18, file), hash: Xxh3::new(), bytes: 0 };
        let out = match compression {
            Compression::None => Packing::None(hashed),
            Compression::Zstd => {
                Packing::Zstd(zstd::stream::write::Encoder::new(hashed, 3).map_err(|e| Error::io(&path, e))?)
            }
            Compression::Gzip => {
                Packing::Gzip(flate2::write::GzEncoder::new(hashed, flate2::Compression::default()))
            }
        };
        let file = BatchFile {
            path: name,
            kind,
            compression,
            count: None,
            bytes: None,
            xxh3: None,
            accepted: None,
            listed: None,
        };
        Ok(Self { file, folder: folder.to_owned(), path, out, count: 0, unpacked: 0 })
    }

    /// Its lines so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What it unfolds to with one more line of `length` bytes.
    pub(super) fn with_line(&self, length: usize) -> u64 {
        self.unpacked + length as u64 + 1
    }

    /// Writes a line.
    pub(super) fn write(&mut self, line: &[u8]) -> Result<()> {
        let out: &mut dyn Write = match &mut self.out {
            Packing::None(out) => out,
            Packing::Zstd(out) => out,
            Packing::Gzip(out) => out,
        };
        self.count += 1;
        self.unpacked += line.len() as u64 + 1;
        out.write_all(line).and_then(|()| out.write_all(b"\n")).map_err(|e| Error::io(&self.path, e))
    }

    /// Ends the file and returns its entry of the manifest. One that would
    /// unfold too far to be read is stored as it is.
    pub(super) fn finish(self, number: u32, limits: Option<&ReadLimits>) -> Result<serde_json::Value> {
        let (folder, unpacked) = (self.folder.clone(), self.unpacked);
        let mut file = self.close()?;
        if let Some(limits) = limits
            && file.compression != Compression::None
            && unpacked > RATIO_FROM
            && unfolds_too_far(&folder, &file, limits)?
        {
            file = stored_plain(&folder, &file, number, limits)?;
        }
        Ok(json!({
            "path": file.path,
            "kind": word(file.kind),
            "count": file.count,
            "bytes": file.bytes,
            "xxh3": file.xxh3.map(|xxh3| format!("{xxh3:016x}")),
        }))
    }

    fn close(self) -> Result<BatchFile> {
        let at = |e| Error::io(&self.path, e);
        let hashed = match self.out {
            Packing::None(out) => out,
            Packing::Zstd(out) => out.finish().map_err(at)?,
            Packing::Gzip(out) => out.finish().map_err(at)?,
        };
        let file = hashed.file.into_inner().map_err(|e| at(e.into_error()))?;
        file.sync_all().map_err(at)?;
        let (count, bytes, xxh3) = (Some(self.count), Some(hashed.bytes), Some(hashed.hash.digest()));
        Ok(BatchFile { count, bytes, xxh3, ..self.file })
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Entity => "entities",
        Kind::Relationship => "relationships",
    }
}

/// Whether reading ends at the limits. What was read until somewhere in the middle
/// counts, so that it is read to be known.
fn unfolds_too_far(folder: &Path, file: &BatchFile, limits: &ReadLimits) -> Result<bool> {
    match read_unverified(folder, file, limits, &mut Lines(&mut |_| Ok(()))) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::ExpansionLimit => Ok(true),
        Err(error) => Err(error),
    }
}

/// Puts a plain file in the place of a packed one.
fn stored_plain(folder: &Path, packed: &BatchFile, number: u32, limits: &ReadLimits) -> Result<BatchFile> {
    let mut plain = OpenFile::create(folder, packed.kind, number, Compression::None)?;
    let unbounded = ReadLimits { max_expansion: u64::MAX, ..*limits };
    read_unverified(folder, packed, &unbounded, &mut Lines(&mut |line| plain.write(line)))?;
    let path = folder.join(&packed.path);
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
    plain.close()
}

/// Hands the lines of a file on.
struct Lines<'a>(&'a mut dyn FnMut(&[u8]) -> Result<()>);

impl LineSink for Lines<'_> {
    fn line(&mut self, _line_no: u64, line: &[u8]) -> Result<()> {
        (self.0)(line)
    }

    fn bad_line(&mut self, line_no: u64, _start: &[u8], problem: BadLine) -> Result<()> {
        Err(Error::internal(format!("line {line_no} of a file that was written {}", problem.problem)))
    }
}
