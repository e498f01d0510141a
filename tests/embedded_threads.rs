//! What several threads write into the embedded catalogue is what one does.

mod support;

use proptest::prelude::*;
use support::catalogue::{TestCatalogue, change, relate};
use tidegate::domain::change::Action;
use tidegate::domain::key::{EntityKey, Key};
use tidegate::domain::settings::Deletion;
use tidegate::targets::{ChangeOutcome, Target, TargetChange};

/// Entities that there may be. Operations of more than 512 changes of a kind are
/// shared among threads.
const NAMES: usize = 1_500;

fn name(n: usize) -> String {
    format!("a.long.name.of.something.{n}")
}

/// What an operation does: with one entity in so many, and how.
#[derive(Debug, Clone)]
struct Doing {
    every: usize,
    from: usize,
    entities: Option<Action>,
    relationships: Option<Action>,
    replace: bool,
    revision: usize,
}

fn doing() -> impl Strategy<Value = Doing> {
    let action = || {
        prop_oneof![
            4 => Just(Some(Action::Create)),
            3 => Just(Some(Action::Update)),
            2 => Just(Some(Action::Delete)),
            1 => Just(None),
        ]
    };
    (1usize..4, 0usize..3, action(), action(), any::<bool>(), 0usize..3).prop_map(
        |(every, from, entities, relationships, replace, revision)| Doing {
            every,
            from,
            entities,
            relationships,
            replace,
            revision,
        },
    )
}

impl Doing {
    fn changes(&self) -> Vec<TargetChange> {
        let mut changes = Vec::new();
        let chosen = || (self.from..NAMES).step_by(self.every);
        let json =
            |n: usize| format!("{{\"n\":{n},\"text\":\"{}\"}}", "word ".repeat((n + self.revision) % 60));
        for (n, action) in chosen().zip(std::iter::repeat(self.entities)).filter_map(|(n, a)| Some((n, a?))) {
            changes.push(change(action, "t", &name(n), &json(n)));
        }
        let key = |n: usize| EntityKey::new("t", name(n % NAMES));
        for (n, action) in
            chosen().zip(std::iter::repeat(self.relationships)).filter_map(|(n, a)| Some((n, a?)))
        {
            let related = relate("r", &key(n), &key(n * 7 + 1), "a label");
            changes.push(TargetChange { action, set: json(n).into(), ..related });
        }
        for change in &mut changes {
            change.replace = self.replace && change.action != Action::Delete;
            if change.action == Action::Delete {
                change.set = b"{}".to_vec();
            }
        }
        changes
    }
}

/// All that a catalogue tells, and what it answered.
fn told(catalogue: &TestCatalogue) -> String {
    let mut out = Vec::new();
    catalogue.get().export(&mut out, true).unwrap();
    let mut text = String::from_utf8(out).unwrap();
    for n in (0..NAMES).step_by(97) {
        let key = EntityKey::new("t", name(n));
        let entity = catalogue.get().get(&key, 20).unwrap();
        let history = catalogue.get().history(&Key::Entity(key), None, 20).unwrap();
        text.push_str(&format!("{entity:?} {history:?}\n"));
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, failure_persistence: None, ..Default::default() })]
    #[test]
    fn is_what_one_thread_writes(
        doings in prop::collection::vec(doing(), 2..6),
        archive in any::<bool>(),
        history in 0u32..3,
    ) {
        let deletion = if archive { Deletion::Archive } else { Deletion::Delete };
        let [one, many] = [1, 4].map(|threads| {
            let mut catalogue = TestCatalogue::new(deletion);
            (catalogue.history, catalogue.threads) = (history, threads);
            catalogue.restart();
            let all = Doing {
                every: 1, from: 0, entities: Some(Action::Create), relationships: None, replace: false, revision: 0,
            };
            let outcomes: Vec<Vec<ChangeOutcome>> =
                [all].iter().chain(&doings).map(|doing| catalogue.apply(doing.changes())).collect();
            let read: Vec<Key> = (0..NAMES).map(|n| Key::Entity(EntityKey::new("t", name(n)))).collect();
            let values = catalogue.get().read(&read).unwrap();
            (outcomes, told(&catalogue), format!("{values:?}"))
        });
        prop_assert!(one == many, "{doings:?}");
    }
}
