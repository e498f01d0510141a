//! The command line (contract): exit codes, what goes to which stream, and
//! what people see.

mod support;

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;
use support::batches::{Line, TestBatch, edge, entity, says};
use support::shell::Shell;

fn first() -> TestBatch {
    TestBatch::full("alpha", 1)
        .with(["a", "b", "ua"].iter().map(|name| says(entity(name), 1)))
        .with([says(edge("a", "b"), 1), says(edge("a", "z"), 1)])
}

#[test]
fn plan_and_publish_tell_by_their_exit_codes_what_happened() {
    let shell = Shell::new();
    let folder = shell.write(&first());
    shell.expect(2, &["plan", &folder]);
    assert!(!shell.data().join("inbox").exists());
    shell.expect(0, &["publish", &folder]);
    // Again: it prints its state and does nothing.
    let state = shell.json(0, &["publish", &folder]);
    assert_eq!(state["metrics"]["entities_created"], 3);
    let same = shell.write(&TestBatch { time: 2, ..first() });
    shell.expect(0, &["plan", &same]);

    let empty = shell.write(&TestBatch::full("alpha", 3));
    shell.expect(3, &["plan", &empty]);
    let state = shell.json(3, &["publish", &empty]);
    assert_eq!((state["status"].as_str(), &state["failure_details"]), (Some("PLAN_COMPLETE"), &Value::Null));
    let id = state["batch_id"].as_str().unwrap().to_owned();
    shell.expect(1, &["batches", "approve", &id, "--digest", "00000000000000000000000000000000"]);
    shell.expect(0, &["batches", "approve", &id, "--reason", "closing down"]);
    shell.expect(1, &["batches", "approve", &id]);

    let bad = shell
        .write(&TestBatch::incremental("alpha", 4).with([says(entity("c"), 1), Line::BadKeyed(entity("d"))]));
    shell.expect(4, &["publish", &bad]);
    shell.expect(1, &["publish", "nowhere"]);
    shell.expect(64, &["publish"]);
    shell.expect(64, &["no-such-command"]);
    shell.expect(64, &["batches", "show", "no id"]);
    shell.expect(0, &["--help"]);
    shell.expect(0, &["--version"]);
}

#[test]
fn approve_on_the_command_line_publishes_what_a_guard_would_park() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&first())]);
    let empty = shell.write(&TestBatch::full("alpha", 3));
    let plan = shell.json(3, &["plan", &empty]);
    let digest = format!("--approve={}", plan["digest"].as_str().unwrap());
    shell.expect(1, &["publish", &empty, "--approve=00000000000000000000000000000000"]);
    shell.expect(0, &["publish", &empty, &digest]);
    assert_eq!(shell.expect(0, &["catalogue", "export"]), "");
}

#[test]
fn a_plan_as_json_has_the_form_of_the_contract() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&first())]);
    let next =
        TestBatch::full("alpha", 2).with([says(entity("a"), 2), says(entity("c"), 1), says(entity("ua"), 1)]);
    let folder = shell.write(&next);
    let plan = shell.json(2, &["plan", &folder]);
    assert_eq!(plan["format"], "tidegate.plan/1");
    for member in ["plan_id", "digest", "batch_id", "target", "base_snapshot"] {
        assert!(plan[member].is_string(), "{member}: {plan}");
    }
    for (kind, expected) in [("entities", [1, 1, 1, 1]), ("relationships", [0, 0, 1, 0])] {
        let summary = &plan["summary"][kind];
        let found = ["create", "update", "delete", "unchanged"].map(|name| summary[name].as_i64().unwrap());
        assert_eq!(found, expected, "{kind}: {summary}");
        for name in ["superseded", "rejected", "withheld"] {
            assert!(summary[name].is_u64(), "{name}");
        }
    }
    assert!(plan["summary"]["relationships"]["waiting"].is_u64());
    assert_eq!(plan["guards"], serde_json::json!([]));
    let changes = plan["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 4);
    let update = changes.iter().find(|change| change["action"] == "update").unwrap();
    assert_eq!(update["kind"], "entity");
    assert_eq!(update["key"], serde_json::json!({"type": "t", "qualified_name": "a"}));
    assert_eq!(
        (&update["before"], &update["after"]),
        (&serde_json::json!({"x": 1}), &serde_json::json!({"x": 2}))
    );
    let summary = shell.json(2, &["plan", &folder, "--summary"]);
    assert!(summary.get("changes").is_none());
    assert_eq!(summary["digest"], plan["digest"]);
    // The slow twin makes the same plan.
    let slow = shell.json(2, &["plan", &folder, "--no-fast-path"]);
    assert_eq!((&slow["digest"], &slow["changes"]), (&plan["digest"], &plan["changes"]));
}

#[test]
fn keys_that_look_alike_are_warned_of_also_when_one_is_published() {
    let shell = Shell::new();
    let names = |names: &[&str]| names.iter().map(|name| says(entity(name), 1)).collect::<Vec<_>>();
    let told = |expected: &[&str], batch: TestBatch| {
        let folder = shell.write(&batch);
        let text = shell.run(&["plan", &folder]);
        let text = String::from_utf8(text.stdout).unwrap();
        let json = shell.run(&["--json", "plan", &folder, "--summary"]);
        let json: Value = serde_json::from_slice(&json.stdout).unwrap();
        let expected: Vec<String> = expected
            .iter()
            .map(|names| format!("t {names} differ only by case, Unicode form or outer blanks"))
            .collect();
        assert_eq!(json["warnings"], serde_json::json!(expected));
        for warning in expected {
            assert!(text.contains(&format!("warning: {warning}\n")), "{text}");
        }
    };
    // Two that are new.
    told(&["\"A\" and \"a\""], TestBatch::full("alpha", 1).with(names(&["a", "A", "b"])));
    let published = ["Sales.Orders", "a.B", "db.t1", "db.t2", "cafe\u{301}", "x"];
    shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", 2).with(names(&published)))]);
    // New ones beside those that are published, in full and incremental batches.
    let full = |new: &[&str]| TestBatch::full("alpha", 3).with(names(&published)).with(names(new));
    told(&["\"Sales.Orders\" and \"sales.orders\""], full(&["sales.orders"]));
    told(&["\"A.B\" and \"a.B\""], TestBatch::incremental("alpha", 4).with(names(&["A.B"])));
    told(&["\"DB.T1\" and \"db.t1\""], TestBatch::incremental("alpha", 5).with(names(&["DB.T1"])));
    told(&["\" db.t2\" and \"db.t2\""], TestBatch::incremental("alpha", 6).with(names(&[" db.t2"])));
    told(
        &["\"cafe\\u{301}\" and \"caf\u{e9}\""],
        TestBatch::incremental("alpha", 7).with(names(&["caf\u{e9}"])),
    );
    told(&[], TestBatch::incremental("alpha", 8).with(names(&["x", "y"])));
    // One that takes the place of another, of another source too.
    let renamed: Vec<&str> = published[1..].iter().copied().chain(["SALES.oRDERS"]).collect();
    told(&["\"SALES.oRDERS\" and \"Sales.Orders\""], TestBatch::full("alpha", 9).with(names(&renamed)));
    told(&["\"X\" and \"x\""], TestBatch::full("beta", 10).with(names(&["X"])));
}

#[test]
fn results_go_to_standard_output_and_everything_else_to_standard_error() {
    let shell = Shell::new();
    let output = shell.run(&["publish", "nowhere"]);
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("error: ") && text.contains("(NOT_FOUND)"), "{text}");
    let output = shell.run(&["--json", "publish", "nowhere"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error_code"], "NOT_FOUND");
    let output = shell.run(&["-vv", "publish", &shell.write(&first())]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("DEBUG"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("DEBUG"));
}

/// Runs a command whose reader has gone.
fn on_a_closed_pipe(shell: &Shell, arguments: &[&str]) -> Output {
    let mut child = shell.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.wait_with_output().unwrap()
}

#[test]
fn a_closed_pipe_is_no_error() {
    let shell = Shell::new();
    let many = TestBatch::full("alpha", 1).with((0..3000).map(|n| says(entity(&format!("entity{n}")), 1)));
    shell.expect(0, &["publish", &shell.write(&many)]);
    let output = on_a_closed_pipe(&shell, &["catalogue", "export"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn lines_on_standard_input_become_a_batch_that_passes_every_check() {
    let shell = Shell::new();
    let lines = "{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{\"x\":1}}\n\
                 {\"type\":\"r\",\"from\":{\"type\":\"t\",\"qualified_name\":\"a\"},\"to\":{\"type\":\"t\",\"qualified_name\":\"a\"}}\n";
    for compress in ["none", "zst", "gz"] {
        let mut child = shell
            .command(&[
                "batches",
                "write",
                "--source",
                "alpha",
                "--run",
                compress,
                "--mode",
                "full",
                "--compress",
                compress,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{compress}");
        let folder = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let report = shell.json(0, &["batches", "check", &folder]);
        assert_eq!((&report["entities"], &report["relationships"]), (&1.into(), &1.into()), "{report}");
        let manifest: Value = serde_json::from_slice(
            &std::fs::read(shell.folder.path().join(&folder).join("manifest.json")).unwrap(),
        )
        .unwrap();
        assert!(manifest["files"].as_array().unwrap().iter().all(|file| file["xxh3"].is_string()));
        shell.expect(0, &["publish", &folder]);
    }
}

#[test]
fn check_reports_all_errors_at_once_and_touches_no_state() {
    let shell = Shell::new();
    let batch = TestBatch::full("alpha", 1).with([
        Line::BadKeyed(entity("a")),
        Line::BadKeyless(1),
        says(entity("b"), 1),
        says(entity("b"), 2),
    ]);
    let folder = shell.write(&batch);
    let report = shell.json(1, &["batches", "check", &folder]);
    assert_eq!(report["errors"], 3, "{report}");
    assert!(!shell.data().exists());
}

#[test]
fn lists_and_look_ups_show_what_was_published() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&first())]);
    shell.expect(
        0,
        &["publish", &shell.write(&TestBatch::incremental("alpha", 2).with([says(entity("a"), 2)]))],
    );
    let batches = shell.json(0, &["batches", "list"]);
    assert_eq!(batches["items"].as_array().unwrap().len(), 2);
    let id = batches["items"][0]["batch_id"].as_str().unwrap();
    assert!(shell.expect(0, &["batches", "show", id]).contains("COMPLETE"));
    assert_eq!(shell.json(0, &["sources", "list"])["items"].as_array().unwrap().len(), 1);
    shell.expect(0, &["sources", "show", "alpha"]);
    let snapshots = shell.json(0, &["snapshots", "list"]);
    let ids: Vec<&str> = snapshots["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["snapshot_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 2, "{snapshots}");
    shell.expect(0, &["snapshots", "show", ids[0]]);
    let text = shell.expect(0, &["snapshots", "diff", ids[1], ids[0]]);
    assert!(text.contains("t a"), "{text}");
    let found = shell.json(0, &["catalogue", "get", "t", "a"]);
    assert_eq!((&found["attributes"]["x"], &found["version"]), (&2.into(), &2.into()));
    let versions = shell.json(0, &["catalogue", "history", "t", "a"]);
    assert_eq!((&versions["items"][0]["version"], &versions["next_cursor"]), (&1.into(), &Value::Null));
    let text = shell.expect(0, &["catalogue", "history", "t", "a"]);
    assert!(text.contains("update") && text.contains(&TestBatch::full("alpha", 2).id()), "{text}");
    assert!(shell.expect(0, &["catalog", "search", "ua"]).contains("ua"));
    shell.expect(1, &["catalogue", "get", "t", "nothing"]);
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 4);
    assert!(shell.expect(0, &["completions", "bash"]).contains("tidegate"));
    assert!(shell.expect(0, &["config", "show"]).contains("[priority]"));
}

#[test]
fn relationships_of_an_entity_are_told_apart_by_their_labels_and_attributes() {
    let shell = Shell::new();
    let end = |name: &str| serde_json::json!({"type": "t", "qualified_name": name});
    let edge = |label: &str, x: i32| {
        let (from, to) = (end("l"), end("a"));
        serde_json::json!({"type": "r", "from": from, "to": to, "label": label, "attributes": {"x": x}})
    };
    let entity = |name: &str| serde_json::json!({"type": "t", "qualified_name": name, "attributes": {}});
    let lines = [entity("l"), entity("a"), edge("fk_1", 1), edge("fk_2", 2), edge("", 3)];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut child = shell
        .command(&["batches", "write", "--source", "alpha", "--run", "r", "--mode", "full"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let folder = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    shell.expect(0, &["publish", folder.trim()]);
    let text = shell.expect(0, &["catalogue", "get", "t", "l"]);
    let shown = "  r → t a\n      x = 3\n  r [fk_1] → t a\n      x = 1\n  r [fk_2] → t a\n      x = 2\n";
    assert!(text.contains(shown), "{text}");
}

#[test]
fn a_difference_of_snapshots_has_the_values_that_the_plan_has() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&first())]);
    let next = TestBatch::full("alpha", 2)
        .with(["a", "c", "ua"].map(|name| says(entity(name), 2)))
        .with([says(edge("a", "z"), 1)]);
    let folder = shell.write(&next);
    let plan = shell.json(2, &["plan", &folder]);
    shell.expect(0, &["publish", &folder]);
    let list = shell.json(0, &["snapshots", "list"]);
    let [newer, older] = [0, 1].map(|n| list["items"][n]["snapshot_id"].as_str().unwrap().to_owned());
    let sorted = |changes: Vec<Value>| {
        let mut texts: Vec<String> = changes
            .iter()
            .map(|change| {
                format!("{} {} {} {}", change["action"], change["key"], change["before"], change["after"])
            })
            .collect();
        texts.sort();
        texts
    };
    let text = shell.expect(0, &["--json", "snapshots", "diff", &older, &newer]);
    let diff = sorted(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect());
    assert_eq!(diff, sorted(plan["changes"].as_array().unwrap().clone()));
    assert_eq!(diff.len(), 5);
}

#[test]
fn what_is_parked_is_shown_with_the_commands_that_decide_about_it() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&first())]);
    let empty = shell.write(&TestBatch::full("alpha", 3));
    let text = shell.expect(3, &["publish", &empty]);
    let data = shell.data().display().to_string();
    let id = TestBatch::full("alpha", 3).id();
    for act in ["approve", "reject"] {
        assert!(text.contains(&format!("tidegate --data {data} batches {act} {id}\n")), "{text}");
    }
    // Another digest than that of the plan.
    let other = "00000000000000000000000000000000";
    let told = shell.run(&["publish", &empty, &format!("--approve={other}")]);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains(&format!(", not {other}")) && !told.contains("snapshot"), "{told}");
}

#[test]
fn bad_lines_without_a_key_are_counted_as_rejected() {
    let shell = Shell::new();
    for (hour, full) in [(1, true), (2, false)] {
        let batch = TestBatch { full, ..TestBatch::full("alpha", hour) }
            .with([says(entity("a"), 1), Line::BadKeyed(entity("d"))])
            .with([Line::BadKeyless(1), Line::BadKeyless(2)]);
        let plan = shell.json(2, &["plan", &shell.write(&batch)]);
        assert_eq!(plan["summary"]["entities"]["rejected"], 3, "{plan}");
        assert_eq!(plan.to_string().contains("2 lines are bad without a readable key"), full, "{plan}");
        assert_eq!(plan["summary"]["relationships"]["rejected"], 0, "{plan}");
    }
    let one = TestBatch::full("alpha", 3).with([says(entity("a"), 1), Line::BadKeyless(1)]);
    let plan = shell.expect(2, &["plan", &shell.write(&one)]);
    assert!(plan.contains("1 line is bad without a readable key"), "{plan}");
}

#[test]
fn a_relationship_that_begins_to_wait_is_removed_at_the_target_and_nobody_deleted_it() {
    let shell = Shell::new();
    let beta = TestBatch::full("beta", 1).with([says(entity("b"), 1), says(edge("b", "a"), 1)]);
    shell.expect(0, &["publish", &shell.write(&first())]);
    shell.expect(0, &["publish", &shell.write(&beta)]);
    let gone = shell.write(&TestBatch::incremental("alpha", 2).with([Line::Deleted(entity("a"))]));
    let plan = shell.json(2, &["plan", &gone]);
    let summary = &plan["summary"]["relationships"];
    // alpha's own a → b and beta's b → a; a → z waits as before.
    assert_eq!((&summary["delete"], &summary["waiting"]), (&0.into(), &3.into()), "{plan}");
    let state = shell.json(0, &["publish", &gone]);
    assert_eq!(state["metrics"]["relationships_deleted"], 2, "{state}");
}

#[test]
fn settings_that_are_not_known_are_refused_with_the_nearest_right_name() {
    let shell = Shell::new();
    std::fs::create_dir_all(shell.data()).unwrap();
    std::fs::write(shell.data().join("tidegate.toml"), "[priority]\nage_wieght = 2.0\n").unwrap();
    let output = shell.run(&["config", "check"]);
    let all =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(64), "{all}");
    assert!(all.contains("age_weight") && all.contains("tidegate.toml:2"), "{all}");
    let output = shell.run(&["batches", "list"]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn a_second_server_is_told_who_holds_the_data_directory() {
    let shell = Shell::new();
    let server = shell.serve();
    let error = shell.refused(1, &["serve"]);
    let id = server.process.id().to_string();
    assert!(error.contains("STORE_IN_USE") && error.contains(&id), "{error}");
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn serve_publishes_what_comes_and_ends_cleanly_when_asked_to() {
    let shell = Shell::new();
    let server = shell.serve();
    let later = shell.bring(&TestBatch { time: 2, ..first() });
    let earlier = shell.bring(&TestBatch { time: 1, ..first() });
    shell.expect(0, &["batches", "wait", &later]);
    shell.expect(0, &["batches", "wait", &earlier]);
    assert_eq!(server.stop().code(), Some(0));
    let batches = shell.json(0, &["batches", "list"]);
    assert_eq!(batches["items"].as_array().unwrap().len(), 2, "{batches}");
    // What comes while nobody watches is done by the next start.
    let third = shell.bring(&TestBatch { time: 3, ..first() });
    let server = shell.serve();
    shell.expect(0, &["batches", "wait", &third]);
    assert_eq!(server.stop().code(), Some(0));
    let batches = shell.json(0, &["batches", "list"]);
    let items = batches["items"].as_array().unwrap();
    assert_eq!(items.len(), 3, "{batches}");
    assert!(items.iter().all(|batch| batch["status"] == "COMPLETE"), "{batches}");
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 4);
}

#[test]
fn a_skip_without_an_end_says_so() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]))]);
    let skipped = shell.expect(0, &["sources", "skip", "alpha", "t", "a", "--reason", "known", "--yes"]);
    assert!(skipped.contains("no end") && !skipped.contains("lifted"), "{skipped}");
}

#[test]
fn completions_are_quiet_on_a_closed_pipe_and_tell_of_a_full_disk() {
    let shell = Shell::new();
    // More than a pipe holds, to a reader that has gone.
    let output = on_a_closed_pipe(&shell, &["completions", "bash"]);
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = shell.command(&["completions", "bash"]).stdout(full).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("standard output") && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn the_help_names_every_option() {
    let shell = Shell::new();
    for command in ["plan", "publish"] {
        assert!(shell.expect(0, &[command, "--help"]).contains("--no-fast-path"), "{command}");
    }
}

#[test]
fn a_parked_batch_is_listed_with_the_changes_that_wait() {
    let shell = Shell::new();
    let lines = (0..40).map(|n| says(entity(&format!("e{n}")), 1));
    shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", 1).with(lines))]);
    let gone = TestBatch::full("alpha", 2).with((0..3).map(|n| says(entity(&format!("e{n}")), 2)));
    shell.expect(3, &["publish", &shell.write(&gone)]);
    let list = shell.expect(0, &["batches", "list", "--order", "oldest"]);
    let rows: Vec<&str> = list.lines().skip(1).collect();
    assert!(rows[0].contains("+40 ~0 -0"), "{list}");
    assert!(rows[1].contains("+0 ~3 -37") && rows[1].contains("waits for approval"), "{list}");
    shell.expect(0, &["batches", "approve", &gone.id()]);
    let list = shell.expect(0, &["batches", "list", "--limit", "1"]);
    assert!(list.contains("+0 ~3 -37") && list.contains("COMPLETE"), "{list}");
}

#[test]
fn reasons_are_checked_as_the_api_checks_them() {
    let shell = Shell::new();
    let long = "x".repeat(1001);
    for (reason, what) in
        [("", "1 to 1000"), ("  ", "1 to 1000"), (&long, "1 to 1000"), ("a\u{7}b", "control")]
    {
        let told = shell.refused(64, &["dlq", "discard", "1", "--yes", "--reason", reason]);
        assert!(told.contains(what), "{told}");
        shell.refused(64, &["sources", "pause", "alpha", "--reason", reason]);
    }
}
