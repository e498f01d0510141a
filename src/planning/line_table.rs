//! All hashes of a line order in a table, for batches that bring their lines
//! in another order.
//!
//! Open addressing with linear probing; a slot holds a position. The hashes
//! are XXH3-128 of lines, so their own bits spread them.

use super::follow::Place;
use super::format::entry::NO_POSITION;
use super::format::order::Order;
use crate::error::Result;

/// The table.
pub struct LineTable {
    hashes: Vec<u128>,
    entries: Vec<u32>,
    slots: Vec<u32>,
    mask: usize,
}

fn slots_for(positions: u32) -> usize {
    (positions as usize + positions as usize / 2).next_power_of_two().max(16)
}

impl LineTable {
    /// Bytes that a table of so many positions takes.
    pub fn bytes(positions: u32) -> usize {
        positions as usize * 20 + slots_for(positions) * 4
    }

    /// Reads the order into a table.
    ///
    /// # Errors
    /// When the order can't be read or is damaged.
    pub fn new(order: &Order) -> Result<Self> {
        let slots = slots_for(order.positions());
        let mut table = Self {
            hashes: Vec::with_capacity(order.positions() as usize),
            entries: Vec::with_capacity(order.positions() as usize),
            slots: vec![NO_POSITION; slots],
            mask: slots - 1,
        };
        order.scan(|hash, entry| {
            let position = table.hashes.len() as u32;
            table.hashes.push(hash);
            table.entries.push(entry);
            if entry != NO_POSITION {
                let mut slot = hash as usize & table.mask;
                while table.slots[slot] != NO_POSITION {
                    slot = (slot + 1) & table.mask;
                }
                table.slots[slot] = position;
            }
        })?;
        Ok(table)
    }

    /// Where the line of this hash was.
    #[inline]
    pub fn find(&self, hash: u128) -> Option<Place> {
        let mut slot = hash as usize & self.mask;
        loop {
            let position = self.slots[slot];
            if position == NO_POSITION {
                return None;
            }
            if self.hashes[position as usize] == hash {
                return Some(Place { position, entry: self.entries[position as usize] });
            }
            slot = (slot + 1) & self.mask;
        }
    }
}
