//! The OpenAPI document, made from the handlers.

use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use super::{api, events, health};
use crate::domain::change::Action;
use crate::domain::ids::{SourceId, TargetName};
use crate::domain::key::Kind;
use crate::domain::publish_state::PublishStatus;
use crate::service::query::Order;
use crate::store::LetterKind;
use crate::targets::embedded::FindOrder;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate",
        description = "Plans every change to a metadata catalogue, then publishes it, in order, resumably. Errors are problem documents of RFC 9457. Lists are read in parts: `next_cursor` of an answer, given back as `cursor`, brings what follows."
    ),
    paths(
        api::publish_states::list,
        api::publish_states::show,
        api::batches::list,
        api::batches::show,
        api::batches::timeline,
        api::batches::plan,
        api::batches::groups,
        api::batches::rejects,
        api::batches::approve,
        api::batches::reject,
        api::batches::cancel,
        api::batches::retry,
        api::batches::prioritize,
        api::batches::unprioritize,
        api::queue::show,
        api::sources::list,
        api::sources::show,
        api::sources::pause,
        api::sources::resume,
        api::sources::skip,
        api::sources::unskip,
        api::snapshots::list,
        api::snapshots::show,
        api::snapshots::diff,
        api::targets::list,
        api::targets::show,
        api::issues::list,
        api::issues::declare,
        api::issues::lift,
        api::export::show,
        api::entities::find,
        api::entities::search,
        api::entities::show,
        api::entities::history,
        api::entities::relationships,
        api::entities::why,
        api::dead_letters::list,
        api::dead_letters::groups,
        api::dead_letters::show,
        api::dead_letters::content,
        api::dead_letters::check,
        api::dead_letters::edit,
        api::dead_letters::requeue,
        api::dead_letters::discard,
        api::dead_letters::requeue_all,
        api::dead_letters::discard_all,
        api::inbox::list,
        api::doctor::show,
        api::status::overview,
        api::status::customers,
        api::plans::create,
        api::plans::show,
        events::follow,
        show,
        health::live,
        health::ready,
        health::metrics,
    ),
    components(schemas(
        Order,
        FindOrder,
        PublishStatus,
        Action,
        Kind,
        SourceId,
        TargetName,
        api::dead_letters::StateFilter,
        LetterKind
    ))
)]
struct Api;

/// The document.
pub fn document() -> Document {
    Api::openapi()
}

/// Show this document
#[utoipa::path(get, path = "/api/openapi.json", tag = "documents", operation_id = "showOpenApi",
    responses((status = 200, description = "An OpenAPI document", body = Object)))]
pub async fn show() -> Json<Document> {
    Json(document())
}
