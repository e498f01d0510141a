//! Files that are written whole, and are not durable yet.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file with everything in it. A failure of the power may still take it away.
#[must_use = "it is not durable"]
pub struct Written {
    file: File,
    path: PathBuf,
}

impl Written {
    /// `file` at `path`.
    pub(super) fn new(file: File, path: PathBuf) -> Self {
        Self { file, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes its content durable; its name is made so by
    /// [`StateDir::synced`](crate::planning::state_dir::StateDir::synced).
    ///
    /// # Errors
    /// Of the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.path, e))
    }
}
