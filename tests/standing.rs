//! How a batch stands: what it waits for and until when, and what became of
//! its lines and changes, the same in the record, the API, the command line
//! and the pages.

mod support;

use std::time::Duration;

use support::batches::{Line, TestBatch, entity, says};
use support::shell::Shell;
use support::target_server::{Fault, TargetServer};
use support::world::World;
use tidegate::clock::Clock;
use tidegate::domain::ids::SourceId;
use tidegate::domain::maintenance::Window;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::default_target;
use tidegate::service::issues::Declared;
use tidegate::service::skips::Skip;
use tidegate::service::views::{BatchView, WaitCode};

fn world(server: &TargetServer) -> World {
    World::on(server, Duration::from_millis(300), |_| {})
}

fn alpha() -> SourceId {
    SourceId::new("alpha").unwrap()
}

fn batch(time: u32) -> TestBatch {
    TestBatch::full("alpha", time).with(["a", "b"].map(|name| says(entity(name), i64::from(time))))
}

/// A batch that is tried again in an hour, and how it stands.
fn in_backoff(server: &TargetServer) -> (World, BatchView) {
    let world = world(server);
    server.script([Fault::Answer("429 Too Many Requests\r\nretry-after: 3600")]);
    let id = world.deliver(&batch(1)).unwrap();
    world.work();
    let view = world.engine().batch_view(&id).unwrap();
    assert_eq!(view.publish_state.status, PublishStatus::Retrying);
    assert_eq!(view.waits.as_ref().unwrap().code, WaitCode::Retry);
    assert!(view.next_attempt.is_some());
    (world, view)
}

fn again(world: &World, view: &BatchView) -> BatchView {
    world.engine().batch_view(&view.publish_state.batch_id.parse().unwrap()).unwrap()
}

#[test]
fn a_known_issue_shows_at_once_on_a_batch_that_waits_for_its_next_attempt() {
    let server = TargetServer::start();
    let (world, view) = in_backoff(&server);
    let now = world.clock.now();
    let soon = Some(now.checked_add(jiff::SignedDuration::from_mins(5)).unwrap());
    let hours = |n| Some(now.checked_add(jiff::SignedDuration::from_hours(n)).unwrap());
    // One that ends before the batch's own time does not make that earlier.
    for (until, next) in [(None, None), (hours(4), hours(4)), (soon, view.next_attempt)] {
        let declared = Declared {
            code: Some("TARGET_THROTTLED".into()),
            source: Some(alpha()),
            note: "the quota is raised on Monday".into(),
            until,
            ..Declared::default()
        };
        let issue = world.engine().declare_issue(declared, "ann").unwrap();
        let shown = again(&world, &view);
        let waits = shown.waits.clone().unwrap();
        assert_eq!((waits.code, waits.until), (WaitCode::KnownIssue, until));
        assert!(waits.text.contains("the quota is raised on Monday"), "{}", waits.text);
        assert_eq!(shown.next_attempt, next);
        assert_eq!(shown.retry.unwrap().tier, 3);
        world.engine().lift_issue(issue.id, "ann", "done").unwrap();
        // It still waits for its own time.
        let shown = again(&world, &view);
        assert_eq!((shown.waits, shown.next_attempt), (view.waits.clone(), view.next_attempt));
    }
}

#[test]
fn the_next_attempt_is_never_in_the_past_while_something_holds_the_batch() {
    let server = TargetServer::start();
    let (mut world, view) = in_backoff(&server);
    // A known issue outlasts its time.
    let declared =
        Declared { source: Some(alpha()), note: "it is being solved".into(), ..Declared::default() };
    let issue = world.engine().declare_issue(declared, "ann").unwrap();
    world.clock.advance(Duration::from_secs(2 * 3600));
    world.work();
    let shown = again(&world, &view);
    assert_eq!(shown.waits.unwrap().code, WaitCode::KnownIssue);
    assert_eq!(shown.next_attempt, None);
    world.engine().lift_issue(issue.id, "ann", "solved").unwrap();
    // A window: it is two o'clock, and open until three.
    let window =
        Window { cron: "0 1 * * *".into(), duration: Duration::from_secs(7200), time_zone: "UTC".into() };
    let name = default_target();
    world.set(|settings| settings.targets.get_mut(&name).unwrap().maintenance = vec![window]);
    world.work();
    let shown = again(&world, &view);
    let waits = shown.waits.unwrap();
    assert_eq!((waits.code, waits.until), (WaitCode::Window, Some("2026-11-24T03:00:00Z".parse().unwrap())));
    assert_eq!(shown.next_attempt, waits.until);
    // An outage: the time is that of the next probe.
    world.set(|settings| settings.targets.get_mut(&name).unwrap().maintenance.clear());
    server.down();
    world.work();
    for _ in 0..5 {
        let shown = again(&world, &view);
        let waits = shown.waits.unwrap();
        assert_eq!(waits.code, WaitCode::TargetDown);
        assert_eq!(shown.next_attempt, waits.until);
        assert!(shown.next_attempt.is_none_or(|at| at > world.clock.now()));
        world.clock.advance(Duration::from_secs(600));
    }
    server.heal();
}

#[test]
fn bad_lines_and_skipped_keys_are_part_of_what_became_of_a_batch() {
    let server = TargetServer::start();
    let world = world(&server);
    server.reject(["r1", "r2"], false);
    let skip = Skip { type_name: "t".into(), name: "s".into(), until: None };
    world.engine().skip(&alpha(), &skip, "ann", "known to be bad").unwrap();
    let batch = TestBatch::full("alpha", 1).with([
        says(entity("a"), 1),
        says(entity("r1"), 1),
        says(entity("r2"), 1),
        says(entity("s"), 1),
        Line::BadKeyed(entity("b1")),
        Line::BadKeyed(entity("b2")),
    ]);
    let record = world.publish(&batch);
    assert_eq!(record.status, PublishStatus::Complete);
    let done = record.completion.unwrap();
    assert_eq!((done.total, done.done, done.failed, done.skipped), (6, 1, 4, 1));
    let failure = record.failure.clone().unwrap();
    assert!(
        failure.error_message.contains("of 6 lines and changes 1 published, 4 failed, 1 skipped"),
        "{failure:?}"
    );
    assert_eq!(world.dead_letters("alpha").len(), 4);
    let shown = world.engine().batch_view(&record.batch_id).unwrap();
    assert_eq!(shown.completion, Some(done));
}

#[test]
fn a_batch_of_which_an_operator_skips_a_key_says_so_in_its_figures() {
    let world = World::new();
    let skip = Skip { type_name: "t".into(), name: "b".into(), until: None };
    world.engine().skip(&alpha(), &skip, "ann", "known to be bad").unwrap();
    let record = world.publish(&batch(1));
    assert_eq!((record.status, &record.failure), (PublishStatus::Complete, &None));
    let done = record.completion.unwrap();
    assert_eq!((done.total, done.done, done.failed, done.skipped), (2, 1, 0, 1));
}

#[test]
fn the_command_line_says_when_a_batch_ended_that_was_not_published() {
    let shell = Shell::new();
    let bad = TestBatch::full("alpha", 1).with((0..30).map(|n| Line::BadKeyed(entity(&format!("e{n}")))));
    shell.expect(1, &["publish", &shell.write(&bad)]);
    shell.expect(0, &["publish", &shell.write(&batch(2))]);
    for (id, is, is_not) in
        [(bad.id(), "  ended ", "  published "), (batch(2).id(), "  published ", "  ended ")]
    {
        let told = shell.expect(0, &["batches", "show", &id, "--summary"]);
        assert!(told.contains(is) && !told.contains(is_not), "{told}");
    }
}

#[test]
fn the_command_line_tells_the_same_figures() {
    let shell = Shell::new();
    let batch = batch(1).with([Line::BadKeyed(entity("c"))]);
    let told = shell.expect(4, &["publish", &shell.write(&batch)]);
    let figures = "of 3 lines and changes 2 published, 1 failed, 0 skipped";
    assert!(told.contains(figures), "{told}");
    let told = shell.expect(0, &["batches", "show", &batch.id(), "--summary"]);
    assert!(told.contains(figures), "{told}");
    assert!(told.contains("changes      2 of 3 published, 1 failed, 0 skipped"), "{told}");
    let view = shell.json(0, &["batches", "show", &batch.id()]);
    let expected = serde_json::json!({"total": 3, "done": 2, "failed": 1, "skipped": 0});
    assert_eq!(view["completion"], expected);
}
