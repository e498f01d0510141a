//! A plan as it is stored: a block file of changes in the order of execution,
//! cut into operations, with the rejects and the footprint behind them; and a
//! manifest beside it that is written last.
//!
//! A change is a record:
//! ```text
//! tag     u8    bits 0–1 create, update, delete; bit 2 relationship; bit 3 moved (an end came or went);
//!               bit 4 replace (the target's present value is not known); bit 5 the value is in the record
//! key     u128  hash of the key
//! create  bit 5 set: the body; else its place in the plan's pack, u64, its size u32 and comparison hash u64
//! update  u32 + before, u32 + after: JSON objects of the attributes that change; then the key as a body's head
//! delete  the body before
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::bodies::Bodies;
use super::format::block_file::{BlockReader, FileKind, Unpacker, invalid, record_at};
use super::format::body::{Body, key_head};
use super::format::bytes::{u32_at, u64_at, u128_at};
use super::format::entry::Loc;
use super::format::layer::{CacheBudget, Layer, StampInfo};
use super::halt::Halt;
use super::rejects::Reject;
use super::snapshot::{LayerRef, OrderRef, TypeEdge};
use super::state_dir::{Pack, StateDir, read_format};
use crate::domain::change::{Action, Change};
use crate::domain::ids::{OperationNo, PlanId, SourceId};
use crate::domain::key::{Key, KeyHash, Kind};
use crate::domain::plan::{FootprintRef, PlanHeader};
use crate::domain::scope::Scope;
use crate::error::Result;

/// The format that this version writes.
pub const FORMAT: &str = "tidegate.plan-file/1";

/// Where an operation's changes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRef {
    /// Its first block.
    pub first_block: u32,
    /// Number of its blocks.
    pub blocks: u32,
    /// Number of its changes.
    pub changes: u32,
}

/// A layer that is ready to take the place of several, with the line order
/// that goes with a new base, should everything be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldRef {
    /// How many of the present layers stay below it: 0, or 1 for the base.
    pub keep: usize,
    /// The folded layer.
    pub layer: LayerRef,
    /// The line order of the batch. With `keep` 1 the present one stays.
    pub order: Option<OrderRef>,
}

/// Everything of a plan but its changes: what the commit needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanManifest {
    /// [`FORMAT`].
    pub format: String,
    /// What the store keeps too.
    pub header: PlanHeader,
    /// What the target called itself.
    pub target_identity: String,
    /// Stamp and workflow of the batch.
    pub stamp: StampInfo,
    /// Whether the batch asserts absence: a full one without unreadable lines.
    pub asserts_absence: bool,
    /// What it speaks for.
    pub scope: Scope,
    /// Fingerprint of the settings.
    pub fingerprint: u64,
    /// The part of it that decides comparisons.
    pub comparison: u64,
    /// The source's precedence.
    pub precedence: i64,
    /// How late a batch of the source may be.
    pub max_lateness_seconds: u64,
    /// The layer of entries that the plan makes.
    pub layer: LayerRef,
    /// A base that holds it already.
    pub fold: Option<FoldRef>,
    /// Live keys by type, should everything be published.
    pub entity_counts: BTreeMap<String, u64>,
    /// The same of relationships.
    pub relationship_counts: BTreeMap<String, u64>,
    /// Which types the source's relationships have connected.
    pub type_edges: BTreeSet<TypeEdge>,
    /// Keys of which the batch says nothing.
    pub exceptions: Vec<Key>,
    /// Keys whose deletion is withheld, because the batch has a line whose key
    /// can't be read: the first 1,000.
    #[serde(default)]
    pub withheld: Vec<Key>,
    /// Paths of the source's volatile attributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volatile: Vec<String>,
    /// Unsure keys that the plan settles.
    pub settles: Vec<Key>,
    /// Operations in the order of execution.
    pub operations: Vec<OperationRef>,
    /// First block and number of blocks of the rejects.
    pub rejects: (u32, u32),
    /// Number of rejects.
    pub reject_count: u64,
    /// What the plan touches, behind the rejects.
    #[serde(default)]
    pub footprint: FootprintRef,
    /// What should be looked at, in words.
    pub warnings: Vec<String>,
    /// Lines that are neither blank nor bad.
    pub lines: u64,
    /// Lines that the line order took.
    pub lines_in_order: u64,
}

/// A change as it lies in a plan.
#[derive(Debug, Clone)]
pub struct PlannedChange {
    /// What it does.
    pub action: Action,
    /// The key's hash.
    pub hash: KeyHash,
    /// Whether only an end came or went: no assertion of the batch.
    pub moved: bool,
    /// Whether the target's present value is not known.
    pub replace: bool,
    /// Its values.
    pub value: PlannedValue,
}

/// Where a change lies in a plan: a place in the order of execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeAt {
    /// Its operation.
    pub operation: u32,
    /// Its block, counted within the operation.
    pub block: u32,
    /// Its record, counted within the block.
    pub record: u32,
}

/// The values of a change.
#[derive(Debug, Clone)]
pub enum PlannedValue {
    /// A create whose body is in the plan's pack: place, size, comparison hash.
    Packed(Loc, u32, u64),
    /// A create with its key and attributes.
    Whole(Key, Vec<u8>),
    /// An update: key, attributes before, attributes after.
    Patch(Key, Vec<u8>, Vec<u8>),
    /// A delete: key and attributes before.
    Gone(Key, Vec<u8>),
}

impl PlannedChange {
    /// Entity or relationship.
    pub fn kind(&self) -> Kind {
        self.hash.kind()
    }

    /// Bytes of its key and values, for sizing operations.
    pub fn weight(&self) -> usize {
        match &self.value {
            // Of the body, which has the key.
            PlannedValue::Packed(_, size, _) => *size as usize,
            PlannedValue::Whole(key, value) | PlannedValue::Gone(key, value) => {
                key.text_bytes() + value.len()
            }
            PlannedValue::Patch(key, before, after) => key.text_bytes() + before.len() + after.len(),
        }
    }

    /// Hash of what it does, for the digest.
    pub fn digest(&self) -> u128 {
        let mut text = Vec::with_capacity(48);
        text.push(self.action as u8);
        text.extend_from_slice(&self.hash.0.to_le_bytes());
        match &self.value {
            PlannedValue::Packed(_, _, canon) => text.extend_from_slice(&canon.to_le_bytes()),
            PlannedValue::Whole(_, after) => text.extend_from_slice(&xxh3_64(after).to_le_bytes()),
            PlannedValue::Patch(_, before, after) => {
                text.extend_from_slice(&xxh3_64(before).to_le_bytes());
                text.extend_from_slice(&xxh3_64(after).to_le_bytes());
            }
            PlannedValue::Gone(_, _) => {}
        }
        xxh3_128(&text)
    }

    /// Writes the record.
    pub fn write(&self, out: &mut Vec<u8>) {
        let in_record = match &self.value {
            PlannedValue::Packed(..) => 0,
            PlannedValue::Whole(..) | PlannedValue::Patch(..) | PlannedValue::Gone(..) => 1u8,
        };
        let kind = match self.kind() {
            Kind::Entity => 0,
            Kind::Relationship => 1u8,
        };
        let tag = self.action as u8
            | kind << 2
            | u8::from(self.moved) << 3
            | u8::from(self.replace) << 4
            | in_record << 5;
        out.push(tag);
        out.extend_from_slice(&self.hash.0.to_le_bytes());
        match &self.value {
            PlannedValue::Packed(loc, size, canon) => {
                out.extend_from_slice(&loc.0.to_le_bytes());
                out.extend_from_slice(&size.to_le_bytes());
                out.extend_from_slice(&canon.to_le_bytes());
            }
            PlannedValue::Whole(key, attributes) | PlannedValue::Gone(key, attributes) => {
                key_head(out, key);
                out.extend_from_slice(attributes);
            }
            PlannedValue::Patch(key, before, after) => {
                for part in [before, after] {
                    out.extend_from_slice(&(part.len() as u32).to_le_bytes());
                    out.extend_from_slice(part);
                }
                key_head(out, key);
            }
        }
    }

    /// Reads a record; `None` when it is no change.
    pub fn read(record: &[u8]) -> Option<Self> {
        let tag = *record.first()?;
        let action = match tag & 3 {
            0 => Action::Create,
            1 => Action::Update,
            2 => Action::Delete,
            3.. => return None,
        };
        let hash = KeyHash(u128_at(record.get(..17)?, 1));
        let rest = &record[17..];
        let value = match action {
            Action::Create if tag >> 5 & 1 == 0 => {
                let rest = rest.get(..20)?;
                PlannedValue::Packed(Loc(u64_at(rest, 0)), u32_at(rest, 8), u64_at(rest, 12))
            }
            Action::Create => {
                let body = Body::parse(rest)?;
                PlannedValue::Whole(body.key(), body.attributes.to_vec())
            }
            Action::Update => {
                let before_end = 4usize.checked_add(u32_at(rest, 0) as usize)?;
                let before = rest.get(4..before_end)?.to_vec();
                let after_start = before_end.checked_add(4)?;
                let after_end = after_start.checked_add(u32_at(rest, before_end) as usize)?;
                let after = rest.get(after_start..after_end)?.to_vec();
                PlannedValue::Patch(Body::parse(&rest[after_end..])?.key(), before, after)
            }
            Action::Delete => {
                let body = Body::parse(rest)?;
                PlannedValue::Gone(body.key(), body.attributes.to_vec())
            }
        };
        Some(Self { action, hash, moved: tag >> 3 & 1 == 1, replace: tag >> 4 & 1 == 1, value })
    }
}

/// Room for a block that is read; one per thread.
pub struct BlockRoom {
    unpacker: Unpacker,
    raw: Vec<u8>,
}

impl BlockRoom {
    /// Empty.
    pub fn new() -> Result<Self> {
        Ok(Self { unpacker: Unpacker::new()?, raw: Vec::new() })
    }
}

/// A stored plan, open for reading.
pub struct Plan {
    manifest: PlanManifest,
    file: BlockReader,
    pack: Arc<Pack>,
}

impl Plan {
    /// Opens a plan under the state folder.
    pub fn open(state: &StateDir, source: &SourceId, plan: &PlanId) -> Result<Self> {
        let path = state.plan_manifest_path(source, plan);
        let manifest: PlanManifest = read_format(&path, FORMAT)?;
        if &manifest.header.plan_id != plan {
            return Err(invalid(&path, "it is the manifest of another plan"));
        }
        Self::from_manifest(state, manifest)
    }

    /// Opens the changes of a manifest.
    pub fn from_manifest(state: &StateDir, manifest: PlanManifest) -> Result<Self> {
        let (source, plan) = (&manifest.header.source_id, &manifest.header.plan_id);
        let file = BlockReader::open(&state.plan_path(source, plan), FileKind::Plan)?;
        let pack = state.pack(&state.pack_path(source, &format!("{plan}.pack")));
        Ok(Self { manifest, file, pack })
    }

    /// Everything but the changes.
    pub fn manifest(&self) -> &PlanManifest {
        &self.manifest
    }

    /// Has it tell something more, which is not stored.
    pub fn warn(&mut self, warning: String) {
        self.manifest.warnings.push(warning);
    }

    /// Reads everything that its execution and the snapshot behind it would read.
    ///
    /// # Errors
    /// [`ErrorKind::SnapshotInvalid`](crate::error::ErrorKind::SnapshotInvalid) when
    /// a file is missing or damaged; [`ErrorKind::Interrupted`](crate::error::ErrorKind::Interrupted)
    /// when it is to end.
    pub fn verify(&self, state: &StateDir, halt: Halt<'_>) -> Result<()> {
        let PlanHeader { source_id: source, plan_id: plan, .. } = &self.manifest.header;
        let budget = CacheBudget::new(0);
        let mut pace = halt.pace();
        let mut layers = vec![&self.manifest.layer.file];
        layers.extend(self.manifest.fold.iter().map(|fold| &fold.layer.file));
        layers.dedup();
        // Folding may have put bodies of older packs into one of the plan's own.
        let mut packs = vec![Arc::clone(&self.pack)];
        for layer in layers {
            let layer = Layer::open(&state.layer_path(source, layer), &budget)?;
            let mut scan = layer.scan();
            while scan.advance()?.is_some() {
                pace.tick()?;
            }
            layer.scan_ends(|_| pace.tick())?;
            let own = layer.meta().packs.iter().filter(|name| name.starts_with(plan.as_str()));
            packs.extend(own.map(|name| state.pack(&state.pack_path(source, name))));
        }
        packs.sort_by(|a, b| a.path().cmp(b.path()));
        packs.dedup_by(|a, b| a.path() == b.path());
        let (mut unpacker, mut raw) = (Unpacker::new()?, Vec::new());
        let packs: Vec<&BlockReader> = packs.iter().map(|pack| pack.reader()).collect::<Result<_>>()?;
        for file in std::iter::once(&self.file).chain(packs) {
            for block in 0..file.blocks() {
                halt.check()?;
                file.read(block, &mut unpacker, &mut raw)?;
            }
        }
        Ok(())
    }

    /// Where the changes are stored.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Hands out the changes of an operation.
    pub fn operation(
        &self,
        no: OperationNo,
        mut each: impl FnMut(PlannedChange) -> Result<()>,
    ) -> Result<()> {
        let missing = || invalid(self.path(), format!("operation {no} is not there"));
        let op = self.manifest.operations.get(no.0 as usize).ok_or_else(missing)?;
        let mut room = BlockRoom::new()?;
        let mut count = 0;
        for block in op.first_block..op.first_block + op.blocks {
            count += self.block(block, &mut room, &mut each)?;
        }
        self.expect_changes(no, count)
    }

    /// Whether an operation has as many changes as were found of it.
    ///
    /// # Errors
    /// When it has not: blocks of it are missing, or are another's.
    pub fn expect_changes(&self, no: OperationNo, found: u32) -> Result<()> {
        let expected = self.manifest.operations.get(no.0 as usize).map(|op| op.changes);
        if expected == Some(found) {
            return Ok(());
        }
        let expected = expected.unwrap_or_default();
        Err(invalid(self.path(), format!("operation {no} has {found} changes, its manifest says {expected}")))
    }

    /// Hands out the changes of a block, and returns how many there are.
    pub fn block(
        &self,
        block: u32,
        room: &mut BlockRoom,
        mut each: impl FnMut(PlannedChange) -> Result<()>,
    ) -> Result<u32> {
        self.file.read(block, &mut room.unpacker, &mut room.raw)?;
        let (mut at, mut count) = (0, 0);
        while let Some((record, next)) = record_at(&room.raw, at) {
            let change = PlannedChange::read(record).ok_or_else(|| {
                invalid(self.path(), format!("block {block} has a record that is no change"))
            })?;
            each(change)?;
            count += 1;
            at = next;
        }
        Ok(count)
    }

    /// Hands out all changes in the order of execution.
    pub fn changes(&self, mut each: impl FnMut(PlannedChange) -> Result<()>) -> Result<()> {
        for no in 0..self.manifest.operations.len() {
            self.operation(OperationNo(no as u32), &mut each)?;
        }
        Ok(())
    }

    /// Hands out changes in the order of execution, from a place on, until
    /// `each` breaks.
    pub fn changes_from(
        &self,
        from: ChangeAt,
        mut each: impl FnMut(ChangeAt, PlannedChange) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut unpacker = Unpacker::new()?;
        let mut raw = Vec::new();
        let operations = self.manifest.operations.iter().enumerate();
        for (operation, op) in operations.skip(from.operation as usize) {
            let operation = operation as u32;
            let first = if operation == from.operation { from.block } else { 0 };
            for block in first..op.blocks {
                self.file.read(op.first_block + block, &mut unpacker, &mut raw)?;
                let (mut offset, mut record) = (0, 0);
                while let Some((bytes, next)) = record_at(&raw, offset) {
                    let at = ChangeAt { operation, block, record };
                    if at >= from {
                        let change = PlannedChange::read(bytes).ok_or_else(|| {
                            invalid(
                                self.path(),
                                format!("operation {operation} has a record that is no change"),
                            )
                        })?;
                        if each(at, change)?.is_break() {
                            return Ok(());
                        }
                    }
                    (offset, record) = (next, record + 1);
                }
            }
        }
        Ok(())
    }

    /// A change with its key and values, as it is shown.
    pub fn resolve(&self, change: PlannedChange, bodies: &mut Bodies) -> Result<Change> {
        let json = |bytes: Vec<u8>| -> Result<Option<Box<RawValue>>> {
            let text = String::from_utf8(bytes).map_err(|_| invalid(self.path(), "a value is not UTF-8"))?;
            RawValue::from_string(text)
                .map(Some)
                .map_err(|e| invalid(self.path(), format!("a value is no JSON: {e}")))
        };
        let (action, kind, moved) = (change.action, change.kind(), change.moved);
        let (key, before, after) = match change.value {
            PlannedValue::Packed(loc, _, _) => {
                let body = bodies.get(&self.pack, loc)?;
                let body = body.body()?;
                (body.key(), None, json(body.attributes.to_vec())?)
            }
            PlannedValue::Whole(key, after) => (key, None, json(after)?),
            PlannedValue::Patch(key, before, after) => (key, json(before)?, json(after)?),
            PlannedValue::Gone(key, before) => (key, json(before)?, None),
        };
        Ok(Change { action, kind, key, moved, before, after })
    }

    /// The pack that the plan's creates refer to.
    pub fn pack(&self) -> &Arc<Pack> {
        &self.pack
    }

    /// Hands out the rejects.
    pub fn rejects(&self, mut each: impl FnMut(Reject) -> Result<()>) -> Result<()> {
        self.rejects_while(|reject| each(reject).map(|()| true))
    }

    /// The first rejects, at most so many.
    pub fn first_rejects(&self, most: usize) -> Result<Vec<Reject>> {
        let mut first = Vec::new();
        self.rejects_while(|reject| {
            first.push(reject);
            Ok(first.len() < most)
        })?;
        Ok(first)
    }

    fn rejects_while(&self, mut each: impl FnMut(Reject) -> Result<bool>) -> Result<()> {
        let mut unpacker = Unpacker::new()?;
        let mut raw = Vec::new();
        let (first, blocks) = self.manifest.rejects;
        for block in first..first + blocks {
            self.file.read(block, &mut unpacker, &mut raw)?;
            let mut at = 0;
            while let Some((record, next)) = record_at(&raw, at) {
                let reject = serde_json::from_slice(record).map_err(|e| {
                    invalid(self.path(), format!("block {block} has a record that is no reject: {e}"))
                })?;
                if !each(reject)? {
                    return Ok(());
                }
                at = next;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::EntityKey;

    #[test]
    fn every_kind_of_change_reads_back() {
        let key = Key::Entity(EntityKey::new("t", "n"));
        let values = [
            (Action::Create, PlannedValue::Packed(Loc::new(0, 3, 4).unwrap(), 5, 6)),
            (Action::Create, PlannedValue::Whole(key.clone(), b"{\"a\":1}".to_vec())),
            (Action::Update, PlannedValue::Patch(key.clone(), b"{}".to_vec(), b"{\"a\":1}".to_vec())),
            (Action::Delete, PlannedValue::Gone(key.clone(), b"{}".to_vec())),
        ];
        for (action, value) in values {
            for (moved, replace) in [(false, false), (true, false), (false, true)] {
                let change = PlannedChange { action, hash: key.hash(), moved, replace, value: value.clone() };
                let mut record = Vec::new();
                change.write(&mut record);
                let back = PlannedChange::read(&record).unwrap();
                assert_eq!(format!("{back:?}"), format!("{change:?}"));
                assert_eq!(back.digest(), change.digest());
            }
        }
        assert!(PlannedChange::read(&[3; 40]).is_none() && PlannedChange::read(&[]).is_none());
    }

    #[test]
    fn a_change_weighs_what_its_key_does_too() {
        let key = Key::Entity(EntityKey::new("t", "n".repeat(4_096)));
        let values = [
            (Action::Create, PlannedValue::Whole(key.clone(), b"{}".to_vec())),
            (Action::Update, PlannedValue::Patch(key.clone(), b"{}".to_vec(), b"{}".to_vec())),
            (Action::Delete, PlannedValue::Gone(key.clone(), b"{}".to_vec())),
        ];
        for (action, value) in values {
            let change = PlannedChange { action, hash: key.hash(), moved: false, replace: false, value };
            assert!(change.weight() > 4_096, "{action:?}");
        }
    }
}
