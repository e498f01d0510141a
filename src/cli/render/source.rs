//! A source as text.

use std::fmt::Write;

use super::{batch, number_of, safe, snapshot};
use crate::cli::common::table;
use crate::service::views::{SkipView, SourceDetail, SourceView};

/// The head of a table of sources.
pub const HEAD: [&str; 8] =
    ["SOURCE", "TARGET", "NEWEST", "WAITING", "ENTITIES", "RELATIONSHIPS", "DEAD LETTERS", ""];

/// A source's row in a table.
pub fn row(source: &SourceView) -> Vec<String> {
    let of = |count: fn(&crate::service::views::SnapshotView) -> u64| {
        source.snapshot.as_ref().map_or_else(String::new, |snapshot| count(snapshot).to_string())
    };
    vec![
        source.source_id.to_string(),
        source.target.to_string(),
        source.newest_status.map_or("", |status| status.as_str()).to_owned(),
        source.waiting.to_string(),
        of(|snapshot| snapshot.entities),
        of(|snapshot| snapshot.relationships),
        source.open_dead_letters.to_string(),
        source.words.clone(),
    ]
}

/// The head of a table of skips.
pub const SKIPS: [&str; 5] = ["TYPE", "NAME", "UNTIL", "BY", "REASON"];

/// A skip's row in a table.
pub fn skip_row(skip: &SkipView) -> Vec<String> {
    let until = skip.until.map_or_else(|| "no end".to_owned(), |at| at.to_string());
    vec![skip.type_name.clone(), skip.name.clone(), until, skip.actor.clone(), skip.reason.clone()]
}

/// Everything that is known of a source.
pub fn detail(detail: &SourceDetail) -> String {
    let mut out = String::new();
    let source = &detail.source;
    let mut line = |name: &str, value: &str| {
        // Writing to a string can't fail.
        let _ = writeln!(out, "  {name:<12} {}", safe(value));
    };
    line("source", source.source_id.as_str());
    line("state", &source.words);
    line("target", source.target.as_str());
    if let Some(hold) = &source.hold {
        line("held", &format!("since {}: {} ({})", hold.since.strftime("%F %T"), hold.note, hold.code));
    }
    line("waiting", &source.waiting.to_string());
    if let Some(at) = &source.last_success {
        line("published", &at.to_string());
    }
    line("dead letters", &source.open_dead_letters.to_string());
    if let Some(snapshot) = &source.snapshot {
        line("snapshot", snapshot.snapshot_id.as_str());
        let entities = number_of(snapshot.entities, "entity", "entities");
        let relationships = number_of(snapshot.relationships, "relationship", "relationships");
        line("holds", &format!("{entities}, {relationships}"));
    }
    for skip in &detail.skips {
        let until = skip.until.map_or_else(|| "until it is lifted".to_owned(), |at| format!("until {at}"));
        line("skips", &format!("{} {} {until}: {} ({})", skip.type_name, skip.name, skip.reason, skip.actor));
    }
    let settings: Vec<Vec<String>> = detail
        .settings
        .iter()
        .map(|setting| vec![setting.key.clone(), setting.value.clone(), setting.origin.clone()])
        .collect();
    let _ = write!(out, "\n{}", table(&["SETTING", "VALUE", "FROM"], &settings));
    if !detail.batches.is_empty() {
        let rows: Vec<Vec<String>> = detail.batches.iter().map(batch::row).collect();
        let _ = write!(out, "\n{}", table(&batch::HEAD, &rows));
    }
    if !detail.snapshots.is_empty() {
        let rows: Vec<Vec<String>> = detail.snapshots.iter().map(snapshot::row).collect();
        let _ = write!(out, "\n{}", table(&snapshot::HEAD, &rows));
    }
    out
}
