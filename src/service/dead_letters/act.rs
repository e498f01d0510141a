//! What a person can do about one dead letter: edit, requeue, discard.
//! Each is kept in the letter with who did it and why, and is refused when the
//! letter was changed since it was looked at.

use std::sync::PoisonError;

use super::super::engine::Engine;
use super::content::{check_line, one_line};
use super::decide::{decidable, edit_first, give_again, other_manifest, taken};
use crate::domain::ids::BatchId;
use crate::domain::settings::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::folder;
use crate::store::{DeadLetter, Decision, LetterEdit, LetterKind};

/// Largest edit, in bytes.
pub const MAX_EDIT: usize = 8 << 20;

/// What somebody looked at who edits a letter. Of what is `None` nothing is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct LookedAt<'a> {
    /// The letter's revision.
    pub revision: Option<u64>,
    /// Hash of the original, of a batch's letter. An edit on top of another is of what
    /// that one was made of, unless this says that the original was looked at.
    pub original: Option<&'a str>,
}

impl From<Option<u64>> for LookedAt<'_> {
    fn from(revision: Option<u64>) -> Self {
        Self { revision, original: None }
    }
}

impl Engine {
    /// Puts other content in the place of a letter's original; of an entity
    /// its line, of a batch its manifest. Nothing is sent before it is
    /// requeued. `None` takes an edit back. Returns the revision that it has
    /// then.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the letter is not open, was changed since it
    /// was looked at, or the content has another key; what is wrong with the
    /// content.
    pub fn edit_letter<'a>(
        &self,
        id: u64,
        seen: impl Into<LookedAt<'a>>,
        content: Option<&[u8]>,
        actor: &str,
        reason: &str,
    ) -> Result<u64> {
        let letter = self.store.read(|view| view.expect_dead_letter(id))?;
        let seen = seen.into();
        decidable(&letter, seen.revision)?;
        let content = content.map(|content| self.checked(&letter, content)).transpose()?;
        let of = match letter.kind {
            LetterKind::Batch => {
                let there = folder::hash_of(&self.original_of(&letter)?);
                if content.is_some() && seen.original.is_some_and(|original| original != there) {
                    return Err(other_manifest(&letter));
                }
                match &letter.edited {
                    // It begins with the edit that there is. Who does not say so has
                    // not seen what was delivered since.
                    Some(edit) if seen.original.is_none() => edit.of.clone(),
                    Some(_) | None => Some(there),
                }
            }
            LetterKind::Entity => None,
        };
        let (actor, reason) = (actor.to_owned(), reason.to_owned());
        // What was checked is what is changed.
        let revision = Some(letter.revision);
        self.store.write(move |tx| {
            let mut letter = taken(tx, id, revision)?;
            let what = if content.is_some() { "edited" } else { "took the edit back" };
            letter.note(tx.letter_action(what, &actor, &reason));
            let by = Decision { actor, reason, at: tx.now() };
            letter.edited = content.map(|content| LetterEdit { content, by, of });
            tx.put_dead_letter(letter).map(|letter| letter.revision)
        })
    }

    /// Content as it is kept, if it may be requeued.
    pub(super) fn checked(&self, letter: &DeadLetter, content: &[u8]) -> Result<Vec<u8>> {
        if content.len() > MAX_EDIT {
            let text = format!("dead letter {}: an edit has at most {MAX_EDIT} bytes", letter.id);
            return Err(Error::new(ErrorKind::Usage, text)
                .with_action("Repair it at its source: the next batch brings it again."));
        }
        match letter.kind {
            LetterKind::Entity => {
                let line = one_line(content);
                check_line(letter, &line, Mode::Incremental).map_err(give_again)?;
                Ok(line)
            }
            LetterKind::Batch => {
                self.with_manifest(&self.batch(&letter.batch_id)?, content).map_err(give_again)?;
                Ok(content.to_vec())
            }
        }
    }

    /// Puts one letter back into the queue; returns the batch that brings it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when it is not open, or was changed since
    /// `revision`; what is wrong with what it holds.
    pub fn requeue_letter(
        &self,
        id: u64,
        revision: Option<u64>,
        actor: &str,
        reason: &str,
    ) -> Result<BatchId> {
        let _alone = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
        let letter = self.store.read(|view| view.expect_dead_letter(id))?;
        decidable(&letter, revision)?;
        match letter.kind {
            LetterKind::Batch => self.requeue_batch(&letter, actor, reason),
            LetterKind::Entity => {
                self.ready(&letter).map_err(|error| edit_first(error, id))?;
                self.unskipped(&letter)?;
                let refused = self.requeue_lines(&[(id, letter.revision)], &letter, actor, reason)?;
                match refused {
                    (_, Some((_, error))) => Err(error),
                    (Some(batch), None) => Ok(batch),
                    (None, None) => Err(Error::internal("a requeue of nothing")),
                }
            }
        }
    }

    /// Puts other content in the place of a letter's original and puts it back
    /// into the queue; returns the batch that brings it.
    ///
    /// # Errors
    /// As [`Engine::edit_letter`] and [`Engine::requeue_letter`]. What could
    /// not be requeued stays edited, and the error says so.
    pub fn repair_letter<'a>(
        &self,
        id: u64,
        seen: impl Into<LookedAt<'a>>,
        content: &[u8],
        actor: &str,
        reason: &str,
    ) -> Result<BatchId> {
        let seen = seen.into();
        let letter = self.store.read(|view| view.expect_dead_letter(id))?;
        decidable(&letter, seen.revision)?;
        self.unskipped_with(&letter, content)?;
        let revision = self.edit_letter(id, seen, Some(content), actor, reason)?;
        self.requeue_letter(id, Some(revision), actor, reason).map_err(|error| {
            error.context(format!("the edit of dead letter {id} was kept, but not requeued"))
        })
    }

    /// Gives a letter up. A batch's hold of its source ends with it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when it is not open, or was changed since
    /// `revision`.
    pub fn discard_letter(&self, id: u64, revision: Option<u64>, actor: &str, reason: &str) -> Result<()> {
        let (actor, reason) = (actor.to_owned(), reason.to_owned());
        self.store.write(move |tx| {
            let letter = taken(tx, id, revision)?;
            tx.discard_dead_letter(letter, &actor, &reason)
        })?;
        self.work.notify();
        Ok(())
    }
}
