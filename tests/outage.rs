//! A target that is down for two hours, and what it meets when it returns.
//!
//! `cargo test --release --test outage -- --nocapture` prints the times.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use support::batches::{TestBatch, entity, says};
use support::hooked::HookedClock;
use support::target_server::TargetServer;
use support::until;
use tidegate::clock::{Clock, SystemClock};
use tidegate::config::{HttpSettings, Settings, TargetKind, TargetSettings};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::default_target;
use tidegate::service::{Engine, Service};
use tidegate::store::BatchFilter;

const SOURCES: u32 = 20;
const BATCHES: u32 = 10;
const WORKERS: usize = 4;

struct Run {
    /// From the moment that the target could be used to the end of the last batch.
    took: Duration,
    operations: usize,
    most_in_flight: usize,
    /// Batches in the order in which their operations came.
    order: Vec<String>,
    attempts: u32,
    held: usize,
}

/// Publishes all batches, after an outage or without one.
fn run(outage: bool) -> Run {
    let server = TargetServer::start();
    server.takes(Duration::from_millis(5));
    let data = support::folder();
    let mut settings = Settings::defaults(data.path());
    settings.service.workers = WORKERS;
    settings.inboxes.clear();
    settings.retry.longest_probe = Duration::from_millis(200);
    settings.retry.first_wait = Duration::from_millis(200);
    let mut http = HttpSettings::new(server.url());
    http.request_limit = Duration::ZERO;
    let target = TargetSettings { kind: TargetKind::Http(http), ..TargetSettings::http(server.url()) };
    settings.targets = [(default_target(), target)].into();
    let ahead = Arc::new(AtomicI64::new(0));
    let seconds = Arc::clone(&ahead);
    let told = move |now| now + SignedDuration::from_secs(seconds.load(Ordering::SeqCst));
    let clock = Arc::new(HookedClock { inner: Arc::new(SystemClock::default()), told });
    let engine = Engine::open(data.path(), settings, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    for source in 0..SOURCES {
        for time in 0..BATCHES {
            let source = format!("source-{source:02}");
            let names = (0..20).map(|n| format!("{source}.{time}.{n}"));
            let lines = names.map(|name| says(entity(&name), i64::from(time)));
            let batch = TestBatch::incremental(&source, time).with(lines);
            engine.accept(&batch.write(&data.path().join("delivered"))).unwrap();
        }
    }
    let engine = Arc::new(engine);
    if outage {
        server.down();
    }
    let mut began = clock.monotonic();
    let service = Service::start(Arc::clone(&engine)).unwrap();
    if outage {
        let breaker = || engine.store().read(|view| view.breaker(&default_target())).unwrap();
        until("the breaker", || breaker().is_some());
        for _ in 0..8 {
            let probes = breaker().unwrap().probes;
            ahead.fetch_add(900, Ordering::SeqCst);
            until("a probe", || breaker().unwrap().probes > probes);
        }
        assert_eq!(server.requests("operations").len(), 0);
        began = clock.monotonic();
        server.heal();
    }
    let unfinished = || engine.store().read(|view| view.sources_with_unfinished()).unwrap().is_empty();
    until("an empty queue", unfinished);
    let took = clock.monotonic() - began;
    service.stop();
    service.wait().unwrap();
    let batches = engine.store().read(|view| view.batches(&BatchFilter::default())).unwrap();
    assert_eq!(batches.len() as u32, SOURCES * BATCHES);
    for batch in &batches {
        assert_eq!(batch.status, PublishStatus::Complete, "{:?}", batch.failure);
    }
    let order: Vec<String> = server.requests("operations").into_iter().map(|request| request.batch).collect();
    Run {
        took,
        operations: order.len(),
        most_in_flight: server.most_in_flight(),
        order,
        attempts: batches.iter().map(|batch| batch.attempts).sum(),
        held: server.held().len(),
    }
}

/// Inside a source batches come in the order of their folders' times. Across
/// sources, whose batches have the same times here, nothing younger comes
/// before what is two steps older: one step, because a source that is busy with
/// a batch can't be given its next.
fn assert_oldest_first(order: &[String]) {
    let mut steps: BTreeMap<&str, u32> = BTreeMap::new();
    for batch in order {
        let (source, _) = batch.split_once(':').unwrap();
        let step = steps.entry(source).or_default();
        assert_eq!(*batch, TestBatch::incremental(source, *step).id());
        *step += 1;
        let ahead = *step;
        let behind = steps.values().copied().chain(((steps.len() as u32) < SOURCES).then_some(0)).min();
        assert!(behind.unwrap() + 2 >= ahead, "{batch} is sent {ahead}th: {steps:?}");
    }
}

#[test]
#[ignore = "takes half a minute: run by .ci/run"]
fn two_hours_of_outage_with_200_batches_waiting_drain_in_order_without_a_stampede() {
    let plain = run(false);
    let after = run(true);
    println!(
        "200 batches: {:?} undisturbed, {:?} after an outage of two hours ({:.2} times); {} and {} operations, at most {} and {} at once",
        plain.took,
        after.took,
        after.took.as_secs_f64() / plain.took.as_secs_f64(),
        plain.operations,
        after.operations,
        plain.most_in_flight,
        after.most_in_flight,
    );
    assert_eq!(after.held, plain.held);
    // Nobody spent an attempt, and nothing was sent twice.
    assert_eq!((after.attempts, after.operations), (0, plain.operations));
    assert!(after.most_in_flight <= WORKERS, "{}", after.most_in_flight);
    // All workers go on at once, once one batch has shown that it works.
    assert!(after.most_in_flight > 1);
    assert_oldest_first(&after.order);
}
