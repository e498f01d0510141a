//! A batch that `publish` is given and whose manifest can't be used: it is there
//! as FAILED, and goes on when the manifest was mended.

mod support;

use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::config::UnknownSources;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::{Mode, OnFailure};
use tidegate::error::ErrorKind;
use tidegate::store::SourceHoldReason;

fn batch() -> TestBatch {
    TestBatch::full("alpha", 1).with([says(entity("a"), 1)])
}

/// Manifests that can't be used; the last ones tell nothing of the batch, the folders' names do.
fn broken(good: &str) -> [String; 7] {
    [
        good.replace("entities-00000.ndjson", "../entities-00000.ndjson"),
        good.replace("entities-00000.ndjson", "/entities-00000.ndjson"),
        good.replace("\"mode\"", "\"mod\""),
        good.replace("tidegate.batch/1", "tidegate.batch/7"),
        "{".to_owned(),
        String::new(),
        good.replace("\"alpha\"", "\"no id\""),
    ]
}

#[test]
fn it_is_failed_with_its_reason_and_goes_on_when_it_was_mended() {
    let good =
        std::fs::read_to_string(batch().write(support::folder().path()).join("manifest.json")).unwrap();
    for manifest in broken(&good) {
        let world = World::new();
        let folder = batch().write(&world.data.path().join("delivered"));
        let path = folder.join("manifest.json");
        std::fs::write(&path, &manifest).unwrap();
        let id = world.engine().accept_given(&folder).unwrap();
        assert_eq!(id.to_string(), batch().id(), "{manifest}");
        world.engine().keep_pins().unwrap();
        let record = world.batch(&id);
        assert_eq!(record.status, PublishStatus::Failed);
        let failure = record.failure.unwrap();
        assert!(
            ["BATCH_MANIFEST_INVALID", "BATCH_FORMAT_UNKNOWN", "BATCH_FILE_UNSAFE"]
                .contains(&failure.error_code.as_str()),
            "{failure:?}"
        );
        // As it is, it is that again, and no other batch.
        assert!(world.engine().accept_given(&folder).is_err());
        std::fs::write(&path, &good).unwrap();
        assert_eq!(world.engine().accept_given(&folder).unwrap(), id);
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
        world.expect(&[(entity("a"), 1)]);
    }
}

#[test]
fn a_retry_reads_a_folder_anew_that_lies_in_no_inbox() {
    let world = World::new();
    let folder = batch().write(&world.data.path().join("delivered"));
    let path = folder.join("manifest.json");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("\"mode\"", "\"mod\"")).unwrap();
    let id = world.engine().accept_given(&folder).unwrap();
    let error = world.engine().retry(&id, "ann", "again").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ManifestInvalid, "{error}");
    std::fs::write(&path, good.replace("\"alpha\"", "\"beta\"")).unwrap();
    let error = world.engine().retry(&id, "ann", "again").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ManifestMismatch);
    // Of a folder that may be called anything.
    assert!(error.to_string().contains("it must stay alpha"), "{error}");
    std::fs::write(&path, good).unwrap();
    world.engine().retry(&id, "ann", "mended").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    world.expect(&[(entity("a"), 1)]);
}

#[test]
fn one_that_a_person_cancelled_is_not_one_that_could_not_be_read() {
    let world = World::new();
    let folder = batch().write(&world.data.path().join("delivered"));
    let id = world.engine().accept(&folder).unwrap();
    world.engine().cancel(&id, "ann", "not now").unwrap();
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"w\"", "\"other\"")).unwrap();
    assert_eq!(world.engine().accept_given(&folder).unwrap_err().kind(), ErrorKind::IdReused);
}

#[test]
fn one_that_nothing_tells_of_is_an_error_and_no_batch() {
    let world = World::new();
    let folder = world.data.path().join("some batch");
    std::fs::create_dir_all(&folder).unwrap();
    assert_eq!(world.engine().accept_given(&folder).unwrap_err().kind(), ErrorKind::ManifestMissing);
    std::fs::write(folder.join("manifest.json"), "{}").unwrap();
    assert_eq!(world.engine().accept_given(&folder).unwrap_err().kind(), ErrorKind::ManifestInvalid);
    // Nor does it take the place of one that is there.
    let good = batch().write(&world.data.path().join("delivered"));
    world.engine().accept(&good).unwrap();
    world.work();
    let path = good.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"mode\"", "\"mod\"")).unwrap();
    assert_eq!(world.engine().accept_given(&good).unwrap_err().kind(), ErrorKind::ManifestInvalid);
    assert_eq!(world.batch(&batch().id().parse().unwrap()).status, PublishStatus::Complete);
}

#[test]
fn it_does_not_take_the_place_of_one_that_waits() {
    let world = World::new();
    let id = world.deliver(&batch()).unwrap();
    let other = world.data.path().join("other");
    std::fs::create_dir_all(&other).unwrap();
    let good = world.data.path().join("delivered/alpha").join(batch().folder_name()).join("manifest.json");
    let text = std::fs::read_to_string(good).unwrap();
    std::fs::write(other.join("manifest.json"), text.replace("\"mode\"", "\"mod\"")).unwrap();
    assert_eq!(world.engine().accept_given(&other).unwrap_err().kind(), ErrorKind::ManifestInvalid);
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    world.expect(&[(entity("a"), 1)]);
}

#[test]
fn what_is_delivered_anew_is_read_and_not_the_copy_of_what_was_there() {
    let world = World::new();
    let first = batch().write(&world.data.path().join("first"));
    let path = first.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"mode\"", "\"mod\"")).unwrap();
    let id = world.engine().accept_given(&first).unwrap();
    world.engine().pin_batch(&id).unwrap();
    world.engine().keep_pins().unwrap();
    assert!(world.batch(&id).pin.is_some());
    std::fs::remove_dir_all(&first).unwrap();
    let mended = TestBatch::full("alpha", 1).with([says(entity("a"), 2)]);
    let second = mended.write(&world.data.path().join("second"));
    assert_eq!(world.engine().accept_given(&second).unwrap(), id);
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    world.expect(&[(entity("a"), 2)]);
}

/// A folder of the first inbox with a manifest that can't be used.
fn broken_in_inbox(world: &World) {
    let folder = batch().write(&world.data.path().join("inbox"));
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"mode\"", "\"mod\"")).unwrap();
    world.engine().scan_inbox(&world.settings.inboxes[0]).unwrap();
}

#[test]
fn one_in_an_inbox_does_not_take_the_place_of_another_delivery_that_waits() {
    let world = World::new();
    let alpha = "alpha".parse().unwrap();
    let id = world.deliver(&batch()).unwrap();
    world.engine().pause_source(&alpha, "ann", "wait").unwrap();
    let url = world.batch(&id).url;
    broken_in_inbox(&world);
    assert_eq!((world.batch(&id).status, world.batch(&id).url), (PublishStatus::Pending, url));
    world.engine().resume_source(&alpha, "ann", "go").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

#[test]
fn it_holds_its_source_where_failures_do_and_where_the_source_is_not_known() {
    let holds = |world: &World| {
        let holds = world.engine().store().read(|view| view.source_holds(&"alpha".parse().unwrap())).unwrap();
        holds.into_iter().map(|hold| hold.reason).collect::<Vec<_>>()
    };
    let mut world = World::new();
    broken_in_inbox(&world);
    assert_eq!(holds(&world), []);
    world = World::new();
    world.source("alpha", |source| source.on_failure = Some(OnFailure::Hold));
    broken_in_inbox(&world);
    assert_eq!(holds(&world), [SourceHoldReason::BatchFailed]);
    world = World::new();
    world.set(|settings| {
        settings.sources.clear();
        settings.service.unknown_sources = UnknownSources::Hold;
    });
    broken_in_inbox(&world);
    assert_eq!(holds(&world), [SourceHoldReason::UnknownSource]);
}

#[test]
fn it_holds_its_source_by_the_mode_that_it_has_all_the_same() {
    for given in [false, true] {
        for (mode, expected) in [("incremental", 1), ("full", 0), ("Incremental", 0)] {
            let world = World::new();
            let folder = batch().write(&world.data.path().join("inbox"));
            let path = folder.join("manifest.json");
            let text = std::fs::read_to_string(&path).unwrap().replace("\"full\"", &format!("\"{mode}\""));
            let text = text.replace("tidegate.batch/1", "tidegate.batch/7");
            // A byte order mark is read over, also where all else is wrong.
            let mark = if given { "\u{feff}" } else { "" };
            std::fs::write(&path, format!("{mark}{text}")).unwrap();
            if given {
                world.engine().accept_given(&folder).unwrap();
            } else {
                world.engine().scan_inbox(&world.settings.inboxes[0]).unwrap();
            }
            let record = world.batch(&batch().id().parse().unwrap());
            assert_eq!((record.status, record.mode), (PublishStatus::Failed, None));
            assert_eq!(held_by(&world).len(), expected, "{mode}");
        }
    }
}

/// The failed batches that hold the source.
fn held_by(world: &World) -> Vec<String> {
    let holds = world.engine().store().read(|view| view.source_holds(&"alpha".parse().unwrap())).unwrap();
    let failed = holds.into_iter().filter(|hold| hold.reason == SourceHoldReason::BatchFailed);
    failed.filter_map(|hold| hold.batch_id).map(|id| id.to_string()).collect()
}

#[test]
fn each_failed_batch_holds_its_source_until_that_one_is_decided_about() {
    for retried in [false, true] {
        let mut world = World::new();
        world.source("alpha", |source| source.on_failure = Some(OnFailure::Hold));
        let first = TestBatch::incremental("alpha", 2).with([says(entity("b"), 1)]);
        let (first_id, file) = world.break_down(&first);
        broken_in_inbox(&world);
        assert_eq!(held_by(&world), [batch().id(), first.id()]);
        let letters = world.dead_letters("alpha");
        let unread = letters.iter().find(|letter| letter.batch_id != first_id).unwrap().id;
        if retried {
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.trim_end().to_owned() + "\n").unwrap();
            world.engine().retry(&first_id, "ann", "mended").unwrap();
            assert_eq!(held_by(&world), [batch().id()]);
            world.work();
            assert_eq!(world.batch(&first_id).status, PublishStatus::Pending);
        }
        world.engine().discard_letter(unread, None, "ann", "not wanted").unwrap();
        assert_eq!(held_by(&world), if retried { vec![] } else { vec![first.id()] });
        world.work();
        if retried {
            world.expect(&[(entity("b"), 1)]);
        }
        // One that says everything anew ends what is left.
        world.publish(&TestBatch::full("alpha", 9).with([says(entity("c"), 9)]));
        assert_eq!(held_by(&world), [""; 0]);
        world.expect(&[(entity("c"), 9)]);
    }
}

#[test]
fn a_retry_reads_another_manifest_of_what_failed_for_something_else() {
    let world = World::new();
    let folder = batch().write(&world.data.path().join("delivered"));
    let path = folder.join("manifest.json");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("\"count\":1", "\"count\":2")).unwrap();
    let id = world.engine().accept_given(&folder).unwrap();
    world.work();
    assert_eq!(world.batch(&id).failure.unwrap().error_code, "BATCH_COUNT_MISMATCH");
    // As it lies there it fails again; one that is broken is not taken.
    world.engine().retry(&id, "ann", "again").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Failed);
    std::fs::write(&path, "{").unwrap();
    assert_eq!(world.engine().retry(&id, "ann", "again").unwrap_err().kind(), ErrorKind::ManifestInvalid);
    // It may be another batch in all but its id.
    let time = "\"processing_timestamp\":\"2026-11-01T00:01:00Z\"";
    assert!(good.contains(time), "{good}");
    let later = good.replace(time, &time.replace("01:00", "01:30")).replace("full", "incremental");
    std::fs::write(&path, &later).unwrap();
    assert_eq!(world.engine().accept_given(&folder).unwrap_err().kind(), ErrorKind::IdReused);
    world.engine().retry(&id, "ann", "mended").unwrap();
    world.work();
    let record = world.batch(&id);
    assert_eq!((record.status, record.mode), (PublishStatus::Complete, Some(Mode::Incremental)));
    assert_eq!(record.stamp.processing_timestamp.to_string(), "2026-11-01T00:01:30Z");
    world.expect(&[(entity("a"), 1)]);
    assert_eq!(world.engine().accept_given(&folder).unwrap(), id);
}

#[test]
fn one_that_waits_is_read_from_where_it_is_given_again() {
    let world = World::new();
    let folder = batch().write(&world.data.path().join("delivered"));
    let id = world.engine().accept_given(&folder).unwrap();
    let moved = world.data.path().join("moved");
    std::fs::rename(&folder, &moved).unwrap();
    let _ = world.engine().run_until_idle();
    assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
    assert_eq!(world.engine().accept_given(&moved).unwrap(), id);
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    world.expect(&[(entity("a"), 1)]);
}
