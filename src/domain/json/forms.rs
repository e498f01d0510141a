//! Canonical values as they are stored and as they are compared: arrays whose
//! order means nothing sorted, and, for comparison, volatile members left out.

use crate::domain::glob::Glob;

/// Which attributes are volatile or unordered.
///
/// Paths are dotted; `*` stands for any run of characters within a segment. A
/// path leads through arrays into the objects in them.
#[derive(Debug, Clone, Default)]
pub struct ComparisonRules {
    volatile: Vec<Vec<Glob>>,
    unordered: Vec<Vec<Glob>>,
}

impl ComparisonRules {
    /// From the settings' paths.
    pub fn new(volatile: &[String], unordered: &[String]) -> Self {
        let paths =
            |list: &[String]| list.iter().map(|path| path.split('.').map(Glob::new).collect()).collect();
        Self { volatile: paths(volatile), unordered: paths(unordered) }
    }

    /// Whether there are no rules: values are stored and compared as they are.
    pub fn is_plain(&self) -> bool {
        self.volatile.is_empty() && self.unordered.is_empty()
    }

    /// Whether there are unordered arrays.
    pub fn has_unordered(&self) -> bool {
        !self.unordered.is_empty()
    }

    /// Whether there are volatile members.
    pub fn has_volatile(&self) -> bool {
        !self.volatile.is_empty()
    }
}

/// Members of a canonical object: the name with its quotes, and the value.
/// Of anything else there are none.
pub fn members(canonical: &[u8]) -> Members<'_> {
    Members { rest: canonical.strip_prefix(b"{").unwrap_or_default() }
}

/// See [`members`].
#[derive(Clone)]
pub struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.strip_prefix(b",").unwrap_or(self.rest);
        if rest.first() != Some(&b'"') {
            self.rest = b"";
            return None;
        }
        let name_end = string_end(rest, 0)?;
        let value_end = value_end(rest, name_end + 1)?;
        self.rest = &rest[value_end..];
        Some((&rest[..name_end], &rest[name_end + 1..value_end]))
    }
}

/// The end of the string that begins at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The end of the value that begins at `at`, in a canonical text.
fn value_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    let mut depth = 0usize;
    loop {
        match text.get(at)? {
            b'"' => at = string_end(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' => at += 1,
            _ => {
                while text.get(at).is_some_and(|b| !matches!(b, b',' | b'}' | b']')) {
                    at += 1;
                }
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Appends the form that is stored and published: unordered arrays sorted by
/// their elements' bytes.
pub fn stored_form(canonical: &[u8], rules: &ComparisonRules, out: &mut Vec<u8>) {
    form(canonical, &[], &start(&rules.unordered), out);
}

/// Appends the form that is compared: the stored form without volatile members.
pub fn comparison_form(canonical: &[u8], rules: &ComparisonRules, out: &mut Vec<u8>) {
    form(canonical, &start(&rules.volatile), &start(&rules.unordered), out);
}

/// The rest of a path below the present place.
type Paths<'a> = Vec<&'a [Glob]>;

fn start(paths: &[Vec<Glob>]) -> Paths<'_> {
    paths.iter().map(Vec::as_slice).collect()
}

fn form(value: &[u8], volatile: &[&[Glob]], unordered: &[&[Glob]], out: &mut Vec<u8>) {
    if volatile.is_empty() && unordered.is_empty() {
        out.extend_from_slice(value);
        return;
    }
    match value.first() {
        Some(b'{') => {
            out.push(b'{');
            let mut first = true;
            for (name, member) in members(value) {
                let text = unquoted(name);
                let below = step(volatile, &text);
                if below.iter().any(|rest| rest.is_empty()) {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                out.extend_from_slice(name);
                out.push(b':');
                form(member, &below, &step(unordered, &text), out);
            }
            out.push(b'}');
        }
        Some(b'[') => {
            // Deeper paths lead through the array; one that ends here sorts it.
            let below: Paths<'_> = unordered.iter().copied().filter(|rest| !rest.is_empty()).collect();
            let sorts = unordered.iter().any(|rest| rest.is_empty());
            let mut elements: Vec<Vec<u8>> = elements(value)
                .map(|element| {
                    let mut out = Vec::new();
                    form(element, volatile, &below, &mut out);
                    out
                })
                .collect();
            if sorts {
                elements.sort_unstable();
            }
            out.push(b'[');
            for (n, element) in elements.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(element);
            }
            out.push(b']');
        }
        Some(_) | None => out.extend_from_slice(value),
    }
}

fn step<'a>(paths: &[&'a [Glob]], name: &str) -> Paths<'a> {
    paths
        .iter()
        .filter_map(|path| path.split_first())
        .filter(|(segment, _)| segment.matches(name))
        .map(|(_, rest)| rest)
        .collect()
}

fn unquoted(name: &[u8]) -> String {
    super::scan::Scanner::new(name).string().map(|name| name.decode().into_owned()).unwrap_or_default()
}

fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = array.strip_prefix(b"[").unwrap_or_default();
    std::iter::from_fn(move || {
        rest = rest.strip_prefix(b",").unwrap_or(rest);
        if rest.is_empty() || rest == b"]" {
            return None;
        }
        let end = value_end(rest, 0)?;
        let (element, behind) = rest.split_at(end);
        rest = behind;
        Some(element)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, volatile: &[&str], unordered: &[&str]) -> (String, String) {
        let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let rules = ComparisonRules::new(&list(volatile), &list(unordered));
        let (mut stored, mut compared) = (Vec::new(), Vec::new());
        stored_form(text.as_bytes(), &rules, &mut stored);
        comparison_form(text.as_bytes(), &rules, &mut compared);
        (String::from_utf8(stored).unwrap(), String::from_utf8(compared).unwrap())
    }

    #[test]
    fn members_are_the_object_taken_apart() {
        let list: Vec<_> = members(br#"{"a\"":[1,{"x":"}"}],"b":{},"c":-1.5e+30,"d":"\\"}"#).collect();
        let text: Vec<_> = list
            .iter()
            .map(|(n, v)| (std::str::from_utf8(n).unwrap(), std::str::from_utf8(v).unwrap()))
            .collect();
        assert_eq!(
            text,
            [
                (r#""a\"""#, r#"[1,{"x":"}"}]"#),
                (r#""b""#, "{}"),
                (r#""c""#, "-1.5e+30"),
                (r#""d""#, r#""\\""#)
            ]
        );
        for bad in ["", "{", "[1]", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":[", "}", "{}", "1"] {
            assert_eq!(members(bad.as_bytes()).count(), 0, "{bad}");
        }
    }

    #[test]
    fn volatile_members_are_stored_and_not_compared() {
        let text = r#"{"a":1,"profile":{"rows":5},"tags":["x"]}"#;
        let (stored, compared) = run(text, &["profile.*"], &[]);
        assert_eq!(stored, text);
        assert_eq!(compared, r#"{"a":1,"profile":{},"tags":["x"]}"#);
        assert_eq!(run(text, &["profile"], &[]).1, r#"{"a":1,"tags":["x"]}"#);
        assert_eq!(run(r#"{"xs":[{"t":1,"v":2}]}"#, &["xs.t"], &[]).1, r#"{"xs":[{"v":2}]}"#);
        assert_eq!(run(r#"{"last_seen":1,"last":2}"#, &["last_*"], &[]).1, r#"{"last":2}"#);
    }

    #[test]
    fn unordered_arrays_are_sorted() {
        let (stored, compared) = run(r#"{"o":["b","a"],"t":["b","a",{"k":["z","y"]}]}"#, &[], &["t", "t.k"]);
        assert_eq!(stored, r#"{"o":["b","a"],"t":["a","b",{"k":["y","z"]}]}"#);
        assert_eq!(stored, compared);
    }
}
