//! `/batches`: all batches, with filters, a page at a time.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::{filters, link};
use crate::domain::ids::SourceId;
use crate::domain::publish_state::PublishStatus;
use crate::error::Result;
use crate::service::query::{BatchQuery, Order};
use crate::service::views::{BatchView, Page};

/// The filter, as the form shows it.
struct Filter {
    source: String,
    status: String,
    since: String,
    until: String,
    order: &'static str,
}

#[derive(Template)]
#[template(path = "batches.html", blocks = ["live"])]
struct Batches {
    frame: Frame,
    filter: Filter,
    filtered: bool,
    first: bool,
    sources: Vec<String>,
    page: Page<BatchView>,
    back: Option<String>,
    next: Option<String>,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let wanted = wanted(&query)?;
        let filter = Filter {
            source: wanted.source_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            status: wanted.status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
            since: wanted.since.map(form_time).unwrap_or_default(),
            until: wanted.until.map(form_time).unwrap_or_default(),
            order: match wanted.order {
                Order::Newest => "newest",
                Order::Oldest => "oldest",
            },
        };
        let page = engine.batches(&wanted)?;
        let mut sources: Vec<String> =
            engine.store().read(|view| view.sources())?.iter().map(ToString::to_string).collect();
        if !filter.source.is_empty() && !sources.contains(&filter.source) {
            sources.push(filter.source.clone());
        }
        let address = |cursor: Option<&str>| {
            let order = Some(filter.order).filter(|order| *order != "newest");
            let parts = [
                ("source", Some(filter.source.as_str())),
                ("status", Some(&filter.status)),
                ("since", Some(&filter.since)),
                ("until", Some(&filter.until)),
                ("order", order),
                ("cursor", cursor),
            ];
            link::with_query("/batches", &parts)
        };
        let bounds = [&filter.source, &filter.status, &filter.since, &filter.until];
        let page = Batches {
            frame: Frame::new(engine, "Batches", "/batches"),
            filtered: bounds.iter().any(|bound| !bound.is_empty()),
            first: !query.is_later(),
            sources,
            back: query.is_later().then(|| address(None)),
            next: page.next_cursor.as_deref().map(|cursor| address(Some(cursor))),
            page,
            filter,
        };
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}

fn wanted(query: &PageQuery) -> Result<BatchQuery> {
    let statuses = PublishStatus::ALL.map(|status| (status.as_str(), status));
    Ok(BatchQuery {
        source_id: query.parsed::<SourceId>("source")?,
        status: query.one_of("status", &statuses)?,
        since: query.time("since")?,
        until: query.time("until")?,
        order: query
            .one_of("order", &[("newest", Order::Newest), ("oldest", Order::Oldest)])?
            .unwrap_or_default(),
        part: query.part(),
    })
}

/// A time as a form's field holds it.
fn form_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M").to_string()
}
