//! What is refused more than once, by plans of whichever batch or source: what
//! its dead letter holds, of which time it is, and when it is settled.

mod support;

use support::batches::{Line, TestBatch, edge, entity, says};
use support::world::World;
use tidegate::domain::ids::SourceId;
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::key::Key;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::OnFailure;
use tidegate::service::skips::Skip;
use tidegate::store::DeadLetter;

fn full(time: u32) -> TestBatch {
    TestBatch::full("alpha", time)
}

fn some(time: u32) -> TestBatch {
    TestBatch::incremental("alpha", time)
}

fn a() -> Line {
    says(entity("a"), 1)
}

#[track_caller]
fn complete(world: &World, batch: &TestBatch) {
    let record = world.publish(batch);
    assert_eq!(record.status, PublishStatus::Complete, "{}: {:?}", batch.id(), record.failure);
}

/// The one open letter of a source.
#[track_caller]
fn only(world: &World, source: &str) -> DeadLetter {
    let letters = world.dead_letters(source);
    assert_eq!(letters.len(), 1, "{letters:#?}");
    letters.into_iter().next().unwrap()
}

fn requeue(world: &World, letter: &DeadLetter) {
    world.engine().requeue_letter(letter.id, None, "ann", "it goes now").unwrap();
    world.work();
}

fn content(letter: &DeadLetter) -> String {
    String::from_utf8_lossy(&letter.content).into_owned()
}

#[test]
fn what_a_full_batch_lists_unchanged_and_is_refused_is_of_its_time() {
    let r = edge("a", "e");
    for late in [Line::Deleted(r.clone()), says(r.clone(), 2)] {
        let world = World::new();
        complete(&world, &full(1).with([a(), says(r.clone(), 1)]));
        // Its end comes, and it with that.
        let whole = full(3).with([a(), says(entity("e"), 1), says(r.clone(), 1)]);
        world.faults.refuse([r.clone()]);
        complete(&world, &whole);
        world.faults.heal();
        assert_eq!(only(&world, "alpha").batch_id.to_string(), whole.id());
        // What is older says nothing against it.
        let letter = only(&world, "alpha");
        assert_eq!(world.publish(&some(2).with([late])).status, PublishStatus::Complete);
        let there = [(entity("a"), 1), (entity("e"), 1), (r.clone(), 1)];
        // The plan of that brought it: it is not known to be there.
        world.expect(&there);
        assert_eq!(world.dead_letters("alpha").len(), 0, "{letter:?}");
        complete(&world, &some(4));
        world.expect(&there);
    }
}

#[test]
fn a_batch_that_failed_takes_no_absence_into_a_letter() {
    let mut world = World::with(|settings| {
        settings.max_changes = Some(1);
        for source in settings.sources.values_mut() {
            source.on_failure = Some(OnFailure::Continue);
            source.isolation = IsolationLimit { count: 1, ratio: 0.0, ..IsolationLimit::default() };
        }
    });
    complete(&world, &full(1).with([says(entity("b"), 1)]));
    world.source("alpha", |source| source.precedence += 1);
    world.faults.refuse([entity("a"), entity("c")]);
    complete(&world, &full(2).with([a(), says(entity("b"), 1)]));
    let record = world.publish(&full(4).with([says(entity("b"), 1), says(entity("c"), 1)]));
    assert_eq!(record.status, PublishStatus::Failed, "{:?}", record.completion);
    let letters = world.dead_letters("alpha");
    let of_a = letters.iter().find(|letter| letter.key == Some(entity("a"))).unwrap();
    assert!(content(of_a).contains("\"x\":1"), "{of_a:?}");
    assert_eq!(of_a.stamp.batch_id.to_string(), full(2).id());
    world.faults.heal();
    requeue(&world, of_a);
    world.expect(&[(entity("a"), 1), (entity("b"), 1)]);
}

#[test]
fn a_requeue_whose_letters_were_settled_is_as_late_as_any_batch() {
    let mut world = World::new();
    world.source("alpha", |source| source.max_lateness_seconds = 600);
    world.faults.refuse([entity("a")]);
    complete(&world, &some(1).with([a()]));
    world.faults.heal();
    let letter = only(&world, "alpha");
    let requeued = world.engine().requeue_letter(letter.id, None, "ann", "it goes now").unwrap();
    world.engine().cancel(&requeued, "ann", "not yet").unwrap();
    complete(&world, &some(5).with([Line::Deleted(entity("a"))]));
    assert_eq!(world.dead_letters("alpha").len(), 0);
    for time in [40, 80] {
        complete(&world, &full(time).with([says(entity("b"), 1)]));
    }
    world.engine().retry(&requeued, "ann", "after all").unwrap();
    world.work();
    assert_eq!(world.batch(&requeued).failure.unwrap().error_code, "BATCH_TOO_LATE");
    world.expect(&[(entity("b"), 1)]);
}

#[test]
fn what_another_source_does_not_know_keeps_no_letter_of_what_is_absent() {
    let mut world = World::new();
    let beta = |time| TestBatch::full("beta", time);
    complete(&world, &beta(1).with([says(entity("b"), 1)]));
    world.source("beta", |source| source.precedence += 1);
    world.faults.refuse([entity("a")]);
    complete(&world, &beta(2).with([a(), says(entity("b"), 1)]));
    world.faults.heal();
    assert_eq!(world.snapshot("beta").unsure, [entity("a")]);
    complete(&world, &full(3).with([Line::BadKeyed(entity("a")), says(entity("c"), 1)]));
    assert_eq!(world.dead_letters("alpha").len(), 1);
    complete(&world, &full(4).with([says(entity("c"), 1)]));
    assert_eq!(world.dead_letters("alpha").len(), 0);
}

#[test]
fn a_letter_about_nothing_does_not_hide_what_is_asserted() {
    let mut world = World::new();
    complete(&world, &some(1).with([says(entity("b"), 1)]));
    // With another precedence all that is refused may be there.
    world.source("alpha", |source| source.precedence += 1);
    world.faults.refuse([entity("a")]);
    complete(&world, &some(2).with([a()]));
    let letter = only(&world, "alpha");
    world.engine().discard_letter(letter.id, None, "ann", "not wanted").unwrap();
    complete(&world, &some(4));
    assert_eq!(content(&only(&world, "alpha")), "", "nobody ever published anything of it");
    complete(&world, &some(3).with([says(entity("a"), 2)]));
    let letter = only(&world, "alpha");
    assert!(content(&letter).contains("\"x\":2"), "{letter:?}");
    world.faults.heal();
    requeue(&world, &letter);
    world.expect(&[(entity("a"), 2), (entity("b"), 1)]);
    assert_eq!(world.dead_letters("alpha").len(), 0);
}

#[test]
fn what_is_refused_each_time_is_one_letter_with_its_attempts() {
    let mut world = World::new();
    let rest = says(entity("b"), 1);
    complete(&world, &full(1).with([rest.clone()]));
    world.source("alpha", |source| source.precedence += 1);
    world.faults.refuse([entity("a")]);
    complete(&world, &full(2).with([a(), rest.clone()]));
    let first = only(&world, "alpha");
    for time in 3..6 {
        complete(&world, &full(time).with([rest.clone()]));
    }
    let letter = only(&world, "alpha");
    assert_eq!((letter.id, letter.attempts), (first.id, 4));
    assert!(content(&letter).contains("\"deleted\":true"), "{letter:?}");
    world.faults.heal();
    complete(&world, &full(6).with([rest]));
    assert_eq!(world.dead_letters("alpha").len(), 0);
    world.expect(&[(entity("b"), 1)]);
}

#[test]
fn a_full_batch_settles_no_letter_of_what_is_not_at_the_target_yet() {
    let world = World::new();
    let r = edge("a", "b");
    let alpha = |time| full(time).with([a(), says(r.clone(), 1)]);
    complete(&world, &alpha(1));
    world.faults.refuse([r.clone()]);
    complete(&world, &TestBatch::full("beta", 2).with([says(entity("b"), 1)]));
    world.faults.heal();
    let letter = only(&world, "alpha");
    let (engine, source) = (world.engine(), SourceId::new("alpha").unwrap());
    let skip = Skip { type_name: "r".into(), name: "*".into(), until: None };
    engine.skip(&source, &skip, "ann", "not now").unwrap();
    complete(&world, &alpha(3));
    assert_eq!(only(&world, "alpha").id, letter.id, "it was not sent");
    engine.unskip(&source, "r", "*", "ann", "now").unwrap();
    complete(&world, &alpha(4));
    assert_eq!(world.dead_letters("alpha").len(), 0);
    world.expect(&[(entity("a"), 1), (entity("b"), 1), (r, 1)]);
}

#[test]
fn a_relationship_that_waits_is_not_sent_again_while_something_else_is_refused() {
    let world = World::new();
    let r = says(edge("a", "e"), 1);
    complete(&world, &full(1).with([a(), says(entity("e"), 1), r.clone()]));
    let x = entity("x");
    world.faults.refuse([x.clone()]);
    for time in 2..6 {
        let record = world.publish(&full(time).with([a(), r.clone(), says(x.clone(), 1)]));
        assert_eq!(record.status, PublishStatus::Complete);
        let operations = &world.plan(&record).operations;
        let sent: u32 = operations.iter().map(|operation| operation.changes).sum();
        // The first one takes away the end and the relationship.
        assert_eq!(sent, if time == 2 { 3 } else { 1 }, "{time}");
    }
    assert_eq!(world.snapshot("alpha").unsure, Vec::<Key>::new());
    world.faults.heal();
    complete(&world, &full(6).with([a(), says(entity("e"), 1), r, says(x.clone(), 1)]));
    world.expect(&[(entity("a"), 1), (entity("e"), 1), (x, 1), (edge("a", "e"), 1)]);
}

#[test]
fn what_is_requeued_is_never_too_late() {
    let mut world = World::new();
    world.source("beta", |source| source.max_lateness_seconds = 600);
    let beta = |time| TestBatch::incremental("beta", time);
    let r = edge("a", "b");
    complete(&world, &beta(1).with([says(entity("b"), 1), says(r.clone(), 1)]));
    for time in [20, 40, 60] {
        complete(&world, &beta(time).with([says(entity("ub"), i64::from(time))]));
    }
    world.faults.refuse([r.clone()]);
    complete(&world, &full(61).with([a()]));
    world.faults.heal();
    let letter = only(&world, "beta");
    assert!(world.snapshot("beta").horizon.unwrap() > letter.stamp.source_timestamp);
    requeue(&world, &letter);
    world.expect(&[(entity("a"), 1), (entity("b"), 1), (entity("ub"), 60), (r, 1)]);
    assert_eq!(world.dead_letters("beta").len(), 0);
    // What a person did not requeue is.
    let late = world.publish(&beta(2).with([says(entity("ua"), 1)]));
    assert_eq!(late.failure.unwrap().error_code, "BATCH_TOO_LATE");
}

#[test]
fn what_was_not_sent_settles_no_letter() {
    let world = World::new();
    let r = edge("a", "b");
    complete(&world, &TestBatch::full("beta", 1).with([says(entity("b"), 1), says(r.clone(), 1)]));
    complete(&world, &full(2).with([a()]));
    // It is taken away with its end, in vain.
    world.faults.refuse([r.clone()]);
    complete(&world, &full(3));
    let letter = only(&world, "beta");
    // Its end does not come: it is not sent.
    world.faults.refuse([entity("a")]);
    complete(&world, &full(4).with([a()]));
    assert_eq!(only(&world, "beta").id, letter.id);
    world.faults.heal();
    complete(&world, &full(5).with([a()]));
    world.expect(&[(entity("a"), 1), (entity("b"), 1), (r, 1)]);
    assert_eq!(world.dead_letters("beta").len(), 0);
}

#[test]
fn a_batch_that_failed_asserts_no_relationship_that_waited_for_a_refused_end() {
    let world = World::with(|settings| {
        settings.max_changes = Some(1);
        for source in settings.sources.values_mut() {
            source.on_failure = Some(OnFailure::Continue);
            source.isolation = IsolationLimit { count: 1, ratio: 0.0, ..IsolationLimit::default() };
        }
    });
    // Some wait for their end; it fails at one behind them.
    let names = ["f", "g", "h", "i"];
    let refused = edge("f", "g");
    world.faults.refuse([entity("e"), refused.clone()]);
    let waiting = names.iter().flat_map(|name| [edge("e", name), edge(name, "e")]);
    let entities = names.iter().chain(&["e"]).map(|name| says(entity(name), 1));
    let relationships = waiting.chain([refused]).map(|key| says(key, 1));
    let record = world.publish(&some(5).with(entities).with(relationships));
    assert_eq!(record.status, PublishStatus::Failed);
    assert!(record.completion.unwrap().skipped > 0, "{:?}", record.completion);
    world.faults.heal();
    complete(&world, &some(6).with([says(entity("e"), 1)]));
    let there: Vec<(Key, i64)> = ["e", "f", "g", "h", "i"].map(|name| (entity(name), 1)).into();
    world.expect(&there);
}

#[test]
fn why_tells_no_more_of_a_key_as_unknown_that_another_sources_plan_settled() {
    let mut world = World::new();
    complete(&world, &TestBatch::full("beta", 1).with([a()]));
    world.source("alpha", |source| source.precedence += 1);
    complete(&world, &full(2).with([says(entity("b"), 1)]));
    world.source("alpha", |source| source.precedence += 1);
    world.faults.refuse([entity("a")]);
    complete(&world, &full(3).with([says(entity("a"), 2)]));
    let Key::Entity(key) = entity("a") else { unreachable!() };
    let unsure = |world: &World| {
        let told = world.engine().why(&key, None).unwrap();
        told.sources.iter().any(|source| source.unsure)
    };
    assert!(unsure(&world));
    world.faults.heal();
    complete(&world, &TestBatch::full("beta", 4).with([says(entity("a"), 3)]));
    assert!(!unsure(&world));
    assert!(!world.snapshot("alpha").unsure.is_empty(), "its own snapshot says so still");
}
