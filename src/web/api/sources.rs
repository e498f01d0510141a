//! Sources: looking at them, pausing them, letting them go on.

use axum::Json;
use axum::extract::State;

use super::{Act, PartParams};
use crate::domain::ids::SourceId;
use crate::service::views::{Page, ProblemView, SourceDetail, SourceView};
use crate::web::AppState;
use crate::web::extract::{Id, Json as Body, Params};
use crate::web::problem::Problem;

/// List sources
#[utoipa::path(get, path = "/api/v1/sources", tag = "sources", operation_id = "listSources", params(PartParams),
    responses((status = 200, description = "A part of the sources, by id", body = Page<SourceView>),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<AppState>,
    Params(params): Params<PartParams>,
) -> Result<Json<Page<SourceView>>, Problem> {
    let part = params.part();
    Ok(Json(state.run(move |engine| engine.sources(&part)).await?))
}

/// Show a source
#[utoipa::path(get, path = "/api/v1/sources/{source_id}", tag = "sources", operation_id = "showSource",
    params(("source_id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The source, its settings in force, its newest batches and snapshots", body = SourceDetail),
              (status = 404, description = "There is no such source", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Id(id): Id<SourceId>,
) -> Result<Json<SourceDetail>, Problem> {
    Ok(Json(state.run(move |engine| engine.source_view(&id)).await?))
}

/// Pause a source
///
/// What runs comes to its end; nothing of it is begun until it is resumed.
#[utoipa::path(post, path = "/api/v1/sources/{source_id}/pause", tag = "sources", operation_id = "pauseSource",
    params(("source_id" = String, Path, description = "Its id")), request_body = Act,
    responses((status = 200, description = "The source as it stands then", body = SourceDetail),
              (status = 404, description = "There is no such source", body = ProblemView, content_type = "application/problem+json")))]
pub async fn pause(
    State(state): State<AppState>,
    Id(id): Id<SourceId>,
    Body(body): Body<Act>,
) -> Result<Json<SourceDetail>, Problem> {
    let actor = body.check()?;
    let done = state.run(move |engine| {
        engine.source_view(&id)?;
        engine.pause_source(&id, &actor.name, &actor.reason)?;
        engine.source_view(&id)
    });
    Ok(Json(done.await?))
}

/// Let a source go on
///
/// Ends a pause, and whatever else holds the source.
#[utoipa::path(post, path = "/api/v1/sources/{source_id}/resume", tag = "sources", operation_id = "resumeSource",
    params(("source_id" = String, Path, description = "Its id")), request_body = Act,
    responses((status = 200, description = "The source as it stands then", body = SourceDetail),
              (status = 404, description = "There is no such source", body = ProblemView, content_type = "application/problem+json"),
              (status = 409, description = "The source is neither paused nor held", body = ProblemView, content_type = "application/problem+json")))]
pub async fn resume(
    State(state): State<AppState>,
    Id(id): Id<SourceId>,
    Body(body): Body<Act>,
) -> Result<Json<SourceDetail>, Problem> {
    let actor = body.check()?;
    let done = state.run(move |engine| {
        engine.source_view(&id)?;
        engine.resume_source(&id, &actor.name, &actor.reason)?;
        engine.source_view(&id)
    });
    Ok(Json(done.await?))
}
