//! A data directory, its engine, and what a person does with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate::clock::{Clock, ManualClock};
use tidegate::config::{HttpSettings, Settings, TargetKind, TargetSettings};
use tidegate::domain::guards::GuardLimits;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::key::Key;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::{SourceSettings, default_target};
use tidegate::error::Result;
use tidegate::planning::bodies::Bodies;
use tidegate::planning::format::layer::CacheBudget;
use tidegate::planning::plan_file::PlanManifest;
use tidegate::planning::snapshot::{Snapshot, SnapshotManifest};
use tidegate::service::Engine;
use tidegate::service::engine::ProgressSink;
use tidegate::service::space::FreeSpace;
use tidegate::store::{BatchFilter, BatchRecord, DeadLetter};

use super::batches::TestBatch;
use super::faults::{Faults, FaultyTarget};
use super::moment::{Moment, MomentClock};
use super::oracle;
use super::target_server::TargetServer;

/// The names of the sources.
pub const SOURCES: [&str; 3] = ["alpha", "beta", "gamma"];

/// Guards that never trip.
pub fn open_guards() -> GuardLimits {
    GuardLimits {
        delete_ratio: 1.0,
        update_ratio: 1.0,
        delete_max: u64::MAX,
        empty_full: false,
        full_count_ratio: 0.0,
        ..GuardLimits::default()
    }
}

/// The settings of a data directory with sources that nothing stops: guards
/// that never trip, and no isolation limit.
pub fn open_settings(data: &Path) -> Settings {
    let mut settings = Settings::defaults(data);
    settings.planning.threads = 2;
    for source in SOURCES {
        let source_settings = SourceSettings {
            guards: open_guards(),
            isolation: IsolationLimit { count: 1000, ratio: 1.0, ..IsolationLimit::default() },
            ..SourceSettings::default()
        };
        settings.sources.insert(SourceId::new(source).unwrap(), source_settings);
    }
    settings
}

struct Shared(Arc<dyn ProgressSink>);

impl ProgressSink for Shared {
    fn reading(&self, batch: &BatchId, bytes: Option<u64>) {
        self.0.reading(batch, bytes);
    }

    fn read(&self, bytes: u64) {
        self.0.read(bytes);
    }
}

/// A data directory with an engine on it.
pub struct World {
    pub data: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub settings: Settings,
    pub faults: Arc<Faults>,
    pub moment: Arc<Moment>,
    engine: Option<Arc<Engine>>,
    sink: Option<Arc<dyn ProgressSink>>,
    /// Tells the room on disks, from the next restart on.
    pub space: Option<Arc<dyn FreeSpace>>,
}

impl World {
    /// An empty one, with guards that never trip, operations of 3 changes, and
    /// no isolation limit.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// One whose target is a server, which has `timeout` to answer and does
    /// nothing later than that.
    pub fn on(server: &TargetServer, timeout: Duration, change: impl FnOnce(&mut Settings)) -> Self {
        let mut http = HttpSettings::new(server.url());
        http.timeout = timeout;
        http.request_limit = Duration::ZERO;
        Self::with(|settings| {
            let target =
                TargetSettings { kind: TargetKind::Http(http), ..TargetSettings::http(server.url()) };
            settings.targets = [(default_target(), target)].into();
            change(settings);
        })
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let data = super::folder();
        let mut settings = open_settings(data.path());
        settings.max_changes = Some(3);
        change(&mut settings);
        let clock = Arc::new(ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7));
        let mut world = Self {
            data,
            clock,
            settings,
            faults: Arc::default(),
            moment: Arc::default(),
            engine: None,
            sink: None,
            space: None,
        };
        world.restart();
        world
    }

    /// One that forgets all that it may: its clock is so far ahead that files that
    /// are written now are older than the grace time.
    pub fn forgetful() -> Self {
        let world = Self::with(|settings| {
            settings.retention.snapshots = 1;
            settings.retention.grace = Duration::from_secs(60);
        });
        world.clock.advance(Duration::from_secs(365 * 86_400));
        world
    }

    /// Ends the engine and opens a new one.
    pub fn restart(&mut self) {
        self.engine = None;
        let (inner, moment) = (Arc::clone(&self.clock), Arc::clone(&self.moment));
        let clock = Arc::new(MomentClock { inner, moment }) as Arc<dyn Clock>;
        let engine = Engine::open(self.data.path(), self.settings.clone(), clock).unwrap();
        let faults = Arc::clone(&self.faults);
        let mut engine = engine.with_targets(move |target| {
            Arc::new(FaultyTarget { inner: target, faults: Arc::clone(&faults) })
        });
        if let Some(space) = &self.space {
            engine = engine.with_free_space(Arc::clone(space));
        }
        if let Some(sink) = &self.sink {
            engine = engine.with_progress(Box::new(Shared(Arc::clone(sink))));
        }
        self.engine = Some(Arc::new(engine));
    }

    /// Has the engine tell its progress; it is another one afterwards.
    pub fn tell(&mut self, sink: Arc<dyn ProgressSink>) {
        self.sink = Some(sink);
        self.restart();
    }

    /// The engine, to be held by other threads; they let go of it before a
    /// restart.
    pub fn shared(&self) -> Arc<Engine> {
        Arc::clone(self.engine.as_ref().unwrap())
    }

    /// Takes the next batch of a source one stage further.
    pub fn advance(&self, source: &str) -> Option<BatchId> {
        self.engine().advance(&SourceId::new(source).unwrap()).unwrap()
    }

    /// Delivers a batch of which a file is another one than its manifest says.
    pub fn break_down(&self, batch: &TestBatch) -> (BatchId, PathBuf) {
        let folder = batch.write(&self.data.path().join("delivered"));
        let file = folder.join("entities-00000.ndjson");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n")).unwrap();
        let id = self.deliver(batch).unwrap();
        self.work();
        assert_eq!(self.batch(&id).status, PublishStatus::Failed);
        (id, file)
    }

    /// Has time pass, a minute at a time, until a batch has ended: for a day and
    /// a half.
    pub fn end_of(&self, id: &BatchId) -> BatchRecord {
        for _ in 0..2160 {
            self.work();
            let record = self.batch(id);
            if record.status.is_final() {
                return record;
            }
            self.clock.advance(Duration::from_secs(60));
        }
        panic!("it goes round for ever: {:?}", self.batch(id));
    }

    /// What happened to a batch, as `WHO: WHY` lines.
    pub fn timeline(&self, id: &BatchId) -> Vec<String> {
        let entries = self.engine().store().read(|view| view.timeline(id)).unwrap();
        entries.into_iter().map(|entry| format!("{}: {}", entry.actor, entry.cause)).collect()
    }

    /// How often a batch was planned.
    pub fn plannings(&self, id: &BatchId) -> usize {
        self.timeline(id).iter().filter(|line| line.ends_with("its turn has come")).count()
    }

    /// Ends the engine.
    pub fn stop(&mut self) {
        self.engine = None;
    }

    /// Changes the settings; they are in force after a restart, which follows.
    pub fn set(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.restart();
    }

    pub fn source(&mut self, source: &str, change: impl FnOnce(&mut SourceSettings)) {
        let id = SourceId::new(source).unwrap();
        self.set(|settings| change(settings.sources.get_mut(&id).unwrap()));
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// Delivers a batch without working on it.
    pub fn deliver(&self, batch: &TestBatch) -> Result<BatchId> {
        self.engine().accept(&batch.write(&self.data.path().join("delivered")))
    }

    /// Works until nothing more may run.
    pub fn work(&self) {
        self.engine().run_until_idle().unwrap();
    }

    /// Delivers a batch, works, and tells how the batch stands.
    pub fn publish(&self, batch: &TestBatch) -> BatchRecord {
        let id = self.deliver(batch).unwrap();
        self.work();
        self.batch(&id)
    }

    /// Delivers a batch and publishes it, while no other source is worked on.
    pub fn publish_of(&self, source: &str, batch: &TestBatch) {
        let id = self.deliver(batch).unwrap();
        while self.advance(source).is_some() {}
        assert_eq!(self.batch(&id).status, PublishStatus::Complete);
    }

    pub fn batch(&self, id: &BatchId) -> BatchRecord {
        self.engine().batch(id).unwrap()
    }

    /// The plan that a batch was last published by.
    pub fn plan(&self, record: &BatchRecord) -> PlanManifest {
        self.engine().plan_of(record).unwrap().unwrap().manifest().clone()
    }

    pub fn parked(&self) -> Vec<BatchId> {
        let batches = self.engine().store().read(|view| view.batches(&BatchFilter::default())).unwrap();
        batches.into_iter().filter(|batch| batch.hold.is_some()).map(|batch| batch.batch_id).collect()
    }

    pub fn approve(&self, id: &BatchId) {
        self.engine().approve(id, None, "ann", "looked at").unwrap();
        self.work();
    }

    pub fn reject(&self, id: &BatchId) {
        self.engine().reject(id, "ann", "looked at").unwrap();
        self.work();
    }

    /// The current snapshot of a source, without its bulk.
    pub fn snapshot(&self, source: &str) -> SnapshotManifest {
        self.open_snapshot(source).expect("it has a snapshot").manifest().clone()
    }

    pub fn open_snapshot(&self, source: &str) -> Option<Snapshot> {
        let source = SourceId::new(source).unwrap();
        let target = self.settings.source(&source).target;
        let id = self.engine().store().read(|view| view.current_snapshot(&target, &source)).unwrap()?;
        let budget = CacheBudget::new(1 << 20);
        Some(Snapshot::open(self.engine().state(), &source, &target, &id, &budget).unwrap())
    }

    /// What the snapshots count must be what lives in them.
    #[track_caller]
    pub fn expect_counts(&self) {
        for source in SOURCES {
            let Some(snapshot) = self.open_snapshot(source) else { continue };
            let mut bodies = Bodies::new().unwrap();
            let mut live: [BTreeMap<String, u64>; 2] = Default::default();
            snapshot
                .each_live(|found| {
                    let body = snapshot.body(&found, &mut bodies)?;
                    let name = body.body()?.type_name().to_owned();
                    *live[found.entry.key.kind() as usize].entry(name).or_default() += 1;
                    Ok(())
                })
                .unwrap();
            let manifest = snapshot.manifest();
            let counted = [&manifest.entity_counts, &manifest.relationship_counts].map(|counts| {
                let mut counts = counts.clone();
                counts.retain(|_, count| *count > 0);
                counts
            });
            assert_eq!(counted, live, "{source}");
        }
    }

    pub fn export(&self) -> String {
        let mut out = Vec::new();
        self.engine().export(&mut out, false).unwrap();
        String::from_utf8(out).unwrap()
    }

    pub fn dead_letters(&self, source: &str) -> Vec<DeadLetter> {
        let source = SourceId::new(source).unwrap();
        self.engine().store().read(|view| view.open_dead_letters(&source)).unwrap()
    }

    /// The catalogue must be what these batches say, by the naive model.
    #[track_caller]
    pub fn expect_batches(&self, batches: &[&TestBatch]) {
        let precedence: BTreeMap<String, i64> = self
            .settings
            .sources
            .iter()
            .map(|(source, settings)| (source.to_string(), settings.precedence))
            .collect();
        assert_eq!(self.export(), oracle::export(&oracle::catalogue(batches, &precedence)));
    }

    /// The catalogue must have exactly these keys, each with `{"x":n}`.
    #[track_caller]
    pub fn expect(&self, keys: &[(Key, i64)]) {
        let catalogue =
            keys.iter().map(|(key, n)| (key.clone(), super::batches::value(&[("x", *n)]))).collect();
        assert_eq!(self.export(), oracle::export(&catalogue));
    }
}
