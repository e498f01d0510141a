//! Published values that have another form by now: arrays that were declared
//! unordered since are published sorted (`SEMANTICS` 12), whatever the batch
//! says of their keys.

use std::sync::atomic::{AtomicU32, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::asserted::{Asserted, RESTATED};
use super::bodies::Bodies;
use super::format::body::key_head;
use super::format::entry::{Loc, NO_POSITION};
use super::format::layer::{Layer, Scratch};
use super::pack_dictionaries::PackDictionaries;
use super::pack_writer::PackWriter;
use super::pass::{PassInput, name_depth};
use super::settle::OWN_PACK;
use super::snapshot::Snapshot;
use super::sorter::Sorter;
use crate::domain::json::{comparison_form, stored_form};
use crate::domain::key::{KeyHash, Kind};
use crate::error::Result;

/// The number of the file of what no line of the batch says: behind all of them.
const NO_FILE: u32 = u32::MAX;

/// Stands for the hash of a line's attributes where no line was read: the next one
/// is compared by what it says.
const NO_RAW: u64 = 0;

/// Whether one of these keys has its new form by a plan's layer.
pub fn has_any<'a>(layer: &Layer, keys: impl Iterator<Item = &'a KeyHash>) -> Result<bool> {
    let mut scratch = Scratch::default();
    for key in keys {
        if let Some((_, entry)) = layer.lookup(*key, &mut scratch)?
            && entry.is_live()
            && entry.raw == NO_RAW
            && entry.loc.pack() == OWN_PACK
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the new form of each published value that has one into the pack, and
/// an assertion of it behind those of the batch.
pub fn run(
    input: &PassInput<'_>,
    snapshot: &Snapshot,
    dictionaries: &PackDictionaries<'_>,
    new_positions: &[AtomicU32],
    asserted: &mut Sorter<Asserted>,
) -> Result<()> {
    let mut pack = PackWriter::new(input.pack, dictionaries)?;
    let mut bodies = Bodies::new()?;
    let (mut stored, mut compared) = (Vec::new(), Vec::new());
    let mut done = |restated| asserted.push(restated);
    let mut pace = input.halt.pace();
    snapshot.each_live(|found| {
        pace.tick()?;
        let body = snapshot.body(&found, &mut bodies)?;
        let body = body.body()?;
        stored.clear();
        stored_form(body.attributes, input.rules, &mut stored);
        let is_skipped = || input.skips.has_parts(body.type_name(), body.scope_name());
        if stored == body.attributes || is_skipped() {
            return Ok(());
        }
        compared.clear();
        comparison_form(&stored, input.rules, &mut compared);
        let place = new_positions.get(snapshot.slot(&found) as usize);
        let (depth, ends) = match body.kind() {
            Kind::Entity => (name_depth(body.scope_name()), [KeyHash(0); 2]),
            Kind::Relationship => (0, body.ends().into()),
        };
        let restated = Asserted {
            key: found.entry.key,
            raw: NO_RAW,
            canon: xxh3_64(&compared),
            loc: Loc::NONE,
            pos: place.map_or(NO_POSITION, |place| place.load(Ordering::Relaxed)),
            file: NO_FILE,
            line: 0,
            type_id: input.types.id(body.type_name()),
            size: 0,
            depth,
            flags: RESTATED,
            ends,
        };
        let write = |out: &mut Vec<u8>| {
            key_head(out, &body.key());
            out.extend_from_slice(&stored);
        };
        pack.push(restated, write, &mut done)
    })?;
    pack.finish(&mut done)
}
