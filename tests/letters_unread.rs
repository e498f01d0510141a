//! Dead letters that nothing is about are not read: a source may have a
//! hundred thousand of them, each with its original. Here their records can't
//! be read at all.

mod support;

use std::time::Duration;

use redb::TableDefinition;
use support::batches::{Line, TestBatch, entity, says};
use support::world::World;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::service::query::LetterQuery;
use tidegate::service::views::LetterState;

const LETTERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("dead_letters");

/// Damages the records of these letters.
fn damage(world: &mut World, ids: &[u64]) {
    world.stop();
    let db = redb::Database::open(world.data.path().join("tidegate.redb")).unwrap();
    let tx = db.begin_write().unwrap();
    for id in ids {
        assert!(
            tx.open_table(LETTERS).unwrap().insert(&id.to_be_bytes()[..], &b"\x01?"[..]).unwrap().is_some()
        );
    }
    tx.commit().unwrap();
    drop(db);
    world.restart();
}

fn state(world: &World, id: u64) -> &'static str {
    world.engine().store().read(|view| view.expect_dead_letter(id)).unwrap().state.as_str()
}

/// A world with four open letters: of a key of `alpha`, which is published
/// with another value, of two more, and of a key of `beta`.
fn world() -> World {
    let mut world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1), says(entity("x"), 1)]));
    let bad = |name: &str| Line::BadKeyed(entity(name));
    for (time, source, name) in [(2, "alpha", "a"), (3, "alpha", "b"), (4, "alpha", "c"), (5, "beta", "a")] {
        world.publish(&TestBatch::incremental(source, time).with([bad(name)]));
    }
    assert_eq!(world.dead_letters("alpha").len() + world.dead_letters("beta").len(), 4);
    damage(&mut world, &[2, 3, 4]);
    world
}

#[test]
fn a_batch_reads_the_letters_of_its_own_keys_alone() {
    let world = world();
    // Few keys among many letters, and the other way round.
    for (time, names) in [(6, &["x"][..]), (7, &["a"]), (8, &["d", "e", "f", "g", "h"])] {
        let batch = TestBatch::incremental("alpha", time)
            .with(names.iter().map(|name| says(entity(name), i64::from(time))));
        assert_eq!(world.publish(&batch).status, PublishStatus::Complete, "{names:?}");
    }
    assert_eq!(state(&world, 1), "resolved");
}

#[test]
fn a_full_batch_reads_no_letter_that_it_does_not_settle() {
    let world = world();
    // It says nothing of a key with a bad line, and the others are newer.
    let late = TestBatch::full("alpha", 2).with([says(entity("a"), 2), says(entity("x"), 2)]);
    assert_eq!(world.publish(&late).status, PublishStatus::Complete);
    assert_eq!(state(&world, 1), "open");
    let lines = [says(entity("a"), 3), says(entity("x"), 3)];
    let scoped = TestBatch::full("alpha", 9).scoped(&["a", "x"], &[]).with(lines);
    assert_eq!(world.publish(&scoped).status, PublishStatus::Complete);
    assert_eq!(state(&world, 1), "resolved");
}

#[test]
fn what_time_does_to_letters_reads_those_that_are_due() {
    let world = world();
    world.engine().discard_letter(1, None, "ann", "a test").unwrap();
    assert_eq!(world.engine().expire_letters().unwrap(), (0, 0));
    world.clock.advance(Duration::from_secs(91 * 24 * 3600));
    assert_eq!(world.engine().expire_letters().unwrap(), (1, 0));
}

#[test]
fn a_list_reads_the_letters_of_its_reason_and_the_settled_ones_alone() {
    let mut world = World::new();
    let bad = |time: u32| TestBatch::incremental("beta", time).with([Line::BadKeyed(entity("a"))]);
    world.publish(&bad(1));
    world.publish(&TestBatch::incremental("beta", 2).with([says(entity("a"), 1)]));
    for (time, name) in [(3, "a"), (4, "b"), (5, "c")] {
        world.publish(&TestBatch::incremental("alpha", time).with([Line::BadKeyed(entity(name))]));
    }
    let signature = world.engine().letter(1).unwrap().letter.signature;
    damage(&mut world, &[2, 3, 4]);
    let settled = vec![LetterState::Resolved, LetterState::Discarded, LetterState::Expired];
    let ids = |states: &[LetterState], signature: Option<&String>| {
        let query =
            LetterQuery { states: states.to_vec(), signature: signature.cloned(), ..LetterQuery::default() };
        let page = world.engine().letters(&query).unwrap();
        assert_eq!(page.next_cursor, None);
        page.items.into_iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&LetterState::ALL, Some(&signature)), [1]);
    assert_eq!(ids(&settled, Some(&signature)), [1]);
    assert_eq!(ids(&settled, None), [1]);
}
