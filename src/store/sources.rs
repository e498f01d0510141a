//! What holds sources, and what happened to them.

use jiff::Timestamp;

use super::records::{SourceEntry, SourceHold, SourceHoldReason};
use super::tables::{Table, decode, encode, key, number_behind, numbered};
use super::tx::{Read, Tx, View};
use crate::domain::ids::{BatchId, SourceId};
use crate::error::Result;

/// A row for each reason, and of failed batches one for each of them. Older versions
/// had one for all of these.
fn row(source: &SourceId, hold: &SourceHold) -> Vec<u8> {
    let (source, reason) = (source.as_str().as_bytes(), hold.reason.as_str().as_bytes());
    match hold.batch_id.as_ref().filter(|_| hold.reason == SourceHoldReason::BatchFailed) {
        Some(batch) => key(&[source, reason, batch.to_string().as_bytes()]),
        None => key(&[source, reason]),
    }
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// Why a source waits for a person: all that holds it, what lets
            /// the least pass first.
            pub fn source_holds(&self, source: &SourceId) -> Result<Vec<SourceHold>> {
                let rows = self.all(Table::Holds, &key(&[source.as_str().as_bytes()]))?;
                let mut holds: Vec<SourceHold> =
                    rows.iter().map(|(_, bytes)| decode(Table::Holds, bytes)).collect::<Result<_>>()?;
                holds.sort_by_key(|hold| hold.reason);
                Ok(holds)
            }

            /// The first of [`Self::source_holds`].
            pub fn source_hold(&self, source: &SourceId) -> Result<Option<SourceHold>> {
                Ok(self.source_holds(source)?.into_iter().next())
            }

            /// Every source that is held, with one of its holds a row.
            pub fn all_holds(&self) -> Result<Vec<(SourceId, SourceHold)>> {
                let mut holds = Vec::new();
                for (row, bytes) in self.all(Table::Holds, b"")? {
                    let name = row.split(|b| *b == 0).next().unwrap_or_default();
                    let source = SourceId::new(String::from_utf8_lossy(name).into_owned())
                        .map_err(|e| crate::error::Error::internal(e.to_string()))?;
                    holds.push((source, decode(Table::Holds, &bytes)?));
                }
                Ok(holds)
            }

            /// What happened to a source itself, oldest first.
            pub fn source_timeline(&self, source: &SourceId) -> Result<Vec<SourceEntry>> {
                let rows = self.all(Table::SourceTimeline, &key(&[source.as_str().as_bytes()]))?;
                rows.iter().map(|(_, bytes)| decode(Table::SourceTimeline, bytes)).collect()
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Holds a source. A hold of the same reason gives way to it, that of a failed
    /// batch if it is of the same batch.
    pub fn hold_source(&mut self, source: &SourceId, hold: &SourceHold) -> Result<()> {
        self.take_hold(source, hold.reason, hold.batch_id.as_ref())?;
        let bytes = encode(hold)?;
        self.put(Table::Holds, row(source, hold), bytes);
        self.hold_alert(source, hold.reason)
    }

    /// Ends one hold of a source, that of a failed batch by its batch. Returns it, if
    /// there was one.
    pub fn lift_source_hold(
        &mut self,
        source: &SourceId,
        reason: SourceHoldReason,
        batch: Option<&BatchId>,
    ) -> Result<Option<SourceHold>> {
        let taken = self.take_hold(source, reason, batch)?;
        if taken.is_some() && !self.source_holds(source)?.iter().any(|hold| hold.reason == reason) {
            self.end_hold_alert(source, reason);
        }
        Ok(taken)
    }

    fn take_hold(
        &mut self,
        source: &SourceId,
        reason: SourceHoldReason,
        batch: Option<&BatchId>,
    ) -> Result<Option<SourceHold>> {
        let mut taken = None;
        for (row, bytes) in self.all(Table::Holds, &key(&[source.as_str().as_bytes()]))? {
            let hold: SourceHold = decode(Table::Holds, &bytes)?;
            let is_of_batch = reason != SourceHoldReason::BatchFailed || hold.batch_id.as_ref() == batch;
            if hold.reason == reason && is_of_batch {
                self.remove(Table::Holds, row);
                taken = Some(hold);
            }
        }
        Ok(taken)
    }

    /// Forgets what happened to a source at or before a time.
    pub fn forget_notes(&mut self, source: &SourceId, at: Timestamp) -> Result<()> {
        for (row, bytes) in self.all(Table::SourceTimeline, &key(&[source.as_str().as_bytes()]))? {
            let entry: SourceEntry = decode(Table::SourceTimeline, &bytes)?;
            if entry.at > at {
                break;
            }
            self.remove(Table::SourceTimeline, row);
        }
        Ok(())
    }

    /// Adds to a source's timeline.
    pub fn note_source(&mut self, source: &SourceId, cause: &str, actor: &str) -> Result<()> {
        let prefix = [source.as_str().as_bytes()];
        let last = self.last(Table::SourceTimeline, &key(&prefix))?;
        let next = last.map_or(0, |(row, _)| number_behind(&row) + 1);
        let entry = SourceEntry { at: self.now(), cause: cause.to_owned(), actor: actor.to_owned() };
        let bytes = encode(&entry)?;
        self.put(Table::SourceTimeline, numbered(&prefix, next), bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Store, StoreOptions};
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_hold_that_an_older_version_put_down_is_one_of_its_batch() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7));
        let store = Store::open(folder.path(), StoreOptions::default(), clock).unwrap();
        let source = SourceId::new("alpha").unwrap();
        let [one, two] = ["alpha:20261101T000100Z_r1", "alpha:20261101T000200Z_r2"]
            .map(|id| id.parse::<BatchId>().unwrap());
        let hold = |batch: &BatchId, note: &str| SourceHold {
            reason: SourceHoldReason::BatchFailed,
            code: "IO_FAILED".into(),
            note: note.into(),
            since: "2026-11-24T00:00:00Z".parse().unwrap(),
            batch_id: Some(batch.clone()),
        };
        let (older, again, other) = (hold(&one, "older"), hold(&one, "again"), hold(&two, "other"));
        let holds = |store: &Store| store.read(|view| view.source_holds(&source)).unwrap();
        let (bytes, of) = (encode(&older).unwrap(), source.clone());
        store
            .write(move |tx| {
                tx.put(Table::Holds, key(&[of.as_str().as_bytes(), b"batch_failed"]), bytes);
                Ok(())
            })
            .unwrap();
        let put = |hold: SourceHold| {
            let of = source.clone();
            store.write(move |tx| tx.hold_source(&of, &hold)).unwrap();
        };
        put(other.clone());
        assert_eq!(holds(&store), [older, other.clone()]);
        put(again.clone());
        assert_eq!(holds(&store), [again.clone(), other.clone()]);
        let of = source.clone();
        let reason = SourceHoldReason::BatchFailed;
        let taken = store.write(move |tx| tx.lift_source_hold(&of, reason, Some(&one))).unwrap();
        assert_eq!((taken, holds(&store)), (Some(again), vec![other]));
    }
}
