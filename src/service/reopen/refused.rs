//! What a retry is refused for, and what a person can do then.

use std::path::Path;

use super::super::engine::Engine;
use super::super::pinned::Opened;
use super::{Edited, Lies, Seen};
use crate::domain::ids::BatchId;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::{Batch, BatchFile};
use crate::intake::folder::{self, hash_of, is_data};
use crate::intake::manifest::MANIFEST;
use crate::store::BatchRecord;

impl Engine {
    /// # Errors
    /// [`ErrorKind::Conflict`] when a folder was changed since it was accepted, and
    /// its inbox, which wants more than a manifest, would not take it yet.
    pub(super) fn expect_taken(&self, record: &BatchRecord, seen: &Seen) -> Result<()> {
        match seen.waits.as_ref().filter(|_| seen.by_files) {
            Some(why) if !self.is_as_accepted(seen)? => Err(waits(record, why)),
            Some(_) | None => Ok(()),
        }
    }

    /// # Errors
    /// [`ErrorKind::Conflict`] when the copy that is to be read was made after the
    /// batch failed, and has not what it was accepted with.
    pub(super) fn expect_of_that(&self, record: &BatchRecord) -> Result<()> {
        let id = &record.batch_id;
        // One that is damaged is told by a plan.
        let Ok(Opened { made, batch, .. }) = self.open_pin(id, &self.state.pin_path(id)) else {
            return Ok(());
        };
        match batch {
            _ if made.failed.is_none() => Ok(()),
            Ok(batch) if batch.manifest_hash == record.manifest_hash => Ok(()),
            Ok(_) => Err(self.copy_alone(record)),
            Err(error) => Err(self.copy_alone(record).caused_by(error)),
        }
    }

    /// # Errors
    /// [`ErrorKind::Conflict`] when a file is `missing` where a batch is given with a
    /// mended manifest: it would take the place of all that was delivered of it.
    pub(in crate::service) fn expect_whole(
        &self,
        known: &BatchRecord,
        batch: &Batch,
        missing: Option<&BatchFile>,
    ) -> Result<()> {
        let Some(file) = missing else { return Ok(()) };
        let there = BatchRecord { url: batch.url.clone(), ..known.clone() };
        let mut action = "Give it with all its files.".to_owned();
        if known.pin.is_some() {
            let letter = self.letter_of(&batch.id);
            action.push_str(&format!(
                " The copy of its files is published with `tidegate dlq edit {letter} --requeue` and that manifest."
            ));
        }
        Err(lacks(&there, &file.path).with_action(action))
    }

    /// The error of a batch of which only a copy is there that does not tell what
    /// it is.
    pub(super) fn copy_alone(&self, record: &BatchRecord) -> Error {
        let id = &record.batch_id;
        let text = format!(
            "batch {id}: {} does not have it as a whole any more, and the copy of its files is not what it was accepted with: say what that is with `tidegate dlq edit {} --requeue`",
            record.url,
            self.letter_of(id)
        );
        Error::new(ErrorKind::Conflict, text)
    }

    /// The hash of the manifest in a folder, if it can be read.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when it is another one than the batch has and a
    /// person's edit was made of.
    pub(super) fn expect_made_of(
        &self,
        record: &BatchRecord,
        edited: &Edited<'_>,
        at: &Path,
    ) -> Result<Option<String>> {
        let Ok(bytes) = folder::read_manifest(at) else { return Ok(None) };
        let there = hash_of(&bytes);
        if there == record.manifest_hash || edited.of.is_none_or(|of| there == of) {
            return Ok(Some(there));
        }
        let id = &record.batch_id;
        let letter = self.letter_of(id);
        let text = format!("batch {id}: {} has another manifest than the edit was made of", record.url);
        // An edit on top of it is of the same manifest still, as a rule.
        Err(Error::new(ErrorKind::Conflict, text).with_action(format!(
            "Take what was delivered with `tidegate batches retry {id}`; or take the edit back, `tidegate dlq edit {letter} --undo`, and edit what lies there."
        )))
    }

    /// The number of a failed batch's dead letter, as commands take it.
    fn letter_of(&self, id: &BatchId) -> String {
        let letter = self.store.read(|view| view.batch_letter(id)).ok().flatten();
        letter.map_or_else(|| "NUMBER".to_owned(), |letter| letter.id.to_string())
    }

    /// # Errors
    /// [`ErrorKind::Conflict`] when the inbox would not take a folder by its files. One
    /// that wants manifests by now says nothing of what it took before.
    pub(super) fn expect_complete(&self, record: &BatchRecord, seen: &Seen, is_edited: bool) -> Result<()> {
        let Some(why) = seen.waits.as_ref().filter(|_| seen.by_files) else { return Ok(()) };
        let mut action = "Run this again when the folder is complete.".to_owned();
        // Perhaps its files are taken away one by one, and the copy is whole.
        if record.pin.is_some() && (is_edited || self.expect_of_that(record).is_ok()) {
            action.push_str(" With all of the folder moved away, the copy of its files is read.");
        }
        Err(waits(record, why).with_action(action))
    }

    /// The error of a batch of which nothing is left.
    pub(super) fn gone(&self, record: &BatchRecord) -> Error {
        let id = &record.batch_id;
        if self.is_pin_of(id, &record.folder) {
            // What is put there is never read, but removed.
            let text = format!(
                "batch {id}: it was recovered from the copy of its files, and there is no copy any more"
            );
            return Error::new(ErrorKind::Conflict, text).with_action(format!(
                "Give its folder again, without a server, `tidegate publish FOLDER`, then `tidegate batches retry {id}`; or have its source deliver it under a new run id."
            ));
        }
        let text =
            format!("batch {id}: nothing of it is left at {}, and there is no copy of its files", record.url);
        Error::new(ErrorKind::Conflict, text)
            .with_action("Put its files back there, or have its source deliver it again.")
    }

    /// A folder that lacks its manifest, which is written last: perhaps all else
    /// in it is being written again. A copy is read instead.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] where there is none.
    pub(super) fn without_manifest(&self, record: &BatchRecord) -> Result<Lies> {
        if record.pin.is_some() {
            return Ok(Lies::Partly);
        }
        let error = waits(record, &format!("it has no {MANIFEST}"));
        let letter = self.store.read(|view| view.batch_letter(&record.batch_id))?;
        Err(match letter.filter(|letter| letter.edited.is_some()) {
            Some(letter) => {
                let id = letter.id;
                error
                    .with_action(format!("It is requeued as it was edited with `tidegate dlq requeue {id}`."))
            }
            None => error,
        })
    }
}

/// # Errors
/// [`ErrorKind::Conflict`] when data lies in a folder without a manifest that a
/// batch was not accepted with.
pub(super) fn expect_no_more(record: &BatchRecord, seen: &Seen, files: &[BatchFile]) -> Result<()> {
    let has = |name: &str| files.iter().any(|file| file.path == name);
    match seen.folder.objects.iter().find(|object| is_data(&object.name) && !has(&object.name)) {
        None => Ok(()),
        Some(added) => {
            let text = format!(
                "batch {}: {}: with {} it is another batch: deliver it under a new run id, or give a mended file the name that it had",
                record.batch_id, record.url, added.name
            );
            Err(Error::new(ErrorKind::Conflict, text))
        }
    }
}

/// What a retry is told of a batch that is not, or not yet, one by its files.
pub(super) fn waits(record: &BatchRecord, why: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("batch {}: {}: {why}", record.batch_id, record.url))
}

pub(super) fn lacks(record: &BatchRecord, file: &str) -> Error {
    waits(record, &format!("file {file} is listed in the manifest that lies there now, and is not there"))
}

pub(super) fn mode_missing(record: &BatchRecord) -> Error {
    let (id, source) = (&record.batch_id, record.batch_id.source());
    let text = format!("batch {id} has no {MANIFEST}, and `sources.{source}.mode` is not set");
    Error::new(ErrorKind::ModeMissing, text)
}
