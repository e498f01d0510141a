//! The command line against a server, with real processes: the same output as
//! without one, actions, waiting, watching, plans of what is not delivered.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use support::batches::{Line, TestBatch, edge, entity, says};
use support::limit::Limit;
use support::receiver::Receiver;
use support::shell::Shell;
use tidegate::clock::{Clock, SystemClock};

fn first() -> TestBatch {
    TestBatch::full("alpha", 1)
        .with(["a", "b", "ua"].iter().map(|name| says(entity(name), 1)))
        .with([says(edge("a", "b"), 1), says(edge("a", "z"), 1)])
}

fn many(time: u32, count: u32) -> TestBatch {
    TestBatch::full("alpha", time).with((0..count).map(|n| says(entity(&format!("e{n}")), 1)))
}

/// A port that nothing is given while its server is away: the system hands out
/// higher ones to whoever asks for any.
fn lasting_port() -> u16 {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    (first..32_000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// A data directory in which much has happened, and nothing is going on.
fn filled() -> Shell {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&first())]);
    let next = TestBatch::full("alpha", 2).with([
        says(entity("a"), 2),
        says(entity("ua"), 1),
        says(entity("c"), 3),
        says(edge("a", "z"), 1),
    ]);
    shell.expect(0, &["publish", &shell.write(&next)]);
    let bad =
        TestBatch::incremental("beta", 3).with([says(entity("a"), 7), Line::BadKeyed(entity("\u{202e}d"))]);
    shell.expect(4, &["publish", &shell.write(&bad)]);
    shell.expect(1, &["publish", &shell.write(&TestBatch::full("gamma", 90_000))]);
    shell
}

#[test]
fn every_command_that_reads_prints_the_same_with_a_server_and_without_byte_for_byte() {
    let shell = filled();
    let snapshots = shell.json(0, &["snapshots", "list", "--source", "alpha"]);
    let snapshot = |n: usize| snapshots["items"][n]["snapshot_id"].as_str().unwrap().to_owned();
    let (newer, older) = (snapshot(0), snapshot(1));
    let (alpha, beta) = (TestBatch::full("alpha", 2).id(), TestBatch::incremental("beta", 3).id());
    let commands: &[&[&str]] = &[
        &["batches", "list"],
        &["batches", "list", "--limit", "1"],
        &["batches", "list", "--order", "oldest", "--source", "alpha"],
        &["batches", "list", "--status", "failed"],
        &["batches", "list", "--since", "2026-11-01T00:02:00Z", "--until", "2026-11-01T00:03:00Z"],
        &["batches", "show", &alpha],
        &["batches", "show", &alpha, "--full"],
        &["batches", "show", &beta, "--summary"],
        &["batches", "wait", &beta],
        &["batches", "show", "alpha:20261101T000900Z_r9"],
        &["dlq", "list"],
        &["dlq", "list", "--state", "all", "--limit", "1"],
        &["dlq", "list", "--kind", "entity", "--source", "beta", "--name", "*d", "--order", "oldest"],
        &["dlq", "groups"],
        &["dlq", "groups", "--code", "line_invalid"],
        &["dlq", "show", "1"],
        &["dlq", "show", "2"],
        &["dlq", "edit", "1", "--check"],
        &["inbox", "list"],
        &["sources", "list"],
        &["sources", "show", "alpha"],
        &["sources", "show", "nobody"],
        &["snapshots", "list"],
        &["snapshots", "list", "--source", "alpha", "--limit", "1"],
        &["snapshots", "list", "--order", "oldest", "--since", "2026-11-01T00:00:00Z"],
        &["snapshots", "list", "--until", "2026-11-01T00:00:00Z"],
        &["snapshots", "show", &newer],
        &["snapshots", "diff", &older, &newer],
        &["targets", "list"],
        &["targets", "check"],
        &["targets", "check", "nowhere"],
        &["catalogue", "get", "t", "a"],
        &["catalogue", "get", "t", "nothing"],
        &["catalogue", "history", "t", "a"],
        &["catalogue", "history", "t", "a", "--order", "oldest", "--limit", "1"],
        &["catalogue", "history", "t", "a", "--since", "2h"],
        &["catalogue", "history", "t", "nothing"],
        &["catalogue", "search"],
        &["catalogue", "search", "--type", "t", "--limit", "1"],
        &["catalogue", "search", "ua"],
        &["catalogue", "search", "--ranked"],
        &["catalogue", "search", "--ranked", "ua"],
        &["catalogue", "search", "--ranked", "--type", "t", "--order", "newest", "--limit", "1"],
        &["catalogue", "search", "--ranked", "--prefix", "u"],
        &["catalogue", "export"],
        &["why", "t", "a"],
        &["why", "t", "b"],
        &["why", "t", "nothing"],
    ];
    let look = || {
        let mut seen = Vec::new();
        for command in commands {
            for json in [false, true] {
                let mut arguments = command.to_vec();
                if json {
                    arguments.push("--json");
                }
                let output = shell.run(&arguments);
                let error = String::from_utf8(output.stderr).unwrap();
                // Times of looking are those of the look.
                let text = String::from_utf8(output.stdout).unwrap();
                let text: Vec<&str> = text.lines().filter(|line| !line.contains("\"seen_at\"")).collect();
                seen.push((arguments.join(" "), output.status.code(), text.join("\n"), error));
            }
        }
        seen
    };
    // A server makes it when it starts.
    std::fs::create_dir_all(shell.data().join("inbox")).unwrap();
    let without = look();
    let server = shell.serve();
    let with = look();
    assert_eq!(server.stop().code(), Some(0));
    for (with, without) in with.iter().zip(&without) {
        assert_eq!(with, without);
    }
    assert!(without.iter().filter(|(_, code, ..)| *code == Some(0)).count() > 40);
}

#[test]
fn a_server_that_was_named_and_does_not_answer_is_an_error_that_says_so() {
    let shell = filled();
    let nowhere = "http://127.0.0.1:1";
    let error = shell.refused(1, &["--server", nowhere, "batches", "list"]);
    assert!(error.contains("SERVER_UNREACHABLE") && error.contains(nowhere), "{error}");
    let output = shell.command(&["sources", "list"]).env("TIDEGATE_SERVER", nowhere).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = shell.refused(64, &["--server", "tidegate.example", "batches", "list"]);
    assert!(error.contains("http://"), "{error}");
    // What is no Tidegate is told too.
    let other = Receiver::start();
    let error = shell.refused(1, &["--server", &other.url(), "batches", "list"]);
    assert!(error.contains("SERVER_ANSWER"), "{error}");
}

#[test]
fn a_directory_that_is_held_without_a_server_is_told_with_its_holder() {
    let shell = filled();
    let server = shell.serve();
    // The file is gone, or tells of a server that is gone: the holder is told.
    let file = shell.data().join("tidegate.server");
    for text in [None, Some("{\"pid\":1,\"url\":\"http://127.0.0.1:1/\"}"), Some("no JSON")] {
        match text {
            None => std::fs::remove_file(&file).unwrap(),
            Some(text) => std::fs::write(&file, text).unwrap(),
        }
        let error = shell.refused(1, &["batches", "list"]);
        let pid = server.process.id().to_string();
        assert!(error.contains("STORE_IN_USE") && error.contains(&pid), "{error}");
    }
    // It can be named all the same.
    shell.expect(0, &["--server", &server.url, "batches", "list"]);
    server.stop();
    // A file that a killed server left is passed over.
    std::fs::write(&file, "{\"pid\":1,\"url\":\"http://127.0.0.1:1/\"}").unwrap();
    shell.expect(0, &["batches", "list"]);
}

#[test]
fn a_second_server_on_a_directory_is_told_who_holds_it_and_harms_nothing() {
    let shell = filled();
    let server = shell.serve();
    let error = shell.refused(1, &["serve"]);
    let pid = server.process.id().to_string();
    assert!(error.contains("STORE_IN_USE") && error.contains(&pid), "{error}");
    // Commands still find the first.
    shell.expect(0, &["batches", "list"]);
    server.stop();
}

#[test]
fn publish_says_where_to_put_the_batch_when_a_server_holds_the_directory() {
    let shell = Shell::new();
    let server = shell.serve();
    let error = shell.refused(1, &["publish", &shell.write(&first())]);
    let inbox = format!("{}/inbox/", shell.data().display());
    assert!(error.contains(&inbox) && error.contains(&server.url), "{error}");
    server.stop();
}

#[test]
fn wait_ends_when_the_batch_has_ended_and_tells_how_by_its_exit_code() {
    let shell = Shell::new();
    shell.settings("[sources.beta]\n");
    let server = shell.serve();
    let wait = |id: &str| {
        shell.command(&["batches", "wait", id, "--timeout", "60s"]).stdout(Stdio::piped()).spawn().unwrap()
    };
    let batches = [
        (many(1, 30), 0),
        (TestBatch::incremental("alpha", 2).with([says(entity("x"), 1), Line::BadKeyed(entity("y"))]), 4),
        (many(3, 2), 3),
    ];
    for (batch, code) in batches {
        // It is waited for before it is there.
        let waiting = wait(&batch.id());
        shell.bring(&batch);
        let _limit = Limit::of(&waiting);
        let output = waiting.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(&batch.id()), "{text}");
    }
    // One of a source that waits for a person does not end.
    shell.expect(0, &["sources", "pause", "beta", "--reason", "moving"]);
    let held = shell.bring(&TestBatch::incremental("beta", 5).with([says(entity("q"), 1)]));
    let output = shell.run(&["batches", "wait", &held, "--timeout", "2s"]);
    assert_eq!(output.status.code(), Some(5));
    let error = shell.refused(5, &["batches", "wait", "alpha:20261102T000000Z_r9", "--timeout", "1s"]);
    assert!(error.contains("did not arrive"), "{error}");
    shell.expect(0, &["sources", "resume", "beta"]);
    assert_eq!(wait(&held).wait_with_output().unwrap().status.code(), Some(0));
    server.stop();
}

#[test]
fn what_a_guard_parks_is_approved_or_rejected_and_stale_digests_are_refused() {
    let shell = Shell::new();
    let server = shell.serve();
    shell.expect(0, &["batches", "wait", &shell.bring(&many(1, 30))]);
    let parked = shell.bring(&many(2, 3));
    let text = shell.expect(3, &["batches", "wait", &parked]);
    assert!(text.contains("batches approve"), "{text}");
    let zeros = "0".repeat(32);
    let error = shell.refused(1, &["batches", "approve", &parked, "--digest", &zeros]);
    assert!(error.contains("PLAN_STALE"), "{error}");
    let digest = text.lines().find_map(|line| line.trim().strip_prefix("digest")).unwrap().trim().to_owned();
    let state = shell.json(0, &["batches", "approve", &parked, "--digest", &digest, "--reason", "closing"]);
    assert_eq!(
        (state["status"].as_str(), &state["metrics"]["entities_deleted"]),
        (Some("COMPLETE"), &27.into())
    );
    let error = shell.refused(1, &["batches", "approve", &parked]);
    assert!(error.contains("CONFLICT"), "{error}");

    shell.expect(0, &["batches", "wait", &shell.bring(&many(3, 40))]);
    let parked = shell.bring(&many(4, 3));
    shell.expect(3, &["batches", "wait", &parked]);
    let state = shell.json(0, &["batches", "reject", &parked, "--reason", "cut off"]);
    assert_eq!(state["failure_details"]["error_code"], "REJECTED");
    let timeline = shell.expect(0, &["batches", "show", &parked]);
    assert!(timeline.contains("cut off"), "{timeline}");
    // Put back, it is parked again.
    shell.expect(3, &["batches", "retry", &parked]);
    server.stop();
}

#[test]
fn what_can_not_be_taken_back_is_not_done_without_being_asked_for() {
    let shell = Shell::new();
    shell.settings("[sources.alpha]\n");
    let server = shell.serve();
    shell.expect(0, &["sources", "pause", "alpha"]);
    let id = shell.bring(&many(1, 3));
    shell.run(&["batches", "wait", &id, "--timeout", "1s"]);
    let error = shell.refused(64, &["batches", "cancel", &id]);
    assert!(error.contains("--yes") && error.contains(&id), "{error}");
    assert_eq!(shell.json(0, &["batches", "list"])["items"][0]["status"], "PENDING");
    let state = shell.json(0, &["batches", "cancel", &id, "--yes"]);
    assert_eq!(state["failure_details"]["error_code"], "CANCELLED");
    server.stop();
}

#[test]
fn a_batch_can_be_put_ahead_of_other_sources() {
    let shell = Shell::new();
    shell.settings("[sources.alpha]\n");
    let server = shell.serve();
    shell.expect(0, &["sources", "pause", "alpha"]);
    let id = shell.bring(&many(1, 3));
    shell.run(&["batches", "wait", &id, "--timeout", "1s"]);
    shell.expect(0, &["batches", "prioritize", &id, "--reason", "the board meets"]);
    assert!(shell.expect(0, &["batches", "show", &id]).contains("the board meets"));
    let undone = shell.expect(0, &["batches", "prioritize", &id, "--undo"]);
    assert!(!undone.contains("  ahead"), "{undone}");
    server.stop();
    // The same in a directory of one's own.
    shell.expect(0, &["batches", "prioritize", &id]);
    shell.expect(0, &["sources", "resume", "alpha"]);
    shell.expect(0, &["batches", "cancel", &id, "--yes"]);
    shell.expect(0, &["batches", "retry", &id]);
}

#[test]
fn a_plan_of_what_is_not_delivered_is_the_same_from_a_server_and_queues_nothing() {
    let shell = filled();
    let queued = shell.json(0, &["batches", "list"])["items"].as_array().unwrap().len();
    let folders = [
        (2, shell.write(&TestBatch::full("alpha", 5).with([says(entity("a"), 9), says(entity("c"), 3)]))),
        (0, shell.write(&TestBatch::full("alpha", 2))),
        (3, shell.write(&TestBatch::full("alpha", 6))),
    ];
    // A file of the first one lies in a folder within.
    let nested = std::path::Path::new(&folders[0].1);
    std::fs::create_dir(nested.join("within")).unwrap();
    std::fs::rename(nested.join("entities-00000.ndjson"), nested.join("within/e.ndjson")).unwrap();
    let manifest = std::fs::read_to_string(nested.join("manifest.json")).unwrap();
    std::fs::write(
        nested.join("manifest.json"),
        manifest.replace("entities-00000.ndjson", "within/e.ndjson"),
    )
    .unwrap();
    let look = |more: &[&str]| {
        let mut seen = Vec::new();
        for (code, folder) in &folders {
            for options in [&["--summary"][..], &["--full"], &["--json"], &["--json", "--summary"]] {
                let arguments = [&["plan", folder.as_str()], options, more].concat();
                let text = shell.expect(*code, &arguments);
                // Every plan has an id of its own.
                match serde_json::from_str::<Value>(&text) {
                    Ok(mut plan) => {
                        assert!(plan["plan_id"].take().is_string());
                        seen.push(plan.to_string());
                    }
                    Err(_) => seen.push(text),
                }
            }
        }
        seen
    };
    let without = look(&[]);
    let server = shell.serve();
    assert_eq!(look(&[]), without);
    assert_eq!(look(&["--server", &server.url]), without);
    let error = shell.refused(1, &["plan", "nowhere"]);
    assert!(error.contains("NOT_FOUND"), "{error}");
    let empty = shell.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    shell.refused(1, &["plan", &empty.display().to_string()]);
    assert_eq!(shell.json(0, &["batches", "list"])["items"].as_array().unwrap().len(), queued);
    server.stop();
}

#[test]
fn a_plan_of_an_id_that_was_used_is_refused_as_publishing_it_is() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]))]);
    let again = TestBatch::full("alpha", 1).with([says(entity("a"), 2), says(entity("b"), 1)]);
    let folder = again.write(&shell.folder.path().join("again")).display().to_string();
    let expected = shell.refused(1, &["publish", &folder]);
    assert!(expected.contains("BATCH_ID_REUSED"), "{expected}");
    assert_eq!(shell.refused(1, &["plan", &folder]), expected);
    let server = shell.serve();
    let told = shell.refused(1, &["plan", &folder]);
    assert!(told.contains("BATCH_ID_REUSED") && told.contains("with another manifest"), "{told}");
    server.stop();
}

#[test]
fn watch_tells_each_change_on_a_line_and_ends_with_its_batch() {
    let shell = Shell::new();
    shell.settings("[sources.alpha]\n");
    let server = shell.serve();
    let mut all = shell.command(&["batches", "watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let _limit = Limit::of(&all);
    let mut lines = BufReader::new(all.stdout.take().unwrap()).lines();
    let batch = many(1, 30);
    shell.expect(0, &["sources", "pause", "alpha"]);
    let id = shell.bring(&batch);
    let seen: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(seen["publish_state"]["batch_id"], id);
    let one = shell.command(&["batches", "watch", &id]).stdout(Stdio::piped()).spawn().unwrap();
    shell.expect(0, &["sources", "resume", "alpha"]);
    let _one = Limit::of(&one);
    let output = one.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.lines().all(|line| line.contains(&id)), "{text}");
    assert!(text.lines().last().unwrap().contains("COMPLETE"), "{text}");
    for line in lines {
        let seen: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if seen["publish_state"]["status"] == "COMPLETE" {
            break;
        }
    }
    // Whoever reads goes away: that is no error. The next change tells it.
    drop(all.stdout.take());
    shell.bring(&TestBatch::incremental("alpha", 2).with([says(entity("z"), 1)]));
    assert_eq!(all.wait().unwrap().code(), Some(0));
    server.stop();
    let error = shell.refused(1, &["batches", "watch"]);
    assert!(error.contains("no server"), "{error}");
}

/// A watch that has seen no batch yet is told of those that ended while the
/// server was away, too.
#[test]
fn watch_says_at_once_that_its_server_is_gone_and_goes_on_when_it_is_back() {
    let shell = Shell::new();
    std::fs::create_dir_all(shell.data()).unwrap();
    let settings = format!("[server]\nlisten = \"127.0.0.1:{}\"\n", lasting_port());
    std::fs::write(shell.data().join("tidegate.toml"), settings).unwrap();
    let server = shell.serve();
    let mut command = shell.command(&["batches", "watch"]);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let limit = Limit::of(&watch);
    let mut told = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = BufReader::new(watch.stderr.take().unwrap()).lines().map(Result::unwrap);
    let clock = SystemClock::default();
    let url = server.url.clone();
    assert_eq!(said.next().unwrap(), format!("watching the server {url}"));
    server.stop();
    let stopped = clock.monotonic();
    let line = said.next().unwrap();
    assert!(line.contains(&url) && line.contains("does not answer any more"), "{line}");
    assert!(clock.monotonic() - stopped < std::time::Duration::from_secs(5));
    shell.expect(0, &["publish", &shell.write(&many(1, 3))]);
    let server = shell.serve();
    assert!(said.next().unwrap().contains("answers again"));
    let line = told.next().unwrap();
    assert!(line.contains(&many(1, 3).id()) && line.contains("COMPLETE"), "{line}");
    let second = shell.bring(&many(2, 3));
    assert!(told.any(|line| line.contains(&second) && line.contains("COMPLETE")));
    watch.kill().unwrap();
    watch.wait().unwrap();
    drop(limit);
    server.stop();
}

#[test]
fn the_inbox_tells_what_is_not_picked_up_and_why() {
    let shell = Shell::new();
    let server = shell.serve();
    let folder = shell.data().join("inbox/alpha/20261101T000100Z_r1");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("entities-00000.ndjson"), "").unwrap();
    let text = shell.expect(0, &["inbox", "list"]);
    assert!(text.contains("alpha/20261101T000100Z_r1") && text.contains("manifest.json"), "{text}");
    server.stop();
}

#[test]
fn a_webhook_is_told_of_every_batch_that_ended_also_of_those_while_it_was_down() {
    let shell = Shell::new();
    let receiver = Receiver::start();
    shell.settings(&format!("[[webhook]]\nurl = \"{}\"\n", receiver.url()));
    receiver.answers(&["500 Error", "hang up"]);
    let one = shell.write(&many(1, 3));
    shell.expect(0, &["publish", &one]);
    let server = shell.serve();
    let two = shell.bring(&many(2, 4));
    shell.expect(0, &["batches", "wait", &two]);
    // Two failures, then both in order.
    let received = receiver.wait_for(4);
    let subjects: Vec<&str> = received.iter().map(|received| received.subject()).collect();
    let first = many(1, 3).id();
    assert_eq!(subjects, [&first, &first, &first, &two]);
    assert_eq!(received[3].body["data"]["status"], "COMPLETE");
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn help_is_short_and_every_command_has_it() {
    let shell = Shell::new();
    for command in [
        &["batches", "wait"][..],
        &["batches", "watch"],
        &["batches", "prioritize"],
        &["batches", "cancel"],
        &["why"],
        &["targets", "check"],
        &["sources", "pause"],
        &["plan"],
    ] {
        let text = shell.expect(0, &[command, &["--help"]].concat());
        assert!(text.lines().count() < 45, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
    assert!(shell.expect(0, &["completions", "zsh"]).contains("prioritize"));
}

#[test]
fn from_the_alert_to_a_published_repair_it_is_three_commands() {
    let receiver = Receiver::start();
    let shell = Shell::new();
    shell
        .settings(&format!("[[webhook]]\nurl = \"{}\"\nevents = [\"dead_letter.opened\"]\n", receiver.url()));
    let server = shell.serve();
    let batch = TestBatch::incremental("alpha", 1).with([says(entity("a"), 1), Line::BadKeyed(entity("b"))]);
    shell.bring(&batch);
    let alert = receiver.wait_for(1).remove(0);
    let data = &alert.body["data"];
    assert_eq!((&data["code"], &data["key"]["qualified_name"]), (&"LINE_INVALID".into(), &"b".into()));
    let id = data["dead_letter"].to_string();
    // The port was the system's to choose.
    let link = data["link"].as_str().unwrap();
    assert!(link.starts_with(&server.url) && !link.contains(":0/"), "{link}");

    let shown = shell.expect(0, &["dlq", "show", &id]);
    assert!(shown.contains("`attributes` is not an object") && shown.contains(&batch.id()), "{shown}");
    let good = shell.folder.path().join("good.json");
    std::fs::write(&good, "{\"type\": \"t\",\n \"qualified_name\": \"b\",\n \"attributes\": {\"x\": 2}}")
        .unwrap();
    let good = good.display().to_string();
    let kept = shell.expect(0, &["dlq", "edit", &id, "--file", &good, "--yes", "--reason", "typo"]);
    assert!(kept.contains("+ t b") && kept.contains(&format!("tidegate dlq requeue {id}")), "{kept}");
    let done = shell.json(0, &["dlq", "requeue", &id, "--yes"]);
    assert_eq!((&done["done"], &done["batches"][0]["status"]), (&1.into(), &"COMPLETE".into()));
    assert_eq!(done["batches"][0]["batch_id"], format!("{}~1", batch.id()));
    let letter = shell.json(0, &["dlq", "show", &id]);
    assert_eq!(letter["state"], "resolved");
    assert!(shell.expect(0, &["catalogue", "export"]).contains("\"b\""));
    assert!(server.stop().success());
}

#[test]
fn dead_letters_are_decided_about_on_the_command_line() {
    let shell = Shell::new();
    let bad = ["a", "b", "c"].map(|name| Line::BadKeyed(entity(name)));
    shell.expect(4, &["publish", &shell.write(&TestBatch::incremental("alpha", 1).with(bad))]);
    // It asks, and there is nobody to ask.
    for arguments in [&["dlq", "requeue", "1"][..], &["dlq", "discard", "--all", "--reason", "x"]] {
        assert!(shell.refused(64, arguments).contains("--yes"));
    }
    shell.refused(64, &["dlq", "requeue"]);
    shell.refused(64, &["dlq", "discard", "1", "--yes"]);
    shell.refused(64, &["dlq", "edit", "1"]);
    assert!(shell.refused(1, &["dlq", "requeue", "1", "--yes"]).contains("LINE_INVALID"));
    assert!(shell.refused(1, &["dlq", "show", "99"]).contains("NOT_FOUND"));
    let file = |text: &str| {
        let path = shell.folder.path().join("line.json");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let other = file(r#"{"type":"t","qualified_name":"z","attributes":{}}"#);
    assert!(shell.refused(1, &["dlq", "edit", "1", "--file", &other, "--yes"]).contains("keeps the key"));
    assert!(shell.expect(1, &["dlq", "edit", "1", "--file", &other, "--check"]).contains("keeps the key"));
    let good = file(r#"{"type":"t","qualified_name":"a","attributes":{"x":1}}"#);
    shell.expect(0, &["dlq", "edit", "1", "--file", &good, "--yes"]);
    // The other two are told, and the good one is published.
    let done = shell.json(1, &["dlq", "requeue", "--source", "alpha", "--yes"]);
    assert_eq!((&done["done"], &done["refused"]), (&1.into(), &2.into()));
    assert_eq!(done["batches"][0]["status"], "COMPLETE");
    let text = shell.expect(0, &["dlq", "discard", "--code", "line_invalid", "--yes", "--reason", "a test"]);
    assert!(text.contains("2 done, 0 refused"), "{text}");
    assert!(shell.expect(0, &["dlq", "list", "--state", "all"]).contains("discarded"));
    assert_eq!(shell.json(0, &["dlq", "list"])["items"], Value::Array(Vec::new()));
}

#[test]
fn what_is_refused_of_a_dead_letter_says_how_it_stands_who_settled_it_and_what_to_do() {
    for with_server in [false, true] {
        let shell = Shell::new();
        let bad = ["a", "b"].map(|name| Line::BadKeyed(entity(name)));
        let first = TestBatch::incremental("alpha", 1).with(bad);
        shell.expect(4, &["publish", &shell.write(&first)]);
        let newer = TestBatch::incremental("alpha", 2).with([says(entity("a"), 1)]);
        shell.expect(0, &["publish", &shell.write(&newer)]);
        shell.expect(0, &["dlq", "discard", "2", "--reason", "a test row", "--yes"]);
        let third = TestBatch::incremental("alpha", 3).with([Line::BadKeyed(entity("c"))]);
        shell.expect(4, &["publish", &shell.write(&third)]);
        let server = with_server.then(|| shell.serve());
        let file = |text: &str| {
            let path = shell.folder.path().join("line.json");
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let good = file(r#"{"type":"t","qualified_name":"a","attributes":{"x":1}}"#);
        // Nobody is asked about what can't be done.
        for arguments in [&["dlq", "requeue", "1"][..], &["dlq", "edit", "1", "--file", &good]] {
            let text = shell.refused(1, arguments);
            for word in
                [&newer.id()[..], "was resolved", "Nothing is left to repair", "tidegate batches show"]
            {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
        for arguments in [&["dlq", "requeue", "2"][..], &["dlq", "discard", "2", "--reason", "x"]] {
            let text = shell.refused(1, arguments);
            for word in ["was discarded by ", "a test row", "the next batch"] {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
        let text = shell.refused(1, &["dlq", "requeue", "99"]);
        assert!(text.contains("no dead letter 99") && text.contains("dlq list --state all"), "{text}");
        let other = file(r#"{"type":"t","qualified_name":"z","attributes":{"x":1}}"#);
        let text = shell.refused(1, &["dlq", "edit", "3", "--file", &other, "--yes"]);
        for word in ["is about t c", "about t z", "Put the key back", "a batch of its own"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let invalid = file(r#"{"type":"t","qualified_name":"c","attributes":7}"#);
        let text = shell.refused(1, &["dlq", "edit", "3", "--file", &invalid, "--yes"]);
        for word in ["`attributes`", "give the content again"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let text = shell.refused(1, &["dlq", "requeue", "3", "--yes"]);
        assert!(text.contains("tidegate dlq edit 3"), "{text}");
        if let Some(server) = server {
            assert!(server.stop().success());
        }
    }
}

#[test]
fn a_dead_letter_is_edited_and_requeued_by_one_command() {
    for with_server in [false, true] {
        let shell = Shell::new();
        let batch =
            TestBatch::incremental("alpha", 1).with([says(entity("a"), 1), Line::BadKeyed(entity("b"))]);
        shell.expect(4, &["publish", &shell.write(&batch)]);
        let server = with_server.then(|| shell.serve());
        let good = shell.folder.path().join("good.json");
        std::fs::write(&good, "{\"type\":\"t\",\"qualified_name\":\"b\",\"attributes\":{\"x\":2}}").unwrap();
        let edit = ["dlq", "edit", "1", "--file", good.to_str().unwrap(), "--requeue"];
        // What it changes is shown, and then it asks.
        let asked = shell.run(&edit);
        assert_eq!(asked.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&asked.stdout).contains("+ t b"));
        assert!(String::from_utf8_lossy(&asked.stderr).contains("and requeue it?"));
        let done = shell.expect(0, &[&edit[..], &["--yes", "--reason", "typo"]].concat());
        for word in
            ["+ t b", "Plan: 1 to create", "1 done, 0 refused", &format!("{}~1", batch.id()), "COMPLETE"]
        {
            assert!(done.contains(word), "{word}: {done}");
        }
        let letter = shell.json(0, &["dlq", "show", "1"]);
        assert_eq!((&letter["state"], &letter["edited"]), (&"resolved".into(), &true.into()));
        if let Some(server) = server {
            assert!(server.stop().success());
        }
    }
}

#[test]
fn an_edited_manifest_is_shown_with_its_plan_before_it_is_requeued() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]))]);
    let batch = TestBatch::full("alpha", 2).with([says(entity("b"), 2)]);
    let folder = shell.write(&batch);
    let file = std::path::Path::new(&folder).join("entities-00000.ndjson");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n")).unwrap();
    shell.expect(1, &["publish", &folder]);
    let letter = shell.json(0, &["dlq", "show", "1"]);
    let mut manifest: Value = serde_json::from_str(letter["content"].as_str().unwrap()).unwrap();
    manifest["files"][0]["bytes"] = Value::Null;
    manifest["mode"] = "incremental".into();
    let edited = shell.folder.path().join("manifest.json");
    std::fs::write(&edited, manifest.to_string()).unwrap();
    let edit = ["dlq", "edit", "1", "--file", edited.to_str().unwrap()];
    let shown = shell.expect(0, &[&edit[..], &["--check"]].concat());
    assert!(
        shown.contains("+ t b") && shown.contains("Plan: 1 to create, 0 to update, 0 to delete"),
        "{shown}"
    );
    let done = shell.expect(0, &[&edit[..], &["--requeue", "--yes"]].concat());
    assert!(done.contains("+ t b") && done.contains("COMPLETE"), "{done}");
    let exported = shell.expect(0, &["catalogue", "export"]);
    assert!(exported.contains("\"a\"") && exported.contains("\"b\""), "{exported}");
}

#[test]
fn a_folder_that_is_too_large_to_be_planned_by_a_server_is_refused_with_the_limit() {
    let shell = Shell::new();
    shell.settings("max_upload = \"100KiB\"");
    let serving = shell.serve();
    let folder = shell.write(&many(1, 80_000));
    for _ in 0..5 {
        let error = shell.refused(1, &["plan", &folder]);
        assert!(error.contains("413") && error.contains("more than 102400 bytes"), "{error}");
        assert!(error.contains("server.max_upload"), "{error}");
        assert!(error.contains("(BODY_TOO_LARGE)") && !error.contains("SERVER_ANSWER"), "{error}");
        assert!(!error.contains("not one that this version understands"), "{error}");
    }
    assert!(serving.stop().success());
}

#[test]
fn a_server_on_this_machine_is_not_asked_for_through_a_proxy_of_the_environment() {
    let shell = filled();
    let server = shell.serve();
    let mut command = shell.command(&["batches", "list"]);
    // Nobody answers there.
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:9");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.stop();
}
