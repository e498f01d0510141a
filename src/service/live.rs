//! How far the batches in work have come: in memory only, for whoever looks.
//! What was published is in the store; this is for the seconds between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;

use super::events::{EventKind, Events};
use super::views::{Phase, ProgressUnit, ProgressView};
use crate::clock::Clock;
use crate::domain::ids::BatchId;

/// Time between two events about one batch's progress.
const EVERY: Duration = Duration::from_millis(250);

struct Entry {
    phase: Phase,
    done: u64,
    /// Of that, what was done before the phase began here: another run of the
    /// process did it, and it says nothing of the rate.
    before: u64,
    total: Option<u64>,
    since: Timestamp,
    began: Duration,
    told: Duration,
}

/// The progress of every batch in work.
pub struct Live {
    clock: Arc<dyn Clock>,
    events: Arc<Events>,
    batches: Mutex<BTreeMap<BatchId, Entry>>,
}

impl Live {
    /// Nothing is in work.
    pub fn new(clock: Arc<dyn Clock>, events: Arc<Events>) -> Self {
        Self { clock, events, batches: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BatchId, Entry>> {
        self.batches.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A phase begins.
    pub fn begin(&self, id: &BatchId, phase: Phase, total: Option<u64>) {
        let now = self.clock.monotonic();
        let entry =
            Entry { phase, done: 0, before: 0, total, since: self.clock.now(), began: now, told: now };
        self.lock().insert(id.clone(), entry);
        self.events.batch(EventKind::Progress, id);
    }

    /// So much more of the present phase is done.
    pub fn add(&self, id: &BatchId, done: u64) {
        let now = self.clock.monotonic();
        {
            let mut batches = self.lock();
            let Some(entry) = batches.get_mut(id) else { return };
            entry.done = entry.done.saturating_add(done);
            if now.saturating_sub(entry.told) < EVERY {
                return;
            }
            entry.told = now;
        }
        self.events.batch(EventKind::Progress, id);
    }

    /// So much of the present phase was done before it began here.
    pub fn resume(&self, id: &BatchId, before: u64) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.before = entry.before.saturating_add(before);
        }
        self.add(id, before);
    }

    /// The batch is out of work.
    pub fn end(&self, id: &BatchId) {
        self.lock().remove(id);
    }

    /// How far a batch has come, if it is in work.
    pub fn of(&self, id: &BatchId) -> Option<ProgressView> {
        let now = self.clock.monotonic();
        let batches = self.lock();
        batches.get(id).map(|entry| progress(entry, now))
    }
}

fn progress(entry: &Entry, now: Duration) -> ProgressView {
    let seconds = now.saturating_sub(entry.began).as_secs_f64();
    let here = entry.done.saturating_sub(entry.before);
    let rate = (seconds > 0.0 && here > 0).then(|| here as f64 / seconds);
    let unit = match entry.phase {
        Phase::Reading => ProgressUnit::Bytes,
        Phase::Planning | Phase::Executing | Phase::Committing => ProgressUnit::Changes,
    };
    ProgressView { phase: entry.phase, done: entry.done, total: entry.total, unit, since: entry.since, rate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn what_was_done_before_a_restart_is_no_part_of_the_rate() {
        let clock = Arc::new(ManualClock::new("2026-11-24T12:00:00Z".parse().unwrap(), 1));
        let live = Live::new(clock.clone(), Arc::new(Events::new(clock.clone())));
        let id: BatchId = "w:20261124T010000Z_r".parse().unwrap();
        live.begin(&id, Phase::Executing, Some(3000));
        live.resume(&id, 700);
        clock.advance(Duration::from_secs(3));
        let progress = live.of(&id).unwrap();
        assert_eq!((progress.done, progress.rate), (700, None));
        live.add(&id, 150);
        let progress = live.of(&id).unwrap();
        assert_eq!((progress.done, progress.total, progress.rate), (850, Some(3000), Some(50.0)));
    }

    #[test]
    fn progress_has_its_rate_and_is_told_four_times_a_second_at_most() {
        let clock = Arc::new(ManualClock::new("2026-11-24T12:00:00Z".parse().unwrap(), 1));
        let events = Arc::new(Events::new(clock.clone()));
        let live = Live::new(clock.clone(), Arc::clone(&events));
        let id: BatchId = "w:20261124T010000Z_r".parse().unwrap();
        live.begin(&id, Phase::Executing, Some(1000));
        for _ in 0..100 {
            clock.advance(Duration::from_millis(20));
            live.add(&id, 5);
        }
        let progress = live.of(&id).unwrap();
        assert_eq!((progress.done, progress.total, progress.rate), (500, Some(1000), Some(250.0)));
        // In two seconds, and the beginning.
        assert!((6..=9).contains(&events.last_seq()), "{}", events.last_seq());
        live.end(&id);
        assert!(live.of(&id).is_none());
    }
}
