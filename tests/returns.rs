//! Keys that go and come again, over batches enough that layers are folded:
//! what hides an old place in the line order has to outlive that.

mod support;

use support::batches::{Line, TestBatch, entity, says};
use support::world::World;
use tidegate::domain::key::Key;
use tidegate::domain::publish_state::PublishStatus;

/// Batches between the return and the test of it: more than lie in layers of
/// their own.
const BETWEEN: u32 = 9;

fn full(time: u32) -> TestBatch {
    TestBatch::full("alpha", time)
}

fn some(time: u32) -> TestBatch {
    TestBatch::incremental("alpha", time)
}

fn k() -> Key {
    entity("k")
}

fn rest(value: i64) -> [Line; 3] {
    ["a", "b", "c"].map(|name| says(entity(name), value))
}

/// Publishes batches one after the other and holds the catalogue against the
/// naive model after each.
#[track_caller]
fn converges(batches: &[TestBatch]) {
    let world = World::new();
    for (n, batch) in batches.iter().enumerate() {
        let record = world.publish(batch);
        assert_eq!(record.status, PublishStatus::Complete, "{}: {:?}", batch.id(), record.failure);
        world.expect_batches(&batches[..=n].iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_key_that_came_back_with_its_old_line_stays() {
    for changes in [false, true] {
        let with =
            |time: u32| full(time).with([says(k(), 1)]).with(rest(if changes { i64::from(time) } else { 1 }));
        let mut batches = vec![with(1), full(2).with(rest(2))];
        batches.extend((3..=3 + BETWEEN).map(with));
        converges(&batches);
    }
}

#[test]
fn a_key_that_was_deleted_twice_comes_back() {
    let mut batches = vec![full(1).with([says(k(), 1)]).with(rest(1))];
    for time in 2..=2 + BETWEEN {
        batches.push(some(time).with([Line::Deleted(k())]));
    }
    batches.push(full(20).with([says(k(), 1)]).with(rest(1)));
    converges(&batches);
}

#[test]
fn a_key_that_came_back_with_another_value_takes_its_old_one_again() {
    let mut batches = vec![full(1).with([says(k(), 1)]).with(rest(1)), some(2).with([Line::Deleted(k())])];
    for time in 3..=3 + BETWEEN {
        batches.push(some(time).with([says(k(), 2)]));
    }
    batches.push(full(20).with([says(k(), 1)]).with(rest(1)));
    batches.push(full(21).with([says(k(), 1)]).with(rest(1)));
    converges(&batches);
}
