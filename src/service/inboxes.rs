//! From the inboxes into the queue: what is complete is accepted, what was
//! changed afterwards is reported, and remote batches are brought here.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::SignedDuration;
use url::Url;

use super::accept::FoundIn;
use super::engine::Engine;
use super::given::clear;
use crate::domain::ids::{BatchId, FolderName, SourceId};
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::Batch;
use crate::intake::inbox::InboxSettings;
use crate::intake::manifest::MANIFEST;
use crate::intake::monitor::{self, InboxFolder};
use crate::intake::prefix::{self, Prefix};
use crate::intake::{fetch, folder, signature};
use crate::planning::halt::Halt;
use crate::store::{BatchRecord, InboxEntry, InboxState};

/// Folder of the data directory that remote batches are brought to.
const SPOOL: &str = "spool";

/// What is said of an inbox that is gone.
pub(super) const NOT_THERE: &str = "it is not there";

/// What a folder that is complete became.
pub(super) enum Became {
    /// A batch.
    Batch,
    /// A batch that can't be published.
    Failed,
    /// Nothing, for good.
    Nothing,
    /// Nothing yet; in a moment, perhaps.
    Soon,
    /// Nothing yet.
    Later,
}

/// A batch's folder in a prefix.
pub(super) struct Place {
    pub(super) prefix: Arc<dyn Prefix>,
    /// The prefix's URL.
    pub(super) inbox: Url,
    /// The folder's path below it.
    pub(super) path: String,
}

impl Engine {
    /// The prefix that an inbox watches.
    pub(super) fn prefix(&self, url: &Url) -> Result<Arc<dyn Prefix>> {
        let mut open = self.prefixes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(prefix) = open.get(url) {
            return Ok(Arc::clone(prefix));
        }
        let prefix = prefix::open(url)?;
        open.insert(url.clone(), Arc::clone(&prefix));
        Ok(prefix)
    }

    /// Reads an inbox through `prefix` instead of what its URL says: tests put
    /// their own object stores here.
    pub fn with_prefix(self, url: Url, prefix: Arc<dyn Prefix>) -> Self {
        self.prefixes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(url, prefix);
        self
    }

    /// A folder that is a batch already: if it is not what it was, that is
    /// reported, once. Returns whether it is to be looked at again. One that is
    /// empty, or could not be listed, says nothing: inboxes are cleared.
    pub(super) fn compare(
        &self,
        inbox: &InboxSettings,
        found: &InboxFolder,
        entry: &InboxEntry,
    ) -> Result<bool> {
        let InboxState::Accepted { batch_id } = &entry.state else { return Ok(false) };
        if signature::still(&entry.signature, &found.objects) || found.objects.is_empty() {
            return Ok(true);
        }
        let batch = self.store.read(|view| view.batch(batch_id))?;
        if batch.as_ref().is_some_and(|batch| batch.status == PublishStatus::Failed) {
            // It is mended where it lies, and a retry reads it again.
            return Ok(false);
        }
        const CHANGED: &str = "the folder was changed after it was accepted; it is not read again";
        tracing::warn!(batch = %batch_id, source = %batch_id.source(), "{CHANGED}");
        let entry = InboxEntry {
            signature: entry.signature.clone(),
            state: InboxState::Changed { batch_id: batch_id.clone() },
            at: self.clock.now(),
        };
        let (url, path) = (inbox.url.to_string(), found.path.clone());
        self.store.write(move |tx| {
            if let Some(batch) = &batch {
                tx.remark(batch, CHANGED, super::SELF)?;
            }
            tx.put_inbox_entry(&url, &path, &entry)
        })?;
        Ok(false)
    }

    pub(super) fn accept_folder(
        &self,
        inbox: &InboxSettings,
        prefix: &dyn Prefix,
        found: &InboxFolder,
        settle: SignedDuration,
    ) -> Result<Became> {
        let Some((source, name)) = &found.names else { return Ok(Became::Later) };
        // Without a manifest a file that can't be read would be left out unseen.
        if !found.has(MANIFEST)
            && !prefix
                .listing(&found.path)
                .is_ok_and(|now| monitor::unusable(inbox, found, &now.unusable, &now.folders).is_none())
        {
            return Ok(Became::Later);
        }
        let id = BatchId::new(source.clone(), name.clone());
        let unknown = self.unknown_source(&self.settings(), source);
        let what = format!("folder {}{}", inbox.url, found.path);
        let found_in = || FoundIn {
            inbox: inbox.url.to_string(),
            folder: found.path.clone(),
            signature: found.signature.clone(),
        };
        let opened = self
            .forget_brought(prefix, found, &id)
            .and_then(|()| self.open_folder(prefix, found, &id))
            .and_then(|batch| self.record(&batch));
        // A file may grow between the listing and the reading; an object does not.
        let may_grow = opened.is_ok() && prefix.local(&found.path).is_some();
        if may_grow
            && prefix.objects(&found.path).is_ok_and(|objects| !signature::still(&found.signature, &objects))
        {
            return Ok(Became::Soon);
        }
        let queued = opened.and_then(|mut record| {
            if self.has_no_mode(found) {
                record.mode = None;
            }
            self.put_in_queue(record, unknown, Some(found_in()))
        });
        let became = match queued {
            Ok(id) => {
                tracing::info!(batch = %id, %source, "accepted");
                Became::Batch
            }
            Err(error) if error.kind() == ErrorKind::IdReused => {
                tracing::warn!(batch = %id, %source, %error, "refused");
                let state = InboxState::Ignored { reason: error.to_string() };
                let entry = InboxEntry { signature: found.signature.clone(), state, at: self.clock.now() };
                let (url, path) = (inbox.url.to_string(), found.path.clone());
                self.store.write(move |tx| tx.put_inbox_entry(&url, &path, &entry))?;
                Became::Nothing
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::ManifestInvalid | ErrorKind::ManifestMissing)
                    && self.clock.now().duration_since(found.newest).abs() < settle =>
            {
                // Perhaps it is being written at this moment.
                return Ok(Became::Soon);
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::ObjectStore | ErrorKind::Io | ErrorKind::DiskFull) =>
            {
                // It is found again at the next look.
                if self.folded.is_news(&what, &error.to_string()) {
                    tracing::warn!(batch = %id, %source, %error, "the batch can't be read now");
                }
                return Ok(Became::Later);
            }
            Err(error) if self.is_fatal(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(batch = %id, %source, %error, "the batch can't be accepted");
                self.accept_broken(prefix, &id, found, &error, found_in())?;
                Became::Failed
            }
        };
        self.folded.over(&what);
        Ok(became)
    }

    /// What lies where a batch is brought to that nobody knows is of another one.
    fn forget_brought(&self, prefix: &dyn Prefix, found: &InboxFolder, id: &BatchId) -> Result<()> {
        let is_new = self.store.read(|view| view.batch(id))?.is_none();
        if is_new && prefix.local(&found.path).is_none() { clear(&self.spool(id)) } else { Ok(()) }
    }

    /// Whether nobody has said how a folder is meant: it has no manifest, and its
    /// source no `mode`.
    pub(super) fn has_no_mode(&self, found: &InboxFolder) -> bool {
        let mode = |(source, _): &(SourceId, FolderName)| self.settings().source(source).mode;
        !found.has(MANIFEST) && found.names.as_ref().and_then(mode).is_none()
    }

    pub(super) fn open_folder(
        &self,
        prefix: &dyn Prefix,
        found: &InboxFolder,
        id: &BatchId,
    ) -> Result<Batch> {
        let (source, name) = (id.source(), id.folder());
        let local = prefix.local(&found.path).unwrap_or_else(|| self.spool(id));
        let manifest = found.objects.iter().find(|object| object.name == MANIFEST);
        let mut batch = match manifest {
            Some(manifest) => {
                let is_remote = prefix.local(&found.path).is_none();
                if is_remote {
                    fetch::bring(prefix, &found.path, manifest, &local, &|_| Ok(()))?;
                }
                let mut batch = folder::open_in_inbox(&local, source, name)?;
                if is_remote {
                    fetch::note_listed(prefix, &found.path, &mut batch.files)?;
                }
                batch
            }
            None => {
                std::fs::create_dir_all(&local).map_err(|e| Error::io(&local, e))?;
                let settings = self.settings().source(source);
                folder::open_without_manifest(&local, source, name, &settings, &found.objects)?
            }
        };
        batch.url = prefix.url_of(&found.path);
        Ok(batch)
    }

    /// A batch whose manifest can't be used is FAILED, with what its folder's
    /// name says of it (contract: the publish state).
    fn accept_broken(
        &self,
        prefix: &dyn Prefix,
        id: &BatchId,
        found: &InboxFolder,
        error: &Error,
        found_in: FoundIn,
    ) -> Result<()> {
        let folder = prefix.local(&found.path).unwrap_or_else(|| self.spool(id));
        // Known by its manifest, as any batch, if that can be read at all.
        let hash = folder::read_manifest(&folder).map(|bytes| folder::hash_of(&bytes));
        let hash = hash.unwrap_or_else(|_| found.signature.clone());
        let meant = folder::mode_meant(&folder);
        let record = self.unread(id, prefix.url_of(&found.path), folder, hash)?;
        self.put_unread(record, error, meant, Some(found_in)).map(drop)
    }

    /// Where remote batches are brought to.
    pub(super) fn spool_root(&self) -> PathBuf {
        self.settings().data.join(SPOOL)
    }

    pub(super) fn spool(&self, id: &BatchId) -> PathBuf {
        self.spool_root().join(id.source().as_str()).join(id.folder().to_string())
    }

    /// Brings the files of a batch that does not lie on this machine.
    ///
    /// # Errors
    /// As [`fetch::bring_batch`].
    pub(super) fn bring(&self, batch: &Batch, halt: Halt<'_>) -> Result<()> {
        if batch.is_local() || self.is_pin_of(&batch.id, &batch.folder) {
            return Ok(());
        }
        let Some(Place { prefix, inbox, path }) = self.place_of(&batch.id, &batch.url)? else {
            let text = format!("batch {}: no inbox has {} any more", batch.id, batch.url);
            return Err(Error::new(ErrorKind::Settings, text));
        };
        let entry = self.store.read(|view| view.inbox_entry(inbox.as_str(), &path))?;
        let accepted = entry.map(|entry| entry.signature).unwrap_or_default();
        fetch::bring_batch(&*prefix, &path, &accepted, batch, &|_| halt.check())
    }

    /// Where a batch lies: in one of the inboxes, or by itself, as `publish`
    /// was given it; as that also where an inbox has it that did not see it yet.
    pub(super) fn place_of(&self, id: &BatchId, url: &str) -> Result<Option<Place>> {
        let path = format!("{}/{}", id.source(), id.folder());
        // What a folder was passed by as is not how the batch lies that was made of it.
        let is_of_batch = |entry: &InboxEntry| match &entry.state {
            InboxState::Accepted { batch_id } | InboxState::Changed { batch_id } => {
                batch_id.with_n(0) == id.with_n(0)
            }
            InboxState::Ignored { .. } => false,
        };
        let is_known = |inbox: &Url, path: &str| {
            let entry = self.store.read(|view| view.inbox_entry(inbox.as_str(), path))?;
            Ok::<_, Error>(entry.as_ref().is_some_and(is_of_batch))
        };
        let mut place = None;
        for inbox in &self.settings().inboxes {
            let prefix = self.prefix(&inbox.url)?;
            if prefix.url_of(&path) == url {
                let known = is_known(&inbox.url, &path)?;
                place = Some(Place { prefix, inbox: inbox.url.clone(), path: path.clone() });
                if known {
                    return Ok(place);
                }
            }
        }
        match prefix::parent_of(url) {
            Ok((inbox, path)) if is_known(&inbox, &path)? => {
                Ok(Some(Place { prefix: self.prefix(&inbox)?, inbox, path }))
            }
            Ok(_) | Err(_) => Ok(place),
        }
    }

    /// Removes what was brought of a batch that has ended.
    pub(super) fn clear_spool(&self, record: &BatchRecord) {
        let spool = self.spool(&record.batch_id);
        if !record.is_local() && spool.exists() {
            // Should it stay, it only takes room.
            let _ = std::fs::remove_dir_all(&spool);
        }
    }
}
