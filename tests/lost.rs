//! What a target lost, or acknowledged and did not store, comes to it whole
//! once that shows.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::batches::{Line, TestBatch, entity, says, value};
use support::target_server::{Fault, TargetServer};
use support::world::World;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::service::views::CheckStatus;

fn world(server: &TargetServer) -> World {
    World::on(server, Duration::from_secs(30), |_| {})
}

/// A full batch of these names. One attribute is always the same, so that no
/// update brings it.
fn whole(time: u32, names: &[&str]) -> TestBatch {
    let line = |name: &&str| Line::Value(entity(name), value(&[("x", i64::from(time)), ("same", 1)]), 0);
    TestBatch::full("alpha", time).with(names.iter().map(line))
}

/// Both attributes of what it holds, by name.
fn held(server: &TargetServer) -> BTreeMap<String, (i64, i64)> {
    let held = server.held().into_iter().map(|(key, value)| {
        let key: serde_json::Value = serde_json::from_str(&key).unwrap();
        let number = |name: &str| value.get(name).and_then(serde_json::Value::as_i64).unwrap_or(-1);
        (key["qualified_name"].as_str().unwrap().to_owned(), (number("x"), number("same")))
    });
    held.collect()
}

fn of<const N: usize>(values: [(&str, (i64, i64)); N]) -> BTreeMap<String, (i64, i64)> {
    values.map(|(name, value)| (name.to_owned(), value)).into()
}

#[test]
fn what_was_acknowledged_and_not_stored_is_sent_whole_by_a_requeue_and_by_the_next_batch() {
    let server = TargetServer::start();
    let world = world(&server);
    server.script([Fault::Forget]);
    assert_eq!(world.publish(&whole(1, &["a", "b"])).status, PublishStatus::Complete);
    assert!(server.held().is_empty());
    // They are updated, which the target can't do.
    world.publish(&whole(2, &["a", "b"]));
    let letters = world.dead_letters("alpha");
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        assert_eq!(letter.code, "ENTITY_MISSING");
        assert!(letter.message.contains("there is nothing to update"), "{}", letter.message);
    }
    // Nothing that was sent may still take effect, so nothing is waited for.
    let id = world.engine().requeue_letter(letters[0].id, None, "ann", "lost there").unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    // The other one's value there is known to be wrong as well: it comes too,
    // as it was published last.
    let requeued = letters[0].key.clone().unwrap();
    let x = |name| if requeued == entity(name) { 2 } else { 1 };
    assert_eq!(held(&server), of([("a", (x("a"), 1)), ("b", (x("b"), 1))]));
    assert_eq!(world.publish(&whole(3, &["a", "b"])).status, PublishStatus::Complete);
    assert_eq!(held(&server), of([("a", (3, 1)), ("b", (3, 1))]));
    assert!(world.dead_letters("alpha").is_empty());
}

#[test]
fn what_was_lost_comes_again_with_a_batch_that_is_silent_about_it() {
    let server = TargetServer::start();
    let world = world(&server);
    world.publish(&whole(1, &["a", "b"]));
    server.lose("a");
    let only = |time, name: &str, x| TestBatch::incremental("alpha", time).with([says(entity(name), x)]);
    world.publish(&only(2, "a", 2));
    assert_eq!(world.dead_letters("alpha")[0].code, "ENTITY_MISSING");
    assert_eq!(held(&server), of([("b", (1, 1))]));
    world.publish(&only(3, "c", 3));
    assert_eq!(held(&server), of([("a", (1, 1)), ("b", (1, 1)), ("c", (3, -1))]));
    // What it was to become is still a dead letter, until the source says more.
    assert_eq!(world.dead_letters("alpha").len(), 1);
    world.publish(&only(4, "a", 4));
    assert_eq!(held(&server)["a"], (4, -1));
    assert!(world.dead_letters("alpha").is_empty());
}

/// A refusal of what an update brings says nothing about what is there.
#[test]
fn what_is_refused_and_there_is_not_sent_whole() {
    let server = TargetServer::start();
    let world = world(&server);
    world.publish(&whole(1, &["a", "b"]));
    server.reject(["a"], false);
    world.publish(&whole(2, &["a", "b"]));
    assert_eq!(world.dead_letters("alpha")[0].code, "ENTITY_REJECTED");
    server.reject([], false);
    // A person's own attribute stays.
    server.annotate("a", "note", 7);
    world.publish(&whole(3, &["a", "b"]));
    assert_eq!(server.held().values().filter(|value| value.contains_key("note")).count(), 1);
    assert_eq!(held(&server), of([("a", (3, 1)), ("b", (3, 1))]));
}

#[test]
fn doctor_looks_at_some_entities_of_a_target() {
    let server = TargetServer::start();
    let world = world(&server);
    let looked = || {
        let found = world.engine().examine(false).unwrap();
        let mut checks = found.checks.into_iter();
        let check = checks.find(|check| check.check.starts_with("target ")).unwrap();
        (check.status, check.found)
    };
    let names: Vec<String> = (0..50).map(|n| format!("e{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.publish(&whole(1, &names));
    let (status, text) = looked();
    assert_eq!(status, CheckStatus::Ok, "{text}");
    assert!(text.contains("it has all 17 entities that were looked at"), "{text}");
    for name in &names[..49] {
        server.lose(name);
    }
    let (status, text) = looked();
    assert_eq!(status, CheckStatus::Error, "{text}");
    assert!(text.contains("of 17 entities of source alpha that were looked at it does not have"), "{text}");
    // Of another target nothing is asked.
    server.replace();
    assert!(!looked().1.contains("does not have"), "{}", looked().1);
}
