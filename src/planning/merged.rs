//! The keys of several layers of a snapshot in order, each once, with what the
//! newest of the layers says of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::format::entry::{Entry, NO_POSITION};
use super::format::layer::Scan;
use super::snapshot::{Found, Snapshot};
use crate::domain::key::KeyHash;
use crate::error::Result;

/// Goes over the layers of a snapshot from one on.
pub struct Merged<'a> {
    from: usize,
    scans: Vec<Scan<'a>>,
    /// The next entry of each layer.
    heads: Vec<Option<(u32, Entry)>>,
    /// Their keys, and of one key the newest layer first.
    heap: BinaryHeap<Reverse<(KeyHash, Reverse<usize>)>>,
    /// The layers of the last key, newest first, with the entry's number there.
    same: Vec<(usize, u32)>,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct MergedKey {
    /// What the newest of the layers says of it.
    pub found: Found,
    /// Its place in the base, as the newest layer that says one has it.
    pub pos: u32,
}

impl<'a> Merged<'a> {
    /// Before the first key.
    ///
    /// # Errors
    /// Of the layers' files.
    pub fn new(snapshot: &'a Snapshot, from: usize) -> Result<Self> {
        let scans = (from..snapshot.layers()).map(|index| snapshot.layer(index).scan()).collect();
        let (heads, heap, same) = (Vec::new(), BinaryHeap::new(), Vec::new());
        let mut merged = Self { from, scans, heads, heap, same };
        merged.heads.resize(merged.scans.len(), None);
        for index in 0..merged.scans.len() {
            merged.next_of(index)?;
        }
        Ok(merged)
    }

    /// Takes the next entry of a layer for its head.
    fn next_of(&mut self, index: usize) -> Result<()> {
        self.heads[index] = self.scans[index].advance()?;
        if let Some((_, entry)) = &self.heads[index] {
            self.heap.push(Reverse((entry.key, Reverse(index))));
        }
        Ok(())
    }

    /// The next key.
    ///
    /// # Errors
    /// Of the layers' files.
    pub fn advance(&mut self) -> Result<Option<MergedKey>> {
        self.same.clear();
        let mut newest: Option<(KeyHash, MergedKey)> = None;
        while let Some(Reverse((key, Reverse(index)))) = self.heap.peek().copied() {
            if newest.is_some_and(|(first, _)| first != key) {
                break;
            }
            self.heap.pop();
            let Some((number, entry)) = self.heads[index].take() else { continue };
            self.same.push((index + self.from, number));
            let found = Found { layer: index + self.from, number, entry };
            let (_, merged) = newest.get_or_insert((key, MergedKey { found, pos: NO_POSITION }));
            if merged.pos == NO_POSITION {
                merged.pos = entry.pos;
            }
            self.next_of(index)?;
        }
        Ok(newest.map(|(_, merged)| merged))
    }

    /// The layers that have an entry of the last key, newest first, each with
    /// the number of that entry.
    pub fn same(&self) -> &[(usize, u32)] {
        &self.same
    }
}
