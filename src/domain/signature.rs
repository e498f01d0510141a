//! What failures that have one reason have in common: their message without
//! names, numbers and values.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;

/// Longest pattern, in characters.
const LONGEST: usize = 200;

/// A message without what differs from one failure to the next: each of
/// `names` is left out, and so are quoted texts, and words with a digit or
/// with signs within that paths and qualified names have. What stands between
/// backticks is a field's name, and stays.
pub fn pattern(message: &str, names: &[&str]) -> String {
    let mut text = message.to_owned();
    let mut names: Vec<&str> = names.iter().copied().filter(|name| name.len() > 2).collect();
    // A longer name may hold a shorter one.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        text = text.replace(name, "…");
    }
    let text = without_quoted(&text);
    let mut out = String::new();
    for word in text.split_whitespace() {
        let kept = shape(word);
        // A list of names is as good as one.
        if kept == "…" && out.ends_with('…') {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&kept);
    }
    if out.chars().count() > LONGEST {
        out = out.chars().take(LONGEST - 1).collect();
        out.push('…');
    }
    out
}

/// Texts between double or single quotes, left out. An apostrophe within a
/// word opens nothing.
fn without_quoted(text: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        let opens = c == '"' || c == '\'' && !before.is_alphanumeric();
        let rest = &text[at + c.len_utf8()..];
        match rest.find(c).filter(|_| opens) {
            Some(length) => {
                out.push('…');
                for _ in rest[..length].chars() {
                    chars.next();
                }
                chars.next();
                before = '…';
            }
            None => {
                out.push(c);
                before = c;
            }
        }
    }
    out
}

/// A word, or `…` where it is a name or a number.
fn shape(word: &str) -> String {
    let is_edge = |c: char| matches!(c, ',' | ';' | ':' | '.' | '(' | ')' | '!' | '?' | '[' | ']');
    let inner = word.trim_matches(is_edge);
    let (start, end) = match word.find(inner) {
        Some(start) if !inner.is_empty() => (start, start + inner.len()),
        Some(_) | None => return word.to_owned(),
    };
    let is_field = inner.len() > 2 && inner.starts_with('`') && inner.ends_with('`');
    let is_name = inner.contains(['.', '/', '\\', '@', '=', '_', '{', '…']);
    let differs = inner.chars().any(|c| c.is_ascii_digit()) || !is_field && is_name;
    if differs { format!("{}…{}", &word[..start], &word[end..]) } else { word.to_owned() }
}

/// The id of what has one reason: 16 hex digits.
pub fn signature(parts: &[&str]) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write!(out, "{:016x}", xxh3_64(parts.join("\0").as_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_reason_have_one_pattern() {
        for (message, names, expected) in [
            ("type \"rdbms_table\" has no attribute \"owner\"", &[][..], "type … has no attribute …"),
            (
                "attribute owner of sales.orders is 257 long",
                &["sales.orders"],
                "attribute owner of … is … long",
            ),
            ("`attributes` is no object", &[], "`attributes` is no object"),
            ("it can't be 'red' or 'blue'", &[], "it can't be … or …"),
            ("no entity 5f0c9a1b-22, 77 (code 400)", &[], "no entity …, … (code …)"),
            ("warehouse has no warehouse.sales", &["warehouse", "warehouse.sales"], "… has no …"),
            ("", &[], ""),
            ("a 'b", &[], "a 'b"),
        ] {
            assert_eq!(pattern(message, names), expected, "{message}");
        }
        assert_eq!(pattern(&"word ".repeat(100), &[]).chars().count(), LONGEST);
    }

    #[test]
    fn signatures_tell_their_parts_apart() {
        assert_eq!(signature(&["a", "b"]).len(), 16);
        assert_ne!(signature(&["a", "b"]), signature(&["ab", ""]));
    }
}
