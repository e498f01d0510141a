//! Alerts of what waits for a person: told once for as long as it lasts.

mod support;

use std::time::Duration;

use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::config::WebhookSettings;
use tidegate::domain::notice::NoticeKind;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::{Error, ErrorKind};
use tidegate::store::OutboxMessage;

const HOOK: &str = "http://127.0.0.1:9/hook";

/// A world with a webhook that wants to hear of these alone, and that nobody
/// brings its messages.
fn world(kinds: &[NoticeKind]) -> World {
    World::with(|settings| {
        let hook = WebhookSettings::new(HOOK.parse().unwrap());
        settings.webhooks = vec![WebhookSettings { events: kinds.to_vec(), ..hook }];
        settings.server.public_url = Some("https://tidegate.example/".parse().unwrap());
    })
}

/// Takes the messages that wait.
fn told(world: &World) -> Vec<(String, serde_json::Value)> {
    let mut all = Vec::new();
    while let Some(message) = world.engine().store().read(|view| view.next_message(HOOK)).unwrap() {
        let OutboxMessage { subject, body, .. } = message.clone();
        all.push((subject, serde_json::from_str::<serde_json::Value>(&body).unwrap()["data"].clone()));
        let arrived = world.engine().store().write(move |tx| {
            tx.message_arrived(&message);
            Ok(())
        });
        arrived.unwrap();
    }
    all
}

fn in_force(world: &World) -> usize {
    world.engine().store().read(|view| view.alerts()).unwrap().len()
}

#[test]
fn a_plan_that_waits_for_approval_is_told_once_until_somebody_decided() {
    let mut world = world(&[NoticeKind::BatchParked]);
    world.source("alpha", |alpha| {
        alpha.guards.delete_ratio = 0.3;
        alpha.guards.delete_min = 2;
    });
    let names = ["a", "b", "c", "d"];
    world.publish(&TestBatch::full("alpha", 1).with(names.map(|name| says(entity(name), 1))));
    let parked = world.publish(&TestBatch::full("alpha", 2).with([says(entity("a"), 1)]));
    assert!(parked.hold.is_some());
    let id = parked.batch_id.to_string();
    let messages = told(&world);
    let [(subject, data)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((subject, &data["source_id"]), (&id, &"alpha".into()));
    assert!(data["message"].as_str().unwrap().contains('3'), "{data}");
    assert!(data["action"].as_str().unwrap().contains("tidegate batches approve"), "{data}");
    assert_eq!(data["link"], format!("https://tidegate.example/batches/{id}"));
    world.restart();
    world.work();
    world.engine().keep_alerts().unwrap();
    assert_eq!((told(&world).len(), in_force(&world)), (0, 1));
    world.engine().reject(&parked.batch_id, "ann", "a wrong extract").unwrap();
    assert_eq!(in_force(&world), 0);
}

#[test]
fn batches_that_failed_are_told_once_for_their_reason_until_it_is_decided_about() {
    let world = world(&[NoticeKind::DeadLetterOpened]);
    let first = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    let (id, _) = world.break_down(&first);
    let messages = told(&world);
    let [(_, data)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((&data["what"], &data["batch_id"]), (&"batch".into(), &id.to_string().into()));
    assert!(!data["code"].as_str().unwrap().is_empty() && !data["action"].as_str().unwrap().is_empty());
    // One of the same reason is no news while the first waits for a person.
    let (other, _) = world.break_down(&TestBatch::full("alpha", 2).with([says(entity("a"), 1)]));
    assert_eq!(told(&world).len(), 0);
    for letter in world.dead_letters("alpha") {
        world.engine().discard_letter(letter.id, None, "ann", "a test").unwrap();
    }
    assert_eq!(in_force(&world), 0);
    // Tried again it fails again, and waits anew.
    world.engine().retry(&other, "ann", "once more").unwrap();
    world.work();
    assert_eq!((told(&world).len(), in_force(&world)), (1, 1));
}

#[test]
fn a_source_that_is_held_is_told_once_until_it_goes_on() {
    let world = world(&[NoticeKind::SourceHeld]);
    let alpha = "alpha".parse().unwrap();
    world.engine().pause_source(&alpha, "ann", "a pause").unwrap();
    assert_eq!(told(&world).len(), 0);
    world.engine().resume_source(&alpha, "ann", "on").unwrap();
    let (id, _) = world.break_down(&TestBatch::incremental("alpha", 1).with([says(entity("a"), 1)]));
    let messages = told(&world);
    let [(subject, data)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((subject.as_str(), &data["reason"]), ("alpha", &"batch_failed".into()));
    assert_eq!(
        (&data["batch_id"], &data["link"]),
        (&id.to_string().into(), &"https://tidegate.example/sources/alpha".into())
    );
    world.engine().resume_source(&alpha, "ann", "without it").unwrap();
    let held = world.engine().store().read(|view| view.alerts()).unwrap();
    assert!(held.iter().all(|alert| alert.kind != NoticeKind::SourceHeld), "{held:?}");
}

#[test]
fn a_target_that_is_down_for_long_is_told_once_until_it_is_back() {
    let world = world(&[NoticeKind::TargetDown]);
    world.faults.before(|_| Err(Error::new(ErrorKind::TargetUnavailable, "the target: a value")));
    let id = world.publish(&TestBatch::incremental("alpha", 1).with([says(entity("a"), 1)])).batch_id;
    let later = |minutes: u64| {
        world.clock.advance(Duration::from_secs(minutes * 60));
        world.engine().keep_alerts().unwrap();
        told(&world)
    };
    assert_eq!(later(14), []);
    let messages = later(2);
    let [(subject, data)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((subject.as_str(), &data["code"]), ("catalogue", &"TARGET_UNAVAILABLE".into()));
    assert!(!data.to_string().contains("a value"), "{data}");
    assert_eq!(later(60), []);
    world.faults.heal();
    world.work();
    assert_eq!((world.batch(&id).status, in_force(&world)), (PublishStatus::Complete, 0));
}
