//! The guard `full_count_ratio` compares what a full batch names with what its
//! source's own snapshot has: each key once, whoever else asserts it.

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::batches::{Line, TestBatch, edge, entity, says};
use support::world::{World, open_guards};
use tidegate::domain::guards::{GuardLimits, GuardRule};
use tidegate::domain::ids::SourceId;
use tidegate::domain::key::Key;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::service::skips::Skip;
use tidegate::store::BatchRecord;

/// What the guard counted: keys that the batch names, and keys before. It trips
/// at any count here, so that it can be asked.
fn counted(world: &World, record: &BatchRecord) -> Option<(u64, u64)> {
    let trips = world.plan(record).header.guards;
    let trip = trips.into_iter().find(|trip| trip.rule == GuardRule::FullCountFell)?;
    let mut numbers = trip.reason.split_whitespace().filter_map(|word| word.parse().ok());
    Some((numbers.next().unwrap(), numbers.next().unwrap()))
}

/// The guard of `alpha` trips from now on as soon as a key is live in the scope.
fn ask(world: &mut World) {
    world.source("alpha", |alpha| {
        alpha.guards = GuardLimits { full_count_ratio: f64::MAX, ..open_guards() };
    });
}

#[test]
fn a_key_that_another_source_asserts_too_counts_once() {
    let tables = |n: usize| (0..n).map(|n| says(entity(&format!("table{n}")), 1));
    let world = World::with(|settings| {
        let alpha = settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap();
        alpha.guards = GuardLimits { full_count_ratio: 0.5, ..open_guards() };
    });
    for source in ["alpha", "beta"] {
        world.publish(&TestBatch::full(source, 1).with(tables(40)));
    }
    // 24 of 40 is more than half.
    assert_eq!(world.publish(&TestBatch::full("alpha", 2).with(tables(24))).status, PublishStatus::Complete);
    // 11 of 24 is less.
    let parked = world.publish(&TestBatch::full("alpha", 3).with(tables(11)));
    assert_eq!(parked.status, PublishStatus::PlanComplete);
    assert_eq!(
        parked.hold.unwrap().note,
        "the full batch has 11 keys in its scope where the source's snapshot has 24"
    );
}

#[test]
fn a_live_key_whose_attributes_are_bad_is_not_taken_off_the_unchanged_ones() {
    let world = World::new();
    let tables = |n: usize| (0..n).map(|n| says(entity(&format!("table{n}")), 1));
    world.publish(&TestBatch::full("alpha", 1).with(tables(10)));
    let lines = tables(9).chain([Line::BadTwice(entity("table9"))]);
    let record = world.publish(&TestBatch::full("alpha", 2).with(lines));
    let counts = world.plan(&record).header.summary.entities;
    assert_eq!((counts.unchanged, counts.rejected), (9, 1));
}

#[test]
fn withheld_deletions_are_counted_when_they_are_approved() {
    let mut world = World::new();
    let tables = |n: usize| (0..n).map(|n| says(entity(&format!("table{n}")), 1));
    world.publish(&TestBatch::full("alpha", 1).with(tables(10)));
    ask(&mut world);
    let lines = tables(6).chain([Line::BadKeyed(entity("table6")), Line::BadKeyless(0)]);
    let record = world.publish(&TestBatch::full("alpha", 2).with(lines));
    assert_eq!((record.status, counted(&world, &record)), (PublishStatus::Complete, None));
    let again = world.engine().approve(&record.batch_id, None, "ann", "they are gone").unwrap();
    world.work();
    let again = world.batch(&again.batch_id);
    assert_eq!(counted(&world, &again), Some((7, 10)));
}

/// One key of a drawn case.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    /// Whether the base, another source and a later incremental batch say it,
    /// and what: 0 nothing, 1 a value, 2 another value, 3 absence.
    base: bool,
    other: bool,
    later: u8,
    /// What the batch that is looked at says: 0 nothing, 1 the value as it is,
    /// 2 another, 3 it twice, 4 two values, 5 a bad line, 6 a bad line behind a
    /// good one, 7 the attribute twice.
    says: u8,
    skipped: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (any::<bool>(), any::<bool>(), 0u8..4, 0u8..8, proptest::bool::weighted(0.2))
        .prop_map(|(base, other, later, says, skipped)| Drawn { base, other, later, says, skipped })
}

fn name(n: usize) -> String {
    format!("{}{n}", ["a", "ua", "b", "ub"][n % 4])
}

/// The keys: entities, and a relationship from each.
fn keys(n: usize) -> [Key; 2] {
    [entity(&name(n)), edge(&name(n), "a0")]
}

fn play(drawn: &[Drawn], late: bool, scoped: bool, fast: bool) -> Result<(), TestCaseError> {
    let mut world = World::with(|settings| settings.planning.fast_path = fast);
    let says_all = |pick: &dyn Fn(&Drawn) -> Option<i64>| -> Vec<Line> {
        let of = |(n, drawn): (usize, &Drawn)| pick(drawn).map(|x| keys(n).map(|key| says(key, x)));
        drawn.iter().enumerate().filter_map(of).flatten().collect()
    };
    world.publish(&TestBatch::full("alpha", 10).with(says_all(&|drawn| drawn.base.then_some(1))));
    world.publish(&TestBatch::full("beta", 10).with(says_all(&|drawn| drawn.other.then_some(1))));
    let mut later = TestBatch::incremental("alpha", 30).with(says_all(&|drawn| match drawn.later {
        1 | 2 => Some(drawn.later.into()),
        _ => None,
    }));
    for (n, _) in drawn.iter().enumerate().filter(|(_, drawn)| drawn.later == 3) {
        later.lines.extend(keys(n).map(Line::Deleted));
    }
    world.publish(&later);
    let alpha = SourceId::new("alpha").unwrap();
    for (n, _) in drawn.iter().enumerate().filter(|(_, drawn)| drawn.skipped) {
        let skip = Skip { type_name: entity(&name(n)).type_name().into(), name: name(n), until: None };
        world.engine().skip(&alpha, &skip, "ann", "known to be bad").unwrap();
    }

    let mut batch = TestBatch::full("alpha", if late { 20 } else { 40 });
    if scoped {
        batch = batch.scoped(&["a*", "u*"], &["a4", "ua1"]);
    }
    for (n, drawn) in drawn.iter().enumerate() {
        for key in keys(n) {
            let is = |x: i64| says(key.clone(), x);
            batch.lines.extend(match drawn.says {
                0 => vec![],
                1 => vec![is(1)],
                2 => vec![is(5)],
                3 => vec![is(1), is(1)],
                4 => vec![is(1), is(2)],
                5 => vec![Line::BadKeyed(key)],
                6 => vec![is(1), Line::BadKeyed(key)],
                _ => vec![Line::BadTwice(key)],
            });
        }
    }
    ask(&mut world);
    let record = world.publish(&batch);

    // The naive count: what the batch names in its scope; and what is live there,
    // but for what is newer than a late batch and not named by it.
    let mut live: BTreeSet<Key> = BTreeSet::new();
    let mut named: BTreeSet<Key> = BTreeSet::new();
    for (n, drawn) in drawn.iter().enumerate() {
        for key in keys(n).into_iter().filter(|key| batch.scope.contains(key)) {
            let newer = late && drawn.later != 0;
            let is_live = match drawn.later {
                0 => drawn.base,
                later => later != 3,
            };
            if is_live && (drawn.says != 0 || !newer) {
                live.insert(key.clone());
            }
            if drawn.says != 0 {
                named.insert(key);
            }
        }
    }
    let expected = (!live.is_empty()).then_some((named.len() as u64, live.len() as u64));
    prop_assert_eq!(counted(&world, &record), expected, "{:?}", record);
    Ok(())
}

#[test]
fn the_count_is_that_of_the_sources_own_keys_whatever_the_batch_says_of_them() {
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let any = (proptest::collection::vec(drawn(), 1..12), any::<bool>(), any::<bool>(), any::<bool>());
    runner.run(&any, |(drawn, late, scoped, fast)| play(&drawn, late, scoped, fast)).unwrap();
}
