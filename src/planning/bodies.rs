//! Reading bodies from packs, with the blocks read last kept at hand.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::format::block_file::{Unpacker, invalid, record_at};
use super::format::body::Body;
use super::format::entry::Loc;
use super::state_dir::Pack;
use crate::error::Result;

/// Blocks that a reader keeps, in bytes. Bodies are mostly read in the order
/// in which they were written, so several hundred blocks do.
const KEEP: usize = 2 << 20;

/// Unpackers of a reader. The bodies before and after a change lie in two packs,
/// and an unpacker that is used with one dictionary after the other has none at
/// hand.
const UNPACKERS: usize = 2;

/// A pack, by its address, and a block of it.
type BlockId = (usize, u32);

/// Reads bodies; one per thread.
pub struct Bodies {
    /// Each with the pack that it was used for last, the one used last in front.
    unpackers: [(usize, Unpacker); UNPACKERS],
    blocks: HashMap<BlockId, Arc<Vec<u8>>>,
    order: VecDeque<BlockId>,
    held: usize,
    /// Room of a block that went.
    spare: Vec<u8>,
    last: Option<(BlockId, Arc<Vec<u8>>)>,
    /// Keeps every pack whose address is in use as a key.
    packs: HashMap<usize, Arc<Pack>>,
}

/// A record and the block that holds it.
#[derive(Clone)]
pub struct BodyRef {
    block: Arc<Vec<u8>>,
    start: usize,
    end: usize,
    pack: Arc<Pack>,
}

impl BodyRef {
    /// The record as it is stored.
    pub fn record(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// The body.
    pub fn body(&self) -> Result<Body<'_>> {
        Body::parse(self.record()).ok_or_else(|| {
            invalid(self.pack.path(), format!("the record at {} of a block is no body", self.start))
        })
    }
}

impl Bodies {
    /// A reader with an empty cache.
    pub fn new() -> Result<Self> {
        Ok(Self {
            unpackers: [(0, Unpacker::new()?), (0, Unpacker::new()?)],
            blocks: HashMap::new(),
            order: VecDeque::new(),
            held: 0,
            spare: Vec::new(),
            last: None,
            packs: HashMap::new(),
        })
    }

    /// The body at `loc` of `pack`.
    pub fn get(&mut self, pack: &Arc<Pack>, loc: Loc) -> Result<BodyRef> {
        let id = Arc::as_ptr(pack) as usize;
        let key = (id, loc.block());
        let block = match &self.last {
            Some((last, block)) if *last == key => Arc::clone(block),
            _ => self.block(pack, key)?,
        };
        let bad = || invalid(pack.path(), format!("block {} has no record at {}", loc.block(), loc.offset()));
        let (record, end) = record_at(&block, loc.offset()).ok_or_else(bad)?;
        let start = end - record.len();
        Ok(BodyRef { start, end, block, pack: Arc::clone(pack) })
    }

    fn block(&mut self, pack: &Arc<Pack>, key: BlockId) -> Result<Arc<Vec<u8>>> {
        if let Some(block) = self.blocks.get(&key) {
            let block = Arc::clone(block);
            self.last = Some((key, Arc::clone(&block)));
            return Ok(block);
        }
        let mut raw = std::mem::take(&mut self.spare);
        if self.unpackers[0].0 != key.0 {
            self.unpackers.rotate_right(1);
            self.unpackers[0].0 = key.0;
        }
        pack.reader()?.read(key.1, &mut self.unpackers[0].1, &mut raw)?;
        self.packs.entry(key.0).or_insert_with(|| Arc::clone(pack));
        let block = Arc::new(raw);
        self.held += block.capacity();
        self.blocks.insert(key, Arc::clone(&block));
        self.order.push_back(key);
        while self.held > KEEP && self.order.len() > 1 {
            if let Some(oldest) = self.order.pop_front()
                && let Some(gone) = self.blocks.remove(&oldest)
            {
                self.held -= gone.capacity();
                if let Ok(room) = Arc::try_unwrap(gone) {
                    self.spare = room;
                }
            }
        }
        self.last = Some((key, Arc::clone(&block)));
        Ok(block)
    }
}
