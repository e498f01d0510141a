//! A log that can't be written, on a disk that is full or to a reader that has
//! gone: it stops nothing else.

mod support;

use std::fs::OpenOptions;
use std::process::{Child, Stdio};

use support::batches::{TestBatch, entity, says};
use support::shell::Shell;
use tidegate::domain::publish_state::PublishStatus;

fn batch(time: u32) -> TestBatch {
    TestBatch::incremental("alpha", time).with([says(entity("a"), i64::from(time))])
}

fn full() -> std::fs::File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe whose reader has gone.
fn unread() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

/// It goes on with what is delivered, and stops when it is asked to.
fn works(shell: &Shell, mut server: Child) {
    for time in 1..4 {
        let id = shell.bring(&batch(time));
        support::until("publishing", || {
            let state = shell.run(&["--json", "batches", "show", &id]).stdout;
            String::from_utf8_lossy(&state).contains(PublishStatus::Complete.as_str())
        });
    }
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn a_service_goes_on_whose_log_can_not_be_written() {
    for disk in [true, false] {
        let shell = Shell::new();
        shell.settings("");
        let mut command = shell.command(&["serve", "-v"]);
        match disk {
            true => command.stderr(full()),
            false => command.stderr(unread()),
        };
        let server = command.stdout(Stdio::null()).spawn().unwrap();
        works(&shell, server);
    }
}

#[test]
fn a_command_has_its_exit_code_though_nothing_can_be_said() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]))]);
    let empty = shell.write(&TestBatch::full("alpha", 2));
    for verbose in ["-q", "-v", "-vv"] {
        let status =
            shell.command(&["publish", &empty, verbose]).stderr(full()).stdout(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(3), "{verbose}");
    }
}
