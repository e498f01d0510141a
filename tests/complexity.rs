//! How complex a batch is taken for, whose workflow does not say.

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::batches::{Line, TestBatch, says};
use support::world::World;
use tidegate::domain::key::{EntityKey, Key};
use tidegate::store::BatchRecord;

fn of_type(type_name: &str, n: usize) -> Line {
    says(Key::Entity(EntityKey::new(type_name, format!("e{n}"))), 1)
}

fn types(count: usize) -> impl Iterator<Item = Line> {
    (0..count).map(|n| of_type(&format!("t{n}"), n))
}

/// Accepts a batch whose manifest is changed like this.
fn accept(world: &World, batch: &TestBatch, change: impl FnOnce(&mut Value, &Path)) -> BatchRecord {
    let folder = batch.write(&world.data.path().join("delivered"));
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut manifest, &folder);
    std::fs::write(&path, manifest.to_string()).unwrap();
    world.batch(&world.engine().accept(&folder).unwrap())
}

#[test]
fn it_grows_with_the_types_that_are_published_in_the_scope() {
    let world = World::new();
    let first = accept(&world, &TestBatch::full("alpha", 1).with(types(8)), |_, _| {});
    assert_eq!(first.complexity(), 1, "nothing is known of its types");
    world.work();
    let all = accept(&world, &TestBatch::full("alpha", 2).with(types(8)), |_, _| {});
    assert_eq!(all.complexity(), 4);
    let two = TestBatch::full("alpha", 3).types(&["t1", "t2"]).with(types(8).skip(1).take(2));
    assert_eq!(accept(&world, &two, |_, _| {}).complexity(), 2);
    // Of types that the source has not published, those that the scope names.
    let named = TestBatch::full("beta", 3).types(&["a", "b", "c", "d"]).with([of_type("a", 1)]);
    assert_eq!(accept(&world, &named, |_, _| {}).complexity(), 3);
    // The workflow knows better.
    let said = TestBatch::full("alpha", 4).with(types(8));
    assert_eq!(accept(&world, &said, |manifest, _| manifest["complexity"] = json!(9)).complexity(), 9);
}

#[test]
fn a_snapshot_is_read_for_it_once() {
    let world = World::new();
    let batch = |time| TestBatch::full("alpha", time).with(types(8));
    world.publish(&batch(1));
    let complexity = |time| accept(&world, &batch(time), |_, _| {}).complexity();
    assert_eq!(complexity(2), 4);
    // What is known of it does not need its file.
    let path = |world: &World| {
        let id = world.snapshot("alpha").snapshot_id;
        world.data.path().join(format!("state/alpha/snapshots/catalogue/{id}.json"))
    };
    let (file, away) = (path(&world), world.data.path().join("away"));
    std::fs::rename(&file, &away).unwrap();
    assert_eq!(complexity(3), 4);
    std::fs::rename(&away, &file).unwrap();
    // Another one is another one.
    world.work();
    world.publish(&TestBatch::full("alpha", 4).with(types(40)));
    assert_eq!(accept(&world, &TestBatch::full("alpha", 5).with(types(8)), |_, _| {}).complexity(), 6);
}

#[test]
fn it_grows_with_the_lines_or_else_the_bytes_of_files() {
    let world = World::new();
    let lines = |count: u64| {
        let batch = TestBatch::full("alpha", count.ilog10()).with([of_type("t", 1)]);
        accept(&world, &batch, |manifest, _| manifest["files"][0]["count"] = json!(count)).complexity()
    };
    assert_eq!([1_000, 10_000, 1_000_000].map(lines), [1, 2, 4]);
    let bytes = |name: &'static str, size: u64| {
        let batch = TestBatch::full("beta", size.ilog10() + u32::try_from(name.len()).unwrap());
        let record = accept(&world, &batch, |manifest, folder| {
            let file = std::fs::File::create(folder.join(name)).unwrap();
            file.set_len(size).unwrap();
            manifest["files"] = json!([{"path": name, "kind": "entities"}]);
        });
        record.complexity()
    };
    assert_eq!([400_000, 4_000_000, 40_000_000].map(|size| bytes("e.ndjson", size)), [1, 2, 3]);
    assert_eq!([40_000, 400_000, 4_000_000].map(|size| bytes("entities.ndjson.zst", size)), [1, 2, 3]);
}
