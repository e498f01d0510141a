//! What a person can do to batches and sources, each with its journal entry,
//! and what holds sources meanwhile.

mod support;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use support::batches::{Line, TestBatch, entity, says};
use support::world::World;
use tidegate::config::UnknownSources;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::{Error, ErrorKind};
use tidegate::service::Engine;
use tidegate::service::engine::ProgressSink;
use tidegate::service::queue::Standing;
use tidegate::store::{BatchRecord, SourceHoldReason};
use tidegate::targets::embedded::{EmbeddedCatalogue, EmbeddedOptions};

fn batch(source: &str, time: u32, name: &str) -> TestBatch {
    TestBatch::incremental(source, time).with([says(entity(name), i64::from(time))])
}

fn source(name: &str) -> SourceId {
    SourceId::new(name).unwrap()
}

fn code(record: &BatchRecord) -> &str {
    record.failure.as_ref().map_or("", |failure| failure.error_code.as_str())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind) {
    assert_eq!(result.unwrap_err().kind(), kind);
}

fn holds(world: &World, name: &str) -> Vec<SourceHoldReason> {
    let holds = world.engine().store().read(|view| view.source_holds(&source(name))).unwrap();
    holds.into_iter().map(|hold| hold.reason).collect()
}

fn journal(world: &World, name: &str) -> Vec<String> {
    let entries = world.engine().store().read(|view| view.source_timeline(&source(name))).unwrap();
    entries.into_iter().map(|entry| format!("{}: {}", entry.actor, entry.cause)).collect()
}

/// A world in which alpha's second full batch is parked.
fn parked() -> (World, BatchId) {
    let world = World::with(|settings| {
        let alpha = settings.sources.get_mut(&source("alpha")).unwrap();
        alpha.guards.delete_ratio = 0.3;
        alpha.guards.delete_min = 2;
    });
    world.publish(&TestBatch::full("alpha", 1).with(["a", "ab", "b"].map(|name| says(entity(name), 1))));
    let record = world.publish(&TestBatch::full("alpha", 5).with([says(entity("a"), 1)]));
    assert!(record.hold.is_some());
    (world, record.batch_id)
}

// Priority

#[test]
fn a_prioritised_batch_jumps_the_other_sources_and_never_its_own() {
    let world = World::new();
    let mut ids = Vec::new();
    for (name, time) in [("alpha", 1), ("alpha", 2), ("beta", 30), ("beta", 40), ("beta", 50)] {
        ids.push(world.deliver(&batch(name, time, "a")).unwrap());
    }
    let engine = world.engine();
    // The oldest first.
    assert_eq!(engine.turns().unwrap()[0].source, source("alpha"));
    engine.prioritize(&ids[3], "ann", "the board asks").unwrap();
    let turns = engine.turns().unwrap();
    assert_eq!((&turns[0].source, turns[0].prioritised), (&source("beta"), true));
    let order: Vec<BatchId> = std::iter::from_fn(|| engine.step().unwrap()).collect();
    let expected = [2, 3, 0, 1, 4].map(|n: usize| ids[n].clone());
    assert_eq!(order, expected);
    assert!(world.timeline(&ids[3]).contains(&"ann: prioritised: the board asks".to_owned()));
    refused(engine.prioritize(&ids[3], "ann", "again"), ErrorKind::Conflict);
}

#[test]
fn a_priority_can_be_taken_back() {
    let world = World::new();
    let alpha = world.deliver(&batch("alpha", 1, "a")).unwrap();
    let beta = world.deliver(&batch("beta", 30, "b")).unwrap();
    let engine = world.engine();
    refused(engine.unprioritize(&beta, "ann", "never was"), ErrorKind::Conflict);
    engine.prioritize(&beta, "ann", "now").unwrap();
    engine.unprioritize(&beta, "bob", "not now").unwrap();
    assert_eq!(engine.step().unwrap(), Some(alpha));
    assert!(world.timeline(&beta).contains(&"bob: no longer prioritised: not now".to_owned()));
}

#[test]
fn the_queue_shows_the_score_that_workers_choose_by() {
    let mut world = World::new();
    world.source("beta", |source| source.importance = 100);
    world.source("alpha", |source| source.importance = 0);
    world.deliver(&batch("alpha", 30, "a")).unwrap();
    world.deliver(&batch("beta", 30, "b")).unwrap();
    let turns = world.engine().turns().unwrap();
    let order: Vec<&str> = turns.iter().map(|turn| turn.source.as_str()).collect();
    assert_eq!(order, ["beta", "alpha"]);
    let score = turns[0].score.unwrap();
    assert_eq!((score.importance, turns[1].score.unwrap().importance), (1.0, 0.0));
    assert!(score.total() > turns[1].score.unwrap().total());
    assert_eq!(turns[0].standing, Standing::Ready);
}

// Cancelling

#[test]
fn a_batch_that_is_not_executing_is_cancelled_at_once_and_asserts_nothing() {
    // Pending.
    let world = World::new();
    let pending = world.deliver(&batch("alpha", 1, "a")).unwrap();
    world.engine().cancel(&pending, "ann", "wrong file").unwrap();
    assert_eq!(world.batch(&pending).status, PublishStatus::Failed);
    assert_eq!(code(&world.batch(&pending)), "CANCELLED");
    assert!(world.timeline(&pending).contains(&"ann: wrong file".to_owned()));
    refused(world.engine().cancel(&pending, "ann", "again"), ErrorKind::Conflict);
    // Planned, with its source going on.
    let planned = world.deliver(&batch("alpha", 2, "a")).unwrap();
    let next = world.deliver(&batch("alpha", 3, "b")).unwrap();
    world.advance("alpha");
    assert_eq!(world.batch(&planned).status, PublishStatus::PlanComplete);
    world.engine().cancel(&planned, "ann", "wrong file").unwrap();
    world.work();
    assert_eq!(world.batch(&next).status, PublishStatus::Complete);
    world.expect(&[(entity("b"), 3)]);
    // Parked.
    let (world, id) = parked();
    world.engine().cancel(&id, "ann", "a hiccup").unwrap();
    assert_eq!((code(&world.batch(&id)), world.batch(&id).hold), ("CANCELLED", None));
    // Waiting for its next attempt.
    let folder = batch("beta", 1, "c").write(&world.data.path().join("delivered"));
    let away = world.engine().accept(&folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    world.work();
    assert_eq!(world.batch(&away).status, PublishStatus::Retrying);
    world.engine().cancel(&away, "ann", "it is lost").unwrap();
    assert_eq!(code(&world.batch(&away)), "CANCELLED");
    assert_eq!(world.batch(&away).next_attempt, None);
}

type Call = Box<dyn Fn(&Engine, Option<&BatchId>) + Send + Sync>;

/// Calls the engine when the first bytes of a batch were read.
struct WhileReading {
    engine: OnceLock<std::sync::Weak<Engine>>,
    batch: Mutex<Option<BatchId>>,
    called: std::sync::atomic::AtomicBool,
    call: Call,
}

impl WhileReading {
    fn new(call: impl Fn(&Engine, Option<&BatchId>) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            engine: OnceLock::new(),
            batch: Mutex::new(None),
            called: false.into(),
            call: Box::new(call),
        })
    }

    fn attach(&self, world: &World) {
        self.engine.set(Arc::downgrade(&world.shared())).unwrap();
    }
}

impl ProgressSink for WhileReading {
    fn reading(&self, batch: &BatchId, _bytes: Option<u64>) {
        *self.batch.lock().unwrap() = Some(batch.clone());
    }

    fn read(&self, _bytes: u64) {
        let Some(batch) = self.batch.lock().unwrap().clone() else { return };
        if self.called.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return;
        }
        if let Some(engine) = self.engine.get().and_then(std::sync::Weak::upgrade) {
            (self.call)(&engine, Some(&batch));
        }
    }
}

/// More than is read at once.
fn large(source: &str, time: u32) -> TestBatch {
    let text = "x".repeat(1000);
    let lines = (0..3000).map(|n| {
        let value = [("x".to_owned(), serde_json::json!(text))].into();
        Line::Value(entity(&format!("a{n}")), value, 0)
    });
    TestBatch::full(source, time).with(lines)
}

/// Files of plans and of work in progress.
fn files(world: &World, name: &str) -> usize {
    let state = world.engine().state();
    let count = |path: std::path::PathBuf| std::fs::read_dir(path).map_or(0, Iterator::count);
    let folders = ["packs", "layers", "orders", "plans"];
    let of_source: usize = folders.iter().map(|f| count(state.source(&source(name)).join(f))).sum();
    of_source + count(state.root().join("tmp"))
}

#[test]
fn a_batch_that_is_being_planned_is_cancelled_within_a_few_thousand_lines() {
    let mut world = World::new();
    let sink = WhileReading::new(|engine, id| {
        let record = engine.cancel(id.unwrap(), "ann", "too large").unwrap();
        assert_eq!(record.status, PublishStatus::Failed);
    });
    world.tell(sink.clone());
    sink.attach(&world);
    let id = world.deliver(&large("alpha", 1)).unwrap();
    let next = world.deliver(&batch("alpha", 2, "b")).unwrap();
    world.engine().step().unwrap();
    assert_eq!((code(&world.batch(&id)), files(&world, "alpha")), ("CANCELLED", 0));
    world.work();
    assert_eq!(world.batch(&next).status, PublishStatus::Complete);
    world.expect(&[(entity("b"), 2)]);
}

#[test]
fn a_stop_ends_planning_leaves_no_files_and_the_batch_is_planned_at_the_next_start() {
    let mut world = World::new();
    let sink = WhileReading::new(|engine, _| engine.stop());
    world.tell(sink.clone());
    sink.attach(&world);
    let id = world.deliver(&large("alpha", 1)).unwrap();
    world.work();
    assert_eq!((world.batch(&id).status, files(&world, "alpha")), (PublishStatus::Planning, 0));
    world.restart();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    assert_eq!(world.export().lines().count(), 3000);
}

/// Cancels a batch of nine changes, three a request, when the second request
/// is about to be sent.
fn cancelled_while_executing() -> (World, BatchId) {
    let world = World::new();
    world.publish(&batch("alpha", 1, "z"));
    let engine = Arc::downgrade(&world.shared());
    world.faults.before(move |operation| {
        if operation.no.0 == 1 {
            let engine = engine.upgrade().unwrap();
            let record = engine.cancel(&operation.batch_id, "ann", "enough").unwrap();
            assert_eq!(record.status, PublishStatus::Executing);
        }
        Ok(())
    });
    let names = ["a", "ab", "ac", "ad", "ae", "af", "ag", "ah"];
    let id =
        world.deliver(&TestBatch::full("alpha", 2).with(names.map(|name| says(entity(name), 1)))).unwrap();
    (world, id)
}

#[test]
fn a_batch_that_is_being_executed_ends_between_two_operations_and_its_snapshot_holds_what_was_published() {
    let (world, id) = cancelled_while_executing();
    world.work();
    let record = world.batch(&id);
    assert_eq!((record.status, code(&record)), (PublishStatus::Failed, "CANCELLED"));
    // Two of three requests; the deletion of z was in the third.
    assert_eq!(record.metrics.unwrap().entities_created, 6);
    assert!(record.snapshot_path.is_some());
    assert_eq!(world.export().lines().count(), 7);
    world.faults.heal();
    // The next one finds what the snapshot says to be what there is.
    let last = TestBatch::full("alpha", 3).with([says(entity("a"), 1), says(entity("ah"), 1)]);
    let record = world.publish(&last);
    let summary = world.plan(&record).header.summary.entities;
    assert_eq!((summary.create, summary.delete, summary.unchanged), (1, 6, 1));
    world.expect(&[(entity("a"), 1), (entity("ah"), 1)]);
}

#[test]
fn a_cancel_survives_the_process_and_what_was_sent_without_an_answer_is_unsure() {
    let world_and_id = cancelled_while_executing();
    let (mut world, id) = world_and_id;
    // The process ends before the answer to the second request.
    let engine = Arc::downgrade(&world.shared());
    world.faults.before(move |operation| {
        if operation.no.0 == 1 {
            engine.upgrade().unwrap().cancel(&operation.batch_id, "ann", "enough").unwrap();
            return Err(Error::new(ErrorKind::Interrupted, "the process ended"));
        }
        Ok(())
    });
    world.engine().step().unwrap();
    assert_eq!(world.batch(&id).status, PublishStatus::Executing);
    refused(world.engine().cancel(&id, "ann", "twice"), ErrorKind::Conflict);
    world.faults.heal();
    world.restart();
    world.work();
    assert_eq!((code(&world.batch(&id)), world.export().lines().count()), ("CANCELLED", 4));
    // The three of the request in doubt are sent as a whole.
    let names = ["a", "ab", "ac", "ad", "ae", "af"];
    let last = TestBatch::full("alpha", 3).with(names.map(|name| says(entity(name), 1)));
    world.publish(&last);
    world.expect_batches(&[&last]);
}

#[test]
fn a_batch_cancelled_before_its_first_request_leaves_its_target_as_it_was() {
    let world = World::new();
    world.publish(&batch("alpha", 1, "z"));
    let id = world.deliver(&batch("alpha", 2, "a")).unwrap();
    world.advance("alpha");
    world.advance("alpha");
    assert_eq!(world.batch(&id).status, PublishStatus::Executing);
    world.engine().cancel(&id, "ann", "not now").unwrap();
    world.work();
    assert_eq!(code(&world.batch(&id)), "CANCELLED");
    assert_eq!(world.publish(&batch("alpha", 3, "b")).status, PublishStatus::Complete);
    world.expect(&[(entity("z"), 1), (entity("b"), 3)]);
}

#[test]
fn a_batch_that_trouble_keeps_executing_can_be_cancelled() {
    let world = World::new();
    world.faults.before(|_| Err(Error::new(ErrorKind::CatalogueFailed, "it does not work")));
    let id = world.deliver(&batch("alpha", 1, "a")).unwrap();
    assert_eq!(world.engine().step().unwrap_err().kind(), ErrorKind::CatalogueFailed);
    assert_eq!(world.engine().step().unwrap(), None);
    world.engine().cancel(&id, "ann", "give up").unwrap();
    world.work();
    assert_eq!(
        (code(&world.batch(&id)), holds(&world, "alpha")),
        ("CANCELLED", vec![SourceHoldReason::Trouble])
    );
}

// Trying again

#[test]
fn a_failed_batch_is_put_back_with_its_own_stamp_and_its_hold_goes() {
    let world = World::new();
    let folder = batch("alpha", 2, "a").write(&world.data.path().join("delivered"));
    let id = world.engine().accept(&folder).unwrap();
    let file = folder.join("entities-00000.ndjson");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, "").unwrap();
    world.work();
    assert_eq!(holds(&world, "alpha"), [SourceHoldReason::BatchFailed]);
    let next = world.deliver(&batch("alpha", 3, "a")).unwrap();
    world.work();
    assert_eq!(world.batch(&next).status, PublishStatus::Pending);
    std::fs::write(&file, good).unwrap();
    world.engine().retry(&id, "ann", "the file is whole now").unwrap();
    assert_eq!((world.batch(&id).failure, holds(&world, "alpha")), (None, vec![]));
    let order: Vec<BatchId> = std::iter::from_fn(|| world.engine().step().unwrap()).collect();
    assert_eq!(order, [id.clone(), next]);
    world.expect(&[(entity("a"), 3)]);
    assert!(world.timeline(&id).contains(&"ann: the file is whole now".to_owned()));
    assert!(journal(&world, "alpha").last().unwrap().starts_with("ann: goes on: batch alpha:"));
    refused(world.engine().retry(&id, "ann", "again"), ErrorKind::Conflict);
}

#[test]
fn a_retry_never_brings_old_data_over_newer() {
    let (world, id) = parked();
    world.reject(&id);
    world.publish(&batch("alpha", 9, "ab"));
    world.engine().retry(&id, "ann", "it was right after all").unwrap();
    world.work();
    // What it deletes still trips the guard; ab is newer than it.
    let record = world.batch(&id);
    assert!(record.hold.is_none(), "one deletion is under the limit: {record:?}");
    world.expect(&[(entity("a"), 1), (entity("ab"), 9)]);
}

#[test]
fn a_batch_that_waits_is_tried_now() {
    let world = World::new();
    let folder = batch("alpha", 1, "a").write(&world.data.path().join("delivered"));
    let id = world.engine().accept(&folder).unwrap();
    let away = folder.with_extension("away");
    std::fs::rename(&folder, &away).unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
    std::fs::rename(&away, &folder).unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
    world.engine().retry(&id, "ann", "it is back").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

#[test]
fn a_batch_whose_manifest_could_not_be_read_is_read_anew_and_never_taken_for_an_empty_one() {
    let world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    let made = TestBatch::full("alpha", 2).with([says(entity("b"), 2)]);
    let inbox = world.data.path().join("inbox");
    let folder = made.write(&world.data.path().join("made"));
    let target = inbox.join("alpha").join(made.folder_name());
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::rename(&folder, &target).unwrap();
    let manifest = target.join("manifest.json");
    let good = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, "{").unwrap();
    world.engine().scan_inbox(&world.settings.inboxes[0]).unwrap();
    let id: BatchId = made.id().parse().unwrap();
    assert_eq!(code(&world.batch(&id)), "BATCH_MANIFEST_INVALID");
    refused(world.engine().retry(&id, "ann", "?"), ErrorKind::ManifestInvalid);
    std::fs::write(&manifest, good).unwrap();
    world.engine().retry(&id, "ann", "it is whole now").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{:?}", world.batch(&id).failure);
    world.expect(&[(entity("b"), 2)]);
    let all = world.engine().store().read(|view| view.batches(&tidegate::store::BatchFilter::default()));
    assert_eq!(all.unwrap().len(), 2);
}

// Approving

#[test]
fn an_approval_is_of_the_plan_that_was_looked_at() {
    let (world, id) = parked();
    let engine = world.engine();
    let looked_at = world.plan(&world.batch(&id)).header.digest;
    // Another batch of the source moves its snapshot: the plan is made again.
    world.publish(&batch("alpha", 3, "c"));
    let now = world.plan(&world.batch(&id)).header.digest;
    assert_ne!(now, looked_at);
    refused(engine.approve(&id, Some(looked_at), "ann", "I saw it"), ErrorKind::PlanStale);
    engine.approve(&id, Some(now), "ann", "I saw it").unwrap();
    refused(engine.approve(&id, Some(now), "ann", "twice"), ErrorKind::Conflict);
    refused(engine.reject(&id, "bob", "too late"), ErrorKind::Conflict);
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    refused(engine.approve(&id, Some(now), "ann", "once more"), ErrorKind::Conflict);
}

#[test]
fn an_approval_of_a_plan_that_another_source_moved_is_stale_and_the_plan_made_again() {
    let (world, id) = parked();
    let digest = world.plan(&world.batch(&id)).header.digest;
    // beta asserts what alpha's plan deletes: it would be an update now.
    let gone = world.plan(&world.batch(&id)).header.summary.entities.delete;
    assert!(gone > 0);
    let names = world.export();
    let mut lines = Vec::new();
    for line in names.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(name) = line["qualified_name"].as_str() {
            lines.push(says(entity(name), 7));
        }
    }
    world.publish(&TestBatch::full("beta", 9).with(lines));
    let plan = world.batch(&id).plan_id;
    refused(world.engine().approve(&id, Some(digest), "ann", "I saw it"), ErrorKind::PlanStale);
    assert!(world.batch(&id).approval.is_none());
    world.work();
    let now = world.batch(&id);
    assert!(now.plan_id != plan, "it is planned again");
}

#[test]
fn an_approval_while_the_plan_is_made_again_is_stale() {
    let (world, id) = parked();
    let digest = world.plan(&world.batch(&id)).header.digest;
    // A late batch runs first, and nobody has planned the parked one since.
    world.deliver(&batch("alpha", 3, "c")).unwrap();
    for _ in 0..3 {
        world.advance("alpha");
    }
    assert_eq!(world.batch(&id).status, PublishStatus::Planning);
    refused(world.engine().approve(&id, Some(digest), "ann", "I saw it"), ErrorKind::PlanStale);
}

// Sources

#[test]
fn a_paused_source_begins_nothing_not_even_a_full_batch_and_ends_what_it_has_begun() {
    let world = World::new();
    let begun = world.deliver(&batch("alpha", 1, "a")).unwrap();
    world.advance("alpha");
    world.advance("alpha");
    assert_eq!(world.batch(&begun).status, PublishStatus::Executing);
    world.engine().pause_source(&source("alpha"), "ann", "maintenance").unwrap();
    refused(world.engine().pause_source(&source("alpha"), "ann", "twice"), ErrorKind::Conflict);
    let everything = world.deliver(&TestBatch::full("alpha", 2).with([says(entity("b"), 2)])).unwrap();
    world.work();
    assert_eq!(world.batch(&begun).status, PublishStatus::Complete);
    assert_eq!(world.batch(&everything).status, PublishStatus::Pending);
    let turns = world.engine().turns().unwrap();
    assert!(matches!(&turns[0].standing, Standing::Held(hold) if hold.reason == SourceHoldReason::Paused));
    world.engine().resume_source(&source("alpha"), "bob", "done").unwrap();
    refused(world.engine().resume_source(&source("alpha"), "bob", "twice"), ErrorKind::Conflict);
    world.work();
    assert_eq!(world.batch(&everything).status, PublishStatus::Complete);
    assert_eq!(journal(&world, "alpha"), ["ann: paused: maintenance", "bob: resumed (was paused): done"]);
    refused(world.engine().pause_source(&source("nobody"), "ann", "?"), ErrorKind::NotFound);
}

#[test]
fn a_pause_between_plan_and_execution_stops_the_execution() {
    let world = World::new();
    let id = world.deliver(&batch("alpha", 1, "a")).unwrap();
    world.advance("alpha");
    world.engine().pause_source(&source("alpha"), "ann", "wait").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::PlanComplete);
    world.engine().resume_source(&source("alpha"), "ann", "go").unwrap();
    world.work();
    assert_eq!((world.batch(&id).status, world.plannings(&id)), (PublishStatus::Complete, 1));
}

#[test]
fn a_source_that_the_settings_do_not_name_waits_if_they_say_so() {
    let mut world = World::with(|settings| settings.service.unknown_sources = UnknownSources::Hold);
    let deliver = |world: &World, batch: &TestBatch| -> BatchId {
        let folder = batch.write(&world.data.path().join("made"));
        let target = world.data.path().join("inbox").join(&batch.source).join(batch.folder_name());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::rename(folder, &target).unwrap();
        world.engine().scan_inbox(&world.settings.inboxes[0]).unwrap();
        batch.id().parse().unwrap()
    };
    let known = deliver(&world, &batch("alpha", 1, "a"));
    let delta = deliver(&world, &TestBatch::full("delta", 1).with([says(entity("b"), 1)]));
    let omega = deliver(&world, &TestBatch::full("omega", 1).with([says(entity("c"), 1)]));
    world.work();
    assert_eq!(world.batch(&known).status, PublishStatus::Complete);
    assert_eq!(holds(&world, "delta"), [SourceHoldReason::UnknownSource]);
    assert_eq!(world.batch(&delta).status, PublishStatus::Pending);
    // A person lets one go on, the settings the other.
    world.engine().resume_source(&source("delta"), "ann", "it is ours").unwrap();
    world.settings.sources.insert(source("omega"), Default::default());
    world.engine().reload(&world.settings).unwrap();
    world.work();
    for id in [&delta, &omega] {
        assert_eq!(world.batch(id).status, PublishStatus::Complete);
    }
    deliver(&world, &batch("delta", 2, "b"));
    assert_eq!(holds(&world, "delta"), [], "once is enough");
}

#[test]
fn a_source_whose_target_moved_is_not_tried_again_and_again() {
    let mut world = World::new();
    world.publish(&batch("alpha", 1, "a"));
    let catalogue = world.data.path().join("catalogue.redb");
    world.stop();
    std::fs::rename(&catalogue, catalogue.with_extension("away")).unwrap();
    // Another one lies in its place.
    drop(EmbeddedCatalogue::open(&catalogue, EmbeddedOptions::default(), world.clock.clone()).unwrap());
    world.restart();
    let id = world.deliver(&TestBatch::full("alpha", 2).with([says(entity("a"), 2)])).unwrap();
    assert_eq!(world.engine().step().unwrap_err().kind(), ErrorKind::TargetMoved);
    assert_eq!(world.engine().step().unwrap(), None);
    assert_eq!(
        (holds(&world, "alpha"), journal(&world, "alpha").len()),
        (vec![SourceHoldReason::TargetMoved], 1)
    );
    // Restored, it goes on by itself when the service starts.
    world.stop();
    std::fs::rename(catalogue.with_extension("away"), &catalogue).unwrap();
    world.restart();
    assert_eq!(world.engine().run_batch(&id).unwrap().status, PublishStatus::Complete);
    assert_eq!(holds(&world, "alpha"), []);
    world.expect(&[(entity("a"), 2)]);
}

#[test]
fn other_settings_are_in_force_without_a_restart_and_told_key_by_key() {
    let mut world = World::new();
    let mut events = world.engine().events().subscribe();
    world.settings.sources.get_mut(&source("alpha")).unwrap().importance = 90;
    world.settings.planning.threads = 1;
    world.settings.state = "elsewhere".into();
    let reload = world.engine().reload(&world.settings).unwrap();
    let told: Vec<(&str, bool)> =
        reload.changes.iter().map(|change| (change.key.as_str(), change.needs_restart)).collect();
    assert_eq!(told, [("planning.threads", false), ("sources.alpha.importance", false), ("state.url", true)]);
    assert_eq!(world.engine().settings().source(&source("alpha")).importance, 90);
    assert_ne!(world.engine().settings().state, world.settings.state);
    let kind = events.try_recv().unwrap().kind;
    assert_eq!(kind, tidegate::service::events::EventKind::Settings);
    assert_eq!(world.publish(&batch("alpha", 1, "a")).status, PublishStatus::Complete);
}

#[test]
fn every_change_of_a_batch_is_an_event_and_progress_can_be_looked_at() {
    let world = World::new();
    let mut events = world.engine().events().subscribe();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (engine, log) = (Arc::downgrade(&world.shared()), Arc::clone(&seen));
    world.faults.before(move |operation| {
        let progress = engine.upgrade().unwrap().progress_of(&operation.batch_id).unwrap();
        log.lock().unwrap().push(format!("{:?} {} of {:?}", progress.phase, progress.done, progress.total));
        Ok(())
    });
    let lines = ["a", "b", "c", "d"].map(|name| says(entity(name), 1));
    let record = world.publish(&TestBatch::full("alpha", 1).with(lines));
    assert_eq!(*seen.lock().unwrap(), ["Executing 0 of Some(4)", "Executing 3 of Some(4)"]);
    assert_eq!(world.engine().progress_of(&record.batch_id), None);
    let mut kinds = Vec::new();
    while let Ok(event) = events.try_recv() {
        assert_eq!(event.batch_id.as_ref(), Some(&record.batch_id));
        kinds.push(event.kind);
    }
    let batch_events =
        kinds.iter().filter(|kind| **kind == tidegate::service::events::EventKind::Batch).count();
    // Accepted, planning, planned, executing, complete.
    assert_eq!(batch_events, 5, "{kinds:?}");
}

#[test]
fn a_hold_for_a_failed_batch_is_overtaken_by_a_full_batch_and_a_pause_is_not() {
    let world = World::new();
    let folder = batch("alpha", 1, "a").write(&world.data.path().join("delivered"));
    let id = world.engine().accept(&folder).unwrap();
    std::fs::write(folder.join("entities-00000.ndjson"), "").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Failed);
    world.engine().pause_source(&source("alpha"), "ann", "wait").unwrap();
    assert_eq!(holds(&world, "alpha"), [SourceHoldReason::Paused, SourceHoldReason::BatchFailed]);
    let full = world.deliver(&TestBatch::full("alpha", 2).with([says(entity("b"), 2)])).unwrap();
    world.clock.advance(Duration::from_secs(1));
    world.work();
    assert_eq!(world.batch(&full).status, PublishStatus::Pending);
    world.engine().resume_source(&source("alpha"), "ann", "go").unwrap();
    world.work();
    assert_eq!(world.batch(&full).status, PublishStatus::Complete);
}
