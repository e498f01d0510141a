//! Groups of dead letters: the reasons that unsettled ones have, the most
//! frequent first.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::engine::Engine;
use super::super::views::{LetterGroupView, Page};
use super::dead_letters::view_of;
use super::{Part, cursor};
use crate::domain::ids::SourceId;
use crate::error::{Error, ErrorKind, Result, by_code};
use crate::store::{LetterGroup, LetterKind, LetterList, View};

/// Which groups.
#[derive(Debug, Clone, Default)]
pub struct GroupQuery {
    /// Of this source.
    pub source_id: Option<SourceId>,
    /// Of entities and relationships, or of batches.
    pub kind: Option<LetterKind>,
    /// With this code.
    pub code: Option<String>,
    /// Which part.
    pub part: Part,
}

/// Where a group stands in the list: by its count, then the time of its last
/// letter, both falling.
type Place = (Reverse<u64>, Reverse<Timestamp>, String);

fn place(group: &LetterGroup) -> Place {
    (Reverse(group.count), Reverse(group.last_at), group.signature.clone())
}

/// A group in its place.
struct Placed(Place, LetterGroup);

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Placed {}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

fn key_of((Reverse(count), Reverse(at), signature): &Place) -> Vec<u8> {
    let mut key = count.to_be_bytes().to_vec();
    key.extend_from_slice(&at.as_nanosecond().to_be_bytes());
    key.extend_from_slice(signature.as_bytes());
    key
}

fn place_of(key: &[u8]) -> Option<Place> {
    let (count, rest) = key.split_first_chunk()?;
    let (at, signature) = rest.split_first_chunk()?;
    let at = Timestamp::from_nanosecond(i128::from_be_bytes(*at)).ok()?;
    let signature = String::from_utf8(signature.to_vec()).ok()?;
    Some((Reverse(u64::from_be_bytes(*count)), Reverse(at), signature))
}

impl GroupQuery {
    /// The list, with all that bounds it, for cursors.
    fn name(&self) -> String {
        format!("letter groups\0{:?}\0{:?}\0{:?}", self.source_id, self.kind, self.code)
    }

    fn has(&self, group: &LetterGroup) -> bool {
        self.source_id.as_ref().is_none_or(|source| group.source == *source)
            && self.kind.is_none_or(|kind| group.kind == kind)
            && self.code.as_ref().is_none_or(|code| group.code.eq_ignore_ascii_case(code))
    }
}

impl Engine {
    /// A part of the groups of dead letters that are not settled, the largest
    /// first. A group that grows meanwhile may come to stand before the part.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a cursor of another list, or a limit out of
    /// bounds, [`ErrorKind::NotFound`] for a source or code that nobody knows.
    pub fn letter_groups(&self, query: &GroupQuery) -> Result<Page<LetterGroupView>> {
        let limit = query.part.limit()?;
        self.expect_named(query.source_id.as_ref(), query.code.as_deref(), None)?;
        let damaged = || Error::new(ErrorKind::Usage, "`cursor` is damaged");
        let after = match query.part.after(&query.name())? {
            None => None,
            Some(key) => Some(place_of(&key).ok_or_else(damaged)?),
        };
        self.store.read(|view| {
            // The first of those behind the place, and one that tells of more.
            let mut first: BTreeSet<Placed> = BTreeSet::new();
            view.each_letter_group(|group| {
                let place = place(&group);
                if query.has(&group) && after.as_ref().is_none_or(|after| place > *after) {
                    first.insert(Placed(place, group));
                    if first.len() > limit + 1 {
                        first.pop_last();
                    }
                }
                Ok(())
            })?;
            let more = first.len() > limit;
            if more {
                first.pop_last();
            }
            let next_cursor = first
                .last()
                .filter(|_| more)
                .map(|Placed(place, _)| cursor::encode(&query.name(), &key_of(place)));
            let items = first.into_iter().map(|Placed(_, group)| group_view(view, group));
            Ok(Page { items: items.collect::<Result<_>>()?, next_cursor })
        })
    }

    /// A group; `None` when all of it are settled, or there never was one.
    ///
    /// # Errors
    /// Those of the store.
    pub fn letter_group(&self, signature: &str) -> Result<Option<LetterGroupView>> {
        self.store.read(|view| {
            let found = view.letter_group(signature)?;
            found.map(|group| group_view(view, group)).transpose()
        })
    }
}

fn group_view(view: &View<'_>, group: LetterGroup) -> Result<LetterGroupView> {
    let list = LetterList {
        states: vec!["open", "requeued"],
        signature: Some(group.signature.clone()),
        limit: 1,
        ..LetterList::default()
    };
    let example = view.list_dead_letters(&list)?.letters.pop();
    Ok(LetterGroupView {
        meaning: by_code(&group.code).map(|info| info.meaning.to_owned()).unwrap_or_default(),
        signature: group.signature,
        source_id: group.source,
        kind: group.kind,
        code: group.code,
        message: group.pattern,
        count: group.count,
        first_at: group.first_at,
        last_at: group.last_at,
        example: example.as_ref().map(view_of),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_from_its_key() {
        let place = (Reverse(7), Reverse(Timestamp::UNIX_EPOCH), "4c5f2cd6803daa57".to_owned());
        assert_eq!(place_of(&key_of(&place)), Some(place));
        assert_eq!(place_of(b"short"), None);
    }
}
