//! Dead letters as text: a line of a list, a group, and all that is known of
//! one.

use std::fmt::Write;

use super::plan::{counts_line, thousands};
use super::{number_of, safe, safe_lines};
use crate::domain::change::Action;
use crate::domain::json::indented;
use crate::service::views::{DeadLetterDetail, DeadLetterView, LetterGroupView, LetterPreview};
use crate::store::LetterKind;

/// The head of a table of dead letters.
pub const HEAD: [&str; 6] = ["ID", "STATE", "SOURCE", "WHAT", "CODE", "MESSAGE"];
/// The head of a table of groups.
pub const GROUP_HEAD: [&str; 7] = ["COUNT", "NEWEST", "GROUP", "SOURCE", "KIND", "CODE", "MESSAGE"];

/// Bytes of a content that are shown.
const SHOWN: usize = 64 << 10;

/// What a letter is about.
pub fn what(letter: &DeadLetterView) -> String {
    match (&letter.kind, &letter.key) {
        (LetterKind::Batch, _) => format!("batch {}", letter.batch_id),
        (LetterKind::Entity, Some(key)) => key.to_string(),
        (LetterKind::Entity, None) => "a line without a readable key".to_owned(),
    }
}

fn short(text: &str, most: usize) -> String {
    let line: String = text.chars().take(most).collect();
    if line.chars().count() < text.chars().count() { format!("{line}…") } else { line }
}

/// A letter's row in a table.
pub fn row(letter: &DeadLetterView) -> Vec<String> {
    vec![
        letter.id.to_string(),
        letter.state.as_str().into(),
        letter.source_id.to_string(),
        short(&what(letter), 60),
        letter.code.clone(),
        short(&letter.message, 100),
    ]
}

/// A group's row in a table.
pub fn group_row(group: &LetterGroupView) -> Vec<String> {
    vec![
        group.count.to_string(),
        group.example.as_ref().map(|letter| letter.id.to_string()).unwrap_or_default(),
        group.signature.clone(),
        group.source_id.to_string(),
        group.kind.as_str().into(),
        group.code.clone(),
        short(&group.message, 100),
    ]
}

/// The beginning of a text, in whole characters.
fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Everything that is known of a letter.
pub fn detail(detail: &DeadLetterDetail) -> String {
    let letter = &detail.letter;
    let mut out = format!("Dead letter {}: {}\n", letter.id, safe(&what(letter)));
    let mut line = |name: &str, value: &str| {
        // Writing to a string can't fail.
        let _ = writeln!(out, "  {name:<12} {}", safe(value));
    };
    line("state", letter.state.as_str());
    if let Some(batch) = &letter.requeued_as {
        line("requeued as", &batch.to_string());
    }
    if let (Some(at), by) = (&letter.settled_at, &letter.settled_by) {
        line("settled", &format!("{at} by {}", by.as_deref().unwrap_or("tidegate")));
    }
    if let Some(reason) = &detail.discard_reason {
        line("because", reason);
    }
    line("reason", &format!("{} {}", letter.code, letter.message));
    line("meaning", &detail.meaning);
    line("what to do", &detail.action);
    if let Some(skip) = &detail.skip {
        let until = skip.until.map_or_else(|| "without an end".to_owned(), |at| format!("until {at}"));
        let of = format!("{} {}", skip.type_name, skip.name);
        line("skipped", &format!("{until} by {}, as {of}: {}", skip.actor, skip.reason));
        line("", "It can be requeued when the skip is lifted: `tidegate sources unskip`.");
    }
    line("source", letter.source_id.as_str());
    line("batch", &letter.batch_id.to_string());
    line("group", &letter.signature);
    line("opened", &letter.opened_at.to_string());
    line("revision", &letter.revision.to_string());
    if !detail.file.is_empty() {
        line("line", &format!("{} line {}", detail.file, detail.line));
    }
    if let Some(files) = &detail.files {
        line("files", files);
    }
    let known = &detail.diagnostics;
    if let Some(operation) = &known.operation {
        line("while", operation);
    }
    if let Some(action) = known.action {
        line("action", action.as_str());
    }
    for (name, text) in [("before", &known.before), ("after", &known.after), ("answer", &known.answer)] {
        if let Some(text) = text {
            line(name, text);
        }
    }
    for cause in &known.causes {
        line("cause", cause);
    }
    if let Some(request) = &known.request {
        out.push_str("\nAs it was sent:\n");
        for line in request.lines() {
            out.push_str(format!("  {}", safe(line)).trim_end());
            out.push('\n');
        }
    }
    if !detail.retries.is_empty() {
        out.push_str("\nTried again after:\n");
        for retried in &detail.retries {
            out.push_str(&format!("  {} {}\n", retried.at, safe(&retried.message)));
        }
    }
    out.push_str(&format!("\nAttempts ({}):\n", letter.attempts));
    for attempt in &detail.history {
        let text = format!("{} {} {} {}", attempt.at, attempt.batch_id, attempt.code, attempt.message);
        out.push_str(&format!("  {}\n", safe(&text)));
    }
    if !detail.actions.is_empty() {
        out.push_str("\nWhat was done:\n");
        for action in &detail.actions {
            let mut text = format!("{} {} by {}", action.at, action.what, action.actor);
            if !action.reason.is_empty() {
                text.push_str(&format!(": {}", action.reason));
            }
            out.push_str(&format!("  {}\n", safe(&text)));
        }
    }
    for (name, content) in [("Original", &detail.content), ("Edited", &detail.edited_content)] {
        if let Some(content) = content {
            let cut = if detail.cut && name == "Original" { " (cut)" } else { "" };
            let shown = beginning(content, SHOWN);
            out.push_str(&format!("\n{name}{cut}:\n{}\n", safe_lines(&indented(shown))));
            if shown.len() < content.len() {
                let (all, id) = (thousands(content.len() as u64), letter.id);
                out.push_str(&format!("… the first {} of {all} bytes. ", thousands(shown.len() as u64)));
                out.push_str(&match name {
                    "Original" if detail.cut => {
                        format!("What else was kept, which is not all: tidegate dlq show {id} --raw\n")
                    }
                    "Original" => format!("All of them: tidegate dlq show {id} --raw\n"),
                    _ => format!("All of them: tidegate dlq show {id} --json\n"),
                });
            }
        }
    }
    if !detail.content_exact {
        let id = letter.id;
        out.push_str(&format!("Not all of it is UTF-8. Its bytes: tidegate dlq show {id} --raw\n"));
    }
    if let Some(problem) = &detail.content_problem {
        out.push_str(&format!("\nOriginal: {}\n", safe(problem)));
    }
    out
}

/// What a content would change.
pub fn preview(preview: &LetterPreview) -> String {
    let mut out = String::new();
    if let Some(problem) = &preview.problem {
        out.push_str(&format!("It can't be requeued as it is: {}\n", safe(problem)));
    }
    if let Some(action) = &preview.action {
        out.push_str(&format!("{}\n", safe(action)));
    }
    if let Some(note) = &preview.note {
        out.push_str(&format!("{note}\n"));
    }
    for change in &preview.changes {
        out.push_str(&format!("{} {}\n", change.action.sign(), safe(&change.key.to_string())));
        let mut value = |name: &str, value: &Option<Box<serde_json::value::RawValue>>| {
            if let Some(value) = value {
                out.push_str(&format!("    {name} {}\n", safe(value.get())));
            }
        };
        match change.action {
            Action::Create => value("is  ", &change.after),
            Action::Update => {
                value("was ", &change.before);
                value("is  ", &change.after);
            }
            Action::Delete => value("was ", &change.before),
        }
    }
    if let Some(plan) = &preview.plan {
        let more = plan.changes.saturating_sub(preview.changes.len() as u64);
        if more > 0 {
            out.push_str(&format!("… and {}\n", number_of(more, "more change", "more changes")));
        }
        out.push_str(&counts_line(&plan.summary));
        for trip in &plan.guards {
            out.push_str(&format!("guard: {}. It would be parked.\n", safe(&trip.reason)));
        }
        for warning in &plan.warnings {
            out.push_str(&format!("warning: {}\n", safe(warning)));
        }
    }
    out
}
