//! P2: the catalogue depends on the set of batches published, not on the
//! order in which they came, on repetition, or on restarts. And: the fast
//! paths make the plans that their slow twin makes.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::history::{History, Step, histories};
use support::oracle;
use tidegate::clock::{Clock, ManualClock};
use tidegate::config::Settings;
use tidegate::domain::guards::GuardLimits;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::SourceSettings;
use tidegate::service::Engine;
use tidegate::store::BatchFilter;

fn cases(default: u32) -> u32 {
    std::env::var("TIDEGATE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct World {
    data: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    engine: Option<Engine>,
    precedence: i64,
    tight: bool,
    fast: bool,
    /// What each batch's plans were, in order.
    plans: Vec<(String, String)>,
}

impl World {
    fn new(tight: bool, fast: bool) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7));
        let data = support::folder();
        let mut world = Self { data, clock, engine: None, precedence: 0, tight, fast, plans: Vec::new() };
        world.restart();
        world
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::defaults(self.data.path());
        settings.planning.fast_path = self.fast;
        settings.planning.threads = 2;
        settings.max_changes = Some(3);
        for (n, source) in ["alpha", "beta", "gamma"].into_iter().enumerate() {
            let open = GuardLimits {
                delete_ratio: 1.0,
                update_ratio: 1.0,
                delete_max: u64::MAX,
                empty_full: false,
                full_count_ratio: 0.0,
                ..GuardLimits::default()
            };
            let tight = GuardLimits { delete_ratio: 0.3, delete_min: 2, ..open };
            let source_settings = SourceSettings {
                precedence: if n == 0 { self.precedence } else { 1 },
                guards: if self.tight { tight } else { open },
                isolation: IsolationLimit { count: 1000, ratio: 1.0 },
                ..SourceSettings::default()
            };
            settings.sources.insert(SourceId::new(source).unwrap(), source_settings);
        }
        settings
    }

    fn restart(&mut self) {
        self.engine = None;
        let engine = Engine::open(self.data.path(), self.settings(), Arc::clone(&self.clock)).unwrap();
        self.engine = Some(engine);
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn work(&mut self) -> bool {
        let Some(id) = self.engine().step().unwrap() else { return false };
        let record = self.engine().batch(&id).unwrap();
        if let Some(plan) = self.engine().plan_of(&record).unwrap() {
            let header = &plan.manifest().header;
            let mut text = format!("{} {:?} {:?}", header.digest, header.summary, record.status);
            text.push_str(&format!(" {:?}", header.guards));
            self.plans.push((id.to_string(), text));
        }
        true
    }

    fn decide(&mut self, approve: bool) -> Vec<BatchId> {
        let batches = self.engine().store().read(|view| view.batches(&BatchFilter::default())).unwrap();
        let parked: Vec<BatchId> =
            batches.into_iter().filter(|b| b.hold.is_some()).map(|b| b.batch_id).collect();
        for id in &parked {
            if approve {
                self.engine().approve(id, None, "ann", "looked at").unwrap();
            } else {
                self.engine().reject(id, "ann", "looked at").unwrap();
            }
        }
        parked
    }

    fn export(&self) -> String {
        let mut out = Vec::new();
        self.engine().export(&mut out, false).unwrap();
        String::from_utf8(out).unwrap()
    }
}

/// Plays a history and brings everything to an end.
fn play(history: &History, fast: bool) -> (World, BTreeSet<String>) {
    let mut world = World::new(history.tight, fast);
    let inbox = world.data.path().join("delivered");
    let mut rejected = BTreeSet::new();
    let mut decide = |world: &mut World, approve: bool| {
        let ids = world.decide(approve);
        if !approve {
            rejected.extend(ids.iter().map(ToString::to_string));
        }
        !ids.is_empty()
    };
    for step in &history.steps {
        match step {
            Step::Arrive(n) => {
                let batch = &history.batches[*n];
                let folder = batch.write(Path::new(&inbox));
                world.engine().accept(&folder).unwrap();
            }
            Step::Work => {
                world.work();
            }
            Step::Restart(precedence) => {
                world.precedence = precedence.unwrap_or(world.precedence);
                world.restart();
            }
            Step::Decide(yes) => {
                decide(&mut world, *yes);
            }
        }
    }
    loop {
        while world.work() {}
        if !decide(&mut world, true) {
            break;
        }
    }
    (world, rejected)
}

fn check(history: &History) -> Result<(), TestCaseError> {
    let (mut world, rejected) = play(history, true);
    // A changed precedence is applied by the source's next plan: a last batch
    // that says nothing new.
    let last = support::batches::TestBatch::incremental("alpha", 5000);
    let folder = last.write(&world.data.path().join("delivered"));
    world.engine().accept(&folder).unwrap();
    while world.work() {}

    let batches = world.engine().store().read(|view| view.batches(&BatchFilter::default())).unwrap();
    for batch in &batches {
        let id = batch.batch_id.to_string();
        let ended_well = match batch.status {
            PublishStatus::Complete => true,
            PublishStatus::Failed => {
                let code = &batch.failure.as_ref().unwrap().error_code;
                code == "SUPERSEDED" || code == "REJECTED" && rejected.contains(&id)
            }
            _ => false,
        };
        prop_assert!(ended_well, "{id}: {:?} {:?} {:?}", batch.status, batch.failure, batch.hold);
    }
    let published: Vec<_> = history.batches.iter().filter(|batch| !rejected.contains(&batch.id())).collect();
    let precedence: BTreeMap<String, i64> =
        [("alpha".to_owned(), world.precedence), ("beta".into(), 1), ("gamma".into(), 1)].into();
    let expected = oracle::export(&oracle::catalogue(&published, &precedence));
    prop_assert_eq!(world.export(), expected);

    let (slow, _) = play(history, false);
    let fast_plans = &world.plans[..slow.plans.len().min(world.plans.len())];
    prop_assert_eq!(fast_plans, &slow.plans[..]);
    Ok(())
}

fn run(strategy: impl Strategy<Value = History>, default: u32) {
    let config = Config {
        cases: cases(default),
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    if let Err(error) = runner.run(&strategy, |history| check(&history)) {
        panic!("{error}");
    }
}

#[test]
fn short_histories_converge_whatever_the_order() {
    run(histories(4, false), 150);
}

#[test]
fn long_histories_converge_whatever_the_order() {
    run(histories(12, false), 60);
}

#[test]
fn histories_with_parked_plans_converge() {
    run(histories(7, true), 100);
}
