//! `tidegate dlq requeue` and `discard`: of one letter, or of all open ones
//! that a filter finds.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};

use serde::Serialize;

use super::super::Global;
use super::super::backend::{self, Act, Backend, Purpose};
use super::super::batches::{is_left_behind, settled};
use super::super::common::{actor, confirmed, out, out_json, table, usage};
use super::super::render;
use super::ActArgs;
use super::backend::Doing;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishState;
use crate::error::Result;
use crate::service::query::{LetterQuery, PAGE_MAX, Part};
use crate::service::views::{BatchView, DeadLetterView, LetterResult, LetterResults, LetterState};

/// What became of the letters and of the batches that bring them.
#[derive(Default, Serialize)]
struct Told {
    items: Vec<LetterResult>,
    done: u64,
    refused: u64,
    batches: Vec<PublishState>,
    /// The batches that bring what was done, also of those that are not shown.
    #[serde(skip)]
    ids: BTreeSet<BatchId>,
}

impl Told {
    fn add(&mut self, results: LetterResults) {
        self.done += results.done;
        self.refused += results.refused;
        self.ids.extend(results.items.iter().filter_map(|item| item.batch_id.clone()));
        let room = SHOWN.saturating_sub(self.items.len());
        self.items.extend(results.items.into_iter().take(room));
    }
}

/// Letters of one part.
const PART: usize = 1_000;
/// Letters whose results are shown or given as JSON; the others are counted.
const SHOWN: usize = 10_000;

/// Runs `dlq requeue`.
pub fn requeue(global: &Global, args: &ActArgs) -> Result<u8> {
    let reason = args.reason.as_deref().unwrap_or("requeued on the command line");
    act(global, args, Doing::Requeue, reason)
}

/// Runs `dlq discard`.
pub fn discard(global: &Global, args: &ActArgs) -> Result<u8> {
    let Some(reason) = args.reason.as_deref() else {
        return Err(usage("--reason is missing: say why, for those who ask later"));
    };
    act(global, args, Doing::Discard, reason)
}

fn act(global: &Global, args: &ActArgs, doing: Doing, reason: &str) -> Result<u8> {
    if args.id.is_none() && !args.all && args.filter.is_empty() {
        return Err(usage(
            "say which: the number of one, a filter such as --source, --code or --group, or --all for all open ones",
        ));
    }
    let actor = actor();
    let act = Act { actor: &actor, reason };
    backend::with(global, Purpose::Change, |backend| match args.id {
        Some(id) => {
            if !args.filter.is_empty() {
                return Err(usage("give a number or a filter, not both"));
            }
            one(global, backend, id, doing, &act)
        }
        None => many(global, backend, &args.filter.query()?, doing, &act),
    })
}

fn one(global: &Global, backend: &Backend, id: u64, doing: Doing, act: &Act<'_>) -> Result<u8> {
    let letter = backend.letter(id)?.letter;
    let what = render::dead_letter::what(&letter);
    let verb = match doing {
        Doing::Requeue => "Requeue",
        Doing::Discard => "Discard",
    };
    // Nobody is asked about what is refused with what became of it.
    let is_open = letter.state == LetterState::Open;
    if is_open && !confirmed(global, &format!("{verb} dead letter {id}: {what}, {}?", letter.code))? {
        return Ok(1);
    }
    // By a command that was killed, perhaps: nobody else brings it without a server.
    let is_left_behind =
        backend.server().is_none() && doing == Doing::Requeue && letter.state == LetterState::Requeued;
    if is_left_behind {
        return tell_one(global, backend, letter);
    }
    let letter = backend.decide_letter(doing, id, letter.revision, act)?;
    tell_one(global, backend, letter.letter)
}

/// Brings the batch of a letter to its end, and tells what became of both.
pub(super) fn tell_one(global: &Global, backend: &Backend, letter: DeadLetterView) -> Result<u8> {
    let result = LetterResult { id: letter.id, done: true, batch_id: letter.requeued_as, problem: None };
    let mut told = Told::default();
    told.add(LetterResults { items: vec![result], done: 1, refused: 0, next_cursor: None });
    tell(global, backend, told)
}

fn many(global: &Global, backend: &Backend, query: &LetterQuery, doing: Doing, act: &Act<'_>) -> Result<u8> {
    let first = LetterQuery { states: vec![LetterState::Open], part: Part::first(PAGE_MAX), ..query.clone() };
    let found = backend.letters(&first)?;
    let count = match found.next_cursor {
        Some(_) => format!("{} or more", found.items.len()),
        None => found.items.len().to_string(),
    };
    let mut told = Told::default();
    if doing == Doing::Requeue {
        add_left_behind(backend, query, &mut told)?;
    }
    if found.items.is_empty() && found.next_cursor.is_none() {
        if told.done == 0 && !global.json {
            return out("nothing open fits\n").map(|()| 0);
        }
        return tell(global, backend, told);
    }
    let verb = match doing {
        Doing::Requeue => "Requeue",
        Doing::Discard => "Discard",
    };
    if !confirmed(global, &format!("{verb} {count} open dead letters?"))? {
        return Ok(1);
    }
    let mut cursor = None;
    loop {
        let part = LetterQuery { part: Part { limit: Some(PART), cursor }, ..query.clone() };
        let mut results = backend.decide_letters(doing, &part, act)?;
        cursor = results.next_cursor.take();
        told.add(results);
        progress(global, &told);
        if cursor.is_none() {
            break;
        }
    }
    tell(global, backend, told)
}

/// Takes what a command that was killed put back into the queue: without a server
/// nobody else brings it. What has ended, or waits for something else than work, is
/// not taken: it is told of by its batch.
fn add_left_behind(backend: &Backend, query: &LetterQuery, told: &mut Told) -> Result<()> {
    if backend.server().is_some() {
        return Ok(());
    }
    let mut cursor = None;
    loop {
        let part = Part { limit: Some(PAGE_MAX), cursor };
        let page =
            backend.letters(&LetterQuery { states: vec![LetterState::Requeued], part, ..query.clone() })?;
        let mut items = Vec::new();
        for letter in page.items {
            let Some(id) = letter.requeued_as else { continue };
            if told.ids.contains(&id) || is_left_behind(backend, &id, |_| true)? {
                items.push(LetterResult { id: letter.id, done: true, batch_id: Some(id), problem: None });
            }
        }
        told.add(LetterResults { done: items.len() as u64, refused: 0, items, next_cursor: None });
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// How far a long action has come, for whoever waits at a terminal.
fn progress(global: &Global, told: &Told) {
    let mut stderr = std::io::stderr().lock();
    if !global.quiet && stderr.is_terminal() {
        let _ = writeln!(stderr, "{} done, {} refused so far", told.done, told.refused);
    }
}

/// Brings the batches to their end, and tells what became of everything.
fn tell(global: &Global, backend: &Backend, mut told: Told) -> Result<u8> {
    let ids = std::mem::take(&mut told.ids);
    let mut batches: Vec<BatchView> = Vec::new();
    for id in ids {
        if let Backend::Directory(engine, _) = backend {
            engine.run_batch(&id)?;
        }
        batches.push(settled(backend, &id)?);
    }
    match backend {
        Backend::Directory(engine, _) if !batches.is_empty() => engine.keep_pins().map(drop)?,
        Backend::Directory(..) | Backend::Server(_) => backend.remove_pins()?,
    }
    let mut code = u8::from(told.refused > 0);
    for batch in &batches {
        let of_batch = render::batch::exit_code(batch);
        // A failure says more than that something is not finished.
        if code != 1 && of_batch != 0 {
            code = if of_batch == 1 { 1 } else { code.max(of_batch) };
        }
    }
    if global.json {
        told.batches = batches.into_iter().map(|batch| batch.publish_state).collect();
        out_json(&told)?;
        return Ok(code);
    }
    let mut text = String::new();
    for item in told.items.iter().filter(|item| !item.done) {
        if let Some(problem) = &item.problem {
            text.push_str(&format!("{}  {}\n", item.id, render::safe(&problem.detail)));
        }
    }
    text.push_str(&format!("{} done, {} refused\n", told.done, told.refused));
    if !batches.is_empty() {
        let rows: Vec<Vec<String>> = batches.iter().map(render::batch::row).collect();
        text.push_str(&table(&render::batch::HEAD, &rows));
    }
    out(text)?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_what_is_not_shown_are_brought_to_their_end_too() {
        let mut told = Told::default();
        let original: BatchId = "alpha:20261101T000100Z_r1".parse().unwrap();
        let parts = (SHOWN / PART + 3) as u32;
        for n in 1..=parts {
            let item = |id: usize| LetterResult {
                id: id as u64,
                done: true,
                batch_id: Some(original.with_n(n)),
                problem: None,
            };
            let items: Vec<_> = (0..PART).map(item).collect();
            told.add(LetterResults { items, done: PART as u64, refused: 0, next_cursor: None });
        }
        assert_eq!((told.items.len(), told.done), (SHOWN, u64::from(parts) * PART as u64));
        assert_eq!(told.ids.len(), parts as usize);
    }
}
