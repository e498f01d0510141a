//! Plans that were made, or begun, for a target that is not the same any more:
//! nothing goes on until the target and the store belong together again, and a
//! plan is executed at the target that it was made for.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::config::{EmbeddedSettings, Settings, TargetKind, TargetSettings};
use tidegate::domain::ids::{BatchId, TargetName};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::{Error, ErrorKind};
use tidegate::store::SourceHoldReason;
use tidegate::targets::embedded::{EmbeddedCatalogue, EmbeddedOptions};

fn full(time: u32, names: u32) -> TestBatch {
    TestBatch::full("alpha", time).with((0..names).map(|n| says(entity(&format!("n{n:02}")), 1)))
}

fn complete(world: &World, batch: &TestBatch) {
    let record = world.publish(batch);
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
}

fn park(world: &mut World, batch: &TestBatch) -> BatchId {
    world.source("alpha", |source| {
        source.guards.delete_ratio = 0.1;
        source.guards.delete_min = 1;
    });
    let id = world.deliver(batch).unwrap();
    world.work();
    assert_eq!(world.parked(), std::slice::from_ref(&id));
    id
}

/// Has a batch stopped before its second operation, and ends the engine.
fn stop_in_the_midst(world: &mut World, batch: &TestBatch) -> BatchId {
    let (engine, sent) = (world.shared(), AtomicUsize::new(0));
    world.faults.before(move |_| {
        if sent.fetch_add(1, Ordering::SeqCst) == 0 {
            engine.stop();
        }
        Ok(())
    });
    let id = world.deliver(batch).unwrap();
    let _ = world.engine().run_until_idle();
    assert_eq!(world.batch(&id).status, PublishStatus::Executing);
    world.faults.heal();
    world.stop();
    id
}

#[track_caller]
fn is_held(world: &World, id: &BatchId) {
    assert_eq!(world.engine().run_until_idle().unwrap_err().kind(), ErrorKind::TargetMoved);
    let hold = world.engine().store().read(|view| view.source_hold(id.source())).unwrap().unwrap();
    assert_eq!(hold.reason, SourceHoldReason::TargetMoved, "{hold:?}");
}

fn copy(world: &World, from: &str, to: &str) {
    let at = |name: &str| world.data.path().join(name);
    std::fs::copy(at(from), at(to)).unwrap();
}

#[test]
fn a_parked_plan_is_not_executed_at_a_catalogue_that_was_restored_meanwhile() {
    let mut world = World::new();
    complete(&world, &full(1, 8));
    world.stop();
    copy(&world, "catalogue.redb", "backup");
    world.restart();
    complete(&world, &full(2, 10));
    let parked = park(&mut world, &full(3, 6));
    world.stop();
    copy(&world, "catalogue.redb", "right");
    copy(&world, "backup", "catalogue.redb");
    world.restart();
    world.engine().approve(&parked, None, "ann", "looked at").unwrap();
    is_held(&world, &parked);
    assert_eq!(world.export().lines().count(), 8);
    // The right one again: it goes on.
    world.stop();
    copy(&world, "right", "catalogue.redb");
    world.restart();
    world.engine().resume_source(parked.source(), "ann", "it is the right one").unwrap();
    world.work();
    assert_eq!(world.batch(&parked).status, PublishStatus::Complete);
    world.expect_batches(&[&full(3, 6)]);
}

#[test]
fn a_plan_that_was_begun_does_not_go_on_at_a_catalogue_that_was_restored_meanwhile() {
    let mut world = World::new();
    complete(&world, &full(1, 8));
    world.stop();
    copy(&world, "catalogue.redb", "backup");
    world.restart();
    let id = stop_in_the_midst(&mut world, &full(2, 20));
    copy(&world, "catalogue.redb", "right");
    copy(&world, "backup", "catalogue.redb");
    world.restart();
    is_held(&world, &id);
    assert_eq!(world.export().lines().count(), 8);
    world.stop();
    copy(&world, "right", "catalogue.redb");
    world.restart();
    world.engine().resume_source(id.source(), "ann", "it is the right one").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    world.expect_batches(&[&full(2, 20)]);
}

#[test]
fn a_store_restored_from_before_a_sources_first_batch_holds_it() {
    let mut world = World::new();
    complete(&world, &TestBatch::full("beta", 1).with([says(entity("b"), 1)]));
    world.stop();
    copy(&world, "tidegate.redb", "backup");
    world.restart();
    complete(&world, &full(2, 2));
    world.stop();
    copy(&world, "backup", "tidegate.redb");
    world.restart();
    let id = world.deliver(&full(3, 1)).unwrap();
    is_held(&world, &id);
    assert_eq!(world.export().lines().count(), 3);
}

fn two_targets(data: &Path, settings: &mut Settings) -> TargetName {
    let name = TargetName::new("other").unwrap();
    let embedded = match &settings.targets.values().next().unwrap().kind {
        TargetKind::Embedded(embedded) => {
            EmbeddedSettings { path: data.join("other.redb"), ..embedded.clone() }
        }
        TargetKind::Http(_) => unreachable!(),
    };
    let first = settings.targets.values().next().unwrap().clone();
    let other = TargetSettings { kind: TargetKind::Embedded(embedded), ..first };
    settings.targets.insert(name.clone(), other);
    name
}

#[test]
fn a_plan_that_was_begun_ends_at_its_own_target_whatever_the_settings_say_by_then() {
    let mut world = World::new();
    let data = world.data.path().to_path_buf();
    let mut other = None;
    world.set(|settings| other = Some(two_targets(&data, settings)));
    let other = other.unwrap();
    let id = stop_in_the_midst(&mut world, &full(1, 20));
    let target = other.clone();
    world.source("alpha", |source| source.target = target);
    world.work();
    let record = world.batch(&id);
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
    let of = |world: &World, target: &TargetName| {
        world.engine().store().read(|view| view.current_snapshots(target)).unwrap().len()
    };
    assert_eq!((of(&world, &record_target(&world, &id)), of(&world, &other)), (1, 0));
    world.expect_batches(&[&full(1, 20)]);
    // The next one is for the other target, and whole.
    complete(&world, &full(2, 5));
    assert_eq!(of(&world, &other), 1);
}

fn record_target(world: &World, id: &BatchId) -> TargetName {
    world.plan(&world.batch(id)).header.target
}

#[test]
fn a_parked_plan_is_made_anew_for_another_target() {
    let mut world = World::new();
    let data = world.data.path().to_path_buf();
    let mut other = None;
    world.set(|settings| other = Some(two_targets(&data, settings)));
    let other = other.unwrap();
    complete(&world, &full(1, 20));
    let parked = park(&mut world, &full(2, 6));
    let target = other.clone();
    world.source("alpha", |source| source.target = target);
    world.engine().approve(&parked, None, "ann", "looked at").unwrap();
    world.work();
    let record = world.batch(&parked);
    assert_eq!(record.status, PublishStatus::Complete, "{:?} {:?}", record.hold, record.failure);
    assert_eq!(record_target(&world, &parked), other);
    assert_eq!(record.metrics.unwrap().entities_created, 6);
    // What was published to the first one stays right, though nothing follows.
    let checks = serde_json::to_value(world.engine().examine(true).unwrap()).unwrap();
    for check in checks["checks"].as_array().unwrap() {
        let is_target = check["check"].as_str().unwrap().starts_with("target ");
        assert!(!is_target || check["status"] == "ok", "{check}");
    }
}

#[test]
fn a_plan_that_was_begun_and_cancelled_ends_wherever_its_target_went() {
    let mut world = World::new();
    complete(&world, &full(1, 8));
    world.stop();
    copy(&world, "catalogue.redb", "backup");
    world.restart();
    let id = stop_in_the_midst(&mut world, &full(2, 20));
    copy(&world, "catalogue.redb", "right");
    copy(&world, "backup", "catalogue.redb");
    world.restart();
    is_held(&world, &id);
    world.engine().cancel(&id, "ann", "not any more").unwrap();
    world.work();
    let record = world.batch(&id);
    assert_eq!(record.status, PublishStatus::Failed, "{:?}", record.failure);
    assert_eq!(record.failure.unwrap().error_code, "CANCELLED");
    // What was done of it is not there: that the target is another one stays known.
    world.engine().resume_source(id.source(), "ann", "nothing is published any more").unwrap();
    let next = world.deliver(&full(3, 21)).unwrap();
    is_held(&world, &next);
    world.stop();
    copy(&world, "right", "catalogue.redb");
    world.restart();
    world.engine().resume_source(id.source(), "ann", "it is the right one").unwrap();
    world.work();
    assert_eq!(world.batch(&next).status, PublishStatus::Complete);
    world.expect_batches(&[&full(3, 21)]);
}

#[test]
fn a_plan_that_was_begun_and_cancelled_before_anything_was_sent_leaves_the_target_as_it_is_known() {
    let world = World::new();
    complete(&world, &full(1, 8));
    world.faults.before(|_| Err(Error::new(ErrorKind::TargetUnavailable, "nobody is there")));
    let id = world.deliver(&full(2, 20)).unwrap();
    let _ = world.engine().run_until_idle();
    world.faults.heal();
    world.engine().cancel(&id, "ann", "not any more").unwrap();
    assert_eq!(world.batch(&id).status, PublishStatus::Failed);
    world.clock.advance(std::time::Duration::from_secs(3_600));
    complete(&world, &full(3, 21));
    world.expect_batches(&[&full(3, 21)]);
}

#[test]
fn a_plan_without_operations_goes_on_after_a_restart() {
    let mut world = World::new();
    complete(&world, &full(1, 8));
    let id = world.deliver(&full(2, 8)).unwrap();
    // Planned, begun.
    for _ in 0..2 {
        world.advance("alpha").unwrap();
    }
    assert_eq!(world.batch(&id).status, PublishStatus::Executing);
    world.stop();
    world.restart();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
}

#[test]
fn a_plan_that_was_cancelled_at_a_wrong_target_before_any_outcome_leaves_the_right_one_right() {
    let mut world = World::new();
    complete(&world, &full(1, 8));
    world.faults.before(|_| Err(Error::new(ErrorKind::CatalogueFailed, "it is not mounted")));
    let id = world.deliver(&full(2, 20)).unwrap();
    let _ = world.engine().run_until_idle();
    assert_eq!(world.batch(&id).status, PublishStatus::Executing);
    world.faults.heal();
    world.stop();
    copy(&world, "catalogue.redb", "right");
    // Another one lies in its place.
    let path = world.data.path().join("catalogue.redb");
    std::fs::remove_file(&path).unwrap();
    drop(EmbeddedCatalogue::open(&path, EmbeddedOptions::default(), world.clock.clone()).unwrap());
    world.restart();
    world.engine().resume_source(id.source(), "ann", "it is mounted").unwrap();
    is_held(&world, &id);
    world.engine().cancel(&id, "ann", "not any more").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Failed);
    world.stop();
    copy(&world, "right", "catalogue.redb");
    world.restart();
    let _ = world.engine().resume_source(id.source(), "ann", "it is the right one");
    // One that sends nothing leaves it so.
    complete(&world, &full(3, 8));
    complete(&world, &full(4, 21));
    world.expect_batches(&[&full(4, 21)]);
}
