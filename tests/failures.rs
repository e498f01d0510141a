//! When a target fails: what is tried again and when, who waits for whom, and
//! that nothing is lost, done twice or left behind. The target is a real HTTP
//! server with scripted faults.

mod support;

use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use support::batches::{TestBatch, edge, entity, says};
use support::target_server::{Fault, TargetServer};
use support::world::World;
use tidegate::clock::Clock;
use tidegate::config::{Secret, TargetKind};
use tidegate::domain::ids::{BatchId, SourceId, TargetName};
use tidegate::domain::maintenance::Window;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::default_target;
use tidegate::error::{Error, ErrorKind};
use tidegate::service::issues::Declared;
use tidegate::service::views::WaitCode;
use tidegate::store::{BreakerRecord, RetryWait};

/// A world that publishes to a server.
fn world(server: &TargetServer) -> World {
    World::on(server, Duration::from_millis(300), |_| {})
}

/// A batch of six entities, so of two operations.
fn batch(source: &str, time: u32) -> TestBatch {
    let names = ["a", "b", "c", "d", "e", "f"].map(|name| format!("{source}.{name}"));
    TestBatch::full(source, time).with(names.map(|name| says(entity(&name), i64::from(time))))
}

/// What a server holds after this batch alone.
fn expected(batches: &[&TestBatch]) -> Vec<(String, String)> {
    let server = TargetServer::start();
    let world = world(&server);
    for batch in batches {
        assert_eq!(world.publish(batch).status, PublishStatus::Complete);
    }
    held(&server)
}

fn held(server: &TargetServer) -> Vec<(String, String)> {
    server
        .held()
        .into_iter()
        .map(|(key, value)| (key, serde_json::Value::Object(value).to_string()))
        .collect()
}

fn breaker(world: &World) -> Option<BreakerRecord> {
    world.engine().store().read(|view| view.breaker(&default_target())).unwrap()
}

fn wait(world: &World, id: &BatchId) -> Option<WaitCode> {
    world.engine().batch_view(id).unwrap().waits.map(|waits| waits.code)
}

/// Has time pass until nothing is to be done any more.
fn drain(world: &World) {
    for _ in 0..2000 {
        world.work();
        let unfinished = world.engine().store().read(|view| view.sources_with_unfinished()).unwrap();
        if unfinished.is_empty() {
            return;
        }
        world.clock.advance(Duration::from_secs(1));
    }
    panic!("it does not drain");
}

#[test]
fn a_batch_is_published_over_http_with_its_updates_and_deletions() {
    let server = TargetServer::start();
    let world = world(&server);
    world.publish(&batch("alpha", 1));
    let second = TestBatch::full("alpha", 2).with([says(entity("alpha.a"), 7), says(entity("alpha.b"), 1)]);
    let record = world.publish(&second);
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
    let metrics = record.metrics.unwrap();
    assert_eq!((metrics.entities_updated, metrics.entities_deleted), (1, 4));
    assert_eq!(held(&server), expected(&[&second]));
    let keys: Vec<String> = server.requests("operations").into_iter().map(|r| r.key).collect();
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len());
}

#[test]
#[ignore = "takes half a minute: run by .ci/run"]
fn after_every_fault_the_target_ends_with_what_an_undisturbed_one_holds() {
    let (first, second) = (batch("alpha", 1), batch("alpha", 2));
    let expected = expected(&[&first, &second]);
    for fault in [
        Fault::Answer("429 Too Many Requests\r\nretry-after: 20"),
        Fault::Answer("429 Too Many Requests"),
        Fault::Answer("503 Service Unavailable"),
        Fault::Answer("503 Service Unavailable\r\nretry-after: 3"),
        Fault::Answer("500 Internal Server Error"),
        Fault::Answer("502 Bad Gateway"),
        Fault::Answer("401 Unauthorized"),
        Fault::Answer("404 Not Found"),
        Fault::Answer("302 Found\r\nlocation: http://127.0.0.1:1/"),
        Fault::Hang,
        Fault::HangAfter,
        Fault::Die,
        Fault::DieAfter,
        Fault::AnswerHalf,
        Fault::ShortAnswer,
        Fault::Rubbish,
    ] {
        // As often as quick tries do not mend it, in the first operation and
        // in the second one.
        for healthy in [0, 1] {
            let server = TargetServer::start();
            let mut world = world(&server);
            world.publish(&first);
            let id = world.deliver(&second).unwrap();
            world.advance("alpha");
            world.advance("alpha");
            let faults = std::iter::repeat_n(fault.clone(), 5);
            match healthy {
                0 => server.script(faults),
                _ => {
                    server.takes(Duration::ZERO);
                    server.script_after(1, faults);
                }
            }
            world.work();
            assert_eq!(world.batch(&id).status, PublishStatus::Retrying, "{fault:?} {healthy}");
            world.restart();
            drain(&world);
            let record = world.batch(&id);
            assert_eq!(record.status, PublishStatus::Complete, "{fault:?}: {:?}", record.failure);
            assert_eq!(held(&server), expected, "{fault:?} {healthy}");
            // What nobody knew of was sent whole.
            let metrics = record.metrics.unwrap();
            assert_eq!(metrics.entities_updated + metrics.entities_created, 6, "{fault:?} {healthy}");
            assert_eq!(world.dead_letters("alpha"), [], "{fault:?}");
        }
    }
}

#[test]
fn quick_tries_mend_what_passes_at_once_and_nobody_learns_of_it() {
    let server = TargetServer::start();
    let world = world(&server);
    server.script([Fault::Die, Fault::Answer("500 Internal Server Error"), Fault::Rubbish]);
    let record = world.publish(&batch("alpha", 1));
    assert_eq!((record.status, record.attempts), (PublishStatus::Complete, 0));
    assert_eq!(server.requests("operations").len(), 3 + 2);
    assert_eq!(held(&server), expected(&[&batch("alpha", 1)]));
}

#[test]
fn who_asks_to_be_left_alone_is_left_alone_for_so_long_and_the_worker_is_let_go() {
    // Both forms of the header; the clock of a world begins at midnight.
    for answer in [
        "429 Too Many Requests\r\nretry-after: 90",
        "429 Too Many Requests\r\nretry-after: Tue, 24 Nov 2026 00:01:30 GMT",
    ] {
        let server = TargetServer::start();
        let mut world = world(&server);
        server.script([Fault::Answer(answer)]);
        let record = world.publish(&batch("alpha", 1));
        assert_eq!(record.status, PublishStatus::Retrying);
        assert_eq!(record.failure.as_ref().unwrap().error_code, "TARGET_THROTTLED");
        assert_eq!(record.retry.as_ref().unwrap().wait, RetryWait::Backoff);
        let left = record.next_attempt.unwrap().duration_since(world.clock.now());
        assert!((88..=95).contains(&left.as_secs()), "{left}");
        assert_eq!(wait(&world, &record.batch_id), Some(WaitCode::Retry));
        // Others go on, and a restart changes nothing.
        assert_eq!(world.publish(&batch("beta", 1)).status, PublishStatus::Complete);
        world.restart();
        assert_eq!(world.batch(&record.batch_id), record);
        world.clock.advance(Duration::from_secs(80));
        world.work();
        assert_eq!(world.batch(&record.batch_id).status, PublishStatus::Retrying);
        world.clock.advance(Duration::from_secs(20));
        world.work();
        assert_eq!(world.batch(&record.batch_id).status, PublishStatus::Complete);
    }
}

#[test]
fn a_budget_that_is_spent_fails_the_batch_with_the_code_of_the_last_failure() {
    let server = TargetServer::start();
    let mut world = world(&server);
    world.set(|settings| settings.retry.attempts = 3);
    server.always_at_work(Fault::Answer("500 Internal Server Error"));
    // Identity is asked for when it is planned.
    let id = world.deliver(&batch("alpha", 1)).unwrap();
    let mut seen = Vec::new();
    for _ in 0..100 {
        world.work();
        let record = world.batch(&id);
        if record.status == PublishStatus::Failed {
            break;
        }
        if seen.last() != Some(&record.attempts) {
            seen.push(record.attempts);
        }
        world.clock.advance(Duration::from_secs(1));
    }
    let failure = world.batch(&id).failure.unwrap();
    assert_eq!(seen, [1, 2]);
    assert_eq!((failure.error_code.as_str(), failure.retry_count), ("TARGET_FAILED", 2));
    // The source goes on.
    server.heal();
    assert_eq!(world.publish(&batch("alpha", 2)).status, PublishStatus::Complete);
}

#[test]
fn while_the_target_is_down_nobody_spends_a_budget_and_all_drains_when_it_returns() {
    let server = TargetServer::start();
    let mut world = world(&server);
    world.publish(&batch("alpha", 1));
    server.down();
    let ids: Vec<BatchId> =
        ["alpha", "beta", "gamma"].map(|source| world.deliver(&batch(source, 2)).unwrap()).into();
    server.forget_requests();
    for hour in 0..3 {
        world.work();
        world.restart();
        world.work();
        let breaker = breaker(&world).unwrap();
        assert!(breaker.is_open() && !breaker.half_open, "{hour}");
        assert_eq!(breaker.code, "TARGET_UNAVAILABLE", "{breaker:?}");
        for id in &ids {
            let record = world.batch(id);
            assert_eq!((record.attempts, wait(&world, id)), (0, Some(WaitCode::TargetDown)), "{id}");
        }
        world.clock.advance(Duration::from_secs(3600));
    }
    assert!(!world.engine().not_ready().is_empty());
    server.heal();
    world.work();
    for id in &ids {
        assert_eq!(world.batch(id).status, PublishStatus::Complete);
    }
    assert!(breaker(&world).unwrap().closed_at.is_some());
    assert_eq!(world.engine().not_ready(), Vec::<String>::new());
}

#[test]
fn a_target_that_fails_at_probes_too_is_down_whatever_its_failure_is() {
    for fault in [Fault::Die, Fault::Answer("500 Internal Server Error")] {
        let server = TargetServer::start();
        let world = world(&server);
        server.always(fault);
        let id = world.deliver(&batch("alpha", 1)).unwrap();
        for _ in 0..100 {
            world.work();
            world.clock.advance(Duration::from_secs(60));
        }
        assert_eq!((world.batch(&id).attempts, wait(&world, &id)), (0, Some(WaitCode::TargetDown)));
        server.heal();
        drain(&world);
        assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    }
}

#[test]
fn a_target_that_hangs_is_down_and_one_probe_at_a_time_is_sent() {
    let server = TargetServer::start();
    let world = world(&server);
    server.always(Fault::Hang);
    let id = world.deliver(&batch("alpha", 1)).unwrap();
    world.work();
    assert_eq!(breaker(&world).unwrap().code, "TARGET_TIMEOUT");
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(30));
        world.work();
    }
    assert_eq!(server.requests("health").len(), 5);
    assert_eq!(server.requests("operations").len(), 0);
    server.heal();
    drain(&world);
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

#[test]
fn a_target_that_answers_probes_and_fails_at_work_is_tried_with_one_batch_at_a_time() {
    let server = TargetServer::start();
    let world = world(&server);
    for source in ["alpha", "beta", "gamma"] {
        world.deliver(&batch(source, 1)).unwrap();
    }
    server.script(std::iter::repeat_n(Fault::Hang, 4));
    world.work();
    for round in 2..5 {
        let before = server.requests("operations").len();
        world.clock.advance(Duration::from_secs(60));
        world.work();
        // One more attempt, whoever's.
        assert_eq!(server.requests("operations").len(), before + 1, "{round}");
        assert!(breaker(&world).unwrap().is_open());
    }
    drain(&world);
    assert!(!breaker(&world).unwrap().is_open());
}

#[test]
fn a_maintenance_window_has_batches_wait_and_stops_what_is_executed_between_two_requests() {
    let server = TargetServer::start();
    let mut world = world(&server);
    // The clock stands at midnight; the window begins in an hour.
    let window =
        Window { cron: "0 1 * * *".into(), duration: Duration::from_secs(7200), time_zone: "UTC".into() };
    let name = default_target();
    world.set(|settings| settings.targets.get_mut(&name).unwrap().maintenance = vec![window]);
    let running = world.deliver(&batch("alpha", 1)).unwrap();
    world.advance("alpha");
    world.advance("alpha");
    let clock = std::sync::Arc::clone(&world.clock);
    world.faults.before(move |operation| {
        if operation.no.0 == 0 {
            clock.advance(Duration::from_secs(3600));
        }
        Ok(())
    });
    world.work();
    let record = world.batch(&running);
    assert_eq!(record.status, PublishStatus::Retrying);
    assert_eq!(record.failure.as_ref().unwrap().error_code, "MAINTENANCE_WINDOW");
    assert_eq!((record.attempts, record.retry.as_ref().unwrap().tier()), (0, 3));
    let completion = record.completion.unwrap();
    assert_eq!((completion.done, completion.total), (3, 6));
    assert_eq!(held(&server).len(), 3);
    world.faults.heal();
    let waiting = world.deliver(&batch("beta", 1)).unwrap();
    world.restart();
    world.work();
    assert_eq!(wait(&world, &waiting), Some(WaitCode::Window));
    let until = world.engine().batch_view(&waiting).unwrap().waits.unwrap().until.unwrap();
    assert_eq!(until.to_string(), "2026-11-24T03:00:00Z");
    let told = world.timeline(&waiting);
    let told_so = "tidegate: it waits: a maintenance window is open until 2026-11-24 03:00:00 UTC";
    assert_eq!(told.iter().filter(|line| *line == told_so).count(), 1, "{told:?}");
    world.clock.advance(Duration::from_secs(7200));
    world.work();
    for id in [&running, &waiting] {
        assert_eq!(world.batch(id).status, PublishStatus::Complete);
    }
    assert_eq!(world.batch(&running).metrics.unwrap().entities_created, 6);
}

#[test]
fn batches_wait_for_a_known_issue_until_it_is_lifted_or_over() {
    let server = TargetServer::start();
    let mut world = world(&server);
    let source = SourceId::new("alpha").unwrap();
    let declared =
        Declared { source: Some(source.clone()), note: "the team rebuilds it".into(), ..Declared::default() };
    let issue = world.engine().declare_issue(declared, "ann").unwrap();
    let id = world.deliver(&batch("alpha", 1)).unwrap();
    assert_eq!(world.publish(&batch("beta", 1)).status, PublishStatus::Complete);
    world.restart();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Pending);
    let waits = world.engine().batch_view(&id).unwrap().waits.unwrap();
    assert_eq!((waits.code, waits.until), (WaitCode::KnownIssue, None));
    assert!(waits.text.contains("the team rebuilds it"), "{}", waits.text);
    world.work();
    world.restart();
    world.work();
    let told = world.timeline(&id);
    let told_so = "tidegate: it waits: known issue 1: the team rebuilds it, until an operator lifts it";
    assert_eq!(told.iter().filter(|line| *line == told_so).count(), 1, "{told:?}");
    world.engine().lift_issue(issue.id, "ann", "done").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    let again = world.engine().lift_issue(issue.id, "bob", "done").unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    assert!(again.message().contains("ann"), "{again}");

    // One that ends by itself, of a code: only what fails with it waits.
    let until = world.clock.now() + SignedDuration::from_hours(5);
    let declared = Declared {
        code: Some("TARGET_FAILED".into()),
        note: "a defect of the catalogue".into(),
        until: Some(until),
        ..Declared::default()
    };
    world.engine().declare_issue(declared, "ann").unwrap();
    server.always_at_work(Fault::Answer("500 Internal Server Error"));
    let record = world.publish(&batch("alpha", 2));
    assert_eq!((record.status, record.attempts), (PublishStatus::Retrying, 0));
    assert!(matches!(record.retry.unwrap().wait, RetryWait::KnownIssue(2)));
    assert_eq!(wait(&world, &record.batch_id), Some(WaitCode::KnownIssue));
    server.heal();
    world.work();
    assert_eq!(world.batch(&record.batch_id).status, PublishStatus::Retrying);
    world.clock.advance(Duration::from_secs(5 * 3600));
    world.work();
    assert_eq!(world.batch(&record.batch_id).status, PublishStatus::Complete);
}

#[test]
fn a_known_issue_about_everything_or_nothing_is_refused() {
    let server = TargetServer::start();
    let world = world(&server);
    let now = world.clock.now();
    let of_alpha =
        Declared { source: Some(SourceId::new("alpha").unwrap()), note: "x".into(), ..Declared::default() };
    for (declared, text) in [
        (Declared { note: "x".into(), ..Declared::default() }, "everything would wait"),
        (Declared { note: " ".into(), ..of_alpha.clone() }, "needs a note"),
        (Declared { code: Some("NO_SUCH".into()), ..of_alpha.clone() }, "no error code NO_SUCH"),
        (Declared { code: Some("ENTITY_REJECTED".into()), ..of_alpha.clone() }, "is not tried again"),
        (Declared { source: Some(SourceId::new("x").unwrap()), ..of_alpha.clone() }, "no source x"),
        (Declared { until: Some(now), ..of_alpha.clone() }, "over already"),
        (Declared { target: Some(TargetName::new("x").unwrap()), ..of_alpha.clone() }, "no target x"),
    ] {
        let error = world.engine().declare_issue(declared, "ann").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains(text), "{error}");
    }
    assert_eq!(world.engine().lift_issue(9, "ann", "x").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn what_a_request_without_an_answer_touches_is_left_alone_while_it_may_take_effect() {
    let server = TargetServer::start();
    let mut world = world(&server);
    world.set(|settings| {
        let target = settings.targets.get_mut(&default_target()).unwrap();
        let TargetKind::Http(http) = &mut target.kind else { unreachable!() };
        http.request_limit = Duration::from_secs(120);
        settings.sources.get_mut(&SourceId::new("beta").unwrap()).unwrap().precedence = 1;
    });
    world.publish(&batch("alpha", 1));
    // It takes effect long after it was given up.
    server.script([Fault::Late(Duration::from_secs(1))]);
    let late = world.deliver(&batch("alpha", 2)).unwrap();
    world.work();
    let record = world.batch(&late);
    assert_eq!(record.status, PublishStatus::Retrying);
    let left = record.next_attempt.unwrap().duration_since(world.clock.now());
    assert_eq!(left.as_secs(), 120);
    // Another source that asserts the same key does not overtake it either.
    let same = TestBatch::incremental("beta", 3).with([says(entity("alpha.a"), 9)]);
    let same = world.deliver(&same).unwrap();
    world.clock.advance(Duration::from_secs(60));
    world.work();
    assert!(!world.batch(&same).status.is_final());
    // It arrives after all.
    server.wait_for_value("alpha.a", 2);
    world.clock.advance(Duration::from_secs(61));
    drain(&world);
    for id in [&late, &same] {
        assert_eq!(world.batch(id).status, PublishStatus::Complete);
    }
    let mut undisturbed = expected(&[&batch("alpha", 1), &batch("alpha", 2)]);
    for (key, value) in &mut undisturbed {
        if key.contains("alpha.a") {
            *value = r#"{"x":9}"#.to_owned();
        }
    }
    assert_eq!(held(&server), undisturbed);
}

#[test]
fn another_or_an_emptied_target_holds_the_source() {
    let server = TargetServer::start();
    let world = world(&server);
    world.publish(&batch("alpha", 1));
    server.replace();
    let id = world.deliver(&batch("alpha", 2)).unwrap();
    assert_eq!(world.engine().run_until_idle().unwrap_err().kind(), ErrorKind::TargetMoved);
    assert_eq!(wait(&world, &id), Some(WaitCode::SourceHeld));
}

/// A world that sends its target the token of a file.
fn with_token(server: &TargetServer, file: &Path) -> World {
    World::on(server, Duration::from_secs(30), |settings| {
        let target = settings.targets.get_mut(&default_target()).unwrap();
        let TargetKind::Http(http) = &mut target.kind else { unreachable!() };
        http.token = Some(Secret::File(file.to_owned()));
    })
}

#[test]
fn the_token_is_sent_and_a_changed_one_is_read_anew() {
    let server = TargetServer::start();
    let folder = support::folder();
    let file = folder.path().join("token");
    std::fs::write(&file, "one\n").unwrap();
    let world = with_token(&server, &file);
    world.publish(&batch("alpha", 1));
    std::fs::write(&file, "two\n").unwrap();
    world.publish(&batch("alpha", 2));
    let sent = server.requests("operations").into_iter().map(|r| r.authorization.unwrap());
    assert_eq!(
        sent.collect::<std::collections::BTreeSet<_>>(),
        ["Bearer one".to_owned(), "Bearer two".into()].into()
    );
    // Without it nothing is sent, and everything waits.
    std::fs::remove_file(&file).unwrap();
    let id = world.deliver(&batch("alpha", 3)).unwrap();
    world.work();
    assert_eq!(breaker(&world).unwrap().code, "TARGET_UNAUTHORIZED");
    std::fs::write(&file, "three\n").unwrap();
    drain(&world);
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

#[test]
fn a_token_that_no_header_can_carry_is_told_with_its_setting_and_everything_waits() {
    let server = TargetServer::start();
    let folder = support::folder();
    let file = folder.path().join("token");
    std::fs::write(&file, "one\ntwo\n").unwrap();
    let world = with_token(&server, &file);
    let id = world.deliver(&batch("alpha", 1)).unwrap();
    world.work();
    let open = breaker(&world).expect("it is taken for a defect");
    assert_eq!(open.code, "TARGET_UNAUTHORIZED");
    assert!(open.message.contains("`token_file`") && open.message.contains("one line"), "{}", open.message);
    assert!(!open.message.contains("two"), "{}", open.message);
    std::fs::write(&file, "three\n").unwrap();
    drain(&world);
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

#[test]
fn parts_that_arrived_before_the_process_ended_are_not_forgotten() {
    let server = TargetServer::start();
    let mut world = world(&server);
    let three = |x: i64, time: u32| {
        TestBatch::full("alpha", time).with(["a", "b", "c"].map(|name| says(entity(name), x)))
    };
    world.publish(&three(1, 1));
    server.reject(["c"], true);
    let id = world.deliver(&three(2, 2)).unwrap();
    // The process ends when a and b have arrived in a part of their own.
    world.faults.before(|operation| match operation.part {
        Some(part) if part.first > 0 => Err(Error::new(ErrorKind::Interrupted, "the process ended")),
        _ => Ok(()),
    });
    world.engine().step().unwrap();
    assert_eq!(world.batch(&id).status, PublishStatus::Executing);
    server.wait_for_value("a", 2);
    // At the next start the target refuses the whole again, and is down then.
    world.faults.before(|operation| match operation.part {
        Some(_) => Err(Error::new(ErrorKind::TargetUnavailable, "it is down")),
        None => Ok(()),
    });
    world.restart();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
    world.engine().cancel(&id, "ann", "another one is on its way").unwrap();
    world.faults.heal();
    server.reject([], true);
    // It says what was published before the batch that was cancelled.
    let last = world.deliver(&three(1, 3)).unwrap();
    drain(&world);
    assert_eq!(world.batch(&last).status, PublishStatus::Complete);
    assert_eq!(held(&server), expected(&[&three(1, 1)]));
}

#[test]
fn bad_entities_are_isolated_over_http_whether_the_target_says_which_or_not() {
    for bulk in [true, false] {
        let server = TargetServer::start();
        let world = world(&server);
        server.reject(["alpha.b", "alpha.e"], bulk);
        let record = world.publish(&batch("alpha", 1));
        assert_eq!(record.status, PublishStatus::Complete);
        assert_eq!(record.failure.as_ref().unwrap().error_code, "PARTIAL");
        let completion = record.completion.unwrap();
        assert_eq!((completion.total, completion.done, completion.failed), (6, 4, 2));
        assert_eq!(record.metrics.unwrap().entities_created, 4);
        assert_eq!(held(&server).len(), 4);
        let letters = world.dead_letters("alpha");
        assert_eq!(letters.len(), 2);
        let said = match bulk {
            true => "it answered 422 Unprocessable Entity: something in it is bad",
            false => "the name is not allowed",
        };
        assert!(letters.iter().all(|letter| letter.message.contains(said)), "{letters:?}");
        assert!(letters.iter().all(|letter| !bulk || letter.pattern.contains("something in it is bad")));
        // Its answer is there in its own words.
        let answers: Vec<_> = letters.iter().map(|letter| letter.diagnostics.answer.as_deref()).collect();
        let answer = match bulk {
            true => r#"{"detail":"something in it is bad"}"#,
            false => r#"{"status":"rejected","reason":"the name is not allowed"}"#,
        };
        assert_eq!(answers, [Some(answer); 2]);
        // The next batch brings them when the target takes them.
        server.reject([], bulk);
        assert_eq!(world.publish(&batch("alpha", 2)).status, PublishStatus::Complete);
        assert_eq!(world.dead_letters("alpha"), []);
        assert_eq!(held(&server), expected(&[&batch("alpha", 2)]));
    }
}

/// A world with the isolation limit that a source has without a setting.
fn limited(server: &TargetServer) -> World {
    let mut world = world(server);
    world.set(|settings| {
        settings.max_changes = Some(100);
        let alpha = settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap();
        alpha.isolation = Default::default();
    });
    world
}

#[test]
fn a_batch_of_which_too_much_is_refused_fails_for_a_reason_of_its_own() {
    let server = TargetServer::start();
    let world = limited(&server);
    let names: Vec<String> = (0..30).map(|n| format!("e{n}")).collect();
    server.reject(names[..20].iter().map(String::as_str), false);
    let record =
        world.publish(&TestBatch::full("alpha", 1).with(names.iter().map(|name| says(entity(name), 1))));
    let failure = record.failure.unwrap();
    assert_eq!((record.status, &failure.error_code[..]), (PublishStatus::Failed, "BATCH_REFUSED"));
    let (source, text) = (record.batch_id.source(), &failure.error_message);
    assert!(text.contains(&format!("tidegate dlq groups --source {source}`")), "{text}");
    assert!(failure.error_message.contains("tidegate dlq groups"), "{failure:?}");
    // What it refused is there, each with the target's words.
    let letters = world.dead_letters("alpha");
    let codes = |code: &str| letters.iter().filter(|letter| letter.code == code).count();
    assert_eq!((codes("BATCH_REFUSED"), codes("ENTITY_REJECTED")), (1, 20));
}

#[test]
fn relationships_that_wait_for_a_bad_entity_are_neither_sent_nor_counted_as_bad() {
    let server = TargetServer::start();
    let world = limited(&server);
    server.reject(["bad"], true);
    let names: Vec<String> = (0..20).map(|n| format!("e{n}")).collect();
    let lines = names.iter().map(|name| says(entity(name), 1)).chain([says(entity("bad"), 1)]);
    let edges = names.iter().map(|name| says(edge("bad", name), 1));
    let record = world.publish(&TestBatch::full("alpha", 1).with(lines.chain(edges)));
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
    let completion = record.completion.unwrap();
    assert_eq!((completion.done, completion.failed, completion.skipped), (20, 1, 20));
    assert_eq!((held(&server).len(), world.dead_letters("alpha").len()), (20, 1));
}

#[test]
fn a_target_that_asks_everyone_to_wait_is_down_and_nobody_spends_a_budget() {
    let server = TargetServer::start();
    let world = world(&server);
    server.always(Fault::Answer("503 Service Unavailable\r\nretry-after: 30"));
    let ids = ["alpha", "beta"].map(|source| world.deliver(&batch(source, 1)).unwrap());
    for _ in 0..200 {
        world.work();
        world.clock.advance(Duration::from_secs(60));
    }
    for id in &ids {
        assert_eq!((world.batch(id).attempts, wait(&world, id)), (0, Some(WaitCode::TargetDown)));
    }
    server.heal();
    drain(&world);
}

#[test]
fn a_long_wait_that_is_not_the_batchs_own_spends_no_budget() {
    let server = TargetServer::start();
    let world = world(&server);
    let hours = |hours: u64| world.clock.advance(Duration::from_secs(hours * 3600));
    // Two failures of its own, an outage of days between them.
    server.script([Fault::Answer("429 Too Many Requests")]);
    let id = world.deliver(&batch("alpha", 1)).unwrap();
    world.work();
    assert_eq!(world.batch(&id).attempts, 1);
    server.down();
    hours(1);
    world.work();
    assert_eq!(wait(&world, &id), Some(WaitCode::TargetDown));
    hours(48);
    server.heal();
    server.script([Fault::Answer("429 Too Many Requests")]);
    world.work();
    let record = world.batch(&id);
    assert_eq!((record.status, record.attempts), (PublishStatus::Retrying, 2), "{:?}", record.failure);
    drain(&world);
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

#[test]
fn a_breaker_closes_at_the_first_answer_or_when_nothing_waits_for_its_target() {
    let server = TargetServer::start();
    let world = world(&server);
    server.down();
    let id = world.deliver(&batch("alpha", 1)).unwrap();
    world.work();
    assert!(breaker(&world).unwrap().is_open());
    // Nobody wants it any more: a probe that goes well is enough.
    world.engine().cancel(&id, "ann", "not needed").unwrap();
    server.heal();
    world.clock.advance(Duration::from_secs(60));
    world.work();
    assert!(!breaker(&world).unwrap().is_open());
    // Within the trial, others go on once the target has answered.
    server.down();
    let long = world.deliver(&batch("alpha", 2)).unwrap();
    let other = world.deliver(&batch("beta", 2)).unwrap();
    world.work();
    server.heal();
    let engine = std::sync::Arc::downgrade(&world.shared());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = std::sync::Arc::clone(&seen);
    world.faults.before(move |operation| {
        let engine = engine.upgrade().unwrap();
        let open = engine.store().read(|view| view.breaker(&default_target())).unwrap().unwrap().is_open();
        told.lock().unwrap().push((operation.no.0, open));
        Ok(())
    });
    world.clock.advance(Duration::from_secs(60));
    world.work();
    assert_eq!(seen.lock().unwrap()[..2], [(0, true), (1, false)]);
    for id in [long, other] {
        assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    }
}

#[test]
fn a_batch_that_is_executed_can_be_cancelled_while_its_target_is_down() {
    let server = TargetServer::start();
    let mut world = world(&server);
    let id = world.deliver(&batch("alpha", 1)).unwrap();
    world.advance("alpha");
    world.advance("alpha");
    assert_eq!(world.batch(&id).status, PublishStatus::Executing);
    server.down();
    let other = world.deliver(&batch("beta", 1)).unwrap();
    while world.advance("beta").is_some() {}
    assert_eq!(wait(&world, &other), Some(WaitCode::TargetDown));
    world.restart();
    world.engine().cancel(&id, "ann", "enough").unwrap();
    world.work();
    assert_eq!(world.batch(&id).failure.unwrap().error_code, "CANCELLED");
}

#[test]
fn questions_that_are_refused_say_that_the_contract_is_not_known() {
    for answer in ["400 Bad Request", "413 Content Too Large", "422 Unprocessable Content"] {
        let server = TargetServer::start();
        let world = world(&server);
        server.always(Fault::Answer(answer));
        let id = world.deliver(&batch("alpha", 1)).unwrap();
        world.work();
        assert_eq!(wait(&world, &id), Some(WaitCode::TargetDown), "{answer}");
        assert_eq!(breaker(&world).unwrap().code, "TARGET_CONTRACT", "{answer}");
        server.heal();
        drain(&world);
    }
}

#[test]
fn a_target_is_asked_once_what_it_is_however_many_sources_it_has() {
    let server = TargetServer::start();
    let world = world(&server);
    for source in ["alpha", "beta", "gamma"] {
        assert_eq!(world.publish(&batch(source, 1)).status, PublishStatus::Complete);
    }
    server.forget_requests();
    let targets = world.engine().targets().unwrap();
    assert_eq!((targets[0].problems.len(), targets[0].sources.len()), (0, 3));
    assert_eq!(server.requests("").len(), 1);
    server.replace();
    let targets = world.engine().targets().unwrap();
    assert_eq!(targets[0].problems.len(), 3, "{targets:?}");
}
