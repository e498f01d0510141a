//! Every kind of wait, in a real process: visible with its reason and its
//! time, the same after SIGKILL and a restart, and over when its reason is.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::batches::{TestBatch, entity, says};
use support::shell::{Serving, Shell};
use support::target_server::{Fault, TargetServer};
use tidegate::clock::{Clock, SystemClock};

fn settings(server: &TargetServer, more: &str) -> String {
    format!(
        "[[inbox]]\nurl = \"inbox\"\npoll = \"50ms\"\n[targets.catalogue]\nkind = \"http\"\nurl = \"{}\"\n\
         timeout = \"400ms\"\nrequest_limit = \"0s\"\n[retry]\nlongest_probe = \"200ms\"\n{more}",
        server.url()
    )
}

fn batch(time: u32) -> TestBatch {
    TestBatch::incremental("alpha", time).with([says(entity("a"), i64::from(time))])
}

fn show(shell: &Shell, id: &str) -> Value {
    shell.json(0, &["batches", "show", id])
}

/// What a wait is known by, without what a probe changes each time.
fn wait(shell: &Shell, id: &str) -> Value {
    let batch = show(shell, id);
    let mut waits = batch["waits"].clone();
    let mut next = batch["next_attempt"].clone();
    if waits["code"] == "target_down" {
        waits["until"] = Value::Null;
        waits["text"] = Value::Null;
        next = Value::Null;
    }
    serde_json::json!({
        "status": batch["publish_state"]["status"], "failure": batch["publish_state"]["failure_details"],
        "attempts": batch["attempts"], "retry": batch["retry"], "next_attempt": next,
        "waits": waits,
    })
}

/// Waits until a batch waits for this, or has ended.
#[track_caller]
fn until(shell: &Shell, id: &str, wanted: &str) -> Value {
    for _ in 0..600 {
        let batch = shell.run(&["--json", "batches", "show", id]);
        if batch.status.success() {
            let batch: Value = serde_json::from_slice(&batch.stdout).unwrap();
            if batch["waits"]["code"] == wanted || batch["publish_state"]["status"] == wanted {
                return batch;
            }
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    panic!("{id} does not come to {wanted}: {}", shell.expect(0, &["batches", "show", id]));
}

/// SIGKILL, and a start.
fn kill(shell: &Shell, serving: Serving) -> Serving {
    serving.signal(rustix::process::Signal::KILL);
    drop(serving);
    shell.serve()
}

#[test]
fn a_batch_in_backoff_is_the_same_after_a_kill() {
    let (server, shell) = (TargetServer::start(), Shell::new());
    shell.settings(&settings(&server, ""));
    let mut serving = shell.serve();
    server.script([Fault::Answer("429 Too Many Requests\r\nretry-after: 3600")]);
    let id = shell.bring(&batch(1));
    until(&shell, &id, "retry");
    let before = wait(&shell, &id);
    assert_eq!(before["failure"]["error_code"], "TARGET_THROTTLED");
    assert_eq!(before["retry"]["tier"], 2);
    for _ in 0..3 {
        serving = kill(&shell, serving);
        assert_eq!(wait(&shell, &id), before);
    }
    assert_eq!(server.requests("operations").len(), 1);
    // An operator need not wait.
    shell.expect(0, &["batches", "retry", &id]);
    until(&shell, &id, "COMPLETE");
    assert!(serving.stop().success());
}

#[test]
fn a_batch_whose_target_is_down_is_the_same_after_a_kill() {
    let (server, shell) = (TargetServer::start(), Shell::new());
    shell.settings(&settings(&server, ""));
    let mut serving = shell.serve();
    server.down();
    let ids = [1, 2].map(|time| shell.bring(&batch(time)));
    until(&shell, &ids[0], "target_down");
    until(&shell, &ids[1], "older_batch");
    let before = wait(&shell, &ids[0]);
    assert_eq!(before["attempts"], 0);
    let targets = shell.expect(0, &["targets", "list"]);
    assert!(targets.contains("down"), "{targets}");
    for _ in 0..3 {
        serving = kill(&shell, serving);
        assert_eq!(wait(&shell, &ids[0]), before);
    }
    server.heal();
    until(&shell, &ids[1], "COMPLETE");
    assert_eq!(show(&shell, &ids[0])["publish_state"]["status"], "COMPLETE");
    assert_eq!(shell.json(0, &["targets", "list"])["items"][0]["down"], Value::Null);
    assert!(serving.stop().success());
}

#[test]
fn a_batch_in_a_maintenance_window_is_the_same_after_a_kill() {
    let (server, shell) = (TargetServer::start(), Shell::new());
    // One that began in this minute or the one before, and is open for hours.
    let now = SystemClock::default().now().strftime("%M %H").to_string();
    let window = format!("[[targets.catalogue.maintenance]]\ncron = \"{now} * * *\"\nduration = \"3h\"\n");
    shell.settings(&settings(&server, &window));
    let mut serving = shell.serve();
    let id = shell.bring(&batch(1));
    let until_then = until(&shell, &id, "window")["waits"]["until"].clone();
    assert!(until_then.is_string());
    let before = wait(&shell, &id);
    for _ in 0..3 {
        serving = kill(&shell, serving);
        assert_eq!(wait(&shell, &id), before);
    }
    assert_eq!(server.requests("operations").len(), 0);
    // The window is taken out of the settings.
    shell.settings(&settings(&server, ""));
    serving.signal(rustix::process::Signal::HUP);
    until(&shell, &id, "COMPLETE");
    assert!(serving.stop().success());
}

#[test]
fn a_batch_that_waits_for_a_known_issue_is_the_same_after_a_kill() {
    let (server, shell) = (TargetServer::start(), Shell::new());
    shell.settings(&settings(&server, ""));
    let mut serving = shell.serve();
    let refused = shell.refused(64, &["issues", "declare", "--note", "all of it"]);
    assert!(refused.contains("everything would wait"), "{refused}");
    let mut declare =
        vec!["issues", "declare", "--target", "catalogue", "--note", "an index is rebuilt", "--until", "4h"];
    // It is the only target: that is asked.
    let refused = shell.refused(64, &declare);
    assert!(refused.contains("every batch waits") && refused.contains("--yes"), "{refused}");
    assert_eq!(shell.json(0, &["issues", "list"])["items"], serde_json::json!([]));
    declare.insert(0, "--yes");
    assert_eq!(shell.json(0, &declare)["in_force"], true);
    let id = shell.bring(&batch(1));
    until(&shell, &id, "known_issue");
    let before = wait(&shell, &id);
    assert!(before["waits"]["text"].as_str().unwrap().contains("an index is rebuilt"));
    for _ in 0..3 {
        serving = kill(&shell, serving);
        assert_eq!(wait(&shell, &id), before);
    }
    let listed = shell.expect(0, &["issues", "list"]);
    assert!(listed.contains("target catalogue") && listed.contains("in force until"), "{listed}");
    shell.expect(0, &["issues", "lift", "1", "--reason", "it is done"]);
    until(&shell, &id, "COMPLETE");
    let again = shell.refused(1, &["issues", "lift", "1"]);
    assert!(again.contains("was lifted by"), "{again}");
    assert!(serving.stop().success());
}

#[test]
fn a_batch_that_waits_for_an_approval_is_the_same_after_a_kill() {
    let (server, shell) = (TargetServer::start(), Shell::new());
    shell.settings(&settings(&server, ""));
    let mut serving = shell.serve();
    let many = (0..20).map(|n| says(entity(&format!("n{n}")), 1));
    let first = shell.bring(&TestBatch::full("alpha", 1).with(many));
    until(&shell, &first, "COMPLETE");
    // It would delete nearly everything.
    let id = shell.bring(&TestBatch::full("alpha", 2).with([says(entity("n0"), 1)]));
    until(&shell, &id, "approval");
    let held = |shell: &Shell| {
        let batch = show(shell, &id);
        (wait(shell, &id), batch["hold"].clone(), batch["plan"].clone())
    };
    let before = held(&shell);
    assert_eq!(before.0["status"], "PLAN_COMPLETE");
    let sent = server.requests("operations").len();
    for _ in 0..3 {
        serving = kill(&shell, serving);
        assert_eq!(held(&shell), before);
    }
    assert_eq!(server.requests("operations").len(), sent);
    // The plan that was looked at is the one that is approved.
    let digest = before.2["digest"].as_str().unwrap();
    shell.expect(0, &["--yes", "batches", "approve", &id, "--digest", digest]);
    until(&shell, &id, "COMPLETE");
    assert_eq!(server.held().len(), 1);
    assert!(serving.stop().success());
}

#[test]
fn what_a_request_without_an_answer_touches_is_left_alone_after_a_kill() {
    let (server, shell) = (TargetServer::start(), Shell::new());
    let limited = settings(&server, "").replace("request_limit = \"0s\"", "request_limit = \"1h\"");
    shell.settings(&limited);
    let mut serving = shell.serve();
    // It takes effect long after it was given up.
    server.script([Fault::Late(Duration::from_millis(2500))]);
    let id = shell.bring(&batch(1));
    until(&shell, &id, "retry");
    let other = TestBatch { source: "beta".into(), ..batch(2) };
    let other = shell.bring(&other);
    let left_alone = || {
        for _ in 0..600 {
            let batch = until(&shell, &other, "turn");
            let text = batch["waits"]["text"].as_str().unwrap();
            if text.contains("got no answer and may take effect until") {
                return batch["waits"]["until"].clone();
            }
        }
        panic!("it does not come to wait");
    };
    let (before, limit) = (wait(&shell, &id), left_alone());
    assert_eq!(before["waits"]["until"], limit);
    let sent = server.requests("operations").len();
    for _ in 0..2 {
        serving = kill(&shell, serving);
        assert_eq!(wait(&shell, &id), before);
        // It is planned again first.
        assert_eq!(left_alone(), limit);
    }
    server.wait_for_value("a", 1);
    assert_eq!(server.requests("operations").len(), sent);
    assert!(serving.stop().success());
}
