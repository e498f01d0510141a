//! Where batches are found without reading them all: by source and stamp, by
//! time, by status, by when they ended; and how many there are of each.
//!
//! All of it is derived from the batches and written in the same transaction.

use std::ops::Bound;

use jiff::Timestamp;

use super::dead_letters::LETTER_EVENTS;
use super::records::BatchRecord;
use super::tables::{Table, decode, key};
use super::totals::is_total;
use super::tx::{KeyRange, Read, Tx, View};
use crate::domain::ids::{BatchId, IdError, SourceId};
use crate::domain::publish_state::PublishStatus;
use crate::domain::stamp::Stamp;
use crate::error::{Error, Result};

/// Raised when the indexes change, so that those of an older file are made anew.
pub const INDEX_VERSION: &[u8] = b"7";
/// The row of [`Table::Meta`] that has it.
pub const INDEX_ROW: &[u8] = b"indexes";

/// A time as bytes that sort like it.
pub(super) fn time_bytes(time: Timestamp) -> [u8; 12] {
    let mut out = [0; 12];
    // Flipping the sign bit makes negative seconds sort before positive ones.
    out[..8].copy_from_slice(&((time.as_second() as u64) ^ 1 << 63).to_be_bytes());
    out[8..].copy_from_slice(&(time.subsec_nanosecond() as u32 ^ 1 << 31).to_be_bytes());
    out
}

/// The time of such bytes, at the beginning of others.
pub(super) fn time_at(bytes: &[u8]) -> Option<Timestamp> {
    let (seconds, rest) = bytes.split_first_chunk::<8>()?;
    let (nanoseconds, _) = rest.split_first_chunk::<4>()?;
    let seconds = u64::from_be_bytes(*seconds) ^ 1 << 63;
    let nanoseconds = u32::from_be_bytes(*nanoseconds) ^ 1 << 31;
    Timestamp::new(seconds as i64, nanoseconds as i32).ok()
}

/// A stamp as bytes that sort like it, among those of one source.
fn stamp_bytes(stamp: &Stamp) -> Vec<u8> {
    let id = &stamp.batch_id;
    let mut out = time_bytes(stamp.source_timestamp).to_vec();
    out.extend_from_slice(&time_bytes(stamp.processing_timestamp));
    out.extend_from_slice(&time_bytes(id.folder().time()));
    out.extend_from_slice(&key(&[id.folder().run_id().as_str().as_bytes()]));
    out.extend_from_slice(&id.n().to_be_bytes());
    out
}

fn status_byte(status: PublishStatus) -> u8 {
    match status {
        PublishStatus::Pending => 0,
        PublishStatus::Planning => 1,
        PublishStatus::PlanComplete => 2,
        PublishStatus::Executing => 3,
        PublishStatus::Complete => 4,
        PublishStatus::Failed => 5,
        PublishStatus::Retrying => 6,
    }
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Source and stamp: the order of [`Table::Unfinished`] and [`Table::ByStamp`].
pub fn stamp_key(stamp: &Stamp) -> Vec<u8> {
    joined(&[&key(&[stamp.batch_id.source().as_str().as_bytes()]), &stamp_bytes(stamp)])
}

/// The rows of a batch in the indexes that depend on its status.
fn status_rows(batch: &BatchRecord) -> [(Table, Vec<u8>); 2] {
    let status = [status_byte(batch.status)];
    let stamp = stamp_bytes(&batch.stamp);
    let source = key(&[batch.batch_id.source().as_str().as_bytes()]);
    [
        (Table::ByStatus, joined(&[&status, &stamp, &source])),
        (Table::BySourceStatus, joined(&[&source, &status, &stamp])),
    ]
}

fn ended_row(batch: &BatchRecord) -> Option<Vec<u8>> {
    let at = batch.publish_end.filter(|_| batch.status.is_final())?;
    Some(joined(&[&time_bytes(at), batch.batch_id.to_string().as_bytes()]))
}

/// Which batches to list, and from where on.
#[derive(Debug, Clone, Default)]
pub struct BatchList {
    /// Of this source.
    pub source: Option<SourceId>,
    /// In this status.
    pub status: Option<PublishStatus>,
    /// Source timestamp at or after this.
    pub since: Option<Timestamp>,
    /// Source timestamp before this.
    pub until: Option<Timestamp>,
    /// Whether the newest come last.
    pub oldest_first: bool,
    /// Behind the row of this key, as [`BatchRows::next`] gave it.
    pub after: Option<Vec<u8>>,
    /// At most so many.
    pub limit: usize,
}

/// A part of the list.
#[derive(Debug, Clone)]
pub struct BatchRows {
    /// The batches.
    pub batches: Vec<BatchRecord>,
    /// The key of the last row, if there are more.
    pub next: Option<Vec<u8>>,
}

impl BatchList {
    fn range(&self) -> (Table, KeyRange) {
        let source = self.source.as_ref().map(|source| key(&[source.as_str().as_bytes()]));
        let status = self.status.map(|status| [status_byte(status)]);
        let (table, prefix) = match (&source, &status) {
            (None, None) => (Table::ByTime, Vec::new()),
            (None, Some(status)) => (Table::ByStatus, status.to_vec()),
            (Some(source), None) => (Table::ByStamp, source.clone()),
            (Some(source), Some(status)) => (Table::BySourceStatus, joined(&[source, status])),
        };
        let times = (self.since, self.until);
        (table, range_of_times(&prefix, times, self.oldest_first, self.after.as_deref()))
    }
}

/// The rows of an index by time, behind a prefix: from the first time on, before
/// the second, behind the row of the key `after`.
pub(super) fn range_of_times(
    prefix: &[u8],
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    oldest_first: bool,
    after: Option<&[u8]>,
) -> KeyRange {
    let mut range = KeyRange { backwards: !oldest_first, ..KeyRange::of_prefix(prefix) };
    if let Some(since) = since {
        range.from = Bound::Included(joined(&[prefix, &time_bytes(since)]));
    }
    if let Some(until) = until {
        range.to = Bound::Excluded(joined(&[prefix, &time_bytes(until)]));
    }
    // A key from elsewhere only moves the bound; rows outside the prefix are
    // never reached.
    match after {
        Some(after) if oldest_first && after >= prefix => range.from = later(range.from, after),
        Some(after) if !oldest_first => range.to = earlier(range.to, after),
        Some(_) | None => {}
    }
    range
}

fn later(from: Bound<Vec<u8>>, after: &[u8]) -> Bound<Vec<u8>> {
    match from {
        Bound::Included(from) | Bound::Excluded(from) if from[..] > *after => Bound::Included(from),
        Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => Bound::Excluded(after.to_vec()),
    }
}

fn earlier(to: Bound<Vec<u8>>, before: &[u8]) -> Bound<Vec<u8>> {
    match to {
        Bound::Included(to) | Bound::Excluded(to) if to[..] < *before => Bound::Excluded(to),
        Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => Bound::Excluded(before.to_vec()),
    }
}

/// How many batches of a source, or of all, are in a status.
fn count_row(source: Option<&SourceId>, status: PublishStatus) -> Vec<u8> {
    let source = source.map_or("", SourceId::as_str);
    joined(&[&key(&[b"batches", source.as_bytes()]), &[status_byte(status)]])
}

fn number(bytes: Option<Vec<u8>>) -> u64 {
    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// A part of the batches, by their source timestamps.
            pub fn list_batches(&self, list: &BatchList) -> Result<BatchRows> {
                let (table, range) = list.range();
                let mut rows = self.range(table, &range, list.limit.saturating_add(1))?;
                let more = rows.len() > list.limit;
                rows.truncate(list.limit);
                let next = rows.last().filter(|_| more).map(|(key, _)| key.clone());
                Ok(BatchRows { batches: self.batches_of(rows.into_iter().map(|(_, id)| id))?, next })
            }

            /// The batches that ended last, the newest first.
            pub fn ended_last(&self, limit: usize) -> Result<Vec<BatchRecord>> {
                let range = KeyRange { backwards: true, ..KeyRange::of_prefix(b"") };
                let rows = self.range(Table::Ended, &range, limit)?;
                self.batches_of(rows.into_iter().map(|(_, id)| id))
            }

            /// The batches that ended at or before a time, the first ones first, behind
            /// the row of the key `after`: up to `limit`, each with its row.
            pub fn ended_by(
                &self,
                at: Timestamp,
                after: Option<&[u8]>,
                limit: usize,
            ) -> Result<Vec<(Vec<u8>, BatchId)>> {
                let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_vec()));
                // Behind the time stands an id, which is text.
                let to = Bound::Excluded(joined(&[&time_bytes(at), &[u8::MAX]]));
                let rows = self.range(Table::Ended, &KeyRange { from, to, backwards: false }, limit)?;
                let of = |(row, id): (Vec<u8>, Vec<u8>)| {
                    let id = String::from_utf8_lossy(&id).parse();
                    Ok((row, id.map_err(|e: IdError| Error::internal(e.to_string()))?))
                };
                rows.into_iter().map(of).collect()
            }

            /// Up to `limit` batches of a source that have not ended, oldest
            /// first, behind the one with the stamp `after`.
            pub fn unfinished_page(
                &self,
                source: &SourceId,
                after: Option<&Stamp>,
                limit: usize,
            ) -> Result<Vec<BatchRecord>> {
                let prefix = key(&[source.as_str().as_bytes()]);
                let rows = self.scan(Table::Unfinished, &prefix, after.map(stamp_key).as_deref(), limit)?;
                self.batches_of(rows.into_iter().map(|(_, id)| id))
            }

            /// The batches of these ids, as they are stored, that are there.
            pub(super) fn batches_of(&self, ids: impl Iterator<Item = Vec<u8>>) -> Result<Vec<BatchRecord>> {
                let mut batches = Vec::new();
                for id in ids {
                    if let Some(bytes) = self.get(Table::Batches, &id)? {
                        batches.push(decode(Table::Batches, &bytes)?);
                    }
                }
                Ok(batches)
            }

            /// How many batches of a source, or of all sources, are in a status.
            pub fn count_batches(&self, source: Option<&SourceId>, status: PublishStatus) -> Result<u64> {
                Ok(number(self.get(Table::Counts, &count_row(source, status))?))
            }

            /// A counter by its row.
            pub(super) fn count(&self, row: &[u8]) -> Result<u64> {
                Ok(number(self.get(Table::Counts, row)?))
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Moves a counter.
    pub(super) fn add_count(&mut self, row: Vec<u8>, by: i64) -> Result<()> {
        let value = self.count(&row)?.saturating_add_signed(by);
        if value == 0 {
            self.remove(Table::Counts, row);
        } else {
            self.put(Table::Counts, row, value.to_be_bytes().to_vec());
        }
        Ok(())
    }

    /// Brings the indexes and counters from what was stored of a batch to
    /// what it is now.
    pub(super) fn index_batch(&mut self, old: Option<&BatchRecord>, batch: &BatchRecord) -> Result<()> {
        let id = batch.batch_id.to_string().into_bytes();
        let by_stamp = stamp_key(&batch.stamp);
        if let Some(old) = old {
            if old.stamp != batch.stamp {
                let row = stamp_key(&old.stamp);
                self.remove(Table::Unfinished, row.clone());
                self.remove(Table::Prioritised, row.clone());
                self.remove(Table::ByStamp, row);
                self.remove(Table::ByTime, time_key(&old.stamp));
            }
            for (table, row) in status_rows(old) {
                self.remove(table, row);
            }
            if let Some(row) = ended_row(old) {
                self.remove(Table::Ended, row);
            }
        }
        if batch.priority.is_some() && !batch.status.is_final() {
            self.put(Table::Prioritised, by_stamp.clone(), id.clone());
        } else {
            self.remove(Table::Prioritised, by_stamp.clone());
        }
        if batch.status.is_final() {
            self.remove(Table::Unfinished, by_stamp.clone());
        } else {
            self.put(Table::Unfinished, by_stamp.clone(), id.clone());
        }
        if old.is_none_or(|old| old.stamp != batch.stamp) {
            self.put(Table::ByStamp, by_stamp, id.clone());
            self.put(Table::ByTime, time_key(&batch.stamp), id.clone());
        }
        for (table, row) in status_rows(batch) {
            self.put(table, row, id.clone());
        }
        if let Some(row) = ended_row(batch) {
            self.put(Table::Ended, row, id);
        }
        self.count_done(old, batch)?;
        let source = batch.batch_id.source();
        if old.is_none_or(|old| old.status != batch.status) {
            for of in [None, Some(source)] {
                if let Some(old) = old {
                    self.add_count(count_row(of, old.status), -1)?;
                }
                self.add_count(count_row(of, batch.status), 1)?;
            }
        }
        Ok(())
    }
}

impl Tx<'_> {
    /// Takes a batch out of the indexes and counters.
    pub(super) fn unindex_batch(&mut self, batch: &BatchRecord) -> Result<()> {
        let by_stamp = stamp_key(&batch.stamp);
        for table in [Table::Unfinished, Table::Prioritised, Table::ByStamp] {
            self.remove(table, by_stamp.clone());
        }
        self.remove(Table::ByTime, time_key(&batch.stamp));
        for (table, row) in status_rows(batch) {
            self.remove(table, row);
        }
        if let Some(row) = ended_row(batch) {
            self.remove(Table::Ended, row);
        }
        for of in [None, Some(batch.batch_id.source())] {
            self.add_count(count_row(of, batch.status), -1)?;
        }
        Ok(())
    }
}

/// Stamp, then source: the order of [`Table::ByTime`].
fn time_key(stamp: &Stamp) -> Vec<u8> {
    joined(&[&stamp_bytes(stamp), &key(&[stamp.batch_id.source().as_str().as_bytes()])])
}

/// Makes the indexes and counters of a file that has none, or older ones.
pub(super) fn rebuild(tx: &mut Tx<'_>) -> Result<()> {
    let tables = [
        Table::Unfinished,
        Table::Prioritised,
        Table::ByStamp,
        Table::ByTime,
        Table::ByStatus,
        Table::BySourceStatus,
        Table::Ended,
        Table::Counts,
        Table::PlansBySource,
        Table::SnapshotIds,
        Table::SnapshotsByTime,
        Table::OpenDeadLetters,
        Table::LetterIndex,
        Table::LetterGroups,
    ];
    let totals: Vec<_> = tx.all(Table::Counts, b"")?.into_iter().filter(|(row, _)| is_total(row)).collect();
    for table in tables {
        for (row, _) in tx.all(table, b"")? {
            // What became of letters is in no record.
            if !row.starts_with(&key(&[LETTER_EVENTS])) {
                tx.remove(table, row);
            }
        }
    }
    for (_, bytes) in tx.all(Table::Batches, b"")? {
        let batch: BatchRecord = decode(Table::Batches, &bytes)?;
        tx.index_batch(None, &batch)?;
        tx.batch_alert(None, &batch)?;
    }
    // Of batches that were forgotten they are all that is left.
    for (row, value) in totals {
        tx.put(Table::Counts, row, value);
    }
    for (source, hold) in tx.all_holds()? {
        tx.hold_alert(&source, hold.reason)?;
    }
    for plan in tx.plans()? {
        tx.put_plan(&plan)?;
    }
    for snapshot in tx.snapshots()? {
        tx.index_snapshot(&snapshot);
    }
    tx.index_dead_letters()?;
    tx.put(Table::Meta, INDEX_ROW.to_vec(), INDEX_VERSION.to_vec());
    Ok(())
}
