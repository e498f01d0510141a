//! A clock that ran a month ahead for a while and is put right: what failed
//! meanwhile waits no longer than such a wait takes.

mod support;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use support::batches::{TestBatch, entity, says};
use support::receiver::Receiver;
use support::target_server::{Fault, TargetServer};
use support::world::World;
use tidegate::clock::Clock;
use tidegate::config::{HttpSettings, TargetKind, TargetSettings, WebhookSettings};
use tidegate::domain::ids::SourceId;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::default_target;
use tidegate::observe::webhooks::Courier;

fn world(server: &TargetServer, request_limit: Duration) -> World {
    let mut http = HttpSettings::new(server.url());
    http.timeout = Duration::from_millis(300);
    http.request_limit = request_limit;
    World::with(|settings| {
        let target = TargetSettings { kind: TargetKind::Http(http), ..TargetSettings::http(server.url()) };
        settings.targets = [(default_target(), target)].into();
        settings.sources.get_mut(&SourceId::new("beta").unwrap()).unwrap().precedence = 1;
    })
}

fn batch(source: &str, time: u32) -> TestBatch {
    TestBatch::incremental(source, time).with([says(entity("a"), i64::from(time))])
}

/// Runs `meanwhile` with the clock a month ahead; it is right again after it.
fn ahead<T>(world: &World, meanwhile: impl FnOnce() -> T) -> T {
    let right = world.clock.now();
    world.clock.set(right + SignedDuration::from_hours(30 * 24));
    let result = meanwhile();
    world.clock.set(right + SignedDuration::from_secs(1));
    result
}

fn minutes(world: &World, minutes: u64) {
    world.clock.advance(Duration::from_secs(minutes * 60));
}

#[test]
fn a_batch_is_tried_again() {
    for answer in ["429 Too Many Requests", "429 Too Many Requests\r\nretry-after: 600"] {
        let server = TargetServer::start();
        let world = world(&server, Duration::ZERO);
        server.script(std::iter::repeat_n(Fault::Answer(answer), 4));
        let id = world.deliver(&batch("alpha", 1)).unwrap();
        ahead(&world, || world.work());
        assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
        // Nobody is told the time that it has not to wait for.
        assert_eq!(world.engine().batch_view(&id).unwrap().next_attempt, None);
        server.heal();
        minutes(&world, 30);
        world.work();
        assert_eq!(world.batch(&id).status, PublishStatus::Complete, "{answer}");
    }
}

#[test]
fn a_batch_that_was_asked_to_wait_for_long_still_waits_for_so_long() {
    let server = TargetServer::start();
    let world = world(&server, Duration::ZERO);
    server.script([Fault::Answer("429 Too Many Requests\r\nretry-after: 172800")]);
    let id = world.deliver(&batch("alpha", 1)).unwrap();
    world.work();
    minutes(&world, 47 * 60);
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Retrying);
    minutes(&world, 120);
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

#[test]
fn a_target_is_probed() {
    let server = TargetServer::start();
    let world = world(&server, Duration::ZERO);
    server.down();
    let id = world.deliver(&batch("alpha", 1)).unwrap();
    ahead(&world, || world.work());
    server.heal();
    minutes(&world, 30);
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

#[test]
fn what_an_unanswered_request_touches_is_left_alone_for_its_limit_from_now() {
    let server = TargetServer::start();
    let world = world(&server, Duration::from_secs(120));
    world.publish(&batch("alpha", 1));
    server.script([Fault::Hang]);
    let late = world.deliver(&batch("alpha", 2)).unwrap();
    ahead(&world, || world.work());
    assert_eq!(world.batch(&late).status, PublishStatus::Retrying);
    let same = world.deliver(&batch("beta", 3)).unwrap();
    let until: Timestamp = world.clock.now() + SignedDuration::from_secs(120);
    let mut sent = server.requests("operations").len();
    // Nobody knows any more when it was sent.
    while world.clock.now() < until {
        world.work();
        assert_eq!(server.requests("operations").len(), sent, "{}", world.clock.now());
        world.clock.advance(Duration::from_secs(10));
    }
    for _ in 0..40 {
        world.work();
        sent = server.requests("operations").len();
        world.clock.advance(Duration::from_secs(30));
    }
    for id in [&late, &same] {
        assert_eq!(world.batch(id).status, PublishStatus::Complete, "{sent}: {:?}", world.timeline(id));
    }
}

#[test]
fn a_message_is_sent_again() {
    let receiver = Receiver::start();
    let world = World::with(|settings| {
        settings.webhooks = vec![WebhookSettings::new(receiver.url().parse().unwrap())];
    });
    let round = || {
        let courier = Courier::new().unwrap();
        courier.round(world.engine().store(), &world.settings.webhooks, &*world.clock, &|| false).unwrap()
    };
    receiver.answers(&["500 Internal Server Error"]);
    ahead(&world, || {
        world.publish(&batch("alpha", 1));
        assert_eq!(round().failed, 1);
    });
    minutes(&world, 10);
    assert_eq!(round().arrived, 1);
}

#[test]
fn a_copy_is_made() {
    let world = World::with(|settings| {
        let alpha = settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap();
        alpha.guards.delete_ratio = 0.3;
        alpha.guards.delete_min = 1;
    });
    world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1), says(entity("b"), 1)]));
    let parked = world.publish(&TestBatch::full("alpha", 2).with([says(entity("a"), 2)]));
    assert!(parked.hold.is_some());
    // A file where the folder of its source's pins should be.
    let pins = world.data.path().join("state/alpha/pins");
    let _ = std::fs::remove_dir_all(&pins);
    std::fs::write(&pins, "").unwrap();
    ahead(&world, || world.engine().keep_pins().unwrap());
    assert!(world.batch(&parked.batch_id).pin.is_none());
    std::fs::remove_file(&pins).unwrap();
    minutes(&world, 10);
    world.engine().keep_pins().unwrap();
    assert!(world.batch(&parked.batch_id).pin.is_some(), "{:?}", world.timeline(&parked.batch_id));
}
