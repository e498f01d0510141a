//! What a batch is by the copy of its files, where nothing else tells.

use std::path::Path;

use super::accept::as_recorded;
use super::engine::Engine;
use crate::domain::ids::BatchId;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::Batch;
use crate::intake::folder::{self, hash_of};
use crate::intake::manifest::MANIFEST;
use crate::intake::pin::{self, Meant, PIN, PinManifest};
use crate::intake::prefix::Object;
use crate::planning::state_dir::read_checked;

/// A copy, and the batch that it is of.
pub(super) struct Opened {
    /// What is copied.
    pub(super) made: PinManifest,
    /// The batch, or why the copy does not tell it.
    pub(super) batch: Result<Batch>,
    /// Whether nobody has said how it is meant: it has no manifest, and its
    /// source no `mode`.
    pub(super) has_no_mode: bool,
}

impl Opened {
    /// The files that the batch was delivered with, as its record has them.
    pub(super) fn listing(made: &PinManifest) -> Result<Option<String>> {
        let listing = made.is.as_ref().and_then(|is| is.listing.as_deref());
        listing.map(as_recorded).transpose()
    }
}

impl Engine {
    /// Whether a folder is that of a batch's copy, by whichever path the state
    /// folder was named when that was put down.
    pub(super) fn is_pin_of(&self, id: &BatchId, folder: &Path) -> bool {
        let pin = self.state.pin_path(id);
        folder == pin || matches!((folder.canonicalize(), pin.canonicalize()), (Ok(a), Ok(b)) if a == b)
    }

    /// Opens the copy of a batch's files in a folder.
    ///
    /// # Errors
    /// As [`pin_manifest`], also when the manifest that was copied is not what it was.
    pub(super) fn open_pin(&self, id: &BatchId, at: &Path) -> Result<Opened> {
        let made = pin_manifest(id, at)?;
        let is_edited = made.is.as_ref().is_some_and(|is| is.edited);
        let copied = made.files.iter().find(|file| file.path == MANIFEST);
        if let Some(manifest) = copied.filter(|_| !is_edited) {
            // Else it would be told as one that was delivered like that.
            pin::verify_file(at, manifest, &|_| self.go_on())
                .map_err(|error| error.context(format!("batch {id}")))?;
        }
        let has_manifest = at.join(MANIFEST).is_file();
        // What was copied as it came is perhaps another batch than that. Nothing else is,
        // whatever its manifest says: a person may have made another one of it.
        let is_of_that =
            || folder::read_manifest(at).is_ok_and(|bytes| hash_of(&bytes) == made.manifest_hash);
        let is_told =
            made.is.is_some() && (is_edited || made.failed.is_none() || has_manifest && is_of_that());
        let settings = self.settings().source(id.source());
        let is_said = made.is.as_ref().map_or(has_manifest, |is| is.mode.is_some());
        let has_no_mode = !is_said && settings.mode.is_none();
        let opened = match has_manifest && !is_told {
            true => folder::open_in_inbox(at, id.source(), id.folder()),
            false => {
                let object = |file: &pin::PinnedFile| Object {
                    name: file.path.clone(),
                    size: file.bytes,
                    modified: id.folder().time(),
                    tag: String::new(),
                };
                let objects: Vec<Object> = made.files.iter().map(object).collect();
                folder::open_without_manifest(at, id.source(), id.folder(), &settings, &objects)
            }
        };
        // Else a manifest that is not copied, or another file, makes another batch of it.
        let batch = opened.and_then(|batch| match &made.is {
            Some(is) if is_told || batch.manifest_hash == made.manifest_hash => {
                Ok(Batch { manifest_hash: made.manifest_hash.clone(), ..as_meant(batch, is) })
            }
            None if batch.manifest_hash == made.manifest_hash => Ok(batch),
            Some(_) | None => {
                let text = format!(
                    "batch {id}: the copy of its files has neither the manifest nor exactly the files that it was accepted with"
                );
                Err(Error::new(ErrorKind::ManifestMissing, text))
            }
        });
        Ok(Opened { made, batch, has_no_mode })
    }
}

/// A batch by its copy, as it was meant when that was made.
fn as_meant(mut batch: Batch, is: &Meant) -> Batch {
    if let Some(mode) = is.mode {
        // What was held without a mode has its scope by the settings, too.
        (batch.mode, batch.scope) = (mode, is.scope.clone());
    }
    batch.stamp.source_timestamp = is.source_timestamp;
    batch.stamp.processing_timestamp = is.processing_timestamp;
    batch.workflow.clone_from(&is.workflow);
    batch.complexity = is.complexity;
    batch.files.clone_from(&is.files);
    batch
}

/// What a folder holds as the copy of a batch's files.
///
/// # Errors
/// [`ErrorKind::PinDamaged`] when that can't be read, or is of another batch.
pub(super) fn pin_manifest(id: &BatchId, at: &Path) -> Result<PinManifest> {
    let damaged = |error: Error| {
        let text = format!("batch {id}: the copy of its files can't be used");
        Error::new(ErrorKind::PinDamaged, text).caused_by(error)
    };
    let made: PinManifest = read_checked(&at.join(PIN)).map_err(damaged)?;
    if made.format != pin::FORMAT || made.batch_id != *id {
        let text = format!("{} is that of {} in {}", at.display(), made.batch_id, made.format);
        return Err(damaged(Error::new(ErrorKind::PinDamaged, text)));
    }
    Ok(made)
}
