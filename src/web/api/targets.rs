//! Targets.

use axum::Json;
use axum::extract::State;

use crate::domain::ids::TargetName;
use crate::service::views::{Page, ProblemView, TargetView};
use crate::web::AppState;
use crate::web::extract::Id;
use crate::web::problem::Problem;

/// List targets, with what is wrong with them
#[utoipa::path(get, path = "/api/v1/targets", tag = "targets", operation_id = "listTargets",
    responses((status = 200, description = "The targets, by name", body = Page<TargetView>)))]
pub async fn list(State(state): State<AppState>) -> Result<Json<Page<TargetView>>, Problem> {
    let items = state.run(|engine| engine.targets()).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// Show a target, with what is wrong with it
#[utoipa::path(get, path = "/api/v1/targets/{target}", tag = "targets", operation_id = "showTarget",
    params(("target" = String, Path, description = "Its name")),
    responses((status = 200, description = "The target", body = TargetView),
              (status = 404, description = "There is no such target", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Id(name): Id<TargetName>,
) -> Result<Json<TargetView>, Problem> {
    Ok(Json(state.run(move |engine| engine.target_view(&name)).await?))
}
