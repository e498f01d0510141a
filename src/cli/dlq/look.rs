//! `tidegate dlq list`, `groups` and `show`.

use super::super::Global;
use super::super::backend::{self, Backend};
use super::super::common::{more, out, out_bytes, out_json, table, usage};
use super::super::part::PartArgs;
use super::super::render;
use super::ListArgs;
use crate::error::{Error, ErrorKind, Result};
use crate::service::query::{GroupQuery, LetterQuery, Part};
use crate::service::views::LetterState;

/// Characters of a group's id.
const SIGNATURE: usize = 16;

/// What follows a look at the groups.
const NEXT: &str = "Next: tidegate dlq show NUMBER, then tidegate dlq edit NUMBER --requeue; \
    of all in a group: tidegate dlq requeue --group GROUP\n";

/// The number of a letter that is named by it, or by its group: then the newest
/// of that, with whether there are others.
fn named(backend: &Backend, name: &str) -> Result<(u64, bool)> {
    // Those of groups have a fixed length, and may be all digits.
    if name.len() != SIGNATURE
        && let Ok(id) = name.parse()
    {
        return Ok((id, false));
    }
    for states in [Vec::new(), LetterState::ALL.to_vec()] {
        let part = Part::first(2);
        let query = LetterQuery { states, signature: Some(name.to_owned()), part, ..LetterQuery::default() };
        let page = match backend.letters(&query) {
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            page => page?,
        };
        if let Some(newest) = page.items.first() {
            return Ok((newest.id, page.items.len() > 1));
        }
    }
    let text = format!("{name} is neither the number of a dead letter nor a group");
    let action = "`tidegate dlq list` has the numbers, `tidegate dlq groups` the groups.";
    Err(Error::new(ErrorKind::NotFound, text).with_action(action))
}

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
    if page.items.is_empty() && page.next_cursor.is_none() && !args.filter.is_empty() {
        let of_open = query.states.iter().all(|state| *state == LetterState::Open);
        let text = if of_open { "nothing open fits\n" } else { "nothing fits\n" };
        return out(text).map(|()| 0);
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
    let next = match rows.is_empty() {
        true => "",
        false => NEXT,
    };
    let more = more(page.next_cursor.as_deref());
    out(format!("{}{more}{next}", table(&render::dead_letter::GROUP_HEAD, &rows)))?;
    Ok(0)
}

/// Runs `dlq show --raw`.
pub fn raw(global: &Global, name: &str) -> Result<u8> {
    if global.json {
        return Err(usage("give --raw or --json, not both"));
    }
    let content = backend::look(global, |backend| backend.letter_content(named(backend, name)?.0))?;
    out_bytes(&content).map(|()| 0)
}

/// Runs `dlq show`.
pub fn show(global: &Global, name: &str) -> Result<u8> {
    let (letter, others) = backend::look(global, |backend| {
        let (id, others) = named(backend, name)?;
        Ok((backend.letter(id)?, others))
    })?;
    if global.json {
        out_json(&letter)?;
    } else {
        out(render::dead_letter::detail(&letter))?;
        if others {
            out(format!(
                "\nThis is the newest of its group; all of them: tidegate dlq list --group {name}\n"
            ))?;
        }
    }
    Ok(0)
}
