//! Looking into an inbox: which folders are complete batches, and why the
//! others are not.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::inbox::{Complete, InboxSettings};
use super::manifest::MANIFEST;
use super::prefix::{Changed, Object, Prefix, Unusable};
use super::signature;
use crate::domain::ids::{FolderName, SourceId};
use crate::error::Result;

/// A folder of an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxFolder {
    /// Its path below the inbox: `<source>/<folder>`.
    pub path: String,
    /// The source and the folder's name, if both can be read.
    pub names: Option<(SourceId, FolderName)>,
    /// Its objects, by name.
    pub objects: Vec<Object>,
    /// What its objects are (see [`signature`]).
    pub signature: String,
    /// Time of its newest object.
    pub newest: Timestamp,
    /// Why it is no batch yet; `None`: it is complete.
    pub waits: Option<String>,
    /// Whether it can never be one: its name says of no batch what it is.
    pub never: bool,
}

impl InboxFolder {
    /// Whether it has an object of this name.
    pub fn has(&self, name: &str) -> bool {
        self.objects.iter().any(|object| object.name == name)
    }
}

/// Looks at the folders of an inbox, oldest source time first within a
/// source. Those that `skip` names by their path below the inbox cost nothing
/// but their name in the listing. A folder that can't be read never hides the
/// others.
///
/// # Errors
/// When the inbox itself can't be listed. One that is not there is empty.
pub fn scan(
    inbox: &InboxSettings,
    prefix: &dyn Prefix,
    now: Timestamp,
    mut skip: impl FnMut(&str) -> Result<bool>,
) -> Result<Vec<InboxFolder>> {
    let mut found: BTreeMap<(String, String), InboxFolder> = BTreeMap::new();
    for odd in prefix.unusable("")? {
        found.insert((odd.name.clone(), String::new()), unusable(odd.name.clone(), &odd));
    }
    for source in prefix.folders("")? {
        for odd in prefix.unusable(&source).unwrap_or_default() {
            let path = format!("{source}/{}", odd.name);
            found.insert((source.clone(), odd.name.clone()), unusable(path, &odd));
        }
        let folders = match prefix.folders(&source) {
            Ok(folders) => folders,
            Err(error) => {
                tracing::warn!(inbox = %inbox.url, folder = source, %error, "a folder of the inbox can't be listed");
                continue;
            }
        };
        for folder in folders {
            let path = format!("{source}/{folder}");
            if skip(&path)? {
                continue;
            }
            let listed = prefix.objects(&path);
            let mut seen = look(inbox, path, &source, &folder, now, listed);
            if seen.objects.is_empty() {
                // Without objects only the folder itself has a time.
                seen.newest = match prefix.changed(&seen.path) {
                    Ok(Changed::At(at)) => at,
                    Ok(Changed::Unknown | Changed::Gone) | Err(_) => now,
                };
            }
            if seen.waits.is_some()
                && let Some(awaited) = awaited(&inbox.complete)
                && let Ok(odd) = prefix.unusable(&seen.path)
                && let Some(odd) = odd.iter().find(|odd| odd.name == awaited)
            {
                seen.waits = Some(format!("its {awaited} can't be used: {}", odd.why));
            }
            found.insert((source.clone(), folder), seen);
        }
    }
    Ok(found.into_values().collect())
}

/// What is to be said of something in the place of a folder.
fn unusable(path: String, odd: &Unusable) -> InboxFolder {
    InboxFolder {
        path,
        names: None,
        objects: Vec::new(),
        signature: signature::of(&[]),
        newest: odd.since,
        waits: Some(odd.why.to_owned()),
        never: true,
    }
}

/// The object that makes a folder a batch, where it is one.
fn awaited(complete: &Complete) -> Option<&str> {
    match complete {
        Complete::Manifest => Some(MANIFEST),
        Complete::Marker(name) => Some(name),
        Complete::Quiet(_) => None,
    }
}

/// What is to be said of a folder whose objects were listed.
pub(super) fn look(
    inbox: &InboxSettings,
    path: String,
    source: &str,
    folder: &str,
    now: Timestamp,
    listed: Result<Vec<Object>>,
) -> InboxFolder {
    let names = match (SourceId::new(source.to_owned()), folder.parse::<FolderName>()) {
        (Ok(source), Ok(folder)) => Ok((source, folder)),
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    let objects = listed.as_ref().map_or_else(|_| Vec::new(), Clone::clone);
    let newest = objects.iter().map(|object| object.modified).max().unwrap_or(Timestamp::UNIX_EPOCH);
    let waits = match (&listed, &names) {
        (Err(error), _) => Some(format!("it can't be read: {error}")),
        (Ok(_), Err(error)) => Some(format!("it is never taken: {error}")),
        (Ok(objects), Ok(_)) => incomplete(&inbox.complete, objects, newest, now),
    };
    let never = listed.is_ok() && names.is_err();
    InboxFolder { path, names: names.ok(), signature: signature::of_complete(&inbox.complete, &objects), objects, newest, waits, never }
}

/// Why a folder is not complete, if it is not.
fn incomplete(complete: &Complete, objects: &[Object], newest: Timestamp, now: Timestamp) -> Option<String> {
    let without = |name: &str| {
        let there = objects.iter().any(|object| object.name == name);
        (!there).then(|| format!("it has no {name}"))
    };
    match complete {
        Complete::Manifest => without(MANIFEST),
        Complete::Marker(name) => without(name),
        Complete::Quiet(_) if objects.is_empty() => Some("it is empty".to_owned()),
        Complete::Quiet(time) => {
            let quiet = now.duration_since(newest);
            let wanted = jiff::SignedDuration::try_from(*time).unwrap_or(jiff::SignedDuration::MAX);
            (quiet < wanted).then(|| {
                format!("it changed {} s ago, it has to be quiet for {} s", quiet.as_secs(), wanted.as_secs())
            })
        }
    }
}
