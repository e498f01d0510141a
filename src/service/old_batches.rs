//! Batches that ended long ago are forgotten, so that `tidegate.redb` does not grow
//! with the years.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::engine::Engine;
use crate::domain::ids::{BatchId, SourceId};
use crate::error::{Error, Result};
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
const MOST_LOOKS: usize = 100;

impl Engine {
    /// Forgets what is due, if it was not looked at lately, by this process or
    /// another.
    ///
    /// # Errors
    /// Of the store.
    pub(super) fn keep_batches(&self) -> Result<()> {
        let now = self.clock.now();
        let Ok(mut looked) = self.batches_kept.try_lock() else { return Ok(()) };
        let is_due = |at: Option<Timestamp>| at.is_none_or(|at| now.duration_since(at) >= EVERY || now < at);
        if !is_due(*looked) {
            return Ok(());
        }
        *looked = Some(now);
        let (at, after) = self.store.read(|view| view.forgetting())?;
        if !is_due(at) {
            return Ok(());
        }
        let (_, after) = self.forget_batches(after)?;
        self.store.write(move |tx| {
            tx.set_forgetting(now, after.as_deref());
            Ok(())
        })
    }

    /// Forgets batches that ended longer ago than `retention.batches`, together with
    /// those that were made of them, unless something refers to them still: a dead
    /// letter, a copy, a hold, a snapshot or plan that is kept, or their folder, which
    /// would be accepted anew; and what happened to sources as long ago. How many, and
    /// behind which row the next call goes on that is given it as `after`.
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
            let mut families: Vec<BatchId> = rows.iter().map(|(_, id)| id.with_n(0)).collect();
            families.sort_unstable();
            families.dedup();
            let mut over = Vec::new();
            for family in families {
                if self.stopping() || referred.looks >= MOST_LOOKS {
                    break;
                }
                if self.is_over(&family, at, &mut referred)? {
                    over.push(family);
                }
            }
            forgotten += self.forget(over, at)?;
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

    /// Whether nothing needs a batch any more, nor those that were made of it.
    fn is_over(&self, family: &BatchId, at: Timestamp, referred: &mut Referred) -> Result<bool> {
        let batches = self.store.read(|view| view.family(family))?;
        if batches.iter().any(|batch| !has_ended(batch, at)) || referred.has(self, family)? {
            return Ok(false);
        }
        // Some of them may lie in one place.
        let places: BTreeMap<&str, &BatchRecord> =
            batches.iter().map(|batch| (batch.url.as_str(), batch)).collect();
        Ok(places.into_values().all(|batch| self.is_away(batch, referred)))
    }

    fn forget(&self, families: Vec<BatchId>, at: Timestamp) -> Result<u64> {
        if families.is_empty() {
            return Ok(0);
        }
        let inboxes = self.settings().inboxes.clone();
        self.store.write(move |tx| {
            let mut forgotten = 0;
            for family in &families {
                let batches = tx.family(family)?;
                // One may have been tried again meanwhile, or be about to be.
                let mut is_needed = false;
                for batch in &batches {
                    let id = &batch.batch_id;
                    let holds = tx.source_holds(id.source())?;
                    is_needed |= !has_ended(batch, at)
                        || tx.pin_work(id)?.is_some()
                        || tx.count_dead_letters_of(id)? > 0
                        || tx.batch_letter(id)?.is_some()
                        || holds.iter().any(|hold| hold.batch_id.as_ref() == Some(id));
                }
                if is_needed {
                    continue;
                }
                let path = format!("{}/{}", family.source(), family.folder());
                for inbox in &inboxes {
                    let entry = tx.inbox_entry(inbox.url.as_str(), &path)?;
                    if entry.is_some_and(|entry| !matches!(entry.state, InboxState::Ignored { .. })) {
                        tx.forget_inbox_entry(inbox.url.as_str(), &path);
                    }
                }
                batches.iter().try_for_each(|batch| tx.forget_batch(batch))?;
                forgotten += batches.len() as u64;
            }
            Ok(forgotten)
        })
    }

    /// Whether nothing lies where a batch was delivered. Whoever can't look there
    /// does not know: the folder above must be there, which that of a mount that is
    /// away is not.
    fn is_away(&self, batch: &BatchRecord, referred: &mut Referred) -> bool {
        if batch.is_local() {
            let is_gone = |e: std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
            return batch.folder.parent().is_some_and(Path::is_dir)
                && std::fs::symlink_metadata(&batch.folder).is_err_and(is_gone);
        }
        referred.looks += 1;
        let look = || match self.place_of(&batch.batch_id, &batch.url)? {
            Some(place) => Ok(place.prefix.objects(&place.path)?.is_empty()),
            None => Ok::<bool, Error>(true),
        };
        look().unwrap_or_else(|error| {
            tracing::debug!(batch = %batch.batch_id, %error, "whether an old batch is gone can't be looked at");
            // Nor can the others be.
            referred.looks = MOST_LOOKS;
            false
        })
    }
}

/// Whether a batch ended at or before a time, and has no copy.
fn has_ended(batch: &BatchRecord, at: Timestamp) -> bool {
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
