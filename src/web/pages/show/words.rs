//! Values of ours in words.

use super::number::{bytes, thousands};
use super::{Html, link, text, time};
use crate::domain::guards::GuardRule;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishState;
use crate::domain::transition::Event;
use crate::error::by_code;
use crate::service::views::{
    AssertionKind, BatchView, Phase, PriorityView, ProgressUnit, ProgressView, TimelineItem, WaitCode,
    WaitView,
};

/// The setting that a guard's limit comes from, within `sources.<id>.guards`.
pub fn guard(rule: GuardRule) -> &'static str {
    match rule {
        GuardRule::DeleteRatioOfType | GuardRule::DeleteRatioOfSource => "delete_ratio",
        GuardRule::DeleteMax => "delete_max",
        GuardRule::ContainerContents => "container_contents",
        GuardRule::EmptyFull => "empty_full",
        GuardRule::FullCountFell => "full_count_ratio",
        GuardRule::UpdateRatio => "update_ratio",
        GuardRule::OtherWorkflow => "other_workflow",
    }
}

/// What a source says of a key.
pub fn assertion(kind: AssertionKind) -> &'static str {
    match kind {
        AssertionKind::Value => "A value",
        AssertionKind::Deleted => "Absent: deleted by an incremental batch",
        AssertionKind::NotListed => "Absent: a full batch did not list it",
        AssertionKind::Nothing => "Nothing",
    }
}

/// How complete batches of an inbox are known.
pub fn completeness(setting: &str) -> Html {
    let mut out = String::new();
    match setting.split_once(':') {
        Some(("marker", name)) => {
            out.push_str("the file <code>");
            text::push(&mut out, name, false);
            out.push_str("</code>");
        }
        Some(("quiet", time)) => {
            out.push_str("no change for ");
            text::push(&mut out, time, false);
        }
        Some(_) | None => out.push_str("<code>manifest.json</code>"),
    }
    Html::trusted(out)
}

/// Why a batch waits. What exactly tripped the guards is told with its plan.
pub fn wait(wait: &WaitView) -> Html {
    match wait.code {
        WaitCode::Approval => {
            Html::trusted("a guard parked its plan: a person approves or rejects it".to_owned())
        }
        WaitCode::SourceHeld
        | WaitCode::SourcePaused
        | WaitCode::Retry
        | WaitCode::TargetDown
        | WaitCode::Window
        | WaitCode::KnownIssue
        | WaitCode::OlderBatch
        | WaitCode::Turn => linked(&wait.text, wait.batch_id.as_ref()),
    }
}

/// Words that may name a batch; where they do, they lead there.
pub fn linked(words: &str, batch: Option<&BatchId>) -> Html {
    let (words, _) = text::cut(words, 600);
    let mut out = String::from("<bdi>");
    let id = batch.map(ToString::to_string);
    match id.as_deref().and_then(|id| words.split_once(id).map(|around| (id, around))) {
        Some((id, (before, after))) => {
            text::push_said(&mut out, before, false);
            out.push_str(&format!("<a class=\"id\" href=\"{}\">", link::batch(id)));
            text::push(&mut out, id, false);
            out.push_str("</a>");
            text::push_said(&mut out, after, false);
        }
        None => text::push_said(&mut out, words, false),
    }
    out.push_str("</bdi>");
    Html::trusted(out)
}

/// What failed: the message without the batch's own id before it, and without
/// what the table of errors says of its code behind it. Empty where nothing did.
pub fn what_failed(state: &PublishState) -> &str {
    let Some(failure) = &state.failure_details else { return "" };
    let words = failure.error_message.as_str();
    let own = words.strip_prefix("batch ").and_then(|rest| rest.strip_prefix(state.batch_id.as_str()));
    let words = own.and_then(|rest| rest.strip_prefix(": ")).unwrap_or(words);
    let told = by_code(&failure.error_code).and_then(|info| words.split_once(info.meaning));
    told.map_or(words, |(before, _)| before.trim_end().trim_end_matches('.'))
}

/// How a source stands, beside its state: what of it that does not say already.
pub fn beside_state(words: &str) -> &str {
    match words.split_once(": ") {
        Some(("held" | "delayed", rest)) => rest,
        Some(_) | None => words,
    }
}

/// The class that has a text begin with a capital: one that begins with a word.
/// The letters of a file's name, a key or an id are as they are.
pub fn sentence(text: &str) -> &'static str {
    let first = text.split_whitespace().next().unwrap_or_default();
    let is_word = first.trim_end_matches([',', ';']).bytes().all(|b| b.is_ascii_lowercase() || b == b'\'');
    if is_word { "sentence" } else { "" }
}

/// What a phase does.
pub fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Reading => "Reading",
        Phase::Planning => "Planning",
        Phase::Executing => "Executing",
        Phase::Committing => "Writing the snapshot",
    }
}

/// `Executing: 1,200 of 9,000 changes, 4,100 a second`
pub fn progress(progress: &ProgressView) -> String {
    let (amount, unit): (fn(u64) -> String, &str) = match progress.unit {
        ProgressUnit::Bytes => (bytes, ""),
        ProgressUnit::Changes => (thousands, " changes"),
    };
    let mut out = phase(progress.phase).to_owned();
    match progress.total {
        Some(total) => out.push_str(&format!(": {} of {}{unit}", amount(progress.done), amount(total))),
        None if progress.done > 0 => out.push_str(&format!(": {}{unit}", amount(progress.done))),
        None => {}
    }
    if let Some(rate) = progress.rate.filter(|rate| *rate >= 1.0) {
        out.push_str(&format!(", {} a second", amount(rate.round() as u64)));
    }
    out
}

/// `2.41 = age 1.20 + importance 0.80 + simplicity 0.41`
pub fn score(priority: &PriorityView) -> String {
    format!(
        "{:.2} = age {:.2} + importance {:.2} + simplicity {:.2}",
        priority.score, priority.age, priority.importance, priority.simplicity
    )
}

/// How long a batch took from its first to its last moment of publishing, in
/// milliseconds.
pub fn took(batch: &BatchView) -> Option<u64> {
    let state = &batch.publish_state;
    let length = state.publish_end_timestamp?.duration_since(state.publish_start_timestamp?);
    u64::try_from(length.as_millis()).ok()
}

/// What happened to a batch.
pub fn event(item: &TimelineItem) -> Html {
    let word = match item.event {
        Some(Event::PlanningStarted) => "Planning began",
        Some(Event::PlanCompleted) => "Plan made",
        Some(Event::PlanStale) => "Plan out of date",
        Some(Event::ExecutionStarted) => "Execution began",
        Some(Event::Completed) => "Published",
        Some(Event::Failed) => "Failed",
        Some(Event::Rejected) => "Rejected",
        Some(Event::Cancelled) => "Cancelled",
        Some(Event::Superseded) => "Superseded",
        Some(Event::RetryScheduled) => "Next attempt set",
        Some(Event::Requeued) => "Put back into the queue",
        None => {
            let mut first = item.cause.chars();
            let cause: String = first.next().into_iter().flat_map(char::to_uppercase).chain(first).collect();
            return text::said_folded(&cause, 300);
        }
    };
    Html::trusted(word.to_owned())
}

/// Why it happened, where that says more than what happened.
pub fn cause(item: &TimelineItem) -> Option<&str> {
    let says_more = item.event.is_some() && !item.cause.is_empty() && item.cause != "published";
    says_more.then_some(item.cause.as_str())
}

/// A span of time of a setting, in seconds.
pub fn seconds(seconds: f64) -> String {
    if seconds >= 1.0 && seconds % 3_600.0 == 0.0 {
        return format!("{} h", seconds / 3_600.0);
    }
    time::length((seconds.max(0.0) * 1_000.0) as u64)
}
