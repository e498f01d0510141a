//! What `doctor` finds beside a server.

use axum::Json;
use axum::extract::State;

use crate::service::views::DoctorView;
use crate::web::AppState;
use crate::web::extract::{NoParams, Params};
use crate::web::lanes::Lane;
use crate::web::problem::Problem;

/// Look at everything that Tidegate stands on
///
/// Settings, store, state folder, inboxes, targets, clock, disks and versions; what is wrong, and what mends it.
/// While one request looks, others get what was found last; `at` says when that was.
#[utoipa::path(get, path = "/api/v1/doctor", tag = "health", operation_id = "examine",
    responses((status = 200, description = "What was found; the checks say whether all is well", body = DoctorView)))]
pub async fn show(
    State(state): State<AppState>,
    Params(_): Params<NoParams>,
) -> Result<Json<DoctorView>, Problem> {
    Ok(Json(state.run_in(Lane::Targets, |engine| engine.examine(true)).await?))
}
