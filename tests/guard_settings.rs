//! A guard's limit as a person sets it: it is what the plan is held against.

mod support;

use serde_json::json;
use support::batches::{TestBatch, edge, entity, says};
use support::shell::Shell;

/// A full batch of 60 entities and 20 relationships, without the first ones of each.
fn full(time: u32, less: [usize; 2]) -> TestBatch {
    let entities = (less[0]..60).map(|n| says(entity(&format!("n{n:02}")), 1));
    let edges = (less[1]..20).map(|n| says(edge("n59", &format!("n{:02}", 30 + n)), 1));
    TestBatch::full("alpha", time).with(entities).with(edges)
}

#[test]
fn more_deletions_than_were_set_wait_for_a_person() {
    let shell = Shell::new();
    shell.settings("[sources.alpha.guards]\ndelete_max = 5\n");
    shell.expect(0, &["publish", &shell.write(&full(1, [0, 0]))]);
    // As many as may go, entities and relationships together.
    shell.expect(0, &["publish", &shell.write(&full(2, [3, 2]))]);
    let over = shell.write(&full(3, [6, 5]));
    let plan = shell.json(3, &["plan", &over]);
    let expected = json!([{
        "rule": "delete_max", "type": "", "limit": 5.0, "actual": 6.0,
        "reason": "the source no longer has 6 of its 75 keys, over the limit of 5",
    }]);
    assert_eq!(plan["guards"], expected);
    let parked = shell.json(3, &["publish", &over]);
    assert_eq!(parked["status"], "PLAN_COMPLETE");
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 75);
    // The same settings, changed.
    shell.settings("[sources.alpha.guards]\ndelete_max = 6\n");
    assert_eq!(shell.json(2, &["plan", &shell.write(&full(4, [6, 5]))])["guards"], json!([]));
    shell.expect(0, &["batches", "approve", parked["batch_id"].as_str().unwrap()]);
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 69);
}
