//! Everything at a glance: for operators, and for customers.

use axum::Json;
use axum::extract::State;

use crate::service::views::{OverviewView, ProblemView, StatusView};
use crate::web::AppState;
use crate::web::extract::{NoParams, Params};
use crate::web::problem::Problem;

/// Show everything at a glance
#[utoipa::path(get, path = "/api/v1/overview", tag = "status", operation_id = "showOverview",
    responses((status = 200, description = "What runs, what waits and why, the last results, the sources", body = OverviewView),
              (status = 500, description = "The store can't be read", body = ProblemView, content_type = "application/problem+json")))]
pub async fn overview(
    State(state): State<AppState>,
    Params(_): Params<NoParams>,
) -> Result<Json<OverviewView>, Problem> {
    let started = state.started;
    Ok(Json(state.run(move |engine| engine.overview(started, true)).await?))
}

/// Show what customers may see
///
/// Every source with its last success and how it stands in words, and nothing of the inside.
#[utoipa::path(get, path = "/api/v1/status", tag = "status", operation_id = "showStatus",
    responses((status = 200, description = "The sources", body = StatusView),
              (status = 500, description = "The store can't be read", body = ProblemView, content_type = "application/problem+json")))]
pub async fn customers(
    State(state): State<AppState>,
    Params(_): Params<NoParams>,
) -> Result<Json<StatusView>, Problem> {
    Ok(Json(state.run(|engine| engine.status()).await?))
}
