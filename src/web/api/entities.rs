//! What the catalogue holds, and why it looks as it does.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::ids::TargetName;
use crate::domain::key::EntityKey;
use crate::limits::{MAX_NAME, MAX_TYPE};
use crate::service::query::{FindEntities, Order, Part, SearchEntities, Times};
use crate::service::views::{
    CatalogueHit, EntityPage, Page, ProblemView, RelationshipsPage, SearchPage, WhyView,
};
use crate::targets::embedded::{FindOrder, HistoryView};
use crate::web::AppState;
use crate::web::extract::Params;
use crate::web::problem::Problem;

/// The key of an entity in the path, as two segments.
pub struct Key(EntityKey);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((type_name, name)) = path.map_err(|_| Problem::usage("the path is no type and name"))?;
        if type_name.len() > MAX_TYPE || name.len() > MAX_NAME {
            return Err(Problem::usage(format!(
                "a type has at most {MAX_TYPE} bytes, a name at most {MAX_NAME}"
            )));
        }
        Ok(Self(EntityKey::new(type_name, name)))
    }
}

/// Which entities, and which part of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FindParams {
    /// A part of the name, whatever the case
    q: Option<String>,
    /// Only of this type
    #[serde(rename = "type")]
    type_name: Option<String>,
    /// Only names that begin with this
    prefix: Option<String>,
    /// Archived ones too
    archived: Option<bool>,
    /// The target, where there are several
    target: Option<TargetName>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

/// The target of a look at an entity.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TargetParams {
    /// The target, where there are several
    target: Option<TargetName>,
}

/// How an entity is shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EntityParams {
    /// The target, where there are several
    target: Option<TargetName>,
    /// Most relationships, 0 to 500; 50 without it
    relationships: Option<usize>,
}

/// Which part of an entity's relationships.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RelationshipParams {
    /// The target, where there are several
    target: Option<TargetName>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

/// Find entities by their names
///
/// By type and name. A part looks at up to 50,000 names: where more have to be passed over, it is short, or empty, and still has more behind it. Ranked search over the words of all attributes is `/api/v1/search`.
#[utoipa::path(get, path = "/api/v1/entities", tag = "entities", operation_id = "findEntities", params(FindParams),
    responses((status = 200, description = "A part of the entities that were found", body = Page<CatalogueHit>),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn find(
    State(state): State<AppState>,
    Params(params): Params<FindParams>,
) -> Result<Json<Page<CatalogueHit>>, Problem> {
    let query = FindEntities {
        text: params.q,
        type_name: params.type_name,
        prefix: params.prefix,
        archived: params.archived.unwrap_or_default(),
        target: params.target,
        part: Part { limit: params.limit, cursor: params.cursor },
    };
    Ok(Json(state.run(move |engine| engine.find_entities(&query)).await?))
}

/// What to search for, and which part of what was found.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchParams {
    /// Words, `"phrases"`, `attribute:word`, `name:word`, `type:name`; without it everything is found
    q: Option<String>,
    /// Only of this type
    #[serde(rename = "type")]
    type_name: Option<String>,
    /// Archived ones too
    archived: Option<bool>,
    /// What fits best first, or what changed last; the best first without it
    order: Option<FindOrder>,
    /// The target, where there are several
    target: Option<TargetName>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

/// Search entities by the words of their names and attributes
///
/// The whole name comes first, then the last part of the name, a word of it, a word of an attribute. A cursor is a position, and none leads behind the first 1,000 or so: narrow the search. `behind` tells how many changes the index has not seen yet.
#[utoipa::path(get, path = "/api/v1/search", tag = "entities", operation_id = "searchEntities", params(SearchParams),
    responses((status = 200, description = "A part of the entities that were found, with where", body = SearchPage),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json")))]
pub async fn search(
    State(state): State<AppState>,
    Params(params): Params<SearchParams>,
) -> Result<Json<SearchPage>, Problem> {
    let query = SearchEntities {
        text: params.q.unwrap_or_default(),
        type_name: params.type_name,
        archived: params.archived.unwrap_or_default(),
        order: params.order.unwrap_or_default(),
        target: params.target,
        part: Part { limit: params.limit, cursor: params.cursor },
    };
    Ok(Json(state.run(move |engine| engine.search_entities(&query)).await?))
}

/// Show an entity
#[utoipa::path(get, path = "/api/v1/entities/{type}/{name}", tag = "entities", operation_id = "showEntity",
    params(("type" = String, Path, description = "Its type"), ("name" = String, Path, description = "Its qualified name"), EntityParams),
    responses((status = 200, description = "The entity with attributes, provenance, history and relationships", body = EntityPage),
              (status = 404, description = "The catalogue does not have it", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Key(key): Key,
    Params(params): Params<EntityParams>,
) -> Result<Json<EntityPage>, Problem> {
    let relationships = params.relationships.unwrap_or(50);
    Ok(Json(state.run(move |engine| engine.entity_view(&key, params.target.as_ref(), relationships)).await?))
}

/// Which versions of an entity.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryParams {
    /// The target, where there are several
    target: Option<TargetName>,
    /// Only those replaced at or after this
    since: Option<Timestamp>,
    /// Only those replaced before this
    until: Option<Timestamp>,
    /// By when they were replaced; the newest first without it
    order: Option<Order>,
    /// Most items, 1 to 500; 50 without it
    limit: Option<usize>,
    /// As `next_cursor` of an answer of the same list gave it
    cursor: Option<String>,
}

/// Show the versions of an entity that were replaced
///
/// What is deleted has them too.
#[utoipa::path(get, path = "/api/v1/entities/{type}/{name}/history", tag = "entities", operation_id = "showEntityHistory",
    params(("type" = String, Path, description = "Its type"), ("name" = String, Path, description = "Its qualified name"), HistoryParams),
    responses((status = 200, description = "A part of the versions, by when they were replaced", body = Page<HistoryView>),
              (status = 400, description = "The query is not of the right form", body = ProblemView, content_type = "application/problem+json"),
              (status = 404, description = "The catalogue knows nothing of it", body = ProblemView, content_type = "application/problem+json")))]
pub async fn history(
    State(state): State<AppState>,
    Key(key): Key,
    Params(params): Params<HistoryParams>,
) -> Result<Json<Page<HistoryView>>, Problem> {
    let times = Times {
        since: params.since,
        until: params.until,
        order: params.order,
        part: Part { limit: params.limit, cursor: params.cursor },
    };
    Ok(Json(state.run(move |engine| engine.history_of(&key, params.target.as_ref(), &times)).await?))
}

/// List the relationships of an entity
#[utoipa::path(get, path = "/api/v1/entities/{type}/{name}/relationships", tag = "entities", operation_id = "listEntityRelationships",
    params(("type" = String, Path, description = "Its type"), ("name" = String, Path, description = "Its qualified name"), RelationshipParams),
    responses((status = 200, description = "A part of them: those that lead away, then those that lead to it", body = RelationshipsPage),
              (status = 404, description = "The catalogue does not have the entity", body = ProblemView, content_type = "application/problem+json")))]
pub async fn relationships(
    State(state): State<AppState>,
    Key(key): Key,
    Params(params): Params<RelationshipParams>,
) -> Result<Json<RelationshipsPage>, Problem> {
    let part = Part { limit: params.limit, cursor: params.cursor };
    Ok(Json(state.run(move |engine| engine.relationships_of(&key, params.target.as_ref(), &part)).await?))
}

/// Tell why an entity looks as it does
///
/// What each source asserts of it, who won each attribute, what became of the newest assertion. An entity that nobody knows is an answer.
#[utoipa::path(get, path = "/api/v1/entities/{type}/{name}/why", tag = "entities", operation_id = "explainEntity",
    params(("type" = String, Path, description = "Its type"), ("name" = String, Path, description = "Its qualified name"), TargetParams),
    responses((status = 200, description = "Why", body = WhyView),
              (status = 404, description = "There is no such target", body = ProblemView, content_type = "application/problem+json")))]
pub async fn why(
    State(state): State<AppState>,
    Key(key): Key,
    Params(params): Params<TargetParams>,
) -> Result<Json<WhyView>, Problem> {
    Ok(Json(state.run(move |engine| engine.why(&key, params.target.as_ref())).await?))
}
