//! Targets.

use axum::Json;
use axum::extract::State;

use super::PartParams;
use crate::domain::ids::TargetName;
use crate::service::views::{Page, ProblemView, TargetView};
use crate::web::AppState;
use crate::web::extract::{Id, NoParams, Params};
use crate::web::lanes::Lane;
use crate::web::problem::Problem;

/// List targets, with what is wrong with them
#[utoipa::path(get, path = "/api/v1/targets", tag = "targets", operation_id = "listTargets", params(PartParams),
    responses((status = 200, description = "A part of the targets, by name", body = Page<TargetView>),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<AppState>,
    Params(params): Params<PartParams>,
) -> Result<Json<Page<TargetView>>, Problem> {
    let part = params.part();
    Ok(Json(state.run_in(Lane::Targets, move |engine| engine.targets_part(&part)).await?))
}

/// Show a target, with what is wrong with it
#[utoipa::path(get, path = "/api/v1/targets/{target}", tag = "targets", operation_id = "showTarget",
    params(("target" = String, Path, description = "Its name")),
    responses((status = 200, description = "The target", body = TargetView),
              (status = 404, description = "There is no such target", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Id(name): Id<TargetName>,
    Params(_): Params<NoParams>,
) -> Result<Json<TargetView>, Problem> {
    Ok(Json(state.run_in(Lane::Targets, move |engine| engine.target_view(&name)).await?))
}
