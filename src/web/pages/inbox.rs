//! `/inbox`: folders that are no batches, and why.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::{filters, link};
use crate::service::views::InboxListView;

#[derive(Template)]
#[template(path = "inbox.html", blocks = ["live"])]
struct Inbox {
    frame: Frame,
    view: InboxListView,
    /// Inboxes that can't be looked into.
    lost: usize,
    back: Option<String>,
    next: Option<String>,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let view = engine.inbox_view(&query.part())?;
        let page = Inbox {
            frame: Frame::new(engine, "Inboxes", "/inbox"),
            lost: view.inboxes.iter().filter(|inbox| inbox.error.is_some()).count(),
            back: query.is_later().then(|| "/inbox".to_owned()),
            next: view
                .next_cursor
                .as_deref()
                .map(|cursor| link::with_query("/inbox", &[("cursor", Some(cursor))])),
            view,
        };
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}
