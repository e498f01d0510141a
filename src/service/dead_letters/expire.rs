//! What time does to dead letters: settled ones are forgotten after a while,
//! and open ones expire, if the settings say so. Neither is silent.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::engine::Engine;
use crate::error::Result;
use crate::store::{DeadLetter, LetterKind, LettersFrom};

/// How often it is looked.
const EVERY: SignedDuration = SignedDuration::from_mins(10);

impl Engine {
    /// Forgets and expires what is due, if it was not looked at lately.
    ///
    /// # Errors
    /// Of the store.
    pub(in crate::service) fn keep_letters(&self) -> Result<()> {
        let now = self.clock.now();
        {
            let mut looked = self.letters_kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if looked.is_some_and(|at: Timestamp| now.duration_since(at) < EVERY && now >= at) {
                return Ok(());
            }
            *looked = Some(now);
        }
        self.expire_letters().map(|_| ())
    }

    /// Forgets settled letters and expires open ones that are due; how many.
    ///
    /// # Errors
    /// Of the store.
    pub fn expire_letters(&self) -> Result<(u64, u64)> {
        let retention = self.settings().retention;
        let now = self.clock.now();
        let mut forgotten = 0;
        if let Some(at) = before(now, retention.dead_letters) {
            // Those of each part are gone with it.
            while !self.store.read(|view| view.letters_settled_by(at))?.is_empty() {
                let gone = self.store.write(move |tx| {
                    let ids = tx.letters_settled_by(at)?;
                    let letters = ids.into_iter().map(|id| tx.expect_dead_letter(id));
                    let letters = letters.collect::<Result<Vec<DeadLetter>>>()?;
                    letters.iter().try_for_each(|letter| tx.forget_dead_letter(letter))?;
                    Ok(letters)
                })?;
                forgotten += gone.len() as u64;
                // What should stay is collected with the source's next commit.
                gone.iter().try_for_each(|letter| self.remove_long(letter))?;
            }
        }
        if forgotten > 0 {
            tracing::info!(forgotten, "settled dead letters were forgotten, past retention.dead_letters");
        }
        let open = retention.open_dead_letters.and_then(|kept| before(now, kept));
        let expired = open.map_or(Ok(0), |at| self.expire_open_letters(at))?;
        Ok((forgotten, expired))
    }

    /// Expires open letters that were changed last at or before a time.
    fn expire_open_letters(&self, at: Timestamp) -> Result<u64> {
        let mut expired = 0;
        let mut from = Some(LettersFrom::default());
        while let Some(after) = from.take() {
            if self.store.read(|view| view.letters_open_since(at, &after))?.ids.is_empty() {
                break;
            }
            let (over, next) = self.store.write(move |tx| {
                let due = tx.letters_open_since(at, &after)?;
                let mut expired = Vec::new();
                for id in due.ids {
                    let letter = tx.expect_dead_letter(id)?;
                    // Its source waits for a decision about these very files.
                    if letter.kind == LetterKind::Batch && tx.holds_its_source(&letter.batch_id)? {
                        continue;
                    }
                    expired.push(tx.expire_dead_letter(letter)?);
                }
                Ok((expired, due.next))
            })?;
            for letter in &over {
                tracing::warn!(
                    letter = letter.id,
                    source = %letter.source,
                    batch = %letter.batch_id,
                    code = letter.code,
                    "a dead letter expired: nobody decided about it"
                );
            }
            expired += over.len() as u64;
            from = next;
        }
        Ok(expired)
    }
}

/// The time before which what is kept for so long was made; `None`: nothing was.
fn before(now: Timestamp, kept: Duration) -> Option<Timestamp> {
    SignedDuration::try_from(kept).ok().and_then(|kept| now.checked_sub(kept).ok())
}
