//! An entity as text.

use std::fmt::Write;

use serde_json::value::RawValue;

use super::{indented_lines, safe};
use crate::targets::embedded::{Direction, EntityView, HistoryView, Origin};

/// Who did it: a batch, or a person at the target.
fn by(origin: &Origin) -> String {
    if origin.batch.is_empty() { format!("by {}", origin.source) } else { format!("batch {}", origin.batch) }
}

fn origin(origin: &Origin) -> String {
    format!("{} {}", origin.at.strftime("%F %T"), by(origin))
}

/// The columns of versions that were replaced.
pub const VERSIONS: [&str; 4] = ["VERSION", "UNTIL", "ENDED WITH", "BY"];

/// A version that was replaced.
pub fn version_row(version: &HistoryView) -> Vec<String> {
    vec![
        version.version.to_string(),
        version.ended_by.at.strftime("%F %T UTC").to_string(),
        version.ended_with.as_str().to_owned(),
        by(&version.ended_by),
    ]
}

/// Attributes, one a line; text of several lines below its name.
fn attributes(out: &mut String, indent: &str, attributes: &RawValue) {
    let attributes: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(attributes.get()).unwrap_or_default();
    for (name, value) in &attributes {
        let (name, text) = (safe(name), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        // Writing to a string can't fail.
        let _ = if text.contains('\n') {
            write!(out, "{indent}{name} =\n{}", indented_lines(&format!("{indent}    "), &text))
        } else {
            writeln!(out, "{indent}{name} = {}", safe(&text))
        };
    }
}

/// The entity with its attributes, provenance, relationships and history.
pub fn entity(view: &EntityView) -> String {
    let mut out = String::new();
    let archived = if view.archived { "  (archived)" } else { "" };
    // Writing to a string can't fail.
    let _ = writeln!(out, "{}{archived}", safe(&view.key.to_string()));
    attributes(&mut out, "  ", &view.attributes);
    let _ = writeln!(out, "\nversion {}", view.version);
    let _ = writeln!(out, "created {}", safe(&origin(&view.created)));
    let _ = writeln!(out, "updated {}", safe(&origin(&view.updated)));
    if !view.relationships.is_empty() {
        let _ = writeln!(out, "\nrelationships");
        for relationship in &view.relationships {
            let (arrow, end) = match relationship.direction {
                Direction::Out => ("→", &relationship.key.to),
                Direction::In => ("←", &relationship.key.from),
            };
            let archived = if relationship.archived { "  (archived)" } else { "" };
            // Several between the same ends are told apart by their labels.
            let label = match &relationship.key.label[..] {
                "" => String::new(),
                label => format!(" [{}]", safe(label)),
            };
            let _ = writeln!(
                out,
                "  {}{label} {arrow} {}{archived}",
                safe(&relationship.key.type_name),
                safe(&end.to_string())
            );
            attributes(&mut out, "      ", &relationship.attributes);
        }
        if view.more_relationships {
            let _ = writeln!(out, "  and more: raise --relationships");
        }
    }
    if !view.history.is_empty() {
        let _ = writeln!(out, "\nhistory");
        for version in &view.history {
            let _ = writeln!(
                out,
                "  version {} until {} ({})",
                version.version,
                safe(&origin(&version.ended_by)),
                version.ended_with.as_str()
            );
        }
        if view.more_history {
            let _ = writeln!(out, "  and more: tidegate catalogue history lists them");
        }
    }
    out
}
