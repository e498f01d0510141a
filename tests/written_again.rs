//! A folder that is written again in place, after its batch failed: neither half
//! of it is taken for the batch, nor a copy of it by the manifest from before.

mod support;

use std::time::Duration;

use support::twenty::*;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::Mode;

#[test]
fn a_copy_of_half_a_folder_is_not_read_by_the_manifest_from_before() {
    for cleared in [false, true] {
        let world = base(|_| {});
        let (folder, text) = unstated(&world.data.path().join("inbox"), &batch(2, 2));
        scan(&world);
        std::fs::remove_file(folder.join("manifest.json")).unwrap();
        truncate(&folder.join(FILE));
        world.work();
        let id = id_of(&batch(2, 2));
        assert_eq!(code(&world, &id), "BATCH_CHANGED");
        keep(&world);
        assert!(world.batch(&id).pin.is_some());
        if cleared {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        let letter = world.dead_letters("alpha").pop().unwrap();
        let told = refused(world.engine(), &id);
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
        let world = base(by_marker(Some(Mode::Full)));
        let (folder, text) = unstated(&world.data.path().join("inbox"), &batch(2, 2));
        std::fs::write(folder.join("manifest.json"), text.replace("\"mode\"", "\"mod\"")).unwrap();
        std::fs::write(folder.join("_SUCCESS"), "").unwrap();
        scan(&world);
        world.clock.advance(Duration::from_secs(60));
        scan(&world);
        let id = id_of(&batch(2, 2));
        assert_eq!(code(&world, &id), "BATCH_MANIFEST_INVALID");
        if pinned {
            keep(&world);
        }
        std::fs::remove_file(folder.join("manifest.json")).unwrap();
        truncate(&folder.join(FILE));
        let told = refused(world.engine(), &id);
        let way = if pinned { "--requeue" } else { "it has no manifest.json" };
        assert!(told.contains(way), "{told}");
        assert_eq!(world.batch(&id).pin.is_some(), pinned);
        std::fs::write(folder.join("manifest.json"), text).unwrap();
        goes_well(&world, &id);
    }
}

#[test]
fn a_folder_that_still_lacks_its_marker_is_not_taken_by_its_manifest() {
    let world = base(by_marker(Some(Mode::Full)));
    let (folder, text) = unstated(&world.data.path().join("inbox"), &batch(2, 2));
    let path = folder.join("manifest.json");
    std::fs::write(&path, counted(&text, 21)).unwrap();
    std::fs::write(folder.join("_SUCCESS"), "").unwrap();
    scan(&world);
    world.work();
    let id = id_of(&batch(2, 2));
    assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
    keep(&world);
    for manifest in [None, Some(&text)] {
        std::fs::remove_file(folder.join("_SUCCESS")).unwrap();
        if let Some(text) = manifest {
            std::fs::write(&path, text).unwrap();
        } else {
            truncate(&folder.join(FILE));
        }
        let told = refused(world.engine(), &id);
        assert!(told.contains("it has no _SUCCESS"), "{told}");
        assert!(world.batch(&id).pin.is_some());
        std::fs::write(folder.join("_SUCCESS"), "").unwrap();
    }
    goes_well(&world, &id);
}

#[test]
fn an_edit_stands_for_what_it_was_made_of_also_when_it_fails_again() {
    let world = base(|_| {});
    let (folder, text) = unstated(&world.data.path().join("inbox"), &batch(2, 2));
    let path = folder.join("manifest.json");
    std::fs::write(&path, counted(&text, 21)).unwrap();
    scan(&world);
    world.work();
    let id = id_of(&batch(2, 2));
    assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
    // Another full one is delivered in its place, and a person makes less of it.
    std::fs::write(&path, counted(&text, 22)).unwrap();
    let letter = world.dead_letters("alpha").pop().unwrap();
    let edited = counted(&text, 23).replace("\"full\"", "\"incremental\"");
    let revision = Some(letter.revision);
    world.engine().repair_letter(letter.id, revision, edited.as_bytes(), "ann", "looked at").unwrap();
    world.work();
    assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
    assert_eq!(world.batch(&id).mode, Some(Mode::Incremental));
    world.engine().retry(&id, "ann", "again").unwrap();
    assert_eq!(world.batch(&id).mode, Some(Mode::Incremental));
}

#[test]
fn an_edit_is_requeued_with_the_copy_while_the_folder_is_written_again() {
    for root in ["inbox", "delivered"] {
        let world = base(|_| {});
        let (folder, text) = unstated(&world.data.path().join(root), &batch(2, 2));
        std::fs::write(folder.join("manifest.json"), counted(&text, 21)).unwrap();
        let id = world.engine().accept_given(&folder).unwrap();
        scan(&world);
        world.work();
        assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
        keep(&world);
        let letter = world.dead_letters("alpha").pop().unwrap();
        let revision = Some(letter.revision);
        world.engine().edit_letter(letter.id, revision, Some(text.as_bytes()), "ann", "counted").unwrap();
        // Whoever made it begins anew, with the manifest.
        std::fs::remove_file(folder.join("manifest.json")).unwrap();
        truncate(&folder.join(FILE));
        world.engine().requeue_letter(letter.id, None, "ann", "as edited").unwrap();
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
        expect_all(&world, 2);
    }
}
