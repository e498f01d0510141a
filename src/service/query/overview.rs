//! Everything at a glance, and the process itself.

use jiff::Timestamp;

use super::super::engine::Engine;
use super::super::views::{BatchView, FormatView, OverviewView, ServiceInfo, SourceView};
use super::waits::Fronts;
use crate::domain::publish_state::PublishStatus;
use crate::error::Result;
use crate::store::{BatchList, BatchRecord, View};

/// Waiting batches that are shown.
const WAITING: usize = 20;
/// Parked batches that are shown.
const PARKED: usize = 50;
/// Ended batches that are shown.
const RESULTS: usize = 20;
/// Batches in one status that are shown as running.
const RUNNING: usize = 50;
/// Sources that are shown.
const SOURCES: usize = 200;

impl Engine {
    /// Everything at a glance. `started` is when the process did; `serving`:
    /// whether it publishes.
    pub fn overview(&self, started: Timestamp, serving: bool) -> Result<OverviewView> {
        self.store.read(|view| {
            let mut fronts = Fronts::new(self, view);
            let running = [PublishStatus::Executing, PublishStatus::Planning];
            let running = self.all_in(view, &mut fronts, &running, RUNNING, |_| true)?;
            let parked = [PublishStatus::PlanComplete];
            let parked = self.all_in(view, &mut fronts, &parked, PARKED, |batch| batch.hold.is_some())?;
            let results = view.ended_last(RESULTS)?;
            let results: Vec<BatchView> = results
                .iter()
                .map(|record| self.view_of(view, &mut fronts, record))
                .collect::<Result<_>>()?;
            let (mut waiting, _) = self.places(view, &mut fronts, 0, WAITING + running.len())?;
            waiting.retain(|item| item.waits.is_some());
            waiting.truncate(WAITING);
            let depth = self.depth(view, &mut fronts)?;
            let ids = self.known_sources(view)?;
            let sources: Vec<SourceView> = ids
                .iter()
                .take(SOURCES)
                .map(|id| self.source_of(view, &mut fronts, id))
                .collect::<Result<_>>()?;
            Ok(OverviewView {
                at: fronts.now(),
                service: self.service_info(started, serving),
                stopped: self.too_little_room(),
                lost_inboxes: self.lost_inboxes(),
                counts: self.counts(view, None)?,
                depth,
                running,
                waiting,
                parked,
                results,
                sources,
            })
        })
    }

    /// The process that answers.
    pub fn service_info(&self, started: Timestamp, serving: bool) -> ServiceInfo {
        let data =
            std::path::absolute(&self.settings().data).unwrap_or_else(|_| self.settings().data.clone());
        let format = |name: &str, version: &str| FormatView { name: name.into(), version: version.into() };
        ServiceInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            serving,
            started_at: started,
            uptime_seconds: self.clock.now().duration_since(started).as_secs().max(0).unsigned_abs(),
            data: data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            formats: vec![
                format("batch", crate::intake::manifest::FORMAT),
                format("plan", super::plan_json::FORMAT),
                format("plan file", crate::planning::plan_file::FORMAT),
                format("snapshot", crate::planning::snapshot::FORMAT),
                format("store", &crate::store::FORMAT_VERSION.to_string()),
            ],
        }
    }

    fn all_in(
        &self,
        view: &View<'_>,
        fronts: &mut Fronts<'_>,
        statuses: &[PublishStatus],
        limit: usize,
        fits: impl Fn(&BatchRecord) -> bool,
    ) -> Result<Vec<BatchView>> {
        let mut found = Vec::new();
        for status in statuses {
            let list = BatchList { status: Some(*status), oldest_first: true, limit, ..BatchList::default() };
            for record in view.list_batches(&list)?.batches.iter().filter(|record| fits(record)) {
                found.push(self.view_of(view, fronts, record)?);
            }
        }
        Ok(found)
    }
}
