//! Remote batches, brought to a local folder: planning may read a batch twice,
//! and a restart goes on without the network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::batch::{Batch, BatchFile};
use super::folder;
use super::manifest::MANIFEST;
use super::prefix::{self, Object, Passing, Prefix};
use super::signature;
use crate::error::{Error, ErrorKind, Result};

/// Brings one object of a folder of the prefix to a file of the same name in
/// the local folder `to`. One that is there already, of the same size, stays:
/// it was brought before a restart.
///
/// # Errors
/// Those of [`Prefix::fetch`] and of the local disk.
pub fn bring(prefix: &dyn Prefix, folder: &str, object: &Object, to: &Path, each: Passing<'_>) -> Result<()> {
    std::fs::create_dir_all(to).map_err(|e| Error::io(to, e))?;
    let path = to.join(&object.name);
    if std::fs::metadata(&path).is_ok_and(|meta| meta.len() == object.size) {
        return Ok(());
    }
    // Only a whole file gets its name.
    let part = to.join(format!(".{}.part", object.name));
    prefix.fetch(folder, object, &part, each)?;
    std::fs::rename(&part, &path).map_err(|e| Error::io(&path, e))
}

/// Brings all files of a batch to its local folder. `folder` is its path below
/// the prefix, `accepted` the signature of its listing when it was accepted.
///
/// # Errors
/// [`ErrorKind::FolderChanged`] when the listing is not the accepted one,
/// [`ErrorKind::FileMissing`] when a file is listed in the manifest alone, or
/// nothing is there; else as [`bring`].
pub fn bring_batch(
    prefix: &dyn Prefix,
    folder: &str,
    accepted: &str,
    batch: &Batch,
    each: Passing<'_>,
) -> Result<()> {
    let objects = prefix.objects(folder)?;
    if objects.is_empty() {
        // Not changed, so that somebody may have it read as it is.
        let text = format!("batch {}: nothing is left in {}", batch.id, prefix.url_of(folder));
        return Err(Error::new(ErrorKind::FileMissing, text));
    }
    if !signature::still(accepted, &objects) {
        let text = format!("batch {}: {} was changed after it was accepted", batch.id, prefix.url_of(folder));
        return Err(Error::new(ErrorKind::FolderChanged, text));
    }
    // It tells what a copy is of, should that outlive all else.
    if let Some(manifest) = objects.iter().find(|object| object.name == MANIFEST) {
        bring(prefix, folder, manifest, &batch.folder, each)?;
    }
    let places = places(prefix, folder, objects, &batch.files)?;
    for file in &batch.files {
        let (place, _) = parts(&file.path);
        let Some(object) = find(&places, &file.path) else {
            let text = format!("batch {}: file {} is listed and not there", batch.id, file.path);
            return Err(Error::new(ErrorKind::FileMissing, text));
        };
        if file.listed.as_ref().is_some_and(|listed| *listed != signature::of_object(object)) {
            let text = format!("batch {}: file {} was changed after it was accepted", batch.id, file.path);
            return Err(Error::new(ErrorKind::FolderChanged, text));
        }
        bring(prefix, &folder_of(folder, place), object, &batch.folder.join(place), each).map_err(
            |e| match e.kind() {
                ErrorKind::Interrupted => e,
                _ => e.context(format!("batch {}", batch.id)),
            },
        )?;
    }
    Ok(())
}

/// Notes how files are listed that lie in a folder within the batch's: the signature
/// of that one says nothing of them. A checksum tells more.
///
/// # Errors
/// Those of [`Prefix::objects`].
pub fn note_listed(prefix: &dyn Prefix, folder: &str, files: &mut [BatchFile]) -> Result<()> {
    let mut within: Vec<&mut BatchFile> =
        files.iter_mut().filter(|file| file.xxh3.is_none() && !parts(&file.path).0.is_empty()).collect();
    let mut places = Places::new();
    for file in &mut within {
        let (place, _) = parts(&file.path);
        if !places.contains_key(place) {
            places.insert(place.to_owned(), prefix.objects(&folder_of(folder, place))?);
        }
        file.listed = find(&places, &file.path).map(signature::of_object);
    }
    Ok(())
}

/// What lies in a batch's folder, by the folder within it: `""` for itself.
pub type Places = BTreeMap<String, Vec<Object>>;

/// The objects of a batch's folder, which were listed, and those of the folders
/// in it that files of the batch lie in.
///
/// # Errors
/// Those of [`Prefix::objects`].
pub fn places(
    prefix: &dyn Prefix,
    folder: &str,
    objects: Vec<Object>,
    files: &[BatchFile],
) -> Result<Places> {
    let below: BTreeSet<&str> =
        files.iter().map(|file| parts(&file.path).0).filter(|below| !below.is_empty()).collect();
    let mut places: Places = [(String::new(), objects)].into();
    for place in below {
        places.insert(place.to_owned(), prefix.objects(&folder_of(folder, place))?);
    }
    Ok(places)
}

/// A file of a batch as it was listed.
pub fn find<'a>(places: &'a Places, path: &str) -> Option<&'a Object> {
    let (place, name) = parts(path);
    places.get(place)?.iter().find(|object| object.name == name)
}

/// The path below the prefix of a folder within a batch's folder.
pub fn folder_of(folder: &str, place: &str) -> String {
    if place.is_empty() { folder.to_owned() } else { format!("{folder}/{place}") }
}

/// The folder within a batch's folder that a file lies in, and its name there.
fn parts(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Brings a batch that is given by its URL to a local folder.
///
/// # Errors
/// [`ErrorKind::NotFound`] when nothing lies there, and what is wrong with its
/// manifest; else as [`bring_batch`].
pub fn bring_url(url: &str, to: &Path) -> Result<()> {
    let (parent, name) = prefix::parent_of(url)?;
    let prefix = prefix::open(&parent)?;
    let accepted = bring_manifest(&*prefix, &name, to)?;
    let batch = open_brought(&*prefix, &name, to)?;
    bring_batch(&*prefix, &name, &accepted, &batch, &|_| Ok(()))
}

/// Brings the manifest of a batch to a local folder. Returns the signature of
/// the listing.
///
/// # Errors
/// [`ErrorKind::NotFound`] when nothing lies there, [`ErrorKind::ManifestMissing`];
/// else as [`bring`].
pub fn bring_manifest(prefix: &dyn Prefix, folder: &str, to: &Path) -> Result<String> {
    let url = prefix.url_of(folder);
    let objects = prefix.objects(folder)?;
    let manifest =
        objects.iter().find(|object| object.name == MANIFEST).ok_or_else(|| match objects.len() {
            0 => Error::new(ErrorKind::NotFound, format!("there is nothing in {url}")),
            _ => Error::new(ErrorKind::ManifestMissing, format!("{url} has no {MANIFEST}")),
        })?;
    bring(prefix, folder, manifest, to, &|_| Ok(()))?;
    Ok(signature::of(&objects))
}

/// The batch of a folder of a prefix, by its manifest, which was brought to a
/// local folder.
///
/// # Errors
/// What is wrong with the manifest; those of [`Prefix::objects`].
pub fn open_brought(prefix: &dyn Prefix, folder: &str, brought: &Path) -> Result<Batch> {
    let url = prefix.url_of(folder);
    let mut batch = folder::open_local(brought).map_err(|e| e.context(&url))?;
    note_listed(prefix, folder, &mut batch.files)?;
    Ok(Batch { url, ..batch })
}
