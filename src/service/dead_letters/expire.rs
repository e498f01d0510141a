//! What time does to dead letters: settled ones are forgotten after a while,
//! and open ones expire, if the settings say so. Neither is silent.

use jiff::{SignedDuration, Timestamp};

use super::super::engine::Engine;
use crate::error::Result;
use crate::store::{LetterKind, LetterList};

/// How often it is looked.
const EVERY: SignedDuration = SignedDuration::from_mins(10);
/// Letters that are looked at in one transaction.
const PART: usize = 500;

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
        let (mut forgotten, mut expired) = (0, 0);
        let mut list = LetterList {
            states: match retention.open_dead_letters {
                Some(_) => vec!["open", "resolved", "discarded", "expired"],
                None => vec!["resolved", "discarded", "expired"],
            },
            oldest_first: true,
            limit: PART,
            ..LetterList::default()
        };
        loop {
            let rows = self.store.read(|view| view.list_dead_letters(&list))?;
            let (mut gone, mut over) = (Vec::new(), Vec::new());
            for letter in rows.letters {
                if let Some(at) = letter.state.settled_at() {
                    if self.is_past(Some(at), retention.dead_letters) {
                        gone.push((letter.id, letter.revision));
                    }
                } else if let Some(kept) = retention.open_dead_letters {
                    let last = letter.changed_at.unwrap_or(letter.opened_at);
                    if self.is_past(Some(last), kept) {
                        over.push((letter.id, letter.revision));
                    }
                }
            }
            if !gone.is_empty() || !over.is_empty() {
                let (gone, over) = self.store.write(move |tx| {
                    let (mut forgotten, mut expired) = (Vec::new(), Vec::new());
                    for (id, revision) in gone {
                        if let Some(letter) = tx.dead_letter(id)?.filter(|l| l.revision == revision) {
                            tx.forget_dead_letter(&letter)?;
                            forgotten.push(letter);
                        }
                    }
                    for (id, revision) in over {
                        let Some(letter) = tx.dead_letter(id)?.filter(|l| l.revision == revision) else {
                            continue;
                        };
                        // Its source waits for a decision about these very files.
                        if letter.kind == LetterKind::Batch && tx.holds_its_source(&letter.batch_id)? {
                            continue;
                        }
                        expired.push(tx.expire_dead_letter(letter)?);
                    }
                    Ok((forgotten, expired))
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
                forgotten += gone.len() as u64;
                expired += over.len() as u64;
                // What should stay is collected with the source's next commit.
                gone.iter().try_for_each(|letter| self.remove_long(letter))?;
            }
            match rows.next {
                Some(next) => list.after = Some(next),
                None => break,
            }
        }
        if forgotten > 0 {
            tracing::info!(forgotten, "settled dead letters were forgotten, past retention.dead_letters");
        }
        Ok((forgotten, expired))
    }
}
