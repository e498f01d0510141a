//! How long a service takes to stop: what it is at, and no longer.

mod support;

use std::time::Duration;

use support::batches::{TestBatch, entity, says};
use support::target_server::{Fault, TargetServer};
use support::until;
use support::world::World;
use tidegate::clock::{Clock, SystemClock};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::service::Service;

/// What a target may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

fn batch(time: u32) -> TestBatch {
    TestBatch::full("alpha", time).with((0..9).map(|n| says(entity(&format!("e{n}")), i64::from(time))))
}

/// Asks a service to stop, and tells how long that took.
fn stop(service: Service) -> Duration {
    let clock = SystemClock::default();
    let began = clock.monotonic();
    service.stop();
    service.wait().unwrap();
    clock.monotonic() - began
}

#[test]
fn a_request_that_is_not_answered_is_waited_for_as_long_as_it_may_take() {
    let server = TargetServer::start();
    let mut world = World::on(&server, TIMEOUT, |_| {});
    server.script(std::iter::repeat_n(Fault::Hang, 50));
    let id = world.deliver(&batch(1)).unwrap();
    let service = Service::start(world.shared()).unwrap();
    until("a request", || !server.requests("operations").is_empty());
    let took = stop(service);
    assert!(took < TIMEOUT * 4, "{took:?}");
    assert!(!world.batch(&id).status.is_final());
    // It goes on where it was.
    server.heal();
    world.restart();
    assert_eq!(world.end_of(&id).status, PublishStatus::Complete);
    assert_eq!(server.held().len(), 9);
}

#[test]
fn a_service_that_waits_stops_at_once() {
    let world = World::new();
    let service = Service::start(world.shared()).unwrap();
    let id = world.deliver(&batch(1)).unwrap();
    until("the end of the batch", || world.batch(&id).status == PublishStatus::Complete);
    let took = stop(service);
    assert!(took < Duration::from_secs(5), "{took:?}");
}
