//! What one line of a batch says: a key and its value, or its absence.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::json::scan::{RawString, Scanner};
use super::json::{JsonError, canonicalize, is_one_value, member_at};
use super::key::{EntityKey, Key, KeyHash, Kind, RelationshipKey};
use super::settings::Mode;
use crate::limits::{MAX_NAME, MAX_TYPE};

/// A key as it stands in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineKey<'a> {
    /// An entity's.
    Entity {
        /// Its type.
        type_name: Cow<'a, str>,
        /// Its name.
        qualified_name: Cow<'a, str>,
    },
    /// A relationship's.
    Relationship {
        /// Its type.
        type_name: Cow<'a, str>,
        /// Type of the entity that it leads from.
        from_type: Cow<'a, str>,
        /// Name of that entity.
        from_name: Cow<'a, str>,
        /// Type of the entity that it leads to.
        to_type: Cow<'a, str>,
        /// Name of that entity.
        to_name: Cow<'a, str>,
        /// Tells several between the same ends apart.
        label: Cow<'a, str>,
    },
}

impl LineKey<'_> {
    /// The key's hash.
    pub fn hash(&self) -> KeyHash {
        match self {
            Self::Entity { type_name, qualified_name } => KeyHash::of_entity(type_name, qualified_name),
            Self::Relationship { type_name, from_type, from_name, to_type, to_name, label } => {
                let from = KeyHash::of_entity(from_type, from_name);
                KeyHash::of_relationship(type_name, from, KeyHash::of_entity(to_type, to_name), label)
            }
        }
    }

    /// Hashes of a relationship's ends.
    pub fn end_hashes(&self) -> Option<(KeyHash, KeyHash)> {
        match self {
            Self::Entity { .. } => None,
            Self::Relationship { from_type, from_name, to_type, to_name, .. } => {
                Some((KeyHash::of_entity(from_type, from_name), KeyHash::of_entity(to_type, to_name)))
            }
        }
    }

    /// Its own type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Entity { type_name, .. } | Self::Relationship { type_name, .. } => type_name,
        }
    }

    /// The name that scopes match.
    pub fn scope_name(&self) -> &str {
        match self {
            Self::Entity { qualified_name, .. } => qualified_name,
            Self::Relationship { from_name, .. } => from_name,
        }
    }

    /// The key with texts of its own.
    pub fn to_key(&self) -> Key {
        match self {
            Self::Entity { type_name, qualified_name } => {
                Key::Entity(EntityKey::new(&**type_name, &**qualified_name))
            }
            Self::Relationship { type_name, from_type, from_name, to_type, to_name, label } => {
                Key::Relationship(RelationshipKey {
                    type_name: type_name.to_string(),
                    from: EntityKey::new(&**from_type, &**from_name),
                    to: EntityKey::new(&**to_type, &**to_name),
                    label: label.to_string(),
                })
            }
        }
    }
}

/// A line that keeps to the contract, as far as it was looked at: the inside
/// of its attributes is known to be JSON, no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its key.
    pub key: LineKey<'a>,
    /// The attributes as they stand in the line, `{}` where a relationship
    /// has none; `None`: the key is asserted absent.
    pub attributes: Option<&'a [u8]>,
    /// Where the attributes stand in the line, in bytes.
    pub attributes_at: usize,
    /// Whether it has members that the contract does not name.
    pub unknown_members: bool,
}

/// A line that breaks the contract. Never holds values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its key, if it could be read.
    pub key: Option<Box<Key>>,
    /// The field, such as `attributes` or `from.qualified_name`; empty: the
    /// line as a whole.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl BadLine {
    /// A line without a readable key.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: None, field: field.into(), problem: problem.into() }
    }
}

/// The bad line of attributes that turned out not to be canonicalisable.
pub fn bad_attributes(line: &Line<'_>, error: JsonError) -> BadLine {
    let field = attribute_at(line.attributes.unwrap_or_default(), error.offset);
    let problem = JsonError { offset: line.attributes_at + error.offset, ..error }.to_string();
    BadLine { key: Some(Box::new(line.key.to_key())), field, problem }
}

/// The name of the field at a byte of the attributes.
fn attribute_at(attributes: &[u8], offset: usize) -> String {
    match member_at(attributes, offset) {
        path if path.is_empty() => "attributes".to_owned(),
        path => format!("attributes.{path}"),
    }
}

/// The key of a line that keeps to the contract, of whichever kind it is.
pub fn key_of_line(line: &[u8]) -> Option<Key> {
    let read = |kind| parse_line(kind, Mode::Incremental, line).ok().map(|parsed| parsed.key.to_key());
    read(Kind::Entity).or_else(|| read(Kind::Relationship))
}

/// Reads a line (contract: batch folder v1).
///
/// One pass over its bytes; nothing is built but the key. In an incremental
/// batch `"deleted":true` asserts absence; in a full one it is an error.
///
/// # Errors
/// When the line breaks the contract. The key is given only if the line as a
/// whole has the structure of one JSON value: in a line that was cut short or
/// run together with the next, other keys may be lost.
pub fn parse_line(kind: Kind, mode: Mode, line: &[u8]) -> Result<Line<'_>, BadLine> {
    if let Err(error) = simdutf8::compat::from_utf8(line) {
        return Err(BadLine::new("", format!("this is not UTF-8 at byte {}", error.valid_up_to())));
    }
    let mut parts = Parts::default();
    let read = parts.read(kind, line);
    let key = match (kind, &parts) {
        (Kind::Entity, Parts { type_name: Some(t), name: Some(n), .. }) => {
            Some(LineKey::Entity { type_name: t.clone(), qualified_name: n.clone() })
        }
        (Kind::Relationship, Parts { type_name: Some(t), from: Some(f), to: Some(to), label, .. }) => {
            Some(LineKey::Relationship {
                type_name: t.clone(),
                from_type: f.0.clone(),
                from_name: f.1.clone(),
                to_type: to.0.clone(),
                to_name: to.1.clone(),
                label: label.clone().unwrap_or_default(),
            })
        }
        (Kind::Entity | Kind::Relationship, _) => None,
    };
    let bad = |key: &Option<LineKey<'_>>, field: &str, problem: &str| BadLine {
        key: key.as_ref().map(|key| Box::new(key.to_key())),
        field: field.to_owned(),
        problem: problem.to_owned(),
    };
    if let Err(Problem { field, problem, keyless }) = read {
        // What was not read may be a label, or a part of the key once more: it
        // would be another key.
        let key = key.filter(|_| !keyless && parts.ended && is_one_value(line));
        return Err(bad(&key, &field, &problem));
    }
    let Some(key) = key else {
        let missing = match kind {
            _ if parts.type_name.is_none() => "type",
            Kind::Entity => "qualified_name",
            Kind::Relationship if parts.from.is_none() => "from",
            Kind::Relationship => "to",
        };
        let has = |name: &[u8]| missing != "type" && parts.others.contains(name);
        let problem = match kind {
            Kind::Entity if has(b"from") || has(b"to") => {
                "is missing: a relationship stands in a file of relationships"
            }
            Kind::Relationship if has(b"qualified_name") => {
                "is missing: an entity stands in a file of entities"
            }
            Kind::Entity | Kind::Relationship => "is missing",
        };
        return Err(BadLine::new(missing, problem));
    };
    let attributes = match (parts.deleted, parts.attributes) {
        (true, Some(_)) => {
            return Err(bad(&Some(key), "deleted", "stands beside attributes: give one of them"));
        }
        (true, None) if mode == Mode::Full => {
            return Err(bad(&Some(key), "deleted", "has no place in a full batch: leave the line out"));
        }
        (true, None) => None,
        (false, Some(attributes)) => Some(attributes),
        (false, None) if kind == Kind::Relationship => Some(&b"{}"[..]),
        (false, None) => return Err(bad(&Some(key), "attributes", "is missing")),
    };
    Ok(Line { key, attributes, attributes_at: parts.attributes_at, unknown_members: parts.unknown })
}

#[derive(Default)]
struct Parts<'a> {
    type_name: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    from: Option<End<'a>>,
    to: Option<End<'a>>,
    label: Option<Cow<'a, str>>,
    attributes: Option<&'a [u8]>,
    attributes_at: usize,
    deleted: bool,
    /// Members that the contract does not name.
    others: BTreeSet<Cow<'a, [u8]>>,
    unknown: bool,
    seen: u8,
    /// Whether all members were read, though not each of them is right.
    ended: bool,
    /// Where the value of the last member begins.
    value_at: usize,
}

struct Problem {
    field: String,
    problem: String,
    /// The key can't be trusted, though its parts could be read.
    keyless: bool,
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        Self { field: String::new(), problem: error.to_string(), keyless: false }
    }
}

fn problem(field: impl Into<String>, text: &str) -> Problem {
    Problem { field: field.into(), problem: text.to_owned(), keyless: false }
}

impl<'a> Parts<'a> {
    /// Reads all members. Where one is wrong, those behind it are read too, as
    /// far as it can be told where they are, so that the key is found.
    fn read(&mut self, kind: Kind, line: &'a [u8]) -> Result<(), Problem> {
        let mut scanner = Scanner::new(line);
        scanner.white_space();
        if !scanner.take(b'{') {
            return Err(problem("", "is not a JSON object"));
        }
        scanner.white_space();
        let mut first: Option<Problem> = None;
        let mut more = !scanner.take(b'}');
        while more {
            let read = self.member(kind, line, &mut scanner);
            let stops = read.is_err();
            if let Some(bad) = read.unwrap_or_else(Some) {
                // The first one is told; of the key none of them may be.
                let keyless = bad.keyless;
                first.get_or_insert(bad).keyless |= keyless;
            }
            if stops {
                return Err(first.unwrap_or_else(|| problem("", "can't be read")));
            }
            let mut ended = scanner.separator(b'}');
            if ended.is_err() && scanner.resume_behind(self.value_at) {
                // A value that went on where it should have ended, such as 01.
                if let Err(error) = std::mem::replace(&mut ended, scanner.separator(b'}')) {
                    first.get_or_insert(error.into());
                }
            }
            match ended {
                Ok(ended) => more = !ended,
                Err(error) => return Err(first.unwrap_or_else(|| error.into())),
            }
        }
        self.ended = true;
        match first {
            Some(bad) => Err(bad),
            None if scanner.at_end() => Ok(()),
            None => Err(scanner.error("something stands behind the object").into()),
        }
    }

    /// Reads the next member. What is wrong with it is returned.
    ///
    /// # Errors
    /// The same, when it can't be told where it ends, or nothing behind it could
    /// give the line a key.
    fn member(
        &mut self,
        kind: Kind,
        line: &'a [u8],
        scanner: &mut Scanner<'a>,
    ) -> Result<Option<Problem>, Problem> {
        let name = scanner.string()?;
        let name = plain(name);
        let (index, field): (u8, &'static str) = match (&*name, kind) {
            (b"type", _) => (0, "type"),
            (b"attributes", _) => (1, "attributes"),
            (b"deleted", _) => (2, "deleted"),
            (b"qualified_name", Kind::Entity) => (3, "qualified_name"),
            (b"from", Kind::Relationship) => (4, "from"),
            (b"to", Kind::Relationship) => (5, "to"),
            (b"label", Kind::Relationship) => (6, "label"),
            (_, Kind::Entity | Kind::Relationship) => (7, ""),
        };
        scanner.colon()?;
        self.value_at = scanner.offset();
        if index == 7 {
            self.unknown = true;
            return ignored(scanner, "", name, &mut self.others, 1);
        }
        if self.seen & 1 << index != 0 {
            // Which of both is meant can't be told; of the key neither can be trusted.
            let keyless = !matches!(index, 1 | 2);
            let bad = Problem { field: field.into(), problem: "stands twice".into(), keyless };
            return if !keyless && pass_over(scanner) { Ok(Some(bad)) } else { Err(bad) };
        }
        self.seen |= 1 << index;
        match index {
            0 => self.type_name = Some(text(scanner, field, "", MAX_TYPE, false)?),
            1 => {
                let start = scanner.offset();
                let within = |error: JsonError| {
                    let field = attribute_at(&line[start..], error.offset.saturating_sub(start));
                    problem(field, &error.to_string())
                };
                if scanner.peek() != b'{' {
                    let bad = problem(field, "is not an object");
                    return if pass_over(scanner) { Ok(Some(bad)) } else { Err(bad) };
                }
                if let Err(error) = scanner.skip(1) {
                    let bad = within(error);
                    return if scanner.resume_behind(start) { Ok(Some(bad)) } else { Err(bad) };
                }
                self.attributes = Some(scanner.since(start));
                self.attributes_at = start;
            }
            2 => match scanner.peek() {
                b't' | b'f'
                    if scanner.word().is_ok_and(|word| {
                        self.deleted = word == b"true";
                        true
                    }) => {}
                _ => {
                    let bad = problem(field, "is neither true nor false");
                    return if pass_over(scanner) { Ok(Some(bad)) } else { Err(bad) };
                }
            },
            3 => self.name = Some(text(scanner, field, "", MAX_NAME, false)?),
            4 | 5 => {
                let (end, bad) = end(scanner, field, &mut self.unknown)?;
                *(if index == 4 { &mut self.from } else { &mut self.to }) = Some(end);
                return Ok(bad);
            }
            _ => self.label = Some(text(scanner, field, "", MAX_NAME, true)?),
        }
        Ok(None)
    }
}

/// Goes over a value that has no use, if it can be told where it ends.
fn pass_over(scanner: &mut Scanner<'_>) -> bool {
    let start = scanner.offset();
    scanner.skip(1).is_ok() || scanner.resume_behind(start)
}

/// A member's name without escapes.
fn plain(name: RawString<'_>) -> Cow<'_, [u8]> {
    if !name.escaped {
        return Cow::Borrowed(name.bytes);
    }
    Cow::Owned(name.decode().into_owned().into_bytes())
}

/// Goes over a member that the contract does not name. Nothing is made of it,
/// but it has to be what a member is: if it is not, what is wrong is returned.
/// `others` are those of its object before it, `depth` values lie around it.
///
/// # Errors
/// When it can't be told where it ends.
fn ignored<'a>(
    scanner: &mut Scanner<'a>,
    under: &str,
    name: Cow<'a, [u8]>,
    others: &mut BTreeSet<Cow<'a, [u8]>>,
    depth: usize,
) -> Result<Option<Problem>, Problem> {
    let start = scanner.offset();
    let field = |name: &[u8]| {
        let name = String::from_utf8_lossy(name);
        if under.is_empty() { name.into_owned() } else { format!("{under}.{name}") }
    };
    if let Err(error) = scanner.skip(depth) {
        let bad = problem(field(&name), &error.to_string());
        return if scanner.resume_behind(start) { Ok(Some(bad)) } else { Err(bad) };
    }
    let value = scanner.since(start);
    // Words and strings have nothing that was not looked at.
    if !matches!(value.first(), Some(b't' | b'f' | b'n' | b'"'))
        && let Err(error) = canonicalize(value, &mut Vec::new())
    {
        let error = JsonError { offset: start + error.offset, ..error };
        return Ok(Some(problem(field(&name), &error.to_string())));
    }
    if others.contains(&name) {
        return Ok(Some(problem(field(&name), "stands twice")));
    }
    others.insert(name);
    Ok(None)
}

/// A name: a string that is not empty, not too long and has no control characters.
fn text<'a>(
    scanner: &mut Scanner<'a>,
    field: &str,
    under: &str,
    longest: usize,
    may_be_empty: bool,
) -> Result<Cow<'a, str>, Problem> {
    let name = || if under.is_empty() { field.to_owned() } else { format!("{under}.{field}") };
    if scanner.peek() != b'"' {
        return Err(problem(name(), "is not a string"));
    }
    let text = scanner.string().map_err(|error| problem(name(), &error.to_string()))?.decode();
    if text.is_empty() && !may_be_empty {
        return Err(problem(name(), "is empty"));
    }
    if text.len() > longest {
        return Err(problem(name(), &format!("is longer than {longest} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(problem(name(), "has a control character in it"));
    }
    Ok(text)
}

/// A type and a name.
type End<'a> = (Cow<'a, str>, Cow<'a, str>);

/// An end of a relationship; and what is wrong beside it, if something is.
fn end<'a>(
    scanner: &mut Scanner<'a>,
    field: &'static str,
    unknown: &mut bool,
) -> Result<(End<'a>, Option<Problem>), Problem> {
    if !scanner.take(b'{') {
        return Err(problem(field, "is not an object"));
    }
    scanner.white_space();
    let (mut type_name, mut qualified_name) = (None, None);
    let mut others = BTreeSet::new();
    let mut bad = None;
    if !scanner.take(b'}') {
        loop {
            let name = plain(scanner.string()?);
            scanner.colon()?;
            match &*name {
                b"type" if type_name.is_none() => {
                    type_name = Some(text(scanner, "type", field, MAX_TYPE, false)?)
                }
                b"qualified_name" if qualified_name.is_none() => {
                    qualified_name = Some(text(scanner, "qualified_name", field, MAX_NAME, false)?);
                }
                b"type" => return Err(problem(format!("{field}.type"), "stands twice")),
                b"qualified_name" => return Err(problem(format!("{field}.qualified_name"), "stands twice")),
                _ => {
                    *unknown = true;
                    let found = ignored(scanner, field, name, &mut others, 2)?;
                    bad = bad.or(found);
                }
            }
            if scanner.separator(b'}')? {
                break;
            }
        }
    }
    match (type_name, qualified_name) {
        (Some(type_name), Some(qualified_name)) => Ok(((type_name, qualified_name), bad)),
        (None, _) => Err(bad.unwrap_or_else(|| problem(format!("{field}.type"), "is missing"))),
        (Some(_), None) => {
            Err(bad.unwrap_or_else(|| problem(format!("{field}.qualified_name"), "is missing")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(line: &str) -> Result<Line<'_>, BadLine> {
        parse_line(Kind::Entity, Mode::Incremental, line.as_bytes())
    }

    #[test]
    fn an_entity_is_its_key_and_its_raw_attributes() {
        let line =
            entity(r#" {"attributes": {"a" : 1} ,"qualified_name":"n\u00e9","type":"t","x":[{}]} "#).unwrap();
        assert_eq!(line.key.to_key(), Key::Entity(EntityKey::new("t", "né")));
        assert_eq!(line.key.hash(), EntityKey::new("t", "né").hash());
        assert_eq!((line.attributes, line.unknown_members), (Some(&br#"{"a" : 1}"#[..]), true));
    }

    #[test]
    fn a_relationship_may_lack_attributes_and_label() {
        let text =
            r#"{"type":"r","from":{"type":"a","qualified_name":"x"},"to":{"qualified_name":"x","type":"a"}}"#;
        let line = parse_line(Kind::Relationship, Mode::Full, text.as_bytes()).unwrap();
        assert_eq!((line.attributes, line.unknown_members), (Some(&b"{}"[..]), false));
        let key = line.key.to_key();
        assert_eq!((key.hash(), key.to_string().as_str()), (line.key.hash(), "r x → x"));
    }

    #[test]
    fn absence_is_asserted_in_incremental_batches_only() {
        let text = r#"{"type":"t","qualified_name":"n","deleted":true}"#;
        assert_eq!(entity(text).unwrap().attributes, None);
        let bad = parse_line(Kind::Entity, Mode::Full, text.as_bytes()).unwrap_err();
        assert_eq!((bad.field.as_str(), bad.key.is_some()), ("deleted", true));
        assert!(entity(r#"{"type":"t","qualified_name":"n","deleted":true,"attributes":{}}"#).is_err());
        assert!(entity(r#"{"type":"t","qualified_name":"n","deleted":false,"attributes":{}}"#).is_ok());
    }

    #[test]
    fn bad_lines_by_table() {
        for (line, field, problem, keyed) in [
            ("", "", "is not a JSON object", false),
            ("[]", "", "is not a JSON object", false),
            ("{}", "type", "is missing", false),
            (r#"{"type":"t"}"#, "qualified_name", "is missing", false),
            (
                r#"{"type":"t","from":{"type":"t","qualified_name":"a"},"to":{"type":"t","qualified_name":"b"}}"#,
                "qualified_name",
                "is missing: a relationship stands in a file of relationships",
                false,
            ),
            (r#"{"type":"t","qualified_name":"n"}"#, "attributes", "is missing", true),
            (r#"{"type":"t","qualified_name":"n","attributes":[]}"#, "attributes", "is not an object", true),
            (r#"{"attributes":1,"type":"t","qualified_name":"n"}"#, "attributes", "is not an object", true),
            (r#"{"type":1,"qualified_name":"n","attributes":{}}"#, "type", "is not a string", false),
            (r#"{"type":"","qualified_name":"n","attributes":{}}"#, "type", "is empty", false),
            (
                r#"{"type":"t","qualified_name":"a\u0000","attributes":{}}"#,
                "qualified_name",
                "has a control character in it",
                false,
            ),
            (
                r#"{"type":"t","qualified_name":"n","attributes":{},"deleted":1}"#,
                "deleted",
                "is neither true nor false",
                true,
            ),
            (
                r#"{"type":"t","type":"t","qualified_name":"n","attributes":{}}"#,
                "type",
                "stands twice",
                false,
            ),
            (
                r#"{"type":"t","qualified_name":"n","attributes":{},"attributes":{}}"#,
                "attributes",
                "stands twice",
                true,
            ),
            (
                r#"{"type":"t","qualified_name":"n","attributes":{"a":}}"#,
                "attributes.a",
                "a value is expected at byte 51",
                false,
            ),
            (
                r#"{"type":"t","qualified_name":"n","attributes":{"a":01}}"#,
                "attributes.a",
                "a comma or the end of the object or array is expected at byte 52",
                true,
            ),
            (
                "{\"type\":\"t\",\"qualified_name\":\"n\",\"attributes\":{\"a\":\"x\0y\"}}",
                "attributes.a",
                "a control character stands in a string at byte 53",
                false,
            ),
            (
                r#"{"type":"t","qualified_name":"n","attributes":{"a":"x"}"qualified_name":"o"}"#,
                "",
                "a comma or the end of the object or array is expected at byte 55",
                false,
            ),
            (r#"{"type":"t","qualified_name":"n","attributes":{},"z":1,"z":2}"#, "z", "stands twice", true),
            (r#"{"z":1,"z":2,"type":"t","qualified_name":"n","attributes":{}}"#, "z", "stands twice", true),
            (
                r#"{"type":"t","qualified_name":"n","z":{"q":1,"q":2},"attributes":{}}"#,
                "z",
                "an object has the same name twice at byte 45",
                true,
            ),
            (
                r#"{"type":"t","qualified_name":"n","attributes":{}} x"#,
                "",
                "something stands behind the object at byte 50",
                false,
            ),
        ] {
            let bad = entity(line).unwrap_err();
            assert_eq!(
                (bad.field.as_str(), bad.problem.as_str(), bad.key.is_some()),
                (field, problem, keyed),
                "{line}"
            );
        }
        // A part of the key may stand behind what is wrong.
        for (line, key) in [
            (r#"{"type":"t","qualified_name":"n","zip":01234,"qualified_name":"m","attributes":{}}"#, None),
            (r#"{"type":"t","qualified_name":"n","\q":1,"qualified_name":"m","attributes":{}}"#, None),
            (r#"{"type":"t","qualified_name":"n","attributes":{"v":NaN},"qualified_name":"m"}"#, None),
            (r#"{"zip":01234,"type":"t","qualified_name":"n","attributes":{}}"#, Some("n")),
            (r#"{"type":"t","deleted":tru,"qualified_name":"n"}"#, None),
            (r#"{"type":"t","deleted":True,"qualified_name":"n"}"#, Some("n")),
        ] {
            let found = entity(line).unwrap_err().key.map(|key| key.scope_name().to_owned());
            assert_eq!(found.as_deref(), key, "{line}");
        }
        // However many members are wrong.
        for member in [r#""attributes":1"#, r#""attributes":{}"#, r#""deleted":1"#, r#""z":1"#, r#""z":NaN"#]
        {
            let line = format!(
                r#"{{"type":"t","qualified_name":"n",{member}}}"#,
                member = [member; 50_000].join(",")
            );
            assert!(entity(&line).is_err_and(|bad| bad.key.is_some()), "{member}");
        }
        // Without its label a relationship's key would be another one.
        let ends =
            r#""type":"r","from":{"type":"a","qualified_name":"x"},"to":{"type":"a","qualified_name":"y"}"#;
        for (rest, label) in [
            (r#""label":null"#, None),
            (r#""label":5"#, None),
            (r#""label":"a\u0001b""#, None),
            (r#""label":"l","label":"l""#, None),
            (r#""attributes":{"x":NaN},"label":"l""#, Some("l")),
            (r#""attributes":{"x":01},"label":"l""#, Some("l")),
            (r#""attributes":[NaN],"label":"l""#, Some("l")),
            (r#""attributes":{},"attributes":{"x":NaN},"label":"l""#, Some("l")),
            (r#""deleted":1,"label":"l""#, Some("l")),
            (r#""deleted":true,"deleted":true,"label":"l""#, Some("l")),
            (r#""z":NaN,"label":"l""#, Some("l")),
            (r#""attributes":{"x":NaN},"label":7"#, None),
            (r#""attributes":{"x":NaN}"#, Some("")),
            (r#""label":"l","attributes":{"x":NaN}"#, Some("l")),
            (r#""attributes":{"x":NaN"#, None),
        ] {
            let line = format!("{{{ends},{rest}}}");
            let bad = parse_line(Kind::Relationship, Mode::Incremental, line.as_bytes()).unwrap_err();
            let found = bad.key.map(|key| match *key {
                Key::Relationship(key) => key.label,
                Key::Entity(key) => panic!("{key:?}"),
            });
            assert_eq!(found.as_deref(), label, "{line}");
        }
        let relation = |text: &str| parse_line(Kind::Relationship, Mode::Full, text.as_bytes()).unwrap_err();
        assert_eq!(relation(r#"{"type":"r","from":{"type":"a"},"to":{}}"#).field, "from.qualified_name");
        assert_eq!(relation(r#"{"type":"r","from":1}"#).field, "from");
        assert_eq!(relation(r#"{"type":"r","from":{"type":"a","z":1,"z":1}}"#).field, "from.z");
        assert_eq!(relation(r#"{"type":"r","from":{"type":"a","qualified_name":"x"}}"#).field, "to");
        for (from, field, keyed) in [
            (r#""z":1,"type":"a","z":2,"qualified_name":"x""#, "from.z", true),
            (r#""z":[1e999999999999],"type":"a","qualified_name":"x""#, "from.z", true),
            (r#""z":1e999999999999,"type":"a","qualified_name":"x""#, "from.z", true),
            (r#""z":1,"z":2,"type":"a","qualified_name":"x","type":"b""#, "from.type", false),
        ] {
            let to = r#""to":{"type":"a","qualified_name":"y"},"label":"l""#;
            let bad = relation(&format!(r#"{{"type":"r","from":{{{from}}},{to}}}"#));
            assert_eq!((bad.field.as_str(), bad.key.is_some()), (field, keyed), "{from}");
        }
        assert!(
            parse_line(Kind::Entity, Mode::Full, b"{\"type\":\"\xff\"}")
                .unwrap_err()
                .problem
                .contains("UTF-8")
        );
        let long =
            format!(r#"{{"type":"t","qualified_name":"{}","attributes":{{}}}}"#, "n".repeat(MAX_NAME + 1));
        assert_eq!(entity(&long).unwrap_err().field, "qualified_name");
        let deep = format!(
            r#"{{"type":"t","qualified_name":"n","attributes":{{"a":{}{}}}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );
        assert!(entity(&deep).unwrap_err().problem.contains("128"));
    }
}
