//! `/batches/{id}`: a batch with its state, timeline, failure and plan, and
//! what can be decided of it.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::AppState;
use super::batch_actions::{self, Decision};
use super::frame::{Frame, answer, rendered};
use super::plan::{self, PlanShown};
use super::query::PageQuery;
use super::show::{filters, link};
use crate::domain::ids::{BatchId, SnapshotId};
use crate::domain::publish_state::{PublishState, PublishStatus};
use crate::error::{self, Error, ErrorKind, KindInfo};
use crate::service::query::Times;
use crate::service::views::{BatchView, Page, TimelineItem};

/// Entries of the timeline that are shown.
const ENTRIES: usize = 200;

#[derive(Template)]
#[template(path = "batch.html", blocks = ["live"])]
struct Batch {
    frame: Frame,
    state: PublishState,
    batch: BatchView,
    timeline: Page<TimelineItem>,
    is_running: bool,
    failure_meaning: Option<&'static str>,
    failure_action: Option<&'static str>,
    failure_class: &'static str,
    scope_text: String,
    snapshot_id: Option<SnapshotId>,
    plan: Option<PlanShown>,
    no_plan: &'static str,
    actions: Vec<Decision>,
    /// Where what failed of it is repaired.
    repair: Option<String>,
    whole: String,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, Path(id): Path<String>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let id: BatchId = id.parse().map_err(|e| Error::new(ErrorKind::NotFound, format!("{e}")))?;
        let batch = engine.batch_view(&id)?;
        let timeline = engine.timeline(&id, &Times::first(ENTRIES))?;
        let fragment = query.is_fragment();
        let plan = if fragment { None } else { plan::of(engine, &id, &batch, &query)? };
        let actions = batch_actions::of(&batch);
        let own = engine.store().read(|view| view.batch_letter(&id))?;
        let repair = match own {
            Some(letter) => Some(format!("/dlq/{}", letter.id)),
            None if batch.open_dead_letters > 0 => {
                Some(link::with_query("/dlq", &[("batch", Some(&id.to_string()))]))
            }
            None => None,
        };
        let state = batch.publish_state.clone();
        let code = state.failure_details.as_ref().map(|failure| failure.error_code.as_str());
        let snapshot = batch.plan.as_ref().map(|plan| SnapshotId::from(plan.plan_id.clone()));
        let page = Batch {
            frame: Frame::new(engine, format!("Batch {id}"), "/batches"),
            is_running: match state.status {
                PublishStatus::Planning | PublishStatus::Executing => true,
                PublishStatus::Pending
                | PublishStatus::PlanComplete
                | PublishStatus::Complete
                | PublishStatus::Failed
                | PublishStatus::Retrying => batch.progress.is_some(),
            },
            failure_meaning: words_of(&state, |info| info.meaning),
            failure_action: words_of(&state, |info| info.action),
            failure_class: match code {
                Some("PARTIAL") => "panel-warn",
                Some("REJECTED" | "CANCELLED" | "SUPERSEDED") | None => "",
                Some(_) if state.status == PublishStatus::Retrying => "panel-warn",
                Some(_) => "panel-bad",
            },
            scope_text: scope_text(&batch),
            snapshot_id: snapshot
                .filter(|id| state.state_snapshot_path.is_some() && engine.snapshot_view(id).is_ok()),
            no_plan: no_plan(&batch),
            whole: whole(&batch, &actions),
            state,
            timeline,
            plan,
            actions,
            repair,
            batch,
        };
        if fragment { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}

/// What the table of errors says of a failure.
fn words_of(state: &PublishState, of: fn(&KindInfo) -> &'static str) -> Option<&'static str> {
    let failure = state.failure_details.as_ref()?;
    error::by_code(&failure.error_code).map(of)
}

/// Changes when what stands outside the live part has to be made anew: the
/// plan, and what can be decided.
fn whole(batch: &BatchView, actions: &[Decision]) -> String {
    let plan =
        batch.plan.as_ref().map(|plan| format!("{} {}", plan.plan_id, plan.digest)).unwrap_or_default();
    let names: Vec<&str> = actions.iter().map(|action| action.name).collect();
    format!("{plan} {}", names.join(" "))
}

fn scope_text(batch: &BatchView) -> String {
    let list = |globs: &[crate::domain::glob::Glob]| {
        globs.iter().map(|glob| glob.as_str().to_owned()).collect::<Vec<_>>().join(", ")
    };
    let scope = &batch.scope;
    let mut out = format!("types {} · names {}", list(&scope.types), list(&scope.names));
    if !scope.except.is_empty() {
        out.push_str(&format!(" · except {}", list(&scope.except)));
    }
    out
}

fn no_plan(batch: &BatchView) -> &'static str {
    match (batch.publish_state.status, &batch.plan) {
        (PublishStatus::Pending | PublishStatus::Retrying, None) => "The batch is not planned yet.",
        (PublishStatus::Planning, None) => "The plan is being made. It shows here when it is complete.",
        (PublishStatus::Failed, None) => "The batch ended before it had a plan.",
        (_, _) => "The plan is no longer stored. Snapshots keep what was published.",
    }
}
