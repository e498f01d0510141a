//! Metrics for Prometheus: what the store counts, how things stand, and how
//! the server answers. Labels are bounded: statuses, codes, routes, and
//! sources up to a number.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::AppState;
use super::lanes::Lane;
use super::problem::Problem;
use crate::error::{Error, TABLE};
use crate::service::query::Figures;
use crate::store::{BUCKETS, Durations};

/// Sources that have a label of their own; the others share one.
const SOURCES: usize = 100;
/// Upper bounds of the times of answers, in seconds.
const ANSWERS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 30.0];

type Label = [(&'static str, String); 1];
type Labels = [(&'static str, String); 2];

/// What this process counts of its own.
pub struct Metrics {
    requests: Family<Labels, Counter>,
    in_flight: Gauge,
    answers: Histogram,
    errors: Family<Label, Counter>,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self {
            requests: Family::default(),
            in_flight: Gauge::default(),
            answers: Histogram::new(ANSWERS),
            errors: Family::default(),
        }
    }

    /// Counts a request that is being answered, until this is dropped.
    pub fn enter(&self) -> impl Drop + use<> {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts an answer. `route` is the route's own text, of which there are few.
    pub fn count_request(&self, route: &str, status: u16, took: Duration) {
        let class = format!("{}xx", status / 100);
        self.requests.get_or_create(&[("route", route.to_owned()), ("status", class)]).inc();
        self.answers.observe(took.as_secs_f64());
    }

    /// Counts a problem by its code.
    pub fn count_error(&self, code: &str) {
        self.errors.get_or_create(&[("code", code.to_owned())]).inc();
    }

    /// Everything as text.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn text(state: &AppState) -> Result<String, Problem> {
        let figures = state.run_in(Lane::Watching, |engine| engine.figures(SOURCES)).await?;
        let mut registry = Registry::with_prefix("tidegate");
        let own = &state.inner.metrics;
        let help = "Requests that are being answered, this one included";
        registry.register("http_requests_in_flight", help, own.in_flight.clone());
        registry.register("http_requests", "Requests, by route and class of status", own.requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time from request to answer",
            own.answers.clone(),
        );
        registry.register("http_problems", "Problem documents sent, by code", own.errors.clone());
        let listeners = Gauge::<i64>::default();
        listeners.set(i64::try_from(state.inner.events.clients()).unwrap_or(i64::MAX));
        registry.register("event_listeners", "Clients that follow the events", listeners);
        let outbox =
            state.run_in(Lane::Watching, |engine| engine.store().read(|view| view.outbox_counts())).await?;
        let waiting = Gauge::<i64>::default();
        waiting.set(i64::try_from(outbox.waiting).unwrap_or(i64::MAX));
        registry.register("webhook_messages_waiting", "Messages that wait for their webhooks", waiting);
        let given_up = Counter::<u64>::default();
        given_up.inc_by(outbox.given_up);
        registry.register("webhook_messages_given_up", "Messages that never arrived", given_up);
        register(&mut registry, &figures);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)
            .map_err(|e| Error::internal("the metrics").caused_by(e))?;
        Ok(text)
    }
}

/// A request that is being answered.
struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn gauges(registry: &mut Registry, name: &str, help: &str, label: &'static str, values: &[(String, u64)]) {
    let family = Family::<Label, Gauge>::default();
    for (of, value) in values {
        family.get_or_create(&[(label, of.clone())]).set(i64::try_from(*value).unwrap_or(i64::MAX));
    }
    registry.register(name, help, family);
}

fn register(registry: &mut Registry, figures: &Figures) {
    let info = Family::<Label, Gauge>::default();
    info.get_or_create(&[("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
    registry.register("build_info", "Version of the program", info);
    gauges(registry, "batches", "Batches, by status", "status", &figures.batches);
    gauges(registry, "queue_depth", "Batches that have not ended, by source", "source", &figures.depth);
    gauges(registry, "skips", "Skips in force, by source", "source", &figures.skips);
    gauge(registry, "parked_batches", "Batches that wait for a person", figures.parked as f64);
    gauge(registry, "held_sources", "Sources that wait for a person", figures.held as f64);
    gauge(registry, "open_dead_letters", "Dead letters that wait for repair", figures.dead_letters as f64);
    let groups = figures.dead_letter_groups as f64;
    gauge(registry, "dead_letter_groups", "Reasons that open dead letters have", groups);
    let letters = &figures.letters;
    for (name, help, count) in [
        ("dead_letters_opened", "Dead letters that were opened, or opened again", letters.opened),
        ("dead_letters_requeued", "Dead letters that were put back into the queue", letters.requeued),
        ("dead_letters_resolved", "Dead letters that a batch settled", letters.resolved),
        ("dead_letters_discarded", "Dead letters that a person gave up", letters.discarded),
        ("dead_letters_expired", "Dead letters that nobody decided about in time", letters.expired),
        ("dead_letters_forgotten", "Settled dead letters that were forgotten", letters.forgotten),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(count);
        registry.register(name, help, counter);
    }
    gauge(registry, "store_bytes", "Size of tidegate.redb", figures.store_bytes as f64);
    gauges(
        registry,
        "catalogue_bytes",
        "Size of embedded catalogues, by target",
        "target",
        &figures.catalogues,
    );
    gauges(registry, "disk_free_bytes", "Room on the disks that are written to", "of", &figures.free);
    let stopped = if figures.stopped { 1.0 } else { 0.0 };
    gauge(registry, "intake_stopped", "1 while nothing is accepted for want of room", stopped);
    let m = &figures.totals.metrics;
    let entities =
        [("created", m.entities_created), ("updated", m.entities_updated), ("deleted", m.entities_deleted)];
    counters(registry, "entities", "Entities changed at targets, by action", "action", &entities);
    let relationships = [
        ("created", m.relationships_created),
        ("updated", m.relationships_updated),
        ("deleted", m.relationships_deleted),
    ];
    counters(
        registry,
        "relationships",
        "Relationships changed at targets, by action",
        "action",
        &relationships,
    );
    let skipped = [("operator", figures.totals.skipped)];
    counters(registry, "skipped", "Assertions that were not published, by who skips them", "by", &skipped);
    // Only codes of the table: a label's values are bounded.
    let known = figures.totals.errors.iter().filter(|(code, _)| TABLE.iter().any(|row| row.code == code));
    let errors: Vec<(&str, u64)> = known.map(|(code, count)| (code.as_str(), *count)).collect();
    counters(
        registry,
        "batch_errors",
        "Batches that ended or waited with an error, by code",
        "code",
        &errors,
    );
    targets(registry, figures);
    inboxes(registry, figures);
    for (name, help, durations) in [
        (
            "publish_duration_seconds",
            "From the beginning of publishing a batch to its end",
            &figures.totals.duration,
        ),
        (
            "publish_latency_seconds",
            "From the writing of a batch to the end of publishing it",
            &figures.totals.latency,
        ),
    ] {
        registry.register_collector(Box::new(Stored { name, help, durations: durations.clone() }));
    }
}

/// Whether the inboxes can be looked into, and what it cost.
fn inboxes(registry: &mut Registry, figures: &Figures) {
    let lost = &figures.inboxes_lost;
    gauges(registry, "inbox_lost", "1 while an inbox can't be looked into", "inbox", lost);
    let mut looks = Vec::new();
    let mut listings = Vec::new();
    let seconds = Family::<Label, Counter<f64, AtomicU64>>::default();
    for (kind, costs) in &figures.looks {
        looks.push((*kind, costs.looks));
        listings.push((*kind, costs.listings));
        seconds.get_or_create(&[("kind", (*kind).to_owned())]).inc_by(costs.time.as_secs_f64());
    }
    counters(registry, "inbox_looks", "Looks into inboxes, by what gave rise to them", "kind", &looks);
    counters(registry, "inbox_listings", "Listing calls to inboxes, by kind of look", "kind", &listings);
    registry.register("inbox_look_seconds", "Time of looks until everything was seen, by kind", seconds);
}

/// Whether targets can be used, and what was sent to them.
fn targets(registry: &mut Registry, figures: &Figures) {
    gauges(registry, "target_down", "Whether a target can't be used", "target", &figures.targets_down);
    gauge(registry, "known_issues", "Known issues that batches wait for", figures.known_issues as f64);
    let sent =
        [("whole", figures.sent.requests.saturating_sub(figures.sent.parts)), ("part", figures.sent.parts)];
    counters(
        registry,
        "target_requests",
        "Requests to targets, of whole operations and of parts of those that were refused",
        "what",
        &sent,
    );
    let retried = [("all", figures.sent.quick_retries)];
    counters(registry, "target_quick_retries", "Requests that were repeated at once", "kind", &retried);
}

fn counters(registry: &mut Registry, name: &str, help: &str, label: &'static str, values: &[(&str, u64)]) {
    let family = Family::<Label, Counter>::default();
    for (of, value) in values {
        family.get_or_create(&[(label, (*of).to_owned())]).inc_by(*value);
    }
    registry.register(name, help, family);
}

/// Durations that the store counted.
#[derive(Debug)]
struct Stored {
    name: &'static str,
    help: &'static str,
    durations: Durations,
}

impl Collector for Stored {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let buckets: Vec<(f64, u64)> = BUCKETS.into_iter().zip(self.durations.buckets).collect();
        let count = self.durations.buckets.iter().sum();
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(self.durations.sum, count, &buckets, None)
    }
}
