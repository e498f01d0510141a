//! What a batch that failed is when it is tried again: it may have been mended
//! where it lies.

mod refused;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use self::refused::{expect_no_more, lacks, mode_missing, waits};
use super::accept::{FoundIn, as_delivered, as_recorded, had_manifest, recorded};
use super::engine::Engine;
use super::inboxes::Place;
use super::pinned::Opened;
use super::uploads::Scratch;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::{Batch, BatchFile};
use crate::intake::folder::{hash_of, hash_of_files};
use crate::intake::inbox::Complete;
use crate::intake::manifest::MANIFEST;
use crate::intake::monitor::{self, InboxFolder};
use crate::intake::{fetch, folder, signature};
use crate::store::{BatchRecord, InboxEntry, InboxState};

/// How a failed batch lies where it was delivered.
pub(super) enum Lies {
    /// Nobody can look there now, or it lies nowhere but under the state URL.
    Elsewhere,
    /// Nothing of it is there.
    Away,
    /// Nothing of it is there, and its copy tells what nobody knew of it.
    Copied(Box<BatchRecord>),
    /// Not all of it is there.
    Partly,
    /// All of it is there.
    Whole(Box<Whole>),
}

/// A batch that is there as a whole.
#[derive(Default)]
pub(super) struct Whole {
    /// What it is by that, if that is not what it was accepted as.
    pub(super) fresh: Option<BatchRecord>,
    /// What its folder is like, if a worker does not expect that yet: what was
    /// brought of it before is not that, either.
    pub(super) found: Option<FoundIn>,
    /// Where its manifest was brought to, of a batch in an object store.
    pub(super) brought: Option<Scratch>,
    /// Hash of the manifest that an edit stands for.
    pub(super) there: Option<String>,
}

/// What a person made of a batch's manifest.
pub(super) struct Edited<'a> {
    /// The batch by that.
    pub(super) record: &'a BatchRecord,
    /// Hash of the manifest that it was made of; `None`: nobody knows.
    pub(super) of: Option<&'a str>,
}

/// The folder of a batch in an inbox, as it was listed.
struct Seen {
    place: Place,
    folder: InboxFolder,
    /// Whether the inbox takes batches without a manifest.
    by_files: bool,
    /// Why it is no batch by its files, or not yet.
    waits: Option<String>,
}

impl Seen {
    fn found(&self) -> FoundIn {
        FoundIn {
            inbox: self.place.inbox.to_string(),
            folder: self.place.path.clone(),
            signature: self.folder.signature.clone(),
        }
    }
}

impl Engine {
    /// Looks where a failed batch was delivered: at its manifest, or without one
    /// at its files.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another batch lies there, or one that is not
    /// whole; what is wrong with the manifest.
    pub(super) fn as_it_lies(&self, record: &BatchRecord, edited: Option<&Edited<'_>>) -> Result<Lies> {
        let lies = self.looked_at(record, edited)?;
        if matches!(lies, Lies::Away) && record.pin.is_none() {
            return Err(self.gone(record));
        }
        if matches!(lies, Lies::Away | Lies::Partly)
            && edited.is_none()
            && record.pin.is_some()
            && record.batch_id.n() == 0
        {
            self.expect_of_that(record)?;
        }
        Ok(lies)
    }

    fn looked_at(&self, record: &BatchRecord, edited: Option<&Edited<'_>>) -> Result<Lies> {
        let is_unread = record.mode.is_none() && edited.is_none();
        if record.batch_id.n() > 0 {
            return self.made_of_another(record);
        }
        if self.is_pin_of(&record.batch_id, &record.folder) {
            // After a recovery the copy may be all that anybody knows of.
            return match (is_unread, record.pin.is_some()) {
                // It was given up, and goes.
                (_, false) => Ok(Lies::Away),
                (true, true) => self.by_pin(record),
                (false, true) => Ok(Lies::Elsewhere),
            };
        }
        let Some(place) = self.place_of(&record.batch_id, &record.url)? else {
            return self.in_no_inbox(record, edited);
        };
        let seen = match self.seen_at(record, place) {
            // With a copy nobody knows which of both is meant.
            Err(error)
                if record.pin.is_none()
                    && !is_unread
                    && matches!(error.kind(), ErrorKind::ObjectStore | ErrorKind::Io) =>
            {
                tracing::debug!(batch = %record.batch_id, %error, "whether it was mended can't be looked at");
                return Ok(Lies::Elsewhere);
            }
            seen => seen?,
        };
        if is_unread {
            // Nothing is known of it but its folder's name.
            return self.unread_there(record, seen);
        }
        let mut whole = Whole::default();
        let (has_manifest, had_manifest) = (seen.folder.has(MANIFEST), had_manifest(record)?);
        let files = self.batch_of(edited.map_or(record, |edited| edited.record))?.files;
        let mut files = match (has_manifest, edited) {
            _ if seen.folder.objects.is_empty() => return Ok(Lies::Away),
            (true, _) => {
                self.expect_taken(record, &seen)?;
                let at = self.manifest_there(&seen.place, &mut whole)?;
                match edited {
                    None if !is_known(record, &at) => whole.fresh = Some(self.by_manifest(record, &at)?),
                    None => {}
                    Some(edited) => whole.there = self.expect_made_of(record, edited, &at)?,
                }
                files
            }
            // It is perhaps being written again, data and all.
            (false, Some(_)) if had_manifest && record.pin.is_some() => return Ok(Lies::Partly),
            (false, Some(_)) if had_manifest => files,
            (false, Some(_)) => {
                self.expect_complete(record, &seen, true)?;
                let own = [as_delivered(record)?, recorded(&record.files)?].concat();
                expect_no_more(record, &seen, &[&own[..], &files].concat())?;
                files
            }
            (false, None) if !had_manifest => {
                expect_no_more(record, &seen, &[&as_delivered(record)?[..], &files].concat())?;
                if self.missing(&seen, record, &files)?.is_none() {
                    whole.fresh = self.by_files(record, &seen, files.clone())?;
                }
                files
            }
            (false, None) => return self.without_manifest(record),
        };
        if let Some(fresh) = &whole.fresh {
            files = self.batch_of(fresh)?.files;
        }
        match self.missing(&seen, record, &files)? {
            Some(name) if whole.fresh.is_some() => return Err(lacks(record, &name)),
            // What is there hides no copy, and is told by a plan.
            Some(_) => return Ok(Lies::Partly),
            None => {}
        }
        whole.found = (!self.is_as_accepted(&seen)?).then(|| seen.found());
        Ok(Lies::Whole(Box::new(whole)))
    }

    /// Whether a folder is what a worker expects it to be.
    fn is_as_accepted(&self, seen: &Seen) -> Result<bool> {
        let entry = self.store.read(|view| view.inbox_entry(seen.place.inbox.as_str(), &seen.place.path))?;
        let is_known = |entry: &InboxEntry| {
            matches!(entry.state, InboxState::Accepted { .. })
                && signature::still(&entry.signature, &seen.folder.objects)
        };
        Ok(entry.as_ref().is_some_and(is_known))
    }

    /// What was made of a batch is what it was made as.
    fn made_of_another(&self, record: &BatchRecord) -> Result<Lies> {
        let is_there = self.is_still_delivered(record)?;
        if record.absence.is_some() {
            let again = "have its source deliver a new full batch";
            let text = format!("batch {}: its files are not those that its approval is of", record.batch_id);
            let changed = |why: &str| Error::new(ErrorKind::Conflict, format!("{text}: {why}; {again}"));
            let batch = self.batch_of(record)?;
            let copy = || self.open_pin(&record.batch_id, &self.state.pin_path(&record.batch_id));
            let copied = record.pin.is_some().then(copy).and_then(Result::ok).map(|opened| opened.made);
            let why = if is_there { self.changed_there(record, &batch)? } else { None };
            match (why, copied.map(|made| made.failed)) {
                // They were copied before that.
                (Some(_), Some(None)) => return Ok(Lies::Partly),
                (Some(why), _) => return Err(changed(&why)),
                (None, Some(Some(code))) if !is_there => {
                    return Err(changed(&format!("they were copied when it had failed with {code}")));
                }
                (None, _) => {}
            }
        }
        Ok(if is_there { Lies::Whole(Box::default()) } else { Lies::Away })
    }

    /// Why the files of a batch are not those any more that it was made of, where it
    /// lies.
    fn changed_there(&self, record: &BatchRecord, batch: &Batch) -> Result<Option<String>> {
        if batch.is_local() {
            return Ok(folder::check_files(batch).err().map(|error| error.to_string()));
        }
        let Some(place) = self.place_of(&record.batch_id, &record.url)? else { return Ok(None) };
        let entry = self.store.read(|view| view.inbox_entry(place.inbox.as_str(), &place.path))?;
        let objects = place.prefix.objects(&place.path)?;
        let is_same = entry.is_some_and(|entry| signature::still(&entry.signature, &objects));
        Ok((!is_same).then(|| format!("{} was changed", record.url)))
    }

    /// As [`Self::as_it_lies`], of a folder that `publish` was given.
    fn in_no_inbox(&self, record: &BatchRecord, edited: Option<&Edited<'_>>) -> Result<Lies> {
        let is_unread = record.mode.is_none() && edited.is_none();
        if !record.is_local() || !record.folder.is_dir() {
            let text = format!("batch {}: no inbox has {} any more", record.batch_id, record.url);
            return match (is_unread, record.pin.is_some()) {
                (true, true) => self.by_pin(record),
                (false, _) if record.is_local() => Ok(Lies::Away),
                (false, true) => Ok(Lies::Elsewhere),
                (_, false) => Err(Error::new(ErrorKind::Conflict, text).with_action(
                    "Put the inbox back into the settings, or have its source deliver it again.",
                )),
            };
        }
        let mut there = None;
        let (has_manifest, had_manifest) = (record.folder.join(MANIFEST).exists(), had_manifest(record)?);
        let fresh = match edited {
            None if is_unread || self.has_other_manifest(record) => {
                Some(self.by_manifest(record, &record.folder)?)
            }
            None if !has_manifest && had_manifest => return self.without_manifest(record),
            None => None,
            Some(_) if !has_manifest && had_manifest && record.pin.is_some() => return Ok(Lies::Partly),
            Some(edited) => {
                there = self.expect_made_of(record, edited, &record.folder)?;
                None
            }
        };
        let is = fresh.as_ref().or(edited.map(|edited| edited.record)).unwrap_or(record);
        match self.batch_of(is)?.files.iter().find(|file| !record.folder.join(&file.path).is_file()) {
            Some(file) if fresh.is_some() => Err(lacks(record, &file.path)),
            Some(_) => Ok(Lies::Partly),
            None => Ok(Lies::Whole(Box::new(Whole { fresh, there, ..Whole::default() }))),
        }
    }

    fn seen_at(&self, record: &BatchRecord, place: Place) -> Result<Seen> {
        let id = &record.batch_id;
        let listing = place.prefix.listing(&place.path)?;
        let settings = self.settings();
        let has = |name: &str| listing.objects.iter().any(|object| object.name == name);
        let inbox = settings.inboxes.iter().find(|inbox| inbox.url == place.inbox);
        let inbox = inbox.filter(|inbox| inbox.complete != Complete::Manifest || has(MANIFEST));
        let Some(inbox) = inbox else {
            let newest = listing.objects.iter().map(|object| object.modified).max();
            let folder = InboxFolder {
                path: place.path.clone(),
                names: Some((id.source().clone(), id.folder().clone())),
                signature: signature::of(&listing.objects),
                newest: newest.unwrap_or(Timestamp::UNIX_EPOCH),
                waits: None,
                never: false,
                objects: listing.objects,
            };
            // By its files it is a batch only where the inbox takes such.
            let waits = (!folder.has(MANIFEST)).then(|| format!("it has no {MANIFEST}"));
            return Ok(Seen { place, folder, by_files: false, waits });
        };
        let (source, name, now) = (id.source().as_str(), id.folder().to_string(), self.clock.now());
        let folder = monitor::look(inbox, place.path.clone(), source, &name, now, Ok(listing.objects));
        let odd = || monitor::unusable(inbox, &folder, &listing.unusable, &listing.folders);
        let waits = folder.waits.clone().or_else(odd);
        Ok(Seen { place, by_files: inbox.complete != Complete::Manifest, waits, folder })
    }

    /// The first file of a batch that is not where it was delivered.
    fn missing(&self, seen: &Seen, record: &BatchRecord, files: &[BatchFile]) -> Result<Option<String>> {
        if seen.place.prefix.local(&seen.place.path).is_some() {
            let missing = files.iter().find(|file| !record.folder.join(&file.path).is_file());
            return Ok(missing.map(|file| file.path.clone()));
        }
        let place = &seen.place;
        let places = fetch::places(&*place.prefix, &place.path, seen.folder.objects.clone(), files)?;
        Ok(files.iter().find(|file| fetch::find(&places, &file.path).is_none()).map(|file| file.path.clone()))
    }

    /// Whether a batch's files still are where they were delivered. Those of a
    /// batch that failed may have been mended there.
    pub(super) fn is_still_delivered(&self, record: &BatchRecord) -> Result<bool> {
        let batch = self.batch_of(record)?;
        if self.is_pin_of(&batch.id, &batch.folder) {
            return Ok(false);
        }
        if batch.is_local() {
            let has = |file: &BatchFile| batch.folder.join(&file.path).is_file();
            return Ok(batch.folder.is_dir() && batch.files.iter().all(has));
        }
        let Some(place) = self.place_of(&batch.id, &batch.url)? else { return Ok(false) };
        let seen = self.seen_at(record, place)?;
        Ok(!seen.folder.objects.is_empty() && self.missing(&seen, record, &batch.files)?.is_none())
    }

    /// A local folder with the manifest that lies there.
    fn manifest_there(&self, place: &Place, whole: &mut Whole) -> Result<PathBuf> {
        if let Some(local) = place.prefix.local(&place.path) {
            return Ok(local);
        }
        let scratch = self.scratch()?;
        fetch::bring_manifest(&*place.prefix, &place.path, scratch.path())?;
        let at = scratch.path().to_path_buf();
        whole.brought = Some(scratch);
        Ok(at)
    }

    /// What a batch without a manifest, whose files are all there, is by those, if
    /// they are others. Its mode and scope are what they were; those of the
    /// settings may be others by now.
    fn by_files(
        &self,
        record: &BatchRecord,
        seen: &Seen,
        mut files: Vec<BatchFile>,
    ) -> Result<Option<BatchRecord>> {
        self.expect_complete(record, seen, false)?;
        let mut delivered = as_delivered(record)?;
        for file in files.iter_mut().chain(&mut delivered) {
            let object = seen.folder.objects.iter().find(|object| object.name == file.path);
            file.bytes = object.map(|object| object.size).or(file.bytes);
        }
        let listing = record.listing.as_ref().map(|_| as_recorded(&delivered)).transpose()?;
        let manifest_hash = hash_of_files(&delivered);
        let mut fresh = BatchRecord { manifest_hash, listing, ..record.clone() };
        fresh.files = self.files_as_they_are(&Batch { files, ..self.batch_of(record)? })?;
        Ok(Some(fresh).filter(|fresh| fresh.manifest_hash != record.manifest_hash))
    }

    /// Opens the folder of a batch of which nothing could be read, or that
    /// nobody has said of how it is meant.
    fn unread_there(&self, record: &BatchRecord, seen: Seen) -> Result<Lies> {
        let id = &record.batch_id;
        if seen.folder.objects.is_empty() && record.pin.is_some() {
            return self.by_pin(record);
        }
        let mut whole = Whole { found: Some(seen.found()), ..Whole::default() };
        let fresh = if seen.folder.has(MANIFEST) {
            self.expect_taken(record, &seen)?;
            let at = self.manifest_there(&seen.place, &mut whole)?;
            self.by_manifest(record, &at)?
        } else {
            if let Some(why) = &seen.waits {
                return Err(waits(record, why));
            }
            if had_manifest(record)? {
                // It had a manifest, which is still to come, or went first.
                return match record.pin.is_some() {
                    true => self.by_pin(record),
                    false => self.without_manifest(record),
                };
            }
            let fresh = self.record(&self.open_folder(&*seen.place.prefix, &seen.folder, id)?)?;
            if self.has_no_mode(&seen.folder) {
                return Err(mode_missing(record));
            }
            fresh
        };
        if let Some(name) = self.missing(&seen, record, &self.batch_of(&fresh)?.files)? {
            return Err(lacks(record, &name));
        }
        whole.fresh = Some(fresh);
        Ok(Lies::Whole(Box::new(whole)))
    }

    /// What a batch of which nothing could be read is by its copy, which is all
    /// that is left of it.
    fn by_pin(&self, record: &BatchRecord) -> Result<Lies> {
        let id = &record.batch_id;
        let opened = self.open_pin(id, &self.state.pin_path(id))?;
        let listing = Opened::listing(&opened.made)?;
        let batch = opened.batch.map_err(|error| self.copy_alone(record).caused_by(error))?;
        if opened.has_no_mode {
            return Err(mode_missing(record));
        }
        let fresh = self.record(&batch)?;
        let (url, folder) = (record.url.clone(), record.folder.clone());
        Ok(Lies::Copied(Box::new(BatchRecord { url, folder, listing, ..fresh })))
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
    fn has_other_manifest(&self, record: &BatchRecord) -> bool {
        record.batch_id.n() == 0
            && !self.is_pin_of(&record.batch_id, &record.folder)
            && record.is_local()
            && record.folder.join(MANIFEST).exists()
            && !is_known(record, &record.folder)
    }

    /// The batch by the manifest in this folder.
    fn by_manifest(&self, record: &BatchRecord, at: &Path) -> Result<BatchRecord> {
        let batch = folder::open_again(at, &record.batch_id)?;
        self.record(&Batch { folder: record.folder.clone(), url: record.url.clone(), ..batch })
    }
}

/// Whether the manifest in a folder is the one that a batch was accepted with. One
/// that can't be read tells nothing.
fn is_known(record: &BatchRecord, at: &Path) -> bool {
    folder::read_manifest(at).map_or(true, |bytes| record.manifest_hash == hash_of(&bytes))
}
