//! Settling letters. All that goes with it is done here, in the transaction
//! that settles: nothing is left to whoever asks, to a crash in between, or to
//! what others decide meanwhile.

use super::super::records::{DeadLetter, DeadLetterState, LetterKind, PinTask, PinWork, SourceHoldReason};
use super::super::tx::Tx;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishStatus;
use crate::error::Result;

const SELF: &str = "tidegate";

impl Tx<'_> {
    /// Settles a letter: `by` published what it is about, or something newer.
    pub fn resolve_dead_letter(&mut self, id: u64, by: &str) -> Result<()> {
        let letter = self.expect_dead_letter(id)?;
        let state = DeadLetterState::Resolved { at: self.now(), by: by.to_owned() };
        self.settle_letter(letter, state, "resolved", by, "").map(|_| ())
    }

    /// Settles a letter that a person gives up. A failed batch's hold of its
    /// source ends with it.
    pub fn discard_dead_letter(&mut self, letter: DeadLetter, by: &str, reason: &str) -> Result<DeadLetter> {
        let state =
            DeadLetterState::Discarded { at: self.now(), by: by.to_owned(), reason: reason.to_owned() };
        let letter = self.settle_letter(letter, state, "discarded", by, reason)?;
        // A batch that says the same anew ends the hold only where it says it
        // of every key: that is the commit's to know.
        let (source, batch) = (&letter.source, Some(&letter.batch_id));
        if letter.kind == LetterKind::Batch
            && self.lift_source_hold(source, SourceHoldReason::BatchFailed, batch)?.is_some()
        {
            let text = format!("goes on: batch {} was discarded: {reason}", letter.batch_id);
            self.note_source(source, &text, by)?;
        }
        Ok(letter)
    }

    /// Settles a letter that nobody decided about in time.
    pub fn expire_dead_letter(&mut self, letter: DeadLetter) -> Result<DeadLetter> {
        let state = DeadLetterState::Expired { at: self.now() };
        self.settle_letter(letter, state, "expired: nobody decided about it", SELF, "")
    }

    fn settle_letter(
        &mut self,
        mut letter: DeadLetter,
        state: DeadLetterState,
        what: &str,
        actor: &str,
        reason: &str,
    ) -> Result<DeadLetter> {
        letter.state = state;
        letter.note(self.letter_action(what, actor, reason));
        self.count_letter(letter.state.as_str())?;
        let letter = self.put_dead_letter(letter)?;
        if letter.kind == LetterKind::Batch {
            self.give_pin_up(&letter.batch_id)?;
        }
        Ok(letter)
    }

    /// Gives up the copy of the files of a batch that failed. One that is in
    /// the queue again needs it still.
    fn give_pin_up(&mut self, id: &BatchId) -> Result<()> {
        let Some(mut batch) = self.batch(id)?.filter(|batch| batch.status == PublishStatus::Failed) else {
            return Ok(());
        };
        let had = batch.pin.take().is_some();
        if had {
            self.put_batch(&batch)?;
        }
        // What is being copied now goes, too.
        if had || self.pin_work(id)?.is_some() {
            self.set_pin_work(id, Some(&PinWork::new(PinTask::Remove)))?;
        }
        Ok(())
    }
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// Whether a batch that failed holds its source.
            pub fn holds_its_source(&self, id: &BatchId) -> Result<bool> {
                let holds = self.source_holds(id.source())?;
                Ok(holds.iter().any(|hold| {
                    hold.reason == SourceHoldReason::BatchFailed && hold.batch_id.as_ref() == Some(id)
                }))
            }
        }
    };
}

reads!(Tx<'_>);
reads!(super::super::tx::View<'_>);
