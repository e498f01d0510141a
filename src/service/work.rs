//! Who is in work: one batch of a source at a time, whoever asks for it. What
//! a source waits for, in memory, and waking those that wait for work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::ids::{BatchId, PlanId, SnapshotId, SourceId, TargetName};

/// After so many plans in a row that were stale when they were made, the
/// others let the source begin first.
const PATIENCE: u32 = 3;

/// For so long what was written of a plan is taken to be as it was written.
const JUST_NOW: Duration = Duration::from_secs(60);

/// What a source waits for, besides what the store says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wait {
    /// Another plan in work touches the same keys.
    Plan(PlanId),
    /// Another source, whose plans were stale too often, begins first.
    Source(SourceId),
    /// A request of this batch without an answer may take effect until then,
    /// and touches the same keys.
    Unanswered(BatchId, Timestamp),
}

#[derive(Default)]
struct State {
    /// Counts everything that may have made work.
    generation: u64,
    busy: BTreeSet<SourceId>,
    cancelled: BTreeSet<BatchId>,
    /// The source whose batch a target is tried with that could not be used.
    trials: BTreeMap<TargetName, SourceId>,
    /// Targets that are being probed.
    probed: BTreeSet<TargetName>,
    waits: BTreeMap<SourceId, Wait>,
    /// Failures in a row while executing.
    failures: BTreeMap<SourceId, u32>,
    /// Stale plans in a row.
    stale: BTreeMap<SourceId, u32>,
    /// The last plan that was made of each source, and when.
    made: BTreeMap<SourceId, (PlanId, Duration)>,
    /// Plans that just began, at a target that was looked at for it.
    begun: BTreeMap<SourceId, PlanId>,
    /// Snapshots that plans refer to which are in no table.
    pins: BTreeMap<PlanId, BTreeMap<SourceId, SnapshotId>>,
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Work {
    state: Mutex<State>,
    wake: Condvar,
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Says that there may be work.
    pub(super) fn notify(&self) {
        self.lock().generation += 1;
        self.wake.notify_all();
    }

    /// What [`Self::wait`] compares with: taken before work is looked for.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Waits until something happened since `generation`, or `most` is over.
    pub(super) fn wait(&self, generation: u64, most: Duration) {
        let state = self.lock();
        let unchanged = |state: &mut State| state.generation == generation;
        drop(self.wake.wait_timeout_while(state, most, unchanged));
    }

    /// Whether a batch of the source is in work.
    pub(super) fn is_busy(&self, source: &SourceId) -> bool {
        self.lock().busy.contains(source)
    }

    /// Puts a source in work, unless it is.
    pub(super) fn claim(&self, source: &SourceId) -> Option<Busy<'_>> {
        let mut state = self.lock();
        state.busy.insert(source.clone()).then(|| Busy { work: self, source: source.clone() })
    }

    /// Who a target is tried with.
    pub(super) fn trial_of(&self, target: &TargetName) -> Option<SourceId> {
        self.lock().trials.get(target).cloned()
    }

    /// Has a source that is in work be the one that a target is tried with,
    /// unless another is.
    pub(super) fn claim_trial(&self, target: &TargetName, source: &SourceId) -> bool {
        let mut state = self.lock();
        let tried = state.trials.entry(target.clone()).or_insert_with(|| source.clone());
        tried == source
    }

    /// Takes the probe of a target, unless it is being probed.
    pub(super) fn claim_probe(&self, target: &TargetName) -> Option<Probing<'_>> {
        let first = self.lock().probed.insert(target.clone());
        first.then(|| Probing { work: self, target: target.clone() })
    }

    /// What a source waits for.
    pub(super) fn wait_of(&self, source: &SourceId) -> Option<Wait> {
        self.lock().waits.get(source).cloned()
    }

    /// A plan of the source was made.
    pub(super) fn made(&self, source: &SourceId, plan: &PlanId, at: Duration) {
        self.lock().made.insert(source.clone(), (plan.clone(), at));
    }

    /// Whether that was so by this process a short time ago.
    pub(super) fn made_just_now(&self, source: &SourceId, plan: &PlanId, now: Duration) -> bool {
        let state = self.lock();
        let made = state.made.get(source).filter(|(made, _)| made == plan);
        made.is_some_and(|(_, at)| now.saturating_sub(*at) < JUST_NOW)
    }

    /// A plan of the source begins, at a target that was looked at.
    pub(super) fn begins(&self, source: &SourceId, plan: &PlanId) {
        self.lock().begun.insert(source.clone(), plan.clone());
    }

    /// Whether it is that plan's first execution since; a later one is not.
    pub(super) fn just_began(&self, source: &SourceId, plan: &PlanId) -> bool {
        self.lock().begun.remove(source).as_ref() == Some(plan)
    }

    /// Has a source wait.
    pub(super) fn set_wait(&self, source: &SourceId, wait: Option<Wait>) {
        let mut state = self.lock();
        match wait {
            Some(wait) => drop(state.waits.insert(source.clone(), wait)),
            None => drop(state.waits.remove(source)),
        }
    }

    /// The source waits for nothing any more, and its failures are forgotten.
    pub(super) fn end_wait(&self, source: &SourceId) {
        let mut state = self.lock();
        state.waits.remove(source);
        state.failures.remove(source);
    }

    /// One more failure in a row while executing; returns how many.
    pub(super) fn failed(&self, source: &SourceId) -> u32 {
        let mut state = self.lock();
        let count = state.failures.entry(source.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// The source's execution came to its end.
    pub(super) fn succeeded(&self, source: &SourceId) {
        self.lock().failures.remove(source);
    }

    /// One more plan of the source was stale when it was made.
    pub(super) fn was_stale(&self, source: &SourceId) {
        *self.lock().stale.entry(source.clone()).or_default() += 1;
    }

    /// The source's plan was not stale, or will not be begun.
    pub(super) fn not_stale(&self, source: &SourceId) {
        self.lock().stale.remove(source);
    }

    /// A source that was stale more often than `source`, and is about to
    /// begin: `source` lets it go first.
    pub(super) fn goes_first(&self, source: &SourceId) -> Option<SourceId> {
        let state = self.lock();
        let own = state.stale.get(source).copied().unwrap_or(0);
        let first = state.stale.iter().filter(|(other, count)| {
            let at_it = state.busy.contains(*other) || matches!(state.waits.get(*other), Some(Wait::Plan(_)));
            **count >= PATIENCE && at_it && *other != source && (**count, *other) > (own, source)
        });
        first.max_by_key(|(other, count)| (**count, (*other).clone())).map(|(other, _)| other.clone())
    }

    /// Has whoever works on the batch end that.
    pub(super) fn cancel(&self, id: &BatchId) {
        let mut state = self.lock();
        if state.busy.contains(id.source()) {
            state.cancelled.insert(id.clone());
        }
    }

    /// Whether work on the batch is to end.
    pub(super) fn is_cancelled(&self, id: &BatchId) -> bool {
        self.lock().cancelled.contains(id)
    }

    /// Keeps snapshots that `read` finds from being collected, for a plan
    /// that is in no table, until the pin is dropped.
    pub(super) fn pin<E>(
        &self,
        plan: &PlanId,
        read: impl FnOnce() -> Result<BTreeMap<SourceId, SnapshotId>, E>,
    ) -> Result<Pin<'_>, E> {
        // Held while they are read: whoever collects sees either the pin, or
        // what was current before.
        let mut state = self.lock();
        let bases = read()?;
        state.pins.insert(plan.clone(), bases.clone());
        Ok(Pin { work: self, plan: plan.clone(), bases })
    }

    /// The pins, while `read` looks at the store.
    pub(super) fn pinned<T, E>(
        &self,
        read: impl FnOnce(&BTreeMap<PlanId, BTreeMap<SourceId, SnapshotId>>) -> Result<T, E>,
    ) -> Result<T, E> {
        read(&self.lock().pins)
    }
}

/// A source in work, free again when this is dropped.
pub(super) struct Busy<'a> {
    work: &'a Work,
    source: SourceId,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.work.lock();
            state.busy.remove(&self.source);
            state.begun.remove(&self.source);
            state.cancelled.retain(|id| *id.source() != self.source);
            state.trials.retain(|_, source| *source != self.source);
        }
        self.work.notify();
    }
}

/// A target that is being probed, until this is dropped.
pub(super) struct Probing<'a> {
    work: &'a Work,
    /// Which one.
    pub(super) target: TargetName,
}

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.work.lock().probed.remove(&self.target);
        self.work.notify();
    }
}

/// Snapshots that are kept for a plan in no table.
pub(super) struct Pin<'a> {
    work: &'a Work,
    plan: PlanId,
    /// The snapshots.
    pub(super) bases: BTreeMap<SourceId, SnapshotId>,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.work.lock().pins.remove(&self.plan);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> SourceId {
        SourceId::new(name).unwrap()
    }

    #[test]
    fn who_was_stale_most_often_begins_first_and_two_never_wait_for_each_other() {
        let work = Work::default();
        let (a, b) = (source("a"), source("b"));
        work.lock().busy.extend([a.clone(), b.clone()]);
        assert_eq!(work.goes_first(&a), None);
        for _ in 0..PATIENCE {
            work.was_stale(&b);
        }
        assert_eq!((work.goes_first(&a), work.goes_first(&b)), (Some(b.clone()), None));
        for _ in 0..PATIENCE {
            work.was_stale(&a);
        }
        assert_eq!((work.goes_first(&a), work.goes_first(&b)), (Some(b.clone()), None));
        work.not_stale(&b);
        assert_eq!((work.goes_first(&a), work.goes_first(&b)), (None, Some(a.clone())));
        // One that nobody works on holds up nobody.
        work.lock().busy.remove(&a);
        assert_eq!(work.goes_first(&b), None);
    }
}
