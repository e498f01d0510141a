//! Data directories of released formats open in every later version, and go on
//! where they were. Each lies in `tests/compat/<format>/`, packed file by file.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use support::batches::{Line, TestBatch, edge, entity, says};
use tidegate::clock::{Clock, ManualClock};
use tidegate::config::Settings;
use tidegate::domain::ids::SourceId;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::Deletion;
use tidegate::planning::bodies::Bodies;
use tidegate::planning::format::layer::CacheBudget;
use tidegate::planning::snapshot::Snapshot;
use tidegate::service::Engine;
use tidegate::store::BatchFilter;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat")
}

fn settings(data: &Path) -> Settings {
    let mut settings = Settings::defaults(data);
    for target in settings.targets.values_mut() {
        target.deletion = Deletion::Archive;
    }
    settings
}

fn open(data: &Path) -> Engine {
    open_with(data, settings(data))
}

fn open_with(data: &Path, settings: Settings) -> Engine {
    let clock = ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7);
    Engine::open(data, settings, Arc::new(clock) as Arc<dyn Clock>).unwrap()
}

fn export(engine: &Engine) -> String {
    let mut out = Vec::new();
    engine.export(&mut out, true).unwrap();
    String::from_utf8(out).unwrap()
}

/// What the directory was made of: full and incremental batches of two sources
/// with updates, deletions, a late batch, bad lines, a waiting relationship,
/// and one that a guard parks; from format 2 on a source that is large enough
/// for a dictionary and for runs.
fn history(format: &str) -> Vec<TestBatch> {
    let many = (0..40).map(|n| says(entity(&format!("n{n}")), n));
    let mut all = vec![
        TestBatch::full("alpha", 10)
            .with(many.clone())
            .with([says(edge("n1", "n2"), 1), says(edge("n1", "missing"), 1)]),
        TestBatch::incremental("alpha", 30).with([says(entity("n3"), 99), Line::Deleted(entity("n4"))]),
        TestBatch::full("beta", 15).with(beta()),
        TestBatch::incremental("alpha", 20).with([says(entity("n3"), 50), Line::BadKeyed(entity("n5"))]),
        TestBatch::full("alpha", 40).with(many.take(3)),
    ];
    if format != "format-1" {
        all.extend([large(0), large(1)]);
    }
    all
}

fn beta() -> [Line; 3] {
    [says(entity("n1"), 7), says(entity("ub"), 8), says(edge("ub", "n1"), 1)]
}

/// A full batch of a source that is large enough for a dictionary and for
/// runs; each round changes 15 of its 1,500 values.
fn large(round: u32) -> TestBatch {
    let line = |n: u32| {
        let revision = if n.is_multiple_of(100) { round } else { 0 };
        let text = format!("{} of {n}, {}", "what is said of it ".repeat(12), n * 7919 % 1000);
        let value = [("text".to_owned(), text.into()), ("revision".to_owned(), revision.into())];
        Line::Value(entity(&format!("l{n}")), value.into(), 0)
    };
    TestBatch::full("gamma", 10 + round).with((0..1_500).map(line))
}

/// Walks over the files of a directory.
fn files(folder: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            files(folder, &path, found);
        } else {
            found.push(path);
        }
    }
}

/// Makes the directory of the present format:
/// `TIDEGATE_WRITE_COMPAT=format-2 cargo test --test compat -- --ignored`
#[test]
#[ignore = "writes into the repository; run for a release that changes a stored format"]
fn write_a_data_directory() {
    let name = std::env::var("TIDEGATE_WRITE_COMPAT").expect("TIDEGATE_WRITE_COMPAT names the format");
    let into = root().join(&name);
    let work = support::folder();
    let data = work.path().join("data");
    let engine = open(&data);
    for batch in history(&name) {
        engine.accept(&batch.write(work.path())).unwrap();
        engine.run_until_idle().unwrap();
    }
    std::fs::create_dir_all(&into).unwrap();
    std::fs::write(into.join("export.ndjson"), export(&engine)).unwrap();
    drop(engine);
    let mut all = Vec::new();
    files(&data, Path::new(""), &mut all);
    for file in all {
        let to = into.join("data").join(format!("{}.zst", file.display()));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let bytes = std::fs::read(data.join(&file)).unwrap();
        std::fs::write(to, zstd::bulk::compress(&bytes, 19).unwrap()).unwrap();
    }
}

fn unpack(from: &Path, data: &Path) {
    let mut all = Vec::new();
    files(from, Path::new(""), &mut all);
    for file in all {
        let to = data.join(file.with_extension(""));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let packed = std::fs::read(from.join(&file)).unwrap();
        std::fs::write(to, zstd::stream::decode_all(&packed[..]).unwrap()).unwrap();
    }
}

/// The order of a line's members is of the program that wrote it.
fn lines(export: &str) -> Vec<serde_json::Value> {
    export.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_released_format_opens_and_goes_on() {
    let mut formats = 0;
    for entry in std::fs::read_dir(root()).unwrap() {
        let folder = entry.unwrap().path();
        let is_format = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("format-"));
        if !folder.is_dir() || !is_format {
            continue;
        }
        formats += 1;
        let work = support::folder();
        let data = work.path().join("data");
        unpack(&folder.join("data"), &data);
        let engine = open(&data);
        let expected = std::fs::read_to_string(folder.join("export.ndjson")).unwrap();
        assert_eq!(lines(&export(&engine)), lines(&expected), "{}", folder.display());

        // Batches, their timelines and plans, snapshots with every body.
        let batches = engine.store().read(|view| view.batches(&BatchFilter::default())).unwrap();
        let format = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(batches.len(), history(&format).len());
        let parked = batches.iter().find(|batch| batch.hold.is_some()).expect("one is parked");
        for batch in &batches {
            assert!(!engine.store().read(|view| view.timeline(&batch.batch_id)).unwrap().is_empty());
            let plan = engine.plan_of(batch).unwrap().expect("its plan is kept");
            plan.changes(|_| Ok(())).unwrap();
        }
        let mut bodies = Bodies::new().unwrap();
        for record in engine.store().read(|view| view.snapshots()).unwrap() {
            let budget = CacheBudget::new(1 << 20);
            let snapshot =
                Snapshot::open(engine.state(), &record.source, &record.target, &record.id, &budget).unwrap();
            snapshot.each_live(|found| snapshot.body(&found, &mut bodies)?.body().map(|_| ())).unwrap();
        }
        let alpha = SourceId::new("alpha").unwrap();
        assert_eq!(engine.store().read(|view| view.open_dead_letters(&alpha)).unwrap().len(), 1);

        // It goes on: what was parked is approved, and a newer batch planned.
        engine.approve(&parked.batch_id, None, "ann", "looked at").unwrap();
        engine.run_until_idle().unwrap();
        assert_eq!(engine.batch(&parked.batch_id).unwrap().status, PublishStatus::Complete);
        let next = TestBatch::incremental("alpha", 60).with([says(entity("n0"), 1000)]);
        let id = engine.accept(&next.write(work.path())).unwrap();
        engine.run_until_idle().unwrap();
        assert_eq!(engine.batch(&id).unwrap().metrics.unwrap().entities_updated, 1);
        // A full batch again: by the line order that is there.
        let again = TestBatch::full("beta", 70).with(beta());
        let id = engine.accept(&again.write(work.path())).unwrap();
        engine.run_until_idle().unwrap();
        let plan = engine.plan_of(&engine.batch(&id).unwrap()).unwrap().unwrap();
        assert_eq!(plan.manifest().lines_in_order, 3);
        if format != "format-1" {
            let id = engine.accept(&large(2).write(work.path())).unwrap();
            engine.run_until_idle().unwrap();
            let record = engine.batch(&id).unwrap();
            assert_eq!(record.metrics.unwrap().entities_updated, 15);
            let in_order = engine.plan_of(&record).unwrap().unwrap().manifest().lines_in_order;
            assert!(in_order > 1_400, "{in_order} lines were taken by their hashes");
        }
    }
    assert!(formats > 0, "no format was looked at");
}

/// A key had gone with batch 2 and come again with its old line when layers
/// were merged that forgot its old place in the line order: the program that
/// made this deleted it with the next batch, though that lists it.
#[test]
fn layers_that_were_merged_without_old_places_delete_nothing_that_is_listed() {
    let work = support::folder();
    let data = work.path().join("data");
    unpack(&root().join("merged-layers/data"), &data);
    // Other settings would drop the order of lines.
    let engine = open_with(&data, Settings::defaults(&data));
    for time in 9..=30 {
        let rest = ["a", "b", "c"].map(|name| says(entity(name), i64::from(time)));
        let batch = TestBatch::full("alpha", time).with([says(entity("k"), 1)]).with(rest);
        let id = engine.accept(&batch.write(work.path())).unwrap();
        engine.run_until_idle().unwrap();
        let record = engine.batch(&id).unwrap();
        assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
        let metrics = record.metrics.unwrap();
        let counts = (metrics.entities_created, metrics.entities_updated, metrics.entities_deleted);
        assert_eq!(counts, (0, 3, 0), "batch {time}");
        assert!(export(&engine).contains("\"qualified_name\":\"k\""), "batch {time}");
    }
}
