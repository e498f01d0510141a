//! A process that is killed at its first start leaves nothing behind that the
//! next one can't go on with.

mod support;

use std::time::Duration;

use support::batches::{TestBatch, entity, says};
use support::shell::Shell;

fn batch() -> TestBatch {
    TestBatch::full("alpha", 1).with([says(entity("a"), 1)])
}

/// What a file of redb is until it is finished, which is beside its place.
static UNFINISHED: [u8; 72 << 10] = [0; 72 << 10];

#[test]
fn files_of_zeros_are_told_as_damaged_and_never_replaced() {
    for name in ["tidegate.redb", "catalogue.redb"] {
        let shell = Shell::new();
        std::fs::create_dir_all(shell.data()).unwrap();
        let path = shell.data().join(name);
        std::fs::write(&path, UNFINISHED).unwrap();
        let told = shell.refused(1, &["publish", &shell.write(&batch())]);
        assert!(told.contains(name), "{told}");
        assert_eq!(std::fs::read(&path).unwrap(), UNFINISHED);
    }
}

#[test]
fn files_that_were_never_written_are_made_anew() {
    for (store, catalogue) in [(true, false), (false, true), (true, true)] {
        let shell = Shell::new();
        std::fs::create_dir_all(shell.data()).unwrap();
        for (name, is) in [("tidegate.redb", store), ("catalogue.redb", catalogue)] {
            if is {
                std::fs::write(shell.data().join(name), "").unwrap();
                // One that was being made beside it.
                std::fs::write(shell.data().join(format!("{name}.new")), UNFINISHED).unwrap();
            }
        }
        shell.expect(0, &["publish", &shell.write(&batch())]);
        assert!(shell.expect(0, &["catalogue", "export"]).contains("\"a\""));
        let left = std::fs::read_dir(shell.data()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().ends_with(".new")).collect();
        assert_eq!(left, Vec::<std::ffi::OsString>::new());
    }
}

#[test]
fn a_kill_at_any_moment_of_the_first_start_is_got_over() {
    for delay in 0..40 {
        let shell = Shell::new();
        let folder = shell.write(&batch());
        let mut first = shell.command(&["publish", &folder]).spawn().unwrap();
        // Nothing is ever sent.
        let (_sender, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(Duration::from_millis(delay));
        first.kill().unwrap();
        first.wait().unwrap();
        shell.expect(0, &["publish", &folder]);
        assert!(shell.expect(0, &["catalogue", "export"]).contains("\"a\""), "after {delay} ms");
    }
}

#[test]
fn a_state_folder_whose_owner_was_being_written_is_taken_over() {
    let shell = Shell::new();
    std::fs::create_dir_all(shell.data().join("state")).unwrap();
    std::fs::write(shell.data().join("state/owner.partial"), "{").unwrap();
    shell.expect(0, &["publish", &shell.write(&batch())]);
    assert!(shell.data().join("state/owner.json").exists());
}
