//! P2: the catalogue depends on the set of batches published, not on the
//! order in which they came, on repetition, or on restarts. And: the fast
//! paths make the plans that their slow twin makes.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use support::batches::{Line, TestBatch};
use support::history::{History, STAMP, Step, Trouble, histories, stirred};
use support::oracle;
use support::planned;
use support::world::{SOURCES, World};
use tidegate::domain::guards::GuardLimits;
use tidegate::domain::ids::BatchId;
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::key::Key;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::{Deletion, OnFailure};
use tidegate::service::query::{LetterQuery, Part};
use tidegate::service::views::LetterState;
use tidegate::store::BatchFilter;

fn cases(default: u32) -> u32 {
    std::env::var("TIDEGATE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A history that is played.
struct Play {
    world: World,
    /// What each batch's plans were, in order.
    plans: Vec<(String, String)>,
    rejected: BTreeSet<String>,
}

impl Play {
    fn new(trouble: Trouble, fast: bool) -> Self {
        let world = World::with(|settings| {
            settings.planning.fast_path = fast;
            // Histories are short: layers are folded all the same.
            let folds = if fast { (1, 20) } else { (3, 2) };
            (settings.planning.max_layers, settings.planning.smallest_base) = folds;
            if trouble == Trouble::TightGuards {
                // What comes back is revived then, and nothing else is shown.
                settings.targets.values_mut().for_each(|target| target.deletion = Deletion::Archive);
            }
            for (source, settings) in &mut settings.sources {
                settings.precedence = i64::from(source.as_str() != "alpha");
                settings.on_failure = Some(OnFailure::Continue);
                match trouble {
                    Trouble::None | Trouble::Refusals => {}
                    Trouble::TightGuards => {
                        settings.guards = GuardLimits { delete_ratio: 0.3, delete_min: 2, ..settings.guards };
                    }
                    Trouble::FailingBatches => {
                        settings.isolation =
                            IsolationLimit { count: 1, ratio: 0.0, ..IsolationLimit::default() }
                    }
                }
            }
        });
        Self { world, plans: Vec::new(), rejected: BTreeSet::new() }
    }

    fn work(&mut self) -> bool {
        let done = self.world.engine().step().unwrap();
        self.note(done)
    }

    /// Takes a source's next batch one stage further.
    fn advance(&mut self, source: usize) -> bool {
        let done = self.world.advance(SOURCES[source]);
        self.note(done)
    }

    fn note(&mut self, done: Option<BatchId>) -> bool {
        let Some(id) = done else { return false };
        let engine = self.world.engine();
        let record = engine.batch(&id).unwrap();
        if let Some(plan) = engine.plan_of(&record).unwrap() {
            self.plans.push((id.to_string(), format!("{:?} {}", record.status, planned::text(&plan))));
        }
        true
    }

    fn decide(&mut self, approve: bool) -> bool {
        let parked = self.world.parked();
        for id in &parked {
            let engine = self.world.engine();
            if approve {
                engine.approve(id, None, "ann", "looked at").unwrap();
            } else {
                engine.reject(id, "ann", "looked at").unwrap();
                self.rejected.insert(id.to_string());
            }
        }
        !parked.is_empty()
    }

    fn step(&mut self, history: &History, step: &Step) {
        match step {
            Step::Arrive(n) => drop(self.world.deliver(&history.batches[*n]).unwrap()),
            Step::Work => drop(self.work()),
            Step::Advance(source) => drop(self.advance(*source)),
            Step::Restart(None) => self.world.restart(),
            Step::Restart(Some((precedence, volatile))) => {
                self.world.source("alpha", |source| {
                    source.precedence = *precedence;
                    source.volatile = if *volatile { vec![STAMP.into()] } else { Vec::new() };
                    source.unordered = if *volatile { vec!["x".into()] } else { Vec::new() };
                });
            }
            Step::Decide(yes) => drop(self.decide(*yes)),
            Step::Refuse(keys) => self.world.faults.refuse(keys.iter().cloned()),
            Step::Requeue => drop(self.requeue()),
        }
    }

    fn finish_history(&mut self) {
        loop {
            while self.work() {}
            if !self.decide(true) {
                break;
            }
        }
    }

    fn precedence(&self) -> BTreeMap<String, i64> {
        let sources = &self.world.settings.sources;
        sources.iter().map(|(id, settings)| (id.to_string(), settings.precedence)).collect()
    }

    /// Delivers batches and publishes them.
    fn publish<'a>(&mut self, batches: impl IntoIterator<Item = &'a TestBatch>) {
        for batch in batches {
            self.world.deliver(batch).unwrap();
        }
        self.finish_history();
    }

    /// Puts every dead letter back into the queue that can be; how many.
    fn requeue(&mut self) -> u64 {
        let all = LetterQuery { states: vec![LetterState::Open], ..LetterQuery::default() };
        let part = Part { limit: Some(1000), cursor: None };
        let results =
            self.world.engine().requeue_letters(&LetterQuery { part, ..all }, "ann", "again").unwrap();
        results.done
    }

    /// Keys that have an open dead letter.
    fn dead(&self) -> BTreeSet<Key> {
        SOURCES.iter().flat_map(|source| self.world.dead_letters(source)).filter_map(|l| l.key).collect()
    }
}

/// Plays a history and brings everything to an end.
fn play(history: &History, fast: bool) -> Play {
    let mut play = Play::new(history.trouble, fast);
    for step in &history.steps {
        play.step(history, step);
    }
    play.finish_history();
    play
}

/// What of a catalogue can be compared when some keys are dead letters: not
/// these, nor relationships at them (`SEMANTICS` 11).
fn without(export: &str, dead: &BTreeSet<Key>) -> String {
    let dead: Vec<Value> = dead.iter().map(|key| serde_json::to_value(key).unwrap()).collect();
    // With an entity go the relationships that have it for an end.
    let is_of = |line: &str| {
        let mut key: Value = serde_json::from_str(line).unwrap();
        key.as_object_mut().unwrap().remove("attributes");
        [Some(&key), key.get("from"), key.get("to")].into_iter().flatten().any(|key| dead.contains(key))
    };
    export.lines().filter(|line| !is_of(line)).map(|l| format!("{l}\n")).collect()
}

fn check(history: &History) -> Result<(), TestCaseError> {
    let mut play_fast = play(history, true);
    let played = play_fast.plans.len();
    // A changed precedence is applied by the source's next plan: a last batch
    // that says nothing new. So are relationships that another's plan brought.
    let last: Vec<TestBatch> = SOURCES.iter().map(|source| TestBatch::incremental(source, 5000)).collect();
    play_fast.publish(&last);

    let world = &play_fast.world;
    let batches = world.engine().store().read(|view| view.batches(&BatchFilter::default())).unwrap();
    let mut failed = false;
    for batch in &batches {
        let id = batch.batch_id.to_string();
        let ended_well = match batch.status {
            PublishStatus::Complete => true,
            PublishStatus::Failed => match batch.failure.as_ref().unwrap().error_code.as_str() {
                "SUPERSEDED" => true,
                "REJECTED" => play_fast.rejected.contains(&id),
                "BATCH_REFUSED" | "BATCH_ISOLATION_LIMIT" => {
                    failed = true;
                    history.trouble == Trouble::FailingBatches
                }
                _ => false,
            },
            _ => false,
        };
        prop_assert!(ended_well, "{id}: {:?} {:?} {:?}", batch.status, batch.failure, batch.hold);
    }
    if !failed {
        let rejected = &play_fast.rejected;
        let published: Vec<_> =
            history.batches.iter().filter(|batch| !rejected.contains(&batch.id())).collect();
        let expected = oracle::export(&oracle::catalogue(&published, &play_fast.precedence()));
        let dead = match history.trouble {
            Trouble::None | Trouble::TightGuards => BTreeSet::new(),
            Trouble::Refusals | Trouble::FailingBatches => play_fast.dead(),
        };
        prop_assert_eq!(without(&world.export(), &dead), without(&expected, &dead));
    }

    if history.trouble == Trouble::Refusals {
        // When the target takes everything again, requeues bring all that it
        // refused, whatever was published since.
        play_fast.world.faults.heal();
        for _ in 0..10 {
            if play_fast.requeue() == 0 {
                break;
            }
            play_fast.finish_history();
        }
        let published: Vec<_> =
            history.batches.iter().filter(|batch| !play_fast.rejected.contains(&batch.id())).collect();
        let expected = oracle::export(&oracle::catalogue(&published, &play_fast.precedence()));
        let dead = play_fast.dead();
        for letter in SOURCES.iter().flat_map(|source| play_fast.world.dead_letters(source)) {
            prop_assert!(["LINE_INVALID", "KEY_CONFLICT"].contains(&&letter.code[..]), "{letter:?}");
        }
        prop_assert_eq!(without(&play_fast.world.export(), &dead), without(&expected, &dead));
    }

    play_fast.world.expect_counts();

    let play_slow = play(history, false);
    prop_assert_eq!(&play_fast.plans[..played], &play_slow.plans[..]);

    // Whatever went wrong: when the target takes everything again, a full
    // batch of each source says it all.
    let world = &mut play_fast.world;
    world.faults.heal();
    for source in SOURCES {
        world.source(source, |settings| settings.guards = support::world::open_guards());
    }
    let whole: Vec<TestBatch> =
        SOURCES.iter().enumerate().map(|(n, source)| all_of(history, source, n)).collect();
    play_fast.publish(&whole);
    let expected =
        oracle::export(&oracle::catalogue(&whole.iter().collect::<Vec<_>>(), &play_fast.precedence()));
    prop_assert_eq!(play_fast.world.export(), expected);
    prop_assert_eq!(play_fast.dead(), BTreeSet::new());
    Ok(())
}

/// A full batch with every other key that a source ever asserted.
fn all_of(history: &History, source: &str, n: usize) -> TestBatch {
    let mut values = BTreeMap::new();
    for batch in history.batches.iter().filter(|batch| batch.source == source) {
        for line in &batch.lines {
            if let Line::Value(key, value, _) = line {
                values.insert(key.clone(), value.clone());
            }
        }
    }
    let lines = values.into_iter().enumerate().filter(|(at, _)| !(at + n).is_multiple_of(3));
    TestBatch::full(source, 6000).with(lines.map(|(_, (key, value))| Line::Value(key, value, 0)))
}

fn check_twins(history: &History) -> Result<(), TestCaseError> {
    let (fast, slow) = (play(history, true), play(history, false));
    prop_assert_eq!(&fast.plans, &slow.plans);
    prop_assert_eq!(fast.world.export(), slow.world.export());
    fast.world.expect_counts();
    Ok(())
}

fn run(strategy: impl Strategy<Value = History>, default: u32) {
    run_with(strategy, default, check);
}

fn run_with(
    strategy: impl Strategy<Value = History>,
    default: u32,
    check: fn(&History) -> Result<(), TestCaseError>,
) {
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
    run(histories(4, Trouble::None), 150);
}

#[test]
fn long_histories_converge_whatever_the_order() {
    run(histories(12, Trouble::None), 60);
}

#[test]
fn histories_with_parked_plans_converge() {
    run(histories(7, Trouble::TightGuards), 100);
}

#[test]
fn histories_with_refused_changes_converge_but_for_what_is_refused() {
    run(histories(7, Trouble::Refusals), 100);
}

#[test]
fn batches_that_fail_half_way_leave_nothing_that_a_full_batch_does_not_mend() {
    run(histories(7, Trouble::FailingBatches), 100);
}

#[test]
fn volatile_values_and_unordered_arrays_are_taken_alike_by_the_fast_and_the_slow_path() {
    run_with(histories(8, Trouble::None).prop_map(stirred), 100, check_twins);
    run_with(histories(8, Trouble::Refusals).prop_map(stirred), 50, check_twins);
}
