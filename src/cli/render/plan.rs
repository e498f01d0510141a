//! A plan as text, in the manner of Terraform.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufWriter, Write};

use super::difference::{self, Difference, Extent, names, object};
use super::groups::{APART, Group, Groups};
use super::{number_of, safe};
use crate::cli::common::{Stdout, colour, write_error};
use crate::cli::shown::Shown;
use crate::domain::change::{Action, Change};
use crate::domain::key::{Key, Kind};
use crate::domain::plan::PlanSummary;
use crate::error::Result;
use crate::service::query::alike::Alike;
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

/// Creations and updates that are listed without `--full`.
pub const LISTED: usize = 200;
/// Attributes of what is created that are shown without `--full`.
const CREATED: usize = 6;
/// Attributes whose updates are counted.
const COUNTED: usize = 10_000;
/// Attributes that are named with the number of their updates without `--full`.
const ATTRIBUTES: usize = 12;

/// Prints the plan to standard output.
pub fn print(plan: &dyn Shown, options: &Options) -> Result<()> {
    let mut stdout = BufWriter::with_capacity(1 << 16, Stdout);
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

#[derive(Default)]
struct Counts {
    /// Creates, updates, deletes, and relationships that begin to wait.
    by_type: BTreeMap<(Kind, String), [u64; 4]>,
    by_attribute: BTreeMap<String, u64>,
}

/// Writes the plan as text.
fn write_text(plan: &dyn Shown, options: &Options, colour: bool, out: &mut dyn Write) -> Result<()> {
    // The demo lists less, and has no such option.
    let has_option = options.listed == LISTED;
    let extent = Extent { full: options.full, hint: if has_option { "; --full shows them" } else { "" } };
    let head = plan.head();
    let paint = Paint(colour);
    let mut text = format!("Plan of batch {} for {}\n", safe(&head.batch_id), safe(&head.target));
    let mut groups = Groups::new(APART);
    let grouped = !options.full && !options.summary;
    let mut counts = Counts::default();
    let alike = Alike::new(&head.volatile);
    // The first time through: what is alike, and how much there is of it.
    plan.each(&mut |change| {
        counts.take(change);
        if let Some(id) = group_id(&alike, change).filter(|_| grouped) {
            groups.take(id, change);
        }
        Ok(())
    })?;
    if groups.forget_counts() {
        plan.each(&mut |change| {
            if let Some(id) = group_id(&alike, change) {
                groups.count(id, change);
            }
            Ok(())
        })?;
    }
    let groups = groups.of_many();
    if !options.summary && head.summary.changes() + head.summary.relationships.waiting > 0 {
        text.push('\n');
        let mut listed = 0;
        let mut hidden = 0u64;
        let mut shown: HashSet<u128> = HashSet::new();
        // The second time: one by one, a group where its first one stands.
        plan.each(&mut |change| {
            if let Some(id) = group_id(&alike, change).filter(|_| !options.full)
                && let Some(group) = groups.get(&id)
            {
                if shown.insert(id) {
                    text.push_str(&group_text(&paint, &alike, change, group, extent));
                }
            } else if change.action == Action::Delete {
                // There are one or two of a type: more are a group.
                text.push_str(&change_text(&paint, change, extent));
            } else if listed < options.listed || options.full {
                listed += 1;
                text.push_str(&change_text(&paint, change, extent));
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
            let how = if has_option { "; --full shows them all" } else { "" };
            text.push_str(&format!("  … and {} more{how}\n", thousands(hidden)));
        }
    }
    if !head.withheld.is_empty() && !options.summary {
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
    text.push_str(&counts.text(extent));
    for trip in &head.guards {
        text.push_str(&format!("guard: {}\n", safe(&trip.reason)));
    }
    for warning in &head.warnings {
        text.push_str(&format!("\nwarning: {}\n", safe(warning)));
    }
    text.push_str(&bad_lines_text(head));
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
    for (count, one, more) in [
        (e.superseded + r.counts.superseded, "superseded", "superseded"),
        (e.rejected + r.counts.rejected, "rejected", "rejected"),
        (e.withheld + r.counts.withheld, "deletion withheld", "deletions withheld"),
        (summary.skipped(), "skipped by an operator", "skipped by an operator"),
        (r.waiting, "relationship waiting for an end", "relationships waiting for an end"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {}", number_of(count, one, more)));
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

/// The id of the group of a change. Creates are in none: they differ in their names at
/// least.
fn group_id(alike: &Alike, change: &Change) -> Option<u128> {
    (change.action != Action::Create).then(|| alike.group_id(change))
}

fn group_text(paint: &Paint, alike: &Alike, change: &Change, group: &Group, extent: Extent) -> String {
    let (sign, count) = (paint.sign(change.action), thousands(group.count));
    let type_name = safe(change.key.type_name());
    let (before, after) = alike.common(change);
    let (before, after) = (object(before.as_deref()), object(after.as_deref()));
    let keys = keys(&change.key, group, extent);
    if change.action != Action::Update {
        return format!("{sign} {count} {type_name}{}\n{keys}", waits(change));
    }
    let mut parts = Vec::new();
    for name in names(&before, &after) {
        match difference::of(&before, &after, name, extent) {
            Difference::Line(line) => parts.push(format!("{} {line}", safe(name))),
            // What takes lines stands below, with the others of the change.
            Difference::Lines(..) => {
                let all: Vec<String> = names(&before, &after).iter().map(|name| safe(name)).collect();
                let below = difference::attributes(&before, &after, extent);
                return format!("{sign} {} on {count} {type_name}\n{keys}{below}", all.join(", "));
            }
        }
    }
    format!("{sign} {} on {count} {type_name}\n{keys}", parts.join(", "))
}

/// The first keys of a group.
fn keys(first: &Key, group: &Group, extent: Extent) -> String {
    let mut text = format!("      {}\n", safe(&first.to_string()));
    for name in &group.others {
        text.push_str(&format!("      {}\n", safe(name)));
    }
    let more = group.count.saturating_sub(1 + group.others.len() as u64);
    if more > 0 {
        text.push_str(&format!("      … and {} more{}\n", thousands(more), extent.hint));
    }
    text
}

/// What is said of a relationship that goes, and is still asserted.
fn waits(change: &Change) -> &'static str {
    if change.begins_to_wait() { " (waits for an end)" } else { "" }
}

fn change_text(paint: &Paint, change: &Change, extent: Extent) -> String {
    let key = safe(&change.key.to_string());
    let mut text = format!("{} {key}{}\n", paint.sign(change.action), waits(change));
    let (before, after) = (object(change.before.as_deref()), object(change.after.as_deref()));
    match change.action {
        Action::Delete => {}
        Action::Create => {
            let shown = if extent.full { after.len() } else { CREATED };
            for (name, value) in after.iter().take(shown) {
                text.push_str(&difference::created(name, value, extent));
            }
            if after.len() > shown {
                text.push_str(&format!("      … and {} more\n", after.len() - shown));
            }
        }
        Action::Update => text.push_str(&difference::attributes(&before, &after, extent)),
    }
    text
}

/// Lines that a plan leaves out.
fn bad_lines_text(head: &Head) -> String {
    if head.bad_lines.is_empty() {
        return String::new();
    }
    let mut text = "\nlines that become dead letters:\n".to_owned();
    for line in &head.bad_lines {
        let gap = if line.field.is_empty() { "" } else { " " };
        let told = format!("{}:{}: {}{gap}{}", line.file, line.line, line.field, line.problem);
        text.push_str(&format!("  {}\n", safe(&told)));
    }
    let more = head.bad_line_count.saturating_sub(head.bad_lines.len() as u64);
    if more > 0 {
        text.push_str(&format!("  … and {} more; `tidegate batches check` shows them\n", thousands(more)));
    }
    text
}

impl Counts {
    fn take(&mut self, change: &Change) {
        let row = self.by_type.entry((change.kind, change.key.type_name().to_owned())).or_default();
        row[if change.begins_to_wait() { 3 } else { change.action as usize }] += 1;
        if change.action == Action::Update {
            let (before, after) = (object(change.before.as_deref()), object(change.after.as_deref()));
            for name in names(&before, &after) {
                if self.by_attribute.len() < COUNTED || self.by_attribute.contains_key(name) {
                    *self.by_attribute.entry(name.clone()).or_default() += 1;
                }
            }
        }
    }

    fn text(&self, extent: Extent) -> String {
        if self.by_type.is_empty() {
            return String::new();
        }
        let any_waits = self.by_type.values().any(|n| n[3] > 0);
        let columns = if any_waits { 5 } else { 4 };
        let row = |((_, name), n): (&(Kind, String), &[u64; 4])| {
            let [create, update, delete, wait] = n.map(thousands);
            let mut row =
                vec![name.clone(), format!("+{create}"), format!("~{update}"), format!("-{delete}"), wait];
            row.truncate(columns);
            row
        };
        let rows: Vec<Vec<String>> = self.by_type.iter().map(row).collect();
        let heads = &["TYPE", "CREATE", "UPDATE", "DELETE", "WAIT"][..columns];
        let mut text = format!("\n{}", crate::cli::common::table(heads, &rows));
        if !self.by_attribute.is_empty() {
            let mut by: Vec<_> = self.by_attribute.iter().collect();
            by.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
            let shown = if extent.full { by.len() } else { ATTRIBUTES.min(by.len()) };
            let list: Vec<String> =
                by[..shown].iter().map(|(name, n)| format!("{} {}", safe(name), thousands(**n))).collect();
            let more = match by.len() - shown {
                0 => String::new(),
                more => format!(" … and {} more{}", thousands(more as u64), extent.hint),
            };
            text.push_str(&format!("\nUpdated attributes: {}{more}\n", list.join(", ")));
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
}
