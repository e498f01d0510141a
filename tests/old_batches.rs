//! Batches that ended long ago are forgotten, so that `tidegate.redb` does not grow
//! with the years; what something refers to still is not.

mod support;

use std::path::Path;
use std::time::Duration;

use support::batches::{Line, TestBatch, entity, says};
use support::twenty::{id_of, scan};
use support::world::World;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::ErrorKind;
use tidegate::store::BatchFilter;

const DAY: u64 = 24 * 3600;

/// A world that keeps two snapshots, and batches for thirty days.
fn world() -> World {
    World::with(|settings| {
        settings.retention.snapshots = 2;
        settings.retention.batches = Duration::from_secs(30 * DAY);
    })
}

fn batch(n: u32) -> TestBatch {
    TestBatch::full("alpha", n).with(["a", "b"].map(|name| says(entity(name), n.into())))
}

/// Publishes so many batches from an inbox; where they lay.
fn publish(world: &World, numbers: std::ops::Range<u32>) -> Vec<(BatchId, std::path::PathBuf)> {
    let inbox = world.data.path().join("inbox");
    let mut published = Vec::new();
    for n in numbers {
        // The newest snapshots are kept.
        world.clock.advance(Duration::from_secs(1));
        let folder = batch(n).write(&inbox);
        scan(world);
        world.work();
        let id = id_of(&batch(n));
        assert_eq!(world.batch(&id).status, PublishStatus::Complete);
        published.push((id, folder));
    }
    published
}

fn ids(world: &World) -> Vec<BatchId> {
    let filter = BatchFilter { source: Some(SourceId::new("alpha").unwrap()), ..BatchFilter::default() };
    let batches = world.engine().store().read(|view| view.batches(&filter)).unwrap();
    batches.into_iter().map(|batch| batch.batch_id).collect()
}

fn empty(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::create_dir(folder).unwrap();
}

fn forget(world: &World) -> u64 {
    world.engine().forget_batches(None).unwrap().0
}

#[test]
fn batches_are_forgotten_when_they_are_old_and_their_folders_are_gone() {
    let world = world();
    let published = publish(&world, 1..15);
    for (_, folder) in &published[1..] {
        std::fs::remove_dir_all(folder).unwrap();
    }
    world.clock.advance(Duration::from_secs(29 * DAY));
    assert_eq!(forget(&world), 0);
    world.clock.advance(Duration::from_secs(2 * DAY));
    let complete = || {
        let alpha = SourceId::new("alpha").unwrap();
        let count = |of| world.engine().store().read(|view| view.count_batches(of, PublishStatus::Complete));
        (count(None).unwrap(), count(Some(&alpha)).unwrap())
    };
    assert_eq!(complete(), (14, 14));
    assert_eq!(forget(&world), 3);
    assert_eq!(complete(), (11, 11));
    // The newest ten, and the one that would be accepted anew.
    let left: Vec<BatchId> = published.iter().map(|(id, _)| id.clone()).collect();
    let mut expected = [&left[..1], &left[4..]].concat();
    expected.reverse();
    assert_eq!(ids(&world), expected);
    let dump = world.engine().store().dump().unwrap();
    for id in &left[1..4] {
        assert_eq!(world.engine().retry(id, "ann", "again").unwrap_err().kind(), ErrorKind::NotFound);
        let named = dump
            .lines()
            .find(|line| line.contains(&id.to_string()) || line.contains(&id.folder().to_string()));
        assert_eq!(named, None);
    }
    // It is done with, and what is published stays.
    assert_eq!(forget(&world), 0);
    world.expect(&[(entity("a"), 14), (entity("b"), 14)]);
    scan(&world);
    assert_eq!(ids(&world).len(), 11);
}

#[test]
fn what_something_refers_to_is_not_forgotten() {
    let mut world = world();
    // A dead letter of the first one, a failed second one, which holds its source,
    // and one that was made of the third.
    world.faults.refuse([entity("c")]);
    let first =
        world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1), says(entity("c"), 1)]));
    assert_eq!(world.dead_letters("alpha").len(), 1);
    world.source("alpha", |source| {
        source.isolation = IsolationLimit { count: 1, ratio: 0.0, ..IsolationLimit::default() };
    });
    let bad = |n| Line::BadKeyed(entity(&format!("x{n}")));
    let second = TestBatch::incremental("alpha", 2).with((0..30).map(bad));
    let second = world.publish(&second);
    assert_eq!(second.status, PublishStatus::Failed);
    let alpha = SourceId::new("alpha").unwrap();
    world.engine().resume_source(&alpha, "ann", "on").unwrap();
    for n in 3..16 {
        world.clock.advance(Duration::from_secs(1));
        world.publish(&TestBatch::incremental("alpha", n).with([says(entity("a"), n.into())]));
    }
    empty(&world.data.path().join("delivered/alpha"));
    world.clock.advance(Duration::from_secs(31 * DAY));
    let before = ids(&world).len();
    assert!(!world.engine().store().read(|view| view.source_timeline(&alpha)).unwrap().is_empty());
    assert_eq!(forget(&world), 3, "{:?}", ids(&world));
    assert_eq!(ids(&world).len(), before - 3);
    for id in [&first.batch_id, &second.batch_id] {
        assert!(ids(&world).contains(id), "{id}");
    }
    // When they are decided about, nothing does any more.
    for letter in world.dead_letters("alpha") {
        world.engine().discard_letter(letter.id, None, "ann", "no").unwrap();
    }
    world.engine().keep_pins().unwrap();
    let notes =
        |world: &World| world.engine().store().read(|view| view.source_timeline(&alpha)).unwrap().len();
    assert_eq!((forget(&world), notes(&world)), (2, 0));
    // An old source is known, and goes on.
    world.restart();
    world.publish(&TestBatch::incremental("alpha", 20).with([says(entity("a"), 20)]));
    world.expect(&[(entity("a"), 20)]);
}

#[test]
fn a_long_list_is_gone_through_part_by_part() {
    let mut world = world();
    for n in 1..100 {
        world.clock.advance(Duration::from_secs(1));
        world.publish(&TestBatch::incremental("alpha", n).with([says(entity("a"), n.into())]));
    }
    empty(&world.data.path().join("delivered/alpha"));
    world.clock.advance(Duration::from_secs(31 * DAY));
    // A service does it by itself, and so does the next batch that is published.
    world.publish(&TestBatch::incremental("alpha", 100).with([says(entity("a"), 100)]));
    assert_eq!(ids(&world).len(), 10);
    world.restart();
    world.expect(&[(entity("a"), 100)]);
}

/// What is mounted again would be accepted anew.
#[test]
fn nothing_is_forgotten_where_nobody_can_look() {
    let world = world();
    publish(&world, 1..15);
    let source = world.data.path().join("inbox/alpha");
    let away = world.data.path().join("away");
    std::fs::rename(&source, &away).unwrap();
    world.clock.advance(Duration::from_secs(31 * DAY));
    assert_eq!(forget(&world), 0);
    std::fs::create_dir(&source).unwrap();
    assert_eq!(forget(&world), 4);
}
