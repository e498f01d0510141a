//! From the inboxes into the queue: what is complete is accepted, what was
//! changed afterwards is reported, and remote batches are brought here.

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::engine::Engine;
use crate::config::Settings;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishStatus;
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::domain::stamp::Stamp;
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::Batch;
use crate::intake::inbox::InboxSettings;
use crate::intake::manifest::MANIFEST;
use crate::intake::monitor::{self, InboxFolder};
use crate::intake::prefix::{self, Prefix};
use crate::intake::{fetch, folder};
use crate::store::{BatchRecord, InboxEntry, InboxState};

/// Folder of the data directory that remote batches are brought to.
const SPOOL: &str = "spool";

/// Why a folder that is complete is still no batch: it has no manifest, and
/// its source's settings do not say how it is meant.
pub fn held(settings: &Settings, folder: &InboxFolder) -> Option<String> {
    let (source, _) = folder.names.as_ref().filter(|_| folder.waits.is_none() && !folder.has(MANIFEST))?;
    let missing = settings.source(source).mode.is_none();
    missing.then(|| format!("it has no {MANIFEST}, and `sources.{source}.mode` is not set"))
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

    /// Looks into an inbox once: accepts what is complete, and reports folders
    /// that were changed after they became batches. Returns how many batches
    /// are new.
    ///
    /// # Errors
    /// When the inbox can't be listed, or the store fails.
    pub fn scan_inbox(&self, inbox: &InboxSettings) -> Result<usize> {
        let url = inbox.url.as_str();
        let prefix = self.prefix(&inbox.url)?;
        let folders = self.store.read(|view| {
            monitor::scan(inbox, &*prefix, self.clock.now(), |path| {
                Ok(match view.inbox_entry(url, path)?.map(|entry| entry.state) {
                    // Finished ones are not looked into again.
                    Some(InboxState::Accepted { batch_id }) => {
                        view.batch(&batch_id)?.is_none_or(|batch| batch.status.is_final())
                    }
                    Some(InboxState::Changed { .. } | InboxState::Ignored { .. }) => true,
                    None => false,
                })
            })
        })?;
        let mut accepted = 0;
        let mut complete: Vec<InboxFolder> =
            folders.into_iter().filter(|folder| folder.waits.is_none()).collect();
        complete.sort_by(|a, b| a.names.as_ref().map(|n| &n.1).cmp(&b.names.as_ref().map(|n| &n.1)));
        for folder in complete {
            let known = self.store.read(|view| view.inbox_entry(url, &folder.path))?;
            match known {
                Some(entry) => self.compare(inbox, &folder, &entry)?,
                None => accepted += usize::from(self.accept_folder(inbox, &*prefix, &folder)?),
            }
        }
        Ok(accepted)
    }

    /// A folder that is a batch already: if it is not what it was, that is
    /// reported, once.
    fn compare(&self, inbox: &InboxSettings, found: &InboxFolder, entry: &InboxEntry) -> Result<()> {
        let InboxState::Accepted { batch_id } = &entry.state else { return Ok(()) };
        if entry.signature == found.signature {
            return Ok(());
        }
        tracing::warn!(batch = %batch_id, source = %batch_id.source(), "the folder was changed after it was accepted; it is not read again");
        let entry = InboxEntry {
            signature: entry.signature.clone(),
            state: InboxState::Changed { batch_id: batch_id.clone() },
            at: self.clock.now(),
        };
        let (url, path) = (inbox.url.to_string(), found.path.clone());
        self.store.write(move |tx| tx.put_inbox_entry(&url, &path, &entry))
    }

    fn accept_folder(&self, inbox: &InboxSettings, prefix: &dyn Prefix, found: &InboxFolder) -> Result<bool> {
        let Some((source, name)) = &found.names else { return Ok(false) };
        let id = BatchId::new(source.clone(), name.clone());
        let state = match self.open_folder(prefix, found, &id).and_then(|batch| self.accept_batch(&batch)) {
            Ok(id) => {
                tracing::info!(batch = %id, %source, "accepted");
                InboxState::Accepted { batch_id: id }
            }
            Err(error) if error.kind() == ErrorKind::IdReused => {
                tracing::warn!(batch = %id, %source, %error, "refused");
                InboxState::Ignored { reason: error.to_string() }
            }
            Err(error) if error.kind() == ErrorKind::ModeMissing => {
                // Held until the settings say it: `inbox list` tells the reason.
                tracing::debug!(batch = %id, %source, %error, "it waits");
                return Ok(false);
            }
            Err(error) if error.kind() == ErrorKind::ObjectStore => {
                // It is found again at the next look.
                tracing::warn!(batch = %id, %source, %error, "the batch can't be read now");
                return Ok(false);
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::Io | ErrorKind::DiskFull | ErrorKind::StoreFailed) =>
            {
                return Err(error);
            }
            Err(error) => {
                tracing::warn!(batch = %id, %source, %error, "the batch can't be accepted");
                self.accept_broken(prefix, &id, found, &error)?;
                InboxState::Accepted { batch_id: id }
            }
        };
        let fresh = matches!(state, InboxState::Accepted { .. });
        let entry = InboxEntry { signature: found.signature.clone(), state, at: self.clock.now() };
        let (url, path) = (inbox.url.to_string(), found.path.clone());
        self.store.write(move |tx| tx.put_inbox_entry(&url, &path, &entry))?;
        Ok(fresh)
    }

    fn open_folder(&self, prefix: &dyn Prefix, found: &InboxFolder, id: &BatchId) -> Result<Batch> {
        let (source, name) = (id.source(), id.folder());
        let local = prefix.local(&found.path).unwrap_or_else(|| self.spool(id));
        let manifest = found.objects.iter().find(|object| object.name == MANIFEST);
        let mut batch = match manifest {
            Some(manifest) => {
                if prefix.local(&found.path).is_none() {
                    fetch::bring(prefix, &found.path, manifest, &local)?;
                }
                folder::open_in_inbox(&local, source, name)?
            }
            None => {
                std::fs::create_dir_all(&local).map_err(|e| Error::io(&local, e))?;
                let settings = self.settings.source(source);
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
    ) -> Result<()> {
        let time = id.folder().time();
        let batch = Batch {
            id: id.clone(),
            stamp: Stamp { source_timestamp: time, processing_timestamp: time, batch_id: id.clone() },
            url: prefix.url_of(&found.path),
            folder: prefix.local(&found.path).unwrap_or_else(|| self.spool(id)),
            workflow: String::new(),
            mode: Mode::Full,
            scope: Scope::default(),
            complexity: None,
            files: Vec::new(),
            manifest_hash: found.signature.clone(),
        };
        let mut record = self.record(&batch)?;
        record.mode = None;
        let details = super::publish::failure(error, Some("intake".into()), 0);
        let cause = error.to_string();
        let id = id.clone();
        self.store.write(move |tx| {
            if tx.batch(&id)?.is_some_and(|known| known.status != PublishStatus::Pending) {
                return Ok(());
            }
            tx.put_batch(&record)?;
            let now = tx.now();
            tx.transition_batch(&id, Event::Failed, &cause, "tidegate", |record| {
                record.publish_end = Some(now);
                record.failure = Some(details);
            })?;
            Ok(())
        })
    }

    fn spool(&self, id: &BatchId) -> PathBuf {
        self.settings.data.join(SPOOL).join(id.source().as_str()).join(id.folder().to_string())
    }

    /// Brings the files of a batch that does not lie on this machine.
    ///
    /// # Errors
    /// As [`fetch::bring_batch`].
    pub(super) fn bring(&self, batch: &Batch) -> Result<()> {
        if batch.url.starts_with("file:") {
            return Ok(());
        }
        let path = format!("{}/{}", batch.id.source(), batch.id.folder());
        for inbox in &self.settings.inboxes {
            let prefix = self.prefix(&inbox.url)?;
            if prefix.url_of(&path) != batch.url {
                continue;
            }
            let entry = self.store.read(|view| view.inbox_entry(inbox.url.as_str(), &path))?;
            let accepted = entry.map(|entry| entry.signature).unwrap_or_default();
            return fetch::bring_batch(&*prefix, &path, &accepted, batch);
        }
        let text = format!("batch {}: no inbox has {} any more", batch.id, batch.url);
        Err(Error::new(ErrorKind::Settings, text))
    }

    /// Removes what was brought of a batch that has ended.
    pub(super) fn clear_spool(&self, record: &BatchRecord) {
        let spool = self.spool(&record.batch_id);
        if !record.url.starts_with("file:") && spool.exists() {
            // Should it stay, it only takes room.
            let _ = std::fs::remove_dir_all(&spool);
        }
    }
}
