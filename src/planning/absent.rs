//! The live keys that a full batch did not list: what it asserts absent.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::format::bytes::{u32_at, u128_at};
use super::format::entry::NO_POSITION;
use super::format::order::Order;
use super::halt::Halt;
use super::seen::Seen;
use super::snapshot::{Found, Snapshot};
use super::sorter::{Record, Sorter};
use super::view::Reader;
use crate::domain::key::KeyHash;
use crate::domain::scope::ScopeIndex;
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
    pub scope: &'a ScopeIndex,
    /// The batch's stamp.
    pub stamp: &'a Stamp,
    /// Whether nothing that is published is newer.
    pub newest: bool,
    /// Whether to go on.
    pub halt: Halt<'a>,
}

/// Collects the live keys of `scope` that were not seen and whose effective
/// stamp is not newer than the batch's; one thread for each reader.
pub fn collect(input: &AbsentInput<'_>, readers: &mut [Reader], into: &mut Sorter<Absent>) -> Result<()> {
    let AbsentInput { snapshot, order, seen, halt, .. } = *input;
    let found = Mutex::new(into);

    // Entries with a position: only positions have to be looked at.
    let mut ordered = 0;
    if let Some(order) = order {
        let share = order.chunks().div_ceil(readers.len().max(1) as u32).max(1);
        let counts: Vec<Result<u64>> = std::thread::scope(|scope| {
            let found = &found;
            let mut shares = readers.iter_mut().zip(0u32..).map(|(reader, n)| {
                let first = n * share;
                (reader, first..order.chunks().min(first + share))
            });
            let own = shares.next();
            let others: Vec<_> = shares
                .filter(|(_, chunks)| !chunks.is_empty())
                .map(|(reader, chunks)| scope.spawn(move || in_order(input, order, chunks, reader, found)))
                .collect();
            let own = own.map(|(reader, chunks)| in_order(input, order, chunks, reader, found));
            let others = others.into_iter().map(|thread| match thread.join() {
                Ok(count) => count,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            own.into_iter().chain(others).collect()
        });
        for count in counts {
            ordered += count?;
        }
    }
    let Some(reader) = readers.first_mut() else { return Ok(()) };
    let mut pace = halt.pace();
    for index in 0..snapshot.layers() {
        let layer = snapshot.layer(index);
        if index == 0 && ordered == layer.len() {
            continue;
        }
        let mut scan = layer.scan();
        while let Some((number, entry)) = scan.advance()? {
            pace.tick()?;
            let entry = Found { layer: index, number, entry };
            let done_above = index == 0 && order.is_some() && entry.entry.pos != NO_POSITION;
            if !done_above
                && entry.entry.is_live()
                && !seen.contains(snapshot, &entry)
                && !snapshot.is_hidden(index, entry.entry.key, &mut reader.scratch)?
            {
                take(input, &entry, reader, &found)?;
            }
        }
    }
    Ok(())
}

type Out<'a> = Mutex<&'a mut Sorter<Absent>>;

/// Those that have a position in some chunks of the order. Returns how many
/// positions have an entry at all.
fn in_order(
    input: &AbsentInput<'_>,
    order: &Order,
    chunks: Range<u32>,
    reader: &mut Reader,
    into: &Out<'_>,
) -> Result<u64> {
    let AbsentInput { snapshot, seen, halt, .. } = *input;
    order.scan_entries(
        chunks,
        |word| {
            if word % 64 == 0 {
                halt.check()?;
            }
            Ok(!seen.word(word))
        },
        |number| {
            let entry = snapshot.layer(0).get(number, &mut reader.scratch)?;
            if entry.is_live() && !snapshot.is_hidden(0, entry.key, &mut reader.scratch)? {
                take(input, &Found { layer: 0, number, entry }, reader, into)?;
            }
            Ok(())
        },
    )
}

/// Takes an entry that was not seen, if the batch speaks for it.
fn take(input: &AbsentInput<'_>, found: &Found, reader: &mut Reader, into: &Out<'_>) -> Result<()> {
    let AbsentInput { snapshot, scope, stamp, newest, .. } = *input;
    if !(scope.is_everything() && newest) {
        let body = snapshot.body(found, &mut reader.bodies)?;
        let body = body.body()?;
        let (type_name, name) = (body.type_name(), body.scope_name());
        if !scope.contains_parts(type_name, name) {
            return Ok(());
        }
        let effective = snapshot.effective_stamp(found.entry.key, type_name, name, Some(found))?;
        if effective.is_some_and(|effective| effective.stamp > *stamp) {
            return Ok(());
        }
    }
    let absent = Absent { key: found.entry.key, layer: found.layer as u32, number: found.number };
    into.lock().unwrap_or_else(PoisonError::into_inner).push(absent)
}
