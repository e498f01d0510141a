//! Random histories: batches of a few sources, in any order of arrival, with
//! restarts between them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate::domain::glob::Glob;
use tidegate::domain::key::Key;
use tidegate::domain::scope::Scope;

use super::batches::{Line, TestBatch, entity, labelled};

/// What happens, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The batch of this number is delivered.
    Arrive(usize),
    /// One batch is taken as far as it goes.
    Work,
    /// The next batch of the source of this number is taken one stage
    /// further: it is planned, or its execution begins, or is done. So plans
    /// of several sources are made before any of them is executed.
    Advance(usize),
    /// The process ends and starts again, perhaps with another precedence of
    /// the first source, and with [`STAMP`] volatile and `x` unordered there or
    /// not.
    Restart(Option<(i64, bool)>),
    /// A person decides on everything that is parked: `true` approves.
    Decide(bool),
    /// From now on the target refuses changes of these keys, and of no others.
    Refuse(Vec<Key>),
    /// A person puts all dead letters back into the queue that can be.
    Requeue,
}

/// What may go wrong in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Guards are so tight that some trip.
    TightGuards,
    /// The target refuses some changes, which become dead letters.
    Refusals,
    /// The same, and a batch fails as a whole at its second refused change.
    FailingBatches,
}

/// A history.
#[derive(Debug, Clone)]
pub struct History {
    pub batches: Vec<TestBatch>,
    pub steps: Vec<Step>,
    pub trouble: Trouble,
}

const NAMES: [&str; 5] = ["a", "b", "ab", "ua", "ub"];

/// An attribute that every line has, and that is always the same: whether it is
/// volatile changes what is compared, and nothing that is published. Nor does it
/// that `x` is unordered, for arrays are sorted. See [`stirred`].
pub const STAMP: &str = "s";

fn attributes() -> impl Strategy<Value = BTreeMap<String, Value>> {
    let values = prop_oneof![Just(json!(1)), Just(json!(2)), Just(json!(null)), Just(json!(["p", "q"]))];
    let attributes =
        prop::collection::btree_map(prop_oneof![Just("x".to_owned()), Just("y".to_owned())], values, 0..3);
    attributes.prop_map(|attributes| attributes.into_iter().chain([(STAMP.to_owned(), json!(0))]).collect())
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        3 => (0..NAMES.len()).prop_map(|n| entity(NAMES[n])),
        2 => (0..NAMES.len(), 0..NAMES.len(), prop::bool::weighted(0.3))
            .prop_map(|(a, b, label)| labelled(NAMES[a], NAMES[b], if label { "l" } else { "" })),
    ]
}

fn refused() -> impl Strategy<Value = Vec<Key>> {
    prop::collection::vec(key(), 0..4)
}

fn line(full: bool) -> impl Strategy<Value = Line> {
    let deletes = if full { 0 } else { 6 };
    (key(), attributes(), 0u8..4, 0u32..40 + deletes).prop_map(move |(key, value, style, pick)| match pick {
        0 => Line::BadKeyed(key),
        1 => Line::BadKeyless(style),
        2..40 => Line::Value(key, value, style),
        _ => Line::Deleted(key),
    })
}

fn scope() -> impl Strategy<Value = Scope> {
    let globs = |list: &[&str]| list.iter().map(|g| Glob::new(*g)).collect::<Vec<_>>();
    let scope = move |types: &[&str], names: &[&str], except: &[&str]| Scope {
        types: globs(types),
        names: globs(names),
        except: globs(except),
    };
    prop_oneof![
        6 => Just(Scope::default()),
        1 => Just(scope(&["*"], &["a*"], &[])),
        1 => Just(scope(&["t"], &["*"], &[])),
        1 => Just(scope(&["*"], &["*"], &["ab"])),
        1 => Just(scope(&["*"], &["u?", "b"], &["ub"])),
    ]
}

fn batch(sources: usize) -> impl Strategy<Value = TestBatch> {
    (0..sources, prop::bool::weighted(0.55)).prop_flat_map(|(source, full)| {
        (prop::collection::vec(line(full), 0..9), scope()).prop_map(move |(lines, scope)| TestBatch {
            source: ["alpha", "beta", "gamma"][source].into(),
            time: 0,
            full,
            scope: if full { scope } else { Scope::default() },
            lines,
            workflow: "w".into(),
        })
    })
}

/// Histories of up to `most` batches of two or three sources.
pub fn histories(most: usize, trouble: Trouble) -> impl Strategy<Value = History> {
    let batches = (2usize..4).prop_flat_map(move |sources| prop::collection::vec(batch(sources), 1..=most));
    batches.prop_flat_map(move |mut batches| {
        for (n, batch) in batches.iter_mut().enumerate() {
            batch.time = 10 + 7 * n as u32;
        }
        // Batches of one source often repeat lines of the one before, in
        // their order, as real ones do.
        for n in 1..batches.len() {
            let before = batches[..n].iter().rev().find(|b| b.source == batches[n].source && b.full).cloned();
            if let Some(before) = before
                && batches[n].full
                && n % 3 != 0
            {
                let mut lines: Vec<Line> =
                    before.lines.into_iter().filter(|l| matches!(l, Line::Value(..))).collect();
                let extra = std::mem::take(&mut batches[n].lines);
                if n % 2 == 0 && lines.len() > 1 {
                    lines.remove(lines.len() / 2);
                }
                lines.extend(extra.into_iter().take(2));
                batches[n].lines = lines;
            }
        }
        let order = Just((0..batches.len()).collect::<Vec<_>>()).prop_shuffle();
        let between = prop::collection::vec((0u8..16, 0i64..3, any::<bool>(), refused()), batches.len() * 4);
        (Just(batches), order, between, any::<bool>()).prop_map(
            move |(batches, mut order, between, in_order)| {
                if in_order {
                    order.sort_unstable();
                }
                let mut steps = Vec::new();
                for (n, batch) in order.iter().enumerate() {
                    steps.push(Step::Arrive(*batch));
                    for (what, precedence, yes, refused) in &between[n * 4..n * 4 + 4] {
                        match what {
                            0 => steps.push(Step::Restart(None)),
                            1 => steps.push(Step::Restart(Some((*precedence, *yes)))),
                            2 => steps.push(Step::Arrive(order[n / 2])),
                            3 => steps.push(Step::Decide(*yes)),
                            4 if matches!(trouble, Trouble::Refusals | Trouble::FailingBatches) => {
                                steps.push(Step::Refuse(refused.clone()));
                            }
                            5 if matches!(trouble, Trouble::Refusals | Trouble::FailingBatches) && *yes => {
                                steps.push(Step::Requeue);
                            }
                            4..=6 => steps.push(Step::Work),
                            _ => steps.push(Step::Advance(*precedence as usize)),
                        }
                    }
                }
                History { batches, steps, trouble }
            },
        )
    })
}

/// The same with volatile values that differ from line to line, and arrays in
/// either order: what is published depends on the order of arrival then.
pub fn stirred(mut history: History) -> History {
    for (n, batch) in history.batches.iter_mut().enumerate() {
        for (m, line) in batch.lines.iter_mut().enumerate() {
            let Line::Value(_, value, _) = line else { continue };
            value.insert(STAMP.to_owned(), json!((n + m) % 3));
            for array in value.values_mut().filter_map(Value::as_array_mut) {
                array.rotate_left((n + m) % 2);
            }
        }
    }
    history
}
