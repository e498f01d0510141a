//! Commands that work on a data directory without a server: what they decided is
//! done when they end, and what one left that was killed, the next one ends.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use support::batches::{Line, TestBatch, entity, says};
use support::shell::Shell;
use tidegate::clock::SystemClock;
use tidegate::config::Settings;
use tidegate::service::Engine;
use tidegate::service::query::{LetterQuery, Order, Part};

fn batch(time: u32, count: i64) -> TestBatch {
    TestBatch::full("alpha", time).with((0..count).map(|n| says(entity(&format!("n{n}")), 1)))
}

/// Where the files of a batch are copied.
fn copy_of(shell: &Shell, batch: &TestBatch) -> PathBuf {
    shell.data().join("state").join(batch.id().replace(':', "/pins/"))
}

/// A batch that failed, for its manifest counts a line too many: dead letter 1. It
/// is mended where it lies.
fn mended(shell: &Shell) -> TestBatch {
    let batch = batch(1, 3);
    let path = PathBuf::from(shell.write(&batch)).join("manifest.json");
    let right = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, right.replace("\"count\":3", "\"count\":4")).unwrap();
    shell.expect(1, &["publish", path.parent().unwrap().to_str().unwrap()]);
    std::fs::write(&path, right).unwrap();
    batch
}

/// Does what a command does that is killed before it goes to work.
fn killed(shell: &Shell, decide: impl FnOnce(&Engine)) {
    let (data, clock) = (shell.data(), Arc::new(SystemClock::default()));
    let engine = Engine::open(&data, Settings::defaults(&data), clock).unwrap();
    decide(&engine);
}

#[test]
fn what_a_person_ends_leaves_no_copy_for_a_recovery() {
    for end in ["cancel", "reject", "discard"] {
        let shell = Shell::new();
        shell.expect(0, &["publish", &shell.write(&batch(0, 20))]);
        let waits = match end {
            "discard" => mended(&shell),
            _ => batch(2, 0),
        };
        match end {
            "discard" => {
                assert!(copy_of(&shell, &waits).is_dir());
                shell.expect(0, &["--yes", "dlq", "discard", "1", "--reason", "not wanted"]);
            }
            _ => {
                shell.expect(3, &["publish", &shell.write(&waits)]);
                assert!(copy_of(&shell, &waits).is_dir());
                shell.expect(0, &["--yes", "batches", end, &waits.id()]);
            }
        }
        assert!(!copy_of(&shell, &waits).exists(), "{end}");
        std::fs::remove_file(shell.data().join("tidegate.redb")).unwrap();
        let state = shell.data().join("state").display().to_string();
        let recovered = shell.json(0, &["recover", "--state", &state]);
        assert_eq!(recovered["batches"], serde_json::json!([]), "{end}: {recovered}");
    }
}

#[test]
fn a_retry_that_was_killed_goes_on_when_it_is_asked_for_again() {
    let shell = Shell::new();
    let id = mended(&shell).id();
    killed(&shell, |engine| {
        engine.retry(&id.parse().unwrap(), "ann", "mended").unwrap();
    });
    let shown = shell.json(0, &["batches", "retry", &id]);
    assert_eq!(shown["status"], "COMPLETE", "{shown}");
    // Now there is nothing left of it.
    assert!(shell.refused(1, &["batches", "retry", &id]).contains("nothing to try again"));
}

#[test]
fn an_approval_that_was_killed_goes_on_when_it_is_asked_for_again() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&batch(0, 20))]);
    let parked = batch(2, 3);
    shell.expect(3, &["publish", &shell.write(&parked)]);
    let digest = shell.json(0, &["batches", "show", &parked.id()])["plan"]["digest"].clone();
    killed(&shell, |engine| {
        engine.approve(&parked.id().parse().unwrap(), None, "ann", "looked at").unwrap();
    });
    let other = "0".repeat(32);
    shell.refused(1, &["batches", "approve", &parked.id(), "--digest", &other]);
    let digest = digest.as_str().unwrap();
    shell.expect(0, &["batches", "approve", &parked.id(), "--digest", digest]);
    assert_eq!(shell.json(0, &["batches", "show", &parked.id()])["publish_state"]["status"], "COMPLETE");
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 3);
}

#[test]
fn an_approval_of_withheld_deletions_that_was_killed_goes_on_when_it_is_asked_for_again() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&batch(0, 3))]);
    let withholds = batch(2, 2).with([Line::BadKeyless(0)]);
    shell.expect(4, &["publish", &shell.write(&withholds)]);
    let id = withholds.id();
    let digest = shell.json(0, &["batches", "show", &id])["plan"]["digest"].clone();
    killed(&shell, |engine| {
        engine.approve(&id.parse().unwrap(), None, "ann", "it is gone").unwrap();
    });
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 3);
    // Of another plan than the one that was approved.
    let other = "1".repeat(32);
    shell.refused(1, &["batches", "approve", &id, "--digest", &other]);
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 3);
    let state = shell.json(0, &["batches", "approve", &id, "--digest", digest.as_str().unwrap()]);
    assert_eq!((&state["batch_id"], &state["status"]), (&format!("{id}~1").into(), &"COMPLETE".into()));
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 2);
    // Now there is nothing left of it.
    assert!(shell.refused(1, &["batches", "approve", &id]).contains("does not wait for an approval"));
}

/// A shell whose command put the only dead letter back into the queue, and was killed;
/// the batch that it is of.
fn requeued_and_killed() -> (Shell, String) {
    let shell = Shell::new();
    let id = mended(&shell).id();
    killed(&shell, |engine| {
        engine.requeue_letter(1, None, "ann", "mended").unwrap();
    });
    (shell, id)
}

#[test]
fn requeues_that_were_killed_go_on_when_all_that_fit_are_asked_for_again() {
    let (shell, id) = requeued_and_killed();
    // None that a filter does not find, nor by another action.
    assert_eq!(shell.expect(0, &["--yes", "dlq", "requeue", "--type", "none"]), "nothing open fits\n");
    assert_eq!(
        shell.expect(0, &["--yes", "dlq", "discard", "--all", "--reason", "x"]),
        "nothing open fits\n"
    );
    assert_eq!(shell.json(0, &["batches", "show", &id])["publish_state"]["status"], "PENDING");
    let told = shell.json(0, &["--yes", "dlq", "requeue", "--source", "alpha"]);
    assert_eq!((&told["done"], &told["batches"][0]["status"]), (&1.into(), &"COMPLETE".into()), "{told}");

    // Of several lines, together with what is open still.
    let bad = |time| {
        let key = |n: u32| entity(&format!("b{time}{n}"));
        TestBatch::incremental("alpha", time).with([Line::BadKeyed(key(0)), Line::BadKeyed(key(1))])
    };
    shell.expect(4, &["publish", &shell.write(&bad(5))]);
    shell.expect(4, &["publish", &shell.write(&bad(6))]);
    let mend = |letter: u64, name: &str| {
        let line = format!(r#"{{"type":"t","qualified_name":"{name}","attributes":{{"x":1}}}}"#);
        killed(&shell, |engine| {
            engine.edit_letter(letter, None, Some(line.as_bytes()), "ann", "mended").unwrap();
        });
    };
    for (letter, name) in [(2, "b50"), (3, "b51"), (4, "b60"), (5, "b61")] {
        mend(letter, name);
    }
    let query = LetterQuery { part: Part::first(2), order: Order::Oldest, ..LetterQuery::default() };
    killed(&shell, |engine| {
        assert_eq!(engine.requeue_letters(&query, "ann", "mended").unwrap().done, 2);
    });
    let told = shell.json(0, &["--yes", "dlq", "requeue", "--all"]);
    assert_eq!((&told["done"], &told["refused"]), (&4.into(), &0.into()), "{told}");
    assert_eq!(told["batches"].as_array().unwrap().len(), 2);
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 7);
    assert_eq!(shell.expect(0, &["--yes", "dlq", "requeue", "--all"]), "nothing open fits\n");
}

#[test]
fn a_requeue_that_was_killed_goes_on_when_it_is_asked_for_again() {
    let (shell, id) = requeued_and_killed();
    shell.expect(0, &["dlq", "requeue", "1"]);
    assert_eq!(shell.json(0, &["batches", "show", &id])["publish_state"]["status"], "COMPLETE");

    let bad = TestBatch::incremental("alpha", 5).with([Line::BadKeyed(entity("b"))]);
    shell.expect(4, &["publish", &shell.write(&bad)]);
    let line = br#"{"type":"t","qualified_name":"b","attributes":{"x":1}}"#;
    killed(&shell, |engine| {
        engine.repair_letter(2, None, line, "ann", "mended").unwrap();
    });
    shell.expect(0, &["dlq", "requeue", "2"]);
    assert!(shell.expect(0, &["catalogue", "export"]).contains("\"b\""));
    assert!(shell.refused(1, &["dlq", "requeue", "2"]).contains("was resolved"));
}

#[test]
fn a_slip_of_the_hand_makes_no_data_directory() {
    let shell = Shell::new();
    let data = shell.folder.path().join("new");
    let arguments = ["publish", "no such folder", "--data", data.to_str().unwrap()];
    assert!(shell.refused(1, &arguments).contains("is not a folder"));
    assert!(!data.exists());
}
