//! The content of a dead letter: the original, and whether something may be
//! requeued in its place.

use serde_json::json;

use super::super::accept::had_manifest;
use super::super::engine::Engine;
use crate::domain::assertion::{bad_attributes, parse_line};
use crate::domain::ids::FolderName;
use crate::domain::json::Canonicalizer;
use crate::domain::key::Key;
use crate::domain::settings::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::{Batch, BatchFile};
use crate::intake::manifest::{self, FORMAT, MANIFEST};
use crate::intake::{folder, write};
use crate::store::{BatchRecord, DeadLetter, LetterKind};

/// A line as one line: a raw line end is no part of a JSON string, so a space
/// in its place changes nothing.
pub(super) fn one_line(content: &[u8]) -> Vec<u8> {
    let spaced = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    content.trim_ascii().iter().map(spaced).collect()
}

/// Checks a line by the rules of a batch, and that it is about what the dead
/// letter is about.
///
/// # Errors
/// [`ErrorKind::LineInvalid`] with the field that is wrong;
/// [`ErrorKind::Conflict`] when it is about something else.
pub(super) fn check_line(letter: &DeadLetter, line: &[u8], mode: Mode) -> Result<Key> {
    let kind = match &letter.key {
        Some(key) => key.kind(),
        None => write::kind_of(line),
    };
    let bad = |bad: crate::domain::assertion::BadLine| {
        let field = if bad.field.is_empty() { String::new() } else { format!("`{}` ", bad.field) };
        Error::new(ErrorKind::LineInvalid, format!("dead letter {}: {field}{}", letter.id, bad.problem))
    };
    let parsed = parse_line(kind, mode, line).map_err(bad)?;
    if let Some(attributes) = parsed.attributes {
        Canonicalizer::new().run(attributes, &mut Vec::new()).map_err(|e| bad(bad_attributes(&parsed, e)))?;
    }
    let key = parsed.key.to_key();
    match &letter.key {
        Some(own) if *own != key => {
            let text = format!(
                "dead letter {} is about {own}, and the line is about {key}: an edit keeps the key",
                letter.id
            );
            Err(Error::new(ErrorKind::Conflict, text).with_action(format!(
                "Put the key back. {key} is published with a batch of its own; a key that should not be is discarded."
            )))
        }
        Some(_) | None => Ok(key),
    }
}

impl Engine {
    /// What a letter of an entity holds, if it may be requeued as it is.
    ///
    /// # Errors
    /// As [`check_line`], and [`ErrorKind::Conflict`] when the original was cut, or is
    /// one of two things that its batch says.
    pub(super) fn ready(&self, letter: &DeadLetter) -> Result<Vec<u8>> {
        if letter.edited.is_none() && letter.code == ErrorKind::KeyConflict.info().code {
            let text = format!("dead letter {}: its batch says different things of it", letter.id);
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_action(format!("Say which is right: `tidegate dlq edit {}`.", letter.id)));
        }
        if letter.edited.is_none() && letter.cut {
            let kept = letter.long.as_ref().map_or(letter.content.len() as u64, |long| long.bytes);
            let text =
                format!("dead letter {}: only the first {kept} bytes of its original were kept", letter.id);
            return Err(Error::new(ErrorKind::Conflict, text).with_action(format!(
                "Give the whole line: `tidegate dlq edit {} --file FILE`.",
                letter.id
            )));
        }
        let wanted = self.wanted_of(letter)?;
        if wanted.is_empty() {
            let text = format!("dead letter {}: nobody asserts anything of it any more", letter.id);
            return Err(Error::new(ErrorKind::Conflict, text).with_action(format!(
                "Nothing: the next plan of source {} sends the change again.",
                letter.source
            )));
        }
        check_line(letter, &wanted, self.mode_of(letter)?)?;
        Ok(wanted)
    }

    /// The mode by whose rules a line is checked that is to be requeued. What
    /// was a bad line of a full batch stays one: such a batch has no word for
    /// absence, and nobody asked for a deletion.
    fn mode_of(&self, letter: &DeadLetter) -> Result<Mode> {
        if letter.edited.is_some() || letter.code != ErrorKind::LineInvalid.info().code {
            return Ok(Mode::Incremental);
        }
        let batch = self.store.read(|view| view.batch(&letter.batch_id))?;
        Ok(batch.and_then(|batch| batch.mode).unwrap_or(Mode::Incremental))
    }

    /// The original of a letter: of an entity its line, of a batch its
    /// manifest as it was delivered, or as it was read; empty where neither
    /// is there.
    pub(in crate::service) fn original_of(&self, letter: &DeadLetter) -> Result<Vec<u8>> {
        match letter.kind {
            LetterKind::Entity => self.content_of(letter),
            LetterKind::Batch => match self.store.read(|view| view.batch(&letter.batch_id))? {
                None => Ok(Vec::new()),
                Some(record) => {
                    let pinned = self.pinned_folder(&letter.batch_id)?;
                    let mut places = [Some(record.folder.clone()), pinned].into_iter().flatten();
                    match places.find_map(|folder| folder::read_manifest(&folder).ok()) {
                        Some(bytes) => Ok(bytes),
                        None if record.mode.is_some() => manifest_of(&record),
                        None => Ok(Vec::new()),
                    }
                }
            },
        }
    }

    /// What becomes of a failed batch with another manifest.
    ///
    /// # Errors
    /// Everything that is wrong with the manifest; [`ErrorKind::ManifestMismatch`]
    /// when it names another batch.
    pub(super) fn with_manifest(&self, record: &BatchRecord, bytes: &[u8]) -> Result<BatchRecord> {
        let id = &record.batch_id;
        let shown = format!("batch {id}");
        let manifest = manifest::parse(bytes).map_err(|problems| problems.into_error(&shown))?;
        let own = FolderName::new(manifest.source_timestamp, manifest.run_id.clone());
        for (field, found, wanted) in [
            ("source_id", manifest.source_id.to_string(), id.source().to_string()),
            ("run_id", own.run_id().to_string(), id.folder().run_id().to_string()),
            ("source_timestamp", own.time().to_string(), id.folder().time().to_string()),
        ] {
            if found != wanted {
                let text = format!("{shown}: `{field}` of the manifest is {found}; it must stay {wanted}");
                return Err(Error::new(ErrorKind::ManifestMismatch, text));
            }
        }
        let mut stamp = record.stamp.clone();
        stamp.source_timestamp = manifest.source_timestamp;
        stamp.processing_timestamp = manifest.processing_timestamp;
        let fresh = self.record(&Batch {
            id: id.clone(),
            stamp,
            url: record.url.clone(),
            folder: record.folder.clone(),
            workflow: manifest.workflow,
            mode: manifest.mode,
            scope: manifest.scope,
            complexity: manifest.complexity,
            withholds_nothing: false,
            files: manifest.files,
            // What was delivered is known by this, whatever is made of it.
            manifest_hash: record.manifest_hash.clone(),
        })?;
        // What was delivered without a manifest is known by its files.
        let is_by_files = record.mode.is_some() && !had_manifest(record)?;
        let listing = record.listing.clone().or_else(|| is_by_files.then(|| record.files.clone()));
        Ok(BatchRecord {
            stamp: fresh.stamp,
            workflow: fresh.workflow,
            mode: fresh.mode,
            scope: fresh.scope,
            complexity: fresh.complexity,
            files: fresh.files,
            listing,
            totals: fresh.totals,
            status: fresh.status,
            ..record.clone()
        })
    }
}

/// The manifest of a batch that has none, or whose folder is gone, as it was
/// read.
fn manifest_of(record: &BatchRecord) -> Result<Vec<u8>> {
    let files: Vec<BatchFile> =
        serde_json::from_str(&record.files).map_err(|e| Error::internal("a file list").caused_by(e))?;
    let files: Vec<_> = files
        .iter()
        .map(|file| {
            let kind = match file.kind {
                crate::domain::key::Kind::Entity => "entities",
                crate::domain::key::Kind::Relationship => "relationships",
            };
            let xxh3 = file.xxh3.map(|hash| format!("{hash:016x}"));
            json!({"path": file.path, "kind": kind, "count": file.count, "bytes": file.bytes, "xxh3": xxh3})
        })
        .collect();
    let manifest = json!({
        "format": FORMAT,
        "source_id": record.batch_id.source(),
        "run_id": record.batch_id.folder().run_id(),
        "workflow": record.workflow,
        "mode": record.mode.map(Mode::as_str),
        "source_timestamp": record.stamp.source_timestamp.to_string(),
        "processing_timestamp": record.stamp.processing_timestamp.to_string(),
        "scope": record.scope,
        "complexity": record.complexity,
        "files": files,
    });
    serde_json::to_vec_pretty(&manifest).map_err(|e| Error::internal(MANIFEST).caused_by(e))
}
