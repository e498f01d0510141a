//! Dead letters: looking at them, repairing them, putting them back into the
//! queue, giving them up.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Act, Actor};
use crate::domain::ids::{BatchId, SourceId};
use crate::error::Result as Outcome;
use crate::service::Engine;
use crate::service::dead_letters::{BULK_MAX, LookedAt};
use crate::service::query::{GroupQuery, LetterQuery, Order, Part};
use crate::service::views::{
    DeadLetterDetail, DeadLetterView, LetterGroupView, LetterPreview, LetterResults, LetterState, Page,
    ProblemView,
};
use crate::store::LetterKind;
use crate::web::AppState;
use crate::web::extract::{Id, Json as Body, LargeJson, NoParams, Number, Params, object};
use crate::web::lanes::Lane;
use crate::web::problem::Problem;

/// Letters that a bulk action takes up without a limit.
const BULK: usize = 500;

/// Which dead letters of those that are open.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LetterFilter {
    /// Only of this source
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<SourceId>,
    /// Only of entities and relationships, or only of batches
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<LetterKind>,
    /// Only of entities or relationships of this type
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    /// Only those whose name this glob matches; of a relationship that of its `from` end
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only with this code
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Only of this group
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Only those that this batch brought, now or before
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// Only those that came at or after this
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only those that came before this
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl LetterFilter {
    fn query(self, states: Vec<LetterState>, part: Part, order: Order) -> LetterQuery {
        LetterQuery {
            states,
            source_id: self.source_id,
            kind: self.kind,
            type_name: self.type_name,
            name: self.name,
            code: self.code,
            signature: self.signature,
            batch_id: self.batch_id,
            since: self.since,
            until: self.until,
            order,
            part,
        }
    }
}

impl From<&LetterQuery> for LetterFilter {
    fn from(query: &LetterQuery) -> Self {
        let query = query.clone();
        Self {
            source_id: query.source_id,
            kind: query.kind,
            type_name: query.type_name,
            name: query.name,
            code: query.code,
            signature: query.signature,
            batch_id: query.batch_id,
            since: query.since,
            until: query.until,
        }
    }
}

/// A state to list, or all of them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateFilter {
    /// It waits for repair.
    Open,
    /// A batch brings it again.
    Requeued,
    /// A batch settled it.
    Resolved,
    /// A person gave it up.
    Discarded,
    /// Nobody decided about it in time.
    Expired,
    /// Any.
    All,
}

impl StateFilter {
    /// The states that it names.
    pub fn states(self) -> Vec<LetterState> {
        match self {
            Self::Open => vec![LetterState::Open],
            Self::Requeued => vec![LetterState::Requeued],
            Self::Resolved => vec![LetterState::Resolved],
            Self::Discarded => vec![LetterState::Discarded],
            Self::Expired => vec![LetterState::Expired],
            Self::All => LetterState::ALL.to_vec(),
        }
    }
}

/// Which dead letters, and which part of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LetterParams {
    /// Only in this state, or `all`; without it those that are not settled: open and requeued
    state: Option<StateFilter>,
    /// Only of this source
    source_id: Option<SourceId>,
    /// Only of entities and relationships, or only of batches
    kind: Option<LetterKind>,
    /// Only of entities or relationships of this type
    #[serde(rename = "type")]
    type_name: Option<String>,
    /// Only those whose name this glob matches; of a relationship that of its `from` end
    name: Option<String>,
    /// Only with this code
    code: Option<String>,
    /// Only of this group
    signature: Option<String>,
    /// Only those that this batch brought, now or before
    batch_id: Option<BatchId>,
    /// Only those that came at or after this
    since: Option<Timestamp>,
    /// Only those that came before this
    until: Option<Timestamp>,
    /// In the order in which they came; the newest first without it
    order: Option<Order>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

impl LetterParams {
    fn query(self) -> LetterQuery {
        let states = self.state.map(StateFilter::states).unwrap_or_default();
        let filter = LetterFilter {
            source_id: self.source_id,
            kind: self.kind,
            type_name: self.type_name,
            name: self.name,
            code: self.code,
            signature: self.signature,
            batch_id: self.batch_id,
            since: self.since,
            until: self.until,
        };
        let part = Part { limit: self.limit, cursor: self.cursor };
        filter.query(states, part, self.order.unwrap_or_default())
    }
}

/// List dead letters
///
/// A part may be short, or empty, and still have more behind it: one answer looks at a bounded number of letters.
#[utoipa::path(get, path = "/api/v1/dlq", tag = "dead letters", operation_id = "listDeadLetters", params(LetterParams),
    responses((status = 200, description = "A part of the list", body = Page<DeadLetterView>),
              (status = 404, description = "Nobody knows the source, code or group", body = ProblemView, content_type = "application/problem+json"),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<AppState>,
    Params(params): Params<LetterParams>,
) -> Result<Json<Page<DeadLetterView>>, Problem> {
    let query = params.query();
    Ok(Json(state.run(move |engine| engine.letters(&query)).await?))
}

/// Which groups.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GroupParams {
    /// Only of this source
    source_id: Option<SourceId>,
    /// Only of entities and relationships, or only of batches
    kind: Option<LetterKind>,
    /// Only with this code
    code: Option<String>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

/// List the groups of dead letters that are not settled
///
/// Letters of one group have the same reason at the same source. The largest come first.
#[utoipa::path(get, path = "/api/v1/dlq/groups", tag = "dead letters", operation_id = "listDeadLetterGroups", params(GroupParams),
    responses((status = 200, description = "A part of the groups", body = Page<LetterGroupView>),
              (status = 404, description = "Nobody knows the source or code", body = ProblemView, content_type = "application/problem+json"),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn groups(
    State(state): State<AppState>,
    Params(params): Params<GroupParams>,
) -> Result<Json<Page<LetterGroupView>>, Problem> {
    let GroupParams { source_id, kind, code, limit, cursor } = params;
    let query = GroupQuery { source_id, kind, code, part: Part { limit, cursor } };
    Ok(Json(state.run(move |engine| engine.letter_groups(&query)).await?))
}

/// Show a dead letter
#[utoipa::path(get, path = "/api/v1/dlq/{id}", tag = "dead letters", operation_id = "showDeadLetter",
    params(("id" = u64, Path, description = "Its number")),
    responses((status = 200, description = "The dead letter with all that is known of it", body = DeadLetterDetail),
              (status = 404, description = "There is no such dead letter", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Id(Number(id)): Id<Number>,
    Params(_): Params<NoParams>,
) -> Result<Json<DeadLetterDetail>, Problem> {
    Ok(Json(state.run(move |engine| engine.letter(id)).await?))
}

/// Get the original of a dead letter
///
/// Byte for byte: of an entity its line, of a key of which its batch says different things a line for each, of a batch its manifest.
#[utoipa::path(get, path = "/api/v1/dlq/{id}/content", tag = "dead letters", operation_id = "getDeadLetterContent",
    params(("id" = u64, Path, description = "Its number")),
    responses((status = 200, description = "The bytes", content_type = "application/octet-stream"),
              (status = 404, description = "There is no such dead letter, or its original is not known", body = ProblemView, content_type = "application/problem+json")))]
pub async fn content(
    State(state): State<AppState>,
    Id(Number(id)): Id<Number>,
    Params(_): Params<NoParams>,
) -> Result<Response, Problem> {
    let bytes = state.run(move |engine| engine.letter_content(id)).await?;
    // It came from outside: no browser shows it as a page.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"dead-letter-{id}\"")),
    ];
    Ok((headers, bytes).into_response())
}

/// Content to look at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// An entity's line, or a batch's manifest; without it what the letter holds.
    content: Option<String>,
}

/// Show what a content would change
///
/// It is checked, and planned against what is published now: an entity's line alone, a batch as a whole with that manifest. Nothing is kept.
#[utoipa::path(post, path = "/api/v1/dlq/{id}/check", tag = "dead letters", operation_id = "checkDeadLetter",
    params(("id" = u64, Path, description = "Its number")), request_body = Check,
    responses((status = 200, description = "Whether it is valid, and what it would change", body = LetterPreview),
              (status = 404, description = "There is no such dead letter", body = ProblemView, content_type = "application/problem+json"),
              (status = 503, description = "Two batches are being planned for others already", body = ProblemView, content_type = "application/problem+json")))]
pub async fn check(
    State(state): State<AppState>,
    Id(Number(id)): Id<Number>,
    LargeJson(body): LargeJson<Check>,
) -> Result<Json<LetterPreview>, Problem> {
    let content = body.content;
    // A whole batch may take as long as one that is sent to be planned.
    let kind = state.run(move |engine| Ok(engine.letter(id)?.letter.kind)).await?;
    let place = match kind {
        LetterKind::Entity => None,
        LetterKind::Batch => Some(super::plans::place(&state)?),
    };
    let preview = move |engine: &Engine| {
        let _place = place;
        engine.check_letter(id, content.as_deref().map(str::as_bytes))
    };
    Ok(Json(state.run(preview).await?))
}

/// Other content for a dead letter, or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revise {
    /// An entity's line, or a batch's manifest. Without it, or with `null`, an edit is taken back, and what the letter holds is requeued.
    content: Option<String>,
    /// The revision that was looked at: it is refused when it is another one by now, and without one when somebody edited the dead letter.
    revision: Option<u64>,
    /// Of a batch the `original_hash` that was looked at: its `content` is refused when another manifest is there by now.
    original_hash: Option<String>,
    /// Why: it is kept with the letter.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Who; `operator` without it. The server has no sign-in yet and takes it as it is.
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// Does something about a dead letter, and shows how it stands then.
async fn act<T>(
    state: &AppState,
    lane: Lane,
    id: u64,
    by: Act,
    act: impl FnOnce(&Engine, &Actor) -> Outcome<T> + Send + 'static,
) -> Result<Json<DeadLetterDetail>, Problem> {
    let by = by.check()?;
    let done = state.run_in(lane, move |engine| {
        act(engine, &by)?;
        engine.letter(id)
    });
    Ok(Json(done.await?))
}

/// Put other content in the place of a dead letter's original
#[utoipa::path(post, path = "/api/v1/dlq/{id}/edit", tag = "dead letters", operation_id = "editDeadLetter",
    params(("id" = u64, Path, description = "Its number")), request_body = Revise,
    responses((status = 200, description = "The dead letter as it stands then", body = DeadLetterDetail),
              (status = 409, description = "It is not open, was changed since it was looked at, was edited and no `revision` is given, the content has another key, or the batch another manifest than was looked at", body = ProblemView, content_type = "application/problem+json"),
              (status = 422, description = "The content is not valid", body = ProblemView, content_type = "application/problem+json")))]
pub async fn edit(
    State(state): State<AppState>,
    Id(Number(id)): Id<Number>,
    LargeJson(body): LargeJson<Revise>,
) -> Result<Json<DeadLetterDetail>, Problem> {
    let (content, revision, original) = (body.content, body.revision, body.original_hash);
    let by = Act { reason: body.reason, actor: body.actor };
    act(&state, Lane::Quick, id, by, move |engine, by| {
        let revision = Some(engine.revision_meant(id, revision)?);
        let seen = LookedAt { revision, original: original.as_deref() };
        engine.edit_letter(id, seen, content.as_deref().map(str::as_bytes), &by.name, &by.reason)
    })
    .await
}

/// What is done about one dead letter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    /// The revision that was looked at: it is refused when it is another one by now, and without one when somebody edited the dead letter.
    revision: Option<u64>,
    /// Why: it is kept with the letter.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Who; `operator` without it. The server has no sign-in yet and takes it as it is.
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// Put a dead letter back into the queue
///
/// With a `content` it is edited first. It is planned against what is published then. `requeued_as` of the answer is the batch that brings it.
#[utoipa::path(post, path = "/api/v1/dlq/{id}/requeue", tag = "dead letters", operation_id = "requeueDeadLetter",
    params(("id" = u64, Path, description = "Its number")), request_body = Revise,
    responses((status = 200, description = "The dead letter as it stands then", body = DeadLetterDetail),
              (status = 409, description = "It is not open, was changed since it was looked at, was edited and no `revision` is given, or an operator skips its key; or the content has another key, or the batch another manifest than was looked at", body = ProblemView, content_type = "application/problem+json"),
              (status = 422, description = "The content, or what it holds, is not valid", body = ProblemView, content_type = "application/problem+json")))]
pub async fn requeue(
    State(state): State<AppState>,
    Id(Number(id)): Id<Number>,
    LargeJson(body): LargeJson<Revise>,
) -> Result<Json<DeadLetterDetail>, Problem> {
    let (content, revision, original) = (body.content, body.revision, body.original_hash);
    let by = Act { reason: body.reason, actor: body.actor };
    act(&state, Lane::Repairs, id, by, move |engine, by| {
        let revision = Some(engine.revision_meant(id, revision)?);
        match content {
            Some(content) => {
                let seen = LookedAt { revision, original: original.as_deref() };
                engine.repair_letter(id, seen, content.as_bytes(), &by.name, &by.reason).map(drop)
            }
            None => engine.requeue_letter(id, revision, &by.name, &by.reason).map(drop),
        }
    })
    .await
}

/// Give a dead letter up
#[utoipa::path(post, path = "/api/v1/dlq/{id}/discard", tag = "dead letters", operation_id = "discardDeadLetter",
    params(("id" = u64, Path, description = "Its number")), request_body = Decide,
    responses((status = 200, description = "The dead letter as it stands then", body = DeadLetterDetail),
              (status = 409, description = "It is not open, was changed since it was looked at, or was edited and no `revision` is given", body = ProblemView, content_type = "application/problem+json")))]
pub async fn discard(
    State(state): State<AppState>,
    Id(Number(id)): Id<Number>,
    Body(body): Body<Decide>,
) -> Result<Json<DeadLetterDetail>, Problem> {
    let by = Act { reason: body.reason, actor: body.actor };
    act(&state, Lane::Quick, id, by, move |engine, by| {
        let revision = Some(engine.revision_meant(id, body.revision)?);
        engine.discard_letter(id, revision, &by.name, &by.reason)
    })
    .await
}

/// What is done about all dead letters that a filter finds.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideAll {
    /// Which of the open ones.
    #[serde(deserialize_with = "object")]
    filter: LetterFilter,
    /// Most that are taken up by this request, 1 to 5000; 500 without it.
    limit: Option<usize>,
    /// As `next_cursor` of the answer before gave it.
    cursor: Option<String>,
    /// Why: it is kept with each letter.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Who; `operator` without it. The server has no sign-in yet and takes it as it is.
    #[schema(max_length = 64)]
    actor: Option<String>,
}

async fn all(
    state: AppState,
    body: DecideAll,
    act: impl FnOnce(&Engine, &LetterQuery, &str, &str) -> Outcome<LetterResults> + Send + 'static,
) -> Result<Json<LetterResults>, Problem> {
    let by = Act { reason: body.reason, actor: body.actor }.check()?;
    let part = Part { limit: Some(body.limit.unwrap_or(BULK)), cursor: body.cursor };
    if part.limit.is_some_and(|limit| !(1..=BULK_MAX).contains(&limit)) {
        return Err(Problem::usage(format!("`limit` must be from 1 to {BULK_MAX}")));
    }
    let query = body.filter.query(vec![LetterState::Open], part, Order::Oldest);
    Ok(Json(state.run_in(Lane::Repairs, move |engine| act(engine, &query, &by.name, &by.reason)).await?))
}

/// Put all dead letters that a filter finds back into the queue
///
/// Those of one batch go together. One request takes up a part of them; `next_cursor`, given back as `cursor`, goes on.
#[utoipa::path(post, path = "/api/v1/dlq/requeue", tag = "dead letters", operation_id = "requeueDeadLetters", request_body = DecideAll,
    responses((status = 200, description = "What became of each", body = LetterResults),
              (status = 404, description = "Nobody knows the source, code or group", body = ProblemView, content_type = "application/problem+json"),
              (status = 400, description = "The request is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn requeue_all(
    State(state): State<AppState>,
    Body(body): Body<DecideAll>,
) -> Result<Json<LetterResults>, Problem> {
    all(state, body, Engine::requeue_letters).await
}

/// Give all dead letters up that a filter finds
///
/// One request takes up a part of them; `next_cursor`, given back as `cursor`, goes on.
#[utoipa::path(post, path = "/api/v1/dlq/discard", tag = "dead letters", operation_id = "discardDeadLetters", request_body = DecideAll,
    responses((status = 200, description = "What became of each", body = LetterResults),
              (status = 404, description = "Nobody knows the source, code or group", body = ProblemView, content_type = "application/problem+json"),
              (status = 400, description = "The request is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn discard_all(
    State(state): State<AppState>,
    Body(body): Body<DecideAll>,
) -> Result<Json<LetterResults>, Problem> {
    all(state, body, Engine::discard_letters).await
}
