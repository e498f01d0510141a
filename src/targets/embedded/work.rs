//! Writing changes into the catalogue's tables, within one transaction.

mod stage;

use std::collections::{HashMap, HashSet};
use std::thread::Scope;

use redb::{ReadableTable, Table, WriteTransaction};

use self::stage::{Place, Reverse};
use super::EmbeddedCatalogue;
use super::apply::HistoryRow;
use super::aside::{Aside, FirstError};
use super::blocks::{BlockBuilder, BlockCache, Blocks, Uses, attributes_of_line};
use super::buffered::Writer;
use super::look_ahead::{self, Around};
use super::read::Origin;
use super::row::{BodyAt, BodyPatch, Row};
use super::search::feed;
use super::tables::{self, end_key, version_key};
use crate::domain::change::Action;
use crate::domain::json::members;
use crate::domain::key::{EntityKey, Key, KeyHash, RelationshipKey};
use crate::domain::merge;
use crate::domain::settings::Deletion;
use crate::targets::{ChangeOutcome, Outcomes, TargetChange};

/// Changes from which on bodies go to blocks.
const LARGE: usize = 256;
/// Bytes of a patch beyond which the body is written anew.
const LARGE_PATCH: usize = 2 << 10;
/// Name of the number that the next entity gets.
const NEXT_NUMBER: &[u8] = b"next_number";

struct Tables<'t> {
    entities: Writer<'t>,
    forward: Writer<'t>,
    types: Table<'t, u32, &'static str>,
}

/// What a stage adds to these tables is written beside the next one.
struct Beside<'t> {
    history: Writer<'t>,
    uses: Table<'t, u64, u32>,
    /// Blocks that nothing pointed to at some time.
    emptied: Vec<u64>,
}

/// Applies changes within a transaction, in the order of their rows within
/// runs that may be reordered.
pub fn write(
    catalogue: &EmbeddedCatalogue,
    tx: &WriteTransaction,
    origin: &Origin,
    changes: &[TargetChange],
) -> Result<Outcomes, redb::Error> {
    let rows = changes.len();
    let created = changes.iter().filter(|change| change.action == Action::Create).count();
    let new = created >= rows - rows / 4;
    let mut tables = Tables {
        entities: tables::ENTITIES.write(tx, rows, new)?,
        forward: tables::FORWARD.write(tx, rows, new)?,
        types: tx.open_table(tables::TYPES)?,
    };
    let origin_no = {
        let mut origins = tx.open_table(tables::ORIGINS)?;
        let next = origins.last()?.map_or(0, |(last, _)| last.value() + 1);
        let bytes = rmp_serde::to_vec_named(origin).map_err(|e| redb::Error::Io(std::io::Error::other(e)))?;
        origins.insert(next, &bytes[..])?;
        next
    };
    let mut meta = tx.open_table(tables::META)?;
    let next_number = meta.get(NEXT_NUMBER)?.and_then(|bytes| bytes.value().try_into().ok());
    let next_number = next_number.map_or(1, u32::from_le_bytes);
    let mut type_numbers = HashMap::new();
    for row in tables.types.iter()? {
        let (number, name) = row?;
        type_numbers.insert(name.value().to_owned(), number.value());
    }
    let blocks = Blocks::new(tx.open_table(tables::BLOCKS)?).map_err(redb::Error::Io)?;
    let with_body = changes.iter().filter(|change| change.action != Action::Delete).count();
    let builder = BlockBuilder::new(with_body >= LARGE, blocks.next()?);
    let reverse = tables::REVERSE.write(tx, rows, new)?;
    let history = tables::HISTORY.write(tx, rows, new)?;
    let has_history = !history.is_empty()?;
    let uses = tx.open_table(tables::BLOCK_USE)?;
    let mut held = look_ahead::relationships(catalogue, changes)?;
    let mut outcomes = vec![ChangeOutcome::Done; changes.len()];
    let first = FirstError::default();
    let written = std::thread::scope(|scope| -> Result<_, redb::Error> {
        let mut work = Work {
            catalogue,
            scope,
            first: &first,
            deletion: catalogue.options.deletion,
            history_limit: catalogue.options.history,
            has_history,
            reverse: Aside::Here(reverse),
            blocks: Aside::Here(blocks),
            beside: Aside::Here(Beside { history, uses, emptied: Vec::new() }),
            origin: origin_no,
            next_number,
            tables: &mut tables,
            type_numbers,
            builder,
            cache: BlockCache::new(),
            moved: Uses::default(),
            last_from: None,
            goes: changes.iter().any(|change| stage_of(change) == 3),
            joined: HashSet::new(),
            ended: Vec::new(),
        };
        for (stage, before) in [(1, Some(0)), (2, None), (3, None)] {
            work.stage(stage, before, changes, held.as_deref_mut(), &mut outcomes)?;
        }
        let Work { mut builder, mut moved, next_number, type_numbers, reverse, blocks, beside, .. } = work;
        feed::note(&catalogue.search.follower, tx, origin_no, changes, &type_numbers)?;
        let mut blocks = blocks.into_inner()?;
        builder.flush(&mut blocks, &mut moved)?;
        let mut beside = beside.into_inner()?;
        moved.write(&mut beside.uses, &mut beside.emptied)?;
        for block in std::mem::take(&mut beside.emptied) {
            if beside.uses.get(block)?.is_none() {
                blocks.table.remove(block)?;
            }
        }
        Ok((beside, reverse.into_inner()?, next_number))
    });
    let (mut beside, mut reverse, number) = written.map_err(|error| first.told(error))?;
    let folds: [(&[u8], &mut Writer<'_>); 4] = [
        (b"fold:entities", &mut tables.entities),
        (b"fold:forward", &mut tables.forward),
        (b"fold:reverse", &mut reverse),
        (b"fold:history", &mut beside.history),
    ];
    for (name, table) in folds {
        let before = meta.get(name)?.map_or_else(Vec::new, |cursor| cursor.value().to_vec());
        let mut cursor = before.clone();
        table.fold(&mut cursor)?;
        if cursor != before {
            meta.insert(name, &cursor[..])?;
        }
    }
    if number != next_number {
        meta.insert(NEXT_NUMBER, &number.to_le_bytes()[..])?;
    }
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

struct Work<'a, 't, 'scope, 'env> {
    catalogue: &'a EmbeddedCatalogue,
    /// For threads that write into a table of their own.
    scope: &'scope Scope<'scope, 'env>,
    /// What went wrong first on these.
    first: &'scope FirstError,
    deletion: Deletion,
    history_limit: u32,
    /// Whether there is any history: else no key has been there before.
    has_history: bool,
    reverse: Aside<'scope, Writer<'t>>,
    blocks: Aside<'scope, Blocks<'t>>,
    beside: Aside<'scope, Beside<'t>>,
    origin: u32,
    next_number: u32,
    tables: &'a mut Tables<'t>,
    type_numbers: HashMap<String, u32>,
    builder: BlockBuilder,
    cache: BlockCache,
    /// Rows that begin or cease to point to bodies written before.
    moved: Uses,
    last_from: Option<(EntityKey, Option<(u32, bool)>)>,
    /// Whether the operation deletes entities.
    goes: bool,
    /// Then: entities that got a relationship.
    joined: HashSet<u32>,
    /// Versions that ended in this stage, until they are written sorted.
    ended: Vec<([u8; 20], Vec<u8>)>,
}

impl<'t: 'scope, 'scope, 'env> Work<'_, 't, 'scope, 'env> {
    fn type_number(&mut self, name: &str) -> Result<u32, redb::Error> {
        if let Some(number) = self.type_numbers.get(name) {
            return Ok(*number);
        }
        let next = self.tables.types.last()?.map_or(0, |(last, _)| last.value() + 1);
        self.tables.types.insert(next, name)?;
        self.type_numbers.insert(name.to_owned(), next);
        Ok(next)
    }

    fn place(&mut self, key: &Key, attributes: &[u8]) -> Result<BodyAt, redb::Error> {
        self.builder.push(key, attributes, &mut self.blocks, &mut self.moved)
    }

    fn body(&mut self, at: &BodyAt) -> Result<Vec<u8>, redb::Error> {
        // A block that is still open is not in the table yet.
        match self.builder.open_body(at) {
            Some(body) => Ok(body),
            None => self.cache.body(at, &self.blocks.here()?.table),
        }
    }

    /// A body that was placed ahead and is not used after all. Its block is
    /// open or written; either way its count is one too high.
    fn unplace(&mut self, placed: Option<&BodyAt>) {
        if let Some(at) = placed
            && !self.builder.take_back(at)
        {
            self.moved.add(at, -1);
        }
    }

    fn change(
        &mut self,
        place: &Place,
        placed: Option<&BodyAt>,
        held: Option<(KeyHash, Option<Row>)>,
        change: &TargetChange,
        reverse: &mut Vec<Reverse>,
    ) -> Result<ChangeOutcome, redb::Error> {
        if let Some((_, false)) = &place.ends
            && change.action != Action::Delete
        {
            return Ok(without_end(change));
        }
        let is_entity = place.ends.is_none();
        let mut hash = held.as_ref().map(|(hash, _)| *hash);
        let found = match held {
            Some((_, row)) => row,
            None => {
                let table = if is_entity { &self.tables.entities } else { &self.tables.forward };
                table.get(&place.row[..])?.and_then(|bytes| Row::decode(bytes.value()))
            }
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
                self.unplace(placed);
                return Ok(ChangeOutcome::Rejected("it is not in the catalogue".into()));
            }
            (Action::Create | Action::Update, Some(row)) if !row.archived && !change.replace => {
                // A create over what is there sets its attributes: a person
                // may have made it before.
                self.unplace(placed);
                match self.updated(change, row)? {
                    Some(body) => {
                        Some(Row { version: row.version + 1, updated: self.origin, body, ..row.clone() })
                    }
                    None => return Ok(ChangeOutcome::Done),
                }
            }
            (Action::Create | Action::Update, row) => {
                let body = match placed {
                    Some(body) => body.clone(),
                    None => self.place(&change.key, &change.set)?,
                };
                let created = row.filter(|row| !row.archived).map_or(self.origin, |row| row.created);
                let (number, version) = match row {
                    Some(row) => (row.number, row.version + 1),
                    None if is_entity => (self.new_number()?, 0),
                    None => (0, 0),
                };
                let version = match row {
                    Some(_) => version,
                    // One that was deleted goes on where its history ended.
                    None if self.has_history => {
                        self.last_version(*hash.get_or_insert_with(|| change.key.hash()))? + 1
                    }
                    None => 1,
                };
                Some(Row { archived: false, number, version, created, updated: self.origin, body })
            }
        };
        if let Some(row) = &found {
            let hash = hash.unwrap_or_else(|| change.key.hash());
            self.remember(hash, change.action, row)?;
        }
        let table = if is_entity { &mut self.tables.entities } else { &mut self.tables.forward };
        match (next, &found) {
            (Some(next), before) => {
                if before.as_ref().is_some_and(|row| next.body.block() == row.body.block()) {
                    // The history's row and the new one point to the same block.
                    self.moved.add(&next.body, 1);
                }
                table.insert(&place.row[..], &next.encode()[..])?;
                if let (Some((to, _)), None) = (&place.ends, before)
                    && let Some(from) = place.row.first_chunk::<4>()
                {
                    if self.goes {
                        let ends = [Some(from), to.first_chunk::<4>()];
                        self.joined.extend(ends.into_iter().flatten().map(|end| u32::from_be_bytes(*end)));
                    }
                    if !place.reversed {
                        reverse.push((*to, *from));
                    }
                }
            }
            (None, before) => {
                table.remove(&place.row[..])?;
                match (&place.ends, before) {
                    (Some((to, _)), _) => self.reverse.here()?.remove(&to[..])?,
                    (None, Some(row)) if self.is_alone(row.number, place.around.as_ref())? => {}
                    (None, Some(row)) => self.remove_relationships(row.number)?,
                    (None, None) => {}
                }
            }
        }
        Ok(ChangeOutcome::Done)
    }

    /// A number that no entity had before: one used twice would mix up the
    /// relationships of two entities.
    fn new_number(&mut self) -> Result<u32, redb::Error> {
        let number = self.next_number;
        let Some(next) = number.checked_add(1) else {
            let text =
                "the catalogue has given out all its 4,294,967,295 entity numbers; export it into a new one";
            return Err(redb::Error::Io(std::io::Error::other(text)));
        };
        self.next_number = next;
        Ok(number)
    }

    /// The body of an updated row, without reading the one that it is made
    /// from where that lies in a block; `None` when nothing changes.
    fn updated(&mut self, change: &TargetChange, row: &Row) -> Result<Option<BodyAt>, redb::Error> {
        let of_line = matches!(change.key, Key::Relationship(_));
        let patch = match &row.body {
            BodyAt::Inline(_) => None,
            BodyAt::Block(block, offset) => {
                let patch = BodyPatch { of_line, set: change.set.clone(), unset: change.unset.clone() };
                Some((*block, *offset, patch))
            }
            BodyAt::Patched(block, offset, before) => {
                Some((*block, *offset, stacked(before, &change.set, &change.unset)))
            }
        };
        // A create over what is there is rare, and often changes nothing.
        if let Some((block, offset, patch)) = patch
            && change.action == Action::Update
            && patch.set.len() <= LARGE_PATCH
        {
            return Ok(Some(BodyAt::Patched(block, offset, patch)));
        }
        let body = self.body(&row.body)?;
        let current = if of_line { attributes_of_line(&body) } else { body };
        let attributes = merge::apply(&current, &change.set, &change.unset);
        if attributes == current {
            return Ok(None);
        }
        self.place(&change.key, &attributes).map(Some)
    }

    /// Whether it is known that no relationship is at an entity: what was
    /// there before the operation is gone, and nothing came. Plans delete
    /// relationships before their entities, so that this is the rule.
    fn is_alone(&mut self, entity: u32, around: Option<&Around>) -> Result<bool, redb::Error> {
        let Some(around) = around else { return Ok(false) };
        if self.joined.contains(&entity) {
            return Ok(false);
        }
        let reverse = self.reverse.here()?;
        for (table, keys) in [(&self.tables.forward, &around.forward), (&*reverse, &around.reverse)] {
            for key in keys {
                if table.get(key)?.is_some() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// An entity that goes takes with it the relationships that are still at
    /// it: they could not be found any more.
    fn remove_relationships(&mut self, entity: u32) -> Result<(), redb::Error> {
        let (from, to) = (end_key(entity, 0), end_key(entity, u128::MAX));
        let mut rows: Vec<Vec<u8>> = Vec::new();
        for row in self.tables.forward.range(&from[..]..=&to[..])? {
            rows.push(row?.0.value().to_vec());
        }
        let mut any_to = false;
        for row in self.reverse.here()?.range(&from[..]..=&to[..])? {
            let (key, end) = row?;
            rows.push([end.value(), &key.value()[4..]].concat());
            any_to = true;
        }
        for key in rows {
            let found = self.tables.forward.get(&key[..])?.and_then(|bytes| Row::decode(bytes.value()));
            let Some(row) = found else { continue };
            let line = self.body(&row.body)?;
            let Some(relationship) = relationship_of(&line) else { continue };
            let relationship_key = Key::Relationship(relationship.clone());
            self.remember(relationship_key.hash(), Action::Delete, &row)?;
            self.tables.forward.remove(&key[..])?;
            if let Some((to, _)) = self.find(&relationship.to)? {
                self.reverse.here()?.remove(&end_key(to, relationship_key.hash().0)[..])?;
            }
        }
        if !any_to {
            return Ok(());
        }
        // One to itself, or to one that is gone.
        let mut rows: Vec<Vec<u8>> = Vec::new();
        for row in self.reverse.here()?.range(&from[..]..=&to[..])? {
            rows.push(row?.0.value().to_vec());
        }
        for key in rows {
            self.reverse.here()?.remove(&key)?;
        }
        Ok(())
    }

    fn last_version(&mut self, hash: KeyHash) -> Result<u32, redb::Error> {
        let (from, to) = (version_key(hash.0, 0), version_key(hash.0, u32::MAX));
        let rows = self.beside.here()?.history.range(&from[..]..=&to[..])?;
        Ok(match rows.last() {
            Some(row) => {
                let (found, _) = row?;
                let bytes = found.value();
                bytes.get(16..20).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
            }
            None => 0,
        })
    }

    /// Puts a version into the history, and drops the one that is past the
    /// limit.
    fn remember(&mut self, hash: KeyHash, action: Action, row: &Row) -> Result<(), redb::Error> {
        if self.history_limit == 0 {
            self.moved.add(&row.body, -1);
        } else {
            let entry = HistoryRow { action, ended_by: self.origin, row: row.encode() };
            self.ended.push((version_key(hash.0, row.version), entry.encode()));
        }
        // More than one, where the limit was lowered.
        for version in (1..=row.version.saturating_sub(self.history_limit.max(1))).rev() {
            let oldest = version_key(hash.0, version);
            let history = &mut self.beside.here()?.history;
            let Some(old) = history.get(&oldest[..])?.map(|bytes| bytes.value().to_vec()) else { break };
            history.remove(&oldest[..])?;
            if let Some(row) = HistoryRow::decode(&old).and_then(|old| Row::decode(&old.row)) {
                self.moved.add(&row.body, -1);
            }
        }
        Ok(())
    }
}

fn without_end(change: &TargetChange) -> ChangeOutcome {
    match change.action {
        Action::Delete => ChangeOutcome::Done,
        Action::Create | Action::Update => {
            ChangeOutcome::Rejected("an end of the relationship is not in the catalogue".into())
        }
    }
}

fn relationship_of(line: &[u8]) -> Option<RelationshipKey> {
    use crate::domain::assertion::parse_line;
    use crate::domain::key::Kind;
    use crate::domain::settings::Mode;
    match parse_line(Kind::Relationship, Mode::Incremental, line).ok()?.key.to_key() {
        Key::Relationship(key) => Some(key),
        Key::Entity(_) => None,
    }
}

/// A patch with another one over it.
fn stacked(before: &BodyPatch, set: &[u8], unset: &[String]) -> BodyPatch {
    let mut gone: Vec<String> = before.unset.clone();
    // What is set again is not unset any more.
    let names: Vec<String> = members(set).filter_map(|(name, _)| serde_json::from_slice(name).ok()).collect();
    gone.retain(|name| !names.contains(name));
    gone.extend(unset.iter().cloned());
    gone.sort();
    gone.dedup();
    BodyPatch { of_line: before.of_line, set: merge::apply(&before.set, set, unset), unset: gone }
}
