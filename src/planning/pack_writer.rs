//! Puts bodies into blocks of one type each and hands out where they went.
//!
//! Execution goes type by type, so a block of one type is read once.

use std::collections::HashMap;

use super::asserted::Asserted;
use super::format::block_file::{BlockWriter, Packer, push_record};
use super::format::entry::Loc;
use crate::error::{Error, Result};

/// Raw bytes of a block. Small enough that reading one body costs little,
/// large enough that zstd finds what repeats.
const BLOCK_BYTES: usize = 4 << 10;
/// Open blocks of one thread. Past it the fullest is closed.
const OPEN_BLOCKS: usize = 64;

#[derive(Default)]
struct OpenBlock {
    raw: Vec<u8>,
    waiting: Vec<Asserted>,
}

/// Writes the bodies of one thread's lines.
pub struct PackWriter<'a> {
    file: &'a BlockWriter,
    packer: Packer,
    open: HashMap<u32, OpenBlock>,
}

impl<'a> PackWriter<'a> {
    /// A writer into `file`.
    pub fn new(file: &'a BlockWriter) -> Result<Self> {
        Ok(Self { file, packer: Packer::new()?, open: HashMap::new() })
    }

    /// Puts a body into the block of its type. When the block is full, the
    /// assertions in it get their location and go to `done`.
    pub fn push(
        &mut self,
        mut asserted: Asserted,
        write: impl FnOnce(&mut Vec<u8>),
        done: &mut impl FnMut(Asserted) -> Result<()>,
    ) -> Result<()> {
        if self.open.len() >= OPEN_BLOCKS && !self.open.contains_key(&asserted.type_id) {
            let fullest =
                self.open.iter().max_by_key(|(id, block)| (block.raw.len(), **id)).map(|(id, _)| *id);
            if let Some(id) = fullest {
                self.close(id, done)?;
            }
        }
        let block = self.open.entry(asserted.type_id).or_default();
        let offset = push_record(&mut block.raw, write);
        asserted.size = (block.raw.len() - offset - 4) as u32;
        asserted.loc = Loc::new(0, 0, offset);
        block.waiting.push(asserted);
        if block.raw.len() >= BLOCK_BYTES { self.close(asserted.type_id, done) } else { Ok(()) }
    }

    fn close(&mut self, type_id: u32, done: &mut impl FnMut(Asserted) -> Result<()>) -> Result<()> {
        let Some(block) = self.open.get_mut(&type_id) else { return Ok(()) };
        let packed = self.packer.pack(&block.raw, block.waiting.len() as u32)?;
        let number = self.file.append(&packed)?;
        if number > Loc::MAX_BLOCK {
            return Err(Error::internal("a pack is limited to 2^24 blocks"));
        }
        for mut asserted in block.waiting.drain(..) {
            asserted.loc = Loc::new(0, number, asserted.loc.offset());
            done(asserted)?;
        }
        block.raw.clear();
        if block.raw.capacity() > 4 * BLOCK_BYTES {
            block.raw = Vec::new();
        }
        Ok(())
    }

    /// Closes all blocks, in order of their types.
    pub fn finish(&mut self, done: &mut impl FnMut(Asserted) -> Result<()>) -> Result<()> {
        let mut ids: Vec<u32> = self.open.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.close(id, done)?;
        }
        self.open.retain(|_, block| !block.waiting.is_empty());
        Ok(())
    }
}
