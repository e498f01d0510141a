//! Which live keys of the snapshot a pass has seen, and which positions of the
//! line order no longer stand for theirs.

use std::sync::atomic::{AtomicU64, Ordering};

use super::format::entry::NO_POSITION;
use super::format::layer::Scratch;
use super::snapshot::{Found, Snapshot};
use crate::error::Result;

/// A bit for each live key of the snapshot.
pub struct Seen {
    bits: Vec<AtomicU64>,
    positions: u64,
}

impl Seen {
    /// None, of so many positions of the line order and entries of the snapshot.
    pub fn new(positions: u64, entries: u64) -> Self {
        let words = (positions + entries).div_ceil(64) as usize;
        Self { bits: (0..words).map(|_| AtomicU64::new(0)).collect(), positions }
    }

    /// The bit of an entry: that of its position in the line order, so that
    /// step 1 need not know the entry, or one of its own.
    pub fn slot(&self, snapshot: &Snapshot, found: &Found) -> u64 {
        if self.positions > 0 && found.layer == 0 && found.entry.pos != NO_POSITION {
            u64::from(found.entry.pos)
        } else {
            self.positions + snapshot.slot(found)
        }
    }

    /// Sets a bit and tells whether it was set before.
    #[inline]
    pub fn test_and_set(&self, slot: u64) -> bool {
        let mask = 1 << (slot % 64);
        self.bits[(slot / 64) as usize].fetch_or(mask, Ordering::Relaxed) & mask != 0
    }

    /// Sets some bits of a word, unless one of them is set.
    #[inline]
    pub fn set_if_none(&self, word: usize, mask: u64) -> bool {
        let set = |bits: u64| (bits & mask == 0).then_some(bits | mask);
        self.bits[word].fetch_update(Ordering::Relaxed, Ordering::Relaxed, set).is_ok()
    }

    /// Whether an entry was seen.
    pub fn contains(&self, snapshot: &Snapshot, found: &Found) -> bool {
        let slot = self.slot(snapshot, found);
        self.bits[(slot / 64) as usize].load(Ordering::Relaxed) >> (slot % 64) & 1 == 1
    }

    /// The bits of 64 positions of the line order, the lowest that of the first.
    pub fn word(&self, word: usize) -> u64 {
        self.bits[word].load(Ordering::Relaxed)
    }
}

/// Positions of the line order whose entry a newer layer hides.
pub fn dropped(snapshot: &Snapshot, positions: u32) -> Result<Vec<u64>> {
    let mut bits = vec![0u64; (positions as usize).div_ceil(64)];
    let mut scratch = Scratch::default();
    for index in 1..snapshot.layers() {
        let layer = snapshot.layer(index);
        let knows = layer.meta().knows_positions;
        let mut scan = layer.scan();
        while let Some((_, entry)) = scan.advance()? {
            let mut pos = entry.pos;
            if pos == NO_POSITION && !knows {
                pos = snapshot.layer(0).lookup(entry.key, &mut scratch)?.map_or(pos, |(_, base)| base.pos);
            }
            if pos < positions {
                bits[pos as usize / 64] |= 1 << (pos % 64);
            }
        }
    }
    Ok(bits)
}
