//! Many refused changes with long values: what is kept of them lies on disk
//! until the commit, and memory is bounded by one of them.

mod support;

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use support::batches::entity;
use support::world::World;
use tidegate::domain::ids::BatchId;
use tidegate::domain::publish_state::PublishStatus;

const CHANGES: usize = 3_000;
const LONG: usize = 20_000;

/// Delivers a batch. Its lines are written one at a time: what a test holds
/// would hide what the engine does.
fn deliver(world: &World, hour: u32, prefix: &str) -> BatchId {
    let time = format!("2026-11-01T{hour:02}:00:00Z");
    let folder: PathBuf = world.data.path().join(format!("delivered/alpha/20261101T{hour:02}0000Z_r{hour}"));
    std::fs::create_dir_all(&folder).unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(folder.join("e.ndjson")).unwrap());
    let text = "y".repeat(LONG);
    for n in 0..CHANGES {
        let name = format!("{prefix}{n}");
        let line = json!({"type": "t", "qualified_name": name, "attributes": {"x": format!("{n}{text}")}});
        writeln!(file, "{line}").unwrap();
    }
    file.flush().unwrap();
    let manifest = json!({
        "format": "tidegate.batch/1", "source_id": "alpha", "run_id": format!("r{hour}"), "workflow": "w",
        "mode": "incremental", "source_timestamp": time, "processing_timestamp": time,
        "files": [{"path": "e.ndjson", "kind": "entities"}],
    });
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    world.engine().accept(&folder).unwrap()
}

/// The most memory that this process had resident so far, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn memory_does_not_grow_with_what_is_refused() {
    let mut world = World::with(|settings| settings.max_changes = Some(500));
    world.source("alpha", |source| source.isolation.count = 1_000_000);
    // What a batch of this size takes anyhow.
    let taken = deliver(&world, 1, "taken");
    world.work();
    assert_eq!(world.batch(&taken).status, PublishStatus::Complete);
    let delivered = deliver(&world, 2, "refused");
    world.faults.refuse((0..CHANGES).map(|n| entity(&format!("refused{n}"))));
    let before = peak();
    world.work();
    let grown = peak() - before;
    let record = world.batch(&delivered);
    assert_eq!(record.status, PublishStatus::Complete);
    assert_eq!(record.failure.unwrap().error_code, "PARTIAL");
    let alpha = "alpha".parse().unwrap();
    let letters = world.engine().store().read(|view| view.count_open_dead_letters(&alpha)).unwrap();
    assert_eq!(letters, CHANGES as u64);
    let shown = world.engine().letter(CHANGES as u64).unwrap();
    assert!(shown.content.unwrap().len() > LONG && shown.diagnostics.request.unwrap().len() > LONG);
    let all = (CHANGES * LONG) as u64;
    assert!(grown < all, "{grown} bytes more for {all}");
}
