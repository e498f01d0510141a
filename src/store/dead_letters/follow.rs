//! What becomes of letters: of the one of a batch as a whole and of those
//! that a batch was made of when that batch moves on, and by people.

use std::collections::HashSet;

use super::super::records::{BatchRecord, DeadLetter, DeadLetterState, LetterDiagnostics, LetterKind};
use super::super::tx::Tx;
use super::open::NewLetter;
use crate::domain::assertion::key_of_line;
use crate::domain::ids::BatchId;
use crate::domain::key::Key;
use crate::domain::publish_state::{FailureDetails, PublishStatus};
use crate::domain::signature::pattern;
use crate::domain::stamp::Stamp;
use crate::domain::transition::Event;
use crate::error::{ErrorKind, Result};

const SELF: &str = "tidegate";

/// Whether a batch is FAILED by somebody's decision, or because there was
/// nothing left to do: that is no failure, and makes no dead letter.
fn was_ended(failure: &FailureDetails) -> Option<ErrorKind> {
    let kinds = [ErrorKind::Rejected, ErrorKind::Cancelled, ErrorKind::Superseded];
    kinds.into_iter().find(|kind| kind.info().code == failure.error_code)
}

impl DeadLetter {
    /// The key of what a requeue brings, if it can be read: that of a letter
    /// without one of its own is in what a person made of it.
    pub fn wanted_key(&self) -> Option<Key> {
        self.key.clone().or_else(|| match self.kind {
            LetterKind::Entity => self.edited.as_ref().and_then(|edit| key_of_line(&edit.content)),
            LetterKind::Batch => None,
        })
    }
}

impl Tx<'_> {
    /// Says that a batch brings a letter again.
    pub fn requeue_dead_letter(
        &mut self,
        mut letter: DeadLetter,
        batch: &BatchRecord,
        by: &str,
        reason: &str,
    ) -> Result<DeadLetter> {
        let batch = batch.batch_id.clone();
        letter.note(self.letter_action(format!("requeued as batch {batch}"), by, reason));
        letter.state = DeadLetterState::Requeued { batch, at: self.now(), by: by.to_owned() };
        self.count_letter("requeued")?;
        self.put_dead_letter(letter)
    }

    /// Leads the letters of a batch along with it. `newer`: as of
    /// [`Tx::fail_batch`].
    pub(in crate::store) fn letters_follow(
        &mut self,
        batch: &BatchRecord,
        event: Event,
        (cause, actor): (&str, &str),
        newer: Option<Stamp>,
    ) -> Result<()> {
        let id = &batch.batch_id;
        if !batch.status.is_final() {
            if event == Event::Requeued
                && let Some(letter) = self.batch_letter(id)?
            {
                self.requeue_dead_letter(letter, batch, actor, cause)?;
            }
            return Ok(());
        }
        let own = self.batch_letter(id)?;
        let made_of = if batch.letters > 0 { self.letters_requeued_with(id)? } else { Vec::new() };
        match &batch.failure {
            Some(failure) if batch.status == PublishStatus::Failed => {
                let ended = was_ended(failure);
                for letter in made_of {
                    self.reopen(letter, &format!("batch {id} ended FAILED"), &failure.error_code)?;
                }
                match (ended, own) {
                    (Some(ErrorKind::Superseded), Some(letter)) => {
                        self.resolve_dead_letter(letter.id, &id.to_string())
                    }
                    (Some(_), Some(letter)) => self.discard_dead_letter(letter, actor, cause).map(|_| ()),
                    (Some(_), None) => Ok(()),
                    // What it was made of is open again: that is what is to be repaired.
                    (None, _) if batch.letters > 0 => Ok(()),
                    (None, _) => {
                        let letter = of_batch(batch, failure, cause);
                        self.open_all_dead_letters([Ok(NewLetter { letter, newer })]).map(|_| ())
                    }
                }
            }
            Some(_) | None => {
                let own = own.map(|letter| letter.id);
                made_of
                    .into_iter()
                    .chain(own)
                    .try_for_each(|id_of| self.resolve_dead_letter(id_of, &id.to_string()))
            }
        }
    }

    /// Adds to the letter of a batch that failed what was sent and what was
    /// answered.
    pub fn add_exchange(
        &mut self,
        batch: &BatchId,
        request: Option<String>,
        answer: Option<String>,
    ) -> Result<()> {
        let Some(mut letter) = self.batch_letter(batch)? else { return Ok(()) };
        letter.diagnostics.request = request;
        letter.diagnostics.answer = answer;
        self.put_dead_letter(letter).map(drop)
    }

    /// Opens those letters again that a batch was made of and whose keys it
    /// said nothing of, because an operator skips them by now.
    pub fn reopen_skipped(&mut self, batch: &BatchId, skipped: &[Key]) -> Result<()> {
        let skipped: HashSet<&Key> = skipped.iter().collect();
        for id in self.letters_requeued_with(batch)? {
            let letter = self.expect_dead_letter(id)?;
            if letter.wanted_key().is_some_and(|key| skipped.contains(&key)) {
                self.reopen(id, &format!("batch {batch} left it out"), "an operator skips its key")?;
            }
        }
        Ok(())
    }

    fn reopen(&mut self, id: u64, what: &str, reason: &str) -> Result<()> {
        let mut letter = self.expect_dead_letter(id)?;
        letter.state = DeadLetterState::Open;
        letter.note(self.letter_action(format!("{what}: it is open again"), SELF, reason));
        self.put_dead_letter(letter)?;
        self.count_letter("opened")
    }
}

/// The letter of a batch that failed as a whole.
fn of_batch(batch: &BatchRecord, failure: &FailureDetails, cause: &str) -> DeadLetter {
    let id = batch.batch_id.to_string();
    let message = cause.to_owned();
    DeadLetter {
        kind: LetterKind::Batch,
        pattern: pattern(cause, &[&id, batch.batch_id.source().as_str()]),
        diagnostics: LetterDiagnostics {
            causes: failure.stack_trace.iter().flat_map(|trace| trace.lines()).map(str::to_owned).collect(),
            operation: failure.failed_operation.clone(),
            ..LetterDiagnostics::default()
        },
        ..DeadLetter::new(batch.stamp.clone(), &failure.error_code, message, batch.accepted_at)
    }
}
