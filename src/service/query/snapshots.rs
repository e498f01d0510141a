//! Snapshots: lists, newest first, and one by its id.

use super::super::engine::Engine;
use super::super::views::{Page, SnapshotView};
use super::{Part, cursor};
use crate::domain::ids::{SnapshotId, SourceId};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{SnapshotRecord, View};

/// A snapshot as it is shown.
pub(super) fn snapshot_view(record: SnapshotRecord, current: bool) -> SnapshotView {
    SnapshotView {
        snapshot_id: record.id,
        source_id: record.source,
        target: record.target,
        parent: record.parent,
        batch_id: record.batch_id,
        newest: record.newest.source_timestamp,
        created_at: record.created_at,
        url: record.url,
        entities: record.entities,
        relationships: record.relationships,
        current,
    }
}

impl Engine {
    /// A part of the snapshots, of one source or of all, the newest first.
    pub fn snapshots(&self, source: Option<&SourceId>, part: &Part) -> Result<Page<SnapshotView>> {
        let name = format!("snapshots\0{}", source.map_or("", SourceId::as_str));
        let limit = part.limit()?;
        let after = part.after(&name)?;
        let after = after
            .map(|key| SnapshotId::new(String::from_utf8_lossy(&key).into_owned()))
            .transpose()
            .map_err(|e| Error::new(ErrorKind::Usage, e.to_string()))?;
        self.store.read(|view| {
            let mut records = match source {
                None => view.newest_snapshots(after.as_ref(), limit + 1)?,
                Some(source) => {
                    let mut all = Vec::new();
                    // Few are kept of each source.
                    for target in view.targets()? {
                        all.extend(view.snapshots_of(&target, source, usize::MAX)?);
                    }
                    all.sort_by(|a, b| b.id.cmp(&a.id));
                    all.retain(|record| after.as_ref().is_none_or(|after| record.id < *after));
                    all
                }
            };
            let more = records.len() > limit;
            records.truncate(limit);
            let last = records.last().filter(|_| more);
            let next_cursor = last.map(|record| cursor::encode(&name, record.id.as_str().as_bytes()));
            let items = records.into_iter().map(|record| shown(view, record));
            Ok(Page { items: items.collect::<Result<_>>()?, next_cursor })
        })
    }

    /// A snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this id.
    pub fn snapshot_view(&self, id: &SnapshotId) -> Result<SnapshotView> {
        self.store.read(|view| match view.snapshot(id)? {
            Some(record) => shown(view, record),
            None => Err(Error::new(ErrorKind::NotFound, format!("there is no snapshot {id}"))),
        })
    }

    /// The newest snapshots of a source.
    pub(super) fn newest_of(
        &self,
        view: &View<'_>,
        source: &SourceId,
        limit: usize,
    ) -> Result<Vec<SnapshotView>> {
        let target = self.settings().source(source).target;
        let records = view.snapshots_of(&target, source, limit)?;
        records.into_iter().map(|record| shown(view, record)).collect()
    }
}

fn shown(view: &View<'_>, record: SnapshotRecord) -> Result<SnapshotView> {
    let current = view.current_snapshot(&record.target, &record.source)?;
    let is_current = current.as_ref() == Some(&record.id);
    Ok(snapshot_view(record, is_current))
}
