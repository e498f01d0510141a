//! What a plan leaves behind that was not published as a whole, or not by the
//! batch that it is about: counts, layers, keys of other sources, the horizon,
//! and the half of a batch that is mended later.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::batches::{Line, TestBatch, edge, entity, says};
use support::world::World;
use tidegate::domain::change::Action;
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::OnFailure;
use tidegate::error::{Error, ErrorKind};
use tidegate::store::DeadLetterState;
use tidegate::targets::TargetChange;

fn full(time: u32) -> TestBatch {
    TestBatch::full("alpha", time)
}

fn some(time: u32) -> TestBatch {
    TestBatch::incremental("alpha", time)
}

/// A world whose batches fail at the second refused change.
fn strict() -> World {
    World::with(|settings| {
        for source in settings.sources.values_mut() {
            source.on_failure = Some(OnFailure::Continue);
            source.isolation = IsolationLimit { count: 1, ratio: 0.0, ..IsolationLimit::default() };
        }
    })
}

#[track_caller]
fn complete(world: &World, batch: &TestBatch) {
    let record = world.publish(batch);
    assert_eq!(record.status, PublishStatus::Complete, "{}: {:?}", batch.id(), record.failure);
}

#[test]
fn a_relationship_that_another_source_could_not_bring_comes_with_its_own_one() {
    for requeued in [false, true] {
        let world = World::new();
        let beta = |time| TestBatch::full("beta", time).with([says(entity("b"), 1), says(edge("a", "b"), 1)]);
        complete(&world, &beta(1));
        world.faults.refuse([edge("a", "b")]);
        complete(&world, &full(2).with([says(entity("a"), 1)]));
        world.expect(&[(entity("a"), 1), (entity("b"), 1)]);
        world.faults.heal();
        let letters = world.dead_letters("beta");
        assert_eq!(letters.len(), 1);
        if requeued {
            world.engine().requeue_letter(letters[0].id, None, "ann", "it goes now").unwrap();
            world.work();
        } else {
            complete(&world, &beta(3));
        }
        world.expect(&[(entity("a"), 1), (entity("b"), 1), (edge("a", "b"), 1)]);
        assert_eq!(world.dead_letters("beta").len(), 0);
        // Once it was brought it is not sent each time.
        let record = world.publish(&beta(4));
        assert_eq!(world.plan(&record).header.summary.changes(), 0);
        complete(&world, &full(5).with([says(entity("a"), 1)]));
        world.expect(&[(entity("a"), 1), (entity("b"), 1), (edge("a", "b"), 1)]);
    }
}

#[test]
fn a_key_that_another_source_settled_is_not_sent_again_and_again() {
    let world = World::new();
    // Alpha's end comes, and beta's relationship to it is refused: alpha's
    // snapshot has it unsure, and beta brings it.
    let beta = |time| TestBatch::full("beta", time).with([says(entity("b"), 1), says(edge("a", "b"), 1)]);
    complete(&world, &beta(1));
    world.faults.refuse([edge("a", "b")]);
    complete(&world, &full(2).with([says(entity("a"), 1)]));
    world.faults.heal();
    complete(&world, &beta(3));
    for time in (4..12).step_by(2) {
        for batch in [full(time).with([says(entity("a"), 1)]), beta(time + 1)] {
            let record = world.publish(&batch);
            assert_eq!(world.plan(&record).header.summary.changes(), 0, "{}", batch.id());
        }
    }
    assert_eq!(world.snapshot("alpha").unsure, []);
}

#[test]
fn one_that_may_still_be_there_is_not_forgotten_when_its_end_does_not_come() {
    let world = World::new();
    let (a, c, r) = (says(entity("a"), 1), says(entity("c"), 1), says(edge("a", "c"), 1));
    complete(&world, &full(1).with([a.clone(), c.clone(), r.clone()]));
    world.faults.refuse([edge("a", "c")]);
    complete(&world, &full(2).with([a.clone(), r.clone()]));
    world.faults.refuse([entity("c")]);
    complete(&world, &full(3).with([a.clone(), c, r]));
    world.faults.heal();
    // The embedded catalogue shows no relationship without its ends.
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sent);
    world.faults.before(move |operation| {
        seen.lock().unwrap().extend(operation.changes.clone());
        Ok(())
    });
    complete(&world, &full(4).with([a]));
    world.expect(&[(entity("a"), 1)]);
    let taken_back = |change: &TargetChange| change.key == edge("a", "c") && change.action == Action::Delete;
    assert!(sent.lock().unwrap().iter().any(taken_back), "{:?}", sent.lock().unwrap());
}

#[test]
fn counts_are_those_of_what_lives_after_batches_that_ended_half_way() {
    let world = strict();
    // Another source keeps what this one takes back.
    let shared = ["s1", "s2", "s3"].map(|name| says(entity(name), 1));
    complete(&world, &TestBatch::full("beta", 1).with(shared.clone()));
    complete(&world, &full(1).with(shared));
    world.expect_counts();
    world.faults.refuse([entity("x"), entity("y")]);
    let waiting = ["p", "q"].map(|to| says(edge("a", to), 1));
    for time in 2..5 {
        let fails = full(time)
            .with(["a", "b", "x", "y"].map(|name| says(entity(name), i64::from(time))))
            .with(waiting.clone())
            .with([says(edge("a", "b"), 1)]);
        assert_eq!(world.publish(&fails).status, PublishStatus::Failed);
        world.expect_counts();
    }
    // One that is complete but for what was refused.
    world.faults.refuse([entity("x")]);
    complete(&world, &full(6).with([says(entity("a"), 9), says(entity("x"), 9)]).with(waiting));
    world.expect_counts();
    world.faults.heal();
    complete(&world, &full(7).with([says(entity("a"), 9)]));
    world.expect_counts();
    world.expect(&[("s1", 1), ("s2", 1), ("s3", 1), ("a", 9)].map(|(name, n)| (entity(name), n)));
}

#[test]
fn layers_are_folded_and_lines_keep_their_order_though_something_is_refused_each_time() {
    let mut world = World::new();
    world.faults.refuse([entity("x")]);
    let batch = |time: u32| {
        let names = (0..20).map(|n| format!("n{n}"));
        full(time)
            .with(names.map(|name| says(entity(&name), 1)))
            .with([says(entity("x"), i64::from(time)), says(entity("changes"), i64::from(time))])
    };
    for time in 1..=20 {
        complete(&world, &batch(time));
        let layers = world.snapshot("alpha").layers.len();
        assert!(layers <= 9, "{layers} layers after batch {time}");
    }
    let record = world.publish(&batch(21));
    assert!(world.plan(&record).lines_in_order >= 20, "{}", world.plan(&record).lines_in_order);
    world.expect_counts();
    world.faults.heal();
    world.restart();
    complete(&world, &batch(22));
    world.expect_batches(&[&batch(22)]);
    // Half-way, many times over: each attempt has a layer of its own.
    let mut world = strict();
    complete(&world, &batch(1));
    world.faults.refuse([entity("zx"), entity("zy")]);
    for time in 2..=20 {
        let fails = batch(time).with(["zx", "zy"].map(|name| says(entity(name), 1)));
        assert_eq!(world.publish(&fails).status, PublishStatus::Failed);
        let layers = world.snapshot("alpha").layers.len();
        assert!(layers <= 9, "{layers} layers after batch {time}");
        world.expect_counts();
    }
    world.faults.heal();
    world.restart();
    complete(&world, &batch(22));
    world.expect_batches(&[&batch(22)]);
}

#[test]
fn keys_that_were_refused_stay_what_they_were_when_layers_are_folded_with_them() {
    for (max_layers, smallest_base) in [(6, 4096), (1, 4096), (1, 1)] {
        let mut world = World::with(|settings| {
            settings.planning.max_layers = max_layers;
            settings.planning.smallest_base = smallest_base;
        });
        let rest = |n: i64| ["a", "b", "c", "d"].map(|name| says(entity(name), n));
        complete(
            &world,
            &full(1).with(rest(1)).with([
                says(entity("k"), 1),
                says(entity("l"), 1),
                says(edge("a", "b"), 1),
            ]),
        );
        complete(&world, &some(2).with([Line::Deleted(entity("m"))]));
        // One comes, one changes, one goes, one comes after it was deleted; one
        // relationship goes.
        let refused = [entity("new"), entity("k"), entity("l"), entity("m"), edge("a", "b")];
        for time in 4..10 {
            world.faults.refuse(refused.clone());
            complete(
                &world,
                &full(time).with(rest(i64::from(time))).with([
                    says(entity("new"), 1),
                    says(entity("k"), i64::from(time)),
                    says(entity("m"), 1),
                ]),
            );
            world.expect_counts();
            let n = i64::from(time);
            let mut there = vec![(entity("k"), 1), (entity("l"), 1), (edge("a", "b"), 1)];
            there.extend(["a", "b", "c", "d"].map(|name| (entity(name), n)));
            world.expect(&there);
            world.faults.heal();
        }
        // What a late batch says of them counts as if they had never been tried.
        complete(&world, &some(3).with([says(entity("k"), 1)]));
        world.restart();
        let last = full(20).with(rest(3)).with([says(entity("k"), 7), says(edge("a", "b"), 2)]);
        complete(&world, &last);
        world.expect_batches(&[&last]);
        world.expect_counts();
    }
}

#[test]
fn a_batch_that_was_mended_takes_the_place_of_its_own_half() {
    for complete_mode in [false, true] {
        let world = strict();
        let mut batch = if complete_mode { full(2) } else { some(2) };
        batch = batch.with([says(entity("k0"), 1), says(entity("k1"), 1)]);
        batch = batch.with(["x", "y", "z"].map(|name| says(entity(name), 1)));
        world.faults.refuse(["x", "y", "z"].map(entity));
        assert_eq!(world.publish(&batch).status, PublishStatus::Failed);
        world.expect(&[(entity("k0"), 1), (entity("k1"), 1)]);
        world.faults.heal();
        let id = batch.id().parse().unwrap();
        // As many lines and bytes.
        let file = world.batch(&id).folder.join("entities-00000.ndjson");
        let text = std::fs::read_to_string(&file).unwrap();
        let mended = text.replacen("\"x\":1", "\"x\":2", 1).replace("\"k1\"", "\"k9\"");
        assert_eq!(text.len(), mended.len());
        std::fs::write(&file, mended).unwrap();
        world.engine().retry(&id, "ann", "mended").unwrap();
        world.work();
        let record = world.batch(&id);
        assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
        let mut there = vec![("k0", 2), ("k9", 1), ("x", 1), ("y", 1), ("z", 1)];
        if !complete_mode {
            there.push(("k1", 1));
        }
        there.sort_unstable();
        let there: Vec<_> = there.into_iter().map(|(name, n)| (entity(name), n)).collect();
        world.expect(&there);
    }
}

#[test]
fn the_horizon_does_not_rise_by_what_was_not_published() {
    for first in [false, true] {
        let mut world = World::new();
        world.source("alpha", |source| source.max_lateness_seconds = 3600);
        if !first {
            complete(&world, &some(10).with([says(entity("a"), 1)]));
        }
        world.faults.before(|_| Err(Error::new(ErrorKind::TargetUnavailable, "it is away")));
        let id = world.deliver(&some(3000).with([says(entity("b"), 1)])).unwrap();
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
        world.engine().cancel(&id, "ann", "not now").unwrap();
        world.work();
        world.faults.heal();
        world.clock.advance(Duration::from_secs(3600));
        let late = world.deliver(&some(20).with([says(entity("c"), 1)])).unwrap();
        assert_eq!(world.end_of(&late).status, PublishStatus::Complete, "{:?}", world.batch(&late).failure);
    }
}

#[test]
fn a_parked_batch_with_bad_lines_ends_with_dead_letters_that_can_be_repaired() {
    let mut world = World::new();
    world.source("alpha", |source| {
        source.max_lateness_seconds = 3600;
        source.guards.delete_ratio = 0.1;
        source.guards.delete_min = 1;
    });
    let scoped = |time| full(time).scoped(&["a*"], &[]);
    let names = ["a1", "a2", "a3", "a4"];
    complete(&world, &scoped(1).with(names.map(|name| says(entity(name), 1))));
    let parks = scoped(30).with([says(entity("a1"), 1), Line::BadKeyed(entity("z"))]);
    let parked = world.deliver(&parks).unwrap();
    world.work();
    assert_eq!(world.parked(), std::slice::from_ref(&parked));
    complete(&world, &scoped(300).with(names.map(|name| says(entity(name), 1))));
    world.work();
    assert_eq!(world.batch(&parked).status, PublishStatus::Complete, "{:?}", world.batch(&parked));
    let letters = world.dead_letters("alpha");
    assert_eq!(letters.len(), 1);
    let content = br#"{"type":"t","qualified_name":"z","attributes":{"x":5}}"#;
    world.engine().edit_letter(letters[0].id, None, Some(content), "ann", "mended").unwrap();
    let again = world.engine().requeue_letter(letters[0].id, None, "ann", "mended").unwrap();
    world.work();
    assert_eq!(world.batch(&again).status, PublishStatus::Complete, "{:?}", world.batch(&again).failure);
    assert!(world.export().contains("\"z\""));
}

#[test]
fn a_parked_batch_still_counts_for_keys_of_which_the_one_that_overtook_it_says_nothing() {
    let names = ["m1", "m2", "m3", "m4"];
    let rest = || names.map(|name| says(entity(name), 1));
    let f1 = full(1).with(rest()).with([says(entity("k"), 1)]);
    let i2 = some(2).with([Line::Deleted(entity("k"))]);
    let f3 = full(3).with([says(entity("k"), 1)]);
    let f5 = full(5).with(rest()).with([Line::BadKeyed(entity("k"))]);
    for order in [[&f1, &i2, &f3, &f5], [&f1, &f3, &f5, &i2]] {
        let mut world = World::new();
        world.source("alpha", |source| {
            source.guards.delete_ratio = 0.1;
            source.guards.delete_min = 2;
        });
        for batch in order {
            world.deliver(batch).unwrap();
            world.work();
        }
        assert_eq!(world.parked(), []);
        let mut there = vec![(entity("k"), 1)];
        there.extend(names.map(|name| (entity(name), 1)));
        world.expect(&there);
    }
}

#[test]
fn a_letter_without_a_key_is_settled_by_a_retry_of_the_batch_that_brings_it() {
    let world = World::new();
    complete(&world, &some(1).with([Line::BadKeyless(0)]));
    let letter = world.dead_letters("alpha")[0].id;
    let content = br#"{"type":"t","qualified_name":"z","attributes":{"x":5}}"#;
    let source = "alpha".parse().unwrap();
    world.engine().edit_letter(letter, None, Some(content), "ann", "mended").unwrap();
    world.engine().pause_source(&source, "ann", "wait").unwrap();
    let again = world.engine().requeue_letter(letter, None, "ann", "mended").unwrap();
    world.engine().cancel(&again, "ann", "not yet").unwrap();
    assert_eq!(world.dead_letters("alpha").len(), 1);
    world.engine().retry(&again, "ann", "now").unwrap();
    world.engine().resume_source(&source, "ann", "go").unwrap();
    world.work();
    assert_eq!(world.batch(&again).status, PublishStatus::Complete);
    let letter = world.engine().store().read(|view| view.expect_dead_letter(letter)).unwrap();
    assert!(matches!(letter.state, DeadLetterState::Resolved { .. }), "{:?}", letter.state);
}

#[test]
fn what_nobody_asserts_any_more_and_may_be_there_is_requeued_as_a_deletion() {
    for absent in ["full", "deleted", "not said"] {
        let mut world = World::new();
        complete(&world, &full(1).with([says(entity("b"), 1)]));
        // With another precedence all that is refused may be there.
        world.source("alpha", |source| source.precedence += 1);
        world.faults.refuse([entity("a")]);
        complete(&world, &full(2).with([says(entity("a"), 1), says(entity("b"), 1)]));
        assert_eq!(world.snapshot("alpha").unsure, [entity("a")], "{absent}");
        // A plan of another source, and two of its own, try to take it away.
        complete(&world, &TestBatch::full("beta", 3));
        let last = match absent {
            "full" => full(4).with([says(entity("b"), 1)]),
            "deleted" => some(4).with([Line::Deleted(entity("a"))]),
            _ => some(4),
        };
        complete(&world, &last);
        complete(&world, &some(5));
        world.faults.heal();
        let letters = [world.dead_letters("alpha"), world.dead_letters("beta")].concat();
        let told: Vec<String> = letters
            .iter()
            .map(|letter| format!("{} {}", letter.batch_id, String::from_utf8_lossy(&letter.content)))
            .collect();
        assert_eq!(letters.len(), 1, "{absent}: {told:#?}");
        // What was said of it last is what is tried again, as of then.
        let said = if absent == "not said" { full(2) } else { last };
        assert_eq!(letters[0].batch_id.to_string(), said.id(), "{absent}: {told:?}");
        world.engine().requeue_letter(letters[0].id, None, "ann", "it goes now").unwrap();
        world.work();
        let letters = [world.dead_letters("alpha"), world.dead_letters("beta")].concat();
        assert_eq!(letters.len(), 0, "{absent}: {letters:?}");
        let there = if absent == "not said" {
            vec![(entity("a"), 1), (entity("b"), 1)]
        } else {
            vec![(entity("b"), 1)]
        };
        world.expect(&there);
        world.expect_counts();
    }
}
