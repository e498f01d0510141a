//! What counts towards the budget of a batch that is tried again: its own
//! waits, and not those that the target asked for.

mod support;

use std::time::Duration;

use support::batches::{TestBatch, entity, says};
use support::target_server::{Fault, TargetServer};
use support::world::World;
use tidegate::clock::Clock;
use tidegate::config::{HttpSettings, TargetKind, TargetSettings};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::default_target;

const DAY: u64 = 24 * 3600;

fn world(server: &TargetServer) -> World {
    let mut http = HttpSettings::new(server.url());
    http.request_limit = Duration::ZERO;
    World::with(|settings| {
        let target = TargetSettings { kind: TargetKind::Http(http), ..TargetSettings::http(server.url()) };
        settings.targets = [(default_target(), target)].into();
    })
}

#[test]
fn a_wait_that_the_target_asks_for_is_waited_whole_and_is_none_of_the_budget() {
    let server = TargetServer::start();
    let mut world = world(&server);
    // Three days each: the budget of a day alone would be spent by the first.
    let asks = || Fault::Answer("429 Too Many Requests\r\nretry-after: 259200");
    server.script([asks(), asks(), asks()]);
    let mut record = world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    for asked in 1..=3 {
        assert_eq!(
            (record.status, record.attempts),
            (PublishStatus::Retrying, asked),
            "{:?}",
            record.failure
        );
        let left = record.next_attempt.unwrap().duration_since(world.clock.now());
        assert!(left.as_secs() >= 3 * DAY as i64 - 1, "{left}");
        world.restart();
        world.clock.advance(Duration::from_secs(3 * DAY + 3600));
        world.work();
        record = world.batch(&record.batch_id);
    }
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
}
