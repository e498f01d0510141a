//! State as icon, word and colour: never by colour alone.

use super::Html;
use crate::domain::change::Action;
use crate::domain::publish_state::PublishStatus;
use crate::domain::transition::Event;
use crate::service::views::{
    BatchView, DownView, InboxFolderState, InboxView, LetterState, QueueItem, SourceState, TargetView,
    VerdictCode,
};

/// How a state is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// `ok`, `work`, `wait`, `warn`, `bad` or `off`: the colour.
    pub tone: &'static str,
    /// The icon's name in `templates/icons.html`.
    pub icon: &'static str,
    /// The word.
    pub word: &'static str,
}

const fn look(tone: &'static str, icon: &'static str, word: &'static str) -> Look {
    Look { tone, icon, word }
}

impl Look {
    /// The state as HTML.
    pub fn html(self) -> Html {
        Html::trusted(format!(
            "<span class=\"state state-{}\">{}{}</span>",
            self.tone,
            icon(self.icon),
            self.word
        ))
    }
}

/// An icon beside a word that says the same.
pub fn icon(name: &str) -> Html {
    let turns = if name == "work" { " icon-turns" } else { "" };
    Html::trusted(format!(
        "<svg class=\"icon{turns}\" viewBox=\"0 0 16 16\" aria-hidden=\"true\"><use href=\"#i-{name}\"/></svg>"
    ))
}

/// A status, with the code of its failure and whether a person is waited for.
pub fn of_status(status: PublishStatus, held: bool, code: Option<&str>) -> Look {
    match status {
        PublishStatus::Pending => look("wait", "wait", "Pending"),
        PublishStatus::Planning => look("work", "work", "Planning"),
        PublishStatus::PlanComplete if held => look("warn", "hand", "Parked"),
        PublishStatus::PlanComplete => look("wait", "plan", "Planned"),
        PublishStatus::Executing => look("work", "work", "Executing"),
        PublishStatus::Complete if code == Some("PARTIAL") => look("warn", "part", "Complete in part"),
        PublishStatus::Complete => look("ok", "ok", "Complete"),
        PublishStatus::Retrying => look("warn", "retry", "Retrying"),
        PublishStatus::Failed => match code {
            Some("REJECTED") => look("off", "off", "Rejected"),
            Some("CANCELLED") => look("off", "off", "Cancelled"),
            Some("SUPERSEDED") => look("off", "off", "Superseded"),
            Some(_) | None => look("bad", "bad", "Failed"),
        },
    }
}

/// A batch's state.
pub fn of_batch(batch: &BatchView) -> Look {
    let state = &batch.publish_state;
    let code = state.failure_details.as_ref().map(|failure| failure.error_code.as_str());
    of_status(state.status, batch.hold.is_some(), code)
}

/// A queued batch's state.
pub fn of_item(item: &QueueItem) -> Look {
    of_status(item.status, item.hold.is_some(), None)
}

/// A source's state.
pub fn of_source(state: SourceState) -> Look {
    match state {
        SourceState::UpToDate => look("ok", "ok", "Up to date"),
        SourceState::Publishing => look("work", "work", "Publishing"),
        SourceState::Waiting => look("wait", "wait", "Waiting"),
        SourceState::Retrying => look("warn", "retry", "Retrying"),
        SourceState::Delayed => look("warn", "wait", "Delayed"),
        SourceState::Parked => look("warn", "hand", "Parked"),
        SourceState::Held => look("warn", "hand", "Held"),
        SourceState::Paused => look("off", "pause", "Paused"),
        SourceState::Failing => look("bad", "bad", "Failing"),
    }
}

/// A dead letter's state.
pub fn of_letter(state: LetterState) -> Look {
    match state {
        LetterState::Open => look("bad", "bad", "Open"),
        LetterState::Requeued => look("work", "work", "Requeued"),
        LetterState::Resolved => look("ok", "ok", "Resolved"),
        LetterState::Discarded => look("off", "off", "Discarded"),
        LetterState::Expired => look("off", "off", "Expired"),
    }
}

/// Whether a target can be used.
pub fn of_target(target: &TargetView) -> Look {
    match (&target.down, target.maintenance.iter().any(|window| window.open_until.is_some())) {
        (Some(down), _) => of_down(down),
        (None, true) => look("wait", "pause", "Maintenance"),
        (None, false) if !target.problems.is_empty() => look("bad", "bad", "Has problems"),
        (None, false) => look("ok", "ok", "In use"),
    }
}

/// A target that can't be used, or could not.
pub fn of_down(down: &DownView) -> Look {
    if down.half_open { look("warn", "retry", "Tried again") } else { look("bad", "bad", "Down") }
}

/// What became of a folder.
pub fn of_folder(state: InboxFolderState) -> Look {
    match state {
        InboxFolderState::Waiting => look("wait", "wait", "Waiting"),
        InboxFolderState::Ignored => look("bad", "bad", "Ignored"),
        InboxFolderState::Changed => look("warn", "part", "Changed afterwards"),
    }
}

/// What became of an assertion.
pub fn of_verdict(code: VerdictCode) -> Look {
    match code {
        VerdictCode::Published => look("ok", "ok", "Published"),
        VerdictCode::Absent => look("off", "off", "Absent"),
        VerdictCode::DeadLetter => look("bad", "bad", "Dead letter"),
        VerdictCode::Skipped => look("warn", "hand", "Skipped by an operator"),
        VerdictCode::Withheld => look("warn", "hand", "Deletion withheld"),
        VerdictCode::Superseded => look("off", "off", "Superseded"),
        VerdictCode::Waiting => look("wait", "wait", "Waiting"),
        VerdictCode::Unknown => look("off", "off", "Unknown"),
    }
}

/// An inbox that can't be looked into.
pub const LOST: Look = look("bad", "bad", "Can’t be looked into");

/// Whether an inbox can be looked into.
pub fn of_inbox(inbox: &InboxView) -> Look {
    match inbox.error {
        None => look("ok", "ok", "Watched"),
        Some(_) => LOST,
    }
}

/// The colour of something that happened; empty for plain.
pub fn of_event(event: Option<Event>) -> &'static str {
    match event {
        Some(Event::Completed) => "ok",
        Some(Event::Failed) => "bad",
        Some(Event::RetryScheduled | Event::PlanStale) => "warn",
        Some(Event::PlanningStarted | Event::ExecutionStarted) => "work",
        Some(
            Event::PlanCompleted | Event::Rejected | Event::Cancelled | Event::Superseded | Event::Requeued,
        )
        | None => "",
    }
}

/// `+`, `~` or `−` in its colour, with the word for who can't see it.
pub fn sign(action: Action) -> Html {
    let sign = match action {
        Action::Create => '+',
        Action::Update => '~',
        Action::Delete => '−',
    };
    let word = action.as_str();
    Html::trusted(format!(
        "<span class=\"sign c-{word}\" title=\"{word}\"><span aria-hidden=\"true\">{sign}</span><span class=\"visually-hidden\">{word}</span></span>"
    ))
}
