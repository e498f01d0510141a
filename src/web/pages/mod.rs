//! The pages: what `service` knows, as HTML. They hold no rules; writes go to
//! the API. One file a page; `show` says how values look.

mod batch;
mod batch_actions;
pub(crate) mod batches;
mod catalogue;
mod dead_letter;
mod dead_letters;
mod entity;
mod frame;
mod inbox;
mod overview;
mod plan;
mod query;
mod queue;
pub(crate) mod show;
mod snapshot;
mod sources;
mod status;
mod targets;
mod why;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use self::frame::{CHECK_ADDRESS, Frame, error_page};
use super::AppState;
use super::problem::{self, Problem};

/// The pages of the navigation.
pub const NAV: [(&str, &str); 8] = [
    ("/", "Overview"),
    ("/queue", "Queue"),
    ("/batches", "Batches"),
    ("/sources", "Sources"),
    ("/dlq", "Dead letters"),
    ("/targets", "Targets"),
    ("/inbox", "Inbox"),
    ("/catalogue", "Catalogue"),
];

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The routes of the pages.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(overview::page))
        .route("/batches", get(batches::page))
        .route("/batches/{id}", get(batch::page))
        .route("/queue", get(queue::page))
        .route("/dlq", get(dead_letters::page))
        .route("/dlq/{id}", get(dead_letter::page))
        .route("/sources", get(sources::list))
        .route("/sources/{id}", get(sources::one))
        .route("/targets", get(targets::page))
        .route("/snapshots/{id}", get(snapshot::page))
        .route("/inbox", get(inbox::page))
        .route("/catalogue", get(catalogue::page))
        .route("/catalogue/entity", get(entity::page))
        .route("/why", get(why::page))
        .route("/status", get(status::page))
}

/// Where no route leads: a page for people, a problem document for programs.
pub async fn missing(
    State(state): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let of_program = uri.path().starts_with("/api/") || uri.path().starts_with("/static/");
    if method != Method::GET || of_program || !accepts.contains("text/html") {
        return problem::not_found(uri).await.into_response();
    }
    let mut problem: Problem = problem::not_found(uri).await;
    problem.0.action = CHECK_ADDRESS.to_owned();
    error_page(&Frame::at(state.engine.now(), "Not found", ""), &problem)
}
