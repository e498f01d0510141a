//! Sources: looking at them, pausing them, letting them go on.

use axum::Json;
use axum::extract::State;

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Act, Actor, PartParams};
use crate::domain::ids::SourceId;
use crate::error::Result as Outcome;
use crate::service::Engine;
use crate::service::skips::Skip;
use crate::service::views::{Page, ProblemView, SourceDetail, SourceView};
use crate::web::AppState;
use crate::web::extract::{Id, Json as Body, NoParams, Params};
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
    Params(_): Params<NoParams>,
) -> Result<Json<SourceDetail>, Problem> {
    Ok(Json(state.run(move |engine| engine.source_view(&id)).await?))
}

/// Does something with a source that is known, and shows how it stands then.
async fn act<T>(
    state: &AppState,
    id: SourceId,
    by: Act,
    act: impl FnOnce(&Engine, &SourceId, &Actor) -> Outcome<T> + Send + 'static,
) -> Result<Json<SourceDetail>, Problem> {
    let by = by.check()?;
    let done = state.run(move |engine| {
        engine.source_view(&id)?;
        act(engine, &id, &by)?;
        engine.source_view(&id)
    });
    Ok(Json(done.await?))
}

/// Pause a source
///
/// What runs comes to its end; nothing of it is begun until it is resumed.
#[utoipa::path(post, path = "/api/v1/sources/{source_id}/pause", tag = "sources", operation_id = "pauseSource",
    params(("source_id" = String, Path, description = "Its id")), request_body = Act,
    responses((status = 200, description = "The source as it stands then", body = SourceDetail),
              (status = 404, description = "There is no such source", body = ProblemView, content_type = "application/problem+json"),
              (status = 409, description = "The source is paused already", body = ProblemView, content_type = "application/problem+json")))]
pub async fn pause(
    State(state): State<AppState>,
    Id(id): Id<SourceId>,
    Body(body): Body<Act>,
) -> Result<Json<SourceDetail>, Problem> {
    act(&state, id, body, |engine, id, by| engine.pause_source(id, &by.name, &by.reason)).await
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
    act(&state, id, body, |engine, id, by| engine.resume_source(id, &by.name, &by.reason)).await
}

/// Keys to be skipped.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SkipKeys {
    /// Their type, as it is.
    #[serde(rename = "type")]
    type_name: String,
    /// A glob of their qualified names; of relationships of the names of their `from` ends.
    name: String,
    /// When the skip ends by itself; without it, it is lifted by a person.
    until: Option<Timestamp>,
    /// Why: it is kept in the timeline.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Who; `operator` without it. The server has no sign-in yet and takes it as it is.
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// A skip to be lifted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnskipKeys {
    /// The skip's type.
    #[serde(rename = "type")]
    type_name: String,
    /// The skip's name, as it was given.
    name: String,
    /// Why: it is kept in the timeline.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Who; `operator` without it. The server has no sign-in yet and takes it as it is.
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// Skip keys of a source
///
/// What the source newly asserts of them is not published, absence included; they stay as they are.
#[utoipa::path(post, path = "/api/v1/sources/{source_id}/skip", tag = "sources", operation_id = "skipKeys",
    params(("source_id" = String, Path, description = "Its id")), request_body = SkipKeys,
    responses((status = 200, description = "The source as it stands then", body = SourceDetail),
              (status = 400, description = "The skip is not of the right form, or would have ended", body = ProblemView, content_type = "application/problem+json"),
              (status = 404, description = "There is no such source", body = ProblemView, content_type = "application/problem+json"),
              (status = 409, description = "The source has too many skips", body = ProblemView, content_type = "application/problem+json")))]
pub async fn skip(
    State(state): State<AppState>,
    Id(id): Id<SourceId>,
    Body(body): Body<SkipKeys>,
) -> Result<Json<SourceDetail>, Problem> {
    let SkipKeys { type_name, name, until, reason, actor } = body;
    let skip = Skip { type_name, name, until };
    let by = Act { reason, actor };
    act(&state, id, by, move |engine, id, by| engine.skip(id, &skip, &by.name, &by.reason)).await
}

/// Lift a skip
///
/// The next batch that asserts the keys publishes them.
#[utoipa::path(post, path = "/api/v1/sources/{source_id}/unskip", tag = "sources", operation_id = "unskipKeys",
    params(("source_id" = String, Path, description = "Its id")), request_body = UnskipKeys,
    responses((status = 200, description = "The source as it stands then", body = SourceDetail),
              (status = 404, description = "There is no such source, or it has no such skip", body = ProblemView, content_type = "application/problem+json")))]
pub async fn unskip(
    State(state): State<AppState>,
    Id(id): Id<SourceId>,
    Body(body): Body<UnskipKeys>,
) -> Result<Json<SourceDetail>, Problem> {
    let UnskipKeys { type_name, name, reason, actor } = body;
    let by = Act { reason, actor };
    act(&state, id, by, move |engine, id, by| engine.unskip(id, &type_name, &name, &by.name, &by.reason))
        .await
}
