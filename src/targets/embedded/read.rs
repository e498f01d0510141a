//! Looking things up in the catalogue.

use std::ops::Bound;

use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::EmbeddedCatalogue;
use super::apply::HistoryRow;
use super::blocks::{BlockCache, attributes_of_line};
use super::row::Row;
use super::tables::{self, end_key, entity_key};
use crate::domain::assertion::parse_line;
use crate::domain::change::Action;
use crate::domain::ids::{PlanId, SourceId};
use crate::domain::key::{EntityKey, Key, KeyHash, Kind, RelationshipKey};
use crate::domain::settings::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::targets::{TargetChange, TargetValue};

/// Who made a change, when, for which batch. Of a direct edit, `source` names
/// the person and `batch` and `plan` are empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Origin {
    /// The source.
    pub source: String,
    /// The batch.
    pub batch: String,
    /// The plan.
    pub plan: String,
    /// When.
    pub at: Timestamp,
}

/// Which way a relationship leads, seen from an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Away from it.
    Out,
    /// To it.
    In,
}

/// A relationship of an entity.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RelationshipView {
    /// Which way it leads.
    pub direction: Direction,
    /// Its key.
    pub key: RelationshipKey,
    /// Its attributes.
    #[schema(value_type = Object)]
    pub attributes: Box<RawValue>,
    /// Whether it is archived.
    pub archived: bool,
}

/// A version that was replaced.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HistoryView {
    /// Its number.
    pub version: u32,
    /// What ended it.
    pub ended_with: Action,
    /// Who ended it.
    pub ended_by: Origin,
    /// Who made it.
    pub made_by: Origin,
    /// Its attributes.
    #[schema(value_type = Object)]
    pub attributes: Box<RawValue>,
}

/// An entity with all that is known of it.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EntityView {
    /// Its key.
    pub key: EntityKey,
    /// Its attributes.
    #[schema(value_type = Object)]
    pub attributes: Box<RawValue>,
    /// Whether it is archived.
    pub archived: bool,
    /// Rises with every change.
    pub version: u32,
    /// Who created or revived it.
    pub created: Origin,
    /// Who changed it last.
    pub updated: Origin,
    /// Versions before, newest first, up to 20 of them.
    pub history: Vec<HistoryView>,
    /// Whether there are more.
    pub more_history: bool,
    /// Its relationships, up to the limit that was asked for.
    pub relationships: Vec<RelationshipView>,
    /// Whether there are more.
    pub more_relationships: bool,
}

/// Versions that an entity is shown with: all that are kept without a setting.
const HISTORY_SHOWN: usize = 20;

/// What to search for.
#[derive(Debug, Clone, Default)]
pub struct SearchQuery {
    /// Of this type.
    pub type_name: Option<String>,
    /// Names that begin with this.
    pub prefix: Option<String>,
    /// Names that have this in them, whatever the case.
    pub contains: Option<String>,
    /// Whether archived ones are found too.
    pub archived: bool,
    /// At most so many.
    pub limit: usize,
    /// Looks at no more than so many entities at once; 0 is no bound.
    pub examine: usize,
    /// Behind this one.
    pub after: Option<EntityKey>,
}

/// An entity that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Its key.
    #[serde(flatten)]
    pub key: EntityKey,
    /// Whether it is archived.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
}

/// What was found, sorted by type and name.
#[derive(Debug, Clone, Serialize)]
pub struct SearchPage {
    /// The entities.
    pub items: Vec<Hit>,
    /// Behind what to go on: the last one, or the last that was looked at.
    /// `None` when everything was.
    pub next: Option<EntityKey>,
}

/// One transaction of the catalogue, to look things up in.
pub struct Reading<'a> {
    catalogue: &'a EmbeddedCatalogue,
    /// The transaction.
    pub tx: ReadTransaction,
    cache: BlockCache,
}

impl<'a> Reading<'a> {
    /// Sees what is committed now.
    pub fn new(catalogue: &'a EmbeddedCatalogue) -> Result<Self> {
        Ok(Self { catalogue, tx: catalogue.begin_read()?, cache: BlockCache::new() })
    }

    /// A failure of the file.
    pub fn fail(&self, error: impl Into<redb::Error>) -> Error {
        self.catalogue.failure(error)
    }

    fn types(&self) -> Result<Vec<(String, u32)>> {
        let table = self.tx.open_table(tables::TYPES).map_err(|e| self.fail(e))?;
        let mut types = Vec::new();
        for row in table.iter().map_err(|e| self.fail(e))? {
            let (number, name) = row.map_err(|e| self.fail(e))?;
            types.push((name.value().to_owned(), number.value()));
        }
        types.sort();
        Ok(types)
    }

    /// The row of an entity.
    pub fn entity(&self, key: &EntityKey) -> Result<Option<Row>> {
        let Some((_, number)) = self.types()?.into_iter().find(|(name, _)| *name == key.type_name) else {
            return Ok(None);
        };
        let table = tables::ENTITIES.read(&self.tx).map_err(|e| self.fail(e))?;
        let row = table.get(&entity_key(number, &key.qualified_name)[..]).map_err(|e| self.fail(e))?;
        Ok(row.and_then(|row| Row::decode(row.value())))
    }

    /// The row of a relationship.
    pub fn relationship(&self, key: &RelationshipKey) -> Result<Option<Row>> {
        let Some(from) = self.entity(&key.from)? else { return Ok(None) };
        let table = tables::FORWARD.read(&self.tx).map_err(|e| self.fail(e))?;
        let row = table.get(&end_key(from.number, key.hash().0)[..]).map_err(|e| self.fail(e))?;
        Ok(row.and_then(|row| Row::decode(row.value())))
    }

    fn body(&mut self, row: &Row) -> Result<Vec<u8>> {
        let blocks = self.tx.open_table(tables::BLOCKS).map_err(|e| self.catalogue.failure(e))?;
        self.cache.body(&row.body, &blocks).map_err(|e| self.catalogue.failure(e))
    }

    fn origin(&self, number: u32) -> Result<Origin> {
        let table = self.tx.open_table(tables::ORIGINS).map_err(|e| self.fail(e))?;
        let found = table.get(number).map_err(|e| self.fail(e))?;
        found
            .and_then(|bytes| rmp_serde::from_slice(bytes.value()).ok())
            .ok_or_else(|| Error::internal("an origin of the catalogue is missing"))
    }

    fn relationships(
        &mut self,
        entity: u32,
        after: Option<(Direction, u128)>,
        limit: usize,
    ) -> Result<(Vec<RelationshipView>, bool)> {
        let mut rows = Vec::new();
        {
            let to = end_key(entity, u128::MAX);
            let behind = |direction| match after {
                Some((of, hash)) if of == direction => (end_key(entity, hash), true),
                Some(_) | None => (end_key(entity, 0), false),
            };
            let bound = |from: &'_ ([u8; 20], bool)| match from.1 {
                true => Bound::Excluded(from.0.to_vec()),
                false => Bound::Included(from.0.to_vec()),
            };
            let forward = tables::FORWARD.read(&self.tx).map_err(|e| self.fail(e))?;
            if after.is_none_or(|(direction, _)| direction == Direction::Out) {
                let from = bound(&behind(Direction::Out));
                let range = (from.as_ref().map(Vec::as_slice), Bound::Included(&to[..]));
                for row in forward.range(range).map_err(|e| self.fail(e))?.take(limit + 1) {
                    let (_, row) = row.map_err(|e| self.fail(e))?;
                    rows.extend(Row::decode(row.value()).map(|row| (Direction::Out, row)));
                }
            }
            let reverse = tables::REVERSE.read(&self.tx).map_err(|e| self.fail(e))?;
            let from = bound(&behind(Direction::In));
            let range = (from.as_ref().map(Vec::as_slice), Bound::Included(&to[..]));
            let left = (limit + 1).saturating_sub(rows.len());
            for row in reverse.range(range).map_err(|e| self.fail(e))?.take(left) {
                let (key, end) = row.map_err(|e| self.fail(e))?;
                let place = [end.value(), &key.value()[4..]].concat();
                let found = forward.get(&place[..]).map_err(|e| self.fail(e))?;
                rows.extend(found.and_then(|row| Row::decode(row.value())).map(|row| (Direction::In, row)));
            }
        }
        let more = rows.len() > limit;
        let mut views = Vec::new();
        for (direction, row) in rows.into_iter().take(limit) {
            views.extend(self.relationship_view(direction, &row)?);
        }
        Ok((views, more))
    }

    /// What a row holds of a relationship.
    pub fn relationship_view(&mut self, direction: Direction, row: &Row) -> Result<Option<RelationshipView>> {
        let line = self.body(row)?;
        let Ok(parsed) = parse_line(Kind::Relationship, Mode::Incremental, &line) else { return Ok(None) };
        let Key::Relationship(key) = parsed.key.to_key() else { return Ok(None) };
        let attributes = json(parsed.attributes.unwrap_or(b"{}").to_vec())?;
        Ok(Some(RelationshipView { direction, key, attributes, archived: row.archived }))
    }

    /// What rows of the history hold, in their order.
    pub fn versions(&mut self, rows: Vec<HistoryRow>, is_entity: bool) -> Result<Vec<HistoryView>> {
        let mut views = Vec::new();
        for entry in rows {
            let Some(row) = Row::decode(&entry.row) else { continue };
            let body = self.body(&row)?;
            views.push(HistoryView {
                version: row.version,
                ended_with: entry.action,
                ended_by: self.origin(entry.ended_by)?,
                made_by: self.origin(row.updated)?,
                attributes: json(if is_entity { body } else { attributes_of_line(&body) })?,
            });
        }
        Ok(views)
    }
}

/// Whether a name has a text in it, whatever the case. `wanted` is in lower case.
fn has(name: &[u8], wanted: &str) -> bool {
    if !name.is_ascii() {
        return String::from_utf8_lossy(name).to_lowercase().contains(wanted);
    }
    // Most names, tens of thousands in a look: nothing is made of them.
    let wanted = wanted.as_bytes();
    let Some((first, rest)) = wanted.split_first() else { return true };
    let (lower, upper) = (*first, first.to_ascii_uppercase());
    memchr::memchr2_iter(lower, upper, name)
        .any(|at| name.get(at + 1..at + wanted.len()).is_some_and(|found| found.eq_ignore_ascii_case(rest)))
}

fn json(bytes: Vec<u8>) -> Result<Box<RawValue>> {
    let text =
        String::from_utf8(bytes).map_err(|e| Error::internal("a value of the catalogue").caused_by(e))?;
    RawValue::from_string(text).map_err(|e| Error::internal("a value of the catalogue").caused_by(e))
}

/// What the catalogue holds of keys, in their order.
pub fn values(catalogue: &EmbeddedCatalogue, keys: &[Key]) -> Result<Vec<Option<TargetValue>>> {
    let mut reading = Reading::new(catalogue)?;
    let mut values = Vec::new();
    for key in keys {
        let row = match key {
            Key::Entity(key) => reading.entity(key)?,
            Key::Relationship(key) => reading.relationship(key)?,
        };
        values.push(match row {
            None => None,
            Some(row) => {
                let body = reading.body(&row)?;
                let attributes = match key {
                    Key::Entity(_) => body,
                    Key::Relationship(_) => attributes_of_line(&body),
                };
                Some(TargetValue { key: key.clone(), attributes, archived: row.archived })
            }
        });
    }
    Ok(values)
}

/// The last plan of a source that an operation was applied of.
pub fn last_plan(catalogue: &EmbeddedCatalogue, source: &SourceId) -> Result<Option<PlanId>> {
    let reading = Reading::new(catalogue)?;
    let table = reading.tx.open_table(tables::LAST_PLAN).map_err(|e| reading.fail(e))?;
    let found = table.get(source.as_str()).map_err(|e| reading.fail(e))?;
    found.map(|plan| PlanId::new(plan.value()).map_err(|e| Error::internal(e.to_string()))).transpose()
}

impl EmbeddedCatalogue {
    /// An entity with its history and up to `relationships` of its relationships.
    pub fn get(&self, key: &EntityKey, relationships: usize) -> Result<Option<EntityView>> {
        let mut reading = Reading::new(self)?;
        let Some(row) = reading.entity(key)? else { return Ok(None) };
        let attributes = json(reading.body(&row)?)?;
        let history = reading.history(&Key::Entity(key.clone()), Some(row.version), HISTORY_SHOWN)?;
        let (relationships, more_relationships) = reading.relationships(row.number, None, relationships)?;
        Ok(Some(EntityView {
            key: key.clone(),
            attributes,
            archived: row.archived,
            version: row.version,
            created: reading.origin(row.created)?,
            updated: reading.origin(row.updated)?,
            history: history.items,
            more_history: history.next.is_some(),
            relationships,
            more_relationships,
        }))
    }

    /// Up to `limit` relationships of an entity, those that lead away before
    /// those that lead to it, behind the one of this direction and key hash;
    /// and whether there are more. `None`: there is no such entity.
    pub fn relationships_of(
        &self,
        key: &EntityKey,
        after: Option<(Direction, KeyHash)>,
        limit: usize,
    ) -> Result<Option<(Vec<RelationshipView>, bool)>> {
        let mut reading = Reading::new(self)?;
        let Some(row) = reading.entity(key)? else { return Ok(None) };
        let after = after.map(|(direction, hash)| (direction, hash.0));
        reading.relationships(row.number, after, limit).map(Some)
    }

    /// Entities by type and by prefix or part of their names.
    pub fn search(&self, query: &SearchQuery) -> Result<SearchPage> {
        let reading = Reading::new(self)?;
        let table = tables::ENTITIES.read(&reading.tx).map_err(|e| reading.fail(e))?;
        let wanted = query.contains.as_ref().map(|text| text.to_lowercase());
        let prefix = query.prefix.as_deref().unwrap_or_default();
        let limit = query.limit.max(1);
        let mut items: Vec<Hit> = Vec::new();
        let mut examined = 0;
        for (type_name, number) in reading.types()? {
            if query.type_name.as_ref().is_some_and(|wanted| *wanted != type_name)
                || query.after.as_ref().is_some_and(|after| after.type_name > type_name)
            {
                continue;
            }
            let first = entity_key(number, prefix);
            let after = query.after.as_ref().filter(|after| after.type_name == type_name);
            let behind =
                after.map(|after| entity_key(number, &after.qualified_name)).filter(|key| *key >= first);
            let start = behind.as_ref().map_or(Bound::Included(&first[..]), |key| Bound::Excluded(&key[..]));
            for row in table.range((start, Bound::Unbounded)).map_err(|e| reading.fail(e))? {
                let (key, row) = row.map_err(|e| reading.fail(e))?;
                if !key.value().starts_with(&first) {
                    break;
                }
                let archived = row.value().first().is_some_and(|flags| flags & 1 == 1);
                let name = || String::from_utf8_lossy(&key.value()[4..]);
                examined += 1;
                let fits = wanted.as_ref().is_none_or(|wanted| has(&key.value()[4..], wanted));
                if fits && (!archived || query.archived) {
                    if items.len() == limit {
                        let next = items.last().map(|hit| hit.key.clone());
                        return Ok(SearchPage { items, next });
                    }
                    items.push(Hit { key: EntityKey::new(&*type_name, &*name()), archived });
                }
                if examined == query.examine {
                    return Ok(SearchPage { items, next: Some(EntityKey::new(&*type_name, &*name())) });
                }
            }
        }
        Ok(SearchPage { items, next: None })
    }

    /// Changes an entity directly, as a person would in the catalogue's own
    /// pages. Recorded in its history with `actor` as its origin.
    pub fn edit(&self, key: &EntityKey, set: &[u8], unset: &[String], actor: &str) -> Result<()> {
        let mut canonical = Vec::new();
        crate::domain::json::canonicalize(set, &mut canonical)
            .map_err(|e| Error::new(ErrorKind::Usage, format!("the attributes of {key}: {e}")))?;
        let change = TargetChange {
            action: Action::Update,
            key: Key::Entity(key.clone()),
            set: canonical,
            unset: unset.to_vec(),
            replace: false,
        };
        let origin = Origin {
            source: actor.to_owned(),
            batch: String::new(),
            plan: String::new(),
            at: self.clock.now(),
        };
        let tx = self.file.begin_write()?;
        let outcomes = super::work::write(self, &tx, &origin, &[change]).map_err(|e| self.failure(e))?;
        match outcomes.first() {
            Some(crate::targets::ChangeOutcome::Rejected(reason)) => {
                tx.abort().map_err(|e| self.failure(e))?;
                Err(Error::new(ErrorKind::NotFound, format!("{key}: {}", reason.reason)))
            }
            Some(crate::targets::ChangeOutcome::Done) | None => {
                tx.commit().map_err(|e| self.failure(e))?;
                self.search.signal.wake();
                Ok(())
            }
        }
    }
}
