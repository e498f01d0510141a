//! Which members stand twice in one object, to name them all.

use std::collections::HashSet;

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
    if std::str::from_utf8(text).is_err() {
        return found;
    }
    let mut scanner = Scanner::new(text);
    scanner.white_space();
    let whole = look(&mut scanner, &mut String::new(), 0, &mut found).is_ok() && scanner.at_end();
    if whole { found } else { Vec::new() }
}

fn look(
    scanner: &mut Scanner<'_>,
    path: &mut String,
    depth: usize,
    found: &mut Vec<String>,
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
        if end == b'}' {
            let name = scanner.string()?.decode();
            if length > 0 {
                path.push('.');
            }
            path.push_str(&name);
            if !names.insert(name) && found.len() < MOST {
                found.push(path.chars().take(LONGEST).collect());
            }
            scanner.colon()?;
        } else {
            path.push_str(&format!("[{number}]"));
        }
        look(scanner, path, depth + 1, found)?;
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
}
