//! Which member stands at a byte of a text, to name it when it is wrong.

/// Most steps of a path that are shown.
const STEPS: usize = 8;
/// Most characters of a name that are shown.
const LONGEST: usize = 64;

enum Within {
    Object { name: String, named: bool },
    Array,
}

/// The path of the member at `offset`, such as `columns[].type`; empty: none,
/// or the text as a whole. Looks at brackets and strings alone, so the text
/// need not be JSON.
pub fn member_at(text: &[u8], offset: usize) -> String {
    let mut path: Vec<Within> = Vec::new();
    let mut at = 0;
    while at < offset {
        match text.get(at) {
            None => break,
            Some(b'{') => path.push(Within::Object { name: String::new(), named: false }),
            Some(b'[') => path.push(Within::Array),
            Some(b'}' | b']') => {
                path.pop();
            }
            Some(b',') => {
                if let Some(Within::Object { name, named }) = path.last_mut() {
                    name.clear();
                    *named = false;
                }
            }
            Some(b':') => {
                if let Some(Within::Object { named, .. }) = path.last_mut() {
                    *named = true;
                }
            }
            Some(b'"') => {
                let start = at + 1;
                at = string_end(text, start);
                if let Some(Within::Object { name, named: false }) = path.last_mut() {
                    let text = String::from_utf8_lossy(&text[start..at]);
                    *name = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
                }
            }
            Some(_) => {}
        }
        at += 1;
    }
    let mut shown = String::new();
    for step in path.iter().take(STEPS) {
        match step {
            Within::Array => shown.push_str("[]"),
            Within::Object { name, .. } if name.is_empty() => break,
            Within::Object { name, .. } => {
                if !shown.is_empty() {
                    shown.push('.');
                }
                shown.push_str(name);
            }
        }
    }
    if path.len() > STEPS {
        shown.push('…');
    }
    shown
}

/// Where the closing quote of a string stands, or the text ends.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        match text.get(at) {
            None => return text.len(),
            Some(b'"') => return at,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_named_by_its_path() {
        let text = br#"{"a":1,"b":{"c\"d":[{"e":2,"f":3}],"g":4},"h":5}"#;
        let at = |what: &str| std::str::from_utf8(text).unwrap().find(what).unwrap();
        for (what, path) in [
            ("1", "a"),
            ("a\"", "a"),
            ("}],", "b.c\\\"d[].f"),
            ("2", "b.c\\\"d[].e"),
            ("3", "b.c\\\"d[].f"),
            ("4", "b.g"),
            ("5", "h"),
            ("{", ""),
        ] {
            assert_eq!(member_at(text, at(what)), path, "{what}");
        }
        for text in [&b""[..], b"\"", b"}}]{\"a", b"{\"\\", b"[[[["] {
            for offset in 0..8 {
                let _ = member_at(text, offset);
            }
        }
        assert_eq!(member_at(&b"{\"a\":".repeat(100), 500), "a.a.a.a.a.a.a.a…");
    }
}
