//! Snapshots: lists, by when they were made, and one by its id.

use jiff::Timestamp;

use super::super::engine::Engine;
use super::super::views::{Page, SnapshotView};
use super::{Order, Part, cursor};
use crate::domain::ids::{SnapshotId, SourceId};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{SnapshotList, SnapshotRecord, View};

/// Which snapshots to list.
#[derive(Debug, Clone, Default)]
pub struct SnapshotQuery {
    /// Of this source.
    pub source_id: Option<SourceId>,
    /// Made at or after this.
    pub since: Option<Timestamp>,
    /// Made before this.
    pub until: Option<Timestamp>,
    /// By when they were made.
    pub order: Order,
    /// Which part.
    pub part: Part,
}

impl SnapshotQuery {
    /// The list, with all that bounds it, for cursors.
    fn name(&self) -> String {
        let Self { source_id, since, until, order, part: _ } = self;
        format!("snapshots\0{source_id:?}\0{since:?}\0{until:?}\0{order:?}")
    }
}

/// A snapshot as it is shown.
pub(super) fn snapshot_view(record: SnapshotRecord, current: bool) -> SnapshotView {
    SnapshotView {
        snapshot_id: record.id,
        source_id: record.source,
        target: record.target,
        parent: record.parent,
        batch_id: record.batch_id,
        newest: Some(record.newest.source_timestamp).filter(|time| *time != Timestamp::UNIX_EPOCH),
        created_at: record.created_at,
        url: record.url,
        entities: record.entities,
        relationships: record.relationships,
        current,
    }
}

impl Engine {
    /// A part of the snapshots.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a cursor of another list, or a limit out of bounds.
    pub fn snapshots(&self, query: &SnapshotQuery) -> Result<Page<SnapshotView>> {
        let name = query.name();
        let list = SnapshotList {
            source: query.source_id.clone(),
            since: query.since,
            until: query.until,
            oldest_first: query.order == Order::Oldest,
            after: query.part.after(&name)?,
            limit: query.part.limit()?,
        };
        self.store.read(|view| {
            let rows = view.list_snapshots(&list)?;
            let items = rows.snapshots.into_iter().map(|record| shown(view, record));
            let next_cursor = rows.next.map(|key| cursor::encode(&name, &key));
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
