//! Sources: how they stand, with settings in force, counts, batches and
//! snapshots.

use std::collections::BTreeSet;

use super::super::engine::Engine;
use super::super::views::{
    BatchView, Page, SettingView, SkipView, SourceDetail, SourceStatus, SourceView, StatusCounts, StatusView,
};
use super::waits::{self, Fronts};
use super::{Part, cursor};
use crate::domain::ids::SourceId;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{BatchList, BatchRecord, View};

/// The list's name, for cursors.
const NAME: &str = "sources";
/// Batches and snapshots that a source is shown with.
const NEWEST: usize = 20;

impl Engine {
    /// A part of the sources: those that ever had a batch, and those with
    /// settings of their own.
    pub fn sources(&self, part: &Part) -> Result<Page<SourceView>> {
        let (limit, after) = (part.limit()?, part.after(NAME)?);
        self.store.read(|view| {
            let mut fronts = Fronts::new(self, view);
            let behind =
                |id: &SourceId| after.as_ref().is_none_or(|after| id.as_str().as_bytes() > &after[..]);
            let mut ids: Vec<SourceId> = self.known_sources(view)?.into_iter().filter(behind).collect();
            let more = ids.len() > limit;
            ids.truncate(limit);
            let last = ids.last().filter(|_| more);
            let next_cursor = last.map(|id| cursor::encode(NAME, id.as_str().as_bytes()));
            let items = ids.iter().map(|id| self.source_of(view, &mut fronts, id));
            Ok(Page { items: items.collect::<Result<_>>()?, next_cursor })
        })
    }

    /// Every source that is known, by id.
    ///
    /// # Errors
    /// When the store fails.
    pub fn source_ids(&self) -> Result<Vec<SourceId>> {
        self.store.read(|view| Ok(self.known_sources(view)?.into_iter().collect()))
    }

    /// A source with its settings, newest batches and snapshots.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it has neither batches nor settings.
    pub fn source_view(&self, id: &SourceId) -> Result<SourceDetail> {
        self.store.read(|view| {
            if !self.known_sources(view)?.contains(id) {
                let text = format!("no batch of a source {id} was ever accepted, and it has no settings");
                return Err(Error::new(ErrorKind::NotFound, text));
            }
            let mut fronts = Fronts::new(self, view);
            let source = self.source_of(view, &mut fronts, id)?;
            let list = BatchList { source: Some(id.clone()), limit: NEWEST, ..BatchList::default() };
            let records = view.list_batches(&list)?.batches;
            let batches: Vec<BatchView> = records
                .iter()
                .map(|record| self.view_of(view, &mut fronts, record))
                .collect::<Result<_>>()?;
            let snapshots = self.newest_of(view, id, NEWEST)?;
            let settings = self.settings().source_lines(id).into_iter();
            let settings =
                settings.map(|line| SettingView { key: line.key, value: line.value, origin: line.origin });
            let now = self.clock.now();
            let skips = view.skips(id)?.into_iter().filter(|skip| skip.is_active(now));
            let skips = skips.map(SkipView::from).collect();
            Ok(SourceDetail { source, skips, settings: settings.collect(), batches, snapshots })
        })
    }

    /// What customers may see: every source with its last success, and how it
    /// stands in words.
    pub fn status(&self) -> Result<StatusView> {
        self.store.read(|view| {
            let mut fronts = Fronts::new(self, view);
            let mut sources = Vec::new();
            for source_id in self.known_sources(view)? {
                let newest = newest(view, &source_id, None)?;
                let (state, words) = waits::state_of(fronts.of(&source_id)?, newest.as_ref());
                let last_success = last_success(view, &source_id)?;
                sources.push(SourceStatus { source_id, state, words: words.to_owned(), last_success });
            }
            Ok(StatusView { at: fronts.now(), sources })
        })
    }

    /// All batches by status; with a source, its own.
    pub(super) fn counts(&self, view: &View<'_>, source: Option<&SourceId>) -> Result<StatusCounts> {
        let count = |status| view.count_batches(source, status);
        Ok(StatusCounts {
            pending: count(PublishStatus::Pending)?,
            planning: count(PublishStatus::Planning)?,
            plan_complete: count(PublishStatus::PlanComplete)?,
            executing: count(PublishStatus::Executing)?,
            complete: count(PublishStatus::Complete)?,
            failed: count(PublishStatus::Failed)?,
            retrying: count(PublishStatus::Retrying)?,
        })
    }

    pub(super) fn known_sources(&self, view: &View<'_>) -> Result<BTreeSet<SourceId>> {
        let mut ids: BTreeSet<SourceId> = view.sources()?.into_iter().collect();
        ids.extend(self.settings().sources.keys().cloned());
        Ok(ids)
    }

    pub(super) fn source_of(
        &self,
        view: &View<'_>,
        fronts: &mut Fronts<'_>,
        id: &SourceId,
    ) -> Result<SourceView> {
        let settings = self.settings().source(id);
        let newest = newest(view, id, None)?;
        let counts = self.counts(view, Some(id))?;
        let front = fronts.of(id)?;
        let (state, words) = waits::state_of(front, newest.as_ref());
        let current = view.current_snapshot(&settings.target, id)?;
        let snapshot = match &current {
            Some(current) => view.snapshot(current)?,
            None => None,
        };
        Ok(SourceView {
            source_id: id.clone(),
            importance: settings.importance,
            precedence: settings.precedence,
            state,
            words: words.to_owned(),
            hold: front.hold.as_ref().map(waits::source_hold),
            waiting: counts.unfinished(),
            counts,
            newest_batch: newest.as_ref().map(|batch| batch.batch_id.clone()),
            newest_status: newest.as_ref().map(|batch| batch.status),
            last_success: last_success(view, id)?,
            open_dead_letters: view.count_open_dead_letters(id)?,
            snapshot: snapshot.map(|record| super::snapshots::snapshot_view(record, true)),
            target: settings.target,
        })
    }
}

fn newest(view: &View<'_>, source: &SourceId, status: Option<PublishStatus>) -> Result<Option<BatchRecord>> {
    let list = BatchList { source: Some(source.clone()), status, limit: 1, ..BatchList::default() };
    Ok(view.list_batches(&list)?.batches.pop())
}

fn last_success(view: &View<'_>, source: &SourceId) -> Result<Option<jiff::Timestamp>> {
    Ok(newest(view, source, Some(PublishStatus::Complete))?.and_then(|batch| batch.publish_end))
}
