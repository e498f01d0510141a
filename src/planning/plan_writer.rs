//! Writing a plan: changes go into sections, each with its operations, and
//! the sections into one file in the order of execution.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::format::block_file::{BlockWriter, PackedBlock, Packer, push_record};
use super::format::bytes::u32_at;
use super::plan_file::OperationRef;
use crate::error::{Error, Result};

/// Raw bytes of a block of a plan.
const BLOCK_BYTES: usize = 64 << 10;
/// Packed bytes that a section keeps in memory.
const KEEP: usize = 4 << 20;

/// A part of a block file that is written before those that come ahead of it
/// are done: packed blocks, in memory or in a temporary file.
pub struct SectionWriter {
    path: PathBuf,
    spill: Option<File>,
    kept: Vec<u8>,
    blocks: u32,
    raw: Vec<u8>,
    records: u32,
    total: u64,
    packer: Packer,
}

impl Drop for SectionWriter {
    fn drop(&mut self) {
        if self.spill.is_some() {
            // A file that stays behind is removed with the folder at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl SectionWriter {
    /// A section that spills to `folder/name.section`.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        Ok(Self {
            path: folder.join(format!("{name}.section")),
            spill: None,
            kept: Vec::new(),
            blocks: 0,
            raw: Vec::new(),
            records: 0,
            total: 0,
            packer: Packer::new()?,
        })
    }

    /// Appends a record.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        push_record(&mut self.raw, write);
        self.records += 1;
        self.total += 1;
        if self.raw.len() >= BLOCK_BYTES { self.cut() } else { Ok(()) }
    }

    /// Records so far.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether no record was written.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Ends the block, so that the next record begins a new one. Returns the
    /// number of blocks so far.
    pub fn end_block(&mut self) -> Result<u32> {
        self.cut()?;
        Ok(self.blocks)
    }

    fn cut(&mut self) -> Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        let block = self.packer.pack(&self.raw, self.records)?;
        self.kept.extend_from_slice(&block.encode());
        self.blocks += 1;
        self.records = 0;
        self.raw.clear();
        if self.kept.len() > KEEP {
            let at = |e| Error::io(&self.path, e);
            let file = match &mut self.spill {
                Some(file) => file,
                None => self.spill.insert(
                    File::options()
                        .read(true)
                        .write(true)
                        .create(true)
                        .truncate(true)
                        .open(&self.path)
                        .map_err(|e| Error::io(&self.path, e))?,
                ),
            };
            file.write_all(&self.kept).map_err(at)?;
            self.kept.clear();
        }
        Ok(())
    }

    /// Appends all blocks to a file. Returns the number of the first one there.
    pub fn append_to(mut self, out: &BlockWriter) -> Result<(u32, u32)> {
        self.cut()?;
        let first = out.blocks();
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.spill {
            file.rewind().map_err(|e| Error::io(&self.path, e))?;
            let mut reader = std::io::BufReader::with_capacity(1 << 18, file);
            let mut head = [0; 12];
            loop {
                match reader.read_exact(&mut head) {
                    Ok(()) => {}
                    Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => break,
                    Err(e) => return Err(Error::io(&self.path, e)),
                }
                bytes.resize(u32_at(&head, 0) as usize, 0);
                reader.read_exact(&mut bytes).map_err(|e| Error::io(&self.path, e))?;
                out.append(&PackedBlock::decode(&head, &bytes))?;
            }
        }
        let mut rest = &self.kept[..];
        while rest.len() >= 12 {
            let (head, tail) = rest.split_at(12);
            let (block, tail) = tail.split_at(u32_at(head, 0) as usize);
            out.append(&PackedBlock::decode(head, block))?;
            rest = tail;
        }
        Ok((first, self.blocks))
    }
}

/// An operation of a plan that is written, and the bytes of its values.
pub struct Cut {
    operation: OperationRef,
    bytes: usize,
}

/// The operations of a plan. With `most`, so many changes and bytes of values,
/// those that lie side by side are put together as far as one may go: a target
/// that applies an operation as a whole keeps its changes in order by itself.
pub fn operations(cuts: Vec<Cut>, most: Option<(usize, usize)>) -> Vec<OperationRef> {
    let mut joined: Vec<Cut> = Vec::with_capacity(cuts.len());
    for cut in cuts {
        if let (Some(last), Some((max_changes, max_bytes))) = (joined.last_mut(), most) {
            let changes = last.operation.changes as usize + cut.operation.changes as usize;
            let bytes = last.bytes.saturating_add(cut.bytes);
            let behind = last.operation.first_block + last.operation.blocks == cut.operation.first_block;
            if behind && changes <= max_changes && bytes <= max_bytes {
                last.operation.blocks += cut.operation.blocks;
                last.operation.changes += cut.operation.changes;
                last.bytes = bytes;
                continue;
            }
        }
        joined.push(cut);
    }
    joined.into_iter().map(|cut| cut.operation).collect()
}

/// A section of changes, cut into operations.
pub struct ChangeSection {
    section: SectionWriter,
    operations: Vec<Cut>,
    max_changes: usize,
    max_bytes: usize,
    changes: u32,
    bytes: usize,
    begin: u32,
}

impl ChangeSection {
    /// A section whose operations hold at most so much.
    pub fn new(folder: &Path, name: &str, max_changes: usize, max_bytes: usize) -> Result<Self> {
        Ok(Self {
            section: SectionWriter::new(folder, name)?,
            operations: Vec::new(),
            max_changes: max_changes.max(1),
            max_bytes: max_bytes.max(1),
            changes: 0,
            bytes: 0,
            begin: 0,
        })
    }

    /// Appends a change whose values have `bytes` bytes.
    pub fn push(&mut self, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        if self.changes as usize >= self.max_changes
            || self.changes > 0 && self.bytes + bytes > self.max_bytes
        {
            self.end_operation()?;
        }
        self.section.push(write)?;
        self.changes += 1;
        self.bytes += bytes;
        Ok(())
    }

    fn end_operation(&mut self) -> Result<()> {
        if self.changes > 0 {
            let end = self.section.end_block()?;
            let operation =
                OperationRef { first_block: self.begin, blocks: end - self.begin, changes: self.changes };
            self.operations.push(Cut { operation, bytes: self.bytes });
            self.begin = end;
            self.changes = 0;
            self.bytes = 0;
        }
        Ok(())
    }

    /// Appends the section to a file and its operations to the list.
    pub fn append_to(mut self, out: &BlockWriter, operations: &mut Vec<Cut>) -> Result<()> {
        self.end_operation()?;
        let (first, _) = self.section.append_to(out)?;
        operations.extend(self.operations.into_iter().map(|mut cut| {
            cut.operation.first_block += first;
            cut
        }));
        Ok(())
    }
}
