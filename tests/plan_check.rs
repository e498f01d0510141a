//! The check of a finished plan: each rule that it holds a plan to fails when it is
//! broken, and only that.

mod support;

use std::collections::BTreeMap;

use support::batches::{Line, TestBatch, edge, entity, value};
use support::world::{World, open_guards};
use tidegate::domain::change::Action;
use tidegate::domain::guards::{GuardLimits, GuardRule, GuardTrip};
use tidegate::domain::ids::SourceId;
use tidegate::domain::key::{Key, Kind};
use tidegate::domain::plan::{KindSummary, PlanDigest};
use tidegate::error::{Error, ErrorKind};
use tidegate::planning::check::check;
use tidegate::planning::format::block_file::{BlockWriter, FileKind};
use tidegate::planning::halt::Halt;
use tidegate::planning::plan_file::{PlanManifest, PlannedChange, PlannedValue};
use tidegate::planning::plan_writer::{ChangeSection, operations};
use tidegate::planning::planner::{Planner, PlanningOptions};

/// A plan with a change of every kind, before it is executed.
struct Made {
    world: World,
    manifest: PlanManifest,
    changes: Vec<PlannedChange>,
}

impl Made {
    fn new() -> Self {
        let world = World::with(|settings| settings.max_changes = Some(100));
        let line = |key: Key, n: i64| Line::Value(key, value(&[("x", n)]), 0);
        let before = [entity("a"), entity("b"), entity("c"), edge("a", "b"), edge("b", "c"), edge("a", "c")];
        world.publish(&TestBatch::full("alpha", 1).with(before.map(|key| line(key, 1))));
        let after = [entity("a"), entity("c"), entity("d"), edge("a", "c"), edge("a", "d")];
        let id = world.deliver(&TestBatch::full("alpha", 2).with(after.map(|key| line(key, 2)))).unwrap();
        world.advance("alpha").unwrap();
        let plan = world.engine().plan_of(&world.batch(&id)).unwrap().unwrap();
        let mut changes = Vec::new();
        plan.changes(|change| {
            changes.push(change);
            Ok(())
        })
        .unwrap();
        Self { manifest: plan.manifest().clone(), changes, world }
    }

    /// Has the check look at these changes, under the manifest that is theirs but for
    /// what `spoil` makes of it.
    fn check(
        &self,
        changes: &[PlannedChange],
        limits: GuardLimits,
        spoil: impl FnOnce(&mut PlanManifest),
    ) -> Result<PlanManifest, Error> {
        let mut manifest = self.manifest.clone();
        let engine = self.world.engine();
        let (state, source) = (engine.state(), SourceId::new("alpha").unwrap());
        let tmp = tempfile::tempdir().unwrap();
        let mut section = ChangeSection::new(tmp.path(), "changes", 100, 1 << 20).unwrap();
        for change in changes {
            section.push(change.weight(), |out| change.write(out)).unwrap();
        }
        let path = state.plan_path(&source, &manifest.header.plan_id);
        std::fs::remove_file(&path).unwrap();
        let file = BlockWriter::create(&path, FileKind::Plan).unwrap();
        let mut cuts = Vec::new();
        section.append_to(&file, &mut cuts).unwrap();
        drop(file.finish().unwrap());
        let header = &mut manifest.header;
        header.digest = PlanDigest::default();
        for kind in [Kind::Entity, Kind::Relationship] {
            let counts = header.summary.of(kind);
            *counts = KindSummary { create: 0, update: 0, delete: 0, ..*counts };
        }
        for change in changes {
            header.digest.add(change.digest());
            header.summary.of(change.kind()).count(change.action);
        }
        manifest.operations = operations(cuts, None);
        header.operations = manifest.operations.len() as u32;
        spoil(&mut manifest);
        let options = PlanningOptions::default();
        let target = self.world.settings.source(&source).target;
        let view = Planner::new(state, &options).view(&source, &target, &manifest.header.bases).unwrap();
        check(state, &view, &manifest, &limits, tmp.path(), (2, 1 << 20), Halt::never())?;
        Ok(manifest)
    }

    /// The place of a change.
    fn at(&self, action: Action, key: &Key) -> usize {
        self.changes.iter().position(|change| (change.action, change.hash) == (action, key.hash())).unwrap()
    }
}

#[track_caller]
fn expect_refused(result: Result<PlanManifest, Error>, problem: &str) {
    let error = result.expect_err(problem);
    assert_eq!(error.kind(), ErrorKind::PlanInvalid, "{error}");
    assert!(error.to_string().contains(problem), "{error}");
}

#[test]
fn a_plan_as_it_was_made_passes() {
    let made = Made::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for change in &made.changes {
        *kinds.entry(format!("{:?} {:?}", change.kind(), change.action)).or_default() += 1;
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    let checked = made.check(&made.changes, open_guards(), |_| {}).unwrap().header;
    let header = &made.manifest.header;
    assert_eq!((checked.digest, checked.summary), (header.digest, header.summary));
}

#[test]
fn what_is_wrong_with_the_changes_is_found() {
    let made = Made::new();
    let refused = |changes: Vec<PlannedChange>, problem: &str| {
        expect_refused(made.check(&changes, open_guards(), |_| {}), problem);
    };

    let mut twice = made.changes.clone();
    let update = made.at(Action::Update, &entity("a"));
    twice.insert(update, made.changes[update].clone());
    refused(twice, "is changed twice");

    let mut idle = made.changes.clone();
    idle[update].value = PlannedValue::Patch(entity("a"), b"{\"x\":2}".to_vec(), b"{\"x\":2}".to_vec());
    refused(idle, "changes nothing");

    // `nobody` is nowhere, and `b` goes with this plan.
    for end in ["nobody", "b"] {
        let mut without_end = made.changes.clone();
        let create = made.at(Action::Create, &edge("a", "d"));
        let key = edge("a", end);
        without_end.retain(|change| change.hash != key.hash());
        let create = create - (made.changes.len() - without_end.len());
        without_end[create].hash = key.hash();
        without_end[create].value = PlannedValue::Whole(key, b"{}".to_vec());
        refused(without_end, "is created without an end");
    }

    // A deleted entity before its relationships, and a relationship before the
    // entity that it needs.
    let mut early = made.changes.clone();
    let gone = early.remove(made.at(Action::Delete, &entity("b")));
    early.insert(0, gone);
    refused(early, "out of order");
    let mut early = made.changes.clone();
    let edge = early.remove(made.at(Action::Create, &edge("a", "d")));
    early.insert(0, edge);
    refused(early, "out of order");
}

#[test]
fn a_manifest_that_is_not_that_of_its_changes_is_found() {
    let made = Made::new();
    let refused = |spoil: fn(&mut PlanManifest), problem: &str| {
        expect_refused(made.check(&made.changes, open_guards(), spoil), problem);
    };
    refused(|manifest| manifest.header.digest.add(1), "its digest");
    refused(|manifest| manifest.header.summary.of(Kind::Entity).delete += 1, "its counts");
    refused(|manifest| manifest.header.summary.of(Kind::Relationship).create -= 1, "its counts");
    refused(|manifest| manifest.operations[0].changes += 1, "another number of changes");
    refused(|manifest| manifest.header.operations += 1, "do not add up");
}

#[test]
fn deletions_that_no_guard_tells_of_are_found() {
    let made = Made::new();
    // One entity of three, and two relationships of three.
    let tight = || GuardLimits { delete_ratio: 0.5, delete_min: 1, ..open_guards() };
    expect_refused(made.check(&made.changes, tight(), |_| {}), "no guard tells of its deletions");
    let Key::Relationship(key) = edge("a", "b") else { unreachable!() };
    let trip = |rule, type_name: &str| GuardTrip {
        rule,
        type_name: type_name.to_owned(),
        limit: 0.5,
        actual: 0.7,
        reason: String::new(),
    };
    let told = [trip(GuardRule::DeleteRatioOfType, &key.type_name)];
    made.check(&made.changes, tight(), |manifest| manifest.header.guards = told.to_vec()).unwrap();
    let other = [trip(GuardRule::DeleteRatioOfType, "t")];
    let spoilt = made.check(&made.changes, tight(), |manifest| manifest.header.guards = other.to_vec());
    expect_refused(spoilt, "no guard tells of its deletions");
}
