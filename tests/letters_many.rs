//! Many refused changes with long values: what is kept of them lies on disk
//! until the commit, and memory is bounded by one of them.

mod support;

use support::batches::Line;
use support::batches::{TestBatch, entity};
use support::world::World;
use tidegate::domain::publish_state::PublishStatus;

const CHANGES: usize = 3_000;
const LONG: usize = 20_000;

fn batch(time: u32, prefix: &str) -> TestBatch {
    let text = |n: usize| serde_json::Value::String(format!("{n}{}", "y".repeat(LONG)));
    let lines = (0..CHANGES).map(|n| {
        let value = [("x".to_owned(), text(n))].into();
        Line::Value(entity(&format!("{prefix}{n}")), value, 0)
    });
    TestBatch::incremental("alpha", time).with(lines)
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
    assert_eq!(world.publish(&batch(1, "taken")).status, PublishStatus::Complete);
    let delivered = world.deliver(&batch(2, "refused")).unwrap();
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
