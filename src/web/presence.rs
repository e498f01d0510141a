//! `<data>/tidegate.server`: where the server of a data directory is, for
//! commands that find it held.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The file's name.
pub const FILE: &str = "tidegate.server";

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The server's process.
    pub pid: u32,
    /// Its URL, with a slash at the end.
    pub url: String,
}

impl Announcement {
    /// What a data directory's file says, if there is one.
    pub fn read(data: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(data.join(FILE)).ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// The file, which goes when this is dropped.
#[derive(Debug)]
pub struct Presence(PathBuf);

impl Presence {
    /// Says that this process serves `url`.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn announce(data: &Path, url: &str) -> Result<Self> {
        let path = data.join(FILE);
        let partial = data.join(format!("{FILE}.partial"));
        let announcement = Announcement { pid: std::process::id(), url: url.to_owned() };
        let text = serde_json::to_string(&announcement)
            .map_err(|e| Error::internal("the announcement of the server").caused_by(e))?;
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial);
        file.and_then(|mut file| writeln!(file, "{text}")).map_err(|e| Error::io(&partial, e))?;
        // Whoever reads it finds all of it, or nothing.
        std::fs::rename(&partial, &path).map_err(|e| Error::io(&path, e))?;
        Ok(Self(path))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // Should it stay, its server does not answer, and it is passed over.
        let _ = std::fs::remove_file(&self.0);
    }
}
