//! Making plans: of a batch whose turn has come, or of a folder that is only
//! looked at.

use std::collections::BTreeMap;
use std::path::Path;

use super::engine::Engine;
use super::views::Phase;
use crate::domain::ids::{PlanId, SnapshotId, SourceId};
use crate::domain::skip::Skips;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::Batch;
use crate::intake::folder;
use crate::planning::halt::Halt;
use crate::planning::plan_file::{Plan, PlanManifest};
use crate::planning::planner::{OperationLimits, PlanInput, Planner, Step};
use crate::store::BatchRecord;

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A batch of the queue: it can be cancelled, and its progress is shown.
    Queue,
    /// To be looked at.
    Look,
}

impl Engine {
    /// The plan of a batch, if it has one that is still stored.
    pub fn plan_of(&self, record: &BatchRecord) -> Result<Option<Plan>> {
        let Some(plan_id) = &record.plan_id else { return Ok(None) };
        if !self.state.plan_manifest_path(record.batch_id.source(), plan_id).exists() {
            return Ok(None);
        }
        Plan::open(&self.state, record.batch_id.source(), plan_id).map(Some)
    }

    /// Makes a plan of a folder without accepting it, hands it to `look`, and
    /// throws it away.
    ///
    /// # Errors
    /// [`ErrorKind::IdReused`] as when it is accepted, and those of planning.
    pub fn plan_only<T>(&self, folder: &Path, look: impl FnOnce(&Plan) -> Result<T>) -> Result<T> {
        let batch = folder::open_local(folder)?;
        self.check_id(&batch)?;
        self.plan_only_batch(&batch, look)
    }

    /// The same of a batch that was opened.
    pub fn plan_only_batch<T>(&self, batch: &Batch, look: impl FnOnce(&Plan) -> Result<T>) -> Result<T> {
        let plan_id = self.new_plan_id()?;
        let source = batch.id.source();
        let (name, _) = self.target_of(source)?;
        // Nobody collects what the plan is made from, though it is in no table.
        let pin = self.work.pin(&plan_id, || self.store.read(|view| view.current_snapshots(name)))?;
        let skips = self.store.read(|view| view.active_skips(source, self.clock.now()))?;
        let made = self.make_plan(batch, plan_id.clone(), pin.bases.clone(), &skips, Purpose::Look);
        let result = made.and_then(|_| {
            let mut plan = Plan::open(&self.state, source, &plan_id)?;
            if let Some(warning) = self.goes_before(batch)? {
                plan.warn(warning);
            }
            look(&plan)
        });
        self.remove_plan_files(source, &plan_id);
        result
    }

    /// That older batches of its source come before a batch, so that what it
    /// changes then may be something else.
    fn goes_before(&self, batch: &Batch) -> Result<Option<String>> {
        let (mut count, mut oldest) = (0u64, None);
        self.store.read(|view| {
            view.each_unfinished(batch.id.source(), |record| {
                if record.stamp >= batch.stamp {
                    return Ok(false);
                }
                count += 1;
                oldest.get_or_insert(record.batch_id);
                Ok(true)
            })
        })?;
        let Some(oldest) = oldest else { return Ok(None) };
        let source = batch.id.source();
        let batches = if count == 1 {
            format!("batch {oldest} of source {source} is older and comes")
        } else {
            format!("{count} batches of source {source} are older and come")
        };
        let more = if count == 1 { String::new() } else { format!(", {oldest} first of all") };
        Ok(Some(format!("{batches} before this one{more}: this plan is made from what is published now")))
    }

    /// Whether a batch was made of dead letters that wait for it. Others of such a
    /// number speak for what their original withheld, or are retried when their
    /// letters were settled otherwise: of what is newer, some may be forgotten.
    fn is_of_letters(&self, batch: &Batch, purpose: Purpose) -> Result<bool> {
        if batch.id.n() == 0 || batch.withholds_nothing {
            return Ok(false);
        }
        match purpose {
            Purpose::Queue => self.store.read(|view| Ok(!view.letters_requeued_with(&batch.id)?.is_empty())),
            Purpose::Look => Ok(true),
        }
    }

    /// Makes and stores a plan from these snapshots.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when the process is to stop or the batch
    /// was cancelled; what was written of the plan is to be removed then, as
    /// after every other error.
    pub(super) fn make_plan(
        &self,
        batch: &Batch,
        plan_id: PlanId,
        bases: BTreeMap<SourceId, SnapshotId>,
        skips: &Skips,
        purpose: Purpose,
    ) -> Result<PlanManifest> {
        let source = batch.id.source();
        let (name, open) = self.target_of(source)?;
        let whole = self.settings();
        let settings = whole.source(source);
        let options = self.planning_options();
        let queued = purpose == Purpose::Queue;
        let asked = || self.stopping() || queued && self.work.is_cancelled(&batch.id);
        let halt = Halt::when(&asked);
        self.check_future(batch)?;
        let bytes = batch.files.iter().map(|file| file.bytes).sum();
        if queued {
            self.live.begin(&batch.id, Phase::Reading, bytes);
        }
        self.bring(batch, halt)?;
        if !batch.folder.is_dir() {
            // Perhaps the inbox is away for a while; the batch waits for it.
            let text = format!("batch {}: its folder {} is not there now", batch.id, batch.folder.display());
            return Err(Error::new(ErrorKind::Io, text));
        }
        // The manifest need not say it.
        let stored = folder::check_files(batch)?;
        // What was brought here nobody else changes, but those who bring it.
        let is_local = batch.is_local();
        let states = folder::states(batch);
        if queued && bytes.is_none() {
            self.live.begin(&batch.id, Phase::Reading, Some(stored));
        }
        let capabilities = open.target.capabilities();
        let max_changes = whole.max_changes.unwrap_or(usize::MAX).min(capabilities.max_changes);
        self.progress.reading(&batch.id, Some(stored));
        let told = |step| {
            if let Step::Read(bytes) = step {
                self.progress.read(bytes);
            }
            match step {
                Step::Read(done) | Step::Judged(done) if queued => self.live.add(&batch.id, done),
                Step::Settled(total) if queued => self.live.begin(&batch.id, Phase::Planning, Some(total)),
                Step::Read(_) | Step::Judged(_) | Step::Settled(_) => {}
            }
        };
        let span = tracing::debug_span!("plan", batch = %batch.id, %source);
        let manifest = span.in_scope(|| {
            Planner::new(&self.state, &options).plan(&PlanInput {
                plan_id,
                batch,
                settings: &settings,
                target: name,
                target_identity: open
                    .target
                    .identity()
                    .map_err(|e| e.context(format!("batch {}, target {name}", batch.id)))?,
                deletion: open.deletion,
                of_letters: self.is_of_letters(batch, purpose)?,
                skips,
                operation_limits: OperationLimits {
                    changes: max_changes,
                    bytes: capabilities.max_bytes,
                    atomic: capabilities.atomic,
                },
                bases,
                progress: &told,
                halt,
            })
        });
        self.progress.finished(&batch.id);
        let manifest = manifest?;
        // It may have been read twice, and what was read in between need not be
        // what anybody wrote.
        let now = folder::states(batch);
        match (batch.files.iter().zip(states.iter().zip(&now)))
            .find(|(_, (before, now))| is_local && folder::was_changed(before.as_ref(), now.as_ref()))
        {
            None => Ok(manifest),
            Some((file, _)) => {
                let text = format!("batch {}: file {} was changed while it was read", batch.id, file.path);
                Err(Error::new(ErrorKind::FolderChanged, text))
            }
        }
    }

    /// # Errors
    /// [`ErrorKind::FromFuture`].
    fn check_future(&self, batch: &Batch) -> Result<()> {
        let stamp = &batch.stamp;
        let (time, processed) = (stamp.source_timestamp, stamp.processing_timestamp);
        match folder::ahead_of_clock(time, processed, self.clock.now(), self.settings().max_future) {
            None => Ok(()),
            Some((field, problem)) => {
                let text = format!("batch {}: its {field} {problem}", batch.id);
                Err(Error::new(ErrorKind::FromFuture, text))
            }
        }
    }

    pub(super) fn remove_plan_files(&self, source: &SourceId, plan: &PlanId) {
        let state = &self.state;
        for name in ["", "-packed", "-kept", "-raised"] {
            let pack = state.pack_path(source, &format!("{plan}{name}.pack"));
            state.forget_pack(&pack);
            let _ = std::fs::remove_file(pack);
        }
        for name in ["", "-merged", "-base", "-kept", "-raised"] {
            let _ = std::fs::remove_file(state.layer_path(source, &format!("{plan}{name}.layer")));
        }
        let _ = std::fs::remove_file(state.order_path(source, &format!("{plan}.order")));
        let _ = std::fs::remove_file(state.plan_path(source, plan));
        let _ = std::fs::remove_file(state.plan_manifest_path(source, plan));
    }
}
