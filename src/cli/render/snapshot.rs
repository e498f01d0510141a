//! A snapshot as text.

use std::fmt::Write;

use super::safe;
use crate::service::views::SnapshotView;

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
    line("newest data of", &snapshot.newest.to_string());
    line("entities", &snapshot.entities.to_string());
    line("relationships", &snapshot.relationships.to_string());
    if let Some(parent) = &snapshot.parent {
        line("follows", parent.as_str());
    }
    line("url", &snapshot.url);
    out
}
