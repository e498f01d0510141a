//! Where the batch lies that a command is given: a folder, or its URL.

use std::path::{Path, PathBuf};

use url::Url;

use super::scratch::Scratch;
use crate::error::Result;
use crate::intake::fetch;

/// A batch on the command line.
#[derive(Debug, Clone)]
pub enum Place {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A folder of an object store.
    Remote(String),
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.contains("://") {
            return Ok(Self::Folder(text.into()));
        }
        let url = Url::parse(text).map_err(|e| format!("this is no URL: {e}"))?;
        match url.scheme() {
            "file" => {
                let path = url.to_file_path().map_err(|()| "this names no local folder".to_owned())?;
                Ok(Self::Folder(path))
            }
            "s3" => Ok(Self::Remote(text.to_owned())),
            other => Err(format!("`{other}` is no kind of URL that is read; there are file and s3")),
        }
    }
}

impl Place {
    /// Has a look at the batch on this machine, where it is brought for a while.
    ///
    /// # Errors
    /// When it can't be brought, and those of `look`.
    pub fn at_hand<T>(&self, look: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        match self {
            Self::Folder(folder) => look(folder),
            Self::Remote(url) => {
                let scratch = Scratch::new()?;
                let folder = scratch.folder("batch");
                fetch::bring_url(url, &folder)?;
                look(&folder)
            }
        }
    }
}
