//! The newest snapshots of a source, also of those that were made in one second.

mod support;

use serde_json::Value;
use support::batches::{TestBatch, entity, says};
use support::shell::Shell;

#[test]
fn a_source_is_shown_with_its_snapshots_newest_first() {
    let shell = Shell::new();
    for time in 1..10 {
        let batch = TestBatch::incremental("alpha", time).with([says(entity("a"), i64::from(time))]);
        shell.expect(0, &["publish", &shell.write(&batch)]);
    }
    let ids = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap();
        list.iter().map(|snapshot| snapshot["snapshot_id"].as_str().unwrap().to_owned()).collect()
    };
    let source = ids(&shell.json(0, &["sources", "show", "alpha"])["snapshots"]);
    let all = ids(&shell.json(0, &["snapshots", "list", "--source", "alpha"])["items"]);
    assert!(source.len() > 1);
    assert_eq!(source, all[..source.len()]);
}
