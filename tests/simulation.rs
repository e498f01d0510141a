//! The loop under a manual clock, with an object store, a target and a store
//! that fail at random, each on every way that it is used: whatever happens, nothing that was delivered is lost (P1), the
//! catalogue is what the batches say (P2), and when the faults stop, all work
//! ends without a person (P8). Every run is a function of its seed.
//!
//! `TIDEGATE_SEED=n cargo test --test simulation` plays one seed again,
//! `TIDEGATE_CASES=n` plays more of them.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use support::batches::TestBatch;
use support::faulty_store::FaultyStore;
use support::history::{Step, Trouble, histories};
use support::hooked::HookedClock;
use support::oracle;
use support::world::{SOURCES, open_guards};
use tidegate::clock::{Clock, ManualClock};
use tidegate::config::Settings;
use tidegate::domain::ids::{BatchId, PlanId, SourceId};
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::key::Key as CatalogueKey;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::{OnFailure, SourceSettings};
use tidegate::error::{Error, ErrorKind, Result};
use tidegate::intake::prefix::{Prefix, RemotePrefix};
use tidegate::service::Engine;
use tidegate::targets::{Capabilities, Operation, Outcomes, Target, TargetValue};
use url::Url;

/// A die with a seed of its own (SplitMix64), and how often it says yes.
struct Dice {
    state: AtomicU64,
    percent: AtomicU64,
    /// How often it said yes.
    faults: AtomicU64,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed), percent: AtomicU64::new(0), faults: AtomicU64::new(0) }
    }

    fn next(&self) -> u64 {
        let x = self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
        let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    fn below(&self, n: u64) -> u64 {
        self.next() % n
    }

    fn fails(&self) -> bool {
        let fails = self.below(100) < self.percent.load(Ordering::SeqCst);
        self.faults.fetch_add(u64::from(fails), Ordering::SeqCst);
        fails
    }
}

/// The clock, which ends a write of `tidegate.redb` when its die says so: every
/// write asks it for the time, and one that panics is kept in no part. What
/// follows is what follows a disk that fails: the process has to end.
fn clockwork(inner: Arc<ManualClock>, dice: Arc<Dice>) -> Arc<dyn Clock> {
    let told = move |now| {
        // A commit is one of very many, so that a run comes anywhere at all.
        let writes = std::thread::current().name() == Some("store-writer");
        if writes && dice.below(3) == 0 && dice.fails() {
            std::panic::resume_unwind(Box::new("the disk failed"));
        }
        now
    };
    Arc::new(HookedClock { inner, told })
}

/// A target that is away before or after it did what it was asked.
struct Flaky {
    inner: Arc<dyn Target>,
    dice: Arc<Dice>,
}

impl Flaky {
    /// One of the failures that a request without an effect has.
    fn away(&self) -> Result<()> {
        let kind = match self.dice.below(3) {
            0 => ErrorKind::TargetUnavailable,
            1 => ErrorKind::TargetUnauthorized,
            _ => ErrorKind::TargetThrottled,
        };
        if self.dice.fails() { Err(Error::new(kind, "the target is away")) } else { Ok(()) }
    }

    /// One of the failures after which nobody knows.
    fn silent(&self) -> Result<()> {
        let kind = match self.dice.below(4) {
            0 => ErrorKind::TargetTimeout,
            1 => ErrorKind::TargetInterrupted,
            2 => ErrorKind::TargetAnswer,
            _ => ErrorKind::TargetFailed,
        };
        if self.dice.fails() { Err(Error::new(kind, "the answer is lost")) } else { Ok(()) }
    }
}

impl Target for Flaky {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> Result<String> {
        self.inner.identity()
    }

    fn apply(&self, operation: &Operation) -> Result<Outcomes> {
        self.away()?;
        let outcomes = self.inner.apply(operation)?;
        self.silent()?;
        Ok(outcomes)
    }

    fn read(&self, keys: &[CatalogueKey]) -> Result<Vec<Option<TargetValue>>> {
        self.away()?;
        let values = self.inner.read(keys)?;
        self.silent()?;
        Ok(values)
    }

    fn health(&self) -> Result<()> {
        self.away()?;
        self.inner.health()
    }

    fn last_plan(&self, source: &SourceId) -> Result<Option<PlanId>> {
        self.inner.last_plan(source)
    }

    fn forget_operations(&self, plan: &PlanId) -> Result<()> {
        self.inner.forget_operations(plan)
    }
}

struct Simulation {
    data: tempfile::TempDir,
    clock: Arc<ManualClock>,
    settings: Settings,
    store: Arc<InMemory>,
    dice: Arc<Dice>,
    engine: Option<Engine>,
    log: Mutex<Vec<String>>,
    /// How often the process ended because its store failed.
    store_failures: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let data = support::folder();
        let mut settings = Settings::defaults(data.path());
        settings.inboxes[0].url = "s3://metadata/landing/".parse().unwrap();
        settings.planning.threads = 2;
        settings.max_changes = Some(3);
        for source in SOURCES {
            let of = SourceSettings {
                guards: open_guards(),
                isolation: IsolationLimit { count: 1000, ratio: 1.0, ..IsolationLimit::default() },
                on_failure: Some(OnFailure::Continue),
                precedence: i64::from(source == "beta"),
                ..SourceSettings::default()
            };
            settings.sources.insert(SourceId::new(source).unwrap(), of);
        }
        let mut simulation = Self {
            data,
            clock: Arc::new(ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), seed)),
            settings,
            store: Arc::new(InMemory::new()),
            dice: Arc::new(Dice::new(seed)),
            engine: None,
            log: Mutex::default(),
            store_failures: 0,
        };
        simulation.restart();
        simulation
    }

    fn note(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }

    fn restart(&mut self) {
        self.note("restart".into());
        self.engine = None;
        let url: Url = self.settings.inboxes[0].url.clone();
        let dice = Arc::clone(&self.dice);
        let faulty = FaultyStore { inner: Arc::clone(&self.store) as _, die: Arc::new(move || dice.fails()) };
        let prefix: Arc<dyn Prefix> = Arc::new(RemotePrefix::new(Arc::new(faulty), url.clone()).unwrap());
        let clock = clockwork(Arc::clone(&self.clock), Arc::clone(&self.dice));
        let opened = || Engine::open(self.data.path(), self.settings.clone(), Arc::clone(&clock));
        // It may fail while it opens, and is started again then.
        let engine = std::iter::repeat_with(opened).find_map(|opened| match opened {
            Ok(engine) => Some(engine),
            Err(error) if error.kind() == ErrorKind::StoreFailed => None,
            Err(error) => panic!("{error}"),
        });
        let engine = engine.unwrap();
        let dice = Arc::clone(&self.dice);
        self.engine = Some(
            engine
                .with_prefix(url, prefix)
                .with_targets(move |inner| Arc::new(Flaky { inner, dice: Arc::clone(&dice) })),
        );
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn put(&self, path: &str, bytes: Vec<u8>) {
        let key = Key::from(format!("landing/{path}"));
        futures_executor::block_on(self.store.put(&key, bytes.into())).unwrap();
    }

    /// Objects of a batch in the order in which they arrive, the manifest last.
    fn objects(&self, batch: &TestBatch) -> Vec<(String, Vec<u8>)> {
        let made = batch.write(&self.data.path().join("made"));
        let folder = format!("{}/{}", batch.source, batch.folder_name());
        let mut objects: Vec<(String, Vec<u8>)> = std::fs::read_dir(&made)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().to_string_lossy().into_owned();
                (format!("{folder}/{name}"), std::fs::read(entry.path()).unwrap())
            })
            .collect();
        objects.sort_by_key(|(name, _)| (name.ends_with("manifest.json"), name.clone()));
        objects
    }

    /// A look at what is new and not done with, or at everything.
    fn look(&mut self, full: bool) {
        let inbox = &self.settings.inboxes[0];
        let found = if full { self.engine().rescan_inbox(inbox) } else { self.engine().scan_inbox(inbox) };
        let kind = if full { "look at everything" } else { "look" };
        self.note(format!("{kind}: {:?}", found.map_err(|e| e.to_string())));
        self.end_if_the_store_failed();
    }

    fn work(&mut self) -> bool {
        let done = self.engine().step();
        self.note(format!("work: {:?}", done.as_ref().map_err(ToString::to_string)));
        self.end_if_the_store_failed();
        matches!(done, Ok(Some(_)) | Err(_))
    }

    /// The process ends at the first failure of its store, and is started again.
    fn end_if_the_store_failed(&mut self) {
        if self.engine().store().failed() {
            self.note("the store failed".into());
            self.store_failures += 1;
            self.restart();
        }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Plays a seed, and returns how many faults there were, and how many of the store.
fn play(seed: u64) -> (u64, u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let history = histories(9, Trouble::None).new_tree(&mut runner).unwrap().current();
    let mut order: Vec<usize> = Vec::new();
    for step in &history.steps {
        if let Step::Arrive(n) = step
            && !order.contains(n)
        {
            order.push(*n);
        }
    }

    let mut simulation = Simulation::new(seed);
    let dice = Arc::clone(&simulation.dice);
    dice.percent.store(20 + dice.below(50), Ordering::SeqCst);
    let mut arriving: Vec<(String, Vec<u8>)> = Vec::new();
    for n in &order {
        arriving.extend(simulation.objects(&history.batches[*n]));
    }
    arriving.reverse();
    let check = std::panic::AssertUnwindSafe(|| {
        while !arriving.is_empty() {
            match dice.below(12) {
                0..=3 => {
                    for _ in 0..=dice.below(3) {
                        if let Some((path, bytes)) = arriving.pop() {
                            simulation.note(format!("put {path}"));
                            simulation.put(&path, bytes);
                        }
                    }
                }
                4..=5 => {
                    let full = dice.below(3) == 0;
                    simulation.look(full);
                }
                6..=9 => drop(simulation.work()),
                10 => simulation.advance(1 + dice.below(400)),
                _ => simulation.restart(),
            }
        }
        // The faults stop. Nobody does anything but let time pass.
        dice.percent.store(0, Ordering::SeqCst);
        let mut idle = 0;
        for turn in 0..3_000 {
            simulation.advance(30);
            // As often as the setting says: every minute.
            simulation.look(turn % 2 == 0);
            idle = if simulation.work() { 0 } else { idle + 1 };
            if idle > 40 {
                break;
            }
        }
        for batch in &history.batches {
            let record = simulation.engine().batch(&batch.id().parse::<BatchId>().unwrap()).unwrap();
            assert_eq!(record.status, PublishStatus::Complete, "{}: {:?}", batch.id(), record.failure);
        }
        let precedence: BTreeMap<String, i64> =
            simulation.settings.sources.iter().map(|(id, of)| (id.to_string(), of.precedence)).collect();
        let batches: Vec<&TestBatch> = history.batches.iter().collect();
        let mut out = Vec::new();
        simulation.engine().export(&mut out, false).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            oracle::export(&oracle::catalogue(&batches, &precedence))
        );
    });
    if let Err(panic) = std::panic::catch_unwind(check) {
        for line in simulation.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
            println!("{line}");
        }
        println!("seed {seed}");
        std::panic::resume_unwind(panic);
    }
    (simulation.dice.faults.load(Ordering::SeqCst), simulation.store_failures)
}

#[test]
fn whatever_fails_for_a_while_everything_ends_as_the_batches_say() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TIDEGATE_SEED") {
        Some(seed) => drop(play(seed)),
        None => {
            let runs = number("TIDEGATE_CASES").unwrap_or(40);
            let (mut faults, mut of_store) = (0, 0);
            for seed in 0..runs {
                let (more, more_of_store) = play(seed);
                (faults, of_store) = (faults + more, of_store + more_of_store);
            }
            assert!(faults > 3 * runs, "only {faults} faults in {runs} runs");
            assert!(2 * of_store > runs, "only {of_store} of them were the store's");
        }
    }
}
