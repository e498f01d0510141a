//! What a snapshot no longer needs goes: tombstones and full records behind the
//! horizon, and those that a newer full batch makes needless (`SEMANTICS` 2).

mod support;

use std::collections::BTreeSet;

use support::batches::{Line, TestBatch, entity, says};
use support::world::World;
use tidegate::domain::ids::SourceId;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::ErrorKind;
use tidegate::planning::bodies::Bodies;
use tidegate::planning::format::entry::State;
use tidegate::planning::snapshot::Found;

fn full(time: u32) -> TestBatch {
    TestBatch::full("alpha", time)
}

fn some(time: u32) -> TestBatch {
    TestBatch::incremental("alpha", time)
}

/// An hour late is too late, and each full batch makes a new base of what is not much.
fn world() -> World {
    World::with(|settings| {
        settings.planning.smallest_base = 1;
        settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap().max_lateness_seconds = 3600;
    })
}

fn names(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| format!("k{n}"))
}

fn lines(range: std::ops::Range<u32>, x: u32) -> impl Iterator<Item = Line> {
    names(range).map(move |name| says(entity(&name), i64::from(x)))
}

fn publish(world: &World, batch: &TestBatch) {
    let record = world.publish(batch);
    assert_eq!(record.status, PublishStatus::Complete, "{}: {:?}", batch.id(), record.failure);
}

/// The names of which the snapshot keeps a tombstone, and whether it is one layer.
fn tombstones(world: &World) -> (BTreeSet<String>, bool) {
    let snapshot = world.open_snapshot("alpha").unwrap();
    let mut bodies = Bodies::new().unwrap();
    let mut found = BTreeSet::new();
    for layer in 0..snapshot.layers() {
        let mut scan = snapshot.layer(layer).scan();
        while let Some((number, entry)) = scan.advance().unwrap() {
            if entry.state == State::Tombstone {
                let body = snapshot.body(&Found { layer, number, entry }, &mut bodies).unwrap();
                found.insert(body.body().unwrap().key().scope_name().to_owned());
            }
        }
    }
    (found, snapshot.layers() == 1)
}

fn set(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().collect()
}

#[test]
fn tombstones_go_when_nothing_so_old_can_come_any_more() {
    let world = world();
    publish(&world, &some(10).with(lines(0..10, 1)));
    publish(&world, &some(20).with(names(0..5).map(|name| Line::Deleted(entity(&name)))));
    // Full batches that say nothing of them, and have the layers folded.
    let other = |time| {
        full(time).scoped(&["z*"], &[]).with(["z0", "z1"].map(|name| says(entity(name), i64::from(time))))
    };
    // Within the hour they are needed.
    publish(&world, &other(75));
    assert_eq!(tombstones(&world), (set(names(0..5)), true));
    publish(&world, &some(15).with(lines(0..5, 15)));
    assert_eq!(world.export().lines().count(), 7);
    // This one puts the horizon behind them, and the next one finds it there.
    publish(&world, &other(90));
    publish(&world, &other(95));
    assert_eq!(tombstones(&world), (BTreeSet::new(), true));
    let late = world.publish(&some(16).with(lines(0..5, 16)));
    assert_eq!(late.failure.unwrap().error_code, ErrorKind::TooLate.info().code);
    assert_eq!(world.export().lines().count(), 7);
}

#[test]
fn tombstones_go_when_a_full_batch_says_the_same_and_stay_where_it_says_nothing() {
    let world = world();
    publish(&world, &some(10).with(lines(0..10, 1)));
    publish(&world, &some(20).with(names(0..5).map(|name| Line::Deleted(entity(&name)))));
    publish(&world, &full(30).with(lines(5..10, 30)).with([Line::BadKeyed(entity("k0"))]));
    assert_eq!(tombstones(&world), (set(names(0..1)), true));
    // What they said is said all the same.
    publish(&world, &some(15).with(lines(0..5, 15)));
    assert_eq!(world.export().lines().count(), 5);
}

#[test]
fn full_records_go_with_the_horizon_and_with_a_newer_one_of_everything() {
    let world = world();
    let records = |world: &World| {
        let records = world.snapshot("alpha").full_records;
        records.iter().map(|record| record.stamp.stamp.batch_id.to_string()).collect::<Vec<_>>()
    };
    let scopes = ["a*", "b*", "c*"];
    let batches = [10, 20, 30].map(|time: u32| full(time).scoped(&[scopes[time as usize / 10 - 1]], &[]));
    for batch in &batches {
        publish(&world, batch);
    }
    assert_eq!(records(&world), [&batches[0], &batches[1], &batches[2]].map(|batch| batch.id()));
    // The first is older than an hour before this one, the second is not.
    publish(&world, &some(75).with(lines(0..1, 1)));
    assert_eq!(records(&world), [&batches[1], &batches[2]].map(|batch| batch.id()));
    let everything = full(76).with(lines(0..1, 1));
    publish(&world, &everything);
    assert_eq!(records(&world), [everything.id()]);
    // The newest stays, whatever the horizon: it says who was there last.
    publish(&world, &some(500).with(lines(0..1, 2)));
    assert_eq!(records(&world), [everything.id()]);
}
