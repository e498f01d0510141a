//! `tidegate.redb` is lost: what the state folder holds makes a new one, and
//! the next batches are published as if nothing had happened.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::batches::{Line, TestBatch, edge, entity, says};
use support::target_server::TargetServer;
use support::world::World;
use tidegate::clock::Clock;
use tidegate::config::{HttpSettings, TargetKind, TargetSettings};
use tidegate::domain::ids::{BatchId, PlanId, SourceId, TargetName};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::ErrorKind;
use tidegate::service::engine::Engine;
use tidegate::service::query::Part;
use tidegate::service::recover::{Recovered, recover};
use tidegate::store::{SourceHoldReason, Store, StoreOptions};
use tidegate::targets::embedded::{EmbeddedCatalogue, EmbeddedOptions};

fn many(time: i64, names: std::ops::Range<u32>) -> Vec<Line> {
    names.map(|n| says(entity(&format!("n{n}")), time)).collect()
}

/// Several sources with full, incremental and late batches, shared keys and
/// relationships.
fn history() -> Vec<TestBatch> {
    vec![
        TestBatch::full("alpha", 10).with(many(10, 0..12)).with([says(edge("n1", "n2"), 1)]),
        TestBatch::full("beta", 15).with([
            says(entity("n1"), 7),
            says(entity("ub"), 8),
            says(edge("ub", "n1"), 1),
        ]),
        TestBatch::incremental("alpha", 30).with([says(entity("n3"), 99), Line::Deleted(entity("n4"))]),
        TestBatch::incremental("alpha", 20).with([says(entity("n3"), 50), says(entity("n4"), 50)]),
        TestBatch::full("gamma", 12).with([says(entity("c"), 1), says(edge("c", "missing"), 1)]),
    ]
}

/// What comes afterwards.
fn next() -> Vec<TestBatch> {
    vec![
        TestBatch::incremental("alpha", 25).with([says(entity("n4"), 25), says(entity("n5"), 25)]),
        TestBatch::full("alpha", 40).with(many(40, 2..9)),
        TestBatch::full("gamma", 41).with([
            says(entity("missing"), 1),
            says(entity("c"), 1),
            says(edge("c", "missing"), 1),
        ]),
        TestBatch::full("beta", 42).with([says(entity("ub"), 9)]),
    ]
}

fn lose(world: &mut World) {
    world.stop();
    std::fs::remove_file(world.data.path().join("tidegate.redb")).unwrap();
}

fn recover_in(world: &mut World) -> Recovered {
    let recovered = recover(world.settings.clone(), Arc::clone(&world.clock) as Arc<dyn Clock>).unwrap();
    world.restart();
    recovered
}

#[test]
fn the_next_batches_are_published_as_in_the_undisturbed_run() {
    let (mut world, undisturbed) = (World::new(), World::new());
    for batch in &history() {
        assert_eq!(world.publish(batch).status, PublishStatus::Complete);
        undisturbed.publish(batch);
    }
    lose(&mut world);
    let recovered = recover_in(&mut world);
    assert_eq!(recovered.problems, [] as [String; 0]);
    let told: Vec<(&str, u64, u64)> =
        recovered.sources.iter().map(|of| (of.source_id.as_str(), of.entities, of.unsure)).collect();
    assert_eq!(told, [("alpha", 11, 0), ("beta", 2, 0), ("gamma", 1, 0)]);
    assert_eq!(world.export(), undisturbed.export());
    for batch in &next() {
        let (record, other) = (world.publish(batch), undisturbed.publish(batch));
        assert_eq!(record.status, PublishStatus::Complete, "{record:?}");
        let counts = |metrics: tidegate::domain::publish_state::BatchMetrics| {
            (
                metrics.entities_created,
                metrics.entities_updated,
                metrics.entities_deleted,
                metrics.relationships_created,
            )
        };
        assert_eq!(counts(record.metrics.unwrap()), counts(other.metrics.unwrap()), "{}", record.batch_id);
        assert_eq!(world.export(), undisturbed.export(), "{}", record.batch_id);
    }
    let all: Vec<TestBatch> = history().into_iter().chain(next()).collect();
    world.expect_batches(&all.iter().collect::<Vec<_>>());
}

#[test]
fn what_a_plan_had_begun_is_unsure_and_settled_by_the_next_batch() {
    for done in [0, 1, 2] {
        let mut world = World::new();
        for batch in &history() {
            world.publish(batch);
        }
        let cut = TestBatch::full("alpha", 35).with(many(35, 0..12));
        let id = world.deliver(&cut).unwrap();
        while world.batch(&id).status != PublishStatus::Executing {
            world.advance("alpha");
        }
        // The process ends after so many operations of the plan.
        let (count, engine) = (AtomicUsize::new(0), Arc::downgrade(&world.shared()));
        world.faults.before(move |_| {
            if count.fetch_add(1, Ordering::SeqCst) + 1 == done {
                engine.upgrade().unwrap().stop();
            }
            Ok(())
        });
        if done > 0 {
            let _ = world.engine().advance(&SourceId::new("alpha").unwrap());
        }
        assert_eq!(world.batch(&id).status, PublishStatus::Executing);
        lose(&mut world);
        world.faults.heal();
        let recovered = recover_in(&mut world);
        let alpha = &recovered.sources[0];
        assert_eq!(alpha.unsure > 0, done > 0, "{done}: {alpha:?}");
        let next = next();
        for batch in &next {
            assert_eq!(world.publish(batch).status, PublishStatus::Complete, "{done}");
        }
        let all: Vec<TestBatch> = history().into_iter().chain(next).collect();
        world.expect_batches(&all.iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_plan_that_had_begun_and_can_not_be_read_is_told() {
    for with_snapshot in [true, false] {
        for collected in [false, true] {
            let mut world = World::new();
            if with_snapshot {
                world.publish(&TestBatch::full("alpha", 10).with(many(10, 0..12)));
            } else {
                let (_, folder, _) = counts_one_too_many(&world.data.path().join("delivered"));
                world.engine().accept(&folder).unwrap();
                world.work();
                world.engine().keep_pins().unwrap();
            }
            let plan = begun(&mut world, &TestBatch::full("alpha", 35).with(many(35, 0..12)));
            let plans = world.data.path().join("state/alpha/plans");
            std::fs::write(plans.join(format!("{plan}.json")), "no plan").unwrap();
            if collected {
                std::fs::remove_file(plans.join(format!("{plan}.plan"))).unwrap();
            }
            lose(&mut world);
            let recovered = recover_in(&mut world);
            let told = recovered.problems.iter().any(|problem| {
                problem.contains(&format!("plan {plan} may have been begun and can't be read"))
            });
            assert_eq!(told, !collected, "{with_snapshot} {:?}", recovered.problems);
        }
    }
}

/// Ends the process while a batch is executed, and returns its plan.
fn begun(world: &mut World, batch: &TestBatch) -> PlanId {
    let id = world.deliver(batch).unwrap();
    while world.batch(&id).status != PublishStatus::Executing {
        world.advance("alpha");
    }
    let engine = Arc::downgrade(&world.shared());
    let count = AtomicUsize::new(0);
    world.faults.before(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == 1 {
            engine.upgrade().unwrap().stop();
        }
        Ok(())
    });
    let _ = world.engine().advance(&SourceId::new("alpha").unwrap());
    let plan = world.batch(&id).plan_id.unwrap();
    world.faults.heal();
    plan
}

#[test]
fn a_batch_that_waited_is_in_the_queue_again_from_its_pin() {
    let mut world = World::with(|settings| {
        let alpha = settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap();
        alpha.guards.delete_ratio = 0.3;
        alpha.guards.delete_min = 2;
    });
    world.publish(&TestBatch::full("alpha", 1).with(many(1, 0..6)));
    let parked = world.publish(&TestBatch::full("alpha", 5).with(many(1, 0..1)));
    assert!(parked.hold.is_some());
    world.engine().keep_pins().unwrap();
    std::fs::remove_dir_all(world.data.path().join("delivered")).unwrap();
    lose(&mut world);
    let recovered = recover_in(&mut world);
    assert_eq!(recovered.batches, std::slice::from_ref(&parked.batch_id));
    world.work();
    assert!(world.batch(&parked.batch_id).hold.is_some(), "{:?}", world.timeline(&parked.batch_id));
    world.approve(&parked.batch_id);
    world.expect(&[(entity("n0"), 1)]);
}

#[test]
fn folders_of_an_inbox_that_are_not_newer_are_passed_by_and_newer_ones_are_accepted() {
    let mut world = World::new();
    let inbox = world.data.path().join("inbox");
    let deliver = |batch: &TestBatch| {
        batch.write(&inbox);
    };
    let (old, new) =
        (TestBatch::full("alpha", 1).with(many(1, 0..3)), TestBatch::full("alpha", 9).with(many(9, 0..3)));
    deliver(&old);
    let settings = world.settings.inboxes[0].clone();
    world.engine().scan_inbox(&settings).unwrap();
    world.work();
    lose(&mut world);
    deliver(&new);
    let recovered = recover_in(&mut world);
    assert_eq!(recovered.passed_by.len(), 1);
    assert!(recovered.passed_by[0].ends_with(&format!("alpha/{}", old.folder_name())));
    let list = world.engine().inbox_view(&Part::first(10)).unwrap();
    assert!(list.items.iter().any(|item| item.reason.contains("`tidegate publish`")), "{:?}", list.items);
    assert_eq!(world.engine().scan_inbox(&settings).unwrap(), 1);
    world.work();
    assert_eq!(world.batch(&new.id().parse::<BatchId>().unwrap()).status, PublishStatus::Complete);
    world.expect(&[(entity("n0"), 9), (entity("n1"), 9), (entity("n2"), 9)]);
}

#[test]
fn the_newest_snapshot_that_is_whole_is_taken_and_the_damaged_one_is_told() {
    let mut world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with(many(1, 0..3)));
    let last = world.publish(&TestBatch::full("alpha", 2).with(many(2, 0..3)));
    let plan = last.plan_id.unwrap();
    let layers = world.data.path().join("state/alpha/layers");
    let layer = std::fs::read_dir(&layers).unwrap().map(|entry| entry.unwrap().path());
    for path in layer.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(plan.as_str())) {
        std::fs::write(path, "no layer").unwrap();
    }
    lose(&mut world);
    let recovered = recover_in(&mut world);
    assert_eq!(recovered.problems.len(), 1, "{:?}", recovered.problems);
    assert!(recovered.sources[0].unsure > 0);
    world.publish(&TestBatch::full("alpha", 3).with(many(2, 0..2)));
    world.expect(&[(entity("n0"), 2), (entity("n1"), 2)]);
}

#[test]
fn another_catalogue_holds_its_sources() {
    let mut world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with(many(1, 0..3)));
    lose(&mut world);
    let path = world.data.path().join("catalogue.redb");
    std::fs::remove_file(&path).unwrap();
    drop(EmbeddedCatalogue::open(&path, EmbeddedOptions::default(), world.clock.clone()).unwrap());
    let recovered = recover_in(&mut world);
    assert!(
        recovered.problems[0].contains("the source is held until they belong together"),
        "{:?}",
        recovered.problems
    );
    world.deliver(&TestBatch::full("alpha", 2).with(many(2, 0..3))).unwrap();
    let _ = world.engine().run_until_idle();
    let hold =
        world.engine().store().read(|view| view.source_hold(&SourceId::new("alpha").unwrap())).unwrap();
    assert_eq!(hold.unwrap().reason, SourceHoldReason::TargetMoved);
}

#[test]
fn a_target_that_is_away_keeps_no_source_from_being_recovered() {
    let server = TargetServer::start();
    let away = TargetName::new("away").unwrap();
    let mut world = World::with(|settings| {
        let mut http = HttpSettings::new(server.url());
        http.request_limit = Duration::ZERO;
        let target = TargetSettings { kind: TargetKind::Http(http), ..TargetSettings::http(server.url()) };
        settings.targets.insert(away.clone(), target);
        settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap().target = away.clone();
    });
    for source in ["alpha", "beta"] {
        world.publish(&TestBatch::full(source, 1).with(many(1, 0..3)));
    }
    // A plan that the target may have begun, for all that anybody knows.
    let cut = world.deliver(&TestBatch::full("alpha", 2).with(many(2, 0..5))).unwrap();
    while world.batch(&cut).status != PublishStatus::Executing {
        world.advance("alpha");
    }
    lose(&mut world);
    server.down();
    let recovered = recover_in(&mut world);
    let told: Vec<(&str, u64)> =
        recovered.sources.iter().map(|of| (of.source_id.as_str(), of.unsure)).collect();
    assert_eq!(told, [("alpha", 5), ("beta", 0)]);
    assert!(recovered.problems[0].contains("target away can't be asked"), "{:?}", recovered.problems);
    server.heal();
    for source in ["alpha", "beta"] {
        world.publish(&TestBatch::full(source, 3).with(many(3, 0..4)));
    }
    assert_eq!(server.held().len(), 4);
    assert!(server.held().values().all(|value| value["x"] == 3), "{:?}", server.held());
    world.expect(&[(entity("n0"), 3), (entity("n1"), 3), (entity("n2"), 3), (entity("n3"), 3)]);
}

#[test]
fn what_can_not_be_recovered_is_refused_and_leaves_nothing_behind() {
    let mut world = World::new();
    let again = |world: &World| {
        recover(world.settings.clone(), Arc::clone(&world.clock) as Arc<dyn Clock>).unwrap_err()
    };
    world.publish(&TestBatch::full("alpha", 1).with(many(1, 0..3)));
    world.stop();
    let file = world.data.path().join("tidegate.redb");
    let error = again(&world);
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("move it away first"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let snapshots = world.data.path().join("state/alpha/snapshots");
    let manifest = std::fs::read_dir(snapshots.join("catalogue")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(manifest, "no manifest").unwrap();
    let error = again(&world);
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("no snapshot that is whole"), "{error}");
    assert!(error.action().contains("Restore the files from a backup"), "{}", error.action());
    assert!(!file.exists());
    std::fs::remove_dir_all(&snapshots).unwrap();
    let error = again(&world);
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("no snapshot and no batch that waits"), "{error}");
    assert!(error.action().contains("Move that folder away"), "{}", error.action());
    assert!(!file.exists());
    std::fs::remove_dir_all(world.data.path().join("state")).unwrap();
    let error = again(&world);
    assert!(error.to_string().contains("is no state folder"), "{error}");
    assert!(!file.exists());
    world.restart();
}

/// A recovery that does not come to its end, as one that is killed: nothing that was
/// brought can be removed.
fn half(world: &mut World) {
    lose(world);
    let spool = world.data.path().join("spool");
    let _ = std::fs::remove_dir_all(&spool);
    std::fs::write(&spool, "no folder").unwrap();
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    recover(world.settings.clone(), clock).unwrap_err();
    std::fs::remove_file(&spool).unwrap();
}

#[test]
fn a_recovery_that_was_killed_is_told_and_begins_anew() {
    let mut world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with(many(1, 0..3)));
    half(&mut world);
    let clock = || Arc::clone(&world.clock) as Arc<dyn Clock>;
    let error = Engine::open(world.data.path(), world.settings.clone(), clock()).err().unwrap();
    assert!(error.to_string().contains("has not come to its end"), "{error}");
    assert!(error.action().contains("`tidegate recover --state DIR` again"), "{}", error.action());
    assert!(Store::open(world.data.path(), StoreOptions::default(), clock()).is_err());
    assert_eq!(recover_in(&mut world).sources.len(), 1);
    let record = world.publish(&TestBatch::full("alpha", 2).with(many(2, 0..3)));
    assert_eq!(record.status, PublishStatus::Complete);
}

#[test]
fn what_is_put_in_the_place_of_half_a_recovery_is_what_there_is() {
    for with_backup in [true, false] {
        let mut world = World::new();
        world.publish(&TestBatch::full("alpha", 1).with(many(1, 0..3)));
        world.stop();
        let (file, backup) = (world.data.path().join("tidegate.redb"), world.data.path().join("backup"));
        std::fs::copy(&file, &backup).unwrap();
        half(&mut world);
        if with_backup {
            std::fs::rename(&backup, &file).unwrap();
            // It is not made anew by somebody who was told so before.
            let error =
                recover(world.settings.clone(), Arc::clone(&world.clock) as Arc<dyn Clock>).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        } else {
            for name in ["tidegate.redb", "state", "catalogue.redb"] {
                std::fs::rename(world.data.path().join(name), world.data.path().join(format!("{name}.old")))
                    .unwrap();
            }
        }
        world.restart();
        let id = TestBatch::full("alpha", 1).id().parse().unwrap();
        let known = world.engine().store().read(|view| view.batch(&id)).unwrap();
        assert_eq!(known.is_some(), with_backup);
    }
}

#[test]
fn of_two_recoveries_at_once_one_makes_the_store() {
    for _ in 0..20 {
        let mut world = World::new();
        world.publish(&TestBatch::full("alpha", 1).with(many(1, 0..3)));
        half(&mut world);
        let start = std::sync::Barrier::new(2);
        let results = std::thread::scope(|scope| {
            let run = || {
                start.wait();
                recover(world.settings.clone(), Arc::clone(&world.clock) as Arc<dyn Clock>)
            };
            let both = [scope.spawn(run), scope.spawn(run)];
            both.map(|one| one.join().unwrap())
        });
        let errors: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert_eq!(errors.len(), 1, "{results:?}");
        assert!(matches!(errors[0].kind(), ErrorKind::StoreInUse | ErrorKind::Conflict), "{errors:?}");
        world.restart();
        assert_eq!(world.snapshot("alpha").live(tidegate::domain::key::Kind::Entity), 3);
    }
}

/// A batch whose manifest counts a line too many, and the manifest that is right.
fn counts_one_too_many(root: &std::path::Path) -> (BatchId, std::path::PathBuf, String) {
    let batch = TestBatch::full("alpha", 5).with(many(5, 0..4));
    let folder = batch.write(root);
    let path = folder.join("manifest.json");
    let right = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, right.replace("\"count\":4", "\"count\":5")).unwrap();
    (batch.id().parse().unwrap(), folder, right)
}

#[test]
fn a_damaged_pin_is_told_and_kept_also_after_a_recovery() {
    for is_there in [false, true] {
        let mut world = World::new();
        world.publish(&TestBatch::full("alpha", 1).with(many(1, 0..3)));
        let (id, folder, right) = counts_one_too_many(&world.data.path().join("inbox"));
        let inbox = world.settings.inboxes[0].clone();
        world.engine().scan_inbox(&inbox).unwrap();
        world.work();
        assert_eq!(world.batch(&id).failure.unwrap().error_code, "BATCH_COUNT_MISMATCH");
        world.engine().keep_pins().unwrap();
        if !is_there {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        lose(&mut world);
        assert_eq!(recover_in(&mut world).batches, std::slice::from_ref(&id));
        let _ = std::fs::remove_dir_all(&folder);
        world.work();
        let pinned = world.engine().pinned_folder(&id).unwrap().unwrap();
        let file = pinned.join("entities-00000.ndjson");
        let whole = std::fs::read(&file).unwrap();
        let letter = |world: &World| world.dead_letters("alpha").pop().unwrap();
        std::fs::write(&file, b"other bytes").unwrap();
        // Twice: what the first requeue leaves behind is as good for the second.
        for _ in 0..2 {
            let (number, revision) = (letter(&world).id, letter(&world).revision);
            let edit = |engine: &tidegate::service::Engine| {
                engine.repair_letter(number, Some(revision), right.as_bytes(), "ann", "counted again")
            };
            edit(world.engine()).unwrap();
            world.work();
            world.engine().keep_pins().unwrap();
            let failure = world.batch(&id).failure.unwrap();
            assert_eq!(failure.error_code, "PIN_DAMAGED", "{is_there}: {failure:?}");
            assert!(file.is_file(), "{is_there}: the only copy is gone");
        }
        std::fs::write(&file, whole).unwrap();
        world.engine().retry(&id, "ann", "restored").unwrap();
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.timeline(&id));
    }
}

#[test]
fn a_store_that_was_lost_before_anything_was_published_is_made_anew_with_what_waited() {
    let mut world = World::new();
    let (id, folder, right) = counts_one_too_many(&world.data.path().join("delivered"));
    assert_eq!(world.engine().accept(&folder).unwrap(), id);
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Failed);
    world.engine().keep_pins().unwrap();
    std::fs::write(folder.join("manifest.json"), right).unwrap();
    lose(&mut world);
    let recovered = recover_in(&mut world);
    assert_eq!((&recovered.sources[..], &recovered.batches[..]), (&[][..], std::slice::from_ref(&id)));
    assert_eq!(recovered.problems, [] as [String; 0]);
    world.work();
    // As it came: what is mended at the inbox is read by a retry.
    assert_eq!(world.batch(&id).failure.unwrap().error_code, "BATCH_COUNT_MISMATCH");
    world.publish(&TestBatch::full("alpha", 6).with(many(6, 0..2)));
    world.expect(&[(entity("n0"), 6), (entity("n1"), 6)]);
}

#[test]
fn a_plan_that_was_begun_before_there_was_a_snapshot_is_told() {
    let mut world = World::new();
    let (failed, folder, _) = counts_one_too_many(&world.data.path().join("delivered"));
    world.engine().accept(&folder).unwrap();
    world.work();
    world.engine().keep_pins().unwrap();
    let plan = begun(&mut world, &TestBatch::full("alpha", 7).with(many(7, 0..9)));
    lose(&mut world);
    let recovered = recover_in(&mut world);
    assert_eq!(recovered.batches, [failed]);
    assert_eq!(recovered.problems.len(), 1, "{:?}", recovered.problems);
    assert!(recovered.problems[0].contains(&format!("plan {plan} may have been begun")), "{recovered:?}");
    // That is told, and holds nothing up.
    assert_eq!(
        world.publish(&TestBatch::full("alpha", 8).with(many(8, 0..9))).status,
        PublishStatus::Complete
    );
}
