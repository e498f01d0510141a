//! What goes into the copy of a batch's files: of one that waits, what was
//! accepted; of one that failed, everything as it came. Both only if nothing
//! was changed while it was copied.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::accept::{had_manifest, recorded};
use super::engine::Engine;
use super::failing::concerns_batch;
use super::inboxes::Place;
use super::pinned::pin_manifest;
use super::pins::done;
use super::uploads::Scratch;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::{Batch, BatchFile};
use crate::intake::folder::hash_of;
use crate::intake::manifest::{MANIFEST, safe_path};
use crate::intake::pin::{self, Meant, PIN, PinManifest, PinnedFile, Wanted};
use crate::intake::{fetch, folder, signature};
use crate::planning::halt::Halt;
use crate::store::{BatchRecord, PinTask, PinWork};

/// The files of a folder, with their sizes and times.
type Lying = BTreeMap<String, (u64, Option<SystemTime>)>;

/// Where a failed batch's files are at hand.
struct AtHand {
    folder: PathBuf,
    /// The place of one in an object store, with the signature of its listing.
    listed: Option<(Place, String)>,
    /// What the folder goes with.
    _scratch: Option<Scratch>,
}

impl Engine {
    /// Copies the files of a batch to the folder `to`.
    ///
    /// # Errors
    /// [`ErrorKind::FileMissing`] when there are none, [`ErrorKind::FolderChanged`]
    /// when they were changed since the batch was accepted or while they were
    /// copied; [`ErrorKind::FileUnsafe`]; and those of disk and object store.
    pub(super) fn make_pin(&self, record: &BatchRecord, to: &Path) -> Result<PinManifest> {
        let batch = self.batch_of(record)?;
        std::fs::create_dir_all(to).map_err(|e| Error::io(to, e))?;
        let is_failed = record.status == PublishStatus::Failed;
        let files = match is_failed {
            true => self.copy_as_it_came(record, &batch, to)?,
            false => self.copy_as_accepted(record, &batch, to)?,
        };
        self.state.sync_tree(to)?;
        let made = PinManifest {
            format: pin::FORMAT.into(),
            batch_id: record.batch_id.clone(),
            manifest_hash: record.manifest_hash.clone(),
            failed: record.failure.as_ref().filter(|_| is_failed).map(|failure| failure.error_code.clone()),
            is: meant(record, batch)?,
            files,
        };
        self.state.write_checked(&to.join(PIN), &made)?;
        Ok(made)
    }

    /// Has the copy of a batch tell what a person made of it: should the store be lost,
    /// nothing else knows. It follows the requeue: what nobody requeued is not told.
    ///
    /// # Errors
    /// [`ErrorKind::PinDamaged`] when the copy can't be used, and those of the disk.
    pub(super) fn tell_pin(&self, id: &BatchId, work: &PinWork) -> Result<()> {
        let record = self.batch(id)?;
        if record.pin.is_some() {
            let at = self.state.pin_path(id);
            let made = pin_manifest(id, &at)?;
            let is = meant(&record, self.batch_of(&record)?)?.map(|is| Meant { edited: true, ..is });
            // It may have failed again by now.
            let failure = record.failure.filter(|_| record.status == PublishStatus::Failed);
            let failed = failure.map(|failure| failure.error_code);
            let told = PinManifest { manifest_hash: record.manifest_hash, failed, is, ..made };
            self.state.write_checked(&at.join(PIN), &told)?;
        }
        let (id, work) = (id.clone(), work.clone());
        self.store.write(move |tx| done(tx, &id, &work).map(drop))
    }

    /// The same at once, where nobody is at work on a copy. What that leaves, or a
    /// process that ends before, is done when pins are seen to next.
    pub(super) fn tell_pin_now(&self, id: &BatchId) {
        let Ok(_making) = self.pinning.try_lock() else { return };
        let work = self.store.read(|view| view.pin_work(id)).ok().flatten();
        let Some(work) = work.filter(|work| work.task == PinTask::Tell) else { return };
        let told = self.tell_pin(id, &work).or_else(|error| self.pin_failed(id, work, &error).map(drop));
        if let Err(error) = told {
            tracing::warn!(batch = %id, source = %id.source(), %error, "its pin: tried again later");
        }
    }

    fn copy_as_accepted(&self, record: &BatchRecord, batch: &Batch, to: &Path) -> Result<Vec<PinnedFile>> {
        let stopping = || self.stopping();
        let has_manifest = had_manifest(record)?;
        if folder::check_files(batch).is_err() {
            self.bring(batch, Halt::when(&stopping))?;
            folder::check_files(batch)?;
        } else if has_manifest && !batch.folder.join(MANIFEST).is_file() {
            match self.bring(batch, Halt::when(&stopping)) {
                // Its data is at hand, and is copied without it.
                Err(error) if concerns_batch(error.kind()) => {}
                brought => brought?,
            }
        }
        let stated =
            |file: &BatchFile| Wanted { path: file.path.clone(), bytes: file.bytes, xxh3: file.xxh3 };
        let mut files = self.copy_all(&batch.folder, to, batch.files.iter().map(stated))?;
        if has_manifest && batch.folder.join(MANIFEST).is_file() {
            let manifest = self.copy_all(&batch.folder, to, std::iter::once(wanted(MANIFEST)))?;
            let bytes = folder::read_manifest(to)?;
            if hash_of(&bytes) == record.manifest_hash {
                files.extend(manifest);
            } else {
                // Another one was put in its place: what it says is not of this batch.
                let copied = to.join(MANIFEST);
                std::fs::remove_file(&copied).map_err(|e| Error::io(&copied, e))?;
            }
        }
        // Each was looked at around its own copy; the others had time meanwhile.
        folder::check_files(batch)?;
        Ok(files)
    }

    /// What failed may have failed for its manifest: it is not asked.
    fn copy_as_it_came(&self, record: &BatchRecord, batch: &Batch, to: &Path) -> Result<Vec<PinnedFile>> {
        let at = self.at_hand(record, batch)?;
        let before = lying(&at.folder, &batch.files)?;
        if before.is_empty() {
            let text = format!("batch {}: {} is not there", record.batch_id, record.url);
            return Err(Error::new(ErrorKind::FileMissing, text));
        }
        let files = self.copy_all(&at.folder, to, before.keys().map(|name| wanted(name)))?;
        let is_same = match &at.listed {
            Some((place, listed)) => signature::of(&place.prefix.objects(&place.path)?) == *listed,
            None => true,
        };
        if !is_same || lying(&at.folder, &batch.files)? != before {
            let text = format!("batch {}: {} was changed while it was copied", record.batch_id, record.url);
            return Err(Error::new(ErrorKind::FolderChanged, text));
        }
        Ok(files)
    }

    fn copy_all(
        &self,
        from: &Path,
        to: &Path,
        files: impl Iterator<Item = Wanted>,
    ) -> Result<Vec<PinnedFile>> {
        files.map(|file| pin::copy(from, to, &file, &|_| self.go_on())).collect()
    }

    /// Brings what lies in an object store here, and all of it.
    fn at_hand(&self, record: &BatchRecord, batch: &Batch) -> Result<AtHand> {
        let here = || AtHand { folder: batch.folder.clone(), listed: None, _scratch: None };
        let place = self.place_of(&record.batch_id, &record.url)?.filter(|_| !batch.is_local());
        let Some(place) = place else { return Ok(here()) };
        let objects = place.prefix.objects(&place.path)?;
        if objects.is_empty() {
            // What was brought before is all that is left.
            return Ok(here());
        }
        let entry = self.store.read(|view| view.inbox_entry(place.inbox.as_str(), &place.path))?;
        let is_accepted = entry.is_some_and(|entry| signature::still(&entry.signature, &objects));
        // What was brought of something else, or of what nobody could read, is
        // told from it by its size alone.
        let scratch = match is_accepted && record.mode.is_some() {
            true => None,
            false => Some(self.scratch()?),
        };
        let to = scratch.as_ref().map_or(&*batch.folder, Scratch::path).to_path_buf();
        let listed = signature::of(&objects);
        let mut places = fetch::places(&*place.prefix, &place.path, objects, &batch.files)?;
        for (below, objects) in &mut places {
            // Of a folder of the folder only what is listed is known.
            let is_meant = |name: &str| match below.is_empty() {
                true => is_taken(name),
                false => batch.files.iter().any(|file| file.path == format!("{below}/{name}")),
            };
            objects.retain(|object| is_meant(&object.name));
            for object in &*objects {
                let from = fetch::folder_of(&place.path, below);
                fetch::bring(&*place.prefix, &from, object, &to.join(below), &|_| self.go_on())?;
            }
        }
        Ok(AtHand { folder: to, listed: Some((place, listed)), _scratch: scratch })
    }
}

/// How a batch is meant; `None` of one that nobody could read.
fn meant(record: &BatchRecord, batch: Batch) -> Result<Option<Meant>> {
    if record.status == PublishStatus::Failed && record.mode.is_none() {
        return Ok(None);
    }
    let as_stated = |files: Vec<BatchFile>| {
        files.into_iter().map(|file| BatchFile { accepted: None, listed: None, ..file }).collect()
    };
    let listing = record.listing.as_deref().map(recorded).transpose()?;
    Ok(Some(Meant {
        mode: record.mode,
        scope: batch.scope,
        workflow: batch.workflow,
        complexity: batch.complexity,
        source_timestamp: batch.stamp.source_timestamp,
        processing_timestamp: batch.stamp.processing_timestamp,
        files: as_stated(batch.files),
        listing: listing.map(as_stated),
        edited: false,
    }))
}

fn wanted(name: &str) -> Wanted {
    Wanted { path: name.to_owned(), bytes: None, xxh3: None }
}

/// Whether a file that no manifest speaks for is kept with a failed batch.
fn is_taken(name: &str) -> bool {
    name == MANIFEST || !name.starts_with('.') && safe_path(name).is_ok()
}

/// The files that lie in a folder, and those of a batch that lie deeper.
fn lying(folder: &Path, listed: &[BatchFile]) -> Result<Lying> {
    let mut lying = Lying::new();
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(lying),
        entries => entries.map_err(|e| Error::io(folder, e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let meta = entry.metadata().map_err(|e| Error::io(&entry.path(), e))?;
        if let Ok(name) = entry.file_name().into_string()
            && meta.is_file()
            && is_taken(&name)
        {
            lying.insert(name, (meta.len(), meta.modified().ok()));
        }
    }
    for file in listed {
        // A link among them is refused by name when it is copied.
        if safe_path(&file.path).is_ok()
            && let Ok(meta) = std::fs::metadata(folder.join(&file.path))
            && meta.is_file()
        {
            lying.insert(file.path.clone(), (meta.len(), meta.modified().ok()));
        }
    }
    Ok(lying)
}
