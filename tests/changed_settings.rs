//! What settings hid comes to light when they change.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::batches::{Line, TestBatch, entity};
use support::world::World;
use tidegate::domain::publish_state::PublishStatus;

fn line(x: Value) -> Line {
    let value: BTreeMap<String, Value> = [("x".to_owned(), x), ("y".to_owned(), json!(1))].into();
    Line::Value(entity("k"), value, 0)
}

#[test]
fn a_value_that_was_volatile_is_published_when_it_is_not_any_more() {
    for full in [false, true] {
        let batch = |time, x: i64| {
            let batch =
                if full { TestBatch::full("alpha", time) } else { TestBatch::incremental("alpha", time) };
            batch.with([line(json!(x))])
        };
        let mut world = World::new();
        world.source("alpha", |source| source.volatile = vec!["x".into()]);
        for (time, x) in [(1, 1), (2, 2)] {
            assert_eq!(world.publish(&batch(time, x)).status, PublishStatus::Complete);
        }
        assert!(world.export().contains("\"x\":1"), "volatile values alone make no update");
        world.source("alpha", |source| source.volatile = Vec::new());
        assert_eq!(world.publish(&batch(3, 2)).status, PublishStatus::Complete);
        assert!(world.export().contains("\"x\":2"), "{full} {}", world.export());
    }
}

#[test]
fn an_array_whose_order_means_something_again_is_published_in_its_order() {
    for fast in [false, true] {
        let batch = |time| TestBatch::full("alpha", time).with([line(json!(["b", "a"]))]);
        let mut world = World::with(|settings| settings.planning.fast_path = fast);
        world.source("alpha", |source| source.unordered = vec!["x".into()]);
        assert_eq!(world.publish(&batch(1)).status, PublishStatus::Complete);
        assert!(world.export().contains("[\"a\",\"b\"]"), "{}", world.export());
        world.source("alpha", |source| source.unordered = Vec::new());
        assert_eq!(world.publish(&batch(2)).status, PublishStatus::Complete);
        assert!(world.export().contains("[\"b\",\"a\"]"), "{fast} {}", world.export());
    }
}

/// A key that two sources assert, of which one is taken before the other by its
/// next batch, which also compares otherwise.
#[track_caller]
fn both_change(full: bool, [before, after]: [&[&str]; 2], [first, next]: [Value; 2], expected: &[&str]) {
    let of = |value: &Value| {
        let members = value.as_object().unwrap().clone();
        Line::Value(entity("k"), members.into_iter().collect(), 0)
    };
    let volatile = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let mut world = World::new();
    world.source("alpha", |source| (source.precedence, source.volatile) = (2, volatile(before)));
    world.source("beta", |source| source.precedence = 1);
    let batch = |source: &str, time, value: &Value| {
        let batch = if full { TestBatch::full(source, time) } else { TestBatch::incremental(source, time) };
        batch.with([of(value)])
    };
    let others = json!({"o": "b", "seen": 0});
    for batch in [batch("beta", 1, &others), batch("alpha", 2, &first)] {
        assert_eq!(world.publish(&batch).status, PublishStatus::Complete);
    }
    world.source("alpha", |source| (source.precedence, source.volatile) = (0, volatile(after)));
    let record = world.publish(&batch("alpha", 3, &next));
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
    for member in expected {
        assert!(world.export().contains(member), "{full}: {}", world.export());
    }
}

#[test]
fn precedence_and_what_is_volatile_may_change_at_once() {
    for full in [false, true] {
        // What the source asserts is as it was: only what is compared, and who wins, is not.
        let same = || json!({"o": "a", "seen": 1});
        both_change(full, [&[], &["seen"]], [same(), same()], &["\"o\":\"b\"", "\"seen\":0"]);
        both_change(full, [&["seen"], &[]], [same(), same()], &["\"o\":\"b\"", "\"seen\":0"]);
        // It loses what was not compared before, and would compare as it did.
        let less = json!({"o": "a"});
        both_change(full, [&["seen"], &[]], [same(), less], &["\"o\":\"b\"", "\"seen\":0"]);
    }
}
