//! What a person can do about one dead letter: edit, check, requeue, discard.
//! Each is kept in the letter with who did it and why, and is refused when the
//! letter was changed since it was looked at.

use std::sync::PoisonError;

use super::super::engine::Engine;
use super::content::{check_line, one_line, ready};
use super::decide::{decidable, edit_first, give_again, taken};
use crate::domain::ids::BatchId;
use crate::error::{Error, ErrorKind, Result};
use crate::service::views::LetterPreview;
use crate::store::{DeadLetter, Decision, LetterEdit, LetterKind, SourceHoldReason};

/// Most changes that a preview shows.
const SHOWN: usize = 100;
/// Largest edit, in bytes.
pub const MAX_EDIT: usize = 8 << 20;

impl Engine {
    /// Puts other content in the place of a letter's original; of an entity
    /// its line, of a batch its manifest. Nothing is sent before it is
    /// requeued. `None` takes an edit back.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the letter is not open, was changed since
    /// `revision`, or the content has another key; what is wrong with the
    /// content.
    pub fn edit_letter(
        &self,
        id: u64,
        revision: Option<u64>,
        content: Option<&[u8]>,
        actor: &str,
        reason: &str,
    ) -> Result<()> {
        let letter = self.store.read(|view| view.expect_dead_letter(id))?;
        decidable(&letter, revision)?;
        let content = content.map(|content| self.checked(&letter, content)).transpose()?;
        let (actor, reason) = (actor.to_owned(), reason.to_owned());
        // What was checked is what is changed.
        let revision = Some(letter.revision);
        self.store.write(move |tx| {
            let mut letter = taken(tx, id, revision)?;
            let what = if content.is_some() { "edited" } else { "took the edit back" };
            letter.note(tx.letter_action(what, &actor, &reason));
            let by = Decision { actor, reason, at: tx.now() };
            letter.edited = content.map(|content| LetterEdit { content, by });
            tx.put_dead_letter(letter).map(|_| ())
        })
    }

    /// Content as it is kept, if it may be requeued.
    fn checked(&self, letter: &DeadLetter, content: &[u8]) -> Result<Vec<u8>> {
        if content.len() > MAX_EDIT {
            let text = format!("dead letter {}: an edit has at most {MAX_EDIT} bytes", letter.id);
            return Err(Error::new(ErrorKind::Usage, text)
                .with_action("Repair it at its source: the next batch brings it again."));
        }
        match letter.kind {
            LetterKind::Entity => {
                let line = one_line(content);
                check_line(letter, &line).map_err(give_again)?;
                Ok(line)
            }
            LetterKind::Batch => {
                self.with_manifest(&self.batch(&letter.batch_id)?, content).map_err(give_again)?;
                Ok(content.to_vec())
            }
        }
    }

    /// What content would change against what is published now; without
    /// content, what the letter holds. Nothing is kept.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such letter. What is wrong
    /// with the content is no error here.
    pub fn check_letter(&self, id: u64, content: Option<&[u8]>) -> Result<LetterPreview> {
        let letter = self.store.read(|view| view.expect_dead_letter(id))?;
        let refused = |error: &Error| LetterPreview {
            valid: false,
            problem: Some(error.to_string()),
            note: None,
            changes: Vec::new(),
        };
        let checked = match (content, letter.kind) {
            (Some(content), _) => self.checked(&letter, content),
            (None, LetterKind::Entity) => ready(&letter).map(|()| letter.wanted().to_vec()),
            (None, LetterKind::Batch) => match &letter.edited {
                Some(edited) => self.checked(&letter, &edited.content),
                None => Ok(Vec::new()),
            },
        };
        let line = match checked {
            Ok(line) => line,
            Err(error) if error.kind() == ErrorKind::NotFound || self.is_fatal(&error) => return Err(error),
            Err(error) => return Ok(refused(&error)),
        };
        match letter.kind {
            LetterKind::Entity => match self.preview(&letter, line) {
                Ok(preview) => Ok(preview),
                Err(error) if self.is_fatal(&error) => Err(error),
                Err(error) => Ok(refused(&error)),
            },
            LetterKind::Batch => Ok(LetterPreview {
                valid: true,
                problem: None,
                note: Some(
                    "The manifest is right. What the batch changes is seen in its plan, once it is requeued."
                        .to_owned(),
                ),
                changes: Vec::new(),
            }),
        }
    }

    /// Plans a batch of one line as a requeue would, and throws it away.
    fn preview(&self, letter: &DeadLetter, line: Vec<u8>) -> Result<LetterPreview> {
        let scratch = self.scratch()?;
        let id = self.next_n(&letter.batch_id)?;
        let made =
            self.batch_of_lines(&id, letter, &mut std::io::Cursor::new(line), &scratch.path().join("b"))?;
        self.plan_only_batch(&made, |plan| {
            let mut bodies = crate::planning::bodies::Bodies::new()?;
            let mut changes = Vec::new();
            plan.changes(|change| {
                if changes.len() < SHOWN {
                    changes.push(plan.resolve(change, &mut bodies)?);
                }
                Ok(())
            })?;
            let summary = plan.manifest().header.summary;
            let note = if summary.entities.superseded + summary.relationships.counts.superseded > 0 {
                Some("A newer batch said something of it since: it would change nothing.")
            } else if summary.relationships.waiting > 0 {
                Some("It would wait: an end of the relationship is not there.")
            } else if changes.is_empty() {
                Some("It is what is published already: it would change nothing.")
            } else {
                None
            };
            Ok(LetterPreview { valid: true, problem: None, note: note.map(str::to_owned), changes })
        })
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
                ready(&letter).map_err(|error| edit_first(error, id))?;
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

    /// Gives a letter up. A batch's hold of its source ends with it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when it is not open, or was changed since
    /// `revision`.
    pub fn discard_letter(&self, id: u64, revision: Option<u64>, actor: &str, reason: &str) -> Result<()> {
        let (actor, reason) = (actor.to_owned(), reason.to_owned());
        let letter = self.store.write(move |tx| {
            let letter = taken(tx, id, revision)?;
            let letter = tx.discard_dead_letter(letter, &actor, &reason)?;
            if letter.kind == LetterKind::Batch {
                let source = &letter.source;
                let holds = tx.source_holds(source)?;
                let held = holds.iter().any(|hold| {
                    hold.reason == SourceHoldReason::BatchFailed
                        && hold.batch_id.as_ref() == Some(&letter.batch_id)
                });
                if held {
                    tx.lift_source_hold(source, SourceHoldReason::BatchFailed)?;
                    let text = format!("goes on: batch {} was discarded: {reason}", letter.batch_id);
                    tx.note_source(source, &text, &actor)?;
                }
            }
            Ok(letter)
        })?;
        if letter.kind == LetterKind::Batch {
            self.unpin(&letter.batch_id)?;
        }
        self.work.notify();
        Ok(())
    }
}
