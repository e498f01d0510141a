//! `batches check` and `batches write`: everything that is wrong is told at
//! once, and what is written keeps to the contract.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::shell::Shell;
use tidegate::clock::{Clock, SystemClock};

const GOOD: &str = "{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{}}\n";
const BAD: &str = "{\"type\":\"t\",\"qualified_name\":\"b\"}\n";

/// A folder with one file of these lines.
fn folder(shell: &Shell, name: &str, lines: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let folder = shell.folder.path().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("entities-00000.ndjson"), lines).unwrap();
    let mut manifest = json!({
        "format": "tidegate.batch/1", "source_id": "w", "run_id": "r1", "mode": "full",
        "source_timestamp": "2025-11-24T01:00:00Z", "processing_timestamp": "2025-11-24T01:00:00Z",
        "files": [{"path": "entities-00000.ndjson", "kind": "entities"}],
    });
    change(&mut manifest);
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    folder
}

#[track_caller]
fn check(shell: &Shell, code: i32, folder: &Path) -> String {
    shell.expect(code, &["batches", "check", &folder.display().to_string()])
}

#[test]
fn a_check_tells_of_the_lines_whatever_is_wrong_with_the_manifest() {
    let shell = Shell::new();
    let lines = format!("{GOOD}{BAD}{BAD}");
    let told = check(&shell, 1, &folder(&shell, "a", &lines, |manifest| manifest["modee"] = json!(1)));
    for text in ["`modee`", "line 2 `attributes`", "line 3 `attributes`", "1 entity", "3 errors"] {
        assert!(told.contains(text), "{text}: {told}");
    }
    let told = check(
        &shell,
        1,
        &folder(&shell, "b", &lines, |manifest| {
            manifest["files"][0]["count"] = json!(9);
            manifest["files"][0]["bytes"] = json!(9);
            manifest["files"][0]["xxh3"] = json!("0123456789abcdef");
        }),
    );
    for text in ["the manifest says 9\n", "has 3 lines", "has XXH3-64", "5 errors"] {
        assert!(told.contains(text), "{text}: {told}");
    }
}

#[test]
fn an_entry_that_is_wrong_hides_nothing_of_its_file() {
    let shell = Shell::new();
    let lines = format!("{GOOD}{BAD}{BAD}");
    for (name, field, value) in [
        ("a", "xxh3", json!("zz")),
        ("b", "kind", json!("tables")),
        ("c", "count", json!("three")),
        ("d", "other", json!(1)),
    ] {
        let told = check(
            &shell,
            1,
            &folder(&shell, name, &lines, |manifest| {
                let file = &mut manifest["files"][0];
                (file["count"], file["bytes"]) = (json!(9), json!(7));
                file[field] = value.clone();
            }),
        );
        let field = format!("`files[0].{field}`");
        for text in
            [&*field, "the manifest says 7\n", "line 2 `attributes`", "line 3 `attributes`", "1 entity"]
        {
            assert!(told.contains(text), "{text}: {told}");
        }
        assert_eq!(told.contains("has 3 lines"), name != "c", "{told}");
    }
    // Neither the entry nor the name tells what is in it.
    let told = check(
        &shell,
        1,
        &folder(&shell, "free/lines", "", |manifest| {
            let line = r#"{"type":"r","from":{"type":"t","qualified_name":"a"},"to":{"type":"t","qualified_name":"b"}}"#;
            std::fs::write(shell.folder.path().join("free/lines/data"), format!("{GOOD}{line}\n{BAD}"))
                .unwrap();
            manifest["files"] = json!([{"path": "data", "kind": "both"}]);
        }),
    );
    for text in ["`files[0].kind`", "data line 3 `attributes`", "1 entity, 1 relationship, 2 errors"] {
        assert!(told.contains(text), "{text}: {told}");
    }
    // Listed twice, read once.
    let told = check(
        &shell,
        1,
        &folder(&shell, "twice", &lines, |manifest| {
            manifest["files"] = json!([
                {"path": "entities-00000.ndjson", "kind": "entities", "xxh3": "zz"},
                {"path": "entities-00000.ndjson", "kind": "entities", "bytes": 5},
            ]);
        }),
    );
    for text in ["`files[0].xxh3`", "`files[1].path`: is listed twice", "the manifest says 5\n", "5 errors"] {
        assert!(told.contains(text), "{text}: {told}");
    }
}

#[test]
fn one_wrong_time_does_not_hide_what_is_wrong_with_another_or_with_the_name() {
    let shell = Shell::new();
    let far = json!("2999-01-01T00:00:00Z");
    let told = check(
        &shell,
        1,
        &folder(&shell, "inbox/w/20251124T010000Z_zz", GOOD, |manifest| {
            manifest["source_timestamp"] = json!("2025-11-24T01:00:00+25:00");
            manifest["processing_timestamp"] = far.clone();
        }),
    );
    for text in [
        "`source_timestamp`: has an offset of more than 23:59",
        "`processing_timestamp`: 2999-01-01T00:00:00Z is more than 10m",
        "`run_id`: is r1, the folder says zz",
        "3 errors",
    ] {
        assert!(told.contains(text), "{text}: {told}");
    }
    let both = folder(&shell, "both", GOOD, |manifest| {
        (manifest["source_timestamp"], manifest["processing_timestamp"]) = (far.clone(), far);
    });
    assert!(check(&shell, 1, &both).contains("2 errors"));
}

#[test]
fn without_a_manifest_that_can_be_read_the_files_are_known_by_their_names() {
    let shell = Shell::new();
    let lines = format!("{GOOD}{BAD}");
    let line =
        r#"{"type":"r","from":{"type":"t","qualified_name":"a"},"to":{"type":"t","qualified_name":"b"}}"#;
    for (name, manifest, told_of_it) in [
        ("missing", None, "has no manifest.json"),
        ("broken", Some("{\"format\":"), "is not valid JSON"),
        ("list", Some("[]"), "is not a JSON object"),
        ("none", Some("{}"), "`files`: is missing"),
        ("unsafe", Some("{\"files\":[{\"path\":\"../entities-00000.ndjson\"}]}"), "`files[0].path`"),
    ] {
        let folder = folder(&shell, name, &lines, |_| {});
        std::fs::write(folder.join("relationships-00000.ndjson"), format!("{line}\n[]\n")).unwrap();
        std::fs::write(folder.join("entities-00001.ndjson.gz"), "no gzip").unwrap();
        std::fs::write(folder.join("notes.txt"), "mine").unwrap();
        let path = folder.join("manifest.json");
        match manifest {
            Some(text) => std::fs::write(path, text).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let told = check(&shell, 1, &folder);
        for text in [
            told_of_it,
            "entities-00000.ndjson line 2 `attributes`",
            "relationships-00000.ndjson line 2",
            "entities-00001.ndjson.gz: file entities-00001.ndjson.gz can't be unpacked",
            "1 entity, 1 relationship",
        ] {
            assert!(told.contains(text), "{text}: {told}");
        }
        assert!(!told.contains("notes.txt"), "{told}");
    }
    // What is listed is all that is meant.
    let more = folder(&shell, "more", GOOD, |_| {});
    std::fs::write(more.join("entities-00001.ndjson"), BAD).unwrap();
    assert!(check(&shell, 0, &more).contains("0 errors"));
}

#[test]
fn a_member_that_stands_twice_in_the_manifest_is_named() {
    let shell = Shell::new();
    let folder = folder(&shell, "a", BAD, |_| {});
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("\"mode\":", "\"mode\":\"full\",\"mode\":");
    std::fs::write(&path, text.replace("\"kind\":", "\"kind\":\"entities\",\"kind\":")).unwrap();
    let told = check(&shell, 1, &folder);
    for text in ["`mode`: stands there twice", "`files[0].kind`: stands there twice", "line 1 `attributes`"] {
        assert!(told.contains(text), "{text}: {told}");
    }
}

#[test]
fn a_check_finds_what_would_fail_the_batch_when_it_is_delivered() {
    let shell = Shell::new();
    let linked = folder(&shell, "linked", GOOD, |manifest| {
        manifest["files"][0]["path"] = json!("below/entities-00000.ndjson");
    });
    let outside = shell.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::rename(linked.join("entities-00000.ndjson"), outside.join("entities-00000.ndjson")).unwrap();
    std::os::unix::fs::symlink(&outside, linked.join("below")).unwrap();
    assert!(check(&shell, 1, &linked).contains("below/entities-00000.ndjson is a link"));

    let ahead = folder(&shell, "ahead", GOOD, |manifest| {
        manifest["source_timestamp"] = json!("2999-01-01T00:00:00Z");
    });
    assert!(
        check(&shell, 1, &ahead)
            .contains("`source_timestamp`: 2999-01-01T00:00:00Z is more than 10m (`limits.max_future`)")
    );

    let told = check(&shell, 1, &folder(&shell, "inbox/other/20261124T020000Z_zz", GOOD, |_| {}));
    for text in [
        "`run_id`: is r1, the folder says zz",
        "`source_timestamp`: is 2025-11-24T01:00:00Z, the folder says 2026",
        "warning: manifest.json `source_id`",
    ] {
        assert!(told.contains(text), "{text}: {told}");
    }
    let right = folder(&shell, "inbox/w/20251124T010000Z_r1", GOOD, |_| {});
    assert!(check(&shell, 0, &right).contains("0 errors, 0 warnings"));
    let error = shell.refused(1, &["batches", "check", "nowhere"]);
    assert!(error.contains("nowhere is not a folder") && error.contains("NOT_FOUND"), "{error}");
}

#[test]
fn a_window_that_is_too_large_is_told_as_such() {
    let shell = Shell::new();
    for (window, code) in [(27, 0), (28, 1)] {
        let folder = folder(&shell, &window.to_string(), "", |manifest| {
            manifest["files"][0]["path"] = json!("lines.zst");
        });
        let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        packed.long_distance_matching(true).unwrap();
        packed.window_log(window).unwrap();
        packed.write_all(GOOD.as_bytes()).unwrap();
        std::fs::write(folder.join("lines.zst"), packed.finish().unwrap()).unwrap();
        let told = check(&shell, code, &folder);
        let why = "packed with a window of more than 128 MiB, the largest that is accepted: pack it without `--long`";
        assert_eq!((told.contains(why), told.contains("damaged")), (code == 1, false), "{told}");
    }
}

fn start_writing(shell: &Shell, mode: &str) -> Child {
    shell
        .command(&[
            "batches",
            "write",
            "--source",
            "w",
            "--run",
            "r1",
            "--mode",
            mode,
            "--out",
            "out/batches",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn write(shell: &Shell, mode: &str, input: &[u8]) -> Output {
    let mut child = start_writing(shell, mode);
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn what_can_not_be_written_is_told_at_once_and_leaves_nothing() {
    let shell = Shell::new();
    let other = GOOD.replace("{}", "{\"x\":1}");
    let output = write(&shell, "full", format!("{GOOD}{BAD}{GOOD}\n{other}{BAD}").as_bytes());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for text in [
        "line 2 `attributes`: is missing",
        "line 5: says something else about t a than line 1",
        "line 6 `attributes`",
        "Nothing was written",
    ] {
        assert!(stderr.contains(text), "{text}: {stderr}");
    }
    assert!(!stderr.contains("next batch"), "{stderr}");
    assert!(!shell.folder.path().join("out").exists());
    // What was there stays.
    std::fs::create_dir_all(shell.folder.path().join("out/batches/w")).unwrap();
    assert_eq!(write(&shell, "full", BAD.as_bytes()).status.code(), Some(1));
    assert!(shell.folder.path().join("out/batches/w").exists());
}

#[test]
fn what_its_own_check_would_refuse_is_not_written() {
    let shell = Shell::new();
    for (more, why) in [
        (["--workflow", "a\tb"], "`workflow`"),
        (["--scope-name", "sales.*"], "an incremental one speaks for the keys that it names"),
        (["--complexity", "11"], "11 is not in 1..=10"),
    ] {
        let mut command =
            shell.command(&["batches", "write", "--source", "w", "--run", "r1", "--mode", "incremental"]);
        let mut child = command
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end before it reads.
        let _ = child.stdin.take().unwrap().write_all(GOOD.as_bytes());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
        assert!(!shell.folder.path().join("w").exists(), "{more:?}");
    }
}

#[test]
fn what_is_written_keeps_to_the_contract_also_behind_a_byte_order_mark() {
    let shell = Shell::new();
    let output = write(&shell, "incremental", format!("\u{feff}{GOOD}{GOOD}").as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = String::from_utf8(output.stdout).unwrap();
    assert!(check(&shell, 0, Path::new(folder.trim())).contains("1 entity"));
}

#[test]
fn one_that_is_stopped_leaves_nothing_and_is_no_batch_until_then() {
    let shell = Shell::new();
    let source = shell.folder.path().join("out/batches/w");
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&source).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    // In the background of a shell INT is ignored, and by `nohup` HUP: what these tests
    // start would ignore it as well.
    let ignored = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    let signals = [rustix::process::Signal::TERM, rustix::process::Signal::INT];
    for signal in signals.into_iter().filter(|signal| ignored & (1 << (signal.as_raw() - 1)) == 0) {
        let mut child = start_writing(&shell, "full");
        // Kept open: it waits for more.
        let mut input = child.stdin.take().unwrap();
        input.write_all(GOOD.as_bytes()).unwrap();
        let clock = SystemClock::default();
        while names().is_empty() {
            clock.sleep(Duration::from_millis(10));
        }
        assert!(names()[0].starts_with('.'), "{:?}", names());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), None, "it ends by the signal");
        assert!(!shell.folder.path().join("out").exists(), "{:?}", names());
    }
}

/// As `nohup` starts it.
#[test]
fn a_signal_that_it_was_started_to_ignore_does_not_stop_it() {
    let shell = Shell::new();
    let command = shell.command(&["batches", "write", "--source", "w", "--run", "r1", "--mode", "full"]);
    let mut child = std::process::Command::new("/bin/sh")
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(shell.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(GOOD.as_bytes()).unwrap();
    support::until("its folder", || shell.folder.path().join("w").exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    check(&shell, 0, Path::new(String::from_utf8(output.stdout).unwrap().trim()));
}

#[test]
fn what_would_unfold_too_far_is_stored_as_it_is() {
    let shell = Shell::new();
    // 70 MB of one line: some kilobytes, packed.
    let line = GOOD.replace("{}", &format!("{{\"x\":\"{}\"}}", "y".repeat(700_000)));
    let output = write(&shell, "incremental", line.repeat(100).as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let told = check(&shell, 0, &folder);
    assert!(told.contains("1 entity"), "{told}");
    let folder = shell.folder.path().join(folder);
    assert!(
        folder.join("entities-00000.ndjson").exists() && !folder.join("entities-00000.ndjson.zst").exists()
    );
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["files"][0]["count"], 100);
}

#[test]
fn what_is_written_keeps_to_the_limits_that_it_is_checked_by() {
    let shell = Shell::new();
    shell.settings("[limits]\nmax_line = 1024\nmax_file = 2000\n");
    let lines = |length: usize| {
        let value = "y".repeat(length);
        (0..20).map(move |n| {
            format!("{{\"type\":\"t\",\"qualified_name\":\"n{n}\",\"attributes\":{{\"x\":\"{value}\"}}}}\n")
        })
    };
    let output = write(&shell, "full", lines(120).collect::<String>().as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = String::from_utf8(output.stdout).unwrap();
    assert!(check(&shell, 0, Path::new(folder.trim())).contains("20 entities"));
    std::fs::remove_dir_all(shell.folder.path().join("out")).unwrap();
    let output = write(&shell, "full", lines(1024).collect::<String>().as_bytes());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("line 20: is longer than 1024 bytes"), "{stderr}");
}
