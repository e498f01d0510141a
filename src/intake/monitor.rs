//! Looking into an inbox: which folders are complete batches, and why the
//! others are not.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::folder::is_data;
use super::inbox::{Complete, InboxSettings};
use super::manifest::MANIFEST;
use super::prefix::{Changed, Object, Prefix, Unusable};
use super::{misplaced, signature};
use crate::domain::ids::{FolderName, SourceId};
use crate::error::{Error, Result};

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
    let all = prefix.listing("")?;
    for odd in &all.unusable {
        let told = never(odd.name.clone(), odd.why.to_owned(), odd.since.unwrap_or(now));
        found.insert((odd.name.clone(), String::new()), told);
    }
    for (name, why, since) in misplaced::in_inbox(inbox, &all) {
        found.insert((name.clone(), String::new()), never(name, why, since));
    }
    for source in all.folders {
        let listing = match prefix.listing(&source) {
            Ok(listing) => listing,
            Err(error) => {
                tracing::warn!(inbox = %inbox.url, folder = source, %error, "a folder of the inbox can't be listed");
                let since = changed(prefix, &source, now);
                let told = InboxFolder { never: false, ..never(source.clone(), unlisted(&error), since) };
                found.insert((source, String::new()), told);
                continue;
            }
        };
        if let Some((why, since)) = misplaced::in_source(inbox, &source, &listing) {
            let since = since.unwrap_or_else(|| changed(prefix, &source, now));
            found.insert((source.clone(), String::new()), never(source.clone(), why, since));
        }
        for odd in &listing.unusable {
            let path = format!("{source}/{}", odd.name);
            let told = never(path, odd.why.to_owned(), odd.since.unwrap_or(now));
            found.insert((source.clone(), odd.name.clone()), told);
        }
        for folder in listing.folders {
            let path = format!("{source}/{folder}");
            if skip(&path)? {
                continue;
            }
            let listed = prefix.listing(&path);
            let (listed, odd, folders) = match listed {
                Ok(listing) => (Ok(listing.objects), listing.unusable, listing.folders),
                Err(error) => (Err(error), Vec::new(), Vec::new()),
            };
            let mut seen = look(inbox, path, &source, &folder, now, listed);
            if seen.objects.is_empty() {
                // Without objects only the folder itself has a time.
                seen.newest = changed(prefix, &seen.path, now);
            }
            if let Some(why) = unusable(inbox, &seen, &odd, &folders) {
                seen.waits = Some(why);
            }
            found.insert((source.clone(), folder), seen);
        }
    }
    Ok(found.into_values().collect())
}

/// When a folder changed last, as far as its place knows.
fn changed(prefix: &dyn Prefix, folder: &str, now: Timestamp) -> Timestamp {
    match prefix.changed(folder) {
        Ok(Changed::At(at)) => at,
        Ok(Changed::Unknown | Changed::Gone) | Err(_) => now,
    }
}

/// Why a folder can't be taken for what lies in it and can't be used: what makes
/// it complete, or what no manifest speaks for and would be left out without a
/// word. `folders`: those that lie in it.
pub fn unusable(
    inbox: &InboxSettings,
    seen: &InboxFolder,
    odd: &[Unusable],
    folders: &[String],
) -> Option<String> {
    let awaited = awaited(&inbox.complete).filter(|_| seen.waits.is_some());
    let unspoken = inbox.complete != Complete::Manifest && !seen.has(MANIFEST) && seen.names.is_some();
    let is_aside = |name: &str| {
        name.starts_with(['.', '_']) || matches!(&inbox.complete, Complete::Marker(marker) if marker == name)
    };
    let meant = |name: &str| awaited == Some(name) || unspoken && !is_aside(name);
    if let Some(odd) = odd.iter().find(|odd| meant(&odd.name)) {
        return Some(format!("its {} can't be used: {}", odd.name, odd.why));
    }
    let files = seen.objects.iter().map(|object| &object.name).filter(|name| !is_data(name));
    let unread = files.chain(folders).find(|name| unspoken && !is_aside(name))?;
    Some(format!(
        "its {unread} would not be read: data files are called entities-*.ndjson and relationships-*.ndjson, \
         with .zst or .gz behind it; write a manifest, or have what is no data begin with a dot or an underscore"
    ))
}

/// What is to be said of something that can never be a batch where it lies.
fn never(path: String, why: String, since: Timestamp) -> InboxFolder {
    InboxFolder {
        path,
        names: None,
        objects: Vec::new(),
        signature: signature::of(&[]),
        newest: since,
        waits: Some(why),
        never: true,
    }
}

/// What is to be said of a source's folder that can't be listed.
fn unlisted(error: &Error) -> String {
    format!("it can't be listed, and nothing in it is taken until then: {error}")
}

/// The object that makes a folder a batch, where it is one.
pub(super) fn awaited(complete: &Complete) -> Option<&str> {
    match complete {
        Complete::Manifest => Some(MANIFEST),
        Complete::Marker(name) => Some(name),
        Complete::Quiet(_) => None,
    }
}

/// What is to be said of a folder whose objects were listed.
pub fn look(
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
    InboxFolder {
        path,
        names: names.ok(),
        signature: signature::of_complete(&inbox.complete, &objects),
        objects,
        newest,
        waits,
        never,
    }
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
