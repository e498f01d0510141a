//! Batches that a person gives: a folder, or a URL, that need not lie in an
//! inbox. One whose manifest can't be used is a batch that FAILED, as in an
//! inbox, and goes on when it is given again with one that can.

use std::path::Path;

use url::Url;
use xxhash_rust::xxh3::xxh3_128;

use super::SELF;
use super::accept::FoundIn;
use super::engine::Engine;
use super::operate::Retry;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::{Batch, is_local};
use crate::intake::manifest::MANIFEST;
use crate::intake::prefix::{self, Prefix};
use crate::intake::{fetch, folder};
use crate::store::BatchRecord;

impl Engine {
    /// Accepts the batch in a folder. One whose manifest can't be used is
    /// FAILED for it, if anything tells which batch it is.
    ///
    /// # Errors
    /// As [`Engine::accept`]; what is wrong with the manifest, where nothing
    /// tells which batch it is, or there is another one of its id.
    pub fn accept_given(&self, folder: &Path) -> Result<BatchId> {
        let error = match folder::open_local(folder) {
            Ok(batch) => return self.accept_batch(&batch),
            Err(error) if is_of_manifest(&error) => error,
            Err(error) => return Err(error),
        };
        let (place, url) = (absolute(folder)?, folder_url(folder)?);
        self.fail_given(folder, &place, url.into(), error)
    }

    /// The same, of a batch that lies in an object store, by its URL.
    ///
    /// # Errors
    /// As [`Engine::accept_given`], and when it can't be read there.
    pub fn accept_url(&self, url: &str) -> Result<BatchId> {
        let (inbox, name) = prefix::parent_of(url)?;
        let prefix = self.prefix(&inbox)?;
        // Its id, and so its place, is known when its manifest is here.
        let hash = xxh3_128(prefix.url_of(&name).as_bytes());
        let first = self.spool_root().join(format!(".{hash:032x}"));
        clear(&first)?;
        let accepted = self.accept_brought(&*prefix, &inbox, &name, &first);
        clear(&first)?;
        accepted
    }

    fn accept_brought(&self, prefix: &dyn Prefix, inbox: &Url, name: &str, first: &Path) -> Result<BatchId> {
        let signature = fetch::bring_manifest(prefix, name, first)?;
        let found = FoundIn { inbox: inbox.to_string(), folder: name.to_owned(), signature };
        let mut batch = match fetch::open_brought(prefix, name, first) {
            Ok(batch) => batch,
            Err(error) => {
                let url = prefix.url_of(name);
                let place = Url::parse(&url).map(|url| url.path().to_owned()).unwrap_or_default();
                let id = self.fail_given(first, Path::new(&place), url, error)?;
                let failed = id.clone();
                self.store.write(move |tx| found.note(tx, &failed))?;
                return Ok(id);
            }
        };
        batch.folder = self.spool(&batch.id);
        let known = self.store.read(|view| view.batch(&batch.id))?;
        let is_mended = is_mended(known.as_ref(), &batch);
        let is_new = known.is_none();
        if let Some(known) = known.as_ref().filter(|_| is_mended) {
            let places = fetch::places(prefix, name, prefix.objects(name)?, &batch.files)?;
            let missing = batch.files.iter().find(|file| fetch::find(&places, &file.path).is_none());
            self.expect_whole(known, &batch, missing)?;
        }
        if is_new || is_mended {
            self.check_room()?;
            clear(&batch.folder)?;
            std::fs::create_dir_all(&batch.folder).map_err(|e| Error::io(&batch.folder, e))?;
            let to = batch.folder.join(MANIFEST);
            std::fs::rename(first.join(MANIFEST), &to).map_err(|e| Error::io(&to, e))?;
        }
        if is_mended {
            let id = batch.id.clone();
            self.store.write(move |tx| found.note(tx, &id))?;
            return self.go_on_with(&batch);
        }
        let found = match &known {
            None => Some(found),
            Some(known) if self.is_known_by_copy(known) => {
                self.lies_again(known, &batch, Some(found))?;
                None
            }
            Some(_) => None,
        };
        self.put_in_queue(self.record(&batch)?, None, found)
    }

    /// Puts down as FAILED what was given with a manifest that can't be used:
    /// that lies in `manifest_in`, the batch in `place`, which `url` names.
    ///
    /// # Errors
    /// `error`, where that is something else, or makes no batch.
    fn fail_given(&self, manifest_in: &Path, place: &Path, url: String, error: Error) -> Result<BatchId> {
        let id = folder::meant(manifest_in, place).filter(|_| is_of_manifest(&error));
        let Some(id) = id else { return Err(error) };
        // One that can't be read has none, and so differs from any that can.
        let hash = folder::read_manifest(manifest_in).map(|bytes| folder::hash_of(&bytes));
        let hash = hash.unwrap_or_default();
        let local = if is_local(&url) { place.to_path_buf() } else { self.spool(&id) };
        self.check_room()?;
        let record = self.unread(&id, url, local, hash)?;
        if self.put_unread(record, &error, folder::mode_meant(manifest_in), None)? {
            Ok(id)
        } else {
            Err(error)
        }
    }

    /// Queues a batch that was opened. One that FAILED for its manifest is tried
    /// again, when that is another one now.
    pub fn accept_batch(&self, batch: &Batch) -> Result<BatchId> {
        let known = self.store.read(|view| view.batch(&batch.id))?;
        match &known {
            None => self.check_room()?,
            Some(known) if is_mended(Some(known), batch) => {
                let missing = batch.files.iter().find(|file| !batch.folder.join(&file.path).is_file());
                self.expect_whole(known, batch, missing)?;
                return self.go_on_with(batch);
            }
            Some(known) => self.follow(known, batch)?,
        }
        self.put_in_queue(self.record(batch)?, None, None)
    }

    /// Whether it is a batch that failed and was recovered, of which its copy is all
    /// that anybody knows.
    fn is_known_by_copy(&self, known: &BatchRecord) -> bool {
        known.status == PublishStatus::Failed && self.is_pin_of(&known.batch_id, &known.folder)
    }

    /// Has such a batch known by its folder again, of which its copy told nothing:
    /// what was mended there is what is tried again. `found`: how that lies in an
    /// object store.
    fn lies_again(&self, known: &BatchRecord, batch: &Batch, found: Option<FoundIn>) -> Result<()> {
        let (id, before) = (batch.id.clone(), known.folder.clone());
        let (url, folder) = (batch.url.clone(), batch.folder.clone());
        self.store.write(move |tx| {
            let mut record = tx.expect_batch(&id)?;
            if record.status != PublishStatus::Failed || record.folder != before {
                return Ok(());
            }
            if let Some(found) = found {
                found.note(tx, &id)?;
            }
            tx.remark(&record, format!("it was given again from {url}"), SELF)?;
            (record.url, record.folder) = (url, folder);
            tx.put_batch(&record)
        })
    }

    /// Has a batch that waits read from where it is given now, if it is not any
    /// more where it was.
    fn follow(&self, known: &BatchRecord, batch: &Batch) -> Result<()> {
        let waits = |record: &BatchRecord| {
            matches!(record.status, PublishStatus::Pending | PublishStatus::Retrying) && record.pin.is_none()
        };
        if self.is_known_by_copy(known) {
            return self.lies_again(known, batch, None);
        }
        let moved = known.is_local() && batch.is_local() && !known.folder.exists();
        if !moved || !waits(known) || known.manifest_hash != batch.manifest_hash {
            return Ok(());
        }
        let (url, folder) = (batch.url.clone(), batch.folder.clone());
        // A person may have made another manifest of it.
        let there = Batch { url: url.clone(), folder: folder.clone(), ..self.batch_of(known)? };
        let (before, files) = (known.files.clone(), self.files_as_they_are(&there)?);
        let id = batch.id.clone();
        self.store.write(move |tx| {
            let mut record = tx.expect_batch(&id)?;
            if !waits(&record) || record.files != before {
                return Ok(());
            }
            tx.remark(
                &record,
                format!("it is read from {url} now: it is not at {} any more", record.url),
                SELF,
            )?;
            (record.url, record.folder, record.files, record.next_attempt) = (url, folder, files, None);
            tx.put_batch(&record)
        })
    }

    /// Tries a batch again that FAILED for its manifest.
    fn go_on_with(&self, batch: &Batch) -> Result<BatchId> {
        let fresh = Retry { fresh: Some(self.record(batch)?), delivered: true, ..Retry::default() };
        self.retry_as(&batch.id, fresh, SELF, "its manifest can be read now")?;
        Ok(batch.id.clone())
    }
}

/// Whether it is the manifest that is wrong, what it names, or what it lies in:
/// something tells perhaps which batch it is of.
fn is_of_manifest(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ManifestInvalid | ErrorKind::ManifestVersion | ErrorKind::FileUnsafe)
}

/// Whether a batch FAILED for a manifest that was another one than it has now.
fn is_mended(known: Option<&BatchRecord>, batch: &Batch) -> bool {
    known.is_some_and(|known| known.was_unread() && known.manifest_hash != batch.manifest_hash)
}

fn absolute(folder: &Path) -> Result<std::path::PathBuf> {
    std::fs::canonicalize(folder).map_err(|e| Error::io(folder, e))
}

fn folder_url(folder: &Path) -> Result<Url> {
    Url::from_directory_path(absolute(folder)?)
        .map_err(|()| Error::internal(format!("{} has no URL", folder.display())))
}

/// Removes a folder, if it is there.
pub(super) fn clear(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}
