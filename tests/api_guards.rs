//! What the server keeps out: other hosts, other sites, other bodies, too much
//! of anything. And that whatever comes, the answer is a problem document.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use support::batches::{Line, TestBatch, entity, says};
use support::server::{Server, exchange};
use tidegate::domain::key::{EntityKey, Key};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn only_loopback_names_and_those_that_are_set_are_hosts() {
    let server = Server::with(|settings| settings.server.allowed_hosts = vec!["tidegate.example".into()]);
    let port = server.address.port();
    let get = |host: &str| server.send("GET", "/api/v1/status", &[("Host", host)], b"").status;
    for host in ["localhost", "127.0.0.1", "[::1]", "tidegate.example", &format!("localhost:{port}")] {
        assert_eq!(get(host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "127.0.0.1.evil.example",
        "tidegate.example.evil",
    ] {
        server.send("GET", "/api/v1/status", &[("Host", host)], b"").problem(403, "HOST_REFUSED");
        assert_eq!(
            server.send("POST", "/api/v1/sources/a/pause", &[("Host", host), JSON], b"{}").status,
            403
        );
    }
    let raw = |text: &str| exchange(server.address, text.as_bytes()).status;
    assert_eq!(raw("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n"), 403);
    assert_eq!(
        raw("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        403
    );
    assert_eq!(
        raw("GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        403
    );
}

#[test]
fn a_page_of_another_site_can_not_write() {
    let server = Server::new();
    let id = server.deliver(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    let path = format!("/api/v1/batches/{id}/cancel");
    let body = json!({ "reason": "x" }).to_string();
    let origin = format!("http://{}", server.address);
    for (name, value) in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let answer = server.send("POST", &path, &[JSON, (name, value)], body.as_bytes());
        answer.problem(403, "CROSS_SITE");
    }
    // What a form of any page may send is refused by its type.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let answer = server.send("POST", &path, &[("Content-Type", kind)], body.as_bytes());
        answer.problem(415, "MEDIA_TYPE");
    }
    server.send("POST", &path, &[], body.as_bytes()).problem(415, "MEDIA_TYPE");
    assert_eq!(server.fetch(&format!("/api/v1/batches/{id}"))["publish_state"]["status"], "PENDING");
    let own = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("Origin", &*origin),
        ("Sec-Fetch-Site", "same-origin"),
    ];
    assert_eq!(server.send("POST", &path, &own, body.as_bytes()).status, 200);
}

#[test]
fn bodies_are_checked_and_bounded() {
    let server = Server::new();
    let id = server.deliver(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    let path = format!("/api/v1/batches/{id}/cancel");
    let send = |body: &str| server.send("POST", &path, &[JSON], body.as_bytes());
    for body in ["", "{", "[]", "null", "{}", "{\"reason\":5}", "{\"reason\":\"\"}", "{\"reason\":\"  \"}"] {
        send(body).problem(400, "USAGE");
    }
    send("{\"reason\":\"x\",\"resaon\":\"y\"}").problem(400, "USAGE");
    send(&json!({ "reason": "x".repeat(1001) }).to_string()).problem(400, "USAGE");
    send(&json!({ "reason": "x", "actor": "y".repeat(65) }).to_string()).problem(400, "USAGE");
    // A line of a timeline begins with it.
    send(&json!({ "reason": "x", "actor": "ann\nben" }).to_string()).problem(400, "USAGE");
    send(&json!({ "reason": "x\u{1b}[31m" }).to_string()).problem(400, "USAGE");
    send(&json!({ "reason": "x".repeat(70_000) }).to_string()).problem(413, "BODY_TOO_LARGE");
    // The same without a stated length.
    let chunk = "x".repeat(1000);
    let mut chunked = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    for _ in 0..80 {
        chunked.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    }
    chunked.push_str("0\r\n\r\n");
    exchange(server.address, chunked.as_bytes()).problem(413, "BODY_TOO_LARGE");
    assert_eq!(server.fetch(&format!("/api/v1/batches/{id}"))["publish_state"]["status"], "PENDING");
}

#[test]
fn what_is_not_there_or_not_allowed_is_a_problem_too() {
    let server = Server::new();
    server.get("/nothing").problem(404, "NOT_FOUND");
    server.get("/api/v1/nothing").problem(404, "NOT_FOUND");
    server.get("/api/v1/batches/alpha:20261101T000100Z_r1").problem(404, "NOT_FOUND");
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = server.send(method, "/api/v1/batches", &[], b"");
        answer.problem(405, "METHOD_NOT_ALLOWED");
        assert!(answer.header("allow").contains("GET"), "{:?}", answer.headers);
    }
    server.send("POST", "/api/v1/batches", &[JSON], b"{}").problem(405, "METHOD_NOT_ALLOWED");
    // Headers past the limits end before any handler.
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let answer =
        exchange(server.address, format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").as_bytes());
    assert_eq!(answer.status, 431);
    let long = format!("GET /livez?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(300_000));
    assert!([414, 431].contains(&exchange(server.address, long.as_bytes()).status));
}

#[test]
fn every_answer_has_the_headers_that_keep_browsers_in() {
    let server = Server::new();
    let answers = [
        server.get("/api/v1/status"),
        server.get("/nothing"),
        server.send("GET", "/livez", &[("Host", "x")], b""),
    ];
    for answer in answers {
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(policy.contains("form-action 'self'; base-uri 'none'; frame-ancestors 'none'"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
}

#[test]
fn what_is_malformed_is_told_with_its_parameter_and_what_a_right_one_is_like() {
    let server = Server::new();
    let id = server.deliver(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    let waiting = format!("/api/v1/batches/{id}?wait=soon");
    let time = "2026-11-24T01:00:00Z";
    for (path, parameter, right) in [
        ("/api/v1/dlq/abc", "id", "whole number"),
        ("/api/v1/batches/xxx", "batch_id", "such as warehouse:20261124T010000Z_run-1"),
        ("/api/v1/publish-states/xxx", "batch_id", "such as warehouse:20261124T010000Z_run-1"),
        ("/api/v1/snapshots/z%20z", "snapshot_id", "1 to 63 characters"),
        ("/api/v1/snapshots/a/diff/b%20b", "before", "1 to 63 characters"),
        ("/api/v1/snapshots/a%20a/diff/b", "snapshot_id", "1 to 63 characters"),
        ("/api/v1/sources/a%20b", "source_id", "1 to 63 characters"),
        ("/api/v1/targets/a%20b", "target", "1 to 63 characters"),
        ("/api/v1/plans/a%20b", "plan_id", "1 to 63 characters"),
        ("/api/v1/batches?since=yesterday", "since", time),
        ("/api/v1/batches?until=", "until", time),
        ("/api/v1/dlq?since=2026-11-24", "since", time),
        ("/api/v1/batches?limit=many", "limit", "whole number from 1 to 500"),
        ("/api/v1/batches?limit=-1", "limit", "whole number from 1 to 500"),
        ("/api/v1/batches?limit=501", "limit", "from 1 to 500"),
        ("/api/v1/batches?order=up", "order", "`newest` or `oldest`"),
        ("/api/v1/batches?status=DONE", "status", "COMPLETE"),
        ("/api/v1/batches?source_id=a%20b", "source_id", "1 to 63 characters"),
        ("/api/v1/dlq?batch_id=x", "batch_id", "such as warehouse:20261124T010000Z_run-1"),
        ("/api/v1/dlq?state=lost", "state", "discarded"),
        ("/api/v1/entities?archived=yes", "archived", "true or false"),
        ("/api/v1/entities/t/a?relationships=all", "relationships", "whole number from 0 to 500"),
        ("/api/v1/batches?cursor=zz", "cursor", "next_cursor"),
        ("/api/v1/search?cursor=zz", "cursor", "next_cursor"),
        ("/api/v1/batches?sorce_id=a", "sorce_id", "source_id"),
        (&waiting, "wait", "duration such as"),
    ] {
        let problem = server.get(path).problem(400, "USAGE");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("`{parameter}`")) && detail.contains(right), "{path}: {detail}");
        assert!(!detail.contains("invalid digit") && !detail.contains("deserialize"), "{path}: {detail}");
    }
    let problem = server.post("/api/v1/known-issues/x/lift", &json!({ "reason": "x" })).problem(400, "USAGE");
    assert!(problem["detail"].as_str().unwrap().contains("`id`"), "{problem}");
}

#[test]
fn queries_and_cursors_of_others_are_refused() {
    let server = Server::new();
    for time in 1..5 {
        server.publish(&TestBatch::full("alpha", time).with([says(entity("a"), i64::from(time))]));
    }
    let cursor = server.fetch("/api/v1/batches?limit=1")["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/api/v1/batches?limit=3&cursor={cursor}")).status, 200);
    for path in [
        "/api/v1/batches?limit=0".to_owned(),
        "/api/v1/batches?limit=501".to_owned(),
        "/api/v1/batches?limit=-1".to_owned(),
        "/api/v1/batches?limit=x".to_owned(),
        "/api/v1/batches?status=complete".to_owned(),
        "/api/v1/batches?since=yesterday".to_owned(),
        "/api/v1/batches?order=random".to_owned(),
        "/api/v1/batches?source_id=../x".to_owned(),
        "/api/v1/batches?sorce_id=alpha".to_owned(),
        "/api/v1/batches?cursor=".to_owned(),
        "/api/v1/batches?cursor=zz".to_owned(),
        format!("/api/v1/batches?status=COMPLETE&cursor={cursor}"),
        format!("/api/v1/batches?order=oldest&cursor={cursor}"),
        format!("/api/v1/publish-states?source_id=alpha&cursor={cursor}"),
        format!("/api/v1/sources?cursor={cursor}"),
        format!("/api/v1/queue?cursor={cursor}"),
        format!("/api/v1/entities?cursor={cursor}"),
        format!("/api/v1/snapshots?cursor={cursor}"),
        format!("/api/v1/inbox?cursor={cursor}"),
        "/api/v1/batches/nonsense".to_owned(),
        "/api/v1/batches/%00".to_owned(),
        "/api/v1/batches/%ff".to_owned(),
        "/api/v1/plans/..%2f..%2fetc".to_owned(),
        "/api/v1/batches/alpha:20261101T000100Z_r1?wait=soon".to_owned(),
    ] {
        server.get(&path).problem(400, "USAGE");
    }
}

#[test]
fn hostile_names_are_carried_as_they_are() {
    let server = Server::new();
    let names = [
        "<script>alert(1)</script>".to_owned(),
        "a/b?c#d&e=f%20g".to_owned(),
        "\u{202e}gpj.exe".to_owned(),
        "' OR 1=1 --".to_owned(),
        "..".to_owned(),
        "x".repeat(10_000),
        "\u{0}\u{1b}[31m\r\nSet-Cookie: a=b".to_owned(),
    ];
    let key = |name: &String| Key::Entity(EntityKey::new("t", name));
    let id = server.publish(&TestBatch::full("alpha", 1).with(names.iter().map(|name| says(key(name), 1))));
    let escape = |name: &str| -> String { name.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let published =
        server.fetch(&format!("/api/v1/batches/{id}"))["publish_state"]["metrics"]["entities_created"]
            .clone();
    let mut found = 0;
    for name in &names {
        let answer = server.get(&format!("/api/v1/entities/t/{}", escape(name)));
        if answer.status == 200 {
            assert_eq!(answer.json()["entity"]["key"]["qualified_name"], **name);
            assert_eq!(server.get(&format!("/api/v1/entities/t/{}/why", escape(name))).status, 200);
            found += 1;
        }
        assert_eq!(answer.header("set-cookie"), "");
    }
    assert_eq!(json!(found), published);
    assert!(found >= 6, "only {found} were published");
    // In parts of one, cursors hold the longest of them.
    assert_eq!(server.all("/api/v1/entities", 1).len(), found);
    assert_eq!(server.all(&format!("/api/v1/batches/{id}/plan"), 1).len(), found);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rubbish_never_ends_in_an_error_of_ours(
        path in prop::sample::select(vec![
            "/api/v1/batches", "/api/v1/publish-states", "/api/v1/sources", "/api/v1/queue", "/api/v1/snapshots",
            "/api/v1/entities", "/api/v1/inbox", "/api/v1/batches/alpha:20261101T000100Z_r1/plan",
        ]),
        name in prop::sample::select(vec!["cursor", "limit", "status", "since", "until", "order", "q", "text", "type", "group"]),
        value in "[ -~äé\u{202e}]{0,40}",
    ) {
        let server = SERVER.with(|server| server.clone());
        let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = server.get(&format!("{path}?{name}={escaped}"));
        prop_assert!([200, 400, 404].contains(&answer.status), "{} {:?}", answer.status, String::from_utf8_lossy(&answer.body));
    }
}

thread_local! {
    static SERVER: std::rc::Rc<Server> = {
        let server = Server::new();
        server.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1), Line::BadKeyed(entity("b"))]));
        std::rc::Rc::new(server)
    };
}

#[test]
fn a_connection_that_sends_rubbish_is_closed_and_harms_no_other() {
    let server = Server::new();
    for rubbish in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(rubbish.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{rubbish:?}: {answer}");
    }
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
fn clients_that_never_end_their_requests_hold_nobody_up() {
    let server = Server::new();
    let slow = [
        "GET / HTTP/1.1\r\nHost: lo",
        "POST /api/v1/batches/alpha:20261101T000100Z_r1/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
        "POST /api/v1/plans HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-tar\r\nContent-Length: 500\r\n\r\n",
    ];
    let open: Vec<TcpStream> = (0..300)
        .map(|n| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(slow[n % slow.len()].as_bytes()).unwrap();
            stream
        })
        .collect();
    server.deliver(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    for path in ["/livez", "/", "/api/v1/batches", "/metrics"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let path = "/api/v1/batches/alpha:20261101T000100Z_r1/cancel";
    assert_eq!(server.send("POST", path, &[JSON], b"{\"reason\":\"x\"}").status, 200);
    drop(open);
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
fn an_unknown_parameter_is_refused_by_every_route_that_is_asked() {
    let server = Server::new();
    let id = server.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    let snapshot = server.fetch("/api/v1/snapshots")["items"][0]["snapshot_id"].as_str().unwrap().to_owned();
    let bad = TestBatch::full("alpha", 2).with([says(entity("a"), 1), Line::BadKeyed(entity("b"))]);
    server.publish(&bad);
    let document = server.fetch("/api/openapi.json");
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        if item.get("get").is_none() || !path.starts_with("/api/") {
            continue;
        }
        let path = path
            .replace("{batch_id}", &id.to_string())
            .replace("{source_id}", "alpha")
            .replace("{snapshot_id}", &snapshot)
            .replace("{before}", &snapshot)
            .replace("{target}", "catalogue")
            .replace("{type}", "t")
            .replace("{name}", "a")
            .replace("{plan_id}", "20261124T120000Z-0123456789abcdef")
            .replace("{id}", "1");
        let problem = server.get(&format!("{path}?bogus=1")).problem(400, "USAGE");
        assert!(problem["detail"].as_str().unwrap().contains("`bogus`"), "{path}: {problem}");
        asked += 1;
    }
    assert!(asked > 30, "{asked}");
}

#[test]
fn a_problem_of_a_body_names_the_field() {
    let server = Server::new();
    let id = server.deliver(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    for (path, body, field) in [
        (format!("/api/v1/batches/{id}/cancel"), json!({ "reason": 5 }), "`reason`"),
        (format!("/api/v1/batches/{id}/cancel"), json!({ "reason": "x", "actor": ["y"] }), "`actor`"),
        (format!("/api/v1/batches/{id}/cancel"), json!({}), "`reason`"),
        (format!("/api/v1/batches/{id}/cancel"), json!({ "reason": "x", "raeson": "y" }), "`raeson`"),
        (
            format!("/api/v1/batches/{id}/approve"),
            json!({ "reason": "x", "plan_digest": 7 }),
            "`plan_digest`",
        ),
        ("/api/v1/dlq/requeue".into(), json!({ "reason": "x", "filter": { "kind": 3 } }), "`filter.kind`"),
        (
            "/api/v1/dlq/requeue".into(),
            json!({ "reason": "x", "filter": { "state": "x" } }),
            "`filter.state`",
        ),
        ("/api/v1/sources/alpha/skip".into(), json!({ "reason": "x", "type": 1, "name": "n" }), "`type`"),
        ("/api/v1/known-issues".into(), json!({ "note": "x", "source_id": {} }), "`source_id`"),
        (
            "/api/v1/known-issues".into(),
            json!({ "note": "x", "source_id": "alpha", "until": "soon" }),
            "`until`",
        ),
    ] {
        let problem = server.post(&path, &body).problem(400, "USAGE");
        assert!(problem["detail"].as_str().unwrap().contains(field), "{path} {body}: {problem}");
    }
}

#[test]
fn an_issue_that_has_every_batch_wait_is_declared_on_purpose() {
    let server = Server::new();
    server.deliver(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    let path = "/api/v1/known-issues";
    let problem = server.post(path, &json!({ "note": "x", "target": "catalogue" })).problem(400, "USAGE");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("the only target") && detail.contains("`everything`"), "{detail}");
    assert_eq!(server.fetch(path)["items"], json!([]));
    // What is about less is not asked.
    for body in [
        json!({ "note": "x", "target": "catalogue", "source_id": "alpha" }),
        json!({ "note": "x", "target": "catalogue", "code": "TARGET_FAILED" }),
        json!({ "note": "x", "target": "catalogue", "everything": true }),
    ] {
        assert_eq!(server.post(path, &body).status, 200, "{body}");
    }
    // The page has a field for it where there is one target.
    let page = server.get("/targets").body;
    assert!(String::from_utf8(page).unwrap().contains("name=\"everything\" data-json"));
    // Nothing about nothing, whatever is set.
    server.post(path, &json!({ "note": "x", "everything": true })).problem(400, "USAGE");
}

#[test]
fn a_body_is_an_object_and_nothing_else() {
    let server = Server::new();
    let batch = server.publish(&TestBatch::full("alpha", 1).with([Line::BadKeyed(entity("a"))]));
    let paths = [
        "/api/v1/sources/alpha/pause".to_owned(),
        "/api/v1/sources/alpha/skip".to_owned(),
        format!("/api/v1/batches/{batch}/approve"),
        format!("/api/v1/batches/{batch}/retry"),
        "/api/v1/dlq/1/check".to_owned(),
        "/api/v1/dlq/1/edit".to_owned(),
        "/api/v1/dlq/discard".to_owned(),
        "/api/v1/known-issues".to_owned(),
    ];
    let bodies = [
        json!([]),
        json!(["arr", "me"]),
        json!("text"),
        json!(5),
        json!(null),
        json!({ "reason": {}, "content": [] }),
        json!({ "reason": "r", "filter": [] }),
        json!({ "reason": "r", "filter": ["alpha"] }),
        json!({ "reason": "r", "filter": { "kind": {} } }),
    ];
    for path in &paths {
        for body in &bodies {
            let problem = server.post(path, body).problem(400, "USAGE");
            let detail = problem["detail"].as_str().unwrap();
            assert!(!detail.contains("struct") && !detail.contains("enum"), "{path} {body}: {detail}");
            if !body.is_object() {
                assert!(detail.contains("the body: ") && detail.contains("expected an object"), "{detail}");
            }
        }
    }
    assert_eq!(server.all("/api/v1/dlq", 5)[0]["state"], "open");
    let source = server.fetch("/api/v1/sources/alpha")["source"].clone();
    assert_ne!(source["state"], "paused");
}
