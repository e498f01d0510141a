//! The order of a plan's changes: containers before their contents where they
//! come, the other way round where they go, relationships between both.

mod support;

use std::collections::BTreeMap;

use support::batches::{Line, TestBatch, says};
use support::world::World;
use tidegate::domain::change::Action;
use tidegate::domain::key::{EntityKey, Key, KeyHash, RelationshipKey};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::store::BatchRecord;

fn entity(type_name: &str, name: &str) -> EntityKey {
    EntityKey::new(type_name, name)
}

fn contains(type_name: &str, from: &EntityKey, to: &EntityKey) -> Key {
    Key::Relationship(RelationshipKey {
        type_name: type_name.into(),
        from: from.clone(),
        to: to.clone(),
        label: String::new(),
    })
}

/// A schema of tables of columns: their types and names sort the other way
/// round, and so do the lines.
fn tree() -> Vec<Key> {
    let schema = entity("z_schema", "z");
    let mut tables = Vec::new();
    let mut columns = Vec::new();
    let mut edges = Vec::new();
    for n in 0..6 {
        let table = entity("m_table", &format!("m{n}"));
        edges.push(contains("tables", &schema, &table));
        for m in 0..3 {
            let column = entity("a_column", &format!("a{n}{m}"));
            edges.push(contains("columns", &table, &column));
            columns.push(column);
        }
        tables.push(table);
    }
    let entities = columns.into_iter().chain(tables).chain([schema]).map(Key::Entity);
    entities.chain(edges).collect()
}

/// Folders within each other, the deepest first.
fn folders() -> Vec<Key> {
    let names = ["a/b/c/d", "c/d/e/f", "a/b/c", "c/d/e", "a/b", "c/d", "a", "c"];
    names.iter().map(|name| Key::Entity(entity("folder", name))).collect()
}

/// The changes of a batch's plan, in order.
fn changes(world: &World, record: &BatchRecord, keys: &[Key]) -> Vec<(Action, Key)> {
    let by_hash: BTreeMap<KeyHash, &Key> = keys.iter().map(|key| (key.hash(), key)).collect();
    let mut changes = Vec::new();
    let plan = world.engine().plan_of(record).unwrap().unwrap();
    plan.changes(|change| {
        changes.push((change.action, by_hash[&change.hash].clone()));
        Ok(())
    })
    .unwrap();
    changes
}

/// How deep a key lies: what comes later has the greater number.
fn depth(key: &Key) -> usize {
    match key {
        Key::Entity(entity) => match &*entity.type_name {
            "z_schema" => 0,
            "m_table" => 1,
            "a_column" => 2,
            _ => entity.qualified_name.matches('/').count(),
        },
        Key::Relationship(_) => 9,
    }
}

fn check(keys: Vec<Key>) {
    let world = World::new();
    let record =
        world.publish(&TestBatch::full("alpha", 1).with(keys.iter().map(|key| says(key.clone(), 1))));
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
    let depths = |record: &BatchRecord, action: Action| -> Vec<usize> {
        let changes = changes(&world, record, &keys);
        assert_eq!(changes.len(), keys.len());
        assert!(changes.iter().all(|change| change.0 == action), "{changes:?}");
        changes.iter().map(|(_, key)| depth(key)).collect()
    };
    let created = depths(&record, Action::Create);
    assert!(created.is_sorted(), "{created:?}");
    // As a batch that names them, containers first, and as one that lacks them.
    let named = keys.iter().rev().map(|key| Line::Deleted(key.clone()));
    let record = world.publish(&TestBatch::incremental("alpha", 2).with(named));
    let deleted = depths(&record, Action::Delete);
    assert!(deleted.iter().rev().is_sorted(), "{deleted:?}");
    world.publish(&TestBatch::full("alpha", 3).with(keys.iter().map(|key| says(key.clone(), 1))));
    let record = world.publish(&TestBatch::full("alpha", 4));
    let deleted = depths(&record, Action::Delete);
    assert!(deleted.iter().rev().is_sorted(), "{deleted:?}");
    assert_eq!(world.export(), "");
}

#[test]
fn types_that_contain_others_come_first_and_go_last() {
    check(tree());
}

#[test]
fn among_those_of_one_type_the_depth_of_the_name_decides() {
    check(folders());
}
