//! A source with small batches for a long time: each leaves a body or two that
//! live on, and the packs that hold them do not become more and more.

mod support;

use std::path::PathBuf;

use support::batches::{TestBatch, edge, entity, says};
use support::world::World;
use tidegate::domain::publish_state::PublishStatus;

const BATCHES: u32 = 150;
/// Packs that are left as they are, those of plans that can still be looked at,
/// and those of batches since the last fold.
const MOST: usize = 64 + 50 + 6;

fn packs(world: &World) -> Vec<PathBuf> {
    let folder = world.data.path().join("state/alpha/packs");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn name(n: u32) -> String {
    format!("e{n}")
}

#[test]
fn small_packs_become_one_and_their_bodies_stay_what_they_are() {
    let mut world = World::forgetful();
    let mut batches = Vec::new();
    let mut most = 0;
    for n in 1..=BATCHES {
        let mut batch = TestBatch::incremental("alpha", n).with([says(entity(&name(n)), i64::from(n))]);
        if n > 1 {
            batch = batch.with([says(edge(&name(n - 1), &name(n)), 1)]);
        }
        assert_eq!(world.publish(&batch).status, PublishStatus::Complete);
        batches.push(batch);
        most = most.max(packs(&world).len());
    }
    let is_packed = |path: &PathBuf| path.to_string_lossy().ends_with("-packed.pack");
    assert!(packs(&world).iter().any(is_packed), "{:?}", packs(&world));
    assert!(most <= MOST, "{most} packs at a time");
    world.restart();
    world.expect_batches(&batches.iter().collect::<Vec<_>>());

    // All of it once more, with one change: that alone is found.
    let values = (1..=BATCHES).map(|n| says(entity(&name(n)), i64::from(if n == 7 { 0 } else { n })));
    let edges = (2..=BATCHES).map(|n| says(edge(&name(n - 1), &name(n)), 1));
    let all = TestBatch::full("alpha", BATCHES + 1).with(values.chain(edges));
    let record = world.publish(&all);
    assert_eq!(record.status, PublishStatus::Complete);
    assert_eq!(world.plan(&record).header.summary.changes(), 1);
    world.expect_batches(&[&all]);
}

#[test]
fn a_body_that_can_not_be_read_stays_where_it_is_and_stops_no_batch() {
    let mut world = World::forgetful();
    let batch = |n: u32| TestBatch::incremental("alpha", n).with([says(entity(&name(n)), i64::from(n))]);
    // The first one is the base's, and stays anyway.
    assert_eq!(world.publish(&batch(1)).status, PublishStatus::Complete);
    let base = packs(&world);
    assert_eq!(world.publish(&batch(2)).status, PublishStatus::Complete);
    let all = packs(&world);
    let [second] = &all.iter().filter(|pack| !base.contains(pack)).collect::<Vec<_>>()[..] else {
        panic!("{all:?}")
    };
    let whole = std::fs::read(second).unwrap();
    let mut damaged = whole.clone();
    for byte in &mut damaged[64..] {
        *byte ^= 0x5a;
    }
    std::fs::write(second, damaged).unwrap();
    world.restart();
    for n in 3..=BATCHES {
        assert_eq!(world.publish(&batch(n)).status, PublishStatus::Complete);
    }
    assert!(packs(&world).len() <= MOST, "{:?}", packs(&world));
    assert!(second.exists(), "its body is still wanted");

    // Put back from a backup, it is what it was.
    std::fs::write(second, whole).unwrap();
    world.restart();
    let all = TestBatch::full("alpha", BATCHES + 1)
        .with((1..=BATCHES).map(|n| says(entity(&name(n)), i64::from(if n == 2 { 0 } else { n }))));
    let record = world.publish(&all);
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
    assert_eq!(world.plan(&record).header.summary.changes(), 1);
    world.expect_batches(&[&all]);
}
