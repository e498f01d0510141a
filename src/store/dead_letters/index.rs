//! Where letters are found without reading them all, how many there are, and
//! their groups: derived from the letters, and written with them.

use xxhash_rust::xxh3::xxh3_128;

use super::super::records::{DeadLetter, DeadLetterState, LetterGroup, LetterKind};
use super::super::tables::{Table, encode, key, numbered};
use super::super::tx::{Read, Tx};
use crate::domain::ids::{BatchId, SourceId};
use crate::error::Result;

/// All that are not settled.
pub(super) const UNSETTLED: &[u8] = b"unsettled";
const REQUEUED: &[u8] = b"requeued";
const GROUP: &[u8] = b"group";
const FILE: &[u8] = b"file";

/// The row of the unsettled letter of a source and an identity.
pub(super) fn open_row(source: &SourceId, hash: u128) -> Vec<u8> {
    let mut row = key(&[source.as_str().as_bytes()]);
    row.extend_from_slice(&hash.to_be_bytes());
    row
}

/// What tells a batch's letter apart.
pub(super) fn of_batch(id: &BatchId) -> u128 {
    xxh3_128(&key(&[b"batch", id.to_string().as_bytes()]))
}

/// What tells letters of a source apart: the key, or without one the bytes.
pub(super) fn identity(letter: &DeadLetter) -> u128 {
    match (&letter.kind, &letter.key) {
        (LetterKind::Batch, _) => of_batch(&letter.batch_id),
        (LetterKind::Entity, Some(key)) => key.hash().0,
        (LetterKind::Entity, None) => match &letter.long {
            // It is the hash of the same bytes.
            Some(long) => u128::from_str_radix(&long.xxh3, 16).unwrap_or_default(),
            None => xxh3_128(&letter.content),
        },
    }
}

pub(super) fn source_count(source: &SourceId) -> Vec<u8> {
    key(&[b"letters of source", source.as_str().as_bytes()])
}

pub(super) fn batch_count(batch: &BatchId) -> Vec<u8> {
    key(&[b"letters of batch", batch.to_string().as_bytes()])
}

pub(super) fn all_count() -> Vec<u8> {
    key(&[b"letters"])
}

/// What the rows of counters of letters begin with.
pub(in crate::store) const LETTER_EVENTS: &[u8] = b"letter event";

pub(super) fn event_count(name: &str) -> Vec<u8> {
    key(&[LETTER_EVENTS, name.as_bytes()])
}

/// What the rows of the letters of a batch's making begin with.
pub(super) fn requeued_prefix(batch: &BatchId) -> Vec<u8> {
    key(&[REQUEUED, batch.to_string().as_bytes()])
}

/// What the rows of a group's letters begin with.
pub(super) fn group_prefix(signature: &str) -> Vec<u8> {
    key(&[GROUP, signature.as_bytes()])
}

/// What the rows of all unsettled letters begin with.
pub(super) fn unsettled_prefix() -> Vec<u8> {
    key(&[UNSETTLED])
}

/// What the rows of the letters begin with that have their originals in a file.
pub(super) fn file_prefix(file: &str) -> Vec<u8> {
    key(&[FILE, file.as_bytes()])
}

/// What the rows of all letters begin with that have their originals in files.
pub(super) fn files_prefix() -> Vec<u8> {
    key(&[FILE])
}

/// The count of the groups of a source and a code.
pub(super) fn group_count(letter: &DeadLetter) -> Vec<u8> {
    key(&[
        b"letter groups of code",
        letter.source.as_str().as_bytes(),
        letter.kind.as_str().as_bytes(),
        letter.code.as_bytes(),
    ])
}

/// What tells the alert of a group apart.
pub(super) fn alert_key(signature: &str) -> String {
    format!("dead_letters/{signature}")
}

fn rows(letter: &DeadLetter) -> Vec<Vec<u8>> {
    let signature = letter.signature();
    let mut rows =
        vec![numbered(&[UNSETTLED], letter.id), numbered(&[GROUP, signature.as_bytes()], letter.id)];
    if let DeadLetterState::Requeued { batch, .. } = &letter.state {
        rows.push(numbered(&[REQUEUED, batch.to_string().as_bytes()], letter.id));
    }
    rows
}

fn is_unsettled(letter: &&DeadLetter) -> bool {
    letter.state.settled_at().is_none()
}

impl Tx<'_> {
    /// Counts something that became of a letter.
    pub(super) fn count_letter(&mut self, event: &str) -> Result<()> {
        self.add_count(event_count(event), 1)
    }

    /// Brings everything that letters are found by from what was stored of
    /// one to what it is now.
    pub(super) fn index_letter(&mut self, old: Option<&DeadLetter>, new: Option<&DeadLetter>) -> Result<()> {
        let (old, new) = (old.filter(is_unsettled), new.filter(is_unsettled));
        if let Some(old) = old {
            self.remove(Table::OpenDeadLetters, open_row(&old.source, identity(old)));
            for row in rows(old) {
                self.remove(Table::LetterIndex, row);
            }
            for count in [source_count(&old.source), batch_count(&old.batch_id), all_count()] {
                self.add_count(count, -1)?;
            }
        }
        if let Some(new) = new {
            let id = new.id.to_be_bytes().to_vec();
            self.put(Table::OpenDeadLetters, open_row(&new.source, identity(new)), id);
            for row in rows(new) {
                self.put(Table::LetterIndex, row, Vec::new());
            }
            for count in [source_count(&new.source), batch_count(&new.batch_id), all_count()] {
                self.add_count(count, 1)?;
            }
        }
        let (left, joined) = (old.map(DeadLetter::signature), new.map(DeadLetter::signature));
        if left != joined {
            if let Some(new) = new {
                self.join_group(new)?;
            }
            if let Some(left) = old {
                self.leave_group(left)?;
            }
        }
        Ok(())
    }

    /// Brings what tells that a letter, settled or not, has its original in a
    /// file.
    pub(super) fn index_long(&mut self, old: Option<&DeadLetter>, new: Option<&DeadLetter>) {
        let row = |letter: Option<&DeadLetter>| {
            letter.and_then(|letter| {
                let long = letter.long.as_ref()?;
                Some(numbered(&[FILE, long.file.as_bytes()], letter.id))
            })
        };
        let (old, new) = (row(old), row(new));
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.remove(Table::LetterIndex, old);
        }
        if let Some(new) = new {
            self.put(Table::LetterIndex, new, Vec::new());
        }
    }

    fn join_group(&mut self, letter: &DeadLetter) -> Result<()> {
        let signature = letter.signature();
        let at = letter.history.last().map_or(letter.opened_at, |attempt| attempt.at);
        let group = match self.letter_group(&signature)? {
            Some(group) => LetterGroup {
                count: group.count + 1,
                first_at: group.first_at.min(letter.opened_at),
                last_at: group.last_at.max(at),
                ..group
            },
            None => {
                self.add_count(group_count(letter), 1)?;
                LetterGroup {
                    signature: signature.clone(),
                    source: letter.source.clone(),
                    kind: letter.kind,
                    code: letter.code.clone(),
                    pattern: letter.pattern.clone(),
                    count: 1,
                    first_at: letter.opened_at,
                    last_at: at,
                }
            }
        };
        let bytes = encode(&group)?;
        self.put(Table::LetterGroups, signature.into_bytes(), bytes);
        Ok(())
    }

    fn leave_group(&mut self, letter: &DeadLetter) -> Result<()> {
        let signature = &letter.signature();
        match self.letter_group(signature)? {
            Some(group) if group.count > 1 => {
                let bytes = encode(&LetterGroup { count: group.count - 1, ..group })?;
                self.put(Table::LetterGroups, signature.as_bytes().to_vec(), bytes);
            }
            Some(_) | None => {
                self.add_count(group_count(letter), -1)?;
                self.remove(Table::LetterGroups, signature.as_bytes().to_vec());
                self.clear_alert(&alert_key(signature));
            }
        }
        Ok(())
    }

    /// Makes everything that letters are found by anew.
    pub(in crate::store) fn index_dead_letters(&mut self) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.scan(Table::DeadLetters, b"", after.as_deref(), super::PART)?;
            for (_, bytes) in &rows {
                let letter = super::super::tables::decode(Table::DeadLetters, bytes)?;
                self.index_letter(None, Some(&letter))?;
                self.index_long(None, Some(&letter));
            }
            if rows.len() < super::PART {
                return Ok(());
            }
            after = rows.into_iter().next_back().map(|(row, _)| row);
        }
    }
}
