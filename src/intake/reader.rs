//! Reading the data files of a batch: one streaming pass that verifies,
//! unpacks and splits into lines. Memory is bounded by the limits, whatever
//! the file holds.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, Read};
use std::path::Path;

use twox_hash::XxHash3_64;

use super::batch::{BatchFile, Compression};
use crate::domain::assertion::BadLine;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// Limits of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Longest line, in bytes.
    pub max_line: usize,
    /// Most bytes that a stored byte may unfold to, over a whole file; of gzip a
    /// quarter of it.
    pub max_expansion: u64,
    /// Most bytes that a file may unfold to.
    pub max_file: u64,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { max_line: limits::MAX_LINE, max_expansion: limits::MAX_EXPANSION, max_file: limits::MAX_FILE }
    }
}

/// What a sink makes of the bytes from the beginning of a line on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It takes so many bytes, which are so many lines with a line feed each,
    /// none of them blank or too long.
    Taken {
        /// The bytes.
        bytes: usize,
        /// The lines.
        lines: u64,
    },
    /// It may take more bytes than there are: it is asked again with more of
    /// them, unless the file ends.
    More,
    /// It takes the next line as such.
    None,
}

/// Takes the lines of a file.
pub trait LineSink {
    /// Asked at the beginning of each line, with what is in memory of the
    /// file from there on.
    ///
    /// # Errors
    /// Ends the reading.
    fn run(&mut self, _bytes: &[u8]) -> Result<Run> {
        Ok(Run::None)
    }

    /// A line without its end. Lines count from 1, blank ones included.
    ///
    /// # Errors
    /// Ends the reading.
    fn line(&mut self, line_no: u64, line: &[u8]) -> Result<()>;

    /// So many stored bytes of the file have been read; called now and then.
    ///
    /// # Errors
    /// Ends the reading.
    fn passed(&mut self, _stored: u64) -> Result<()> {
        Ok(())
    }

    /// A line that can't be handed out, with as much of it as is kept.
    ///
    /// # Errors
    /// Ends the reading.
    fn bad_line(&mut self, line_no: u64, start_of_line: &[u8], problem: BadLine) -> Result<()>;
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileReport {
    /// Lines that are not blank.
    pub lines: u64,
    /// Bytes as stored.
    pub stored_bytes: u64,
    /// Bytes after unpacking.
    pub unpacked_bytes: u64,
    /// XXH3-64 of the stored bytes.
    pub xxh3: u64,
}

/// Bytes read at once.
const BUFFER: usize = 256 << 10;
/// Unpacked bytes taken at once: few enough to stay in a core's nearest
/// caches until their lines have been looked at.
const UNPACKED: usize = 32 << 10;
/// Unpacked bytes below which no ratio is looked at: small files may well
/// hold one line over and over.
pub(super) const RATIO_FROM: u64 = 64 << 20;
/// What gzip may unfold to, as a part of what zstd may: by its format it ends at
/// 1,032 bytes for one, so that the limit of zstd would not be one.
const GZIP_PART: u64 = 4;
/// Largest zstd window that is accepted, as a power of two: 128 MiB, what the
/// `zstd` command itself accepts without being asked.
const WINDOW_LOG: u32 = 27;
/// What zstd says of a frame with a larger one, by `ZSTD_getErrorName`: its number
/// does not come through the decoder.
const WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";
/// How much of a line that is too long is kept.
const KEEP_OF_LONG: usize = 64 << 10;

const NEEDS_ZST: &str = "it has to end in .zst";
const NEEDS_GZ: &str = "it has to end in .gz";
const NOT_READ: &str = "write lines as they are, or packed with Zstandard (.zst) or gzip (.gz)";
/// How packed files begin (RFC 8878 and 1952, and the formats' own documents), with
/// what packs them and what to do. None of these is the beginning of a line of JSON.
const PACKED: [(&[u8], &str, &str); 5] = [
    (b"\x28\xb5\x2f\xfd", "Zstandard", NEEDS_ZST),
    (b"\x1f\x8b", "gzip", NEEDS_GZ),
    (b"BZh", "bzip2", NOT_READ),
    (b"\xfd7zXZ\0", "xz", NOT_READ),
    (b"PK\x03\x04", "zip", NOT_READ),
];

/// Reads a file of a batch and checks it against what the manifest says.
///
/// # Errors
/// What concerns the whole file names it: missing, damaged, too large when
/// unpacked, or of another size, checksum or count than the manifest says.
pub fn read_file(
    folder: &Path,
    file: &BatchFile,
    limits: &ReadLimits,
    sink: &mut impl LineSink,
) -> Result<FileReport> {
    let report = read_unverified(folder, file, limits, sink)?;
    match mismatches(file, &report).into_iter().next() {
        Some(error) => Err(error),
        None => Ok(report),
    }
}

/// The same without a look at what the manifest says of size, checksum and
/// count: see [`mismatches`].
///
/// # Errors
/// As [`read_file`].
pub fn read_unverified(
    folder: &Path,
    file: &BatchFile,
    limits: &ReadLimits,
    sink: &mut impl LineSink,
) -> Result<FileReport> {
    let path = folder.join(&file.path);
    let handle = File::open(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorKind::FileMissing, format!("file {} is listed and not there", file.path))
        }
        _ => Error::io(&path, e),
    })?;
    let stored = Stored { file: handle, hash: XxHash3_64::new(), bytes: 0 };
    let mut lines = Lines::new(&file.path, limits);
    if file.compression == Compression::Gzip {
        lines.ratio = limits.max_expansion.div_ceil(GZIP_PART);
    }
    let (stored, done) = match file.compression {
        Compression::None => {
            let mut stored = stored;
            lines.buffer = vec![0; BUFFER];
            let done = lines.read(&mut stored, |stored| stored.bytes, false, sink);
            (stored, done)
        }
        Compression::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(io::BufReader::with_capacity(BUFFER / 4, stored))
                    .map_err(|e| Error::internal("zstd could not be set up").caused_by(e))?;
            decoder
                .window_log_max(WINDOW_LOG)
                .map_err(|e| Error::internal("zstd could not be set up").caused_by(e))?;
            let done = lines.read(&mut decoder, |decoder| decoder.get_ref().get_ref().bytes, true, sink);
            (decoder.finish().into_inner(), done)
        }
        Compression::Gzip => {
            let mut decoder =
                flate2::bufread::MultiGzDecoder::new(io::BufReader::with_capacity(BUFFER / 4, stored));
            let done = lines.read(&mut decoder, |decoder| decoder.get_ref().get_ref().bytes, true, sink);
            (decoder.into_inner().into_inner(), done)
        }
    };
    done?;
    Ok(FileReport {
        lines: lines.count,
        stored_bytes: stored.bytes,
        unpacked_bytes: lines.unpacked,
        xxh3: stored.hash.finish(),
    })
}

/// What a file is not as the manifest says; the first is the graver.
pub fn mismatches(file: &BatchFile, report: &FileReport) -> Vec<Error> {
    let path = &file.path;
    let mut found = Vec::new();
    if let Some(bytes) = file.bytes.filter(|bytes| *bytes != report.stored_bytes) {
        let text = format!("file {path} has {} bytes, the manifest says {bytes}", report.stored_bytes);
        found.push(Error::new(ErrorKind::SizeMismatch, text));
    }
    if let Some(xxh3) = file.xxh3.filter(|xxh3| *xxh3 != report.xxh3) {
        let text = format!("file {path} has XXH3-64 {:016x}, the manifest says {xxh3:016x}", report.xxh3);
        found.push(Error::new(ErrorKind::ChecksumMismatch, text));
    }
    if let Some(count) = file.count.filter(|count| *count != report.lines) {
        let text =
            format!("file {path} has {} lines that are not blank, the manifest says {count}", report.lines);
        found.push(Error::new(ErrorKind::CountMismatch, text));
    }
    found
}

/// The stored bytes, hashed and counted as they pass.
struct Stored {
    file: File,
    hash: XxHash3_64,
    bytes: u64,
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.hash.write(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
}

/// Splits what it reads into lines.
struct Lines<'a> {
    path: &'a str,
    limits: &'a ReadLimits,
    /// Most bytes that a stored byte may unfold to.
    ratio: u64,
    buffer: Vec<u8>,
    line_no: u64,
    count: u64,
    unpacked: u64,
}

impl<'a> Lines<'a> {
    fn new(path: &'a str, limits: &'a ReadLimits) -> Self {
        let buffer = vec![0; UNPACKED];
        Self { path, limits, ratio: limits.max_expansion, buffer, line_no: 0, count: 0, unpacked: 0 }
    }

    fn read<R: Read>(
        &mut self,
        from: &mut R,
        stored: impl Fn(&R) -> u64,
        packed: bool,
        sink: &mut impl LineSink,
    ) -> Result<()> {
        // Bytes that were not taken yet, at the buffer's start.
        let mut held = 0;
        // How many of them have no line end in them.
        let mut searched = 0;
        // Set while the rest of a line that is too long goes by.
        let mut skipping = false;
        loop {
            if held == self.buffer.len() {
                let larger = (self.buffer.len() * 2).min(self.limits.max_line + BUFFER);
                self.buffer.resize(larger, 0);
            }
            let n = match from.read(&mut self.buffer[held..]) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.unreadable(e)),
            };
            let first = self.unpacked == 0;
            let filled = held + n;
            let mut start = 0;
            if n > 0 {
                self.unpacked += n as u64;
                self.check_expansion(if packed { stored(from) } else { 0 })?;
                sink.passed(stored(from))?;
                if first && self.buffer[..filled].starts_with(b"\xef\xbb\xbf") {
                    start = 3;
                }
                if first && !packed {
                    self.check_plain(&self.buffer[..filled])?;
                }
            }
            let mut search = searched.max(start);
            searched = loop {
                if n > 0 && search == start && !skipping {
                    match sink.run(&self.buffer[start..filled])? {
                        Run::Taken { bytes, lines } => {
                            self.line_no += lines;
                            self.count += lines;
                            start += bytes;
                            search = start;
                            continue;
                        }
                        Run::More => break 0,
                        Run::None => {}
                    }
                }
                let Some(at) = memchr::memchr(b'\n', &self.buffer[search..filled]) else {
                    break filled - start;
                };
                let end = search + at;
                self.line_no += 1;
                if std::mem::take(&mut skipping) {
                    // Was reported when it grew too long.
                } else {
                    self.hand_out(start, end, sink)?;
                }
                start = end + 1;
                search = start;
            };
            held = filled - start;
            if n == 0 {
                if held > 0 && !skipping {
                    self.line_no += 1;
                    self.hand_out(start, filled, sink)?;
                }
                return Ok(());
            }
            if skipping {
                (held, searched) = (0, 0);
            } else if searched > self.limits.max_line {
                let line = &self.buffer[start..start + KEEP_OF_LONG.min(held)];
                self.count += 1;
                sink.bad_line(self.line_no + 1, line, too_long(self.limits.max_line))?;
                skipping = true;
                (held, searched) = (0, 0);
            } else if start > 0 {
                self.buffer.copy_within(start..filled, 0);
            }
        }
    }

    #[inline]
    fn hand_out(&mut self, start: usize, end: usize, sink: &mut impl LineSink) -> Result<()> {
        let line = &self.buffer[start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r');
        if line.first().is_none_or(blank) && line.iter().all(blank) {
            return Ok(());
        }
        self.count += 1;
        if line.len() > self.limits.max_line {
            return sink.bad_line(
                self.line_no,
                &line[..KEEP_OF_LONG.min(line.len())],
                too_long(self.limits.max_line),
            );
        }
        sink.line(self.line_no, line)
    }

    /// Bytes that some program packed are no lines, whatever the file is called.
    fn check_plain(&self, start: &[u8]) -> Result<()> {
        let Some((_, how, end)) = PACKED.iter().find(|(magic, ..)| start.starts_with(magic)) else {
            return Ok(());
        };
        let named = if *end == NOT_READ { "" } else { ", which its name does not say" };
        let text = format!("file {} is packed with {how}{named}: {end}", self.path);
        Err(Error::new(ErrorKind::CompressionInvalid, text))
    }

    fn check_expansion(&self, stored: u64) -> Result<()> {
        let ratio_limit = stored.saturating_mul(self.ratio);
        let over_ratio = stored > 0 && self.unpacked > RATIO_FROM && self.unpacked > ratio_limit;
        if over_ratio || self.unpacked > self.limits.max_file {
            let (limit, text) = if over_ratio {
                ("limits.max_expansion", format!("{} times its size", self.ratio))
            } else {
                ("limits.max_file", format!("{} bytes", self.limits.max_file))
            };
            return Err(Error::new(
                ErrorKind::ExpansionLimit,
                format!(
                    "file {} unfolds to more than {text} ({limit}), by line {}",
                    self.path,
                    self.line_no + 1
                ),
            ));
        }
        Ok(())
    }

    fn unreadable(&self, error: io::Error) -> Error {
        // The operating system's own errors have a number; the others are the
        // decoders'.
        if error.raw_os_error().is_some() {
            return Error::new(ErrorKind::Io, format!("file {}", self.path)).caused_by(error);
        }
        let path = self.path;
        let text = if error.to_string() == WINDOW_TOO_LARGE {
            let most = 1 << (WINDOW_LOG - 20);
            format!(
                "file {path} is packed with a window of more than {most} MiB, the largest that is accepted: pack it without `--long`, or with `--long={WINDOW_LOG}` at most"
            )
        } else {
            format!(
                "file {path} can't be unpacked behind line {}: it is damaged or ends too early",
                self.line_no
            )
        };
        Error::new(ErrorKind::CompressionInvalid, text).caused_by(error)
    }
}

/// That a line is too long.
pub(super) fn too_long(limit: usize) -> BadLine {
    BadLine::new("", format!("is longer than {limit} bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes down what it is handed; takes a run at once where one of `runs`
    /// stands.
    #[derive(Default)]
    struct Down {
        runs: Vec<Vec<u8>>,
        /// Number, of those that were handed over as lines, and content.
        lines: Vec<(Option<u64>, Vec<u8>)>,
        at_once: usize,
    }

    impl LineSink for Down {
        fn run(&mut self, bytes: &[u8]) -> Result<Run> {
            for run in &self.runs {
                if bytes.starts_with(run) {
                    let lines: Vec<&[u8]> = run[..run.len() - 1].split(|b| *b == b'\n').collect();
                    self.lines.extend(lines.iter().map(|line| (None, line.to_vec())));
                    self.at_once += 1;
                    return Ok(Run::Taken { bytes: run.len(), lines: lines.len() as u64 });
                }
                if run.starts_with(bytes) {
                    return Ok(Run::More);
                }
            }
            Ok(Run::None)
        }

        fn line(&mut self, line_no: u64, line: &[u8]) -> Result<()> {
            self.lines.push((Some(line_no), line.to_vec()));
            Ok(())
        }

        fn bad_line(&mut self, line_no: u64, start: &[u8], _problem: BadLine) -> Result<()> {
            self.lines.push((Some(line_no), start.to_vec()));
            Ok(())
        }
    }

    /// Hands out its bytes a few at a time.
    struct Slow<'a>(&'a [u8], std::iter::Cycle<std::slice::Iter<'a, usize>>);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(into.len()).min(*self.1.next().unwrap());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn read(bytes: &[u8], sizes: &[usize], buffer: usize, sink: &mut Down) -> (u64, u64, u64) {
        let limits = ReadLimits { max_line: 60, ..ReadLimits::default() };
        let mut lines = Lines::new("x", &limits);
        lines.buffer = vec![0; buffer];
        lines.read(&mut Slow(bytes, sizes.iter().cycle()), |_| 0, false, sink).unwrap();
        (lines.line_no, lines.count, lines.unpacked)
    }

    proptest! {
        /// Runs are a fast path: with them, and however the bytes come, the
        /// lines and their numbers are the same.
        #[test]
        fn runs_change_nothing_of_the_lines(
            lines in prop::collection::vec(prop_oneof![
                4 => "[ab]{1,12}", 1 => "[ab]{30,59}", 1 => "[ab]{60,90}", 1 => "[ \t]{0,3}", 1 => "[ab]{0,4}\r",
            ], 0..60),
            runs in prop::collection::vec((0usize..60, 1usize..7), 0..6),
            sizes in prop::collection::vec(1usize..50, 1..6),
            (buffer, ended, marked) in (1usize..80, any::<bool>(), any::<bool>()),
        ) {
            let mut bytes = if marked { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
            bytes.extend_from_slice(lines.join("\n").as_bytes());
            if ended {
                bytes.push(b'\n');
            }
            let fits = |line: &&String| !line.trim().is_empty() && !line.ends_with('\r') && line.len() <= 60;
            let runs = runs.iter().filter_map(|(first, count)| {
                let of = lines.get(*first..first + count)?;
                of.iter().all(|line| fits(&line)).then(|| (of.join("\n") + "\n").into_bytes())
            });
            // A mark in front counts when it comes in one piece.
            let sizes: Vec<usize> = sizes.iter().map(|n| n + 3).collect();
            let buffer = buffer + 3;
            let (mut plain, mut quick) = (Down::default(), Down { runs: runs.collect(), ..Down::default() });
            let counts = read(&bytes, &[usize::MAX], 4096, &mut plain);
            prop_assert_eq!(read(&bytes, &sizes, buffer, &mut quick), counts);
            prop_assert_eq!(quick.lines.len(), plain.lines.len());
            for ((number, line), expected) in quick.lines.iter().zip(&plain.lines) {
                // How much is kept of one that is too long depends on the buffer.
                prop_assert_eq!(&line[..line.len().min(60)], &expected.1[..expected.1.len().min(60)]);
                prop_assert!(number.is_none() || *number == expected.0);
            }
        }
    }

    #[test]
    fn a_run_is_taken_across_the_ends_of_a_buffer() {
        let line = b"a line\n";
        let bytes = line.repeat(40);
        let mut sink = Down { runs: vec![line.repeat(8)], ..Down::default() };
        assert_eq!(read(&bytes, &[5, 3], 10, &mut sink), (40, 40, 280));
        assert_eq!((sink.at_once, sink.lines.len()), (5, 40));
    }
}
