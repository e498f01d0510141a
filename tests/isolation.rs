//! Finding bad changes in requests that a target refuses as a whole: that the
//! right ones are found, and how many requests that takes.
//!
//! `cargo test --test isolation -- --nocapture` prints the figures.

mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;

use proptest::prelude::*;
use tidegate::clock::{Clock, ManualClock};
use tidegate::domain::change::Action;
use tidegate::domain::ids::{BatchId, OperationNo, PlanId, SourceId};
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::key::{EntityKey, Key};
use tidegate::domain::retry::RetrySettings;
use tidegate::error::{Error, ErrorKind, Result};
use tidegate::publishing::crash::CrashPoints;
use tidegate::publishing::going::Going;
use tidegate::publishing::isolate::Density;
use tidegate::publishing::send::{Fate, SendCounts, Sender, Stopped};
use tidegate::publishing::suspect::Suspect;
use tidegate::targets::{
    Capabilities, ChangeOutcome, Operation, Outcomes, Target, TargetChange, TargetValue,
};

/// Refuses every request that holds a bad change, without a word of which.
struct Strict {
    bad: BTreeSet<usize>,
    /// What it took.
    taken: Mutex<BTreeSet<usize>>,
}

fn number(key: &Key) -> usize {
    let Key::Entity(entity) = key else { unreachable!() };
    entity.qualified_name.parse().unwrap()
}

impl Target for Strict {
    fn capabilities(&self) -> Capabilities {
        unreachable!()
    }
    fn identity(&self) -> Result<String> {
        unreachable!()
    }
    fn apply(&self, operation: &Operation) -> Result<Outcomes> {
        let numbers: Vec<usize> = operation.changes.iter().map(|change| number(&change.key)).collect();
        if numbers.iter().any(|number| self.bad.contains(number)) {
            return Err(Error::new(ErrorKind::BulkRejected, "something in it is bad"));
        }
        let mut taken = self.taken.lock().unwrap();
        for number in &numbers {
            assert!(taken.insert(*number), "{number} was sent again");
        }
        Ok(numbers.iter().map(|_| ChangeOutcome::Done).collect())
    }
    fn read(&self, _: &[Key]) -> Result<Vec<Option<TargetValue>>> {
        unreachable!()
    }
    fn health(&self) -> Result<()> {
        Ok(())
    }
    fn last_plan(&self, _: &SourceId) -> Result<Option<PlanId>> {
        unreachable!()
    }
    fn forget_operations(&self, _: &PlanId) -> Result<()> {
        Ok(())
    }
}

struct Outcome {
    counts: SendCounts,
    rejected: BTreeSet<usize>,
    done: BTreeSet<usize>,
    stopped: Option<Stopped>,
}

/// Publishes `total` changes in operations of `size`, as the executor does.
fn publish(total: usize, size: usize, bad: BTreeSet<usize>, limit: &IsolationLimit) -> Outcome {
    let target = Strict { bad, taken: Mutex::default() };
    let clock = ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 1);
    let (retry, crash) = (RetrySettings::default(), CrashPoints::none());
    let mut sender = Sender {
        target: &target,
        clock: &clock,
        retry: &retry,
        crash: &crash,
        going: &|| Going::On,
        most_parts: limit.requests,
        density: Density::default(),
        suspect: Suspect::default(),
        counts: SendCounts::default(),
    };
    let mut rejected = BTreeSet::new();
    let mut stopped = None;
    for (no, from) in (0..total).step_by(size).enumerate() {
        let changes = (from..total.min(from + size)).map(|n| TargetChange {
            action: Action::Create,
            key: Key::Entity(EntityKey::new("t", n.to_string())),
            set: b"{}".to_vec(),
            unset: Vec::new(),
            replace: false,
        });
        let operation = Operation {
            plan_id: PlanId::new("plan").unwrap(),
            no: OperationNo(no as u32),
            part: None,
            source_id: SourceId::new("s").unwrap(),
            batch_id: "s:20261124T000000Z_r".parse::<BatchId>().unwrap(),
            at: clock.now(),
            changes: changes.collect(),
        };
        let allowed = limit.allowed(total as u64).saturating_sub(rejected.len() as u64);
        let fates = sender.send(&operation, allowed, false);
        for (change, fate) in operation.changes.iter().zip(&fates.changes) {
            match fate {
                Fate::Rejected(_) => drop(rejected.insert(number(&change.key))),
                Fate::Done => assert!(target.taken.lock().unwrap().contains(&number(&change.key))),
                Fate::Unsent | Fate::Unsure | Fate::Waits => assert!(fates.stopped.is_some()),
            }
        }
        if fates.stopped.is_some() || limit.exceeded(rejected.len() as u64, total as u64) {
            stopped = fates.stopped.or(Some(Stopped::TooMany));
            break;
        }
    }
    let done = target.taken.lock().unwrap().clone();
    Outcome { counts: sender.counts, rejected, done, stopped }
}

/// `k` of `n`, evenly.
fn spread(k: usize, n: usize) -> BTreeSet<usize> {
    (0..k).map(|i| (i * n + n / 2) / k).collect()
}

/// `k` of `n`, drawn.
fn drawn(k: usize, n: usize) -> BTreeSet<usize> {
    let clock = ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7);
    let mut bad = BTreeSet::new();
    while bad.len() < k {
        bad.insert((clock.random() % n as u64) as usize);
    }
    bad
}

#[test]
fn requests_to_find_1_10_and_1000_bad_ones_in_100000() {
    const N: usize = 100_000;
    let limit = IsolationLimit::default();
    for size in [500, 1_000, 10_000] {
        let operations = N.div_ceil(size) as u64;
        for k in [0, 1, 10, 1_000] {
            for (how, bad) in
                [("spread", spread(k, N)), ("drawn", drawn(k, N)), ("together", (N / 3..N / 3 + k).collect())]
            {
                let outcome = publish(N, size, bad.clone(), &limit);
                assert_eq!(outcome.rejected, bad);
                assert_eq!(outcome.done.len(), N - k);
                assert!(outcome.stopped.is_none());
                let spent = outcome.counts.requests - operations;
                println!(
                    "{k:>5} bad of {N}, {how:>8}, {size:>6} a request: {spent:>5} requests more than {operations}"
                );
                // Halving finds each of k in at most 2·log2(size) requests.
                let most = (2 * k.min(N) as u64) * (1 + u64::from((size as u64).ilog2()));
                assert!(spent <= most, "{spent} > {most}");
            }
        }
    }
}

#[test]
fn when_all_are_bad_the_batch_fails_within_the_limit() {
    const N: usize = 100_000;
    for (limit, most) in [
        (IsolationLimit::default(), 5_001 + 40),
        (IsolationLimit { requests: 300, ..IsolationLimit::default() }, 300 + 1),
        (IsolationLimit { count: 10, ratio: 0.0, ..IsolationLimit::default() }, 11 + 20),
    ] {
        let outcome = publish(N, 500, (0..N).collect(), &limit);
        println!("all bad of {N}, limit {limit:?}: {} requests", outcome.counts.requests);
        assert!(matches!(outcome.stopped, Some(Stopped::TooMany | Stopped::TooManyRequests)));
        assert!(outcome.counts.requests <= most, "{} > {most}", outcome.counts.requests);
        assert!(outcome.rejected.len() as u64 <= limit.allowed(N as u64) + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_bad_ones_are_found_and_no_other_and_each_good_one_is_sent_once(
        total in 1usize..400,
        size in 1usize..120,
        share in 0u32..=100,
        seed in any::<u64>(),
    ) {
        let clock = ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), seed);
        let bad: BTreeSet<usize> = (0..total).filter(|_| clock.random() % 100 < u64::from(share)).collect();
        let limit = IsolationLimit { count: u64::MAX, ratio: 1.0, requests: u64::MAX };
        let outcome = publish(total, size, bad.clone(), &limit);
        prop_assert_eq!(&outcome.rejected, &bad);
        prop_assert_eq!(outcome.done.len(), total - bad.len());
        let operations = total.div_ceil(size) as u64;
        prop_assert!(outcome.counts.requests <= operations + 2 * total as u64);
    }
}
