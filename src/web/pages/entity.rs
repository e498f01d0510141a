//! `/catalogue/entity`: an entity with its attributes and where each comes
//! from, its lineage, relationships and history.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::diff::{self, Attribute};
use super::show::{Html, filters, graph, link, text};
use crate::domain::change::Action;
use crate::domain::key::EntityKey;
use crate::error::{Error, ErrorKind, Result};
use crate::service::Engine;
use crate::service::query::Lineage;
use crate::service::views::{Direction, EntityView, Origin, WhyAttribute, WhyView};

/// Relationships that are listed.
const RELATIONSHIPS: usize = 200;
/// Versions that are listed, as many as an entity is read with.
const VERSIONS: usize = 20;

/// An attribute with where it comes from.
struct Row {
    name: String,
    value: Html,
    from: Html,
}

/// A relationship, seen from the entity.
struct Relationship {
    type_name: String,
    label: String,
    out: bool,
    archived: bool,
    name: String,
    end_type: String,
    href: String,
    attributes: Option<String>,
}

/// The end of a version.
struct Step {
    version: u32,
    action: Action,
    at: jiff::Timestamp,
    by: Html,
    attributes: Vec<Attribute>,
}

/// The graph around the entity.
struct Graph {
    all: bool,
    heading: &'static str,
    note: String,
    svg: Option<Html>,
    /// The same in words, for narrow screens.
    near: Html,
    none: &'static str,
}

#[derive(Template)]
#[template(path = "entity.html")]
struct Entity {
    frame: Frame,
    entity: EntityView,
    created_by: Html,
    updated_by: Html,
    why_href: String,
    attributes: Vec<Row>,
    graph: Graph,
    lineage_href: String,
    all_href: String,
    relationships: Vec<Relationship>,
    history: Vec<Step>,
    /// Where the newest versions are, on a page of older ones.
    newest_href: Option<String>,
    /// Where older versions are.
    older_href: Option<String>,
}

/// The key that an address names.
pub fn key_of(query: &PageQuery) -> Result<EntityKey> {
    let (type_name, name) = (query.raw("type"), query.raw("name"));
    if type_name.is_empty() || name.is_empty() {
        let text = "the address names no entity: it needs `type` and `name`";
        return Err(Error::new(ErrorKind::Usage, text));
    }
    Ok(EntityKey::new(type_name, name))
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let key = key_of(&query)?;
        let entity = engine.entity_view(&key, None, RELATIONSHIPS)?.entity;
        let why = engine.why(&key, None)?;
        let here = link::entity(&key);
        let history = history(engine, &entity, query.number("before")?)?;
        let older = history.iter().map(|step| step.version).min().filter(|_| history.len() == VERSIONS);
        let older = match older {
            Some(version) if engine.versions_before(&key, None, version, 1)?.items.is_empty() => None,
            version => version,
        };
        let title: String = key.qualified_name.chars().take(80).collect();
        rendered(&Entity {
            frame: Frame::new(engine, title, "/catalogue"),
            created_by: by(&entity.created),
            updated_by: by(&entity.updated),
            why_href: link::why(&key),
            attributes: attributes(&entity, &why),
            graph: graph_of(engine, &key, query.raw("follow") == "all")?,
            all_href: format!("{here}&follow=all"),
            lineage_href: here.clone(),
            relationships: relationships(&entity),
            newest_href: query.text("before").map(|_| format!("{here}#h-history")),
            older_href: older.map(|version| format!("{here}&before={version}#h-history")),
            history,
            entity,
        })
    })
    .await
}

/// Who did it: a batch of a source, or a person at the target.
fn by(origin: &Origin) -> Html {
    let mut out = String::from("by ");
    if origin.batch.is_empty() {
        out.push_str(text::short(&origin.source, 80).as_str());
    } else {
        out.push_str(&format!("batch <a class=\"id\" href=\"{}\">", link::batch(&origin.batch)));
        text::push(&mut out, &origin.batch, false);
        out.push_str("</a>");
    }
    Html::trusted(out)
}

/// Where an attribute comes from, as links.
pub fn from(attribute: &WhyAttribute) -> Html {
    let Some(source) = &attribute.source_id else {
        let words = if attribute.at_target { "set at the target" } else { "nowhere" };
        return Html::trusted(format!("<span class=\"muted\">{words}</span>"));
    };
    let mut out = format!("<a href=\"{}\">{source}</a>", link::source(source.as_str()));
    if let Some(batch) = &attribute.batch_id {
        let batch = batch.to_string();
        out.push_str(&format!(" <a class=\"id muted\" href=\"{}\">", link::batch(&batch)));
        text::push(&mut out, batch.split_once(':').map_or(batch.as_str(), |(_, folder)| folder), false);
        out.push_str("</a>");
    }
    Html::trusted(out)
}

fn attributes(entity: &EntityView, why: &WhyView) -> Vec<Row> {
    let origins: BTreeMap<&str, &WhyAttribute> =
        why.attributes.iter().map(|attribute| (attribute.name.as_str(), attribute)).collect();
    let values = diff::object(Some(&entity.attributes));
    let row = |(name, value): (&String, &serde_json::Value)| Row {
        value: diff::value_html(value),
        from: origins.get(name.as_str()).map_or_else(Html::default, |origin| from(origin)),
        name: name.clone(),
    };
    values.iter().map(row).collect()
}

fn relationships(entity: &EntityView) -> Vec<Relationship> {
    let row = |relationship: &crate::service::views::RelationshipView| {
        let out = relationship.direction == Direction::Out;
        let end = if out { &relationship.key.to } else { &relationship.key.from };
        let attributes = relationship.attributes.get();
        Relationship {
            type_name: relationship.key.type_name.clone(),
            label: relationship.key.label.clone(),
            out,
            archived: relationship.archived,
            name: end.qualified_name.clone(),
            end_type: end.type_name.clone(),
            href: link::entity(end),
            attributes: (attributes.trim() != "{}").then(|| attributes.to_owned()),
        }
    };
    entity.relationships.iter().map(row).collect()
}

/// Versions that ended, each with what changed from it to the next: the newest,
/// or those before one.
fn history(engine: &Engine, entity: &EntityView, before: Option<NonZeroU32>) -> Result<Vec<Step>> {
    let older = match before {
        Some(before) if before.get() < entity.version => {
            // With the one that they are told against.
            let end = before.get().saturating_add(1);
            Some((before.get(), engine.versions_before(&entity.key, None, end, VERSIONS + 1)?.items))
        }
        Some(_) | None => None,
    };
    let (mut after, versions) = match &older {
        None => (Some(diff::object(Some(&entity.attributes))), &entity.history[..]),
        Some((before, versions)) => match versions.split_first() {
            Some((next, versions)) if next.version == *before => {
                (Some(diff::object(Some(&next.attributes))), versions)
            }
            // It is not kept any more.
            Some(_) | None => (None, &versions[..]),
        },
    };
    let mut steps = Vec::new();
    for version in versions.iter().take(VERSIONS) {
        let value = diff::object(Some(&version.attributes));
        steps.push(Step {
            version: version.version,
            action: version.ended_with,
            at: version.ended_by.at,
            by: by(&version.ended_by),
            attributes: after.map_or_else(Vec::new, |after| diff::changed(&value, &after)),
        });
        after = Some(value);
    }
    Ok(steps)
}

fn graph_of(engine: &Engine, key: &EntityKey, all: bool) -> Result<Graph> {
    let lineage = engine.lineage(key, None, all)?;
    let heading = if all { "Neighbours" } else { "Lineage" };
    let none = if all {
        "No relationship leads to or from it."
    } else {
        "No relationship whose type has “lineage” in it leads to or from it."
    };
    Ok(Graph {
        all,
        heading,
        note: note(&lineage),
        svg: lineage.has_edges().then(|| graph::svg(&lineage)),
        near: graph::list(&lineage),
        none,
    })
}

fn note(lineage: &Lineage) -> String {
    if !lineage.has_edges() {
        return String::new();
    }
    let count = |upstream: bool| {
        lineage.nodes.iter().filter(|node| (node.step < 0) == upstream && node.step != 0).count()
    };
    format!("{} upstream, {} downstream", count(true), count(false))
}
