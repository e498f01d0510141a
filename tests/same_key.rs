//! Several lines of one key: what of them is kept, and how they count.

mod support;

use support::batches::{Line, TestBatch, entity, says};
use support::world::World;
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::publish_state::PublishStatus;

#[test]
fn all_lines_of_a_key_with_a_bad_one_are_in_its_dead_letter() {
    let world = World::new();
    let k = entity("k");
    let lines =
        [says(k.clone(), 1), Line::BadKeyed(k.clone()), Line::BadTwice(k.clone()), says(entity("rest"), 1)];
    let record = world.publish(&TestBatch::full("alpha", 1).with(lines));
    assert_eq!(record.status, PublishStatus::Complete);
    let letters = world.dead_letters("alpha");
    assert_eq!(letters.len(), 1);
    let content = String::from_utf8(letters[0].content.clone()).unwrap();
    for part in ["\"attributes\":{\"x\":1}}", "\"attributes\":[]", "\"x\":1,\"x\":2"] {
        assert!(content.contains(part), "{part}: {content}");
    }
    assert_eq!(content.lines().count(), 3, "{content}");
    let failure = record.failure.unwrap();
    assert!(failure.error_message.contains("dead letters: 1"), "{}", failure.error_message);
    // The published value that is listed first counts as one of them.
    world.publish(&TestBatch::full("alpha", 2).with([says(k.clone(), 1), says(entity("rest"), 1)]));
    world.publish(&TestBatch::full("alpha", 3).with([
        says(k.clone(), 1),
        Line::BadKeyed(k),
        says(entity("rest"), 1),
    ]));
    let content = String::from_utf8(world.dead_letters("alpha")[0].content.clone()).unwrap();
    assert_eq!(content.lines().count(), 2, "{content}");
}

#[test]
fn keys_that_contradict_themselves_count_against_the_isolation_limit() {
    let mut world = World::new();
    world.source("alpha", |source| {
        source.isolation = IsolationLimit { count: 10, ratio: 0.05, ..source.isolation };
    });
    let batch = |time, contradicting: u32| {
        let names = (0..100).map(|n| format!("n{n:03}"));
        let twice = names.clone().take(contradicting as usize).map(|name| says(entity(&name), 2));
        TestBatch::full("alpha", time).with(names.map(|name| says(entity(&name), 1))).with(twice)
    };
    assert_eq!(world.publish(&batch(1, 10)).status, PublishStatus::Complete);
    let failed = world.publish(&batch(2, 11));
    assert_eq!(failed.failure.unwrap().error_code, "BATCH_ISOLATION_LIMIT");
}
