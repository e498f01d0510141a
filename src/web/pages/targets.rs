//! `/targets`: the catalogues that are published to, whether they can be used,
//! and the known issues for which batches wait.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::AppState;
use super::batch_actions::Decision;
use super::frame::{Frame, answer_in, rendered};
use super::query::PageQuery;
use super::show::filters;
use crate::domain::ids::SourceId;
use crate::error::{Result, TABLE};
use crate::service::Engine;
use crate::service::query::Times;
use crate::service::views::{KnownIssueView, TargetView};
use crate::web::lanes::Lane;

/// Known issues that are shown.
const ISSUES: usize = 50;

#[derive(Template)]
#[template(path = "targets.html", blocks = ["live"])]
struct Targets {
    frame: Frame,
    targets: Vec<TargetView>,
    issues: Vec<KnownIssueView>,
    lifts: Vec<Decision>,
    /// Changes when the dialogs have to be other ones.
    whole: String,
    sources: Vec<SourceId>,
    codes: Vec<&'static str>,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    answer_in(Lane::Targets, state, move |engine| {
        let page = targets(engine)?;
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}

fn targets(engine: &Engine) -> Result<Targets> {
    let issues = engine.issue_views(&Times::first(ISSUES))?.items;
    let in_force = issues.iter().filter(|issue| issue.in_force);
    let codes = TABLE.iter().filter(|row| row.retry != crate::error::Retry::Never);
    Ok(Targets {
        frame: Frame::new(engine, "Targets", "/targets"),
        targets: engine.targets()?,
        whole: issues.iter().filter(|i| i.in_force).map(|i| i.id.to_string()).collect::<Vec<_>>().join(","),
        lifts: in_force.map(lift).collect(),
        sources: engine.source_ids()?,
        codes: codes.map(|row| row.code).collect(),
        issues,
    })
}

fn lift(issue: &KnownIssueView) -> Decision {
    let decision = Decision::new(
        "lift",
        "Lift",
        "Lift this known issue?",
        "The batches that wait for it go on, the oldest first.",
        format!("/api/v1/known-issues/{}/lift", issue.id),
        "The known issue is lifted.",
    );
    Decision { dialog: format!("d-lift-{}", issue.id), must_reason: true, ..decision }.into_main()
}
