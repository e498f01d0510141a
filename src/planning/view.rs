//! What is published to a target before a plan: the snapshots of all its
//! sources, and what they show together (`SEMANTICS` 5 and 6).

use std::collections::{HashMap, HashSet};

use super::bodies::{Bodies, BodyRef};
use super::format::layer::Scratch;
use super::snapshot::{Found, Snapshot};
use crate::domain::ids::SourceId;
use crate::domain::key::{Key, KeyHash};
use crate::domain::merge;
use crate::error::Result;

/// The current snapshots of a target's sources.
pub struct TargetView {
    /// The source that is planned.
    pub source: SourceId,
    /// Its snapshot, if it has one.
    pub own: Option<Snapshot>,
    /// The others' snapshots.
    pub others: Vec<Snapshot>,
}

/// A key whose state at the target is not known.
#[derive(Debug, Clone, Copy)]
pub struct Unsure<'a> {
    /// The key.
    pub key: &'a Key,
    /// Whether it is among those of the source that is planned.
    pub own: bool,
}

/// Such keys by their hashes. After a recovery there may be millions.
pub type UnsureKeys<'a> = HashMap<KeyHash, Unsure<'a>>;

/// Buffers for look-ups; one per thread.
pub struct Reader {
    /// For index blocks.
    pub scratch: Scratch,
    /// For bodies.
    pub bodies: Bodies,
}

impl Reader {
    /// Empty buffers.
    pub fn new() -> Result<Self> {
        Ok(Self { scratch: Scratch::default(), bodies: Bodies::new()? })
    }
}

/// A value that takes part in a merge.
pub struct Part {
    /// Precedence of its source.
    pub precedence: i64,
    /// Its source.
    pub source: SourceId,
    /// The body.
    pub body: BodyRef,
}

impl TargetView {
    /// The source's live entry of a key.
    pub fn own_live(&self, key: KeyHash, reader: &mut Reader) -> Result<Option<Found>> {
        match &self.own {
            Some(own) => own.live(key, &mut reader.scratch),
            None => Ok(None),
        }
    }

    /// Whether another source asserts the key.
    pub fn others_have(&self, key: KeyHash, reader: &mut Reader) -> Result<bool> {
        for other in &self.others {
            if other.live(key, &mut reader.scratch)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The keys whose state at the target is not known, by their hashes: of
    /// whichever snapshot, as far as no plan settled them since.
    pub fn unsure(&self) -> UnsureKeys<'_> {
        let manifests = || self.own.iter().chain(&self.others).map(Snapshot::manifest);
        let mut unsure = UnsureKeys::new();
        for manifest in manifests() {
            let settled: HashSet<&Key> =
                manifests().filter_map(|other| other.settled.get(&manifest.snapshot_id)).flatten().collect();
            let open = manifest.unsure.iter().filter(|key| !settled.contains(key));
            unsure.extend(open.map(|key| (key.hash(), Unsure { key, own: false })));
        }
        for key in self.own.iter().flat_map(|own| &own.manifest().unsure) {
            if let Some(unsure) = unsure.get_mut(&key.hash()) {
                unsure.own = true;
            }
        }
        unsure
    }

    /// The values that other sources assert of the key.
    pub fn other_parts(&self, key: KeyHash, reader: &mut Reader) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for other in &self.others {
            if let Some(found) = other.live(key, &mut reader.scratch)? {
                parts.push(Part {
                    precedence: other.manifest().precedence,
                    source: other.manifest().source_id.clone(),
                    body: other.body(&found, &mut reader.bodies)?,
                });
            }
        }
        Ok(parts)
    }
}

/// The merged attributes: each from the source of highest precedence that
/// asserts it; at equal precedence from the source whose id sorts first.
pub fn merged(mut parts: Vec<(i64, &SourceId, &[u8])>) -> Option<Vec<u8>> {
    match parts.as_slice() {
        [] => None,
        [only] => Some(only.2.to_vec()),
        [_, ..] => {
            parts.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
            let values: Vec<&[u8]> = parts.iter().map(|part| part.2).collect();
            Some(merge::merge(&values))
        }
    }
}
