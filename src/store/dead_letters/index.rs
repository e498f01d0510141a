//! Where letters are found without reading them all, how many there are, and
//! their groups: derived from the letters, and written with them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

use super::super::index::time_bytes;
use super::super::records::{DeadLetter, DeadLetterState, LetterGroup, LetterKind};
use super::super::tables::{Table, encode, key, numbered};
use super::super::tx::{Read, Tx};
use super::brief::OpenLetter;
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::key::KeyHash;
use crate::error::{ErrorKind, Result};

/// All that are not settled.
pub(super) const UNSETTLED: &[u8] = b"unsettled";
const REQUEUED: &[u8] = b"requeued";
const GROUP: &[u8] = b"group";
const FILE: &[u8] = b"file";
const KEY: &[u8] = b"key";
const HORIZON: &[u8] = b"horizon";
const OPEN_SINCE: &[u8] = b"open since";
const SETTLED: &[u8] = b"settled";
const SETTLED_LETTER: &[u8] = b"settled letter";
const REASON: &[u8] = b"reason";
/// The value of a row of a reason's letter that is settled.
pub(super) const IS_SETTLED: &[u8] = b"s";

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

/// What the rows of the unsettled letters of a key begin with, whose source it is.
pub(super) fn key_prefix(hash: KeyHash) -> Vec<u8> {
    let mut row = keys_prefix();
    row.extend_from_slice(&hash.0.to_be_bytes());
    row
}

/// What the rows of all unsettled letters with a key begin with.
pub(super) fn keys_prefix() -> Vec<u8> {
    key(&[KEY])
}

/// What the rows of the letters begin with that hold their source's horizon back.
pub(super) fn horizon_prefix(source: &SourceId) -> Vec<u8> {
    key(&[HORIZON, source.as_str().as_bytes()])
}

/// What the rows of open letters begin with, by when they were changed last.
pub(super) fn open_since_prefix() -> Vec<u8> {
    key(&[OPEN_SINCE])
}

/// What the rows of the letters begin with that have or had a reason, settled
/// or not; [`IS_SETTLED`] tells which.
pub(super) fn reason_prefix(signature: &str) -> Vec<u8> {
    key(&[REASON, signature.as_bytes()])
}

/// What the rows of settled letters begin with, by number.
pub(super) fn settled_letter_prefix() -> Vec<u8> {
    key(&[SETTLED_LETTER])
}

/// What the rows of settled letters begin with, by when they were settled.
pub(super) fn settled_prefix() -> Vec<u8> {
    key(&[SETTLED])
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

/// A row of an index by time.
fn timed(prefix: Vec<u8>, at: Timestamp, id: u64) -> Vec<u8> {
    [&prefix[..], &time_bytes(at), &id.to_be_bytes()].concat()
}

/// Rows of indexes, by table and key.
type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// The rows that a letter is found by.
fn rows(letter: &DeadLetter) -> Result<Rows> {
    let id = letter.id;
    let mut rows = Rows::new();
    let reason = numbered(&[REASON, letter.signature().as_bytes()], id);
    let settled = letter.state.settled_at().is_some();
    rows.insert((Table::LetterIndex, reason), if settled { IS_SETTLED.to_vec() } else { Vec::new() });
    let mut found_by = |row: Vec<u8>| drop(rows.insert((Table::LetterIndex, row), Vec::new()));
    if let Some(long) = &letter.long {
        found_by(numbered(&[FILE, long.file.as_bytes()], id));
    }
    if let Some(at) = letter.state.settled_at() {
        found_by(timed(settled_prefix(), at, id));
        found_by(numbered(&[SETTLED_LETTER], id));
        return Ok(rows);
    }
    found_by(numbered(&[UNSETTLED], id));
    found_by(numbered(&[GROUP, letter.signature().as_bytes()], id));
    match &letter.state {
        DeadLetterState::Requeued { batch, .. } => {
            found_by(numbered(&[REQUEUED, batch.to_string().as_bytes()], id));
        }
        DeadLetterState::Open
        | DeadLetterState::Resolved { .. }
        | DeadLetterState::Discarded { .. }
        | DeadLetterState::Expired { .. } => {
            found_by(timed(open_since_prefix(), letter.changed_at.unwrap_or(letter.opened_at), id))
        }
    }
    if let (LetterKind::Entity, Some(key)) = (letter.kind, &letter.key) {
        found_by([&key_prefix(key.hash())[..], &id.to_be_bytes()].concat());
    }
    // What came too late will not be published any more.
    if letter.code != ErrorKind::TooLate.info().code {
        found_by(timed(horizon_prefix(&letter.source), letter.stamp.source_timestamp, id));
    }
    let open = (Table::OpenDeadLetters, open_row(&letter.source, identity(letter)));
    rows.insert(open, encode(&OpenLetter::of(letter))?);
    Ok(rows)
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
        let of = |letter: Option<&DeadLetter>| letter.map_or_else(|| Ok(Rows::new()), rows);
        let (mut before, after) = (of(old)?, of(new)?);
        for ((table, row), value) in after {
            if before.remove(&(table, row.clone())).as_ref() != Some(&value) {
                self.put(table, row, value);
            }
        }
        for ((table, row), _) in before {
            self.remove(table, row);
        }
        let (old, new) = (old.filter(is_unsettled), new.filter(is_unsettled));
        for (letter, by) in [(old, -1), (new, 1)] {
            let Some(letter) = letter else { continue };
            for count in [source_count(&letter.source), batch_count(&letter.batch_id), all_count()] {
                self.add_count(count, by)?;
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
                self.spill()?;
            }
            if rows.len() < super::PART {
                return Ok(());
            }
            after = rows.into_iter().next_back().map(|(row, _)| row);
        }
    }
}
