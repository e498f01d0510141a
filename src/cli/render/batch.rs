//! A batch as text: one line of a list, and all that is known of it.

use std::fmt::Write;

use super::{number_of, safe, state};
use crate::domain::publish_state::PublishStatus;
use crate::error::ErrorKind;
use crate::service::views::{BatchView, Phase, ProgressUnit, ProgressView, TimelineItem};

/// The head of a table of batches.
pub const HEAD: [&str; 4] = ["BATCH", "STATUS", "CHANGES", ""];

/// A batch's row in a table.
pub fn row(batch: &BatchView) -> Vec<String> {
    let state = &batch.publish_state;
    vec![state.batch_id.clone(), state.status.as_str().into(), counts(batch), note(batch)]
}

/// What it created, updated and deleted; of a plan that waits, what it would;
/// nothing where it was not begun.
fn counts(batch: &BatchView) -> String {
    let state = &batch.publish_state;
    let (created, updated, deleted) = match &batch.plan {
        Some(plan) if state.status == PublishStatus::PlanComplete => {
            let (entities, relationships) = (&plan.summary.entities, &plan.summary.relationships.counts);
            (
                entities.create + relationships.create,
                entities.update + relationships.update,
                entities.delete + relationships.delete,
            )
        }
        Some(_) | None => {
            // It ended, or failed, before anything was done.
            let Some(m) = state.metrics else { return String::new() };
            (
                m.entities_created + m.relationships_created,
                m.entities_updated + m.relationships_updated,
                m.entities_deleted + m.relationships_deleted,
            )
        }
    };
    format!("+{created} ~{updated} -{deleted}")
}

/// What is to be said of a batch besides its status, in a few words.
pub fn note(batch: &BatchView) -> String {
    if batch.hold.is_some() {
        return "waits for approval".into();
    }
    if let Some(progress) = &batch.progress {
        return progress_text(progress);
    }
    if let Some(waits) = &batch.waits {
        return waits.text.clone();
    }
    batch
        .publish_state
        .failure_details
        .as_ref()
        .map_or_else(String::new, |failure| failure.error_code.clone())
}

/// How far work has come: `executing 300 of 1,000 changes, 250 a second`.
pub fn progress_text(progress: &ProgressView) -> String {
    let phase = match progress.phase {
        Phase::Reading => "reading",
        Phase::Planning => "planning",
        Phase::Executing => "executing",
        Phase::Committing => "committing",
    };
    let (one, more) = match progress.unit {
        ProgressUnit::Bytes => ("byte", "bytes"),
        ProgressUnit::Changes => ("change", "changes"),
    };
    let number = super::plan::thousands;
    let mut text = phase.to_owned();
    if let Some(total) = progress.total.filter(|total| *total > 0) {
        let _ = write!(text, " {} of {}", number(progress.done), number_of(total, one, more));
    }
    if let Some(rate) = progress.rate.filter(|rate| *rate >= 1.0) {
        let _ = write!(text, ", {} a second", number(rate as u64));
    }
    text
}

/// The publish state with what lies beside it. `command` is how Tidegate was
/// called, as [`command_of`](crate::cli::common::command_of) has it.
pub fn batch(batch: &BatchView, command: &str) -> String {
    let mut out = state::publish_state(&batch.publish_state);
    let mut line = |name: &str, value: &str| {
        // Writing to a string can't fail.
        let _ = writeln!(out, "  {name:<12} {}", safe(value));
    };
    if let Some(hold) = &batch.hold {
        line("held", &hold.note);
        if let Some(plan) = &batch.plan {
            line("digest", &plan.digest.to_string());
        }
    }
    if let Some(waits) = batch.waits.as_ref().filter(|_| batch.hold.is_none()) {
        line("waits", &waits.text);
    }
    if let Some(progress) = &batch.progress {
        line("progress", &progress_text(progress));
    }
    if let Some(done) = batch.completion.filter(|done| done.total > 0) {
        let number = super::plan::thousands;
        let text = format!(
            "{} of {} published, {} failed, {} skipped",
            number(done.done),
            number(done.total),
            number(done.failed),
            number(done.skipped)
        );
        line("changes", &text);
    }
    if let Some(eta) = &batch.eta {
        line("expected", &eta.to_string());
    }
    if let Some(next) = &batch.next_attempt {
        line("next try", &next.to_string());
    }
    if let Some(prioritised) = &batch.prioritised {
        line("ahead", &format!("by {}: {}", prioritised.actor, prioritised.reason));
    }
    if let Some(priority) = &batch.priority {
        line(
            "score",
            &format!(
                "{:.2} (age {:.2}, importance {:.2}, simplicity {:.2})",
                priority.score, priority.age, priority.importance, priority.simplicity
            ),
        );
    }
    if let Some(approval) = &batch.approval {
        line("approved", &format!("by {}: {}", approval.actor, approval.reason));
    }
    if batch.open_dead_letters > 0 {
        line("dead letters", &batch.open_dead_letters.to_string());
    }
    let id = &batch.publish_state.batch_id;
    if batch.open_dead_letters > 0 {
        let _ = write!(out, "\nIts dead letters: {command} dlq list --batch {id}\n");
    }
    if batch.hold.is_some() {
        let _ = write!(
            out,
            "\nApprove it: {command} batches approve {id}\nOr reject it: {command} batches reject {id}\n"
        );
    }
    out
}

/// What happened to a batch, as a table.
pub fn timeline(items: &[TimelineItem]) -> String {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            vec![
                item.at.strftime("%F %T").to_string(),
                item.to.as_str().into(),
                item.actor.clone(),
                item.cause.clone(),
            ]
        })
        .collect();
    crate::cli::common::table(&["AT (UTC)", "STATUS", "WHO", "WHY"], &rows)
}

/// The exit code that tells how a batch stands (contract: command line).
pub fn exit_code(batch: &BatchView) -> u8 {
    let state = &batch.publish_state;
    match state.status {
        PublishStatus::Complete if state.failure_details.is_some() => ErrorKind::Partial.info().exit_code,
        PublishStatus::Complete => 0,
        PublishStatus::Failed => 1,
        PublishStatus::PlanComplete if batch.hold.is_some() => ErrorKind::Parked.info().exit_code,
        PublishStatus::Pending
        | PublishStatus::Planning
        | PublishStatus::PlanComplete
        | PublishStatus::Executing
        | PublishStatus::Retrying => ErrorKind::Interrupted.info().exit_code,
    }
}
