//! What a layer's entries refer to, collected while it is written: packs and stamps
//! by number, and the ends of relationships.

use std::collections::HashMap;

use super::format::bytes::{u32_at, u64_at};
use super::format::entry::{Entry, Loc};
use super::format::layer::{EndRow, LayerMeta, StampInfo};
use super::snapshot::{Found, Snapshot};
use super::sorter::Record;
use crate::error::{Error, Result};

/// The number of the plan's own pack in its layer, as in its records.
pub const OWN_PACK: u16 = 0;

/// Collects the meta of a layer while it is written.
#[derive(Default)]
pub struct LayerTables {
    packs: Vec<String>,
    pack_ids: HashMap<String, u16>,
    stamps: Vec<StampInfo>,
    stamp_ids: HashMap<StampInfo, u32>,
}

impl LayerTables {
    /// The number of a pack.
    pub fn pack(&mut self, name: &str) -> Result<u16> {
        if let Some(id) = self.pack_ids.get(name) {
            return Ok(*id);
        }
        if self.packs.len() >= Loc::MAX_PACKS {
            return Err(Error::internal("a layer is limited to 65,535 packs"));
        }
        let id = self.packs.len() as u16;
        self.packs.push(name.to_owned());
        self.pack_ids.insert(name.to_owned(), id);
        Ok(id)
    }

    /// The number of a stamp.
    pub fn stamp(&mut self, stamp: &StampInfo) -> u32 {
        if let Some(id) = self.stamp_ids.get(stamp) {
            return *id;
        }
        let id = self.stamps.len() as u32;
        self.stamps.push(stamp.clone());
        self.stamp_ids.insert(stamp.clone(), id);
        id
    }

    /// The meta.
    pub fn into_meta(self, comparison: u64) -> LayerMeta {
        LayerMeta { packs: self.packs, stamps: self.stamps, comparison, knows_positions: true }
    }

    /// An entry of `snapshot` as it stands in this layer.
    pub fn adopt(&mut self, snapshot: &Snapshot, found: &Found) -> Result<Entry> {
        let loc = if found.entry.loc == Loc::NONE {
            Loc::NONE
        } else {
            let meta = snapshot.layer(found.layer).meta();
            // `pack` checks that the number is in the table.
            snapshot.pack(found.layer, found.entry.loc)?;
            found.entry.loc.with_pack(self.pack(&meta.packs[found.entry.loc.pack() as usize])?)
        };
        let stamp = self.stamp(snapshot.own_stamp(found)?);
        Ok(Entry { loc, stamp, ..found.entry })
    }
}

/// [`EndRow`] as a sortable record.
#[derive(Debug, Clone, Copy)]
pub struct EndRecord(pub EndRow);

impl Record for EndRecord {
    const SIZE: usize = 16;
    type Key = EndRow;

    fn key(&self) -> EndRow {
        self.0
    }

    fn write(&self, out: &mut [u8]) {
        out[..8].copy_from_slice(&self.0.end.to_le_bytes());
        out[8..12].copy_from_slice(&self.0.entry.to_le_bytes());
        out[12..16].copy_from_slice(&u32::from(self.0.to).to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        Self(EndRow { end: u64_at(bytes, 0), entry: u32_at(bytes, 8), to: u32_at(bytes, 12) == 1 })
    }
}
