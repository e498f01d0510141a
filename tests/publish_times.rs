//! What a publish state says of times and places: the times are those at which
//! things happened, and the URLs name files that are there.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use support::batches::{Line, TestBatch, entity, says};
use support::world::World;
use tidegate::clock::Clock;
use tidegate::domain::ids::BatchId;
use tidegate::domain::publish_state::{PublishState, PublishStatus};
use url::Url;

const MINUTE: Duration = Duration::from_secs(60);

fn later(at: Timestamp, minutes: i64) -> Timestamp {
    at + jiff::SignedDuration::from_mins(minutes)
}

fn state(world: &World, id: &BatchId) -> PublishState {
    world.batch(id).publish_state()
}

/// Delivers a batch whose manifest gives a time of processing of its own.
fn deliver(world: &World, batch: &TestBatch, processed: &str) -> BatchId {
    let folder = batch.write(&world.data.path().join("delivered"));
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest["processing_timestamp"] = processed.into();
    std::fs::write(&path, manifest.to_string()).unwrap();
    world.engine().accept(&folder).unwrap()
}

/// Has each operation take a minute.
fn slow(world: &World) {
    let clock = Arc::clone(&world.clock);
    world.faults.before(move |_| {
        clock.advance(MINUTE);
        Ok(())
    });
}

#[test]
fn the_times_are_those_of_what_happened() {
    let world = World::new();
    slow(&world);
    let batch = TestBatch::full("alpha", 1).with(["a", "b", "c", "d"].map(|name| says(entity(name), 1)));
    let accepted = world.clock.now();
    let id = deliver(&world, &batch, "2026-11-01T00:30:00Z");
    world.clock.advance(MINUTE);
    let waits = state(&world, &id);
    assert_eq!((waits.publish_start_timestamp, waits.publish_end_timestamp), (None, None));

    while world.batch(&id).status != PublishStatus::PlanComplete {
        world.advance("alpha").unwrap();
    }
    let planned = state(&world, &id);
    let start = later(accepted, 1);
    assert_eq!((planned.publish_start_timestamp, planned.publish_end_timestamp), (Some(start), None));

    world.clock.advance(MINUTE);
    world.work();
    // Two operations of a minute each.
    let end = later(start, 3);
    assert_eq!(world.clock.now(), end);
    world.clock.advance(MINUTE);
    world.work();
    let done = state(&world, &id);
    assert_eq!(done.status, PublishStatus::Complete);
    assert_eq!((done.publish_start_timestamp, done.publish_end_timestamp), (Some(start), Some(end)));
    assert_eq!(world.batch(&id).accepted_at, accepted);
    assert_eq!(done.source_timestamp, "2026-11-01T00:01:00Z".parse().unwrap());
    assert_eq!(done.processing_timestamp, "2026-11-01T00:30:00Z".parse().unwrap());
    // Of the two operations, and of nothing that was before or after them.
    assert_eq!(done.metrics.unwrap().execution_time_ms, 120_000);
}

#[test]
fn one_that_fails_ends_when_it_fails_and_begins_no_second_time() {
    let world = World::new();
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    let folder = batch.write(&world.data.path().join("delivered"));
    let id = world.engine().accept(&folder).unwrap();
    let file = folder.join("entities-00000.ndjson");
    let text = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    world.clock.advance(MINUTE);
    let start = world.clock.now();
    world.work();
    let failed = state(&world, &id);
    assert_eq!(failed.status, PublishStatus::Failed);
    assert_eq!((failed.publish_start_timestamp, failed.publish_end_timestamp), (Some(start), Some(start)));

    std::fs::write(&file, text).unwrap();
    world.clock.advance(MINUTE);
    world.engine().retry(&id, "ann", "it is there again").unwrap();
    let waits = state(&world, &id);
    assert_eq!((waits.publish_start_timestamp, waits.publish_end_timestamp), (Some(start), None));
    world.clock.advance(MINUTE);
    world.work();
    let done = state(&world, &id);
    assert_eq!(done.status, PublishStatus::Complete, "{:?}", done.failure_details);
    let end = later(start, 2);
    assert_eq!((done.publish_start_timestamp, done.publish_end_timestamp), (Some(start), Some(end)));
}

/// The file that a URL names, which lies below the data directory.
fn path_of(world: &World, url: &str) -> PathBuf {
    let path = Url::parse(url).unwrap().to_file_path().unwrap();
    assert!(path.starts_with(world.data.path().canonicalize().unwrap()) && path.is_file(), "{url}");
    path
}

#[test]
fn the_urls_name_what_is_there() {
    let world = World::new();
    let mut snapshots = Vec::new();
    let batches = [
        TestBatch::full("alpha", 1).with(["a", "b"].map(|name| says(entity(name), 1))),
        TestBatch::incremental("alpha", 2).with([Line::Deleted(entity("b"))]),
    ];
    for batch in batches {
        let record = world.publish(&batch);
        let state = record.publish_state();
        let folder = Url::parse(&state.s3_path).unwrap();
        assert!(state.s3_path.starts_with("file:///") && state.s3_path.ends_with('/'), "{}", state.s3_path);
        let folder = folder.to_file_path().unwrap();
        assert_eq!(folder.canonicalize().unwrap(), record.folder.canonicalize().unwrap());
        assert!(folder.join("manifest.json").is_file());
        let plan = path_of(&world, &state.execution_plan_path.unwrap());
        assert_eq!(plan.file_stem().unwrap().to_str(), Some(&*record.plan_id.unwrap().to_string()));
        assert_eq!(&std::fs::read(plan).unwrap()[..12], b"TGBLOCKSPLAN");
        let snapshot = state.state_snapshot_path.unwrap();
        let text = std::fs::read_to_string(path_of(&world, &snapshot)).unwrap();
        assert!(text.contains(&world.snapshot("alpha").snapshot_id.to_string()), "{text}");
        snapshots.push(snapshot);
    }
    assert_ne!(snapshots[0], snapshots[1]);
}
