//! `/dlq/{id}`: a dead letter with its reason, what is known of it, and its
//! repair.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::diff::{self, Attribute};
use super::show::{filters, link};
use crate::domain::glob::Glob;
use crate::domain::ids::BatchId;
use crate::domain::json::indented;
use crate::domain::key::Key;
use crate::error::{Error, ErrorKind};
use crate::service::views::{BatchView, DeadLetterDetail, LetterState, SkipView};
use crate::store::LetterKind;

#[derive(Template)]
#[template(path = "dead_letter.html", blocks = ["live"])]
struct DeadLetter {
    frame: Frame,
    letter: DeadLetterDetail,
    heading: String,
    /// The entity's page, where the letter is about one.
    entity: Option<String>,
    /// What the refused change was to change.
    attributes: Vec<Attribute>,
    original: Option<String>,
    edited: Option<String>,
    /// What the form begins with.
    content: String,
    /// Lines of the field that it is edited in.
    rows: usize,
    /// Whether it is too long for a field, and is edited elsewhere.
    is_long: bool,
    is_open: bool,
    is_batch: bool,
    is_resolved: bool,
    /// Others that have the same reason and are not settled.
    alike: u64,
    /// The batch that brings it again, or that settled it.
    brings: Option<BatchView>,
    /// The skip that its key is under.
    skip: Option<SkipView>,
    /// What a skip of its key is asked for with.
    skippable: Option<Skippable>,
    whole: String,
}

/// Bytes of a content that a page shows.
const SHOWN: usize = 256 << 10;

/// A content as it is shown: all of it, or its beginning.
fn shown(content: &str) -> String {
    indented(&content[..content.floor_char_boundary(SHOWN)])
}

/// A key that can be skipped.
struct Skippable {
    type_name: String,
    /// A glob that matches its name alone.
    name: String,
    is_relationship: bool,
    /// When it may end by itself.
    ends: Vec<(&'static str, Timestamp)>,
}

impl Skippable {
    fn of(key: &Key, now: Timestamp) -> Self {
        let ends = [("1 day", 24), ("7 days", 7 * 24), ("30 days", 30 * 24)];
        let end = |(words, hours)| Some((words, now.checked_add(SignedDuration::from_hours(hours)).ok()?));
        Self {
            type_name: key.type_name().to_owned(),
            name: Glob::literal(key.scope_name()).as_str().to_owned(),
            is_relationship: matches!(key, Key::Relationship(_)),
            ends: ends.into_iter().filter_map(end).collect(),
        }
    }
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, Path(id): Path<String>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let missing = |_| {
            let id: String = id.chars().take(60).collect();
            Error::new(ErrorKind::NotFound, format!("{id:?} is no number of a dead letter, such as 12"))
        };
        let letter = engine.letter(id.parse().map_err(missing)?)?;
        let of = &letter.letter;
        let known = &letter.diagnostics;
        let object = |text: &Option<String>| {
            let raw = text.as_ref().and_then(|text| RawValue::from_string(text.clone()).ok());
            diff::object(raw.as_deref())
        };
        let attributes = match (&known.before, &known.after) {
            (Some(_), Some(_)) => diff::changed(&object(&known.before), &object(&known.after)),
            (Some(_), None) => diff::plain(&object(&known.before)),
            (None, _) => diff::plain(&object(&known.after)),
        };
        let is_batch = of.kind == LetterKind::Batch;
        let is_open = of.state == LetterState::Open;
        let own = u64::from(matches!(of.state, LetterState::Open | LetterState::Requeued));
        let group = engine.letter_group(&of.signature)?;
        let by = of.settled_by.as_deref().and_then(|by| by.parse::<BatchId>().ok());
        let brings = match of.requeued_as.clone().or(by.filter(|_| of.state == LetterState::Resolved)) {
            // It may be forgotten by now.
            Some(batch) => engine.batch_view(&batch).ok(),
            None => None,
        };
        let skip = match &of.key {
            Some(_) => letter.skip.clone(),
            None => None,
        };
        let content = letter.edited_content.as_deref().or(letter.content.as_deref());
        let is_long = content.is_some_and(|content| content.len() > SHOWN);
        let content = content.map(shown).unwrap_or_default();
        let page = DeadLetter {
            frame: Frame::new(engine, format!("Dead letter {}", of.id), "/dlq"),
            heading: match &of.key {
                Some(key) => key.to_string(),
                None if is_batch => of.batch_id.to_string(),
                None => "A line without a readable key".to_owned(),
            },
            entity: match &of.key {
                Some(Key::Entity(key)) => Some(link::why(key)),
                Some(Key::Relationship(_)) | None => None,
            },
            attributes,
            original: letter.content.as_deref().map(shown),
            edited: letter.edited_content.as_deref().map(shown),
            rows: content.lines().count().clamp(4, 24) + 1,
            content,
            is_long,
            is_open,
            is_batch,
            is_resolved: of.state == LetterState::Resolved,
            alike: group.map_or(0, |group| group.count.saturating_sub(own)),
            brings,
            skippable: match &of.key {
                Some(key) if is_open && skip.is_none() => Some(Skippable::of(key, engine.now())),
                Some(_) | None => None,
            },
            whole: format!("{} {} {}", of.revision, of.state.as_str(), skip.is_some()),
            skip,
            letter,
        };
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}
