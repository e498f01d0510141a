//! Pins: the files of a batch that waits, copied under the state URL, so that
//! the inbox's own lifecycle rules can't take them away. From then on the
//! batch is read from there.
//!
//! The change of state is durable first; the copy follows, here, off the way
//! of batches, and goes on after a restart. What fails is told in the batch's
//! timeline and tried again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::SELF;
use super::engine::Engine;
use super::pinned::pin_manifest;
use crate::domain::due;
use crate::domain::ids::{BatchId, SourceId};
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::Batch;
use crate::intake::pin::{self, PIN, PinManifest};
use crate::planning::state_dir::read_checked;
use crate::store::{BatchRecord, Pin, PinTask, PinWork, Tx};

/// Longest wait when nothing is due.
const IDLE: Duration = Duration::from_secs(60);
/// A batch that waits behind others for so long is pinned like those.
const LONG: SignedDuration = SignedDuration::from_hours(1);

/// Time until room for a copy is looked for again.
const WITHOUT_ROOM: Duration = Duration::from_secs(30);

impl Engine {
    /// Has the files of a batch copied, though its state does not ask for it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such batch.
    pub fn pin_batch(&self, id: &BatchId) -> Result<()> {
        let id = id.clone();
        self.store.write(move |tx| {
            let record = tx.expect_batch(&id)?;
            if record.pin.is_some() || tx.pin_work(&id)?.is_some_and(|work| work.task == PinTask::Copy) {
                return Ok(());
            }
            tx.set_pin_work(&id, Some(&PinWork::new(PinTask::Copy)))
        })
    }

    /// Where the files of a batch are pinned; `None`: they are not.
    ///
    /// # Errors
    /// Those of the store.
    pub fn pinned_folder(&self, id: &BatchId) -> Result<Option<PathBuf>> {
        let record = self.store.read(|view| view.batch(id))?;
        Ok(record.filter(|record| record.pin.is_some()).map(|_| self.state.pin_path(id)))
    }

    /// Has a pinned batch read from its pin, once that is what it was.
    ///
    /// # Errors
    /// [`ErrorKind::PinDamaged`].
    pub(super) fn read_from_pin(&self, batch: &mut Batch) -> Result<()> {
        let folder = self.state.pin_path(&batch.id);
        let manifest = pin_manifest(&batch.id, &folder)?;
        pin::verify(&folder, &manifest, &|_| self.go_on())
            .map_err(|e| e.context(format!("batch {}", batch.id)))?;
        batch.folder = folder;
        // What tells of the copy is its manifest.
        batch.files.iter_mut().for_each(|file| file.accepted = None);
        Ok(())
    }

    pub(super) fn go_on(&self) -> Result<()> {
        match self.stopping() {
            true => Err(Error::new(ErrorKind::Interrupted, "asked to stop")),
            false => Ok(()),
        }
    }

    /// Whether the files of a batch that has ended are still to be copied.
    pub(super) fn awaits_pin(&self, id: &BatchId) -> Result<bool> {
        let work = self.store.read(|view| view.pin_work(id))?;
        Ok(self.settings().pin && work.is_some_and(|work| work.task == PinTask::Copy))
    }

    /// Copies and removes what is due. Returns when something is due next.
    ///
    /// # Errors
    /// Those of the store alone: what else fails is tried again later.
    pub fn keep_pins(&self) -> Result<Option<Timestamp>> {
        // First what goes: its batch may wait, and then it is copied anew.
        let next = self.see_to_pins(false)?;
        if !self.settings().pin {
            return Ok(next);
        }
        self.pin_waiting()?;
        self.see_to_pins(true)
    }

    /// Removes what is due and has copies tell what they are to, and copies nothing.
    ///
    /// # Errors
    /// As [`Self::keep_pins`].
    pub fn remove_pins(&self) -> Result<()> {
        self.see_to_pins(false).map(drop)
    }

    fn see_to_pins(&self, copies: bool) -> Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        for (id, work) in self.store.read(|view| view.all_pin_work())? {
            if self.stopping() || work.task == PinTask::Copy && !copies {
                continue;
            }
            if work.task == PinTask::Copy && self.too_little_room().is_some() {
                let at = due::after(self.clock.now(), WITHOUT_ROOM);
                next = Some(next.map_or(at, |next| next.min(at)));
                continue;
            }
            let now = self.clock.now();
            if let Some(at) = work.next_attempt.and_then(|at| due::ahead(at, now, due::LONGEST)) {
                next = Some(next.map_or(at, |next| next.min(at)));
                continue;
            }
            // Nobody collects a pin while it is being made.
            let _making = self.pinning.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let done = match work.task {
                PinTask::Copy => self.copy_pin(&id, &work),
                PinTask::Remove => self.remove_pin(&id, &work),
                PinTask::Tell => self.tell_pin(&id, &work),
            };
            match done {
                Ok(()) => {}
                Err(error) if self.is_fatal(&error) => return Err(error),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if let Some(at) = self.pin_failed(&id, work, &error)? {
                        next = Some(next.map_or(at, |next| next.min(at)));
                    }
                }
            }
        }
        Ok(next)
    }

    /// Keeps pins until the process is to end.
    ///
    /// # Errors
    /// As [`Self::keep_pins`].
    pub(super) fn follow_pins(&self) -> Result<()> {
        while !self.stopping() {
            let generation = self.work.generation();
            let due = self.keep_pins()?;
            let most = due.map_or(IDLE, |due| {
                let left = Duration::try_from(due.duration_since(self.clock.now())).unwrap_or_default();
                left.clamp(Duration::from_millis(10), IDLE)
            });
            self.work.wait(generation, most);
            // A busy service commits many times a second.
            self.clock.sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The next batch of a source that is held waits with it, and what has
    /// waited for long behind it, or behind a parked one, may have to wait for
    /// longer than the inbox keeps it.
    fn pin_waiting(&self) -> Result<()> {
        let since = self.clock.now().checked_sub(LONG).unwrap_or(Timestamp::MIN);
        let missing = self.store.read(|view| {
            let mut missing = Vec::new();
            for source in view.sources_with_unfinished()? {
                let held = view.source_hold(&source)?.is_some();
                let mut first = true;
                view.each_unfinished(&source, |record| {
                    let waits = record.accepted_at <= since || held && first;
                    first = false;
                    if waits
                        && record.is_delivered()
                        && record.pin.is_none()
                        && view.pin_work(&record.batch_id)?.is_none()
                    {
                        missing.push(record.batch_id);
                    }
                    // Those behind it were accepted later, but for late ones.
                    Ok(waits)
                })?;
            }
            Ok(missing)
        })?;
        missing.iter().try_for_each(|id| self.pin_batch(id))
    }

    fn copy_pin(&self, id: &BatchId, work: &PinWork) -> Result<()> {
        let record = self.batch(id)?;
        if !record.wants_pin() && record.status.is_final() {
            // It ended before the copy was begun.
            let (id, work) = (id.clone(), work.clone());
            return self.store.write(move |tx| done(tx, &id, &work).map(drop));
        }
        let folder = self.state.pin_path(id);
        if self.is_pin_of(id, &record.folder) {
            // What is made first takes away what lies there.
            let text = format!("batch {id}: its files are nowhere but where they are copied to");
            return Err(Error::new(ErrorKind::FileMissing, text));
        }
        let made = match self.adopt(&record, work, &folder)? {
            Some(made) => made,
            None => self.make_pin(&record, &folder).inspect_err(|_| {
                // What it took is free again; should it stay, it is collected.
                let _ = pin::remove(&folder);
            })?,
        };
        let pin = Pin {
            at: self.clock.now(),
            files: made.files.len() as u64,
            bytes: made.files.iter().map(|file| file.bytes).sum(),
        };
        let (batch, hash, work) = (id.clone(), made.manifest_hash, work.clone());
        let kept = self.store.write(move |tx| {
            let mut record = tx.expect_batch(&batch)?;
            if !record.wants_pin() && record.status.is_final() {
                // It ended, or its dead letter was settled meanwhile.
                tx.set_pin_work(&batch, Some(&PinWork::new(PinTask::Remove)))?;
                return Ok(None);
            }
            // What is asked for by now is done next: it is another batch of the
            // same name, or its files may be others.
            if record.manifest_hash != hash || !done(tx, &batch, &work)? {
                return Ok(None);
            }
            let text = format!("its files were copied under the state URL: {} bytes", pin.bytes);
            record.pin = Some(pin);
            tx.put_batch(&record)?;
            tx.remark(&record, text, SELF)?;
            Ok(Some(record))
        })?;
        if let Some(record) = kept.filter(|record| record.status.is_final()) {
            self.clear_spool(&record);
        }
        Ok(())
    }

    /// A pin that was complete when the process ended, and was not to go since
    /// then: what was tried again meanwhile is perhaps not what it is of.
    fn adopt(&self, record: &BatchRecord, work: &PinWork, folder: &Path) -> Result<Option<PinManifest>> {
        let usable = |made: &PinManifest| {
            work.asked == 1
                && made.format == pin::FORMAT
                && made.batch_id == record.batch_id
                && made.manifest_hash == record.manifest_hash
        };
        let found = read_checked::<PinManifest>(&folder.join(PIN)).ok().filter(usable);
        if let Some(made) = found
            && pin::verify(folder, &made, &|_| self.go_on()).is_ok()
        {
            return Ok(Some(made));
        }
        pin::remove(folder).map(|()| None)
    }

    fn remove_pin(&self, id: &BatchId, work: &PinWork) -> Result<()> {
        pin::remove(&self.state.pin_path(id))?;
        let (id, work) = (id.clone(), work.clone());
        self.store.write(move |tx| done(tx, &id, &work).map(drop))
    }

    /// Told once for each reason, and tried again where that may help; when.
    pub(super) fn pin_failed(&self, id: &BatchId, work: PinWork, error: &Error) -> Result<Option<Timestamp>> {
        if work.task == PinTask::Copy && error.kind() == ErrorKind::FileUnsafe {
            let ended = self.batch(id)?.status.is_final();
            if ended {
                return self.pin_given_up(id, &work, error).map(|()| None);
            }
        }
        let attempts = work.attempts.saturating_add(1);
        let at = due::after(self.clock.now(), due::doubling(attempts));
        let (id, text) = (id.clone(), error.to_string());
        let news = work.last_error.as_ref() != Some(&text);
        if news {
            tracing::warn!(batch = %id, source = %id.source(), %error, "its pin: tried again later");
        }
        self.store.write(move |tx| {
            if news {
                let what = match work.task {
                    PinTask::Copy => "its files could not be copied under the state URL yet",
                    PinTask::Remove => "the copy of its files could not be removed yet",
                    PinTask::Tell => "the copy of its files does not tell yet what a person made of it",
                };
                let record = tx.expect_batch(&id)?;
                tx.remark(&record, format!("{what}: {text}"), SELF)?;
            }
            // A decision that came meanwhile stands.
            if tx.pin_work(&id)?.is_some_and(|now| now.is_still(&work)) {
                let work = PinWork { attempts, next_attempt: Some(at), last_error: Some(text), ..work };
                tx.set_pin_work(&id, Some(&work))?;
            }
            Ok(Some(at))
        })
    }

    /// What can't be copied by trying again: a link. Whoever mends the batch
    /// puts a file in its place, and a retry reads it there.
    fn pin_given_up(&self, id: &BatchId, work: &PinWork, error: &Error) -> Result<()> {
        tracing::warn!(batch = %id, source = %id.source(), %error, "its files can't be kept under the state URL");
        let (id, work, text) = (id.clone(), work.clone(), error.to_string());
        self.store.write(move |tx| {
            let record = tx.expect_batch(&id)?;
            tx.remark(&record, format!("its files can't be kept under the state URL: {text}"), SELF)?;
            done(tx, &id, &work).map(drop)
        })
    }

    /// Removes pins of a source that belong to no batch, as a state URL that
    /// was recovered has them. Returns how many.
    pub(super) fn collect_pins(&self, source: &SourceId) -> Result<u64> {
        let Ok(_making) = self.pinning.try_lock() else { return Ok(0) };
        let mut removed = 0;
        for (name, folder) in self.state.pins(source)? {
            let Ok(id) = format!("{source}:{name}").parse::<BatchId>() else { continue };
            let live = self.store.read(|view| {
                let pinned = view.batch(&id)?.is_some_and(|record| record.pin.is_some());
                Ok(pinned || view.pin_work(&id)?.is_some())
            })?;
            if !live {
                pin::remove(&folder)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Has nothing be left to do about a pin, unless something else was asked for
/// since this was begun. Returns whether that is so.
pub(super) fn done(tx: &mut Tx<'_>, id: &BatchId, begun: &PinWork) -> Result<bool> {
    let is_still = tx.pin_work(id)?.is_some_and(|now| now.is_still(begun));
    if is_still {
        tx.set_pin_work(id, None)?;
    }
    Ok(is_still)
}
