//! A snapshot as text.

use std::fmt::Write;

use super::difference::{Extent, attributes, is_long, object};
use super::safe;
use crate::domain::change::Action;
use crate::service::views::{SnapshotChange, SnapshotView};

/// The head of a table of snapshots.
pub const HEAD: [&str; 7] = ["SNAPSHOT", "SOURCE", "MADE (UTC)", "ENTITIES", "RELATIONSHIPS", "BATCH", ""];

/// A snapshot's row in a table.
pub fn row(snapshot: &SnapshotView) -> Vec<String> {
    vec![
        snapshot.snapshot_id.to_string(),
        snapshot.source_id.to_string(),
        snapshot.created_at.strftime("%F %T").to_string(),
        snapshot.entities.to_string(),
        snapshot.relationships.to_string(),
        snapshot.batch_id.to_string(),
        if snapshot.current { "current".into() } else { String::new() },
    ]
}

/// Everything that is known of a snapshot.
pub fn snapshot(snapshot: &SnapshotView) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string can't fail.
        let _ = writeln!(out, "  {name:<14} {}", safe(value));
    };
    line("snapshot", snapshot.snapshot_id.as_str());
    line("source", snapshot.source_id.as_str());
    line("target", snapshot.target.as_str());
    line("current", if snapshot.current { "yes" } else { "no" });
    line("made", &snapshot.created_at.to_string());
    line("batch", &snapshot.batch_id.to_string());
    line("newest data of", &snapshot.newest.map_or("nothing is published".into(), |time| time.to_string()));
    line("entities", &snapshot.entities.to_string());
    line("relationships", &snapshot.relationships.to_string());
    if let Some(parent) = &snapshot.parent {
        line("follows", parent.as_str());
    }
    line("url", &snapshot.url);
    out
}

/// A key that two snapshots have otherwise. Short values of an update stand
/// behind it, long ones below it, cut.
pub fn change(change: &SnapshotChange) -> String {
    let text = format!("{} {} {}", change.action.sign(), change.kind.as_str(), safe(&change.key.to_string()));
    let (Action::Update, Some(before), Some(after)) = (change.action, &change.before, &change.after) else {
        return text + "\n";
    };
    if is_long(before.get()) || is_long(after.get()) {
        let extent = Extent { full: false, hint: "; --json shows them" };
        return format!("{text}\n{}", attributes(&object(Some(before)), &object(Some(after)), extent));
    }
    format!("{text}  {} → {}\n", safe(before.get()), safe(after.get()))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::domain::key::{EntityKey, Key, Kind};

    fn shown(before: &str, after: &str) -> String {
        let raw = |json: &str| Some(RawValue::from_string(json.to_owned()).unwrap());
        let key = Key::Entity(EntityKey::new("t", "a"));
        let (before, after) = (raw(before), raw(after));
        change(&SnapshotChange { action: Action::Update, kind: Kind::Entity, key, before, after })
    }

    #[test]
    fn short_values_stand_on_the_line_and_long_ones_are_cut_below_it() {
        assert_eq!(shown("{\"x\":1}", "{\"x\":2}"), "~ entity t a  {\"x\":1} → {\"x\":2}\n");
        let list = |last: u32| format!("{{\"d\":{:?},\"x\":{last}}}", [vec![0; 20_000], vec![last]].concat());
        let text = shown(&list(1), &list(2));
        assert!(text.starts_with("~ entity t a\n      d:\n          … 19,998 lines unchanged\n"), "{text}");
        assert!(text.contains("        -   1\n        +   2\n"), "{text}");
        assert!(text.ends_with("      x: 1 → 2\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
    }
}
