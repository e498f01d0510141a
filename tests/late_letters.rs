//! A bad line of a late batch, whose key something newer was published of: its
//! dead letter is moot from the beginning (`SEMANTICS` 9).

mod support;

use support::batches::{Line, TestBatch, entity, says};
use support::world::World;
use tidegate::domain::key::Key;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::OnFailure;
use tidegate::store::{DeadLetterState, LetterKind};

fn k() -> Key {
    entity("k")
}

fn rest() -> Line {
    says(entity("rest"), 1)
}

/// Publishes batches in this order and returns the letters that they leave
/// open, and by whom the others were settled.
fn letters(batches: &[TestBatch]) -> (usize, Vec<String>) {
    let world = World::new();
    for batch in batches {
        assert_eq!(world.publish(batch).status, PublishStatus::Complete);
    }
    let (mut open, mut settled) = (0, Vec::new());
    for letter in world.engine().store().read(|view| view.dead_letters()).unwrap() {
        match letter.state {
            DeadLetterState::Resolved { by, .. } => settled.push(by),
            _ => open += 1,
        }
    }
    (open, settled)
}

#[test]
fn a_letter_about_a_key_that_is_known_better_is_settled_at_once() {
    let full = |time| TestBatch::full("alpha", time);
    let some = |time| TestBatch::incremental("alpha", time);
    for newer in [
        full(2).with([rest(), says(k(), 1)]),
        some(2).with([says(k(), 1)]),
        full(2).with([rest()]),
        some(2).with([Line::Deleted(k())]),
    ] {
        for older in [full(1).with([rest(), Line::BadKeyed(k())]), some(1).with([Line::BadKeyed(k())])] {
            let settled = vec![newer.id()];
            assert_eq!(letters(&[newer.clone(), older.clone()]), (0, settled.clone()), "{newer:?}");
            // As it is the other way round.
            assert_eq!(letters(&[older, newer.clone()]), (0, settled), "{newer:?}");
        }
    }
}

#[test]
fn without_a_key_only_a_full_batch_of_everything_says_it_better() {
    let bad = || TestBatch::incremental("alpha", 1).with([Line::BadKeyless(1)]);
    let full = TestBatch::full("alpha", 2).with([rest()]);
    assert_eq!(letters(&[full.clone(), bad()]), (0, vec![full.id()]));
    assert_eq!(letters(&[TestBatch::full("alpha", 2).scoped(&["r*"], &[]).with([rest()]), bad()]).0, 1);
    assert_eq!(letters(&[TestBatch::incremental("alpha", 2).with([rest()]), bad()]).0, 1);
}

#[test]
fn a_letter_with_something_newer_in_it_stays_open() {
    let bad = |time| TestBatch::incremental("alpha", time).with([Line::BadKeyed(k())]);
    let good = TestBatch::incremental("alpha", 2).with([says(k(), 1)]);
    // What is published is older than the newest bad line of the key.
    assert_eq!(letters(&[good.clone(), bad(3), bad(1)]).0, 1);
    assert_eq!(letters(&[good, bad(1), bad(3)]).0, 1);
}

/// A world in which one bad line fails its batch.
fn strict() -> World {
    World::with(|settings| {
        for source in settings.sources.values_mut() {
            source.isolation.count = 0;
            source.isolation.ratio = 0.0;
        }
    })
}

/// What is open after these batches, who settled the others, and whether the
/// source is held.
fn after(batches: &[TestBatch]) -> (usize, Vec<String>, bool) {
    let world = strict();
    for batch in batches {
        world.publish(batch);
    }
    let letters = world.engine().store().read(|view| view.dead_letters()).unwrap();
    assert!(!letters.is_empty() && letters.iter().all(|letter| letter.kind == LetterKind::Batch));
    let settled = letters.iter().filter_map(|letter| match &letter.state {
        DeadLetterState::Resolved { by, .. } => Some(by.clone()),
        _ => None,
    });
    let settled: Vec<String> = settled.collect();
    let held = world.engine().store().read(|view| view.source_holds(&"alpha".parse().unwrap())).unwrap();
    (letters.len() - settled.len(), settled, !held.is_empty())
}

#[test]
fn the_letter_of_a_late_batch_that_failed_is_settled_at_once_if_all_was_said_anew() {
    let full = |time| TestBatch::full("alpha", time);
    let fails = |batch: TestBatch| batch.with([rest(), Line::BadKeyed(k())]);
    let newer = full(2).with([rest()]);
    for older in [fails(full(1)), fails(TestBatch::incremental("alpha", 1))] {
        let settled = (0, vec![newer.id()], false);
        assert_eq!(after(&[newer.clone(), older.clone()]), settled, "{older:?}");
        // As it is the other way round.
        assert_eq!(after(&[older, newer.clone()]), settled);
    }
    // A part says a part of it anew.
    let part = full(2).scoped(&["r*"], &[]).with([rest()]);
    let same = TestBatch { lines: fails(full(1)).lines, ..full(1).scoped(&["r*"], &[]) };
    assert_eq!(after(&[part.clone(), same]), (0, vec![part.id()], false));
    assert_eq!(after(&[part.clone(), fails(full(1))]).0, 1);
    let (open, _, held) = after(&[part, fails(TestBatch::incremental("alpha", 1))]);
    assert_eq!((open, held), (1, true));
}

#[test]
fn only_a_newer_batch_of_everything_ends_the_hold_of_a_failed_one() {
    let fails = TestBatch::incremental("alpha", 3).with([rest(), Line::BadKeyed(k())]);
    let full = |time| TestBatch::full("alpha", time).with([rest()]);
    assert_eq!(after(&[fails.clone(), full(2)]), (1, vec![], true));
    assert_eq!(after(&[fails, full(2), full(4)]), (0, vec![full(4).id()], false));
}

#[test]
fn a_full_batch_that_leaves_a_key_out_says_not_all_anew() {
    let fails = TestBatch::incremental("alpha", 1).with([says(k(), 1), Line::BadKeyed(entity("z"))]);
    let excepts = TestBatch::full("alpha", 2).with([rest(), Line::BadKeyed(k())]);
    let lenient = |world: &mut World| world.source("alpha", |source| source.isolation.count = 1);
    for late in [false, true] {
        let mut order = vec![&fails, &excepts];
        if late {
            order.reverse();
        }
        let mut world = strict();
        for batch in order {
            if *batch == excepts {
                lenient(&mut world);
            } else {
                world.source("alpha", |source| source.isolation.count = 0);
            }
            world.publish(batch);
        }
        let letters = world.engine().store().read(|view| view.dead_letters()).unwrap();
        let open = letters.iter().filter(|letter| !matches!(letter.state, DeadLetterState::Resolved { .. }));
        assert_eq!(open.count(), 2, "{late}: {letters:?}");
    }
    // One without a key is about any of them, whichever came first.
    let keyless = TestBatch::incremental("alpha", 1).with([Line::BadKeyless(0)]);
    for late in [false, true] {
        let mut order = vec![keyless.clone(), excepts.clone()];
        if late {
            order.reverse();
        }
        assert_eq!(letters(&order).0, 2, "{late}");
    }
}

/// It would never be older than anything: it counts as newest of nothing.
#[test]
fn a_source_held_for_a_batch_from_the_future_goes_on_with_the_next_full_batch() {
    let mut world = World::new();
    world.source("alpha", |source| source.on_failure = Some(OnFailure::Hold));
    let one = |batch: TestBatch, n| batch.with([says(entity("a"), n)]);
    world.publish(&one(TestBatch::full("alpha", 1), 1));
    let tomorrow = 60 * 24 * 24;
    let failed = world.publish(&one(TestBatch::incremental("alpha", tomorrow), 9));
    assert_eq!(failed.failure.unwrap().error_code, "BATCH_FROM_FUTURE");
    let waits = world.publish(&one(TestBatch::incremental("alpha", 2), 2));
    assert_eq!(waits.status, PublishStatus::Pending);
    // One that does not say everything does not help.
    let narrow = one(TestBatch::full("alpha", 3), 3).scoped(&["a"], &[]);
    world.publish(&narrow);
    assert_eq!(world.batch(&waits.batch_id).status, PublishStatus::Pending);
    assert_eq!(world.publish(&one(TestBatch::full("alpha", 4), 4)).status, PublishStatus::Complete);
    assert!(world.batch(&waits.batch_id).status.is_final());
    world.expect(&[(entity("a"), 4)]);
}

#[test]
fn a_batch_whose_dead_letter_is_moot_from_the_beginning_holds_nothing_up() {
    let mut world = World::new();
    world.source("alpha", |source| source.on_failure = Some(OnFailure::Hold));
    let part = |time, x| TestBatch::full("alpha", time).with([says(entity("a"), x)]).scoped(&["a"], &[]);
    world.publish(&part(1, 1));
    world.publish(&part(5, 5));
    let (failed, _) = world.break_down(&part(3, 3));
    let letters = world.engine().store().read(|view| view.dead_letters()).unwrap();
    assert!(
        letters.iter().all(|letter| matches!(letter.state, DeadLetterState::Resolved { .. })),
        "{letters:?}"
    );
    assert_eq!(world.batch(&failed).status, PublishStatus::Failed);
    let next = TestBatch::incremental("alpha", 6).with([says(entity("a"), 6)]);
    assert_eq!(world.publish(&next).status, PublishStatus::Complete);
    // Of another scope nothing is known: that one holds.
    world.break_down(&TestBatch::full("alpha", 4).with([says(entity("b"), 1)]).scoped(&["b"], &[]));
    let waits = TestBatch::incremental("alpha", 7).with([says(entity("a"), 7)]);
    assert_eq!(world.publish(&waits).status, PublishStatus::Pending);
}
