//! A batch's files, copied where the inbox's own lifecycle rules can't reach
//! them, and checked while they are copied and before they are read again.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::batch::BatchFile;
use super::manifest::{self, MANIFEST};
use super::prefix::Passing;
use crate::domain::ids::BatchId;
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::error::{Error, ErrorKind, Result};

/// The format that this version writes.
pub const FORMAT: &str = "tidegate.pin/1";
/// Name of a pin's own manifest, written last.
pub const PIN: &str = ".pin.json";

/// A file of a pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedFile {
    /// Its name within the folder.
    pub path: String,
    /// Stored bytes.
    pub bytes: u64,
    /// XXH3-64 of them.
    pub xxh3: u64,
}

/// What a pin holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinManifest {
    /// [`FORMAT`].
    pub format: String,
    /// The batch.
    pub batch_id: BatchId,
    /// Hash of the batch's manifest.
    pub manifest_hash: String,
    /// The code of a batch that had failed: its files are as they came, and
    /// nobody has looked whether they are what was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// How the batch was meant. Copies of older versions do not say, nor those of
    /// a batch that nobody could read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<Meant>,
    /// Its files, the manifest among them.
    pub files: Vec<PinnedFile>,
}

/// How a batch is meant, as it was accepted or as a person made it: its files tell
/// it not at all, or otherwise, and the settings of its source change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meant {
    /// What its lines assert; `None`: nobody has said.
    pub mode: Option<Mode>,
    /// What a full batch speaks for.
    pub scope: Scope,
    /// The workflow that wrote it; may be empty.
    pub workflow: String,
    /// The workflow's own word for its complexity, 1 to 10.
    pub complexity: Option<u8>,
    /// When its data was extracted.
    pub source_timestamp: Timestamp,
    /// When it was made.
    pub processing_timestamp: Timestamp,
    /// Its data files.
    pub files: Vec<BatchFile>,
    /// Those that it was delivered with, where it has no manifest and a person made
    /// others of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Vec<BatchFile>>,
    /// Whether a person made it that after the files were copied as they came: a
    /// manifest among them says something else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edited: bool,
}

/// A file that is to be copied, with what the batch's manifest states of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name within the folder.
    pub path: String,
    /// Stored bytes.
    pub bytes: Option<u64>,
    /// XXH3-64 of them.
    pub xxh3: Option<u64>,
}

/// Bytes that are copied, and made durable, before it is looked whether to go on.
const PIECE: u64 = 64 << 20;

/// Copies a file into the folder `to`, and makes it durable. The folder's own
/// entry is the caller's to sync.
///
/// # Errors
/// [`ErrorKind::FileMissing`] when it is gone, [`ErrorKind::FolderChanged`]
/// when it changed meanwhile; the manifest's size or checksum may not match;
/// and those of the disk.
pub fn copy(from: &Path, to: &Path, file: &Wanted, each: Passing<'_>) -> Result<PinnedFile> {
    let path = &file.path;
    if path != MANIFEST {
        manifest::safe_path(path)
            .map_err(|problem| Error::new(ErrorKind::FileUnsafe, format!("file {path:?} {problem}")))?;
    }
    let (source, copy) = (from.join(path), to.join(path));
    let look = || {
        let meta = std::fs::symlink_metadata(&source).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new(ErrorKind::FileMissing, format!("{} is not there", source.display()))
            }
            _ => Error::io(&source, e),
        })?;
        if !meta.is_file() {
            let text = format!("{} is not a plain file", source.display());
            return Err(Error::new(ErrorKind::FileUnsafe, text));
        }
        Ok((meta.len(), meta.modified().ok()))
    };
    let before = look()?;
    if let Some(folder) = copy.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    let original = File::open(&source).map_err(|e| Error::io(&source, e))?;
    let mut copied = File::create(&copy).map_err(|e| Error::io(&copy, e))?;
    loop {
        each(0)?;
        // Shares the blocks where the file system can; never the file itself,
        // which its owner may overwrite in place.
        let piece = std::io::copy(&mut (&original).take(PIECE), &mut copied);
        if piece.map_err(|e| Error::io(&copy, e))? == 0 {
            break;
        }
        copied.sync_data().map_err(|e| Error::io(&copy, e))?;
    }
    copied.sync_all().map_err(|e| Error::io(&copy, e))?;
    let found = read(&copy, path, each)?;
    if look()? != before || found.bytes != before.0 {
        let text = format!("{} was changed while it was copied", source.display());
        return Err(Error::new(ErrorKind::FolderChanged, text));
    }
    if let Some(bytes) = file.bytes.filter(|bytes| *bytes != found.bytes) {
        let text = format!("file {path} has {} bytes, the manifest says {bytes}", found.bytes);
        return Err(Error::new(ErrorKind::SizeMismatch, text));
    }
    if file.xxh3.is_some_and(|stated| stated != found.xxh3) {
        let text = format!("file {path} has another XXH3-64 than the manifest says");
        return Err(Error::new(ErrorKind::ChecksumMismatch, text));
    }
    Ok(found)
}

/// Removes a pin, if it is there. Its own manifest goes first, so that what a crash
/// leaves is no pin.
///
/// # Errors
/// Those of the disk.
pub fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_file(folder.join(PIN)) {
        Ok(()) => {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::io(folder, e))?;
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io(folder, e)),
    }
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads every file of a pin and compares it with what was copied.
///
/// # Errors
/// [`ErrorKind::PinDamaged`] names the first that is not what it was.
pub fn verify(folder: &Path, pin: &PinManifest, each: Passing<'_>) -> Result<()> {
    pin.files.iter().try_for_each(|file| verify_file(folder, file, each))
}

/// The same of one file.
///
/// # Errors
/// [`ErrorKind::PinDamaged`].
pub fn verify_file(folder: &Path, file: &PinnedFile, each: Passing<'_>) -> Result<()> {
    let path = folder.join(&file.path);
    let found = read(&path, &file.path, each).map_err(|e| match e.kind() {
        ErrorKind::Interrupted => e,
        _ => Error::new(ErrorKind::PinDamaged, format!("{} can't be read", path.display())).caused_by(e),
    })?;
    if found == *file {
        return Ok(());
    }
    let text = format!("{} is not what was copied", path.display());
    Err(Error::new(ErrorKind::PinDamaged, text))
}

fn read(path: &Path, name: &str, each: Passing<'_>) -> Result<PinnedFile> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let (mut hash, mut bytes) = (Xxh3::new(), 0);
    let mut chunk = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut chunk).map_err(|e| Error::io(path, e))?;
        if count == 0 {
            return Ok(PinnedFile { path: name.to_owned(), bytes, xxh3: hash.digest() });
        }
        bytes += count as u64;
        hash.update(&chunk[..count]);
        each(count as u64)?;
    }
}
