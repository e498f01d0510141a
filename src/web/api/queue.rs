//! The queue.

use axum::Json;
use axum::extract::State;

use super::PartParams;
use crate::service::views::{ProblemView, QueueView};
use crate::web::AppState;
use crate::web::extract::Params;
use crate::web::problem::Problem;

/// Show the queue
#[utoipa::path(get, path = "/api/v1/queue", tag = "queue", operation_id = "showQueue", params(PartParams),
    responses((status = 200, description = "A part of the batches that have not ended, in the order in which they would run now, down to position 2,000", body = QueueView),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Params(params): Params<PartParams>,
) -> Result<Json<QueueView>, Problem> {
    let part = params.part();
    Ok(Json(state.run(move |engine| engine.queue(&part)).await?))
}
