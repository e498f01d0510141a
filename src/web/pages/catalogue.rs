//! `/catalogue`: search over names and words of any attribute, ranked; without
//! words, everything by type and name.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::{PageQuery, ROWS};
use super::show::number::{counted, thousands};
use super::show::{Html, filters, link, text};
use crate::error::Result;
use crate::service::Engine;
use crate::service::query::FindEntities;
use crate::service::views::{FindHit, FindPage, FindQuery, Matched};

/// Types that are offered.
const TYPES: usize = 24;
/// Places where a hit was met that are shown beside its name.
const PLACES: usize = 2;

/// A hit as it is shown.
struct Hit {
    name: Html,
    type_name: String,
    href: String,
    archived: bool,
    places: Vec<Place>,
}

/// An attribute that words were met in.
struct Place {
    attribute: String,
    text: Html,
}

/// A type with how many fit.
struct TypeChip {
    name: String,
    count: u64,
    href: String,
    is_chosen: bool,
}

/// One part of what was found.
struct Listed {
    hits: Vec<Hit>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "catalogue.html")]
struct Catalogue {
    frame: Frame,
    text: String,
    type_name: String,
    types: Vec<TypeChip>,
    is_search: bool,
    any_type: String,
    heading: String,
    note: Option<String>,
    hits: Vec<Hit>,
    back: Option<String>,
    next: Option<String>,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let (text, type_name) = (query.text("q"), query.text("type"));
        let address = |cursor: Option<&str>| {
            link::with_query("/catalogue", &[("q", text), ("type", type_name), ("cursor", cursor)])
        };
        // How many there are of each type is asked for in any case.
        let offset = if text.is_some() { query.number("cursor")?.unwrap_or(0) } else { 0 };
        let found = engine.find(
            None,
            &FindQuery {
                text: text.unwrap_or_default().to_owned(),
                types: type_name.iter().map(|name| (*name).to_owned()).collect(),
                offset,
                limit: if text.is_some() { ROWS } else { 1 },
                ..FindQuery::default()
            },
        )?;
        let (heading, note, types) = (heading(&found, text), note(&found), types(&found, text, type_name));
        let listed = match text {
            Some(_) => ranked(found, offset),
            None => everything(engine, type_name, &query)?,
        };
        rendered(&Catalogue {
            frame: Frame::new(engine, "Catalogue", "/catalogue"),
            is_search: text.is_some() || type_name.is_some(),
            any_type: link::with_query("/catalogue", &[("q", text)]),
            heading,
            note,
            types,
            hits: listed.hits,
            back: query.is_later().then(|| address(None)),
            next: listed.next.as_deref().map(|cursor| address(Some(cursor))),
            text: text.unwrap_or_default().to_owned(),
            type_name: type_name.unwrap_or_default().to_owned(),
        })
    })
    .await
}

fn heading(found: &FindPage, text: Option<&str>) -> String {
    match text {
        Some(_) => counted(found.total, "hit", "hits"),
        None => "Entities".to_owned(),
    }
}

/// What the index has not seen yet is not found.
fn note(found: &FindPage) -> Option<String> {
    let behind = thousands(found.behind);
    (found.behind > 0)
        .then(|| format!("the search index is being brought up to date: {behind} changes to go"))
}

fn types(found: &FindPage, text: Option<&str>, chosen: Option<&str>) -> Vec<TypeChip> {
    let chip = |found: &crate::service::views::FoundType| TypeChip {
        href: link::with_query("/catalogue", &[("q", text), ("type", Some(&found.type_name))]),
        is_chosen: chosen == Some(&found.type_name),
        name: found.type_name.clone(),
        count: found.count,
    };
    found.types.iter().take(TYPES).map(chip).collect()
}

/// What fits best, with where.
fn ranked(found: FindPage, offset: usize) -> Listed {
    let end = offset + ROWS;
    let next = (found.more && end <= crate::service::views::MAX_OFFSET).then(|| end.to_string());
    Listed { hits: found.items.into_iter().map(hit).collect(), next }
}

/// All entities, by type and name.
fn everything(engine: &Engine, type_name: Option<&str>, query: &PageQuery) -> Result<Listed> {
    let wanted = FindEntities {
        type_name: type_name.map(str::to_owned),
        part: query.part(),
        ..FindEntities::default()
    };
    let found = engine.find_entities(&wanted)?;
    let hits = found.items.into_iter().map(|hit| Hit {
        href: link::entity(&hit.key()),
        name: text::short(&hit.qualified_name, 240),
        type_name: hit.type_name,
        archived: hit.archived,
        places: Vec::new(),
    });
    Ok(Listed { hits: hits.collect(), next: found.next_cursor })
}

fn hit(hit: FindHit) -> Hit {
    let in_name = hit.matched.iter().find(|found| found.attribute == "qualified_name");
    // A piece of the name would hide the rest of it.
    let name = in_name.filter(|found| found.text == hit.key.qualified_name).map(marked);
    let places = hit.matched.iter().filter(|found| found.attribute != "qualified_name").take(PLACES);
    Hit {
        href: link::entity(&hit.key),
        name: name.unwrap_or_else(|| text::short(&hit.key.qualified_name, 240)),
        archived: hit.archived,
        places: places
            .map(|found| Place { attribute: found.attribute.clone(), text: marked(found) })
            .collect(),
        type_name: hit.key.type_name,
    }
}

/// A text with what was met in it.
fn marked(found: &Matched) -> Html {
    let mut out = String::from("<bdi>");
    let mut at = 0;
    for range in &found.ranges {
        let (Some(before), Some(met)) =
            (found.text.get(at..range.from), found.text.get(range.from..range.to))
        else {
            continue;
        };
        text::push(&mut out, before, true);
        out.push_str("<mark>");
        text::push(&mut out, met, true);
        out.push_str("</mark>");
        at = range.to;
    }
    text::push(&mut out, found.text.get(at..).unwrap_or_default(), true);
    out.push_str("</bdi>");
    Html::trusted(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::views::TextRange;

    #[test]
    fn what_is_met_is_marked_and_nothing_of_it_is_html() {
        let found = |text: &str, ranges: &[(usize, usize)]| {
            let ranges = ranges.iter().map(|(from, to)| TextRange { from: *from, to: *to }).collect();
            marked(&Matched { attribute: "a".into(), text: text.into(), ranges }).to_string()
        };
        assert_eq!(found("a <b> c", &[(2, 5)]), "<bdi>a <mark>&lt;b&gt;</mark> c</bdi>");
        assert_eq!(
            found("éa", &[(0, 1), (2, 3)]),
            "<bdi>é<mark>a</mark></bdi>",
            "a range within a letter is left out"
        );
    }
}
