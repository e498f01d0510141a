//! Dead letters: one open per source and key.

use xxhash_rust::xxh3::xxh3_128;

use super::records::{DeadLetter, DeadLetterState};
use super::tables::{Table, decode, encode, key};
use super::tx::{Read, Tx, View};
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::key::Key;
use crate::error::Result;

fn open_row(source: &SourceId, hash: u128) -> Vec<u8> {
    let mut row = key(&[source.as_str().as_bytes()]);
    row.extend_from_slice(&hash.to_be_bytes());
    row
}

/// What tells dead letters of a source apart: the key, or without one the bytes.
fn identity(letter: &DeadLetter) -> u128 {
    match &letter.key {
        Some(key) => key.hash().0,
        None => xxh3_128(&letter.content),
    }
}

fn source_count(source: &SourceId) -> Vec<u8> {
    key(&[b"letters of source", source.as_str().as_bytes()])
}

fn batch_count(batch: &BatchId) -> Vec<u8> {
    key(&[b"letters of batch", batch.to_string().as_bytes()])
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// A dead letter.
            pub fn dead_letter(&self, id: u64) -> Result<Option<DeadLetter>> {
                let found = self.get(Table::DeadLetters, &id.to_be_bytes())?;
                found.map(|bytes| decode(Table::DeadLetters, &bytes)).transpose()
            }

            /// All dead letters, oldest first.
            pub fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
                let rows = self.all(Table::DeadLetters, b"")?;
                rows.iter().map(|(_, bytes)| decode(Table::DeadLetters, bytes)).collect()
            }

            /// How many dead letters of a source are open.
            pub fn count_open_dead_letters(&self, source: &SourceId) -> Result<u64> {
                self.count(&source_count(source))
            }

            /// How many dead letters are open that a batch brought last.
            pub fn count_dead_letters_of(&self, batch: &BatchId) -> Result<u64> {
                self.count(&batch_count(batch))
            }

            /// The open dead letter of a source and a key.
            pub fn open_dead_letter_of(&self, source: &SourceId, key: &Key) -> Result<Option<DeadLetter>> {
                let Some(id) = self.get(Table::OpenDeadLetters, &open_row(source, key.hash().0))? else {
                    return Ok(None);
                };
                let found = self.get(Table::DeadLetters, &id)?;
                found.map(|bytes| decode(Table::DeadLetters, &bytes)).transpose()
            }

            /// The open dead letters of a source.
            pub fn open_dead_letters(&self, source: &SourceId) -> Result<Vec<DeadLetter>> {
                let mut letters = Vec::new();
                for (_, id) in self.all(Table::OpenDeadLetters, &key(&[source.as_str().as_bytes()]))? {
                    if let Some(bytes) = self.get(Table::DeadLetters, &id)? {
                        letters.push(decode(Table::DeadLetters, &bytes)?);
                    }
                }
                Ok(letters)
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    fn put_dead_letter(&mut self, letter: &DeadLetter) -> Result<()> {
        let bytes = encode(letter)?;
        self.put(Table::DeadLetters, letter.id.to_be_bytes().to_vec(), bytes);
        Ok(())
    }

    /// Opens a dead letter, or adds to the open one of the same source and
    /// key, which then holds the content of the newest stamp. The letter's
    /// `id`, `opened_at` and `attempts` are filled in here.
    pub fn open_dead_letter(&mut self, mut letter: DeadLetter) -> Result<u64> {
        let row = open_row(&letter.source, identity(&letter));
        if let Some(id) = self.get(Table::OpenDeadLetters, &row)?
            && let Some(bytes) = self.get(Table::DeadLetters, &id)?
        {
            let mut open: DeadLetter = decode(Table::DeadLetters, &bytes)?;
            open.attempts += 1;
            if letter.stamp >= open.stamp {
                self.add_count(batch_count(&open.batch_id), -1)?;
                self.add_count(batch_count(&letter.batch_id), 1)?;
                letter.id = open.id;
                letter.opened_at = open.opened_at;
                letter.attempts = open.attempts;
                open = letter;
            }
            self.put_dead_letter(&open)?;
            return Ok(open.id);
        }
        let next = match self.get(Table::Meta, b"next_dead_letter")? {
            Some(bytes) => String::from_utf8_lossy(&bytes).parse().unwrap_or(1),
            None => 1u64,
        };
        self.put(Table::Meta, b"next_dead_letter".to_vec(), (next + 1).to_string().into_bytes());
        letter.id = next;
        letter.opened_at = self.now();
        letter.attempts = 1;
        self.put(Table::OpenDeadLetters, row, next.to_be_bytes().to_vec());
        self.add_count(source_count(&letter.source), 1)?;
        self.add_count(batch_count(&letter.batch_id), 1)?;
        self.put_dead_letter(&letter)?;
        Ok(next)
    }

    /// Counts the open dead letters, of sources and of batches.
    pub(super) fn count_dead_letters(&mut self) -> Result<()> {
        for letter in self.dead_letters()? {
            if letter.state == DeadLetterState::Open {
                self.add_count(source_count(&letter.source), 1)?;
                self.add_count(batch_count(&letter.batch_id), 1)?;
            }
        }
        Ok(())
    }

    /// Resolves the open dead letters of a source that `moot` says are.
    pub fn resolve_dead_letters(
        &mut self,
        source: &SourceId,
        by: &str,
        mut moot: impl FnMut(&DeadLetter) -> bool,
    ) -> Result<u64> {
        let mut count = 0;
        for mut letter in self.open_dead_letters(source)? {
            if moot(&letter) {
                self.remove(Table::OpenDeadLetters, open_row(source, identity(&letter)));
                self.add_count(source_count(source), -1)?;
                self.add_count(batch_count(&letter.batch_id), -1)?;
                letter.state = DeadLetterState::Resolved { at: self.now(), by: by.to_owned() };
                self.put_dead_letter(&letter)?;
                count += 1;
            }
        }
        Ok(count)
    }
}
