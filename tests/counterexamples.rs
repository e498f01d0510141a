//! Every rule of SEMANTICS has a history that breaks without it. They are
//! kept here, each named after its rule.

mod support;

use std::time::Duration;

use support::batches::{Line, TestBatch, edge, entity, says};
use support::world::World;
use tidegate::domain::ids::SourceId;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::ErrorKind;
use tidegate::service::query::LetterQuery;
use tidegate::service::views::LetterState;
use tidegate::store::{BatchRecord, DeadLetter};

fn full(time: u32) -> TestBatch {
    TestBatch::full("alpha", time)
}

fn some(time: u32) -> TestBatch {
    TestBatch::incremental("alpha", time)
}

fn k() -> tidegate::domain::key::Key {
    entity("a")
}

fn other() -> Line {
    says(entity("b"), 1)
}

/// Publishes batches in this order, each to its end, with a restart after
/// each, and holds the catalogue against the naive model.
#[track_caller]
fn converges(arrivals: &[TestBatch]) -> World {
    let mut world = World::new();
    for batch in arrivals {
        let record = world.publish(batch);
        assert_eq!(record.status, PublishStatus::Complete, "{}: {:?}", batch.id(), record.failure);
        world.restart();
    }
    world.expect_batches(&arrivals.iter().collect::<Vec<_>>());
    world
}

#[track_caller]
fn failed(record: &BatchRecord, code: ErrorKind) {
    assert_eq!(record.status, PublishStatus::Failed);
    assert_eq!(record.failure.as_ref().unwrap().error_code, code.info().code, "{:?}", record.failure);
}

// 1. Stamps and assertions

#[test]
fn a_late_batch_does_not_bring_an_old_value_over_a_newer_one() {
    converges(&[full(2).with([says(k(), 2)]), some(1).with([says(k(), 1), says(entity("b"), 1)])]);
}

#[test]
fn of_two_batches_of_one_time_the_one_with_the_greater_id_wins() {
    // The test's batches have one processing timestamp a time; their ids differ by the run.
    for (first, second) in [("ra", "rb"), ("rb", "ra")] {
        let world = World::new();
        for run in [first, second] {
            let value = if run == "rb" { 2 } else { 1 };
            let folder = some(1).with([says(k(), value)]).write(&world.data.path().join(run));
            let path = folder.join("manifest.json");
            let manifest = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, manifest.replace("\"r1\"", &format!("\"{run}\""))).unwrap();
            world.engine().accept(&folder).unwrap();
            world.work();
        }
        world.expect(&[(k(), 2)]);
    }
}

#[test]
fn a_batch_from_the_future_fails_and_never_counts_as_newest() {
    let world = World::new();
    let tomorrow = 60 * 24 * 24;
    failed(&world.publish(&full(tomorrow).with([says(k(), 9)])), ErrorKind::FromFuture);
    assert_eq!(world.publish(&full(5).with([says(k(), 1)])).status, PublishStatus::Complete);
    world.expect(&[(k(), 1)]);
}

#[test]
fn the_same_id_with_another_manifest_is_an_error() {
    let world = World::new();
    world.publish(&full(1).with([says(k(), 1)]));
    let changed = full(1).with([says(k(), 2), other()]).write(&world.data.path().join("again"));
    assert_eq!(world.engine().accept(&changed).unwrap_err().kind(), ErrorKind::IdReused);
}

#[test]
fn a_file_without_lines_is_valid() {
    let world = World::new();
    assert_eq!(world.publish(&some(1)).status, PublishStatus::Complete);
    world.expect(&[]);
}

#[test]
fn a_key_outside_its_full_batchs_scope_is_asserted_as_by_an_incremental_one() {
    let b = || full(2).scoped(&["a*"], &[]).with([says(k(), 1), says(entity("b"), 1)]);
    // The late batch is older than the assertion of b, and must not count.
    converges(&[b(), some(1).with([Line::Deleted(entity("b"))])]);
    // b lives on, though the next batch of that scope does not list it.
    converges(&[b(), full(3).scoped(&["a*"], &[]).with([says(k(), 1)])]);
}

#[test]
fn a_repeated_line_outside_the_scope_raises_its_stamp_each_time() {
    let b = |time| full(time).scoped(&["a*"], &[]).with([says(k(), 1), says(entity("b"), 1)]);
    converges(&[b(1), b(3), some(2).with([Line::Deleted(entity("b"))])]);
}

// 2. What a snapshot remembers

#[test]
fn an_equal_reassertion_raises_the_stamp() {
    converges(&[
        full(1).with([says(k(), 1), other()]),
        some(3).with([says(k(), 1)]),
        full(2).with([other()]),
    ]);
}

#[test]
fn a_deletion_of_a_key_that_is_not_there_leaves_a_tombstone() {
    converges(&[some(2).with([Line::Deleted(k())]), some(1).with([says(k(), 1)])]);
}

#[test]
fn a_late_deletion_of_a_newer_key_does_nothing() {
    converges(&[
        some(3).with([says(k(), 1)]),
        some(2).with([Line::Deleted(k())]),
        some(1).with([Line::Deleted(k())]),
    ]);
}

#[test]
fn a_full_batch_asserts_the_absence_of_keys_that_were_never_there() {
    converges(&[full(2).with([other()]), some(1).with([says(k(), 1)])]);
}

#[test]
fn a_full_batch_says_nothing_of_its_exceptions() {
    converges(&[full(2).with([other(), Line::BadKeyed(k())]), some(1).with([says(k(), 1)])]);
}

#[test]
fn a_full_record_that_goes_leaves_its_stamp_to_the_newer_ones_exceptions() {
    // Not live: f's absence becomes a tombstone.
    converges(&[
        full(2).with([other()]),
        full(3).with([other(), Line::BadKeyed(k())]),
        some(1).with([says(k(), 1)]),
    ]);
    // Live: the value gets f's stamp.
    converges(&[
        some(1).with([says(k(), 1)]),
        full(3).with([says(k(), 1), other()]),
        full(4).with([other(), Line::BadKeyed(k())]),
        some(2).with([Line::Deleted(k())]),
    ]);
}

#[test]
fn a_tombstone_that_a_full_record_covers_is_not_needed() {
    converges(&[
        some(2).with([Line::Deleted(k())]),
        full(3).with([other()]),
        full(4).with([other()]),
        some(1).with([says(k(), 1)]),
    ]);
}

#[test]
fn a_narrower_full_batch_does_not_replace_a_wider_ones_record() {
    converges(&[
        full(2).with([other()]),
        full(3).scoped(&["b*"], &[]).with([other()]),
        some(1).with([says(k(), 1)]),
    ]);
    converges(&[
        full(2).with([other()]),
        full(3).scoped(&["*"], &["a"]).with([other()]),
        some(1).with([says(k(), 1)]),
    ]);
}

#[test]
fn a_batch_older_than_the_horizon_is_too_late_and_the_clock_has_no_say_in_it() {
    let mut world = World::new();
    world.source("alpha", |source| source.max_lateness_seconds = 3600);
    world.publish(&some(100).with([says(k(), 1)]));
    world.clock.advance(Duration::from_secs(7 * 24 * 3600));
    assert_eq!(world.publish(&some(50).with([says(entity("b"), 1)])).status, PublishStatus::Complete);
    failed(&world.publish(&some(39).with([says(entity("b"), 2)])), ErrorKind::TooLate);
    world.expect(&[(k(), 1), (entity("b"), 1)]);
}

#[test]
fn the_horizon_does_not_pass_an_open_dead_letter() {
    let mut world = World::new();
    world.source("alpha", |source| source.max_lateness_seconds = 3600);
    world.publish(&full(10).with([says(entity("b"), 1), Line::BadKeyed(k())]));
    world.publish(&some(200).with([says(entity("b"), 2)]));
    assert_eq!(world.publish(&some(11).with([says(entity("ab"), 1)])).status, PublishStatus::Complete);
    failed(&world.publish(&some(9).with([says(entity("ab"), 1)])), ErrorKind::TooLate);
}

// 3. Full batches with bad lines

#[test]
fn a_bad_line_of_a_full_batch_deletes_nothing() {
    let world =
        converges(&[full(1).with([says(k(), 1), other()]), full(2).with([Line::BadKeyed(k()), other()])]);
    assert_eq!(world.dead_letters("alpha").len(), 1);
}

#[test]
fn an_unreadable_line_wherever_it_stands_withholds_all_deletions() {
    for at in [0, 1, 2] {
        let world = World::new();
        world.publish(&full(1).with([says(k(), 1), other(), says(entity("ab"), 1)]));
        let mut lines = vec![says(k(), 2), other()];
        lines.insert(at, Line::BadKeyless(1));
        let record = world.publish(&full(2).with(lines));
        assert_eq!(record.status, PublishStatus::Complete);
        let plan = world.plan(&record);
        assert_eq!((plan.header.summary.entities.withheld, plan.header.summary.entities.delete), (1, 0));
        world.expect(&[(k(), 2), (entity("ab"), 1), (entity("b"), 1)]);
    }
}

// 4. Leaving EXECUTING

#[test]
fn what_a_failed_batch_published_is_in_the_snapshot() {
    let mut world = World::new();
    world.source("alpha", |source| source.isolation.ratio = 0.0);
    world.source("alpha", |source| source.isolation.count = 0);
    // k is created by the first operation, the second has the refused one.
    let names = ["a", "ab", "ac", "ad", "ae", "af"];
    world.faults.refuse([entity("ae")]);
    let record = world.publish(&full(1).with(names.iter().map(|name| says(entity(name), 1))));
    failed(&record, ErrorKind::TooManyRefused);
    assert!(world.export().contains("\"a\""), "the first operation was published");
    world.faults.heal();
    world.publish(&full(2).with([says(entity("x"), 1)]));
    world.expect(&[(entity("x"), 1)]);
}

#[test]
fn a_batch_that_is_not_complete_leaves_tombstones_of_what_it_deleted() {
    let mut world = World::new();
    let names = ["a", "ab", "ac", "ad", "ae", "af"];
    world.publish(&full(1).with(names.iter().map(|name| says(entity(name), 1))));
    world.source("alpha", |source| {
        source.isolation.ratio = 0.0;
        source.isolation.count = 0;
    });
    let before = world.export();
    world.faults.refuse([entity("a")]);
    failed(&world.publish(&full(3).with([says(entity("z"), 1)])), ErrorKind::TooManyRefused);
    world.faults.heal();
    let gone: Vec<&str> =
        names.iter().copied().filter(|name| !world.export().contains(&format!("\"{name}\""))).collect();
    assert!(!gone.is_empty() && before != world.export(), "some deletions were published");
    // Older than the failed batch: what it deleted stays away.
    world.publish(&some(2).with(gone.iter().map(|name| says(entity(name), 2))));
    for name in gone {
        assert!(!world.export().contains(&format!("\"{name}\"")), "{name} is back");
    }
}

#[test]
fn what_a_full_batch_leaves_out_is_a_deletion_when_its_clean_up_is_refused() {
    let mut world = World::new();
    world.faults.refuse([k()]);
    world.publish(&full(1).with([says(k(), 1), other()]));
    // With another precedence what is refused leaves its key unsure.
    world.source("alpha", |source| source.precedence += 1);
    world.publish(&some(2).with([says(k(), 2)]));
    assert_eq!(world.dead_letters("alpha").len(), 1);
    // Perhaps it is at the target: it is taken away, in vain.
    let record = world.publish(&full(3).with([other()]));
    assert_eq!(world.plan(&record).header.summary.entities.delete, 1);
    let letters = world.dead_letters("alpha");
    let deletes = |letter: &DeadLetter| String::from_utf8_lossy(&letter.content).contains("\"deleted\":true");
    assert!(letters.len() == 1 && letters.iter().all(deletes), "{letters:?}");
    world.faults.heal();
    let all = LetterQuery { states: vec![LetterState::Open], ..LetterQuery::default() };
    world.engine().requeue_letters(&all, "ann", "again").unwrap();
    world.work();
    world.expect(&[(entity("b"), 1)]);
    world.publish(&some(4));
    world.expect(&[(entity("b"), 1)]);
    assert_eq!(world.dead_letters("alpha").len(), 0);
}

// 5. Relationships

#[test]
fn a_relationship_waits_for_its_ends_whoever_asserts_them() {
    let world = World::new();
    let ab = edge("a", "b");
    let record = world.publish(&full(1).with([says(k(), 1), says(ab.clone(), 1)]));
    assert_eq!(world.plan(&record).header.summary.relationships.waiting, 1);
    world.expect(&[(k(), 1)]);
    world.publish(&TestBatch::full("beta", 1).with([other()]));
    world.expect(&[(k(), 1), (entity("b"), 1), (ab.clone(), 1)]);
    // It waits again, which is no deletion of its source's, and trips nothing.
    let record = world.publish(&TestBatch::full("beta", 2).with([says(entity("ub"), 1)]));
    assert_eq!(world.plan(&record).header.summary.relationships.counts.delete, 0);
    world.expect(&[(k(), 1), (entity("ub"), 1)]);
    world.publish(&TestBatch::incremental("beta", 3).with([other()]));
    world.expect(&[(k(), 1), (entity("b"), 1), (entity("ub"), 1), (ab, 1)]);
}

#[test]
fn relationships_that_begin_to_wait_trip_no_guard() {
    let mut world = World::new();
    let names = ["c", "d", "e", "f", "g", "h"];
    let edges = names.iter().map(|name| says(edge("a", name), 1));
    world.publish(&full(1).with(names.iter().map(|name| says(entity(name), 1))).with(edges));
    world.publish(&TestBatch::full("beta", 1).with([says(k(), 1)]));
    assert!(world.export().contains("\"from\""));
    world.source("beta", |source| {
        source.guards.delete_ratio = 0.0;
        source.guards.delete_min = 2;
    });
    let record = world.publish(&TestBatch::incremental("beta", 2).with([Line::Deleted(k())]));
    assert_eq!((record.status, record.hold.is_some()), (PublishStatus::Complete, false));
    assert!(!world.export().contains("\"from\""));
}

#[test]
fn a_refused_relationship_is_a_dead_letter_of_its_source() {
    let world = World::new();
    world.publish(&TestBatch::full("beta", 1).with([says(k(), 1)]));
    world.faults.refuse([edge("a", "b")]);
    // alpha asserts the relationship; beta's entity makes it show.
    world.publish(&full(1).with([says(edge("a", "b"), 1), other()]));
    assert_eq!(world.dead_letters("alpha").len(), 1);
    assert_eq!(world.dead_letters("beta").len(), 0);
    world.expect(&[(k(), 1), (entity("b"), 1)]);
    world.faults.heal();
    world.publish(&full(2).with([says(edge("a", "b"), 1), other()]));
    assert_eq!(world.dead_letters("alpha").len(), 0);
    world.expect(&[(k(), 1), (entity("b"), 1), (edge("a", "b"), 1)]);
}

#[test]
fn a_refused_relationship_that_another_sources_plan_brings_is_its_own_sources_dead_letter() {
    let world = World::new();
    let ab = edge("a", "b");
    world.publish(&full(1).with([says(ab.clone(), 1), other()]));
    world.faults.refuse([ab.clone()]);
    world.publish(&TestBatch::full("beta", 1).with([says(k(), 1)]));
    world.expect(&[(k(), 1), (entity("b"), 1)]);
    assert_eq!((world.dead_letters("alpha").len(), world.dead_letters("beta").len()), (1, 0));
    assert_eq!(world.dead_letters("alpha")[0].batch_id.to_string(), full(1).id());
    world.faults.heal();
    // The next plan of the source whose plan it was brings it.
    world.publish(&TestBatch::incremental("beta", 2));
    world.expect(&[(k(), 1), (entity("b"), 1), (ab, 1)]);
    assert_eq!(world.dead_letters("alpha").len(), 0);
}

#[test]
fn a_relationship_of_an_entity_to_itself_is_valid() {
    converges(&[
        full(1).with([says(k(), 1), says(edge("a", "a"), 1)]),
        full(2).with([says(edge("a", "a"), 1)]),
    ]);
}

// 6. Several sources of one target

#[test]
fn an_entity_exists_while_any_source_asserts_it() {
    let world = World::new();
    world.publish(&full(1).with([says(k(), 1)]));
    world.publish(&TestBatch::full("beta", 1).with([says(k(), 2)]));
    // Equal precedence: the source id that sorts first.
    world.expect(&[(k(), 1)]);
    world.publish(&full(2).with([other()]));
    world.expect(&[(k(), 2), (entity("b"), 1)]);
    world.publish(&TestBatch::full("beta", 2).with([says(entity("ub"), 1)]));
    world.expect(&[(entity("b"), 1), (entity("ub"), 1)]);
}

#[test]
fn a_changed_precedence_is_applied_by_the_sources_next_plan() {
    let mut world = World::new();
    world.publish(&full(1).with([says(k(), 1)]));
    world.publish(&TestBatch::full("beta", 1).with([says(k(), 2)]));
    world.source("beta", |source| source.precedence = 5);
    world.expect(&[(k(), 1)]);
    let record = world.publish(&TestBatch::incremental("beta", 2));
    assert_eq!(world.plan(&record).header.summary.entities.update, 1);
    world.expect(&[(k(), 2)]);
}

#[test]
fn an_unsure_key_is_judged_once_when_the_precedence_changes_too() {
    let mut world = World::new();
    world.publish(&full(1).with([says(k(), 1)]));
    world.publish(&TestBatch::full("beta", 1).with([says(k(), 2)]));
    // The change of precedence is refused at the key, which is unsure then.
    world.source("beta", |source| source.precedence = 5);
    world.faults.refuse([k()]);
    world.publish(&TestBatch::incremental("beta", 2));
    world.expect(&[(k(), 1)]);
    world.faults.heal();
    // Another source's value is to show again: judged without regard to what
    // is unsure, the key would be changed a second time.
    world.source("beta", |source| source.precedence = -1);
    let record = world.publish(&TestBatch::incremental("beta", 3));
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
    world.expect(&[(k(), 1)]);
}

#[test]
fn a_plan_made_before_the_other_end_was_published_is_made_again() {
    // alpha's plan has A→B waiting; beta publishes B before alpha's runs.
    let mut world = World::new();
    world.source("alpha", |source| source.guards.empty_full = true);
    world.publish(&full(1).with([says(k(), 1), says(entity("ub"), 1)]));
    world.source("alpha", |source| {
        source.guards.delete_ratio = 0.0;
        source.guards.delete_min = 1;
    });
    let parked = world.publish(&full(2).with([says(k(), 1), says(edge("a", "b"), 1)]));
    assert!(parked.hold.is_some());
    world.publish(&TestBatch::full("beta", 1).with([other()]));
    world.approve(&parked.batch_id);
    assert_eq!(world.batch(&parked.batch_id).status, PublishStatus::Complete);
    world.expect(&[(k(), 1), (entity("b"), 1), (edge("a", "b"), 1)]);
}

#[test]
fn a_relationship_of_one_source_and_its_end_of_another_planned_at_once_both_show() {
    // alpha has A and A→B, beta has B. Neither's plan knows of the other's.
    for first in ["alpha", "beta"] {
        for begun in [false, true] {
            let world = World::new();
            let alpha = world.deliver(&full(1).with([says(k(), 1), says(edge("a", "b"), 1)])).unwrap();
            let beta = world.deliver(&TestBatch::full("beta", 1).with([other()])).unwrap();
            world.advance("alpha");
            world.advance("beta");
            for id in [&alpha, &beta] {
                assert_eq!(world.batch(id).status, PublishStatus::PlanComplete);
            }
            let (one, two) = if first == "alpha" { (&alpha, &beta) } else { (&beta, &alpha) };
            world.advance(first);
            assert_eq!(world.batch(one).status, PublishStatus::Executing);
            if begun {
                // The other one's plan meets what is in work, and waits for its end.
                world.advance(two.source().as_str());
                assert_eq!(world.batch(two).status, PublishStatus::Planning);
                assert_eq!(world.advance(two.source().as_str()), None);
            } else {
                world.advance(first);
            }
            world.work();
            assert_eq!((world.plannings(one), world.plannings(two)), (1, 2), "{first} {begun}");
            world.expect(&[(k(), 1), (entity("b"), 1), (edge("a", "b"), 1)]);
        }
    }
}

// 7. Line order

#[test]
fn two_values_of_a_key_are_found_though_one_line_is_as_it_was() {
    for second in [2, 1] {
        let world = World::new();
        world.publish(&full(1).with([says(k(), 1), other()]));
        let record = world.publish(&full(2).with([says(k(), 1), says(k(), second), other()]));
        let conflict = second == 2;
        assert_eq!(world.dead_letters("alpha").len(), usize::from(conflict));
        assert_eq!(record.failure.is_some(), conflict);
        world.expect(&[(k(), 1), (entity("b"), 1)]);
    }
}

#[test]
fn a_line_that_was_not_published_does_not_pass_for_published_later() {
    // The second batch's good line of the key stands beside a bad one, so
    // that nothing of it is published; the third has it alone.
    let world = World::new();
    world.publish(&some(1).with([says(k(), 1), says(entity("b"), 1)]));
    world.publish(&full(2).with([Line::BadKeyed(k()), says(k(), 2), other()]));
    world.expect(&[(k(), 1), (entity("b"), 1)]);
    world.publish(&full(3).with([says(k(), 2), other()]));
    world.expect(&[(k(), 2), (entity("b"), 1)]);
}

#[test]
fn a_refused_change_is_found_again_by_the_next_batch_with_the_same_line() {
    let world = World::new();
    world.publish(&full(1).with([says(k(), 1), other()]));
    world.faults.refuse([k()]);
    world.publish(&full(2).with([says(k(), 2), other()]));
    world.expect(&[(k(), 1), (entity("b"), 1)]);
    world.faults.heal();
    world.publish(&full(3).with([says(k(), 2), other()]));
    world.expect(&[(k(), 2), (entity("b"), 1)]);
    assert!(world.dead_letters("alpha").is_empty());
}

#[test]
fn a_line_order_of_a_narrower_scope_is_not_used_by_another_one() {
    converges(&[
        full(1).scoped(&["a*"], &[]).with([says(k(), 1), says(entity("ab"), 1)]),
        full(2).scoped(&["b*"], &[]).with([says(k(), 1), other()]),
        full(3).scoped(&["a*"], &[]).with([says(k(), 1)]),
        full(4).with([says(k(), 1), other()]),
        some(2).with([Line::Deleted(k())]),
    ]);
}

// 8. Order, parking, rejecting

fn guarded() -> World {
    World::with(|settings| {
        let source = settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap();
        source.guards.delete_ratio = 0.3;
        source.guards.delete_min = 2;
    })
}

fn three() -> TestBatch {
    full(1).with(["a", "ab", "b", "c"].iter().map(|name| says(entity(name), 1)))
}

#[test]
fn a_rejected_batch_asserts_nothing_and_the_next_like_it_is_parked_again() {
    let world = guarded();
    world.publish(&three());
    let parked = world.publish(&full(2).with([says(k(), 2)]));
    assert!(parked.hold.is_some());
    world.reject(&parked.batch_id);
    failed(&world.batch(&parked.batch_id), ErrorKind::Rejected);
    world.expect_batches(&[&three()]);
    let again = world.publish(&full(3).with([says(k(), 2)]));
    assert!(again.hold.is_some());
    world.approve(&again.batch_id);
    world.expect(&[(k(), 2)]);
}

#[test]
fn a_newer_full_batch_runs_before_a_parked_one_which_ends_superseded() {
    let world = guarded();
    world.publish(&three());
    let parked = world.publish(&full(2).with([says(k(), 2)]));
    let between = world.deliver(&some(3).with([says(entity("b"), 3)])).unwrap();
    world.work();
    assert_eq!(world.batch(&between).status, PublishStatus::Pending, "the parked one blocks it");
    let newer = full(4).with(["a", "ab", "b", "c"].iter().map(|name| says(entity(name), 4)));
    assert_eq!(world.publish(&newer).status, PublishStatus::Complete);
    failed(&world.batch(&parked.batch_id), ErrorKind::Superseded);
    assert_eq!(world.batch(&between).status, PublishStatus::Complete, "it was merely late");
    world.expect_batches(&[&newer]);
}

#[test]
fn a_parked_incremental_batch_gives_way_to_a_full_one_of_scope_everything_alone() {
    let world = guarded();
    world.publish(&three());
    let gone = ["ab", "b"].iter().map(|name| Line::Deleted(entity(name)));
    let parked = world.publish(&some(2).with(gone));
    assert!(parked.hold.is_some());
    let narrow =
        world.deliver(&full(3).scoped(&["a*"], &[]).with([says(k(), 3), says(entity("ab"), 3)])).unwrap();
    world.work();
    assert_eq!(world.batch(&narrow).status, PublishStatus::Pending);
    let names = ["a", "ab", "b", "c"];
    let everything = full(4).with(names.iter().map(|name| says(entity(name), 4)));
    world.publish(&everything);
    assert_eq!(world.batch(&narrow).status, PublishStatus::Complete);
    world.expect_batches(&[&everything]);
}

#[test]
fn an_approval_covers_a_new_plan_only_if_it_trips_no_more() {
    let world = guarded();
    world.publish(&three());
    let parked = world.publish(&full(5).with([says(k(), 1), says(entity("c"), 1)]));
    assert!(parked.hold.is_some());
    // Before the approval is used, another key comes that the batch deletes too.
    world.engine().approve(&parked.batch_id, None, "ann", "two are right").unwrap();
    world.publish(&some(4).with([says(entity("d"), 4), says(entity("e"), 4)]));
    let record = world.batch(&parked.batch_id);
    // The late one came behind the approved one in the queue of stamps, and
    // ran first: the plan deletes more than what was approved.
    assert!(record.hold.is_some(), "{record:?}");
    world.expect(&[
        (k(), 1),
        (entity("ab"), 1),
        (entity("b"), 1),
        (entity("c"), 1),
        (entity("d"), 4),
        (entity("e"), 4),
    ]);
}

#[test]
fn after_a_failed_full_batch_the_source_goes_on() {
    let world = World::new();
    world.publish(&full(1).with([says(k(), 1)]));
    fail(&world, &full(2).with([says(k(), 2)]));
    assert_eq!(world.publish(&some(3).with([other()])).status, PublishStatus::Complete);
    world.expect(&[(k(), 1), (entity("b"), 1)]);
}

#[test]
fn after_a_failed_incremental_batch_the_source_is_held_until_a_full_one_of_everything() {
    let world = World::new();
    world.publish(&full(1).with([says(k(), 1)]));
    fail(&world, &some(2).with([says(k(), 2)]));
    let held = world.deliver(&some(3).with([other()])).unwrap();
    world.work();
    assert_eq!(world.batch(&held).status, PublishStatus::Pending);
    let everything = full(4).with([says(k(), 4), other()]);
    assert_eq!(world.publish(&everything).status, PublishStatus::Complete);
    assert_eq!(world.batch(&held).status, PublishStatus::Complete);
    world.expect_batches(&[&everything]);
}

/// Delivers a batch one of whose files is damaged.
#[track_caller]
fn fail(world: &World, batch: &TestBatch) {
    let folder = batch.write(&world.data.path().join("delivered"));
    let id = world.engine().accept(&folder).unwrap();
    let path = folder.join("entities-00000.ndjson");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"x\":2", "\"x\": 2")).unwrap();
    world.work();
    failed(&world.batch(&id), ErrorKind::SizeMismatch);
}

// 9. Isolation and dead letters

#[test]
fn past_the_isolation_limit_the_batch_fails_as_a_whole() {
    let mut world = World::new();
    world.source("alpha", |source| source.isolation = tidegate::domain::isolation::IsolationLimit::default());
    let bad = (0..11).map(Line::BadKeyless);
    failed(&world.publish(&some(1).with(bad).with([other()])), ErrorKind::TooManyBadLines);
    world.expect(&[]);
    let bad = (0..10).map(Line::BadKeyless);
    world.publish(&full(2).with(bad).with([other()]));
    world.expect(&[(entity("b"), 1)]);
}

#[test]
fn there_is_one_open_dead_letter_a_key_with_the_newest_content() {
    let world = World::new();
    world.publish(&some(2).with([Line::BadKeyed(k())]));
    world.publish(&some(3).with([Line::BadKeyed(k())]));
    world.publish(&some(1).with([Line::BadKeyed(k())]));
    let letters = world.dead_letters("alpha");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].batch_id.to_string(), some(3).id());
}

#[test]
fn a_newer_assertion_of_the_key_absence_included_moots_its_dead_letter() {
    let newer: [TestBatch; 4] = [
        some(3).with([says(k(), 1)]),
        some(3).with([Line::Deleted(k())]),
        full(3).with([other()]),
        // Found unchanged.
        full(3).with([says(k(), 0), other()]),
    ];
    for newer in newer {
        let world = World::new();
        world.publish(&some(1).with([says(k(), 0)]));
        world.publish(&some(2).with([Line::BadKeyed(k())]));
        assert_eq!(world.dead_letters("alpha").len(), 1);
        world.publish(&newer);
        assert_eq!(world.dead_letters("alpha").len(), 0, "{newer:?}");
    }
}

#[test]
fn an_older_assertion_does_not_moot_a_dead_letter_nor_does_a_full_batch_that_excepts_it() {
    let world = World::new();
    world.publish(&some(5).with([Line::BadKeyed(k())]));
    world.publish(&some(4).with([says(k(), 1)]));
    world.publish(&full(6).with([Line::BadKeyed(k()), other()]));
    assert_eq!(world.dead_letters("alpha").len(), 1);
}

#[test]
fn entities_are_sent_whatever_became_of_their_container_and_relationships_wait() {
    let world = World::new();
    world.faults.refuse([k()]);
    let record = world.publish(&full(1).with([says(k(), 1), other(), says(edge("a", "b"), 1)]));
    assert_eq!(record.failure.unwrap().error_code, "PARTIAL");
    world.expect(&[(entity("b"), 1)]);
    world.faults.heal();
    world.publish(&full(2).with([says(k(), 1), other(), says(edge("a", "b"), 1)]));
    world.expect(&[(k(), 1), (entity("b"), 1), (edge("a", "b"), 1)]);
}

// 10. Commit protocol

#[test]
fn a_catalogue_restored_from_a_backup_holds_its_sources() {
    let mut world = World::new();
    world.publish(&full(1).with([says(k(), 1)]));
    let backup = world.data.path().join("backup");
    world.stop();
    std::fs::copy(world.data.path().join("catalogue.redb"), &backup).unwrap();
    world.restart();
    world.publish(&full(2).with([says(k(), 2)]));
    world.stop();
    std::fs::copy(&backup, world.data.path().join("catalogue.redb")).unwrap();
    world.restart();
    let id = world.deliver(&full(3).with([says(k(), 3)])).unwrap();
    assert_eq!(world.engine().run_until_idle().unwrap_err().kind(), ErrorKind::TargetMoved);
    let hold = world.engine().store().read(|view| view.source_hold(id.source())).unwrap().unwrap();
    assert_eq!(hold.code, "TARGET_MOVED");
    world.expect(&[(k(), 1)]);
}

#[test]
fn a_state_folder_belongs_to_one_data_directory() {
    let world = World::new();
    let other = support::folder();
    let mut settings = world.settings.clone();
    settings.data = other.path().into();
    for target in settings.targets.values_mut() {
        *target = tidegate::config::TargetSettings::embedded(other.path());
    }
    let opened = tidegate::service::Engine::open(other.path(), settings, world.clock.clone());
    assert_eq!(opened.err().unwrap().kind(), ErrorKind::StateForeign);
}

// 11 and 12. Volatile attributes and the fingerprint

fn pair(x: i64, y: i64) -> Line {
    Line::Value(k(), support::batches::value(&[("x", x), ("y", y)]), 0)
}

#[test]
fn a_difference_in_volatile_attributes_alone_makes_no_update() {
    let mut world = World::new();
    world.source("alpha", |source| source.volatile = vec!["y".into()]);
    world.publish(&full(1).with([pair(1, 1)]));
    let record = world.publish(&full(2).with([pair(1, 2)]));
    assert_eq!(world.plan(&record).header.summary.entities.unchanged, 1);
    assert!(world.export().contains("\"y\":1"));
    // With another change it is sent along.
    world.publish(&full(3).with([pair(2, 3)]));
    assert!(world.export().contains("\"x\":2,\"y\":3"));
    // Settings that no longer name it: the next batch's value is a change.
    world.source("alpha", |source| source.volatile = Vec::new());
    world.publish(&full(4).with([pair(2, 4)]));
    assert!(world.export().contains("\"x\":2,\"y\":4"));
}

#[test]
fn a_changed_fingerprint_drops_the_line_order() {
    let mut world = World::new();
    world.source("alpha", |source| source.volatile = vec!["y".into()]);
    world.publish(&full(1).with([pair(1, 1), other()]));
    let record = world.publish(&full(2).with([pair(1, 2), other()]));
    assert_eq!(world.plan(&record).header.summary.changes(), 0);
    world.source("alpha", |source| source.volatile = Vec::new());
    // The line is the one that came last, and its y was never sent.
    world.publish(&full(3).with([pair(1, 2), other()]));
    assert!(world.export().contains("\"y\":2"), "{}", world.export());
}

// 13. Publish state

#[test]
fn failure_details_are_set_when_something_failed_and_null_in_a_clean_complete() {
    let world = World::new();
    assert_eq!(world.publish(&full(1).with([other()])).failure, None);
    let partial = world.publish(&full(2).with([other(), Line::BadKeyed(k())]));
    assert_eq!(partial.failure.unwrap().error_code, "PARTIAL");
}
