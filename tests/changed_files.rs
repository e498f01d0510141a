//! What was accepted is what is read: files that change afterwards, or while
//! they are read, fail their batch, and nothing is taken from them.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::domain::ids::BatchId;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::service::engine::ProgressSink;
use tidegate::store::BatchRecord;

const FILE: &str = "entities-00000.ndjson";

fn names() -> impl Iterator<Item = String> {
    (0..20).map(|n| format!("n{n:02}"))
}

fn batch(time: u32, value: i64) -> TestBatch {
    TestBatch::full("alpha", time).with(names().map(|name| says(entity(&name), value)))
}

/// Writes a batch whose manifest says nothing of its files but what they are;
/// `xxh3`: also their checksums.
fn written(world: &World, batch: &TestBatch, xxh3: bool) -> PathBuf {
    let folder = batch.write(&world.data.path().join("delivered"));
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        let bytes = std::fs::read(folder.join(file["path"].as_str().unwrap())).unwrap();
        let file = file.as_object_mut().unwrap();
        file.retain(|name, _| name == "path" || name == "kind");
        if xxh3 {
            let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
            file.insert("xxh3".into(), format!("{hash:016x}").into());
        }
    }
    std::fs::write(&path, manifest.to_string()).unwrap();
    folder
}

fn truncate(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(path, lines[..lines.len() - 2].join("\n") + "\n").unwrap();
}

fn append(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let more = r#"{"type":"t","qualified_name":"more","attributes":{"x":1}}"#;
    std::fs::write(path, format!("{text}{more}\n")).unwrap();
}

/// As many bytes as before, written at another time.
fn rewrite(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, text.replacen("\"x\":2", "\"x\":7", 5)).unwrap();
    touch(path);
}

fn touch(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written + Duration::from_secs(3)).unwrap();
}

fn base() -> World {
    let world = World::new();
    assert_eq!(world.publish(&batch(1, 1)).status, PublishStatus::Complete);
    world
}

#[track_caller]
fn changed(world: &World, record: &BatchRecord) {
    assert_eq!(record.status, PublishStatus::Failed);
    let failure = record.failure.as_ref().unwrap();
    assert_eq!(failure.error_code, "BATCH_CHANGED", "{failure:?}");
    assert!(failure.error_message.contains(FILE), "{failure:?}");
    world.expect(&names().map(|name| (entity(&name), 1)).collect::<Vec<_>>());
}

#[test]
fn a_file_that_was_changed_after_acceptance_is_not_read() {
    for change in [truncate, append, rewrite, touch] {
        let world = base();
        let folder = written(&world, &batch(2, 2), false);
        let id = world.engine().accept(&folder).unwrap();
        change(&folder.join(FILE));
        world.work();
        changed(&world, &world.batch(&id));
    }
}

#[test]
fn a_person_may_have_what_lies_there_now_read() {
    let world = base();
    let folder = written(&world, &batch(2, 2), false);
    let id = world.engine().accept(&folder).unwrap();
    append(&folder.join(FILE));
    world.work();
    changed(&world, &world.batch(&id));
    world.engine().retry(&id, "ann", "it is what was meant").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    let more = std::iter::once((entity("more"), 1));
    world.expect(&more.chain(names().map(|name| (entity(&name), 2))).collect::<Vec<_>>());
}

#[test]
fn a_checksum_tells_more_than_times_do() {
    let world = base();
    let folder = written(&world, &batch(2, 2), true);
    let id = world.engine().accept(&folder).unwrap();
    touch(&folder.join(FILE));
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    world.expect(&names().map(|name| (entity(&name), 2)).collect::<Vec<_>>());
}

/// Changes a file when the first bytes of it have been read.
struct Meanwhile {
    path: PathBuf,
    change: fn(&Path),
    done: std::sync::Once,
}

impl ProgressSink for Meanwhile {
    fn reading(&self, _batch: &BatchId, _bytes: Option<u64>) {}

    fn read(&self, _bytes: u64) {
        self.done.call_once(|| (self.change)(&self.path));
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_fails_its_batch() {
    for change in [truncate, append, rewrite, |path: &Path| std::fs::write(path, "").unwrap()] {
        let mut world = base();
        let folder = written(&world, &batch(2, 2), false);
        let path = folder.join(FILE);
        world.tell(Arc::new(Meanwhile { path, change, done: std::sync::Once::new() }));
        let id = world.engine().accept(&folder).unwrap();
        world.work();
        changed(&world, &world.batch(&id));
    }
}

#[test]
fn a_copy_of_a_changed_file_is_not_made() {
    let world = base();
    let folder = written(&world, &batch(2, 2), false);
    let id = world.engine().accept(&folder).unwrap();
    world.engine().pin_batch(&id).unwrap();
    truncate(&folder.join(FILE));
    world.engine().keep_pins().unwrap();
    assert!(world.batch(&id).pin.is_none());
    world.work();
    changed(&world, &world.batch(&id));
}

#[test]
fn a_copy_that_was_made_in_time_is_read() {
    let world = base();
    let folder = written(&world, &batch(2, 2), false);
    let id = world.engine().accept(&folder).unwrap();
    world.engine().pin_batch(&id).unwrap();
    world.engine().keep_pins().unwrap();
    assert!(world.batch(&id).pin.is_some());
    truncate(&folder.join(FILE));
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    world.expect(&names().map(|name| (entity(&name), 2)).collect::<Vec<_>>());
}
