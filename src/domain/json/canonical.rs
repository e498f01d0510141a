//! The canonical form: members sorted by name, no white space, strings with
//! the fewest escapes, numbers by value.

use std::cmp::Ordering;

use super::scan::{RawString, Scanner};
use super::{JsonError, number};
use crate::limits::MAX_DEPTH;

/// Appends the canonical form of the one JSON value in `raw`.
///
/// # Errors
/// When `raw` is not one JSON value in UTF-8, has a name twice in one object,
/// nests deeper than the limit, or has a number out of range.
pub fn canonicalize(raw: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    Canonicalizer::new().run(raw, out)
}

/// Makes canonical forms, with buffers that are used again.
#[derive(Default)]
pub struct Canonicalizer {
    members: Vec<Member>,
    scratch: Vec<u8>,
}

/// A member as it lies in the output.
#[derive(Debug, Clone, Copy)]
struct Member {
    start: usize,
    /// End of the name's closing quote.
    name_end: usize,
    end: usize,
    /// Where its name stands in the input.
    offset: usize,
}

impl Canonicalizer {
    /// With empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the canonical form of the one JSON value in `raw` to `out`.
    ///
    /// # Errors
    /// As [`canonicalize`]. What was appended then is of no use.
    pub fn run(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
        if let Err(error) = simdutf8::compat::from_utf8(raw) {
            return Err(JsonError { offset: error.valid_up_to(), problem: "this is not UTF-8" });
        }
        self.members.clear();
        let mut scanner = Scanner::new(raw);
        scanner.white_space();
        self.value(&mut scanner, 0, out)?;
        if scanner.at_end() { Ok(()) } else { Err(scanner.error("something stands behind the value")) }
    }

    fn value(&mut self, scanner: &mut Scanner<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), JsonError> {
        match scanner.peek() {
            b'"' => {
                let string = scanner.string()?;
                write_string(&string, out);
                Ok(())
            }
            b'{' | b'[' if depth >= MAX_DEPTH => Err(scanner.error("values are nested more than 128 deep")),
            b'{' => self.object(scanner, depth, out),
            b'[' => {
                scanner.take(b'[');
                scanner.white_space();
                out.push(b'[');
                if !scanner.take(b']') {
                    loop {
                        self.value(scanner, depth + 1, out)?;
                        if scanner.separator(b']')? {
                            break;
                        }
                        out.push(b',');
                    }
                }
                out.push(b']');
                Ok(())
            }
            b't' | b'f' | b'n' => {
                out.extend_from_slice(scanner.word()?);
                Ok(())
            }
            _ => {
                let offset = scanner.offset();
                let text = scanner.number()?;
                number::canonical(text, out).ok_or(JsonError { offset, problem: number::OUT_OF_RANGE })
            }
        }
    }

    fn object(
        &mut self,
        scanner: &mut Scanner<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), JsonError> {
        scanner.take(b'{');
        scanner.white_space();
        out.push(b'{');
        if scanner.take(b'}') {
            out.push(b'}');
            return Ok(());
        }
        let first = self.members.len();
        let body = out.len();
        loop {
            let start = out.len();
            let name = scanner.string()?;
            write_string(&name, out);
            let name_end = out.len();
            out.push(b':');
            scanner.colon()?;
            self.value(scanner, depth + 1, out)?;
            self.members.push(Member { start, name_end, end: out.len(), offset: name.offset });
            let done = scanner.separator(b'}')?;
            out.push(if done { b'}' } else { b',' });
            if done {
                break;
            }
        }
        let members = &mut self.members[first..];
        let name = |member: &Member| &out[member.start..member.name_end];
        let sorted = members.windows(2).all(|pair| by_name(name(&pair[0]), name(&pair[1])) == Ordering::Less);
        if !sorted {
            members.sort_by(|a, b| by_name(name(a), name(b)));
            for pair in members.windows(2) {
                if name(&pair[0]) == name(&pair[1]) {
                    let offset = pair[0].offset.max(pair[1].offset);
                    return Err(JsonError { offset, problem: "an object has the same name twice" });
                }
            }
            self.scratch.clear();
            for (n, member) in members.iter().enumerate() {
                if n > 0 {
                    self.scratch.push(b',');
                }
                self.scratch.extend_from_slice(&out[member.start..member.end]);
            }
            let end = body + self.scratch.len();
            out[body..end].copy_from_slice(&self.scratch);
        }
        self.members.truncate(first);
        Ok(())
    }
}

/// Compares names in canonical spelling by the bytes of what they stand for.
fn by_name(a: &[u8], b: &[u8]) -> Ordering {
    // Up to the first byte that differs both stand for the same; only a
    // backslash there stands for something else than itself. The closing
    // quote has to sort before everything.
    let differs = a.iter().zip(b).position(|(x, y)| x != y);
    match differs {
        None => a.len().cmp(&b.len()),
        Some(at) => {
            let escaped_before = a[..at].last() == Some(&b'\\') || a[at] == b'\\' || b[at] == b'\\';
            if escaped_before || a[at] == b'"' || b[at] == b'"' {
                decoded(a).cmp(&decoded(b))
            } else {
                a[at].cmp(&b[at])
            }
        }
    }
}

fn decoded(name: &[u8]) -> String {
    Scanner::new(name).string().map(|string| string.decode().into_owned()).unwrap_or_default()
}

/// Writes a string with its quotes and the fewest escapes.
pub(super) fn write_string(string: &RawString<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    if string.escaped {
        write_escaped(&string.decode(), out);
    } else {
        out.extend_from_slice(string.bytes);
    }
    out.push(b'"');
}

/// Writes the inside of a string with the fewest escapes.
fn write_escaped(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            8 => out.extend_from_slice(b"\\b"),
            9 => out.extend_from_slice(b"\\t"),
            10 => out.extend_from_slice(b"\\n"),
            12 => out.extend_from_slice(b"\\f"),
            13 => out.extend_from_slice(b"\\r"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn form(text: &str) -> Result<String, JsonError> {
        let mut out = Vec::new();
        canonicalize(text.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn by_table() {
        for (text, expected) in [
            (r#" { "b" : 1.0 , "a" : [ true , null ] } "#, r#"{"a":[true,null],"b":1}"#),
            (r#"{"\u0061":1,"\u00e9":2}"#, r#"{"a":1,"é":2}"#),
            (r#""\/ \ud83d\ude9a \u0007 \n""#, "\"/ 🚚 \\u0007 \\n\""),
            (r#"{"b":{"d":1,"c":2},"a":{}}"#, r#"{"a":{},"b":{"c":2,"d":1}}"#),
            // Names sort by what they stand for: " before #, then \.
            (r##"{"#":1,"\"":2,"":3,"\\":4,"[":5,"]":6}"##, r##"{"":3,"\"":2,"#":1,"[":5,"\\":4,"]":6}"##),
            (r#"{"ab":1,"a":2,"a\n":3}"#, r#"{"a":2,"a\n":3,"ab":1}"#),
            ("[]", "[]"),
        ] {
            assert_eq!(form(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, offset, problem) in [
            ("", 0, "a value is expected"),
            ("{", 1, "a string is expected"),
            (r#"{"a":1,"a":2}"#, 8, "an object has the same name twice"),
            (r#"{"a":1,"\u0061":2}"#, 8, "an object has the same name twice"),
            ("[1,]", 3, "a value is expected"),
            ("01", 1, "something stands behind the value"),
            ("1.", 2, "digits are expected behind the point"),
            ("nul", 0, "a value is expected"),
            (r#""\ud800""#, 1, "a surrogate stands alone"),
            (r#""\udc00\ud800""#, 1, "a surrogate stands alone"),
            (r#""\x""#, 1, "this escape is not known"),
            ("\"a\u{1}\"", 2, "a control character stands in a string"),
            ("\"abc", 4, "the text ends within a string"),
            ("1 2", 2, "something stands behind the value"),
            ("[1e1000001]", 1, number::OUT_OF_RANGE),
        ] {
            assert_eq!(form(text).unwrap_err(), JsonError { offset, problem }, "{text}");
        }
        assert!(canonicalize(b"\"\xff\"", &mut Vec::new()).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(form(&nested(128)).is_ok());
        assert_eq!(form(&nested(129)).unwrap_err().problem, "values are nested more than 128 deep");
        assert!(form(&"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn a_million_names_take_no_quadratic_time() {
        let members: Vec<String> = (0..1_000_000).rev().map(|n| format!("\"{n}\":0")).collect();
        assert!(form(&format!("{{{}}}", members.join(","))).is_ok());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::String),
            "[\"\\\\\u{1}\n a]{0,4}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::btree_map("[a-c\"\\\\é#]{0,3}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().rev().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_spelling_has_one_form_that_means_the_same(value in json()) {
            let compact = form(&value.to_string()).unwrap();
            let loose = form(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
            prop_assert_eq!(&compact, &loose);
            prop_assert_eq!(&form(&compact).unwrap(), &compact);
            let back: Value = serde_json::from_str(&compact).unwrap();
            prop_assert_eq!(back, value);
        }

        #[test]
        fn accepts_what_serde_json_accepts(text in "[\\[\\]{}:,\"\\\\u0d8a1.eE+\\- tfnrulase]{0,14}") {
            let ours = form(&text);
            let theirs: Result<Value, _> = serde_json::from_str(&text);
            match (&ours, &theirs) {
                (Err(error), Ok(_)) => prop_assert!(
                    ["an object has the same name twice", number::OUT_OF_RANGE].contains(&error.problem),
                    "{}: {}", text, error
                ),
                (Ok(_), Err(error)) => prop_assert!(false, "{}: {}", text, error),
                (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
            }
        }
    }
}
