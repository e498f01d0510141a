//! Several sources at once: plans that do not touch run side by side, those
//! that do run one after the other, and one source's trouble is its own.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use support::batches::{Line, TestBatch, edge, entity, says};
use support::until;
use support::world::World;
use tidegate::clock::{Clock, SystemClock};
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::{Error, ErrorKind};
use tidegate::service::{Engine, Service};
use tidegate::store::{PlanState, SourceHoldReason};

fn batch(source: &str, time: u32, name: &str) -> TestBatch {
    TestBatch::incremental(source, time).with([says(entity(name), i64::from(time))])
}

fn is_final(engine: &Engine, id: &BatchId) -> bool {
    engine.batch(id).unwrap().status.is_final()
}

fn holds(world: &World, source: &str) -> Vec<SourceHoldReason> {
    let source = SourceId::new(source).unwrap();
    let holds = world.engine().store().read(|view| view.source_holds(&source)).unwrap();
    holds.into_iter().map(|hold| hold.reason).collect()
}

// Footprints

#[test]
fn plans_of_different_keys_run_side_by_side_and_none_is_made_again() {
    let world = World::new();
    let ids: Vec<BatchId> = [("alpha", "a"), ("beta", "b"), ("gamma", "c")]
        .iter()
        .map(|(source, name)| world.deliver(&batch(source, 1, name)).unwrap())
        .collect();
    for stage in [PublishStatus::PlanComplete, PublishStatus::Executing, PublishStatus::Complete] {
        for id in &ids {
            world.advance(id.source().as_str());
            assert_eq!(world.batch(id).status, stage);
        }
    }
    assert!(ids.iter().all(|id| world.plannings(id) == 1));
    world.expect(&[(entity("a"), 1), (entity("b"), 1), (entity("c"), 1)]);
}

#[test]
fn a_commit_that_touches_what_a_plan_does_has_it_made_again_and_any_other_does_not() {
    for (name, plannings) in [("a", 2), ("c", 1)] {
        let world = World::new();
        let slow = world.deliver(&batch("alpha", 2, "a")).unwrap();
        world.advance("alpha");
        for time in 1..4 {
            let quick = world.deliver(&batch("beta", time, name)).unwrap();
            while world.advance("beta").is_some() {}
            assert_eq!(world.batch(&quick).status, PublishStatus::Complete);
        }
        world.work();
        assert_eq!(world.batch(&slow).status, PublishStatus::Complete);
        assert_eq!(world.plannings(&slow), plannings, "{name}");
    }
}

#[test]
fn a_value_that_another_source_hides_is_in_the_footprint() {
    // beta's value of the key does not show; alpha deletes the key meanwhile.
    let world = World::new();
    world.publish(&batch("alpha", 1, "a"));
    let beta = world.deliver(&batch("beta", 2, "a")).unwrap();
    world.advance("beta");
    world.publish(&TestBatch::incremental("alpha", 3).with([Line::Deleted(entity("a"))]));
    assert_eq!(world.batch(&beta).status, PublishStatus::Complete);
    world.expect(&[(entity("a"), 2)]);
}

#[test]
fn both_sources_bring_one_of_two_ends_that_a_third_ones_relationship_waits_for() {
    let world = World::new();
    world.publish(&TestBatch::incremental("gamma", 1).with([says(edge("a", "b"), 1)]));
    world.deliver(&batch("alpha", 1, "a")).unwrap();
    world.deliver(&batch("beta", 1, "b")).unwrap();
    world.advance("alpha");
    world.advance("beta");
    world.work();
    world.expect(&[(entity("a"), 1), (entity("b"), 1), (edge("a", "b"), 1)]);
}

#[test]
fn a_plan_that_applies_another_precedence_is_alone_in_work() {
    let mut world = World::new();
    world.publish(&batch("alpha", 1, "a"));
    world.source("alpha", |source| source.precedence = -1);
    let alpha = world.deliver(&TestBatch::incremental("alpha", 2)).unwrap();
    let beta = world.deliver(&batch("beta", 9, "a")).unwrap();
    world.advance("alpha");
    world.advance("beta");
    world.advance("beta");
    assert_eq!(world.batch(&beta).status, PublishStatus::Executing);
    world.work();
    assert_eq!(world.plannings(&alpha), 2);
    world.expect(&[(entity("a"), 9)]);
}

#[test]
fn a_parked_plan_has_no_footprint_in_work() {
    let mut world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with(["a", "ab"].map(|name| says(entity(name), 1))));
    world.source("alpha", |source| source.guards.empty_full = true);
    let parked = world.publish(&TestBatch::full("alpha", 2));
    assert!(parked.hold.is_some());
    let beta = world.publish(&batch("beta", 3, "a"));
    assert_eq!((beta.status, world.plannings(&beta.batch_id)), (PublishStatus::Complete, 1));
    world.approve(&parked.batch_id);
    world.expect(&[(entity("a"), 3)]);
}

#[test]
fn what_a_plan_was_made_from_is_kept_until_it_is_done_whatever_its_source_does() {
    let mut world = World::forgetful();
    world.publish(&batch("alpha", 1, "a"));
    let beta = world.deliver(&batch("beta", 1, "b")).unwrap();
    world.advance("beta");
    world.advance("beta");
    assert_eq!(world.batch(&beta).status, PublishStatus::Executing);
    for time in 2..8 {
        world.publish_of("alpha", &batch("alpha", time, "c"));
    }
    world.restart();
    // A refused change is looked up in all snapshots that the plan knows.
    world.faults.refuse([entity("b")]);
    world.work();
    assert_eq!(world.batch(&beta).failure.unwrap().error_code, "PARTIAL");
    assert_eq!(world.dead_letters("beta").len(), 1);
    // Then they go.
    world.clock.advance(Duration::from_secs(1));
    world.publish(&batch("alpha", 9, "c"));
    let folder = world.engine().state().source(&SourceId::new("alpha").unwrap()).join("snapshots/catalogue");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn commits_are_forgotten_with_the_last_plan_that_is_older() {
    let world = World::new();
    let slow = world.deliver(&batch("alpha", 1, "a")).unwrap();
    world.advance("alpha");
    world.publish_of("beta", &batch("beta", 1, "b"));
    let kept = || world.engine().store().read(|view| view.kept_commits()).unwrap().len();
    assert_eq!(kept(), 1);
    world.work();
    assert_eq!((world.batch(&slow).status, kept()), (PublishStatus::Complete, 0));
    let alive = world.engine().store().read(|view| view.alive_plans(None)).unwrap();
    assert!(alive.iter().all(|plan| plan.state == PlanState::Complete), "{alive:?}");
    assert_eq!(alive, []);
}

// Workers

/// Counts who is in the target at once.
#[derive(Default)]
struct Inside {
    sources: Mutex<BTreeSet<String>>,
    came: Condvar,
    most: AtomicUsize,
}

impl Inside {
    /// A source is in the target until `wanted` were, or for two seconds.
    fn meet(&self, source: &str, wanted: usize) {
        let mut sources = self.sources.lock().unwrap();
        assert!(sources.insert(source.to_owned()), "two batches of {source} at once");
        self.most.fetch_max(sources.len(), Ordering::SeqCst);
        self.came.notify_all();
        let alone = |_: &mut BTreeSet<String>| self.most.load(Ordering::SeqCst) < wanted;
        sources = self.came.wait_timeout_while(sources, Duration::from_secs(2), alone).unwrap().0;
        sources.remove(source);
    }
}

fn in_parallel(workers: usize) -> (usize, World) {
    let world = World::with(|settings| settings.service.workers = workers);
    let inside = Arc::new(Inside::default());
    let seen = Arc::clone(&inside);
    world.faults.before(move |operation| {
        seen.meet(operation.source_id.as_str(), 2);
        Ok(())
    });
    let mut ids = Vec::new();
    for time in 1..4 {
        for (source, name) in [("alpha", "a"), ("beta", "b")] {
            ids.push(world.deliver(&batch(source, time, name)).unwrap());
        }
    }
    let service = Service::start(world.shared()).unwrap();
    until("publishing", || ids.iter().all(|id| is_final(world.engine(), id)));
    service.stop();
    service.wait().unwrap();
    world.expect(&[(entity("a"), 3), (entity("b"), 3)]);
    (inside.most.load(Ordering::SeqCst), world)
}

#[test]
fn two_workers_publish_two_sources_at_once_and_never_two_batches_of_one() {
    assert_eq!(in_parallel(2).0, 2);
}

#[test]
fn one_worker_publishes_one_batch_at_a_time() {
    assert_eq!(in_parallel(1).0, 1);
}

#[test]
fn concurrent_plans_keep_their_temporary_files_apart_and_leave_none() {
    let world = World::with(|settings| {
        settings.service.workers = 3;
        // Everything spills.
        settings.planning.sort_memory = 4096;
        settings.max_changes = None;
    });
    let mut ids = Vec::new();
    let mut expected = Vec::new();
    for (source, prefix) in [("alpha", "a"), ("beta", "b"), ("gamma", "u")] {
        let names: Vec<String> = (0..2000).map(|n| format!("{prefix}{n}")).collect();
        let lines = names.iter().map(|name| says(entity(name), 1));
        ids.push(world.deliver(&TestBatch::full(source, 1).with(lines)).unwrap());
        expected.extend(names.into_iter().map(|name| (entity(&name), 1)));
    }
    let service = Service::start(world.shared()).unwrap();
    until("publishing", || ids.iter().all(|id| is_final(world.engine(), id)));
    service.stop();
    service.wait().unwrap();
    world.expect(&expected);
    assert_eq!(std::fs::read_dir(world.engine().state().root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn sources_that_touch_the_same_keys_all_come_to_their_ends_with_many_workers() {
    let mut world = World::with(|settings| settings.service.workers = 4);
    for (n, source) in support::world::SOURCES.iter().enumerate() {
        world.source(source, |settings| settings.precedence = n as i64);
    }
    let mut batches = Vec::new();
    for time in 1..8 {
        for source in support::world::SOURCES {
            let lines = ["a", "b", "ab"].map(|name| says(entity(name), i64::from(time)));
            batches.push(TestBatch::full(source, time).with(lines).with([says(edge("a", "b"), 1)]));
        }
    }
    let service = Service::start(world.shared()).unwrap();
    let ids: Vec<BatchId> = batches.iter().map(|batch| world.deliver(batch).unwrap()).collect();
    until("publishing", || ids.iter().all(|id| is_final(world.engine(), id)));
    service.stop();
    service.wait().unwrap();
    for id in &ids {
        assert_eq!(world.batch(id).status, PublishStatus::Complete);
    }
    world.expect_batches(&batches.iter().collect::<Vec<_>>());
}

// Trouble

#[test]
fn a_source_whose_snapshot_is_damaged_is_held_with_the_reason_and_the_service_goes_on() {
    let world = World::new();
    world.publish(&batch("alpha", 1, "a"));
    let damaged = world.engine().state().source(&SourceId::new("alpha").unwrap()).join("layers");
    for layer in std::fs::read_dir(damaged).unwrap() {
        std::fs::write(layer.unwrap().path(), "x").unwrap();
    }
    let service = Service::start(world.shared()).unwrap();
    let alpha = world.deliver(&batch("alpha", 2, "a")).unwrap();
    until("the hold", || holds(&world, "alpha") == [SourceHoldReason::Trouble]);
    service.stop();
    service.wait().unwrap();
    assert!(!is_final(world.engine(), &alpha));
    let hold = world.engine().store().read(|view| view.source_hold(alpha.source())).unwrap().unwrap();
    assert_eq!((hold.code.as_str(), hold.batch_id), ("SNAPSHOT_INVALID", Some(alpha)));
}

#[test]
fn a_target_that_fails_for_one_source_holds_that_source_alone_and_a_resume_goes_on_from_the_journal() {
    let world = World::new();
    world.faults.before(|operation| {
        if operation.source_id.as_str() == "alpha" && operation.no.0 == 1 {
            return Err(Error::new(ErrorKind::CatalogueFailed, "it does not work"));
        }
        Ok(())
    });
    let names = ["a", "ab", "ac", "ad", "ae"];
    let lines = names.map(|name| says(entity(name), 1));
    let alpha = world.deliver(&TestBatch::full("alpha", 1).with(lines)).unwrap();
    let service = Service::start(world.shared()).unwrap();
    until("the hold", || holds(&world, "alpha") == [SourceHoldReason::Trouble]);
    let beta = world.deliver(&batch("beta", 1, "b")).unwrap();
    until("the other source", || is_final(world.engine(), &beta));
    assert_eq!(world.batch(&alpha).status, PublishStatus::Executing);
    // What is in work stays in work: nothing that meets it is begun.
    let meets = world.deliver(&batch("beta", 2, "a")).unwrap();
    until("the plan", || world.plannings(&meets) == 1);
    world.faults.heal();
    world.engine().resume_source(alpha.source(), "ann", "it was mended").unwrap();
    until("all of it", || is_final(world.engine(), &alpha) && is_final(world.engine(), &meets));
    service.stop();
    service.wait().unwrap();
    assert_eq!(world.batch(&alpha).status, PublishStatus::Complete);
    assert_eq!(world.batch(&alpha).metrics.unwrap().entities_created, 5);
}

#[test]
fn a_disk_that_is_full_while_executing_is_waited_for() {
    let world = World::new();
    let full = Arc::new(Mutex::new(true));
    let seen = Arc::clone(&full);
    world.faults.before(move |_| match *seen.lock().unwrap() {
        true => Err(Error::new(ErrorKind::DiskFull, "no room")),
        false => Ok(()),
    });
    let id = world.deliver(&batch("alpha", 1, "a")).unwrap();
    assert_eq!(world.engine().step().unwrap().as_ref(), Some(&id));
    let record = world.batch(&id);
    assert_eq!(record.status, PublishStatus::Retrying);
    assert_eq!(record.failure.unwrap().error_code, "DISK_FULL");
    assert_eq!(world.engine().step().unwrap(), None, "not before its time");
    assert_eq!(holds(&world, "alpha"), []);
    *full.lock().unwrap() = false;
    world.clock.advance(Duration::from_secs(5));
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

#[test]
fn a_worker_that_panics_holds_the_source_and_goes_on_with_others() {
    let world = World::new();
    world.faults.before(|operation| {
        assert_ne!(operation.source_id.as_str(), "alpha", "a defect");
        Ok(())
    });
    world.deliver(&batch("alpha", 1, "a")).unwrap();
    let service = Service::start(world.shared()).unwrap();
    until("the hold", || holds(&world, "alpha") == [SourceHoldReason::Trouble]);
    let beta = world.deliver(&batch("beta", 1, "b")).unwrap();
    until("the other source", || is_final(world.engine(), &beta));
    service.stop();
    service.wait().unwrap();
}

#[test]
fn a_batch_whose_folder_is_away_waits_for_it() {
    let world = World::new();
    let folder = batch("alpha", 1, "a").write(&world.data.path().join("delivered"));
    let id = world.engine().accept(&folder).unwrap();
    let away = folder.with_extension("away");
    std::fs::rename(&folder, &away).unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
    std::fs::rename(&away, &folder).unwrap();
    world.clock.advance(Duration::from_secs(600));
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

// The end

/// How long a service takes to end whose store fails, and what it says.
fn end_of_a_failed_store(world: &World, service: Service) -> (Duration, Error) {
    let clock = SystemClock::default();
    let began = clock.monotonic();
    let write = world.engine().store().write(|_| -> tidegate::error::Result<()> { panic!("on purpose") });
    write.unwrap_err();
    let error = service.wait().unwrap_err();
    (clock.monotonic() - began, error)
}

#[test]
fn a_service_whose_store_fails_ends_at_once_whether_it_is_idle_or_waits_for_a_target() {
    let world = World::new();
    let service = Service::start(world.shared()).unwrap();
    std::thread::park_timeout(Duration::from_millis(500));
    let (took, error) = end_of_a_failed_store(&world, service);
    assert!(took < Duration::from_secs(5), "idle: {took:?}");
    assert_eq!(error.kind(), ErrorKind::StoreFailed, "{error}");

    let world = World::new();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (inside, held) = (Arc::new(AtomicUsize::new(0)), Mutex::new(held));
    let came = Arc::clone(&inside);
    world.faults.before(move |_| {
        came.fetch_add(1, Ordering::SeqCst);
        let _ = held.lock().unwrap().recv_timeout(Duration::from_secs(20));
        Ok(())
    });
    world.deliver(&batch("alpha", 1, "a")).unwrap();
    let service = Service::start(world.shared()).unwrap();
    until("a request", || inside.load(Ordering::SeqCst) == 1);
    let (took, error) = end_of_a_failed_store(&world, service);
    assert!(took < Duration::from_secs(5), "at a request: {took:?}");
    assert_eq!(error.kind(), ErrorKind::StoreFailed, "{error}");
    drop(release);
}
