//! What differs between two snapshots of a source: first what the newer one
//! has that the older one has not, or has otherwise, then what is gone.

use super::super::engine::Engine;
use super::super::views::{Page, SnapshotChange};
use super::{Part, cursor};
use crate::domain::change::Action;
use crate::domain::ids::SnapshotId;
use crate::domain::key::Key;
use crate::domain::merge;
use crate::error::{Error, ErrorKind, Result};
use crate::planning::bodies::Bodies;
use crate::planning::format::layer::{CacheBudget, Scratch};
use crate::planning::snapshot::{Found, Snapshot};

/// Bytes of index blocks that are kept for one answer.
const INDEX_MEMORY: usize = 16 << 20;
/// Entries that one answer looks at.
const LOOKED_AT: usize = 200_000;

/// Bytes of values after which an answer ends.
const VALUES: usize = 4 << 20;

/// Where a part of the difference begins.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Whether what is gone is looked for.
    gone: bool,
    layer: u32,
    entry: u32,
}

impl Place {
    fn key(self) -> Vec<u8> {
        [u32::from(self.gone), self.layer, self.entry].map(u32::to_be_bytes).concat()
    }

    fn of(key: &[u8]) -> Result<Self> {
        let word = |n: usize| {
            let bytes = key.get(n * 4..n * 4 + 4).and_then(|bytes| bytes.try_into().ok());
            let damaged = || Error::new(ErrorKind::Usage, "`cursor` is damaged");
            bytes.map(u32::from_be_bytes).ok_or_else(damaged)
        };
        Ok(Self { gone: word(0)? != 0, layer: word(1)?, entry: word(2)? })
    }
}

impl Engine {
    /// A part of what differs between `before` and `after`. It may be short,
    /// or empty, and still have more behind it: one answer looks at a bounded
    /// number of entries.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when a snapshot is not there,
    /// [`ErrorKind::Usage`] when they are of different sources or targets.
    pub fn snapshot_diff(
        &self,
        before: &SnapshotId,
        after: &SnapshotId,
        part: &Part,
    ) -> Result<Page<SnapshotChange>> {
        let (old, new) = (self.open_snapshot(before)?, self.open_snapshot(after)?);
        let (of, other) = (old.manifest(), new.manifest());
        if (&of.source_id, &of.target) != (&other.source_id, &other.target) {
            let text = format!(
                "{before} is of {} at {}, {after} of {} at {}",
                of.source_id, of.target, other.source_id, other.target
            );
            return Err(Error::new(ErrorKind::Usage, text));
        }
        let name = format!("diff\0{before}\0{after}");
        let place = match part.after(&name)? {
            Some(key) => Place::of(&key)?,
            None => Place::default(),
        };
        let mut look = Look {
            limit: part.limit()?,
            left: LOOKED_AT,
            bytes: 0,
            items: Vec::new(),
            scratch: Scratch::default(),
            other: Scratch::default(),
            bodies: Bodies::new()?,
        };
        let mut next = None;
        if !place.gone {
            next = look.through(&new, place, |look, found| look.present(&old, &new, found))?;
        }
        if next.is_none() {
            let from = if place.gone { place } else { Place { gone: true, ..Place::default() } };
            next = look.through(&old, from, |look, found| look.gone(&old, &new, found))?;
        }
        Ok(Page { items: look.items, next_cursor: next.map(|place| cursor::encode(&name, &place.key())) })
    }

    fn open_snapshot(&self, id: &SnapshotId) -> Result<Snapshot> {
        let record = self.store.read(|view| view.snapshot(id))?;
        let Some(record) = record else {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no snapshot {id}")));
        };
        let budget = CacheBudget::new(INDEX_MEMORY);
        Snapshot::open(&self.state, &record.source, &record.target, &record.id, &budget)
    }
}

/// One part of a difference, as it is put together.
struct Look {
    limit: usize,
    left: usize,
    bytes: usize,
    items: Vec<SnapshotChange>,
    scratch: Scratch,
    other: Scratch,
    bodies: Bodies,
}

impl Look {
    /// Looks at the live entries of a snapshot from `place` on; the place
    /// where it stopped, if it did.
    fn through(
        &mut self,
        snapshot: &Snapshot,
        mut place: Place,
        mut each: impl FnMut(&mut Self, &Found) -> Result<()>,
    ) -> Result<Option<Place>> {
        for index in usize::try_from(place.layer).unwrap_or(usize::MAX)..snapshot.layers() {
            let layer = snapshot.layer(index);
            for number in place.entry..u32::try_from(layer.len()).unwrap_or(u32::MAX) {
                if self.items.len() >= self.limit || self.left == 0 || self.bytes > VALUES {
                    let layer = u32::try_from(index).unwrap_or(u32::MAX);
                    return Ok(Some(Place { layer, entry: number, ..place }));
                }
                self.left -= 1;
                let entry = layer.get(number, &mut self.scratch)?;
                if entry.is_live() && !snapshot.is_hidden(index, entry.key, &mut self.other)? {
                    each(self, &Found { layer: index, number, entry })?;
                }
            }
            place.entry = 0;
        }
        Ok(None)
    }

    fn push(&mut self, snapshot: &Snapshot, found: &Found, action: Action) -> Result<()> {
        let body = snapshot.body(found, &mut self.bodies)?;
        let body = body.body()?;
        let value = Some(body.attributes.to_vec());
        let (before, after) = match action {
            Action::Delete => (value, None),
            Action::Create | Action::Update => (None, value),
        };
        self.put(action, body.key(), before, after)
    }

    fn put(
        &mut self,
        action: Action,
        key: Key,
        before: Option<Vec<u8>>,
        after: Option<Vec<u8>>,
    ) -> Result<()> {
        self.bytes += [&before, &after].into_iter().flatten().map(Vec::len).sum::<usize>();
        let (before, after) = (before.map(raw).transpose()?, after.map(raw).transpose()?);
        self.items.push(SnapshotChange { action, kind: key.kind(), key, before, after });
        Ok(())
    }

    /// An entry of the newer snapshot: is it new, or another value?
    fn present(&mut self, old: &Snapshot, new: &Snapshot, found: &Found) -> Result<()> {
        let Some(before) = old.live(found.entry.key, &mut self.other)? else {
            return self.push(new, found, Action::Create);
        };
        let (was, is) = (old.body(&before, &mut self.bodies)?, new.body(found, &mut self.bodies)?);
        let body = is.body()?;
        if let Some(patch) = merge::diff(was.body()?.attributes, body.attributes) {
            self.put(Action::Update, body.key(), Some(patch.before), Some(patch.after))?;
        }
        Ok(())
    }

    /// An entry of the older snapshot: is it gone?
    fn gone(&mut self, old: &Snapshot, new: &Snapshot, found: &Found) -> Result<()> {
        match new.live(found.entry.key, &mut self.other)? {
            Some(_) => Ok(()),
            None => self.push(old, found, Action::Delete),
        }
    }
}

fn raw(bytes: Vec<u8>) -> Result<Box<serde_json::value::RawValue>> {
    let text = String::from_utf8(bytes).map_err(|e| Error::internal("a value of a snapshot").caused_by(e))?;
    serde_json::value::RawValue::from_string(text)
        .map_err(|e| Error::internal("a value of a snapshot").caused_by(e))
}
