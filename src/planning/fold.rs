//! Folding layers of a snapshot into one: all of them into a new base, or the
//! small ones above the base into one of them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;

use super::format::entry::{Entry, NO_POSITION, State};
use super::format::layer::{EndRow, LayerWriter, Scratch};
use super::format::written::Written;
use super::halt::Halt;
use super::layer_tables::{EndRecord, LayerTables};
use super::merged::{Merged, MergedKey};
use super::repack::Repack;
use super::snapshot::{Found, Snapshot};
use super::sorter::Sorter;
use crate::domain::key::{Key, KeyHash};
use crate::domain::stamp::Stamp;
use crate::error::Result;

/// What to fold, decided before the batch is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// The plan's layer goes on top of the others.
    None,
    /// The layers above the base become one.
    Deltas,
    /// Everything becomes a new base, with a new line order.
    Base,
}

/// When layers are folded. The plan is the same whatever these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldLimits {
    /// Layers above the base before they become one.
    pub max_layers: usize,
    /// Entries that a base of fewer counts as.
    pub smallest_base: u64,
}

impl Default for FoldLimits {
    fn default() -> Self {
        Self { max_layers: 6, smallest_base: 4096 }
    }
}

/// Which fold is due. The layers above the base are rewritten when there are
/// many of them; the base when they have grown to a tenth of it, so that the
/// cost of rewriting it is spread over the batches that made it necessary.
pub fn due(snapshot: Option<&Snapshot>, limits: FoldLimits, full: bool, order_is_useless: bool) -> Fold {
    let Some(snapshot) = snapshot else { return Fold::Base };
    let base = snapshot.layer(0).len();
    let above = snapshot.entries() - base;
    // An incremental batch can't write a line order: it leaves the base to
    // the next full one as long as that is bearable.
    let share = if full { 10 } else { 2 };
    if above * share > base.max(limits.smallest_base) || full && order_is_useless {
        Fold::Base
    } else if snapshot.layers() > limits.max_layers {
        Fold::Deltas
    } else {
        Fold::None
    }
}

/// A full record that makes tombstones needless: its stamp and exceptions.
pub struct Covering {
    /// Its stamp.
    pub stamp: Stamp,
    /// Keys of which it says nothing.
    pub exceptions: HashSet<KeyHash>,
}

impl Covering {
    /// Of a record with scope everything.
    pub fn new(stamp: &Stamp, exceptions: &[Key]) -> Self {
        Self { stamp: stamp.clone(), exceptions: exceptions.iter().map(Key::hash).collect() }
    }
}

/// What folding works on.
pub struct FoldInput<'a> {
    /// The snapshot with the plan's layer on top.
    pub next: &'a Snapshot,
    /// The first layer to fold: 0 for all, 1 for those above the base.
    pub from: usize,
    /// Position in the new line order of each old entry; empty without one.
    pub new_positions: &'a [AtomicU32],
    /// Whether the entries of the newest layer have new positions.
    pub positions_are_new: bool,
    /// Tombstones older than this are not needed any more.
    pub horizon: Option<Timestamp>,
    /// Full records of scope everything.
    pub covering: &'a [Covering],
    /// Fingerprint of the comparison settings.
    pub comparison: u64,
    /// Name and path of a pack for bodies of small ones.
    pub repacked: (&'a str, &'a Path),
    /// Folder for runs of sorting.
    pub tmp: &'a Path,
    /// Bytes to sort in memory.
    pub budget: usize,
    /// Whether to go on.
    pub halt: Halt<'a>,
}

/// What folding made.
pub struct Folded {
    /// The folded layer.
    pub layer: Written,
    /// Number of its entries.
    pub entries: u64,
    /// The pack that small ones became, if there were many.
    pub repacked: Option<Written>,
    /// For each position of the new line order the number of its entry.
    pub order: Vec<u32>,
}

/// Writes the folded layer.
pub fn run(input: &FoldInput<'_>, path: &Path, positions: u32) -> Result<Folded> {
    let next = input.next;
    let top = next.layers() - 1;
    let mut writer = LayerWriter::create(path)?;
    let mut tables = LayerTables::default();
    let mut order = vec![NO_POSITION; positions as usize];
    let mut renumbered: Vec<Vec<u32>> = (input.from..next.layers())
        .map(|index| vec![NO_POSITION; next.layer(index).len() as usize])
        .collect();

    let mut repack = Repack::of(next, input.from, input.repacked.0, input.repacked.1)?;
    // Of those that do not, the base is asked.
    let know_positions = (1..next.layers()).all(|index| next.layer(index).meta().knows_positions);
    let mut scratch = Scratch::default();

    let mut merged = Merged::new(next, input.from)?;
    let mut pace = input.halt.pace();
    while let Some(MergedKey { found, mut pos }) = merged.advance()? {
        pace.tick()?;
        let (layer, entry) = (found.layer, found.entry);
        if drops(input, next, &found)? {
            continue;
        }
        let moved = match &mut repack {
            Some(repack) => repack.take(next, &found)?.map(|loc| (repack.name(), loc)),
            None => None,
        };
        let mut adopted = match moved {
            Some((pack, loc)) => {
                let stamp = tables.stamp(next.own_stamp(&found)?);
                Entry { loc: loc.with_pack(tables.pack(pack)?), stamp, ..entry }
            }
            None => tables.adopt(next, &found)?,
        };
        adopted.stale |= next.layer(layer).meta().comparison != input.comparison;
        if input.from > 0 {
            if pos == NO_POSITION && !know_positions {
                pos = next.layer(0).lookup(entry.key, &mut scratch)?.map_or(pos, |(_, base)| base.pos);
            }
            adopted.pos = pos;
        } else {
            adopted.pos = if layer == top && input.positions_are_new {
                entry.pos
            } else {
                let slot = next.slot(&found) as usize;
                input.new_positions.get(slot).map_or(NO_POSITION, |pos| pos.load(Ordering::Relaxed))
            };
        }
        let new_number = writer.push(&adopted)?;
        if adopted.is_live() {
            for (index, number) in merged.same() {
                renumbered[*index - input.from][*number as usize] = new_number;
            }
            if input.from == 0
                && let Some(slot) = order.get_mut(adopted.pos as usize)
            {
                *slot = new_number;
            }
        }
    }

    write_ends(input, &renumbered, &mut writer)?;
    let entries = writer.len();
    let layer = writer.finish(&tables.into_meta(input.comparison))?;
    let repacked = repack.map(Repack::finish).transpose()?;
    Ok(Folded { layer, entries, repacked, order })
}

/// Brings the index of ends over. `renumbered`: of each layer, for each of its
/// entries, the number of what it became.
fn write_ends(input: &FoldInput<'_>, renumbered: &[Vec<u32>], writer: &mut LayerWriter) -> Result<()> {
    let mut ends = Sorter::new(input.tmp, "fold-ends", input.budget);
    for (index, numbers) in renumbered.iter().enumerate() {
        input.next.layer(index + input.from).scan_ends(|row| match numbers.get(row.entry as usize) {
            Some(&entry) if entry != NO_POSITION => ends.push(EndRecord(EndRow { entry, ..row })),
            Some(_) | None => Ok(()),
        })?;
    }
    let mut ends = ends.finish()?;
    let mut last = None;
    while let Some(EndRecord(row)) = ends.take_next()? {
        if last.replace(row) != Some(row) {
            writer.push_end(row)?;
        }
    }
    Ok(())
}

/// Whether an entry has nothing to say in the folded layer.
fn drops(input: &FoldInput<'_>, next: &Snapshot, found: &Found) -> Result<bool> {
    match found.entry.state {
        State::Live => Ok(false),
        // Hides entries of older layers: of no use when there are none.
        State::Gone => Ok(input.from == 0),
        State::Tombstone if input.from > 0 => Ok(false),
        State::Tombstone => {
            let stamp = &next.own_stamp(found)?.stamp;
            let late = input.horizon.is_some_and(|horizon| stamp.source_timestamp < horizon);
            let covered = input
                .covering
                .iter()
                .any(|record| record.stamp > *stamp && !record.exceptions.contains(&found.entry.key));
            Ok(late || covered)
        }
    }
}
