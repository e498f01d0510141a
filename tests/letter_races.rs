//! Dead letters about which others decide at the same moment, and what goes
//! with a letter that is settled, however it comes to that.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use support::batches::{Line, TestBatch, entity, says};
use support::moment::Asks;
use support::world::World;
use tidegate::domain::ids::BatchId;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::{Error, ErrorKind};
use tidegate::service::query::{LetterQuery, Part};
use tidegate::service::views::LetterState;
use tidegate::store::DeadLetter;

fn only(world: &World) -> DeadLetter {
    let mut letters = world.dead_letters("alpha");
    assert_eq!(letters.len(), 1, "{letters:?}");
    letters.pop().unwrap()
}

fn state(world: &World, id: u64) -> &'static str {
    world.engine().store().read(|view| view.expect_dead_letter(id)).unwrap().state.as_str()
}

fn pin(world: &World, id: &BatchId) -> PathBuf {
    world.engine().state().pin_path(id)
}

/// A world with a failed full batch that is pinned and whose folder is gone,
/// in which open dead letters expire after an hour.
fn pinned() -> (World, BatchId, u64) {
    let world = World::with(|settings| {
        settings.retention.open_dead_letters = Some(Duration::from_secs(3600));
    });
    let (id, file) = world.break_down(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    world.engine().keep_pins().unwrap();
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    let letter = only(&world).id;
    (world, id, letter)
}

#[test]
fn what_is_requeued_just_as_it_would_expire_keeps_its_files() {
    let (world, id, letter) = pinned();
    world.clock.advance(Duration::from_secs(2 * 3600));
    let engine = world.shared();
    world.moment.after(0, move || {
        engine.requeue_letter(letter, None, "ann", "once more").unwrap();
    });
    assert_eq!(world.engine().expire_letters().unwrap(), (0, 0));
    assert!(!world.moment.is_ahead());
    assert_eq!(state(&world, letter), "requeued");
    assert_eq!(world.batch(&id).status, PublishStatus::Pending);
    assert!(world.batch(&id).pin.is_some());
    world.engine().keep_pins().unwrap();
    assert!(pin(&world, &id).exists());
}

#[test]
fn a_failed_batch_gives_its_files_up_however_its_letter_is_settled() {
    for by in ["a newer batch", "time", "a person"] {
        let (world, id, letter) = pinned();
        match by {
            "a newer batch" => {
                world.publish(&TestBatch::full("alpha", 2).with([says(entity("a"), 2)]));
                assert_eq!(state(&world, letter), "resolved");
            }
            "time" => {
                world.clock.advance(Duration::from_secs(2 * 3600));
                assert_eq!(world.engine().expire_letters().unwrap(), (0, 1));
            }
            _ => world.engine().discard_letter(letter, None, "ann", "a test").unwrap(),
        }
        assert_eq!(world.batch(&id).status, PublishStatus::Failed, "{by}");
        assert!(world.batch(&id).pin.is_none(), "{by}");
        world.engine().keep_pins().unwrap();
        assert!(!pin(&world, &id).exists(), "{by}");
    }
}

#[test]
fn what_is_discarded_while_it_is_copied_is_not_kept() {
    let world = World::new();
    let (id, _) = world.break_down(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    let letter = only(&world).id;
    let (engine, place) = (world.shared(), pin(&world, &id));
    let copy = place.clone();
    // The time is asked for to see what is due, and for the pin when it is whole.
    world.moment.after(2, move || {
        assert!(copy.join("entities-00000.ndjson").is_file());
        engine.discard_letter(letter, None, "ann", "a test").unwrap();
    });
    world.engine().keep_pins().unwrap();
    assert!(!world.moment.is_ahead());
    world.engine().keep_pins().unwrap();
    assert!(world.batch(&id).pin.is_none());
    assert!(!place.exists());
}

#[test]
fn a_failed_batch_that_holds_its_source_does_not_expire() {
    let (world, id, letter) = pinned();
    // What an incremental batch says nobody says anew.
    world.engine().discard_letter(letter, None, "ann", "a test").unwrap();
    let (held, _) = world.break_down(&TestBatch::incremental("alpha", 3).with([says(entity("b"), 1)]));
    assert_ne!(held, id);
    world.engine().keep_pins().unwrap();
    let letter = only(&world).id;
    world.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(world.engine().expire_letters().unwrap(), (0, 0));
    assert_eq!(state(&world, letter), "open");
    assert!(world.batch(&held).pin.is_some());
    world.engine().resume_source(&"alpha".parse().unwrap(), "ann", "without it").unwrap();
    assert_eq!(world.engine().expire_letters().unwrap(), (0, 1));
    assert!(world.batch(&held).pin.is_none());
}

fn line(name: &str, n: i64) -> String {
    json!({"type": "t", "qualified_name": name, "attributes": {"x": n}}).to_string()
}

fn edit(world: &World, id: u64, content: &str) {
    world.engine().edit_letter(id, None, Some(content.as_bytes()), "ann", "the sheet says so").unwrap();
}

fn open() -> LetterQuery {
    LetterQuery { states: vec![LetterState::Open], ..LetterQuery::default() }
}

#[test]
fn what_is_discarded_just_as_it_is_requeued_with_others_is_not_published() {
    // Before the batch's lines are read, and when they are written.
    for when in [0, 1] {
        let world = World::new();
        let lines = ["a", "b"].map(|name| Line::BadKeyed(entity(name)));
        world.publish(&TestBatch::incremental("alpha", 1).with(lines));
        let letters = world.dead_letters("alpha");
        let [a, b] = &letters[..] else { panic!("{letters:?}") };
        let (a, b) = if a.key == Some(entity("a")) { (a.id, b.id) } else { (b.id, a.id) };
        edit(&world, a, &line("a", 5));
        edit(&world, b, &line("b", 5));
        let (engine, root) = (world.shared(), world.data.path().join("state/alpha/requeued"));
        world.moment.after(when, move || {
            let made = std::fs::read_dir(root).map(Iterator::count).unwrap_or_default();
            assert_eq!(made, when as usize);
            engine.discard_letter(b, None, "bob", "not this one").unwrap();
        });
        let results = world.engine().requeue_letters(&open(), "ann", "all").unwrap();
        assert!(!world.moment.is_ahead());
        assert_eq!((results.done, results.refused), (1, 1), "{when}");
        world.work();
        assert_eq!((state(&world, a), state(&world, b)), ("resolved", "discarded"), "{when}");
        world.expect(&[(entity("a"), 5)]);
    }
}

/// The manifest of a failed batch, without the size that is wrong.
fn mended(world: &World, letter: u64) -> String {
    let shown = world.engine().letter(letter).unwrap().content.unwrap();
    let mut manifest: Value = serde_json::from_str(&shown).unwrap();
    manifest["files"][0]["bytes"] = Value::Null;
    manifest.to_string()
}

#[test]
fn a_batch_that_is_discarded_just_as_it_is_requeued_does_not_run() {
    for bulk in [false, true] {
        let world = World::new();
        let (id, _) = world.break_down(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
        let letter = only(&world).id;
        edit(&world, letter, &mended(&world, letter));
        let engine = world.shared();
        world.moment.after(0, move || {
            engine.discard_letter(letter, None, "bob", "a test run").unwrap();
        });
        if bulk {
            let results = world.engine().requeue_letters(&open(), "ann", "all").unwrap();
            assert_eq!((results.done, results.refused), (0, 1));
        } else {
            let error = world.engine().requeue_letter(letter, None, "ann", "mended").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.to_string().contains("discarded by bob"), "{error}");
        }
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Failed, "{bulk}");
        assert_eq!(state(&world, letter), "discarded");
    }
}

#[test]
fn files_that_are_copied_just_as_their_batch_is_requeued_stay() {
    let world = World::new();
    let (id, file) = world.break_down(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    let letter = only(&world).id;
    edit(&world, letter, &mended(&world, letter));
    let engine = world.shared();
    world.moment.after(0, move || {
        engine.keep_pins().unwrap();
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    });
    world.engine().requeue_letter(letter, None, "ann", "mended").unwrap();
    assert!(!world.moment.is_ahead());
    assert!(world.batch(&id).pin.is_some());
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    world.expect(&[(entity("a"), 1)]);
}

#[test]
fn a_batch_that_is_tried_again_brings_its_bad_lines_once() {
    let world = World::new();
    world.faults.before(|_| Err(Error::new(ErrorKind::TargetThrottled, "slow down")));
    let batch = TestBatch::incremental("alpha", 1).with([Line::BadKeyed(entity("a")), says(entity("b"), 1)]);
    let id = world.publish(&batch).batch_id;
    assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
    let letter = only(&world).id;
    edit(&world, letter, &line("a", 5));
    let again = || {
        let before = world.plannings(&id);
        world.clock.advance(Duration::from_secs(3600));
        world.work();
        assert!(world.plannings(&id) > before);
    };
    again();
    let now = only(&world);
    assert!(now.edited.is_some() && now.is_open(), "{now:?}");
    assert_eq!((now.attempts, now.history.len()), (1, 1));
    assert_eq!(world.engine().store().read(|view| view.letter_counts()).unwrap().opened, 1);

    world.engine().requeue_letter(letter, None, "ann", "repaired").unwrap();
    again();
    assert_eq!(state(&world, letter), "requeued");
    world.faults.heal();
    again();
    world.expect(&[(entity("a"), 5), (entity("b"), 1)]);
    assert_eq!(state(&world, letter), "resolved");
}

#[test]
fn a_deletion_that_a_full_batch_may_not_say_is_not_requeued_without_an_edit() {
    let world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1), says(entity("b"), 1)]));
    world.publish(&TestBatch::full("alpha", 2).with([Line::Deleted(entity("a")), says(entity("b"), 1)]));
    let letter = only(&world);
    assert_eq!(letter.code, "LINE_INVALID");
    let results = world.engine().requeue_letters(&open(), "ann", "all").unwrap();
    assert_eq!((results.done, results.refused), (0, 1));
    assert_eq!(results.items[0].problem.as_ref().unwrap().code, "LINE_INVALID");
    assert!(!world.engine().check_letter(letter.id, None).unwrap().valid);
    world.work();
    world.expect(&[(entity("a"), 1), (entity("b"), 1)]);
    // Whoever says it asks for it.
    edit(&world, letter.id, &String::from_utf8_lossy(&letter.content));
    world.engine().requeue_letter(letter.id, None, "ann", "it is gone").unwrap();
    world.work();
    world.expect(&[(entity("b"), 1)]);
}

#[test]
fn a_bulk_action_that_takes_long_ends_early_and_says_where_it_goes_on() {
    let world = World::new();
    let lines = (0..450).map(|n| Line::BadKeyed(entity(&format!("k{n:03}"))));
    world.publish(&TestBatch::incremental("alpha", 1).with(lines));
    let clock = std::sync::Arc::clone(&world.clock);
    world.moment.when(Asks::Monotonic, 1, move || clock.advance(Duration::from_secs(11)));
    let part = |cursor: Option<String>| {
        let part = Part { limit: Some(1000), cursor };
        world.engine().discard_letters(&LetterQuery { part, ..open() }, "ann", "a test").unwrap()
    };
    let first = part(None);
    assert_eq!((first.done, first.refused), (200, 0));
    assert_eq!(world.dead_letters("alpha").len(), 250);
    let second = part(Some(first.next_cursor.unwrap()));
    assert_eq!((second.done, second.refused, second.next_cursor), (250, 0, None));
    assert!(world.dead_letters("alpha").is_empty());
}
