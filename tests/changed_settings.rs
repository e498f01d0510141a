//! What settings hid comes to light when they change.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::batches::{Line, TestBatch, edge, entity};
use support::world::World;
use tidegate::domain::ids::SourceId;
use tidegate::domain::key::Key;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::service::skips::Skip;

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

/// An entity or relationship whose `x` is an array, with a stamp that is new in
/// each batch.
fn array(key: Key, x: &[&str], stamp: i64) -> Line {
    Line::Value(key, [("x".to_owned(), json!(x)), ("s".to_owned(), json!(stamp))].into(), 0)
}

/// What is published of `x`, by line of the export.
fn arrays(world: &World) -> Vec<String> {
    let export = world.export();
    let x = |line: &str| serde_json::from_str::<Value>(line).unwrap()["attributes"]["x"].to_string();
    export.lines().map(x).collect()
}

#[test]
fn arrays_that_mean_nothing_by_their_order_any_more_are_published_sorted_by_the_next_plan() {
    for (fast, folds) in [(true, 8), (true, 1), (false, 8)] {
        let mut world = World::with(|settings| {
            (settings.planning.fast_path, settings.planning.max_layers) = (fast, folds);
        });
        let base = |time, stamp| {
            let (a, b) = (array(entity("a"), &["q", "p"], stamp), array(entity("b"), &["r", "q"], stamp));
            TestBatch::full("alpha", time).with([a, b, array(edge("a", "b"), &["z", "y"], stamp)])
        };
        world.source("alpha", |source| source.volatile = vec!["s".into()]);
        world.publish(&base(1, 1));
        assert_eq!(arrays(&world), [r#"["q","p"]"#, r#"["r","q"]"#, r#"["z","y"]"#]);
        world.source("alpha", |source| source.unordered = vec!["x".into()]);
        // It says nothing of `b`, and of `a` what is published.
        let next = TestBatch::incremental("alpha", 2).with([array(entity("a"), &["q", "p"], 2)]);
        let record = world.publish(&next);
        let metrics = record.metrics.unwrap();
        assert_eq!((metrics.entities_updated, metrics.relationships_updated), (2, 1), "{fast}");
        assert_eq!(arrays(&world), [r#"["p","q"]"#, r#"["q","r"]"#, r#"["y","z"]"#]);
        assert!(!world.export().contains("\"s\":2"), "volatile values alone make no update");
        // Once is enough, and what the source says is still what it said.
        for (time, batch) in [(3, base(3, 3)), (4, base(4, 3)), (5, TestBatch::incremental("alpha", 5))] {
            let record = world.publish(&batch);
            let metrics = record.metrics.unwrap();
            assert_eq!((metrics.entities_updated, metrics.relationships_updated), (0, 0), "{fast} {time}");
        }
        world.expect_counts();
    }
}

#[test]
fn what_is_published_sorted_is_what_stays_and_nothing_that_goes_or_changes_or_is_skipped() {
    let names = ["bad", "changed", "gone", "late", "skipped", "two"];
    let mut world = World::new();
    let all = TestBatch::full("alpha", 5).with(names.map(|name| array(entity(name), &["q", "p"], 0)));
    world.publish(&all);
    let skip = Skip { type_name: "t".into(), name: "skipped".into(), until: None };
    world.engine().skip(&SourceId::new("alpha").unwrap(), &skip, "ann", "not now").unwrap();
    world.source("alpha", |source| source.unordered = vec!["x".into()]);
    let next = TestBatch::full("alpha", 9).with([
        Line::BadKeyed(entity("bad")),
        array(entity("changed"), &["b", "a"], 0),
        array(entity("late"), &["q", "p"], 0),
        array(entity("skipped"), &["c", "b"], 0),
        array(entity("two"), &["d", "c"], 0),
        array(entity("two"), &["e", "d"], 0),
    ]);
    world.publish(&next);
    let expected = [r#"["p","q"]"#, r#"["a","b"]"#, r#"["p","q"]"#, r#"["q","p"]"#, r#"["p","q"]"#];
    assert_eq!(arrays(&world), expected);
    world.expect_counts();
}

#[test]
fn a_late_batch_and_one_that_deletes_nothing_publish_what_is_unordered_by_now() {
    let mut world = World::new();
    let two = |time, a: &[&str], b: &[&str]| {
        TestBatch::full("alpha", time).with([array(entity("a"), a, 0), array(entity("b"), b, 0)])
    };
    world.publish(&two(50, &["q", "p"], &["q", "p"]));
    world.source("alpha", |source| source.unordered = vec!["x".into()]);
    world.publish(&two(20, &["old"], &["old"]));
    assert_eq!(arrays(&world), [r#"["p","q"]"#, r#"["p","q"]"#]);

    let mut world = World::new();
    world.publish(&two(50, &["q", "p"], &["q", "p"]));
    world.source("alpha", |source| source.unordered = vec!["x".into()]);
    let keyless =
        TestBatch::full("alpha", 60).with([array(entity("a"), &["q", "p"], 0), Line::BadKeyless(0)]);
    world.publish(&keyless);
    assert_eq!(arrays(&world), [r#"["p","q"]"#, r#"["p","q"]"#]);
}

#[test]
fn what_the_target_refused_to_take_sorted_is_taken_when_it_is_put_back() {
    let mut world = World::new();
    let two = TestBatch::full("alpha", 1).with(["a", "b"].map(|name| array(entity(name), &["q", "p"], 0)));
    world.publish(&two);
    world.source("alpha", |source| source.unordered = vec!["x".into()]);
    world.faults.refuse([entity("a")]);
    let record = world.publish(&TestBatch::incremental("alpha", 2));
    assert_eq!(record.failure.unwrap().error_code, "PARTIAL");
    assert_eq!(arrays(&world), [r#"["q","p"]"#, r#"["p","q"]"#]);
    world.faults.heal();
    let letters = world.dead_letters("alpha");
    assert_eq!(letters.len(), 1);
    world.engine().requeue_letter(letters[0].id, None, "ann", "again").unwrap();
    world.work();
    assert_eq!(arrays(&world), [r#"["p","q"]"#, r#"["p","q"]"#]);
    assert_eq!(world.dead_letters("alpha").len(), 0);
}

/// What waits in a dead letter is newer than what is published sorted.
#[test]
fn a_dead_letter_of_a_key_stays_when_its_published_value_is_sorted() {
    for refused in [false, true] {
        let mut world = World::new();
        let of = |name, x: &[&str]| array(entity(name), x, 0);
        world.publish(&TestBatch::full("alpha", 1).with([of("a", &["q", "p"]), of("b", &["q", "p"])]));
        world.faults.refuse([entity("a")]);
        world.publish(&TestBatch::incremental("alpha", 2).with([of("a", &["c", "b"])]));
        if !refused {
            world.faults.heal();
        }
        world.source("alpha", |source| source.unordered = vec!["x".into()]);
        world.publish(&TestBatch::incremental("alpha", 3).with([of("b", &["d", "c"])]));
        let sorted = if refused { r#"["q","p"]"# } else { r#"["p","q"]"# };
        assert_eq!(arrays(&world), [sorted, r#"["c","d"]"#]);
        world.faults.heal();
        let letters = world.dead_letters("alpha");
        let [letter] = &letters[..] else { panic!("{refused}: {letters:?}") };
        assert!(String::from_utf8_lossy(&letter.content).contains(r#"["c","b"]"#), "{refused}: {letter:?}");
        world.engine().requeue_letter(letter.id, None, "ann", "again").unwrap();
        world.work();
        assert_eq!(arrays(&world), [r#"["b","c"]"#, r#"["c","d"]"#]);
        assert_eq!(world.dead_letters("alpha").len(), 0);
        world.expect_counts();
    }
}

#[test]
fn what_could_not_be_published_sorted_is_when_a_batch_names_it_and_not_before() {
    let refused = [(true, 8), (true, 1), (false, 8)].map(|(fast, folds)| (fast, folds, false, false));
    let skipped = refused.map(|(fast, folds, ..)| (fast, folds, true, false));
    let listed = refused.map(|(fast, folds, ..)| (fast, folds, true, true));
    for (fast, folds, skipped, listed) in [refused, skipped, listed].concat() {
        let mut world = World::with(|settings| {
            (settings.planning.fast_path, settings.planning.max_layers) = (fast, folds);
        });
        let all = |time| {
            let b = [array(entity("b"), &["q", "p"], 0), array(edge("a", "b"), &["q", "p"], 0)];
            TestBatch::full("alpha", time).with([array(entity("a"), &["q", "p"], 0)]).with(b)
        };
        world.publish(&all(1));
        world.source("alpha", |source| source.unordered = vec!["x".into()]);
        let alpha = SourceId::new("alpha").unwrap();
        if skipped {
            let skip = Skip { type_name: "t".into(), name: "a".into(), until: None };
            world.engine().skip(&alpha, &skip, "ann", "not now").unwrap();
        } else {
            world.faults.refuse([entity("a")]);
        }
        for time in 2..5 {
            let batch = if listed { all(time) } else { TestBatch::incremental("alpha", time) };
            let record = world.publish(&batch);
            // What is skipped and says nothing new is no exception.
            assert!(world.snapshot("alpha").full_records.iter().all(|full| full.exceptions.is_empty()));
            // It is asked for once.
            let told = record.failure.map(|failure| failure.error_code);
            assert_eq!(told.is_some(), time == 2 && !skipped, "{fast} {folds} {time}: {told:?}");
        }
        assert_eq!(arrays(&world), [r#"["q","p"]"#, r#"["p","q"]"#, r#"["p","q"]"#]);
        if skipped {
            world.engine().unskip(&alpha, "t", "a", "ann", "now").unwrap();
        } else {
            world.faults.heal();
        }
        for time in 6..8 {
            let metrics = world.publish(&all(time)).metrics.unwrap();
            assert_eq!(metrics.entities_updated, u64::from(time == 6), "{fast} {folds} {skipped} {time}");
        }
        assert_eq!(arrays(&world), [r#"["p","q"]"#; 3]);
        assert_eq!(world.dead_letters("alpha").len(), 0);
        world.expect_counts();
    }
}
