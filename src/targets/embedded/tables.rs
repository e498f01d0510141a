//! Tables of the catalogue's file. Keys and values are bytes; numbers in keys
//! are big-endian, so that they sort.

use redb::{TableDefinition, WriteTransaction};

use super::buffered::Definition;
use super::search::feed::FEED;

type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Name → text.
pub const META: Bytes = TableDefinition::new("meta");
/// Type number u32 → name.
pub const TYPES: TableDefinition<'static, u32, &'static str> = TableDefinition::new("types");
/// Type number, qualified name → row.
pub const ENTITIES: Definition = Definition::new("entities", "entities_buffer");
/// Number of the `from` entity, hash of the relationship → row.
pub const FORWARD: Definition = Definition::new("relationships_forward", "relationships_forward_buffer");
/// Number of the `to` entity, hash of the relationship → number of the `from` entity.
pub const REVERSE: Definition = Definition::new("relationships_reverse", "relationships_reverse_buffer");
/// Hash of the entity or relationship, version → row and what was done.
pub const HISTORY: Definition = Definition::new("history", "history_buffer");
/// Number → compressed bodies.
pub const BLOCKS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("blocks");
/// Number → bodies that rows or the history still point to.
pub const BLOCK_USE: TableDefinition<'static, u64, u32> = TableDefinition::new("block_use");
/// Number → who made a change, when, for which batch.
pub const ORIGINS: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("origins");
/// Plan id, operation → outcomes.
pub const OPERATIONS: Bytes = TableDefinition::new("operations");
/// Source → plan id.
pub const LAST_PLAN: TableDefinition<'static, &'static str, &'static str> = TableDefinition::new("last_plan");

/// Makes every table, so that readers find them.
pub fn create_all(tx: &WriteTransaction) -> Result<(), redb::Error> {
    for table in [ENTITIES, FORWARD, REVERSE, HISTORY] {
        table.write(tx, 0, false)?;
    }
    tx.open_table(META)?;
    tx.open_table(OPERATIONS)?;
    tx.open_table(TYPES)?;
    tx.open_table(BLOCKS)?;
    tx.open_table(BLOCK_USE)?;
    tx.open_table(ORIGINS)?;
    tx.open_table(LAST_PLAN)?;
    tx.open_table(FEED)?;
    Ok(())
}

/// Names of every table that [`create_all`] makes.
pub fn names() -> Vec<String> {
    use redb::TableHandle;
    let mut names: Vec<String> = [ENTITIES, FORWARD, REVERSE, HISTORY]
        .iter()
        .flat_map(|table| table.names())
        .map(Into::into)
        .collect();
    names.extend([META, OPERATIONS].iter().map(|table| table.name().to_owned()));
    names.extend([TYPES.name(), BLOCKS.name(), BLOCK_USE.name(), ORIGINS.name()].map(Into::into));
    names.extend([LAST_PLAN.name(), FEED.name()].map(Into::into));
    names
}

/// Key of an entity.
pub fn entity_key(type_no: u32, name: &str) -> Vec<u8> {
    let mut key = type_no.to_be_bytes().to_vec();
    key.extend_from_slice(name.as_bytes());
    key
}

/// Key of an end, by its number, and a relationship. Numbers are given in the
/// order of creation, so that what was made together lies together.
pub fn end_key(end: u32, relationship: u128) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&end.to_be_bytes());
    key[4..].copy_from_slice(&relationship.to_be_bytes());
    key
}

/// Key of a version in the history.
pub fn version_key(hash: u128, version: u32) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&hash.to_be_bytes());
    key[16..].copy_from_slice(&version.to_be_bytes());
    key
}

/// Key of an operation.
pub fn operation_key(plan: &str, no: u32) -> Vec<u8> {
    let mut key = plan.as_bytes().to_vec();
    key.push(0);
    key.extend_from_slice(&no.to_be_bytes());
    key
}
