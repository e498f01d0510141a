//! The rules of `SEMANTICS`, as plainly as they can be written: a fold over
//! the set of published batches. Knows nothing of snapshots or plans.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidegate::domain::key::Key;

use super::batches::{Line, TestBatch};

type Attributes = BTreeMap<String, Value>;

/// What one batch says of the keys that it lists: a value, absence, or
/// nothing (bad line, or two values).
pub fn listed(batch: &TestBatch) -> (BTreeMap<Key, Option<Attributes>>, BTreeSet<Key>, bool) {
    let mut says: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    let mut values: BTreeMap<Key, Option<Attributes>> = BTreeMap::new();
    let mut exceptions = BTreeSet::new();
    let mut unreadable = false;
    for line in &batch.lines {
        match line {
            Line::Value(key, value, _) => {
                says.entry(key.clone()).or_default().insert(serde_json::to_string(value).unwrap());
                values.insert(key.clone(), Some(value.clone()));
            }
            Line::Deleted(key) if batch.full => {
                exceptions.insert(key.clone());
            }
            Line::Deleted(key) => {
                says.entry(key.clone()).or_default().insert("absent".into());
                values.insert(key.clone(), None);
            }
            Line::BadKeyed(key) | Line::BadLong(key) | Line::BadTwice(key) => {
                exceptions.insert(key.clone());
            }
            Line::BadKeyless(_) => unreadable = true,
        }
    }
    for (key, said) in says {
        if said.len() > 1 {
            exceptions.insert(key);
        }
    }
    values.retain(|key, _| !exceptions.contains(key));
    (values, exceptions, unreadable)
}

/// The newest assertion of each key of one source, whatever the order in
/// which its batches came.
pub fn live(batches: &[&TestBatch]) -> BTreeMap<Key, Attributes> {
    let mut sorted = batches.to_vec();
    sorted.sort_by_key(|batch| batch.time);
    let mut live: BTreeMap<Key, Attributes> = BTreeMap::new();
    for batch in sorted {
        let (values, exceptions, unreadable) = listed(batch);
        if batch.full && !unreadable {
            live.retain(|key, _| {
                !batch.scope.contains(key) || exceptions.contains(key) || values.contains_key(key)
            });
        }
        for (key, value) in values {
            match value {
                Some(value) => drop(live.insert(key, value)),
                None => drop(live.remove(&key)),
            }
        }
    }
    live
}

/// The catalogue: entities that any source asserts, attributes by precedence,
/// relationships whose ends are both there.
pub fn catalogue(batches: &[&TestBatch], precedence: &BTreeMap<String, i64>) -> BTreeMap<Key, Attributes> {
    let sources: BTreeSet<&str> = batches.iter().map(|batch| batch.source.as_str()).collect();
    // The lowest precedence first, so that higher ones write over it; of
    // equal ones the source that sorts first comes last.
    let mut order: Vec<&str> = sources.into_iter().collect();
    order.sort_by_key(|source| (precedence.get(*source).copied().unwrap_or(0), std::cmp::Reverse(*source)));
    let mut merged: BTreeMap<Key, Attributes> = BTreeMap::new();
    for source in order {
        let own: Vec<&TestBatch> = batches.iter().copied().filter(|batch| batch.source == source).collect();
        for (key, value) in live(&own) {
            merged.entry(key).or_default().extend(value);
        }
    }
    let entities: BTreeSet<Key> =
        merged.keys().filter(|key| matches!(key, Key::Entity(_))).cloned().collect();
    merged.retain(|key, _| match key {
        Key::Entity(_) => true,
        Key::Relationship(r) => {
            entities.contains(&Key::Entity(r.from.clone())) && entities.contains(&Key::Entity(r.to.clone()))
        }
    });
    merged
}

/// The catalogue as `catalogue export` writes it.
pub fn export(catalogue: &BTreeMap<Key, Attributes>) -> String {
    let mut out = String::new();
    for (key, attributes) in catalogue {
        let mut line = serde_json::to_value(key).unwrap();
        line["attributes"] = serde_json::to_value(attributes).unwrap();
        out.push_str(&format!("{}\n", sorted(line)));
    }
    out
}

/// The same with the members of all objects in the order of their names.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<String, Value> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(sorted).collect()),
        other => other,
    }
}
