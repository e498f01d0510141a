//! Whether what a data directory consists of is there, before anything is
//! opened or made: a store that was lost must not be replaced by an empty one
//! on the quiet, nor a state folder that is not mounted.

use std::path::Path;

use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::planning::recover;
use crate::planning::state_dir::StateDir;
use crate::store::{self, Store};

/// Whether a data directory has a store.
pub fn has_store(data: &Path) -> bool {
    store::is_there(data)
}

/// # Errors
/// [`ErrorKind::StateForeign`] when there is a state folder and no store that
/// it could belong to.
pub fn not_lost(data: &Path, settings: &Settings) -> Result<()> {
    if store::is_there(data) || !StateDir::is_there(&settings.state) {
        return Ok(());
    }
    let file = data.join(store::FILE);
    let text = format!(
        "{} {}, and the state folder {} belongs to the data directory {}",
        file.display(),
        if file.exists() { "is empty" } else { "is not there" },
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
