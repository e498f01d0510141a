//! JSON text over several lines, for people to edit. Values stay as they are
//! written: no number is read.

use serde::de::IgnoredAny;

/// Whether the text is JSON values one behind another, or the beginning of
/// that: a long one may have been cut.
fn is_json(text: &str) -> bool {
    let values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.filter_map(Result::err).take(1).all(|error| error.is_eof())
}

/// The text with a member or element a line. What is no JSON comes back as it
/// is, but for line ends behind it.
pub fn indented(text: &str) -> String {
    if !is_json(text) {
        return text.trim_end_matches(['\n', '\r']).to_owned();
    }
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let mut depth = 0usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut chars = text.trim().chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        // Depth is not bounded by anything else.
        out.extend(std::iter::repeat_n("  ", depth.min(40)));
    };
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.peek().is_some_and(|next| next.is_ascii_whitespace()) {
                    chars.next();
                }
                let closing = if c == '{' { '}' } else { ']' };
                if chars.peek() == Some(&closing) {
                    out.push(closing);
                    chars.next();
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            // Values that stand one behind another stay apart.
            c if depth == 0 && c.is_ascii_whitespace() => out.push(c),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::canonicalize;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_and_elements_have_lines_and_numbers_stay() {
        let text = r#"{"a":[1.50e400, {}],"b\",{":null, "c":[ ]}"#;
        let expected = "{\n  \"a\": [\n    1.50e400,\n    {}\n  ],\n  \"b\\\",{\": null,\n  \"c\": []\n}";
        assert_eq!(indented(text), expected);
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(indented("{\"a\":1}\n{}\n"), "{\n  \"a\": 1\n}\n{}");
    }

    #[test]
    fn what_is_no_json_stays_as_it_is() {
        for text in ["this is not json", "  {\"a\": 1 2}", "{'a': 1,  \"b\": [ ]}", "1 2"] {
            assert_eq!(indented(text), text);
        }
        assert_eq!(indented("a b\r\n"), "a b");
        // The beginning of a long one is JSON still.
        assert_eq!(indented("{\"a\": [1,  \"x y"), "{\n  \"a\": [\n    1,\n    \"x y");
    }

    proptest! {
        #[test]
        fn what_is_json_says_the_same(
            names in prop::collection::vec("[ -~]{0,6}", 0..6),
            value in prop::sample::select(vec!["1.10", "[]", "{\"x\":[true,null]}", "\"a, {b}: c\"", "[1,[2]]"]),
        ) {
            let members: Vec<String> = names
                .iter()
                .enumerate()
                .map(|(n, name)| format!("{}:{value}", serde_json::to_string(&format!("{n}{name}")).unwrap()))
                .collect();
            let text = format!("{{{}}}", members.join(","));
            let (mut before, mut after) = (Vec::new(), Vec::new());
            canonicalize(text.as_bytes(), &mut before).unwrap();
            canonicalize(indented(&text).as_bytes(), &mut after).unwrap();
            prop_assert_eq!(before, after);
        }

        #[test]
        fn anything_is_taken(text in "\\PC{0,60}") {
            indented(&text);
        }
    }
}
