//! Into the queue: a batch that was opened becomes a record.

use std::path::{Path, PathBuf};

use super::engine::Engine;
use super::failing::failure;
use super::waiting::mode_missing;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishStatus;
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::domain::stamp::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::{Batch, BatchFile};
use crate::intake::folder::{self, hash_of_files};
use crate::store::{BatchRecord, BatchTotals, InboxEntry, InboxState, SourceHold, Tx};

/// Where a batch was found.
pub(super) struct FoundIn {
    /// URL of the inbox.
    pub(super) inbox: String,
    /// Path below it.
    pub(super) folder: String,
    /// What the folder's listing was like.
    pub(super) signature: String,
}

impl FoundIn {
    /// Remembers that the folder is a batch.
    pub(super) fn note(self, tx: &mut Tx<'_>, id: &BatchId) -> Result<()> {
        let state = InboxState::Accepted { batch_id: id.clone() };
        let entry = InboxEntry { signature: self.signature, state, at: tx.now() };
        tx.put_inbox_entry(&self.inbox, &self.folder, &entry)
    }
}

impl FoundIn {
    /// Remembers that the folder is no batch, for good.
    fn ignore(self, tx: &mut Tx<'_>, reason: String) -> Result<()> {
        let state = InboxState::Ignored { reason };
        let entry = InboxEntry { signature: self.signature, state, at: tx.now() };
        tx.put_inbox_entry(&self.inbox, &self.folder, &entry)
    }
}

/// The error of another manifest under the id of a batch.
fn reused(known: &BatchRecord) -> Error {
    if known.was_unread() {
        // It is no other batch: nobody could read what it is.
        let id = &known.batch_id;
        let text = format!(
            "batch {id} is FAILED, for it could not be read at {}; mended there, it is read again with `tidegate batches retry {id}`",
            known.url
        );
        return Error::new(ErrorKind::IdReused, text);
    }
    let text = format!(
        "batch {} was accepted {} from {} with another manifest",
        known.batch_id, known.accepted_at, known.url
    );
    let error = Error::new(ErrorKind::IdReused, text);
    if known.status == PublishStatus::Failed {
        let retry = format!("tidegate batches retry {}", known.batch_id);
        return error.with_action(format!(
            "Deliver the run again under a new run id; or, when it was mended in its folder, have it read again with `{retry}`."
        ));
    }
    error
}

impl Engine {
    /// Checks that a batch would not be refused as another one of its id.
    pub(super) fn check_id(&self, batch: &Batch) -> Result<()> {
        match self.store.read(|view| view.batch(&batch.id))? {
            Some(known) if known.manifest_hash != batch.manifest_hash && !known.was_unread() => {
                Err(reused(&known))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Accepts the batch in a folder: checks its manifest and queues it. A
    /// batch that was accepted before is left as it is.
    ///
    /// # Errors
    /// When the manifest breaks the contract, or the id was used before by
    /// another manifest; [`ErrorKind::DiskFull`] when there is less room than
    /// the floor.
    pub fn accept(&self, folder: &Path) -> Result<BatchId> {
        self.accept_batch(&folder::open_local(folder)?)
    }

    /// The record of a batch whose manifest can't be used, with what its id says
    /// of it (contract: the publish state).
    pub(super) fn unread(
        &self,
        id: &BatchId,
        url: String,
        folder: PathBuf,
        manifest_hash: String,
    ) -> Result<BatchRecord> {
        let time = id.folder().time();
        let batch = Batch {
            id: id.clone(),
            stamp: Stamp { source_timestamp: time, processing_timestamp: time, batch_id: id.clone() },
            url,
            folder,
            workflow: String::new(),
            mode: Mode::Full,
            scope: Scope::default(),
            complexity: None,
            withholds_nothing: false,
            files: Vec::new(),
            manifest_hash,
        };
        Ok(BatchRecord { mode: None, ..self.record(&batch)? })
    }

    /// Puts such a batch down as FAILED; `false` when there is one of its id
    /// already. `meant`: the mode that can be read all the same, which decides
    /// whether its source is held.
    pub(super) fn put_unread(
        &self,
        record: BatchRecord,
        error: &Error,
        meant: Option<Mode>,
        found: Option<FoundIn>,
    ) -> Result<bool> {
        let id = record.batch_id.clone();
        let details = failure(&id, error, Some("intake".into()), 0);
        let cause = error.to_string();
        let unknown = self.unknown_source(&self.settings(), id.source());
        let newer = self.newer_than(&record);
        let as_meant = BatchRecord { mode: meant, ..record.clone() };
        let held = self.hold_after(&as_meant, Some(error), newer.as_ref());
        self.store.write(move |tx| {
            let known = tx.batch(&id)?;
            // One that waits and lies elsewhere is another delivery.
            let takes_its_place = found.is_some()
                && known
                    .as_ref()
                    .is_some_and(|known| known.status == PublishStatus::Pending && known.url == record.url);
            if let Some(known) = known.filter(|_| !takes_its_place) {
                return match found {
                    Some(found) if known.url != record.url => {
                        found.ignore(tx, reused(&known).to_string()).map(|()| false)
                    }
                    Some(found) => found.note(tx, &id).map(|()| false),
                    None => Ok(false),
                };
            }
            if let Some(found) = found {
                found.note(tx, &id)?;
            }
            let source = id.source();
            if let Some(hold) = unknown
                && !tx.has_batches(source)?
            {
                super::failing::hold(tx, &id, &hold)?;
            }
            if let Some(held) = &held {
                super::failing::hold(tx, &id, held)?;
            }
            tx.put_batch(&record)?;
            let now = tx.now();
            tx.fail_batch(&id, (&cause, super::SELF), newer, |record| {
                record.publish_end = Some(now);
                record.failure = Some(details);
            })?;
            Ok(true)
        })
    }

    /// Queues a batch; `unknown` holds its source, should this be its first.
    /// Where it was found is remembered in the same commit: a worker that is
    /// woken by it asks for that.
    pub(super) fn put_in_queue(
        &self,
        record: BatchRecord,
        unknown: Option<SourceHold>,
        found: Option<FoundIn>,
    ) -> Result<BatchId> {
        let id = record.batch_id.clone();
        let held = mode_missing(&self.settings(), &record);
        self.store.write(move |tx| {
            let known = tx.batch(&record.batch_id)?;
            let is_same = known.as_ref().is_none_or(|known| known.manifest_hash == record.manifest_hash);
            if let Some(found) = found.filter(|_| is_same) {
                found.note(tx, &record.batch_id)?;
            }
            if let Some(known) = known {
                return if is_same { Ok(()) } else { Err(reused(&known)) };
            }
            let source = record.batch_id.source();
            if let Some(hold) = unknown
                && !tx.has_batches(source)?
            {
                tx.hold_source(source, &hold)?;
                tx.note_source(source, &format!("held: {}", hold.note), super::SELF)?;
            }
            tx.put_batch(&record)?;
            let cause =
                held.map_or_else(|| "accepted".to_owned(), |why| format!("accepted, and held: {why}"));
            tx.remark(&record, cause, super::SELF)
        })?;
        Ok(id)
    }

    pub(super) fn record(&self, batch: &Batch) -> Result<BatchRecord> {
        let known = Self::with_states(batch);
        let files = as_recorded(&known)?;
        let (stamp, url) = (batch.stamp.clone(), batch.url.clone());
        Ok(BatchRecord {
            workflow: batch.workflow.clone(),
            mode: Some(batch.mode),
            scope: batch.scope.clone(),
            complexity: batch.complexity,
            estimate: self.estimate(batch, &known),
            files,
            totals: BatchTotals {
                files: batch.files.len() as u64,
                lines: batch.files.iter().map(|file| file.count).sum(),
                bytes: batch.files.iter().map(|file| file.bytes).sum(),
            },
            manifest_hash: batch.manifest_hash.clone(),
            ..BatchRecord::pending(stamp, url, batch.folder.clone(), self.clock.now())
        })
    }

    /// The files of a batch as a record has them, with what those are like now
    /// that are read where they were delivered. What is brought from an object
    /// store is told by its listing.
    pub(super) fn files_as_they_are(&self, batch: &Batch) -> Result<String> {
        let mut files = Self::with_states(batch);
        files.iter_mut().for_each(|file| file.listed = None);
        as_recorded(&files)
    }

    fn with_states(batch: &Batch) -> Vec<BatchFile> {
        let mut files = batch.files.clone();
        files.iter_mut().for_each(|file| file.accepted = None);
        if batch.is_local() {
            for (file, state) in files.iter_mut().zip(folder::states(batch)) {
                file.accepted = state;
            }
        }
        files
    }

    pub(super) fn batch_of(&self, record: &BatchRecord) -> Result<Batch> {
        let files = recorded(&record.files)?;
        let mut stamp = record.stamp.clone();
        if record.absence.is_some() {
            // It is the original that speaks for what it does not list: what
            // was repaired of it since is newer (`SEMANTICS` 3).
            stamp.batch_id = record.batch_id.with_n(0);
        }
        Ok(Batch {
            id: record.batch_id.clone(),
            stamp,
            url: record.url.clone(),
            folder: record.folder.clone(),
            workflow: record.workflow.clone(),
            mode: record.mode.unwrap_or(Mode::Full),
            scope: record.scope.clone(),
            complexity: record.complexity,
            withholds_nothing: record.absence.is_some(),
            files,
            manifest_hash: record.manifest_hash.clone(),
        })
    }
}

/// Files as a record has them.
pub(super) fn as_recorded(files: &[BatchFile]) -> Result<String> {
    serde_json::to_string(files).map_err(|e| Error::internal("a file list").caused_by(e))
}

/// Files that a record has.
pub(super) fn recorded(files: &str) -> Result<Vec<BatchFile>> {
    serde_json::from_str(files).map_err(|e| Error::internal("a file list").caused_by(e))
}

/// The files that tell which batch it is, where that has no manifest: an edit makes
/// others of them.
pub(super) fn as_delivered(record: &BatchRecord) -> Result<Vec<BatchFile>> {
    recorded(record.listing.as_ref().unwrap_or(&record.files))
}

/// Whether a batch was accepted by a manifest, and not by its files.
pub(super) fn had_manifest(record: &BatchRecord) -> Result<bool> {
    Ok(record.manifest_hash != hash_of_files(&as_delivered(record)?))
}
