//! What a batch that failed is when it is tried again: it may have been mended
//! where it lies.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::accept::FoundIn;
use super::engine::Engine;
use super::inboxes::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::Batch;
use crate::intake::inbox::{Complete, InboxSettings};
use crate::intake::manifest::MANIFEST;
use crate::intake::monitor::{self, InboxFolder};
use crate::intake::prefix::Listing;
use crate::intake::{fetch, folder, signature};
use crate::store::{BatchRecord, InboxState};

/// A failed batch as it lies where it was delivered.
#[derive(Default)]
pub(super) struct Lies {
    /// What it is by that, if that is not what it was accepted as.
    pub(super) fresh: Option<BatchRecord>,
    /// What its folder is like, which a worker expects to find.
    pub(super) found: Option<FoundIn>,
    /// Folder that its manifest was brought to.
    brought: Option<PathBuf>,
}

impl Engine {
    /// Looks where a failed batch was delivered: at its manifest, or without one
    /// at its files. `edited`: what a person made of it, which it is then. Nothing
    /// is found of what is not there, or not as a whole.
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
        let listing = place.prefix.listing(&place.path)?;
        let inbox = self.settings().inboxes.iter().find(|inbox| inbox.url == place.inbox).cloned();
        let mut lies = Lies::default();
        if edited.is_none() {
            self.look_anew(record, &place, inbox.as_ref(), &listing, &mut lies)?;
        }
        let now = lies.fresh.as_ref().or(edited).unwrap_or(record);
        let files = self.batch_of(now)?.files;
        let has = |name: &str| name.contains('/') || listing.objects.iter().any(|object| object.name == name);
        if listing.objects.is_empty() || !files.iter().all(|file| has(&file.path)) {
            // What is not there as a whole hides no copy, and is told by a plan.
            lies.fresh = lies.fresh.filter(|_| record.pin.is_none());
            return Ok(lies);
        }
        let entry = self.store.read(|view| view.inbox_entry(place.inbox.as_str(), &place.path))?;
        if !entry.is_some_and(|entry| {
            matches!(entry.state, InboxState::Accepted { .. })
                && signature::still(&entry.signature, &listing.objects)
        }) {
            let signature = match &inbox {
                Some(inbox) => signature::of_complete(&inbox.complete, &listing.objects),
                None => signature::of(&listing.objects),
            };
            lies.found = Some(FoundIn { inbox: place.inbox.to_string(), folder: place.path, signature });
        }
        Ok(lies)
    }

    /// What a batch is by what lies in its folder, if that is something else.
    fn look_anew(
        &self,
        record: &BatchRecord,
        place: &Place,
        inbox: Option<&InboxSettings>,
        listing: &Listing,
        lies: &mut Lies,
    ) -> Result<()> {
        let local = place.prefix.local(&place.path);
        if listing.objects.iter().any(|object| object.name == MANIFEST) {
            let at = match local {
                Some(local) => local,
                None => {
                    let side = self.side_folder(record);
                    let _ = std::fs::remove_dir_all(&side);
                    fetch::bring_manifest(&*place.prefix, &place.path, &side)?;
                    lies.brought = Some(side.clone());
                    side
                }
            };
            if !is_known(record, &at) {
                lies.fresh = Some(self.by_manifest(record, &at)?);
            }
            return Ok(());
        }
        let Some(inbox) = inbox.filter(|inbox| inbox.complete != Complete::Manifest) else { return Ok(()) };
        let id = &record.batch_id;
        let seen = monitor::look(
            inbox,
            place.path.clone(),
            id.source().as_str(),
            &id.folder().to_string(),
            self.clock.now(),
            Ok(listing.objects.clone()),
        );
        let unusable = || monitor::unusable(inbox, &seen, &listing.unusable, &listing.folders);
        // One that was accepted with a manifest, which is gone, is what it was:
        // its files say so.
        let by_names =
            self.batch_of(record)?.files.iter().all(|file| file.count.is_none() && file.xxh3.is_none());
        let is_whole = || seen.waits.is_none() && !self.has_no_mode(&seen) && unusable().is_none();
        if !by_names || !is_whole() || !self.is_still_delivered(record)? {
            return Ok(());
        }
        let fresh = self.record(&self.open_folder(&*place.prefix, &seen, id)?)?;
        let is_other = fresh.manifest_hash != record.manifest_hash && fresh.mode == record.mode;
        lies.fresh = Some(fresh).filter(|_| is_other);
        Ok(())
    }

    /// Makes what was found what a worker reads: nothing that was brought before
    /// is left.
    pub(super) fn take_as_it_lies(&self, record: &BatchRecord, lies: &mut Lies) -> Result<()> {
        let brought = lies.brought.take();
        if lies.found.is_some() && !record.is_local() {
            // A copy that is being made of it is made again, from where it lies.
            self.clear_spool(record);
            if let Some(brought) = &brought {
                let to = self.spool(&record.batch_id);
                std::fs::create_dir_all(&to).map_err(|e| Error::io(&to, e))?;
                let to = to.join(MANIFEST);
                std::fs::rename(brought.join(MANIFEST), &to).map_err(|e| Error::io(&to, e))?;
            }
        }
        if let Some(brought) = brought {
            let _ = std::fs::remove_dir_all(brought);
        }
        Ok(())
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

    /// A folder of its own for the manifest of a remote batch.
    fn side_folder(&self, record: &BatchRecord) -> PathBuf {
        self.spool_root().join(format!(".{:032x}-retry", xxh3_128(record.url.as_bytes())))
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
        let objects = place.prefix.objects(&place.path)?;
        let settings = self.settings();
        let complete = settings.inboxes.iter().find(|set| set.url == place.inbox).map(|set| &set.complete);
        let signature =
            complete.map_or_else(|| signature::of(&objects), |known| signature::of_complete(known, &objects));
        let found = InboxFolder {
            never: false,
            names: Some((id.source().clone(), id.folder().clone())),
            signature,
            newest: objects.iter().map(|object| object.modified).max().unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            waits: None,
            path: place.path,
            objects,
        };
        self.clear_spool(record);
        let fresh = self.record(&self.open_folder(&*place.prefix, &found, id)?)?;
        if self.has_no_mode(&found) {
            let source = id.source();
            let text = format!("batch {id} has no {MANIFEST}, and `sources.{source}.mode` is not set");
            return Err(Error::new(ErrorKind::ModeMissing, text));
        }
        let found =
            FoundIn { inbox: place.inbox.to_string(), folder: found.path, signature: found.signature };
        Ok(Lies { fresh: Some(fresh), found: Some(found), brought: None })
    }
}

/// Whether the manifest in a folder is the one that a batch was accepted with. One
/// that can't be read tells nothing.
fn is_known(record: &BatchRecord, at: &Path) -> bool {
    folder::read_manifest(at)
        .map_or(true, |bytes| record.manifest_hash == format!("{:032x}", xxh3_128(&bytes)))
}
