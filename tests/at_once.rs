//! An operation of many changes is looked up ahead, on several threads. It
//! leaves what the same changes leave that come bit by bit.

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;
use support::catalogue::{TestCatalogue, change, create, relate};
use tidegate::domain::change::Action;
use tidegate::domain::key::{EntityKey, Key};
use tidegate::domain::settings::Deletion;
use tidegate::targets::{ChangeOutcome, TargetChange};

const ENTITIES: usize = 40;
/// More of these in one operation are looked up ahead.
const MANY: usize = 512;

fn key(n: usize) -> EntityKey {
    EntityKey::new("t", format!("e{n}"))
}

fn edge(n: usize, action: Action) -> TargetChange {
    let (from, to) = (n / ENTITIES, n % ENTITIES);
    TargetChange { action, ..relate("flows", &key(from), &key(to), "") }
}

fn entity(n: usize, action: Action) -> TargetChange {
    let json = if action == Action::Delete { "{}".to_owned() } else { format!(r#"{{"x":{n}}}"#) };
    change(action, "t", &format!("e{n}"), &json)
}

/// What one operation does to a catalogue of all entities and some
/// relationships.
#[derive(Debug, Clone)]
struct Case {
    /// Relationships before it, by numbers: from times entities plus to.
    before: BTreeSet<usize>,
    /// Those that it deletes, changes or creates.
    touched: BTreeSet<usize>,
    /// Entities that go, in turn each in another [`Way`].
    going: BTreeSet<usize>,
    changed: BTreeSet<usize>,
    deletion: Deletion,
}

/// What becomes of the relationships of an entity that goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All are deleted before it, and none comes.
    Alone,
    /// They are still there, and none comes.
    Held,
    /// All are deleted before it, and some come.
    Joined,
}

fn cases() -> impl Strategy<Value = Case> {
    let edges = 0..ENTITIES * ENTITIES;
    let entities = || prop::collection::btree_set(0..ENTITIES, 0..12);
    (
        prop::collection::btree_set(edges.clone(), 400..900),
        prop::collection::btree_set(edges, MANY + 100..900),
        entities(),
        entities(),
        prop::sample::select(vec![Deletion::Delete, Deletion::Archive]),
    )
        .prop_map(|(before, touched, going, changed, deletion)| Case {
            before,
            touched,
            going,
            changed,
            deletion,
        })
}

impl Case {
    fn way(&self, n: usize) -> Option<Way> {
        let nth = self.going.iter().position(|going| *going == n)?;
        Some([Way::Alone, Way::Held, Way::Joined][nth % 3])
    }

    /// The changes, those first that have to come first.
    fn changes(&self) -> Vec<Vec<TargetChange>> {
        let mut deleted = Vec::new();
        let mut came = Vec::new();
        for n in 0..ENTITIES * ENTITIES {
            let ends = [self.way(n / ENTITIES), self.way(n % ENTITIES)];
            let at = |way| ends.contains(&Some(way));
            match (self.before.contains(&n), self.touched.contains(&n)) {
                (true, _) if at(Way::Alone) || at(Way::Joined) => deleted.push(edge(n, Action::Delete)),
                (true, true) if at(Way::Held) || n.is_multiple_of(3) => came.push(edge(n, Action::Update)),
                (true, true) => deleted.push(edge(n, Action::Delete)),
                (false, true) if !at(Way::Alone) && !at(Way::Held) => came.push(edge(n, Action::Create)),
                (true | false, _) => {}
            }
        }
        let changed = self.changed.difference(&self.going).map(|n| entity(*n, Action::Update));
        let going = self.going.iter().map(|n| entity(*n, Action::Delete));
        vec![deleted, changed.collect(), came, going.collect()]
    }
}

/// All that a catalogue shows, but for times and operations.
fn shown(catalogue: &TestCatalogue) -> Vec<Value> {
    let mut export = Vec::new();
    catalogue.get().export(&mut export, true).unwrap();
    let mut all = vec![Value::String(String::from_utf8(export).unwrap())];
    for n in 0..ENTITIES {
        all.push(serde_json::to_value(catalogue.get().get(&key(n), 1_000).unwrap()).unwrap());
        let history = catalogue.get().history(&Key::Entity(key(n)), None, 100).unwrap();
        all.push(serde_json::to_value(history).unwrap());
    }
    for n in 0..ENTITIES * ENTITIES {
        let history = catalogue.get().history(&edge(n, Action::Delete).key, None, 100).unwrap();
        all.push(serde_json::to_value(history).unwrap());
    }
    all.iter_mut().for_each(without_times);
    all
}

fn without_times(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| name != "at");
            members.values_mut().for_each(without_times);
        }
        Value::Array(items) => items.iter_mut().for_each(without_times),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn made(case: &Case) -> TestCatalogue {
    let mut catalogue = TestCatalogue::new(case.deletion);
    catalogue.apply((0..ENTITIES).map(|n| create("t", &format!("e{n}"), "{}")).collect());
    catalogue.apply(case.before.iter().map(|n| edge(*n, Action::Create)).collect());
    catalogue
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]
    #[test]
    fn many_changes_leave_what_they_leave_bit_by_bit(case in cases()) {
        let stages = case.changes();
        prop_assume!(stages[0].len() + stages[2].len() >= MANY);
        let (mut large, mut small) = (made(&case), made(&case));
        let mut bit_by_bit: Vec<ChangeOutcome> = Vec::new();
        for part in stages.iter().flat_map(|stage| stage.chunks(MANY / 8)) {
            bit_by_bit.extend(small.apply(part.to_vec()));
        }
        let at_once = large.apply(stages.concat());
        prop_assert_eq!(at_once, bit_by_bit);
        prop_assert_eq!(shown(&large), shown(&small));
        // What went comes back, without what was at it.
        for catalogue in [&mut large, &mut small] {
            catalogue.apply(case.going.iter().map(|n| entity(*n, Action::Create)).collect());
        }
        prop_assert_eq!(shown(&large), shown(&small));
    }
}
