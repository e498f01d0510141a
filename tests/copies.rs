//! The copy of a waiting batch's files is of that batch as it is, and what it
//! tells after a recovery is not more than what was known.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use support::batches::{Line, TestBatch, entity, says};
use support::twenty::*;
use support::world::World;
use tidegate::clock::Clock;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::Mode;
use tidegate::error::ErrorKind;
use tidegate::intake::inbox::Complete;
use tidegate::intake::pin::PinManifest;
use tidegate::planning::state_dir::read_checked;
use tidegate::service::query::Part;
use tidegate::service::recover::{Recovered, recover};

fn alpha() -> SourceId {
    SourceId::new("alpha").unwrap()
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

fn pin(world: &World, id: &BatchId) -> PathBuf {
    world.engine().state().pin_path(id)
}

/// A batch that is FAILED, for its file was changed after it was accepted.
fn failed(world: &World) -> (BatchId, PathBuf) {
    let folder = unstated(&world.data.path().join("delivered"), &batch(2, 2)).0;
    let id = world.engine().accept(&folder).unwrap();
    rewrite(&folder.join(FILE), 2, 3);
    world.work();
    assert_eq!(code(world, &id), "BATCH_CHANGED");
    (id, folder)
}

fn lose_and_recover(world: &mut World) -> Recovered {
    world.stop();
    std::fs::remove_file(world.data.path().join("tidegate.redb")).unwrap();
    let recovered = recover(world.settings.clone(), Arc::clone(&world.clock) as Arc<dyn Clock>).unwrap();
    world.restart();
    recovered
}

#[test]
fn a_copy_of_what_a_batch_was_before_a_retry_is_not_taken_for_it() {
    let world = base(|_| {});
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
            let world = base(|_| {});
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
    let world = base(|_| {});
    let folder = unstated(&world.data.path().join("delivered"), &batch(2, 2)).0;
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
    let world = base(|_| {});
    let folder = unstated(&world.data.path().join("delivered"), &batch(2, 2)).0;
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
    let world = base(|_| {});
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

/// A folder of an inbox that takes batches without a manifest.
fn without_manifest(world: &mut World, batch: &TestBatch, mode: Option<Mode>) -> PathBuf {
    world.set(|settings| {
        settings.inboxes[0].complete = Complete::Marker("_SUCCESS".into());
        settings.sources.get_mut(&alpha()).unwrap().mode = mode;
    });
    let folder = batch.write(&world.data.path().join("inbox"));
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    std::fs::write(folder.join("_SUCCESS"), "").unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        // Not ahead of the tests' clock.
        let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_491_200)).unwrap();
    }
    world.engine().scan_inbox(&world.settings.inboxes[0]).unwrap();
    folder
}

/// `publish` takes no folder without one.
#[test]
fn a_folder_without_a_manifest_that_a_recovery_passed_by_comes_again_under_another_run_id() {
    let mut world = base(|_| {});
    let folder = without_manifest(&mut world, &batch(2, 2), Some(Mode::Full));
    world.work();
    assert_eq!(world.batch(&id_of(&batch(2, 2))).status, PublishStatus::Complete);
    assert_eq!(lose_and_recover(&mut world).passed_by.len(), 1);
    let list = world.engine().inbox_view(&Part::first(10)).unwrap();
    assert!(list.items.iter().any(|item| item.reason.ends_with("another run id")), "{:?}", list.items);
    let name = folder.file_name().unwrap().to_str().unwrap();
    std::fs::rename(&folder, folder.with_file_name(format!("{name}-again"))).unwrap();
    assert_eq!(world.engine().scan_inbox(&world.settings.inboxes[0]).unwrap(), 1);
    world.work();
    let again: BatchId = format!("alpha:{name}-again").parse().unwrap();
    assert!(world.batch(&again).status.is_final());
    world.expect(&names().map(|name| (entity(&name), 2)).collect::<Vec<_>>());
}

#[test]
fn a_recovery_does_not_say_how_a_batch_without_a_manifest_is_meant() {
    let mut world = base(|_| {});
    let less = TestBatch::full("alpha", 2).with(names().take(18).map(|name| says(entity(&name), 2)));
    let id: BatchId = less.id().parse().unwrap();
    without_manifest(&mut world, &less, None);
    world.engine().pin_batch(&id).unwrap();
    keep(&world);
    assert!(world.batch(&id).pin.is_some());
    assert_eq!(lose_and_recover(&mut world).batches, std::slice::from_ref(&id));
    world.work();
    assert_eq!((world.batch(&id).status, world.batch(&id).mode), (PublishStatus::Pending, None));
    expect_all(&world, 1);
    // As before, the setting lets it go on.
    world.source("alpha", |source| source.mode = Some(Mode::Incremental));
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    assert_eq!(world.snapshot("alpha").live(tidegate::domain::key::Kind::Entity), 20);
}

#[test]
fn a_copy_that_lost_its_manifest_becomes_no_batch_by_its_files() {
    let mut world = base(|_| {});
    let some = TestBatch::incremental("alpha", 2).with(names().take(18).map(|name| says(entity(&name), 2)));
    let id = world.deliver(&some).unwrap();
    world.engine().pin_batch(&id).unwrap();
    keep(&world);
    std::fs::remove_file(pin(&world, &id).join("manifest.json")).unwrap();
    world.source("alpha", |source| source.mode = Some(Mode::Full));
    assert_eq!(lose_and_recover(&mut world).batches, std::slice::from_ref(&id));
    world.work();
    assert_eq!(code(&world, &id), "PIN_DAMAGED", "{:?}", world.batch(&id));
    expect_all(&world, 1);
}

#[test]
fn what_had_failed_is_failed_after_a_recovery() {
    for manifest in [true, false] {
        let mut world = base(|_| {});
        let folder = match manifest {
            true => unstated(&world.data.path().join("delivered"), &batch(2, 2)).0,
            false => without_manifest(&mut world, &batch(2, 2), Some(Mode::Full)),
        };
        let id: BatchId = batch(2, 2).id().parse().unwrap();
        if manifest {
            world.engine().accept(&folder).unwrap();
        }
        truncate(&folder.join(FILE));
        world.work();
        let was = code(&world, &id);
        assert!(["BATCH_CHANGED", "BATCH_SIZE_MISMATCH"].contains(&&*was), "{was}");
        keep(&world);
        assert!(world.batch(&id).pin.is_some());
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(lose_and_recover(&mut world).batches, std::slice::from_ref(&id));
        world.work();
        assert_eq!((world.batch(&id).status, code(&world, &id)), (PublishStatus::Failed, was));
        expect_all(&world, 1);
        let letters = world.dead_letters("alpha");
        assert_eq!(letters.iter().map(|letter| &letter.batch_id).collect::<Vec<_>>(), [&id]);
    }
}

#[test]
fn a_copy_that_a_recovery_cant_take_is_told_and_stays() {
    let mut world = base(|_| {});
    let id = world.deliver(&batch(2, 2)).unwrap();
    world.engine().pin_batch(&id).unwrap();
    keep(&world);
    let folder = pin(&world, &id);
    let whole = std::fs::read(folder.join(".pin.json")).unwrap();
    std::fs::write(folder.join(".pin.json"), "{").unwrap();
    let made = folder.with_file_name(format!("{}~1", batch(2, 2).folder_name()));
    std::fs::create_dir_all(&made).unwrap();
    std::fs::remove_dir_all(world.data.path().join("delivered")).unwrap();
    let recovered = lose_and_recover(&mut world);
    assert!(recovered.problems.iter().any(|told| told.contains("~1")), "{:?}", recovered.problems);
    assert_eq!((world.batch(&id).status, code(&world, &id)), (PublishStatus::Failed, "PIN_DAMAGED".into()));
    assert_eq!(world.dead_letters("alpha").len(), 1);
    world.publish(&TestBatch::incremental("alpha", 3).with([says(entity("m"), 3)]));
    assert!(folder.join(FILE).is_file());
    // Restored, it is what it was.
    std::fs::write(folder.join(".pin.json"), whole).unwrap();
    world.engine().retry(&id, "ann", "restored").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.timeline(&id));
}

#[test]
fn a_copy_that_is_all_there_is_stays_however_the_state_folder_was_called() {
    for given_again in [false, true] {
        let mut world = base(|_| {});
        let folder = batch(2, 2).write(&world.data.path().join("delivered"));
        let whole = std::fs::read(folder.join(FILE)).unwrap();
        truncate(&folder.join(FILE));
        let id = world.engine().accept_given(&folder).unwrap();
        world.work();
        assert_eq!(code(&world, &id), "BATCH_SIZE_MISMATCH");
        keep(&world);
        world.stop();
        std::fs::remove_file(world.data.path().join("tidegate.redb")).unwrap();
        // Batches are put down by the folder's own path.
        let other = world.data.path().join("another-name");
        std::os::unix::fs::symlink(&world.settings.state, &other).unwrap();
        world.settings.state = other;
        recover(world.settings.clone(), Arc::clone(&world.clock) as Arc<dyn Clock>).unwrap();
        world.restart();
        if !given_again {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        for _ in 0..2 {
            world.engine().retry(&id, "ann", "again").unwrap();
            world.work();
            keep(&world);
            assert_eq!(code(&world, &id), "BATCH_SIZE_MISMATCH");
            assert!(pin(&world, &id).join(FILE).is_file());
        }
        if given_again {
            // Mended where it was, and told so.
            std::fs::write(folder.join(FILE), &whole).unwrap();
            let given = world.engine().accept_given(&folder);
            assert!(given.is_ok_and(|given| given == id));
            world.engine().retry(&id, "ann", "mended").unwrap();
            world.work();
            assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
        }
    }
}

#[test]
fn what_is_gone_and_was_not_copied_is_not_tried_again() {
    let world = base(|_| {});
    let (id, folder) = failed(&world);
    std::fs::remove_dir_all(&folder).unwrap();
    let error = world.engine().retry(&id, "ann", "again").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("there is no copy"), "{error}");
    assert_eq!(world.batch(&id).status, PublishStatus::Failed);
}

#[test]
fn what_was_recovered_from_a_copy_that_was_given_up_is_not_tried_again() {
    let mut world = base(|_| {});
    let (id, folder) = failed(&world);
    keep(&world);
    std::fs::remove_dir_all(&folder).unwrap();
    lose_and_recover(&mut world);
    let letter = world.dead_letters("alpha").pop().unwrap().id;
    world.engine().discard_letter(letter, None, "ann", "not wanted").unwrap();
    let told = refused(world.engine(), &id);
    assert!(told.contains("there is no copy any more"), "{told}");
    assert!(!told.contains("Put its files back there"), "{told}");
    assert!(told.contains("`tidegate publish FOLDER`"), "{told}");
    assert!(told.contains(&format!("`tidegate batches retry {id}`")), "{told}");
    // Nobody copies it onto itself.
    world.engine().pin_batch(&id).unwrap();
    keep(&world);
    assert!(pin(&world, &id).join(FILE).is_file());
    // What it says works.
    unstated(&world.data.path().join("delivered"), &batch(2, 2));
    assert_eq!(world.engine().accept_given(&folder).unwrap(), id);
    goes_well(&world, &id);
    expect_all(&world, 2);
}

/// Takes out of a copy what its batch is.
fn as_older_versions_made_it(world: &World, id: &BatchId) {
    let path = pin(world, id).join(".pin.json");
    let mut made: serde_json::Value = read_checked(&path).unwrap();
    assert!(made.as_object_mut().unwrap().remove("is").is_some(), "{made}");
    world.engine().state().write_checked(&path, &made).unwrap();
}

#[test]
fn a_recovered_batch_without_a_manifest_is_what_it_was_accepted_as() {
    for older in [false, true] {
        let mut world = base(|_| {});
        let less = TestBatch::full("alpha", 2).with(names().take(18).map(|name| says(entity(&name), 2)));
        let id: BatchId = less.id().parse().unwrap();
        without_manifest(&mut world, &less, Some(Mode::Incremental));
        let before = world.batch(&id);
        world.engine().pin_batch(&id).unwrap();
        keep(&world);
        if older {
            as_older_versions_made_it(&world, &id);
        }
        // The settings are for other batches by now.
        world.source("alpha", |source| {
            source.mode = Some(Mode::Full);
            source.scope.names = vec![tidegate::domain::glob::Glob::new("n*")];
            // It names no workflow, and deletes what one brought.
            source.guards.other_workflow = false;
        });
        assert_eq!(lose_and_recover(&mut world).problems, [""; 0]);
        let after = world.batch(&id);
        let same = (after.mode, &after.scope, &after.stamp) == (before.mode, &before.scope, &before.stamp);
        assert_eq!(same, !older, "{after:?}");
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
        let live = world.snapshot("alpha").live(tidegate::domain::key::Kind::Entity);
        assert_eq!(live, if older { 18 } else { 20 });
    }
}

/// A batch that failed for its manifest, which is to be edited to that of an
/// incremental one; its folder.
fn to_be_edited(world: &World, wrong: impl Fn(&str) -> String) -> (BatchId, PathBuf, String) {
    let less = TestBatch::full("alpha", 2).with(names().take(18).map(|name| says(entity(&name), 2)));
    let (folder, text) = unstated(&world.data.path().join("inbox"), &less);
    std::fs::write(folder.join("manifest.json"), wrong(&text)).unwrap();
    scan(world);
    world.work();
    let id = id_of(&less);
    assert_eq!(world.batch(&id).status, PublishStatus::Failed);
    keep(world);
    (id, folder, text.replace("\"full\"", "\"incremental\""))
}

/// Edits it and puts it back into the queue, where it waits.
fn edit(world: &World, edited: &str) {
    let letter = world.dead_letters("alpha").pop().unwrap();
    world.engine().pause_source(&alpha(), "ann", "wait").unwrap();
    let revision = Some(letter.revision);
    world.engine().repair_letter(letter.id, revision, edited.as_bytes(), "ann", "looked at").unwrap();
}

#[track_caller]
fn expect_published_as_edited(world: &World, id: &BatchId) {
    assert_eq!(world.batch(id).status, PublishStatus::Pending, "{:?}", world.batch(id).failure);
    world.work();
    assert_eq!(world.batch(id).status, PublishStatus::Complete, "{:?}", world.batch(id).failure);
    assert_eq!(world.batch(id).mode, Some(Mode::Incremental));
    assert_eq!(world.snapshot("alpha").live(tidegate::domain::key::Kind::Entity), 20);
}

/// What is edited is the copy alone: its folder is gone by then.
#[test]
fn what_a_person_made_of_a_copy_is_what_a_recovery_finds() {
    for is_json in [true, false] {
        let mut world = base(|_| {});
        let wrong = |text: &str| if is_json { counted(text, 19) } else { "{\"mode\":\"full\"".to_owned() };
        let (id, folder, edited) = to_be_edited(&world, wrong);
        std::fs::remove_dir_all(&folder).unwrap();
        edit(&world, &edited);
        assert_eq!(lose_and_recover(&mut world).batches, std::slice::from_ref(&id));
        expect_published_as_edited(&world, &id);
    }
}

/// Between both nothing else is done that would have it be looked for.
#[test]
fn the_copy_of_what_was_mended_and_waits_is_made_when_the_old_one_goes() {
    let world = base(|_| {});
    let (id, _) = failed(&world);
    keep(&world);
    world.engine().pause_source(&alpha(), "ann", "wait").unwrap();
    world.engine().retry(&id, "ann", "mended").unwrap();
    assert!(world.batch(&id).pin.is_none());
    keep(&world);
    assert!(world.batch(&id).pin.is_some());
}

/// The manifest that it came with is copied too, also one that nobody can read.
#[test]
fn an_edited_batch_that_waits_is_that_after_a_recovery() {
    for (cleared, is_json) in [(false, true), (true, true), (false, false), (true, false)] {
        let mut world = base(|_| {});
        let wrong = |text: &str| if is_json { counted(text, 19) } else { "{\"mode\":\"full\"".to_owned() };
        let (id, folder, edited) = to_be_edited(&world, wrong);
        assert_eq!(
            code(&world, &id),
            if is_json { "BATCH_COUNT_MISMATCH" } else { "BATCH_MANIFEST_INVALID" }
        );
        edit(&world, &edited);
        keep(&world);
        assert!(world.batch(&id).pin.is_some());
        assert!(pin(&world, &id).join("manifest.json").is_file());
        if cleared {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        assert_eq!(lose_and_recover(&mut world).batches, std::slice::from_ref(&id));
        expect_published_as_edited(&world, &id);
    }
}

/// What a copy says of its batch.
fn said(world: &World, id: &BatchId) -> PinManifest {
    read_checked(&pin(world, id).join(".pin.json")).unwrap()
}

#[test]
fn an_edit_that_is_taken_back_as_it_is_requeued_is_not_told_by_the_copy() {
    let mut came = 0;
    for n in 0..4 {
        let world = base(|_| {});
        let (id, folder, edited) = to_be_edited(&world, |_| "{\"mode\":\"full\"".to_owned());
        std::fs::remove_dir_all(&folder).unwrap();
        let letter = world.dead_letters("alpha").pop().unwrap();
        let (engine, number, before) = (world.engine(), letter.id, said(&world, &id));
        let revision =
            engine.edit_letter(number, Some(letter.revision), Some(edited.as_bytes()), "ann", "so").unwrap();
        let other = world.shared();
        world.moment.after(n, move || {
            // It may be requeued by then.
            let _ = other.edit_letter(number, Some(revision), None, "bob", "not so");
        });
        let requeued = engine.requeue_letter(number, Some(revision), "ann", "as edited");
        if world.moment.is_ahead() || requeued.is_ok() {
            continue;
        }
        came += 1;
        assert_eq!(requeued.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(said(&world, &id), before, "{n}");
        let told = refused(engine, &id);
        assert!(told.contains(&format!("tidegate dlq edit {number} --requeue")), "{told}");
    }
    assert!(came > 0);
}

/// The requeue is what counts: the process may end before the copy tells of it.
#[test]
fn a_copy_tells_an_edit_that_was_requeued_as_soon_as_it_can() {
    let mut world = base(|_| {});
    let (id, folder, edited) = to_be_edited(&world, |_| "{\"mode\":\"full\"".to_owned());
    std::fs::remove_dir_all(&folder).unwrap();
    // Nothing can be written there.
    let partial = pin(&world, &id).join(".pin.partial");
    std::fs::create_dir(&partial).unwrap();
    edit(&world, &edited);
    assert_eq!(world.batch(&id).status, PublishStatus::Pending);
    assert!(said(&world, &id).failed.is_some());
    let told = world.timeline(&id);
    assert!(told.iter().any(|line| line.contains("does not tell yet")), "{told:?}");
    std::fs::remove_dir(&partial).unwrap();
    world.restart();
    world.clock.advance(Duration::from_secs(3_600));
    world.engine().remove_pins().unwrap();
    assert!(said(&world, &id).failed.is_none());
    assert_eq!(lose_and_recover(&mut world).batches, std::slice::from_ref(&id));
    expect_published_as_edited(&world, &id);
}

/// It is what is told, and not that a batch came with such a manifest.
#[test]
fn a_manifest_that_was_damaged_in_its_copy_is_told_as_that() {
    for gone in [false, true] {
        let mut world = base(|_| {});
        let (id, folder) = failed(&world);
        world.engine().pause_source(&alpha(), "ann", "wait").unwrap();
        world.engine().retry(&id, "ann", "mended").unwrap();
        keep(&world);
        std::fs::remove_dir_all(&folder).unwrap();
        let manifest = pin(&world, &id).join("manifest.json");
        if gone { std::fs::remove_file(&manifest) } else { std::fs::write(&manifest, "{\"mode\":") }.unwrap();
        let recovered = lose_and_recover(&mut world);
        let why = if gone { "manifest.json can't be read: " } else { "manifest.json is not what was copied" };
        let told = recovered.problems.iter().any(|text| text.contains(why) && !text.ends_with(": "));
        assert!(told, "{:?}", recovered.problems);
        assert_eq!(code(&world, &id), "PIN_DAMAGED");
    }
}

#[test]
fn a_retry_beside_a_kept_edit_says_that_it_is_not_tried() {
    let world = base(|_| {});
    let (id, _, edited) = to_be_edited(&world, |text| counted(text, 19));
    let letter = world.dead_letters("alpha").pop().unwrap();
    world
        .engine()
        .edit_letter(letter.id, Some(letter.revision), Some(edited.as_bytes()), "ann", "so")
        .unwrap();
    world.engine().retry(&id, "ann", "mended").unwrap();
    let told = |text: &String| text.contains(&format!("`tidegate dlq requeue {}`", letter.id));
    assert!(world.timeline(&id).iter().any(told), "{:?}", world.timeline(&id));
}

#[test]
fn what_was_brought_before_is_gone_after_a_recovery() {
    let mut world = base(|_| {});
    let spool = world.data.path().join("spool/alpha/20261101T000900Z_r9");
    std::fs::create_dir_all(&spool).unwrap();
    std::fs::write(spool.join(FILE), "brought before").unwrap();
    lose_and_recover(&mut world);
    assert!(!spool.exists());
}

#[test]
fn what_had_failed_holds_its_source_after_a_recovery_as_before() {
    for unread in [false, true] {
        let mut world = base(|_| {});
        let some = TestBatch::incremental("alpha", 2).with([says(entity("m"), 2)]);
        let (folder, text) = unstated(&world.data.path().join("inbox"), &some);
        let broken = if unread { text.replace("\"scope\"", "\"scop\"") } else { counted(&text, 2) };
        std::fs::write(folder.join("manifest.json"), broken).unwrap();
        let id = world.engine().accept_given(&folder).unwrap();
        scan(&world);
        world.work();
        let held = |world: &World| {
            let holds = world.engine().store().read(|view| view.source_holds(&alpha())).unwrap();
            holds.into_iter().filter_map(|hold| hold.batch_id).collect::<Vec<_>>()
        };
        assert_eq!(held(&world), std::slice::from_ref(&id), "{:?}", world.batch(&id));
        keep(&world);
        lose_and_recover(&mut world);
        assert_eq!(held(&world), std::slice::from_ref(&id));
        let later = TestBatch::incremental("alpha", 3).with([says(entity("m"), 3)]);
        assert_eq!(world.publish(&later).status, PublishStatus::Pending);
        let letter = world.dead_letters("alpha").pop().unwrap().id;
        world.engine().discard_letter(letter, None, "ann", "not wanted").unwrap();
        world.work();
        assert_eq!(world.batch(&id_of(&later)).status, PublishStatus::Complete);
    }
}

#[test]
fn what_a_recovered_batch_withheld_is_approved_of_the_files_that_were_copied() {
    for changed in [false, true] {
        let mut world = base(|_| {});
        let less = TestBatch::full("alpha", 2).with(names().take(19).map(|name| says(entity(&name), 2)));
        let (folder, _) = unstated(&world.data.path().join("inbox"), &less.with([Line::BadKeyless(1)]));
        world.engine().pause_source(&alpha(), "ann", "wait").unwrap();
        world.engine().scan_inbox(&world.settings.inboxes[0]).unwrap();
        let id: BatchId = batch(2, 2).id().parse().unwrap();
        keep(&world);
        assert!(world.batch(&id).pin.is_some());
        if changed {
            rewrite(&folder.join(FILE), 2, 3);
        }
        lose_and_recover(&mut world);
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
        expect_live(&world, 20);
        let made = world.engine().approve(&id, None, "ann", "n19 is gone").unwrap().batch_id;
        world.work();
        assert_eq!(code(&world, &made), if changed { "BATCH_CHANGED" } else { "" });
        expect_live(&world, if changed { 20 } else { 19 });
    }
}

#[track_caller]
fn expect_live(world: &World, entities: u64) {
    assert_eq!(world.snapshot("alpha").live(tidegate::domain::key::Kind::Entity), entities);
}
