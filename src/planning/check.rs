//! The check of a finished plan. Reads the stored plan back, and holds it to
//! rules of its own; knows nothing of how plans are made.

use std::collections::HashMap;

use super::bodies::Bodies;
use super::format::bytes::u128_at;
use super::format::layer::{CacheBudget, Layer, Scratch};
use super::plan_file::{Plan, PlanManifest, PlannedChange, PlannedValue};
use super::sorter::{Record, Sorter};
use super::state_dir::StateDir;
use super::view::{Reader, TargetView};
use crate::domain::change::Action;
use crate::domain::key::{Key, KeyHash, Kind};
use crate::domain::plan::{PlanDigest, PlanSummary};
use crate::error::{Error, ErrorKind, Result};

/// Memory for finding keys that stand twice.
const BUDGET: usize = 32 << 20;

#[derive(Debug, Clone, Copy)]
struct Keyed(KeyHash);

impl Record for Keyed {
    const SIZE: usize = 16;
    type Key = KeyHash;

    fn key(&self) -> KeyHash {
        self.0
    }

    fn write(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0.0.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        Self(KeyHash(u128_at(bytes, 0)))
    }
}

/// Checks that no key is changed twice, that relationships are created only
/// between entities that are there then, that deletions of entities come
/// behind those of their relationships, that updates change something, and
/// that counts and digest are those of the changes.
pub fn check(state: &StateDir, view: &TargetView, manifest: &PlanManifest) -> Result<()> {
    let header = &manifest.header;
    let fail = |problem: String| {
        Error::new(
            ErrorKind::PlanInvalid,
            format!("plan {} of batch {}: {problem}", header.plan_id, header.batch_id),
        )
    };
    let plan = Plan::from_manifest(state, manifest.clone())?;
    let layer_path = state.layer_path(&header.source_id, &manifest.layer.file);
    let layer = Layer::open(&layer_path, &CacheBudget::new(BUDGET))?;

    let mut keys: Sorter<Keyed> = Sorter::new(&state.tmp(), "check", BUDGET);
    let mut digest = PlanDigest::default();
    let mut counted = PlanSummary::default();
    let mut changes = 0;
    let mut stage = 0;
    // Entities that the plan creates or deletes at the target: only those
    // differ from what the snapshots say together.
    let mut bodies = Bodies::new()?;
    let mut reader = Reader::new()?;
    let mut scratch = Scratch::default();
    let mut ends: HashMap<KeyHash, bool> = HashMap::new();
    plan.changes(|change| {
        changes += 1;
        digest.add(change.digest());
        if !(change.moved && change.action == Action::Delete) {
            counted.of(change.kind()).count(change.action);
        }
        keys.push(Keyed(change.hash))?;
        let now = match (change.kind(), change.action) {
            (Kind::Relationship, Action::Delete) => 0,
            (Kind::Entity, Action::Create | Action::Update) => 1,
            (Kind::Relationship, Action::Create | Action::Update) => 2,
            (Kind::Entity, Action::Delete) => 3,
        };
        if now < stage {
            return Err(fail(format!("change {changes} is out of order")));
        }
        stage = now;
        if let PlannedValue::Patch(_, before, after) = &change.value
            && before == after
        {
            return Err(fail(format!("change {changes} updates nothing")));
        }
        if change.kind() == Kind::Relationship && change.action != Action::Delete {
            let (from, to) = ends_of(&plan, &change, &mut bodies)?;
            for end in [from, to] {
                if ends.len() > 100_000 {
                    ends.clear();
                }
                let there = match ends.get(&end) {
                    Some(there) => *there,
                    None => {
                        let there = match layer.lookup(end, &mut scratch)? {
                            Some((_, entry)) if entry.is_live() => true,
                            Some(_) => view.others_have(end, &mut reader)?,
                            None => {
                                view.own_live(end, &mut reader)?.is_some()
                                    || view.others_have(end, &mut reader)?
                            }
                        };
                        ends.insert(end, there);
                        there
                    }
                };
                if !there {
                    return Err(fail(format!("change {changes} creates a relationship without an end")));
                }
            }
        }
        Ok(())
    })?;
    let mut sorted = keys.finish()?;
    let mut last = None;
    while let Some(Keyed(key)) = sorted.take_next()? {
        if last.replace(key) == Some(key) {
            return Err(fail(format!("the key {key} is changed twice")));
        }
    }
    let same = |a: &PlanSummary, b: &PlanSummary| {
        let of = |s: &PlanSummary| {
            let (e, r) = (s.entities, s.relationships.counts);
            [e.create, e.update, e.delete, r.create, r.update, r.delete]
        };
        of(a) == of(b)
    };
    if !same(&counted, &header.summary) {
        return Err(fail("its counts are not those of its changes".into()));
    }
    if digest != header.digest {
        return Err(fail("its digest is not that of its changes".into()));
    }
    let operations: u64 = manifest.operations.iter().map(|op| u64::from(op.changes)).sum();
    if operations != changes || header.operations as usize != manifest.operations.len() {
        return Err(fail("its operations do not add up to its changes".into()));
    }
    Ok(())
}

fn ends_of(plan: &Plan, change: &PlannedChange, bodies: &mut Bodies) -> Result<(KeyHash, KeyHash)> {
    let of_key = |key: &Key| match key {
        Key::Relationship(key) => (key.from.hash(), key.to.hash()),
        Key::Entity(key) => (key.hash(), key.hash()),
    };
    Ok(match &change.value {
        PlannedValue::Packed(loc, _, _) => bodies.get(plan.pack(), *loc)?.body()?.ends(),
        PlannedValue::Whole(key, _) | PlannedValue::Patch(key, _, _) | PlannedValue::Gone(key, _) => {
            of_key(key)
        }
    })
}
