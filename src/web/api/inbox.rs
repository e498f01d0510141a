//! Folders of the inboxes that are no batches.

use axum::Json;
use axum::extract::State;

use super::PartParams;
use crate::service::views::{InboxListView, ProblemView};
use crate::web::AppState;
use crate::web::extract::Params;
use crate::web::problem::Problem;

/// List every folder that is not accepted, or is held, with the reason
#[utoipa::path(get, path = "/api/v1/inbox", tag = "inbox", operation_id = "listInbox", params(PartParams),
    responses((status = 200, description = "The inboxes, and a part of the folders", body = InboxListView),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<AppState>,
    Params(params): Params<PartParams>,
) -> Result<Json<InboxListView>, Problem> {
    let part = params.part();
    Ok(Json(state.run(move |engine| engine.inbox_view(&part)).await?))
}
