//! Approving a batch beside a server: until it has ended, and no longer than it
//! is in work when something else has to come first.

mod support;

use support::batches::{Line, TestBatch, entity, says};
use support::shell::Shell;

fn keys(letter: char, count: u32) -> impl Iterator<Item = tidegate::domain::key::Key> {
    (0..count).map(move |n| entity(&format!("{letter}{n:02}")))
}

/// The base, a full batch of a part of it, which a guard parks, and an older
/// one that comes later, which a guard parks, too: the last two.
fn parked(shell: &Shell) -> (String, String) {
    let base = TestBatch::full("alpha", 1).with(keys('g', 30).chain(keys('h', 30)).map(|key| says(key, 1)));
    shell.expect(0, &["batches", "wait", &shell.bring(&base)]);
    let part = TestBatch::full("alpha", 30).scoped(&["g*"], &[]).with(keys('g', 3).map(|key| says(key, 1)));
    let part = shell.bring(&part);
    shell.expect(3, &["batches", "wait", &part]);
    let late = shell.bring(&TestBatch::incremental("alpha", 20).with(keys('h', 27).map(Line::Deleted)));
    shell.expect(3, &["batches", "wait", &late]);
    (part, late)
}

#[test]
fn an_approved_batch_behind_a_parked_one_is_told_to_wait_for_it() {
    let shell = Shell::new();
    let server = shell.serve();
    let (part, late) = parked(&shell);
    let told = shell.expect(5, &["batches", "approve", &part]);
    let why = format!("an older batch of its source goes first: {late}, which waits for a person to approve");
    assert!(told.contains(&why), "{told}");
    // What comes first is waited for where it comes by itself.
    shell.expect(0, &["batches", "approve", &late]);
    let state = shell.json(0, &["batches", "wait", &part]);
    assert_eq!(state["metrics"]["entities_deleted"], 27);
    server.stop();
}

#[test]
fn an_approved_batch_of_a_paused_source_is_told_to_wait() {
    let shell = Shell::new();
    let server = shell.serve();
    let (_, late) = parked(&shell);
    shell.expect(0, &["sources", "pause", "alpha", "--reason", "moving"]);
    let told = shell.expect(5, &["batches", "approve", &late]);
    assert!(told.contains("its source is paused: paused by operator: moving"), "{told}");
    shell.expect(0, &["sources", "resume", "alpha"]);
    shell.expect(0, &["batches", "wait", &late]);
    server.stop();
}
