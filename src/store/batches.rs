//! Batches, their order and their timelines.

use std::ops::Bound;

use jiff::Timestamp;

use super::index::BatchList;
use super::records::{BatchRecord, TimelineEntry};
use super::tables::{Table, decode, encode, key, number_behind, numbered};
use super::tx::{KeyRange, Read, Tx, View};
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::notice::NoticeKind;
use crate::domain::publish_state::PublishStatus;
use crate::domain::stamp::Stamp;
use crate::domain::transition::{Event, transition};
use crate::error::{Error, ErrorKind, Result};

/// Rows of [`Table::Meta`]: when old batches were looked at last, and how far.
const FORGOT_AT: &[u8] = b"batches forgotten at";
const FORGOT_TO: &[u8] = b"batches forgotten to";

/// Which batches to list.
#[derive(Debug, Clone, Default)]
pub struct BatchFilter {
    /// Of this source.
    pub source: Option<SourceId>,
    /// In this status.
    pub status: Option<PublishStatus>,
    /// At most so many, the newest first; 0 for all.
    pub limit: usize,
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// A batch.
            pub fn batch(&self, id: &BatchId) -> Result<Option<BatchRecord>> {
                let found = self.get(Table::Batches, id.to_string().as_bytes())?;
                found.map(|bytes| decode(Table::Batches, &bytes)).transpose()
            }

            /// A batch that has to be there.
            pub fn expect_batch(&self, id: &BatchId) -> Result<BatchRecord> {
                self.batch(id)?
                    .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no batch {id}")))
            }

            /// When batches were looked at last to be forgotten, and behind which row of
            /// [`Self::ended_by`] that goes on.
            pub fn forgetting(&self) -> Result<(Option<Timestamp>, Option<Vec<u8>>)> {
                let at = self.get(Table::Meta, FORGOT_AT)?;
                let at = at.and_then(|text| String::from_utf8_lossy(&text).parse().ok());
                Ok((at, self.get(Table::Meta, FORGOT_TO)?))
            }

            /// A batch with those that were made of it.
            pub fn family(&self, id: &BatchId) -> Result<Vec<BatchRecord>> {
                let original = id.with_n(0).to_string();
                let made = self.all(Table::Batches, format!("{original}~").as_bytes())?;
                let own = self.get(Table::Batches, original.as_bytes())?;
                let rows = own.into_iter().chain(made.into_iter().map(|(_, bytes)| bytes));
                rows.map(|bytes| decode(Table::Batches, &bytes)).collect()
            }

            /// Hands out the batches of a source that have not ended, oldest
            /// first, until `each` has seen enough: it says whether to go on.
            pub fn each_unfinished(
                &self,
                source: &SourceId,
                mut each: impl FnMut(BatchRecord) -> Result<bool>,
            ) -> Result<()> {
                const PAGE: usize = 16;
                let prefix = key(&[source.as_str().as_bytes()]);
                let mut after: Option<Vec<u8>> = None;
                loop {
                    let rows = self.scan(Table::Unfinished, &prefix, after.as_deref(), PAGE)?;
                    for (_, id) in &rows {
                        if let Some(bytes) = self.get(Table::Batches, id)?
                            && !each(decode(Table::Batches, &bytes)?)?
                        {
                            return Ok(());
                        }
                    }
                    if rows.len() < PAGE {
                        return Ok(());
                    }
                    after = rows.into_iter().next_back().map(|(row, _)| row);
                }
            }

            /// Whether the source ever had a batch.
            pub fn has_batches(&self, source: &SourceId) -> Result<bool> {
                let prefix = key(&[source.as_str().as_bytes()]);
                Ok(!self.scan(Table::ByStamp, &prefix, None, 1)?.is_empty())
            }

            /// Whether a person put a batch of the source before those of others.
            pub fn is_prioritised(&self, source: &SourceId) -> Result<bool> {
                let prefix = key(&[source.as_str().as_bytes()]);
                Ok(!self.scan(Table::Prioritised, &prefix, None, 1)?.is_empty())
            }

            /// The batches of a source that a person put before those of others.
            pub fn prioritised_of(&self, source: &SourceId) -> Result<Vec<BatchId>> {
                let rows = self.all(Table::Prioritised, &key(&[source.as_str().as_bytes()]))?;
                let id = |id: &[u8]| String::from_utf8_lossy(id).parse::<BatchId>();
                rows.iter().map(|(_, bytes)| id(bytes).map_err(|e| Error::internal(e.to_string()))).collect()
            }

            /// The batches of a source that have not ended, oldest first.
            pub fn unfinished(&self, source: &SourceId) -> Result<Vec<BatchRecord>> {
                self.unfinished_page(source, None, usize::MAX)
            }

            /// The sources that have such batches.
            pub fn sources_with_unfinished(&self) -> Result<Vec<SourceId>> {
                self.sources_in(Table::Unfinished)
            }

            /// The sources that ever had a batch.
            pub fn sources(&self) -> Result<Vec<SourceId>> {
                self.sources_in(Table::ByStamp)
            }

            fn sources_in(&self, table: Table) -> Result<Vec<SourceId>> {
                let mut sources = Vec::new();
                let mut after: Option<Vec<u8>> = None;
                // One row of each source: the search goes on behind all of its rows.
                while let Some((found, _)) = self.scan(table, b"", after.as_deref(), 1)?.pop() {
                    let name = found.split(|b| *b == 0).next().unwrap_or_default().to_vec();
                    let mut next = name.clone();
                    next.push(1);
                    after = Some(next);
                    let text = String::from_utf8_lossy(&name).into_owned();
                    sources.push(SourceId::new(text).map_err(|e| Error::internal(e.to_string()))?);
                }
                Ok(sources)
            }

            /// Batches, the newest by stamp first.
            pub fn batches(&self, filter: &BatchFilter) -> Result<Vec<BatchRecord>> {
                let limit = if filter.limit == 0 { usize::MAX } else { filter.limit };
                let (source, status) = (filter.source.clone(), filter.status);
                Ok(self.list_batches(&BatchList { source, status, limit, ..BatchList::default() })?.batches)
            }

            /// What happened to a batch, oldest first.
            pub fn timeline(&self, id: &BatchId) -> Result<Vec<TimelineEntry>> {
                let rows = self.all(Table::Timeline, &key(&[id.to_string().as_bytes()]))?;
                rows.iter().map(|(_, bytes)| decode(Table::Timeline, bytes)).collect()
            }

            /// Up to `limit` entries of it, oldest first or `backwards`, behind
            /// the one of number `after`; each with its number.
            pub fn timeline_page(
                &self,
                id: &BatchId,
                backwards: bool,
                after: Option<u64>,
                limit: usize,
            ) -> Result<Vec<(u64, TimelineEntry)>> {
                let text = id.to_string();
                let mut range = KeyRange { backwards, ..KeyRange::of_prefix(&key(&[text.as_bytes()])) };
                if let Some(after) = after {
                    let row = Bound::Excluded(numbered(&[text.as_bytes()], after));
                    *(if backwards { &mut range.to } else { &mut range.from }) = row;
                }
                self.range(Table::Timeline, &range, limit)?
                    .iter()
                    .map(|(row, bytes)| Ok((number_behind(row), decode(Table::Timeline, bytes)?)))
                    .collect()
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Stores a batch as it is now.
    pub fn put_batch(&mut self, batch: &BatchRecord) -> Result<()> {
        let id = batch.batch_id.to_string().into_bytes();
        let old = self.batch(&batch.batch_id)?;
        self.index_batch(old.as_ref(), batch)?;
        self.ask_for_pin(old.as_ref(), batch)?;
        let bytes = encode(batch)?;
        self.put(Table::Batches, id, bytes);
        self.batch_alert(old.as_ref(), batch)
    }

    /// Puts down when batches were looked at last to be forgotten, and how far.
    pub fn set_forgetting(&mut self, at: Timestamp, after: Option<&[u8]>) {
        self.put(Table::Meta, FORGOT_AT.to_vec(), at.to_string().into_bytes());
        match after {
            Some(after) => self.put(Table::Meta, FORGOT_TO.to_vec(), after.to_vec()),
            None => self.remove(Table::Meta, FORGOT_TO.to_vec()),
        }
    }

    /// Forgets a batch, with its timeline. What it did stays counted.
    pub fn forget_batch(&mut self, batch: &BatchRecord) -> Result<()> {
        let text = batch.batch_id.to_string();
        self.unindex_batch(batch)?;
        for (row, _) in self.all(Table::Timeline, &key(&[text.as_bytes()]))? {
            self.remove(Table::Timeline, row);
        }
        self.remove(Table::Batches, text.into_bytes());
        Ok(())
    }

    /// Adds to a batch's timeline.
    pub fn note(&mut self, id: &BatchId, entry: &TimelineEntry) -> Result<()> {
        let text = id.to_string();
        let last = self.last(Table::Timeline, &key(&[text.as_bytes()]))?;
        let next = last.map_or(0, |(row, _)| number_behind(&row) + 1);
        let bytes = encode(entry)?;
        self.put(Table::Timeline, numbered(&[text.as_bytes()], next), bytes);
        Ok(())
    }

    /// Adds something to a batch's timeline that leaves its status as it is.
    pub fn remark(&mut self, batch: &BatchRecord, cause: impl Into<String>, actor: &str) -> Result<()> {
        let (from, to) = (batch.status, batch.status);
        let (cause, actor) = (cause.into(), actor.to_owned());
        self.note(&batch.batch_id, &TimelineEntry { at: self.now(), event: None, from, to, cause, actor })
    }

    /// Leads a batch through an event: checks it, lets `change` fill in what
    /// goes with it, and stores batch and timeline. The plan that it had will
    /// not be executed any more, unless it was committed before.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the batch's status does not allow it.
    pub fn transition_batch(
        &mut self,
        id: &BatchId,
        event: Event,
        cause: &str,
        actor: &str,
        change: impl FnOnce(&mut BatchRecord),
    ) -> Result<BatchRecord> {
        self.lead_batch(id, event, (cause, actor), None, change)
    }

    /// As [`Tx::transition_batch`], of a batch that fails as a whole. `newer`:
    /// the stamp of what was published before and said anew all that it says,
    /// so that its dead letter is settled at once.
    pub fn fail_batch(
        &mut self,
        id: &BatchId,
        (cause, actor): (&str, &str),
        newer: Option<Stamp>,
        change: impl FnOnce(&mut BatchRecord),
    ) -> Result<BatchRecord> {
        self.lead_batch(id, Event::Failed, (cause, actor), newer, change)
    }

    fn lead_batch(
        &mut self,
        id: &BatchId,
        event: Event,
        (cause, actor): (&str, &str),
        newer: Option<Stamp>,
        change: impl FnOnce(&mut BatchRecord),
    ) -> Result<BatchRecord> {
        let mut batch = self.expect_batch(id)?;
        let (from, plan) = (batch.status, batch.plan_id.clone());
        batch.status = transition(from, event)
            .map_err(|forbidden| Error::new(ErrorKind::Conflict, format!("batch {id}: {forbidden}")))?;
        change(&mut batch);
        self.drop_pin(&mut batch);
        self.put_batch(&batch)?;
        if !matches!(batch.status, PublishStatus::PlanComplete | PublishStatus::Executing)
            && let Some(plan) = plan
        {
            self.drop_plan(&plan)?;
        }
        let entry = TimelineEntry {
            at: self.now(),
            event: Some(event),
            from,
            to: batch.status,
            cause: cause.to_owned(),
            actor: actor.to_owned(),
        };
        self.note(id, &entry)?;
        self.letters_follow(&batch, event, (cause, actor), newer)?;
        if batch.status.is_final() {
            let mut state = batch.publish_state();
            // Causes are whatever a library said; only our own words leave the machine.
            if let Some(failure) = &mut state.failure_details {
                failure.stack_trace = None;
            }
            self.announce(NoticeKind::BatchEnded, &id.to_string(), &state)?;
        }
        Ok(batch)
    }
}
