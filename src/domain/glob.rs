//! Globs of scopes: `*` any run of characters, `?` one character, a backslash
//! takes the next character as it is. Case-sensitive, nothing else.

use serde::{Deserialize, Serialize};

/// A glob, kept as it was written. Two globs are compared by their text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct Glob(String);

impl Glob {
    /// Takes the text as it is: every text is a glob. A backslash at the end
    /// stands for itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The glob that this text alone matches.
    pub fn literal(text: &str) -> Self {
        let mut glob = String::with_capacity(text.len());
        for c in text.chars() {
            if matches!(c, '*' | '?' | '\\') {
                glob.push('\\');
            }
            glob.push(c);
        }
        Self(glob)
    }

    /// The one text that it matches, if it has neither `*` nor `?`.
    pub fn as_literal(&self) -> Option<String> {
        let mut text = String::with_capacity(self.0.len());
        let mut at = 0;
        while let Some((token, after)) = next_token(&self.0, at) {
            match token {
                Token::Literal(c) => text.push(c),
                Token::Star | Token::Any => return None,
            }
            at = after;
        }
        Some(text)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the glob is `*`, which matches everything.
    pub fn is_everything(&self) -> bool {
        self.0 == "*"
    }

    /// Whether the whole of `text` matches. Takes time proportional to the
    /// product of both lengths at worst, never more.
    pub fn matches(&self, text: &str) -> bool {
        if self.is_everything() {
            return true;
        }
        let glob = self.0.as_str();
        let (mut g, mut t) = (0, 0);
        // Where to go on when the part behind the last `*` does not match:
        // the glob behind the star, and the text it has swallowed so far.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let step = match next_token(glob, g) {
                Some((Token::Star, after)) => {
                    retry = Some((after, t));
                    g = after;
                    continue;
                }
                Some((token, after)) => text[t..].chars().next().and_then(|c| {
                    let fits = match token {
                        Token::Any => true,
                        Token::Literal(l) => l == c,
                        Token::Star => false,
                    };
                    fits.then_some((after, t + c.len_utf8()))
                }),
                None if t == text.len() => return true,
                None => None,
            };
            match (step, retry) {
                (Some((next_g, next_t)), _) => (g, t) = (next_g, next_t),
                (None, Some((star_g, star_t))) => match text[star_t..].chars().next() {
                    Some(c) => {
                        retry = Some((star_g, star_t + c.len_utf8()));
                        (g, t) = (star_g, star_t + c.len_utf8());
                    }
                    None => return false,
                },
                (None, None) => return false,
            }
        }
    }
}

enum Token {
    Star,
    Any,
    Literal(char),
}

fn next_token(glob: &str, at: usize) -> Option<(Token, usize)> {
    let mut chars = glob[at..].chars();
    let first = chars.next()?;
    Some(match first {
        '*' => (Token::Star, at + 1),
        '?' => (Token::Any, at + 1),
        '\\' => match chars.next() {
            Some(escaped) => (Token::Literal(escaped), at + 1 + escaped.len_utf8()),
            None => (Token::Literal('\\'), at + 1),
        },
        other => (Token::Literal(other), at + other.len_utf8()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matches_by_table() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("*.orders", "warehouse.sales.orders", true),
            ("?", "ä", true),
            ("?", "", false),
            ("??", "ä", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"a\?b", "a?b", true),
            (r"a\", r"a\", true),
            ("A", "a", false),
            ("[a]", "[a]", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("**", "x", true),
        ] {
            assert_eq!(Glob::new(glob).matches(text), expected, "{glob:?} on {text:?}");
        }
    }

    fn naive(glob: &[char], text: &[char]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
            Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some(('\\', [escaped, rest @ ..])) => text.first() == Some(escaped) && naive(rest, &text[1..]),
            Some((literal, rest)) => text.first() == Some(literal) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn the_literal_of_a_glob_is_all_that_it_matches(glob in r"[ab*?\\]{0,4}", text in r"[ab*\\]{0,4}") {
            let glob = Glob::new(glob);
            if let Some(literal) = glob.as_literal() {
                prop_assert_eq!(glob.matches(&text), literal == text);
                prop_assert!(glob.matches(&literal));
            } else {
                prop_assert!(glob.as_str().contains(['*', '?']));
            }
            prop_assert_eq!(Glob::literal(&text).as_literal(), Some(text));
        }

        #[test]
        fn agrees_with_a_naive_matcher(glob in r"[ab*?\\]{0,8}", text in "[ab*]{0,8}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::new(&*glob).matches(&text), naive(&chars(&glob), &chars(&text)));
        }
    }
}
