//! What only large batches meet: lines in another order than the last batch's,
//! judging and looking up on several threads, operations prepared ahead, values
//! too large to hold many of. Each against its slow twin and the naive model.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::batches::{Line, TestBatch, edge, entity, says};
use support::oracle;
use support::world::World;
use tidegate::domain::ids::SourceId;
use tidegate::domain::key::{EntityKey, Key};
use tidegate::planning::format::block_file::{BlockReader, FileKind};

const ENTITIES: usize = 1_700;

/// A number that looks random and is not.
fn mixed(n: usize, salt: usize) -> usize {
    let mut x = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (salt as u64).wrapping_mul(0xBF58_476D);
    x ^= x >> 29;
    x = x.wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ x >> 32) as usize
}

fn name(n: usize) -> String {
    if n.is_multiple_of(20) { format!("t{n}") } else { format!("u{}.{n}", n / 20 * 20) }
}

fn value(n: usize, revision: usize) -> BTreeMap<String, Value> {
    let text = format!("entity {n} in revision {revision}, {}", "word ".repeat(n % 40));
    [("x".to_owned(), json!(revision)), ("y".to_owned(), json!(n)), ("text".to_owned(), json!(text))].into()
}

/// Round 0 has all; each round changes, drops and adds some. `salt` sets the
/// order of the lines, 0 is the natural one.
fn batch(round: usize, salt: usize) -> TestBatch {
    let there = |n: usize| !(1..=round).any(|r| mixed(n, r).is_multiple_of(37));
    let revision = |n: usize| (1..=round).filter(|r| mixed(n, 100 + r).is_multiple_of(11)).count();
    let all: Vec<usize> = (0..ENTITIES + round * 90).filter(|n| there(*n)).collect();
    let mut lines: Vec<(usize, Line)> = Vec::new();
    for n in &all {
        lines.push((*n, Line::Value(entity(&name(*n)), value(*n, revision(*n)), 0)));
        let container = n / 20 * 20;
        if *n != container {
            lines.push((*n, Line::Value(edge(&name(container), &name(*n)), value(7, revision(*n)), 0)));
        }
    }
    if salt > 0 {
        lines.sort_by_key(|(n, line)| {
            mixed(*n, salt) ^ usize::from(matches!(line, Line::Value(Key::Entity(_), ..)))
        });
    }
    TestBatch::full("alpha", 10 + round as u32).with(lines.into_iter().map(|(_, line)| line))
}

fn world(fast: bool, max_changes: usize) -> World {
    World::with(|settings| {
        settings.planning.fast_path = fast;
        settings.planning.dictionaries = fast;
        settings.planning.threads = if fast { 4 } else { 2 };
        settings.max_changes = Some(max_changes);
    })
}

/// Digest, counts and exported catalogue after each batch.
fn history(world: &World, batches: &[TestBatch]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for batch in batches {
        let record = world.publish(batch);
        let header = world.plan(&record).header;
        assert!(record.failure.is_none(), "{:?}", record.failure);
        all.push((format!("{} {:?}", header.digest, header.summary), world.export()));
    }
    all
}

fn has_dictionaries(world: &World) -> bool {
    let packs = world.engine().state().source(&SourceId::new("alpha").unwrap()).join("packs");
    let mut packs = std::fs::read_dir(packs).unwrap().map(|pack| pack.unwrap().path());
    packs.any(|pack| {
        let reader = BlockReader::open(&pack, FileKind::Pack).unwrap();
        reader.dictionary("u").unwrap().is_some()
    })
}

#[test]
fn batches_in_any_order_of_lines_make_the_plans_of_the_slow_twin() {
    let batches = [batch(0, 0), batch(1, 5), batch(2, 6), batch(3, 0), batch(4, 0)];
    let (fast, slow) = (world(true, 100_000), world(false, 100_000));
    let (fast_history, slow_history) = (history(&fast, &batches), history(&slow, &batches));
    for (n, (a, b)) in fast_history.iter().zip(&slow_history).enumerate() {
        assert_eq!(a.0, b.0, "batch {n}");
        assert!(a.1 == b.1, "the catalogues differ after batch {n}");
        let expected = oracle::export(&oracle::catalogue(&[&batches[n]], &BTreeMap::new()));
        assert!(a.1 == expected, "the catalogue after batch {n} is not what the batch says");
    }
    // The one has dictionaries in its packs, the other has none.
    assert!(has_dictionaries(&fast) && !has_dictionaries(&slow));
    // Shuffled lines were found without being parsed, and so were the others.
    for (batch, least) in [(&batches[1], 2_000), (&batches[3], 300), (&batches[4], 2_000)] {
        let record = fast.batch(&batch.id().parse().unwrap());
        let taken = fast.plan(&record).lines_in_order;
        assert!(taken > least, "batch {}: only {taken} lines were taken by their hashes", batch.time);
    }
}

#[test]
fn operations_of_any_size_lead_to_the_same_catalogue_and_history() {
    let batches = [batch(0, 0), batch(1, 0), batch(2, 3), batch(3, 0)];
    let (large, small) = (world(true, 100_000), world(true, 100));
    assert_eq!(history(&large, &batches), history(&small, &batches));
    for n in (0..ENTITIES).step_by(13) {
        let Key::Entity(key) = entity(&name(n)) else { unreachable!() };
        let view = |world: &World| {
            let view = world.engine().catalogue(None).unwrap().get(&key, 100).unwrap();
            let mut view = serde_json::to_value(view).unwrap();
            without_origins(&mut view);
            view
        };
        assert_eq!(view(&large), view(&small), "{key:?}");
    }
}

/// Plans and times differ between two worlds.
fn without_origins(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| name != "plan" && name != "at");
            members.values_mut().for_each(without_origins);
        }
        Value::Array(items) => items.iter_mut().for_each(without_origins),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn relationships_go_and_come_with_their_ends_though_memory_holds_few_of_them() {
    let world = World::with(|settings| {
        settings.max_changes = Some(1_000);
        settings.planning.sort_memory = 4_096;
    });
    let entities = |time: u32, count: usize| {
        TestBatch::full("alpha", time).with((0..count).map(|n| says(entity(&format!("t{n}")), 1)))
    };
    let edges = (0..400).map(|n| says(edge(&format!("t{n}"), &format!("t{}", n / 2)), 1));
    let all = [
        entities(10, 400),
        // Of another source, and those at t0 of both.
        TestBatch::full("beta", 11).with(edges),
        entities(12, 400).with((0..50).map(|n| says(edge("t0", &format!("t{n}")), 1))),
        entities(13, 0),
        entities(14, 300),
        entities(15, 400),
    ];
    for (n, batch) in all.iter().enumerate() {
        world.publish(batch);
        world.expect_batches(&all[..=n].iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_line_of_the_other_kind_is_bad_though_its_hash_is_known() {
    // The same lines again, but the manifest takes one file for the other.
    let outcome = |fast: bool| {
        let world = world(fast, 100_000);
        world.publish(&TestBatch { lines: batch(0, 0).lines.into_iter().take(200).collect(), ..batch(0, 0) });
        let before = world.export();
        let next =
            TestBatch { time: 50, lines: batch(0, 0).lines.into_iter().take(200).collect(), ..batch(0, 0) };
        let folder = next.write(&world.data.path().join("delivered"));
        let manifest = folder.join("manifest.json");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let text = text
            .replace("\"kind\":\"entities\"", "\"kind\":\"?\"")
            .replace("\"kind\":\"relationships\"", "\"kind\":\"entities\"")
            .replace("\"kind\":\"?\"", "\"kind\":\"relationships\"");
        std::fs::write(&manifest, text).unwrap();
        let id = world.engine().accept(&folder).unwrap();
        world.work();
        assert_eq!(world.export(), before);
        let record = world.batch(&id);
        let header = world.plan(&record).header;
        (record.failure.unwrap().error_code, header.digest, header.summary, world.dead_letters("alpha").len())
    };
    let (fast, slow) = (outcome(true), outcome(false));
    assert_eq!(fast, slow);
    assert_eq!((fast.0.as_str(), fast.3), ("PARTIAL", 200));
}

#[test]
fn values_too_large_to_hold_many_of_are_planned_and_published() {
    let world = world(true, 100_000);
    let large = |n: usize, revision: usize| {
        let text = format!("{revision}{}", "x".repeat(600_000));
        let key = Key::Entity(EntityKey::new("t", format!("t{n}")));
        Line::Value(key, [("text".to_owned(), json!(text))].into(), 0)
    };
    let first = TestBatch::full("alpha", 10).with((0..80).map(|n| large(n, 1)));
    let second = TestBatch::full("alpha", 20).with((0..80).map(|n| large(n, 2)));
    world.publish(&first);
    let record = world.publish(&second);
    assert_eq!(record.metrics.unwrap().entities_updated, 80);
    world.expect_batches(&[&second]);
}

#[test]
fn a_refused_entity_of_a_large_operation_keeps_its_relationships_waiting() {
    let world = world(true, 100_000);
    let refused = entity(&name(40));
    world.faults.refuse([refused.clone()]);
    let record = world.publish(&batch(0, 0));
    assert_eq!(record.failure.unwrap().error_code, "PARTIAL");
    let letters = world.dead_letters("alpha");
    assert_eq!(letters.iter().map(|l| l.key.clone().unwrap()).collect::<Vec<_>>(), [refused]);
    world.faults.heal();
    // It is found again by the next batch, with its relationships.
    let next = TestBatch { time: 60, ..batch(0, 0) };
    world.publish(&next);
    world.expect_batches(&[&next]);
    assert!(world.dead_letters("alpha").is_empty());
}
