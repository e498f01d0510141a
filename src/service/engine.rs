//! The engine: a data directory with its store, state folder and targets,
//! and the one way into everything that can be done with them. All methods
//! block, and may be called from any thread.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use jiff::Timestamp;
use url::Url;

use super::estimate::PublishedTypes;
use super::events::Events;
use super::folded::Folded;
use super::live::Live;
use super::looking::Inboxes;
use super::query::Looks;
use super::queue::Next;
use super::space::Space;
use super::stop::Stop;
use super::uploads::Uploads;
use super::views::ProgressView;
use super::work::Work;
use crate::clock::Clock;
use crate::config::{LoadOptions, Settings, TargetKind, TargetSettings};
use crate::domain::ids::{BatchId, PlanId, SourceId, TargetName, compact_time};
use crate::domain::publish_state::PublishState;
use crate::domain::settings::Deletion;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::prefix::Prefix;
use crate::planning::fold::FoldLimits;
use crate::planning::planner::PlanningOptions;
use crate::planning::state_dir::StateDir;
use crate::publishing::crash::{CrashPoints, Point};
use crate::publishing::send::SendCounts;
use crate::store::{BatchRecord, PlanRecord, PlanState, Store, StoreOptions, Touched};
use crate::targets::Target;
use crate::targets::embedded::{EmbeddedCatalogue, EmbeddedOptions};
use crate::targets::http::{HttpOptions, HttpTarget, Token};

/// A target and what is set for it.
pub struct OpenTarget {
    /// The target, as plans are executed against it.
    pub target: Arc<dyn Target>,
    /// The catalogue behind it, to look at, where it is embedded.
    pub embedded: Option<Arc<EmbeddedCatalogue>>,
    /// What a deletion means there.
    pub deletion: Deletion,
}

impl OpenTarget {
    /// The catalogue behind it, to look at.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it is not embedded,
    /// [`ErrorKind::CatalogueFailed`] when its file is not there.
    pub fn catalogue(&self, name: &TargetName) -> Result<&Arc<EmbeddedCatalogue>> {
        let catalogue = self.embedded.as_ref().ok_or_else(|| {
            let text = format!("the target {name} is not embedded: what it holds is looked at there");
            Error::new(ErrorKind::NotFound, text)
        })?;
        catalogue.present()?;
        Ok(catalogue)
    }
}

/// Opens what is set for a target, to which something may be `published` already. One
/// that is spoken to over the network is not asked for anything yet.
fn open_target(
    settings: &TargetSettings,
    opening: Opening,
    published: bool,
    clock: &Arc<dyn Clock>,
) -> Result<OpenTarget> {
    let deletion = settings.deletion;
    match &settings.kind {
        TargetKind::Embedded(embedded) => {
            let options = EmbeddedOptions {
                deletion,
                history: embedded.history,
                cache_bytes: usize::try_from(embedded.cache_memory).unwrap_or(usize::MAX),
                search_memory: usize::try_from(embedded.search_memory).unwrap_or(usize::MAX),
                ..EmbeddedOptions::default()
            };
            let clock = Arc::clone(clock);
            let catalogue = Arc::new(match opening {
                Opening::Make if published => EmbeddedCatalogue::expect(&embedded.path, options, clock)?,
                Opening::Make => EmbeddedCatalogue::open(&embedded.path, options, clock)?,
                Opening::Look => EmbeddedCatalogue::look(&embedded.path, options, clock)?,
            });
            Ok(OpenTarget { target: Arc::clone(&catalogue) as _, embedded: Some(catalogue), deletion })
        }
        TargetKind::Http(http) => {
            let token = http.token.clone().map(|secret| {
                let token: Token = Arc::new(move || secret.token());
                token
            });
            let options = HttpOptions {
                url: http.url.clone(),
                token,
                timeout: http.timeout,
                request_limit: http.request_limit,
                max_changes: http.max_changes,
                max_bytes: http.max_bytes,
                deletion,
            };
            let target = HttpTarget::new(options, Arc::clone(clock))?;
            Ok(OpenTarget { target: Arc::new(target), embedded: None, deletion })
        }
    }
}

/// Is told what long work a command does: for a bar on a terminal. What the
/// service shows comes from [`Engine::progress_of`].
pub trait ProgressSink: Send + Sync {
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
impl ProgressSink for Silent {}

/// What becomes of what is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// It is made.
    Make,
    /// It is told of where it matters.
    Look,
}

/// An open data directory.
pub struct Engine {
    pub(super) store: Store,
    pub(super) state: StateDir,
    pub(super) targets: BTreeMap<TargetName, OpenTarget>,
    pub(super) settings: RwLock<Arc<Settings>>,
    /// Where a server answers: what it was told to listen on, with the port.
    pub(super) listening: OnceLock<std::net::SocketAddr>,
    /// Where a server read them, and reads them again.
    pub(super) load_options: OnceLock<LoadOptions>,
    /// How many batches may be planned at once: they share the memory. None
    /// where no service was started.
    pub(super) workers: AtomicUsize,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) crash: Arc<CrashPoints>,
    pub(super) stop: Arc<Stop>,
    pub(super) progress: Box<dyn ProgressSink>,
    pub(super) prefixes: Mutex<BTreeMap<Url, Arc<dyn Prefix>>>,
    pub(super) inboxes: Inboxes,
    pub(super) events: Arc<Events>,
    pub(super) live: Live,
    pub(super) work: Arc<Work>,
    pub(super) folded: Folded,
    pub(super) published_types: PublishedTypes,
    /// When each target took a change last, since the process began.
    pub(super) took: Mutex<HashMap<TargetName, Timestamp>>,
    pub(super) looks: Looks,
    pub(super) uploads: Uploads,
    /// Held by whoever requeues dead letters.
    pub(super) repairs: Mutex<()>,
    /// The wait for a window or known issue that each source's next batch was
    /// told of last, with that batch.
    pub(super) waits_told: Mutex<BTreeMap<SourceId, (BatchId, String)>>,
    /// When dead letters were last looked at for what time does to them.
    pub(super) letters_kept: Mutex<Option<jiff::Timestamp>>,
    /// When batches were forgotten last.
    pub(super) batches_kept: Mutex<Option<jiff::Timestamp>>,
    pub(super) space: Space,
    /// Held while a pin is made or removed.
    pub(super) pinning: Mutex<()>,
    /// Requests to targets of this process.
    pub(super) sent: Mutex<SendCounts>,
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
        super::present::not_lost(data, &settings)?;
        Self::opened(data, settings, Opening::Make, None, clock, crash)
    }

    /// Opens a data directory, the store of which is made anew for the owner of its
    /// state folder.
    ///
    /// # Errors
    /// As [`Self::open`], and [`ErrorKind::Conflict`] when there is one that is whole.
    pub(super) fn open_anew(
        data: &Path,
        settings: Settings,
        owner: String,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let crash = Arc::new(CrashPoints::none());
        Self::opened(data, settings, Opening::Make, Some(owner), clock, crash)
    }

    /// Closes everything. The catalogues' files and the store have much to give
    /// back, so each is closed beside the other.
    pub fn close(self) {
        let Self { store, targets, .. } = self;
        std::thread::scope(|scope| {
            scope.spawn(|| drop(targets));
            drop(store);
        });
    }

    /// Opens a data directory to look at it: nothing is made that is not there.
    ///
    /// # Errors
    /// As [`Self::open`], and [`ErrorKind::DataMissing`] when it has no store.
    pub fn look(
        data: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
        crash: Arc<CrashPoints>,
    ) -> Result<Self> {
        super::present::something(data, &settings)?;
        Self::opened(data, settings, Opening::Look, None, clock, crash)
    }

    fn opened(
        data: &Path,
        settings: Settings,
        opening: Opening,
        recovers: Option<String>,
        clock: Arc<dyn Clock>,
        crash: Arc<CrashPoints>,
    ) -> Result<Self> {
        let is_recovery = recovers.is_some();
        let at = |point| {
            let crash = Arc::clone(&crash);
            Arc::new(move || crash.reached(point))
        };
        let events = Arc::new(Events::new(Arc::clone(&clock)));
        let work = Arc::new(Work::default());
        let stop = Arc::new(Stop::new(Arc::clone(&work)));
        let (told, woken, ended) = (Arc::clone(&events), Arc::clone(&work), Arc::clone(&stop));
        let options = StoreOptions {
            after_commit: Some(at(Point::Store)),
            on_change: Some(Arc::new(move |touched: &[Touched]| {
                told.touched(touched);
                woken.notify();
            })),
            // Nothing can be done any more, and whoever waits for work would
            // learn of it at its next look.
            on_failure: Some(Arc::new(move || ended.request())),
            recovers,
            ..StoreOptions::default()
        };
        let store = Store::open(data, options, Arc::clone(&clock))?;
        let state = if StateDir::is_there(&settings.state) {
            StateDir::open(&settings.state, store.owner_id(), Some(at(Point::Files)))?
        } else {
            match opening {
                Opening::Look => StateDir::unmade(&settings.state),
                Opening::Make => {
                    super::present::nothing_referred_to(&store, &settings.state)?;
                    StateDir::open(&settings.state, store.owner_id(), Some(at(Point::Files)))?
                }
            }
        };
        let mut targets = BTreeMap::new();
        for (name, target) in &settings.targets {
            // What is recovered was published to something, perhaps to each of them.
            let published = is_recovery
                || store.read(|view| {
                    let begun = |plan: &PlanRecord| plan.state == PlanState::Executing;
                    Ok(!view.current_snapshots(name)?.is_empty()
                        || view.alive_plans(Some(name))?.iter().any(begun))
                })?;
            let open = open_target(target, opening, published, &clock)?;
            targets.insert(name.clone(), open);
        }
        let engine = Self {
            store,
            state,
            targets,
            settings: RwLock::new(Arc::new(settings)),
            listening: OnceLock::new(),
            load_options: OnceLock::new(),
            workers: AtomicUsize::new(0),
            stop,
            progress: Box::new(Silent),
            prefixes: Mutex::default(),
            inboxes: Inboxes::default(),
            live: Live::new(Arc::clone(&clock), Arc::clone(&events)),
            events,
            work,
            folded: Folded::default(),
            published_types: PublishedTypes::default(),
            took: Mutex::default(),
            looks: Looks::default(),
            uploads: Uploads::default(),
            repairs: Mutex::default(),
            waits_told: Mutex::default(),
            letters_kept: Mutex::default(),
            batches_kept: Mutex::default(),
            space: Space::default(),
            pinning: Mutex::default(),
            sent: Mutex::default(),
            clock,
            crash,
        };
        engine.set_outlets();
        Ok(engine)
    }

    /// Says where the server answers: links in messages lead there, unless the
    /// settings say otherwise.
    pub fn listens_at(&self, address: std::net::SocketAddr) {
        // Whoever serves says it once.
        let _ = self.listening.set(address);
        self.set_outlets();
    }

    /// Says where the settings were read: doctor looks whether they are still
    /// as they were.
    pub fn read_from(&self, options: &LoadOptions) {
        // Whoever serves says it once.
        let _ = self.load_options.set(options.clone());
    }

    /// Has long work tell of itself.
    pub fn with_progress(mut self, progress: Box<dyn ProgressSink>) -> Self {
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

    /// Has all work end: planning within a few thousand lines, execution
    /// between two operations.
    pub fn stop(&self) {
        self.stop.request();
    }

    /// Whether all work is to end.
    pub fn stopping(&self) -> bool {
        self.stop.requested()
    }

    /// Becomes `true` when all work is to end, for those who wait for that.
    pub fn stop_signal(&self) -> tokio::sync::watch::Receiver<bool> {
        self.stop.signal()
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The folder of plans and snapshots.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// What happens, as it happens.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The time.
    pub fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// Time since some fixed moment, for measuring durations.
    pub fn monotonic(&self) -> std::time::Duration {
        self.clock.monotonic()
    }

    /// 64 random bits. Not for secrets.
    pub fn random(&self) -> u64 {
        self.clock.random()
    }

    /// Why the work can't be done now, in words; empty when it can.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(failure) = self.store.failure() {
            reasons.push(format!("{failure}: start Tidegate again"));
        }
        let down = self.store.read(|view| view.open_breakers()).unwrap_or_default();
        for (name, open) in &self.targets {
            if let Some((_, breaker)) = down.iter().find(|(down, breaker)| down == name && !breaker.half_open)
            {
                reasons.push(format!("the target {name} can't be used: {}", breaker.message));
            } else if let Some(Err(error)) = open.embedded.as_ref().map(|catalogue| catalogue.health()) {
                reasons.push(format!("the target {name} can't be used: {error}"));
            }
        }
        reasons.extend(self.too_little_room());
        if self.stopping() {
            reasons.push("the service stops".to_owned());
        }
        reasons
    }

    /// How far a batch in work has come; `None` when it is not in work.
    pub fn progress_of(&self, id: &BatchId) -> Option<ProgressView> {
        self.live.of(id)
    }

    /// Whether a service works on what is queued.
    pub(super) fn has_workers(&self) -> bool {
        self.workers.load(Ordering::Relaxed) > 0
    }

    /// How plans are made now: what sorting and indexes may hold is shared by
    /// those that may be made at once.
    pub(super) fn planning_options(&self) -> PlanningOptions {
        let settings = self.settings();
        let workers = self.workers.load(Ordering::Relaxed).max(1);
        let share = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX) / workers;
        PlanningOptions {
            fast_path: settings.planning.fast_path,
            threads: match settings.planning.threads {
                0 => PlanningOptions::default().threads,
                threads => threads,
            },
            sort_memory: share(settings.planning.sort_memory),
            index_memory: share(settings.planning.index_memory),
            dictionary_samples: match settings.planning.dictionaries {
                true => PlanningOptions::default().dictionary_samples,
                false => 0,
            },
            fold: FoldLimits {
                max_layers: settings.planning.max_layers,
                smallest_base: settings.planning.smallest_base,
            },
            read: settings.limits,
        }
    }

    /// The target that a plan of a source was made for.
    pub(super) fn target_named(
        &self,
        target: &TargetName,
        source: &SourceId,
    ) -> Result<(&TargetName, &OpenTarget)> {
        self.targets.get_key_value(target).ok_or_else(|| {
            Error::new(
                ErrorKind::Settings,
                format!(
                    "a plan of source {source} is for the target {target}, and there is no `targets.{target}`"
                ),
            )
        })
    }

    pub(super) fn target_of(&self, source: &SourceId) -> Result<(&TargetName, &OpenTarget)> {
        let name = self.settings().source(source).target;
        self.targets.get_key_value(&name).ok_or_else(|| {
            Error::new(
                ErrorKind::Settings,
                format!("`sources.{source}.target` is {name}, and there is no `targets.{name}`"),
            )
        })
    }

    /// A target's catalogue; the only one without a name.
    pub fn catalogue(&self, name: Option<&TargetName>) -> Result<&Arc<EmbeddedCatalogue>> {
        let (name, open) = self.open_target(name)?;
        open.catalogue(name)
    }

    /// Writes the catalogue in the line format of batches.
    pub fn export(&self, out: &mut dyn Write, archived: bool) -> Result<()> {
        self.catalogue(None)?.guarded(|catalogue| catalogue.export(out, archived))
    }

    pub(super) fn new_plan_id(&self) -> Result<PlanId> {
        let text = format!("{}-{:016x}", compact_time(self.clock.now()), self.clock.random());
        PlanId::new(text).map_err(|e| Error::internal(e.to_string()))
    }

    /// Takes the next batch that may run as far as it goes. Returns its id,
    /// or `None` when nothing may run now.
    ///
    /// # Errors
    /// What is wrong with the machine, a target or a snapshot: the source is
    /// held, and the others go on with the next step.
    pub fn step(&self) -> Result<Option<BatchId>> {
        loop {
            match self.claim(None)? {
                Next::Batch(claim) => {
                    let id = claim.batch.batch_id.clone();
                    self.attempt(claim)?;
                    return Ok(Some(id));
                }
                Next::Probe(probing) => self.probe(&probing.target)?,
                Next::Nothing(_) => return Ok(None),
            }
        }
    }

    /// Takes the next batch of a source one stage further: its plan, the
    /// beginning of its execution, or its execution and commit. So plans of
    /// several sources can be made before any of them is executed.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn advance(&self, source: &SourceId) -> Result<Option<BatchId>> {
        match self.claim(Some(source))? {
            Next::Batch(claim) => {
                let id = claim.batch.batch_id.clone();
                self.one_stage(claim)?;
                Ok(Some(id))
            }
            Next::Probe(_) | Next::Nothing(_) => Ok(None),
        }
    }

    /// Works until nothing more may run.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn run_until_idle(&self) -> Result<()> {
        while !self.stopping() && self.step()?.is_some() {}
        Ok(())
    }

    /// Works on the source of a batch, and on what that waits for, until the
    /// batch has ended, is parked or waits, and returns its record.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn run_batch(&self, id: &BatchId) -> Result<BatchRecord> {
        // Whoever asks for it wants it tried again.
        self.recheck_holds(Some(id.source()))?;
        self.probe_now(Some(self.target_of(id.source())?.0))?;
        loop {
            let record = self.batch(id)?;
            if record.status.is_final() || self.stopping() {
                return Ok(record);
            }
            let generation = self.work.generation();
            match self.claim(Some(id.source()))? {
                Next::Batch(claim) => self.attempt(claim)?,
                Next::Probe(_) => {}
                Next::Nothing(_) if self.work.is_busy(id.source()) => {
                    self.work.wait(generation, std::time::Duration::from_secs(1));
                }
                Next::Nothing(_) => match self.blocked_by(id.source())? {
                    Some(other) => match self.claim(Some(&other))? {
                        Next::Batch(claim) => self.attempt(claim)?,
                        Next::Probe(_) => {}
                        Next::Nothing(_) if self.work.is_busy(&other) => {
                            self.work.wait(generation, std::time::Duration::from_secs(1));
                        }
                        Next::Nothing(_) => return self.batch(id),
                    },
                    None => return self.batch(id),
                },
            }
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
}
