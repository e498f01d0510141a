//! What is known of unsettled letters without reading them: enough to tell
//! which of them a commit is about. A letter holds its original and what a target
//! answered; a source may have a hundred thousand.

use std::ops::Bound;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::index::{time_at, time_bytes};
use super::super::records::{DeadLetter, LetterKind};
use super::super::tables::{Table, decode, key, number_behind};
use super::super::tx::{KeyRange, Read, Tx, View};
use super::{PART, index};
use crate::domain::ids::SourceId;
use crate::domain::key::KeyHash;
use crate::domain::stamp::Stamp;
use crate::error::Result;

/// An unsettled letter, by its row of `Table::OpenDeadLetters`. Derived, and
/// made anew with the other indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenLetter {
    /// Its number.
    pub id: u64,
    /// That of the letter as it is.
    pub revision: u64,
    /// What it is.
    pub kind: LetterKind,
    /// Its stamp.
    pub stamp: Stamp,
    /// Type and name by which a scope has its key, if it has one.
    pub key: Option<(String, String)>,
}

impl OpenLetter {
    pub(super) fn of(letter: &DeadLetter) -> Self {
        let key = letter.key.as_ref();
        Self {
            id: letter.id,
            revision: letter.revision,
            kind: letter.kind,
            stamp: letter.stamp.clone(),
            key: key.map(|key| (key.type_name().to_owned(), key.scope_name().to_owned())),
        }
    }
}

/// The hash at the end of a row, or before its number.
fn hash_at(row: &[u8], from: usize) -> KeyHash {
    let bytes = row.get(from..from + 16).and_then(|bytes| bytes.try_into().ok());
    KeyHash(u128::from_be_bytes(bytes.unwrap_or_default()))
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// What is known of the unsettled letter of a source and a key.
            pub fn open_letter(&self, source: &SourceId, hash: KeyHash) -> Result<Option<OpenLetter>> {
                let found = self.get(Table::OpenDeadLetters, &index::open_row(source, hash.0))?;
                found.map(|bytes| decode(Table::OpenDeadLetters, &bytes)).transpose()
            }

            /// Hands out what is known of a source's unsettled letters, in the
            /// order of what tells them apart: their keys' hashes. It is read
            /// only of those that are `wanted` by that.
            pub fn each_open_letter(
                &self,
                source: &SourceId,
                mut wanted: impl FnMut(KeyHash) -> Result<bool>,
                mut each: impl FnMut(KeyHash, OpenLetter) -> Result<()>,
            ) -> Result<()> {
                let prefix = key(&[source.as_str().as_bytes()]);
                let mut after: Option<Vec<u8>> = None;
                loop {
                    let rows = self.scan(Table::OpenDeadLetters, &prefix, after.as_deref(), PART)?;
                    for (row, bytes) in &rows {
                        let hash = hash_at(row, prefix.len());
                        if wanted(hash)? {
                            each(hash, decode(Table::OpenDeadLetters, bytes)?)?;
                        }
                    }
                    if rows.len() < PART {
                        return Ok(());
                    }
                    after = rows.into_iter().next_back().map(|(row, _)| row);
                }
            }

            /// The numbers of the unsettled letters of a key, of all sources.
            pub fn open_letters_of_key(&self, hash: KeyHash) -> Result<Vec<u64>> {
                let rows = self.all(Table::LetterIndex, &index::key_prefix(hash))?;
                Ok(rows.iter().map(|(row, _)| number_behind(row)).collect())
            }

            /// Hands out the keys of the unsettled letters of all sources.
            pub fn each_key_of_open_letters(&self, mut each: impl FnMut(KeyHash)) -> Result<()> {
                let prefix = index::keys_prefix();
                let mut after: Option<Vec<u8>> = None;
                loop {
                    let rows = self.scan(Table::LetterIndex, &prefix, after.as_deref(), PART)?;
                    rows.iter().for_each(|(row, _)| each(hash_at(row, prefix.len())));
                    if rows.len() < PART {
                        return Ok(());
                    }
                    after = rows.into_iter().next_back().map(|(row, _)| row);
                }
            }

            /// The oldest source timestamp of the unsettled letters of a source
            /// that can still be published.
            pub fn oldest_open_letter(&self, source: &SourceId) -> Result<Option<Timestamp>> {
                let prefix = index::horizon_prefix(source);
                let rows = self.scan(Table::LetterIndex, &prefix, None, 1)?;
                Ok(rows.first().and_then(|(row, _)| time_at(&row[prefix.len()..])))
            }

            /// The numbers of some letters that were settled at or before a time,
            /// the first ones first.
            pub fn letters_settled_by(&self, at: Timestamp) -> Result<Vec<u64>> {
                Ok(self.due(&index::settled_prefix(), at, &LettersFrom::default())?.ids)
            }

            /// The same of open letters that were changed last at or before a
            /// time, and where the next ones begin.
            pub fn letters_open_since(&self, at: Timestamp, from: &LettersFrom) -> Result<DueLetters> {
                self.due(&index::open_since_prefix(), at, from)
            }

            fn due(&self, prefix: &[u8], at: Timestamp, from: &LettersFrom) -> Result<DueLetters> {
                let mut range = KeyRange::of_prefix(prefix);
                if let Some(from) = &from.0 {
                    range.from = Bound::Excluded(from.clone());
                }
                range.to = Bound::Included([prefix, &time_bytes(at), &[u8::MAX; 8]].concat());
                let rows = self.range(Table::LetterIndex, &range, DUE)?;
                let ids = rows.iter().map(|(row, _)| number_behind(row)).collect();
                let next = if rows.len() < DUE { None } else { rows.into_iter().next_back() };
                Ok(DueLetters { ids, next: next.map(|(row, _)| LettersFrom(Some(row))) })
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

/// Letters that are due at a time, of one read.
const DUE: usize = 500;

/// From where on letters that are due are read.
#[derive(Debug, Clone, Default)]
pub struct LettersFrom(Option<Vec<u8>>);

/// Some of the letters that are due.
#[derive(Debug, Clone, Default)]
pub struct DueLetters {
    /// Their numbers.
    pub ids: Vec<u64>,
    /// Where the next ones begin, if there may be more.
    pub next: Option<LettersFrom>,
}
