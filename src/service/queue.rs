//! Whose turn it is: strictly by stamp within a source, by score across them
//! (`SEMANTICS` 8).

use super::engine::Engine;
use crate::domain::ids::SourceId;
use crate::domain::priority::{Score, estimated_complexity};
use crate::domain::publish_state::PublishStatus;
use crate::domain::settings::Mode;
use crate::error::Result;
use crate::store::BatchRecord;

impl Engine {
    /// The batch that runs next: of one source, or of all.
    pub(super) fn next_runnable(&self, only: Option<&SourceId>) -> Result<Option<BatchRecord>> {
        let sources = match only {
            Some(source) => vec![source.clone()],
            None => self.store.read(|view| view.sources_with_unfinished())?,
        };
        let now = self.clock.now();
        let mut best: Option<(f64, BatchRecord)> = None;
        for source in sources {
            let (unfinished, held) =
                self.store.read(|view| Ok((view.unfinished(&source)?, view.source_hold(&source)?)))?;
            let Some(batch) = runnable(unfinished, held.is_some(), now) else { continue };
            let settings = self.settings.source(&source);
            let age = now.duration_since(batch.stamp.source_timestamp).as_secs_f64();
            let complexity = batch.complexity.unwrap_or_else(|| {
                let files = self.batch_of(&batch).map(|batch| batch.files).unwrap_or_default();
                estimated_complexity(files.iter().filter_map(|file| file.count).sum(), 1)
            });
            let score = Score::new(&self.settings.priority, age, settings.importance, complexity).total();
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, batch));
            }
        }
        Ok(best.map(|(_, batch)| batch))
    }
}

/// Whether a batch waits for a person.
pub fn is_parked(batch: &BatchRecord) -> bool {
    batch.status == PublishStatus::PlanComplete && batch.hold.is_some()
}

/// The batch of a source that may run, of its unfinished ones, oldest first.
///
/// Only the oldest, but a parked one is overtaken by a full batch of the same
/// or wider scope, a parked incremental one only by a full batch of scope
/// everything; so is everything in a source that is held.
fn runnable(unfinished: Vec<BatchRecord>, held: bool, now: jiff::Timestamp) -> Option<BatchRecord> {
    let mut ahead: Vec<BatchRecord> = Vec::new();
    for batch in unfinished {
        let full = batch.mode == Some(Mode::Full);
        let everything = full && batch.scope.is_everything();
        let overtakes = |parked: &BatchRecord| match parked.mode {
            Some(Mode::Full) => full && batch.scope.covers(&parked.scope),
            Some(Mode::Incremental) | None => everything,
        };
        let waits = batch.status == PublishStatus::Retrying && batch.next_attempt.is_some_and(|at| at > now);
        let in_work = batch.status == PublishStatus::Executing;
        if waits {
            return None;
        }
        if in_work {
            return Some(batch);
        }
        if !is_parked(&batch) && ahead.iter().all(overtakes) && (!held || everything) {
            return Some(batch);
        }
        // What may not run itself is passed by under the same rule as what is
        // parked, so that nothing else is overtaken.
        if is_parked(&batch) {
            ahead.push(batch);
        } else if ahead.is_empty() {
            if !held {
                return None;
            }
            ahead.push(batch);
        }
    }
    None
}
