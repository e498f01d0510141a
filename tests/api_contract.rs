//! The API: what each route answers, that the document tells all of it, and
//! that publish states are those of the specification.

mod support;

use serde_json::{Value, json};
use support::batches::{Line, TestBatch, edge, entity, says, value};
use support::server::Server;
use tidegate::domain::guards::GuardLimits;
use tidegate::domain::ids::SourceId;

/// A batch that every other one builds on.
fn first() -> TestBatch {
    TestBatch::full("alpha", 1)
        .with(["a", "b", "ua"].iter().map(|name| says(entity(name), 1)))
        .with([says(edge("a", "b"), 1), says(edge("a", "z"), 1)])
}

/// A server with a published batch, a parked one, a failed one, and a waiting one.
fn busy() -> (Server, [String; 4]) {
    let server = Server::with(|settings| {
        let guarded = settings.sources.get_mut(&SourceId::new("beta").unwrap()).unwrap();
        guarded.guards = GuardLimits { empty_full: true, ..guarded.guards };
    });
    let complete = server.publish(&first());
    server.publish(&TestBatch::full("beta", 1).with([says(entity("x"), 1)]));
    let parked = server.publish(&TestBatch::full("beta", 2));
    let broken = TestBatch::full("gamma", 1).with([says(entity("y"), 1)]);
    let folder = broken.write(&server.data.path().join("delivered"));
    std::fs::write(folder.join("entities-00000.ndjson"), "cut").unwrap();
    let failed = server.publish(&broken);
    let waiting = server.deliver(&TestBatch::incremental("beta", 3).with([says(entity("v"), 1)]));
    (server, [complete, parked, failed, waiting].map(|id| id.to_string()))
}

#[test]
fn publish_states_parse_with_the_specifications_model_and_have_its_members_alone() {
    let (server, ids) = busy();
    let states = server.all("/api/v1/publish-states?order=oldest", 2);
    assert_eq!(states.len(), 5);
    let one = server.fetch(&format!("/api/v1/publish-states/{}", ids[0]));
    assert!(states.contains(&one));
    let expected: String = states
        .iter()
        .map(|state| {
            format!("{} {}\n", state["batch_id"].as_str().unwrap(), state["status"].as_str().unwrap())
        })
        .collect();
    support::python::expect_publish_states(&states, &expected);
}

#[test]
fn a_batch_is_shown_with_what_it_waits_for_and_what_can_be_done() {
    let (server, [complete, parked, failed, waiting]) = busy();
    let show = |id: &str| server.fetch(&format!("/api/v1/batches/{id}"));

    let batch = show(&complete);
    assert_eq!(batch["publish_state"], server.fetch(&format!("/api/v1/publish-states/{complete}")));
    assert_eq!(
        (&batch["waits"], &batch["priority"], &batch["actions"]),
        (&Value::Null, &Value::Null, &json!([]))
    );
    assert_eq!((&batch["lines"], &batch["files"], &batch["workflow"]), (&json!(5), &json!(2), &json!("w")));
    assert_eq!((&batch["plan"]["state"], &batch["plan"]["changes"]), (&json!("committed"), &json!(4)));
    assert_eq!(batch["plan"]["summary"]["relationships"]["waiting"], 1);

    let batch = show(&parked);
    assert_eq!((&batch["waits"]["code"], &batch["hold"]["reason"]), (&json!("approval"), &json!("approval")));
    assert_eq!(batch["actions"], json!(["approve", "reject", "prioritize", "cancel"]));
    assert_eq!(batch["plan"]["guards"][0]["rule"], "empty_full");
    let priority = &batch["priority"];
    let sum: f64 =
        ["age", "importance", "simplicity"].iter().map(|part| priority[part].as_f64().unwrap()).sum();
    assert!((priority["score"].as_f64().unwrap() - sum).abs() < 1e-9, "{priority}");

    let batch = show(&failed);
    assert_eq!(batch["publish_state"]["failure_details"]["error_code"], "BATCH_SIZE_MISMATCH");
    assert_eq!(batch["actions"], json!(["retry"]));

    let batch = show(&waiting);
    assert_eq!(batch["waits"]["code"], "older_batch");
    assert_eq!(batch["waits"]["batch_id"], parked);
    assert!(batch["waits"]["text"].as_str().unwrap().contains("approve or reject"), "{batch}");

    let timeline = server.all(&format!("/api/v1/batches/{complete}/timeline"), 2);
    let causes: Vec<&str> = timeline.iter().map(|entry| entry["to"].as_str().unwrap()).collect();
    assert_eq!(causes, ["PENDING", "PLANNING", "PLAN_COMPLETE", "EXECUTING", "COMPLETE"]);
}

#[test]
fn lists_of_batches_are_filtered_ordered_and_read_in_parts() {
    let (server, _) = busy();
    let ids = |path: &str, limit| -> Vec<String> {
        let items = server.all(path, limit);
        items.iter().map(|batch| batch["publish_state"]["batch_id"].as_str().unwrap().to_owned()).collect()
    };
    let newest = ids("/api/v1/batches", 2);
    let mut oldest = ids("/api/v1/batches?order=oldest", 1);
    assert_eq!(newest.len(), 5);
    oldest.reverse();
    assert_eq!(newest, oldest);
    assert_eq!(ids("/api/v1/batches?source_id=beta", 1).len(), 3);
    assert_eq!(ids("/api/v1/batches?status=COMPLETE", 500).len(), 2);
    assert_eq!(ids("/api/v1/batches?source_id=beta&status=PENDING", 1).len(), 1);
    assert_eq!(ids("/api/v1/batches?source_id=nobody", 1), Vec::<String>::new());
    // `since` is within, `until` is not.
    let since = "/api/v1/batches?since=2026-11-01T00:02:00Z";
    assert_eq!(ids(since, 1).len(), 2);
    assert_eq!(ids(&format!("{since}&until=2026-11-01T00:03:00Z"), 1).len(), 1);
    assert_eq!(
        ids(&format!("{since}&until=2026-11-01T00:03:00Z&status=PLAN_COMPLETE&order=oldest"), 1).len(),
        1
    );
}

#[test]
fn the_queue_tells_each_batchs_place_score_and_reason() {
    let (server, [_, parked, _, waiting]) = busy();
    let other = server.deliver(&TestBatch::full("alpha", 5).with([says(entity("a"), 2)])).to_string();
    let queue = server.fetch("/api/v1/queue");
    let rows: Vec<(u64, &str, &str)> = queue["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let code = item["waits"]["code"].as_str().unwrap();
            (item["position"].as_u64().unwrap(), item["batch_id"].as_str().unwrap(), code)
        })
        .collect();
    let expected = [(1, &*other, "turn"), (2, &*parked, "approval"), (3, &*waiting, "older_batch")];
    assert_eq!(rows, expected);
    assert_eq!(queue["total"], 3);
    let depth = json!([
        {"source_id": "alpha", "waiting": 1, "running": 0, "held": false},
        {"source_id": "beta", "waiting": 2, "running": 0, "held": true},
    ]);
    assert_eq!(queue["depth"], depth);
    assert_eq!(server.all("/api/v1/queue", 1).len(), 3);
}

#[test]
fn an_operator_prioritises_and_the_queue_follows() {
    let server = Server::new();
    let first = server.deliver(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    let second = server.deliver(&TestBatch::full("beta", 2).with([says(entity("b"), 1)]));
    let order = || -> Vec<String> {
        let items = server.all("/api/v1/queue", 50);
        items.iter().map(|item| item["batch_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(order(), [first.to_string(), second.to_string()]);
    let batch = server.act(&second, "prioritize").json();
    assert_eq!(batch["prioritised"]["actor"], "ann");
    assert_eq!(order(), [second.to_string(), first.to_string()]);
    assert_eq!(server.act(&second, "unprioritize").json()["prioritised"], Value::Null);
    assert_eq!(order(), [first.to_string(), second.to_string()]);
    server.act(&second, "unprioritize").problem(409, "CONFLICT");

    server.act(&first, "cancel");
    assert_eq!(order(), [second.to_string()]);
    server.act(&first, "cancel").problem(409, "CONFLICT");
    let batch = server.act(&first, "retry").json();
    assert_eq!(batch["publish_state"]["status"], "PENDING");
    let timeline = server.all(&format!("/api/v1/batches/{first}/timeline"), 50);
    assert!(
        timeline.iter().any(|entry| entry["actor"] == "ann" && entry["cause"] == "looked at"),
        "{timeline:?}"
    );
}

#[test]
fn a_parked_plan_is_approved_by_its_digest_once_or_rejected() {
    let (server, [_, parked, _, waiting]) = busy();
    let id = parked.parse().unwrap();
    let digest = server.fetch(&format!("/api/v1/batches/{parked}"))["plan"]["digest"].clone();
    let approve = |digest: &Value| {
        let body = json!({ "plan_digest": digest, "reason": "it is empty on purpose", "actor": "ann" });
        server.post(&format!("/api/v1/batches/{parked}/approve"), &body)
    };
    approve(&json!("0".repeat(32))).problem(409, "PLAN_STALE");
    approve(&json!("rubbish")).problem(400, "USAGE");
    server.act(&id, "approve").problem(400, "USAGE");
    let batch = approve(&digest).json();
    assert_eq!(batch["approval"]["actor"], "ann");
    approve(&digest).problem(409, "CONFLICT");
    server.act(&id, "reject").problem(409, "CONFLICT");
    server.work();
    let batch = server.fetch(&format!("/api/v1/batches/{parked}"));
    assert_eq!(batch["publish_state"]["status"], "COMPLETE");
    assert_eq!(server.fetch(&format!("/api/v1/batches/{waiting}"))["publish_state"]["status"], "COMPLETE");

    let again = server.publish(&TestBatch::full("beta", 9));
    let batch = server.act(&again, "reject").json();
    assert_eq!(batch["publish_state"]["failure_details"]["error_code"], "REJECTED");
}

#[test]
fn a_plan_whose_snapshot_has_moved_on_is_refused_and_planned_again() {
    let server = Server::with(|settings| {
        let guarded = settings.sources.get_mut(&SourceId::new("beta").unwrap()).unwrap();
        guarded.guards = GuardLimits { empty_full: true, ..guarded.guards };
    });
    server.publish(&TestBatch::full("beta", 1).with(["x", "y"].map(|name| says(entity(name), 1))));
    let parked = server.publish(&TestBatch::full("beta", 2));
    let show = || server.fetch(&format!("/api/v1/batches/{parked}"));
    let before = show()["plan"].clone();
    // A newer full batch overtakes it, and says nothing of `x`: the older one
    // still has that to delete.
    server.publish(&TestBatch::full("beta", 5).with([Line::BadKeyed(entity("x")), says(entity("y"), 2)]));
    let approve = |digest: &Value| {
        let body = json!({ "plan_digest": digest, "reason": "looked at" });
        server.post(&format!("/api/v1/batches/{parked}/approve"), &body)
    };
    approve(&before["digest"]).problem(409, "PLAN_STALE");
    let again = show();
    assert_eq!(
        (&again["publish_state"]["status"], &again["hold"]["reason"]),
        (&json!("PLAN_COMPLETE"), &json!("approval"))
    );
    assert_ne!(again["plan"]["digest"], before["digest"]);
    assert_ne!(again["plan"]["plan_id"], before["plan_id"]);
    assert_eq!(approve(&again["plan"]["digest"]).status, 200);
    server.work();
    assert_eq!(show()["publish_state"]["status"], "COMPLETE");
    server.get("/api/v1/entities/t/x").problem(404, "NOT_FOUND");
    assert_eq!(server.fetch("/api/v1/entities/t/y")["entity"]["attributes"], json!({"x": 2}));
}

#[test]
fn a_parked_plan_that_a_newer_batch_leaves_nothing_to_do_can_not_be_approved() {
    let (server, [_, parked, _, _]) = busy();
    let before = server.fetch(&format!("/api/v1/batches/{parked}"))["plan"].clone();
    server.publish(&TestBatch::full("beta", 5).with([says(entity("x"), 2), says(entity("w"), 1)]));
    let body = json!({ "plan_digest": before["digest"], "reason": "looked at" });
    server.post(&format!("/api/v1/batches/{parked}/approve"), &body).problem(409, "CONFLICT");
    let batch = server.fetch(&format!("/api/v1/batches/{parked}"));
    assert_eq!(batch["publish_state"]["failure_details"]["error_code"], "SUPERSEDED");
}

#[test]
fn a_plan_is_read_in_parts_with_filters_and_groups() {
    let server = Server::new();
    let name = |n: usize| format!("a{n:03}");
    server.publish(&TestBatch::full("alpha", 1).with((0..40).map(|n| says(entity(&name(n)), 1))));
    let lines = (0..30).map(|n| says(entity(&name(n)), if n < 20 { 2 } else { n as i64 + 100 }));
    let id = server.publish(&TestBatch::full("alpha", 2).with(lines).with([
        says(entity("u1"), 7),
        says(entity("u2"), 8),
        says(edge("u1", "u2"), 1),
    ]));
    let plan = format!("/api/v1/batches/{id}/plan");
    let changes = server.all(&plan, 7);
    assert_eq!(changes.len(), 30 + 10 + 3);
    assert_eq!(server.fetch(&plan)["plan"]["changes"], 43);
    let count = |filter: &str| server.all(&format!("{plan}?{filter}"), 500).len();
    assert_eq!((count("action=update"), count("action=delete"), count("action=create")), (30, 10, 3));
    assert_eq!((count("kind=relationship"), count("type=u"), count("text=A03")), (1, 2, 10));
    assert_eq!(count("text=128&action=update"), 1);
    assert_eq!(count("text=nothing"), 0);

    let groups = server.fetch(&format!("{plan}/groups"));
    let found = groups["groups"].as_array().unwrap();
    assert_eq!((found.len(), &found[0]["count"], &found[1]["count"]), (2, &json!(20), &json!(10)));
    assert_eq!((&found[0]["before"], &found[0]["after"]), (&json!({"x": 1}), &json!({"x": 2})));
    assert_eq!(found[1]["action"], "delete");
    assert_eq!((&groups["ungrouped"], &groups["complete"]), (&json!(13), &json!(true)));
    assert_eq!(groups["attributes"], json!([{"name": "x", "count": 30}]));
    assert_eq!(count(&format!("group={}", found[0]["id"].as_str().unwrap())), 20);
    assert_eq!(count("ungrouped=true"), 13);
    server.get(&format!("{plan}?group=zz")).problem(400, "USAGE");
    server.get(&format!("{plan}?action=destroy")).problem(400, "USAGE");
}

#[test]
fn lines_that_a_plan_leaves_out_are_listed() {
    let server = Server::new();
    let bad = (0..5).map(|n| Line::BadKeyed(entity(&format!("b{n}"))));
    let id = server.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]).with(bad));
    let rejects = server.all(&format!("/api/v1/batches/{id}/plan/rejects"), 2);
    assert_eq!(rejects.len(), 5);
    assert_eq!((&rejects[0]["code"], &rejects[0]["field"]), (&json!("LINE_INVALID"), &json!("attributes")));
    let batch = server.fetch(&format!("/api/v1/batches/{id}"));
    assert_eq!(batch["open_dead_letters"], 5);
    assert_eq!(server.fetch("/api/v1/sources/alpha")["source"]["open_dead_letters"], 5);
}

#[test]
fn sources_tell_their_settings_with_origins_and_how_they_stand() {
    let (server, _) = busy();
    let sources = server.all("/api/v1/sources", 2);
    let states: Vec<(&str, &str)> = sources
        .iter()
        .map(|source| (source["source_id"].as_str().unwrap(), source["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("alpha", "up_to_date"), ("beta", "parked"), ("gamma", "failing")]);
    let beta = server.fetch("/api/v1/sources/beta");
    assert_eq!(beta["source"]["counts"]["COMPLETE"], 1);
    assert_eq!((&beta["source"]["waiting"], &beta["source"]["snapshot"]["entities"]), (&json!(2), &json!(1)));
    assert_eq!(
        (beta["batches"].as_array().unwrap().len(), beta["snapshots"].as_array().unwrap().len()),
        (3, 1)
    );
    let settings = beta["settings"].as_array().unwrap();
    let setting = |key: &str| settings.iter().find(|line| line["key"] == key).unwrap().clone();
    assert_eq!(
        setting("sources.beta.importance"),
        json!({"key": "sources.beta.importance", "value": "50", "origin": "default"})
    );
    server.get("/api/v1/sources/nobody").problem(404, "NOT_FOUND");
    server.get("/api/v1/sources/..").problem(400, "USAGE");
    server.get("/api/v1/sources/a%20b").problem(400, "USAGE");

    let pause = |action: &str| {
        server.post(&format!("/api/v1/sources/alpha/{action}"), &json!({ "reason": "moving" }))
    };
    assert_eq!(pause("pause").json()["source"]["state"], "paused");
    pause("pause").problem(409, "CONFLICT");
    let id = server.publish(&TestBatch::full("alpha", 7).with([says(entity("a"), 9)]));
    let batch = server.fetch(&format!("/api/v1/batches/{id}"));
    assert_eq!(batch["waits"]["code"], "source_paused");
    assert_eq!(pause("resume").json()["source"]["state"], "waiting");
    pause("resume").problem(409, "CONFLICT");
}

#[test]
fn customers_see_sources_and_nothing_of_the_inside() {
    let (server, _) = busy();
    let status = server.fetch("/api/v1/status");
    let sources = status["sources"].as_array().unwrap();
    let members: Vec<&String> = sources[0].as_object().unwrap().keys().collect();
    assert_eq!(members, ["source_id", "state", "words", "last_success"]);
    let words: Vec<&str> = sources.iter().map(|source| source["words"].as_str().unwrap()).collect();
    assert_eq!(
        words,
        ["up to date", "changes wait for a person's approval", "the newest data could not be published"]
    );
    assert_eq!(sources[2]["last_success"], Value::Null);
    let text = status.to_string();
    assert!(!text.contains("SIZE_MISMATCH") && !text.contains("entities-"), "{text}");
}

/// All but the newest, the oldest first.
fn oldest_but_last(newest: &[String]) -> Vec<String> {
    newest[1..].iter().rev().cloned().collect()
}

#[test]
fn a_snapshot_is_listed_by_when_it_was_made_also_if_its_plan_waited() {
    let (server, [_, parked, _, waiting]) = busy();
    server.clock.advance(std::time::Duration::from_secs(60));
    server.publish(&TestBatch::full("alpha", 8).with([says(entity("a"), 3)]));
    server.clock.advance(std::time::Duration::from_secs(60));
    let digest = server.fetch(&format!("/api/v1/batches/{parked}"))["plan"]["digest"].clone();
    let body = json!({"reason": "all of it went", "plan_digest": digest});
    assert_eq!(server.post(&format!("/api/v1/batches/{parked}/approve"), &body).status, 200);
    server.work();
    let listed = server.all("/api/v1/snapshots", 1);
    let batches: Vec<&str> = listed.iter().map(|item| item["batch_id"].as_str().unwrap()).collect();
    let alpha = TestBatch::full("alpha", 8).id();
    assert_eq!(batches[..3], [waiting.as_str(), &parked, &alpha]);
}

#[test]
fn what_happened_to_a_batch_or_an_entity_is_read_by_its_times() {
    let server = Server::new();
    let mut made = Vec::new();
    for number in 1..=4 {
        server.clock.advance(std::time::Duration::from_secs(60));
        let batch =
            TestBatch::full("alpha", number).with([says(entity("a"), number.into()), says(entity("b"), 1)]);
        made.push(server.publish(&batch).to_string());
    }
    let history = |query: &str, limit| -> Vec<u64> {
        let items = server.all(&format!("/api/v1/entities/t/a/history?{query}"), limit);
        items.iter().map(|item| item["version"].as_u64().unwrap()).collect()
    };
    let newest = history("order=newest", 500);
    assert_eq!(newest.len(), 3);
    let in_turn: Vec<u64> = newest.iter().rev().copied().collect();
    for limit in [1, 2, 3] {
        assert_eq!((history("", limit), history("order=oldest", limit)), (newest.clone(), in_turn.clone()));
    }
    let ended = &server.fetch("/api/v1/entities/t/a/history")["items"][1]["ended_by"]["at"];
    let ended = ended.as_str().unwrap();
    assert_eq!(history(&format!("since={ended}"), 1), newest[..2]);
    assert_eq!(history(&format!("until={ended}&order=oldest"), 1), newest[2..]);
    // What is gone has versions; what never was has none.
    server.publish(&TestBatch::full("alpha", 5).with([says(entity("b"), 1)]));
    assert_eq!(history("", 1).len(), 4);
    server.get("/api/v1/entities/t/nobody/history").problem(404, "NOT_FOUND");

    let path = format!("/api/v1/batches/{}/timeline", made[3]);
    let causes = |query: &str, limit| -> Vec<String> {
        let items = server.all(&format!("{path}?{query}"), limit);
        items.iter().map(|item| item["to"].as_str().unwrap().to_owned()).collect()
    };
    let oldest = causes("", 2);
    assert_eq!(oldest.len(), 5);
    let back: Vec<String> = oldest.iter().rev().cloned().collect();
    assert_eq!((causes("order=oldest", 1), causes("order=newest", 1)), (oldest.clone(), back.clone()));
    assert_eq!(causes("since=2026-11-24T00:04:00Z&order=newest", 2), back);
    assert!(causes("until=2026-11-24T00:04:00Z", 2).is_empty());
}

#[test]
fn every_write_is_documented_with_what_keeps_it_out() {
    let document = serde_json::to_value(tidegate::web::openapi_document()).unwrap();
    let mut writes = 0;
    for (route, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let has = |status: &str| operation["responses"].get(status).is_some();
            assert!(has("403") && has("503"), "{method} {route}");
            let takes = route.contains('{') || operation["parameters"].is_array();
            assert!(has("400") || !takes, "{method} {route}");
            if method == "post" {
                writes += 1;
                for status in ["400", "413", "415"] {
                    assert!(has(status), "{method} {route}: {status}");
                }
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status.as_str() >= "400" && !(route == "/readyz" && status == "503") {
                    let content = &response["content"]["application/problem+json"];
                    assert!(content["schema"]["$ref"].as_str().unwrap().ends_with("/ProblemView"), "{route}");
                }
            }
        }
    }
    assert!(writes > 15, "{writes}");
}

#[test]
fn a_superseded_batch_says_once_that_it_is_and_by_which() {
    let (server, [_, parked, _, _]) = busy();
    let newer =
        server.publish(&TestBatch::full("beta", 5).with([says(entity("x"), 2), says(entity("w"), 1)]));
    let batch = server.fetch(&format!("/api/v1/batches/{parked}"));
    let failure = &batch["publish_state"]["failure_details"];
    assert_eq!(failure["error_code"], "SUPERSEDED");
    let message = failure["error_message"].as_str().unwrap();
    assert_eq!(
        message,
        format!("batch {parked}: superseded by {newer}. Newer batches left this one nothing to do.")
    );
    let page = String::from_utf8(server.get(&format!("/batches/{parked}")).body).unwrap();
    let panel = page.split("id=\"h-failure\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert_eq!(panel.matches("nothing to do").count(), 1, "{panel}");
    assert!(panel.contains(&newer.to_string()) && !panel.contains("What to do"), "{panel}");
}

#[test]
fn known_issues_are_listed_by_when_they_were_declared() {
    let server = Server::new();
    for number in 0..3 {
        let body = json!({"source_id": "alpha", "note": format!("issue {number}")});
        assert_eq!(server.post("/api/v1/known-issues", &body).status, 200);
        server.clock.advance(std::time::Duration::from_secs(60));
    }
    let notes = |query: &str, limit| -> Vec<String> {
        let items = server.all(&format!("/api/v1/known-issues?{query}"), limit);
        items.iter().map(|item| item["note"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(notes("", 1), ["issue 2", "issue 1", "issue 0"]);
    assert_eq!(notes("order=oldest", 1), ["issue 0", "issue 1", "issue 2"]);
    assert_eq!(notes("since=2026-11-24T00:01:00Z&order=oldest", 1), ["issue 1", "issue 2"]);
    assert_eq!(notes("until=2026-11-24T00:01:00Z", 1), ["issue 0"]);
}

#[test]
fn a_search_ranks_what_it_finds_and_says_where_it_was_met() {
    let server = Server::new();
    let about =
        |name: &str, text: &str| Line::Value(entity(name), [("about".to_owned(), json!(text))].into(), 0);
    server.publish(&TestBatch::full("alpha", 1).with([
        about("shop.orders", "rows"),
        about("shop.old", "of orders"),
        about("shop.orders_daily", "sums"),
        about("ubatches", "rows"),
        says(entity("b"), 1),
    ]));
    let names = |query: &str, limit| -> Vec<String> {
        let items = server.all(&format!("/api/v1/search?{query}"), limit);
        items.iter().map(|item| item["key"]["qualified_name"].as_str().unwrap().to_owned()).collect()
    };
    let all = names("q=orders", 500);
    assert_eq!(all, ["shop.orders", "shop.orders_daily", "shop.old"]);
    assert_eq!(names("q=orders", 1), all, "in parts");
    let page = server.fetch("/api/v1/search?q=orders&limit=2");
    assert_eq!((&page["total"], &page["behind"]), (&json!(3), &json!(0)));
    assert_eq!(page["types"], json!([{"type": "t", "count": 3}]));
    let last = &server.fetch("/api/v1/search?q=orders&limit=3")["items"][2]["matched"][0];
    assert_eq!((&last["attribute"], &last["ranges"]), (&json!("about"), &json!([{"from": 3, "to": 9}])));
    assert_eq!(names("type=u", 2), ["ubatches"]);
    assert_eq!(names("", 2).len(), 5);
    let cursor = page["next_cursor"].as_str().unwrap();
    server.get(&format!("/api/v1/search?q=rows&cursor={cursor}")).problem(400, "USAGE");
    server.get("/api/v1/search?limit=501").problem(400, "USAGE");
    server.get("/api/v1/search?target=nowhere").problem(404, "NOT_FOUND");
}

#[test]
fn snapshots_are_listed_newest_first_and_by_source() {
    let (server, _) = busy();
    server.clock.advance(std::time::Duration::from_secs(60));
    server.publish(&TestBatch::full("alpha", 8).with([says(entity("a"), 3)]));
    let all = server.all("/api/v1/snapshots", 1);
    assert_eq!(all.len(), 3);
    assert_eq!((&all[0]["source_id"], &all[0]["current"]), (&json!("alpha"), &json!(true)));
    assert_eq!(server.all("/api/v1/snapshots?source_id=alpha", 1).len(), 2);
    // `since` is within, `until` is not; the order can be turned, in parts too.
    for of in ["", "&source_id=alpha"] {
        let ids = |query: &str, limit| -> Vec<String> {
            let items = server.all(&format!("/api/v1/snapshots?{query}{of}"), limit);
            items.iter().map(|item| item["snapshot_id"].as_str().unwrap().to_owned()).collect()
        };
        let newest = ids("order=newest", 500);
        let mut oldest = ids("order=oldest", 1);
        oldest.reverse();
        assert_eq!((&newest, newest.len()), (&oldest, if of.is_empty() { 3 } else { 2 }));
        let made = all[0]["created_at"].as_str().unwrap();
        assert_eq!(ids(&format!("since={made}"), 1), newest[..1]);
        assert_eq!(ids(&format!("until={made}"), 1), newest[1..]);
        assert_eq!(
            ids(&format!("since=2026-11-24T00:00:00Z&until={made}&order=oldest"), 1),
            oldest_but_last(&newest)
        );
    }
    let cursor = &server.fetch("/api/v1/snapshots?limit=1")["next_cursor"];
    let other = format!("/api/v1/snapshots?order=oldest&cursor={}", cursor.as_str().unwrap());
    server.get(&other).problem(400, "USAGE");
    let id = all[0]["snapshot_id"].as_str().unwrap();
    assert_eq!(server.fetch(&format!("/api/v1/snapshots/{id}")), all[0]);
    server.get("/api/v1/snapshots/none").problem(404, "NOT_FOUND");
}

#[test]
fn entities_are_found_shown_and_explained() {
    let server = Server::with(|settings| {
        settings.sources.get_mut(&SourceId::new("beta").unwrap()).unwrap().precedence = 5;
    });
    let alpha = server.publish(&first());
    let both = Line::Value(entity("a"), value(&[("x", 2), ("y", 3)]), 0);
    let beta = server.publish(&TestBatch::incremental("beta", 2).with([both]));
    assert_eq!(server.all("/api/v1/entities", 1).len(), 3);
    assert_eq!(
        server.all("/api/v1/entities?q=UA", 1),
        [json!({"type": "u", "qualified_name": "ua", "archived": false})]
    );
    assert_eq!(server.all("/api/v1/entities?type=t&prefix=b", 1).len(), 1);

    let page = server.fetch("/api/v1/entities/t/a");
    assert_eq!(page["entity"]["attributes"], json!({"x": 2, "y": 3}));
    assert_eq!(page["entity"]["updated"]["batch"], beta.to_string());
    assert_eq!(server.fetch("/api/v1/entities/t/a/history")["items"].as_array().unwrap().len(), 1);
    let relationships = server.fetch("/api/v1/entities/t/a/relationships");
    assert_eq!(relationships["items"][0]["key"]["to"]["qualified_name"], "b");
    assert_eq!(server.fetch("/api/v1/entities/t/b/relationships")["items"][0]["direction"], "in");

    let why = server.fetch("/api/v1/entities/t/a/why");
    assert_eq!((&why["live"], &why["verdict"]["code"]), (&json!(true), &json!("published")));
    let sources: Vec<(&str, &str)> = why["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| (source["source_id"].as_str().unwrap(), source["asserts"].as_str().unwrap()))
        .collect();
    assert_eq!(sources, [("beta", "value"), ("alpha", "value")]);
    let x = &why["attributes"][0];
    assert_eq!(
        (&x["source_id"], &x["batch_id"], &x["value"]),
        (&json!("beta"), &json!(beta.to_string()), &json!(2))
    );
    assert_eq!((&x["overruled"], &x["differs"]), (&json!(["alpha"]), &json!(false)));
    assert_eq!(why["waiting"][0]["key"]["to"]["qualified_name"], "z");
    assert!(why["waiting"][0]["reason"].as_str().unwrap().contains("t z"), "{why}");
    let nobody = server.fetch("/api/v1/entities/t/nobody/why");
    assert_eq!((&nobody["live"], &nobody["verdict"]["code"]), (&json!(false), &json!("absent")));
    assert_eq!(nobody["verdict"]["batch_id"], alpha.to_string());
    server.get("/api/v1/entities/t/nobody").problem(404, "NOT_FOUND");

    // What is gone says so, and so does a bad line.
    server.publish(&TestBatch::full("alpha", 4).with([says(entity("a"), 1), Line::BadKeyed(entity("ua"))]));
    let why = server.fetch("/api/v1/entities/t/b/why");
    assert_eq!(
        (&why["verdict"]["code"], &why["sources"][1]["asserts"]),
        (&json!("absent"), &json!("not_listed"))
    );
    let why = server.fetch("/api/v1/entities/u/ua/why");
    assert_eq!((&why["verdict"]["code"], &why["live"]), (&json!("dead_letter"), &json!(true)));
}

#[test]
fn what_became_of_an_entity_is_told_by_the_sources_that_assert_it() {
    let server = Server::with(|settings| {
        settings.sources.get_mut(&SourceId::new("gamma").unwrap()).unwrap().precedence = 10;
    });
    let verdict = || server.fetch("/api/v1/entities/t/k/why")["verdict"].clone();
    let beta = server.publish(&TestBatch::full("beta", 3).with([says(entity("k"), 1)]));
    let gamma = server.publish(&TestBatch::full("gamma", 2).with([says(entity("k"), 2)]));
    // The newest batch of all speaks for it, does not list it, and decides nothing.
    let alpha = server.publish(&TestBatch::full("alpha", 9).with([says(entity("other"), 1)]));
    let text =
        format!("published; batch {gamma} asserted last what is there, and after it in precedence {beta}");
    assert_eq!(verdict(), json!({ "code": "published", "text": text, "batch_id": gamma.to_string() }));
    // Nor does one of that source that comes late.
    server.publish(&TestBatch::full("alpha", 5).with([says(entity("other"), 2)]));
    assert_eq!(verdict()["text"], text);
    // Once nobody asserts it, those count that assert its absence.
    for source in ["beta", "gamma"] {
        server.publish(&TestBatch::full(source, 4));
    }
    assert_eq!((&verdict()["code"], &verdict()["batch_id"]), (&json!("absent"), &json!(alpha.to_string())));
}

#[test]
fn relationships_of_a_hub_are_read_in_parts() {
    let server = Server::new();
    let leaves: Vec<String> = (0..25).map(|n| format!("l{n:02}")).collect();
    let out = leaves.iter().take(15).map(|leaf| says(edge("hub", leaf), 1));
    let into = leaves.iter().skip(15).map(|leaf| says(edge(leaf, "hub"), 1));
    let entities = leaves.iter().map(|leaf| says(entity(leaf), 1)).chain([says(entity("hub"), 1)]);
    server.publish(&TestBatch::full("alpha", 1).with(entities).with(out).with(into));
    for limit in [1, 7, 15, 24, 25, 26] {
        let found = server.all("/api/v1/entities/t/hub/relationships", limit);
        let mut others: Vec<&str> = found
            .iter()
            .map(|r| {
                let end = if r["direction"] == "out" { "to" } else { "from" };
                r["key"][end]["qualified_name"].as_str().unwrap()
            })
            .collect();
        others.sort_unstable();
        assert_eq!(others, leaves, "in parts of {limit}");
    }
}

#[test]
fn the_inbox_tells_why_folders_are_no_batches() {
    let server = Server::new();
    let inbox = server.data.path().join("inbox/alpha");
    for name in ["20261124T010000Z_r1", "not-a-time"] {
        std::fs::create_dir_all(inbox.join(name)).unwrap();
        std::fs::write(inbox.join(name).join("entities-00000.ndjson"), "").unwrap();
    }
    let list = server.fetch("/api/v1/inbox");
    assert_eq!(list["inboxes"].as_array().unwrap().len(), 1);
    let reasons: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["reason"].as_str().unwrap()).collect();
    assert!(reasons[0].contains("no manifest.json"), "{reasons:?}");
    assert!(
        reasons[1].starts_with("it is never taken: ") && reasons[1].contains("folder name"),
        "{reasons:?}"
    );
    let states: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["waiting", "ignored"]);
    assert_eq!(server.all("/api/v1/inbox", 1).len(), 2);
}

#[test]
fn an_inbox_that_is_gone_is_told() {
    let server = Server::new();
    let error = |server: &Server| server.fetch("/api/v1/inbox")["inboxes"][0]["error"].clone();
    assert_eq!(error(&server), "it is not there");
    std::fs::create_dir_all(server.data.path().join("inbox")).unwrap();
    // One look serves all who ask within a moment.
    server.clock.advance(std::time::Duration::from_secs(3));
    assert_eq!(error(&server), serde_json::Value::Null);
}

#[test]
fn the_overview_has_what_runs_waits_and_ended() {
    let (server, [complete, parked, failed, waiting]) = busy();
    let overview = server.fetch("/api/v1/overview");
    let ids = |list: &Value| -> Vec<String> {
        let id = |item: &Value| {
            item["batch_id"].as_str().or(item["publish_state"]["batch_id"].as_str()).unwrap().to_owned()
        };
        list.as_array().unwrap().iter().map(id).collect()
    };
    assert_eq!(ids(&overview["parked"]), [&*parked]);
    assert_eq!(ids(&overview["waiting"]), [&*parked, &*waiting]);
    let results = ids(&overview["results"]);
    assert!(results.contains(&complete) && results.contains(&failed) && results.len() == 3, "{results:?}");
    assert_eq!((&overview["counts"]["FAILED"], &overview["counts"]["COMPLETE"]), (&json!(1), &json!(2)));
    assert_eq!(overview["service"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(overview["service"]["serving"], true);
    assert_eq!(overview["lost_inboxes"], json!([]));
}

#[test]
fn every_route_stands_in_the_document() {
    let document = serde_json::to_value(tidegate::web::openapi_document()).unwrap();
    let documented = document["paths"].as_object().unwrap();
    let mut routes = 0;
    for file in ["api/mod.rs", "health.rs"] {
        let text = std::fs::read_to_string(format!("{}/src/web/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for part in text.split(".route(\"").skip(1) {
            let path = part.split('"').next().unwrap();
            for method in ["get", "post"].into_iter().filter(|m| part.contains(&format!("{m}("))) {
                routes += 1;
                let item = documented.get(path);
                assert!(item.is_some_and(|item| item.get(method).is_some()), "{method} {path}");
            }
        }
    }
    let operations: usize = documented.values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(operations, routes, "the document has routes that are not there");
    // Every operation tells what it does, and every reference leads somewhere.
    for (path, item) in documented {
        for operation in item.as_object().unwrap().values() {
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
    let server = Server::new();
    assert_eq!(server.fetch("/api/openapi.json"), document);
    // The documentation has a row for each.
    let docs = std::fs::read_to_string(format!("{}/docs/api.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for (path, item) in documented {
        for method in item.as_object().unwrap().keys() {
            let row = format!("| `{} {path}` |", method.to_uppercase());
            assert!(docs.contains(&row), "docs/api.md has no row {row}");
        }
    }
    assert_eq!(
        docs.matches("\n| `").count(),
        operations,
        "docs/api.md has rows of routes that are not there"
    );
}

#[test]
fn metrics_have_prometheus_names_and_bounded_labels() {
    let (server, _) = busy();
    server.get("/api/v1/batches/nobody");
    let answer = server.get("/metrics");
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "tidegate_batches{status=\"COMPLETE\"} 2",
        "tidegate_batches{status=\"PLAN_COMPLETE\"} 1",
        "tidegate_queue_depth{source=\"beta\"} 2",
        "tidegate_entities_total{action=\"created\"} 4",
        "tidegate_relationships_total{action=\"created\"} 1",
        "tidegate_batch_errors_total{code=\"BATCH_SIZE_MISMATCH\"} 1",
        "tidegate_publish_duration_seconds_count 2",
        "tidegate_http_problems_total{code=\"USAGE\"} 1",
        "tidegate_inbox_looks_total{kind=\"poll\"} 0",
        "tidegate_inbox_listings_total{kind=\"rescan\"} 0",
        "tidegate_inbox_look_seconds_total{kind=\"notified\"} 0.0",
        &format!("tidegate_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(
        text.contains("tidegate_store_bytes ")
            && text.contains("tidegate_catalogue_bytes{target=\"catalogue\"}")
    );
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.starts_with("tidegate_") && name.chars().all(fits), "{line}");
    }
    // A path that is no route has no label of its own.
    server.get("/api/v1/batches/x1");
    server.get("/nothing/here");
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(
        text.contains("route=\"/api/v1/batches/{batch_id}\"") && !text.contains("/nothing/here"),
        "{text}"
    );
}

#[test]
fn health_tells_why_the_work_is_not_done() {
    let server = Server::new();
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.fetch("/readyz"), json!({"ready": true, "reasons": [], "degraded": []}));
    server.engine.stop();
    let answer = server.get("/readyz");
    assert_eq!((answer.status, answer.json()["ready"].as_bool()), (503, Some(false)));
    assert_eq!(server.get("/livez").status, 200);
}
