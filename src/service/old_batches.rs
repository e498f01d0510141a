//! Batches that ended long ago are forgotten, so that `tidegate.redb` does not grow
//! with the years.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::engine::Engine;
use crate::domain::ids::{BatchId, SourceId};
use crate::error::Result;
use crate::store::{BatchList, BatchRecord, InboxState};

/// How often it is looked.
const EVERY: SignedDuration = SignedDuration::from_hours(6);
/// The newest batches of a source, which are kept whatever their age: what it was
/// last, and that it is known.
const NEWEST: usize = 10;
/// Batches that are looked at in one read.
const PART: usize = 64;
/// Batches that are looked at each time.
const MOST: usize = 10_000;
/// Folders in object stores that are looked for each time: each is a request.
const MOST_LOOKS: usize = 200;

/// When it was looked last, and how far.
#[derive(Debug, Default)]
pub(super) struct Looked {
    at: Option<Timestamp>,
    /// Behind which row it goes on.
    after: Option<Vec<u8>>,
}

impl Engine {
    /// Forgets what is due, if it was not looked at lately.
    ///
    /// # Errors
    /// Of the store.
    pub(super) fn keep_batches(&self) -> Result<()> {
        let now = self.clock.now();
        let Ok(mut looked) = self.batches_kept.try_lock() else { return Ok(()) };
        if looked.at.is_some_and(|at| now.duration_since(at) < EVERY && now >= at) {
            return Ok(());
        }
        looked.at = Some(now);
        let after = looked.after.take();
        looked.after = self.forget_batches(after)?.1;
        Ok(())
    }

    /// Forgets batches that ended longer ago than `retention.batches`, together with
    /// those that were made of them, unless something refers to them still: a dead
    /// letter, a copy, a hold, a snapshot or plan that is kept, or their folder, which
    /// would be accepted anew; and what happened to sources as long ago. How many, and behind which row the next call goes on
    /// that begins where this one did `after` another.
    ///
    /// # Errors
    /// Of the store.
    pub fn forget_batches(&self, mut after: Option<Vec<u8>>) -> Result<(u64, Option<Vec<u8>>)> {
        let kept = SignedDuration::try_from(self.settings().retention.batches).unwrap_or(SignedDuration::MAX);
        let Ok(at) = self.clock.now().checked_sub(kept) else { return Ok((0, None)) };
        let mut referred = Referred::default();
        let (mut forgotten, mut seen) = (0, 0);
        while !self.stopping() && seen < MOST && referred.looks < MOST_LOOKS {
            let rows = self.store.read(|view| view.ended_by(at, after.as_deref(), PART))?;
            seen += rows.len();
            let families: HashSet<BatchId> = rows.iter().map(|(_, id)| id.with_n(0)).collect();
            for family in families {
                forgotten += self.forget_family(&family, at, &mut referred)?;
            }
            after = rows.into_iter().next_back().map(|(row, _)| row);
            if after.is_none() {
                break;
            }
        }
        for source in self.store.read(|view| view.sources())? {
            let oldest = self.store.read(|view| view.source_timeline(&source))?.into_iter().next();
            if oldest.is_some_and(|entry| entry.at <= at) {
                self.store.write(move |tx| tx.forget_notes(&source, at))?;
            }
        }
        if forgotten > 0 {
            tracing::info!(forgotten, "batches were forgotten, past retention.batches");
        }
        Ok((forgotten, after))
    }

    fn forget_family(&self, family: &BatchId, at: Timestamp, referred: &mut Referred) -> Result<u64> {
        let batches = self.store.read(|view| view.family(family))?;
        if batches.iter().any(|batch| !is_over(batch, at)) || referred.has(self, family)? {
            return Ok(0);
        }
        for batch in &batches {
            // Whoever can't look there does not know.
            if !self.is_away(batch, &mut referred.looks).unwrap_or(false) {
                return Ok(0);
            }
        }
        let (family, inboxes) = (family.clone(), self.settings().inboxes.clone());
        self.store.write(move |tx| {
            let batches = tx.family(&family)?;
            // One may have been tried again meanwhile, or be about to be.
            let mut is_needed = false;
            for batch in &batches {
                let id = &batch.batch_id;
                is_needed |= !is_over(batch, at)
                    || tx.pin_work(id)?.is_some()
                    || tx.count_dead_letters_of(id)? > 0
                    || tx.batch_letter(id)?.is_some()
                    || tx.source_holds(id.source())?.iter().any(|hold| hold.batch_id.as_ref() == Some(id));
            }
            if is_needed {
                return Ok(0);
            }
            let path = format!("{}/{}", family.source(), family.folder());
            for inbox in &inboxes {
                let entry = tx.inbox_entry(inbox.url.as_str(), &path)?;
                if entry.is_some_and(|entry| !matches!(entry.state, InboxState::Ignored { .. })) {
                    tx.forget_inbox_entry(inbox.url.as_str(), &path);
                }
            }
            batches.iter().try_for_each(|batch| tx.forget_batch(batch))?;
            Ok(batches.len() as u64)
        })
    }

    /// Whether nothing lies where a batch was delivered.
    fn is_away(&self, batch: &BatchRecord, looks: &mut usize) -> Result<bool> {
        if batch.is_local() {
            return Ok(!batch.folder.exists());
        }
        *looks += 1;
        match self.place_of(&batch.batch_id, &batch.url)? {
            Some(place) => Ok(place.prefix.objects(&place.path)?.is_empty()),
            None => Ok(true),
        }
    }
}

/// Whether a batch ended at or before a time, and has no copy.
fn is_over(batch: &BatchRecord, at: Timestamp) -> bool {
    batch.status.is_final() && batch.publish_end.is_some_and(|end| end <= at) && batch.pin.is_none()
}

/// Batches that something refers to, by their originals; read once for each source.
#[derive(Default)]
struct Referred {
    sources: HashSet<SourceId>,
    batches: HashSet<BatchId>,
    /// Folders in object stores that were looked for.
    looks: usize,
}

impl Referred {
    fn has(&mut self, engine: &Engine, family: &BatchId) -> Result<bool> {
        let source = family.source();
        if self.sources.insert(source.clone()) {
            let list = BatchList { source: Some(source.clone()), limit: NEWEST, ..BatchList::default() };
            engine.store.read(|view| {
                let mut note = |id: &BatchId| {
                    self.batches.insert(id.with_n(0));
                };
                view.list_batches(&list)?.batches.iter().for_each(|batch| note(&batch.batch_id));
                view.plans_of(source)?.iter().for_each(|plan| note(&plan.batch_id));
                view.kept_commits()?.iter().for_each(|commit| note(&commit.batch_id));
                for target in view.targets()? {
                    for snapshot in view.snapshots_of(&target, source, usize::MAX)? {
                        note(&snapshot.batch_id);
                        note(&snapshot.newest.batch_id);
                    }
                }
                Ok(())
            })?;
        }
        Ok(self.batches.contains(family))
    }
}
