//! Whether what a data directory consists of is there, before anything is
//! opened or made: a store that was lost must not be replaced by an empty one
//! on the quiet, nor a state folder that is not mounted.

use std::path::Path;

use crate::config::{Settings, TargetSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::planning::recover;
use crate::planning::state_dir::{OWNER, StateDir};
use crate::store::{self, Store};

/// Whether there is something at `path`.
///
/// # Errors
/// [`ErrorKind::Io`] when that can't be told. What is hidden must not be taken
/// for what is not there: something else would be made in its place.
pub fn is_seen(path: &Path) -> Result<bool> {
    seen(path, std::fs::metadata(path))
}

/// The same of a file that is to be read.
///
/// # Errors
/// As [`is_seen`], and when the file can't be opened.
pub fn is_readable(path: &Path) -> Result<bool> {
    seen(path, std::fs::File::open(path))
}

fn seen<T>(path: &Path, found: std::io::Result<T>) -> Result<bool> {
    match found {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(hidden(path, e)),
    }
}

/// What is said of a path that can't be looked at.
fn hidden(path: &Path, error: std::io::Error) -> Error {
    let is_refused = error.kind() == std::io::ErrorKind::PermissionDenied;
    // What is seen last on the way there is what lets nobody in.
    let mut seen = path.ancestors().filter(|path| std::fs::metadata(path).is_ok());
    let named = seen.next().filter(|_| is_refused).unwrap_or(path);
    let text = format!("{} can't be looked into", named.display());
    let error = Error::new(ErrorKind::Io, text).caused_by(error);
    if is_refused { error.with_action(RIGHTS) } else { error }
}

/// What helps where a right is missing.
const RIGHTS: &str = "Run this as the user that it belongs to, or give this user the right to read it.";

/// Whether a data directory has a store.
pub fn has_store(data: &Path) -> bool {
    store::is_there(data)
}

/// # Errors
/// [`ErrorKind::Io`] when a part of the data directory can't be looked at.
pub fn nothing_hidden(data: &Path, settings: &Settings) -> Result<()> {
    is_seen(&data.join(store::FILE))?;
    is_seen(&settings.state.join(OWNER))?;
    let mut files = settings.targets.values().filter_map(TargetSettings::path);
    files.try_for_each(|file| is_seen(file).map(drop))
}

/// # Errors
/// As [`nothing_hidden`], and [`ErrorKind::StateForeign`] when there is a state
/// folder and no store that it could belong to.
pub fn not_lost(data: &Path, settings: &Settings) -> Result<()> {
    nothing_hidden(data, settings)?;
    if store::is_there(data) || !StateDir::is_there(&settings.state) {
        return Ok(());
    }
    let file = data.join(store::FILE);
    let text = format!(
        "{} {}, and the state folder {} belongs to the data directory {}",
        file.display(),
        if is_seen(&file)? { "is empty" } else { "is not there" },
        settings.state.display(),
        recover::owner(&settings.state)?,
    );
    Err(Error::new(ErrorKind::StateForeign, text))
}

/// # Errors
/// As [`not_lost`], and [`ErrorKind::DataMissing`] when there is no store.
pub fn something(data: &Path, settings: &Settings) -> Result<()> {
    not_lost(data, settings)?;
    if store::is_there(data) {
        return Ok(());
    }
    let text = format!("there is nothing in the data directory {} yet", data.display());
    Err(Error::new(ErrorKind::DataMissing, text))
}

/// # Errors
/// [`ErrorKind::StateMissing`] when the store has snapshots: they lay in the
/// state folder, which is not there.
pub fn nothing_referred_to(store: &Store, state: &Path) -> Result<()> {
    if store.read(|view| view.targets())?.is_empty() {
        return Ok(());
    }
    Err(missing(state))
}

/// What is said of a state folder that is not there.
pub fn missing(state: &Path) -> Error {
    let text = format!("the state folder {} is not there, or is empty", state.display());
    Error::new(ErrorKind::StateMissing, text)
}
