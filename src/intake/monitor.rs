//! Looking into an inbox: which folders are complete batches, and why the
//! others are not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

use super::manifest::MANIFEST;
use crate::config::{Complete, InboxSettings};
use crate::domain::ids::{FolderName, SourceId};
use crate::error::{Error, ErrorKind, Result};

/// A folder of an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxFolder {
    /// Its path below the inbox: `<source>/<folder>`.
    pub path: String,
    /// Its local path.
    pub local: PathBuf,
    /// The source and the folder's name, if both can be read.
    pub names: Option<(SourceId, FolderName)>,
    /// Hash over names, sizes and times of its objects.
    pub signature: String,
    /// Time of its newest object.
    pub newest: Timestamp,
    /// Why it is no batch yet; `None`: it is complete.
    pub waits: Option<String>,
}

/// Every folder of an inbox, oldest source time first within a source. A
/// folder that can't be read never hides the others.
///
/// # Errors
/// When the inbox itself can't be listed. One that is not there is empty.
pub fn list(inbox: &InboxSettings) -> Result<Vec<InboxFolder>> {
    scan(inbox, Timestamp::MAX, |_| false)
}

/// The folders that `is_known` does not know by their path below the inbox.
/// Those it knows cost nothing but their name in the listing.
pub fn scan(
    inbox: &InboxSettings,
    now: Timestamp,
    is_known: impl Fn(&str) -> bool,
) -> Result<Vec<InboxFolder>> {
    let root = inbox.url.to_file_path().map_err(|()| {
        Error::new(ErrorKind::Settings, format!("inbox {}: only local folders are watched so far", inbox.url))
    })?;
    let mut found: BTreeMap<(String, String), InboxFolder> = BTreeMap::new();
    for source in folders(&root)? {
        let source_name = name_of(&source);
        let list = match folders(&source) {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(folder = %source.display(), %error, "a folder of the inbox can't be listed");
                continue;
            }
        };
        for folder in list {
            let folder_name = name_of(&folder);
            let path = format!("{source_name}/{folder_name}");
            if is_known(&path) {
                continue;
            }
            let names = match (SourceId::new(source_name.clone()), folder_name.parse::<FolderName>()) {
                (Ok(source), Ok(folder)) => Ok((source, folder)),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
            let looked = look(&folder, inbox, now);
            let mut entry = match looked {
                Ok(entry) => entry,
                Err(error) => InboxFolder {
                    path: String::new(),
                    local: folder.clone(),
                    names: None,
                    signature: String::new(),
                    newest: now,
                    waits: Some(format!("it can't be read: {error}")),
                },
            };
            entry.path = path;
            match names {
                Ok(names) => entry.names = Some(names),
                Err(error) => entry.waits = Some(error.to_string()),
            }
            found.insert((source_name.clone(), folder_name), entry);
        }
    }
    Ok(found.into_values().collect())
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The folders in a folder, without links and hidden ones.
fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(root, e)),
    };
    let mut list = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(root, e))?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !entry.file_name().to_string_lossy().starts_with('.') {
            list.push(entry.path());
        }
    }
    Ok(list)
}

fn look(folder: &Path, inbox: &InboxSettings, now: Timestamp) -> Result<InboxFolder> {
    let mut objects: BTreeMap<String, (u64, Timestamp)> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A file that went away between the listing and this look.
        let Ok(meta) = entry.metadata() else { continue };
        if name.starts_with('.') || !meta.is_file() {
            continue;
        }
        let modified =
            meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
        objects.insert(name, (meta.len(), modified));
    }
    let newest = objects.values().map(|(_, at)| *at).max().unwrap_or(Timestamp::UNIX_EPOCH);
    let listing: String =
        objects.iter().map(|(name, (size, at))| format!("{name}\0{size}\0{at}\n")).collect();
    let waits = match &inbox.complete {
        Complete::Manifest if objects.contains_key(MANIFEST) => None,
        Complete::Manifest => Some(format!("it has no {MANIFEST}")),
        Complete::Marker(name) if objects.contains_key(name) => None,
        Complete::Marker(name) => Some(format!("it has no {name}")),
        Complete::Quiet(_) if objects.is_empty() => Some("it is empty".to_owned()),
        Complete::Quiet(time) => {
            let quiet = now.duration_since(newest);
            let wanted = jiff::SignedDuration::try_from(*time).unwrap_or(jiff::SignedDuration::MAX);
            (quiet < wanted).then(|| {
                format!("it changed {} s ago, it has to be quiet for {} s", quiet.as_secs(), wanted.as_secs())
            })
        }
    };
    Ok(InboxFolder {
        path: String::new(),
        local: folder.to_path_buf(),
        names: None,
        signature: format!("{:032x}", xxh3_128(listing.as_bytes())),
        newest,
        waits,
    })
}
