//! Webhooks: whoever asked is told of every batch that ended, in order, at
//! least once, whatever the receiver or the process does meanwhile.

mod support;

use std::time::Duration;

use base64::Engine as _;
use support::batches::{TestBatch, entity, says};
use support::receiver::Receiver;
use support::world::World;
use tidegate::config::{Secret, WebhookSettings};
use tidegate::domain::notice::NoticeKind;
use tidegate::observe::webhooks::{Courier, Round, signature};
use tidegate::store::OutboxCounts;

fn hook(url: &str) -> WebhookSettings {
    WebhookSettings::new(url.parse().unwrap())
}

fn world(webhooks: Vec<WebhookSettings>) -> World {
    World::with(|settings| settings.webhooks = webhooks)
}

fn batch(time: u32) -> TestBatch {
    TestBatch::incremental("alpha", time).with([says(entity("a"), i64::from(time))])
}

fn round(world: &World) -> Round {
    let courier = Courier::new().unwrap();
    courier.round(world.engine().store(), &world.settings.webhooks, &*world.clock, &|| false).unwrap()
}

fn counts(world: &World) -> OutboxCounts {
    world.engine().store().read(|view| view.outbox_counts()).unwrap()
}

fn subjects(receiver: &Receiver) -> Vec<String> {
    receiver.received().iter().map(|received| received.subject().to_owned()).collect()
}

#[test]
fn every_batch_that_ended_is_told_in_order_with_its_publish_state() {
    let receiver = Receiver::start();
    let world = world(vec![hook(&receiver.url())]);
    let empty = TestBatch::full("alpha", 3);
    world.publish(&batch(1));
    world.publish(&TestBatch::incremental("beta", 2).with([says(entity("b"), 7)]));
    let last = world.publish(&empty);
    assert_eq!(round(&world), Round { arrived: 3, failed: 0, given_up: 0 });
    assert_eq!(subjects(&receiver), [batch(1).id(), TestBatch::incremental("beta", 2).id(), empty.id()]);
    let received = receiver.received().pop().unwrap();
    assert_eq!(received.path, "/hook");
    assert_eq!(received.headers["content-type"], "application/json");
    assert_eq!(received.headers["webhook-id"], received.body["id"].as_str().unwrap());
    assert_eq!(received.body["format"], "tidegate.event/1");
    assert_eq!(received.body["kind"], "batch.ended");
    assert_eq!(received.body["data"], serde_json::to_value(last.publish_state()).unwrap());
    assert!(!received.headers.contains_key("webhook-signature"));
    // Told once: nothing is left.
    assert_eq!(round(&world), Round::default());
    assert_eq!(counts(&world), OutboxCounts::default());
}

#[test]
fn nothing_is_kept_for_nobody() {
    let world = world(Vec::new());
    world.publish(&batch(1));
    assert_eq!(counts(&world), OutboxCounts::default());
}

#[test]
fn messages_hold_no_values_of_attributes() {
    let receiver = Receiver::start();
    let world = world(vec![hook(&receiver.url())]);
    let secret = serde_json::json!("a-value-of-an-attribute");
    let line = support::batches::Line::Value(entity("a"), [("x".to_owned(), secret)].into(), 0);
    world.publish(
        &TestBatch::incremental("alpha", 1).with([line, support::batches::Line::BadKeyed(entity("b"))]),
    );
    round(&world);
    let told = receiver.received();
    assert!(told.iter().any(|message| message.text.contains("PARTIAL")), "{told:?}");
    assert!(!told.iter().any(|message| message.text.contains("a-value-of-an-attribute")), "{told:?}");
}

#[test]
fn dead_letters_of_one_reason_are_alerted_once_until_none_is_left() {
    let receiver = Receiver::start();
    let mut world = World::with(|settings| {
        settings.webhooks = vec![hook(&receiver.url())];
        settings.server.public_url = Some("https://tidegate.example/".parse().unwrap());
    });
    let alerts = |world: &World| {
        round(world);
        let all = receiver.received();
        all.into_iter().filter(|message| message.body["kind"] == "dead_letter.opened").collect::<Vec<_>>()
    };
    let bad = |time: u32, names: &[&str]| {
        let lines = names.iter().map(|name| support::batches::Line::BadKeyed(entity(name)));
        TestBatch::incremental("alpha", time).with(lines)
    };
    world.publish(&bad(1, &["a", "b", "c"]));
    let told = alerts(&world);
    assert_eq!(told.len(), 1, "{told:?}");
    let data = &told[0].body["data"];
    assert_eq!(
        (&data["code"], &data["what"], &data["count"]),
        (&"LINE_INVALID".into(), &"entity".into(), &3.into())
    );
    assert_eq!((&data["source_id"], &data["batch_id"]), (&"alpha".into(), &bad(1, &[]).id().into()));
    assert_eq!(told[0].subject(), data["group"].as_str().unwrap());
    let link = format!("https://tidegate.example/dlq?signature={}", told[0].subject());
    assert_eq!(data["link"], link.as_str());
    // More of the same is no news, after a restart neither.
    world.publish(&bad(2, &["d"]));
    world.restart();
    world.publish(&bad(3, &["a"]));
    assert_eq!(alerts(&world).len(), 1);
    // Another source, or another reason, is.
    world.publish(&TestBatch::incremental("beta", 4).with([support::batches::Line::BadKeyed(entity("a"))]));
    world.faults.refuse([entity("e")]);
    world.publish(&TestBatch::incremental("alpha", 5).with([says(entity("e"), 1)]));
    let told = alerts(&world);
    assert_eq!(told.len(), 3);
    // The target's words may hold a value.
    assert_eq!(
        (&told[2].body["data"]["code"], &told[2].body["data"]["message"]),
        (&"ENTITY_REJECTED".into(), &serde_json::Value::Null)
    );
    // Once none is left, the next one is told again.
    let good = ["a", "b", "c", "d"].map(|name| says(entity(name), 6));
    world.publish(&TestBatch::incremental("alpha", 6).with(good));
    world.publish(&bad(7, &["a"]));
    assert_eq!(alerts(&world).len(), 4);
}

#[test]
fn a_batch_that_fails_is_alerted_once_for_its_reason() {
    let receiver = Receiver::start();
    let world = world(vec![hook(&receiver.url())]);
    for time in [1, 2] {
        let batch = TestBatch::full("alpha", time).with([says(entity("a"), 1)]);
        let folder = batch.write(&world.data.path().join("delivered"));
        std::fs::write(folder.join("entities-00000.ndjson"), "cut").unwrap();
        world.publish(&batch);
    }
    round(&world);
    let all = receiver.received();
    let kinds: Vec<&str> = all.iter().map(|message| message.body["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["dead_letter.opened", "batch.ended", "batch.ended"]);
    assert_eq!(all[0].body["data"]["code"], "BATCH_SIZE_MISMATCH");
}

#[test]
fn a_message_that_failed_is_sent_again_before_those_behind_it() {
    let receiver = Receiver::start();
    let world = world(vec![hook(&receiver.url())]);
    world.publish(&batch(1));
    world.publish(&batch(2));
    receiver.answers(&["500 Internal Server Error", "hang up"]);
    assert_eq!(round(&world), Round { arrived: 0, failed: 1, given_up: 0 });
    // Not before its time has come.
    assert_eq!(round(&world), Round::default());
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(round(&world).failed, 1);
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(round(&world).arrived, 2);
    let (one, two) = (batch(1).id(), batch(2).id());
    assert_eq!(subjects(&receiver), [&one, &one, &one, &two].map(String::as_str));
    // The same message each time, so that receivers can tell.
    let all = receiver.received();
    assert!(all[..3].iter().all(|received| received.text == all[0].text));
}

#[test]
fn a_receiver_that_asks_to_wait_is_left_alone_for_so_long() {
    for asked in ["600", "Tue, 24 Nov 2026 00:10:00 GMT"] {
        let receiver = Receiver::start();
        let world = world(vec![hook(&receiver.url())]);
        world.publish(&batch(1));
        receiver.answers(&[&format!("429 Too Many Requests\r\nretry-after: {asked}")]);
        round(&world);
        world.clock.advance(Duration::from_secs(599));
        assert_eq!(round(&world), Round::default(), "{asked}");
        world.clock.advance(Duration::from_secs(2));
        assert_eq!(round(&world).arrived, 1, "{asked}");
    }
}

#[test]
fn what_waited_when_the_process_ended_is_sent_by_the_next_one() {
    let receiver = Receiver::start();
    let mut world = world(vec![hook(&receiver.url())]);
    world.publish(&batch(1));
    receiver.answers(&["503 Service Unavailable"]);
    round(&world);
    world.restart();
    world.publish(&batch(2));
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(round(&world).arrived, 2);
    let (one, two) = (batch(1).id(), batch(2).id());
    assert_eq!(subjects(&receiver), [&one, &one, &two].map(String::as_str));
}

#[test]
fn a_message_is_given_up_after_its_time_and_counted_and_the_next_one_goes_on() {
    let receiver = Receiver::start();
    let mut world =
        world(vec![WebhookSettings { give_up: Duration::from_secs(3600), ..hook(&receiver.url()) }]);
    world.publish(&batch(1));
    receiver.answers(&["500 Error"; 40]);
    let mut given_up = 0;
    for _ in 0..40 {
        world.clock.advance(Duration::from_secs(300));
        given_up += round(&world).given_up;
        if given_up > 0 {
            break;
        }
    }
    assert_eq!(given_up, 1);
    assert_eq!(counts(&world), OutboxCounts { waiting: 0, given_up: 1 });
    world.restart();
    assert_eq!(counts(&world).given_up, 1);
    world.publish(&batch(2));
    for _ in 0..40 {
        world.clock.advance(Duration::from_secs(300));
        if round(&world).arrived == 1 {
            break;
        }
    }
    assert_eq!(subjects(&receiver).last(), Some(&batch(2).id()));
}

#[test]
fn a_webhook_that_is_down_does_not_hold_up_another() {
    let (down, up) = (Receiver::start(), Receiver::start());
    let world = world(vec![hook(&down.url()), hook(&up.url())]);
    world.publish(&batch(1));
    world.publish(&batch(2));
    down.answers(&["500 Error"]);
    assert_eq!(round(&world), Round { arrived: 2, failed: 1, given_up: 0 });
    assert_eq!(subjects(&up), [batch(1).id(), batch(2).id()]);
}

#[test]
fn messages_of_a_webhook_that_was_taken_out_of_the_settings_are_given_up() {
    let receiver = Receiver::start();
    let mut world = world(vec![hook(&receiver.url())]);
    world.publish(&batch(1));
    world.set(|settings| settings.webhooks.clear());
    assert_eq!(round(&world).given_up, 1);
    assert_eq!(counts(&world), OutboxCounts { waiting: 0, given_up: 1 });
    assert!(receiver.received().is_empty());
}

#[test]
fn redirects_are_not_followed() {
    let (first, other) = (Receiver::start(), Receiver::start());
    let world = world(vec![hook(&first.url())]);
    world.publish(&batch(1));
    let answer = format!("307 Temporary Redirect\r\nlocation: {}", other.url());
    first.answers(&[&answer]);
    assert_eq!(round(&world).failed, 1);
    assert!(other.received().is_empty());
}

#[test]
fn messages_are_signed_with_the_secret_of_the_file() {
    let receiver = Receiver::start();
    let folder = support::folder();
    let file = folder.path().join("secret");
    let text = base64::engine::general_purpose::STANDARD.encode(b"our secret");
    std::fs::write(&file, format!("whsec_{text}\n")).unwrap();
    let world =
        world(vec![WebhookSettings { secret: Some(Secret::File(file.clone())), ..hook(&receiver.url()) }]);
    world.publish(&batch(1));
    let message = world.engine().store().read(|view| view.next_message(&receiver.url())).unwrap().unwrap();
    assert_eq!(round(&world).arrived, 1);
    let received = &receiver.received()[0];
    let at = received.headers["webhook-timestamp"].parse().unwrap();
    let expected = signature(b"our secret", &message, jiff::Timestamp::from_second(at).unwrap());
    assert_eq!(received.headers["webhook-signature"], expected);
    // Without its secret nothing goes out.
    std::fs::remove_file(file).unwrap();
    world.publish(&batch(2));
    assert_eq!(round(&world).failed, 1);
    assert_eq!(receiver.received().len(), 1);
}

/// The kinds and subjects of what arrived.
fn told(receiver: &Receiver) -> Vec<(String, String)> {
    let kind = |message: &support::receiver::Received| message.body["kind"].as_str().unwrap().to_owned();
    receiver.received().iter().map(|message| (kind(message), message.subject().to_owned())).collect()
}

fn alerts_only(url: &str) -> WebhookSettings {
    WebhookSettings { events: vec![NoticeKind::DeadLetterOpened], ..hook(url) }
}

#[test]
fn a_webhook_that_is_new_is_told_of_the_alerts_in_force() {
    let (first, second) = (Receiver::start(), Receiver::start());
    let mut world = world(Vec::new());
    let bad = TestBatch::incremental("alpha", 1).with([support::batches::Line::BadKeyed(entity("a"))]);
    world.publish(&bad);
    // One that is over is no news.
    let over = TestBatch::incremental("beta", 2).with([support::batches::Line::BadKeyed(entity("b"))]);
    world.publish(&over);
    world.publish(&TestBatch::incremental("beta", 3).with([says(entity("b"), 1)]));
    for webhooks in [vec![&first], vec![&first, &second], vec![&second]] {
        world
            .set(|settings| settings.webhooks = webhooks.iter().map(|one| alerts_only(&one.url())).collect());
        world.engine().keep_alerts().unwrap();
        world.engine().keep_alerts().unwrap();
        round(&world);
    }
    assert_eq!((told(&first).len(), told(&second).len()), (1, 1));
    assert_eq!(told(&first), told(&second));
    let data = &second.received()[0].body["data"];
    assert_eq!((&data["source_id"], &data["count"]), (&"alpha".into(), &1.into()));
}

#[test]
fn an_alert_that_was_given_up_is_told_again_while_it_is_in_force() {
    let receiver = Receiver::start();
    let settings = WebhookSettings { give_up: Duration::from_secs(3600), ..alerts_only(&receiver.url()) };
    let world = world(vec![settings]);
    world.publish(&TestBatch::incremental("alpha", 1).with([support::batches::Line::BadKeyed(entity("a"))]));
    receiver.answers(&["500 Error"; 100]);
    let give_up = || {
        let mut given_up = 0;
        while given_up == 0 {
            world.clock.advance(Duration::from_secs(300));
            given_up += round(&world).given_up;
        }
    };
    give_up();
    assert_eq!(counts(&world).waiting, 0);
    world.engine().keep_alerts().unwrap();
    assert_eq!(counts(&world).waiting, 1);
    // Once only while it waits, and not at all when it is over.
    world.engine().keep_alerts().unwrap();
    assert_eq!(counts(&world).waiting, 1);
    give_up();
    world.publish(&TestBatch::incremental("alpha", 2).with([says(entity("a"), 1)]));
    world.engine().keep_alerts().unwrap();
    assert_eq!(counts(&world).waiting, 0);
}
