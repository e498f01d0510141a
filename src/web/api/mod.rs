//! The API, a file for each resource. Every answer is a view of `service`.

pub mod batches;
pub mod dead_letters;
pub mod doctor;
pub mod entities;
pub mod export;
pub mod inbox;
pub mod issues;
pub mod plans;
pub mod publish_states;
pub mod queue;
pub mod snapshots;
pub mod sources;
pub mod status;
pub mod targets;

use axum::Router;
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::problem::Problem;
use crate::domain::ids::SourceId;
use crate::domain::publish_state::PublishStatus;
use crate::service::query::{BatchQuery, Order, Part, Times};

/// The routes. Each stands in the OpenAPI document, which a test holds to it.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/publish-states", get(publish_states::list))
        .route("/api/v1/publish-states/{batch_id}", get(publish_states::show))
        .route("/api/v1/batches", get(batches::list))
        .route("/api/v1/batches/{batch_id}", get(batches::show))
        .route("/api/v1/batches/{batch_id}/timeline", get(batches::timeline))
        .route("/api/v1/batches/{batch_id}/plan", get(batches::plan))
        .route("/api/v1/batches/{batch_id}/plan/groups", get(batches::groups))
        .route("/api/v1/batches/{batch_id}/plan/rejects", get(batches::rejects))
        .route("/api/v1/batches/{batch_id}/approve", post(batches::approve))
        .route("/api/v1/batches/{batch_id}/reject", post(batches::reject))
        .route("/api/v1/batches/{batch_id}/cancel", post(batches::cancel))
        .route("/api/v1/batches/{batch_id}/retry", post(batches::retry))
        .route("/api/v1/batches/{batch_id}/prioritize", post(batches::prioritize))
        .route("/api/v1/batches/{batch_id}/unprioritize", post(batches::unprioritize))
        .route("/api/v1/queue", get(queue::show))
        .route("/api/v1/sources", get(sources::list))
        .route("/api/v1/sources/{source_id}", get(sources::show))
        .route("/api/v1/sources/{source_id}/pause", post(sources::pause))
        .route("/api/v1/sources/{source_id}/resume", post(sources::resume))
        .route("/api/v1/sources/{source_id}/skip", post(sources::skip))
        .route("/api/v1/sources/{source_id}/unskip", post(sources::unskip))
        .route("/api/v1/snapshots", get(snapshots::list))
        .route("/api/v1/snapshots/{snapshot_id}", get(snapshots::show))
        .route("/api/v1/snapshots/{snapshot_id}/diff/{before}", get(snapshots::diff))
        .route("/api/v1/targets", get(targets::list))
        .route("/api/v1/targets/{target}", get(targets::show))
        .route("/api/v1/known-issues", get(issues::list).post(issues::declare))
        .route("/api/v1/known-issues/{id}/lift", post(issues::lift))
        .route("/api/v1/export", get(export::show))
        .route("/api/v1/entities", get(entities::find))
        .route("/api/v1/search", get(entities::search))
        .route("/api/v1/entities/{type}/{name}", get(entities::show))
        .route("/api/v1/entities/{type}/{name}/history", get(entities::history))
        .route("/api/v1/entities/{type}/{name}/relationships", get(entities::relationships))
        .route("/api/v1/entities/{type}/{name}/why", get(entities::why))
        .route("/api/v1/dlq", get(dead_letters::list))
        .route("/api/v1/dlq/groups", get(dead_letters::groups))
        .route("/api/v1/dlq/requeue", post(dead_letters::requeue_all))
        .route("/api/v1/dlq/discard", post(dead_letters::discard_all))
        .route("/api/v1/dlq/{id}", get(dead_letters::show))
        .route("/api/v1/dlq/{id}/content", get(dead_letters::content))
        .route("/api/v1/dlq/{id}/check", post(dead_letters::check))
        .route("/api/v1/dlq/{id}/edit", post(dead_letters::edit))
        .route("/api/v1/dlq/{id}/requeue", post(dead_letters::requeue))
        .route("/api/v1/dlq/{id}/discard", post(dead_letters::discard))
        .route("/api/v1/inbox", get(inbox::list))
        .route("/api/v1/doctor", get(doctor::show))
        .route("/api/v1/overview", get(status::overview))
        .route("/api/v1/status", get(status::customers))
        .route("/api/v1/plans", post(plans::create))
        .route("/api/v1/plans/{plan_id}", get(plans::show))
        .route("/api/v1/events", get(super::events::follow))
        .route("/api/openapi.json", get(super::openapi::show))
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PartParams {
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

impl PartParams {
    fn part(self) -> Part {
        Part { limit: self.limit, cursor: self.cursor }
    }
}

/// Which part of a list that has times.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TimesParams {
    /// Only from this time on
    since: Option<Timestamp>,
    /// Only before this time
    until: Option<Timestamp>,
    /// In which order; the list's own without it
    order: Option<Order>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

impl TimesParams {
    fn times(self) -> Times {
        Times {
            since: self.since,
            until: self.until,
            order: self.order,
            part: Part { limit: self.limit, cursor: self.cursor },
        }
    }
}

/// Which batches, and which part of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BatchParams {
    /// Only of this source
    source_id: Option<SourceId>,
    /// Only in this status
    status: Option<PublishStatus>,
    /// Only with a source timestamp at or after this
    since: Option<Timestamp>,
    /// Only with a source timestamp before this
    until: Option<Timestamp>,
    /// By source timestamp; the newest first without it
    order: Option<Order>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

impl BatchParams {
    fn query(self) -> BatchQuery {
        BatchQuery {
            source_id: self.source_id,
            status: self.status,
            since: self.since,
            until: self.until,
            order: self.order.unwrap_or_default(),
            part: Part { limit: self.limit, cursor: self.cursor },
        }
    }
}

/// Who acts, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Why: it is kept in the timeline.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Who; `operator` without it. The server has no sign-in yet and takes it as it is.
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// Someone who acts, checked.
pub struct Actor {
    /// Who.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Act {
    /// Someone who acts.
    fn new(reason: String, actor: Option<String>) -> Self {
        Self { reason, actor }
    }

    /// # Errors
    /// When a text is missing, too long, or has control characters.
    pub fn check(self) -> Result<Actor, Problem> {
        self.check_as("reason")
    }

    /// The same, where the reason is called something else.
    fn check_as(self, word: &str) -> Result<Actor, Problem> {
        let reason = crate::domain::reason::reason(&self.reason)
            .map_err(|problem| Problem::usage(format!("`{word}` {problem}")))?;
        let name = self.actor.map(|actor| actor.trim().to_owned()).filter(|actor| !actor.is_empty());
        let name = name.unwrap_or_else(|| "operator".to_owned());
        if name.chars().count() > 64 {
            return Err(Problem::usage("`actor` must have at most 64 characters"));
        }
        if name.chars().any(char::is_control) {
            return Err(Problem::usage("`actor` must have no control characters"));
        }
        Ok(Actor { name, reason })
    }
}
