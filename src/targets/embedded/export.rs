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
use crate::domain::key::Kind;
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
                let key = LineKey::Entity { type_name: (&*type_name).into(), qualified_name: name };
                out.write_all(&line(&key, &body, row.archived)?).map_err(io)?;
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
            let stored = cache.body(&row.body, &blocks).map_err(fail)?;
            let Ok(parsed) = parse_line(Kind::Relationship, Mode::Incremental, &stored) else {
                return Err(Error::internal("a relationship of the catalogue can't be read"));
            };
            let attributes = parsed.attributes.unwrap_or(b"{}");
            sorter.push(sort_key(&parsed.key), line(&parsed.key, attributes, row.archived)?)?;
        }
        sorter.finish(|line| out.write_all(line).map_err(io))?;
        out.flush().map_err(io)
    }
}

/// A line, its members and those of its ends in the order of their names. The
/// attributes are canonical.
fn line(key: &LineKey<'_>, attributes: &[u8], archived: bool) -> Result<Vec<u8>> {
    let text = |text: &str| serde_json::to_string(text).map_err(|e| Error::internal("a name").caused_by(e));
    let end = |type_name: &str, name: &str| -> Result<String> {
        Ok(format!("{{\"qualified_name\":{},\"type\":{}}}", text(name)?, text(type_name)?))
    };
    let mut line = Vec::with_capacity(attributes.len() + 128);
    line.extend_from_slice(if archived {
        b"{\"archived\":true,\"attributes\":"
    } else {
        b"{\"attributes\":"
    });
    line.extend_from_slice(attributes);
    let rest = match key {
        LineKey::Entity { type_name, qualified_name } => {
            format!(",\"qualified_name\":{},\"type\":{}}}\n", text(qualified_name)?, text(type_name)?)
        }
        LineKey::Relationship { type_name, from_type, from_name, to_type, to_name, label } => {
            let label = match &**label {
                "" => String::new(),
                label => format!(",\"label\":{}", text(label)?),
            };
            let (from, to) = (end(from_type, from_name)?, end(to_type, to_name)?);
            format!(",\"from\":{from}{label},\"to\":{to},\"type\":{}}}\n", text(type_name)?)
        }
    };
    line.extend_from_slice(rest.as_bytes());
    Ok(line)
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
