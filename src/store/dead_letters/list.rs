//! Listing letters by what people ask for, a part at a time.

use std::ops::Bound;

use jiff::Timestamp;

use super::super::records::{DeadLetter, LetterKind};
use super::super::tables::{Table, decode, number_behind};
use super::super::tx::{KeyRange, Read, View};
use super::index::{IS_SETTLED, group_prefix, reason_prefix, settled_letter_prefix, unsettled_prefix};
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
#[derive(Debug, Clone)]
pub struct LetterRows<T = DeadLetter> {
    /// The letters, or what was made of them.
    pub letters: Vec<T>,
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

    /// The rows to look at: those of a reason, or of all letters, or of those
    /// alone that are settled, or are not.
    fn range(&self) -> (Table, KeyRange) {
        let (unsettled, settled) = (self.are_all(|state| !is_settled(state)), self.are_all(is_settled));
        let (table, prefix) = match &self.signature {
            Some(signature) if unsettled => (Table::LetterIndex, group_prefix(signature)),
            Some(signature) => (Table::LetterIndex, reason_prefix(signature)),
            None if unsettled => (Table::LetterIndex, unsettled_prefix()),
            None if settled => (Table::LetterIndex, settled_letter_prefix()),
            None => (Table::DeadLetters, Vec::new()),
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

    fn are_all(&self, of: impl Fn(&str) -> bool) -> bool {
        !self.states.is_empty() && self.states.iter().all(|state| of(state))
    }
}

fn is_settled(state: &str) -> bool {
    !["open", "requeued"].contains(&state)
}

impl View<'_> {
    /// A part of the letters, by their numbers: the order in which they came.
    /// A part may be short, or empty, though more follows.
    pub fn list_dead_letters(&self, list: &LetterList) -> Result<LetterRows> {
        self.list_of_dead_letters(list, |letter| letter)
    }

    /// The same, of which only what `make` makes of each is in memory.
    pub fn list_of_dead_letters<T>(
        &self,
        list: &LetterList,
        mut make: impl FnMut(DeadLetter) -> T,
    ) -> Result<LetterRows<T>> {
        let (table, mut range) = list.range();
        let settled_only = list.are_all(is_settled);
        let mut found = LetterRows { letters: Vec::new(), next: None };
        let mut last_id = None;
        let mut looked_at = 0;
        loop {
            let rows = self.range(table, &range, super::PART)?;
            let last = rows.len() < super::PART;
            for (row, value) in rows {
                let id = number_behind(&row);
                let bytes = if table == Table::DeadLetters {
                    Some(value)
                } else if settled_only && list.signature.is_some() && value != IS_SETTLED {
                    None
                } else {
                    self.get(Table::DeadLetters, &id.to_be_bytes())?
                };
                looked_at += usize::from(bytes.is_some());
                if let Some(bytes) = bytes {
                    let letter: DeadLetter = decode(Table::DeadLetters, &bytes)?;
                    if list.has(&letter) {
                        if found.letters.len() >= list.limit {
                            found.next = last_id;
                            return Ok(found);
                        }
                        last_id = Some(letter.id);
                        found.letters.push(make(letter));
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
