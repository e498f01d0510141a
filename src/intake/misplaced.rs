//! Batches that were put where none is looked for: into the inbox itself, or
//! into the folder of a source.

use jiff::Timestamp;

use super::folder::is_data;
use super::inbox::InboxSettings;
use super::manifest::MANIFEST;
use super::monitor::awaited;
use super::prefix::{Listing, Object};
use crate::domain::ids::FolderName;

/// How a batch's folder is called, for messages.
const FOLDER: &str = "<YYYYMMDDTHHMMSSZ>_<run_id>";

/// Whether an object is one of a batch.
fn is_of_batch(inbox: &InboxSettings, object: &Object) -> bool {
    object.name == MANIFEST || awaited(&inbox.complete) == Some(&object.name) || is_data(&object.name)
}

/// Files of a batch that lie in the inbox itself: their names, what is to be
/// said, and since when.
pub(super) fn in_inbox(inbox: &InboxSettings, listing: &Listing) -> Vec<(String, String, Timestamp)> {
    let files = listing.objects.iter().filter(|object| is_of_batch(inbox, object));
    let told = |object: &Object| {
        let why = format!("it is never taken: it lies in the inbox itself: put it into <source>/{FOLDER}/");
        (object.name.clone(), why, object.modified)
    };
    files.map(told).collect()
}

/// What is to be said of a folder of the inbox that is no source's folder but a
/// batch's, or is both; and since when, where its files tell.
pub(super) fn in_source(
    inbox: &InboxSettings,
    folder: &str,
    listing: &Listing,
) -> Option<(String, Option<Timestamp>)> {
    let files = || listing.objects.iter().filter(|object| is_of_batch(inbox, object));
    let newest = listing.objects.iter().map(|object| object.modified).max();
    if folder.parse::<FolderName>().is_ok() && (files().count() > 0 || listing.folders.is_empty()) {
        let why = "it is never taken: it lies in no source's folder: put it into <source>/";
        return Some((why.to_owned(), newest));
    }
    let why = format!(
        "what lies in it is never taken, for it is a source's folder: put it into {folder}/{FOLDER}/"
    );
    (files().count() > 0).then_some((why, newest))
}
