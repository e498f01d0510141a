//! What several threads write into the embedded catalogue is what one does, and
//! its tables agree with each other.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use support::catalogue::{TestCatalogue, change, relate};
use tidegate::domain::change::Action;
use tidegate::domain::key::{EntityKey, Key};
use tidegate::domain::settings::Deletion;
use tidegate::targets::{ChangeOutcome, Target, TargetChange};

/// Entities that there may be. Operations of more than 512 changes of a kind are
/// shared among threads.
const NAMES: usize = 1_800;

fn name(n: usize) -> String {
    format!("a.long.name.of.something.{n}")
}

/// A number that looks random and is not.
fn mixed(n: usize, salt: u64) -> u64 {
    let mut x = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 29;
    x = x.wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 32
}

/// What an operation does: each key's action is drawn by the salt, out of ten.
#[derive(Debug, Clone)]
struct Doing {
    salt: u64,
    entities: Shares,
    relationships: Shares,
}

/// Of ten keys, so many are created, updated and deleted.
#[derive(Debug, Clone, Copy)]
struct Shares {
    create: u64,
    update: u64,
    delete: u64,
}

fn shares() -> impl Strategy<Value = Shares> {
    prop_oneof![
        2 => (5u64..=10).prop_map(|create| Shares { create, update: 10 - create, delete: 0 }),
        2 => (1u64..5, 1u64..4).prop_map(|(create, update)| Shares { create, update, delete: 10 - create - update }),
        1 => Just(Shares { create: 1, update: 8, delete: 1 }),
        1 => Just(Shares { create: 0, update: 1, delete: 9 }),
        1 => Just(Shares { create: 0, update: 0, delete: 0 }),
    ]
}

fn doing() -> impl Strategy<Value = Doing> {
    (any::<u64>(), shares(), shares()).prop_map(|(salt, entities, relationships)| Doing {
        salt,
        entities,
        relationships,
    })
}

impl Shares {
    fn action(self, draw: u64) -> Option<Action> {
        let draw = draw % 10;
        if draw < self.create {
            Some(Action::Create)
        } else if draw < self.create + self.update {
            Some(Action::Update)
        } else if draw < self.create + self.update + self.delete {
            Some(Action::Delete)
        } else {
            None
        }
    }
}

impl Doing {
    fn changes(&self) -> Vec<TargetChange> {
        let mut changes = Vec::new();
        let key = |n: usize| EntityKey::new("t", name(n % NAMES));
        for n in 0..NAMES {
            let draw = mixed(n, self.salt);
            // Long ones are written anew by an update, short ones are patched.
            let long = if draw.is_multiple_of(50) { 600 } else { draw as usize % 60 };
            let json = |what: &str| format!("{{\"n\":{n},\"{what}\":\"{}\"}}", "word ".repeat(long));
            let mut put = |action: Option<Action>, draw: u64, change: TargetChange| {
                let Some(action) = action else { return };
                let replace = action != Action::Delete && draw.is_multiple_of(7);
                let set = if action == Action::Delete { b"{}".to_vec() } else { change.set.clone() };
                changes.push(TargetChange { action, replace, set, ..change });
            };
            put(
                self.entities.action(draw >> 8),
                draw >> 16,
                change(Action::Create, "t", &name(n), &json("e")),
            );
            let draw = mixed(n, self.salt ^ 77);
            let related = relate("r", &key(n), &key(n * 7 + draw as usize % 3), "a \"label\" é");
            put(
                self.relationships.action(draw >> 8),
                draw >> 16,
                TargetChange { set: json("r").into(), ..related },
            );
        }
        changes
    }
}

/// Names of tables and of the buffers in front of them.
const ENTITIES: [&str; 2] = ["entities", "entities_buffer"];
const FORWARD: [&str; 2] = ["relationships_forward", "relationships_forward_buffer"];
const REVERSE: [&str; 2] = ["relationships_reverse", "relationships_reverse_buffer"];
const HISTORY: [&str; 2] = ["history", "history_buffer"];

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A table with the write buffer in front of it.
fn rows(tx: &redb::ReadTransaction, [base, buffer]: [&str; 2]) -> Rows {
    let read = |name: &str| -> Rows {
        let table = tx.open_table(TableDefinition::<&[u8], &[u8]>::new(name)).unwrap();
        table
            .iter()
            .unwrap()
            .map(|row| row.map(|(k, v)| (k.value().to_vec(), v.value().to_vec())).unwrap())
            .collect()
    };
    let mut all = read(base);
    all.extend(read(buffer));
    all.retain(|_, row| !row.is_empty());
    all
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// The block that a row points to (`src/targets/embedded/row.rs`).
fn block(row: &[u8]) -> Option<u64> {
    match row[17] {
        0 => None,
        _ => Some(word(&row[18..])),
    }
}

/// The tables of a catalogue's file must agree with each other.
fn check(catalogue: &mut TestCatalogue) -> Result<(), TestCaseError> {
    catalogue.close();
    let db = Database::open(catalogue.file()).unwrap();
    let tx = db.begin_read().unwrap();
    let entities = rows(&tx, ENTITIES);
    let forward = rows(&tx, FORWARD);
    let reverse = rows(&tx, REVERSE);
    let history = rows(&tx, HISTORY);
    let turned = |(key, from): (&Vec<u8>, &Vec<u8>)| [&from[..4], &key[4..]].concat();
    let of_reverse: BTreeSet<Vec<u8>> = reverse.iter().map(turned).collect();
    let of_forward = forward.keys().cloned().collect::<BTreeSet<_>>();
    let lacks: Vec<_> = of_forward.difference(&of_reverse).take(3).collect();
    let more: Vec<_> = of_reverse.difference(&of_forward).take(3).collect();
    prop_assert!(lacks.is_empty() && more.is_empty(), "{} {lacks:?} {more:?}", catalogue.threads);
    let mut used: BTreeMap<u64, u32> = BTreeMap::new();
    let pointing = entities.values().chain(forward.values()).map(|row| &row[..]);
    for row in pointing.chain(history.values().map(|row| &row[5..])) {
        if let Some(block) = block(row) {
            *used.entry(block).or_default() += 1;
        }
    }
    let uses = tx.open_table(TableDefinition::<u64, u32>::new("block_use")).unwrap();
    let uses: BTreeMap<u64, u32> =
        uses.iter().unwrap().map(|row| row.map(|(b, n)| (b.value(), n.value())).unwrap()).collect();
    prop_assert_eq!(&uses, &used);
    let blocks = tx.open_table(TableDefinition::<u64, &[u8]>::new("blocks")).unwrap();
    let blocks: BTreeSet<u64> = blocks.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
    prop_assert_eq!(blocks, used.into_keys().collect::<BTreeSet<_>>());
    drop((tx, db));
    catalogue.restart();
    Ok(())
}

/// All that a catalogue tells.
fn told(catalogue: &TestCatalogue) -> String {
    let mut out = Vec::new();
    catalogue.get().export(&mut out, true).unwrap();
    let mut text = String::from_utf8(out).unwrap();
    for n in (0..NAMES).step_by(17) {
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
        let mut results = Vec::new();
        for threads in [1, 4] {
            let mut catalogue = TestCatalogue::new(deletion);
            (catalogue.history, catalogue.threads) = (history, threads);
            catalogue.restart();
            let none = Shares { create: 0, update: 0, delete: 0 };
            let all = Doing { salt: 1, entities: Shares { create: 8, ..none }, relationships: none };
            let mut outcomes: Vec<Vec<ChangeOutcome>> = Vec::new();
            for doing in [&all].into_iter().chain(&doings) {
                outcomes.push(catalogue.apply(doing.changes()));
                check(&mut catalogue)?;
            }
            let read: Vec<Key> = (0..NAMES).map(|n| Key::Entity(EntityKey::new("t", name(n)))).collect();
            let values = catalogue.get().read(&read).unwrap();
            results.push((outcomes, told(&catalogue), format!("{values:?}")));
        }
        prop_assert!(results[0] == results[1], "{doings:?}");
    }
}
