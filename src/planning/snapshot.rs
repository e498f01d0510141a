//! A snapshot: what is published of one source to one target, and what has to
//! be remembered so that order never matters (`SEMANTICS` 2).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bodies::{Bodies, BodyRef};
use super::format::block_file::invalid;
use super::format::dictionary::Dictionary;
use super::format::entry::{Entry, Loc};
use super::format::layer::{CacheBudget, Layer, Scratch, StampInfo};
use super::format::order::Order;
use super::state_dir::{Pack, StateDir, read_format};
use crate::domain::ids::{BatchId, PlanId, SnapshotId, SourceId, TargetName};
use crate::domain::key::{Key, KeyHash, Kind};
use crate::domain::scope::{Scope, ScopeIndex};
use crate::error::Result;

/// Packs that are looked through for a dictionary.
const DICTIONARY_PACKS: usize = 8;

/// The format that this version writes.
pub const FORMAT: &str = "tidegate.snapshot/1";

/// A COMPLETE full batch that asserts absence of what it does not list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullRecord {
    /// Its stamp and workflow.
    pub stamp: StampInfo,
    /// What it speaks for.
    pub scope: Scope,
    /// Keys of which it says nothing.
    pub exceptions: Vec<Key>,
}

/// A layer file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRef {
    /// Name of the file in `layers/`.
    pub file: String,
    /// Number of its entries.
    pub entries: u64,
}

/// The line order of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRef {
    /// Name of the file in `orders/`.
    pub file: String,
    /// Scope of the full batch that wrote it.
    pub scope: Scope,
    /// Fingerprint of the settings that it was written under.
    pub fingerprint: u64,
    /// Lines in it.
    pub lines: u64,
}

/// The type of a relationship and of both its ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TypeEdge {
    /// The relationship's type.
    pub relationship: String,
    /// The type of its `from` end.
    pub from: String,
    /// The type of its `to` end.
    pub to: String,
}

/// Everything of a snapshot but its bulk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotManifest {
    /// [`FORMAT`].
    pub format: String,
    /// Its id: that of the plan whose outcome it records.
    pub snapshot_id: SnapshotId,
    /// The source.
    pub source_id: SourceId,
    /// The target.
    pub target: TargetName,
    /// What the target called itself.
    pub target_identity: String,
    /// The snapshot that it follows.
    pub parent: Option<SnapshotId>,
    /// The plan whose outcome it records.
    pub plan_id: PlanId,
    /// The batch that was published last.
    pub batch_id: BatchId,
    /// When it was made.
    pub created_at: Timestamp,
    /// The newest stamp published.
    pub newest: StampInfo,
    /// Batches whose source timestamp is older are too late.
    pub horizon: Option<Timestamp>,
    /// Fingerprint of the settings in force, 64 bits.
    pub fingerprint: u64,
    /// The part of it that decides whether two values are equal.
    pub comparison: u64,
    /// The source's precedence.
    pub precedence: i64,
    /// Layers of the index, base first.
    pub layers: Vec<LayerRef>,
    /// The line order that belongs to the base.
    pub order: Option<OrderRef>,
    /// Full batches that are remembered.
    pub full_records: Vec<FullRecord>,
    /// Keys whose state at the target is not known.
    pub unsure: Vec<Key>,
    /// Of unsure keys of other sources' snapshots, by snapshot, those that
    /// plans of this source settled since.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settled: BTreeMap<SnapshotId, Vec<Key>>,
    /// Live keys by kind and type.
    pub entity_counts: BTreeMap<String, u64>,
    /// The same of relationships.
    pub relationship_counts: BTreeMap<String, u64>,
    /// Which types the source's relationships have connected.
    pub type_edges: BTreeSet<TypeEdge>,
}

impl SnapshotManifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`SnapshotInvalid`](crate::error::ErrorKind::SnapshotInvalid) when it is missing or
    /// damaged, [`StoreNewer`](crate::error::ErrorKind::StoreNewer) when a newer version
    /// wrote it.
    pub fn read(path: &Path) -> Result<Self> {
        read_format(path, FORMAT)
    }

    /// Live entities and relationships by type.
    pub fn live_by_type(&self) -> BTreeMap<String, u64> {
        let mut live = self.entity_counts.clone();
        for (type_name, count) in &self.relationship_counts {
            *live.entry(type_name.clone()).or_default() += count;
        }
        live
    }

    /// Live keys of one kind.
    pub fn live(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Entity => self.entity_counts.values().sum(),
            Kind::Relationship => self.relationship_counts.values().sum(),
        }
    }

    /// The newest full batch that spoke for every key.
    pub fn newest_of_everything(&self) -> Option<&StampInfo> {
        let whole =
            self.full_records.iter().filter(|full| full.scope.is_everything() && full.exceptions.is_empty());
        whole.map(|full| &full.stamp).max_by(|a, b| a.stamp.cmp(&b.stamp))
    }
}

/// An entry and where it was found.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The layer, 0 is the base.
    pub layer: usize,
    /// Its number there.
    pub number: u32,
    /// The entry.
    pub entry: Entry,
}

struct OpenLayer {
    layer: Layer,
    packs: Vec<Arc<Pack>>,
    /// Number of entries in the layers before.
    offset: u64,
}

/// An open snapshot.
pub struct Snapshot {
    manifest: SnapshotManifest,
    layers: Vec<OpenLayer>,
    records: Vec<RecordView>,
}

struct RecordView {
    stamp: StampInfo,
    scope: ScopeIndex,
    exceptions: HashSet<KeyHash>,
}

impl Snapshot {
    /// Opens a snapshot by its id.
    pub fn open(
        state: &StateDir,
        source: &SourceId,
        target: &TargetName,
        id: &SnapshotId,
        budget: &Arc<CacheBudget>,
    ) -> Result<Self> {
        let path = state.snapshot_path(source, target, id);
        let manifest = SnapshotManifest::read(&path)?;
        if (&manifest.source_id, &manifest.target, &manifest.snapshot_id) != (source, target, id) {
            return Err(invalid(&path, "it is the manifest of another snapshot"));
        }
        Self::from_manifest(state, manifest, budget)
    }

    /// Opens the layers of a manifest.
    pub fn from_manifest(
        state: &StateDir,
        manifest: SnapshotManifest,
        budget: &Arc<CacheBudget>,
    ) -> Result<Self> {
        let source = &manifest.source_id;
        let mut layers = Vec::new();
        let mut offset = 0;
        for reference in &manifest.layers {
            let path = state.layer_path(source, &reference.file);
            let layer = Layer::open(&path, budget)?;
            if layer.len() != reference.entries {
                return Err(invalid(&path, "it has another number of entries than the snapshot says"));
            }
            let packs =
                layer.meta().packs.iter().map(|name| state.pack(&state.pack_path(source, name))).collect();
            let len = layer.len();
            layers.push(OpenLayer { layer, packs, offset });
            offset += len;
        }
        let records = manifest
            .full_records
            .iter()
            .map(|record| RecordView {
                stamp: record.stamp.clone(),
                scope: ScopeIndex::new(&record.scope),
                exceptions: record.exceptions.iter().map(Key::hash).collect(),
            })
            .collect();
        Ok(Self { manifest, layers, records })
    }

    /// Everything but the bulk.
    pub fn manifest(&self) -> &SnapshotManifest {
        &self.manifest
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// A layer, 0 is the base.
    pub fn layer(&self, index: usize) -> &Layer {
        &self.layers[index].layer
    }

    /// Entries of all layers.
    pub fn entries(&self) -> u64 {
        self.layers.last().map_or(0, |last| last.offset + last.layer.len())
    }

    /// The number of an entry among those of all layers.
    pub fn slot(&self, found: &Found) -> u64 {
        self.layers[found.layer].offset + u64::from(found.number)
    }

    /// What the newest layer that knows the key says of it.
    pub fn lookup(&self, key: KeyHash, scratch: &mut Scratch) -> Result<Option<Found>> {
        for (index, open) in self.layers.iter().enumerate().rev() {
            if let Some((number, entry)) = open.layer.lookup(key, scratch)? {
                return Ok(Some(Found { layer: index, number, entry }));
            }
        }
        Ok(None)
    }

    /// The same, if the source asserts the key.
    pub fn live(&self, key: KeyHash, scratch: &mut Scratch) -> Result<Option<Found>> {
        Ok(self.lookup(key, scratch)?.filter(|found| found.entry.is_live()))
    }

    /// Whether an entry of layer `index` is hidden by a newer layer.
    pub fn is_hidden(&self, index: usize, key: KeyHash, scratch: &mut Scratch) -> Result<bool> {
        for open in &self.layers[index + 1..] {
            if open.layer.lookup(key, scratch)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The packs that a layer refers to, by number.
    pub fn packs(&self, layer: usize) -> &[Arc<Pack>] {
        &self.layers[layer].packs
    }

    /// The pack that an entry's body is in.
    pub fn pack(&self, layer: usize, loc: Loc) -> Result<&Arc<Pack>> {
        let open = &self.layers[layer];
        open.packs.get(loc.pack() as usize).ok_or_else(|| {
            let name = &self.manifest.layers[layer].file;
            invalid(std::path::Path::new(name), format!("pack {} is not in its table", loc.pack()))
        })
    }

    /// A dictionary that bodies of a type are packed with, from the packs in
    /// which one is most likely: the base's first and the newest ones. One
    /// that can't be read is passed over: nothing depends on it.
    pub fn dictionary(&self, type_name: &str) -> Option<Arc<Dictionary>> {
        let first = self.layers.first().and_then(|base| base.packs.first());
        let newest = self.layers.iter().rev().flat_map(|open| open.packs.iter().rev());
        first.into_iter().chain(newest).take(DICTIONARY_PACKS).find_map(|pack| {
            let found = pack.reader().and_then(|reader| reader.dictionary(type_name));
            found.unwrap_or_else(|error| {
                tracing::debug!(%error, "no dictionary from this pack");
                None
            })
        })
    }

    /// The body of an entry.
    pub fn body(&self, found: &Found, bodies: &mut Bodies) -> Result<BodyRef> {
        bodies.get(self.pack(found.layer, found.entry.loc)?, found.entry.loc)
    }

    /// The stamp of an entry itself.
    pub fn own_stamp(&self, found: &Found) -> Result<&StampInfo> {
        self.layers[found.layer].layer.stamp(&found.entry)
    }

    /// Whether `canon` of an entry was made under settings of this fingerprint.
    pub fn is_comparable(&self, found: &Found, comparison: u64) -> bool {
        !found.entry.stale && self.layers[found.layer].layer.meta().comparison == comparison
    }

    /// Whether any full record or entry is newer than `stamp`. If not, every
    /// assertion of a batch of that stamp counts.
    pub fn is_newest(&self, stamp: &StampInfo) -> bool {
        self.manifest.newest.stamp < stamp.stamp
    }

    /// The newest full batch that spoke for every key, if it spoke for all of
    /// them.
    pub fn newest_of_everything(&self) -> Option<&StampInfo> {
        self.manifest.newest_of_everything()
    }

    /// The effective stamp of a key (`SEMANTICS` 2): the newest of its own
    /// and of the full records whose scope has it and whose exceptions do not.
    pub fn effective_stamp(
        &self,
        hash: KeyHash,
        type_name: &str,
        scope_name: &str,
        found: Option<&Found>,
    ) -> Result<Option<&StampInfo>> {
        let own = match found {
            // A key that went with a full batch: the record speaks for it.
            Some(found) if found.entry.state == super::format::entry::State::Gone => None,
            Some(found) => Some(self.own_stamp(found)?),
            None => None,
        };
        let records = self.records.iter().filter(|view| {
            view.scope.contains_parts(type_name, scope_name) && !view.exceptions.contains(&hash)
        });
        Ok(records.map(|view| &view.stamp).chain(own).max_by(|a, b| a.stamp.cmp(&b.stamp)))
    }

    /// Live relationships of this snapshot that have `entity` for an end,
    /// with whether it is their `from` end.
    pub fn relationships_of(
        &self,
        entity: KeyHash,
        scratch: &mut Scratch,
        bodies: &mut Bodies,
    ) -> Result<Vec<(Found, bool)>> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for open in &self.layers {
            for (number, to) in open.layer.ends_of(entity)? {
                let key = open.layer.get(number, scratch)?.key;
                if !seen.insert(key) {
                    continue;
                }
                if let Some(live) = self.live(key, scratch)? {
                    let body = self.body(&live, bodies)?;
                    let (from_end, to_end) = body.body()?.ends();
                    if from_end == entity || to_end == entity {
                        found.push((live, !to && from_end == entity));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Opens the line order, if there is one.
    pub fn order(&self, state: &StateDir) -> Result<Option<Order>> {
        let Some(reference) = &self.manifest.order else { return Ok(None) };
        Order::open(&state.order_path(&self.manifest.source_id, &reference.file)).map(Some)
    }

    /// Hands out every live entry once, in order of keys within each layer,
    /// base first.
    pub fn each_live(&self, mut each: impl FnMut(Found) -> Result<()>) -> Result<()> {
        let mut scratch = Scratch::default();
        for index in 0..self.layers.len() {
            let mut scan = self.layers[index].layer.scan();
            while let Some((number, entry)) = scan.advance()? {
                if entry.is_live() && !self.is_hidden(index, entry.key, &mut scratch)? {
                    each(Found { layer: index, number, entry })?;
                }
            }
        }
        Ok(())
    }
}
