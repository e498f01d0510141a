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
    /// How it was listed in an object store when the batch was accepted, where that is
    /// not in the signature of the batch's folder: it lies in a folder within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<String>,
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

impl Batch {
    /// Whether it is read where it was delivered: its URL is a folder of this
    /// machine.
    pub fn is_local(&self) -> bool {
        is_local(&self.url)
    }
}

/// Whether the URL of a batch is a folder of this machine.
pub fn is_local(url: &str) -> bool {
    url.starts_with("file:")
}

/// Units to which file systems cut the time of a file that they tell exactly
/// until it has been written out: 100 ns (NTFS, SMB), a microsecond, a
/// millisecond, 10 ms (exFAT), one second (ext3, HFS+) and two (FAT).
const UNITS: [i128; 6] = [100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000];

impl FileState {
    /// Whether a file that is `now` like this was changed since it was like
    /// `self`, as far as that can be told. A time that was cut to a round one
    /// since then is the same.
    pub fn was_changed(&self, now: &Self) -> bool {
        let (before, after) = (self.modified.as_nanosecond(), now.modified.as_nanosecond());
        let is_cut = |unit: &i128| after % unit == 0 && before % unit != 0 && (before - after).abs() < *unit;
        self.bytes != now.bytes || before != after && !UNITS.iter().any(is_cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(bytes: u64, modified: &str) -> FileState {
        FileState { bytes, modified: format!("2026-11-29T12:00:{modified}Z").parse().unwrap() }
    }

    #[test]
    fn a_time_that_was_cut_is_the_same_and_another_one_is_not() {
        let before = state(7, "05.123456789");
        for same in
            ["05.123456789", "05.1234567", "05.123456", "05.123457", "05.123", "05.12", "05", "06", "04"]
        {
            assert!(!before.was_changed(&state(7, same)), "{same}");
        }
        for other in ["05.123456788", "05.1234566", "05.1245", "05.2", "07", "08", "03", "02", "04.123456789"]
        {
            assert!(before.was_changed(&state(7, other)), "{other}");
        }
        assert!(before.was_changed(&state(8, "05.123456789")));
        // One that is round already was not cut.
        assert!(state(7, "05").was_changed(&state(7, "05.5")));
        assert!(state(7, "06").was_changed(&state(7, "07")) && state(7, "06").was_changed(&state(7, "08")));
    }
}
