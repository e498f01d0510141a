//! One entity's content that a target can't digest: it does not answer in
//! time, or something before it refuses the request, though it is well.

mod support;

use std::time::Duration;

use support::batches::{TestBatch, edge, entity, says};
use support::target_server::{Fault, TargetServer};
use support::world::World;
use tidegate::clock::Clock;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::default_target;

/// A world that publishes to a server, in requests of 50 changes.
fn world(server: &TargetServer) -> World {
    World::on(server, Duration::from_millis(150), |settings| {
        settings.max_changes = Some(50);
        for source in settings.sources.values_mut() {
            source.isolation = Default::default();
        }
    })
}

/// A batch of so many entities.
fn batch(source: &str, time: u32, count: usize) -> TestBatch {
    let names = (0..count).map(|n| format!("{source}.{n:03}"));
    TestBatch::full(source, time).with(names.map(|name| says(entity(&name), i64::from(time))))
}

fn is_down(world: &World) -> bool {
    let breaker = world.engine().store().read(|view| view.breaker(&default_target())).unwrap();
    breaker.is_some_and(|breaker| breaker.is_open())
}

#[test]
fn content_that_a_target_can_not_digest_becomes_a_dead_letter_and_the_rest_is_published() {
    for (fault, code) in [
        (Fault::Hang, "TARGET_TIMEOUT"),
        (Fault::HangAfter, "TARGET_TIMEOUT"),
        (Fault::Answer("502 Bad Gateway"), "TARGET_TIMEOUT"),
        (Fault::Answer("503 Service Unavailable"), "TARGET_UNAVAILABLE"),
        (Fault::Answer("403 Forbidden"), "TARGET_UNAUTHORIZED"),
        (Fault::Answer("406 Not Acceptable"), "TARGET_CONTRACT"),
        (Fault::Answer("500 Internal Server Error"), "TARGET_FAILED"),
    ] {
        let server = TargetServer::start();
        let mut world = world(&server);
        server.poison(["alpha.017", "alpha.120"], fault.clone());
        let bad = world.deliver(&batch("alpha", 1, 130)).unwrap();
        let record = world.end_of(&bad);
        assert_eq!(record.status, PublishStatus::Complete, "{fault:?}: {:?}", record.failure);
        let completion = record.completion.unwrap();
        assert_eq!((completion.done, completion.failed), (128, 2), "{fault:?}");
        let letters = world.dead_letters("alpha");
        let keys: Vec<_> = letters.iter().map(|letter| letter.key.clone().unwrap()).collect();
        assert_eq!(keys, [entity("alpha.017"), entity("alpha.120")], "{fault:?}");
        assert!(letters.iter().all(|letter| letter.code == code), "{letters:?}");
        assert!(!is_down(&world), "{fault:?}");
        // Three requests until it is suspected, and a few for each until it is alone.
        assert!(server.requests("operations").len() < 130, "{}", server.requests("operations").len());
        // What perhaps took effect is sent whole by whoever comes next.
        server.poison([], Fault::Hang);
        world.restart();
        let good = world.deliver(&batch("alpha", 2, 130)).unwrap();
        assert_eq!(world.end_of(&good).status, PublishStatus::Complete);
        assert_eq!(world.dead_letters("alpha"), []);
        assert_eq!(server.held().len(), 130);
        assert!(server.held().values().all(|value| value["x"] == 2), "{fault:?}");
    }
}

#[test]
fn a_target_that_takes_nothing_though_it_says_that_it_is_well_has_no_bad_entities() {
    let server = TargetServer::start();
    let mut world = world(&server);
    world.set(|settings| settings.retry.attempts = 4);
    let all: Vec<String> = (0..130).map(|n| format!("alpha.{n:03}")).collect();
    server.poison(all.iter().map(String::as_str), Fault::Answer("403 Forbidden"));
    let id = world.deliver(&batch("alpha", 1, 130)).unwrap();
    world.work();
    // The first failures say that it is down, and spend nothing.
    assert!(is_down(&world));
    assert_eq!(world.batch(&id).attempts, 0);
    let record = world.end_of(&id);
    assert_eq!(record.status, PublishStatus::Failed);
    assert_eq!(record.failure.unwrap().error_code, "TARGET_UNAUTHORIZED");
    // One dead letter, of the batch as a whole.
    let letters = world.dead_letters("alpha");
    assert_eq!(letters.iter().map(|letter| letter.key.clone()).collect::<Vec<_>>(), [None]);
    assert!(server.requests("operations").len() < 60, "{}", server.requests("operations").len());
}

/// It is well again while a request is taken apart: what failed alone until
/// then was not at fault, and nor is what waits for it.
#[test]
#[ignore = "takes half a minute: run by .ci/run"]
fn what_failed_before_a_target_took_anything_is_sent_once_more() {
    let edges = || [("alpha.000", "alpha.005"), ("alpha.001", "alpha.006")].map(|(a, b)| says(edge(a, b), 1));
    for failures in (1..25).step_by(6).chain(25..45) {
        let server = TargetServer::start();
        let world = world(&server);
        let id = world.deliver(&batch("alpha", 1, 12).with(edges())).unwrap();
        server.script(std::iter::repeat_n(Fault::Answer("500 Internal Server Error"), failures));
        let record = world.end_of(&id);
        assert_eq!(record.status, PublishStatus::Complete, "{failures}: {:?}", record.failure);
        assert_eq!(world.dead_letters("alpha"), [], "{failures}");
        let completion = record.completion.unwrap();
        assert_eq!((completion.done, completion.failed, completion.skipped), (14, 0, 0), "{failures}");
        assert_eq!(server.held().len(), 14, "{failures}");
    }
}

#[test]
fn a_batch_with_one_change_that_fails_is_told_from_a_target_that_fails_by_what_others_bring() {
    let server = TargetServer::start();
    let world = world(&server);
    server.poison(["alpha.000"], Fault::Hang);
    let bad = world.deliver(&batch("alpha", 1, 1)).unwrap();
    world.work();
    let good = world.deliver(&batch("beta", 1, 3)).unwrap();
    world.clock.advance(Duration::from_secs(60));
    let record = world.end_of(&bad);
    assert_eq!(world.batch(&good).status, PublishStatus::Complete);
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
    assert_eq!(world.dead_letters("alpha")[0].code, "TARGET_TIMEOUT");
}

#[test]
fn more_bad_content_than_the_isolation_limit_allows_fails_the_batch() {
    let server = TargetServer::start();
    let world = world(&server);
    let bad: Vec<String> = (20..40).map(|n| format!("alpha.{n:03}")).collect();
    server.poison(bad.iter().map(String::as_str), Fault::Answer("403 Forbidden"));
    let id = world.deliver(&batch("alpha", 1, 130)).unwrap();
    let record = world.end_of(&id);
    assert_eq!(record.status, PublishStatus::Failed);
    assert!(world.clock.now() < "2026-11-24T01:00:00Z".parse().unwrap());
    // 3 that failed before, and within the limit of 10 at most 60 more.
    assert!(server.requests("operations").len() < 100, "{}", server.requests("operations").len());
}

#[test]
fn two_sources_that_fail_by_their_own_fault_keep_no_third_one_from_its_trial() {
    let server = TargetServer::start();
    let world = world(&server);
    server.poison(["alpha.000", "beta.000"], Fault::Answer("406 Not Acceptable"));
    let [_, _, good] = [("alpha", 1), ("beta", 2), ("gamma", 3)]
        .map(|(source, time)| world.deliver(&batch(source, time, 6)).unwrap());
    // Older batches go first: alpha opens the breaker, beta is the first trial.
    for _ in 0..3 {
        world.work();
        world.clock.advance(Duration::from_secs(60));
    }
    let tried: Vec<String> = server.requests("operations").into_iter().map(|request| request.batch).collect();
    assert_eq!(world.batch(&good).status, PublishStatus::Complete, "{tried:?}");
    // It opened anew for alpha, and the outage before is forgotten.
    let breaker = world.engine().store().read(|view| view.breaker(&default_target())).unwrap();
    let in_vain = breaker.unwrap().in_vain;
    assert_eq!(in_vain.iter().map(|source| source.as_str()).collect::<Vec<_>>(), ["alpha"]);
}
