//! Documents of a segment with a level each: all of them, or those that are
//! still in question.

use tantivy::{DocSet, TERMINATED};

/// From so many times as many postings as documents on, postings are jumped
/// through instead of read one by one; the other way round, documents are.
const JUMP: usize = 8;

/// Documents in question.
pub enum Docs {
    /// All of a segment, so many.
    All(usize),
    /// These, in order.
    Some(Vec<u32>),
}

impl Docs {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::All(count) => *count,
            Self::Some(docs) => docs.len(),
        }
    }

    /// The document at a place.
    pub fn get(&self, place: usize) -> u32 {
        match self {
            Self::All(_) => place as u32,
            Self::Some(docs) => docs.get(place).copied().unwrap_or(TERMINATED),
        }
    }

    /// The place of a document.
    pub fn place(&self, doc: u32) -> Option<usize> {
        match self {
            Self::All(count) => Some(doc as usize).filter(|place| place < count),
            Self::Some(docs) => docs.binary_search(&doc).ok(),
        }
    }

    /// Gives each document that `found` has at least this level.
    pub fn raise<D: DocSet + ?Sized>(&self, found: &mut D, level: u32, levels: &mut [u32]) {
        let mut at = found.doc();
        match self {
            Self::All(_) => {
                while at != TERMINATED {
                    if let Some(slot) = levels.get_mut(at as usize) {
                        *slot = (*slot).max(level);
                    }
                    at = found.advance();
                }
            }
            // One that is only begun may stand for a thousand words, most of
            // them in few documents: these are not worth a walk through all.
            Self::Some(docs) if found.size_hint() as usize * JUMP < docs.len() => {
                let mut from = 0;
                while at != TERMINATED {
                    from += docs.get(from..).unwrap_or_default().partition_point(|doc| *doc < at);
                    match (docs.get(from), levels.get_mut(from)) {
                        (Some(doc), Some(slot)) if *doc == at => *slot = (*slot).max(level),
                        (Some(_), _) => {}
                        (None, _) => return,
                    }
                    at = found.advance();
                }
            }
            Self::Some(docs) => {
                let jump = found.size_hint() as usize / JUMP > docs.len();
                for (doc, slot) in docs.iter().zip(levels) {
                    if jump && at < *doc {
                        at = found.seek(*doc);
                    }
                    while at < *doc {
                        at = found.advance();
                    }
                    if at == *doc {
                        *slot = (*slot).max(level);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A list of postings.
    struct List {
        docs: Vec<u32>,
        at: usize,
    }

    impl DocSet for List {
        fn advance(&mut self) -> u32 {
            self.at += 1;
            self.doc()
        }

        fn doc(&self) -> u32 {
            self.docs.get(self.at).copied().unwrap_or(TERMINATED)
        }

        fn size_hint(&self) -> u32 {
            self.docs.len() as u32
        }
    }

    proptest! {
        /// However long one is beside the other: documents that both have get the level.
        #[test]
        fn what_both_have_gets_the_level(
            docs in prop::collection::btree_set(0u32..400, 0..200),
            few in prop::collection::btree_set(0u32..400, 0..12),
            many in prop::collection::btree_set(0u32..400, 100..300),
        ) {
            let all: Vec<u32> = docs.iter().copied().collect();
            for postings in [&few, &many, &docs, &BTreeSet::new()] {
                let list = || List { docs: postings.iter().copied().collect(), at: 0 };
                for before in [0, 3, 9] {
                    let mut levels = vec![before; all.len()];
                    Docs::Some(all.clone()).raise(&mut list(), 5, &mut levels);
                    let expected: Vec<u32> =
                        all.iter().map(|doc| if postings.contains(doc) { before.max(5) } else { before }).collect();
                    prop_assert_eq!(levels, expected);
                }
                let mut levels = vec![0; 400];
                Docs::All(400).raise(&mut list(), 5, &mut levels);
                let expected: Vec<u32> =
                    (0..400).map(|doc| if postings.contains(&doc) { 5 } else { 0 }).collect();
                prop_assert_eq!(levels, expected);
            }
        }
    }
}
