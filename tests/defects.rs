//! A defect in a thread of the service: the thread goes on, and does not spin.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use support::batches::{TestBatch, entity, says};
use support::hooked::HookedClock;
use support::receiver::Receiver;
use tidegate::clock::{Clock, SystemClock};
use tidegate::config::{Settings, TargetSettings, WebhookSettings};
use tidegate::domain::ids::BatchId;
use tidegate::domain::settings::default_target;
use tidegate::service::{Engine, Service};

/// A service whose threads of this name meet a defect so often, and what it
/// does then. Returns how often they still would.
fn with_defect(
    thread: &'static str,
    times: u32,
    change: impl FnOnce(&mut Settings),
    done: impl Fn(&Engine) -> bool,
) -> u32 {
    let data = support::folder();
    let mut settings = Settings::defaults(data.path());
    settings.service.workers = 2;
    settings.inboxes.clear();
    change(&mut settings);
    let left = Arc::new(AtomicU32::new(times));
    let still = Arc::clone(&left);
    let told = move |now| {
        let here = std::thread::current().name().is_some_and(|name| name.starts_with(thread));
        let met = |left: u32| left.checked_sub(1);
        if here && still.try_update(Ordering::SeqCst, Ordering::SeqCst, met).is_ok() {
            panic!("a defect");
        }
        now
    };
    let clock = Arc::new(HookedClock { inner: Arc::new(SystemClock::default()), told });
    let engine = Engine::open(data.path(), settings, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let engine = Arc::new(engine);
    let service = Service::start(Arc::clone(&engine)).unwrap();
    for (time, name) in [(1, "a"), (2, "b")] {
        let batch = TestBatch::incremental("alpha", time).with([says(entity(name), 1)]);
        engine.accept(&batch.write(&data.path().join("delivered"))).unwrap();
    }
    let mut seen = false;
    for _ in 0..1500 {
        seen = done(&engine);
        if seen {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    service.stop();
    service.wait().unwrap();
    assert!(seen, "{thread}");
    left.load(Ordering::SeqCst)
}

fn published(engine: &Engine) -> bool {
    engine.store().read(|view| view.sources_with_unfinished()).unwrap().is_empty()
}

#[test]
fn workers_go_on_after_a_defect_outside_of_any_batch() {
    assert_eq!(with_defect("worker-", 3, |_| {}, published), 0);
}

#[test]
fn a_worker_that_meets_a_defect_again_and_again_does_not_spin() {
    let began = SystemClock::default();
    let enough = |_: &Engine| began.monotonic() > Duration::from_secs(3);
    let left = with_defect("worker-", 1_000_000, |_| {}, enough);
    let met = 1_000_000 - left;
    assert!((2..=10).contains(&met), "{met}");
}

#[test]
fn messages_are_brought_after_a_defect() {
    let receiver = Receiver::start();
    let url = receiver.url();
    let hook = |settings: &mut Settings| {
        settings.webhooks = vec![WebhookSettings::new(url.parse().unwrap())];
    };
    assert_eq!(with_defect("webhooks", 1, hook, |_| receiver.received().len() == 2), 0);
}

#[test]
fn files_are_copied_after_a_defect() {
    // What is tried again is copied, and nobody listens there.
    let away = |settings: &mut Settings| {
        let target = TargetSettings::http("http://127.0.0.1:1/".parse().unwrap());
        settings.targets = [(default_target(), target)].into();
    };
    let id: BatchId = TestBatch::incremental("alpha", 1).id().parse().unwrap();
    let pinned = |engine: &Engine| engine.pinned_folder(&id).unwrap().is_some();
    assert_eq!(with_defect("pins", 1, away, pinned), 0);
}
