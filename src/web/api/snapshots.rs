//! Snapshots.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::PartParams;
use crate::domain::ids::{SnapshotId, SourceId};
use crate::service::query::{Order, Part, SnapshotQuery};
use crate::service::views::{Page, ProblemView, SnapshotChange, SnapshotView};
use crate::web::AppState;
use crate::web::extract::{Id, Ids, NoParams, Params};
use crate::web::problem::Problem;

/// Which snapshots, and which part of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotParams {
    /// Only of this source
    source_id: Option<SourceId>,
    /// Only those made at or after this
    since: Option<Timestamp>,
    /// Only those made before this
    until: Option<Timestamp>,
    /// By when they were made; the newest first without it
    order: Option<Order>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

/// List snapshots
#[utoipa::path(get, path = "/api/v1/snapshots", tag = "snapshots", operation_id = "listSnapshots", params(SnapshotParams),
    responses((status = 200, description = "A part of the snapshots, by when they were made", body = Page<SnapshotView>),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<AppState>,
    Params(params): Params<SnapshotParams>,
) -> Result<Json<Page<SnapshotView>>, Problem> {
    let query = SnapshotQuery {
        source_id: params.source_id,
        since: params.since,
        until: params.until,
        order: params.order.unwrap_or_default(),
        part: Part { limit: params.limit, cursor: params.cursor },
    };
    Ok(Json(state.run(move |engine| engine.snapshots(&query)).await?))
}

/// Show a snapshot
#[utoipa::path(get, path = "/api/v1/snapshots/{snapshot_id}", tag = "snapshots", operation_id = "showSnapshot",
    params(("snapshot_id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The snapshot", body = SnapshotView),
              (status = 404, description = "There is no such snapshot", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Id(id): Id<SnapshotId>,
    Params(_): Params<NoParams>,
) -> Result<Json<SnapshotView>, Problem> {
    Ok(Json(state.run(move |engine| engine.snapshot_view(&id)).await?))
}

/// Show what differs between a snapshot and one before it
///
/// First what the newer one has that the older one has not, or has otherwise, then what is gone. A part may be short, or empty, and still have more behind it.
#[utoipa::path(get, path = "/api/v1/snapshots/{snapshot_id}/diff/{before}", tag = "snapshots", operation_id = "diffSnapshots",
    params(("snapshot_id" = String, Path, description = "The id of the newer one"),
           ("before" = String, Path, description = "The id of the older one, of the same source"), PartParams),
    responses((status = 200, description = "A part of the keys that they have otherwise", body = Page<SnapshotChange>),
              (status = 400, description = "They are of different sources", body = ProblemView, content_type = "application/problem+json"),
              (status = 404, description = "There is no such snapshot", body = ProblemView, content_type = "application/problem+json")))]
pub async fn diff(
    State(state): State<AppState>,
    Ids(after, before): Ids<SnapshotId, SnapshotId>,
    Params(params): Params<PartParams>,
) -> Result<Json<Page<SnapshotChange>>, Problem> {
    let part = params.part();
    Ok(Json(state.run(move |engine| engine.snapshot_diff(&before, &after, &part)).await?))
}
