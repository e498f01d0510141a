//! Snapshots and which of them are current.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::index::{range_of_times, time_bytes};
use super::records::SnapshotRecord;
use super::tables::{Table, decode, encode, key};
use super::tx::{KeyRange, Read, Tx, View};
use crate::domain::ids::{SnapshotId, SourceId, TargetName};
use crate::error::{Error, ErrorKind, Result};

fn snapshot_id(bytes: Vec<u8>) -> Result<SnapshotId> {
    SnapshotId::new(String::from_utf8_lossy(&bytes).into_owned()).map_err(|e| Error::internal(e.to_string()))
}

fn snapshot_row(record: &SnapshotRecord) -> Vec<u8> {
    key(&[record.target.as_str(), record.source.as_str(), record.id.as_str()].map(str::as_bytes))
}

/// When a snapshot was made, then its id: the order of [`Table::SnapshotsByTime`].
fn time_row(record: &SnapshotRecord) -> Vec<u8> {
    [&time_bytes(record.created_at), record.id.as_str().as_bytes()].concat()
}

/// Which snapshots to list, and from where on.
#[derive(Debug, Clone, Default)]
pub struct SnapshotList {
    /// Of this source.
    pub source: Option<SourceId>,
    /// Made at or after this.
    pub since: Option<Timestamp>,
    /// Made before this.
    pub until: Option<Timestamp>,
    /// Whether the newest come last.
    pub oldest_first: bool,
    /// Behind the row of this key, as [`SnapshotRows::next`] gave it.
    pub after: Option<Vec<u8>>,
    /// At most so many.
    pub limit: usize,
}

/// A part of the list.
#[derive(Debug, Clone)]
pub struct SnapshotRows {
    /// The snapshots.
    pub snapshots: Vec<SnapshotRecord>,
    /// The key of the last row, if there are more.
    pub next: Option<Vec<u8>>,
}

impl SnapshotList {
    fn range(&self) -> KeyRange {
        range_of_times(b"", (self.since, self.until), self.oldest_first, self.after.as_deref())
    }
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// The current snapshot of a source at a target.
            pub fn current_snapshot(
                &self,
                target: &TargetName,
                source: &SourceId,
            ) -> Result<Option<SnapshotId>> {
                let row = key(&[target.as_str().as_bytes(), source.as_str().as_bytes()]);
                self.get(Table::Current, &row)?.map(snapshot_id).transpose()
            }

            /// The current snapshots of all sources of a target.
            pub fn current_snapshots(&self, target: &TargetName) -> Result<BTreeMap<SourceId, SnapshotId>> {
                let mut current = BTreeMap::new();
                for (row, id) in self.all(Table::Current, &key(&[target.as_str().as_bytes()]))? {
                    let source = row.split(|b| *b == 0).nth(1).unwrap_or_default();
                    let source = SourceId::new(String::from_utf8_lossy(source).into_owned())
                        .map_err(|e| Error::internal(e.to_string()))?;
                    current.insert(source, snapshot_id(id)?);
                }
                Ok(current)
            }

            /// All snapshots, in order of target, source and id.
            pub fn snapshots(&self) -> Result<Vec<SnapshotRecord>> {
                self.all(Table::Snapshots, b"")?
                    .iter()
                    .map(|(_, bytes)| decode(Table::Snapshots, bytes))
                    .collect()
            }

            /// The snapshots of a source at a target, the newest first, at most `limit`.
            pub fn snapshots_of(
                &self,
                target: &TargetName,
                source: &SourceId,
                limit: usize,
            ) -> Result<Vec<SnapshotRecord>> {
                let prefix = key(&[target.as_str().as_bytes(), source.as_str().as_bytes()]);
                let rows = self.all(Table::Snapshots, &prefix)?;
                let records = rows.iter().map(|(_, bytes)| decode(Table::Snapshots, bytes));
                let mut records = records.collect::<Result<Vec<SnapshotRecord>>>()?;
                // Their ids tell the second alone.
                records.sort_by_cached_key(|record| std::cmp::Reverse(time_row(record)));
                records.truncate(limit);
                Ok(records)
            }

            /// The targets that have snapshots, whether or not they are set.
            pub fn targets(&self) -> Result<Vec<TargetName>> {
                let mut targets = Vec::new();
                let mut after: Option<Vec<u8>> = None;
                // One row of each target: the search goes on behind all of its rows.
                while let Some((found, _)) = self.scan(Table::Snapshots, b"", after.as_deref(), 1)?.pop() {
                    let mut name = found.split(|b| *b == 0).next().unwrap_or_default().to_vec();
                    let text = String::from_utf8_lossy(&name).into_owned();
                    targets.push(TargetName::new(text).map_err(|e| Error::internal(e.to_string()))?);
                    name.push(1);
                    after = Some(name);
                }
                Ok(targets)
            }

            /// A snapshot by its id.
            pub fn snapshot(&self, id: &SnapshotId) -> Result<Option<SnapshotRecord>> {
                let Some(row) = self.get(Table::SnapshotIds, id.as_str().as_bytes())? else {
                    return Ok(None);
                };
                let found = self.get(Table::Snapshots, &row)?;
                found.map(|bytes| decode(Table::Snapshots, &bytes)).transpose()
            }

            /// A part of the snapshots, by when they were made.
            pub fn list_snapshots(&self, list: &SnapshotList) -> Result<SnapshotRows> {
                let (range, wanted) = (list.range(), list.limit.saturating_add(1));
                let mut found: Vec<(Vec<u8>, SnapshotRecord)> = Vec::new();
                match &list.source {
                    None => {
                        for (row, place) in self.range(Table::SnapshotsByTime, &range, wanted)? {
                            if let Some(bytes) = self.get(Table::Snapshots, &place)? {
                                found.push((row, decode(Table::Snapshots, &bytes)?));
                            }
                        }
                    }
                    Some(source) => {
                        // Few are kept of each source.
                        for target in self.targets()? {
                            let all = self.snapshots_of(&target, source, usize::MAX)?;
                            let rows = all.into_iter().map(|record| (time_row(&record), record));
                            found.extend(rows.filter(|(row, _)| range.has(row)));
                        }
                        found.sort_by(|(a, _), (b, _)| if range.backwards { b.cmp(a) } else { a.cmp(b) });
                    }
                }
                let more = found.len() > list.limit;
                found.truncate(list.limit);
                let next = found.last().filter(|_| more).map(|(row, _)| row.clone());
                Ok(SnapshotRows { snapshots: found.into_iter().map(|(_, record)| record).collect(), next })
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Stores a snapshot and makes it the current one of its source. Its
    /// parent must be the current one.
    pub fn commit_snapshot(&mut self, record: &SnapshotRecord) -> Result<()> {
        let current = self.current_snapshot(&record.target, &record.source)?;
        if current != record.parent {
            let text = format!("snapshot {} does not follow the current one of {}", record.id, record.source);
            return Err(Error::new(ErrorKind::PlanStale, text));
        }
        let place = [record.target.as_str().as_bytes(), record.source.as_str().as_bytes()];
        let bytes = encode(record)?;
        self.put(Table::Snapshots, snapshot_row(record), bytes);
        self.index_snapshot(record);
        self.put(Table::Current, key(&place), record.id.as_str().as_bytes().to_vec());
        Ok(())
    }

    /// Stores a snapshot that was found in the state folder, and makes it the
    /// current one of its source if that is asked for.
    pub fn restore_snapshot(&mut self, record: &SnapshotRecord, current: bool) -> Result<()> {
        let bytes = encode(record)?;
        self.put(Table::Snapshots, snapshot_row(record), bytes);
        self.index_snapshot(record);
        if current {
            let place = [record.target.as_str().as_bytes(), record.source.as_str().as_bytes()];
            self.put(Table::Current, key(&place), record.id.as_str().as_bytes().to_vec());
        }
        Ok(())
    }

    /// Has a snapshot found by its id, and by when it was made.
    pub(super) fn index_snapshot(&mut self, record: &SnapshotRecord) {
        self.put(Table::SnapshotsByTime, time_row(record), snapshot_row(record));
        self.put(Table::SnapshotIds, record.id.as_str().as_bytes().to_vec(), snapshot_row(record));
    }

    /// Removes a snapshot that is not current.
    pub fn remove_snapshot(&mut self, record: &SnapshotRecord) {
        self.remove(Table::Snapshots, snapshot_row(record));
        self.remove(Table::SnapshotsByTime, time_row(record));
        self.remove(Table::SnapshotIds, record.id.as_str().as_bytes().to_vec());
    }
}
