//! The copy of a waiting batch's files is of that batch as it is, and what it
//! tells after a recovery is not more than what was known.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::domain::ids::BatchId;
use tidegate::domain::publish_state::PublishStatus;

const FILE: &str = "entities-00000.ndjson";

fn names() -> impl Iterator<Item = String> {
    (0..20).map(|n| format!("n{n:02}"))
}

fn batch(time: u32, value: i64) -> TestBatch {
    TestBatch::full("alpha", time).with(names().map(|name| says(entity(&name), value)))
}

fn base() -> World {
    let world = World::new();
    assert_eq!(world.publish(&batch(1, 1)).status, PublishStatus::Complete);
    world
}

/// A batch whose manifest says nothing of its files but what they are.
fn unstated(world: &World, batch: &TestBatch) -> PathBuf {
    let folder = batch.write(&world.data.path().join("delivered"));
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        file.as_object_mut().unwrap().retain(|name, _| name == "path" || name == "kind");
    }
    std::fs::write(&path, manifest.to_string()).unwrap();
    folder
}

/// As many bytes as before, written at another time.
fn rewrite(path: &Path, from: i64, to: i64) {
    let text = std::fs::read_to_string(path).unwrap();
    let (from, to) = (format!("\"x\":{from}"), format!("\"x\":{to}"));
    assert!(text.contains(&from) && from.len() == to.len());
    std::fs::write(path, text.replace(&from, &to)).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written + Duration::from_secs(3)).unwrap();
}

fn keep(world: &World) {
    world.engine().keep_pins().unwrap();
}

fn pin(world: &World, id: &BatchId) -> PathBuf {
    world.engine().state().pin_path(id)
}

fn code(world: &World, id: &BatchId) -> String {
    world.batch(id).failure.map(|failure| failure.error_code).unwrap_or_default()
}

/// A batch that is FAILED, for its file was changed after it was accepted.
fn failed(world: &World) -> (BatchId, PathBuf) {
    let folder = unstated(world, &batch(2, 2));
    let id = world.engine().accept(&folder).unwrap();
    rewrite(&folder.join(FILE), 2, 3);
    world.work();
    assert_eq!(code(world, &id), "BATCH_CHANGED");
    (id, folder)
}

#[test]
fn a_copy_of_what_a_batch_was_before_a_retry_is_not_taken_for_it() {
    let world = base();
    let (id, folder) = failed(&world);
    keep(&world);
    let away = world.data.path().join("away");
    for value in 4..7 {
        // Mended to the same size; planning can't read it, and no copy was removed yet.
        rewrite(&folder.join(FILE), value - 1, value);
        world.engine().retry(&id, "ann", "mended").unwrap();
        std::fs::rename(&folder, &away).unwrap();
        let _ = world.engine().run_until_idle();
        assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
        std::fs::rename(&away, &folder).unwrap();
        keep(&world);
        let copied = std::fs::read_to_string(pin(&world, &id).join(FILE)).unwrap();
        assert!(copied.contains(&format!("\"x\":{value}")), "{value}: {copied}");
        // It fails with this copy, so that the next round has one to remove.
        std::fs::write(pin(&world, &id).join(FILE), "damaged").unwrap();
        world.clock.advance(Duration::from_secs(3_600));
        world.work();
        assert_eq!(code(&world, &id), "PIN_DAMAGED");
    }
    rewrite(&folder.join(FILE), 6, 7);
    world.engine().retry(&id, "ann", "mended").unwrap();
    world.work();
    world.expect(&names().map(|name| (entity(&name), 7)).collect::<Vec<_>>());
}

#[test]
fn whatever_a_person_does_while_files_are_copied_the_copy_is_of_the_batch_as_it_is() {
    for removed in [false, true] {
        let mut came = 0;
        for n in 0..8 {
            let world = base();
            let (id, folder) = failed(&world);
            if removed {
                // The thread is about to remove a copy.
                keep(&world);
                rewrite(&folder.join(FILE), 3, 4);
                world.engine().retry(&id, "ann", "mended").unwrap();
            } else {
                rewrite(&folder.join(FILE), 3, 4);
            }
            let (engine, file, of) = (world.shared(), folder.join(FILE), id.clone());
            world.moment.after(n, move || {
                if !removed {
                    engine.retry(&of, "ann", "mended").unwrap();
                }
                rewrite(&file, 4, 5);
                engine.run_until_idle().unwrap();
            });
            keep(&world);
            if world.moment.is_ahead() {
                continue;
            }
            came += 1;
            assert_eq!(code(&world, &id), "BATCH_CHANGED");
            keep(&world);
            assert!(world.batch(&id).pin.is_some(), "{removed} {n}: {:?}", world.timeline(&id));
            let copied = std::fs::read_to_string(pin(&world, &id).join(FILE)).unwrap();
            assert!(copied.contains("\"x\":5"), "{removed} {n}: {copied}");
        }
        assert!(came > 0);
    }
}

#[test]
fn files_that_change_while_others_are_copied_make_no_copy() {
    let world = base();
    let folder = unstated(&world, &batch(2, 2));
    // Large, so that there is time while it is copied.
    std::fs::write(folder.join(FILE), vec![b' '; 96 << 20]).unwrap();
    let id = world.engine().accept(&folder).unwrap();
    world.engine().pin_batch(&id).unwrap();
    let (begun, other) = (pin(&world, &id).join(FILE), folder.join("relationships-00000.ndjson"));
    let changes = std::thread::spawn(move || {
        while !begun.exists() {
            std::thread::yield_now();
        }
        std::fs::write(other, "changed").unwrap();
    });
    keep(&world);
    changes.join().unwrap();
    assert!(world.batch(&id).pin.is_none());
    let told = world.timeline(&id);
    assert!(told.iter().any(|line| line.contains("relationships-00000.ndjson was changed")), "{told:?}");
}

#[test]
fn another_manifest_than_the_batch_has_is_not_copied_with_it() {
    let world = base();
    let folder = unstated(&world, &batch(2, 2));
    let id = world.engine().accept(&folder).unwrap();
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"full\"", "\"incremental\"")).unwrap();
    world.engine().pin_batch(&id).unwrap();
    keep(&world);
    assert!(world.batch(&id).pin.is_some());
    assert!(pin(&world, &id).join(FILE).is_file());
    assert!(!pin(&world, &id).join("manifest.json").exists());
}

#[test]
fn a_failed_batch_keeps_the_files_that_its_manifest_does_not_list() {
    let world = base();
    let folder = batch(2, 2).write(&world.data.path().join("delivered"));
    let path = folder.join("manifest.json");
    let right = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, right.replace(FILE, "entities-0000.ndjson")).unwrap();
    let id = world.engine().accept(&folder).unwrap();
    world.work();
    assert_eq!(code(&world, &id), "BATCH_FILE_MISSING");
    keep(&world);
    std::fs::remove_dir_all(&folder).unwrap();
    let letter = world.dead_letters("alpha").pop().unwrap();
    world
        .engine()
        .repair_letter(letter.id, Some(letter.revision), right.as_bytes(), "ann", "spelt right")
        .unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.timeline(&id));
    world.expect(&names().map(|name| (entity(&name), 2)).collect::<Vec<_>>());
}
