//! What is told of a failure: what was sent, what was answered, at which
//! operation, and what led to it. The target is a real HTTP server with
//! scripted faults.

mod support;

use std::time::Duration;

use support::batches::{TestBatch, entity, says};
use support::target_server::{Fault, TargetServer};
use support::world::World;
use tidegate::clock::Clock;
use tidegate::config::{HttpSettings, Secret, TargetKind, TargetSettings};
use tidegate::domain::ids::SourceId;
use tidegate::domain::isolation::IsolationLimit;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::default_target;
use tidegate::error::{Error, ErrorKind};
use tidegate::service::views::DeadLetterDetail;
use tidegate::store::LetterKind;

const TOKEN: &str = "t0p-s3cret";

/// A world that publishes to a server, with a token, and gives up soon.
fn world(server: &TargetServer) -> World {
    let mut http = HttpSettings::new(server.url());
    http.timeout = Duration::from_millis(300);
    http.request_limit = Duration::ZERO;
    World::with(|settings| {
        let token = settings.data.join("target.token");
        std::fs::write(&token, TOKEN).unwrap();
        http.token = Some(Secret::File(token));
        let target = TargetSettings { kind: TargetKind::Http(http), ..TargetSettings::http(server.url()) };
        settings.targets = [(default_target(), target)].into();
        settings.retry.attempts = 2;
    })
}

/// A batch of six entities, so of two operations.
fn batch(time: u32) -> TestBatch {
    let names = ["a", "b", "c", "d", "e", "f"];
    TestBatch::full("alpha", time).with(names.map(|name| says(entity(name), i64::from(time))))
}

/// The dead letters of a kind, with all that is known of them.
fn letters(world: &World, kind: LetterKind) -> Vec<DeadLetterDetail> {
    let letters = world.engine().store().read(|view| view.dead_letters()).unwrap();
    let of_kind = letters.into_iter().filter(|letter| letter.kind == kind);
    of_kind.map(|letter| world.engine().letter(letter.id).unwrap()).collect()
}

#[test]
fn the_letter_of_a_batch_has_the_request_and_the_answer_of_its_last_failure() {
    const SAID: &str = r#"{"error":{"message":"the index is read only","node":"n-7"}}"#;
    for (status, code) in [
        ("500 Internal Server Error", "TARGET_FAILED"),
        ("429 Too Many Requests", "TARGET_THROTTLED"),
        ("409 Conflict", "TARGET_INTERRUPTED"),
    ] {
        let server = TargetServer::start();
        let world = world(&server);
        let id = world.deliver(&batch(1)).unwrap();
        server.poison(["a"], Fault::Say(status, SAID));
        let record = world.end_of(&id);
        assert_eq!(record.status, PublishStatus::Failed, "{status}");
        world.engine().keep_pins().unwrap();
        let letters = letters(&world, LetterKind::Batch);
        let [letter] = &letters[..] else { panic!("{status}: {letters:?}") };
        assert_eq!(letter.letter.code, code);
        assert_eq!(letter.diagnostics.answer.as_deref(), Some(SAID), "{status}");
        let request = letter.diagnostics.request.as_deref().unwrap();
        assert!(!request.contains(TOKEN) && !request.to_lowercase().contains("authorization"), "{request}");
        let (head, body) = request.split_once("\n\n").unwrap();
        let plan = record.plan_id.unwrap();
        let expected = format!("POST operations\ncontent-type: application/json\nidempotency-key: {plan}.0");
        assert_eq!(head, expected);
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["changes"].as_array().unwrap().len(), 3);
        assert_eq!(body["changes"][0]["set"]["x"], 1);
        // Its data is a copy that nobody takes away.
        let files = letter.files.as_deref().unwrap();
        let folder = url::Url::parse(files).unwrap().to_file_path().unwrap();
        assert!(files.contains("/state/alpha/pins/") && folder.join("manifest.json").exists(), "{files}");
        // How it was tried before is told with it.
        let [retried] = &letter.retries[..] else { panic!("{:?}", letter.retries) };
        assert!(retried.at < letter.letter.opened_at, "{retried:?}");
        assert!(retried.message.contains(&format!("it answered {status}")), "{retried:?}");
        // None of the values is in what others are told.
        let told = serde_json::to_string(&letter.letter).unwrap();
        assert!(!told.contains("n-7"), "{told}");
    }
}

#[test]
fn the_letter_of_a_refused_entity_has_its_request_and_its_own_answer() {
    for (bulk, part) in [(false, ""), (true, ".1+1")] {
        let server = TargetServer::start();
        let world = world(&server);
        server.reject(["b"], bulk);
        let record = world.publish(&batch(1));
        assert_eq!(record.status, PublishStatus::Complete);
        let letters = letters(&world, LetterKind::Entity);
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        let known = &letter.diagnostics;
        let request = known.request.as_deref().unwrap();
        assert!(!request.contains(TOKEN), "{request}");
        let mut parts = request.split("\n\n");
        let (head, body, rest) = (parts.next().unwrap(), parts.next().unwrap(), parts.next());
        let key = format!("idempotency-key: {}.0{part}", record.plan_id.unwrap());
        assert!(head.starts_with("POST operations\n") && head.ends_with(&key), "{head}");
        // The server had it exactly so.
        let keys: Vec<String> = server.requests("operations").into_iter().map(|r| r.key).collect();
        assert!(keys.iter().any(|of| key.ends_with(of)), "{key} {keys:?}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["changes"][0]["key"]["qualified_name"], "b");
        assert_eq!(body["changes"].as_array().unwrap().len(), 1);
        let answer: serde_json::Value = serde_json::from_str(known.answer.as_deref().unwrap()).unwrap();
        match bulk {
            false => {
                assert_eq!(rest, Some("One of the 3 changes of the request: the others are left out."));
                let expected = serde_json::json!({"status": "rejected", "reason": "the name is not allowed"});
                assert_eq!(answer, expected);
                assert_eq!(known.causes, ["the name is not allowed"]);
            }
            true => {
                assert_eq!(rest, None);
                assert_eq!(answer["detail"], "something in it is bad");
                assert_eq!(known.causes.len(), 1);
                assert!(known.causes[0].ends_with("422 Unprocessable Entity: something in it is bad"));
            }
        }
    }
}

#[test]
fn a_batch_past_its_limit_has_an_answer_that_stands_for_all() {
    let server = TargetServer::start();
    let mut world = world(&server);
    let alpha = world.settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap();
    alpha.isolation = IsolationLimit { count: 1, ratio: 0.0, ..IsolationLimit::default() };
    world.restart();
    server.reject(["a", "b", "c"], false);
    let id = world.deliver(&batch(1)).unwrap();
    let record = world.end_of(&id);
    assert_eq!(record.failure.unwrap().error_code, "BATCH_REFUSED");
    let letters = letters(&world, LetterKind::Batch);
    let answer = letters[0].diagnostics.answer.as_deref().unwrap();
    assert!(answer.contains("the name is not allowed"), "{answer}");
}

#[test]
fn a_refusal_of_the_embedded_catalogue_has_its_operation() {
    let world = World::new();
    world.faults.refuse([entity("b")]);
    let record = world.publish(&batch(1));
    let letters = letters(&world, LetterKind::Entity);
    let request = letters[0].diagnostics.request.as_deref().unwrap();
    assert!(request.starts_with(&format!("operation {}.0\n", record.plan_id.unwrap())), "{request}");
    assert!(request.contains(r#""qualified_name":"b""#), "{request}");
}

#[test]
fn a_failure_names_its_operation_and_leads_down_to_the_status_and_the_words_of_the_target() {
    let said = r#"{"detail":"the index is read only"}"#;
    for (fault, lines) in [
        (
            Fault::Say("500 Internal Server Error", said),
            vec!["POST operations was answered 500 Internal Server Error", "it said: the index is read only"],
        ),
        (
            Fault::Answer("429 Too Many Requests\r\nretry-after: 5"),
            vec!["POST operations was answered 429 Too Many Requests"],
        ),
        (
            Fault::Say("401 Unauthorized", "who are you"),
            vec!["POST operations was answered 401 Unauthorized", "it said: who are you"],
        ),
        (Fault::Answer("404 Not Found"), vec!["POST operations was answered 404 Not Found"]),
        (Fault::Rubbish, vec!["POST operations was answered 200 OK", "it said: <html>proxy</html>"]),
        (Fault::ShortAnswer, vec!["it answered for 2 of 3 changes"]),
    ] {
        let server = TargetServer::start();
        let world = world(&server);
        server.takes(Duration::ZERO);
        server.script_after(1, std::iter::repeat_n(fault.clone(), 9));
        let id = world.deliver(&batch(1)).unwrap();
        world.work();
        let failure = world.batch(&id).failure.unwrap();
        let operation = failure.failed_operation.as_deref();
        assert_eq!(operation, Some("operation 2 of 2: create 3 entities"), "{fault:?}");
        let trace = failure.stack_trace.expect("a chain of causes");
        let found: Vec<&str> = trace.lines().collect();
        assert_eq!(found, lines, "{fault:?}");
        // A value may be in what the target said, and only there.
        assert!(!failure.error_message.contains("read only"), "{}", failure.error_message);
        assert!(!failure.error_message.contains("Nothing"), "{}", failure.error_message);
    }
    // No answer came: there the chain has been.
    let server = TargetServer::start();
    let world = world(&server);
    let id = world.deliver(&batch(1)).unwrap();
    server.down();
    world.work();
    let failure = world.batch(&id).failure.unwrap();
    assert!(failure.error_message.starts_with(&format!("batch {id}, target catalogue: ")), "{failure:?}");
    let trace = failure.stack_trace.unwrap();
    assert!(trace.to_lowercase().contains("connection refused"), "{trace}");
}

#[test]
fn a_request_that_a_journal_remembers_is_told_after_a_restart() {
    let server = TargetServer::start();
    let mut world = world(&server);
    server.reject(["b"], false);
    world.faults.before(|operation| match operation.no.0 {
        0 => Ok(()),
        _ => Err(Error::new(ErrorKind::Interrupted, "the process ends")),
    });
    let id = world.deliver(&batch(1)).unwrap();
    for _ in 0..3 {
        world.advance("alpha");
    }
    assert_eq!(world.batch(&id).status, PublishStatus::Executing);
    assert_eq!(server.requests("operations").len(), 1);
    let at = world.clock.now();
    world.faults.heal();
    world.clock.advance(Duration::from_secs(3600));
    world.restart();
    let record = world.end_of(&id);
    assert_eq!(record.status, PublishStatus::Complete);
    let letters = letters(&world, LetterKind::Entity);
    let request = letters[0].diagnostics.request.as_deref().unwrap();
    assert!(request.contains(&format!("idempotency-key: {}.0\n", record.plan_id.unwrap())), "{request}");
    assert!(request.contains(&format!("\"at\":\"{at}\"")), "{at} {request}");
}
