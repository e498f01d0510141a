//! What failed is tried again as it lies where it was delivered, if it lies
//! there as a whole; else from the copy, which nothing takes away.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use support::batches::{Line, TestBatch, entity, says};
use support::twenty::*;
use support::world::{World, open_settings};
use tidegate::clock::{Clock, ManualClock};
use tidegate::domain::ids::BatchId;
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::Mode;
use tidegate::error::ErrorKind;
use tidegate::intake::prefix::RemotePrefix;
use tidegate::service::Engine;
use tidegate::service::dead_letters::LookedAt;
use tidegate::store::{DeadLetter, LetterKind};

/// Has the files of a folder be older than the tests' clock says it is.
fn aged(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_491_200)).unwrap();
    }
}

fn without_manifest(world: &World, batch: &TestBatch) -> PathBuf {
    let folder = batch.write(&world.data.path().join("inbox"));
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    std::fs::write(folder.join("_SUCCESS"), "").unwrap();
    aged(&folder);
    scan(world);
    folder
}

#[test]
fn half_of_a_folder_without_a_manifest_is_not_taken_for_the_batch() {
    for pinned in [false, true] {
        let world = base(by_marker(Some(Mode::Full)));
        let folder = without_manifest(&world, &batch(2, 2));
        let id: BatchId = batch(2, 2).id().parse().unwrap();
        let (file, marker, more) =
            (folder.join(FILE), folder.join("_SUCCESS"), folder.join("entities-00001.ndjson"));
        let text = std::fs::read_to_string(&file).unwrap();
        let (first, second) = text.split_at(text.len() / 20 * 10);
        std::fs::write(&file, &text[..text.len() - 3]).unwrap();
        world.work();
        assert_eq!(code(&world, &id), "BATCH_SIZE_MISMATCH");
        if pinned {
            keep(&world);
        }
        // It is written again, in two files.
        std::fs::remove_file(&marker).unwrap();
        std::fs::write(&file, first).unwrap();
        let told = refused(world.engine(), &id);
        assert!(
            told.contains("it has no _SUCCESS") && told.contains("when the folder is complete"),
            "{told}"
        );
        // That has what was cut as well.
        assert!(!told.contains("the copy of its files is read"), "{told}");
        std::fs::write(&more, second).unwrap();
        std::fs::write(&marker, "").unwrap();
        let told = refused(world.engine(), &id);
        assert!(told.contains("entities-00001.ndjson") && told.contains("new run id"), "{told}");
        std::fs::remove_file(&more).unwrap();
        std::os::unix::fs::symlink(&file, &more).unwrap();
        let told = refused(world.engine(), &id);
        assert!(told.contains("entities-00001.ndjson"), "{told}");
        assert_eq!(world.batch(&id).pin.is_some(), pinned);
        expect_all(&world, 1);
        std::fs::remove_file(&more).unwrap();
        std::fs::write(&file, &text).unwrap();
        goes_well(&world, &id);
        expect_all(&world, 2);
    }
}

#[test]
fn an_edit_of_a_batch_by_its_files_is_of_these_files_in_a_folder_that_is_complete() {
    let world = base(by_marker(Some(Mode::Full)));
    let folder = without_manifest(&world, &batch(2, 2));
    let id: BatchId = batch(2, 2).id().parse().unwrap();
    let (file, marker, more) =
        (folder.join(FILE), folder.join("_SUCCESS"), folder.join("entities-00001.ndjson"));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 3]).unwrap();
    world.work();
    assert_eq!(code(&world, &id), "BATCH_SIZE_MISMATCH");
    keep(&world);
    let letter = world.dead_letters("alpha").pop().unwrap();
    let shown = world.engine().letter(letter.id).unwrap().content.unwrap();
    let mut edited: serde_json::Value = serde_json::from_str(&shown).unwrap();
    for file in edited["files"].as_array_mut().unwrap() {
        file.as_object_mut().unwrap().remove("bytes");
    }
    let edited = edited.to_string();
    let edit = (letter.id, Some(letter.revision), Some(edited.as_bytes()));
    world.engine().edit_letter(edit.0, edit.1, edit.2, "ann", "whatever its size").unwrap();
    let told = || {
        let error = world.engine().requeue_letter(letter.id, None, "ann", "as edited").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(world.batch(&id).pin.is_some());
        error.to_string()
    };
    // It is written again, in two files.
    let (first, second) = text.split_at(text.len() / 20 * 10);
    std::fs::remove_file(&marker).unwrap();
    std::fs::write(&file, first).unwrap();
    assert!(told().contains("it has no _SUCCESS"));
    std::fs::write(&more, second).unwrap();
    std::fs::write(&marker, "").unwrap();
    assert!(told().contains("entities-00001.ndjson"));
    std::fs::remove_file(&more).unwrap();
    std::fs::write(&file, &text).unwrap();
    world.engine().requeue_letter(letter.id, None, "ann", "as edited").unwrap();
    world.work();
    expect_all(&world, 2);
}

/// The marker goes first where files are taken away by their age.
#[test]
fn a_folder_that_goes_bit_by_bit_is_moved_away_for_its_copy_to_be_read() {
    for edited in [false, true] {
        let mut world = base(by_marker(Some(Mode::Full)));
        world.source("alpha", |source| source.isolation = IsolationLimit { count: 1, ..Default::default() });
        let folder = without_manifest(&world, &batch(2, 2));
        let id: BatchId = batch(2, 2).id().parse().unwrap();
        world.faults.refuse(names().map(|name| entity(&name)));
        world.work();
        world.faults.heal();
        assert_eq!(world.batch(&id).status, PublishStatus::Failed, "{:?}", world.batch(&id));
        keep(&world);
        std::fs::remove_file(folder.join("_SUCCESS")).unwrap();
        let engine = world.engine();
        let is_of_batch = |letter: &DeadLetter| letter.kind == LetterKind::Batch;
        let letter = world.dead_letters("alpha").into_iter().find(is_of_batch).unwrap();
        let shown = engine.letter(letter.id).unwrap().content.unwrap();
        if edited {
            let revision = Some(letter.revision);
            engine.edit_letter(letter.id, revision, Some(shown.as_bytes()), "ann", "as it is").unwrap();
        }
        let again = || match edited {
            true => engine.requeue_letter(letter.id, None, "ann", "again").map(drop),
            false => engine.retry(&id, "ann", "again").map(drop),
        };
        let error = again().unwrap_err();
        assert!(error.to_string().contains("it has no _SUCCESS"), "{error}");
        assert!(error.action().contains("moved away, the copy of its files is read"), "{}", error.action());
        std::fs::rename(&folder, world.data.path().join("away")).unwrap();
        again().unwrap();
        world.work();
        expect_all(&world, 2);
    }
}

/// A person took an expected size away, or a file: it is by its files still.
#[test]
fn a_batch_by_its_files_is_read_where_it_was_mended_also_after_an_edit() {
    for (without_file, value, by_letter) in
        [(false, 2, false), (false, 22, false), (true, 2, false), (true, 22, false), (true, 2, true)]
    {
        let world = base(by_marker(Some(Mode::Full)));
        let folder = without_manifest(&world, &batch(2, 2));
        let id: BatchId = batch(2, 2).id().parse().unwrap();
        let file = folder.join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 3]).unwrap();
        world.work();
        assert_eq!(code(&world, &id), "BATCH_SIZE_MISMATCH");
        let letter = world.dead_letters("alpha").pop().unwrap();
        let shown = world.engine().letter(letter.id).unwrap().content.unwrap();
        let mut edited: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let files = edited["files"].as_array_mut().unwrap();
        assert_eq!(files.len(), 2);
        files.retain(|file| !without_file || file["path"] == FILE);
        for file in files {
            file.as_object_mut().unwrap().remove("bytes");
        }
        let edited = edited.to_string();
        let engine = world.engine();
        engine.repair_letter(letter.id, Some(letter.revision), edited.as_bytes(), "ann", "so").unwrap();
        // It is cut once more, and fails with the edit.
        std::fs::write(&file, &text[..text.len() - 30]).unwrap();
        world.work();
        assert_eq!(code(&world, &id), "BATCH_CHANGED");
        keep(&world);
        assert!(world.batch(&id).pin.is_some());
        std::fs::write(&file, text.replace("\"x\":2", &format!("\"x\":{value}"))).unwrap();
        if by_letter {
            engine.requeue_letter(letter.id, None, "ann", "mended").unwrap();
            world.work();
        } else {
            goes_well(&world, &id);
        }
        expect_all(&world, value);
    }
}

/// It keeps what it came with in mind also where only its copy is left of the store.
#[test]
fn an_edited_batch_by_its_files_that_was_recovered_is_read_where_it_was_mended() {
    let mut world = base(by_marker(Some(Mode::Full)));
    let folder = without_manifest(&world, &batch(2, 2));
    let id: BatchId = batch(2, 2).id().parse().unwrap();
    let file = folder.join(FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 3]).unwrap();
    world.work();
    let letter = world.dead_letters("alpha").pop().unwrap();
    let shown = world.engine().letter(letter.id).unwrap().content.unwrap();
    let mut edited: serde_json::Value = serde_json::from_str(&shown).unwrap();
    edited["files"].as_array_mut().unwrap().retain(|file| file["path"] == FILE);
    edited["files"][0].as_object_mut().unwrap().remove("bytes");
    edited["files"][0]["count"] = 21.into();
    world.engine().pause_source(id.source(), "ann", "wait").unwrap();
    let revision = Some(letter.revision);
    let edited = edited.to_string();
    world.engine().repair_letter(letter.id, revision, edited.as_bytes(), "ann", "so").unwrap();
    keep(&world);
    assert!(world.batch(&id).pin.is_some());
    world.stop();
    std::fs::remove_file(world.data.path().join("tidegate.redb")).unwrap();
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    tidegate::service::recover::recover(world.settings.clone(), clock).unwrap();
    world.restart();
    world.work();
    assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
    // One line more.
    std::fs::write(
        &file,
        format!("{text}{{\"type\":\"t\",\"qualified_name\":\"n20\",\"attributes\":{{}}}}\n"),
    )
    .unwrap();
    goes_well(&world, &id);
    assert_eq!(world.snapshot("alpha").live(tidegate::domain::key::Kind::Entity), 21);
}

#[test]
fn a_mended_manifest_that_is_not_whole_is_refused_and_takes_no_copy_away() {
    for pinned in [false, true] {
        let world = base(|_| {});
        let less = TestBatch::full("alpha", 2).with(names().take(18).map(|name| says(entity(&name), 2)));
        let folder = less.write(&world.data.path().join("inbox"));
        let path = folder.join("manifest.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"count\":18", "\"count\":19")).unwrap();
        scan(&world);
        world.work();
        let id: BatchId = less.id().parse().unwrap();
        assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
        if pinned {
            keep(&world);
        }
        let right = text.replace("\"full\"", "\"incremental\"");
        std::fs::write(&path, right.replace(FILE, "entities-0000.ndjson")).unwrap();
        let told = refused(world.engine(), &id);
        assert!(told.contains("entities-0000.ndjson"), "{told}");
        assert_eq!(
            (world.batch(&id).status, world.batch(&id).pin.is_some()),
            (PublishStatus::Failed, pinned)
        );
        std::fs::write(&path, right).unwrap();
        world.engine().retry(&id, "ann", "spelt right").unwrap();
        world.work();
        assert_eq!(world.batch(&id).mode, Some(Mode::Incremental));
        assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    }
}

#[test]
fn a_mended_manifest_that_is_given_without_its_files_takes_no_copy_away() {
    for place in ["delivered", "fixed"] {
        let world = base(|_| {});
        let folder = batch(2, 2).write(&world.data.path().join("delivered"));
        let text = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
        std::fs::write(folder.join("manifest.json"), text.replace("\"mode\"", "\"mod\"")).unwrap();
        let id = world.engine().accept_given(&folder).unwrap();
        keep(&world);
        let copy = world.engine().state().pin_path(&id);
        // All but the copy is lost, and its manifest is put right.
        std::fs::remove_dir_all(&folder).unwrap();
        let fixed = if place == "fixed" { world.data.path().join(place) } else { folder };
        std::fs::create_dir_all(&fixed).unwrap();
        std::fs::write(fixed.join("manifest.json"), &text).unwrap();
        let error = world.engine().accept_given(&fixed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{place}: {error}");
        let (told, letter) = (error.to_string(), world.dead_letters("alpha").pop().unwrap().id);
        assert!(told.contains(FILE) && told.contains(&fixed.display().to_string()), "{told}");
        assert!(error.action().contains(&format!("tidegate dlq edit {letter} --requeue")), "{error:?}");
        keep(&world);
        assert!(world.batch(&id).pin.is_some() && copy.join(FILE).is_file(), "{place}");
        for name in [FILE, "relationships-00000.ndjson"] {
            std::fs::copy(copy.join(name), fixed.join(name)).unwrap();
        }
        assert_eq!(world.engine().accept_given(&fixed).unwrap(), id);
        world.work();
        expect_all(&world, 2);
    }
}

#[test]
fn a_folder_whose_manifest_is_still_to_come_is_not_read_by_the_old_one() {
    for root in ["inbox", "delivered"] {
        let world = base(|_| {});
        let folder = batch(2, 2).write(&world.data.path().join(root));
        let path = folder.join("manifest.json");
        let text = std::fs::read_to_string(&path).unwrap();
        // It says nothing of the sizes.
        let bytes = std::fs::metadata(folder.join(FILE)).unwrap().len();
        let text = text.replace(&format!(",\"bytes\":{bytes}"), "");
        std::fs::write(&path, text.replace("\"count\":20", "\"count\":21")).unwrap();
        let id = world.engine().accept_given(&folder).unwrap();
        scan(&world);
        world.work();
        assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
        // It is written again, in place.
        std::fs::remove_file(&path).unwrap();
        truncate(&folder.join(FILE));
        let told = refused(world.engine(), &id);
        assert!(told.contains("it has no manifest.json"), "{root}: {told}");
        std::fs::write(&path, text.replace("\"count\":20", "\"count\":18")).unwrap();
        goes_well(&world, &id);
    }
}

#[test]
fn an_approval_of_withheld_deletions_holds_for_the_files_that_were_seen() {
    let world = base(|_| {});
    let less = TestBatch::full("alpha", 2).with(names().take(19).map(|name| says(entity(&name), 2)));
    let (folder, _) = unstated(&world.data.path().join("delivered"), &less.with([Line::BadKeyless(1)]));
    let id = world.engine().accept(&folder).unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    let made = world.engine().approve(&id, None, "ann", "n19 is gone").unwrap().batch_id;
    truncate(&folder.join(FILE));
    world.work();
    assert_eq!(code(&world, &made), "BATCH_CHANGED");
    let told = refused(world.engine(), &made);
    assert!(told.contains(FILE) && told.contains("a new full batch"), "{told}");
    assert_eq!(world.snapshot("alpha").live(tidegate::domain::key::Kind::Entity), 20);
}

#[test]
fn a_copy_of_what_nobody_could_read_is_told_where_its_folder_is_empty() {
    let world = base(|_| {});
    let folder = batch(2, 2).write(&world.data.path().join("inbox"));
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"mode\"", "\"mod\"")).unwrap();
    scan(&world);
    world.clock.advance(Duration::from_secs(60));
    scan(&world);
    let id: BatchId = batch(2, 2).id().parse().unwrap();
    assert_eq!(code(&world, &id), "BATCH_MANIFEST_INVALID");
    keep(&world);
    assert!(world.batch(&id).pin.is_some());
    std::fs::remove_dir_all(&folder).unwrap();
    let letter = world.dead_letters("alpha").pop().unwrap();
    let told = refused(world.engine(), &id);
    assert!(told.contains(&format!("tidegate dlq edit {} --requeue", letter.id)), "{told}");
    let edited = (letter.id, Some(letter.revision), text.as_bytes());
    world.engine().repair_letter(edited.0, edited.1, edited.2, "ann", "spelt right").unwrap();
    world.work();
    expect_all(&world, 2);
}

#[test]
fn a_damaged_copy_of_what_was_held_without_a_mode_is_used_once_it_is_restored() {
    let mut world = base(by_marker(None));
    let folder = without_manifest(&world, &batch(2, 2));
    let id: BatchId = batch(2, 2).id().parse().unwrap();
    world.engine().pin_batch(&id).unwrap();
    keep(&world);
    std::fs::remove_dir_all(&folder).unwrap();
    let copy = world.engine().state().pin_path(&id).join(FILE);
    let whole = std::fs::read(&copy).unwrap();
    std::fs::write(&copy, "damaged").unwrap();
    world.source("alpha", |source| source.mode = Some(Mode::Full));
    world.work();
    assert_eq!((code(&world, &id), world.batch(&id).mode), ("PIN_DAMAGED".into(), Some(Mode::Full)));
    std::fs::write(&copy, whole).unwrap();
    goes_well(&world, &id);
    expect_all(&world, 2);
}

#[test]
fn a_preview_reads_what_a_requeue_reads() {
    let world = base(|_| {});
    let folder = batch(2, 2).write(&world.data.path().join("inbox"));
    let file = folder.join(FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 3]).unwrap();
    scan(&world);
    world.work();
    let id: BatchId = batch(2, 2).id().parse().unwrap();
    assert_eq!(code(&world, &id), "BATCH_SIZE_MISMATCH");
    // As many bytes as the manifest says, at another time.
    std::fs::write(&file, text).unwrap();
    let letter = world.dead_letters("alpha").pop().unwrap().id;
    let preview = world.engine().check_letter(letter, None).unwrap();
    assert!(preview.valid, "{:?}", preview.problem);
    assert_eq!(preview.plan.unwrap().changes, 20);
    world.engine().retry(&id, "ann", "mended").unwrap();
    world.work();
    expect_all(&world, 2);
}

/// A world with a batch that is FAILED for the count in its manifest; where that lies,
/// and the right one.
fn counted_wrong() -> (World, std::path::PathBuf, String) {
    let world = base(|_| {});
    let path = batch(2, 2).write(&world.data.path().join("inbox")).join("manifest.json");
    let right = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, right.replace("\"count\":20", "\"count\":21")).unwrap();
    scan(&world);
    world.work();
    (world, path, right)
}

#[test]
fn an_edit_is_not_put_before_another_manifest_than_it_was_made_of() {
    let (world, path, right) = counted_wrong();
    let id: BatchId = batch(2, 2).id().parse().unwrap();
    assert_eq!(code(&world, &id), "BATCH_COUNT_MISMATCH");
    let letter = world.dead_letters("alpha").pop().unwrap();
    let edit = |revision: u64| {
        world
            .engine()
            .edit_letter(letter.id, Some(revision), Some(right.as_bytes()), "ann", "counted")
            .unwrap()
    };
    edit(letter.revision);
    // It is delivered again in its place, and means something else.
    let few = TestBatch::incremental("alpha", 2).with([says(entity("n00"), 2)]);
    let other = few.write(&world.data.path().join("other"));
    for name in [FILE, "manifest.json"] {
        std::fs::copy(other.join(name), path.with_file_name(name)).unwrap();
    }
    let error = world.engine().requeue_letter(letter.id, None, "ann", "as edited").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("manifest"), "{error}");
    expect_all(&world, 1);
    world.engine().retry(&id, "ann", "what was delivered").unwrap();
    world.work();
    assert_eq!(world.batch(&id).mode, Some(Mode::Incremental), "{:?}", world.batch(&id).failure);
}

#[test]
fn an_edit_is_of_the_manifest_that_was_looked_at() {
    let (world, path, right) = counted_wrong();
    let letter = world.dead_letters("alpha").pop().unwrap();
    let shown = || world.engine().letter(letter.id).unwrap().original_hash;
    let before = shown();
    // Another one is delivered while it is looked at.
    std::fs::write(&path, right.replace("\"count\":20", "\"count\":22")).unwrap();
    let (engine, content) = (world.engine(), right.as_bytes());
    let seen = LookedAt { revision: Some(letter.revision), original: before.as_deref() };
    let edited = engine.edit_letter(letter.id, seen, Some(content), "ann", "counted").map(drop);
    let repaired = engine.repair_letter(letter.id, seen, content, "ann", "counted").map(drop);
    for error in [edited.unwrap_err(), repaired.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("was changed since it was looked at"), "{error}");
    }
    assert_eq!(world.dead_letters("alpha").pop().unwrap().revision, letter.revision);
    let now = shown();
    let seen = LookedAt { original: now.as_deref(), ..seen };
    engine.repair_letter(letter.id, seen, content, "ann", "counted").unwrap();
    world.work();
    expect_all(&world, 2);
}

/// Whoever says that it was looked at; nobody else has seen it.
#[test]
fn an_edit_of_what_was_delivered_since_the_edit_before_is_of_that() {
    for looked in [false, true] {
        let (world, path, right) = counted_wrong();
        let id = id_of(&batch(2, 2));
        let letter = world.dead_letters("alpha").pop().unwrap();
        let engine = world.engine();
        let revision = Some(letter.revision);
        let revision =
            Some(engine.edit_letter(letter.id, revision, Some(right.as_bytes()), "ann", "counted").unwrap());
        std::fs::write(&path, right.replace("\"count\":20", "\"count\":22")).unwrap();
        let shown = engine.letter(letter.id).unwrap().original_hash;
        let seen = LookedAt { revision, original: shown.as_deref().filter(|_| looked) };
        let repaired = engine.repair_letter(letter.id, seen, right.as_bytes(), "ann", "counted again");
        if looked {
            repaired.unwrap();
            world.work();
            expect_all(&world, 2);
        } else {
            let error = repaired.unwrap_err();
            assert!(error.to_string().contains("another manifest than the edit was made of"), "{error}");
            assert_eq!(world.batch(&id).status, PublishStatus::Failed);
        }
    }
}

/// An inbox in an object store.
struct Remote {
    data: tempfile::TempDir,
    clock: Arc<ManualClock>,
    engine: Engine,
    store: Arc<InMemory>,
    inbox: tidegate::intake::inbox::InboxSettings,
}

impl Remote {
    fn new() -> Self {
        let data = support::folder();
        let mut settings = open_settings(data.path());
        settings.inboxes[0].url = "s3://metadata/landing/".parse().unwrap();
        let inbox = settings.inboxes[0].clone();
        let store = Arc::new(InMemory::new());
        let shared = Arc::clone(&store) as Arc<dyn ObjectStore>;
        let prefix = RemotePrefix::new(shared, inbox.url.clone()).unwrap();
        // Objects have the machine's time.
        let now = tidegate::clock::SystemClock::default().now();
        let clock = Arc::new(ManualClock::new(now, 7));
        let engine = Engine::open(data.path(), settings, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        let engine = engine.with_prefix(inbox.url.clone(), Arc::new(prefix));
        Self { data, clock, engine, store, inbox }
    }

    fn put(&self, batch: &TestBatch, name: &str, bytes: &[u8]) {
        let key = Key::from(format!("landing/alpha/{}/{name}", batch.folder_name()));
        futures_executor::block_on(self.store.put(&key, bytes.to_vec().into())).unwrap();
    }

    fn delete(&self, batch: &TestBatch, name: &str) {
        let key = Key::from(format!("landing/alpha/{}/{name}", batch.folder_name()));
        futures_executor::block_on(self.store.delete(&key)).unwrap();
    }

    fn scan(&self) {
        self.engine.scan_inbox(&self.inbox).unwrap();
    }

    fn work(&self) {
        self.engine.run_until_idle().unwrap();
    }

    fn code(&self, id: &BatchId) -> String {
        let failure = self.engine.batch(id).unwrap().failure;
        failure.map(|failure| failure.error_code).unwrap_or_default()
    }
}

/// A batch in an object store whose data lies in a folder of its folder and whose
/// manifest counts a line too many.
fn deep() -> (Remote, TestBatch, BatchId, String) {
    let remote = Remote::new();
    let batch = batch(2, 2);
    let made = batch.write(&remote.data.path().join("made"));
    let manifest =
        std::fs::read_to_string(made.join("manifest.json")).unwrap().replace(FILE, "data/x.ndjson");
    remote.put(&batch, "data/x.ndjson", &std::fs::read(made.join(FILE)).unwrap());
    remote.put(&batch, "relationships-00000.ndjson", b"");
    remote.put(&batch, "manifest.json", manifest.replace("\"count\":20", "\"count\":21").as_bytes());
    remote.scan();
    remote.work();
    let id = batch.id().parse().unwrap();
    assert_eq!(remote.code(&id), "BATCH_COUNT_MISMATCH");
    (remote, batch, id, manifest)
}

#[test]
fn a_copy_is_not_given_up_for_files_that_are_gone_from_a_folder_of_the_folder() {
    let (remote, batch, id, manifest) = deep();
    remote.engine.keep_pins().unwrap();
    let copy = remote.engine.state().pin_path(&id);
    assert!(copy.join("data/x.ndjson").is_file());
    remote.delete(&batch, "data/x.ndjson");
    remote.engine.retry(&id, "ann", "again").unwrap();
    remote.work();
    remote.engine.keep_pins().unwrap();
    assert_eq!(remote.code(&id), "BATCH_COUNT_MISMATCH", "{:?}", remote.engine.batch(&id));
    assert!(copy.join("data/x.ndjson").is_file());
    // A mended manifest without it names it.
    remote.put(&batch, "manifest.json", manifest.as_bytes());
    let told = refused(&remote.engine, &id);
    assert!(told.contains("data/x.ndjson"), "{told}");
    assert!(copy.join("data/x.ndjson").is_file());
}

#[test]
fn a_preview_of_a_batch_in_an_object_store_is_of_what_lies_there() {
    let (remote, batch, id, manifest) = deep();
    remote.put(&batch, "manifest.json", manifest.as_bytes());
    let letters = remote.engine.store().read(|view| view.open_dead_letters(id.source())).unwrap();
    let preview = remote.engine.check_letter(letters[0].id, None).unwrap();
    assert!(preview.valid, "{:?}", preview.problem);
    remote.engine.retry(&id, "ann", "counted").unwrap();
    remote.work();
    assert_eq!(remote.engine.batch(&id).unwrap().status, PublishStatus::Complete);
}

#[test]
fn a_copy_has_the_manifest_though_it_was_cleared_away_where_it_was_brought() {
    let (remote, batch, id, manifest) = deep();
    remote.put(&batch, "manifest.json", manifest.as_bytes());
    remote.engine.pause_source(id.source(), "ann", "wait").unwrap();
    remote.engine.retry(&id, "ann", "counted").unwrap();
    std::fs::remove_dir_all(remote.data.path().join("spool/alpha")).unwrap();
    // What was to be copied before goes first.
    remote.engine.keep_pins().unwrap();
    remote.engine.keep_pins().unwrap();
    assert!(remote.engine.batch(&id).unwrap().pin.is_some());
    assert_eq!(
        std::fs::read_to_string(remote.engine.state().pin_path(&id).join("manifest.json")).unwrap(),
        manifest
    );
}

#[test]
fn a_folder_of_an_object_store_that_was_emptied_is_told_as_that() {
    let remote = Remote::new();
    let batch = batch(2, 2);
    let made = batch.write(&remote.data.path().join("made"));
    let names = [FILE, "relationships-00000.ndjson", "manifest.json"];
    for name in names {
        remote.put(&batch, name, &std::fs::read(made.join(name)).unwrap());
    }
    remote.scan();
    for name in names {
        remote.delete(&batch, name);
    }
    remote.work();
    let failure = remote.engine.batch(&batch.id().parse().unwrap()).unwrap().failure.unwrap();
    assert_eq!(failure.error_code, "BATCH_FILE_MISSING", "{failure:?}");
    assert!(failure.error_message.contains("nothing is left in s3://metadata/landing/alpha/"), "{failure:?}");
}

#[test]
fn an_inbox_says_how_a_mended_batch_goes_on_that_it_did_not_see_before() {
    let world = base(|_| {});
    let folder = batch(2, 2).write(&world.data.path().join("inbox"));
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"mode\"", "\"mod\"")).unwrap();
    let id = world.engine().accept_given(&folder).unwrap();
    assert_eq!(code(&world, &id), "BATCH_MANIFEST_INVALID");
    std::fs::write(&path, &text).unwrap();
    scan(&world);
    let items = world.engine().inbox_view(&tidegate::service::query::Part::first(10)).unwrap().items;
    let told = &items[0].reason;
    assert!(told.contains(&format!("tidegate batches retry {id}")), "{told}");
    world.engine().retry(&id, "ann", "mended").unwrap();
    world.work();
    expect_all(&world, 2);
}

#[test]
fn a_copy_of_what_nobody_could_read_is_brought_anew() {
    let remote = Remote::new();
    let batch = batch(2, 2);
    let made = batch.write(&remote.data.path().join("made"));
    let data = std::fs::read(made.join(FILE)).unwrap();
    remote.put(&batch, FILE, &data);
    remote.put(&batch, "manifest.json", b"no manifest");
    // What an earlier attempt brought of it is as long, and is not that.
    let spool = remote.data.path().join("spool/alpha").join(batch.folder_name());
    std::fs::create_dir_all(&spool).unwrap();
    std::fs::write(spool.join(FILE), vec![b'x'; data.len()]).unwrap();
    remote.engine.scan_inbox(&remote.inbox).unwrap();
    remote.clock.advance(Duration::from_secs(600));
    remote.scan();
    let id: BatchId = batch.id().parse().unwrap();
    assert_eq!(remote.code(&id), "BATCH_MANIFEST_INVALID");
    remote.engine.keep_pins().unwrap();
    assert_eq!(std::fs::read(remote.engine.state().pin_path(&id).join(FILE)).unwrap(), data);
}

#[test]
fn a_batch_in_an_object_store_that_no_inbox_has_is_not_tried_again_without_a_copy() {
    for pinned in [false, true] {
        let (remote, _, id, _) = deep();
        if pinned {
            remote.engine.keep_pins().unwrap();
        }
        let Remote { data, clock, engine, .. } = remote;
        drop(engine);
        let mut settings = open_settings(data.path());
        settings.inboxes.clear();
        let engine = Engine::open(data.path(), settings, clock as Arc<dyn Clock>).unwrap();
        if pinned {
            engine.retry(&id, "ann", "again").unwrap();
            continue;
        }
        let told = refused(&engine, &id);
        assert!(told.contains("no inbox has s3://metadata/landing/alpha/"), "{told}");
        assert_eq!(engine.batch(&id).unwrap().status, PublishStatus::Failed);
    }
}

#[test]
fn what_was_brought_before_of_a_batch_that_nobody_knows_is_not_read() {
    let remote = Remote::new();
    let batch = batch(2, 2);
    let made = batch.write(&remote.data.path().join("made"));
    let names = [FILE, "relationships-00000.ndjson", "manifest.json"];
    for name in names {
        remote.put(&batch, name, &std::fs::read(made.join(name)).unwrap());
    }
    let spool = remote.data.path().join("spool/alpha").join(batch.folder_name());
    std::fs::create_dir_all(&spool).unwrap();
    let data = std::fs::read_to_string(made.join(FILE)).unwrap();
    std::fs::write(spool.join(FILE), data.replace("\"x\":2", "\"x\":1")).unwrap();
    remote.scan();
    remote.work();
    assert_eq!(remote.engine.batch(&batch.id().parse().unwrap()).unwrap().status, PublishStatus::Complete);
    let mut export = Vec::new();
    remote.engine.export(&mut export, false).unwrap();
    let export = String::from_utf8(export).unwrap();
    assert!(export.contains("\"x\":2") && !export.contains("\"x\":1"), "{export}");
}

#[test]
fn an_approved_batch_is_tried_again_from_its_copy_where_its_folder_was_touched() {
    let remote = Remote::new();
    let less = TestBatch::full("alpha", 2).with(names().take(19).map(|name| says(entity(&name), 2)));
    let less = less.with([Line::BadKeyless(1)]);
    let names = [FILE, "relationships-00000.ndjson", "manifest.json"];
    let put = |batch: &TestBatch| {
        let made = batch.write(&remote.data.path().join("made"));
        for name in names {
            remote.put(batch, name, &std::fs::read(made.join(name)).unwrap());
        }
    };
    for batch in [&batch(1, 1), &less] {
        put(batch);
        remote.scan();
        remote.work();
    }
    let id: BatchId = less.id().parse().unwrap();
    remote.engine.pause_source(id.source(), "ann", "wait").unwrap();
    let made = remote.engine.approve(&id, None, "ann", "n19 is gone").unwrap().batch_id;
    remote.engine.keep_pins().unwrap();
    let copy = remote.engine.state().pin_path(&made).join(FILE);
    let whole = std::fs::read(&copy).unwrap();
    std::fs::write(&copy, "damaged").unwrap();
    remote.engine.resume_source(id.source(), "ann", "go").unwrap();
    remote.work();
    assert_eq!(remote.code(&made), "PIN_DAMAGED");
    // As it was, at another time; and so is the copy.
    put(&less);
    std::fs::write(&copy, whole).unwrap();
    remote.engine.retry(&made, "ann", "restored").unwrap();
    remote.work();
    assert_eq!(remote.engine.batch(&made).unwrap().status, PublishStatus::Complete);
    let mut export = Vec::new();
    remote.engine.export(&mut export, false).unwrap();
    assert!(!String::from_utf8(export).unwrap().contains("n19"));
}
