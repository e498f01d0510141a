//! Results as text for people. Metadata is hostile: nothing of it reaches a
//! terminal unless it is made visible first.

pub mod batch;
pub mod dead_letter;
pub mod difference;
pub mod entity;
mod groups;
pub mod plan;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod table;
pub mod why;

/// Text with everything made visible that a terminal would act on, or that
/// would make text read other than it is: control characters, and marks that
/// turn the direction of writing.
pub fn safe(text: &str) -> String {
    escape(text, &[])
}

/// The same for text of several lines.
pub fn safe_lines(text: &str) -> String {
    escape(text, &['\n'])
}

/// Text of several lines, each indented. Tabs stay as well.
pub fn indented_lines(indent: &str, text: &str) -> String {
    text.split('\n')
        .map(|line| format!("{indent}{}", escape(line, &['\t'])).trim_end().to_owned() + "\n")
        .collect()
}

/// `1 line`, `2 lines`.
pub fn number_of(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", plan::thousands(number), if number == 1 { one } else { more })
}

fn escape(text: &str, kept: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
        let hidden = matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}');
        if kept.contains(&c) {
            out.push(c);
        } else if c.is_control() || turns || hidden {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_made_visible() {
        assert_eq!(safe("a\u{1b}[31mb\u{202e}c\nd"), "a\\u{1b}[31mb\\u{202e}c\\u{a}d");
        assert_eq!(safe_lines("a\nb\r"), "a\nb\\u{d}");
        assert_eq!(safe("größe 顧客"), "größe 顧客");
        assert_eq!(indented_lines("  ", "a\n\tb\u{202e}\n\nc\r"), "  a\n  \tb\\u{202e}\n\n  c\\u{d}\n");
    }

    #[test]
    fn one_thing_is_named_as_one() {
        let told = [0, 1, 2, 1000].map(|n| number_of(n, "key", "keys"));
        assert_eq!(told, ["0 keys", "1 key", "2 keys", "1,000 keys"]);
    }
}
