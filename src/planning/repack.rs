//! Bodies that lie in many small packs, brought into one when layers are
//! folded. Each batch has a pack of its own, and as long as one body of it
//! lives the pack stays: without this a source with small batches would have
//! as many packs as it ever had batches.

use std::collections::BTreeSet;
use std::path::Path;

use super::bodies::Bodies;
use super::format::block_file::{BlockWriter, FileKind, Packer, push_record};
use super::format::entry::Loc;
use super::format::written::Written;
use super::snapshot::{Found, Snapshot};
use crate::error::Result;

/// Small packs from which on they become one.
const MANY: usize = 64;
/// Small packs that become one at a time: each is opened.
const MOST: usize = 512;
/// Bytes of a pack that is not small.
const LARGE: u64 = 4 << 20;
/// Raw bytes of a block.
const BLOCK: usize = 4 << 10;

/// A pack that bodies of small ones are brought into.
pub struct Repack {
    name: String,
    /// Names of the small ones.
    small: BTreeSet<String>,
    writer: BlockWriter,
    packer: Packer,
    raw: Vec<u8>,
    records: u32,
    bodies: Bodies,
}

impl Repack {
    /// For the layers from `from` on, into a pack of this name at `path`;
    /// `None` when it is not worth it.
    ///
    /// # Errors
    /// Of the disk.
    pub fn of(next: &Snapshot, from: usize, name: &str, path: &Path) -> Result<Option<Self>> {
        let names = |index: usize| next.layer(index).meta().packs.iter();
        // Of an entry below, the pack stays anyway.
        let below: BTreeSet<&String> = (0..from).flat_map(names).collect();
        let folded: BTreeSet<&String> = (from..next.layers()).flat_map(names).collect();
        if folded.len() < MANY {
            return Ok(None);
        }
        let mut small = BTreeSet::new();
        for pack in (from..next.layers()).flat_map(|index| next.packs(index)) {
            let Some(name) = pack.path().file_name().and_then(|name| name.to_str()) else { continue };
            let name = name.to_owned();
            if below.contains(&name) || small.contains(&name) || small.len() >= MOST {
                continue;
            }
            // One that is not there is told when a body of it is wanted.
            if std::fs::metadata(pack.path()).is_ok_and(|meta| meta.len() < LARGE) {
                small.insert(name);
            }
        }
        if small.len() < MANY {
            return Ok(None);
        }
        tracing::debug!(packs = small.len(), "small packs become one");
        Ok(Some(Self {
            name: name.to_owned(),
            small,
            writer: BlockWriter::create(path, FileKind::Pack)?,
            packer: Packer::new()?,
            raw: Vec::new(),
            records: 0,
            bodies: Bodies::new()?,
        }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Brings the body of an entry over, if it lies in a small pack: where it
    /// lies then, of pack 0.
    ///
    /// # Errors
    /// Of the packs.
    pub fn take(&mut self, next: &Snapshot, found: &Found) -> Result<Option<Loc>> {
        if found.entry.loc == Loc::NONE {
            return Ok(None);
        }
        let pack = next.pack(found.layer, found.entry.loc)?;
        let name = pack.path().file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| self.small.contains(name)) {
            return Ok(None);
        }
        let body = match self.bodies.get(pack, found.entry.loc) {
            Ok(body) => body,
            // It stays where it is: nobody asked for it.
            Err(error) => {
                tracing::warn!(%error, "a body can't be brought into another pack");
                return Ok(None);
            }
        };
        if self.raw.len() >= BLOCK {
            self.close()?;
        }
        let at = push_record(&mut self.raw, |out| out.extend_from_slice(body.record()));
        self.records += 1;
        Loc::new(0, self.writer.blocks(), at).map(Some)
    }

    fn close(&mut self) -> Result<()> {
        if self.records > 0 {
            self.writer.append(&self.packer.pack(&self.raw, self.records)?)?;
        }
        self.raw.clear();
        self.records = 0;
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// Of the disk.
    pub fn finish(mut self) -> Result<Written> {
        self.close()?;
        self.writer.finish()
    }
}
