//! Listing letters by what people ask for, a part at a time.

use std::ops::Bound;

use jiff::Timestamp;

use super::super::records::{DeadLetter, LetterKind};
use super::super::tables::{Table, decode, number_behind};
use super::super::tx::{KeyRange, Read, View};
use super::index::{group_prefix, unsettled_prefix};
use crate::domain::glob::Glob;
use crate::domain::ids::{BatchId, SourceId};
use crate::error::Result;

/// Letters that one call looks at, at most: a filter that few pass must not
/// read everything in one go.
const LOOKED_AT: usize = 20_000;

/// Which letters, and from where on.
#[derive(Debug, Clone, Default)]
pub struct LetterList {
    /// In one of these states; empty: in any.
    pub states: Vec<&'static str>,
    /// Of this source.
    pub source: Option<SourceId>,
    /// Of this kind.
    pub kind: Option<LetterKind>,
    /// Of an entity or relationship of this type.
    pub type_name: Option<String>,
    /// Whose key's name the glob matches.
    pub name: Option<Glob>,
    /// With this code.
    pub code: Option<String>,
    /// Of this group.
    pub signature: Option<String>,
    /// That this batch brought, now or before.
    pub batch: Option<BatchId>,
    /// Opened at or after this.
    pub since: Option<Timestamp>,
    /// Opened before this.
    pub until: Option<Timestamp>,
    /// Whether the newest come last.
    pub oldest_first: bool,
    /// Behind this number.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// A part of the list.
#[derive(Debug, Clone, Default)]
pub struct LetterRows {
    /// The letters.
    pub letters: Vec<DeadLetter>,
    /// The number behind which the next part begins, if there may be more.
    pub next: Option<u64>,
}

impl LetterList {
    /// Whether a letter is in the list.
    pub fn has(&self, letter: &DeadLetter) -> bool {
        let of = |name: &str| letter.key.as_ref().is_some_and(|key| key.type_name() == name);
        let named = |glob: &Glob| letter.key.as_ref().is_some_and(|key| glob.matches(key.scope_name()));
        let brought = |batch: &BatchId| {
            letter.batch_id == *batch || letter.history.iter().any(|attempt| attempt.batch_id == *batch)
        };
        (self.states.is_empty() || self.states.contains(&letter.state.as_str()))
            && self.source.as_ref().is_none_or(|source| letter.source == *source)
            && self.kind.is_none_or(|kind| letter.kind == kind)
            && self.code.as_ref().is_none_or(|code| letter.code == *code)
            && self.since.is_none_or(|since| letter.opened_at >= since)
            && self.until.is_none_or(|until| letter.opened_at < until)
            && self.type_name.as_deref().is_none_or(of)
            && self.name.as_ref().is_none_or(named)
            && self.batch.as_ref().is_none_or(brought)
            && self.signature.as_ref().is_none_or(|signature| letter.signature() == *signature)
    }

    /// The rows to look at: those of a group, of all unsettled letters, or of
    /// all letters.
    fn range(&self) -> (Table, KeyRange) {
        let unsettled =
            !self.states.is_empty() && self.states.iter().all(|state| ["open", "requeued"].contains(state));
        let (table, prefix) = match &self.signature {
            Some(signature) if unsettled => (Table::LetterIndex, group_prefix(signature)),
            None if unsettled => (Table::LetterIndex, unsettled_prefix()),
            Some(_) | None => (Table::DeadLetters, Vec::new()),
        };
        let mut range = KeyRange::of_prefix(&prefix);
        range.backwards = !self.oldest_first;
        if let Some(after) = self.after {
            let mut row = prefix.clone();
            row.extend_from_slice(&after.to_be_bytes());
            if self.oldest_first {
                range.from = Bound::Excluded(row);
            } else {
                range.to = Bound::Excluded(row);
            }
        }
        (table, range)
    }
}

impl View<'_> {
    /// A part of the letters, by their numbers: the order in which they came.
    /// A part may be short, or empty, though more follows.
    pub fn list_dead_letters(&self, list: &LetterList) -> Result<LetterRows> {
        let (table, mut range) = list.range();
        let mut found = LetterRows::default();
        let mut looked_at = 0;
        loop {
            let rows = self.range(table, &range, super::PART)?;
            let last = rows.len() < super::PART;
            for (row, value) in rows {
                let id = number_behind(&row);
                let bytes = if table == Table::DeadLetters {
                    Some(value)
                } else {
                    self.get(Table::DeadLetters, &id.to_be_bytes())?
                };
                looked_at += 1;
                if let Some(bytes) = bytes {
                    let letter: DeadLetter = decode(Table::DeadLetters, &bytes)?;
                    if list.has(&letter) {
                        if found.letters.len() >= list.limit {
                            found.next = found.letters.last().map(|letter| letter.id);
                            return Ok(found);
                        }
                        found.letters.push(letter);
                    }
                }
                if looked_at >= LOOKED_AT {
                    found.next = Some(id);
                    return Ok(found);
                }
                if list.oldest_first {
                    range.from = Bound::Excluded(row);
                } else {
                    range.to = Bound::Excluded(row);
                }
            }
            if last {
                return Ok(found);
            }
        }
    }
}
