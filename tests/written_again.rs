//! A folder that is written again in place, after its batch failed: neither half
//! of it is taken for the batch, nor a copy of it by the manifest from before.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::Mode;
use tidegate::error::ErrorKind;
use tidegate::intake::inbox::Complete;

const FILE: &str = "entities-00000.ndjson";

fn names() -> impl Iterator<Item = String> {
    (0..20).map(|n| format!("n{n:02}"))
}

fn batch(time: u32, value: i64) -> TestBatch {
    TestBatch::full("alpha", time).with(names().map(|name| says(entity(&name), value)))
}

fn base(marker: bool) -> World {
    let world = World::with(|settings| {
        if marker {
            settings.inboxes[0].complete = Complete::Marker("_SUCCESS".into());
            settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap().mode = Some(Mode::Full);
        }
    });
    assert_eq!(world.publish(&batch(1, 1)).status, PublishStatus::Complete);
    world
}

#[track_caller]
fn expect_all(world: &World, value: i64) {
    world.expect(&names().map(|name| (entity(&name), value)).collect::<Vec<_>>());
}

fn scan(world: &World) {
    world.engine().scan_inbox(&world.settings.inboxes[0]).unwrap();
}

fn code(world: &World, id: &BatchId) -> String {
    world.batch(id).failure.map(|failure| failure.error_code).unwrap_or_default()
}

#[track_caller]
fn refused(world: &World, id: &BatchId) -> String {
    let error = world.engine().retry(id, "ann", "again").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    format!("{error} {}", error.action())
}

fn id_of(batch: &TestBatch) -> BatchId {
    batch.id().parse().unwrap()
}

/// A batch in the inbox whose manifest says nothing of sizes, and its text.
fn delivered(world: &World, batch: &TestBatch) -> (PathBuf, String) {
    let folder = batch.write(&world.data.path().join("inbox"));
    let path = folder.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        file.as_object_mut().unwrap().retain(|name, _| name == "path" || name == "kind");
    }
    let text = manifest.to_string();
    std::fs::write(&path, &text).unwrap();
    (folder, text)
}

fn truncate(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(path, lines[..lines.len() - 2].join("\n") + "\n").unwrap();
}

#[test]
fn a_copy_of_half_a_folder_is_not_read_by_the_manifest_from_before() {
    for cleared in [false, true] {
        let world = base(false);
        let (folder, text) = delivered(&world, &batch(2, 2));
        scan(&world);
        std::fs::remove_file(folder.join("manifest.json")).unwrap();
        truncate(&folder.join(FILE));
        world.work();
        let id = id_of(&batch(2, 2));
        assert_eq!(code(&world, &id), "BATCH_CHANGED");
        world.engine().keep_pins().unwrap();
        assert!(world.batch(&id).pin.is_some());
        if cleared {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        let letter = world.dead_letters("alpha").pop().unwrap();
        let told = refused(&world, &id);
        assert!(told.contains(&format!("tidegate dlq edit {} --requeue", letter.id)), "{told}");
        expect_all(&world, 1);
        // A person says what it is.
        let text = text.replace("\"full\"", "\"incremental\"");
        let revision = Some(letter.revision);
        world.engine().repair_letter(letter.id, revision, text.as_bytes(), "ann", "looked at").unwrap();
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
        assert!(world.export().contains("n19"));
    }
}

#[test]
fn what_had_a_manifest_is_not_taken_by_its_files() {
    for pinned in [false, true] {
        let world = base(true);
        let (folder, text) = delivered(&world, &batch(2, 2));
        std::fs::write(folder.join("manifest.json"), text.replace("\"mode\"", "\"mod\"")).unwrap();
        std::fs::write(folder.join("_SUCCESS"), "").unwrap();
        scan(&world);
        world.clock.advance(Duration::from_secs(60));
        scan(&world);
        let id = id_of(&batch(2, 2));
        assert_eq!(code(&world, &id), "BATCH_MANIFEST_INVALID");
        if pinned {
            world.engine().keep_pins().unwrap();
        }
        std::fs::remove_file(folder.join("manifest.json")).unwrap();
        truncate(&folder.join(FILE));
        let told = refused(&world, &id);
        let way = if pinned { "--requeue" } else { "it has no manifest.json" };
        assert!(told.contains(way), "{told}");
        assert_eq!(world.batch(&id).pin.is_some(), pinned);
        std::fs::write(folder.join("manifest.json"), text).unwrap();
        world.engine().retry(&id, "ann", "whole again").unwrap();
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    }
}

#[test]
fn a_folder_that_still_lacks_its_marker_is_not_taken_by_its_manifest() {
    let world = base(true);
    let (folder, text) = delivered(&world, &batch(2, 2));
    let path = folder.join("manifest.json");
    let lines = format!("\"count\":21,\"path\":\"{FILE}\"");
    std::fs::write(&path, text.replace(&format!("\"path\":\"{FILE}\""), &lines)).unwrap();
    std::fs::write(folder.join("_SUCCESS"), "").unwrap();
    scan(&world);
    world.work();
    let id = id_of(&batch(2, 2));
    assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
    world.engine().keep_pins().unwrap();
    for manifest in [None, Some(&text)] {
        std::fs::remove_file(folder.join("_SUCCESS")).unwrap();
        if let Some(text) = manifest {
            std::fs::write(&path, text).unwrap();
        } else {
            truncate(&folder.join(FILE));
        }
        let told = refused(&world, &id);
        assert!(told.contains("it has no _SUCCESS"), "{told}");
        assert!(world.batch(&id).pin.is_some());
        std::fs::write(folder.join("_SUCCESS"), "").unwrap();
    }
    world.engine().retry(&id, "ann", "whole again").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
}

#[test]
fn an_edit_stands_for_what_it_was_made_of_also_when_it_fails_again() {
    let world = base(false);
    let (folder, text) = delivered(&world, &batch(2, 2));
    let path = folder.join("manifest.json");
    let count = |text: &str, count: u32| {
        let counted = format!("\"count\":{count},\"path\":\"{FILE}\"");
        text.replace(&format!("\"path\":\"{FILE}\""), &counted)
    };
    std::fs::write(&path, count(&text, 21)).unwrap();
    scan(&world);
    world.work();
    let id = id_of(&batch(2, 2));
    assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
    // Another full one is delivered in its place, and a person makes less of it.
    std::fs::write(&path, count(&text, 22)).unwrap();
    let letter = world.dead_letters("alpha").pop().unwrap();
    let edited = count(&text, 23).replace("\"full\"", "\"incremental\"");
    let revision = Some(letter.revision);
    world.engine().repair_letter(letter.id, revision, edited.as_bytes(), "ann", "looked at").unwrap();
    world.work();
    assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
    assert_eq!(world.batch(&id).mode, Some(Mode::Incremental));
    world.engine().retry(&id, "ann", "again").unwrap();
    assert_eq!(world.batch(&id).mode, Some(Mode::Incremental));
}
