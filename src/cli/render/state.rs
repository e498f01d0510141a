//! A publish state as text.

use std::fmt::Write;

use super::safe;
use crate::domain::publish_state::{PublishState, PublishStatus};

/// A line for each thing that is known.
pub fn publish_state(state: &PublishState) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string can't fail.
        let _ = writeln!(out, "  {name:<12} {}", safe(value));
    };
    line("batch", &state.batch_id);
    line("status", state.status.as_str());
    line("source time", &state.source_timestamp.to_string());
    if let (Some(start), Some(end)) = (state.publish_start_timestamp, state.publish_end_timestamp) {
        let took = end.duration_since(start).as_millis();
        // Between the two lies what it waited for, such as a person.
        let executed =
            state.metrics.as_ref().map(|m| format!(", {} ms of them executing", m.execution_time_ms));
        // Of what failed nothing is published, or not all.
        let name = if state.status == PublishStatus::Complete { "published" } else { "ended" };
        line(name, &format!("{end} ({took} ms from its first step{})", executed.unwrap_or_default()));
    }
    if let Some(m) = &state.metrics {
        let counts = |c, u, d| format!("{c} created, {u} updated, {d} deleted");
        line("entities", &counts(m.entities_created, m.entities_updated, m.entities_deleted));
        line("relations", &counts(m.relationships_created, m.relationships_updated, m.relationships_deleted));
    }
    if let Some(failure) = &state.failure_details {
        line("code", &failure.error_code);
        line("reason", &failure.error_message);
        if let Some(operation) = &failure.failed_operation {
            line("while", operation);
        }
        for cause in failure.stack_trace.iter().flat_map(|trace| trace.lines()) {
            line("cause", cause);
        }
    }
    if let Some(path) = &state.state_snapshot_path {
        line("snapshot", path);
    }
    if let Some(path) = &state.execution_plan_path {
        line("plan", path);
    }
    out
}
