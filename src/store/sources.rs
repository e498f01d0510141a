//! What holds sources, and what happened to them.

use super::records::{SourceEntry, SourceHold, SourceHoldReason};
use super::tables::{Table, decode, encode, key, number_behind, numbered};
use super::tx::{Read, Tx, View};
use crate::domain::ids::SourceId;
use crate::error::Result;

fn row(source: &SourceId, reason: SourceHoldReason) -> Vec<u8> {
    key(&[source.as_str().as_bytes(), reason.as_str().as_bytes()])
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
    /// Holds a source. A hold of the same reason gives way to it.
    pub fn hold_source(&mut self, source: &SourceId, hold: &SourceHold) -> Result<()> {
        let bytes = encode(hold)?;
        self.put(Table::Holds, row(source, hold.reason), bytes);
        self.hold_alert(source, hold.reason)
    }

    /// Ends one hold of a source. Returns it, if there was one.
    pub fn lift_source_hold(
        &mut self,
        source: &SourceId,
        reason: SourceHoldReason,
    ) -> Result<Option<SourceHold>> {
        let row = row(source, reason);
        let Some(bytes) = self.get(Table::Holds, &row)? else { return Ok(None) };
        self.end_hold_alert(source, reason);
        self.remove(Table::Holds, row);
        decode(Table::Holds, &bytes).map(Some)
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
