//! Known issues: what operators have batches wait for.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Act, TimesParams};
use crate::domain::ids::{SourceId, TargetName};
use crate::service::issues::Declared;
use crate::service::views::{KnownIssueView, Page, ProblemView};
use crate::web::AppState;
use crate::web::extract::{Id, Json as Body, Number, Params};
use crate::web::problem::Problem;

/// What is declared. At least one of `target`, `source_id` and `code`; an
/// empty text is none.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Declare {
    /// Batches that are published to this target wait
    #[serde(default)]
    target: Option<String>,
    /// Batches of this source wait
    #[serde(default)]
    source_id: Option<String>,
    /// Batches that fail with this error code wait
    #[serde(default)]
    code: Option<String>,
    /// When it ends by itself: RFC 3339
    #[serde(default)]
    until: Option<String>,
    /// Set where every batch may wait, as for an issue about the only target;
    /// else that is refused
    #[serde(default)]
    everything: bool,
    /// What is known: it is shown as the reason
    #[schema(min_length = 1, max_length = 1000)]
    note: String,
    /// Who; `operator` without it
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// List known issues by when they were declared, those that are over included
///
/// The newest come first without `order`.
#[utoipa::path(get, path = "/api/v1/known-issues", tag = "known issues", operation_id = "listKnownIssues", params(TimesParams),
    responses((status = 200, description = "A part of the known issues", body = Page<KnownIssueView>),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<AppState>,
    Params(params): Params<TimesParams>,
) -> Result<Json<Page<KnownIssueView>>, Problem> {
    let times = params.times();
    Ok(Json(state.run(move |engine| engine.issue_views(&times)).await?))
}

/// Declare a known issue
///
/// Matching batches wait until it is lifted or over.
#[utoipa::path(post, path = "/api/v1/known-issues", tag = "known issues", operation_id = "declareKnownIssue",
    request_body = Declare,
    responses((status = 200, description = "The known issue", body = KnownIssueView),
              (status = 400, description = "It is about everything, about nothing there is, or over already", body = ProblemView, content_type = "application/problem+json")))]
pub async fn declare(
    State(state): State<AppState>,
    Body(body): Body<Declare>,
) -> Result<Json<KnownIssueView>, Problem> {
    let actor = Act::new(body.note, body.actor).check_as("note")?;
    let given = |text: Option<String>| text.map(|t| t.trim().to_owned()).filter(|text| !text.is_empty());
    let bad = |name: &str, problem: String| Problem::usage(format!("`{name}` {problem}"));
    let declared = Declared {
        target: given(body.target)
            .map(TargetName::new)
            .transpose()
            .map_err(|e| bad("target", e.problem.to_string()))?,
        source: given(body.source_id)
            .map(SourceId::new)
            .transpose()
            .map_err(|e| bad("source_id", e.problem.to_string()))?,
        code: given(body.code),
        everything: body.everything,
        note: actor.reason,
        until: given(body.until).map(|text| text.parse::<Timestamp>()).transpose().map_err(|_| {
            bad("until", "must be a time with an offset, such as 2026-11-24T18:00:00Z".into())
        })?,
    };
    let done =
        state.run(move |engine| engine.declare_issue(declared, &actor.name).map(|i| engine.issue_view(i)));
    Ok(Json(done.await?))
}

/// Lift a known issue
///
/// What waited for it goes on, the oldest first.
#[utoipa::path(post, path = "/api/v1/known-issues/{id}/lift", tag = "known issues", operation_id = "liftKnownIssue",
    params(("id" = u64, Path, description = "Its number")), request_body = Act,
    responses((status = 200, description = "The known issue as it stands then", body = KnownIssueView),
              (status = 404, description = "There is none of this number", body = ProblemView, content_type = "application/problem+json"),
              (status = 409, description = "It is over already", body = ProblemView, content_type = "application/problem+json")))]
pub async fn lift(
    State(state): State<AppState>,
    Id(Number(id)): Id<Number>,
    Body(body): Body<Act>,
) -> Result<Json<KnownIssueView>, Problem> {
    let actor = body.check()?;
    let done = state.run(move |engine| {
        engine.lift_issue(id, &actor.name, &actor.reason).map(|issue| engine.issue_view(issue))
    });
    Ok(Json(done.await?))
}
