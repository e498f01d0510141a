//! Whether a dead letter may be decided about. Where not: how it stands, who
//! brought it there, and what to do next.

use super::super::engine::Engine;
use super::super::operate::conflict;
use super::content::one_line;
use crate::domain::assertion::key_of_line;
use crate::domain::ids::SourceId;
use crate::domain::key::Key;
use crate::domain::skip::Skips;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{DeadLetter, DeadLetterState, LetterKind, Tx};

/// Whether a letter may be decided about, and is the one that was looked at.
///
/// # Errors
/// [`ErrorKind::Conflict`] with what became of it, and who did it.
pub(super) fn decidable(letter: &DeadLetter, revision: Option<u64>) -> Result<()> {
    match &letter.state {
        DeadLetterState::Open => {}
        DeadLetterState::Requeued { .. }
        | DeadLetterState::Resolved { .. }
        | DeadLetterState::Discarded { .. }
        | DeadLetterState::Expired { .. } => return Err(not_open(letter)),
    }
    match revision {
        Some(revision) if revision != letter.revision => Err(changed(letter, revision)),
        Some(_) | None => Ok(()),
    }
}

/// Whether a letter may be decided about by somebody who does not say what
/// was looked at. Where somebody edited it, they may not know of that.
///
/// # Errors
/// As [`decidable`], and [`ErrorKind::Conflict`] with who edited it, and when.
fn unedited(letter: &DeadLetter) -> Result<()> {
    decidable(letter, None)?;
    let Some(edit) = &letter.edited else { return Ok(()) };
    let (id, revision) = (letter.id, letter.revision);
    let text = format!(
        "dead letter {id} was edited by {} at {}, and the request has no `revision`",
        edit.by.actor, edit.by.at
    );
    Err(conflict(text).with_action(format!(
        "Look at it, `tidegate dlq show {id}`, and give the `revision` that you looked at; it is {revision} now."
    )))
}

impl Engine {
    /// The revision that a request is about which may say none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; where it says none, [`ErrorKind::Conflict`]
    /// when somebody edited the letter, or it may not be decided about.
    pub fn revision_meant(&self, id: u64, said: Option<u64>) -> Result<u64> {
        if let Some(said) = said {
            return Ok(said);
        }
        let letter = self.store.read(|view| view.expect_dead_letter(id))?;
        unedited(&letter)?;
        Ok(letter.revision)
    }
}

/// A letter in a transaction, if it may be decided about.
pub(in crate::service) fn taken(tx: &Tx<'_>, id: u64, revision: Option<u64>) -> Result<DeadLetter> {
    let letter = tx.expect_dead_letter(id)?;
    decidable(&letter, revision)?;
    Ok(letter)
}

fn not_open(letter: &DeadLetter) -> Error {
    let id = letter.id;
    match &letter.state {
        DeadLetterState::Requeued { batch, at, by } => {
            let text =
                format!("dead letter {id} was requeued by {by} at {at}: batch {batch} settles or opens it");
            let wait = format!(
                "Wait for that batch: `tidegate batches wait {batch}`; without a server, `tidegate dlq requeue {id}` goes on with it."
            );
            let end = match letter.kind {
                LetterKind::Entity => {
                    format!(
                        " To decide anew, end it: `tidegate batches cancel {batch}` opens the dead letter."
                    )
                }
                LetterKind::Batch => " If it fails again, the dead letter is open again.".to_owned(),
            };
            conflict(text).with_action(wait + &end)
        }
        DeadLetterState::Resolved { at, by } => {
            let what = match letter.kind {
                LetterKind::Entity => "published its key, or something newer of it",
                LetterKind::Batch => "published what it is about, or something newer",
            };
            conflict(format!("dead letter {id} was resolved at {at}: batch {by} {what}")).with_action(
                format!("Nothing is left to repair. `tidegate batches show {by}` shows that batch."),
            )
        }
        DeadLetterState::Discarded { at, by, reason } => {
            let text = format!("dead letter {id} was discarded by {by} at {at}: {reason}");
            conflict(text).with_action(given_up(letter))
        }
        DeadLetterState::Expired { at } => {
            let text = format!(
                "dead letter {id} expired at {at}: nobody decided about it within `retention.open_dead_letters`"
            );
            conflict(text).with_action(given_up(letter))
        }
        DeadLetterState::Open => conflict(format!("dead letter {id} is open")),
    }
}

/// What brings a key or a batch that was given up all the same.
fn given_up(letter: &DeadLetter) -> String {
    match letter.kind {
        LetterKind::Entity => format!(
            "It is not taken up again: the next batch of source {} that asserts the key publishes it.",
            letter.source
        ),
        LetterKind::Batch => format!(
            "It is not taken up again. `tidegate batches retry {}` tries the batch again while its files are there.",
            letter.batch_id
        ),
    }
}

fn changed(letter: &DeadLetter, revision: u64) -> Error {
    let id = letter.id;
    let last = letter.actions.last();
    let who = last.map(|action| format!(": {} by {} at {}", action.what, action.actor, action.at));
    let text = format!(
        "dead letter {id} was changed since it was looked at (revision {revision}, now {}){}",
        letter.revision,
        who.unwrap_or_else(|| format!(": batch {} brought it again", letter.batch_id))
    );
    conflict(text).with_action(format!("Look at it again, `tidegate dlq show {id}`, and decide anew."))
}

/// What is said of an edit of a batch that has another manifest by then.
pub(super) fn other_manifest(letter: &DeadLetter) -> Error {
    let (id, batch) = (letter.id, &letter.batch_id);
    let text = format!("dead letter {id}: the manifest of batch {batch} was changed since it was looked at");
    conflict(text).with_action(format!("Look at it again, `tidegate dlq show {id}`, and edit that one."))
}

/// What to do when a letter does not hold what can be requeued.
pub(super) fn edit_first(error: Error, id: u64) -> Error {
    match error.kind() {
        ErrorKind::LineInvalid => error.with_action(format!(
            "Correct it, `tidegate dlq edit {id}`, or at its source: the next batch with a good line for the key resolves it."
        )),
        _ => error,
    }
}

/// What to do when a content that somebody gave can't be kept.
pub(super) fn give_again(error: Error) -> Error {
    match error.kind() {
        ErrorKind::LineInvalid | ErrorKind::ManifestInvalid | ErrorKind::ManifestVersion => {
            error.with_action("Correct that and give the content again. The dead letter is as it was.")
        }
        ErrorKind::ManifestMismatch => error.with_action(
            "Put it back as it was: an edit keeps the batch's ids. Another batch is delivered under its own.",
        ),
        _ => error,
    }
}

impl Engine {
    /// Whether an operator skips the key of a letter, or that of what a person
    /// made of it: what is requeued of it would not be published.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] with who skips it, and why.
    pub(super) fn unskipped(&self, letter: &DeadLetter) -> Result<()> {
        self.unskipped_key(letter, letter.wanted_key().as_ref())
    }

    /// The same with other content in the place of the letter's.
    ///
    /// # Errors
    /// The same.
    pub(super) fn unskipped_with(&self, letter: &DeadLetter, content: &[u8]) -> Result<()> {
        let of_content = || match letter.kind {
            LetterKind::Entity => key_of_line(&one_line(content)),
            LetterKind::Batch => None,
        };
        self.unskipped_key(letter, letter.key.clone().or_else(of_content).as_ref())
    }

    fn unskipped_key(&self, letter: &DeadLetter, key: Option<&Key>) -> Result<()> {
        let Some(key) = key else { return Ok(()) };
        let Some(skip) = self.skip_of(&letter.source, key)? else { return Ok(()) };
        let until = skip.until.map_or_else(|| "without an end".to_owned(), |at| format!("until {at}"));
        let text = format!(
            "dead letter {}: {} skips its key {until}, as {} {}: {}",
            letter.id, skip.actor, skip.type_name, skip.name, skip.reason
        );
        Err(conflict(text).with_action(format!(
            "Lift the skip first, `tidegate sources unskip {}` with that type and name, or leave the dead letter until then.",
            letter.source
        )))
    }
}

/// The skips of the sources that letters of a bulk action are of, read once.
#[derive(Default)]
pub(super) struct SkipsSeen(std::collections::BTreeMap<SourceId, Skips>);

impl SkipsSeen {
    /// As [`Engine::unskipped`].
    ///
    /// # Errors
    /// The same.
    pub(super) fn pass(&mut self, engine: &Engine, letter: &DeadLetter) -> Result<()> {
        let source = &letter.source;
        if !self.0.contains_key(source) {
            let skips = engine.store.read(|view| view.active_skips(source, engine.clock.now()))?;
            self.0.insert(source.clone(), skips);
        }
        let has = |key: &Key| self.0.get(source).is_some_and(|skips| skips.has(key));
        if letter.wanted_key().as_ref().is_some_and(has) { engine.unskipped(letter) } else { Ok(()) }
    }
}
