//! Splitting text into words: one way for names, for attributes and for what a
//! person types, so that one finds the other.
//!
//! A *part* is a run of letters and digits; everything else separates. A part
//! is split again where small letters are followed by a capital, where a
//! series of capitals ends (`HTTPServer`), between letters and digits, and
//! around each ideograph. A part of several words counts as a whole too, at
//! the place of its first word: `salesOrders` is `salesorders`, `sales`,
//! `orders`. Words are compared without case, accents and compatibility forms.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Characters of a word that count. A longer one is known by its beginning.
pub const MAX_WORD: usize = 64;

/// A word's place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins, in bytes.
    pub from: usize,
    /// Where it ends, in bytes.
    pub to: usize,
    /// Words before it.
    pub position: usize,
    /// Whether it is a part of several words, which follow.
    pub whole: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Separator,
    Lower,
    Upper,
    Digit,
    Ideograph,
    Mark,
}

fn class(c: char) -> Class {
    match c {
        'a'..='z' => Class::Lower,
        'A'..='Z' => Class::Upper,
        '0'..='9' => Class::Digit,
        '\0'..='\x7f' => Class::Separator,
        c if is_combining_mark(c) => Class::Mark,
        c if is_ideograph(c) => Class::Ideograph,
        c if c.is_numeric() => Class::Digit,
        c if c.is_uppercase() => Class::Upper,
        c if c.is_alphabetic() => Class::Lower,
        _ => Class::Separator,
    }
}

/// Scripts that write words without spaces between them: kana and Han.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Whether a word ends between two characters of a part.
fn divides(left: Class, right: Class) -> bool {
    let letter = |class| matches!(class, Class::Lower | Class::Upper);
    left == Class::Ideograph
        || right == Class::Ideograph
        || (left == Class::Lower && right == Class::Upper)
        || (left == Class::Digit && letter(right))
        || (letter(left) && right == Class::Digit)
}

/// The words of a text, in order, each part before its words.
pub struct Pieces<'a> {
    text: &'a str,
    at: usize,
    position: usize,
    words: Vec<(usize, usize)>,
    next: usize,
}

impl<'a> Pieces<'a> {
    /// Of this text.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, position: 0, words: Vec::new(), next: 0 }
    }

    /// Splits the next part into `words`.
    fn part(&mut self) {
        self.words.clear();
        self.next = 0;
        // The word that is open, and the characters before: their classes, and
        // where the last one begins.
        let mut open: Option<usize> = None;
        let (mut before, mut last, mut last_at) = (Class::Separator, Class::Separator, self.at);
        let mut end = self.text.len();
        for (offset, c) in self.text[self.at..].char_indices() {
            let at = self.at + offset;
            let class = class(c);
            if class == Class::Mark || (class == Class::Separator && open.is_none()) {
                continue;
            }
            if class == Class::Separator {
                end = at;
                break;
            }
            let start = *open.get_or_insert(at);
            let border = if divides(last, class) {
                at
            } else if (before, last, class) == (Class::Upper, Class::Upper, Class::Lower) {
                last_at
            } else {
                start
            };
            if border > start {
                self.words.push((start, border));
                open = Some(border);
            }
            (before, last, last_at) = (last, class, at);
        }
        if let Some(start) = open {
            self.words.push((start, end));
        }
        self.at = end;
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.next >= self.words.len() {
            self.part();
            if let [(from, _), .., (_, to)] = self.words[..] {
                return Some(Piece { from, to, position: self.position, whole: true });
            }
        }
        let (from, to) = *self.words.get(self.next)?;
        self.next += 1;
        self.position += 1;
        Some(Piece { from, to, position: self.position - 1, whole: false })
    }
}

/// Puts the form of a text that is compared into `out`: up to `max` characters
/// of it, without case, accents and compatibility forms.
pub fn fold(text: &str, max: usize, out: &mut String) {
    out.clear();
    if text.is_ascii() {
        out.extend(text.bytes().take(max).map(|byte| char::from(byte.to_ascii_lowercase())));
        return;
    }
    let plain = text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase);
    out.extend(plain.take(max));
}

/// The form of a text that is compared.
pub fn folded(text: &str, max: usize) -> String {
    let mut out = String::new();
    fold(text, max, &mut out);
    out
}

/// The words of a text as they are compared, without its parts of several
/// words.
pub fn words(text: &str) -> Vec<String> {
    let pieces = Pieces::new(text).filter(|piece| !piece.whole);
    pieces
        .map(|piece| folded(&text[piece.from..piece.to], MAX_WORD))
        .filter(|word| !word.is_empty())
        .collect()
}

/// The parts of a text: the words of each as they are compared, and all of
/// them as one.
pub fn parts(text: &str) -> Vec<(Vec<String>, String)> {
    let mut parts = Vec::new();
    let mut pieces = Pieces::new(text);
    loop {
        pieces.part();
        let [(from, _), ..] = pieces.words[..] else { return parts };
        let word = |(from, to): &(usize, usize)| folded(&text[*from..*to], MAX_WORD);
        let words: Vec<String> = pieces.words.iter().map(word).filter(|word| !word.is_empty()).collect();
        if !words.is_empty() {
            parts.push((words, folded(&text[from..pieces.at], MAX_WORD)));
        }
    }
}

/// The part of a name that tells it from its neighbours: what stands behind
/// the last of `.`, `/`, `:` and `#`, but before an `@`, behind which
/// catalogues write the cluster.
pub fn last_part(name: &str) -> &str {
    let path = match name.split_once('@') {
        Some((path, _)) if !path.is_empty() => path,
        Some(_) | None => name,
    };
    path.rsplit(['.', '/', ':', '#']).find(|part| !part.is_empty()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> String {
        let mut out = Vec::new();
        for piece in Pieces::new(text) {
            let word = folded(&text[piece.from..piece.to], MAX_WORD);
            out.push(if piece.whole { format!("[{word}]") } else { format!("{word}:{}", piece.position) });
        }
        out.join(" ")
    }

    #[test]
    fn names_split_where_a_person_would_split_them() {
        for (text, words) in [
            ("shop.sales.orders", "shop:0 sales:1 orders:2"),
            ("salesOrders", "[salesorders] sales:0 orders:1"),
            ("a_b-c/d:e#f", "a:0 b:1 c:2 d:3 e:4 f:5"),
            ("HTTPServer.v2", "[httpserver] http:0 server:1 [v2] v:2 2:3"),
            ("Orders", "orders:0"),
            ("ORDERS_2024q1", "orders:0 [2024q1] 2024:1 q:2 1:3"),
            ("  ..  ", ""),
            ("Größe Café", "große:0 cafe:1"),
            ("cafe\u{301}s", "cafes:0"),
            ("売上table", "[売上table] 売:0 上:1 table:2"),
            ("ﬁle ①", "file:0 1:1"),
        ] {
            assert_eq!(split(text), words, "{text}");
        }
    }

    #[test]
    fn the_last_part_is_what_a_thing_is_called() {
        for (name, last) in [
            ("shop.sales.orders", "orders"),
            ("s3://bucket/path/", "path"),
            ("db.table@cluster.example", "table"),
            ("@odd", "@odd"),
            ("plain", "plain"),
            ("...", "..."),
        ] {
            assert_eq!(last_part(name), last);
        }
    }

    #[test]
    fn parts_hold_their_words() {
        let found = parts("shop.salesOrders v2");
        let found: Vec<String> = found.iter().map(|(words, whole)| format!("{whole}={words:?}")).collect();
        assert_eq!(found, [r#"shop=["shop"]"#, r#"salesorders=["sales", "orders"]"#, r#"v2=["v", "2"]"#]);
    }

    #[test]
    fn long_words_are_known_by_their_beginning() {
        assert_eq!(words(&"x".repeat(10_000)), ["x".repeat(MAX_WORD)]);
    }

    proptest! {
        #[test]
        fn pieces_of_any_text_lie_within_it_in_order(text in "\\PC{0,40}|[aA1. é\u{301}上]{0,20}") {
            let mut position = 0;
            let mut end = 0;
            for piece in Pieces::new(&text) {
                prop_assert!(piece.from >= end && piece.from < piece.to);
                prop_assert!(text.get(piece.from..piece.to).is_some());
                prop_assert_eq!(piece.position, position);
                if !piece.whole {
                    position += 1;
                    end = piece.to;
                }
            }
        }

        #[test]
        fn folding_twice_is_folding_once(text in "\\PC{0,40}") {
            let once = folded(&text, MAX_WORD);
            prop_assert_eq!(folded(&once, MAX_WORD), once);
        }
    }
}
