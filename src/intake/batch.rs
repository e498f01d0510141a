//! A batch that was accepted: everything that planning needs to know of it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::ids::BatchId;
use crate::domain::key::Kind;
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::domain::stamp::Stamp;

/// How the bytes of a file are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they are.
    None,
    /// Zstandard frames.
    Zstd,
    /// gzip members.
    Gzip,
}

/// One data file of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFile {
    /// Its name within the folder.
    pub path: String,
    /// What its lines are.
    pub kind: Kind,
    /// How it is packed.
    pub compression: Compression,
    /// Number of lines that are not blank, where the manifest states it.
    pub count: Option<u64>,
    /// Stored size in bytes, where the manifest states it.
    pub bytes: Option<u64>,
    /// XXH3-64 of the stored bytes, where the manifest states it.
    pub xxh3: Option<u64>,
    /// What it was when the batch was accepted, where no checksum tells and it
    /// is read where it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<FileState>,
}

/// What tells whether a file was changed, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Stored bytes.
    pub bytes: u64,
    /// When it was written last.
    pub modified: Timestamp,
}

/// An accepted batch, its files at hand in a local folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// Its place in the order of its source.
    pub stamp: Stamp,
    /// URL that it was delivered to (`file:///…`, `s3://…`), with a slash at the end.
    pub url: String,
    /// Local folder that holds its files.
    pub folder: PathBuf,
    /// The workflow that wrote it; empty when the batch does not say.
    pub workflow: String,
    /// What its lines assert.
    pub mode: Mode,
    /// What a full batch speaks for.
    pub scope: Scope,
    /// The workflow's own word for its complexity, 1 to 10.
    pub complexity: Option<u8>,
    /// Whether a full batch speaks for what it does not list although it has a
    /// line whose key can't be read: a person said so (`SEMANTICS` 3).
    pub withholds_nothing: bool,
    /// Its data files, in the manifest's order.
    pub files: Vec<BatchFile>,
    /// XXH3-128 of the manifest's bytes, 32 hex digits. Tells whether a folder
    /// is still the one that was accepted.
    pub manifest_hash: String,
}
