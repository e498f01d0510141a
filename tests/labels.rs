//! Labels: several relationships of one type between the same ends, which live
//! and go each for itself.

mod support;

use support::batches::{Line, TestBatch, entity, labelled, says};
use support::world::World;
use tidegate::domain::key::Key;
use tidegate::domain::publish_state::PublishStatus;

fn edge(label: &str) -> Key {
    labelled("a", "b", label)
}

fn ends() -> [Line; 2] {
    ["a", "b"].map(|name| says(entity(name), 1))
}

fn full(time: u32, labels: &[(&str, i64)]) -> TestBatch {
    let edges = labels.iter().map(|(label, x)| says(edge(label), *x));
    TestBatch::full("alpha", time).with(ends()).with(edges)
}

fn some(time: u32) -> TestBatch {
    TestBatch::incremental("alpha", time)
}

/// Publishes a batch; the catalogue has these labelled edges then, in their order.
#[track_caller]
fn brings(world: &World, batch: &TestBatch, labels: &[(&str, i64)]) {
    let record = world.publish(batch);
    assert_eq!(record.status, PublishStatus::Complete, "{}: {:?}", batch.id(), record.failure);
    let edges: Vec<String> = world.export().lines().skip(2).map(str::to_owned).collect();
    let expected: Vec<String> = labels
        .iter()
        .map(|(label, x)| {
            // An empty one is left out.
            let label = if label.is_empty() { String::new() } else { format!(r#","label":"{label}""#) };
            format!(
                r#"{{"attributes":{{"x":{x}}},"from":{{"qualified_name":"a","type":"t"}}{label},"to":{{"qualified_name":"b","type":"t"}},"type":"r"}}"#
            )
        })
        .collect();
    assert_eq!(edges, expected, "{}", batch.id());
}

#[test]
fn each_label_has_a_life_of_its_own() {
    let world = World::new();
    let all = full(10, &[("n", 1), ("", 1), ("m", 1)]);
    brings(&world, &all, &[("", 1), ("m", 1), ("n", 1)]);
    // One of them, named twice in a batch, contradicts nothing that the others say.
    brings(&world, &some(20).with([says(edge("n"), 2)]), &[("", 1), ("m", 1), ("n", 2)]);
    brings(&world, &some(30).with([Line::Deleted(edge("m"))]), &[("", 1), ("n", 2)]);
    // Late: older than what deleted it, and so is its own value of the others.
    let late = some(25).with([says(edge("m"), 3), says(edge("n"), 3), says(edge(""), 3)]);
    brings(&world, &late, &[("", 3), ("n", 3)]);
    brings(&world, &full(40, &[("n", 4), ("o", 4)]), &[("n", 4), ("o", 4)]);
    // Older than the full batch that lacks both, and newer than the tombstone of one.
    let late = some(35).with([says(edge("m"), 5), says(edge(""), 5), says(edge("o"), 5)]);
    brings(&world, &late, &[("n", 4), ("o", 4)]);
    let newer = some(45).with([Line::Deleted(edge("n")), says(edge(""), 6)]);
    brings(&world, &newer, &[("", 6), ("o", 4)]);
    world.expect_counts();
}

#[test]
fn edges_are_exported_by_type_ends_and_label() {
    let world = World::new();
    let names = ["a", "b", "c"].map(|name| says(entity(name), 1));
    let ordered = [
        labelled("a", "b", ""),
        labelled("a", "b", "B"),
        labelled("a", "b", "a"),
        labelled("a", "c", ""),
        labelled("a", "c", "a"),
        labelled("b", "a", ""),
        labelled("b", "a", "z"),
    ];
    let edges = ordered.iter().rev().map(|key| says(key.clone(), 1));
    let batch = TestBatch::full("alpha", 1).with(names).with(edges);
    assert_eq!(world.publish(&batch).status, PublishStatus::Complete);
    let mut exported = Vec::new();
    for line in world.export().lines().skip(3) {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("attributes");
        exported.push(serde_json::from_value::<Key>(line).unwrap());
    }
    assert_eq!(exported, ordered);
}

#[test]
fn what_comes_of_an_end_comes_of_all_labels_at_it() {
    let world = World::new();
    let all = full(10, &[("", 1), ("m", 1)]);
    world.publish(&all);
    let gone = some(20).with([Line::Deleted(entity("b"))]);
    let record = world.publish(&gone);
    assert_eq!(world.plan(&record).header.summary.relationships.waiting, 2);
    assert_eq!(world.export().lines().count(), 1);
    let back = some(30).with([says(entity("b"), 1)]);
    brings(&world, &back, &[("", 1), ("m", 1)]);
}
