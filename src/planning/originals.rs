//! The lines of a batch about keys that it says different things of, byte for
//! byte. Which ones they are is known when the batch has been read and sorted:
//! their files are read once more then, verified as before.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::bodies::Bodies;
use super::format::bytes::{u32_at, u64_at};
use super::format::layer::Scratch;
use super::halt::Halt;
use super::rejects::{Reject, Rejects};
use super::snapshot::Snapshot;
use super::sorter::{Record, Sorted, Sorter};
use crate::domain::assertion::{BadLine, Line, parse_line};
use crate::domain::json::{Canonicalizer, ComparisonRules, comparison_form};
use crate::domain::key::{KeyHash, Kind};
use crate::error::{Error, Result};
use crate::intake::batch::{Batch, BatchFile};
use crate::intake::reader::{LineSink, ReadLimits, read_file};
use crate::limits::MAX_LINE;

/// What is wrong with a key that a batch says different things of.
pub const CONTRADICTS: &str = "the batch says different things about this key";

/// Bytes of what a batch says of one key, beyond which only the first and the
/// last of its lines are kept.
const MAX_SAID: u64 = 2 * MAX_LINE as u64;
/// Bytes that sorting places may hold.
const BUDGET: usize = 4 << 20;

/// A line that a reject wants: the `n`th of its own.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    file: u32,
    line: u32,
    reject: u32,
    n: u32,
    is_last: bool,
}

impl Record for Wanted {
    const SIZE: usize = 20;
    type Key = (u32, u32);

    fn key(&self) -> Self::Key {
        (self.file, self.line)
    }

    fn write(&self, out: &mut [u8]) {
        let words = [self.file, self.line, self.reject, self.n, u32::from(self.is_last)];
        for (place, word) in out.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Self {
        let word = |n: usize| u32_at(bytes, 4 * n);
        Self { file: word(0), line: word(1), reject: word(2), n: word(3), is_last: word(4) != 0 }
    }
}

/// A line that was found: where its bytes lie among those that are kept.
#[derive(Debug, Clone, Copy)]
struct Kept {
    reject: u32,
    n: u32,
    at: u64,
    len: u32,
    file: u32,
    line: u32,
}

impl Record for Kept {
    const SIZE: usize = 28;
    type Key = (u32, u32);

    fn key(&self) -> Self::Key {
        (self.reject, self.n)
    }

    fn write(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.reject.to_le_bytes());
        out[4..8].copy_from_slice(&self.n.to_le_bytes());
        out[8..16].copy_from_slice(&self.at.to_le_bytes());
        out[16..20].copy_from_slice(&self.len.to_le_bytes());
        out[20..24].copy_from_slice(&self.file.to_le_bytes());
        out[24..28].copy_from_slice(&self.line.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| u32_at(bytes, at);
        Self {
            reject: word(0),
            n: word(4),
            at: u64_at(bytes, 8),
            len: word(16),
            file: word(20),
            line: word(24),
        }
    }
}

/// A reject without its lines.
#[derive(Serialize, Deserialize)]
struct Head {
    reject: Reject,
    lines: u32,
}

/// A temporary file that is written, and read afterwards.
struct Spool {
    path: PathBuf,
    file: BufWriter<File>,
    len: u64,
}

impl Drop for Spool {
    fn drop(&mut self) {
        // A file that stays behind is removed with the folder at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Spool {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = BufWriter::new(file.map_err(|e| Error::io(&path, e))?);
        Ok(Self { path, file, len: 0 })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, e))
    }

    /// Reads from its beginning.
    fn rewound(&mut self) -> Result<BufReader<&mut File>> {
        self.file.flush().and_then(|()| self.file.rewind()).map_err(|e| Error::io(&self.path, e))?;
        Ok(BufReader::new(self.file.get_mut()))
    }
}

/// Rejects whose lines are still to be read.
pub struct Originals {
    folder: PathBuf,
    heads: Option<Spool>,
    count: u32,
    wanted: Sorter<Wanted>,
    /// Keys whose published value the batch has in a line of which no record was
    /// made, with their rejects.
    published: HashMap<KeyHash, u32>,
    first: Option<String>,
}

/// What lines are found in.
pub struct OriginalsInput<'a> {
    /// The batch.
    pub batch: &'a Batch,
    /// What is published.
    pub snapshot: Option<&'a Snapshot>,
    /// Which attributes are volatile or unordered.
    pub rules: &'a ComparisonRules,
    /// Limits of reading.
    pub limits: &'a ReadLimits,
    /// Whether to go on.
    pub halt: Halt<'a>,
}

impl Originals {
    /// None; spills to `folder`.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            heads: None,
            count: 0,
            wanted: Sorter::new(folder, "originals", BUDGET),
            published: HashMap::new(),
            first: None,
        }
    }

    /// Takes a reject about `key` and where its lines are, by file and line; and
    /// whether one more has the published value, before all of them.
    ///
    /// # Errors
    /// When the state folder can't be written.
    pub fn push(
        &mut self,
        reject: Reject,
        key: KeyHash,
        lines: &[(u32, u32)],
        published: bool,
    ) -> Result<()> {
        self.first.get_or_insert_with(|| reject.place_and_problem());
        let number = self.count;
        self.count += 1;
        if published {
            self.published.insert(key, number);
        }
        let before = u32::from(published);
        for (n, &(file, line)) in lines.iter().enumerate() {
            let is_last = n + 1 == lines.len();
            self.wanted.push(Wanted { file, line, reject: number, n: before + n as u32, is_last })?;
        }
        let head = Head { reject, lines: before + lines.len() as u32 };
        let mut bytes = serde_json::to_vec(&head).map_err(|e| Error::internal("a reject").caused_by(e))?;
        bytes.push(b'\n');
        let heads = match &mut self.heads {
            Some(heads) => heads,
            None => self.heads.insert(Spool::new(&self.folder, "originals.heads")?),
        };
        heads.push(&bytes)
    }

    /// Where the first one was and what is wrong with it.
    pub fn first(&self) -> Option<String> {
        self.first.clone()
    }

    /// Reads the lines, and hands the rejects with them to `rejects`.
    ///
    /// # Errors
    /// When a file of the batch is no longer as it was, or the state folder can't
    /// be written; and as [`Rejects::push`].
    pub fn read(mut self, input: &OriginalsInput<'_>, rejects: &Rejects) -> Result<()> {
        let Some(mut heads) = self.heads.take() else { return Ok(()) };
        let kept = Sorter::new(&self.folder, "originals-kept", BUDGET);
        let mut wanted = self.wanted.finish()?;
        let mut finder = Finder {
            input,
            next: wanted.take_next()?,
            wanted,
            published: self.published,
            bytes: vec![0; self.count as usize],
            spool: Spool::new(&self.folder, "originals.lines")?,
            kept,
            scratch: Scratch::default(),
            bodies: Bodies::new()?,
            canonicalizer: Canonicalizer::new(),
            canonical: Vec::new(),
            forms: [Vec::new(), Vec::new()],
        };
        for (number, file) in input.batch.files.iter().enumerate() {
            finder.read(number as u32, file)?;
        }
        let mut kept = finder.kept.finish()?;
        let mut next = kept.take_next()?;
        let mut lines = finder.spool.rewound()?;
        let path = heads.path.clone();
        let at = |e| Error::io(&path, e);
        let mut read = heads.rewound()?;
        let mut text = Vec::new();
        for number in 0..self.count {
            text.clear();
            read.read_until(b'\n', &mut text).map_err(at)?;
            let head: Head =
                serde_json::from_slice(&text).map_err(|e| Error::internal("a reject").caused_by(e))?;
            let mut reject = head.reject;
            let (mut found, mut places) = (0, None);
            while let Some(line) = next.filter(|line| line.reject == number) {
                if found > 0 {
                    reject.content.push(b'\n');
                }
                let from = reject.content.len();
                reject.content.resize(from + line.len as usize, 0);
                lines
                    .seek(SeekFrom::Start(line.at))
                    .and_then(|_| lines.read_exact(&mut reject.content[from..]))
                    .map_err(|e| Error::io(&self.folder, e))?;
                found += 1;
                places = Some((places.map_or(line, |(first, _)| first), line));
                next = kept.take_next()?;
            }
            reject.cut |= found < head.lines;
            if let Some((first, last)) = places.filter(|_| reject.problem == CONTRADICTS) {
                // As many words whatever their number: they are one reason.
                let at =
                    |line: Kept| format!("{} line {}", input.batch.files[line.file as usize].path, line.line);
                let text = format!(", {} in all: {} and {}", head.lines, at(first), at(last));
                reject.problem.push_str(&text);
            }
            rejects.push(&reject)?;
        }
        Ok(())
    }
}

/// Finds the lines that are wanted.
struct Finder<'a> {
    input: &'a OriginalsInput<'a>,
    next: Option<Wanted>,
    wanted: Sorted<Wanted>,
    published: HashMap<KeyHash, u32>,
    /// Bytes that are kept of each reject.
    bytes: Vec<u64>,
    spool: Spool,
    kept: Sorter<Kept>,
    scratch: Scratch,
    bodies: Bodies,
    canonicalizer: Canonicalizer,
    canonical: Vec<u8>,
    /// What two values are compared by.
    forms: [Vec<u8>; 2],
}

impl Finder<'_> {
    /// Reads a file, if there may be something in it.
    fn read(&mut self, number: u32, file: &BatchFile) -> Result<()> {
        let is_of_kind = |key: &KeyHash| key.kind() == file.kind;
        let seeks_published = self.published.keys().any(is_of_kind);
        if !seeks_published && self.next.is_none_or(|next| next.file != number) {
            return Ok(());
        }
        let input = self.input;
        let mut lines = FileLines { finder: self, file: number, kind: file.kind, seeks_published };
        read_file(&input.batch.folder, file, input.limits, &mut lines)
            .map_err(|e| e.context(format!("batch {}", input.batch.id)))?;
        Ok(())
    }

    fn keep(&mut self, (reject, n, is_last): (u32, u32, bool), at: (u32, u32), line: &[u8]) -> Result<()> {
        let bytes = &mut self.bytes[reject as usize];
        let len = line.len() as u64;
        if n != 0 && !is_last && *bytes + len > MAX_SAID {
            return Ok(());
        }
        *bytes += len;
        let (file, line_no) = at;
        let len = line.len() as u32;
        self.kept.push(Kept { reject, n, at: self.spool.len, len, file, line: line_no })?;
        self.spool.push(line)
    }

    /// Whether the line has the published value of its key.
    fn is_published(&mut self, key: KeyHash, line: &Line<'_>) -> Result<bool> {
        let (Some(snapshot), Some(attributes)) = (self.input.snapshot, line.attributes) else {
            return Ok(false);
        };
        let Some(found) = snapshot.live(key, &mut self.scratch)? else { return Ok(false) };
        self.canonical.clear();
        if self.canonicalizer.run(attributes, &mut self.canonical).is_err() {
            return Ok(false);
        }
        let body = snapshot.body(&found, &mut self.bodies)?;
        let [said, published] = &mut self.forms;
        said.clear();
        published.clear();
        comparison_form(&self.canonical, self.input.rules, said);
        comparison_form(body.body()?.attributes, self.input.rules, published);
        Ok(xxh3_64(said) == xxh3_64(published))
    }
}

/// The lines of one file.
struct FileLines<'f, 'a> {
    finder: &'f mut Finder<'a>,
    file: u32,
    kind: Kind,
    seeks_published: bool,
}

impl LineSink for FileLines<'_, '_> {
    fn passed(&mut self, _stored: u64) -> Result<()> {
        self.finder.input.halt.check()
    }

    fn line(&mut self, line_no: u64, line: &[u8]) -> Result<()> {
        let finder = &mut *self.finder;
        // Lines count to 32 bits where they are wanted.
        let line_no = line_no as u32;
        if let Some(next) = finder.next.filter(|next| (next.file, next.line) == (self.file, line_no)) {
            finder.next = finder.wanted.take_next()?;
            return finder.keep((next.reject, next.n, next.is_last), (self.file, line_no), line);
        }
        if !self.seeks_published || finder.published.is_empty() {
            return Ok(());
        }
        let Ok(parsed) = parse_line(self.kind, finder.input.batch.mode, line) else { return Ok(()) };
        let key = parsed.key.hash();
        let Some(reject) = finder.published.get(&key).copied() else { return Ok(()) };
        if finder.is_published(key, &parsed)? {
            finder.published.remove(&key);
            return finder.keep((reject, 0, false), (self.file, line_no), line);
        }
        Ok(())
    }

    fn bad_line(&mut self, _line_no: u64, _start_of_line: &[u8], _problem: BadLine) -> Result<()> {
        // It is a reject of its own.
        Ok(())
    }
}
