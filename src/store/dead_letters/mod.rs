//! Dead letters: one unsettled one per source and key, found by what people
//! ask for, grouped by their reason, and led through what becomes of them.

mod brief;
mod follow;
mod index;
mod list;
mod open;
mod settle;

pub use brief::{DueLetters, LettersFrom, OpenLetter};
pub(super) use index::LETTER_EVENTS;
pub use list::{LetterList, LetterRows};
pub use open::NewLetter;

use super::records::{DeadLetter, LetterAction, LetterGroup};
use super::tables::{Table, decode};
use super::tx::{Read, Tx, View};
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::key::Key;
use crate::error::{Error, ErrorKind, Result};

/// How many actions of one letter are kept.
const ACTIONS: usize = 100;
/// Letters that are read at a time where all are looked at.
const PART: usize = 64;

/// How many letters there were since the data directory was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LetterCounts {
    /// That were opened, or opened again.
    pub opened: u64,
    /// That were put back into the queue.
    pub requeued: u64,
    /// That were settled by a batch.
    pub resolved: u64,
    /// That a person gave up.
    pub discarded: u64,
    /// That nobody decided about in time.
    pub expired: u64,
    /// Settled ones that were forgotten.
    pub forgotten: u64,
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// A dead letter.
            pub fn dead_letter(&self, id: u64) -> Result<Option<DeadLetter>> {
                let found = self.get(Table::DeadLetters, &id.to_be_bytes())?;
                found.map(|bytes| decode(Table::DeadLetters, &bytes)).transpose()
            }

            /// A dead letter that has to be there.
            pub fn expect_dead_letter(&self, id: u64) -> Result<DeadLetter> {
                self.dead_letter(id)?.ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, format!("there is no dead letter {id}")).with_action(
                        "`tidegate dlq list --state all` shows those that are kept; settled ones are \
                         forgotten after `retention.dead_letters`.",
                    )
                })
            }

            /// All dead letters, oldest first.
            pub fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
                let rows = self.all(Table::DeadLetters, b"")?;
                rows.iter().map(|(_, bytes)| decode(Table::DeadLetters, bytes)).collect()
            }

            /// How many dead letters of a source are not settled.
            pub fn count_open_dead_letters(&self, source: &SourceId) -> Result<u64> {
                self.count(&index::source_count(source))
            }

            /// How many dead letters are not settled that a batch brought last.
            pub fn count_dead_letters_of(&self, batch: &BatchId) -> Result<u64> {
                self.count(&index::batch_count(batch))
            }

            /// How many dead letters are not settled.
            pub fn count_unsettled_dead_letters(&self) -> Result<u64> {
                self.count(&index::all_count())
            }

            /// What became of letters so far.
            pub fn letter_counts(&self) -> Result<LetterCounts> {
                let count = |name: &str| self.count(&index::event_count(name));
                Ok(LetterCounts {
                    opened: count("opened")?,
                    requeued: count("requeued")?,
                    resolved: count("resolved")?,
                    discarded: count("discarded")?,
                    expired: count("expired")?,
                    forgotten: count("forgotten")?,
                })
            }

            fn letter_at(&self, row: &[u8]) -> Result<Option<DeadLetter>> {
                let Some(bytes) = self.get(Table::OpenDeadLetters, row)? else { return Ok(None) };
                let open: OpenLetter = decode(Table::OpenDeadLetters, &bytes)?;
                self.dead_letter(open.id)
            }

            /// The unsettled dead letter of a source and a key.
            pub fn open_dead_letter_of(&self, source: &SourceId, key: &Key) -> Result<Option<DeadLetter>> {
                self.letter_at(&index::open_row(source, key.hash().0))
            }

            /// The unsettled dead letter of a batch as a whole.
            pub fn batch_letter(&self, id: &BatchId) -> Result<Option<DeadLetter>> {
                self.letter_at(&index::open_row(id.source(), index::of_batch(id)))
            }

            /// The unsettled dead letters of a source.
            pub fn open_dead_letters(&self, source: &SourceId) -> Result<Vec<DeadLetter>> {
                let mut ids = Vec::new();
                self.each_open_letter(
                    source,
                    |_| Ok(true),
                    |_, letter| {
                        ids.push(letter.id);
                        Ok(())
                    },
                )?;
                ids.into_iter().map(|id| self.expect_dead_letter(id)).collect()
            }

            /// The numbers of the letters that a batch was made of and that
            /// are not settled yet.
            pub fn letters_requeued_with(&self, batch: &BatchId) -> Result<Vec<u64>> {
                let rows = self.all(Table::LetterIndex, &index::requeued_prefix(batch))?;
                Ok(rows.iter().map(|(row, _)| super::tables::number_behind(row)).collect())
            }

            /// Whether a file under the state folder holds the original of a letter.
            pub fn is_letter_file(&self, file: &str) -> Result<bool> {
                Ok(!self.scan(Table::LetterIndex, &index::file_prefix(file), None, 1)?.is_empty())
            }

            /// Hands out the letters, settled or not, that have their originals
            /// in files, by file, one at a time in memory.
            pub fn each_long_letter(&self, mut each: impl FnMut(DeadLetter) -> Result<()>) -> Result<()> {
                let mut after: Option<Vec<u8>> = None;
                loop {
                    let rows =
                        self.scan(Table::LetterIndex, &index::files_prefix(), after.as_deref(), PART)?;
                    for (row, _) in &rows {
                        each(self.expect_dead_letter(super::tables::number_behind(row))?)?;
                    }
                    if rows.len() < PART {
                        return Ok(());
                    }
                    after = rows.into_iter().next_back().map(|(row, _)| row);
                }
            }

            /// Hands out the groups of unsettled dead letters, a few at a time
            /// in memory.
            pub fn each_letter_group(&self, mut each: impl FnMut(LetterGroup) -> Result<()>) -> Result<()> {
                let mut after: Option<Vec<u8>> = None;
                loop {
                    let rows = self.scan(Table::LetterGroups, b"", after.as_deref(), PART)?;
                    for (_, bytes) in &rows {
                        each(decode(Table::LetterGroups, bytes)?)?;
                    }
                    if rows.len() < PART {
                        return Ok(());
                    }
                    after = rows.into_iter().next_back().map(|(row, _)| row);
                }
            }

            /// A group of them.
            pub fn letter_group(&self, signature: &str) -> Result<Option<LetterGroup>> {
                let found = self.get(Table::LetterGroups, signature.as_bytes())?;
                found.map(|bytes| decode(Table::LetterGroups, &bytes)).transpose()
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl DeadLetter {
    /// The id of its group.
    pub fn signature(&self) -> String {
        let parts = [self.source.as_str(), self.kind.as_str(), &self.code, &self.pattern];
        crate::domain::signature::signature(&parts)
    }

    /// Adds to what was done about it.
    pub fn note(&mut self, action: LetterAction) {
        if self.actions.len() >= ACTIONS {
            self.actions.remove(0);
        }
        self.actions.push(action);
    }
}

impl Tx<'_> {
    /// Stores a letter as it is now, with all that it is found by.
    pub fn put_dead_letter(&mut self, mut letter: DeadLetter) -> Result<DeadLetter> {
        let old = self.dead_letter(letter.id)?;
        letter.revision = old.as_ref().map_or(0, |old| old.revision) + 1;
        letter.changed_at = Some(self.now());
        self.index_letter(old.as_ref(), Some(&letter))?;
        let bytes = super::tables::encode(&letter)?;
        self.put(Table::DeadLetters, letter.id.to_be_bytes().to_vec(), bytes);
        Ok(letter)
    }

    /// Forgets a settled letter.
    pub fn forget_dead_letter(&mut self, letter: &DeadLetter) -> Result<()> {
        self.index_letter(Some(letter), None)?;
        self.remove(Table::DeadLetters, letter.id.to_be_bytes().to_vec());
        self.count_letter("forgotten")
    }

    /// Says that something was done about a letter, in its own record.
    pub fn letter_action(&self, what: impl Into<String>, actor: &str, reason: &str) -> LetterAction {
        LetterAction { at: self.now(), what: what.into(), actor: actor.into(), reason: reason.into() }
    }
}
