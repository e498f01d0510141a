//! Dead letters: what is kept of a failure, what a person can do about it, and
//! what becomes of it (`SEMANTICS` 9).

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::batches::{Line, TestBatch, edge, entity, says};
use support::world::World;
use tidegate::domain::change::Action;
use tidegate::domain::ids::BatchId;
use tidegate::domain::key::Key;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::ErrorKind;
use tidegate::service::query::{GroupQuery, LetterQuery, Part};
use tidegate::service::views::LetterState;
use tidegate::store::{DeadLetter, LetterKind};

/// One more bad line of `alpha`, a day each.
fn bad(time: u32, name: &str) -> TestBatch {
    TestBatch::incremental("alpha", time).with([Line::BadKeyed(entity(name))])
}

fn only(world: &World) -> DeadLetter {
    let mut letters = world.dead_letters("alpha");
    assert_eq!(letters.len(), 1, "{letters:?}");
    letters.pop().unwrap()
}

fn letter(world: &World, id: u64) -> DeadLetter {
    world.engine().store().read(|view| view.expect_dead_letter(id)).unwrap()
}

/// What a requeue of a short letter brings.
fn wanted(letter: &DeadLetter) -> &[u8] {
    letter.edited.as_ref().map_or(&letter.content, |edited| &edited.content)
}

fn state(world: &World, id: u64) -> &'static str {
    letter(world, id).state.as_str()
}

fn line(name: &str, n: i64) -> String {
    json!({"type": "t", "qualified_name": name, "attributes": {"x": n}}).to_string()
}

fn edit(world: &World, id: u64, content: &str) {
    world.engine().edit_letter(id, None, Some(content.as_bytes()), "ann", "the sheet says so").unwrap();
}

fn requeue(world: &World, id: u64) -> BatchId {
    world.engine().requeue_letter(id, None, "ann", "repaired").unwrap()
}

fn kind<T>(result: tidegate::error::Result<T>) -> (ErrorKind, String) {
    let error = result.err().unwrap();
    (error.kind(), error.to_string())
}

fn open(query: LetterQuery) -> LetterQuery {
    LetterQuery { states: vec![LetterState::Open], ..query }
}

#[test]
fn a_refused_change_is_kept_with_its_request_answer_and_what_the_plan_knew() {
    let world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1), says(entity("b"), 1)]));
    world.faults.refuse([entity("a")]);
    world.publish(&TestBatch::full("alpha", 2).with([says(entity("a"), 2), says(entity("b"), 2)]));
    let letter = only(&world);
    assert_eq!((letter.kind, &letter.code[..]), (LetterKind::Entity, "ENTITY_REJECTED"));
    // The whole assertion is kept, though only what changed was sent.
    let kept: Value = serde_json::from_slice(&letter.content).unwrap();
    assert_eq!(kept.to_string(), line("a", 2));
    let known = &letter.diagnostics;
    assert_eq!(known.action, Some(Action::Update));
    assert!(known.request.as_deref().unwrap().contains("\"set\":{\"x\":2}"), "{:?}", known.request);
    assert_eq!((known.before.as_deref(), known.after.as_deref()), (Some("{\"x\":1}"), Some("{\"x\":2}")));
    assert_eq!(letter.history.len(), 1);
    assert_eq!(letter.pattern, "it is refused");

    // It is requeued as it is when the target takes it again.
    world.faults.heal();
    let batch = requeue(&world, letter.id);
    assert_eq!(batch.to_string(), format!("{}~1", TestBatch::full("alpha", 2).id()));
    assert_eq!(state(&world, letter.id), "requeued");
    world.work();
    assert_eq!(world.batch(&batch).status, PublishStatus::Complete);
    assert_eq!(state(&world, letter.id), "resolved");
    world.expect(&[(entity("a"), 2), (entity("b"), 2)]);
    // Nothing of it is left under the state URL.
    let left = world.data.path().join("state/alpha/requeued");
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0);
}

#[test]
fn a_refused_deletion_is_requeued_as_one() {
    for full in [false, true] {
        let world = World::new();
        world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1), says(entity("b"), 1)]));
        world.faults.refuse([entity("a")]);
        let gone = if full {
            TestBatch::full("alpha", 2).with([says(entity("b"), 1)])
        } else {
            TestBatch::incremental("alpha", 2).with([Line::Deleted(entity("a"))])
        };
        world.publish(&gone);
        let letter = only(&world);
        assert!(String::from_utf8_lossy(&letter.content).contains("\"deleted\":true"), "{letter:?}");
        assert_eq!(letter.batch_id.to_string(), gone.id());
        world.faults.heal();
        requeue(&world, letter.id);
        world.work();
        assert_eq!(state(&world, letter.id), "resolved");
        world.expect(&[(entity("b"), 1)]);
    }
}

#[test]
fn a_bad_line_is_edited_checked_and_published_with_the_timestamps_it_came_with() {
    let world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    world.publish(&bad(2, "a"));
    let id = only(&world).id;
    let (why, text) = kind(world.engine().requeue_letter(id, None, "ann", "as it is"));
    assert_eq!(why, ErrorKind::LineInvalid, "{text}");
    assert!(text.contains("attributes"), "{text}");

    let preview = world.engine().check_letter(id, Some(line("a", 5).as_bytes())).unwrap();
    assert!(preview.valid, "{preview:?}");
    let change = &preview.changes[0];
    assert_eq!(change.action, Action::Update);
    assert_eq!(
        (change.before.as_ref().unwrap().get(), change.after.as_ref().unwrap().get()),
        ("{\"x\":1}", "{\"x\":5}")
    );
    // Looking changed nothing.
    assert_eq!(letter(&world, id).revision, 1);

    // An edit may be spread over lines.
    edit(&world, id, &line("a", 5).replace(',', ",\n  "));
    let kept = letter(&world, id);
    assert_eq!(kept.actions.last().unwrap().actor, "ann");
    assert!(kept.edited.is_some() && kept.is_open());
    world.expect(&[(entity("a"), 1)]);
    let batch = requeue(&world, id);
    world.work();
    let record = world.batch(&batch);
    assert_eq!((record.status, record.letters), (PublishStatus::Complete, 1));
    let original = world.batch(&bad(2, "a").id().parse().unwrap());
    assert_eq!(record.stamp.source_timestamp, original.stamp.source_timestamp);
    assert_eq!(record.stamp.processing_timestamp, original.stamp.processing_timestamp);
    assert!(record.stamp > original.stamp);
    world.expect(&[(entity("a"), 5)]);
    assert_eq!(state(&world, id), "resolved");
    assert!(
        world.timeline(&batch)[0].contains("ann: requeued 1 dead letters: repaired"),
        "{:?}",
        world.timeline(&batch)
    );
}

#[test]
fn a_late_bad_line_never_brings_old_data_back_over_newer() {
    let world = World::new();
    let newer = TestBatch::incremental("alpha", 5).with([says(entity("a"), 5)]);
    world.publish(&newer);
    // A late batch with a bad line for the same key: there is nothing to repair.
    world.publish(&bad(2, "a"));
    assert!(world.dead_letters("alpha").is_empty());
    let letters = world.engine().store().read(|view| view.dead_letters()).unwrap();
    let [late] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(state(&world, late.id), "resolved");
    let engine = world.engine();
    for (why, text) in [
        kind(engine.requeue_letter(late.id, None, "ann", "x")),
        kind(engine.edit_letter(late.id, None, Some(line("a", 2).as_bytes()), "ann", "x")),
    ] {
        assert_eq!(why, ErrorKind::Conflict);
        assert!(text.contains(&newer.id()), "{text}");
    }
    world.work();
    world.expect(&[(entity("a"), 5)]);
}

#[test]
fn what_is_not_open_or_not_there_is_refused_with_what_became_of_it() {
    let world = World::new();
    world.publish(&bad(1, "a"));
    let id = only(&world).id;
    let engine = world.engine();
    for (why, _) in [
        kind(engine.requeue_letter(99, None, "ann", "x")),
        kind(engine.discard_letter(99, None, "ann", "x")),
        kind(engine.edit_letter(99, None, Some(b"{}"), "ann", "x")),
        kind(engine.check_letter(99, None)),
    ] {
        assert_eq!(why, ErrorKind::NotFound);
    }
    engine.discard_letter(id, None, "bob", "it is a test").unwrap();
    for (why, text) in [
        kind(engine.requeue_letter(id, None, "ann", "x")),
        kind(engine.discard_letter(id, None, "ann", "x")),
        kind(engine.edit_letter(id, None, Some(line("a", 1).as_bytes()), "ann", "x")),
    ] {
        assert_eq!(why, ErrorKind::Conflict);
        assert!(text.contains("discarded by bob") && text.contains("it is a test"), "{text}");
    }
    world.publish(&bad(2, "a"));
    let next = only(&world).id;
    assert_ne!(next, id);
    world.publish(&TestBatch::incremental("alpha", 3).with([says(entity("a"), 3)]));
    let (why, text) = kind(engine.requeue_letter(next, None, "ann", "x"));
    assert_eq!(why, ErrorKind::Conflict);
    assert!(text.contains("was resolved at") && text.contains("batch alpha:"), "{text}");
}

#[test]
fn an_edit_keeps_the_key_and_the_rules_of_a_line() {
    let world = World::new();
    world.publish(&bad(1, "a"));
    let id = only(&world).id;
    let edit =
        |content: &str| kind(world.engine().edit_letter(id, None, Some(content.as_bytes()), "ann", "x"));
    let (why, text) = edit(&line("b", 1));
    assert_eq!(why, ErrorKind::Conflict);
    assert!(text.contains("t a") && text.contains("t b"), "{text}");
    for content in [
        "",
        "{",
        "[]",
        &line("a", 1)[1..],
        "{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{\"x\":1,\"x\":2}}",
    ] {
        assert_eq!(edit(content).0, ErrorKind::LineInvalid, "{content}");
    }
    let preview = world.engine().check_letter(id, Some(b"{")).unwrap();
    assert!(!preview.valid && preview.problem.is_some());
    assert!(letter(&world, id).edited.is_none());
    // Absence is an assertion, too.
    world
        .engine()
        .edit_letter(
            id,
            None,
            Some(b"{\"type\":\"t\",\"qualified_name\":\"a\",\"deleted\":true}"),
            "ann",
            "x",
        )
        .unwrap();
    world.engine().edit_letter(id, None, None, "ann", "no").unwrap();
    assert!(letter(&world, id).edited.is_none());
}

#[test]
fn of_two_operators_on_one_letter_the_second_is_told() {
    let world = World::new();
    world.publish(&bad(1, "a"));
    let engine = world.engine();
    let seen = only(&world);
    edit(&world, seen.id, &line("a", 1));
    for (why, text) in [
        kind(engine.edit_letter(seen.id, Some(seen.revision), Some(line("a", 2).as_bytes()), "bob", "x")),
        kind(engine.requeue_letter(seen.id, Some(seen.revision), "bob", "x")),
        kind(engine.discard_letter(seen.id, Some(seen.revision), "bob", "x")),
    ] {
        assert_eq!(why, ErrorKind::Conflict);
        assert!(text.contains("edited by ann") && text.contains("revision 1, now 2"), "{text}");
    }
    let now = letter(&world, seen.id);
    assert_eq!(String::from_utf8_lossy(wanted(&now)), line("a", 1));
    engine.requeue_letter(seen.id, Some(now.revision), "bob", "x").unwrap();
    let (why, text) = kind(engine.requeue_letter(seen.id, None, "ann", "x"));
    assert_eq!(why, ErrorKind::Conflict);
    assert!(text.contains("requeued by bob") && text.contains("~1"), "{text}");
}

#[test]
fn a_line_without_a_key_is_repaired_by_an_edit() {
    let world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with([says(entity("b"), 1), Line::BadKeyless(7)]));
    let id = only(&world).id;
    edit(&world, id, &line("a", 1));
    requeue(&world, id);
    world.work();
    assert_eq!(state(&world, id), "resolved");
    world.expect(&[(entity("a"), 1), (entity("b"), 1)]);
}

#[test]
fn what_fails_again_is_the_same_letter_with_one_attempt_more() {
    let world = World::new();
    world.publish(&bad(1, "a"));
    let first = only(&world);
    edit(&world, first.id, &line("a", 1));
    world.faults.refuse([entity("a")]);
    let batch = requeue(&world, first.id);
    world.work();
    assert_eq!(world.batch(&batch).status, PublishStatus::Complete);
    let again = only(&world);
    assert_eq!((again.id, again.attempts, again.history.len()), (first.id, 2, 2));
    assert_eq!((&again.code[..], &again.batch_id), ("ENTITY_REJECTED", &batch));
    // What it was and what a person made of it both stay.
    assert_eq!(again.content, first.content);
    assert_eq!(String::from_utf8_lossy(wanted(&again)), line("a", 1));
    world.faults.heal();
    assert_eq!(requeue(&world, first.id).n(), 2);
    world.work();
    assert_eq!(state(&world, first.id), "resolved");
    world.expect(&[(entity("a"), 1)]);
}

#[test]
fn a_requeue_that_is_cancelled_or_fails_leaves_its_letters_open() {
    let world = World::new();
    world.publish(&bad(1, "a"));
    let id = only(&world).id;
    edit(&world, id, &line("a", 1));
    let batch = requeue(&world, id);
    world.engine().cancel(&batch, "bob", "not now").unwrap();
    assert_eq!(state(&world, id), "open");
    assert_eq!(letter(&world, id).attempts, 1);

    // The data of a requeue that was damaged is found by its checksum.
    let batch = requeue(&world, id);
    let folder = world.data.path().join(format!("state/alpha/requeued/{}~{}", batch.folder(), batch.n()));
    let file = folder.join("entities-00000.ndjson");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(":1", ":7")).unwrap();
    world.work();
    let record = world.batch(&batch);
    assert_eq!(record.status, PublishStatus::Failed);
    assert_eq!(record.failure.unwrap().error_code, "BATCH_CHECKSUM_MISMATCH");
    let again = only(&world);
    assert_eq!((again.id, again.state.as_str()), (id, "open"));
    assert!(again.actions.last().unwrap().reason.contains("CHECKSUM"), "{again:?}");
    requeue(&world, id);
    world.work();
    world.expect(&[(entity("a"), 1)]);
}

#[test]
fn a_requeue_that_can_not_be_written_leaves_everything_as_it_was() {
    let world = World::new();
    world.publish(&bad(1, "a"));
    let id = only(&world).id;
    edit(&world, id, &line("a", 1));
    let before = letter(&world, id);
    let place = world.data.path().join("state/alpha/requeued");
    if place.exists() {
        std::fs::remove_dir_all(&place).unwrap();
    }
    std::fs::write(&place, "in the way").unwrap();
    let (why, text) = kind(world.engine().requeue_letter(id, None, "ann", "x"));
    assert_eq!(why, ErrorKind::Io, "{text}");
    assert_eq!(letter(&world, id), before);
    std::fs::remove_file(&place).unwrap();
    requeue(&world, id);
    world.work();
    assert_eq!(state(&world, id), "resolved");
}

#[test]
fn a_batch_that_failed_is_a_letter_until_it_is_published() {
    let world = World::new();
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    let (id, file) = world.break_down(&batch);
    let first = only(&world);
    assert_eq!((first.kind, &first.code[..]), (LetterKind::Batch, "BATCH_SIZE_MISMATCH"));
    assert_eq!((&first.batch_id, first.key.clone()), (&id, None));
    let shown = world.engine().letter(first.id).unwrap();
    assert!(shown.content.unwrap().contains("tidegate.batch/1"));

    // It fails again, for the same reason: one more attempt.
    assert_eq!(requeue(&world, first.id), id);
    assert_eq!(state(&world, first.id), "requeued");
    world.work();
    let again = only(&world);
    assert_eq!((again.id, again.attempts, again.is_open()), (first.id, 2, true));

    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.trim_end().to_owned() + "\n").unwrap();
    requeue(&world, first.id);
    world.work();
    assert_eq!(state(&world, first.id), "resolved");
    world.expect(&[(entity("a"), 1)]);
}

#[test]
fn a_manifest_is_edited_and_its_ids_stay() {
    let world = World::new();
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    let (id, _) = world.break_down(&batch);
    let letter_id = only(&world).id;
    let shown = world.engine().letter(letter_id).unwrap().content.unwrap();
    let manifest: Value = serde_json::from_str(&shown).unwrap();
    let edit = |change: &dyn Fn(&mut Value)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        world.engine().edit_letter(letter_id, None, Some(manifest.to_string().as_bytes()), "ann", "x")
    };
    for (why, field) in [
        (edit(&|m| m["source_id"] = json!("beta")), "source_id"),
        (edit(&|m| m["run_id"] = json!("other")), "run_id"),
        (edit(&|m| m["source_timestamp"] = json!("2026-11-02T00:00:00Z")), "source_timestamp"),
    ] {
        let (why, text) = kind(why);
        assert_eq!(why, ErrorKind::ManifestMismatch);
        assert!(text.contains(field), "{text}");
    }
    assert_eq!(kind(edit(&|m| m["mod"] = json!("full"))).0, ErrorKind::ManifestInvalid);
    edit(&|m| {
        m["mode"] = json!("incremental");
        m["files"][0]["bytes"] = Value::Null;
    })
    .unwrap();
    assert_eq!(requeue(&world, letter_id), id);
    world.work();
    let record = world.batch(&id);
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
    assert_eq!(record.mode.unwrap().as_str(), "incremental");
    assert_eq!(state(&world, letter_id), "resolved");
    world.expect(&[(entity("a"), 1)]);
}

#[test]
fn what_a_person_ended_makes_no_letter_and_settles_the_one_there_is() {
    let world = World::new();
    let waiting = world.deliver(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)])).unwrap();
    world.engine().cancel(&waiting, "ann", "a test").unwrap();
    assert!(world.dead_letters("alpha").is_empty());

    let (id, _) = world.break_down(&TestBatch::full("alpha", 2).with([says(entity("a"), 2)]));
    let letter_id = only(&world).id;
    requeue(&world, letter_id);
    world.engine().cancel(&id, "ann", "not worth it").unwrap();
    let settled = letter(&world, letter_id);
    assert_eq!(settled.state.as_str(), "discarded");
    assert!(settled.actions.last().unwrap().reason.contains("not worth it"), "{settled:?}");
}

#[test]
fn a_newer_full_batch_that_says_as_much_moots_a_failed_batch() {
    for (scope, moot) in [(None, true), (Some("a*"), true), (Some("b*"), false)] {
        let world = World::new();
        world.break_down(&TestBatch::full("alpha", 1).scoped(&["a*"], &[]).with([says(entity("a"), 1)]));
        let newer = TestBatch::full("alpha", 2).with([says(entity("a"), 2)]);
        let newer = match scope {
            Some(scope) => newer.scoped(&[scope], &[]),
            None => newer,
        };
        world.publish(&newer);
        assert_eq!(world.dead_letters("alpha").is_empty(), moot, "{scope:?}");
    }
}

#[test]
fn discarding_a_failed_incremental_batch_lets_its_source_go_on() {
    let world = World::new();
    world.break_down(&TestBatch::incremental("alpha", 1).with([says(entity("a"), 1)]));
    let next = world.publish(&TestBatch::incremental("alpha", 2).with([says(entity("b"), 2)]));
    assert_eq!(next.status, PublishStatus::Pending);
    let id = only(&world).id;
    world.engine().discard_letter(id, None, "ann", "it was a test run").unwrap();
    world.work();
    assert_eq!(world.batch(&next.batch_id).status, PublishStatus::Complete);
    assert_eq!(state(&world, id), "discarded");
}

#[test]
fn all_that_a_filter_finds_go_together_by_batch_and_the_bad_ones_are_told() {
    let world = World::new();
    world.publish(
        &TestBatch::incremental("alpha", 1).with(["a", "b", "c"].map(|n| Line::BadKeyed(entity(n)))),
    );
    world.publish(&bad(2, "d"));
    world.publish(&TestBatch::incremental("beta", 3).with([Line::BadKeyed(entity("z"))]));
    for letter in world.dead_letters("alpha") {
        let Some(Key::Entity(key)) = &letter.key else { panic!("{letter:?}") };
        if key.qualified_name != "c" {
            edit(&world, letter.id, &line(&key.qualified_name, 9));
        }
    }
    let query = LetterQuery { source_id: Some("alpha".parse().unwrap()), ..LetterQuery::default() };
    let results = world.engine().requeue_letters(&open(query.clone()), "ann", "all of it").unwrap();
    assert_eq!((results.done, results.refused, results.next_cursor), (3, 1, None));
    let refused = results.items.iter().find(|item| !item.done).unwrap();
    assert_eq!(refused.problem.as_ref().unwrap().code, "LINE_INVALID");
    let batches: std::collections::BTreeSet<_> =
        results.items.iter().filter_map(|item| item.batch_id.as_ref().map(ToString::to_string)).collect();
    let expected =
        [TestBatch::full("alpha", 1), TestBatch::full("alpha", 2)].map(|b| format!("{}~1", b.id()));
    assert_eq!(batches, expected.into());
    world.work();
    world.expect(&[(entity("a"), 9), (entity("b"), 9), (entity("d"), 9)]);
    assert_eq!((world.dead_letters("alpha").len(), world.dead_letters("beta").len()), (1, 1));

    let results = world.engine().discard_letters(&open(LetterQuery::default()), "ann", "a test").unwrap();
    assert_eq!((results.done, results.refused), (2, 0));
    assert!(world.dead_letters("alpha").is_empty() && world.dead_letters("beta").is_empty());
}

#[test]
fn many_letters_are_taken_up_a_part_at_a_time() {
    let world = World::new();
    let lines = (0..25).map(|n| Line::BadKeyed(entity(&format!("k{n:02}"))));
    world.publish(&TestBatch::incremental("alpha", 1).with(lines));
    let mut cursor = None;
    let mut parts = Vec::new();
    loop {
        let part = Part { limit: Some(10), cursor };
        let query = open(LetterQuery { part, ..LetterQuery::default() });
        let results = world.engine().discard_letters(&query, "ann", "a test").unwrap();
        parts.push(results.done);
        cursor = results.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(parts, [10, 10, 5]);
}

#[test]
fn lists_are_filtered_and_read_in_parts_and_groups_tell_reasons() {
    let world = World::new();
    world.publish(
        &TestBatch::incremental("alpha", 1).with(["a1", "a2", "u3"].map(|n| Line::BadKeyed(entity(n)))),
    );
    world.faults.refuse([entity("b"), edge("a", "b")]);
    world.publish(&TestBatch::incremental("beta", 2).with([says(entity("a"), 1), says(entity("b"), 1)]));
    world.break_down(&TestBatch::full("gamma", 3));
    let ids = |query: LetterQuery| {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let part = Part { limit: Some(1), cursor };
            let page = world.engine().letters(&LetterQuery { part, ..query.clone() }).unwrap();
            found.extend(page.items.iter().map(|letter| letter.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return found;
            }
        }
    };
    let all = LetterQuery::default();
    assert_eq!(ids(all.clone()), [5, 4, 3, 2, 1]);
    assert_eq!(
        ids(LetterQuery { order: tidegate::service::query::Order::Oldest, ..all.clone() }),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(ids(LetterQuery { source_id: Some("beta".parse().unwrap()), ..all.clone() }), [4]);
    assert_eq!(ids(LetterQuery { kind: Some(LetterKind::Batch), ..all.clone() }), [5]);
    assert_eq!(ids(LetterQuery { type_name: Some("u".into()), ..all.clone() }), [3]);
    assert_eq!(ids(LetterQuery { name: Some("a?".into()), ..all.clone() }), [2, 1]);
    assert_eq!(ids(LetterQuery { code: Some("ENTITY_REJECTED".into()), ..all.clone() }), [4]);
    let batch = TestBatch::full("alpha", 1).id().parse().unwrap();
    assert_eq!(ids(LetterQuery { batch_id: Some(batch), ..all.clone() }), [3, 2, 1]);
    assert_eq!(
        ids(LetterQuery { since: Some("2027-01-01T00:00:00Z".parse().unwrap()), ..all.clone() }),
        [0u64; 0]
    );

    let groups = world.engine().letter_groups(&GroupQuery::default()).unwrap().items;
    let told: Vec<_> =
        groups.iter().map(|group| (group.source_id.as_str(), group.count, &group.code[..])).collect();
    assert_eq!(told[0], ("alpha", 3, "LINE_INVALID"));
    assert_eq!(told.len(), 3);
    let largest = &groups[0];
    assert_eq!(largest.example.as_ref().unwrap().id, 3);
    assert_eq!(ids(LetterQuery { signature: Some(largest.signature.clone()), ..all.clone() }), [3, 2, 1]);
    world.engine().discard_letter(2, None, "ann", "x").unwrap();
    assert_eq!(ids(all.clone()), [5, 4, 3, 1]);
    assert_eq!(ids(LetterQuery { states: vec![LetterState::Discarded], ..all }), [2]);
    assert_eq!(world.engine().letter_groups(&GroupQuery::default()).unwrap().items[0].count, 2);
}

#[test]
fn settled_letters_are_forgotten_and_open_ones_expire_only_if_that_is_set() {
    let mut world = World::new();
    world.publish(&TestBatch::incremental("alpha", 1).with(["a", "b"].map(|n| Line::BadKeyed(entity(n)))));
    world.engine().discard_letter(1, None, "ann", "x").unwrap();
    world.clock.advance(Duration::from_secs(89 * 24 * 3600));
    assert_eq!(world.engine().expire_letters().unwrap(), (0, 0));
    world.clock.advance(Duration::from_secs(2 * 24 * 3600));
    assert_eq!(world.engine().expire_letters().unwrap(), (1, 0));
    assert_eq!(kind(world.engine().letter(1)).0, ErrorKind::NotFound);
    // What is open stays for as long as nothing else is set.
    world.clock.advance(Duration::from_secs(4000 * 24 * 3600));
    assert_eq!(world.engine().expire_letters().unwrap(), (0, 0));
    assert_eq!(only(&world).id, 2);
    world.set(|settings| settings.retention.open_dead_letters = Some(Duration::from_secs(3600)));
    assert_eq!(world.engine().expire_letters().unwrap(), (0, 1));
    assert_eq!(state(&world, 2), "expired");
    let counts = world.engine().store().read(|view| view.letter_counts()).unwrap();
    assert_eq!((counts.opened, counts.discarded, counts.expired, counts.forgotten), (2, 1, 1, 1));
}

#[test]
fn a_letter_survives_restarts_at_every_step() {
    let mut world = World::new();
    world.publish(&bad(1, "a"));
    let id = only(&world).id;
    world.restart();
    edit(&world, id, &line("a", 1));
    world.restart();
    let batch = requeue(&world, id);
    world.restart();
    assert_eq!(state(&world, id), "requeued");
    world.work();
    assert_eq!(world.batch(&batch).status, PublishStatus::Complete);
    world.restart();
    assert_eq!(state(&world, id), "resolved");
}

#[test]
fn a_failed_batch_whose_folder_is_gone_is_repaired_from_its_pin() {
    let world = World::new();
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    let (id, file) = world.break_down(&batch);
    world.engine().keep_pins().unwrap();
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    let letter_id = only(&world).id;
    let shown = world.engine().letter(letter_id).unwrap().content.unwrap();
    let mut manifest: Value = serde_json::from_str(&shown).unwrap();
    manifest["files"][0]["bytes"] = Value::Null;
    let text = manifest.to_string();
    world.engine().edit_letter(letter_id, None, Some(text.as_bytes()), "ann", "it is whole").unwrap();

    // A pin that was damaged is told by its file, and the letter stays.
    let pinned = world.engine().state().pin_path(&id).join("entities-00000.ndjson");
    let bytes = std::fs::read(&pinned).unwrap();
    std::fs::write(&pinned, "something else").unwrap();
    requeue(&world, letter_id);
    world.work();
    let again = only(&world);
    assert_eq!((again.id, &again.code[..], again.attempts), (letter_id, "PIN_DAMAGED", 2));
    assert!(again.message.contains("entities-00000.ndjson"), "{again:?}");

    std::fs::write(&pinned, bytes).unwrap();
    requeue(&world, letter_id);
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    assert_eq!(state(&world, letter_id), "resolved");
    world.expect(&[(entity("a"), 1)]);
    world.engine().keep_pins().unwrap();
    assert!(!world.engine().state().pin_path(&id).exists());
}

#[test]
fn a_letter_that_is_given_up_gives_its_pin_up() {
    let world = World::new();
    let (id, _) = world.break_down(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    world.engine().keep_pins().unwrap();
    assert!(world.engine().state().pin_path(&id).exists());
    world.engine().discard_letter(only(&world).id, None, "ann", "a test").unwrap();
    world.engine().keep_pins().unwrap();
    assert!(!world.engine().state().pin_path(&id).exists());
}

#[test]
fn reasons_that_differ_in_words_alone_are_told_up_to_a_bound() {
    let world = World::new();
    world.publish(&bad(1, "a"));
    let like = only(&world);
    let words: Vec<String> = ('a'..='z').flat_map(|a| ["x", "y", "z"].map(|b| format!("{a}{b}"))).collect();
    let letters: Vec<DeadLetter> = words
        .iter()
        .map(|word| DeadLetter {
            key: Some(entity(word)),
            code: "ENTITY_REJECTED".into(),
            pattern: format!("Team {word} unknown"),
            ..like.clone()
        })
        .collect();
    let store = world.engine().store();
    let (first, again) = (letters.clone(), letters[60].clone());
    store.write(move |tx| tx.open_all_dead_letters(first.into_iter().map(Ok))).unwrap();
    let groups = || {
        let mut groups = Vec::new();
        let each = |view: &tidegate::store::View<'_>| {
            view.each_letter_group(|group| {
                groups.push(group);
                Ok(())
            })
        };
        store.read(each).unwrap();
        groups
    };
    // That of the bad line is beside them.
    let (told, alerts) = (groups(), store.read(|view| view.alerts()).unwrap());
    assert_eq!((told.len(), alerts.len()), (52, 52));
    let others = told.iter().find(|group| group.pattern == "other reasons").unwrap();
    assert_eq!(others.count, 78 - 50);

    // All gone, the next one is told by its own words.
    let all = LetterQuery { part: Part::first(500), ..LetterQuery::default() };
    world.engine().discard_letters(&open(all), "ann", "a test").unwrap();
    assert_eq!(store.read(|view| view.alerts()).unwrap().len(), 0);
    store.write(move |tx| tx.open_dead_letter(again)).unwrap();
    assert_eq!(only(&world).pattern, letters[60].pattern);
}

#[test]
fn codes_are_found_however_they_are_written() {
    let world = World::new();
    world.publish(&bad(1, "a"));
    let code = Some("line_invalid".to_owned());
    let found =
        world.engine().letters(&LetterQuery { code: code.clone(), ..LetterQuery::default() }).unwrap();
    assert_eq!(found.items.len(), 1);
    let groups = world.engine().letter_groups(&GroupQuery { code, ..GroupQuery::default() }).unwrap();
    assert_eq!(groups.items.len(), 1);
}
