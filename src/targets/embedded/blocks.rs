//! Bodies in compressed blocks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use redb::{ReadableTable, Table};

use super::aside::Aside;
use super::row::{BodyAt, BodyPatch};
use crate::domain::assertion::parse_line;
use crate::domain::key::{Key, Kind, RelationshipKey};
use crate::domain::merge;
use crate::domain::settings::Mode;
use crate::targets::TargetChange;

/// Raw bytes of a block: small, for an update reads the one that holds what
/// it changes.
const BLOCK_BYTES: usize = 16 << 10;
const LEVEL: i32 = 1;
/// Blocks that a reader keeps.
const KEEP: usize = 256;

/// The table of blocks, for writing.
pub struct Blocks<'t> {
    /// Blocks by number.
    pub table: Table<'t, u64, &'static [u8]>,
    zstd: zstd::bulk::Compressor<'static>,
}

impl<'t> Blocks<'t> {
    /// Writes into this table.
    pub fn new(table: Table<'t, u64, &'static [u8]>) -> std::io::Result<Self> {
        Ok(Self { table, zstd: zstd::bulk::Compressor::new(LEVEL)? })
    }

    /// The number of the first block after all that are there.
    pub fn next(&self) -> Result<u64, redb::Error> {
        Ok(self.table.last()?.map_or(0, |(last, _)| last.value() + 1))
    }

    fn write(&mut self, number: u64, raw: &[u8]) -> Result<(), redb::Error> {
        let mut packed = (raw.len() as u32).to_le_bytes().to_vec();
        packed.extend_from_slice(&self.zstd.compress(raw).map_err(redb::Error::Io)?);
        self.table.insert(number, &packed[..])?;
        Ok(())
    }

    /// Writes the bodies that were laid out, from `changes`.
    pub fn fill(&mut self, laid_out: &[LaidOut], changes: &[TargetChange]) -> Result<(), redb::Error> {
        let mut raw = Vec::with_capacity(BLOCK_BYTES * 2);
        for block in laid_out {
            raw.clear();
            for n in &block.changes {
                let change = &changes[*n];
                put_record(&mut raw, |raw| put_body(raw, &change.key, &change.set))?;
            }
            self.write(block.number, &raw)?;
        }
        Ok(())
    }
}

/// A block whose bodies have their places, and are written later.
pub struct LaidOut {
    number: u64,
    /// Places of their changes in the operation.
    changes: Vec<usize>,
}

/// Gives the bodies of one operation their places in blocks.
pub struct BlockBuilder {
    /// Whether bodies go to blocks at all.
    large: bool,
    next: u64,
    raw: Vec<u8>,
    uses: u32,
}

impl BlockBuilder {
    /// A builder whose first block has the number `next`. Without `large`
    /// bodies stay in their rows.
    pub fn new(large: bool, next: u64) -> Self {
        Self { large, next, raw: Vec::new(), uses: 0 }
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

    /// Places the body of a change and writes its block when it is full.
    pub fn push<'t: 's, 's>(
        &mut self,
        key: &Key,
        attributes: &[u8],
        blocks: &mut Aside<'s, Blocks<'t>>,
        uses: &mut Uses,
    ) -> Result<BodyAt, redb::Error> {
        if !self.large {
            let mut body = Vec::new();
            put_body(&mut body, key, attributes)?;
            return Ok(BodyAt::Inline(body));
        }
        let offset = self.raw.len() as u32;
        put_record(&mut self.raw, |raw| put_body(raw, key, attributes))?;
        self.uses += 1;
        let at = BodyAt::Block(self.next, offset);
        if self.raw.len() >= BLOCK_BYTES {
            self.flush(blocks.here()?, uses)?;
        }
        Ok(at)
    }

    /// Places the bodies of these changes, given by their places in the
    /// operation, in blocks of their own that are written later; calls `each`
    /// with where they are, in order.
    pub fn lay_out(
        &mut self,
        places: impl Iterator<Item = usize>,
        changes: &[TargetChange],
        uses: &mut Uses,
        mut each: impl FnMut(BodyAt),
    ) -> Result<Vec<LaidOut>, redb::Error> {
        let mut all = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut len = 0;
        let mut line = Vec::new();
        let mut close = |next: &mut u64, open: Vec<usize>| {
            *uses.0.entry(*next).or_default() += open.len() as i64;
            all.push(LaidOut { number: *next, changes: open });
            *next += 1;
        };
        for n in places {
            let TargetChange { key, set, .. } = &changes[n];
            let body = match key {
                Key::Entity(_) => set.len(),
                Key::Relationship(_) => {
                    line.clear();
                    put_body(&mut line, key, b"")?;
                    line.len() + set.len()
                }
            };
            each(BodyAt::Block(self.next, len as u32));
            open.push(n);
            len += 4 + body;
            if len >= BLOCK_BYTES {
                close(&mut self.next, std::mem::take(&mut open));
                len = 0;
            }
        }
        if !open.is_empty() {
            close(&mut self.next, open);
        }
        Ok(all)
    }

    /// Writes the block that is open.
    pub fn flush(&mut self, blocks: &mut Blocks<'_>, uses: &mut Uses) -> Result<(), redb::Error> {
        if self.uses > 0 {
            blocks.write(self.next, &self.raw)?;
            *uses.0.entry(self.next).or_default() += i64::from(self.uses);
            self.uses = 0;
            self.next += 1;
        }
        self.raw.clear();
        Ok(())
    }
}

/// A record of a block: its length, then its bytes.
fn put_record(
    raw: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let at = raw.len();
    raw.extend_from_slice(&[0; 4]);
    put(raw)?;
    let len = (raw.len() - at - 4) as u32;
    raw[at..at + 4].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

/// The body of a key: attributes of an entity, the line of a relationship.
fn put_body(out: &mut Vec<u8>, key: &Key, attributes: &[u8]) -> Result<(), redb::Error> {
    match key {
        Key::Entity(_) => out.extend_from_slice(attributes),
        Key::Relationship(key) => put_line(out, key, attributes)?,
    }
    Ok(())
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
    let mut line = Vec::new();
    put_line(&mut line, key, attributes)?;
    Ok(line)
}

fn put_line(out: &mut Vec<u8>, key: &RelationshipKey, attributes: &[u8]) -> Result<(), redb::Error> {
    serde_json::to_writer(&mut *out, key).map_err(|e| redb::Error::Io(e.into()))?;
    out.pop();
    out.extend_from_slice(b",\"attributes\":");
    out.extend_from_slice(attributes);
    out.push(b'}');
    Ok(())
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
