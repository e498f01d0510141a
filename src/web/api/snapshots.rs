//! Snapshots.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::ids::{SnapshotId, SourceId};
use crate::service::query::Part;
use crate::service::views::{Page, ProblemView, SnapshotView};
use crate::web::AppState;
use crate::web::extract::{Id, Params};
use crate::web::problem::Problem;

/// Which snapshots, and which part of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotParams {
    /// Only of this source
    source_id: Option<SourceId>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

/// List snapshots
#[utoipa::path(get, path = "/api/v1/snapshots", tag = "snapshots", operation_id = "listSnapshots", params(SnapshotParams),
    responses((status = 200, description = "A part of the snapshots, the newest first", body = Page<SnapshotView>),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<AppState>,
    Params(params): Params<SnapshotParams>,
) -> Result<Json<Page<SnapshotView>>, Problem> {
    let part = Part { limit: params.limit, cursor: params.cursor };
    let source = params.source_id;
    Ok(Json(state.run(move |engine| engine.snapshots(source.as_ref(), &part)).await?))
}

/// Show a snapshot
#[utoipa::path(get, path = "/api/v1/snapshots/{snapshot_id}", tag = "snapshots", operation_id = "showSnapshot",
    params(("snapshot_id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The snapshot", body = SnapshotView),
              (status = 404, description = "There is no such snapshot", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Id(id): Id<SnapshotId>,
) -> Result<Json<SnapshotView>, Problem> {
    Ok(Json(state.run(move |engine| engine.snapshot_view(&id)).await?))
}
