//! Whether the process lives, and whether it does its work.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::lanes::Lane;
use super::problem::Problem;

/// Whether the server does its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// Why not, in words.
    pub reasons: Vec<String>,
    /// What does not work while the rest does, in words: an inbox that is gone.
    pub degraded: Vec<String>,
}

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).route("/metrics", get(metrics))
}

/// Whether the process lives
#[utoipa::path(get, path = "/livez", tag = "health", operation_id = "isAlive",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")))]
pub async fn live() -> &'static str {
    "ok\n"
}

/// Whether it does its work
///
/// Not when the store or a target can't be used, or while the server stops. What waits for a person is no reason.
/// An inbox that is gone keeps nothing else from being published: it is told beside, and the status stays 200.
#[utoipa::path(get, path = "/readyz", tag = "health", operation_id = "isReady",
    responses((status = 200, description = "It does", body = Readiness), (status = 503, description = "It does not", body = Readiness)))]
pub async fn ready(State(state): State<AppState>) -> Response {
    let (mut reasons, degraded) =
        match state.run_in(Lane::Watching, |engine| Ok((engine.not_ready(), engine.degraded()))).await {
            Ok(both) => both,
            Err(error) => (vec![error.to_string()], Vec::new()),
        };
    if *state.stopping().borrow() {
        reasons.push("the server stops".to_owned());
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(Readiness { ready: reasons.is_empty(), reasons, degraded })).into_response()
}

/// Metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "health", operation_id = "readMetrics",
    responses((status = 200, description = "In the text format of Prometheus", body = String, content_type = "text/plain")))]
pub async fn metrics(State(state): State<AppState>) -> Result<Response, Problem> {
    let text = super::metrics::Metrics::text(&state).await?;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
