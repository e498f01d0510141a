//! How values differ: short ones side by side, text and long JSON by their
//! lines, and one long line by the part of it that is another.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;
use similar::{DiffTag, TextDiff};

use super::{indented_lines, number_of, safe};
use crate::domain::json::indented;

/// A value with more characters is cut, or shown by its lines.
pub const LONG: usize = 120;
/// Characters that are shown of each side where one long line differs.
const SIDE: usize = 80;
/// How many of them stand in front of the first difference.
const LEAD: usize = 20;
/// Lines of a difference that are shown.
const LINES: usize = 20;
/// Equal lines around a difference.
const AROUND: usize = 3;
/// Lines of one side after which those of the other follow, so that a cut
/// leaves something of both.
const TURN: usize = 8;
/// How long one comparison may take. What is left then counts as replaced.
const PATIENCE: Duration = Duration::from_millis(200);

/// How much is shown.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// All of it.
    pub full: bool,
    /// What is said where lines are left out, such as `; --full shows them`.
    pub hint: &'static str,
}

/// Attributes by name, their values as they are written.
pub type Object = BTreeMap<String, Box<RawValue>>;

/// The attributes of a JSON object; none of anything else.
pub fn object(value: Option<&RawValue>) -> Object {
    value.and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
}

/// The names of both.
pub fn names<'a>(before: &'a Object, after: &'a Object) -> Vec<&'a String> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
}

/// A difference, ready to be printed.
pub enum Difference {
    /// `old → new`.
    Line(String),
    /// What stands behind the name, and lines below it.
    Lines(String, String),
}

impl Difference {
    /// With the attribute's name.
    pub fn text(&self, name: &str) -> String {
        let name = safe(name);
        match self {
            Self::Line(line) => format!("      {name}: {line}\n"),
            Self::Lines(head, lines) => format!("      {name}:{head}\n{lines}"),
        }
    }
}

/// Every attribute that differs, by name.
pub fn attributes(before: &Object, after: &Object, extent: Extent) -> String {
    let shown = |name: &String| of(before, after, name, extent).text(name);
    names(before, after).into_iter().map(shown).collect()
}

/// How one attribute differs.
pub fn of(before: &Object, after: &Object, name: &str, extent: Extent) -> Difference {
    let (old, new) = (before.get(name).map(|old| old.get()), after.get(name).map(|new| new.get()));
    let (was, is) = (old.and_then(text_of), new.and_then(text_of));
    let has_lines = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains('\n'));
    match (&was, &is) {
        (Some(was), Some(is)) if was.contains('\n') || is.contains('\n') => {
            Difference::Lines(String::new(), line_diff(&split(was), &split(is), extent))
        }
        (Some(was), Some(is)) => Difference::Line(side_by_side(was, is, true, extent)),
        (Some(text), None) if has_lines(&was) => {
            Difference::Lines(format!(" → {}", short(new, extent)), line_diff(&split(text), &[], extent))
        }
        (None, Some(text)) if has_lines(&is) => {
            Difference::Lines(format!(" {} →", short(old, extent)), line_diff(&[], &split(text), extent))
        }
        (_, _) => of_json(old, new, extent),
    }
}

fn of_json(old: Option<&str>, new: Option<&str>, extent: Extent) -> Difference {
    if let (Some(old), Some(new)) = (old, new)
        && is_nested(old)
        && is_nested(new)
        && (is_long(old) || is_long(new))
    {
        let (old, new) = (indented(old), indented(new));
        return Difference::Lines(String::new(), line_diff(&split(&old), &split(&new), extent));
    }
    Difference::Line(side_by_side(old.unwrap_or(NONE), new.unwrap_or(NONE), false, extent))
}

/// What is said of a value that is not there.
const NONE: &str = "(none)";

/// A text's characters; `None` of anything else.
fn text_of(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn is_nested(json: &str) -> bool {
    json.starts_with(['{', '['])
}

/// Whether a line is cut.
pub fn is_long(line: &str) -> bool {
    line.chars().nth(LONG).is_some()
}

/// Lines by line feeds alone: one that only the end has shows as a line more.
fn split(text: &str) -> Vec<&str> {
    text.split('\n').collect()
}

/// A value on one line, cut.
fn short(json: Option<&str>, extent: Extent) -> String {
    let json = json.unwrap_or(NONE);
    if extent.full { safe(json) } else { beginning(json) }
}

/// The first characters of a line.
fn beginning(line: &str) -> String {
    if is_long(line) { part(line, 0, LONG - 1, false) } else { safe(line) }
}

/// A value that comes to be, behind its name.
pub fn created(name: &str, value: &RawValue, extent: Extent) -> String {
    let name = safe(name);
    match text_of(value.get()).filter(|text| extent.full && text.contains('\n')) {
        Some(text) => format!("      {name} =\n{}", indented_lines("          ", &text)),
        None => format!("      {name} = {}\n", short(Some(value.get()), extent)),
    }
}

/// `old → new`, of long ones what is around the first difference.
fn side_by_side(old: &str, new: &str, quoted: bool, extent: Extent) -> String {
    let [old, new] =
        if extent.full { [old, new].map(|side| whole(side, quoted)) } else { pair(old, new, quoted) };
    format!("{old} → {new}")
}

/// Two lines, of long ones what is around the first difference.
fn pair(old: &str, new: &str, quoted: bool) -> [String; 2] {
    if !is_long(old) && !is_long(new) {
        return [old, new].map(|side| whole(side, quoted));
    }
    let same = old.chars().zip(new.chars()).take_while(|(old, new)| old == new).count();
    let from = if same < SIDE - LEAD { 0 } else { same - LEAD };
    [old, new].map(|side| {
        if from == 0 && !is_long(side) { whole(side, quoted) } else { part(side, from, SIDE, quoted) }
    })
}

fn whole(text: &str, quoted: bool) -> String {
    part(text, 0, usize::MAX, quoted)
}

/// So many characters of a line from one on, with an ellipsis where something
/// is left out; as JSON has a text when it is `quoted`.
fn part(text: &str, from: usize, length: usize, quoted: bool) -> String {
    let mut rest = text.chars().skip(from);
    let mut shown: String = rest.by_ref().take(length).collect();
    let mut quote = "";
    if quoted {
        // A text as JSON can't fail.
        let json = serde_json::to_string(&shown).unwrap_or_default();
        shown = json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_owned();
        quote = "\"";
    }
    let front = if from > 0 { "…" } else { quote };
    let back = if rest.next().is_some() { "…" } else { quote };
    safe(&format!("{front}{shown}{back}"))
}

/// What differs, line by line: all lines, or those around the differences.
fn line_diff(old: &[&str], new: &[&str], extent: Extent) -> String {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_slices(old, new);
    let mut lines = DiffLines { lines: Vec::new(), full: extent.full };
    let groups = if extent.full { vec![diff.ops().to_vec()] } else { diff.grouped_ops(AROUND) };
    let mut told = 0;
    for op in groups.iter().flatten() {
        let (tag, gone, come) = op.as_tag_tuple();
        if !gone.is_empty() {
            lines.unchanged(gone.start.saturating_sub(told));
            told = gone.end;
        }
        match tag {
            DiffTag::Equal => lines.equal(&old[gone]),
            DiffTag::Delete | DiffTag::Insert | DiffTag::Replace => lines.replaced(&old[gone], &new[come]),
        }
    }
    lines.unchanged(old.len().saturating_sub(told));
    lines.text(extent)
}

/// The lines of a difference as they are printed.
struct DiffLines {
    lines: Vec<String>,
    full: bool,
}

impl DiffLines {
    fn push(&mut self, sign: char, line: &str) {
        self.lines.push(format!("        {sign} {line}\n"));
    }

    fn unchanged(&mut self, count: usize) {
        if count > 0 {
            self.push(' ', &format!("… {} unchanged", number_of(count as u64, "line", "lines")));
        }
    }

    fn equal(&mut self, lines: &[&str]) {
        for line in lines {
            let line = if self.full { safe(line) } else { beginning(line) };
            self.push(' ', &line);
        }
    }

    fn replaced(&mut self, mut gone: &[&str], mut come: &[&str]) {
        let turn = if self.full { usize::MAX } else { TURN };
        while !gone.is_empty() || !come.is_empty() {
            let (old, gone_later) = gone.split_at(gone.len().min(turn));
            let (new, come_later) = come.split_at(come.len().min(turn));
            self.turn(old, new);
            (gone, come) = (gone_later, come_later);
        }
    }

    /// Lines that go, then lines that come in their place.
    fn turn(&mut self, old: &[&str], new: &[&str]) {
        let shown = |lines: &[&str], others: &[&str]| -> Vec<String> {
            let one = |(n, line): (usize, &&str)| match others.get(n) {
                _ if self.full => safe(line),
                Some(other) => {
                    let [shown, _] = pair(line, other, false);
                    shown
                }
                None => beginning(line),
            };
            lines.iter().enumerate().map(one).collect()
        };
        let (gone, come) = (shown(old, new), shown(new, old));
        gone.iter().for_each(|line| self.push('-', line));
        come.iter().for_each(|line| self.push('+', line));
    }

    fn text(mut self, extent: Extent) -> String {
        // The place of a single line more is as well taken by itself.
        if !extent.full && self.lines.len() > LINES + 1 {
            let more = self.lines.len() - LINES;
            self.lines.truncate(LINES);
            self.push(
                ' ',
                &format!("… and {} more lines{}", super::plan::thousands(more as u64), extent.hint),
            );
        }
        self.lines.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Extent = Extent { full: false, hint: "; more" };

    fn one(json: &str) -> Object {
        let value = (!json.is_empty()).then(|| RawValue::from_string(json.to_owned()).unwrap());
        value.into_iter().map(|value| ("d".to_owned(), value)).collect()
    }

    /// How an attribute differs; one that is empty is not there.
    fn shown(old: &str, new: &str, full: bool) -> String {
        attributes(&one(old), &one(new), Extent { full, ..CUT })
    }

    #[test]
    fn the_line_that_changed_is_shown_with_three_around_it() {
        let old: Vec<String> = (0..30).map(|n| format!("line {n}")).collect();
        let mut new = old.clone();
        new[20] = "line twenty".into();
        let [old, new] = [&old, &new].map(|lines| serde_json::to_string(&lines.join("\n")).unwrap());
        let cut = shown(&old, &new, false);
        assert!(cut.contains("          line 19\n        - line 20\n        + line twenty\n"), "{cut}");
        assert!(cut.contains("… 17 lines unchanged\n") && cut.contains("… 6 lines unchanged\n"), "{cut}");
        assert_eq!(cut.lines().count(), 11);
        assert_eq!(shown(&old, &new, true).lines().count(), 32);
    }

    #[test]
    fn one_line_that_did_not_change_is_one() {
        let cut = shown(r#""a\nb\nc\nd\ne""#, r#""a\nb\nc\nd\nf""#, false);
        assert!(cut.starts_with("      d:\n          … 1 line unchanged\n          b\n"), "{cut}");
    }

    #[test]
    fn both_sides_are_cut_alike_and_show_the_difference() {
        let text = "x".repeat(500);
        let [old, new] = pair(&format!("{text}a{text}"), &format!("{text}b{text}"), true);
        assert!(old.starts_with("…xxx") && old.contains("xaxx") && old.ends_with("xx…"), "{old}");
        assert!(new.contains("xbxx"), "{new}");
        assert_eq!([old.chars().count(), new.chars().count()], [SIDE + 2; 2]);
        // One that goes on where the other ends, and one with marks in it.
        let [old, new] = pair(&text, &format!("{text}\"\u{202e}"), true);
        assert!(old.ends_with("xx\"") && new.ends_with("xx\\\"\\u{202e}\""), "{old} {new}");
        // A short side stays whole.
        assert_eq!(pair("", &text, true)[0], "\"\"");
        assert_eq!(pair("\"a", "b", true), ["\"\\\"a\"", "\"b\""]);
    }

    #[test]
    fn numbers_stay_as_they_are_written() {
        let long = "1".repeat(200);
        let line = shown(&format!("{long}1"), &format!("{long}2"), false);
        assert!(line.contains("11 → …11") && line.ends_with("112\n"), "{line}");
        assert_eq!(shown("1.10", "1e400", false), "      d: 1.10 → 1e400\n");
    }

    #[test]
    fn large_values_that_have_nothing_in_common_are_compared_in_time() {
        let list = |from: u32| format!("{:?}", (from..from + 100_000).rev().collect::<Vec<_>>());
        let cut = shown(&list(0), &list(200_000), false);
        assert!(
            cut.contains("          [\n") && cut.contains("        - ") && cut.contains("        + "),
            "{cut}"
        );
        assert!(cut.ends_with("more lines; more\n"), "{cut}");
    }

    #[test]
    fn what_is_not_there_is_told() {
        assert_eq!(shown("", "1", false), "      d: (none) → 1\n");
        assert_eq!(shown("", r#""a\nb""#, false), "      d: (none) →\n        + a\n        + b\n");
        assert_eq!(shown(r#""a\nb""#, "null", false), "      d: → null\n        - a\n        - b\n");
    }
}
