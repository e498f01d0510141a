//! Dead letters over the API: listed, grouped, repaired and given up.

mod support;

use serde_json::{Value, json};
use support::batches::{Line, TestBatch, entity, says};
use support::server::Server;
use tidegate::domain::guards::GuardLimits;
use tidegate::domain::ids::SourceId;

#[test]
fn dead_letters_are_listed_grouped_repaired_and_given_up() {
    let server = Server::new();
    let bad = ["a", "b", "c"].map(|name| Line::BadKeyed(entity(name)));
    let batch = server.publish(&TestBatch::incremental("alpha", 1).with(bad));
    let letters = server.all("/api/v1/dlq", 2);
    assert_eq!(letters.len(), 3);
    assert_eq!(letters, server.all(&format!("/api/v1/dlq?batch_id={batch}&state=open"), 1));
    assert_eq!(server.all("/api/v1/dlq?name=a&kind=entity&code=LINE_INVALID", 1).len(), 1);
    assert_eq!(server.all("/api/v1/dlq?state=all&source_id=beta", 1).len(), 0);
    server.get("/api/v1/dlq?state=lost").problem(400, "USAGE");
    server.get("/api/v1/dlq?limit=501").problem(400, "USAGE");
    let groups = server.fetch("/api/v1/dlq/groups");
    let group = &groups["items"][0];
    assert_eq!((&group["count"], &group["code"]), (&json!(3), &json!("LINE_INVALID")));
    assert_eq!(group["signature"], letters[0]["signature"]);
    server.get("/api/v1/dlq/groups?limit=501").problem(400, "USAGE");
    server.get("/api/v1/dlq/groups?cursor=zz").problem(400, "USAGE");

    let one = server.fetch("/api/v1/dlq/1");
    assert_eq!((&one["key"]["qualified_name"], &one["state"]), (&json!("a"), &json!("open")));
    assert!(one["content"].as_str().unwrap().contains("attributes"), "{one}");
    assert_eq!(one["history"][0]["batch_id"], batch.to_string());
    server.get("/api/v1/dlq/99").problem(404, "NOT_FOUND");
    server.get("/api/v1/dlq/one").problem(400, "USAGE");

    let good = r#"{"type":"t","qualified_name":"a","attributes":{"x":4}}"#;
    let act = |path: &str, body: Value| server.post(&format!("/api/v1/dlq/{path}"), &body);
    let preview = act("1/check", json!({ "content": good })).json();
    assert_eq!((&preview["valid"], &preview["changes"][0]["after"]), (&json!(true), &json!({"x": 4})));
    let preview = act("1/check", json!({})).json();
    assert_eq!(preview["valid"], false);
    act("1/requeue", json!({ "reason": "x" })).problem(422, "LINE_INVALID");
    act("1/edit", json!({ "content": good })).problem(400, "USAGE");
    act("1/edit", json!({ "content": good.replace("\"a\"", "\"b\""), "reason": "x" }))
        .problem(409, "CONFLICT");
    let edited =
        act("1/edit", json!({ "content": good, "revision": 1, "reason": "typo", "actor": "ann" })).json();
    assert_eq!((&edited["edited"], &edited["actions"][0]["actor"]), (&json!(true), &json!("ann")));
    act("1/requeue", json!({ "revision": 1, "reason": "x" })).problem(409, "CONFLICT");
    let requeued = act("1/requeue", json!({ "revision": 2, "reason": "repaired" })).json();
    assert_eq!(requeued["requeued_as"], format!("{batch}~1"));
    server.work();
    let settled = server.fetch("/api/v1/dlq/1");
    assert_eq!(
        (&settled["state"], &settled["settled_by"]),
        (&json!("resolved"), &json!(format!("{batch}~1")))
    );
    assert_eq!(server.fetch("/api/v1/entities/t/a")["entity"]["attributes"], json!({"x": 4}));
    let problem = act("1/discard", json!({ "reason": "x" })).problem(409, "CONFLICT");
    assert!(problem["detail"].as_str().unwrap().contains(&format!("batch {batch}~1")), "{problem}");
    assert!(problem["action"].as_str().unwrap().contains("Nothing is left to repair"), "{problem}");

    let all = |action: &str, cursor: Value| {
        let mut body = json!({ "filter": { "source_id": "alpha" }, "limit": 1, "reason": "all of it" });
        if !cursor.is_null() {
            body["cursor"] = cursor;
        }
        act(action, body).json()
    };
    let first = all("requeue", Value::Null);
    assert_eq!((&first["done"], &first["refused"]), (&json!(0), &json!(1)));
    assert_eq!(first["items"][0]["problem"]["code"], "LINE_INVALID");
    let first = all("discard", Value::Null);
    assert_eq!((&first["done"], &first["items"][0]["id"]), (&json!(1), &json!(2)));
    let second = all("discard", first["next_cursor"].clone());
    assert_eq!((&second["items"][0]["id"], &second["next_cursor"]), (&json!(3), &Value::Null));
    act("discard", json!({ "filter": { "state": "open" }, "reason": "x" })).problem(400, "USAGE");
    act("discard", json!({ "filter": {}, "limit": 0, "reason": "x" })).problem(400, "USAGE");
    let metrics = server.get("/metrics");
    for line in [
        "tidegate_open_dead_letters 0",
        "tidegate_dead_letters_opened_total 3",
        "tidegate_dead_letters_discarded_total 2",
    ] {
        assert!(String::from_utf8_lossy(&metrics.body).contains(line), "{line}");
    }
}

#[test]
fn groups_of_dead_letters_are_read_in_parts_the_largest_first() {
    let server = Server::new();
    // Each source has a reason of its own, and more letters than the one before.
    for (n, source) in ["alpha", "beta", "gamma"].iter().enumerate() {
        let bad = (0..=n).map(|n| Line::BadKeyed(entity(&format!("k{n}"))));
        server.publish(&TestBatch::incremental(source, 1).with(bad));
    }
    let groups = server.all("/api/v1/dlq/groups", 1);
    let told: Vec<_> =
        groups.iter().map(|group| (group["source_id"].as_str().unwrap(), &group["count"])).collect();
    assert_eq!(told, [("gamma", &json!(3)), ("beta", &json!(2)), ("alpha", &json!(1))]);
    assert_eq!(server.all("/api/v1/dlq/groups?source_id=beta", 1).len(), 1);
}

#[test]
fn a_content_is_kept_and_requeued_in_one_request() {
    let server = Server::new();
    let batch = server.publish(&TestBatch::incremental("alpha", 1).with([Line::BadKeyed(entity("a"))]));
    let act = |path: &str, body: Value| server.post(&format!("/api/v1/dlq/{path}"), &body);
    let good = r#"{"type":"t","qualified_name":"a","attributes":{"x":4}}"#;
    let bad = r#"{"type":"t","qualified_name":"a","attributes":4}"#;
    act("1/requeue", json!({ "content": bad, "reason": "typo" })).problem(422, "LINE_INVALID");
    act("1/requeue", json!({ "content": good, "revision": 7, "reason": "typo" })).problem(409, "CONFLICT");
    let untouched = server.fetch("/api/v1/dlq/1");
    assert_eq!((&untouched["edited"], &untouched["state"]), (&json!(false), &json!("open")));
    let body = json!({ "content": good, "revision": 1, "reason": "typo", "actor": "ann" });
    let requeued = act("1/requeue", body).json();
    assert_eq!(requeued["requeued_as"], format!("{batch}~1"));
    let done: Vec<_> = requeued["actions"].as_array().unwrap().iter().map(|a| &a["actor"]).collect();
    assert_eq!(done, ["ann", "ann"], "{requeued}");
    server.work();
    assert_eq!(server.fetch("/api/v1/dlq/1")["state"], "resolved");
    assert_eq!(server.fetch("/api/v1/entities/t/a")["entity"]["attributes"], json!({"x": 4}));
}

#[test]
fn a_manifest_is_shown_with_the_plan_that_its_batch_would_have() {
    let server = Server::with(|settings| {
        let guarded = settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap();
        guarded.guards = GuardLimits { full_count_ratio: 0.6, ..guarded.guards };
    });
    let names = ["a", "b", "c", "d"];
    server.publish(&TestBatch::full("alpha", 1).with(names.map(|name| says(entity(name), 1))));
    let broken = TestBatch::full("alpha", 2).with([says(entity("a"), 2), Line::BadKeyed(entity("b"))]);
    let file = broken.write(&server.data.path().join("delivered")).join("entities-00000.ndjson");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n")).unwrap();
    let batch = server.publish(&broken);
    let letter = server.fetch("/api/v1/dlq/1");
    assert_eq!((&letter["kind"], &letter["code"]), (&json!("batch"), &json!("BATCH_SIZE_MISMATCH")));
    let check = |content: &Value| {
        let body = json!({ "content": content.to_string() });
        server.post("/api/v1/dlq/1/check", &body).json()
    };
    // As it is, its files are not what it says.
    let preview = server.post("/api/v1/dlq/1/check", &json!({})).json();
    assert_eq!((&preview["valid"], &preview["plan"]), (&json!(false), &Value::Null), "{preview}");
    assert!(preview["problem"].as_str().unwrap().contains("entities-00000.ndjson"), "{preview}");

    let mut manifest: Value = serde_json::from_str(letter["content"].as_str().unwrap()).unwrap();
    manifest["files"][0]["bytes"] = Value::Null;
    let full = check(&manifest);
    assert_eq!((&full["valid"], &full["plan"]["rejects"]), (&json!(true), &json!(1)), "{full}");
    let entities = &full["plan"]["summary"]["entities"];
    assert_eq!((&entities["update"], &entities["delete"]), (&json!(1), &json!(2)), "{full}");
    assert_eq!(full["plan"]["guards"][0]["rule"], "full_count_fell", "{full}");
    assert_eq!((&full["plan"]["changes"], full["changes"].as_array().unwrap().len()), (&json!(3), 3));

    manifest["mode"] = json!("incremental");
    let incremental = check(&manifest);
    let entities = &incremental["plan"]["summary"]["entities"];
    assert_eq!((&entities["update"], &entities["delete"]), (&json!(1), &json!(0)), "{incremental}");
    assert_eq!(incremental["changes"][0]["after"], json!({"x": 2}));

    manifest["run_id"] = json!("other");
    let other = check(&manifest);
    assert_eq!(other["valid"], false);
    assert!(other["action"].as_str().unwrap().contains("keeps the batch's ids"), "{other}");
    // Looking left nothing behind and changed nothing.
    assert_eq!(server.fetch("/api/v1/dlq/1")["revision"], letter["revision"]);
    assert_eq!(server.fetch(&format!("/api/v1/batches/{batch}"))["publish_state"]["status"], "FAILED");
    let plans = std::fs::read_dir(server.data.path().join("state/alpha/plans")).unwrap();
    assert!(plans.count() <= 2, "a plan that was looked at is left");

    // An edit is of what was looked at, while nobody delivers it anew.
    manifest["run_id"] = json!(batch.folder().run_id().to_string());
    let edit = |hash: &Value| {
        let body = json!({ "content": manifest.to_string(), "original_hash": hash, "reason": "x" });
        server.post("/api/v1/dlq/1/edit", &body)
    };
    let refused = edit(&json!("00")).problem(409, "CONFLICT");
    assert!(refused["detail"].as_str().unwrap().contains("was changed since it was looked at"), "{refused}");
    assert_eq!(edit(&letter["original_hash"]).json()["edited"], true);
}

#[test]
fn what_somebody_edited_is_decided_about_only_by_who_has_seen_that() {
    let server = Server::new();
    let bad = ["a", "b"].map(|name| Line::BadKeyed(entity(name)));
    server.publish(&TestBatch::incremental("alpha", 1).with(bad));
    let act = |path: &str, body: Value| server.post(&format!("/api/v1/dlq/{path}"), &body);
    let good = r#"{"type":"t","qualified_name":"a","attributes":{"x":4}}"#;
    let other = good.replace('4', "5");
    act("1/edit", json!({ "content": good, "reason": "typo", "actor": "ann" })).json();
    for (path, body) in [
        ("1/edit", json!({ "content": other, "reason": "x", "actor": "bob" })),
        ("1/edit", json!({ "reason": "x", "actor": "bob" })),
        ("1/requeue", json!({ "content": other, "reason": "x", "actor": "bob" })),
        ("1/requeue", json!({ "reason": "x", "actor": "bob" })),
        ("1/discard", json!({ "reason": "x", "actor": "bob" })),
    ] {
        let problem = act(path, body).problem(409, "CONFLICT");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("edited by ann at 20") && detail.contains("`revision`"), "{problem}");
        assert!(problem["action"].as_str().unwrap().contains("it is 2 now"), "{problem}");
    }
    assert_eq!(server.fetch("/api/v1/dlq/1")["edited_content"], good);
    // Of what nobody edited nothing can be overlooked.
    act("2/discard", json!({ "reason": "x" })).json();
    act("1/requeue", json!({ "revision": 2, "reason": "x" })).json();
}

#[test]
fn a_filter_that_names_what_nobody_knows_is_not_found() {
    let server = Server::new();
    server.publish(&TestBatch::incremental("alpha", 1).with([Line::BadKeyed(entity("a"))]));
    for unknown in ["source_id=nosuch", "code=NOPE", "signature=deadbeefdeadbeef"] {
        server.get(&format!("/api/v1/dlq?{unknown}")).problem(404, "NOT_FOUND");
    }
    server.get("/api/v1/dlq/groups?source_id=nosuch").problem(404, "NOT_FOUND");
    for action in ["requeue", "discard"] {
        let body = json!({ "filter": { "signature": "deadbeefdeadbeef" }, "reason": "x" });
        let problem = server.post(&format!("/api/v1/dlq/{action}"), &body).problem(404, "NOT_FOUND");
        assert!(problem["detail"].as_str().unwrap().contains("deadbeefdeadbeef"), "{problem}");
    }
    assert_eq!(server.fetch("/api/v1/dlq?code=ENTITY_REJECTED")["items"], json!([]));
}
