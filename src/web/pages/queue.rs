//! `/queue`: what runs next, and why: every score with its parts.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::{filters, link, words};
use crate::domain::priority::PriorityWeights;
use crate::service::views::QueueView;

#[derive(Template)]
#[template(path = "queue.html", blocks = ["live"])]
struct Queue {
    frame: Frame,
    weights: PriorityWeights,
    half_life: String,
    view: QueueView,
    best: f64,
    deepest: u64,
    back: Option<String>,
    next: Option<String>,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let view = engine.queue(&query.part())?;
        let weights = engine.settings().priority;
        let page = Queue {
            frame: Frame::new(engine, "Queue", "/queue"),
            half_life: words::seconds(weights.half_life_seconds),
            weights,
            best: view.items.iter().map(|item| item.priority.score).fold(0.0, f64::max),
            deepest: view.depth.iter().map(|depth| depth.waiting + depth.running).max().unwrap_or(1),
            back: query.is_later().then(|| "/queue".to_owned()),
            next: view
                .next_cursor
                .as_deref()
                .map(|cursor| link::with_query("/queue", &[("cursor", Some(cursor))])),
            view,
        };
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}
