//! P5: nothing is deleted by accident. P6: what Tidegate did not write it
//! does not touch.

mod support;

use std::collections::BTreeMap;

use serde_json::json;
use support::batches::{Line, TestBatch, edge, entity, says, value};
use support::world::World;
use tidegate::domain::guards::{GuardLimits, GuardRule};
use tidegate::domain::key::{EntityKey, Key};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::ErrorKind;
use tidegate::service::views::BatchAction;
use tidegate::store::BatchRecord;

fn full(time: u32) -> TestBatch {
    TestBatch::full("alpha", time)
}

/// A world with the guards as they are without settings.
fn world() -> World {
    World::with(|settings| {
        for source in settings.sources.values_mut() {
            source.guards = GuardLimits::default();
        }
        settings.max_changes = None;
    })
}

fn tables(from: usize, to: usize, x: i64) -> Vec<Line> {
    (from..to).map(|n| says(entity(&format!("table{n}")), x)).collect()
}

fn columns(from: usize, to: usize, x: i64) -> Vec<Line> {
    (from..to).map(|n| says(entity(&format!("u{n}")), x)).collect()
}

fn rules(world: &World, record: &BatchRecord) -> Vec<GuardRule> {
    world.plan(record).header.guards.iter().map(|trip| trip.rule).collect()
}

#[test]
fn every_guard_parks_its_plan_and_nothing_is_deleted_until_a_person_approves() {
    let base = || full(1).with(tables(0, 100, 1)).with(columns(0, 100, 1));
    let contents = || {
        full(1)
            .with([says(entity("schema"), 1)])
            .with(columns(0, 200, 1))
            .with((0..101).map(|n| says(edge("schema", &format!("u{n}")), 1)))
    };
    let deletes = |n: usize| (0..n).map(|n| Line::Deleted(entity(&format!("table{n}")))).collect::<Vec<_>>();
    let incremental = |lines: Vec<Line>| TestBatch::incremental("alpha", 2).with(lines);
    let table: Vec<(&str, TestBatch, TestBatch, Vec<GuardRule>)> = vec![
        (
            "21 of 100 of a type",
            base(),
            full(2).with(tables(21, 100, 1)).with(columns(0, 100, 1)),
            vec![GuardRule::DeleteRatioOfType],
        ),
        (
            "over 20 % of the source",
            base(),
            full(2).with(tables(21, 100, 1)).with(columns(21, 100, 1)),
            vec![GuardRule::DeleteRatioOfType, GuardRule::DeleteRatioOfType, GuardRule::DeleteRatioOfSource],
        ),
        (
            "an incremental batch of deletions",
            base(),
            incremental(deletes(21)),
            vec![GuardRule::DeleteRatioOfType],
        ),
        (
            "a container with over 100 contents",
            contents(),
            TestBatch::incremental("alpha", 2).with([Line::Deleted(entity("schema"))]),
            vec![GuardRule::ContainerContents],
        ),
        (
            "an empty full batch",
            base(),
            full(2),
            vec![
                GuardRule::EmptyFull,
                GuardRule::DeleteRatioOfType,
                GuardRule::DeleteRatioOfType,
                GuardRule::DeleteRatioOfSource,
            ],
        ),
        (
            "a count that fell by more than half",
            base(),
            full(2).with(tables(0, 99, 1)),
            vec![GuardRule::FullCountFell, GuardRule::DeleteRatioOfType, GuardRule::DeleteRatioOfSource],
        ),
        (
            "updates of over 80 %",
            base(),
            full(2).with(tables(0, 100, 2)).with(columns(0, 61, 2)).with(columns(61, 100, 1)),
            vec![GuardRule::UpdateRatio],
        ),
        (
            "deletion of what another workflow asserted",
            base(),
            TestBatch { workflow: "other".into(), ..full(2) }
                .with(tables(1, 100, 1))
                .with(columns(0, 100, 1)),
            vec![GuardRule::OtherWorkflow],
        ),
        (
            "deletion of what a workflow asserted, by a batch that names none",
            base(),
            TestBatch { workflow: String::new(), ..full(2) }.with(tables(1, 100, 1)).with(columns(0, 100, 1)),
            vec![GuardRule::OtherWorkflow],
        ),
    ];
    for (what, base, batch, expected) in table {
        let mut world = world();
        assert_eq!(world.publish(&base).status, PublishStatus::Complete, "{what}");
        let before = world.export();
        let record = world.publish(&batch);
        assert_eq!(record.status, PublishStatus::PlanComplete, "{what}");
        let hold = record.hold.clone().unwrap();
        assert!(!hold.note.is_empty(), "{what}");
        let mut tripped = rules(&world, &record);
        tripped.sort();
        let mut expected = expected;
        expected.sort();
        assert_eq!(tripped, expected, "{what}: {}", hold.note);
        assert_eq!(world.export(), before, "{what}");
        // Neither a restart nor work approves it.
        world.restart();
        world.work();
        assert_eq!(world.export(), before, "{what}");
        assert_eq!(world.batch(&record.batch_id).status, PublishStatus::PlanComplete, "{what}");
        world.approve(&record.batch_id);
        assert_eq!(world.batch(&record.batch_id).status, PublishStatus::Complete, "{what}");
        world.expect_batches(&[&base, &batch]);
    }
}

#[test]
fn a_guard_speaks_of_what_the_source_no_longer_has_not_of_what_the_target_loses() {
    let world = world();
    for source in ["alpha", "beta"] {
        world.publish(&TestBatch::full(source, 1).with(tables(0, 38, 1)));
    }
    let record = world.publish(&full(2).with(tables(0, 8, 1)));
    let header = world.plan(&record).header;
    assert_eq!(header.summary.entities.delete, 0, "beta has all of them");
    let reasons: Vec<&str> = header.guards.iter().map(|trip| trip.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "the full batch has 8 keys in its scope where the source's snapshot has 38",
            "the source no longer has 30 of its 38 keys, over 20 %",
            "the source no longer has 30 of its 38 t, over 20 %",
        ]
    );
}

#[test]
fn a_plan_at_the_limits_runs() {
    let base = full(1).with(tables(0, 100, 1)).with(columns(0, 100, 1));
    let table: Vec<(&str, TestBatch)> = vec![
        ("20 % of a type", full(2).with(tables(20, 100, 1)).with(columns(0, 100, 1))),
        ("80 % updates", full(2).with(tables(0, 100, 2)).with(columns(0, 60, 2)).with(columns(60, 100, 1))),
        ("the same again", full(2).with(tables(0, 100, 1)).with(columns(0, 100, 1))),
    ];
    for (what, batch) in table {
        let world = world();
        world.publish(&base);
        assert_eq!(world.publish(&batch).status, PublishStatus::Complete, "{what}");
        world.expect_batches(&[&base, &batch]);
    }
    // Fewer than ten may be any share of a small source.
    let world = world();
    world.publish(&full(1).with(tables(0, 18, 1)));
    assert_eq!(world.publish(&full(2).with(tables(9, 18, 1))).status, PublishStatus::Complete);
}

#[test]
fn a_rejected_plan_deletes_nothing_and_its_source_goes_on() {
    let world = world();
    let base = full(1).with(tables(0, 100, 1));
    world.publish(&base);
    let hiccup = world.publish(&full(2).with(tables(0, 10, 1)));
    let next = world.deliver(&TestBatch::incremental("alpha", 3).with(tables(0, 1, 3))).unwrap();
    world.work();
    assert_eq!(world.batch(&next).status, PublishStatus::Pending);
    world.reject(&hiccup.batch_id);
    assert_eq!(world.batch(&next).status, PublishStatus::Complete);
    assert_eq!(world.export().lines().count(), 100);
}

#[test]
fn an_approval_with_another_digest_is_refused() {
    let world = world();
    world.publish(&full(1).with(tables(0, 100, 1)));
    let parked = world.publish(&full(2).with(tables(0, 10, 1)));
    let other = "0123456789abcdef0123456789abcdef".parse().unwrap();
    let error = world.engine().approve(&parked.batch_id, Some(other), "ann", "why").unwrap_err();
    assert_eq!(error.kind(), tidegate::error::ErrorKind::PlanStale);
    let digest = world.plan(&parked).header.digest;
    world.engine().approve(&parked.batch_id, Some(digest), "ann", "why").unwrap();
    world.work();
    assert_eq!(world.export().lines().count(), 10);
}

#[test]
fn a_batch_that_can_not_be_read_to_its_end_deletes_nothing() {
    // Every way of losing a part of a full batch's files.
    type Damage = (&'static str, fn(&std::path::Path));
    let damage: [Damage; 4] = [
        ("cut short", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("gone", |path| std::fs::remove_file(path).unwrap()),
        ("empty", |path| std::fs::write(path, "").unwrap()),
        ("not readable", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
    ];
    for (what, damage) in damage {
        let world = World::new();
        world.publish(&full(1).with(tables(0, 10, 1)));
        let folder = full(2).with(tables(0, 9, 1)).write(&world.data.path().join("delivered"));
        let id = world.engine().accept(&folder).unwrap();
        damage(&folder.join("entities-00000.ndjson"));
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Failed, "{what}");
        assert_eq!(world.export().lines().count(), 10, "{what}");
    }
}

#[test]
fn a_narrower_extraction_is_no_mass_deletion() {
    let world = world();
    world.publish(&full(1).with(tables(0, 100, 1)).with(columns(0, 50, 1)));
    let record = world.publish(&full(2).scoped(&["u*"], &[]).with(columns(0, 50, 2)));
    assert_eq!(record.status, PublishStatus::Complete);
    assert_eq!(world.export().lines().count(), 150);
}

#[test]
fn what_a_person_wrote_into_the_catalogue_survives_batches_that_do_not_change_it() {
    let world = world();
    let key = EntityKey::new("t", "table1");
    let both = |x: i64, y: i64| Line::Value(Key::Entity(key.clone()), value(&[("x", x), ("y", y)]), 0);
    world.publish(&full(1).with([both(1, 1)]).with(tables(2, 20, 1)));
    let catalogue = world.engine().catalogue(None).unwrap();
    catalogue.edit(&key, br#"{"x":"typed","note":"mine"}"#, &[], "ann").unwrap();
    let is = |expected: serde_json::Value| {
        let line = world.export().lines().next().unwrap().to_owned();
        let line: BTreeMap<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
        assert_eq!(line["attributes"], expected);
    };
    is(json!({"note": "mine", "x": "typed", "y": 1}));
    // Not changed at its source: a full batch and an incremental one.
    world.publish(&full(2).with([both(1, 1)]).with(tables(2, 20, 1)));
    world.publish(&TestBatch::incremental("alpha", 3).with([both(1, 1)]));
    is(json!({"note": "mine", "x": "typed", "y": 1}));
    // Another attribute changed: that one alone is sent.
    world.publish(&full(4).with([both(1, 2)]).with(tables(2, 20, 1)));
    is(json!({"note": "mine", "x": "typed", "y": 2}));
    // The attribute itself changed at its source: the source has the say again.
    world.publish(&full(5).with([both(3, 2)]).with(tables(2, 20, 1)));
    is(json!({"note": "mine", "x": 3, "y": 2}));
    // The source asserts it no more: it goes, the note stays.
    let only_y = Line::Value(Key::Entity(key.clone()), value(&[("y", 2)]), 0);
    world.publish(&full(6).with([only_y]).with(tables(2, 20, 1)));
    is(json!({"note": "mine", "y": 2}));
}

#[test]
fn what_a_batch_with_an_unreadable_line_withholds_is_listed_and_deleted_when_a_person_approves_it() {
    let world = World::new();
    world.publish(
        &full(1).with(["a", "b", "c"].map(|name| says(entity(name), 1))).with([says(edge("a", "b"), 1)]),
    );
    let record = world.publish(&full(2).with([says(entity("a"), 2), Line::BadKeyless(0)]));
    assert_eq!(record.status, PublishStatus::Complete);
    world.expect(&[(entity("a"), 2), (entity("b"), 1), (entity("c"), 1), (edge("a", "b"), 1)]);
    let plan = world.plan(&record);
    assert_eq!(plan.withheld, [entity("b"), entity("c"), edge("a", "b")].into_iter().collect::<Vec<_>>());
    let engine = world.engine();
    let actions = engine.batch_view(&record.batch_id).unwrap().actions;
    assert_eq!(actions, [BatchAction::Approve]);

    // Another plan than the one that was looked at.
    let other = "0".repeat(32).parse().unwrap();
    let refused = engine.approve(&record.batch_id, Some(other), "ann", "looked at").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PlanStale);
    let digest = plan.header.digest;
    let again = engine.approve(&record.batch_id, Some(digest), "ann", "they are gone").unwrap();
    assert_eq!(again.batch_id, record.batch_id.with_n(1));
    assert_eq!(engine.approve(&record.batch_id, None, "bob", "x").unwrap_err().kind(), ErrorKind::Conflict);
    world.work();
    assert_eq!(world.batch(&again.batch_id).status, PublishStatus::Complete);
    world.expect(&[(entity("a"), 2)]);
    // The line is still to be repaired.
    assert_eq!(world.dead_letters("alpha").len(), 1);
    // It is a full batch: what it does not list was absent at its time.
    world.publish(&TestBatch::incremental("alpha", 1).with([says(entity("b"), 1)]));
    world.expect(&[(entity("a"), 2)]);
}

#[test]
fn withheld_deletions_of_a_batch_whose_files_are_gone_are_not_approved() {
    let world = World::new();
    world.publish(&full(1).with(["a", "b"].map(|name| says(entity(name), 1))));
    let record = world.publish(&full(2).with([says(entity("a"), 2), Line::BadKeyless(0)]));
    std::fs::remove_dir_all(&record.folder).unwrap();
    let refused = world.engine().approve(&record.batch_id, None, "ann", "they are gone").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("deliver a new full batch"), "{refused}");
}
