//! `/dlq`: dead letters by their reasons, and a list with filters; what can be
//! done about all that a filter finds.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::{filters, link};
use crate::domain::ids::{BatchId, SourceId};
use crate::error::{Error, Result};
use crate::service::query::LetterQuery;
use crate::service::views::{DeadLetterView, LetterGroupView, LetterState, Page};
use crate::store::LetterKind;
use crate::web::LetterFilter;
use crate::web::api::dead_letters::StateFilter;

/// Groups that are shown.
const GROUPS: usize = 20;

/// The filter, as the form shows it.
struct Filter {
    state: String,
    source: String,
    kind: String,
    type_name: String,
    name: String,
    code: String,
    signature: String,
    batch: String,
}

impl Filter {
    fn is_empty(&self) -> bool {
        let Self { state, source, kind, type_name, name, code, signature, batch } = self;
        [state, source, kind, type_name, name, code, signature, batch].iter().all(|part| part.is_empty())
    }

    fn address(&self, cursor: Option<&str>) -> String {
        let parts = [
            ("state", Some(self.state.as_str())),
            ("source", Some(&self.source)),
            ("kind", Some(&self.kind)),
            ("type", Some(&self.type_name)),
            ("name", Some(&self.name)),
            ("code", Some(&self.code)),
            ("signature", Some(&self.signature)),
            ("batch", Some(&self.batch)),
            ("cursor", cursor),
        ];
        link::with_query("/dlq", &parts)
    }
}

#[derive(Template)]
#[template(path = "dead_letters.html", blocks = ["live"])]
struct DeadLetters {
    frame: Frame,
    filter: Filter,
    /// The filter as actions on all that it finds take it: JSON.
    wanted: String,
    /// Whether such actions are offered.
    can_act: bool,
    first: bool,
    sources: Vec<String>,
    groups: Vec<LetterGroupView>,
    more_groups: usize,
    page: Page<DeadLetterView>,
    back: Option<String>,
    next: Option<String>,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let wanted = wanted(&query)?;
        let text = |name: &str| query.text(name).unwrap_or_default().to_owned();
        let filter = Filter {
            state: text("state"),
            source: text("source"),
            kind: text("kind"),
            type_name: text("type"),
            name: text("name"),
            code: text("code"),
            signature: text("signature"),
            batch: text("batch"),
        };
        let page = engine.letters(&wanted)?;
        let mut groups = engine.letter_groups(None, None, None)?;
        if !filter.signature.is_empty() {
            groups.retain(|group| group.signature == filter.signature);
        }
        let more_groups = groups.len().saturating_sub(GROUPS);
        groups.truncate(GROUPS);
        let mut sources: Vec<String> =
            engine.store().read(|view| view.sources())?.iter().map(ToString::to_string).collect();
        if !filter.source.is_empty() && !sources.contains(&filter.source) {
            sources.push(filter.source.clone());
        }
        let json = serde_json::to_string(&LetterFilter::from(&wanted));
        let page = DeadLetters {
            frame: Frame::new(engine, "Dead letters", "/dlq"),
            wanted: json.map_err(|e| Error::internal("a filter").caused_by(e))?,
            can_act: page.items.iter().any(|letter| letter.state == LetterState::Open)
                && ["", "open"].contains(&filter.state.as_str()),
            first: !query.is_later(),
            sources,
            groups,
            more_groups,
            back: query.is_later().then(|| filter.address(None)),
            next: page.next_cursor.as_deref().map(|cursor| filter.address(Some(cursor))),
            page,
            filter,
        };
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}

fn wanted(query: &PageQuery) -> Result<LetterQuery> {
    let states = [
        ("open", StateFilter::Open),
        ("requeued", StateFilter::Requeued),
        ("resolved", StateFilter::Resolved),
        ("discarded", StateFilter::Discarded),
        ("expired", StateFilter::Expired),
        ("all", StateFilter::All),
    ];
    let kinds = [("entity", LetterKind::Entity), ("batch", LetterKind::Batch)];
    let text = |name: &str| query.text(name).map(str::to_owned);
    Ok(LetterQuery {
        states: query.one_of("state", &states)?.map(StateFilter::states).unwrap_or_default(),
        source_id: query.parsed::<SourceId>("source")?,
        kind: query.one_of("kind", &kinds)?,
        type_name: text("type"),
        name: text("name"),
        code: text("code").map(|code| code.to_uppercase()),
        signature: text("signature"),
        batch_id: query.parsed::<BatchId>("batch")?,
        since: query.time("since")?,
        until: query.time("until")?,
        part: query.part(),
        ..LetterQuery::default()
    })
}
