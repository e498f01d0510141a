//! The engine: a data directory with its store, state folder and targets,
//! and everything that can be done with them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use url::Url;

use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::ids::{BatchId, PlanId, SourceId, TargetName, compact_time};
use crate::domain::plan::PlanDigest;
use crate::domain::publish_state::{PublishState, PublishStatus};
use crate::domain::settings::{Deletion, Mode};
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::{Batch, BatchFile};
use crate::intake::folder;
use crate::intake::prefix::Prefix;
use crate::planning::plan_file::Plan;
use crate::planning::planner::{OperationLimits, PlanInput, Planner, PlanningOptions};
use crate::planning::state_dir::StateDir;
use crate::publishing::crash::{CrashPoints, Point};
use crate::store::{Approval, BatchRecord, Store, StoreOptions, TimelineEntry};
use crate::targets::Target;
use crate::targets::embedded::{EmbeddedCatalogue, EmbeddedOptions};

/// A target and what is set for it.
pub struct OpenTarget {
    /// The target, as plans are executed against it.
    pub target: Arc<dyn Target>,
    /// The catalogue behind it, to look at.
    pub catalogue: Arc<EmbeddedCatalogue>,
    /// What a deletion means there.
    pub deletion: Deletion,
}

/// What long work tells of itself.
pub trait Progress: Send + Sync {
    /// A batch is about to be read: its stored bytes, if they are known.
    fn reading(&self, _batch: &BatchId, _bytes: Option<u64>) {}
    /// So many stored bytes were read.
    fn read(&self, _bytes: u64) {}
    /// A plan is about to be executed: its number of changes.
    fn executing(&self, _batch: &BatchId, _changes: u64) {}
    /// So many changes were done.
    fn executed(&self, _changes: u64) {}
    /// A batch is done with for now.
    fn finished(&self, _batch: &BatchId) {}
}

/// Tells nothing.
pub struct Silent;
impl Progress for Silent {}

/// An open data directory.
pub struct Engine {
    pub(super) store: Store,
    pub(super) state: StateDir,
    pub(super) targets: BTreeMap<TargetName, OpenTarget>,
    pub(super) settings: Settings,
    pub(super) options: PlanningOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) crash: Arc<CrashPoints>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) progress: Box<dyn Progress>,
    pub(super) prefixes: Mutex<BTreeMap<Url, Arc<dyn Prefix>>>,
}

impl Engine {
    /// Opens a data directory.
    ///
    /// # Errors
    /// When another process holds it, a newer version wrote it, or the state
    /// folder belongs to another one.
    pub fn open(data: &Path, settings: Settings, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_with(data, settings, clock, Arc::new(CrashPoints::none()))
    }

    /// Opens a data directory with points at which a test may kill the process.
    pub fn open_with(
        data: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
        crash: Arc<CrashPoints>,
    ) -> Result<Self> {
        let at = |point| {
            let crash = Arc::clone(&crash);
            Arc::new(move || crash.reached(point))
        };
        let options = StoreOptions { after_commit: Some(at(Point::Store)), ..StoreOptions::default() };
        let store = Store::open(data, options, Arc::clone(&clock))?;
        let state = StateDir::open(&settings.state, store.owner_id(), Some(at(Point::Files)))?;
        let mut targets = BTreeMap::new();
        for (name, target) in &settings.targets {
            let options = EmbeddedOptions {
                deletion: target.deletion,
                history: target.history,
                search_memory: usize::try_from(target.search_memory).unwrap_or(usize::MAX),
                ..EmbeddedOptions::default()
            };
            let catalogue = EmbeddedCatalogue::open(&target.path, options, Arc::clone(&clock))?;
            let catalogue = Arc::new(catalogue);
            let open =
                OpenTarget { target: Arc::clone(&catalogue) as _, catalogue, deletion: target.deletion };
            targets.insert(name.clone(), open);
        }
        let threads = match settings.planning.threads {
            0 => PlanningOptions::default().threads,
            threads => threads,
        };
        let options = PlanningOptions {
            fast_path: settings.planning.fast_path,
            threads,
            sort_memory: usize::try_from(settings.planning.sort_memory).unwrap_or(usize::MAX),
            index_memory: usize::try_from(settings.planning.index_memory).unwrap_or(usize::MAX),
            read: settings.limits,
        };
        let stop = Arc::new(AtomicBool::new(false));
        Ok(Self {
            store,
            state,
            targets,
            settings,
            options,
            clock,
            crash,
            stop,
            progress: Box::new(Silent),
            prefixes: Mutex::default(),
        })
    }

    /// Has long work tell of itself.
    pub fn with_progress(mut self, progress: Box<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Puts something between the engine and its targets: tests inject faults
    /// at this seam.
    pub fn with_targets(mut self, wrap: impl Fn(Arc<dyn Target>) -> Arc<dyn Target>) -> Self {
        for open in self.targets.values_mut() {
            open.target = wrap(Arc::clone(&open.target));
        }
        self
    }

    /// The flag that ends work between operations.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The folder of plans and snapshots.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    pub(super) fn target_of(&self, source: &SourceId) -> Result<(&TargetName, &OpenTarget)> {
        let name = self.settings.source(source).target;
        self.targets.get_key_value(&name).ok_or_else(|| {
            Error::new(
                ErrorKind::Settings,
                format!("`sources.{source}.target` is {name}, and there is no `targets.{name}`"),
            )
        })
    }

    /// A target's catalogue; the only one without a name.
    pub fn catalogue(&self, name: Option<&TargetName>) -> Result<&Arc<EmbeddedCatalogue>> {
        let found = match name {
            Some(name) => self.targets.get(name),
            None => {
                self.targets.get(&crate::domain::settings::default_target()).or(self.targets.values().next())
            }
        };
        let missing = || {
            let name = name.map_or_else(|| "any".into(), ToString::to_string);
            Error::new(ErrorKind::NotFound, format!("there is no target {name}"))
        };
        Ok(&found.ok_or_else(missing)?.catalogue)
    }

    /// Writes the catalogue in the line format of batches.
    pub fn export(&self, out: &mut dyn Write, archived: bool) -> Result<()> {
        self.catalogue(None)?.export(out, archived)
    }

    /// Accepts the batch in a folder: checks its manifest and queues it. A
    /// batch that was accepted before is left as it is.
    ///
    /// # Errors
    /// When the manifest breaks the contract, or the id was used before by
    /// another manifest.
    pub fn accept(&self, folder: &Path) -> Result<BatchId> {
        self.accept_batch(&folder::open_local(folder)?)
    }

    /// Queues a batch that was opened.
    pub fn accept_batch(&self, batch: &Batch) -> Result<BatchId> {
        let record = self.record(batch)?;
        let id = batch.id.clone();
        self.store.write(move |tx| {
            if let Some(known) = tx.batch(&record.batch_id)? {
                if known.manifest_hash == record.manifest_hash {
                    return Ok(());
                }
                let text = format!(
                    "batch {} was accepted {} from {} with another manifest",
                    known.batch_id, known.accepted_at, known.url
                );
                return Err(Error::new(ErrorKind::IdReused, text));
            }
            tx.put_batch(&record)?;
            let entry = TimelineEntry {
                at: tx.now(),
                event: None,
                from: PublishStatus::Pending,
                to: PublishStatus::Pending,
                cause: "accepted".into(),
                actor: "tidegate".into(),
            };
            tx.note(&record.batch_id, &entry)
        })?;
        Ok(id)
    }

    pub(super) fn record(&self, batch: &Batch) -> Result<BatchRecord> {
        let files =
            serde_json::to_string(&batch.files).map_err(|e| Error::internal("a file list").caused_by(e))?;
        Ok(BatchRecord {
            batch_id: batch.id.clone(),
            stamp: batch.stamp.clone(),
            url: batch.url.clone(),
            folder: batch.folder.clone(),
            workflow: batch.workflow.clone(),
            mode: Some(batch.mode),
            scope: batch.scope.clone(),
            complexity: batch.complexity,
            files,
            manifest_hash: batch.manifest_hash.clone(),
            status: PublishStatus::Pending,
            metrics: None,
            failure: None,
            accepted_at: self.clock.now(),
            publish_start: None,
            publish_end: None,
            plan_id: None,
            plan_path: None,
            snapshot_path: None,
            hold: None,
            approval: None,
            attempts: 0,
            next_attempt: None,
        })
    }

    pub(super) fn batch_of(&self, record: &BatchRecord) -> Result<Batch> {
        let files: Vec<BatchFile> =
            serde_json::from_str(&record.files).map_err(|e| Error::internal("a file list").caused_by(e))?;
        Ok(Batch {
            id: record.batch_id.clone(),
            stamp: record.stamp.clone(),
            url: record.url.clone(),
            folder: record.folder.clone(),
            workflow: record.workflow.clone(),
            mode: record.mode.unwrap_or(Mode::Full),
            scope: record.scope.clone(),
            complexity: record.complexity,
            files,
            manifest_hash: record.manifest_hash.clone(),
        })
    }

    pub(super) fn new_plan_id(&self) -> Result<PlanId> {
        let text = format!("{}-{:016x}", compact_time(self.clock.now()), self.clock.random());
        PlanId::new(text).map_err(|e| Error::internal(e.to_string()))
    }

    /// Takes the next batch that may run one attempt further.
    pub fn step(&self) -> Result<Option<BatchId>> {
        let Some(batch) = self.next_runnable(None)? else { return Ok(None) };
        let id = batch.batch_id.clone();
        self.attempt(batch)?;
        Ok(Some(id))
    }

    /// Works until nothing more may run.
    pub fn run_until_idle(&self) -> Result<()> {
        while !self.stopping() && self.step()?.is_some() {}
        Ok(())
    }

    /// Works on the source of a batch until the batch has ended, is parked or
    /// waits, and returns its record.
    pub fn run_batch(&self, id: &BatchId) -> Result<BatchRecord> {
        loop {
            let record = self.batch(id)?;
            if record.status.is_final() || self.stopping() {
                return Ok(record);
            }
            let Some(next) = self.next_runnable(Some(id.source()))? else { return self.batch(id) };
            self.attempt(next)?;
        }
    }

    /// A batch that has to be there.
    pub fn batch(&self, id: &BatchId) -> Result<BatchRecord> {
        self.store.read(|view| view.expect_batch(id))
    }

    /// The record that the API returns for a batch.
    pub fn publish_state(&self, id: &BatchId) -> Result<Option<PublishState>> {
        Ok(self.store.read(|view| view.batch(id))?.map(|record| record.publish_state()))
    }

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
    pub fn plan_only<T>(&self, folder: &Path, look: impl FnOnce(&Plan) -> Result<T>) -> Result<T> {
        let batch = folder::open_local(folder)?;
        let plan_id = self.new_plan_id()?;
        let made = self.make_plan(&batch, plan_id.clone());
        let result = made.and_then(|_| look(&Plan::open(&self.state, batch.id.source(), &plan_id)?));
        self.remove_plan_files(batch.id.source(), &plan_id);
        result
    }

    pub(super) fn make_plan(
        &self,
        batch: &Batch,
        plan_id: PlanId,
    ) -> Result<crate::planning::plan_file::PlanManifest> {
        let source = batch.id.source();
        let (name, open) = self.target_of(source)?;
        let settings = self.settings.source(source);
        self.check_future(batch)?;
        self.bring(batch)?;
        folder::check_files(batch)?;
        let bases = self.store.read(|view| view.current_snapshots(name))?;
        let capabilities = open.target.capabilities();
        let max_changes = self.settings.max_changes.unwrap_or(usize::MAX).min(capabilities.max_changes);
        self.progress.reading(&batch.id, batch.files.iter().map(|file| file.bytes).sum());
        let manifest = Planner::new(&self.state, &self.options).plan(&PlanInput {
            plan_id,
            batch,
            settings: &settings,
            target: name,
            target_identity: open.target.identity()?,
            deletion: open.deletion,
            operation_limits: OperationLimits {
                changes: max_changes,
                bytes: capabilities.max_bytes,
                atomic: capabilities.atomic,
            },
            bases,
            progress: &|bytes| self.progress.read(bytes),
        });
        self.progress.finished(&batch.id);
        manifest
    }

    fn check_future(&self, batch: &Batch) -> Result<()> {
        let limit =
            jiff::SignedDuration::try_from(self.settings.max_future).unwrap_or(jiff::SignedDuration::MAX);
        let latest = self.clock.now().checked_add(limit).unwrap_or(jiff::Timestamp::MAX);
        if batch.stamp.source_timestamp <= latest {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::FromFuture,
            format!(
                "batch {}: its source timestamp {} lies after {latest}",
                batch.id, batch.stamp.source_timestamp
            ),
        ))
    }

    /// Approves what a guard parks. With a digest, only if it is that of the
    /// plan.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the batch is not parked,
    /// [`ErrorKind::PlanStale`] when the digest is another one.
    pub fn approve(&self, id: &BatchId, digest: Option<PlanDigest>, actor: &str, reason: &str) -> Result<()> {
        let (id, actor, reason) = (id.clone(), actor.to_owned(), reason.to_owned());
        self.store.write(move |tx| {
            let mut record = tx.expect_batch(&id)?;
            let plan = match &record.plan_id {
                Some(plan) if record.hold.is_some() => tx.plan(plan)?,
                Some(_) | None => None,
            };
            let Some(header) = plan.and_then(|plan| plan.header) else {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("batch {id} does not wait for an approval"),
                ));
            };
            if digest.is_some_and(|digest| digest != header.digest) {
                let text = format!("batch {id} has a plan with digest {}", header.digest);
                return Err(Error::new(ErrorKind::PlanStale, text));
            }
            record.approval = Some(Approval {
                plan_id: header.plan_id,
                digest: header.digest,
                trips: header.guards,
                actor: actor.clone(),
                reason: reason.clone(),
                at: tx.now(),
            });
            record.hold = None;
            tx.put_batch(&record)?;
            let entry = TimelineEntry {
                at: tx.now(),
                event: None,
                from: record.status,
                to: record.status,
                cause: format!("approved: {reason}"),
                actor,
            };
            tx.note(&id, &entry)
        })
    }

    /// Rejects what a guard parks: the batch asserts nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the batch is not parked.
    pub fn reject(&self, id: &BatchId, actor: &str, reason: &str) -> Result<()> {
        let (id, actor, reason) = (id.clone(), actor.to_owned(), reason.to_owned());
        self.store.write(move |tx| {
            let record = tx.expect_batch(&id)?;
            if record.hold.is_none() {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("batch {id} does not wait for an approval"),
                ));
            }
            let at = tx.now();
            let error =
                Error::new(ErrorKind::Rejected, format!("batch {id} was rejected by {actor}: {reason}"));
            let failure = super::publish::failure(&error, None, record.attempts);
            tx.transition_batch(&id, Event::Rejected, &reason, &actor, |record| {
                record.hold = None;
                record.failure = Some(failure);
                record.publish_end = Some(at);
            })?;
            Ok(())
        })
    }

    pub(super) fn remove_plan_files(&self, source: &SourceId, plan: &PlanId) {
        let state = &self.state;
        for name in ["", "-kept", "-raised"] {
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
