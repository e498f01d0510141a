//! Snapshots and which of them are current.

use std::collections::BTreeMap;

use super::records::SnapshotRecord;
use super::tables::{Table, decode, encode, key};
use super::tx::{Read, Tx, View};
use crate::domain::ids::{SnapshotId, SourceId, TargetName};
use crate::error::{Error, ErrorKind, Result};

fn snapshot_id(bytes: Vec<u8>) -> Result<SnapshotId> {
    SnapshotId::new(String::from_utf8_lossy(&bytes).into_owned()).map_err(|e| Error::internal(e.to_string()))
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
        self.put(Table::Snapshots, key(&[place[0], place[1], record.id.as_str().as_bytes()]), bytes);
        self.put(Table::Current, key(&place), record.id.as_str().as_bytes().to_vec());
        Ok(())
    }

    /// Removes a snapshot that is not current.
    pub fn remove_snapshot(&mut self, record: &SnapshotRecord) {
        let place = [record.target.as_str(), record.source.as_str(), record.id.as_str()].map(str::as_bytes);
        self.remove(Table::Snapshots, key(&place));
    }
}
