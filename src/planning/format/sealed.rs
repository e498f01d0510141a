//! Opening a file that is sealed at both ends: a magic number in front, and a
//! trailer that was written last and says where everything is.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::block_file::{invalid, newer};
use crate::error::{Error, Result};

/// A file, and what stands at its ends.
pub struct Sealed<const HEADER: usize, const TRAILER: usize> {
    /// The file.
    pub file: File,
    /// Its first bytes.
    pub header: [u8; HEADER],
    /// Where its trailer begins.
    pub body_end: u64,
    /// Its last bytes.
    pub trailer: [u8; TRAILER],
}

impl<const HEADER: usize, const TRAILER: usize> Sealed<HEADER, TRAILER> {
    /// Opens a file and reads its ends; what they say is the caller's to check.
    ///
    /// # Errors
    /// [`SnapshotInvalid`](crate::error::ErrorKind::SnapshotInvalid) when it
    /// is missing, or too short for both.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => invalid(path, "the file is missing"),
            _ => Error::io(path, e),
        })?;
        let at = |e| Error::io(path, e);
        let size = file.metadata().map_err(at)?.len();
        let Some(body_end) = size.checked_sub(TRAILER as u64).filter(|end| *end >= HEADER as u64) else {
            return Err(invalid(path, "the file is cut short"));
        };
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).map_err(at)?;
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, body_end).map_err(at)?;
        Ok(Self { file, header, body_end, trailer })
    }

    /// What is wrong with a file of another magic number than `known`, whose last byte
    /// is a digit, the version.
    pub fn unknown(&self, path: &Path, known: &[u8; HEADER], what: &str) -> Error {
        match (self.header.split_last(), known.split_last()) {
            (Some((version, name)), Some((last, known)))
                if name == known && version.is_ascii_digit() && version > last =>
            {
                newer(path, char::from(*version), char::from(*last))
            }
            _ => invalid(path, format!("this is no {what} of a known version, or it is cut short")),
        }
    }
}
