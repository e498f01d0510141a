//! Below the floor of free space intake stops and nothing new is begun; what
//! runs comes to its end, and all goes on by itself when there is room.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::domain::ids::BatchId;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::ErrorKind;
use tidegate::service::query::Part;
use tidegate::service::space::{DiskSpace, FreeSpace};

/// A disk whose room the test says.
struct Disk(AtomicU64);

impl FreeSpace for Disk {
    fn of(&self, _: &Path) -> std::io::Result<DiskSpace> {
        Ok(DiskSpace { device: 1, free: self.0.load(Ordering::SeqCst), total: 1 << 40 })
    }
}

const FLOOR: u64 = 100 << 20;

fn world() -> (World, Arc<Disk>) {
    let disk = Arc::new(Disk(AtomicU64::new(1 << 30)));
    let mut world = World::with(|settings| settings.service.min_free = FLOOR);
    world.space = Some(Arc::clone(&disk) as _);
    world.restart();
    (world, disk)
}

fn batch(time: u32) -> TestBatch {
    TestBatch::full("alpha", time).with([says(entity("a"), i64::from(time))])
}

#[test]
fn below_the_floor_nothing_is_accepted_or_begun_and_all_goes_on_when_there_is_room() {
    let (world, disk) = world();
    let waiting = world.deliver(&batch(1)).unwrap();
    let engine = world.engine();
    let inbox = engine.settings().inboxes[0].clone();
    let made = batch(2).write(&world.data.path().join("made"));
    let into = world.data.path().join("inbox/alpha");
    std::fs::create_dir_all(&into).unwrap();
    std::fs::rename(made, into.join(batch(2).folder_name())).unwrap();

    disk.0.store(FLOOR - 1, Ordering::SeqCst);
    assert_eq!(engine.scan_inbox(&inbox).unwrap(), 0);
    assert_eq!(engine.step().unwrap(), None);
    assert_eq!(world.batch(&waiting).status, PublishStatus::Pending);
    let refused = world.deliver(&batch(3)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::DiskFull);
    assert!(refused.to_string().contains("`service.min_free`"), "{refused}");
    // Who asks is told.
    let reasons = engine.not_ready();
    assert!(reasons.iter().any(|reason| reason.contains("the floor is 100 MiB")), "{reasons:?}");
    assert_eq!(engine.overview(engine.now(), true).unwrap().stopped, Some(reasons[0].clone()));
    let list = engine.inbox_view(&Part::first(10)).unwrap();
    assert_eq!(list.stopped, Some(reasons[0].clone()));
    assert_eq!(list.items[0].reason, "it is complete, and is accepted when there is room");
    let figures = engine.figures(10).unwrap();
    assert!(figures.stopped);
    assert_eq!(figures.free, [("data directory".to_owned(), FLOOR - 1)]);

    // A little more than the floor, so that it does not go to and fro.
    disk.0.store(FLOOR + 1, Ordering::SeqCst);
    assert_eq!(engine.step().unwrap(), None);
    disk.0.store(FLOOR + FLOOR / 10, Ordering::SeqCst);
    assert_eq!(engine.scan_inbox(&inbox).unwrap(), 1);
    world.work();
    assert_eq!(world.batch(&waiting).status, PublishStatus::Complete);
    world.expect(&[(entity("a"), 2)]);
    assert!(engine.not_ready().is_empty());
    assert!(!engine.figures(10).unwrap().stopped);
}

#[test]
fn what_runs_comes_to_its_end_and_a_batch_that_is_published_can_be_asked_for() {
    let (world, disk) = world();
    let id = world.deliver(&batch(1)).unwrap();
    while world.batch(&id).status != PublishStatus::Executing {
        world.advance("alpha");
    }
    disk.0.store(0, Ordering::SeqCst);
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    assert_eq!(world.deliver(&batch(1)).unwrap(), id);
}

#[test]
fn nothing_is_copied_from_an_inbox_below_the_floor() {
    let (world, disk) = world();
    world.engine().pause_source(&"alpha".parse().unwrap(), "ann", "maintenance").unwrap();
    let id: BatchId = world.deliver(&batch(1)).unwrap();
    disk.0.store(0, Ordering::SeqCst);
    let due = world.engine().keep_pins().unwrap();
    assert!(due.is_some());
    assert!(world.batch(&id).pin.is_none());
    disk.0.store(1 << 30, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(60));
    world.engine().keep_pins().unwrap();
    assert!(world.batch(&id).pin.is_some());
}

#[test]
fn a_floor_of_nothing_is_not_looked_at() {
    let (mut world, disk) = world();
    disk.0.store(0, Ordering::SeqCst);
    world.set(|settings| settings.service.min_free = 0);
    assert_eq!(world.publish(&batch(1)).status, PublishStatus::Complete);
}
