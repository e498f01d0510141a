//! Applying operations: one transaction each, with its outcomes stored beside
//! its effect, so that a repeat is answered and not applied.

use std::collections::HashMap;

use redb::{Durability, ReadableTable, Table, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::EmbeddedCatalogue;
use super::blocks::{BlockBuilder, BlockCache, release};
use super::read::Origin;
use super::row::{BodyAt, Row};
use super::tables::{self, end_key, entity_key, operation_key, version_key};
use crate::domain::change::Action;
use crate::domain::ids::PlanId;
use crate::domain::key::{EntityKey, Key, RelationshipKey};
use crate::domain::merge;
use crate::domain::settings::Deletion;
use crate::error::{Error, Result};
use crate::targets::{ChangeOutcome, Operation, Outcomes, TargetChange};

/// Changes from which on bodies go to blocks.
const LARGE: usize = 256;

/// Stored outcomes: how many changes there were, and which were refused.
#[derive(Serialize, Deserialize)]
struct StoredOutcomes {
    changes: u32,
    rejected: Vec<(u32, String)>,
}

/// A row of the history.
#[derive(Serialize, Deserialize)]
pub struct HistoryRow {
    /// What ended the version.
    pub action: Action,
    /// Who ended it.
    pub ended_by: u32,
    /// The row as it was.
    pub row: Vec<u8>,
    /// The key.
    pub key: Key,
}

type Bytes<'t> = Table<'t, &'static [u8], &'static [u8]>;

struct Tables<'t> {
    entities: Bytes<'t>,
    forward: Bytes<'t>,
    reverse: Bytes<'t>,
    history: Bytes<'t>,
    blocks: Table<'t, u64, &'static [u8]>,
    uses: Table<'t, u64, u32>,
    types: Table<'t, u32, &'static str>,
}

/// Applies an operation.
pub fn apply(catalogue: &EmbeddedCatalogue, operation: &Operation) -> Result<Outcomes> {
    let fail = |e: redb::Error| catalogue.failure(e);
    let mut tx = catalogue.db.begin_write().map_err(|e| fail(e.into()))?;
    tx.set_durability(Durability::Immediate).map_err(|e| fail(e.into()))?;
    tx.set_quick_repair(true);
    let row = operation_key(operation.plan_id.as_str(), operation.no.0);
    if let Some(known) = stored(&tx, &row).map_err(fail)? {
        tx.abort().map_err(|e| fail(e.into()))?;
        return Ok(known);
    }
    let origin = Origin {
        source: operation.source_id.to_string(),
        batch: operation.batch_id.to_string(),
        plan: operation.plan_id.to_string(),
        at: operation.at,
    };
    let outcomes = write(catalogue, &tx, &origin, &operation.changes).map_err(fail)?;
    let rejected = outcomes.iter().enumerate().filter_map(|(n, outcome)| match outcome {
        ChangeOutcome::Done => None,
        ChangeOutcome::Rejected(reason) => Some((n as u32, reason.clone())),
    });
    let value = StoredOutcomes { changes: outcomes.len() as u32, rejected: rejected.collect() };
    let bytes = rmp_serde::to_vec(&value).map_err(|e| Error::internal("outcomes").caused_by(e))?;
    let finish = || -> Result<(), redb::Error> {
        tx.open_table(tables::OPERATIONS)?.insert(&row[..], &bytes[..])?;
        tx.open_table(tables::LAST_PLAN)?.insert(operation.source_id.as_str(), operation.plan_id.as_str())?;
        Ok(())
    };
    finish().map_err(fail)?;
    tx.commit().map_err(|e| fail(e.into()))?;
    Ok(outcomes)
}

/// Drops the stored outcomes of a plan.
pub fn forget(catalogue: &EmbeddedCatalogue, plan: &PlanId) -> Result<()> {
    let fail = |e: redb::Error| catalogue.failure(e);
    let work = || -> Result<(), redb::Error> {
        let mut tx = catalogue.db.begin_write()?;
        // Nothing depends on it: it may be done again.
        tx.set_durability(Durability::None)?;
        {
            let mut table = tx.open_table(tables::OPERATIONS)?;
            let (from, to) = (operation_key(plan.as_str(), 0), operation_key(plan.as_str(), u32::MAX));
            table.retain_in::<&[u8], _>(&from[..]..=&to[..], |_, _| false)?;
        }
        tx.commit()?;
        Ok(())
    };
    work().map_err(fail)
}

fn stored(tx: &WriteTransaction, row: &[u8]) -> Result<Option<Outcomes>, redb::Error> {
    let table = tx.open_table(tables::OPERATIONS)?;
    let found = table.get(row)?;
    Ok(found.and_then(|bytes| rmp_serde::from_slice::<StoredOutcomes>(bytes.value()).ok()).map(|stored| {
        let mut outcomes = vec![ChangeOutcome::Done; stored.changes as usize];
        for (n, reason) in stored.rejected {
            if let Some(slot) = outcomes.get_mut(n as usize) {
                *slot = ChangeOutcome::Rejected(reason);
            }
        }
        outcomes
    }))
}

/// Applies changes within a transaction, in the order of their keys within
/// runs that may be reordered.
pub fn write(
    catalogue: &EmbeddedCatalogue,
    tx: &WriteTransaction,
    origin: &Origin,
    changes: &[TargetChange],
) -> Result<Outcomes, redb::Error> {
    let mut tables = Tables {
        entities: tx.open_table(tables::ENTITIES)?,
        forward: tx.open_table(tables::FORWARD)?,
        reverse: tx.open_table(tables::REVERSE)?,
        history: tx.open_table(tables::HISTORY)?,
        blocks: tx.open_table(tables::BLOCKS)?,
        uses: tx.open_table(tables::BLOCK_USE)?,
        types: tx.open_table(tables::TYPES)?,
    };
    let origin_no = {
        let mut origins = tx.open_table(tables::ORIGINS)?;
        let next = origins.last()?.map_or(0, |(last, _)| last.value() + 1);
        let bytes = rmp_serde::to_vec_named(origin).map_err(|e| redb::Error::Io(std::io::Error::other(e)))?;
        origins.insert(next, &bytes[..])?;
        next
    };
    let mut type_numbers = HashMap::new();
    for row in tables.types.iter()? {
        let (number, name) = row?;
        type_numbers.insert(name.value().to_owned(), number.value());
    }
    let next_block = tables.blocks.last()?.map_or(0, |(last, _)| last.value() + 1);
    let with_body = changes.iter().filter(|change| change.action != Action::Delete).count();
    let builder = BlockBuilder::new(with_body >= LARGE, next_block).map_err(redb::Error::Io)?;
    let mut work = Work {
        deletion: catalogue.options.deletion,
        history_limit: catalogue.options.history,
        origin: origin_no,
        tables: &mut tables,
        type_numbers,
        builder,
        cache: BlockCache::new(),
        last_from: None,
        placed: Vec::new(),
    };
    // Rows are written in the order of their keys: far fewer pages change
    // hands. A key stands once in an operation, and what depends on each
    // other (entities and relationships) is kept apart.
    let mut outcomes = vec![ChangeOutcome::Done; changes.len()];
    for stage in 0..4 {
        let mut order: Vec<(Vec<u8>, usize)> = Vec::new();
        for (n, change) in changes.iter().enumerate() {
            if stage_of(change) == stage {
                order.push((work.sort_key(change)?, n));
            }
        }
        // Bodies go to blocks as they come, so that what comes together lies
        // together; rows are written sorted.
        let mut bodies: Vec<Option<BodyAt>> = vec![None; order.len()];
        if stage == 1 || stage == 2 {
            for (slot, (_, n)) in bodies.iter_mut().zip(&order) {
                if changes[*n].action == Action::Create && work.builder_is_large() {
                    *slot = Some(work.place_create(&changes[*n])?);
                }
            }
        }
        let mut sorted: Vec<(Vec<u8>, usize, Option<BodyAt>)> =
            order.into_iter().zip(bodies).map(|((key, n), body)| (key, n, body)).collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (key, n, body) in sorted {
            outcomes[n] = work.change(&key, &changes[n], body)?;
        }
        work.reverse()?;
    }
    let Work { mut builder, .. } = work;
    builder.flush(&mut tables.blocks, &mut tables.uses)?;
    Ok(outcomes)
}

/// Relationships go before entities do, entities come before relationships do.
fn stage_of(change: &TargetChange) -> u8 {
    match (&change.key, change.action) {
        (Key::Relationship(_), Action::Delete) => 0,
        (Key::Entity(_), Action::Create | Action::Update) => 1,
        (Key::Relationship(_), Action::Create | Action::Update) => 2,
        (Key::Entity(_), Action::Delete) => 3,
    }
}

struct Work<'a, 't> {
    deletion: Deletion,
    history_limit: u32,
    origin: u32,
    tables: &'a mut Tables<'t>,
    type_numbers: HashMap<String, u32>,
    builder: BlockBuilder,
    cache: BlockCache,
    last_from: Option<(EntityKey, bool)>,
    /// Rows of the reverse table that wait to be written in order.
    placed: Vec<([u8; 32], [u8; 16])>,
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
    use crate::domain::key::Kind;
    use crate::domain::settings::Mode;
    match crate::domain::assertion::parse_line(Kind::Relationship, Mode::Incremental, line) {
        Ok(parsed) => parsed.attributes.unwrap_or(b"{}").to_vec(),
        Err(_) => b"{}".to_vec(),
    }
}

impl Work<'_, '_> {
    fn builder_is_large(&self) -> bool {
        self.builder.is_large()
    }

    fn type_number(&mut self, name: &str) -> Result<u32, redb::Error> {
        if let Some(number) = self.type_numbers.get(name) {
            return Ok(*number);
        }
        let next = self.tables.types.last()?.map_or(0, |(last, _)| last.value() + 1);
        self.tables.types.insert(next, name)?;
        self.type_numbers.insert(name.to_owned(), next);
        Ok(next)
    }

    fn sort_key(&mut self, change: &TargetChange) -> Result<Vec<u8>, redb::Error> {
        Ok(match &change.key {
            Key::Entity(key) => entity_key(self.type_number(&key.type_name)?, &key.qualified_name),
            Key::Relationship(key) => end_key(key.from.hash().0, key.hash().0).to_vec(),
        })
    }

    fn place_create(&mut self, change: &TargetChange) -> Result<BodyAt, redb::Error> {
        let body = match &change.key {
            Key::Entity(_) => change.set.clone(),
            Key::Relationship(key) => relationship_line(key, &change.set)?,
        };
        self.builder.push(body, &mut self.tables.blocks, &mut self.tables.uses)
    }

    fn place(&mut self, key: &Key, attributes: Vec<u8>) -> Result<BodyAt, redb::Error> {
        let body = match key {
            Key::Entity(_) => attributes,
            Key::Relationship(key) => relationship_line(key, &attributes)?,
        };
        self.builder.push(body, &mut self.tables.blocks, &mut self.tables.uses)
    }

    fn change(
        &mut self,
        row_key: &[u8],
        change: &TargetChange,
        placed: Option<BodyAt>,
    ) -> Result<ChangeOutcome, redb::Error> {
        if let Key::Relationship(key) = &change.key
            && change.action != Action::Delete
            && !(self.is_there(&key.from, true)? && self.is_there(&key.to, false)?)
        {
            self.unplace(placed)?;
            return Ok(ChangeOutcome::Rejected("an end of the relationship is not in the catalogue".into()));
        }
        let is_entity = matches!(change.key, Key::Entity(_));
        let found = {
            let table = if is_entity { &self.tables.entities } else { &self.tables.forward };
            table.get(row_key)?.and_then(|bytes| Row::decode(bytes.value()))
        };
        let next = match (change.action, found.as_ref()) {
            (Action::Delete, None) => return Ok(ChangeOutcome::Done),
            (Action::Delete, Some(row)) => match self.deletion {
                Deletion::Delete => None,
                Deletion::Archive if row.archived => return Ok(ChangeOutcome::Done),
                Deletion::Archive => Some(Row {
                    archived: true,
                    version: row.version + 1,
                    updated: self.origin,
                    ..row.clone()
                }),
            },
            (Action::Update, row) if row.is_none_or(|row| row.archived) && !change.replace => {
                self.unplace(placed)?;
                return Ok(ChangeOutcome::Rejected("it is not in the catalogue".into()));
            }
            (Action::Create | Action::Update, Some(row)) if !row.archived && !change.replace => {
                // A create over what is there sets its attributes: a person
                // may have made it before.
                self.unplace(placed)?;
                let current = self.attributes(&change.key, row)?;
                let attributes = merge::apply(&current, &change.set, &change.unset);
                if attributes == current {
                    return Ok(ChangeOutcome::Done);
                }
                let body = self.place(&change.key, attributes)?;
                Some(Row { version: row.version + 1, updated: self.origin, body, ..row.clone() })
            }
            (Action::Create | Action::Update, row) => {
                let body = match placed {
                    Some(body) => body,
                    None => self.place(&change.key, change.set.clone())?,
                };
                let created = row.filter(|row| !row.archived).map_or(self.origin, |row| row.created);
                let version = match row {
                    Some(row) => row.version + 1,
                    // One that was deleted goes on where its history ended.
                    None => self.last_version(&change.key)? + 1,
                };
                Some(Row { archived: false, version, created, updated: self.origin, body })
            }
        };
        if let Some(row) = &found {
            self.remember(change, row)?;
        }
        match next {
            Some(row) => {
                let table = if is_entity { &mut self.tables.entities } else { &mut self.tables.forward };
                table.insert(row_key, &row.encode()[..])?;
                if let Key::Relationship(key) = &change.key
                    && found.is_none()
                {
                    let from = key.from.hash().0;
                    self.placed.push((end_key(key.to.hash().0, key.hash().0), from.to_be_bytes()));
                }
            }
            None => {
                let table = if is_entity { &mut self.tables.entities } else { &mut self.tables.forward };
                table.remove(row_key)?;
                if let Key::Relationship(key) = &change.key {
                    self.tables.reverse.remove(&end_key(key.to.hash().0, key.hash().0)[..])?;
                }
            }
        }
        Ok(ChangeOutcome::Done)
    }

    /// A body that was placed ahead and is not used after all. Its block is
    /// open or written; either way its count is one too high.
    fn unplace(&mut self, placed: Option<BodyAt>) -> Result<(), redb::Error> {
        if let Some(at) = placed
            && !self.builder.take_back(&at)
        {
            release(&at, &mut self.tables.blocks, &mut self.tables.uses)?;
        }
        Ok(())
    }

    /// Writes the rows of the reverse table, in order.
    fn reverse(&mut self) -> Result<(), redb::Error> {
        self.placed.sort_unstable();
        for (key, from) in self.placed.drain(..) {
            self.tables.reverse.insert(&key[..], &from[..])?;
        }
        Ok(())
    }

    fn is_there(&mut self, key: &EntityKey, from: bool) -> Result<bool, redb::Error> {
        if let Some((last, there)) = &self.last_from
            && from
            && last == key
        {
            return Ok(*there);
        }
        let there = match self.type_numbers.get(&key.type_name) {
            None => false,
            Some(number) => {
                let row = self.tables.entities.get(&entity_key(*number, &key.qualified_name)[..])?;
                row.is_some_and(|row| row.value().first().is_some_and(|flags| flags & 1 == 0))
            }
        };
        if from {
            self.last_from = Some((key.clone(), there));
        }
        Ok(there)
    }

    fn attributes(&mut self, key: &Key, row: &Row) -> Result<Vec<u8>, redb::Error> {
        // A block that is still open is not in the table yet.
        let body = match self.builder.open_body(&row.body) {
            Some(body) => body,
            None => self.cache.body(&row.body, &self.tables.blocks)?,
        };
        Ok(match key {
            Key::Entity(_) => body,
            Key::Relationship(_) => attributes_of_line(&body),
        })
    }

    fn last_version(&self, key: &Key) -> Result<u32, redb::Error> {
        let hash = key.hash().0;
        let (from, to) = (version_key(hash, 0), version_key(hash, u32::MAX));
        let mut rows = self.tables.history.range::<&[u8]>(&from[..]..=&to[..])?;
        Ok(match rows.next_back() {
            Some(row) => {
                let (found, _) = row?;
                let bytes = found.value();
                bytes.get(16..20).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
            }
            None => 0,
        })
    }

    /// Puts a version into the history, and drops the one that is past the limit.
    fn remember(&mut self, change: &TargetChange, row: &Row) -> Result<(), redb::Error> {
        let hash = change.key.hash().0;
        let entry = HistoryRow {
            action: change.action,
            ended_by: self.origin,
            row: row.encode(),
            key: change.key.clone(),
        };
        let bytes = rmp_serde::to_vec_named(&entry).map_err(|e| redb::Error::Io(std::io::Error::other(e)))?;
        self.tables.history.insert(&version_key(hash, row.version)[..], &bytes[..])?;
        if self.archives(change) {
            // The archived row points to the same body.
            self.share(&row.body)?;
        }
        if row.version > self.history_limit {
            let oldest = version_key(hash, row.version - self.history_limit);
            let gone = self.tables.history.remove(&oldest[..])?.map(|bytes| bytes.value().to_vec());
            if let Some(old) = gone.and_then(|bytes| rmp_serde::from_slice::<HistoryRow>(&bytes).ok())
                && let Some(row) = Row::decode(&old.row)
            {
                release(&row.body, &mut self.tables.blocks, &mut self.tables.uses)?;
            }
        }
        Ok(())
    }

    fn archives(&self, change: &TargetChange) -> bool {
        change.action == Action::Delete && self.deletion == Deletion::Archive
    }

    fn share(&mut self, at: &BodyAt) -> Result<(), redb::Error> {
        if let BodyAt::Block(number, _) = at {
            let uses = self.tables.uses.get(*number)?.map_or(0, |uses| uses.value());
            self.tables.uses.insert(*number, uses + 1)?;
        }
        Ok(())
    }
}
