//! `/dlq/{id}`: a dead letter with its reason, what is known of it, and its
//! repair.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::value::RawValue;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::diff::{self, Attribute};
use super::show::{filters, link};
use crate::domain::json::indented;
use crate::domain::key::Key;
use crate::error::{Error, ErrorKind};
use crate::service::views::{DeadLetterDetail, LetterState};
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
    is_open: bool,
    is_batch: bool,
    whole: String,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, Path(id): Path<String>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let missing = |_| Error::new(ErrorKind::NotFound, "there is no such dead letter");
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
            original: letter.content.as_deref().map(indented),
            edited: letter.edited_content.as_deref().map(indented),
            content: letter
                .edited_content
                .as_deref()
                .or(letter.content.as_deref())
                .map(indented)
                .unwrap_or_default(),
            is_open: of.state == LetterState::Open,
            is_batch,
            whole: format!("{} {}", of.revision, of.state.as_str()),
            letter,
        };
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}
