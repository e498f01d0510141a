//! `/why`: why an entity looks as it does.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::AppState;
use super::entity::{from, key_of};
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::{Html, diff, filters, link};
use crate::service::views::{WhyAttribute, WhyView};

/// An attribute with who won it.
struct Row {
    name: String,
    value: Html,
    from: Html,
    overruled: Html,
    differs: bool,
}

#[derive(Template)]
#[template(path = "why.html")]
struct Why {
    frame: Frame,
    view: WhyView,
    entity_href: String,
    attributes: Vec<Row>,
}

#[derive(Template)]
#[template(path = "why_ask.html")]
struct Ask {
    frame: Frame,
    type_name: String,
    name: String,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        if query.raw("type").is_empty() || query.raw("name").is_empty() {
            return rendered(&Ask {
                frame: Frame::new(engine, "Why", "/catalogue"),
                type_name: query.raw("type").to_owned(),
                name: query.raw("name").to_owned(),
            });
        }
        let key = key_of(&query)?;
        let view = engine.why(&key, None)?;
        let title: String = key.qualified_name.chars().take(80).collect();
        rendered(&Why {
            frame: Frame::new(engine, format!("Why {title}"), "/catalogue"),
            entity_href: link::entity(&key),
            attributes: view.attributes.iter().map(row).collect(),
            view,
        })
    })
    .await
}

fn row(attribute: &WhyAttribute) -> Row {
    let value = match &attribute.value {
        Some(raw) => match serde_json::from_str(raw.get()) {
            Ok(value) => diff::value_html(&value),
            Err(_) => Html::default(),
        },
        None if attribute.at_target => diff::value_html(&serde_json::Value::Null),
        None => Html::trusted("<span class=\"none\">not there</span>".to_owned()),
    };
    let overruled: Vec<String> = attribute
        .overruled
        .iter()
        .map(|source| format!("<a href=\"{}\">{source}</a>", link::source(source.as_str())))
        .collect();
    Row {
        name: attribute.name.clone(),
        value,
        from: from(attribute),
        overruled: Html::trusted(overruled.join(", ")),
        differs: attribute.differs,
    }
}
