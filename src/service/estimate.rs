//! How complex a batch is likely to be, where its workflow does not say: by its
//! lines and the types that it is about, as far as they are known before it is
//! read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::Engine;
use crate::domain::ids::{SnapshotId, SourceId};
use crate::domain::priority::{UNKNOWN_COMPLEXITY, estimated_complexity};
use crate::intake::batch::{Batch, BatchFile, Compression};

/// Stored bytes of a line in a file that states no count: what the lines of
/// metadata extracts come to, plain and packed.
const LINE_BYTES: u64 = 400;
const PACKED_LINE_BYTES: u64 = 40;

/// The types that live in the current snapshot of each source: a snapshot's manifest
/// may be megabytes, and every batch that comes is estimated.
#[derive(Default)]
pub(super) struct PublishedTypes(Mutex<Known>);

/// The snapshot that was read of each source, and its types.
type Known = BTreeMap<SourceId, (SnapshotId, Arc<[String]>)>;

impl PublishedTypes {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, source: &SourceId, snapshot: &SnapshotId) -> Option<Arc<[String]>> {
        self.lock().get(source).filter(|(known, _)| known == snapshot).map(|(_, types)| Arc::clone(types))
    }
}

impl Engine {
    /// The estimate, 1 to 10, of a batch whose manifest has no `complexity`.
    pub(super) fn estimate(&self, batch: &Batch, files: &[BatchFile]) -> Option<u8> {
        batch.complexity.is_none().then(|| match files.iter().map(lines_of).sum::<Option<u64>>() {
            Some(lines) => estimated_complexity(lines, self.types_of(batch)),
            None => UNKNOWN_COMPLEXITY,
        })
    }

    /// How many types a batch is likely to be about: those that its source has
    /// published in the scope; where the scope names them, at most so many.
    fn types_of(&self, batch: &Batch) -> u64 {
        let types = &batch.scope.types;
        let named = types.iter().all(|glob| glob.as_literal().is_some()).then_some(types.len() as u64);
        let published = self.published_types(batch.id.source()).map(|published| {
            published.iter().filter(|name| types.iter().any(|glob| glob.matches(name))).count() as u64
        });
        published.filter(|count| *count > 0).or(named).unwrap_or(1)
    }

    /// The types that a source has published something of, if that can be read.
    fn published_types(&self, source: &SourceId) -> Option<Arc<[String]>> {
        let (name, _) = self.target_of(source).ok()?;
        let current = self.store.read(|view| view.current_snapshot(name, source)).ok().flatten()?;
        if let Some(types) = self.published_types.of(source, &current) {
            return Some(types);
        }
        let published = self.published(source)?;
        let live = published.live_by_type().into_iter().filter(|(_, count)| *count > 0);
        let types: Arc<[String]> = live.map(|(name, _)| name).collect();
        let known = (published.snapshot_id, Arc::clone(&types));
        self.published_types.lock().insert(source.clone(), known);
        Some(types)
    }
}

/// The lines of a file, by what is stated of it or by its size.
fn lines_of(file: &BatchFile) -> Option<u64> {
    let bytes = || file.bytes.or(file.accepted.map(|state| state.bytes));
    let line = match file.compression {
        Compression::None => LINE_BYTES,
        Compression::Zstd | Compression::Gzip => PACKED_LINE_BYTES,
    };
    file.count.or_else(|| bytes().map(|bytes| bytes.div_ceil(line)))
}
