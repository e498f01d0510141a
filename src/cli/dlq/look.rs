//! `tidegate dlq list`, `groups` and `show`.

use super::super::Global;
use super::super::backend;
use super::super::common::{more, out, out_bytes, out_json, table, usage};
use super::super::part::PartArgs;
use super::super::render;
use super::ListArgs;
use crate::error::Result;
use crate::service::query::{GroupQuery, LetterQuery};

/// Runs `dlq list`.
pub fn list(global: &Global, args: &ListArgs) -> Result<u8> {
    let query = LetterQuery {
        states: args.state.map(super::StateArg::states).unwrap_or_default(),
        order: args.order.into(),
        ..args.filter.query()?
    };
    let page = backend::look(global, |backend| {
        args.part.all(|part| backend.letters(&LetterQuery { part: part.clone(), ..query.clone() }))
    })?;
    if global.json {
        return out_json(&page).map(|()| 0);
    }
    let rows: Vec<Vec<String>> = page.items.iter().map(render::dead_letter::row).collect();
    out(format!("{}{}", table(&render::dead_letter::HEAD, &rows), more(page.next_cursor.as_deref())))?;
    Ok(0)
}

/// Runs `dlq groups`.
pub fn groups(global: &Global, query: &GroupQuery, part: &PartArgs) -> Result<u8> {
    let page = backend::look(global, |backend| {
        part.all(|part| backend.letter_groups(&GroupQuery { part: part.clone(), ..query.clone() }))
    })?;
    if global.json {
        return out_json(&page).map(|()| 0);
    }
    let rows: Vec<Vec<String>> = page.items.iter().map(render::dead_letter::group_row).collect();
    out(format!("{}{}", table(&render::dead_letter::GROUP_HEAD, &rows), more(page.next_cursor.as_deref())))?;
    Ok(0)
}

/// Runs `dlq show --raw`.
pub fn raw(global: &Global, id: u64) -> Result<u8> {
    if global.json {
        return Err(usage("give --raw or --json, not both"));
    }
    let content = backend::look(global, |backend| backend.letter_content(id))?;
    out_bytes(&content).map(|()| 0)
}

/// Runs `dlq show`.
pub fn show(global: &Global, id: u64) -> Result<u8> {
    let letter = backend::look(global, |backend| backend.letter(id))?;
    if global.json {
        out_json(&letter)?;
    } else {
        out(render::dead_letter::detail(&letter))?;
    }
    Ok(0)
}
