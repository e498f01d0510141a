//! A pack of keys without values: what tombstones refer to.

use std::path::Path;

use super::format::block_file::{BlockWriter, FileKind, Packer, push_record};
use super::format::body::key_head;
use super::format::entry::Loc;
use super::format::written::Written;
use crate::domain::key::Key;
use crate::error::Result;

/// Raw bytes of a block.
const BLOCK: usize = 16 << 10;

/// Writes the pack.
pub struct KeyPack {
    file: BlockWriter,
    packer: Packer,
    raw: Vec<u8>,
    records: u32,
}

impl KeyPack {
    /// Creates the file; one of that name is overwritten.
    pub fn create(path: &Path) -> Result<Self> {
        let file = BlockWriter::create(path, FileKind::Pack)?;
        Ok(Self { file, packer: Packer::new()?, raw: Vec::new(), records: 0 })
    }

    /// Takes a key, and tells where it lies, of pack 0.
    pub fn push(&mut self, key: &Key) -> Result<Loc> {
        if self.raw.len() >= BLOCK {
            self.close()?;
        }
        let at = push_record(&mut self.raw, |out| key_head(out, key));
        self.records += 1;
        Loc::new(0, self.file.blocks(), at)
    }

    fn close(&mut self) -> Result<()> {
        if self.records > 0 {
            self.file.append(&self.packer.pack(&self.raw, self.records)?)?;
        }
        self.raw.clear();
        self.records = 0;
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<Written> {
        self.close()?;
        self.file.finish()
    }
}
