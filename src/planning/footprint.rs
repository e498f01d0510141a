//! What a plan touches (`SEMANTICS` 6): the keys that it changes, both ends of
//! each relationship that it changes or asserts anew, and the relationships
//! that it moves. Kept as sorted 64-bit prefixes of key hashes behind the
//! changes of the plan's file; two keys of one prefix only cost a plan that is
//! made again.

use std::path::Path;

use super::format::block_file::{BlockReader, BlockWriter, FileKind, Unpacker, invalid, record_at};
use super::format::bytes::u64_at;
use super::plan_writer::SectionWriter;
use super::sorter::{Record, Sorted, Sorter};
use crate::domain::key::KeyHash;
use crate::domain::plan::FootprintRef;
use crate::error::Result;

/// Keys in a record of the file.
const RUN: usize = 1024;

#[derive(Debug, Clone, Copy)]
struct Prefix(u64);

impl Record for Prefix {
    const SIZE: usize = 8;
    type Key = u64;

    fn key(&self) -> u64 {
        self.0
    }

    fn write(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        Self(u64_at(bytes, 0))
    }
}

/// Collects a footprint in any order.
pub struct Footprint {
    keys: Sorter<Prefix>,
    last: [Option<u64>; 2],
}

impl Footprint {
    /// An empty one; sorts within `budget` bytes and spills to `tmp`.
    pub fn new(tmp: &Path, budget: usize) -> Self {
        Self { keys: Sorter::new(tmp, "footprint", budget), last: [None; 2] }
    }

    /// Takes a key. Contents follow each other, so that the end which they
    /// share is mostly one of the last two.
    #[inline]
    pub fn push(&mut self, key: KeyHash) -> Result<()> {
        let prefix = (key.0 >> 64) as u64;
        if self.last.contains(&Some(prefix)) {
            return Ok(());
        }
        self.last = [Some(prefix), self.last[0]];
        self.keys.push(Prefix(prefix))
    }

    /// Writes it behind what a plan's file has already.
    pub fn append_to(self, tmp: &Path, out: &BlockWriter, whole: bool) -> Result<FootprintRef> {
        let mut sorted = self.keys.finish()?;
        let mut section = SectionWriter::new(tmp, "footprint")?;
        let mut run = Vec::with_capacity(RUN * 8);
        let (mut keys, mut last) = (0, None);
        while let Some(prefix) = next(&mut sorted, &mut last)? {
            run.extend_from_slice(&prefix.to_le_bytes());
            keys += 1;
            if run.len() == RUN * 8 {
                section.push(|out| out.extend_from_slice(&run))?;
                run.clear();
            }
        }
        if !run.is_empty() {
            section.push(|out| out.extend_from_slice(&run))?;
        }
        let (first_block, blocks) = section.append_to(out)?;
        Ok(FootprintRef { first_block, blocks, keys, whole })
    }
}

/// The next prefix that differs from the last.
fn next(sorted: &mut Sorted<Prefix>, last: &mut Option<u64>) -> Result<Option<u64>> {
    while let Some(Prefix(prefix)) = sorted.take_next()? {
        if last.replace(prefix) != Some(prefix) {
            return Ok(Some(prefix));
        }
    }
    Ok(None)
}

/// A stored footprint, read from its beginning.
struct Stored {
    file: BlockReader,
    block: u32,
    end: u32,
    unpacker: Unpacker,
    raw: Vec<u8>,
    at: usize,
    keys: Vec<u64>,
    left: usize,
}

impl Stored {
    fn open(path: &Path, footprint: &FootprintRef) -> Result<Self> {
        Ok(Self {
            file: BlockReader::open(path, FileKind::Plan)?,
            block: footprint.first_block,
            end: footprint.first_block + footprint.blocks,
            unpacker: Unpacker::new()?,
            raw: Vec::new(),
            at: 0,
            keys: Vec::new(),
            left: 0,
        })
    }

    fn take_next(&mut self) -> Result<Option<u64>> {
        loop {
            if self.left > 0 {
                self.left -= 1;
                return Ok(self.keys.get(self.left).copied());
            }
            match record_at(&self.raw, self.at) {
                Some((record, next)) => {
                    self.at = next;
                    // Backwards, so that the next one is at the end.
                    self.keys.clear();
                    self.keys.extend(record.chunks_exact(8).rev().map(|bytes| u64_at(bytes, 0)));
                    self.left = self.keys.len();
                }
                None if self.block < self.end => {
                    self.file.read(self.block, &mut self.unpacker, &mut self.raw)?;
                    self.block += 1;
                    self.at = 0;
                }
                None => return Ok(None),
            }
        }
    }
}

/// Whether two plans' footprints meet, each by the file of its plan.
///
/// # Errors
/// When a file is missing or damaged.
pub fn meet(a: (&Path, &FootprintRef), b: (&Path, &FootprintRef)) -> Result<bool> {
    if a.1.is_empty() || b.1.is_empty() {
        return Ok(false);
    }
    if a.1.whole || b.1.whole {
        return Ok(true);
    }
    let (mut left, mut right) = (Stored::open(a.0, a.1)?, Stored::open(b.0, b.1)?);
    let (mut counted, mut heads) = ([0u64; 2], [left.take_next()?, right.take_next()?]);
    while let [Some(one), Some(other)] = heads {
        if one == other {
            return Ok(true);
        }
        if one < other {
            heads[0] = left.take_next()?;
            counted[0] += 1;
        } else {
            heads[1] = right.take_next()?;
            counted[1] += 1;
        }
    }
    // Whichever came to its end must have handed out all of its keys.
    for (n, (path, footprint)) in [a, b].into_iter().enumerate() {
        if heads[n].is_none() && counted[n] != footprint.keys {
            return Err(invalid(path, "its footprint has another number of keys than was stored"));
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn write(folder: &Path, name: &str, keys: &[u64], whole: bool) -> (std::path::PathBuf, FootprintRef) {
        let mut footprint = Footprint::new(folder, 64);
        for key in keys {
            footprint.push(KeyHash(u128::from(*key) << 64 | 7)).unwrap();
        }
        let path = folder.join(name);
        let out = BlockWriter::create(&path, FileKind::Plan).unwrap();
        let stored = footprint.append_to(folder, &out, whole).unwrap();
        out.finish().unwrap().sync().unwrap();
        (path, stored)
    }

    proptest! {
        // Each case syncs two files.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn two_footprints_meet_exactly_when_they_share_a_key(
            a in prop::collection::vec(1u64..60, 0..20),
            b in prop::collection::vec(1u64..60, 0..20),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (first, second) = (write(folder.path(), "a", &a, false), write(folder.path(), "b", &b, false));
            let of = |keys: &[u64]| keys.iter().copied().collect::<BTreeSet<_>>();
            prop_assert_eq!(first.1.keys, of(&a).len() as u64);
            let expected = of(&a).intersection(&of(&b)).next().is_some();
            prop_assert_eq!(meet((&first.0, &first.1), (&second.0, &second.1)).unwrap(), expected);
        }
    }

    #[test]
    fn a_whole_one_meets_all_but_an_empty_one_and_long_ones_are_read_to_their_ends() {
        let folder = tempfile::tempdir().unwrap();
        let whole = write(folder.path(), "w", &[], true);
        let empty = write(folder.path(), "e", &[], false);
        let even: Vec<u64> = (1..50_000).map(|n| n * 2).collect();
        let odd: Vec<u64> = even.iter().map(|n| n + 1).collect();
        let (even, odd) =
            (write(folder.path(), "even", &even, false), write(folder.path(), "odd", &odd, false));
        let last = write(folder.path(), "last", &[99_999], false);
        let meets = |a: &(std::path::PathBuf, FootprintRef), b: &(std::path::PathBuf, FootprintRef)| {
            meet((&a.0, &a.1), (&b.0, &b.1)).unwrap()
        };
        assert!(meets(&whole, &even) && meets(&last, &whole) && !meets(&whole, &empty));
        assert!(!meets(&even, &odd) && meets(&odd, &last) && !meets(&even, &last));
        let mut wrong = even.clone();
        wrong.1.keys += 1;
        assert!(meet((&wrong.0, &wrong.1), (&odd.0, &odd.1)).is_err());
    }
}
