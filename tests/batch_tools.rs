//! `batches check` and `batches write`: everything that is wrong is told at
//! once, and what is written keeps to the contract.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use support::shell::Shell;

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
    for text in ["`modee`", "line 2 `attributes`", "line 3 `attributes`", "1 entities", "3 errors"] {
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

fn write(shell: &Shell, mode: &str, input: &[u8]) -> Output {
    let mut child = shell
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
        .unwrap();
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
fn what_is_written_keeps_to_the_contract_also_behind_a_byte_order_mark() {
    let shell = Shell::new();
    let output = write(&shell, "incremental", format!("\u{feff}{GOOD}{GOOD}").as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = String::from_utf8(output.stdout).unwrap();
    assert!(check(&shell, 0, Path::new(folder.trim())).contains("1 entities"));
}
