//! Batches that wait outlive what their inbox does with old folders: their
//! files are copied under the state URL, and read from there.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::Watcher;
use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::publish_state::PublishStatus;

fn source(name: &str) -> SourceId {
    SourceId::new(name).unwrap()
}

fn delivered(world: &World, batch: &TestBatch) -> PathBuf {
    world.data.path().join("delivered").join(&batch.source).join(batch.folder_name())
}

fn pin(world: &World, id: &BatchId) -> PathBuf {
    world.engine().state().pin_path(id)
}

fn keep(world: &World) {
    world.engine().keep_pins().unwrap();
}

fn code(world: &World, id: &BatchId) -> String {
    world.batch(id).failure.map(|failure| failure.error_code).unwrap_or_default()
}

/// A world in which alpha's second full batch is parked and pinned, and its
/// folder deleted.
fn parked() -> (World, TestBatch, BatchId) {
    let world = World::with(|settings| {
        let alpha = settings.sources.get_mut(&source("alpha")).unwrap();
        alpha.guards.delete_ratio = 0.3;
        alpha.guards.delete_min = 2;
    });
    world.publish(&TestBatch::full("alpha", 1).with(["a", "ab", "b"].map(|name| says(entity(name), 1))));
    let batch = TestBatch::full("alpha", 5).with([says(entity("a"), 2)]);
    let record = world.publish(&batch);
    assert!(record.hold.is_some() && record.pin.is_none());
    keep(&world);
    assert_eq!(world.batch(&record.batch_id).pin.unwrap().files, 3);
    std::fs::remove_dir_all(delivered(&world, &batch)).unwrap();
    (world, batch, record.batch_id)
}

/// Has the parked batch planned anew, so that it needs its files.
fn plan_again(world: &World) {
    let late = TestBatch::incremental("alpha", 3).with([says(entity("ab"), 3)]);
    assert_eq!(world.publish(&late).status, PublishStatus::Complete);
}

#[test]
fn a_held_batch_whose_folder_is_gone_publishes_when_it_is_released_and_its_pin_goes() {
    let (mut world, _, id) = parked();
    world.restart();
    plan_again(&world);
    assert!(world.batch(&id).hold.is_some(), "{:?}", world.timeline(&id));
    world.approve(&id);
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    world.expect(&[(entity("a"), 2)]);
    assert!(world.batch(&id).pin.is_none());
    keep(&world);
    assert!(!pin(&world, &id).exists());
}

#[test]
fn a_link_is_not_tried_to_be_pinned_again_and_again() {
    let world = World::new();
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    let folder = batch.write(&world.data.path().join("delivered"));
    let file = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|end| end != "json")).unwrap();
    let outside = world.data.path().join("outside");
    std::fs::rename(&file, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &file).unwrap();
    let id = world.engine().accept(&folder).unwrap();
    world.work();
    assert_eq!(code(&world, &id), "BATCH_FILE_UNSAFE");
    assert_eq!(world.engine().keep_pins().unwrap(), None);
    let told = || world.timeline(&id).iter().filter(|line| line.contains("can't be kept")).count();
    assert_eq!(told(), 1, "{:?}", world.timeline(&id));
    keep(&world);
    assert_eq!((told(), world.batch(&id).pin), (1, None));
    // It is mended where it lies, and read from there.
    std::fs::remove_file(&file).unwrap();
    std::fs::rename(&outside, &file).unwrap();
    world.engine().retry(&id, "ann", "a file again").unwrap();
    world.work();
    world.expect(&[(entity("a"), 1)]);
}

#[test]
fn a_rejected_batch_is_unpinned() {
    let (world, _, id) = parked();
    world.reject(&id);
    // Whatever a listing of it begins with.
    std::fs::write(pin(&world, &id).join("later"), "").unwrap();
    let (told, seen) = std::sync::mpsc::channel();
    let mut watcher = notify::recommended_watcher(told).unwrap();
    watcher.watch(&pin(&world, &id), notify::RecursiveMode::NonRecursive).unwrap();
    keep(&world);
    // Killed half-way it leaves nothing that is taken for a copy.
    let mut removed = seen.iter().map(Result::unwrap).filter(|event| event.kind.is_remove());
    assert_eq!(removed.next().unwrap().paths, [pin(&world, &id).join(".pin.json")]);
    assert!(!pin(&world, &id).exists());
    assert_eq!(code(&world, &id), "REJECTED");
}

fn damage(file: &Path) -> Vec<u8> {
    let bytes = std::fs::read(file).unwrap();
    let mut other = bytes.clone();
    other[10] ^= 1;
    std::fs::write(file, other).unwrap();
    bytes
}

#[test]
fn a_damaged_pin_fails_the_batch_by_name_and_is_used_again_once_it_is_mended() {
    let (world, _, id) = parked();
    let file = pin(&world, &id).join("entities-00000.ndjson");
    let bytes = damage(&file);
    plan_again(&world);
    let failure = world.batch(&id).failure.unwrap();
    assert_eq!(failure.error_code, "PIN_DAMAGED");
    assert!(failure.error_message.contains("entities-00000.ndjson is not what was copied"), "{failure:?}");
    assert!(failure.error_message.contains(&id.to_string()), "{failure:?}");
    // Nobody throws away what may be mended.
    keep(&world);
    assert!(pin(&world, &id).exists());
    world.engine().retry(&id, "ann", "perhaps now").unwrap();
    world.work();
    assert_eq!(code(&world, &id), "PIN_DAMAGED");
    std::fs::write(&file, bytes).unwrap();
    world.engine().retry(&id, "ann", "restored").unwrap();
    world.work();
    world.approve(&id);
    world.expect(&[(entity("a"), 2)]);
}

#[test]
fn a_pin_without_its_own_manifest_is_damaged_too() {
    let (world, _, id) = parked();
    std::fs::remove_file(pin(&world, &id).join(".pin.json")).unwrap();
    plan_again(&world);
    assert_eq!(code(&world, &id), "PIN_DAMAGED");
}

#[test]
fn a_retrying_batch_is_pinned_as_soon_as_its_files_can_be_read_and_then_needs_no_inbox() {
    let world = World::new();
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    let id = world.deliver(&batch).unwrap();
    let (folder, away) = (delivered(&world, &batch), world.data.path().join("away"));
    std::fs::rename(&folder, &away).unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
    let due = world.engine().keep_pins().unwrap();
    assert!(due.is_some());
    let told = |text: &str| world.timeline(&id).iter().filter(|line| line.contains(text)).count();
    assert_eq!(told("could not be copied under the state URL yet"), 1, "{:?}", world.timeline(&id));
    // Tried again in its time, and told once.
    world.clock.advance(Duration::from_secs(60));
    keep(&world);
    assert_eq!(told("could not be copied under the state URL yet"), 1);
    std::fs::rename(&away, &folder).unwrap();
    world.clock.advance(Duration::from_secs(600));
    keep(&world);
    assert_eq!(told("its files were copied under the state URL"), 1, "{:?}", world.timeline(&id));
    std::fs::remove_dir_all(&folder).unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    world.expect(&[(entity("a"), 1)]);
}

#[test]
fn the_next_batch_of_a_held_source_is_pinned_and_those_behind_it_after_an_hour() {
    let world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    world.engine().pause_source(&source("alpha"), "ann", "maintenance").unwrap();
    let batches: Vec<TestBatch> =
        (2..4).map(|n| TestBatch::full("alpha", n).with([says(entity("a"), i64::from(n))])).collect();
    let ids: Vec<BatchId> = batches.iter().map(|batch| world.deliver(batch).unwrap()).collect();
    let pinned = || ids.iter().map(|id| world.batch(id).pin.is_some()).collect::<Vec<_>>();
    keep(&world);
    assert_eq!(pinned(), [true, false]);
    world.clock.advance(Duration::from_secs(3_700));
    keep(&world);
    assert_eq!(pinned(), [true, true]);
    for batch in &batches {
        std::fs::remove_dir_all(delivered(&world, batch)).unwrap();
    }
    world.engine().resume_source(&source("alpha"), "ann", "done").unwrap();
    world.work();
    world.expect(&[(entity("a"), 3)]);
    keep(&world);
    assert!(world.engine().state().pins(&source("alpha")).unwrap().is_empty());
}

#[test]
fn a_failed_batch_is_pinned_as_it_came_and_read_again_where_it_was_mended() {
    let world = World::new();
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    let folder = batch.write(&world.data.path().join("delivered"));
    let file = folder.join("entities-00000.ndjson");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 5]).unwrap();
    let id = world.engine().accept(&folder).unwrap();
    world.work();
    assert_eq!(code(&world, &id), "BATCH_SIZE_MISMATCH");
    keep(&world);
    assert_eq!(
        std::fs::read(pin(&world, &id).join("entities-00000.ndjson")).unwrap(),
        &whole[..whole.len() - 5]
    );
    // The copy is all there is: it is as bad as it was.
    let away = world.data.path().join("away");
    std::fs::rename(&folder, &away).unwrap();
    world.engine().retry(&id, "ann", "perhaps now").unwrap();
    world.work();
    assert_eq!(code(&world, &id), "BATCH_SIZE_MISMATCH");
    std::fs::rename(&away, &folder).unwrap();
    std::fs::write(&file, &whole).unwrap();
    world.engine().retry(&id, "ann", "sent again").unwrap();
    world.work();
    world.expect(&[(entity("a"), 1)]);
    keep(&world);
    assert!(!pin(&world, &id).exists());
}

#[test]
fn a_pin_that_nobody_knows_is_collected_and_one_that_was_begun_is_made_anew() {
    let (world, _, id) = parked();
    let strange = pin(&world, &"alpha:20261101T000900Z_r9".parse().unwrap());
    std::fs::create_dir_all(&strange).unwrap();
    world.publish(&TestBatch::incremental("alpha", 3).with([says(entity("ab"), 3)]));
    assert!(!strange.exists());
    assert!(pin(&world, &id).exists());
}

#[test]
fn nothing_is_pinned_where_the_settings_say_so() {
    let mut world = World::new();
    world.set(|settings| settings.pin = false);
    world.engine().pause_source(&source("alpha"), "ann", "maintenance").unwrap();
    let id = world.deliver(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)])).unwrap();
    keep(&world);
    assert!(world.batch(&id).pin.is_none());
    assert!(!pin(&world, &id).exists());
}

#[test]
fn doctor_reads_pins_and_names_a_damaged_one_with_what_helps() {
    let (world, _, id) = parked();
    let look = || {
        let checks = world.engine().examine(false).unwrap().checks;
        let of = |name: String| checks.iter().find(|check| check.check == name).cloned();
        (of("pins".into()).unwrap(), of(format!("pin of {id}")))
    };
    let (all, damaged) = look();
    assert!(damaged.is_none() && all.mend.is_none(), "{all:?}");
    assert!(all.found.contains("of 1 batches") && all.found.contains("3 of 3 were read"), "{}", all.found);
    let file = pin(&world, &id).join("entities-00000.ndjson");
    let bytes = damage(&file);
    for gone in [false, true] {
        if gone {
            std::fs::remove_file(&file).unwrap();
        }
        let (all, damaged) = look();
        let damaged = damaged.unwrap();
        assert!(damaged.found.contains("entities-00000.ndjson"), "{}", damaged.found);
        assert!(damaged.mend.unwrap().contains("a copy of the state folder"));
        assert!(all.found.contains("1 of them are damaged"), "{}", all.found);
    }
    std::fs::write(&file, bytes).unwrap();
    assert!(look().1.is_none());
    std::fs::remove_dir_all(pin(&world, &id)).unwrap();
    assert!(look().1.is_some(), "its folder is gone");
}

#[test]
fn a_failed_batch_with_a_damaged_pin_is_read_from_the_inbox_that_still_has_it() {
    let world = World::new();
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    let (id, _) = world.break_down(&batch);
    keep(&world);
    damage(&pin(&world, &id).join("entities-00000.ndjson"));
    let checks = world.engine().examine(false).unwrap().checks;
    let told = checks.iter().find(|check| check.check == format!("pin of {id}")).unwrap();
    assert!(told.mend.as_deref().unwrap().starts_with(&format!("tidegate batches retry {id}")), "{told:?}");
}
