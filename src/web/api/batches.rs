//! Batches: looking at them and at their plans, waiting for them, deciding
//! about them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use utoipa::{IntoParams, ToSchema};

use super::{Act, BatchParams, PartParams, TimesParams};
use crate::config::parse_duration;
use crate::domain::change::Action;
use crate::domain::ids::BatchId;
use crate::domain::key::Kind;
use crate::domain::plan::PlanDigest;
use crate::error::Result as Outcome;
use crate::service::Engine;
use crate::service::query::{Part, PlanQuery};
use crate::service::views::{
    BatchView, ChangeFilter, Page, PlanGroups, PlanPage, ProblemView, RejectView, TimelineItem,
};
use crate::store::BatchRecord;
use crate::web::AppState;
use crate::web::extract::{Id, Json as Body, NoParams, Params};
use crate::web::problem::Problem;

/// Longest time that a request waits for a batch.
const LONGEST: Duration = Duration::from_secs(600);
/// How often a waited-for batch is looked at, should an event get lost.
const LOOK: Duration = Duration::from_secs(5);

/// List batches
#[utoipa::path(get, path = "/api/v1/batches", tag = "batches", operation_id = "listBatches", params(BatchParams),
    responses((status = 200, description = "A part of the list", body = Page<BatchView>),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<AppState>,
    Params(params): Params<BatchParams>,
) -> Result<Json<Page<BatchView>>, Problem> {
    let query = params.query();
    Ok(Json(state.run(move |engine| engine.batches(&query)).await?))
}

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitParams {
    /// Answer only when the batch has ended or waits for a person, but after this time at the latest, such as `60s`; at most 10 minutes
    wait: Option<String>,
}

/// Show a batch
#[utoipa::path(get, path = "/api/v1/batches/{batch_id}", tag = "batches", operation_id = "showBatch",
    params(("batch_id" = String, Path, description = "Its id"), WaitParams),
    responses((status = 200, description = "The batch", body = BatchView),
              (status = 404, description = "There is no such batch", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Id(id): Id<BatchId>,
    Params(params): Params<WaitParams>,
) -> Result<Json<BatchView>, Problem> {
    let wait = match &params.wait {
        None => Duration::ZERO,
        Some(text) => parse_duration(text).map_err(|problem| Problem::usage(format!("`wait` {problem}")))?,
    };
    Ok(Json(wait_for(&state, &id, wait.min(LONGEST)).await?))
}

/// Waits until a batch has ended, or waits for a person, or the time is over,
/// or the server stops.
async fn wait_for(state: &AppState, id: &BatchId, wait: Duration) -> Outcome<BatchView> {
    let look = || {
        let id = id.clone();
        state.run(move |engine| engine.batch_view(&id))
    };
    // Listening comes first: what happens while it is looked at is heard.
    let mut events = state.engine.events().subscribe();
    let mut stop = state.stopping();
    let until = state.engine.monotonic().saturating_add(wait);
    loop {
        let batch = look().await?;
        let left = until.saturating_sub(state.engine.monotonic());
        if left.is_zero() || batch.is_settled() || *stop.borrow() {
            return Ok(batch);
        }
        let changed = async {
            loop {
                match events.recv().await {
                    Ok(event) if event.batch_id.as_ref() == Some(id) => return,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return,
                    // Without events it is looked at from time to time.
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(left.min(LOOK)) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Show what happened to a batch
#[utoipa::path(get, path = "/api/v1/batches/{batch_id}/timeline", tag = "batches", operation_id = "showBatchTimeline",
    params(("batch_id" = String, Path, description = "Its id"), TimesParams),
    responses((status = 200, description = "A part of its timeline, oldest first without `order`", body = Page<TimelineItem>),
              (status = 404, description = "There is no such batch", body = ProblemView, content_type = "application/problem+json")))]
pub async fn timeline(
    State(state): State<AppState>,
    Id(id): Id<BatchId>,
    Params(params): Params<TimesParams>,
) -> Result<Json<Page<TimelineItem>>, Problem> {
    let times = params.times();
    Ok(Json(state.run(move |engine| engine.timeline(&id, &times)).await?))
}

/// Which changes, and which part of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChangeParams {
    /// Only those that do this
    action: Option<Action>,
    /// Only of entities, or only of relationships
    kind: Option<Kind>,
    /// Only of this type
    #[serde(rename = "type")]
    type_name: Option<String>,
    /// Only those whose key or values have this text in them, whatever the case
    text: Option<String>,
    /// Only the members of this group
    group: Option<String>,
    /// Only those that belong to no group
    ungrouped: Option<bool>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

impl ChangeParams {
    fn query(self) -> PlanQuery {
        PlanQuery {
            filter: ChangeFilter {
                action: self.action,
                kind: self.kind,
                type_name: self.type_name,
                text: self.text,
                group: self.group,
                ungrouped: self.ungrouped.unwrap_or_default(),
            },
            part: Part { limit: self.limit, cursor: self.cursor },
        }
    }
}

/// Show the changes of a batch's newest plan
#[utoipa::path(get, path = "/api/v1/batches/{batch_id}/plan", tag = "batches", operation_id = "showBatchPlan",
    params(("batch_id" = String, Path, description = "Its id"), ChangeParams),
    responses((status = 200, description = "A part of the changes, in the order of execution", body = PlanPage),
              (status = 404, description = "There is no such batch, or no plan of it is stored", body = ProblemView, content_type = "application/problem+json")))]
pub async fn plan(
    State(state): State<AppState>,
    Id(id): Id<BatchId>,
    Params(params): Params<ChangeParams>,
) -> Result<Json<PlanPage>, Problem> {
    let query = params.query();
    Ok(Json(state.run(move |engine| engine.plan_view(&id, &query)).await?))
}

/// Show which changes of a batch's newest plan are alike
#[utoipa::path(get, path = "/api/v1/batches/{batch_id}/plan/groups", tag = "batches", operation_id = "showBatchPlanGroups",
    params(("batch_id" = String, Path, description = "Its id")),
    responses((status = 200, description = "Counts by type, and groups of identical changes", body = PlanGroups),
              (status = 404, description = "There is no such batch, or no plan of it is stored", body = ProblemView, content_type = "application/problem+json")))]
pub async fn groups(
    State(state): State<AppState>,
    Id(id): Id<BatchId>,
    Params(_): Params<NoParams>,
) -> Result<Json<PlanGroups>, Problem> {
    Ok(Json(state.run(move |engine| engine.plan_groups(&id)).await?))
}

/// List the lines that a batch's newest plan leaves out
#[utoipa::path(get, path = "/api/v1/batches/{batch_id}/plan/rejects", tag = "batches", operation_id = "listBatchPlanRejects",
    params(("batch_id" = String, Path, description = "Its id"), PartParams),
    responses((status = 200, description = "A part of the lines", body = Page<RejectView>),
              (status = 404, description = "There is no such batch, or no plan of it is stored", body = ProblemView, content_type = "application/problem+json")))]
pub async fn rejects(
    State(state): State<AppState>,
    Id(id): Id<BatchId>,
    Params(params): Params<PartParams>,
) -> Result<Json<Page<RejectView>>, Problem> {
    let part = params.part();
    Ok(Json(state.run(move |engine| engine.plan_rejects(&id, &part)).await?))
}

/// An approval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// Digest of the plan that was looked at.
    plan_digest: PlanDigest,
    /// Why: it is kept in the timeline.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Who; `operator` without it. The server has no sign-in yet and takes it as it is.
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// Does something with a batch, and shows how it stands then.
async fn act(
    state: &AppState,
    id: BatchId,
    act: impl FnOnce(&Engine, &BatchId) -> Outcome<BatchRecord> + Send + 'static,
) -> Result<Json<BatchView>, Problem> {
    let done = state.run(move |engine| {
        let record = act(engine, &id)?;
        engine.batch_view(&record.batch_id)
    });
    Ok(Json(done.await?))
}

/// Approve what a guard parked, or what a batch withheld
///
/// A COMPLETE full batch that had a line without a readable key withheld its deletions. Approving them makes the batch `<id>~n`, which is answered: it speaks for what it does not list.
#[utoipa::path(post, path = "/api/v1/batches/{batch_id}/approve", tag = "batches", operation_id = "approveBatch",
    params(("batch_id" = String, Path, description = "Its id")), request_body = Approve,
    responses((status = 200, description = "The batch as it stands then", body = BatchView),
              (status = 409, description = "The plan is another one (PLAN_STALE), or the batch does not wait for an approval (CONFLICT)", body = ProblemView, content_type = "application/problem+json")))]
pub async fn approve(
    State(state): State<AppState>,
    Id(id): Id<BatchId>,
    Body(body): Body<Approve>,
) -> Result<Json<BatchView>, Problem> {
    let digest = body.plan_digest;
    let actor = Act { reason: body.reason, actor: body.actor }.check()?;
    act(&state, id, move |engine, id| engine.approve(id, Some(digest), &actor.name, &actor.reason)).await
}

macro_rules! action {
    ($(#[$doc:meta])* $name:ident, $path:literal, $operation:literal, $conflict:literal) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = "batches", operation_id = $operation,
            params(("batch_id" = String, Path, description = "Its id")), request_body = Act,
            responses((status = 200, description = "The batch as it stands then", body = BatchView),
                      (status = 409, description = $conflict, body = ProblemView, content_type = "application/problem+json")))]
        pub async fn $name(
            State(state): State<AppState>,
            Id(id): Id<BatchId>,
            Body(body): Body<Act>,
        ) -> Result<Json<BatchView>, Problem> {
            let actor = body.check()?;
            act(&state, id, move |engine, id| engine.$name(id, &actor.name, &actor.reason)).await
        }
    };
}

action!(
    /// Reject what a guard parked
    reject, "/api/v1/batches/{batch_id}/reject", "rejectBatch", "The batch does not wait for an approval"
);
action!(
    /// End a batch
    cancel, "/api/v1/batches/{batch_id}/cancel", "cancelBatch", "The batch has ended"
);
action!(
    /// Put a failed batch back into the queue, or try a waiting one now
    retry, "/api/v1/batches/{batch_id}/retry", "retryBatch", "The batch neither failed nor waits for its next attempt"
);
action!(
    /// Put a batch before those of other sources
    prioritize, "/api/v1/batches/{batch_id}/prioritize", "prioritizeBatch", "The batch has ended"
);
action!(
    /// Take a prioritisation back
    unprioritize, "/api/v1/batches/{batch_id}/unprioritize", "unprioritizeBatch", "The batch has ended"
);
