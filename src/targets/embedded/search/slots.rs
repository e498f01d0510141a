//! Documents of a segment with a level each: all of them, or those that are
//! still in question.

use tantivy::{DocSet, TERMINATED};

/// From so many times as many postings as documents on, postings are jumped
/// through instead of read one by one.
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
