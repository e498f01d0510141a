//! Publish states: exactly the model of the specification (contract: HTTP).

use axum::Json;
use axum::extract::State;

use super::BatchParams;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishState;
use crate::error::{Error, ErrorKind};
use crate::service::views::{Page, ProblemView};
use crate::web::AppState;
use crate::web::extract::{Id, NoParams, Params};
use crate::web::problem::Problem;

/// List publish states
#[utoipa::path(get, path = "/api/v1/publish-states", tag = "publish states", operation_id = "listPublishStates", params(BatchParams),
    responses((status = 200, description = "A part of the list", body = Page<PublishState>),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<AppState>,
    Params(params): Params<BatchParams>,
) -> Result<Json<Page<PublishState>>, Problem> {
    let query = params.query();
    Ok(Json(state.run(move |engine| engine.publish_states(&query)).await?))
}

/// Show a publish state
#[utoipa::path(get, path = "/api/v1/publish-states/{batch_id}", tag = "publish states", operation_id = "showPublishState",
    params(("batch_id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The publish state", body = PublishState),
              (status = 404, description = "There is no such batch", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Id(id): Id<BatchId>,
    Params(_): Params<NoParams>,
) -> Result<Json<PublishState>, Problem> {
    let found = state.run({
        let id = id.clone();
        move |engine| engine.publish_state(&id)
    });
    match found.await? {
        Some(found) => Ok(Json(found)),
        None => Err(Error::new(ErrorKind::NotFound, format!("there is no batch {id}")).into()),
    }
}
