//! Relationships that come or go with an end of theirs, and are judged for that
//! alone. There may be as many as there are relationships.

use std::path::Path;

use super::sorter::Sorter;
use crate::domain::key::KeyHash;
use crate::error::Result;

/// Collects them in any order.
pub struct MovedKeys {
    moved: Sorter<KeyHash>,
    /// Those that are judged as candidates.
    judged: Sorter<KeyHash>,
}

impl MovedKeys {
    /// None; sorts within `budget` bytes and spills to `tmp`.
    pub fn new(tmp: &Path, budget: usize) -> Self {
        let sorter = |name: &str| Sorter::new(tmp, name, budget / 2);
        Self { moved: sorter("moved"), judged: sorter("moved-judged") }
    }

    /// Takes a relationship of which an end comes or goes.
    pub fn push(&mut self, key: KeyHash) -> Result<()> {
        self.moved.push(key)
    }

    /// Leaves out a relationship that is judged as a candidate. Comes after all
    /// that are taken.
    #[inline]
    pub fn leave_out(&mut self, key: KeyHash) -> Result<()> {
        if self.moved.is_empty() { Ok(()) } else { self.judged.push(key) }
    }

    /// Hands out what is left, each once, in order.
    pub fn each(self, mut take: impl FnMut(KeyHash) -> Result<()>) -> Result<()> {
        let (mut moved, mut judged) = (self.moved.finish()?, self.judged.finish()?);
        let (mut out, mut last) = (judged.take_next()?, None);
        while let Some(key) = moved.take_next()? {
            if last.replace(key) == Some(key) {
                continue;
            }
            while out.is_some_and(|out| out < key) {
                out = judged.take_next()?;
            }
            if out.is_none_or(|out| out != key) {
                take(key)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_moves_and_is_no_candidate_is_handed_out_once(
            moved in prop::collection::vec(0u128..40, 0..60),
            judged in prop::collection::vec(0u128..40, 0..40),
            budget in 1usize..400,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut keys = MovedKeys::new(folder.path(), budget);
            moved.iter().for_each(|key| keys.push(KeyHash(*key)).unwrap());
            judged.iter().for_each(|key| keys.leave_out(KeyHash(*key)).unwrap());
            let mut found = Vec::new();
            keys.each(|key| {
                found.push(key.0);
                Ok(())
            })
            .unwrap();
            let judged: BTreeSet<u128> = judged.into_iter().collect();
            let expected: BTreeSet<u128> = moved.into_iter().filter(|key| !judged.contains(key)).collect();
            prop_assert_eq!(found, Vec::from_iter(expected));
        }
    }
}
