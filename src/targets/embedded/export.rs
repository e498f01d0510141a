//! `catalogue export` (contract: command line): entities sorted by (type,
//! qualified name), then relationships sorted by (type, from, to, label).

use std::io::Write;

use redb::ReadableTable;

use super::EmbeddedCatalogue;
use super::blocks::BlockCache;
use super::row::Row;
use super::sort::LineSorter;
use super::tables;
use crate::domain::assertion::{LineKey, parse_line};
use crate::domain::key::{EntityKey, Kind};
use crate::domain::settings::Mode;
use crate::error::{Error, Result};

impl EmbeddedCatalogue {
    /// Writes the catalogue in the line format of batches. Archived ones are
    /// left out, or marked with `"archived":true`.
    pub fn export(&self, out: &mut dyn Write, archived: bool) -> Result<()> {
        let tx = self.begin_read()?;
        let fail = |e: redb::Error| self.failure(e);
        let io = |e: std::io::Error| Error::io(std::path::Path::new("export"), e);
        let blocks = tx.open_table(tables::BLOCKS).map_err(|e| fail(e.into()))?;
        let mut cache = BlockCache::new();

        let types = tx.open_table(tables::TYPES).map_err(|e| fail(e.into()))?;
        let mut names: Vec<(String, u32)> = Vec::new();
        for row in types.iter().map_err(|e| fail(e.into()))? {
            let (number, name) = row.map_err(|e| fail(e.into()))?;
            names.push((name.value().to_owned(), number.value()));
        }
        names.sort();
        let entities = tables::ENTITIES.read(&tx).map_err(fail)?;
        for (type_name, number) in names {
            let (from, to) = (number.to_be_bytes(), (number + 1).to_be_bytes());
            let range = entities.range(&from[..]..&to[..]).map_err(fail)?;
            for entry in range {
                let (key, row) = entry.map_err(|e| fail(e.into()))?;
                let Some(row) = Row::decode(row.value()).filter(|row| archived || !row.archived) else {
                    continue;
                };
                let body = cache.body(&row.body, &blocks).map_err(fail)?;
                let name = String::from_utf8_lossy(&key.value()[4..]);
                let key = serde_json::to_vec(&EntityKey::new(&*type_name, &*name))
                    .map_err(|e| Error::internal("a key").caused_by(e))?;
                out.write_all(&key[..key.len() - 1]).map_err(io)?;
                out.write_all(b",\"attributes\":").map_err(io)?;
                out.write_all(&body).map_err(io)?;
                out.write_all(end(row.archived)).map_err(io)?;
            }
        }

        let folder = self.path().parent().unwrap_or(std::path::Path::new("."));
        let mut sorter = LineSorter::new(folder, format!("export-{:016x}", self.clock.random()));
        let forward = tables::FORWARD.read(&tx).map_err(fail)?;
        for entry in forward.range(..).map_err(fail)? {
            let (_, row) = entry.map_err(|e| fail(e.into()))?;
            let Some(row) = Row::decode(row.value()).filter(|row| archived || !row.archived) else {
                continue;
            };
            let mut line = cache.body(&row.body, &blocks).map_err(fail)?;
            let key = match parse_line(Kind::Relationship, Mode::Incremental, &line) {
                Ok(parsed) => sort_key(&parsed.key),
                Err(_) => return Err(Error::internal("a relationship of the catalogue can't be read")),
            };
            line.pop();
            line.extend_from_slice(end(row.archived));
            sorter.push(key, line)?;
        }
        sorter.finish(|line| out.write_all(line).map_err(io))?;
        out.flush().map_err(io)
    }
}

fn end(archived: bool) -> &'static [u8] {
    if archived { b",\"archived\":true}\n" } else { b"}\n" }
}

fn sort_key(key: &LineKey<'_>) -> Vec<u8> {
    match key {
        LineKey::Entity { type_name, qualified_name } => join(&[type_name, qualified_name]),
        LineKey::Relationship { type_name, from_type, from_name, to_type, to_name, label } => {
            join(&[type_name, from_type, from_name, to_type, to_name, label])
        }
    }
}

/// Names have no zero bytes, so this sorts like the tuple.
fn join(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}
