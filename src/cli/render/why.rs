//! Why an entity looks as it does, as text.

use std::fmt::Write;

use super::safe;
use crate::cli::common::table;
use crate::service::views::{AssertionKind, WhySource, WhyView};

/// Characters of a value that are shown.
const SHOWN: usize = 60;

fn says(source: &WhySource) -> &'static str {
    match source.asserts {
        AssertionKind::Value => "a value",
        AssertionKind::Deleted => "it is gone",
        AssertionKind::NotListed => "nothing: a full batch did not list it",
        AssertionKind::Nothing => "nothing",
    }
}

fn notes(source: &WhySource) -> String {
    let mut notes = Vec::new();
    if let Some(number) = source.dead_letter {
        notes.push(format!("dead letter {number}"));
    }
    if source.unsure {
        notes.push("the outcome of the last request is not known".to_owned());
    }
    if let Some(batch) = &source.pending_batch {
        notes.push(format!("{batch} may say something newer"));
    }
    notes.join("; ")
}

/// The verdict, each source's assertion, who won each attribute, and what waits.
pub fn why(view: &WhyView) -> String {
    let mut out = String::new();
    let state = match (view.live, view.archived) {
        (true, _) => "is there",
        (false, true) => "is archived",
        (false, false) => "is not there",
    };
    // Writing to a string can't fail.
    let _ = writeln!(out, "{} {state}, at {}.", safe(&view.key.to_string()), view.target);
    let _ = writeln!(out, "{}", safe(&view.verdict.text));
    if let Some(batch) = &view.verdict.batch_id {
        let _ = writeln!(out, "batch {batch}");
    }
    if !view.sources.is_empty() {
        let rows: Vec<Vec<String>> = view
            .sources
            .iter()
            .map(|source| {
                vec![
                    source.source_id.to_string(),
                    source.precedence.to_string(),
                    says(source).into(),
                    source.batch_id.as_ref().map_or_else(String::new, ToString::to_string),
                    source.source_timestamp.map_or_else(String::new, |at| at.to_string()),
                    notes(source),
                ]
            })
            .collect();
        let head = ["SOURCE", "PRECEDENCE", "SAYS", "IN BATCH", "EXTRACTED", ""];
        let _ = write!(out, "\n{}", table(&head, &rows));
    }
    if !view.attributes.is_empty() {
        let rows: Vec<Vec<String>> = view
            .attributes
            .iter()
            .map(|attribute| {
                let value = match &attribute.value {
                    Some(value) if attribute.at_target => cut(value.get()),
                    Some(_) | None => "(none)".to_owned(),
                };
                let from = attribute.source_id.as_ref().map_or("set at the target", |id| id.as_str());
                let over: Vec<&str> = attribute.overruled.iter().map(|id| id.as_str()).collect();
                let mut note =
                    if over.is_empty() { String::new() } else { format!("over {}", over.join(", ")) };
                if attribute.differs {
                    let gap = if note.is_empty() { "" } else { "; " };
                    note.push_str(gap);
                    note.push_str("the target has another value");
                }
                vec![attribute.name.clone(), value, from.to_owned(), note]
            })
            .collect();
        let _ = write!(out, "\n{}", table(&["ATTRIBUTE", "VALUE", "FROM", ""], &rows));
    }
    if !view.waiting.is_empty() {
        let rows: Vec<Vec<String>> = view
            .waiting
            .iter()
            .map(|waiting| {
                vec![waiting.key.to_string(), waiting.source_id.to_string(), waiting.reason.clone()]
            })
            .collect();
        let _ = write!(out, "\n{}", table(&["WAITING RELATIONSHIP", "SOURCE", "REASON"], &rows));
    }
    out
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(SHOWN - 1).collect::<String>())
    }
}
