//! What a batch that failed is when it is tried again: it may have been mended
//! where it lies.

use std::path::Path;

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

use super::accept::FoundIn;
use super::engine::Engine;
use super::inboxes::Place;
use super::uploads::Scratch;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::{Batch, BatchFile};
use crate::intake::folder::{hash_of_files, is_data};
use crate::intake::inbox::Complete;
use crate::intake::manifest::MANIFEST;
use crate::intake::monitor::{self, InboxFolder};
use crate::intake::prefix::{Listing, Object};
use crate::intake::{fetch, folder, signature};
use crate::store::{BatchRecord, InboxEntry, InboxState};

/// A failed batch as it lies where it was delivered.
#[derive(Default)]
pub(super) struct Lies {
    /// What it is by that, if that is not what it was accepted as.
    pub(super) fresh: Option<BatchRecord>,
    /// What its folder is like, which a worker expects to find.
    pub(super) found: Option<FoundIn>,
    /// Whether what was brought of it before is not that.
    pub(super) stale: bool,
    /// Where its manifest was brought to, of a batch in an object store.
    pub(super) brought: Option<Scratch>,
}

impl Engine {
    /// Looks where a failed batch was delivered: at its manifest, or without one
    /// at its files. `edited`: what a person made of it, which it is then. Nothing
    /// is found of what is not there as a whole, or can't be looked at now.
    ///
    /// # Errors
    /// What is wrong with the manifest.
    pub(super) fn as_it_lies(&self, record: &BatchRecord, edited: Option<&BatchRecord>) -> Result<Lies> {
        if record.mode.is_none() && edited.is_none() {
            // Nothing is known of it but its folder's name.
            return self.reopen(record);
        }
        if self.is_made_here(record) {
            return Ok(Lies::default());
        }
        let Some(place) = self.place_of(&record.batch_id, &record.url)? else {
            let fresh = match edited {
                None if self.has_other_manifest(record) => Some(self.by_manifest(record, &record.folder)?),
                Some(_) | None => None,
            };
            return Ok(Lies { fresh, ..Lies::default() });
        };
        let listing = match place.prefix.listing(&place.path) {
            // With a copy nobody knows which of both is meant.
            Err(error)
                if record.pin.is_none() && matches!(error.kind(), ErrorKind::ObjectStore | ErrorKind::Io) =>
            {
                tracing::debug!(batch = %record.batch_id, %error, "whether it was mended can't be looked at");
                return Ok(Lies::default());
            }
            listing => listing?,
        };
        let has_manifest = listing.objects.iter().any(|object| object.name == MANIFEST);
        let files = self.batch_of(edited.unwrap_or(record))?.files;
        let mut lies = Lies::default();
        match (has_manifest, edited) {
            (true, None) => self.look_at_manifest(record, &place, &mut lies)?,
            // It was accepted by its files, and is by those that it has: its mode and
            // scope are what they were, those of the settings may be others.
            (false, None)
                if record.manifest_hash == hash_of_files(&files) && has_all(&listing.objects, &files) =>
            {
                let files = sized(files, &listing);
                let mut fresh = BatchRecord { manifest_hash: hash_of_files(&files), ..record.clone() };
                fresh.files = self.files_as_they_are(&Batch { files, ..self.batch_of(record)? })?;
                lies.fresh = Some(fresh).filter(|fresh| fresh.manifest_hash != record.manifest_hash);
            }
            (true, Some(_)) | (false, _) => {}
        }
        let now = self.batch_of(lies.fresh.as_ref().or(edited).unwrap_or(record))?.files;
        if listing.objects.is_empty() || !has_all(&listing.objects, &now) {
            // What is not there as a whole hides no copy, and is told by a plan.
            lies.fresh = lies.fresh.filter(|_| record.pin.is_none());
            return Ok(lies);
        }
        if !has_manifest
            && listing.objects.iter().any(|object| is_data(&object.name) && !has(&now, &object.name))
        {
            // It is another batch with what was added to it.
            return Ok(lies);
        }
        let entry = self.store.read(|view| view.inbox_entry(place.inbox.as_str(), &place.path))?;
        let is_known = |entry: &InboxEntry| {
            matches!(entry.state, InboxState::Accepted { .. })
                && signature::still(&entry.signature, &listing.objects)
        };
        if !entry.as_ref().is_some_and(is_known) {
            let settings = self.settings();
            let signature = match settings.inboxes.iter().find(|inbox| inbox.url == place.inbox) {
                Some(inbox) => signature::of_complete(&inbox.complete, &listing.objects),
                None => signature::of(&listing.objects),
            };
            lies.stale = true;
            lies.found = Some(FoundIn { inbox: place.inbox.to_string(), folder: place.path, signature });
        }
        Ok(lies)
    }

    /// What a batch is by the manifest in its folder, if that is another one.
    fn look_at_manifest(&self, record: &BatchRecord, place: &Place, lies: &mut Lies) -> Result<()> {
        let at = match place.prefix.local(&place.path) {
            Some(local) => local,
            None => {
                let scratch = self.scratch()?;
                fetch::bring_manifest(&*place.prefix, &place.path, scratch.path())?;
                let at = scratch.path().to_path_buf();
                lies.brought = Some(scratch);
                at
            }
        };
        if !is_known(record, &at) {
            lies.fresh = Some(self.by_manifest(record, &at)?);
        }
        Ok(())
    }

    /// What has to be done before a worker reads a batch as it was found: what was
    /// brought of it before is not what lies there.
    pub(super) fn clearing(
        &self,
        record: &BatchRecord,
        stale: bool,
        brought: Option<Scratch>,
    ) -> impl FnOnce() -> Result<()> + Send + use<> {
        let spool = self.spool(&record.batch_id);
        let is_stale = stale && !record.is_local();
        move || {
            if !is_stale {
                return Ok(());
            }
            match std::fs::remove_dir_all(&spool) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&spool, e)),
                Ok(()) | Err(_) => {}
            }
            if let Some(brought) = &brought {
                let to = spool.join(MANIFEST);
                std::fs::create_dir_all(&spool)
                    .and_then(|()| std::fs::copy(brought.path().join(MANIFEST), &to))
                    .map_err(|e| Error::io(&to, e))?;
            }
            Ok(())
        }
    }

    /// Whether a batch of this machine would be read with another manifest.
    pub(super) fn has_other_manifest(&self, record: &BatchRecord) -> bool {
        !self.is_made_here(record)
            && record.is_local()
            && record.folder.join(MANIFEST).exists()
            && !is_known(record, &record.folder)
    }

    /// Whether it is what was made of a batch, or the copy that is left of it.
    fn is_made_here(&self, record: &BatchRecord) -> bool {
        record.batch_id.n() > 0 || record.folder == self.state.pin_path(&record.batch_id)
    }

    /// The batch by the manifest in this folder.
    fn by_manifest(&self, record: &BatchRecord, at: &Path) -> Result<BatchRecord> {
        let id = &record.batch_id;
        let batch = folder::open_in_inbox(at, id.source(), id.folder())?;
        self.record(&Batch { folder: record.folder.clone(), url: record.url.clone(), ..batch })
    }

    /// Opens the folder of a batch whose manifest could not be read.
    fn reopen(&self, record: &BatchRecord) -> Result<Lies> {
        let id = &record.batch_id;
        let Some(place) = self.place_of(id, &record.url)? else {
            if record.is_local() && record.folder.is_dir() {
                return Ok(Lies {
                    fresh: Some(self.by_manifest(record, &record.folder)?),
                    ..Lies::default()
                });
            }
            let text = format!("batch {id}: no inbox has {} any more", record.url);
            return Err(Error::new(ErrorKind::Conflict, text));
        };
        let listing = place.prefix.listing(&place.path)?;
        let settings = self.settings();
        let inbox = settings.inboxes.iter().find(|inbox| inbox.url == place.inbox);
        let has_manifest = listing.objects.iter().any(|object| object.name == MANIFEST);
        let signature = match inbox {
            Some(inbox) => signature::of_complete(&inbox.complete, &listing.objects),
            None => signature::of(&listing.objects),
        };
        let (source, name) = (id.source().as_str(), id.folder().to_string());
        let mut found = InboxFolder {
            never: false,
            names: Some((id.source().clone(), id.folder().clone())),
            signature,
            newest: listing
                .objects
                .iter()
                .map(|object| object.modified)
                .max()
                .unwrap_or(Timestamp::UNIX_EPOCH),
            waits: None,
            path: place.path.clone(),
            objects: listing.objects.clone(),
        };
        if !has_manifest {
            // By its files it is a batch only where the inbox takes such.
            let why = match inbox {
                Some(inbox) if inbox.complete != Complete::Manifest => {
                    let now = self.clock.now();
                    found = monitor::look(inbox, place.path.clone(), source, &name, now, Ok(listing.objects));
                    let odd = || monitor::unusable(inbox, &found, &listing.unusable, &listing.folders);
                    found.waits.clone().or_else(odd)
                }
                Some(_) | None => Some(format!("it has no {MANIFEST}")),
            };
            if let Some(why) = why {
                return Err(Error::new(ErrorKind::Conflict, format!("batch {id}: {}: {why}", record.url)));
            }
        }
        self.clear_spool(record);
        let fresh = self.record(&self.open_folder(&*place.prefix, &found, id)?)?;
        if self.has_no_mode(&found) {
            let source = id.source();
            let text = format!("batch {id} has no {MANIFEST}, and `sources.{source}.mode` is not set");
            return Err(Error::new(ErrorKind::ModeMissing, text));
        }
        let found =
            FoundIn { inbox: place.inbox.to_string(), folder: found.path, signature: found.signature };
        Ok(Lies { fresh: Some(fresh), found: Some(found), ..Lies::default() })
    }
}

fn has(files: &[BatchFile], name: &str) -> bool {
    files.iter().any(|file| file.path == name)
}

/// Whether the files are listed; those in folders of the folder are not.
pub(super) fn has_all(objects: &[Object], files: &[BatchFile]) -> bool {
    let has = |name: &str| name.contains('/') || objects.iter().any(|object| object.name == name);
    files.iter().all(|file| has(&file.path))
}

/// The files with the sizes that they have now.
fn sized(mut files: Vec<BatchFile>, listing: &Listing) -> Vec<BatchFile> {
    for file in &mut files {
        let object = listing.objects.iter().find(|object| object.name == file.path);
        file.bytes = object.map(|object| object.size).or(file.bytes);
    }
    files
}

/// Whether the manifest in a folder is the one that a batch was accepted with. One
/// that can't be read tells nothing.
fn is_known(record: &BatchRecord, at: &Path) -> bool {
    folder::read_manifest(at)
        .map_or(true, |bytes| record.manifest_hash == format!("{:032x}", xxh3_128(&bytes)))
}
