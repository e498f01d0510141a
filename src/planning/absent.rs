//! The live keys that a full batch did not list: what it asserts absent.

use super::format::bytes::{u32_at, u128_at};
use super::format::entry::NO_POSITION;
use super::format::order::Order;
use super::halt::Halt;
use super::pass::Seen;
use super::snapshot::{Found, Snapshot};
use super::sorter::{Record, Sorter};
use super::view::Reader;
use crate::domain::key::KeyHash;
use crate::domain::scope::Scope;
use crate::domain::stamp::Stamp;
use crate::error::Result;

/// A live entry that the batch did not list.
#[derive(Debug, Clone, Copy)]
pub struct Absent {
    /// The key's hash.
    pub key: KeyHash,
    /// The entry's layer.
    pub layer: u32,
    /// Its number there.
    pub number: u32,
}

impl Record for Absent {
    const SIZE: usize = 24;
    type Key = KeyHash;

    fn key(&self) -> KeyHash {
        self.key
    }

    fn write(&self, out: &mut [u8]) {
        out[..16].copy_from_slice(&self.key.0.to_le_bytes());
        out[16..20].copy_from_slice(&self.layer.to_le_bytes());
        out[20..24].copy_from_slice(&self.number.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        Self { key: KeyHash(u128_at(bytes, 0)), layer: u32_at(bytes, 16), number: u32_at(bytes, 20) }
    }
}

/// What the search for absent keys works on.
#[derive(Clone, Copy)]
pub struct AbsentInput<'a> {
    /// What is published.
    pub snapshot: &'a Snapshot,
    /// Its line order, if the pass used it.
    pub order: Option<&'a Order>,
    /// What the pass saw.
    pub seen: &'a Seen,
    /// What the batch speaks for.
    pub scope: &'a Scope,
    /// The batch's stamp.
    pub stamp: &'a Stamp,
    /// Whether nothing that is published is newer.
    pub newest: bool,
    /// Whether to go on.
    pub halt: Halt<'a>,
}

/// Collects the live keys of `scope` that were not seen and whose effective
/// stamp is older than the batch's.
pub fn collect(input: &AbsentInput<'_>, reader: &mut Reader, into: &mut Sorter<Absent>) -> Result<()> {
    let AbsentInput { snapshot, order, seen, scope, stamp, newest, halt } = *input;
    let mut pace = halt.pace();
    let mut take = |found: Found, reader: &mut Reader| -> Result<()> {
        if !(scope.is_everything() && newest) {
            let body = snapshot.body(&found, &mut reader.bodies)?;
            let body = body.body()?;
            let (type_name, name) = (body.type_name(), body.scope_name());
            if !scope.contains_parts(type_name, name) {
                return Ok(());
            }
            let effective = snapshot.effective_stamp(found.entry.key, type_name, name, Some(&found))?;
            if effective.is_some_and(|effective| effective.stamp >= *stamp) {
                return Ok(());
            }
        }
        into.push(Absent { key: found.entry.key, layer: found.layer as u32, number: found.number })
    };

    // Entries with a position: only positions have to be looked at.
    let mut ordered = 0;
    if let Some(order) = order {
        ordered = order.scan_entries(
            |word| {
                if word % 64 == 0 {
                    halt.check()?;
                }
                Ok(!seen.word(word))
            },
            |number| {
                let entry = snapshot.layer(0).get(number, &mut reader.scratch)?;
                if entry.is_live() && !snapshot.is_hidden(0, entry.key, &mut reader.scratch)? {
                    take(Found { layer: 0, number, entry }, reader)?;
                }
                Ok(())
            },
        )?;
    }
    for index in 0..snapshot.layers() {
        let layer = snapshot.layer(index);
        if index == 0 && ordered == layer.len() {
            continue;
        }
        let mut scan = layer.scan();
        while let Some((number, entry)) = scan.advance()? {
            pace.tick()?;
            let found = Found { layer: index, number, entry };
            let done_above = index == 0 && order.is_some() && entry.pos != NO_POSITION;
            if !done_above
                && entry.is_live()
                && !seen.contains(snapshot, &found)
                && !snapshot.is_hidden(index, entry.key, &mut reader.scratch)?
            {
                take(found, reader)?;
            }
        }
    }
    Ok(())
}
