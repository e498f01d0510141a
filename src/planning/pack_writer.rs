//! Puts bodies into blocks of one type each and hands out where they went.
//!
//! Execution goes type by type, so a block of one type is read once. Where there
//! are more types than open blocks, those with few bodies share blocks. The first
//! blocks of a type are held back until it is known which dictionary they are
//! packed with: see [`PackDictionaries`].

use std::collections::HashMap;

use super::asserted::Asserted;
use super::format::block_file::{BlockWriter, Packer, Placed, push_record};
use super::format::entry::Loc;
use super::pack_dictionaries::PackDictionaries;
use crate::error::{Error, Result};

/// Raw bytes of a block. Small, for one is unpacked for a single body; what
/// bodies have in common is in the dictionary.
const BLOCK_BYTES: usize = 2 << 10;
/// Blocks of a pack from which on, and at each multiple of which, its blocks get
/// twice as large: their number is limited, and their index is read as a whole.
const MANY_BLOCKS: u32 = 1 << 20;
/// How often that happens at most: to 64 KiB.
const MOST_DOUBLED: u32 = 5;
/// Open blocks of one thread. Past it the fullest is closed.
const OPEN_BLOCKS: usize = 64;
/// A block that holds less than this part of a full one is small: it stays open
/// when a file ends, and is not closed on its own to make room for another type.
const SMALL: usize = 4;
/// A dictionary that is there already is worth using from this part of the
/// blocks on that one is made from.
const FEW: usize = 4;
/// Bytes of blocks that one thread holds back.
const HELD_BYTES: usize = 8 << 20;
/// Bytes of a block that gets no dictionary: it has few bodies, which say
/// enough themselves.
const LARGE_BLOCK: usize = 8 * BLOCK_BYTES;

#[derive(Default)]
struct Block {
    raw: Vec<u8>,
    waiting: Vec<Asserted>,
}

impl Block {
    /// Bytes that it holds.
    fn held(&self) -> usize {
        size_of::<Self>() + self.raw.capacity() + self.waiting.capacity() * size_of::<Asserted>()
    }
}

/// Writes the bodies of one thread's lines.
pub struct PackWriter<'a> {
    file: &'a BlockWriter,
    dictionaries: &'a PackDictionaries<'a>,
    packer: Packer,
    /// Raw bytes from which on a block is closed.
    full: usize,
    open: HashMap<u32, Block>,
    /// Bodies of types that had to make room for others.
    shared: Block,
    /// Full blocks of types whose dictionary is not known yet.
    held: HashMap<u32, Vec<Block>>,
    held_bytes: usize,
    /// Types whose dictionary is known, or that have none.
    chosen: HashMap<u32, Option<Placed>>,
}

impl<'a> PackWriter<'a> {
    /// A writer into `file`.
    pub fn new(file: &'a BlockWriter, dictionaries: &'a PackDictionaries<'a>) -> Result<Self> {
        Ok(Self {
            file,
            dictionaries,
            packer: Packer::new()?,
            full: BLOCK_BYTES,
            open: HashMap::new(),
            shared: Block::default(),
            held: HashMap::new(),
            held_bytes: 0,
            chosen: HashMap::new(),
        })
    }

    /// Puts a body into the block of its type. When the block is written, the
    /// assertions in it get their location and go to `done`.
    pub fn push(
        &mut self,
        mut asserted: Asserted,
        write: impl FnOnce(&mut Vec<u8>),
        done: &mut impl FnMut(Asserted) -> Result<()>,
    ) -> Result<()> {
        if self.open.len() >= OPEN_BLOCKS && !self.open.contains_key(&asserted.type_id) {
            // One that was emptied and holds nothing, else the fullest.
            let of = |(id, block): &(&u32, &Block)| (block.raw.is_empty(), block.raw.len(), **id);
            match self.open.iter().max_by_key(of).map(|(id, block)| (*id, self.is_small(block))) {
                Some((id, true)) => self.share(id, done)?,
                Some((id, false)) => self.close(id, done)?,
                None => {}
            }
        }
        let block = self.open.entry(asserted.type_id).or_default();
        let offset = push_record(&mut block.raw, write);
        asserted.size = (block.raw.len() - offset - 4) as u32;
        asserted.loc = Loc::new(0, 0, offset)?;
        block.waiting.push(asserted);
        if block.raw.len() >= self.full { self.close(asserted.type_id, done) } else { Ok(()) }
    }

    fn is_small(&self, block: &Block) -> bool {
        block.raw.len() < self.full / SMALL
    }

    /// Puts what is open of a type into the block that small ones share.
    fn share(&mut self, type_id: u32, done: &mut impl FnMut(Asserted) -> Result<()>) -> Result<()> {
        let Some(block) = self.open.remove(&type_id) else { return Ok(()) };
        let from = self.shared.raw.len();
        self.shared.raw.extend_from_slice(&block.raw);
        for mut asserted in block.waiting {
            asserted.loc = Loc::new(0, 0, from + asserted.loc.offset())?;
            self.shared.waiting.push(asserted);
        }
        if self.shared.raw.len() >= self.full { self.close_shared(done) } else { Ok(()) }
    }

    fn close_shared(&mut self, done: &mut impl FnMut(Asserted) -> Result<()>) -> Result<()> {
        if !self.shared.waiting.is_empty() {
            let number = write(self.file, &mut self.packer, &mut self.shared, None, done)?;
            self.full = full(number);
            self.shared.raw.clear();
        }
        Ok(())
    }

    fn close(&mut self, type_id: u32, done: &mut impl FnMut(Asserted) -> Result<()>) -> Result<()> {
        let Some(mut block) = self.open.remove(&type_id).filter(|block| !block.waiting.is_empty()) else {
            return Ok(());
        };
        let samples = self.dictionaries.samples();
        let known = self.chosen.get(&type_id);
        let large = block.raw.len() > LARGE_BLOCK;
        if known.is_some() || samples == 0 || large {
            let with = known.and_then(Option::as_ref).filter(|_| !large);
            let number = write(self.file, &mut self.packer, &mut block, with, done)?;
            self.full = full(number);
            if !large && self.open.len() < OPEN_BLOCKS {
                // Its room is used again.
                block.raw.clear();
                self.open.insert(type_id, block);
            }
            return Ok(());
        }
        self.held_bytes += block.held();
        let held = self.held.entry(type_id).or_default();
        held.push(block);
        let few = samples.div_ceil(FEW);
        if held.len() == few || held.len() >= samples {
            self.choose(type_id, samples, done)?;
        }
        if self.held_bytes > HELD_BYTES {
            // Of so many types none has much: what there is has to do.
            let types: Vec<u32> = self.held.keys().copied().collect();
            for type_id in types {
                if self.held.get(&type_id).is_some_and(|held| held.len() >= few) {
                    self.choose(type_id, few, done)?;
                }
                self.release(type_id, done)?;
            }
        }
        Ok(())
    }

    /// Asks for the dictionary of a type, which may be made from so many
    /// blocks, and writes what is held back of it if that is settled then.
    fn choose(
        &mut self,
        type_id: u32,
        enough: usize,
        done: &mut impl FnMut(Asserted) -> Result<()>,
    ) -> Result<()> {
        let held = self.held.get(&type_id).map_or(&[][..], Vec::as_slice);
        let blocks = held.iter().map(|block| block.raw.as_slice());
        match self.dictionaries.choose(type_id, blocks, enough)? {
            Some(choice) => {
                self.chosen.insert(type_id, choice);
                self.release(type_id, done)
            }
            None => Ok(()),
        }
    }

    /// Writes what is held back of a type.
    fn release(&mut self, type_id: u32, done: &mut impl FnMut(Asserted) -> Result<()>) -> Result<()> {
        let with = self.chosen.get(&type_id).and_then(Option::as_ref);
        for mut block in self.held.remove(&type_id).unwrap_or_default() {
            self.held_bytes -= block.held();
            write(self.file, &mut self.packer, &mut block, with, done)?;
        }
        Ok(())
    }

    /// Closes all blocks but small ones, in order of their types.
    pub fn end_of_file(&mut self, done: &mut impl FnMut(Asserted) -> Result<()>) -> Result<()> {
        self.close_all(|writer, block| !writer.is_small(block), done)?;
        // The next file may have other types.
        self.open.retain(|_, block| !block.waiting.is_empty());
        Ok(())
    }

    fn close_all(
        &mut self,
        which: impl Fn(&Self, &Block) -> bool,
        done: &mut impl FnMut(Asserted) -> Result<()>,
    ) -> Result<()> {
        let wanted = self.open.iter().filter(|(_, block)| which(self, block));
        let mut ids: Vec<u32> = wanted.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.into_iter().try_for_each(|id| self.close(id, done))
    }

    /// Writes everything that is still open or held back, in order of types.
    pub fn finish(&mut self, done: &mut impl FnMut(Asserted) -> Result<()>) -> Result<()> {
        self.close_all(|_, _| true, done)?;
        self.close_shared(done)?;
        let mut ids: Vec<u32> = self.held.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter().try_for_each(|id| self.release(id, done))
    }
}

/// Raw bytes from which on a block is closed, `number` blocks having been written.
fn full(number: u32) -> usize {
    BLOCK_BYTES << (number / MANY_BLOCKS).min(MOST_DOUBLED)
}

/// Writes a block, tells where its bodies are, and returns its number.
fn write(
    file: &BlockWriter,
    packer: &mut Packer,
    block: &mut Block,
    with: Option<&Placed>,
    done: &mut impl FnMut(Asserted) -> Result<()>,
) -> Result<u32> {
    let packed = packer.pack_with(&block.raw, block.waiting.len() as u32, with)?;
    let number = file.append(&packed)?;
    if number > Loc::MAX_BLOCK {
        return Err(Error::internal("a pack is limited to 2^24 blocks"));
    }
    for mut asserted in block.waiting.drain(..) {
        asserted.loc = Loc::new(0, number, asserted.loc.offset())?;
        done(asserted)?;
    }
    Ok(number)
}
