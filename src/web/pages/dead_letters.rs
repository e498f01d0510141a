//! `/dlq`: dead letters by their reasons, and a list with filters; what can be
//! done about all that a filter finds.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::{filters, link};
use crate::domain::ids::{BatchId, SourceId};
use crate::error::{Error, Result};
use crate::service::query::{GroupQuery, LetterQuery, Part, to_do};
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

    /// Whether it is the address that an alert gives: all of one group.
    fn names_a_group(&self) -> bool {
        let Self { state, source, kind, type_name, name, code, signature, batch } = self;
        !signature.is_empty()
            && [state, source, kind, type_name, name, code, batch].iter().all(|part| part.is_empty())
    }

    /// Whether groups are shown: they can be filtered by less than letters.
    fn shows_groups(&self) -> bool {
        [&self.state, &self.type_name, &self.name, &self.signature, &self.batch]
            .iter()
            .all(|part| part.is_empty())
    }

    fn more_groups(&self, cursor: &str) -> String {
        let parts = [
            ("source", Some(self.source.as_str())),
            ("kind", Some(&self.kind)),
            ("code", Some(&self.code)),
            ("reasons", Some(cursor)),
        ];
        link::with_query("/dlq", &parts)
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

/// Where a group is shown: one letter alone by itself.
fn group_href(group: &LetterGroupView) -> String {
    match &group.example {
        Some(only) if group.count == 1 => format!("/dlq/{}", only.id),
        Some(_) | None => link::with_query("/dlq", &[("signature", Some(&group.signature))]),
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
    /// The group that the filter names, while one of it is not settled.
    group: Option<LetterGroupView>,
    /// What to do about its reason.
    action: String,
    /// Whether all of the group that the filter names are settled: those are listed.
    is_over: bool,
    groups: Vec<LetterGroupView>,
    more_groups: Option<String>,
    page: Page<DeadLetterView>,
    back: Option<String>,
    next: Option<String>,
}

/// Where an alert leads when one letter alone has its reason: there it can be
/// repaired at once.
async fn only_one(state: &AppState, query: &PageQuery) -> Option<u64> {
    let signature = query.only("signature")?.to_owned();
    // The page tells what is wrong with the address, or the store.
    let group = state.run(move |engine| engine.letter_group(&signature)).await.ok().flatten()?;
    group.example.filter(|_| group.count == 1).map(|letter| letter.id)
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    if let Some(id) = only_one(&state, &query).await {
        return Redirect::to(&format!("/dlq/{id}")).into_response();
    }
    answer(state, move |engine| {
        let mut wanted = wanted(&query)?;
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
        let (group, is_over) = match filter.names_a_group() {
            true => {
                let group = engine.letter_group(&filter.signature)?;
                let is_over = group.is_none();
                (group, is_over)
            }
            false => (None, false),
        };
        if is_over {
            wanted.states = LetterState::ALL.to_vec();
        }
        let page = engine.letters(&wanted)?;
        let groups = if filter.shows_groups() {
            let cursor = query.text("reasons").map(str::to_owned);
            engine.letter_groups(&GroupQuery {
                source_id: wanted.source_id.clone(),
                kind: wanted.kind,
                code: wanted.code.clone(),
                part: Part { limit: Some(GROUPS), cursor },
            })?
        } else {
            Page { items: Vec::new(), next_cursor: None }
        };
        let mut sources: Vec<String> =
            engine.store().read(|view| view.sources())?.iter().map(ToString::to_string).collect();
        if !filter.source.is_empty() && !sources.contains(&filter.source) {
            sources.push(filter.source.clone());
        }
        let json = serde_json::to_string(&LetterFilter::from(&wanted));
        let page = DeadLetters {
            frame: Frame::new(engine, "Dead letters", "/dlq"),
            wanted: json.map_err(|e| Error::internal("a filter").caused_by(e))?,
            // What is open may come in a later part.
            can_act: (page.next_cursor.is_some()
                || page.items.iter().any(|letter| letter.state == LetterState::Open))
                && ["", "open"].contains(&filter.state.as_str()),
            first: !query.is_later(),
            sources,
            action: (group.as_ref())
                .map(|group| {
                    let has_key = group.example.as_ref().is_none_or(|letter| letter.key.is_some());
                    to_do(&group.code, &group.source_id, group.kind, has_key)
                })
                .unwrap_or_default(),
            group,
            is_over,
            more_groups: groups.next_cursor.as_deref().map(|cursor| filter.more_groups(cursor)),
            groups: groups.items,
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
