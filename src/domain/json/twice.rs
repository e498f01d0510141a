//! Where the members of a text stand, and which stand twice in one object, to name
//! them all.

use std::collections::{HashMap, HashSet};

use super::JsonError;
use super::scan::Scanner;
use crate::limits::MAX_DEPTH;

/// Members that are named: a text may have millions.
const MOST: usize = 100;
/// Characters of a path that are told: a name may have millions.
const LONGEST: usize = 200;

/// The paths of the members whose name stands in their object already, such as
/// `files[3].path`: the first 100, of each its first 200 characters; none in a
/// text that is not JSON otherwise.
pub fn named_twice(text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let is_json = walk(text, &mut |path, _, twice| {
        if twice && found.len() < MOST {
            found.push(path.chars().take(LONGEST).collect());
        }
    });
    if is_json { found } else { Vec::new() }
}

/// The line, from 1, of each of these paths: of one that is not there that of what
/// it would lie in, of one that stands twice that of the last.
pub fn lines_of(text: &[u8], paths: &[&str]) -> Vec<u64> {
    let mut wanted: HashMap<&str, Option<usize>> = HashMap::new();
    for path in paths {
        let mut path = Some(*path);
        while let Some(now) = path {
            wanted.insert(now, None);
            path = above(now);
        }
    }
    // To look a long path up is to hash it.
    let longest = paths.iter().map(|path| path.len()).max().unwrap_or_default();
    walk(text, &mut |path, at, _| {
        if path.len() <= longest
            && let Some(place) = wanted.get_mut(path)
        {
            *place = Some(at);
        }
    });
    let place = |path: &str| {
        let mut path = Some(path);
        while let Some(now) = path {
            if let Some(Some(at)) = wanted.get(now) {
                return *at;
            }
            path = above(now);
        }
        text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default()
    };
    let line = |at: usize| memchr::memchr_iter(b'\n', &text[..at]).count() as u64 + 1;
    paths.iter().map(|path| line(place(path))).collect()
}

/// The path of what something lies in; `None`: it is the text itself.
fn above(path: &str) -> Option<&str> {
    path.rfind(['.', '[']).map(|end| &path[..end])
}

/// Hands out the path of every member and element with where it begins, and whether
/// its name stands in its object already. Returns whether the text is JSON otherwise.
fn walk(text: &[u8], each: &mut dyn FnMut(&str, usize, bool)) -> bool {
    if std::str::from_utf8(text).is_err() {
        return false;
    }
    let mut scanner = Scanner::new(text);
    scanner.white_space();
    look(&mut scanner, &mut String::new(), 0, each).is_ok() && scanner.at_end()
}

fn look(
    scanner: &mut Scanner<'_>,
    path: &mut String,
    depth: usize,
    each: &mut dyn FnMut(&str, usize, bool),
) -> Result<(), JsonError> {
    let end = match scanner.peek() {
        b'{' if depth < MAX_DEPTH => b'}',
        b'[' if depth < MAX_DEPTH => b']',
        _ => return scanner.skip(depth),
    };
    scanner.take(scanner.peek());
    scanner.white_space();
    if scanner.take(end) {
        return Ok(());
    }
    let (length, mut names) = (path.len(), HashSet::new());
    for number in 0_usize.. {
        let at = scanner.offset();
        if end == b'}' {
            let name = scanner.string()?.decode();
            if length > 0 {
                path.push('.');
            }
            path.push_str(&name);
            each(path, at, !names.insert(name));
            scanner.colon()?;
        } else {
            path.push_str(&format!("[{number}]"));
            each(path, at, false);
        }
        look(scanner, path, depth + 1, each)?;
        path.truncate(length);
        if scanner.separator(end)? {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_stand_twice_are_named_by_their_path() {
        let text = br#" {"a":[{"b":1},{"b":1,"c":{},"\u0062":[]}],"d":{"e":{"f":1,"f":2}},"a":0,"a":1} "#;
        assert_eq!(named_twice(text), ["a[1].b", "d.e.f", "a", "a"]);
        for none in ["{\"a\":1,\"b\":{\"a\":1}}", "[]", "", "{\"a\":1,\"a\":}", "{\"a\":1,\"a\":1} x"] {
            assert!(named_twice(none.as_bytes()).is_empty(), "{none}");
        }
        assert!(named_twice("[".repeat(1_000_000).as_bytes()).is_empty());
        // Neither long names nor many of them take room.
        let text = format!("{{\"{}\":{{{}\"a\":1}}}}", "x".repeat(1 << 20), "\"a\":1,".repeat(20_000));
        let found = named_twice(text.as_bytes());
        assert_eq!(found.len(), MOST);
        assert!(found.iter().all(|path| path.len() == LONGEST), "{}", found[0]);
    }

    #[test]
    fn lines_are_those_of_members_and_of_what_lacks_one() {
        let text = b"\n{\n\"a\": [\n{\"b\":1},\n{\"b\":\n2}],\n\"c\": {\n\"d\": {}}, \"e\": 1,\n\"e\": 2}\n";
        for (path, line) in [
            ("a", 3),
            ("a[0]", 4),
            ("a[0].b", 4),
            ("a[1].b", 5),
            ("a[1].none", 5),
            ("a[7].none", 3),
            ("c.d", 8),
            ("c.none", 7),
            ("e", 9),
            ("none", 2),
            ("", 2),
        ] {
            assert_eq!(lines_of(text, &[path]), [line], "{path}");
        }
        assert_eq!(lines_of(text, &["e", "a", "e"]), [9, 3, 9]);
        // What lies under a long name is not looked at.
        let text = format!("{{\"{}\":[{}1],\n\"a\":1}}", "x".repeat(1 << 20), "1,".repeat(1 << 20));
        assert_eq!(lines_of(text.as_bytes(), &["a"]), [2]);
        // Up to where it is broken.
        assert_eq!(lines_of(b"{\n\"a\":1,\n\"b\":", &["a", "b"]), [2, 3]);
        assert_eq!(lines_of(b"", &["a"]), [1]);
    }
}
