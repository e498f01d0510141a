//! A plan as text, in the manner of Terraform.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufWriter, Write};

use similar::{ChangeTag, TextDiff};

use super::safe;
use crate::cli::common::{colour, write_error};
use crate::cli::shown::Shown;
use crate::domain::change::{Action, Change};
use crate::domain::key::Kind;
use crate::domain::plan::PlanSummary;
use crate::error::Result;
use crate::service::query::plan_json::{self, Head};

/// How a plan is shown.
pub struct Options {
    /// Without its changes.
    pub summary: bool,
    /// Long text in full, and every key of a group.
    pub full: bool,
    /// How many creations and updates are listed, where not all are.
    pub listed: usize,
    /// As JSON.
    pub json: bool,
}

/// Changes of one kind from which on they are shown as a group.
const GROUP: usize = 3;
/// Groups that are told apart; past it changes are listed one by one.
const GROUPS: usize = 10_000;
/// Creations and updates that are listed without `--full`.
pub const LISTED: usize = 200;
/// Keys of a group that are named without `--full`.
const NAMED: usize = 3;
/// Lines of a text's difference without `--full`.
const DIFF_LINES: usize = 20;
/// Text that is longer is shown as a difference of lines.
const LONG: usize = 120;

/// Prints the plan to standard output.
pub fn print(plan: &dyn Shown, options: &Options) -> Result<()> {
    let mut stdout = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    if options.json {
        let each = |f: &mut dyn FnMut(&Change) -> Result<()>| plan.each(f);
        plan_json::write(plan.head(), (!options.summary).then_some(each), &mut stdout)?;
    } else {
        write_text(plan, options, colour(), &mut stdout)?;
    }
    stdout.flush().map_err(write_error)
}

struct Paint(bool);

impl Paint {
    fn sign(&self, action: Action) -> String {
        let style = match action {
            Action::Create => anstyle::AnsiColor::Green,
            Action::Update => anstyle::AnsiColor::Yellow,
            Action::Delete => anstyle::AnsiColor::Red,
        };
        let sign = action.sign();
        if self.0 {
            let style = style.on_default();
            format!("{style}{sign}{style:#}")
        } else {
            sign.to_string()
        }
    }
}

/// What identical changes have in common.
#[derive(PartialEq, Eq, Hash, Clone)]
struct GroupKey {
    action: Action,
    type_name: String,
    before: String,
    after: String,
}

#[derive(Default)]
struct Group {
    count: u64,
    names: Vec<String>,
}

#[derive(Default)]
struct Counts {
    by_type: BTreeMap<(Kind, String), [u64; 3]>,
    by_attribute: BTreeMap<String, u64>,
}

/// Writes the plan as text.
pub fn write_text(plan: &dyn Shown, options: &Options, colour: bool, out: &mut dyn Write) -> Result<()> {
    let head = plan.head();
    let paint = Paint(colour);
    let mut text = format!("Plan of batch {} for {}\n", safe(&head.batch_id), safe(&head.target));
    let mut groups: HashMap<GroupKey, Group> = HashMap::new();
    let mut counts = Counts::default();
    // The first time through: what is alike, and how much there is of it.
    plan.each(&mut |change| {
        counts.take(change);
        if let Some(key) = group_key(change)
            && (groups.len() < GROUPS || groups.contains_key(&key))
        {
            let group = groups.entry(key).or_default();
            group.count += 1;
            if group.names.len() < NAMED {
                group.names.push(change.key.to_string());
            }
        }
        Ok(())
    })?;
    groups.retain(|_, group| group.count >= GROUP as u64);
    if !options.summary && head.summary.changes() + head.summary.relationships.waiting > 0 {
        text.push('\n');
        let mut listed = 0;
        let mut hidden = 0u64;
        let mut shown: HashSet<GroupKey> = HashSet::new();
        // The second time: one by one, a group where its first one stands.
        plan.each(&mut |change| {
            if let Some(key) = group_key(change).filter(|_| !options.full)
                && let Some(group) = groups.get(&key)
            {
                if shown.insert(key) {
                    text.push_str(&group_text(&paint, change, group));
                }
            } else if change.action == Action::Delete {
                // There are one or two of a type: more are a group.
                text.push_str(&change_text(&paint, change, options.full));
            } else if listed < options.listed || options.full {
                listed += 1;
                text.push_str(&change_text(&paint, change, options.full));
            } else {
                hidden += 1;
            }
            if text.len() > 1 << 16 {
                out.write_all(text.as_bytes()).map_err(write_error)?;
                text.clear();
            }
            Ok(())
        })?;
        if hidden > 0 {
            // The demo lists less, and has no such option.
            let how = if options.listed == LISTED { "; --full shows them all" } else { "" };
            text.push_str(&format!("  … and {} more{how}\n", thousands(hidden)));
        }
    }
    if !head.withheld.is_empty() {
        text.push_str("\nwithheld, because a line's key could not be read:\n");
        let shown = if options.full { head.withheld.len() } else { LISTED };
        for key in head.withheld.iter().take(shown) {
            text.push_str(&format!("  {}\n", safe(&key.to_string())));
        }
        let all = head.summary.entities.withheld + head.summary.relationships.counts.withheld;
        let more = all.saturating_sub(head.withheld.len().min(shown) as u64);
        if more > 0 {
            text.push_str(&format!("  … and {} more\n", thousands(more)));
        }
    }
    text.push_str(&counts.text());
    for trip in &head.guards {
        text.push_str(&format!("guard: {}\n", safe(&trip.reason)));
    }
    for warning in &head.warnings {
        text.push_str(&format!("\nwarning: {}\n", safe(warning)));
    }
    text.push_str(&summary_line(head));
    out.write_all(text.as_bytes()).map_err(write_error)
}

/// `Plan: 3 to create, …`
pub fn summary_line(head: &Head) -> String {
    format!("\n{}Digest: {}\n", counts_line(&head.summary), head.digest)
}

/// The same without the plan's digest.
pub fn counts_line(summary: &PlanSummary) -> String {
    let (e, r) = (summary.entities, summary.relationships);
    let sum = |a: u64, b: u64| thousands(a + b);
    let mut text = format!(
        "Plan: {} to create, {} to update, {} to delete. {} unchanged",
        sum(e.create, r.counts.create),
        sum(e.update, r.counts.update),
        sum(e.delete, r.counts.delete),
        sum(e.unchanged, r.counts.unchanged)
    );
    for (count, word) in [
        (e.superseded + r.counts.superseded, "superseded"),
        (e.rejected + r.counts.rejected, "rejected"),
        (e.withheld + r.counts.withheld, "deletions withheld"),
        (summary.skipped(), "skipped by an operator"),
        (r.waiting, "relationships waiting for an end"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {} {word}", thousands(count)));
        }
    }
    text.push_str(".\n");
    text
}

/// A number with commas.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

type Object = serde_json::Map<String, serde_json::Value>;

fn object(value: Option<&serde_json::value::RawValue>) -> Object {
    value.and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
}

/// Updates of the same attributes from and to the same values, and deletes of
/// one type, are alike; creates are not, they differ in their names at least.
fn group_key(change: &Change) -> Option<GroupKey> {
    let (before, after) = match change.action {
        Action::Create => return None,
        Action::Update => (change.before.as_ref()?.get().to_owned(), change.after.as_ref()?.get().to_owned()),
        Action::Delete => (String::new(), String::new()),
    };
    Some(GroupKey { action: change.action, type_name: change.key.type_name().to_owned(), before, after })
}

fn group_text(paint: &Paint, change: &Change, group: &Group) -> String {
    let type_name = safe(change.key.type_name());
    let count = thousands(group.count);
    let mut text = match change.action {
        Action::Update => {
            let (before, after) = (object(change.before.as_deref()), object(change.after.as_deref()));
            let parts: Vec<String> = names(&before, &after)
                .iter()
                .map(|name| {
                    format!("{} {} → {}", safe(name), short(before.get(*name)), short(after.get(*name)))
                })
                .collect();
            format!("{} {} on {count} {type_name}\n", paint.sign(change.action), parts.join(", "))
        }
        Action::Create | Action::Delete => format!("{} {count} {type_name}\n", paint.sign(change.action)),
    };
    for name in &group.names {
        text.push_str(&format!("      {}\n", safe(name)));
    }
    if group.count > group.names.len() as u64 {
        text.push_str(&format!("      … and {} more\n", thousands(group.count - group.names.len() as u64)));
    }
    text
}

fn names<'a>(before: &'a Object, after: &'a Object) -> Vec<&'a String> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
}

/// A value on one line, cut.
fn short(value: Option<&serde_json::Value>) -> String {
    let Some(value) = value else { return "(none)".into() };
    let text = safe(&value.to_string());
    if text.chars().count() <= LONG {
        text
    } else {
        format!("{}…", text.chars().take(LONG - 1).collect::<String>())
    }
}

fn change_text(paint: &Paint, change: &Change, full: bool) -> String {
    let mut text = format!("{} {}\n", paint.sign(change.action), safe(&change.key.to_string()));
    let (before, after) = (object(change.before.as_deref()), object(change.after.as_deref()));
    match change.action {
        Action::Delete => {}
        Action::Create => {
            let all = after.len();
            for (name, value) in after.iter().take(if full { usize::MAX } else { 6 }) {
                text.push_str(&format!("      {} = {}\n", safe(name), short(Some(value))));
            }
            if all > 6 && !full {
                text.push_str(&format!("      … and {} more\n", all - 6));
            }
        }
        Action::Update => {
            for name in names(&before, &after) {
                let (old, new) = (before.get(name), after.get(name));
                match (old.and_then(|v| v.as_str()), new.and_then(|v| v.as_str())) {
                    (Some(old), Some(new)) if is_long(old) || is_long(new) => {
                        text.push_str(&format!("      {}:\n{}", safe(name), line_diff(old, new, full)));
                    }
                    _ => text.push_str(&format!("      {}: {} → {}\n", safe(name), short(old), short(new))),
                }
            }
        }
    }
    text
}

fn is_long(text: &str) -> bool {
    text.contains('\n') || text.chars().count() > LONG
}

fn line_diff(old: &str, new: &str, full: bool) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut lines: Vec<String> = Vec::new();
    for change in diff.iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        lines.push(format!("        {sign} {}\n", safe(change.value().trim_end_matches('\n'))));
    }
    if !full && lines.len() > DIFF_LINES {
        let more = lines.len() - DIFF_LINES;
        lines.truncate(DIFF_LINES);
        lines.push(format!("          … and {more} more lines; --full shows them\n"));
    }
    lines.concat()
}

impl Counts {
    fn take(&mut self, change: &Change) {
        let row = self.by_type.entry((change.kind, change.key.type_name().to_owned())).or_default();
        row[change.action as usize] += 1;
        if change.action == Action::Update {
            let (before, after) = (object(change.before.as_deref()), object(change.after.as_deref()));
            for name in names(&before, &after) {
                if self.by_attribute.len() < GROUPS || self.by_attribute.contains_key(name) {
                    *self.by_attribute.entry(name.clone()).or_default() += 1;
                }
            }
        }
    }

    fn text(&self) -> String {
        if self.by_type.is_empty() {
            return String::new();
        }
        let rows: Vec<Vec<String>> = self
            .by_type
            .iter()
            .map(|((_, name), n)| {
                vec![
                    name.clone(),
                    format!("+{}", thousands(n[0])),
                    format!("~{}", thousands(n[1])),
                    format!("-{}", thousands(n[2])),
                ]
            })
            .collect();
        let mut text =
            format!("\n{}", crate::cli::common::table(&["TYPE", "CREATE", "UPDATE", "DELETE"], &rows));
        if !self.by_attribute.is_empty() {
            let mut by: Vec<_> = self.by_attribute.iter().collect();
            by.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
            let list: Vec<String> =
                by.iter().take(12).map(|(name, n)| format!("{} {}", safe(name), thousands(**n))).collect();
            text.push_str(&format!("\nUpdated attributes: {}\n", list.join(", ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 999, 1000, 1234567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn long_text_is_cut_at_twenty_lines() {
        let old: String = (0..30).map(|n| format!("line {n}\n")).collect();
        let new = old.replace("line 3\n", "line three\n");
        let cut = line_diff(&old, &new, false);
        assert!(
            cut.contains("- line 3\n") && cut.contains("+ line three\n") && cut.contains("11 more lines"),
            "{cut}"
        );
        assert_eq!(line_diff(&old, &new, true).lines().count(), 31);
    }
}
