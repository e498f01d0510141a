//! Published values that have another form by now: arrays that were declared
//! unordered since are published sorted (`SEMANTICS` 12), whatever the batch
//! says of their keys.

use std::sync::atomic::{AtomicU32, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::asserted::{Asserted, RESTATED, SKIPPED};
use super::bodies::Bodies;
use super::format::body::key_head;
use super::format::entry::{Entry, Loc, NO_POSITION};
use super::layer_tables::OWN_PACK;
use super::pack_dictionaries::PackDictionaries;
use super::pack_writer::PackWriter;
use super::pass::{PassInput, name_depth};
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

/// Stands for the hash of a comparison form that nothing is equal to.
const NO_CANON: u64 = 0;

/// Whether an entry of a plan's layer has the new form of what was published.
pub fn is_restated(entry: &Entry) -> bool {
    entry.is_live() && entry.raw == NO_RAW && entry.loc.pack() == OWN_PACK
}

/// Whether an entry is marked by [`unapplied`].
pub fn is_unapplied(entry: &Entry) -> bool {
    entry.is_live() && entry.raw == NO_RAW && entry.canon == NO_CANON
}

/// A published value whose new form was not published: the next line about its key
/// is taken for another value, though the settings make both alike, and sends it.
pub fn unapplied(entry: Entry) -> Entry {
    Entry { raw: NO_RAW, canon: NO_CANON, stale: false, ..entry }
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
        if stored == body.attributes {
            return Ok(());
        }
        let is_skipped = input.skips.has_parts(body.type_name(), body.scope_name());
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
            flags: if is_skipped { RESTATED | SKIPPED } else { RESTATED },
            ends,
        };
        if is_skipped {
            return done(restated);
        }
        let write = |out: &mut Vec<u8>| {
            key_head(out, &body.key());
            out.extend_from_slice(&stored);
        };
        pack.push(restated, write, &mut done)
    })?;
    pack.finish(&mut done)
}
