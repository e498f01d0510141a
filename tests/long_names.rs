//! Keys that are as long as they may be, many that look alike, and many types:
//! what is held, packed and sent for them is bounded all the same.

mod support;

use std::collections::BTreeMap;

use support::batches::{Line, TestBatch, entity, says, value};
use support::world::World;
use tidegate::domain::ids::SourceId;
use tidegate::domain::key::{EntityKey, Key};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::planning::bodies::Bodies;
use tidegate::planning::format::block_file::{BlockReader, FileKind};
use tidegate::planning::format::entry::State;
use tidegate::planning::format::layer::CacheBudget;
use tidegate::planning::snapshot::{Found, Snapshot};

fn alpha() -> SourceId {
    SourceId::new("alpha").unwrap()
}

/// An entity of one of many types.
fn of_type(type_no: usize, name: usize) -> Line {
    Line::Value(
        Key::Entity(EntityKey::new(format!("type{type_no}"), format!("e{name}"))),
        value(&[("x", name as i64), ("padding to some bytes", 1)]),
        0,
    )
}

#[test]
fn what_many_long_keys_leave_behind_is_read_back() {
    let world = World::with(|settings| settings.max_changes = Some(1_000));
    world.publish(&TestBatch::full("alpha", 10).with([says(entity("a"), 1)]));
    // The first batch is forgotten, and speaks for what the second says nothing of.
    let long = |n: usize| entity(&format!("{n:05}{}", "x".repeat(16_000)));
    let bad = (0..1_200).map(|n| Line::BadKeyed(long(n)));
    let record = world.publish(&TestBatch::full("alpha", 20).with(bad).with([says(entity("a"), 2)]));
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);

    let manifest = world.snapshot("alpha");
    let (state, budget) = (world.engine().state(), CacheBudget::new(1 << 20));
    let snapshot = Snapshot::open(state, &alpha(), &manifest.target, &manifest.snapshot_id, &budget).unwrap();
    let mut bodies = Bodies::new().unwrap();
    let mut tombstones = 0;
    for layer in 0..snapshot.layers() {
        let mut scan = snapshot.layer(layer).scan();
        while let Some((number, entry)) = scan.advance().unwrap() {
            if entry.state == State::Tombstone {
                let body = snapshot.body(&Found { layer, number, entry }, &mut bodies).unwrap();
                assert_eq!(body.body().unwrap().key().hash(), entry.key);
                tombstones += 1;
            }
        }
    }
    assert_eq!(tombstones, 1_200);
    // They are absent since the first batch, whatever comes late.
    world.publish(&TestBatch::incremental("alpha", 5).with([says(long(1_199), 1)]));
    world.expect(&[(entity("a"), 2)]);
}

#[test]
fn a_warning_tells_of_many_long_names_that_look_alike_in_a_few_words() {
    let world = World::with(|settings| settings.max_changes = Some(1_000));
    let variant = |n: usize| {
        let case = |bit: usize| if n >> bit & 1 == 1 { 'A' } else { 'a' };
        format!("{}{}", (0..8).map(case).collect::<String>(), "b".repeat(3_000))
    };
    let batch = TestBatch::full("alpha", 10).with((0..200).map(|n| says(entity(&variant(n)), 1)));
    let plan = world.plan(&world.publish(&batch));
    let [warning] = &plan.warnings[..] else { panic!("{:?}", plan.warnings) };
    assert!(warning.len() < 1_000, "{}", warning.len());
    assert!(warning.contains("differ only by case") && warning.contains("197 more"), "{warning}");
}

/// Records and blocks of the packs of a source.
fn packs(world: &World) -> (u64, u64) {
    let packs = world.engine().state().source(&alpha()).join("packs");
    let (mut records, mut blocks) = (0, 0);
    for pack in std::fs::read_dir(packs).unwrap() {
        let reader = BlockReader::open(&pack.unwrap().path(), FileKind::Pack).unwrap();
        records += reader.total_records();
        blocks += u64::from(reader.blocks());
    }
    (records, blocks)
}

#[test]
fn bodies_of_many_types_share_blocks() {
    for dictionaries in [false, true] {
        let world = World::with(|settings| {
            settings.max_changes = Some(1_000);
            settings.planning.dictionaries = dictionaries;
        });
        let batch = TestBatch::full("alpha", 10).with((0..2_000).map(|n| of_type(n % 200, n)));
        assert_eq!(world.publish(&batch).status, PublishStatus::Complete);
        world.expect_batches(&[&batch]);
        let (records, blocks) = packs(&world);
        assert_eq!(records, 2_000);
        assert!(blocks * 5 < records, "{blocks} blocks");
    }
}

#[test]
fn types_of_the_last_file_are_not_in_the_way_of_those_of_the_next() {
    let world = World::with(|settings| {
        settings.max_changes = Some(1_000);
        settings.planning.dictionaries = false;
        settings.planning.threads = 1;
    });
    // Entities first, then relationships of other types.
    let end = |n: usize| EntityKey::new(format!("type{}", n % 64), format!("e{n}"));
    let entities = (0..64 * 30).map(|n| of_type(n % 64, n));
    let edges = (0..1_000).map(|n| {
        let key = tidegate::domain::key::RelationshipKey {
            type_name: format!("edge{}", n % 10),
            from: end(n),
            to: end(n + 1),
            label: String::new(),
        };
        Line::Value(Key::Relationship(key), BTreeMap::new(), 0)
    });
    let batch = TestBatch::full("alpha", 10).with(entities).with(edges);
    assert_eq!(world.publish(&batch).status, PublishStatus::Complete);
    let (records, blocks) = packs(&world);
    assert_eq!(records, 64 * 30 + 1_000);
    assert!(blocks * 8 < records, "{blocks} blocks");
}
