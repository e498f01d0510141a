//! `batches check`: a folder against the whole contract, with everything that
//! is wrong told at once. Touches no state.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::batch::BatchFile;
use super::folder::{ahead, kind_of, plain_file, read_manifest};
use super::listed::{Listed, ListedFile};
use super::manifest::{self, Readable};
use super::reader::{FileReport, LineSink, ReadLimits, mismatches, read_unverified};
use super::write;
use crate::domain::assertion::{BadLine, LineKey, bad_attributes, parse_line};
use crate::domain::ids::FolderName;
use crate::domain::json::Canonicalizer;
use crate::domain::key::{KeyHash, Kind};
use crate::domain::settings::Mode;
use crate::error::{Error, ErrorKind, Result};

/// Findings that are kept; all are counted.
const KEEP: usize = 1_000;

/// Something that is wrong, or should be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line, from 1; 0: the file as a whole.
    pub line: u64,
    /// The field; empty: the line or file as a whole.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, " line {}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, " `{}`", self.field)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The folder.
    pub folder: String,
    /// Entities without errors.
    pub entities: u64,
    /// Relationships without errors.
    pub relationships: u64,
    /// How many things are wrong.
    pub errors: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
    /// What should be looked at.
    pub warnings: Vec<Finding>,
}

impl CheckReport {
    fn error(&mut self, finding: Finding) {
        self.errors += 1;
        if self.findings.len() < KEEP {
            self.findings.push(finding);
        }
    }

    fn warn(&mut self, finding: Finding) {
        if self.warnings.len() < KEEP {
            self.warnings.push(finding);
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "error: {finding}")?;
        }
        if self.errors > self.findings.len() as u64 {
            let more = self.errors - self.findings.len() as u64;
            writeln!(f, "… and {}", counted(more, "more error", "more errors"))?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let verdict = if self.errors == 0 { "keeps to the contract" } else { "breaks the contract" };
        writeln!(
            f,
            "{} {verdict}: {}, {}, {}, {}",
            self.folder,
            counted(self.entities, "entity", "entities"),
            counted(self.relationships, "relationship", "relationships"),
            counted(self.errors, "error", "errors"),
            counted(self.warnings.len() as u64, "warning", "warnings"),
        )
    }
}

fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// What a folder is checked by, besides the contract.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Limits of reading.
    pub limits: ReadLimits,
    /// The time.
    pub now: Timestamp,
    /// How far ahead of it a source timestamp may lie.
    pub max_future: Duration,
}

/// Checks a folder. `progress` is told how many stored bytes were read since it was
/// called last.
///
/// # Errors
/// Only when the folder can't be looked at; what is wrong with the batch is
/// in the report. Memory: 32 bytes for each key.
pub fn check(folder: &Path, rules: &Rules, progress: &dyn Fn(u64)) -> Result<CheckReport> {
    let mut report = CheckReport { folder: folder.display().to_string(), ..CheckReport::default() };
    if !folder.is_dir() {
        return Err(Error::new(ErrorKind::NotFound, format!("{} is not a folder", folder.display())));
    }
    let mut readable = Readable::default();
    match read_manifest(folder) {
        Ok(bytes) => {
            if let Err(problems) = manifest::parse_into(&bytes, &mut readable) {
                for problem in problems.0 {
                    let finding = of_file(manifest::MANIFEST, &problem.field, problem.problem);
                    report.error(Finding { line: problem.line, ..finding });
                }
            }
        }
        Err(error) => report.error(of_file(manifest::MANIFEST, "", error.to_string())),
    }
    check_times(&readable, rules, &mut report);
    check_names(folder, &readable, &mut report);
    let mut keys = Keys::default();
    let mut read: HashMap<&str, Option<FileReport>> = HashMap::new();
    let unlisted = unlisted(folder, &readable.listed)?;
    for file in readable.listed.files.iter().chain(&unlisted) {
        let kind = file.kind.or_else(|| kind_of(&file.path));
        let batch_file = file.of_kind(kind.unwrap_or(Kind::Entity));
        // What is listed twice is read once, and held against both entries.
        let read = read.entry(&file.path).or_insert_with(|| {
            let mut sink = Checking {
                report: &mut report,
                keys: &mut keys,
                kind,
                // The mode that takes every line, where the manifest's can't be read.
                mode: readable.mode.unwrap_or(Mode::Incremental),
                path: &file.path,
                canonicalizer: Canonicalizer::new(),
                canonical: Vec::new(),
                unknown: 0,
                progress,
                passed: 0,
            };
            sink.read(folder, &batch_file, &rules.limits)
        });
        for error in read.iter().flat_map(|read| mismatches(&batch_file, read)) {
            report.error(of_file(&file.path, "", error.to_string()));
        }
    }
    Ok(report)
}

/// The data files that are there by their names, where the manifest does not say
/// which ones there are.
fn unlisted(folder: &Path, listed: &Listed) -> Result<Vec<ListedFile>> {
    let mut files = Vec::new();
    if listed.has_all_paths {
        return Ok(files);
    }
    let paths: HashSet<&str> = listed.files.iter().map(|file| file.path.as_str()).collect();
    let at = |e| Error::io(folder, e);
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let Ok(name) = entry.map_err(at)?.file_name().into_string() else { continue };
        if kind_of(&name).is_some() && !paths.contains(name.as_str()) {
            files.push(ListedFile::unlisted(name));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn of_file(file: &str, field: &str, problem: String) -> Finding {
    Finding { file: file.into(), line: 0, field: field.into(), problem }
}

/// Holds the times of a manifest against the clock.
fn check_times(readable: &Readable, rules: &Rules, report: &mut CheckReport) {
    for (field, time) in [
        ("source_timestamp", readable.source_timestamp),
        ("processing_timestamp", readable.processing_timestamp),
    ] {
        if let Some(problem) = time.and_then(|time| ahead(time, rules.now, rules.max_future)) {
            report.error(of_file(manifest::MANIFEST, field, problem));
        }
    }
}

/// Holds a manifest against the folder's name, where that has the form that it
/// has in an inbox.
fn check_names(folder: &Path, readable: &Readable, report: &mut CheckReport) {
    let whole = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let named = |path: &Path| path.file_name().and_then(|name| name.to_str().map(str::to_owned));
    let Some(name) = named(&whole).and_then(|name| name.parse::<FolderName>().ok()) else { return };
    // The time of a folder's name is cut to seconds.
    let cut = |time| FolderName::new(time, name.run_id().clone()).time().to_string();
    for (field, found, wanted) in [
        ("run_id", readable.run_id.as_ref().map(ToString::to_string), name.run_id().to_string()),
        ("source_timestamp", readable.source_timestamp.map(cut), name.time().to_string()),
    ] {
        if let Some(found) = found.filter(|found| *found != wanted) {
            let text = format!("is {found}, the folder says {wanted}");
            report.error(of_file(manifest::MANIFEST, field, text));
        }
    }
    if let Some(source_id) = &readable.source_id
        && let Some(parent) = whole.parent().and_then(named)
        && parent != source_id.as_str()
    {
        let text = format!(
            "is {source_id}, and the folder lies in {parent:?}: in an inbox it has to lie in a folder of its source"
        );
        report.warn(of_file(manifest::MANIFEST, "source_id", text));
    }
}

#[derive(Default)]
struct Keys {
    values: HashMap<KeyHash, u64>,
    plain: HashMap<u128, u64>,
}

struct Checking<'a> {
    report: &'a mut CheckReport,
    keys: &'a mut Keys,
    /// `None`: neither the manifest nor the file's name tells; each line does.
    kind: Option<Kind>,
    mode: Mode,
    path: &'a str,
    canonicalizer: Canonicalizer,
    canonical: Vec<u8>,
    unknown: u64,
    progress: &'a dyn Fn(u64),
    /// Stored bytes of the file that were told of.
    passed: u64,
}

impl Checking<'_> {
    /// Reads a file; `None`: not to its end.
    fn read(&mut self, folder: &Path, file: &BatchFile, limits: &ReadLimits) -> Option<FileReport> {
        let stored = match plain_file(folder, &file.path) {
            Ok(meta) => meta.len(),
            Err(error) => {
                self.report.error(of_file(&file.path, "", error.to_string()));
                return None;
            }
        };
        let read = read_unverified(folder, file, limits, self);
        if self.unknown > 0 {
            self.report.warn(of_file(&file.path, "", unknown_members(self.unknown)));
        }
        match read {
            Ok(read) => Some(read),
            Err(error) => {
                self.report.error(of_file(&file.path, "", error.to_string()));
                // Of what was not read to its end the size is known all the same.
                let size = BatchFile { count: None, xxh3: None, ..file.clone() };
                let report = FileReport { stored_bytes: stored, ..FileReport::default() };
                for error in mismatches(&size, &report) {
                    self.report.error(of_file(&file.path, "", error.to_string()));
                }
                None
            }
        }
    }

    fn bad(&mut self, line: u64, bad: BadLine) {
        self.report.error(Finding { file: self.path.into(), line, field: bad.field, problem: bad.problem });
    }
}

impl LineSink for Checking<'_> {
    fn passed(&mut self, stored: u64) -> Result<()> {
        (self.progress)(stored.saturating_sub(self.passed));
        self.passed = stored;
        Ok(())
    }

    fn line(&mut self, line_no: u64, line: &[u8]) -> Result<()> {
        let kind = self.kind.unwrap_or_else(|| write::kind_of(line));
        let parsed = match parse_line(kind, self.mode, line) {
            Ok(parsed) => parsed,
            Err(bad) => {
                self.bad(line_no, bad);
                return Ok(());
            }
        };
        self.unknown += u64::from(parsed.unknown_members);
        self.canonical.clear();
        if let Some(attributes) = parsed.attributes
            && let Err(error) = self.canonicalizer.run(attributes, &mut self.canonical)
        {
            self.bad(line_no, bad_attributes(&parsed, error));
            return Ok(());
        }
        // 0 stands for "asserted absent": no canonical form is empty.
        let value = if parsed.attributes.is_some() { xxh3_64(&self.canonical) } else { 0 };
        let hash = parsed.key.hash();
        match self.keys.values.insert(hash, value) {
            Some(before) if before != value => {
                let problem = format!("says something else about {} than a line before", parsed.key.to_key());
                self.bad(line_no, BadLine::new("", problem));
                return Ok(());
            }
            Some(_) => return Ok(()),
            None => {}
        }
        match kind {
            Kind::Entity => self.report.entities += 1,
            Kind::Relationship => self.report.relationships += 1,
        }
        if let LineKey::Entity { type_name, qualified_name } = &parsed.key {
            let plain =
                format!("{type_name}\0{}", qualified_name.trim().nfc().collect::<String>().to_lowercase());
            if let Some(before) = self.keys.plain.insert(xxh3_128(plain.as_bytes()), line_no) {
                self.report.warn(Finding {
                    file: self.path.into(),
                    line: line_no,
                    field: "qualified_name".into(),
                    problem: format!(
                        "differs from that of line {before} only by case, Unicode form or outer blanks"
                    ),
                });
            }
        }
        Ok(())
    }

    fn bad_line(&mut self, line_no: u64, _start: &[u8], problem: BadLine) -> Result<()> {
        self.bad(line_no, problem);
        Ok(())
    }
}

/// That lines have members that are ignored.
pub fn unknown_members(lines: u64) -> String {
    let have = if lines == 1 { "line has" } else { "lines have" };
    format!("{lines} {have} members that the contract does not name; they are ignored")
}
