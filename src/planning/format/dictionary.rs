//! Dictionaries: what bodies of one type have in common, so that a small block
//! of them need not say it anew.
//!
//! A block of a pack is small, for it is read for one body; most of what zstd
//! finds in it are the names and forms that every body of its type has, and
//! much of the time of unpacking goes into the tables of its codes. A
//! dictionary has both. (zstd's dictionaries: RFC 8878, section 5.)

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use zstd::zstd_safe::{CDict, DDict};

use super::block_file::LEVEL;
use crate::error::{Error, Result};

/// Bytes of a dictionary. Twice as much brings less than a fiftieth.
const SIZE: usize = 32 << 10;
/// Bytes of samples that one is made from.
const SAMPLES: usize = 1 << 20;

/// Where a dictionary of a pack lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DictionaryRef {
    /// Name of the type whose bodies it is made from.
    pub name: String,
    /// The block that it is in.
    pub block: u32,
}

/// A dictionary, made ready for use when it is used first.
pub struct Dictionary {
    bytes: Vec<u8>,
    reading: OnceLock<DDict<'static>>,
    writing: OnceLock<CDict<'static>>,
}

impl Dictionary {
    /// Makes one from raw blocks. `None` when they are too few, or have too
    /// little in common.
    pub fn train<'a>(blocks: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let (mut samples, mut sizes) = (Vec::new(), Vec::new());
        for block in blocks {
            if samples.len() + block.len() > SAMPLES {
                break;
            }
            samples.extend_from_slice(block);
            sizes.push(block.len());
        }
        let bytes = zstd::dict::from_continuous(&samples, &sizes, SIZE).ok()?;
        Some(Self::new(bytes))
    }

    /// One of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, reading: OnceLock::new(), writing: OnceLock::new() }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Ready for unpacking.
    ///
    /// # Errors
    /// When its bytes are no dictionary, or there is no memory for it.
    pub fn for_reading(&self) -> Result<&DDict<'static>> {
        if let Some(ready) = self.reading.get() {
            return Ok(ready);
        }
        let ready = DDict::try_create(&self.bytes).ok_or_else(unusable)?;
        Ok(self.reading.get_or_init(|| ready))
    }

    /// Ready for packing.
    ///
    /// # Errors
    /// As [`Self::for_reading`].
    pub fn for_writing(&self) -> Result<&CDict<'static>> {
        if let Some(ready) = self.writing.get() {
            return Ok(ready);
        }
        let ready = CDict::try_create(&self.bytes, LEVEL).ok_or_else(unusable)?;
        Ok(self.writing.get_or_init(|| ready))
    }
}

fn unusable() -> Error {
    Error::internal("a dictionary could not be set up")
}
