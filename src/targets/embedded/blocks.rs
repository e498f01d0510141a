//! Bodies in compressed blocks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use redb::{ReadableTable, Table};

use super::row::{BodyAt, BodyPatch};
use crate::domain::assertion::parse_line;
use crate::domain::key::{Key, Kind, RelationshipKey};
use crate::domain::merge;
use crate::domain::settings::Mode;

/// Raw bytes of a block: small, for an update reads the one that holds what
/// it changes.
const BLOCK_BYTES: usize = 16 << 10;
const LEVEL: i32 = 1;
/// Blocks that a reader keeps.
const KEEP: usize = 256;

/// Writes the bodies of one operation.
pub struct BlockBuilder {
    /// Whether bodies go to blocks at all.
    large: bool,
    next: u64,
    raw: Vec<u8>,
    uses: u32,
    zstd: zstd::bulk::Compressor<'static>,
}

impl BlockBuilder {
    /// A builder whose first block has the number `next`. Without `large`
    /// bodies stay in their rows.
    pub fn new(large: bool, next: u64) -> std::io::Result<Self> {
        Ok(Self { large, next, raw: Vec::new(), uses: 0, zstd: zstd::bulk::Compressor::new(LEVEL)? })
    }

    /// Whether bodies go to blocks.
    pub fn is_large(&self) -> bool {
        self.large
    }

    /// Takes a body back, if its block is still open.
    pub fn take_back(&mut self, at: &BodyAt) -> bool {
        match at {
            BodyAt::Block(number, _) if *number == self.next && self.uses > 0 => {
                self.uses -= 1;
                true
            }
            BodyAt::Block(..) | BodyAt::Patched(..) | BodyAt::Inline(_) => false,
        }
    }

    /// A body in the open block.
    pub fn open_body(&self, at: &BodyAt) -> Option<Vec<u8>> {
        match at {
            BodyAt::Block(number, offset) if *number == self.next => {
                Some(record(&self.raw, *offset as usize))
            }
            BodyAt::Block(..) | BodyAt::Patched(..) | BodyAt::Inline(_) => None,
        }
    }

    /// Places a body.
    pub fn push(
        &mut self,
        body: Vec<u8>,
        blocks: &mut Table<'_, u64, &'static [u8]>,
        uses: &mut Uses,
    ) -> Result<BodyAt, redb::Error> {
        if !self.large {
            return Ok(BodyAt::Inline(body));
        }
        let offset = self.raw.len() as u32;
        self.raw.extend_from_slice(&(body.len() as u32).to_le_bytes());
        self.raw.extend_from_slice(&body);
        self.uses += 1;
        let at = BodyAt::Block(self.next, offset);
        if self.raw.len() >= BLOCK_BYTES {
            self.flush(blocks, uses)?;
        }
        Ok(at)
    }

    /// Writes the block that is open.
    pub fn flush(
        &mut self,
        blocks: &mut Table<'_, u64, &'static [u8]>,
        uses: &mut Uses,
    ) -> Result<(), redb::Error> {
        if self.uses > 0 {
            let mut packed = (self.raw.len() as u32).to_le_bytes().to_vec();
            packed.extend_from_slice(&self.zstd.compress(&self.raw).map_err(redb::Error::Io)?);
            blocks.insert(self.next, &packed[..])?;
            *uses.0.entry(self.next).or_default() += i64::from(self.uses);
            self.uses = 0;
            self.next += 1;
        }
        self.raw.clear();
        Ok(())
    }
}

/// Reads bodies, with the blocks read last kept at hand.
pub struct BlockCache {
    kept: HashMap<u64, Rc<Vec<u8>>>,
    order: VecDeque<u64>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl BlockCache {
    /// With nothing in it.
    pub fn new() -> Self {
        Self { kept: HashMap::new(), order: VecDeque::new(), zstd: None }
    }

    /// The bytes of a body. A pointer that leads nowhere gives an empty one.
    pub fn body(
        &mut self,
        at: &BodyAt,
        blocks: &impl ReadableTable<u64, &'static [u8]>,
    ) -> Result<Vec<u8>, redb::Error> {
        let (number, offset) = match at {
            BodyAt::Inline(body) => return Ok(body.clone()),
            BodyAt::Patched(number, offset, patch) => {
                let body = self.body(&BodyAt::Block(*number, *offset), blocks)?;
                return patched(&body, patch);
            }
            BodyAt::Block(number, offset) => (*number, *offset as usize),
        };
        let block = match self.kept.get(&number) {
            Some(block) => Rc::clone(block),
            None => {
                let Some(packed) = blocks.get(number)? else { return Ok(Vec::new()) };
                let block = Rc::new(unpack(&mut self.zstd, packed.value())?);
                if self.order.len() >= KEEP
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.kept.remove(&oldest);
                }
                self.order.push_back(number);
                self.kept.insert(number, Rc::clone(&block));
                block
            }
        };
        Ok(record(&block, offset))
    }
}

/// Unpacks a block: its raw length u32, then zstd.
fn unpack(
    zstd: &mut Option<zstd::bulk::Decompressor<'static>>,
    packed: &[u8],
) -> Result<Vec<u8>, redb::Error> {
    let decompressor = match zstd {
        Some(decompressor) => decompressor,
        None => zstd.insert(zstd::bulk::Decompressor::new().map_err(redb::Error::Io)?),
    };
    let len = packed.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
    let mut raw = Vec::with_capacity(len);
    decompressor
        .decompress_to_buffer(packed.get(4..).unwrap_or_default(), &mut raw)
        .map_err(redb::Error::Io)?;
    Ok(raw)
}

fn record(block: &[u8], offset: usize) -> Vec<u8> {
    let len =
        block.get(offset..offset + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    block.get(offset + 4..offset + 4 + len).unwrap_or_default().to_vec()
}

/// A body with what changed since.
fn patched(body: &[u8], patch: &BodyPatch) -> Result<Vec<u8>, redb::Error> {
    if !patch.of_line {
        return Ok(merge::apply(body, &patch.set, &patch.unset));
    }
    let attributes = merge::apply(&attributes_of_line(body), &patch.set, &patch.unset);
    match parse_line(Kind::Relationship, Mode::Incremental, body).map(|line| line.key.to_key()) {
        Ok(Key::Relationship(key)) => relationship_line(&key, &attributes),
        Ok(Key::Entity(_)) | Err(_) => Ok(body.to_vec()),
    }
}

/// A relationship's line, as it is exported.
pub fn relationship_line(key: &RelationshipKey, attributes: &[u8]) -> Result<Vec<u8>, redb::Error> {
    let mut line = serde_json::to_vec(key).map_err(|e| redb::Error::Io(e.into()))?;
    line.pop();
    line.extend_from_slice(b",\"attributes\":");
    line.extend_from_slice(attributes);
    line.push(b'}');
    Ok(line)
}

/// The attributes of a relationship's line.
pub fn attributes_of_line(line: &[u8]) -> Vec<u8> {
    match parse_line(Kind::Relationship, Mode::Incremental, line) {
        Ok(parsed) => parsed.attributes.unwrap_or(b"{}").to_vec(),
        Err(_) => b"{}".to_vec(),
    }
}

/// How many more or fewer rows point into each block, until it is written.
#[derive(Default)]
pub struct Uses(BTreeMap<u64, i64>);

impl Uses {
    /// One more or one fewer row points to a body.
    pub fn add(&mut self, at: &BodyAt, more: i64) {
        if let Some(block) = at.block() {
            *self.0.entry(block).or_default() += more;
        }
    }

    /// Writes the counts. Blocks that nothing points to any more go to `emptied`.
    pub fn write(self, uses: &mut Table<'_, u64, u32>, emptied: &mut Vec<u64>) -> Result<(), redb::Error> {
        for (block, more) in self.0 {
            let before = uses.get(block)?.map_or(0, |uses| i64::from(uses.value()));
            match u32::try_from(before + more) {
                // One that was written and is not used after all has no count yet.
                Ok(left) if left > 0 && more == 0 => {}
                Ok(left) if left > 0 => drop(uses.insert(block, left)?),
                Ok(_) | Err(_) => {
                    uses.remove(block)?;
                    emptied.push(block);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase};

    use super::super::tables::BLOCK_USE;
    use super::*;

    #[test]
    fn blocks_that_nothing_points_to_are_told_also_when_nothing_ever_did() {
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let tx = db.begin_write().unwrap();
        let mut emptied = Vec::new();
        let moves = |all: &[(u64, i64)]| Uses(all.iter().copied().collect());
        {
            let mut uses = tx.open_table(BLOCK_USE).unwrap();
            // 4: written, and every body in it was taken back.
            moves(&[(1, 5), (2, 1), (3, 2), (4, 3 - 3)]).write(&mut uses, &mut emptied).unwrap();
            assert_eq!(emptied, [4]);
            moves(&[(1, -4), (2, -1), (3, 0)]).write(&mut uses, &mut emptied).unwrap();
        }
        tx.commit().unwrap();
        assert_eq!(emptied, [4, 2]);
        let tx = db.begin_read().unwrap();
        let rows = tx.open_table(BLOCK_USE).unwrap();
        let rows: Vec<_> =
            rows.iter().unwrap().map(|row| row.map(|(b, n)| (b.value(), n.value())).unwrap()).collect();
        assert_eq!(rows, [(1, 1), (3, 2)]);
    }
}
