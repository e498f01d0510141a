//! The check of a finished plan. Reads the stored plan back, and holds it to
//! rules of its own; knows nothing of how plans are made.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::bodies::Bodies;
use super::format::layer::{CacheBudget, Layer, Scratch};
use super::halt::Halt;
use super::plan_file::{BlockRoom, Plan, PlanManifest, PlannedChange, PlannedValue};
use super::sorter::Sorter;
use super::state_dir::StateDir;
use super::view::{Reader, TargetView};
use crate::domain::change::Action;
use crate::domain::guards::{self, GuardFacts, GuardLimits, GuardTrip};
use crate::domain::key::{Key, KeyHash, Kind};
use crate::domain::plan::{PlanDigest, PlanSummary};
use crate::error::{Error, ErrorKind, Result};

/// Checks that no key is changed twice, that relationships are created only
/// between entities that are there then, that deletions of entities come
/// behind those of their relationships, that updates change something, that counts
/// and digest are those of the changes, and that guards tripped by as many deletions
/// as there are. Works with so many threads and within about twice so many bytes of
/// memory.
pub fn check(
    state: &StateDir,
    view: &TargetView,
    manifest: &PlanManifest,
    limits: &GuardLimits,
    tmp: &Path,
    (threads, budget): (usize, usize),
    halt: Halt<'_>,
) -> Result<()> {
    let operations = manifest.operations.iter().enumerate();
    let blocks: Vec<(u32, u32)> = operations
        .flat_map(|(n, op)| (op.first_block..op.first_block + op.blocks).map(move |block| (n as u32, block)))
        .collect();
    let threads = threads.clamp(1, blocks.len().max(1));
    let header = &manifest.header;
    let fail = |problem: String| {
        Error::new(
            ErrorKind::PlanInvalid,
            format!("plan {} of batch {}: {problem}", header.plan_id, header.batch_id),
        )
    };
    let plan = Plan::from_manifest(state, manifest.clone())?;
    let layer_path = state.layer_path(&header.source_id, &manifest.layer.file);
    let layer = Layer::open(&layer_path, &CacheBudget::new(budget))?;

    let next = AtomicUsize::new(0);
    let parts: Vec<Result<Part>> = std::thread::scope(|scope| {
        let work = |n: usize| {
            let checking = Checking { plan: &plan, view, layer: &layer, fail: &fail, halt };
            let keys = Sorter::new(tmp, format!("check-{n}"), budget / threads);
            checking.blocks(&blocks, &next, keys)
        };
        let others: Vec<_> = (1..threads).map(|n| scope.spawn(move || work(n))).collect();
        let first = work(0);
        let others = others.into_iter().map(|thread| match thread.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(first).chain(others).collect()
    });
    let mut keys: Sorter<KeyHash> = Sorter::new(tmp, "check", budget);
    let (mut digest, mut counted, mut changes) = (PlanDigest::default(), PlanSummary::default(), 0);
    let mut stages = Vec::new();
    let live_by_type = view.own.as_ref().map(|own| own.manifest().live_by_type()).unwrap_or_default();
    let mut facts = GuardFacts { live_by_type, ..GuardFacts::default() };
    for part in parts {
        let part = part?;
        digest.add(part.digest.0);
        counted.add(&part.counted);
        changes += part.changes;
        stages.extend(part.stages);
        for (type_name, count) in part.deleted {
            *facts.deleted_by_type.entry(type_name).or_default() += count;
        }
        keys.absorb(part.keys)?;
    }
    stages.sort_unstable_by_key(|block| block.place);
    if stages.windows(2).any(|pair| pair[0].last > pair[1].first) {
        return Err(fail("its operations are out of order".into()));
    }
    let mut found = vec![0u64; manifest.operations.len()];
    for block in &stages {
        found[block.operation as usize] += u64::from(block.changes);
    }
    if manifest.operations.iter().zip(&found).any(|(op, found)| u64::from(op.changes) != *found) {
        return Err(fail("an operation has another number of changes than it should".into()));
    }
    let mut sorted = keys.finish()?;
    let mut last = None;
    while let Some(key) = sorted.take_next()? {
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
    // What goes at the target went from the source before: no guard can have seen less.
    let told = |trip: &GuardTrip| {
        header.guards.iter().any(|known| (known.rule, &known.type_name) == (trip.rule, &trip.type_name))
    };
    if let Some(trip) = guards::evaluate(limits, &facts).iter().find(|trip| !told(trip)) {
        return Err(fail(format!("no guard tells of its deletions: {}", trip.reason)));
    }
    let operations: u64 = manifest.operations.iter().map(|op| u64::from(op.changes)).sum();
    if operations != changes || header.operations as usize != manifest.operations.len() {
        return Err(fail("its operations do not add up to its changes".into()));
    }
    Ok(())
}

/// What one thread found in its operations.
struct Part {
    keys: Sorter<KeyHash>,
    digest: PlanDigest,
    counted: PlanSummary,
    changes: u64,
    stages: Vec<Stages>,
    /// Deletions by type.
    deleted: BTreeMap<String, u64>,
}

/// What a block holds, if it holds anything.
struct Stages {
    /// Its place in the order of execution.
    place: usize,
    operation: u32,
    changes: u32,
    /// Stage of its first and of its last change.
    first: u8,
    last: u8,
}

struct Checking<'a> {
    plan: &'a Plan,
    view: &'a TargetView,
    layer: &'a Layer,
    fail: &'a (dyn Fn(String) -> Error + Sync),
    halt: Halt<'a>,
}

impl Checking<'_> {
    /// Checks blocks, the next one that nobody has taken, until none is left.
    fn blocks(&self, blocks: &[(u32, u32)], next: &AtomicUsize, keys: Sorter<KeyHash>) -> Result<Part> {
        let mut part = Part {
            keys,
            digest: PlanDigest::default(),
            counted: PlanSummary::default(),
            changes: 0,
            stages: Vec::new(),
            deleted: BTreeMap::new(),
        };
        let (mut ends, mut room) = (Ends::new()?, BlockRoom::new()?);
        let mut pace = self.halt.pace();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some((operation, number)) = blocks.get(place) else { return Ok(part) };
            let (mut first, mut stage) = (None, 0);
            let changes = self.plan.block(*number, &mut room, |change| {
                pace.tick()?;
                let now = self.change(&change, &mut part, &mut ends)?;
                if now < stage {
                    return Err((self.fail)(format!("a change of operation {operation} is out of order")));
                }
                stage = now;
                first.get_or_insert(now);
                Ok(())
            })?;
            if let Some(first) = first {
                part.stages.push(Stages { place, operation: *operation, changes, first, last: stage });
            }
        }
    }

    /// Checks a change and returns its stage.
    fn change(&self, change: &PlannedChange, part: &mut Part, ends: &mut Ends) -> Result<u8> {
        part.changes += 1;
        part.digest.add(change.digest());
        if !(change.moved && change.action == Action::Delete) {
            part.counted.of(change.kind()).count(change.action);
        }
        part.keys.push(change.hash)?;
        match &change.value {
            PlannedValue::Patch(_, before, after) if before == after => {
                return Err((self.fail)(format!("the update of {} changes nothing", change.hash)));
            }
            // What begins to wait is no deletion, and of what is sent anew nobody
            // knows whether it was there.
            PlannedValue::Gone(key, _) if !change.moved && !change.replace => {
                match part.deleted.get_mut(key.type_name()) {
                    Some(count) => *count += 1,
                    None => drop(part.deleted.insert(key.type_name().to_owned(), 1)),
                }
            }
            PlannedValue::Packed(..)
            | PlannedValue::Whole(..)
            | PlannedValue::Patch(..)
            | PlannedValue::Gone(..) => {}
        }
        if change.kind() == Kind::Relationship && change.action != Action::Delete {
            let (from, to) = ends_of(self.plan, change, &mut ends.bodies)?;
            if !(self.is_there(from, ends)? && self.is_there(to, ends)?) {
                let text = format!("the relationship {} is created without an end", change.hash);
                return Err((self.fail)(text));
            }
        }
        Ok(match (change.kind(), change.action) {
            (Kind::Relationship, Action::Delete) => 0,
            (Kind::Entity, Action::Create | Action::Update) => 1,
            (Kind::Relationship, Action::Create | Action::Update) => 2,
            (Kind::Entity, Action::Delete) => 3,
        })
    }

    /// Whether an entity is at the target when relationships are created: only
    /// those that the plan creates or deletes differ from what the snapshots
    /// say together.
    fn is_there(&self, end: KeyHash, ends: &mut Ends) -> Result<bool> {
        if ends.known.len() > 100_000 {
            ends.known.clear();
        }
        if let Some(there) = ends.known.get(&end) {
            return Ok(*there);
        }
        let there = match self.layer.lookup(end, &mut ends.scratch)? {
            Some((_, entry)) if entry.is_live() => true,
            Some(_) => self.view.others_have(end, &mut ends.reader)?,
            None => {
                self.view.own_live(end, &mut ends.reader)?.is_some()
                    || self.view.others_have(end, &mut ends.reader)?
            }
        };
        ends.known.insert(end, there);
        Ok(there)
    }
}

/// What a thread needs to look up ends.
struct Ends {
    bodies: Bodies,
    reader: Reader,
    scratch: Scratch,
    known: HashMap<KeyHash, bool>,
}

impl Ends {
    fn new() -> Result<Self> {
        Ok(Self {
            bodies: Bodies::new()?,
            reader: Reader::new()?,
            scratch: Scratch::default(),
            known: HashMap::new(),
        })
    }
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
