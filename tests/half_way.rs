//! Batches that fail half-way: what they leave behind is mended by the next
//! full batch, relationships that waited included.

mod support;

use std::sync::{Arc, Mutex};

use support::batches::{TestBatch, edge, entity, says};
use support::world::World;
use tidegate::domain::change::Action;
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::OnFailure;
use tidegate::error::{Error, ErrorKind};
use tidegate::targets::Operation;

/// A world in which `x` and `y` are refused, and a batch fails at the second of
/// them.
fn world() -> World {
    World::with(|settings| {
        for source in settings.sources.values_mut() {
            source.on_failure = Some(OnFailure::Continue);
            source.isolation = IsolationLimit { count: 1, ratio: 0.0, ..IsolationLimit::default() };
        }
    })
}

/// The relationship from `ab` to `a` waits for `a`, which a full batch brings
/// that lists `listed` too and fails behind it. Then a batch comes that lists
/// all of it.
#[track_caller]
fn is_there_after(listed: &[&str], relationship: Option<i64>) {
    let mut world = world();
    let waits = TestBatch::incremental("alpha", 1).with([says(entity("ab"), 1), says(edge("ab", "a"), 1)]);
    assert_eq!(world.publish(&waits).status, PublishStatus::Complete);
    world.faults.refuse([entity("x"), entity("y")]);
    let lines = ["a", "x", "y"].iter().chain(listed).map(|name| says(entity(name), 1));
    let fails =
        TestBatch::full("alpha", 2).with(lines).with(relationship.map(|value| says(edge("ab", "a"), value)));
    assert_eq!(world.publish(&fails).status, PublishStatus::Failed);
    assert!(world.export().contains("\"a\""), "it failed before a came");
    world.faults.heal();
    world.restart();
    let whole = TestBatch::full("alpha", 3)
        .with(["a", "ab"].map(|name| says(entity(name), 1)))
        .with([says(edge("ab", "a"), 1)]);
    assert_eq!(world.publish(&whole).status, PublishStatus::Complete);
    world.expect_batches(&[&whole]);
}

#[test]
fn a_relationship_that_was_not_taken_back_after_all_is_there_with_its_end() {
    is_there_after(&["ab"], None);
}

#[test]
fn a_relationship_whose_other_end_did_not_go_after_all_is_there() {
    is_there_after(&[], Some(1));
}

#[test]
fn a_relationship_whose_new_value_did_not_come_is_there_with_its_old_one() {
    is_there_after(&[], Some(2));
    is_there_after(&["ab"], Some(2));
}

#[test]
fn a_relationship_that_both_its_end_and_its_source_left_is_there_when_neither_did() {
    is_there_after(&[], None);
}

/// The deletion of a relationship is refused, its end goes, and then the target
/// can't be reached: the relationship may still be there, though nothing asserts
/// it and its end is gone.
#[test]
fn a_refused_deletion_of_a_relationship_is_sent_again_after_a_break() {
    let mut world = World::new();
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let all = TestBatch::full("alpha", 1)
        .with(names.map(|name| says(entity(name), 1)))
        .with([says(edge("a", "b"), 1)]);
    assert_eq!(world.publish(&all).status, PublishStatus::Complete);
    world.faults.refuse([edge("a", "b")]);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    world.faults.before(move |operation| {
        let mut seen = seen.lock().unwrap();
        seen.push(operation.clone());
        match seen.len() {
            0..3 => Ok(()),
            _ => Err(Error::new(ErrorKind::TargetUnavailable, "it is away")),
        }
    });
    let most = TestBatch::full("alpha", 2).with([says(entity("b"), 1)]);
    let id = world.deliver(&most).unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Retrying, "{:?}", world.batch(&id));
    let is_sent = |operation: &Operation| {
        operation.changes.iter().any(|change| change.key == edge("a", "b") && change.action == Action::Delete)
    };
    assert!(is_sent(&asked.lock().unwrap()[0]));
    assert!(!world.export().contains("\"a\""), "its end did not go before the break");
    asked.lock().unwrap().clear();
    world.faults.heal();
    let seen = Arc::clone(&asked);
    world.faults.before(move |operation| {
        seen.lock().unwrap().push(operation.clone());
        Ok(())
    });
    world.restart();
    assert_eq!(world.end_of(&id).status, PublishStatus::Complete);
    assert!(asked.lock().unwrap().iter().any(is_sent), "{:?}", asked.lock().unwrap());
    world.expect_batches(&[&most]);
}
