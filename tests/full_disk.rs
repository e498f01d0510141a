//! A disk that is really full, at any point of publishing: what fails says so,
//! nothing is lost or done twice, and all goes on when there is room.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::batches::{Line, TestBatch, entity, says};
use support::shell::Shell;
use support::small_disk::SmallDisk;

const BAD: usize = 20;

fn name(n: usize) -> String {
    format!("schema_{}.table_with_a_long_name_{n}", n % 7)
}

/// Two batches: the second changes all that the first brought, has more, and
/// lines that become dead letters.
fn batches() -> [TestBatch; 2] {
    let all = |count: usize, value: i64| (0..count).map(move |n| says(entity(&name(n)), value));
    let bad = (0..BAD).map(|n| Line::BadKeyed(entity(&format!("bad{n}"))));
    [
        TestBatch::full("alpha", 10).with(all(1500, 1)),
        TestBatch::full("alpha", 20).with(all(3000, 2)).with(bad),
    ]
}

fn settings(command: &mut Command, data: &Path) {
    command
        .env_clear()
        .args(["--json", "-q", "--data"])
        .arg(data)
        .env("TIDEGATE_SERVICE__MIN_FREE", "0")
        .env("TIDEGATE_SOURCES__ALPHA__GUARDS__UPDATE_RATIO", "1.0")
        .env("TIDEGATE_SOURCES__ALPHA__GUARDS__FULL_COUNT_RATIO", "0.0");
}

fn run(disk: &SmallDisk, arguments: &[&str]) -> Output {
    let mut command = disk.command(env!("CARGO_BIN_EXE_tidegate"));
    settings(&mut command, &disk.path().join("data"));
    command.args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

/// What the catalogue holds and how many letters there are.
fn result(disk: &SmallDisk) -> (String, usize) {
    let export = run(disk, &["catalogue", "export"]);
    assert!(export.status.success());
    let letters = json(&run(disk, &["dlq", "list", "--limit", "100"]));
    (String::from_utf8(export.stdout).unwrap(), letters["items"].as_array().unwrap().len())
}

#[test]
fn a_disk_that_is_full_at_any_point_of_publishing_loses_nothing() {
    let folders = support::folder();
    let [first, second] = batches().map(|batch| batch.write(folders.path()).display().to_string());
    let disk = || {
        let disk = SmallDisk::new(48 << 20)?;
        let done = run(&disk, &["publish", &first]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Some(disk)
    };
    let Some(undisturbed) = disk() else { return };
    let done = json(&run(&undisturbed, &["publish", &second]));
    assert_eq!(done["status"], "COMPLETE", "{done}");
    let expected = result(&undisturbed);
    assert_eq!(expected.1, BAD);

    let (mut failed, mut went_well) = (0, 0);
    for kib in (0..1200).step_by(40) {
        let disk = disk().unwrap();
        disk.leave(kib << 10);
        let output = run(&disk, &["publish", &second]);
        let complete =
            serde_json::from_slice::<Value>(&output.stdout).is_ok_and(|state| state["status"] == "COMPLETE");
        if complete {
            went_well += 1;
        } else {
            failed += 1;
            let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            let known = ["DISK_FULL", "STORE_FAILED"].iter().any(|code| told.contains(code));
            assert!(known && !told.contains("panic"), "with {kib} KiB: {told}");
            assert!(told.contains("No space left on device"), "with {kib} KiB: {told}");
        }
        disk.make_room();
        let again = run(&disk, &["publish", &second]);
        let state = json(&again);
        assert_eq!(state["status"], "COMPLETE", "with {kib} KiB: {state}");
        assert_eq!(result(&disk), expected, "with {kib} KiB");
    }
    assert!(failed >= 5 && went_well >= 1, "{failed} {went_well}");
}

#[test]
fn a_server_whose_catalogue_found_no_room_goes_on_by_itself_when_there_is_some() {
    let shell = Shell::new();
    let [first, second] = batches();
    let Some(disk) = SmallDisk::new(16 << 20) else { return };
    let tidegate = |arguments: &[&str]| {
        let mut command = disk.command(env!("CARGO_BIN_EXE_tidegate"));
        settings(&mut command, &shell.data());
        command
            .env("TIDEGATE_TARGETS__CATALOGUE__PATH", disk.path().join("catalogue.redb"))
            .env("TIDEGATE_SERVER__LISTEN", "127.0.0.1:0")
            .env("TIDEGATE_RETRY__FIRST_WAIT", "1s")
            .env("TIDEGATE_RETRY__LONGEST_WAIT", "1s")
            .args(arguments);
        command
    };
    assert!(tidegate(&["publish", &shell.write(&first)]).status().unwrap().success());
    disk.leave(0);
    let id = shell.bring(&second);
    let mut server = tidegate(&["serve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = |what: &str, found: &dyn Fn(&Value) -> bool| {
        let mut seen = String::new();
        for _ in 0..600 {
            let output = tidegate(&["batches", "show", &id]).output().unwrap();
            let batch = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
            if found(&batch) {
                return;
            }
            seen = format!("{batch} {}", String::from_utf8_lossy(&output.stderr));
            std::thread::park_timeout(Duration::from_millis(100));
        }
        panic!("{what}: {seen}");
    };
    until("it waits", &|batch| {
        let text = batch["waits"]["text"].as_str().unwrap_or_default();
        batch["publish_state"]["status"] == "RETRYING" && text.ends_with("DISK_FULL")
    });
    disk.make_room();
    until("it ends", &|batch| batch["publish_state"]["status"] == "COMPLETE");
    let process = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
    let letters = json(&tidegate(&["dlq", "list", "--limit", "100"]).output().unwrap());
    assert_eq!(letters["items"].as_array().unwrap().len(), BAD);
}

/// A server with its data on a disk that is full, which has nothing to do.
fn idle_on_a_full_disk(shell: &Shell, disk: &SmallDisk) -> Child {
    let inbox = shell.folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).unwrap();
    let config = shell.folder.path().join("tidegate.toml");
    let text =
        format!("[server]\nlisten = \"127.0.0.1:0\"\n[[inbox]]\nurl = \"file://{}\"\n", inbox.display());
    std::fs::write(&config, text).unwrap();
    let mut command = disk.command(env!("CARGO_BIN_EXE_tidegate"));
    settings(&mut command, &disk.path().join("data"));
    let mut server =
        command.arg("--config").arg(&config).arg("serve").stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("Tidegate serves") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
    }
    server.stderr = Some(log.into_inner());
    // So that its workers have found nothing to do.
    std::thread::park_timeout(Duration::from_secs(1));
    disk.leave(0);
    server
}

fn brought(shell: &Shell, batch: &TestBatch) {
    let made = shell.write(batch);
    let place = shell.folder.path().join("inbox").join(&batch.source);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::rename(made, place.join(batch.folder_name())).unwrap();
}

#[test]
fn a_server_whose_store_found_no_room_says_so_and_ends_at_once() {
    let shell = Shell::new();
    let Some(disk) = SmallDisk::new(6 << 20) else { return };
    let mut server = idle_on_a_full_disk(&shell, &disk);
    brought(&shell, &batches()[0]);
    let mut looks = 0;
    while server.try_wait().unwrap().is_none() {
        looks += 1;
        if looks > 500 {
            server.kill().unwrap();
            panic!("it still runs: {:?}", server.wait_with_output());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let ended = server.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(told.contains("STORE_FAILED") && told.contains("No space left on device"), "{told}");
    // With room all of it is there.
    disk.make_room();
    let batches = json(&run(&disk, &["batches", "list"]));
    assert!(batches["items"].is_array(), "{batches}");
}

/// A full batch with lines that become dead letters, each too long for the store.
fn many_long_bad_lines() -> TestBatch {
    let bad = |n: usize| Line::BadLong(entity(&format!("bad{n}")));
    let good = (0..3000).map(|n| says(entity(&name(n)), 1));
    TestBatch::full("alpha", 10).with((0..300).map(bad)).with(good)
}

#[test]
fn a_batch_whose_dead_letters_find_no_room_waits_with_its_reason_and_its_next_time() {
    let shell = Shell::new();
    let Some(disk) = SmallDisk::new(8 << 20) else { return };
    let tidegate = |arguments: &[&str]| {
        let mut command = disk.command(env!("CARGO_BIN_EXE_tidegate"));
        settings(&mut command, &shell.data());
        command
            .env("TIDEGATE_STATE__URL", format!("file://{}", disk.path().join("state").display()))
            .env("TIDEGATE_SERVER__LISTEN", "127.0.0.1:0")
            .env("TIDEGATE_SOURCES__ALPHA__ISOLATION__RATIO", "0.5")
            .args(arguments);
        command
    };
    let _ = tidegate(&["batches", "list"]).output().unwrap();
    disk.leave(3 << 20);
    let id = shell.bring(&many_long_bad_lines());
    let mut server = tidegate(&["serve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = |what: &str, found: &dyn Fn(&Value) -> bool| {
        let mut seen = String::new();
        for _ in 0..300 {
            let output = tidegate(&["batches", "show", &id]).output().unwrap();
            let batch = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
            if found(&batch) {
                return batch;
            }
            seen = format!("{batch:#} {}", String::from_utf8_lossy(&output.stderr));
            std::thread::park_timeout(Duration::from_millis(100));
        }
        panic!("{what}: {seen}");
    };
    // SEMANTICS 10: EXECUTING is left only by a commit.
    until("it waits, and says why and until when", &|batch| {
        let text = batch["waits"]["text"].as_str().unwrap_or_default();
        batch["publish_state"]["status"] == "EXECUTING"
            && batch["waits"]["code"] == "retry"
            && text.ends_with(": DISK_FULL")
            && batch["retry"]["code"] == "DISK_FULL"
            && batch["next_attempt"].is_string()
    });
    let doctor = json(&tidegate(&["doctor"]).output().unwrap());
    let told = doctor["checks"].as_array().unwrap().iter().find(|check| check["check"] == "source alpha");
    let told = told.unwrap_or_else(|| panic!("{doctor:#}"));
    assert!(told["found"].as_str().unwrap().contains("DISK_FULL"), "{told}");
    disk.make_room();
    until("it ends", &|batch| batch["publish_state"]["status"] == "COMPLETE");
    let process = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
}
