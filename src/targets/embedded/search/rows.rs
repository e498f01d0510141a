//! Rows of entities, as one transaction of the catalogue sees them.

use std::collections::HashMap;
use std::ops::Bound;

use jiff::Timestamp;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use crate::error::{Error, Result};
use crate::targets::embedded::EmbeddedCatalogue;
use crate::targets::embedded::blocks::BlockCache;
use crate::targets::embedded::buffered::Reader;
use crate::targets::embedded::read::Origin;
use crate::targets::embedded::row::Row;
use crate::targets::embedded::tables::{BLOCKS, ENTITIES, ORIGINS, TYPES};

/// Bytes of rows from which on a chunk is large enough.
const CHUNK_BYTES: usize = 8 << 20;

/// Rows that follow each other.
pub struct Chunk {
    /// Keys and rows.
    pub rows: Vec<(Vec<u8>, Row)>,
    /// Whether there are rows behind the last one.
    pub more: bool,
}

/// The rows.
pub struct Rows<'a> {
    catalogue: &'a EmbeddedCatalogue,
    entities: Reader,
    blocks: ReadOnlyTable<u64, &'static [u8]>,
    origins: ReadOnlyTable<u32, &'static [u8]>,
    cache: BlockCache,
    times: HashMap<u32, Timestamp>,
}

impl<'a> Rows<'a> {
    /// Those that `tx` sees.
    pub fn new(catalogue: &'a EmbeddedCatalogue, tx: &ReadTransaction) -> Result<Self> {
        Ok(Self {
            catalogue,
            entities: ENTITIES.read(tx).map_err(|e| catalogue.failure(e))?,
            blocks: tx.open_table(BLOCKS).map_err(|e| catalogue.failure(e))?,
            origins: tx.open_table(ORIGINS).map_err(|e| catalogue.failure(e))?,
            cache: BlockCache::new(),
            times: HashMap::new(),
        })
    }

    /// A row.
    pub fn get(&self, key: &[u8]) -> Result<Option<Row>> {
        let row = self.entities.get(key).map_err(|e| self.catalogue.failure(e))?;
        Ok(row.and_then(|row| Row::decode(row.value())))
    }

    /// Up to `limit` rows behind a key, fewer if they are large.
    pub fn chunk(&self, behind: &[u8], limit: usize) -> Result<Chunk> {
        let (mut chunk, mut bytes) = (Chunk { rows: Vec::new(), more: false }, 0);
        let range = (Bound::Excluded(behind), Bound::Unbounded);
        for entry in self.entities.range(range).map_err(|e| self.catalogue.failure(e))? {
            if chunk.rows.len() == limit || bytes > CHUNK_BYTES {
                chunk.more = true;
                break;
            }
            let (key, row) = entry.map_err(|e| self.catalogue.failure(e))?;
            bytes += row.value().len();
            let row = Row::decode(row.value());
            let row = row.ok_or_else(|| Error::internal("a row of the catalogue can't be read"))?;
            chunk.rows.push((key.value().to_vec(), row));
        }
        Ok(chunk)
    }

    /// The attributes of a row.
    pub fn body(&mut self, row: &Row) -> Result<Vec<u8>> {
        self.cache.body(&row.body, &self.blocks).map_err(|e| self.catalogue.failure(e))
    }

    /// When a row was changed last.
    pub fn updated(&mut self, row: &Row) -> Result<Timestamp> {
        if let Some(time) = self.times.get(&row.updated) {
            return Ok(*time);
        }
        let found = self.origins.get(row.updated).map_err(|e| self.catalogue.failure(e))?;
        let origin = found.and_then(|bytes| rmp_serde::from_slice::<Origin>(bytes.value()).ok());
        let time = origin.ok_or_else(|| Error::internal("an origin of the catalogue is missing"))?.at;
        self.times.insert(row.updated, time);
        Ok(time)
    }
}

/// Numbers and names of the types of a catalogue.
pub fn types(catalogue: &EmbeddedCatalogue, tx: &ReadTransaction) -> Result<Vec<(u32, String)>> {
    let table = tx.open_table(TYPES).map_err(|e| catalogue.failure(e))?;
    let mut types = Vec::new();
    for row in table.iter().map_err(|e| catalogue.failure(e))? {
        let (number, name) = row.map_err(|e| catalogue.failure(e))?;
        types.push((number.value(), name.value().to_owned()));
    }
    Ok(types)
}
