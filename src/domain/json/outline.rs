//! Whether a text is one JSON value in outline: what is between its brackets,
//! colons and commas may be wrong, but nothing is missing there and nothing is
//! too much. Less than the grammar (RFC 8259), so that a line with one wrong
//! value keeps its key; enough to tell a line that lost a part, or ran into
//! another one, as far as that can be told.

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    /// At the beginning of an array.
    ValueOrEnd,
    Name,
    /// At the beginning of an object.
    NameOrEnd,
    Colon,
    CommaOrEnd,
}

/// Words that stand where values do. Those that JSON does not know come from
/// programs that write the words of their own language.
const WORDS: [&[u8]; 11] = [
    b"true",
    b"false",
    b"null",
    b"True",
    b"False",
    b"None",
    b"NaN",
    b"nan",
    b"Infinity",
    b"inf",
    b"undefined",
];

/// Whether `text` is one value in outline. Strings may have escapes that JSON
/// does not know, or control characters, and numbers any form; but no NUL, which
/// is what a hole in a file looks like.
pub fn is_one_value(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    value_length(text) == Some(text.len())
}

/// Bytes of the value in outline that `text` begins with.
pub fn value_length(text: &[u8]) -> Option<usize> {
    // Of each value that is open: whether it is an object.
    let mut open: Vec<bool> = Vec::new();
    let mut next = Next::Value;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        let behind = if open.is_empty() { None } else { Some(Next::CommaOrEnd) };
        let after_value = match (byte, next) {
            (b' ' | b'\t' | b'\r' | b'\n', _) => Some(next),
            (b':', Next::Colon) => Some(Next::Value),
            (b',', Next::CommaOrEnd) => {
                Some(if open.last() == Some(&true) { Next::Name } else { Next::Value })
            }
            (b'{', Next::Value | Next::ValueOrEnd) => {
                open.push(true);
                Some(Next::NameOrEnd)
            }
            (b'[', Next::Value | Next::ValueOrEnd) => {
                open.push(false);
                Some(Next::ValueOrEnd)
            }
            (b'}', Next::NameOrEnd | Next::CommaOrEnd) if open.last() == Some(&true) => close(&mut open),
            (b']', Next::ValueOrEnd | Next::CommaOrEnd) if open.last() == Some(&false) => close(&mut open),
            (b'"', Next::Name | Next::NameOrEnd | Next::Value | Next::ValueOrEnd) => {
                at += string(&text[at..])?;
                if matches!(next, Next::Name | Next::NameOrEnd) { Some(Next::Colon) } else { behind }
            }
            (_, Next::Value | Next::ValueOrEnd) => {
                at += scalar(&text[at - 1..])? - 1;
                behind
            }
            _ => return None,
        };
        match after_value {
            Some(then) => next = then,
            None => return Some(at),
        }
    }
    None
}

/// Ends the innermost value; `None`: it was the whole.
fn close(open: &mut Vec<bool>) -> Option<Next> {
    open.pop();
    if open.is_empty() { None } else { Some(Next::CommaOrEnd) }
}

/// Bytes of a string behind its first quote, with the last one.
fn string(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (n, &byte) in text.iter().enumerate() {
        match byte {
            0 => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(n + 1),
            _ => {}
        }
    }
    None
}

/// Bytes of a number or word.
fn scalar(text: &[u8]) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
    let length = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    let word = &text[..length];
    let unsigned = word.strip_prefix(b"-").or(word.strip_prefix(b"+")).unwrap_or(word);
    let is_number = unsigned.iter().any(u8::is_ascii_digit)
        && unsigned.iter().all(|byte| byte.is_ascii_digit() || b"+-._eE".contains(byte));
    (is_number || WORDS.contains(&unsigned)).then_some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn wrong_values_keep_the_outline_and_what_is_missing_breaks_it() {
        for whole in [
            r#"{"a":NaN,"b":-Infinity,"c":None,"d":01,"e":+1.,"f":1_000,"g":[True,undefined]}"#,
            r#" { "a" : [ ] , "b" : { } } "#,
            r#"{"a":"\x41 and \ud800"}"#,
            "{\"a\":\"one\ttab\"}",
            "[1]",
            "\"text\"",
            "7",
        ] {
            assert!(is_one_value(whole.as_bytes()), "{whole}");
        }
        for broken in [
            "",
            r#"{"a":1}{"b":2}"#,
            r#"{"a":1}"b":2}"#,
            r#"{"a":"x"}"b":2,"c":{}}"#,
            r#"{"a":{"x":1}"type":"t"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a"}"#,
            r#"{"a" 1}"#,
            r#"{"a":1 2}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":[1}]"#,
            r#"{"a":tr5}"#,
            r#"{"a":trfalse}"#,
            r#"{"a":"x"#,
            r#"{"a":1"#,
            r#"{'a':1}"#,
            "{\"a\":\"x\0\0\0y\"}",
            "{\"a\":1}\u{b}",
            "{\"a\":1,,\"b\":2}",
        ] {
            assert!(!is_one_value(broken.as_bytes()), "{broken}");
        }
        assert!(is_one_value("[".repeat(1 << 20).as_bytes()) == is_one_value(b"["));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_json_value_is_one_and_two_are_not(one in value(), other in value()) {
            let (one, other) = (one.to_string(), other.to_string());
            prop_assert!(is_one_value(one.as_bytes()));
            let structured = |text: &str| text.starts_with(['{', '[', '"']);
            if structured(&one) || structured(&other) {
                let both = format!("{one}{other}");
                prop_assert!(!is_one_value(both.as_bytes()), "{both}");
            }
        }

        #[test]
        fn a_value_that_ends_early_is_none(one in value(), part in 0usize..200) {
            let one = serde_json::json!([one]).to_string();
            let mut part = part.min(one.len() - 1);
            while !one.is_char_boundary(part) {
                part -= 1;
            }
            prop_assert!(!is_one_value(&one.as_bytes()[..part]));
        }
    }
}
