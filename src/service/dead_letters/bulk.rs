//! What a person does about all dead letters that a filter finds: a part at a
//! time, with what became of each, so that memory is bounded and whoever asked
//! sees how far it is.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::super::engine::Engine;
use super::decide::{SkipsSeen, decidable, edit_first, taken};
use super::requeue::go_together;
use crate::domain::ids::BatchId;
use crate::error::{Error, ErrorKind, Result};
use crate::service::query::LetterQuery;
use crate::service::views::{LetterResult, LetterResults, ProblemView};
use crate::store::{DeadLetter, LetterKind, LetterList};

/// Most letters of one part.
pub const BULK_MAX: usize = 5_000;
/// Letters that are read at a time, and given up in one transaction.
const READ: usize = 200;
/// Time after which a part ends early: whoever asked over HTTP is answered
/// after 30 seconds, done or not.
const LONG: Duration = Duration::from_secs(10);

/// What became of one.
type Became = Result<Option<BatchId>, Error>;

/// Letters that go into one batch, by number and revision.
struct Together {
    first: DeadLetter,
    letters: Vec<(u64, u64)>,
}

impl Engine {
    /// Requeues the open letters that a query finds, up to its limit; those of
    /// one batch go together.
    ///
    /// # Errors
    /// Of the query, such as [`ErrorKind::NotFound`] for a source, code or group
    /// that nobody knows, and of the store; what is wrong with one letter is told
    /// with it.
    pub fn requeue_letters(&self, query: &LetterQuery, actor: &str, reason: &str) -> Result<LetterResults> {
        let _alone = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut became: BTreeMap<u64, Became> = BTreeMap::new();
        let mut together: Vec<Together> = Vec::new();
        let mut skips = SkipsSeen::default();
        let began = self.clock.monotonic();
        let next = self.each_part(query, began, |part| {
            for letter in part {
                let id = letter.id;
                if letter.kind == LetterKind::Batch {
                    let done = self.requeue_batch(&letter, actor, reason);
                    became.insert(id, self.survived(done.map(Some))?);
                    // Each asks where its files are.
                    if self.is_long(began) {
                        return Ok(Some(id));
                    }
                    continue;
                }
                let can = decidable(&letter, None)
                    .and_then(|()| self.ready(&letter).map_err(|error| edit_first(error, id)))
                    .and_then(|_| skips.pass(self, &letter));
                if let Err(error) = self.survived(can)? {
                    became.insert(id, Err(error));
                    continue;
                }
                let place = (id, letter.revision);
                match together.iter_mut().find(|other| go_together(&other.first, &letter)) {
                    Some(other) => other.letters.push(place),
                    None => {
                        // What they have in common is all that is needed of it.
                        let first = DeadLetter { content: Vec::new(), edited: None, ..letter };
                        together.push(Together { first, letters: vec![place] });
                    }
                }
            }
            Ok(None)
        })?;
        for Together { first, letters } in together {
            let done = self.requeue_lines(&letters, &first, actor, reason);
            match self.survived(done)? {
                Ok((batch, _)) => {
                    for (id, _) in letters {
                        let letter = self.store.read(|view| view.expect_dead_letter(id))?;
                        let told = match decidable(&letter, None) {
                            Err(_) if letter.state.requeued_as() == batch.as_ref() && batch.is_some() => {
                                Ok(batch.clone())
                            }
                            Err(error) => Err(error),
                            Ok(()) => Err(super::super::operate::conflict(format!(
                                "dead letter {id} was changed meanwhile: batch {} brought it again",
                                letter.batch_id
                            ))),
                        };
                        became.insert(id, told);
                    }
                }
                Err(error) => {
                    for (id, _) in letters {
                        let again = Error::new(error.kind(), error.to_string()).with_action(error.action());
                        became.insert(id, Err(again));
                    }
                }
            }
        }
        Ok(results(became, query.cursor(next)))
    }

    /// Gives up the open letters that a query finds, up to its limit.
    ///
    /// # Errors
    /// As [`Self::requeue_letters`].
    pub fn discard_letters(&self, query: &LetterQuery, actor: &str, reason: &str) -> Result<LetterResults> {
        let mut became: BTreeMap<u64, Became> = BTreeMap::new();
        let next = self.each_part(query, self.clock.monotonic(), |part| {
            let letters: Vec<(u64, u64)> =
                part.into_iter().map(|letter| (letter.id, letter.revision)).collect();
            let (actor, reason) = (actor.to_owned(), reason.to_owned());
            let told = self.store.write(move |tx| {
                let mut told: Vec<(u64, Became)> = Vec::with_capacity(letters.len());
                for (id, revision) in letters {
                    match taken(tx, id, Some(revision)) {
                        Ok(letter) => {
                            tx.discard_dead_letter(letter, &actor, &reason)?;
                            told.push((id, Ok(None)));
                        }
                        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
                            told.push((id, Err(error)));
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(told)
            })?;
            became.extend(told);
            Ok(None)
        })?;
        self.work.notify();
        Ok(results(became, query.cursor(next)))
    }

    /// Hands out the letters that a query finds, some at a time, up to its
    /// limit or until it takes long. `each` may say behind which letter it
    /// stopped. Returns the number behind which there may be more.
    fn each_part(
        &self,
        query: &LetterQuery,
        began: Duration,
        mut each: impl FnMut(Vec<DeadLetter>) -> Result<Option<u64>>,
    ) -> Result<Option<u64>> {
        let list = query.list(BULK_MAX)?;
        query.expect_named(self)?;
        let (mut left, mut after) = (list.limit, list.after);
        loop {
            let part = LetterList { after, limit: left.min(READ), ..list.clone() };
            let rows = self.store.read(|view| view.list_dead_letters(&part))?;
            left -= rows.letters.len().min(left);
            if let Some(stopped) = each(rows.letters)? {
                return Ok(Some(stopped));
            }
            after = rows.next;
            if after.is_none() || left == 0 || self.is_long(began) {
                return Ok(after);
            }
        }
    }

    fn is_long(&self, began: Duration) -> bool {
        self.clock.monotonic().saturating_sub(began) >= LONG
    }

    /// Failures of one letter are told with it; those of the store end all.
    fn survived<T>(&self, done: Result<T>) -> Result<Result<T, Error>> {
        match done {
            Err(error) if self.is_fatal(&error) => Err(error),
            other => Ok(other),
        }
    }
}

fn results(became: BTreeMap<u64, Became>, next_cursor: Option<String>) -> LetterResults {
    let items: Vec<LetterResult> = became
        .into_iter()
        .map(|(id, became)| match became {
            Ok(batch_id) => LetterResult { id, done: true, batch_id, problem: None },
            Err(error) => {
                LetterResult { id, done: false, batch_id: None, problem: Some(ProblemView::from(&error)) }
            }
        })
        .collect();
    let done = items.iter().filter(|item| item.done).count() as u64;
    LetterResults { done, refused: items.len() as u64 - done, items, next_cursor }
}
