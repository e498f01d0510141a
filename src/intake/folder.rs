//! From a folder with a manifest to a [`Batch`].

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use url::Url;
use xxhash_rust::xxh3::xxh3_128;

use super::batch::{Batch, BatchFile, FileState};
use super::manifest::{self, MANIFEST, Manifest, compression_of};
use super::prefix::Object;
use crate::domain::ids::{BatchId, FolderName, RunId, SourceId};
use crate::domain::key::Kind;
use crate::domain::settings::{Mode, SourceSettings};
use crate::domain::stamp::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_MANIFEST;

/// Opens a folder for a one-shot plan or publish: the ids come from its
/// manifest, whatever the folder is called.
///
/// # Errors
/// When the manifest is missing or breaks the contract. What is wrong with its
/// files is found when the batch is planned.
pub fn open_local(folder: &Path) -> Result<Batch> {
    expect_folder(folder)?;
    let shown = folder.display().to_string();
    let bytes = read_manifest(folder)?;
    let manifest = manifest::parse(&bytes).map_err(|problems| problems.into_error(&shown))?;
    let name = FolderName::new(manifest.source_timestamp, manifest.run_id.clone());
    let id = BatchId::new(manifest.source_id.clone(), name);
    batch(folder, id, manifest, &bytes)
}

/// # Errors
/// [`ErrorKind::NotFound`] when it is none.
pub fn expect_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotFound, format!("{} is not a folder", folder.display())))
}

/// The batch that a folder with a manifest that can't be used was meant to be: by
/// what can be read of that, else by the last two names of `place`, where it was
/// delivered.
pub fn meant(folder: &Path, place: &Path) -> Option<BatchId> {
    let by_manifest = || {
        let manifest = as_far_as_read(folder)?;
        let text = |name: &str| manifest.get(name).and_then(serde_json::Value::as_str);
        let source: SourceId = SourceId::new(text("source_id")?).ok()?;
        let run = RunId::new(text("run_id")?).ok()?;
        Some(BatchId::new(source, FolderName::new(text("source_timestamp")?.parse().ok()?, run)))
    };
    let by_names = || {
        let name: FolderName = place.file_name()?.to_str()?.parse().ok()?;
        Some(BatchId::new(SourceId::new(place.parent()?.file_name()?.to_str()?).ok()?, name))
    };
    // A time that no folder's name can have makes no id that reads back.
    let is_id = |id: &BatchId| id.folder().to_string().parse::<FolderName>().is_ok();
    by_manifest().filter(is_id).or_else(by_names)
}

/// The mode that a manifest which can't be used says, if that much of it can be read.
pub fn mode_meant(folder: &Path) -> Option<Mode> {
    serde_json::from_value(as_far_as_read(folder)?.get("mode")?.clone()).ok()
}

/// A manifest that can't be used, if it is JSON at all.
fn as_far_as_read(folder: &Path) -> Option<serde_json::Value> {
    let bytes = read_manifest(folder).ok()?;
    serde_json::from_slice(manifest::without_mark(&bytes)).ok()
}

/// Opens a batch that lies in an inbox, where its ids and its time have to be
/// those of the folders.
///
/// # Errors
/// As [`open_local`], and when the manifest names another batch.
pub fn open_in_inbox(folder: &Path, source: &SourceId, name: &FolderName) -> Result<Batch> {
    open_as(folder, BatchId::new(source.clone(), name.clone()), ", the folder says")
}

/// Opens the folder of a batch that is known, whatever that is called.
///
/// # Errors
/// As [`open_in_inbox`].
pub fn open_again(folder: &Path, id: &BatchId) -> Result<Batch> {
    open_as(folder, id.clone(), "; it must stay")
}

fn open_as(folder: &Path, id: BatchId, wants: &str) -> Result<Batch> {
    let (source, name) = (id.source(), id.folder());
    let shown = format!("batch {id}");
    let bytes = read_manifest(folder).map_err(|e| e.context(&shown))?;
    let manifest = manifest::parse(&bytes).map_err(|problems| problems.into_error(&shown))?;
    let own = FolderName::new(manifest.source_timestamp, manifest.run_id.clone());
    for (field, found, wanted) in [
        ("source_id", manifest.source_id.to_string(), source.to_string()),
        ("run_id", own.run_id().to_string(), name.run_id().to_string()),
        ("source_timestamp", own.time().to_string(), name.time().to_string()),
    ] {
        if found != wanted {
            let text = format!("{shown}: `{field}` of the manifest is {found}{wants} {wanted}");
            return Err(Error::new(ErrorKind::ManifestMismatch, text));
        }
    }
    batch(folder, id, manifest, &bytes)
}

/// Opens a batch without a manifest: ids and source timestamp come from the
/// folders' names, mode and scope from the source's settings, the files are
/// found by their names. Without a mode in the settings nobody knows yet how
/// the batch is meant, whatever the one that is returned has.
///
/// # Errors
/// When the folder can't be read.
pub fn open_without_manifest(
    folder: &Path,
    source: &SourceId,
    name: &FolderName,
    settings: &SourceSettings,
    objects: &[Object],
) -> Result<Batch> {
    let id = BatchId::new(source.clone(), name.clone());
    let mut files = Vec::new();
    for object in objects {
        let path = object.name.clone();
        if let Some(kind) = kind_of(&path) {
            let (compression, bytes) = (compression_of(&path), Some(object.size));
            files.push(BatchFile {
                path,
                kind,
                compression,
                count: None,
                bytes,
                xxh3: None,
                accepted: None,
                listed: None,
            });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let newest = objects.iter().map(|object| object.modified).max();
    let listing = listing_of(&files);
    let manifest = Manifest {
        source_id: source.clone(),
        run_id: name.run_id().clone(),
        workflow: String::new(),
        mode: settings.mode.unwrap_or(Mode::Full),
        source_timestamp: name.time(),
        processing_timestamp: newest.unwrap_or(name.time()),
        scope: settings.scope.clone(),
        complexity: None,
        files,
    };
    batch(folder, id, manifest, listing.as_bytes())
}

fn listing_of(files: &[BatchFile]) -> String {
    files.iter().map(|file| format!("{}\0{}\n", file.path, file.bytes.unwrap_or_default())).collect()
}

/// XXH3-128 of what tells which batch a folder is, its manifest as a rule: 32 hex
/// digits.
pub fn hash_of(identity: &[u8]) -> String {
    format!("{:032x}", xxh3_128(identity))
}

/// What stands for the hash of its manifest in a batch without one, of these files.
pub fn hash_of_files(files: &[BatchFile]) -> String {
    hash_of(listing_of(files).as_bytes())
}

/// What a data file's lines are, by its name.
pub fn kind_of(name: &str) -> Option<Kind> {
    let stem = name.strip_suffix(".zst").or(name.strip_suffix(".gz")).unwrap_or(name);
    let stem = stem.strip_suffix(".ndjson")?;
    if stem.starts_with("entities-") {
        Some(Kind::Entity)
    } else if stem.starts_with("relationships-") {
        Some(Kind::Relationship)
    } else {
        None
    }
}

/// Whether a file is read as data by its name, where no manifest says what is.
pub fn is_data(name: &str) -> bool {
    kind_of(name).is_some()
}

/// The manifest's bytes.
pub fn read_manifest(folder: &Path) -> Result<Vec<u8>> {
    let path = folder.join(MANIFEST);
    let meta = std::fs::symlink_metadata(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::ManifestMissing, format!("{} has no {MANIFEST}", folder.display()))
        }
        _ => Error::io(&path, e),
    })?;
    if !meta.is_file() {
        return Err(Error::new(ErrorKind::FileUnsafe, format!("{} is not a plain file", path.display())));
    }
    if meta.len() > MAX_MANIFEST {
        let text = format!("{} is larger than {MAX_MANIFEST} bytes", path.display());
        return Err(Error::new(ErrorKind::ManifestInvalid, text));
    }
    std::fs::read(&path).map_err(|e| Error::io(&path, e))
}

/// What the files of a batch are like now, in their order; `None` of one that
/// has a checksum, which tells more, or that can't be looked at.
pub fn states(batch: &Batch) -> Vec<Option<FileState>> {
    let state = |file: &BatchFile| {
        manifest::safe_path(&file.path).ok()?;
        plain_file(&batch.folder, &file.path).ok().as_ref().and_then(state_of)
    };
    batch.files.iter().map(|file| if file.xxh3.is_some() { None } else { state(file) }).collect()
}

/// Whether a file was changed between two looks. What could not be looked at
/// tells nothing.
pub fn was_changed(before: Option<&FileState>, now: Option<&FileState>) -> bool {
    before.zip(now).is_some_and(|(before, now)| before.was_changed(now))
}

fn state_of(meta: &std::fs::Metadata) -> Option<FileState> {
    let modified = Timestamp::try_from(meta.modified().ok()?).ok()?;
    Some(FileState { bytes: meta.len(), modified })
}

/// Looks at every file before any is read: there, a plain file within the
/// folder, of the size that the manifest says, and what it was when the batch
/// was accepted. Returns their bytes.
///
/// # Errors
/// Names the batch and the first file that is none of that.
pub fn check_files(batch: &Batch) -> Result<u64> {
    let (folder, id) = (&batch.folder, &batch.id);
    let mut stored = 0;
    for file in &batch.files {
        manifest::safe_path(&file.path).map_err(|problem| {
            Error::new(ErrorKind::FileUnsafe, format!("batch {id}: file {:?} {problem}", file.path))
        })?;
        let meta = plain_file(folder, &file.path).map_err(|e| e.context(format!("batch {id}")))?;
        if let Some(bytes) = file.bytes.filter(|bytes| *bytes != meta.len()) {
            let text =
                format!("batch {id}: file {} has {} bytes, the manifest says {bytes}", file.path, meta.len());
            return Err(Error::new(ErrorKind::SizeMismatch, text));
        }
        if was_changed(file.accepted.as_ref(), state_of(&meta).as_ref()) {
            let text = format!("batch {id}: file {} was changed after the batch was accepted", file.path);
            return Err(Error::new(ErrorKind::FolderChanged, text));
        }
        stored += meta.len();
    }
    Ok(stored)
}

/// Whether the times of a stamp lie no further ahead of the clock than the
/// setting allows; if not, the name of the field that does and what is wrong.
pub fn ahead_of_clock(
    source_timestamp: Timestamp,
    processing_timestamp: Timestamp,
    now: Timestamp,
    limit: Duration,
) -> Option<(&'static str, String)> {
    let times = [("source_timestamp", source_timestamp), ("processing_timestamp", processing_timestamp)];
    times.into_iter().find_map(|(field, time)| Some((field, ahead(time, now, limit)?)))
}

/// The same of one time: what is wrong with it.
pub fn ahead(time: Timestamp, now: Timestamp, limit: Duration) -> Option<String> {
    let limit = SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
    let latest = now.checked_add(limit).unwrap_or(Timestamp::MAX);
    (time > latest).then(|| format!("{time} is more than {limit:#} (`limits.max_future`) ahead of the clock"))
}

/// A file of a batch folder, which must be a plain one that no link leads to.
///
/// # Errors
/// [`ErrorKind::FileMissing`] and [`ErrorKind::FileUnsafe`], naming the file.
pub fn plain_file(folder: &Path, file: &str) -> Result<std::fs::Metadata> {
    // Each part of the path may be a link that leads elsewhere.
    let mut path = folder.to_path_buf();
    let unsafe_file = |text: &str| Error::new(ErrorKind::FileUnsafe, format!("file {file} {text}"));
    for part in file.split('/') {
        path.push(part);
        let meta = std::fs::symlink_metadata(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new(ErrorKind::FileMissing, format!("file {file} is listed and not there"))
            }
            _ => Error::io(&path, e),
        })?;
        if meta.is_symlink() {
            return Err(unsafe_file("is a link"));
        }
    }
    let meta = std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?;
    if meta.is_file() { Ok(meta) } else { Err(unsafe_file("is not a plain file")) }
}

fn batch(folder: &Path, id: BatchId, manifest: Manifest, identity: &[u8]) -> Result<Batch> {
    let folder = std::fs::canonicalize(folder).map_err(|e| Error::io(folder, e))?;
    let url = Url::from_directory_path(&folder)
        .map_err(|()| Error::internal(format!("{} has no URL", folder.display())))?;
    Ok(Batch {
        stamp: Stamp {
            source_timestamp: manifest.source_timestamp,
            processing_timestamp: manifest.processing_timestamp,
            batch_id: id.clone(),
        },
        id,
        url: url.into(),
        folder,
        workflow: manifest.workflow,
        mode: manifest.mode,
        scope: manifest.scope,
        complexity: manifest.complexity,
        withholds_nothing: false,
        files: manifest.files,
        manifest_hash: hash_of(identity),
    })
}
