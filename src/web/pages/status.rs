//! `/status`: what customers may see. Sources with their state in words and
//! their last success; nothing of the inside.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::number::counted;
use super::show::{Html, filters, state};
use crate::service::views::{SourceState, StatusView};

#[derive(Template)]
#[template(path = "status.html", blocks = ["live"])]
struct Status {
    frame: Frame,
    view: StatusView,
    summary: Html,
    /// Whether a source is behind.
    is_behind: bool,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let view = engine.status()?;
        let behind = behind(&view);
        let page = Status {
            frame: Frame::at(view.at, "Data status", ""),
            summary: summary(&view, behind),
            is_behind: behind > 0,
            view,
        };
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}

/// How many sources are behind what was delivered.
fn behind(view: &StatusView) -> u64 {
    let behind = view.sources.iter().filter(|source| match source.state {
        SourceState::UpToDate | SourceState::Publishing | SourceState::Waiting => false,
        SourceState::Retrying
        | SourceState::Delayed
        | SourceState::Parked
        | SourceState::Held
        | SourceState::Paused
        | SourceState::Failing => true,
    });
    behind.count() as u64
}

/// All sources in one sentence.
fn summary(view: &StatusView, behind: u64) -> Html {
    let (icon, words) = match (view.sources.len(), behind) {
        (0, _) => ("wait", "No source has delivered yet.".to_owned()),
        (_, 0) => ("ok", "All sources are current, or being brought up to date.".to_owned()),
        (_, n) => ("part", format!("{} delayed.", counted(n, "source is", "sources are"))),
    };
    Html::trusted(format!("{}<span>{words}</span>", state::icon(icon)))
}
