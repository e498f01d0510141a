//! Keys that an operator skips keep their published value, are neither sent
//! nor deleted, and are counted; lifted, they are published as they are then.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::batches::{Line, TestBatch, edge, entity, says};
use support::history::{History, Step, Trouble, histories};
use support::oracle;
use support::world::World;
use tidegate::domain::ids::SourceId;
use tidegate::domain::key::{EntityKey, Key};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::{Error, ErrorKind};
use tidegate::service::query::LetterQuery;
use tidegate::service::skips::Skip;
use tidegate::service::views::LetterState;
use tidegate::store::BatchRecord;

fn alpha() -> SourceId {
    SourceId::new("alpha").unwrap()
}

fn skip(world: &World, type_name: &str, name: &str) {
    let skip = Skip { type_name: type_name.into(), name: name.into(), until: None };
    world.engine().skip(&alpha(), &skip, "ann", "known to be bad").unwrap();
}

fn unskip(world: &World, type_name: &str, name: &str) {
    world.engine().unskip(&alpha(), type_name, name, "bob", "mended").unwrap();
}

/// Entities of type `t` with these values.
fn values(pairs: &[(&str, i64)]) -> Vec<Line> {
    pairs.iter().map(|(name, n)| says(entity(name), *n)).collect()
}

fn full(time: u32, pairs: &[(&str, i64)]) -> TestBatch {
    TestBatch::full("alpha", time).with(values(pairs))
}

fn incremental(time: u32, lines: impl IntoIterator<Item = Line>) -> TestBatch {
    TestBatch::incremental("alpha", time).with(lines)
}

fn keys(pairs: &[(&str, i64)]) -> Vec<(Key, i64)> {
    pairs.iter().map(|(name, n)| (entity(name), *n)).collect()
}

#[track_caller]
fn complete(world: &World, batch: &TestBatch) -> BatchRecord {
    let record = world.publish(batch);
    assert_eq!((record.status, &record.failure), (PublishStatus::Complete, &None));
    assert_eq!(world.dead_letters("alpha"), []);
    record
}

fn skipped(world: &World, record: &BatchRecord) -> u64 {
    world.plan(record).header.summary.skipped()
}

fn journal(world: &World) -> Vec<String> {
    let entries = world.engine().store().read(|view| view.source_timeline(&alpha())).unwrap();
    entries.into_iter().map(|entry| format!("{}: {}", entry.actor, entry.cause)).collect()
}

#[test]
fn a_skipped_entity_is_neither_sent_nor_deleted_by_full_batches_and_is_counted() {
    let world = World::new();
    complete(&world, &full(1, &[("a", 1), ("b", 1)]));
    skip(&world, "t", "a");
    // Changed.
    let record = complete(&world, &full(2, &[("a", 2), ("b", 2)]));
    assert_eq!(skipped(&world, &record), 1);
    world.expect(&keys(&[("a", 1), ("b", 2)]));
    // Missing.
    let record = complete(&world, &full(3, &[("b", 3)]));
    assert_eq!(skipped(&world, &record), 1);
    world.expect(&keys(&[("a", 1), ("b", 3)]));
    // As it is published: nothing to keep back.
    let record = complete(&world, &full(4, &[("a", 1), ("b", 4)]));
    assert_eq!(skipped(&world, &record), 0);
    // Deleted.
    let record = complete(&world, &incremental(5, [Line::Deleted(entity("a")), says(entity("b"), 5)]));
    assert_eq!(skipped(&world, &record), 1);
    world.expect(&keys(&[("a", 1), ("b", 5)]));
    // Bad lines and contradictions make no dead letter, and no other key is spared.
    complete(&world, &full(6, &[("b", 6)]).with([Line::BadKeyed(entity("a"))]));
    complete(&world, &full(7, &[("a", 7), ("a", 8), ("b", 7)]));
    world.expect(&keys(&[("a", 1), ("b", 7)]));
    complete(&world, &full(8, &[]));
    world.expect(&keys(&[("a", 1)]));
    assert_eq!(world.engine().figures(10).unwrap().totals.skipped, 6);
    assert_eq!(world.engine().figures(10).unwrap().skips[0], ("alpha".to_owned(), 1));
}

#[test]
fn an_entity_that_was_never_published_does_not_come_while_it_is_skipped() {
    let world = World::new();
    skip_before_the_first_batch(&world);
    complete(&world, &full(1, &[("a", 1), ("b", 1)]).with([says(edge("a", "b"), 1)]));
    world.expect(&keys(&[("b", 1)]));
    unskip(&world, "t", "a");
    complete(&world, &full(2, &[("a", 2), ("b", 1)]).with([says(edge("a", "b"), 1)]));
    world.expect(&[(entity("a"), 2), (entity("b"), 1), (edge("a", "b"), 1)]);
}

fn skip_before_the_first_batch(world: &World) {
    skip(world, "t", "a");
}

#[test]
fn lifted_the_next_full_batch_publishes_what_it_says() {
    for next in [&[("a", 9), ("b", 1)][..], &[("b", 1)][..], &[("a", 1), ("b", 1)][..]] {
        let world = World::new();
        complete(&world, &full(1, &[("a", 1), ("b", 1)]));
        skip(&world, "t", "a");
        complete(&world, &full(2, &[("a", 9), ("b", 1)]));
        complete(&world, &full(3, &[("b", 1)]));
        complete(&world, &full(4, next));
        world.expect(&keys(&[("a", 1), ("b", 1)]));
        unskip(&world, "t", "a");
        complete(&world, &full(5, next));
        world.expect(&keys(next));
    }
}

#[test]
fn an_equal_batch_after_the_skip_is_not_taken_for_unchanged() {
    // The line order of the batch that was skipped must not stand for it.
    let world = World::new();
    complete(&world, &full(1, &[("a", 1), ("b", 1)]));
    skip(&world, "t", "a");
    complete(&world, &full(2, &[("a", 2), ("b", 1)]));
    unskip(&world, "t", "a");
    complete(&world, &full(3, &[("a", 2), ("b", 1)]));
    world.expect(&keys(&[("a", 2), ("b", 1)]));
}

#[test]
fn the_fast_path_makes_the_same_plan_as_its_twin() {
    let digests: Vec<_> = [true, false]
        .into_iter()
        .map(|fast| {
            let mut world = World::new();
            world.set(|settings| settings.planning.fast_path = fast);
            complete(&world, &full(1, &[("a", 1), ("ab", 1), ("b", 1), ("c", 1)]));
            skip(&world, "t", "a*");
            let second = complete(&world, &full(2, &[("a", 1), ("ab", 2), ("b", 2)]));
            let third = complete(&world, &full(3, &[("a", 1), ("a", 3), ("b", 3), ("c", 3)]));
            [second, third].map(|record| {
                let header = world.plan(&record).header;
                (header.digest, header.summary, world.export())
            })
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0][1].1.skipped(), 2);
}

#[test]
fn late_batches_and_forgetting_know_that_it_was_kept_back() {
    let world = World::new();
    complete(&world, &full(10, &[("a", 1), ("b", 1)]));
    skip(&world, "t", "a");
    complete(&world, &full(30, &[("b", 3)]));
    complete(&world, &full(40, &[("b", 4)]));
    unskip(&world, "t", "a");
    // Newer than what is published of a, older than the batches that were kept back.
    complete(&world, &incremental(20, [says(entity("a"), 2), says(entity("b"), 2)]));
    world.expect(&keys(&[("a", 2), ("b", 4)]));
    complete(&world, &full(50, &[("b", 4)]));
    world.expect(&keys(&[("b", 4)]));
}

#[test]
fn a_skip_ends_by_itself_and_says_so() {
    let world = World::new();
    complete(&world, &full(1, &[("a", 1)]));
    let until = world.engine().now().checked_add(Duration::from_secs(3600)).unwrap();
    let skip = Skip { type_name: "t".into(), name: "a".into(), until: Some(until) };
    world.engine().skip(&alpha(), &skip, "ann", "known to be bad").unwrap();
    complete(&world, &full(2, &[("a", 2)]));
    world.expect(&keys(&[("a", 1)]));
    world.clock.advance(Duration::from_secs(3600));
    assert!(world.engine().skips(&alpha()).unwrap().is_empty());
    complete(&world, &full(3, &[("a", 3)]));
    world.expect(&keys(&[("a", 3)]));
    assert_eq!(
        journal(&world),
        [
            "ann: skips t a until 2026-11-24T01:00:00Z: known to be bad".to_owned(),
            "tidegate: no longer skips t a: its time is over".to_owned()
        ]
    );
}

#[test]
fn a_glob_skips_many_keys_and_relationships_are_skipped_by_their_own_type() {
    let world = World::new();
    complete(&world, &full(1, &[("a", 1), ("ab", 1), ("b", 1)]).with([says(edge("a", "b"), 1)]));
    skip(&world, "t", "a*");
    skip(&world, "r", "a");
    let record = complete(&world, &full(2, &[("b", 2)]));
    assert_eq!(skipped(&world, &record), 3);
    world.expect(&[(entity("a"), 1), (entity("ab"), 1), (entity("b"), 2), (edge("a", "b"), 1)]);
}

#[test]
fn another_source_changes_what_it_asserts_of_a_skipped_key() {
    let mut world = World::new();
    world.source("beta", |source| source.precedence = 5);
    complete(&world, &full(1, &[("a", 1)]));
    skip(&world, "t", "a");
    world.publish(&TestBatch::full("beta", 2).with([says(entity("a"), 7)]));
    world.expect(&keys(&[("a", 7)]));
    complete(&world, &full(3, &[("a", 3)]));
    world.publish(&TestBatch::full("beta", 4));
    world.expect(&keys(&[("a", 1)]));
}

#[test]
fn what_is_planned_and_not_begun_is_planned_again_under_the_skip() {
    let mut world = World::new();
    world.source("alpha", |source| {
        source.guards.delete_ratio = 0.3;
        source.guards.delete_min = 2;
    });
    complete(&world, &full(1, &[("a", 1), ("ab", 1), ("b", 1)]));
    // Planned.
    let id = world.deliver(&full(2, &[("a", 2), ("ab", 1), ("b", 2)])).unwrap();
    world.advance("alpha");
    assert_eq!(world.batch(&id).status, PublishStatus::PlanComplete);
    skip(&world, "t", "a");
    world.work();
    world.expect(&keys(&[("a", 1), ("ab", 1), ("b", 2)]));
    // Parked: what tripped the guard is skipped.
    let record = world.publish(&full(3, &[("b", 3)]));
    assert_eq!(record.hold, None, "a is skipped, one deletion is no mass deletion");
    world.expect(&keys(&[("a", 1), ("b", 3)]));
    unskip(&world, "t", "a");
    complete(&world, &full(4, &[("a", 4), ("ab", 4), ("b", 4)]));
    let record = world.publish(&full(5, &[("b", 5)]));
    assert!(record.hold.is_some());
    skip(&world, "t", "a*");
    world.work();
    assert_eq!(world.batch(&record.batch_id).status, PublishStatus::Complete);
    world.expect(&keys(&[("a", 4), ("ab", 4), ("b", 5)]));
}

#[test]
fn an_unsure_key_is_left_alone_while_it_is_skipped_and_settled_afterwards() {
    let world = World::new();
    complete(&world, &full(1, &[("a", 1), ("b", 1)]));
    // The answer of the operation never comes, and the batch is cancelled.
    world.faults.before(|_| Err(Error::new(ErrorKind::TargetTimeout, "no answer")));
    let id = world.deliver(&full(2, &[("a", 2), ("b", 1)])).unwrap();
    world.work();
    world.engine().cancel(&id, "ann", "it never comes").unwrap();
    world.faults.heal();
    world.clock.advance(Duration::from_secs(3600));
    let mut guard = 0;
    while !world.batch(&id).status.is_final() && guard < 10 {
        world.work();
        world.clock.advance(Duration::from_secs(3600));
        guard += 1;
    }
    let why = |name: &str| world.engine().why(&EntityKey::new("t", name), None).unwrap();
    assert!(why("a").sources[0].unsure);
    skip(&world, "t", "a");
    let record = world.publish(&full(3, &[("a", 3), ("b", 3)]));
    assert_eq!(world.plan(&record).header.summary.entities.changes(), 1);
    assert!(why("a").sources[0].unsure);
    unskip(&world, "t", "a");
    complete(&world, &full(4, &[("a", 1), ("b", 3)]));
    world.expect(&keys(&[("a", 1), ("b", 3)]));
}

#[test]
fn what_can_be_no_skip_is_refused() {
    let world = World::new();
    let refused = |source: &str, type_name: &str, name: &str, until: Option<&str>| {
        let skip = Skip {
            type_name: type_name.into(),
            name: name.into(),
            until: until.map(|until| until.parse().unwrap()),
        };
        world.engine().skip(&SourceId::new(source).unwrap(), &skip, "ann", "why").unwrap_err().kind()
    };
    assert_eq!(refused("nobody", "t", "a", None), ErrorKind::NotFound);
    assert_eq!(refused("alpha", "", "a", None), ErrorKind::Usage);
    assert_eq!(refused("alpha", "t", "a\u{0}b", None), ErrorKind::Usage);
    assert_eq!(refused("alpha", "t", "a", Some("2020-01-01T00:00:00Z")), ErrorKind::Usage);
    skip(&world, "t", "a");
    let error = world.engine().unskip(&alpha(), "t", "b", "ann", "why").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("it skips t a"), "{error}");
}

#[test]
fn a_skip_that_keeps_too_much_back_holds_the_source_and_says_what_to_do() {
    let mut world = World::new();
    world.set(|settings| settings.max_changes = None);
    let many: Vec<Line> = (0..10_001).map(|n| says(entity(&format!("n{n}")), 1)).collect();
    skip(&world, "t", "n*");
    let id = world.deliver(&TestBatch::full("alpha", 1).with(many)).unwrap();
    let _ = world.engine().run_until_idle();
    assert!(!world.batch(&id).status.is_final());
    let hold = world.engine().store().read(|view| view.source_hold(&alpha())).unwrap().unwrap();
    assert!(hold.note.contains("more than 10000 keys"), "{}", hold.note);
    unskip(&world, "t", "n*");
    world.engine().resume_source(&alpha(), "ann", "narrowed").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

/// What alpha's batch says while keys are skipped, in terms of the naive
/// model: unless it says what is published already, it says nothing of them.
fn under_skips(
    batch: &TestBatch,
    published: &BTreeMap<Key, BTreeMap<String, serde_json::Value>>,
) -> TestBatch {
    let is_skipped = |key: &Key| ["t", "r"].contains(&key.type_name()) && key.scope_name().starts_with('a');
    let mut said: BTreeMap<Key, Vec<&Line>> = BTreeMap::new();
    let mut out = TestBatch { lines: Vec::new(), ..batch.clone() };
    for line in &batch.lines {
        match line {
            Line::Value(key, ..) | Line::Deleted(key) | Line::BadKeyed(key) if is_skipped(key) => {
                said.entry(key.clone()).or_default().push(line);
            }
            _ => out.lines.push(line.clone()),
        }
    }
    for (key, lines) in &said {
        let as_published = lines.iter().all(|line| match line {
            Line::Value(_, value, _) => published.get(key) == Some(value),
            Line::Deleted(_) => !batch.full && !published.contains_key(key),
            Line::BadKeyed(_) | Line::BadLong(_) | Line::BadTwice(_) | Line::BadKeyless(_) => false,
        });
        match as_published {
            true => out.lines.extend(lines.iter().map(|line| (*line).clone())),
            false => out.lines.push(Line::BadKeyed(key.clone())),
        }
    }
    for key in published.keys().filter(|key| batch.full && is_skipped(key) && !said.contains_key(key)) {
        out.lines.push(Line::BadKeyed(key.clone()));
    }
    out
}

/// Publishes a history one batch after the other, in its order of arrival,
/// with a skip over its middle. Returns the catalogue, what the naive model
/// has, and the plans.
fn play(history: &History, fast: bool) -> (String, String, Vec<String>) {
    let mut world = World::new();
    world.set(|settings| settings.planning.fast_path = fast);
    let mut order: Vec<usize> = Vec::new();
    for step in &history.steps {
        if let Step::Arrive(n) = step
            && !order.contains(n)
        {
            order.push(*n);
        }
    }
    let (from, to) = (order.len() / 3, order.len() * 2 / 3);
    let (mut modelled, mut plans) = (Vec::new(), Vec::new());
    for (at, n) in order.iter().enumerate() {
        if at == from && from < to {
            skip(&world, "t", "a*");
            skip(&world, "r", "a*");
        }
        if at == to && from < to {
            unskip(&world, "t", "a*");
            unskip(&world, "r", "a*");
        }
        let batch = &history.batches[*n];
        let of_source: Vec<&TestBatch> =
            modelled.iter().filter(|b: &&TestBatch| b.source == batch.source).collect();
        let skipping = (from..to).contains(&at) && batch.source == "alpha";
        modelled.push(if skipping { under_skips(batch, &oracle::live(&of_source)) } else { batch.clone() });
        let record = world.publish(batch);
        let header = world.plan(&record).header;
        plans.push(format!("{} {:?}", header.digest, header.summary));
    }
    let expected = oracle::export(&oracle::catalogue(&modelled.iter().collect::<Vec<_>>(), &BTreeMap::new()));
    (world.export(), expected, plans)
}

#[test]
fn what_is_skipped_is_as_if_its_batches_had_said_nothing_of_it_in_any_order() {
    let cases = std::env::var("TIDEGATE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let config = Config { cases, max_shrink_iters: 2000, failure_persistence: None, ..Config::default() };
    let check = |history: History| {
        let (found, expected, plans) = play(&history, true);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(plans, play(&history, false).2);
        Ok(())
    };
    if let Err(error) = TestRunner::new(config).run(&histories(9, Trouble::None), check) {
        panic!("{error}");
    }
}

#[test]
fn a_dead_letter_of_a_skipped_key_is_not_requeued() {
    let world = World::new();
    world.publish(&incremental(1, [Line::BadKeyed(entity("a")), Line::BadKeyed(entity("b"))]));
    for letter in world.dead_letters("alpha") {
        let Some(Key::Entity(key)) = &letter.key else { panic!("{letter:?}") };
        let line = format!(
            "{{\"type\":\"t\",\"qualified_name\":\"{}\",\"attributes\":{{\"x\":1}}}}",
            key.qualified_name
        );
        world.engine().edit_letter(letter.id, None, Some(line.as_bytes()), "ann", "typo").unwrap();
    }
    skip(&world, "t", "a");
    let [first, second] = &world.dead_letters("alpha")[..] else { panic!() };
    let error = world.engine().requeue_letter(first.id, None, "bob", "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = format!("{error} {}", error.action());
    for word in ["ann skips its key without an end", "known to be bad", "tidegate sources unskip alpha"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let preview = world.engine().check_letter(first.id, None).unwrap();
    assert!(!preview.valid && preview.action.unwrap().contains("unskip"));
    // Nor among many.
    let query = LetterQuery { states: vec![LetterState::Open], ..LetterQuery::default() };
    let results = world.engine().requeue_letters(&query, "bob", "x").unwrap();
    assert_eq!((results.done, results.refused), (1, 1));
    world.work();
    assert_eq!(world.dead_letters("alpha").iter().map(|letter| letter.id).collect::<Vec<_>>(), [first.id]);
    assert_ne!(second.id, first.id);
    unskip(&world, "t", "a");
    world.engine().requeue_letter(first.id, None, "bob", "x").unwrap();
    world.work();
    world.expect(&keys(&[("a", 1), ("b", 1)]));
}

/// A dead letter without a key, in a full batch that says `b`.
fn keyless(world: &World) -> u64 {
    world.publish(&full(1, &[("b", 1)]).with([Line::BadKeyless(7)]));
    let [letter] = &world.dead_letters("alpha")[..] else { panic!("{:?}", world.dead_letters("alpha")) };
    assert_eq!(letter.key, None);
    letter.id
}

const LINE_A: &[u8] = b"{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{\"x\":1}}";

#[test]
fn a_line_without_a_key_that_is_edited_to_a_skipped_one_is_not_requeued() {
    let world = World::new();
    let id = keyless(&world);
    skip(&world, "t", "a");
    let refused = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        let text = format!("{error} {}", error.action());
        assert!(text.contains("ann skips its key") && text.contains("unskip alpha"), "{text}");
    };
    let preview = world.engine().check_letter(id, Some(LINE_A)).unwrap();
    assert!(!preview.valid && preview.action.unwrap().contains("unskip"));
    refused(world.engine().repair_letter(id, None, LINE_A, "bob", "typo").unwrap_err());
    assert_eq!(world.dead_letters("alpha")[0].edited, None, "nothing of it was kept");
    world.engine().edit_letter(id, None, Some(LINE_A), "bob", "typo").unwrap();
    refused(world.engine().requeue_letter(id, None, "bob", "x").unwrap_err());
    let query = LetterQuery { states: vec![LetterState::Open], ..LetterQuery::default() };
    let results = world.engine().requeue_letters(&query, "bob", "x").unwrap();
    assert_eq!((results.done, results.refused), (0, 1));
    unskip(&world, "t", "a");
    world.engine().requeue_letter(id, None, "bob", "x").unwrap();
    world.work();
    assert_eq!(world.dead_letters("alpha"), []);
    world.expect(&keys(&[("a", 1), ("b", 1)]));
}

#[test]
fn a_line_without_a_key_whose_edit_is_skipped_meanwhile_is_open_again() {
    let world = World::new();
    let id = keyless(&world);
    world.engine().repair_letter(id, None, LINE_A, "bob", "typo").unwrap();
    skip(&world, "t", "a");
    world.work();
    world.expect(&keys(&[("b", 1)]));
    let [left] = &world.dead_letters("alpha")[..] else { panic!("{:?}", world.dead_letters("alpha")) };
    assert!(left.is_open() && left.actions.last().unwrap().reason.contains("skips"), "{left:?}");
}

#[test]
fn a_requeued_key_that_is_skipped_meanwhile_is_open_again() {
    let world = World::new();
    world.publish(&incremental(1, [Line::BadKeyed(entity("a")), Line::BadKeyed(entity("b"))]));
    for (letter, name) in world.dead_letters("alpha").iter().zip(["a", "b"]) {
        let line = format!("{{\"type\":\"t\",\"qualified_name\":\"{name}\",\"attributes\":{{\"x\":1}}}}");
        world.engine().edit_letter(letter.id, None, Some(line.as_bytes()), "ann", "typo").unwrap();
    }
    let query = LetterQuery { states: vec![LetterState::Open], ..LetterQuery::default() };
    assert_eq!(world.engine().requeue_letters(&query, "bob", "x").unwrap().done, 2);
    skip(&world, "t", "a");
    world.work();
    world.expect(&keys(&[("b", 1)]));
    let [left] = &world.dead_letters("alpha")[..] else { panic!("{:?}", world.dead_letters("alpha")) };
    assert!(left.is_open(), "{left:?}");
    assert!(left.actions.last().unwrap().reason.contains("skips"), "{left:?}");
}
