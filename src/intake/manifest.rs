//! The manifest of a batch (contract: batch folder v1): reading it, with all
//! that is wrong reported at once.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use serde::Serialize;
use serde_json::{Map, Value};

use super::batch::{BatchFile, Compression};
use super::listed::{Listed, ListedFile};
use crate::domain::glob::Glob;
use crate::domain::ids::{RunId, SourceId};
use crate::domain::json::{canonicalize, lines_of, named_twice};
use crate::domain::key::Kind;
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::error::{Error, ErrorKind};
use crate::limits::{MAX_GLOBS, MAX_MANIFEST};

/// The name of the manifest in a batch folder.
pub const MANIFEST: &str = "manifest.json";
/// The format that this version reads.
pub const FORMAT: &str = "tidegate.batch/1";

/// A valid manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The source.
    pub source_id: SourceId,
    /// The run that wrote the batch.
    pub run_id: RunId,
    /// The workflow; empty if it does not say.
    pub workflow: String,
    /// What the lines assert.
    pub mode: Mode,
    /// When the data was extracted.
    pub source_timestamp: Timestamp,
    /// When it was transformed and written.
    pub processing_timestamp: Timestamp,
    /// What a full batch speaks for.
    pub scope: Scope,
    /// The workflow's own word for its complexity.
    pub complexity: Option<u8>,
    /// The data files.
    pub files: Vec<BatchFile>,
}

/// Something that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which kind of error it makes.
    #[serde(skip)]
    pub kind: ErrorKind,
    /// The line of it, from 1; 0: the file as a whole.
    pub line: u64,
    /// The field, such as `files[3].xxh3`; empty: the manifest as a whole.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

/// All that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One error for all of them.
    pub fn into_error(self, of: &str) -> Error {
        let kind = self.0.first().map_or(ErrorKind::ManifestInvalid, |problem| problem.kind);
        let list: Vec<String> = self
            .0
            .iter()
            .map(|p| {
                let field = if p.field.is_empty() { String::new() } else { format!("`{}` ", p.field) };
                let line = if p.line == 0 { String::new() } else { format!(" (line {})", p.line) };
                format!("{field}{}{line}", p.problem)
            })
            .collect();
        Error::new(kind, format!("{of}: {MANIFEST}: {}", list.join("; ")))
    }
}

const MEMBERS: [&str; 11] = [
    "format",
    "source_id",
    "run_id",
    "workflow",
    "mode",
    "source_timestamp",
    "processing_timestamp",
    "scope",
    "complexity",
    "extra",
    "files",
];

/// Reads a manifest.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Manifest, Problems> {
    parse_into(bytes, &mut Readable::default())
}

/// What could be read of a manifest, whatever is wrong with the rest.
#[derive(Debug, Clone, Default)]
pub struct Readable {
    /// The source.
    pub source_id: Option<SourceId>,
    /// The run.
    pub run_id: Option<RunId>,
    /// What the lines assert.
    pub mode: Option<Mode>,
    /// When the data was extracted.
    pub source_timestamp: Option<Timestamp>,
    /// When it was transformed and written.
    pub processing_timestamp: Option<Timestamp>,
    /// The entries of its files.
    pub listed: Listed,
}

/// The same; `readable` gets what could be read also where something is wrong.
///
/// # Errors
/// As [`parse`].
pub fn parse_into(bytes: &[u8], readable: &mut Readable) -> Result<Manifest, Problems> {
    if bytes.len() as u64 > MAX_MANIFEST {
        return Err(whole(0, format!("is larger than {MAX_MANIFEST} bytes")));
    }
    let bytes = without_mark(bytes);
    read(bytes, readable).map_err(|mut problems| {
        let mut of_fields: Vec<&mut Problem> =
            problems.0.iter_mut().filter(|problem| !problem.field.is_empty()).collect();
        let fields: Vec<&str> = of_fields.iter().map(|problem| &*problem.field).collect();
        let lines = lines_of(bytes, &fields);
        of_fields.iter_mut().zip(lines).for_each(|(problem, line)| problem.line = line);
        problems
    })
}

/// Its bytes without a byte order mark, which is read over as at the start of a data
/// file.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// What is wrong with a manifest as a whole.
fn whole(line: u64, problem: String) -> Problems {
    Problems(vec![Problem { kind: ErrorKind::ManifestInvalid, line, field: String::new(), problem }])
}

fn read(bytes: &[u8], readable: &mut Readable) -> Result<Manifest, Problems> {
    let mut reading = Reading { problems: Vec::new(), more: 0 };
    if let Err(error) = canonicalize(bytes, &mut Vec::new()) {
        // With a name that stands twice the rest can be read all the same.
        for field in named_twice(bytes) {
            reading.bad::<()>(shortened(field), "stands there twice");
        }
        if reading.problems.is_empty() {
            let line = bytes[..error.offset.min(bytes.len())].iter().filter(|b| **b == b'\n').count() + 1;
            return Err(whole(line as u64, format!("is not valid JSON: {error}")));
        }
    }
    let value: Value =
        serde_json::from_slice(bytes).map_err(|e| whole(0, format!("is not valid JSON: {e}")))?;
    let Value::Object(object) = value else { return Err(whole(0, "is not a JSON object".into())) };
    if let Some(Value::String(format)) = object.get("format")
        && format != FORMAT
    {
        return Err(Problems(vec![Problem {
            kind: ErrorKind::ManifestVersion,
            line: 0,
            field: "format".into(),
            problem: format!("is {:?}, this version reads {FORMAT:?}", shortened(format.clone())),
        }]));
    }
    reading.members(&object, "", &MEMBERS);
    reading.text(&object, "format");
    let source_id =
        reading.parsed(&object, "source_id", |text| SourceId::new(text).map_err(|e| e.problem.to_owned()));
    let run_id = reading.parsed(&object, "run_id", |text| RunId::new(text).map_err(|e| e.problem.to_owned()));
    let workflow = match object.get("workflow") {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) if text.len() <= 256 && !text.chars().any(char::is_control) => {
            Some(text.clone())
        }
        Some(_) => {
            reading.bad("workflow", "must be a string of at most 256 bytes without control characters")
        }
    };
    let mode = reading.parsed(&object, "mode", |text| match text {
        "full" => Ok(Mode::Full),
        "incremental" => Ok(Mode::Incremental),
        "patch" => Err("is \"patch\", which is reserved: use \"full\" or \"incremental\"".into()),
        _ => Err("must be \"full\" or \"incremental\"".into()),
    });
    let source_timestamp = reading.parsed(&object, "source_timestamp", timestamp);
    let processing_timestamp = reading.parsed(&object, "processing_timestamp", timestamp);
    let scope = reading.scope(&object);
    let complexity = match object.get("complexity") {
        None | Some(Value::Null) => Some(None),
        Some(value) => match whole_number(value).filter(|n| (1..=10).contains(n)) {
            Some(n) => Some(u8::try_from(n).ok()),
            None => reading.bad("complexity", "must be a whole number from 1 to 10, or null"),
        },
    };
    if !matches!(object.get("extra"), None | Some(Value::Null | Value::Object(_))) {
        reading.bad::<()>("extra", "must be an object");
    }
    let listed = reading.files(&object);
    let files = listed.batch_files();
    *readable = Readable {
        source_id: source_id.clone(),
        run_id: run_id.clone(),
        mode,
        source_timestamp,
        processing_timestamp,
        listed,
    };
    match (
        source_id,
        run_id,
        workflow,
        mode,
        source_timestamp,
        processing_timestamp,
        scope,
        complexity,
        files,
    ) {
        (
            Some(source_id),
            Some(run_id),
            Some(workflow),
            Some(mode),
            Some(source_timestamp),
            Some(processing_timestamp),
            Some(scope),
            Some(complexity),
            Some(files),
        ) if reading.problems.is_empty() => Ok(Manifest {
            source_id,
            run_id,
            workflow,
            mode,
            source_timestamp,
            processing_timestamp,
            scope,
            complexity,
            files,
        }),
        _ => Err(reading.all()),
    }
}

/// A timestamp of a batch. Names of folders have its year in four digits, so
/// what lies before the year 0 can't be kept, however it is written.
///
/// # Errors
/// What is wrong with the text, to stand behind the name of its field.
pub fn timestamp(text: &str) -> Result<Timestamp, String> {
    const FIRST: Timestamp = Timestamp::constant(-62_167_219_200, 0);
    const DAY: u32 = 86_400;
    let time: Result<Timestamp, _> = text.parse();
    // The parser takes more hours than RFC 3339 knows.
    let offset = Pieces::parse(text).ok().and_then(|pieces| pieces.to_numeric_offset());
    if offset.is_some_and(|offset| offset.seconds().unsigned_abs() >= DAY) {
        return Err("has an offset of more than 23:59 (RFC 3339)".to_owned());
    }
    if time.as_ref().is_ok_and(|time| *time < FIRST) {
        return Err(format!("is no time that can be kept: the first one is {FIRST}"));
    }
    time.map_err(|_| match Pieces::parse(text) {
        Ok(pieces) if pieces.offset().is_some() && pieces.time().is_some() => {
            format!("is no time that can be kept: the last one is {}", Timestamp::MAX)
        }
        Ok(_) | Err(_) => "must be a time with an offset, such as 2026-11-24T01:00:00Z (RFC 3339)".to_owned(),
    })
}

/// Problems that are told: a manifest may have millions.
const MOST: usize = 100;
/// Longest name that may be meant for one that is known.
const NEAR: usize = 64;

struct Reading {
    problems: Vec<Problem>,
    /// Those past that.
    more: u64,
}

impl Reading {
    fn bad<T>(&mut self, field: impl Into<String>, problem: impl Into<String>) -> Option<T> {
        self.put(ErrorKind::ManifestInvalid, field.into(), problem.into());
        None
    }

    fn put(&mut self, kind: ErrorKind, field: String, problem: String) {
        if self.problems.len() < MOST {
            self.problems.push(Problem { kind, line: 0, field, problem });
        } else {
            self.more += 1;
        }
    }

    /// What was found, the last of it how much more there is.
    fn all(mut self) -> Problems {
        if self.more > 0 {
            let problem = format!("has {} more problems", self.more);
            let (kind, field) = (ErrorKind::ManifestInvalid, String::new());
            self.problems.push(Problem { kind, line: 0, field, problem });
        }
        Problems(self.problems)
    }

    fn members(&mut self, object: &Map<String, Value>, under: &str, known: &[&str]) {
        for name in object.keys() {
            if !known.contains(&name.as_str()) {
                if self.problems.len() >= MOST {
                    self.more += 1;
                    continue;
                }
                let field = if under.is_empty() { name.clone() } else { format!("{under}.{name}") };
                let nearest = known
                    .iter()
                    .filter(|_| name.len() <= NEAR)
                    .map(|right| (strsim::damerau_levenshtein(name, right), *right))
                    .min()
                    .filter(|(distance, right)| *distance <= right.len().max(3) / 2);
                let hint = match nearest {
                    Some((_, right)) => format!("is not known: did you mean `{right}`?"),
                    None => "is not known: put what is your own under `extra`".to_owned(),
                };
                self.bad::<()>(shortened(field), hint);
            }
        }
    }

    fn text<'a>(&mut self, object: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
        match object.get(field) {
            None => self.bad(field, "is missing"),
            Some(Value::String(text)) => Some(text),
            Some(_) => self.bad(field, "must be a string"),
        }
    }

    fn parsed<T>(
        &mut self,
        object: &Map<String, Value>,
        field: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.text(object, field)?) {
            Ok(value) => Some(value),
            Err(problem) => self.bad(field, problem),
        }
    }

    fn scope(&mut self, object: &Map<String, Value>) -> Option<Scope> {
        let scope = match object.get("scope") {
            None | Some(Value::Null) => return Some(Scope::default()),
            Some(Value::Object(scope)) => scope,
            Some(_) => return self.bad("scope", "must be an object"),
        };
        self.members(scope, "scope", &["types", "names", "except"]);
        let mut out = Scope::default();
        for (name, slot) in
            [("types", &mut out.types), ("names", &mut out.names), ("except", &mut out.except)]
        {
            match scope.get(name) {
                None => {}
                Some(Value::Array(list)) if list.len() > MAX_GLOBS => {
                    let problem = format!("has {} globs, {MAX_GLOBS} are the most", list.len());
                    self.bad(format!("scope.{name}"), problem)?;
                }
                Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
                    *slot = list.iter().filter_map(Value::as_str).map(Glob::new).collect();
                }
                Some(_) => self.bad(format!("scope.{name}"), "must be an array of strings")?,
            }
        }
        Some(out)
    }

    fn files(&mut self, object: &Map<String, Value>) -> Listed {
        let mut listed = Listed::default();
        let list = match object.get("files") {
            None => {
                self.bad::<()>("files", "is missing");
                return listed;
            }
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.bad::<()>("files", "must be an array");
                return listed;
            }
        };
        listed.has_all_paths = true;
        let mut paths: HashSet<&str> = HashSet::new();
        for (n, value) in list.iter().enumerate() {
            let under = format!("files[{n}]");
            let Value::Object(file) = value else {
                self.bad::<()>(&*under, "must be an object");
                listed.has_all_paths = false;
                continue;
            };
            self.members(file, &under, &["path", "kind", "count", "bytes", "xxh3"]);
            let path = file.get("path").and_then(Value::as_str);
            if path.is_some_and(|path| !paths.insert(path)) {
                self.bad::<()>(format!("{under}.path"), "is listed twice");
            }
            match self.file(file, &under) {
                Some(file) => listed.files.push(file),
                None => listed.has_all_paths = false,
            }
        }
        listed
    }

    /// An entry; `None` without a path that can be used.
    fn file(&mut self, file: &Map<String, Value>, under: &str) -> Option<ListedFile> {
        let field = |name: &str| format!("{under}.{name}");
        let path = match file.get("path") {
            Some(Value::String(path)) => match safe_path(path) {
                Ok(()) if path.split('/').any(|part| part.starts_with('.')) => self.bad(
                    field("path"),
                    "begins with a dot: such files are passed by, for they need not be whole",
                ),
                Ok(()) => Some(path.clone()),
                Err(problem) => {
                    self.put(ErrorKind::FileUnsafe, field("path"), problem.into());
                    None
                }
            },
            Some(_) => self.bad(field("path"), "must be a string"),
            None => self.bad(field("path"), "is missing"),
        };
        let kind = match file.get("kind") {
            Some(Value::String(kind)) if kind == "entities" => Some(Kind::Entity),
            Some(Value::String(kind)) if kind == "relationships" => Some(Kind::Relationship),
            Some(_) => self.bad(field("kind"), "must be \"entities\" or \"relationships\""),
            None => self.bad(field("kind"), "is missing"),
        };
        let mut number = |name: &str| match file.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => match whole_number(value) {
                Some(n) => Some(Some(n)),
                None => self.bad(field(name), "must be a whole number"),
            },
        };
        let (count, bytes) = (number("count"), number("bytes"));
        let xxh3 = match file.get("xxh3") {
            None | Some(Value::Null) => Some(None),
            Some(Value::String(hex)) if hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Some(u64::from_str_radix(hex, 16).ok())
            }
            Some(_) => self.bad(field("xxh3"), "must be a string of 16 hex digits"),
        };
        Some(ListedFile {
            path: path?,
            kind,
            count: count.flatten(),
            bytes: bytes.flatten(),
            xxh3: xxh3.flatten(),
        })
    }
}

/// A field as it is shown.
fn shortened(field: String) -> String {
    if field.chars().count() > 100 { field.chars().take(100).collect() } else { field }
}

/// How a file is packed, by the end of its name.
pub fn compression_of(path: &str) -> Compression {
    match path.rsplit_once('.') {
        Some((_, "zst")) => Compression::Zstd,
        Some((_, "gz")) => Compression::Gzip,
        Some((_, _)) | None => Compression::None,
    }
}

/// A whole number that is not negative, however it is written: 1.0 is 1.
fn whole_number(value: &Value) -> Option<u64> {
    /// Up to here each whole number has a form of its own as a float.
    const EXACT: u64 = 1 << 53;
    let of_float = |n: f64| (n.fract() == 0.0 && (0.0..=EXACT as f64).contains(&n)).then_some(n as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(of_float)).filter(|n| *n <= EXACT)
}

/// Whether a path stays within the batch folder.
pub fn safe_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > 1024 {
        return Err("must have 1 to 1,024 bytes");
    }
    if path.starts_with('/') || path.contains(['\\', '\0', ':']) || path.chars().any(char::is_control) {
        return Err(
            "must be a plain path within the batch folder: no leading slash, backslash, colon or control character",
        );
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err("must not leave the batch folder: no `..`, `.` or empty parts");
    }
    if path == MANIFEST {
        return Err("is the manifest itself");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"format":"tidegate.batch/1","source_id":"warehouse","run_id":"run-1","workflow":"postgres",
        "mode":"full","source_timestamp":"2026-11-24T01:00:00Z","processing_timestamp":"2026-11-24T02:02:03+01:00",
        "scope":{"types":["*"],"names":["sales.*"],"except":[]},"complexity":null,"extra":{"anything":[1]},
        "files":[{"path":"entities-00000.ndjson.zst","kind":"entities","count":1,"bytes":2,"xxh3":"00000000000000ff"},
                 {"path":"sub/relationships.ndjson","kind":"relationships"}]}"#;

    fn problems(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).unwrap_err().0.into_iter().map(|p| (p.field, p.problem)).collect()
    }

    #[test]
    fn a_good_manifest_is_read_whole() {
        let manifest = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.source_id.as_str(), "warehouse");
        assert_eq!(manifest.processing_timestamp.to_string(), "2026-11-24T01:02:03Z");
        assert_eq!(manifest.scope.names, [Glob::new("sales.*")]);
        assert_eq!(manifest.files[0].xxh3, Some(255));
        assert_eq!(manifest.files[0].compression, Compression::Zstd);
        assert_eq!((manifest.files[1].kind, manifest.files[1].count), (Kind::Relationship, None));
    }

    #[test]
    fn all_problems_are_told_at_once_with_their_fields() {
        let bad = r#"{"format":"tidegate.batch/1","source_id":"../x","run_id":"r","mode":"patch","sorce_timestamp":"x",
            "source_timestamp":"2026-11-24T01:00:00","processing_timestamp":5,"complexity":11,
            "files":[{"path":"../a","kind":"tables","xxh3":"zz","count":-1}]}"#;
        let fields: Vec<String> = problems(bad).into_iter().map(|(field, _)| field).collect();
        assert_eq!(
            fields,
            [
                "sorce_timestamp",
                "source_id",
                "mode",
                "source_timestamp",
                "processing_timestamp",
                "complexity",
                "files[0].path",
                "files[0].kind",
                "files[0].count",
                "files[0].xxh3"
            ]
        );
        assert!(problems(bad)[0].1.contains("did you mean `source_timestamp`?"));
        let error = parse(bad.as_bytes()).unwrap_err().into_error("batch x");
        assert!(
            error.message().contains("`complexity` must be a whole number from 1 to 10, or null (line 2)")
        );
        assert!(error.message().contains("`processing_timestamp` must be a string (line 2)"), "{error}");
        assert!(error.message().ends_with("(line 3)"), "{error}");
    }

    #[test]
    fn a_scope_has_so_many_globs_at_most() {
        let with = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
            GOOD.replace(r#"["sales.*"]"#, &serde_json::json!(names).to_string())
        };
        assert_eq!(parse(with(MAX_GLOBS).as_bytes()).unwrap().scope.names.len(), MAX_GLOBS);
        let [(field, problem)] = &problems(&with(MAX_GLOBS + 1))[..] else { panic!() };
        assert_eq!((&field[..], &problem[..]), ("scope.names", "has 10001 globs, 10000 are the most"));
    }

    #[test]
    fn other_formats_and_broken_json_are_told_apart() {
        let kind = |text: &str| parse(text.as_bytes()).unwrap_err().0[0].kind;
        assert_eq!(kind(r#"{"format":"tidegate.batch/2"}"#), ErrorKind::ManifestVersion);
        for text in ["", "[]", "{", "\u{feff}{}", r#"{"format":1,"format":2}"#] {
            assert_eq!(kind(text), ErrorKind::ManifestInvalid, "{text}");
        }
    }

    #[test]
    fn a_member_that_stands_twice_is_named_beside_what_else_is_wrong() {
        let twice = GOOD
            .replace(r#""run_id":"run-1""#, r#""run_id":"run-1","run_id":"run-2""#)
            .replace(r#""count":1"#, r#""count":1,"count":"x""#);
        let found: Vec<String> = problems(&twice).into_iter().map(|(field, _)| field).collect();
        assert_eq!(found, ["run_id", "files[0].count", "files[0].count"]);
        assert_eq!(problems(&twice)[0].1, "stands there twice");
    }

    #[test]
    fn an_offset_has_at_most_23_hours() {
        for (offset, right) in
            [("Z", true), ("+23:59", true), ("-23:59", true), ("+24:00", false), ("+25:00", false)]
        {
            let text = format!("2026-11-24T01:00:00{offset}");
            assert_eq!(timestamp(&text).is_ok(), right, "{text}");
        }
    }

    #[test]
    fn paths_stay_in_the_folder() {
        for path in ["/etc/passwd", "..", "a/../b", "a//b", "./a", "a\\b", "c:x", "", "manifest.json", "a\0b"]
        {
            assert!(safe_path(path).is_err(), "{path}");
        }
        assert!(safe_path("a/b-0.ndjson").is_ok());
    }
}
