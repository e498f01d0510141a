//! From a batch to its plan, and whether that is parked.

use super::SELF;
use super::engine::Engine;
use super::failing::concerns_batch;
use super::making::Purpose;
use crate::domain::guards::{self, GuardRule};
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::publish_state::PublishStatus;
use crate::domain::settings::Mode;
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::planning::format::entry::Entry;
use crate::planning::format::layer::{CacheBudget, Layer, Scratch};
use crate::planning::halt::Halt;
use crate::planning::plan_file::{Plan, PlanManifest};
use crate::planning::snapshot::Snapshot;
use crate::store::{BatchRecord, Hold, HoldReason, PlanRecord, PlanState};

impl Engine {
    /// PLANNING, and what comes of it.
    pub(super) fn plan_batch(&self, mut record: BatchRecord) -> Result<Option<BatchRecord>> {
        let id = record.batch_id.clone();
        // It was held without a mode. What it is planned with it keeps.
        let settings = self.settings().source(id.source());
        let given = settings.mode.filter(|_| record.mode.is_none()).map(|mode| (mode, settings.scope));
        if let Some((mode, scope)) = given.clone() {
            (record.mode, record.scope) = (Some(mode), scope);
        }
        if self.is_stopped(id.source())? {
            return Ok(None);
        }
        self.check_target(id.source())?;
        self.end_skips(id.source())?;
        let mut batch = self.batch_of(&record)?;
        if record.pin.is_some()
            && let Err(error) = self.read_from_pin(&mut batch)
        {
            if let Some((mode, scope)) = given {
                // Restored, it is what it is planned as now.
                let batch_id = id.clone();
                self.store.write(move |tx| {
                    let mut record = tx.expect_batch(&batch_id)?;
                    (record.mode, record.scope) = (Some(mode), scope);
                    tx.put_batch(&record)
                })?;
            }
            return match error.kind() {
                ErrorKind::PinDamaged => self.fail(&id, &error, Some("planning".into())).map(Some),
                ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        let plan_id = self.new_plan_id()?;
        let (name, _) = self.target_of(id.source())?;
        let old_plan = record.plan_id.clone();
        let (registered, target, batch_id) = (plan_id.clone(), name.clone(), id.clone());
        let skipping_since = self.clock.now();
        let (bases, skips) = self.store.write(move |tx| {
            let bases = tx.current_snapshots(&target)?;
            let skips = tx.active_skips(batch_id.source(), skipping_since)?;
            tx.put_plan(&PlanRecord {
                plan_id: registered.clone(),
                batch_id: batch_id.clone(),
                registered_at: tx.now(),
                bases: bases.clone(),
                header: None,
                state: PlanState::Registered,
                base_commit: tx.last_commit(&target)?,
                target: Some(target),
                footprint: crate::domain::plan::FootprintRef::default(),
                lingers_until: None,
            })?;
            let now = tx.now();
            tx.transition_batch(&batch_id, Event::PlanningStarted, "its turn has come", SELF, |record| {
                if let Some((mode, scope)) = given {
                    (record.mode, record.scope) = (Some(mode), scope);
                }
                record.publish_start.get_or_insert(now);
                record.plan_id = Some(registered);
                record.hold = None;
                record.next_attempt = None;
            })?;
            Ok((bases, skips))
        })?;
        tracing::info!(batch = %id, source = %id.source(), plan = %plan_id, "planning");
        let manifest = match self.make_plan(&batch, plan_id.clone(), bases, &skips, Purpose::Queue) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.remove_plan_files(id.source(), &plan_id);
                self.work.not_stale(id.source());
                if error.kind() == ErrorKind::Interrupted {
                    // Stopped: it is planned again at the next start.
                    // Cancelled: it has ended already.
                    tracing::info!(batch = %id, source = %id.source(), "planning was interrupted");
                    return Ok(None);
                }
                if error.kind().info().retry != Retry::Never {
                    return self.retry_later(&id, &error).map(|_| None);
                }
                if !concerns_batch(error.kind()) {
                    return Err(error);
                }
                return self.fail(&id, &error, Some("planning".into())).map(Some);
            }
        };
        self.goes_on(&id);
        let covered = self.covered(&record, &manifest)?;
        let superseded = record.hold.is_some() || record.approval.is_some() || old_plan.is_some();
        let summary = &manifest.header.summary;
        let nothing_left = summary.changes() + summary.skipped() == 0 && manifest.layer.entries == 0;
        if superseded && nothing_left && self.is_superseded(&record, &manifest) && self.was_parked(&id)? {
            self.remove_plan_files(id.source(), &plan_id);
            let by = match (self.newer_than(&record), manifest.header.bases.get(id.source())) {
                (Some(newer), _) => Some(newer.batch_id),
                (None, Some(base)) => self.store.read(|view| view.snapshot(base))?.map(|base| base.batch_id),
                (None, None) => None,
            };
            let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
            let error = Error::new(ErrorKind::Superseded, format!("batch {id}: superseded{by}"));
            return self.end(&id, Event::Superseded, &error).map(Some);
        }
        let path = self.state.url_of(&self.state.plan_path(id.source(), &plan_id));
        // What takes nothing back and changes nothing needs nobody's approval.
        let idle = superseded && nothing_left;
        let parks = !manifest.header.guards.is_empty() && !covered && !idle;
        let (header, footprint, batch_id) = (manifest.header, manifest.footprint, id.clone());
        let record = self.store.write(move |tx| {
            let reasons: Vec<&str> = header.guards.iter().map(|trip| trip.reason.as_str()).collect();
            let note = reasons.join("; ");
            let mut plan = tx.plan(&plan_id)?.ok_or_else(|| Error::internal("a plan was not registered"))?;
            plan.header = Some(header.clone());
            plan.footprint = footprint;
            plan.state = PlanState::Complete;
            tx.put_plan(&plan)?;
            let now = tx.now();
            let cause =
                if parks { format!("planned; waits for approval: {note}") } else { "planned".to_owned() };
            tx.transition_batch(&batch_id, Event::PlanCompleted, &cause, SELF, |record| {
                record.plan_path = Some(path);
                record.hold = parks.then_some(Hold { reason: HoldReason::Approval, since: now, note });
            })?;
            if tx.active_skips(batch_id.source(), skipping_since)? == skips {
                return tx.expect_batch(&batch_id);
            }
            let cause = "what is skipped of its source is something else now";
            tx.transition_batch(&batch_id, Event::PlanStale, cause, SELF, |record| record.hold = None)
        })?;
        if let Some(plan) = &record.plan_id {
            self.work.made(id.source(), plan, self.clock.monotonic());
        }
        if record.hold.is_some() {
            self.work.not_stale(id.source());
            tracing::warn!(batch = %id, source = %id.source(), "a guard parked the plan");
        }
        Ok(Some(record))
    }

    /// Whether the batch was parked at some time.
    fn was_parked(&self, id: &BatchId) -> Result<bool> {
        let timeline = self.store.read(|view| view.timeline(id))?;
        Ok(timeline.iter().any(|entry| {
            entry.to == PublishStatus::PlanComplete && entry.cause.contains("waits for approval")
        }))
    }

    /// Whether an approval covers what a new plan trips: the same guards, and
    /// no key that the source no longer has, or has another value for, which it
    /// had as it was in the approved plan (`SEMANTICS` 8).
    fn covered(&self, record: &BatchRecord, manifest: &PlanManifest) -> Result<bool> {
        let Some(approval) = &record.approval else { return Ok(false) };
        if !guards::covers(&approval.trips, &manifest.header.guards) {
            return Ok(false);
        }
        let source = record.batch_id.source();
        if approval.plan_id == manifest.header.plan_id {
            return Ok(true);
        }
        let trips = |rule: GuardRule| manifest.header.guards.iter().any(|trip| trip.rule == rule);
        let asked = || self.stopping();
        let whole = Plan::open(&self.state, source, &approval.plan_id)
            .and_then(|approved| approved.verify(&self.state, Halt::when(&asked)).map(|()| approved));
        match whole {
            Ok(approved) => {
                self.is_subset(source, approved.manifest(), manifest, trips(GuardRule::UpdateRatio))
            }
            // Of what was approved no more is left than what it does at the target, and
            // how much of each type the source takes back.
            Err(error) if error.kind() == ErrorKind::SnapshotInvalid => {
                Ok(approval.digest == manifest.header.digest && approval.trips == manifest.header.guards)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether what the source takes back with a plan, and with `updates` what
    /// it changes, it does with the approved plan too. The layers say it: what
    /// shows at the target hangs on other sources.
    fn is_subset(
        &self,
        source: &SourceId,
        approved: &PlanManifest,
        new: &PlanManifest,
        updates: bool,
    ) -> Result<bool> {
        let budget = CacheBudget::new(16 << 20);
        let open = |manifest: &PlanManifest| {
            Layer::open(&self.state.layer_path(source, &manifest.layer.file), &budget)
        };
        let base_of = |manifest: &PlanManifest| match manifest.header.bases.get(source) {
            Some(base) => {
                Snapshot::open(&self.state, source, &manifest.header.target, base, &budget).map(Some)
            }
            None => Ok(None),
        };
        // Without these nobody knows what the approved plan took back.
        if !self.state.layer_path(source, &approved.layer.file).exists() {
            return Ok(false);
        }
        let Ok(base) = base_of(approved) else { return Ok(false) };
        let (approved, layer, own) = (open(approved)?, open(new)?, base_of(new)?);
        let mut scratch = Scratch::default();
        let mut entries = layer.scan();
        while let Some((_, entry)) = entries.advance()? {
            if entry.is_live() && !updates {
                continue;
            }
            let is_same = |known: &Entry| {
                if entry.is_live() { known.is_live() && known.canon == entry.canon } else { !known.is_live() }
            };
            let was_live = match &base {
                Some(base) => base.live(entry.key, &mut scratch)?.is_some(),
                None => false,
            };
            if was_live && approved.lookup(entry.key, &mut scratch)?.is_some_and(|(_, known)| is_same(&known))
            {
                continue;
            }
            // What is new takes nothing back and changes nothing.
            let live = match &own {
                Some(own) => own.live(entry.key, &mut scratch)?,
                None => None,
            };
            if live.is_some_and(|found| !entry.is_live() || found.entry.canon != entry.canon) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a full batch that was published since says anew all that a batch
    /// says which has nothing left to do. If not, it still counts: for keys of
    /// which the other says nothing, and for its bad lines.
    fn is_superseded(&self, record: &BatchRecord, manifest: &PlanManifest) -> bool {
        manifest.reject_count == 0
            && match record.mode {
                Some(Mode::Full) => self.newer_than(record).is_some(),
                Some(Mode::Incremental) | None => true,
            }
    }
}
