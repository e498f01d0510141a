//! Batches of many files with few lines each, as a cluster writes them.

mod support;

use std::path::{Path, PathBuf};

use serde_json::json;
use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::domain::ids::SourceId;
use tidegate::domain::publish_state::PublishStatus;

const FILES: usize = 500;

/// Writes a batch with a file for each `lines` of its lines.
fn write(batch: &TestBatch, root: &Path, lines: usize) -> PathBuf {
    let folder = batch.write(root);
    let whole = folder.join("entities-00000.ndjson");
    let text = std::fs::read_to_string(&whole).unwrap();
    std::fs::remove_file(&whole).unwrap();
    let all: Vec<&str> = text.lines().collect();
    let mut files = Vec::new();
    for (n, part) in all.chunks(lines).enumerate() {
        let path = format!("part-{n:05}.ndjson");
        std::fs::write(folder.join(&path), format!("{}\n", part.join("\n"))).unwrap();
        files.push(json!({"path": path, "kind": "entities", "count": part.len()}));
    }
    let path = folder.join("manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    manifest["files"] = json!(files);
    std::fs::write(path, manifest.to_string()).unwrap();
    folder
}

/// A full batch of entities, of which one in seven has another value each time.
fn batch(time: u32, count: usize) -> TestBatch {
    let value = |n: usize| if n.is_multiple_of(7) { i64::from(time) } else { 1 };
    TestBatch::full("alpha", time).with((0..count).map(|n| says(entity(&format!("t{n}")), value(n))))
}

/// Publishes both batches and returns how many lines of the second were taken by
/// their hashes, and the bytes of the line order.
fn publish_twice(lines: usize) -> (u64, u64) {
    let world = World::with(|settings| settings.max_changes = Some(1_000));
    let mut taken = 0;
    let mut bytes = 0;
    for time in [10, 20] {
        let batch = batch(time, FILES * lines);
        let id = world.engine().accept(&write(&batch, &world.data.path().join("delivered"), lines)).unwrap();
        world.work();
        let record = world.batch(&id);
        assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
        world.expect_batches(&[&batch]);
        taken = world.plan(&record).lines_in_order;
        let order = world.snapshot("alpha").order.expect("it has a line order").file;
        let path = world.engine().state().order_path(&SourceId::new("alpha").unwrap(), &order);
        bytes = path.metadata().unwrap().len();
    }
    (taken, bytes)
}

#[test]
fn a_file_of_one_line_takes_little_of_the_line_order() {
    let (taken, bytes) = publish_twice(1);
    assert_eq!(taken, (FILES - FILES.div_ceil(7)) as u64);
    assert!(bytes < FILES as u64 * 1_000, "{bytes}");
}

#[test]
fn files_that_share_a_chunk_are_followed_from_where_they_begin() {
    let (taken, bytes) = publish_twice(21);
    let lines = FILES * 21;
    assert_eq!(taken, (lines - lines.div_ceil(7)) as u64);
    assert!(bytes < lines as u64 * 60, "{bytes}");
}
