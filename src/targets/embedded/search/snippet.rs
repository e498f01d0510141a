//! Where a query is met in an entity: which attributes, and which characters
//! of them.

use std::ops::Range;

use super::find::{Matched, TextRange};
use super::needs::typos;
use super::query::{Clause, Part, Query};
use super::schema::fold_member;
use super::texts::texts;
use super::words::{MAX_WORD, Pieces, folded};

/// Bytes of a text that are shown.
const SHOWN: usize = 240;
/// Bytes shown before the first match.
const BEFORE: usize = 60;
/// Attributes that are shown, the name included.
const ATTRIBUTES: usize = 5;
/// Name under which the qualified name is told.
const NAME: &str = "qualified_name";

/// The attributes of an entity that a query is met in, the name first. With
/// `meant`, words that it may have been meant for count.
pub fn matched(query: &Query, meant: bool, name: &str, attributes: &[u8]) -> Vec<Matched> {
    let mut found = Vec::new();
    let wanted = Wanted { query, meant };
    let ranges = wanted.ranges(name, "name", true);
    if !ranges.is_empty() {
        found.push(shown(NAME, name, &ranges));
    }
    let (mut member, mut last) = (String::new(), String::new());
    texts(attributes, |attribute, text| {
        // One text of an attribute is enough.
        if found.last().is_some_and(|found: &Matched| found.attribute == attribute) {
            return true;
        }
        if last != attribute {
            attribute.clone_into(&mut last);
            fold_member(attribute, &mut member);
        }
        let ranges = wanted.ranges(text, &member, false);
        if !ranges.is_empty() {
            found.push(shown(attribute, text, &ranges));
        }
        found.len() < ATTRIBUTES
    });
    found
}

struct Wanted<'a> {
    query: &'a Query,
    meant: bool,
}

struct Word {
    range: Range<usize>,
    text: String,
    whole: bool,
}

impl Wanted<'_> {
    /// The ranges of a text that the query is met in, in order, not touching.
    fn ranges(&self, text: &str, member: &str, is_name: bool) -> Vec<Range<usize>> {
        let pieces = Pieces::new(text);
        let all: Vec<Word> = pieces
            .map(|piece| Word {
                range: piece.from..piece.to,
                text: folded(&text[piece.from..piece.to], MAX_WORD),
                whole: piece.whole,
            })
            .collect();
        let single: Vec<&Word> = all.iter().filter(|word| !word.whole).collect();
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for clause in &self.query.clauses {
            match clause {
                Clause::Part(part) => self.part(part, &all, &single, &mut ranges),
                Clause::Phrase(words) => follow(words, &single, &mut ranges),
                Clause::Member(name, part) if name == member => self.part(part, &all, &single, &mut ranges),
                Clause::Type(_, parts) if member == "type" && !is_name => {
                    parts.iter().for_each(|part| self.part(part, &all, &single, &mut ranges));
                }
                Clause::Member(..) | Clause::Type(..) => {}
            }
        }
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let mut apart: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            match apart.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                Some(_) | None => apart.push(range),
            }
        }
        apart
    }

    fn part(&self, part: &Part, all: &[Word], single: &[&Word], ranges: &mut Vec<Range<usize>>) {
        let limit = if self.meant { usize::from(typos(&part.whole)) } else { 0 };
        for word in all {
            let met = word.text == part.whole
                || (part.open && word.text.starts_with(&part.whole))
                || (limit > 0 && strsim::osa_distance(&word.text, &part.whole) <= limit);
            if met {
                ranges.push(word.range.clone());
            }
        }
        if part.words.len() > 1 {
            follow(&part.words, single, ranges);
        }
    }
}

/// Where words follow each other.
fn follow(words: &[String], single: &[&Word], ranges: &mut Vec<Range<usize>>) {
    for met in single.windows(words.len().max(1)) {
        if met.iter().map(|word| &word.text).eq(words)
            && let (Some(first), Some(last)) = (met.first(), met.last())
        {
            ranges.push(first.range.start..last.range.end);
        }
    }
}

/// The piece of a text that is shown, with the ranges within it.
fn shown(attribute: &str, text: &str, ranges: &[Range<usize>]) -> Matched {
    let first = ranges.first().map_or(0, |range| range.start);
    let start = if text.len() <= SHOWN { 0 } else { text.floor_char_boundary(first.saturating_sub(BEFORE)) };
    let end = text.floor_char_boundary(start + SHOWN);
    let before = if start > 0 { "…" } else { "" };
    let after = if end < text.len() { "…" } else { "" };
    let shift = |at: usize| at.clamp(start, end) - start + before.len();
    let ranges = ranges.iter().map(|range| TextRange { from: shift(range.start), to: shift(range.end) });
    Matched {
        attribute: attribute.to_owned(),
        text: [before, &text[start..end], after].concat(),
        ranges: ranges.filter(|range| range.from < range.to).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn marked(text: &str, meant: bool, name: &str, attributes: &str) -> Vec<String> {
        let query = Query::parse(text, &mut |name: &str| Ok::<_, Infallible>(name == "owner")).unwrap();
        let found = matched(&query, meant, name, attributes.as_bytes());
        let mark = |found: &Matched| {
            let mut out = found.text.clone();
            for range in found.ranges.iter().rev() {
                out.insert(range.to, ']');
                out.insert(range.from, '[');
            }
            format!("{}: {out}", found.attribute)
        };
        found.iter().map(mark).collect()
    }

    #[test]
    fn what_is_met_is_marked() {
        let attributes =
            r#"{"description":"All orders of the gross-margin report","owner":["Bob","Ann Lee"],"x":1}"#;
        for (query, meant, marks) in [
            (
                "orders",
                false,
                vec![
                    "qualified_name: shop.sales[Orders]",
                    "description: All [orders] of the gross-margin report",
                ],
            ),
            ("salesorders", false, vec!["qualified_name: shop.[salesOrders]"]),
            ("salesOrd", false, vec!["qualified_name: shop.[salesOrders]"]),
            ("\"gross margin\"", false, vec!["description: All orders of the [gross-margin] report"]),
            ("owner:lee", false, vec!["owner: Ann [Lee]"]),
            ("name:shop", false, vec!["qualified_name: [shop].salesOrders"]),
            ("reprot", true, vec!["description: All orders of the gross-margin [report]"]),
            ("reprot", false, vec![]),
            ("***", false, vec![]),
        ] {
            assert_eq!(marked(query, meant, "shop.salesOrders", attributes), marks, "{query}");
        }
    }

    #[test]
    fn of_long_texts_a_piece_is_shown() {
        let name = format!("{}.ö.target.{}", "ä".repeat(1_000), "z".repeat(1_000));
        let marks = marked("target", false, &name, "{}");
        assert!(marks[0].starts_with("qualified_name: …ä") && marks[0].ends_with("z…"), "{marks:?}");
        assert!(marks[0].contains(".[target].") && marks[0].len() < 300, "{marks:?}");
    }

    proptest! {
        #[test]
        fn ranges_lie_within_the_text(query in "\\PC{0,10}|[ab:\" ]{0,8}", name in "\\PC{0,300}|[ab. ]{0,20}") {
            let query = Query::parse(&query, &mut |_: &str| Ok::<_, Infallible>(true)).unwrap();
            for found in matched(&query, true, &name, b"{}") {
                let mut end = 0;
                for range in &found.ranges {
                    prop_assert!(range.from >= end && range.from < range.to);
                    prop_assert!(found.text.get(range.from..range.to).is_some());
                    end = range.to;
                }
            }
        }
    }
}
