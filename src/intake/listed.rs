//! The entries of a manifest's files, as far as they can be read.

use super::batch::BatchFile;
use super::manifest::compression_of;
use crate::domain::key::Kind;

/// The entries of `files` that have a path which can be used.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// In the manifest's order.
    pub files: Vec<ListedFile>,
    /// Whether each entry has such a path, so that no other file is meant.
    pub has_all_paths: bool,
}

/// An entry. What is wrong or not stated is `None`.
#[derive(Debug, Clone)]
pub struct ListedFile {
    /// Its name within the folder.
    pub path: String,
    /// What its lines are.
    pub kind: Option<Kind>,
    /// Number of lines that are not blank.
    pub count: Option<u64>,
    /// Stored size in bytes.
    pub bytes: Option<u64>,
    /// XXH3-64 of the stored bytes.
    pub xxh3: Option<u64>,
}

impl Listed {
    /// The files of a batch, if it is known of each what its lines are.
    pub fn batch_files(&self) -> Option<Vec<BatchFile>> {
        self.files.iter().map(|file| file.kind.map(|kind| file.of_kind(kind))).collect()
    }
}

impl ListedFile {
    /// A file that nothing is stated of.
    pub fn unlisted(path: String) -> Self {
        Self { path, kind: None, count: None, bytes: None, xxh3: None }
    }

    /// The file, with lines of this kind.
    pub fn of_kind(&self, kind: Kind) -> BatchFile {
        BatchFile {
            path: self.path.clone(),
            kind,
            compression: compression_of(&self.path),
            count: self.count,
            bytes: self.bytes,
            xxh3: self.xxh3,
            accepted: None,
            listed: None,
        }
    }
}
