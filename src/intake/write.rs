//! `batches write`: a correct batch folder from lines, manifest last.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use super::batch::Compression;
use super::manifest::{self, FORMAT, MANIFEST};
use super::pack::OpenFile;
use super::reader::{ReadLimits, too_long};
use crate::domain::assertion::{BadLine, Line, bad_attributes, parse_line};
use crate::domain::ids::{FolderName, RunId, SourceId};
use crate::domain::json::Canonicalizer;
use crate::domain::json::scan::Scanner;
use crate::domain::key::{KeyHash, Kind};
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::error::{Error, ErrorKind, Result};

/// What the batch is.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// The source.
    pub source_id: SourceId,
    /// The run.
    pub run_id: RunId,
    /// The workflow; may be empty.
    pub workflow: String,
    /// What the lines assert.
    pub mode: Mode,
    /// When the data was extracted.
    pub source_timestamp: Timestamp,
    /// When it is written.
    pub processing_timestamp: Timestamp,
    /// What a full batch speaks for.
    pub scope: Scope,
    /// The workflow's own word for its complexity, from 1 to 10.
    pub complexity: Option<u8>,
    /// How files are packed.
    pub compression: Compression,
    /// Lines of a file.
    pub lines_per_file: u64,
}

/// Lines that are wrong of which an error tells.
const TOLD: usize = 20;

/// Where a batch is written: under a name beside its own, which it gets when it is
/// whole. Names that begin with a dot are no batches in an inbox.
#[derive(Debug, Clone)]
pub struct Place {
    folder: PathBuf,
    part: PathBuf,
    /// Whether it was cleared, which then ends what writes: nothing gets its name
    /// while it is removed.
    cleared: Arc<Mutex<bool>>,
    /// Folders above it that are not there yet, the innermost first.
    missing: Vec<PathBuf>,
}

impl Place {
    /// The place of a batch below `root`.
    pub fn new(options: &WriteOptions, root: &Path) -> Self {
        let name = FolderName::new(options.source_timestamp, options.run_id.clone());
        let source = root.join(options.source_id.as_str());
        let folder = source.join(name.to_string());
        // A process before this one may have had its number, and left its part.
        let part = |n| source.join(format!(".{name}.{}-{n}.part", std::process::id()));
        let part = (0..u32::MAX).map(part).find(|part| !part.exists()).unwrap_or_else(|| part(u32::MAX));
        let missing = folder.ancestors().skip(1).take_while(|path| !path.exists()).map(Path::to_owned);
        Self { missing: missing.collect(), folder, part, cleared: Arc::default() }
    }

    /// Removes what is not whole, and the folders that were made for it. What
    /// something else was put into stays.
    pub fn clear(&self) {
        let mut cleared = self.cleared.lock().unwrap_or_else(PoisonError::into_inner);
        *cleared = true;
        let _ = std::fs::remove_dir_all(&self.part);
        for path in &self.missing {
            let _ = std::fs::remove_dir(path);
        }
    }

    fn is_free(&self) -> Result<()> {
        if self.folder.exists() {
            let text = format!("{} is there already; give the run another name", self.folder.display());
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        Ok(())
    }

    fn name(&self) -> Result<()> {
        self.is_free()?;
        let cleared = self.cleared.lock().unwrap_or_else(PoisonError::into_inner);
        if *cleared {
            return Err(Error::new(ErrorKind::Conflict, "it was stopped"));
        }
        std::fs::rename(&self.part, &self.folder).map_err(|e| Error::io(&self.folder, e))?;
        let above = self.folder.parent().unwrap_or(&self.folder);
        File::open(above).and_then(|above| above.sync_all()).map_err(|e| Error::io(above, e))
    }
}

/// Reads lines of entities and relationships, told apart by their `from`, and
/// writes them as a batch at its place, so that it keeps to these limits.
/// Returns its folder.
///
/// # Errors
/// The lines that break the contract, by number, and those that contradict one
/// before; a folder that is there already. What was made until then is removed.
/// Memory: 40 bytes for each key.
pub fn write_batch(
    options: &WriteOptions,
    limits: &ReadLimits,
    input: &mut dyn BufRead,
    place: &Place,
) -> Result<PathBuf> {
    place.is_free()?;
    let source = place.part.parent().unwrap_or(&place.part);
    std::fs::create_dir_all(source)
        .and_then(|()| std::fs::create_dir(&place.part))
        .map_err(|e| Error::io(&place.part, e))?;
    let mut wrong = Wrong { lines: Vec::new(), count: 0, keys: Some(HashMap::new()) };
    let written = write_files(options, Some(limits), input, &place.part, &mut wrong)
        .and_then(|()| wrong.into_result())
        .and_then(|()| place.name());
    if written.is_err() {
        place.clear();
    }
    written.map(|()| place.folder.clone())
}

/// The same into a folder that is there and empty. Two lines about one key are
/// left to planning.
///
/// # Errors
/// The lines that break the contract, by number.
pub fn write_into(options: &WriteOptions, input: &mut dyn BufRead, folder: &Path) -> Result<()> {
    let mut wrong = Wrong { lines: Vec::new(), count: 0, keys: None };
    write_files(options, None, input, folder, &mut wrong)?;
    wrong.into_result()
}

/// What is wrong with the lines, all told at once.
struct Wrong {
    lines: Vec<String>,
    count: u64,
    /// What was said of each key, and in which line, where that is looked at.
    keys: Option<HashMap<KeyHash, (u64, u64)>>,
}

impl Wrong {
    fn add(&mut self, line_no: u64, bad: BadLine) {
        self.count += 1;
        if self.lines.len() < TOLD {
            let field = if bad.field.is_empty() { String::new() } else { format!(" `{}`", bad.field) };
            self.lines.push(format!("line {line_no}{field}: {}", bad.problem));
        }
    }

    /// Whether a line says what one before it said of its key, or nothing did.
    fn agrees(&mut self, line_no: u64, line: &Line<'_>, canonical: &[u8]) -> Result<(), BadLine> {
        let Some(keys) = &mut self.keys else { return Ok(()) };
        // 0 stands for "asserted absent": no canonical form is empty.
        let value = if line.attributes.is_some() { xxh3_64(canonical) } else { 0 };
        let (said, before) = *keys.entry(line.key.hash()).or_insert((value, line_no));
        if said == value {
            return Ok(());
        }
        let problem = format!("says something else about {} than line {before}", line.key.to_key());
        Err(BadLine::new("", problem))
    }

    fn into_result(self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let more = self.count - self.lines.len() as u64;
        let more = if more == 0 { String::new() } else { format!("; and {more} more lines") };
        Err(Error::new(ErrorKind::LineInvalid, format!("{}{more}", self.lines.join("; "))))
    }
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
enum ReadLine {
    Whole,
    /// The beginning of a line that is too long.
    TooLong,
    /// Nothing: no line is left.
    End,
}

/// Bytes of a line beside its text: a byte order mark, and its end.
const BESIDE: usize = 5;

/// Reads a line, of a long one no more than tells that it is, and goes on behind it.
fn read_line(input: &mut dyn BufRead, max_line: usize, line: &mut Vec<u8>) -> std::io::Result<ReadLine> {
    line.clear();
    let most = max_line.saturating_add(BESIDE);
    let n = Read::take(&mut *input, most as u64).read_until(b'\n', line)?;
    if n == most && !line.ends_with(b"\n") && input.skip_until(b'\n')? > 0 {
        return Ok(ReadLine::TooLong);
    }
    Ok(if n == 0 { ReadLine::End } else { ReadLine::Whole })
}

/// What a line is, by its members.
pub fn kind_of(line: &[u8]) -> Kind {
    if has_from(line) { Kind::Relationship } else { Kind::Entity }
}

fn write_files(
    options: &WriteOptions,
    limits: Option<&ReadLimits>,
    input: &mut dyn BufRead,
    folder: &Path,
    wrong: &mut Wrong,
) -> Result<()> {
    let mut open: [Option<OpenFile>; 2] = [None, None];
    let mut numbers = [0u32; 2];
    let mut files = Vec::new();
    let mut canonicalizer = Canonicalizer::new();
    let mut canonical = Vec::new();
    let mut line = Vec::new();
    let mut line_no = 0u64;
    let max_line = limits.map_or(usize::MAX, |limits| limits.max_line);
    loop {
        let read = read_line(input, max_line, &mut line)
            .map_err(|e| Error::new(ErrorKind::Io, "standard input").caused_by(e))?;
        line_no += 1;
        match read {
            ReadLine::Whole => {}
            ReadLine::TooLong => {
                wrong.add(line_no, too_long(max_line));
                continue;
            }
            ReadLine::End => break,
        }
        let text = match line_no {
            1 => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line),
            _ => &line,
        };
        let text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if text.len() > max_line {
            wrong.add(line_no, too_long(max_line));
            continue;
        }
        let kind = kind_of(text);
        let parsed = match parse_line(kind, options.mode, text) {
            Ok(parsed) => parsed,
            Err(bad) => {
                wrong.add(line_no, bad);
                continue;
            }
        };
        canonical.clear();
        if let Some(attributes) = parsed.attributes
            && let Err(error) = canonicalizer.run(attributes, &mut canonical)
        {
            wrong.add(line_no, bad_attributes(&parsed, error));
            continue;
        }
        if let Err(bad) = wrong.agrees(line_no, &parsed, &canonical) {
            wrong.add(line_no, bad);
            continue;
        }
        if wrong.count > 0 {
            // Nothing comes of it any more: only what else is wrong is looked for.
            continue;
        }
        let slot = &mut open[kind as usize];
        let is_full = |file: &OpenFile| {
            file.count() >= options.lines_per_file
                || limits.is_some_and(|limits| file.with_line(text.len()) > limits.max_file)
        };
        if let Some(full) = slot.take_if(|file| is_full(file)) {
            files.push(full.finish(numbers[kind as usize] - 1, limits)?);
        }
        let file = match slot {
            Some(file) => file,
            None => {
                let number = numbers[kind as usize];
                numbers[kind as usize] += 1;
                slot.insert(OpenFile::create(folder, kind, number, options.compression)?)
            }
        };
        file.write(text)?;
    }
    if wrong.count > 0 {
        return Ok(());
    }
    for (slot, kind) in open.iter_mut().zip([Kind::Entity, Kind::Relationship]) {
        if let Some(file) = slot.take() {
            files.push(file.finish(numbers[kind as usize] - 1, limits)?);
        }
    }
    files.sort_by_key(|file| file["path"].as_str().map(str::to_owned));
    let manifest = json!({
        "format": FORMAT,
        "source_id": options.source_id,
        "run_id": options.run_id,
        "workflow": options.workflow,
        "mode": options.mode.as_str(),
        "source_timestamp": options.source_timestamp.to_string(),
        "processing_timestamp": options.processing_timestamp.to_string(),
        "scope": options.scope,
        "complexity": options.complexity,
        "extra": {},
        "files": files,
    });
    let partial = folder.join(".manifest.partial");
    let path = folder.join(MANIFEST);
    let text =
        serde_json::to_vec_pretty(&manifest).map_err(|e| Error::internal("a manifest").caused_by(e))?;
    if limits.is_some()
        && let Err(problems) = manifest::parse(&text)
    {
        // Whoever reads the folder would refuse it.
        let what = problems.into_error("the batch").message().to_owned();
        let action = "Nothing was written. Mend what it names; for a manifest that is too large, have more lines in a file.";
        return Err(Error::new(ErrorKind::Usage, what).with_action(action));
    }
    let at = |e| Error::io(&partial, e);
    let mut file = File::create(&partial).map_err(at)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(at)?;
    std::fs::rename(&partial, &path).map_err(|e| Error::io(&path, e))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::io(folder, e))
}

/// Whether the line has a member `from` at its top level.
fn has_from(line: &[u8]) -> bool {
    let mut scanner = Scanner::new(line);
    if std::str::from_utf8(line).is_err() || !scanner.take(b'{') {
        return false;
    }
    scanner.white_space();
    loop {
        let Ok(name) = scanner.string() else { return false };
        if name.decode() == "from" {
            return true;
        }
        if scanner.colon().is_err()
            || scanner.skip(1).is_err()
            || !matches!(scanner.separator(b'}'), Ok(false))
        {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn of_a_line_that_is_too_long_no_more_is_held_than_tells_so() {
        let long = std::io::repeat(b'x').take(50 << 20);
        let mut input = BufReader::new(b"\xef\xbb\xbf0123456789\r\n".chain(long).chain(&b"\nlast"[..]));
        let mut line = Vec::new();
        let mut next = |line: &mut Vec<u8>| read_line(&mut input, 10, line).unwrap();
        assert_eq!((next(&mut line), line.len()), (ReadLine::Whole, 15));
        assert_eq!(next(&mut line), ReadLine::TooLong);
        assert!(line.capacity() < 1_000, "{}", line.capacity());
        assert_eq!((next(&mut line), &line[..]), (ReadLine::Whole, &b"last"[..]));
        assert_eq!(next(&mut line), ReadLine::End);
    }
}
