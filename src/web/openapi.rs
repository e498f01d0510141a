//! The OpenAPI document, made from the handlers. What the guards of every
//! request answer is told of every route, without each handler saying it.

use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{self, IntoResponse};
use utoipa::OpenApi;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder};

use super::extract::{NoParams, Params};
use super::problem::Problem;
use super::{api, events, health};
use crate::domain::change::Action;
use crate::domain::ids::{SourceId, TargetName};
use crate::domain::key::Kind;
use crate::domain::publish_state::PublishStatus;
use crate::error::Error;
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
    let mut document = Api::openapi();
    let of_target = |known: &RefOr<Parameter>| matches!(known, RefOr::T(known) if known.name == "target");
    for (path, item) in &mut document.paths.paths {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            let parameters = operation.parameters.as_deref().unwrap_or_default();
            let names = path.contains('{') || parameters.iter().any(of_target);
            // Parameters that it does not know are refused by all of the API.
            let takes = path.starts_with("/api/");
            let writes = operation.request_body.is_some();
            for (status, description, has) in [
                (400, "The path, the query or the body is not of the right form", takes),
                (403, "The request names another host, or a page of another site sent it", true),
                (404, "There is nothing of this name", names),
                (413, "The body is too large", writes),
                (415, "The body is of another type than is taken here", writes),
                (500, "Something that should not happen, such as a disk that can't be read", true),
                (503, "It took too long, or what it needs is not there now", true),
            ] {
                let known = &mut operation.responses.responses;
                if has && !known.contains_key(&u16::to_string(&status)) {
                    known.insert(status.to_string(), RefOr::T(problem(description)));
                }
            }
        }
    }
    document
}

/// An answer that is a problem document.
fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name("ProblemView");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content("application/problem+json", content).build()
}

/// Show this document
#[utoipa::path(get, path = "/api/openapi.json", tag = "documents", operation_id = "showOpenApi",
    responses((status = 200, description = "An OpenAPI document", body = Object)))]
pub async fn show(Params(_): Params<NoParams>) -> Result<response::Response, Problem> {
    // Always the same, and a fifth of a megabyte: made once.
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = match TEXT.get() {
        Some(text) => text.clone(),
        None => {
            let made = serde_json::to_vec(&document())
                .map_err(|e| Error::internal("the OpenAPI document").caused_by(e))?;
            TEXT.get_or_init(|| made.into()).clone()
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
