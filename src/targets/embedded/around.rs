//! What lies around an entity: its relationships and its versions page by page,
//! and its neighbourhood as a small graph. All of it bounded, whatever the
//! entity has.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Bound;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::EmbeddedCatalogue;
use super::apply::HistoryRow;
use super::read::{Direction, HistoryView, Reading, RelationshipView};
use super::row::Row;
use super::tables::{self, end_key, version_key};
use crate::domain::key::{EntityKey, Key, RelationshipKey};
use crate::error::{Error, ErrorKind, Result};

/// Most items of a page.
const MAX_PAGE: usize = 500;
/// Relationships that a page looks at while it skips those of other types.
const LOOKED_AT: usize = 2_000;
/// Most entities of a neighbourhood.
const MAX_NODES: usize = 500;
/// Most steps of a neighbourhood.
const MAX_DEPTH: u32 = 10;
/// Relationships that are read of one entity and direction.
const OF_ONE: usize = 256;
/// Relationships that are read for a neighbourhood.
const OF_ALL: usize = 2_000;

/// Relationships of an entity: those that lead away, then those that lead to
/// it, each in a fixed order that means nothing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RelationshipPage {
    /// The relationships. There may be none before the end, if few are of the
    /// type that was asked for.
    pub items: Vec<RelationshipView>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Versions that were replaced.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryPage {
    /// The versions, newest first.
    pub items: Vec<HistoryView>,
    /// The next page begins before this version; `None` at the end.
    pub next: Option<u32>,
}

/// Entities around one of them, and the relationships between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Neighbourhood {
    /// The entities, the nearest first; the one in the middle is the first.
    pub nodes: Vec<Node>,
    /// The relationships that were met between them.
    pub edges: Vec<Edge>,
    /// Whether a limit left something out.
    pub cut: bool,
}

/// An entity of a neighbourhood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Its key.
    pub key: EntityKey,
    /// Whether it is archived.
    pub archived: bool,
    /// Steps from the middle.
    pub distance: u32,
    /// Whether a limit left relationships of it out.
    pub more: bool,
}

/// A relationship of a neighbourhood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Edge {
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Place of the entity that it leads from.
    pub from: usize,
    /// Place of the entity that it leads to.
    pub to: usize,
    /// Whether it is archived.
    pub archived: bool,
}

/// Keys and rows of relationships of an entity.
type Rows = Vec<(u128, Row)>;

/// Rows of relationships of an entity in one direction, behind one of them.
/// Tells whether there are more.
pub(super) fn rows(
    reading: &Reading<'_>,
    entity: u32,
    direction: Direction,
    after: Option<u128>,
    limit: usize,
) -> Result<(Rows, bool)> {
    let forward = tables::FORWARD.read(&reading.tx).map_err(|e| reading.fail(e))?;
    let (first, last) = (end_key(entity, after.unwrap_or(0)), end_key(entity, u128::MAX));
    let start = if after.is_some() { Bound::Excluded(&first[..]) } else { Bound::Included(&first[..]) };
    let range = (start, Bound::Included(&last[..]));
    let mut found: Rows = Vec::new();
    let hash_of = |key: &[u8]| key.last_chunk().map_or(0, |hash| u128::from_be_bytes(*hash));
    match direction {
        Direction::Out => {
            for entry in forward.range(range).map_err(|e| reading.fail(e))? {
                let (key, row) = entry.map_err(|e| reading.fail(e))?;
                if found.len() == limit {
                    return Ok((found, true));
                }
                found.extend(Row::decode(row.value()).map(|row| (hash_of(key.value()), row)));
            }
        }
        Direction::In => {
            let reverse = tables::REVERSE.read(&reading.tx).map_err(|e| reading.fail(e))?;
            for entry in reverse.range(range).map_err(|e| reading.fail(e))? {
                let (key, from) = entry.map_err(|e| reading.fail(e))?;
                if found.len() == limit {
                    return Ok((found, true));
                }
                let place = [from.value(), &key.value()[4..]].concat();
                let row = forward.get(&place[..]).map_err(|e| reading.fail(e))?;
                let row = row.and_then(|row| Row::decode(row.value()));
                found.extend(row.map(|row| (hash_of(key.value()), row)));
            }
        }
    }
    Ok((found, false))
}

/// A place in the list of an entity's relationships, as a text: the side, and
/// the relationship that the place is behind, if it is not the side's begin.
fn cursor(direction: Direction, hash: Option<u128>) -> String {
    let direction = match direction {
        Direction::Out => "out",
        Direction::In => "in",
    };
    hash.map_or_else(|| direction.to_owned(), |hash| format!("{direction}-{hash:032x}"))
}

fn parse_cursor(text: &str) -> Result<(Direction, Option<u128>)> {
    let (side, hash) = text.split_once('-').map_or((text, None), |(side, hash)| (side, Some(hash)));
    let direction = match side {
        "out" => Some(Direction::Out),
        "in" => Some(Direction::In),
        _ => None,
    };
    let is_hash = |hash: &&str| hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    let parsed = match (direction, hash) {
        (Some(direction), None) => Some((direction, None)),
        (Some(direction), Some(hash)) => Some(hash)
            .filter(is_hash)
            .and_then(|hash| u128::from_str_radix(hash, 16).ok())
            .map(|hash| (direction, Some(hash))),
        (None, _) => None,
    };
    parsed.ok_or_else(|| Error::new(ErrorKind::Usage, "this is no place in a list of relationships"))
}

impl Reading<'_> {
    /// As [`EmbeddedCatalogue::history`], of this transaction.
    pub(super) fn history(&mut self, key: &Key, before: Option<u32>, limit: usize) -> Result<HistoryPage> {
        let limit = limit.clamp(1, MAX_PAGE);
        let hash = key.hash().0;
        let row = match key {
            Key::Entity(key) => self.entity(key)?,
            Key::Relationship(key) => self.relationship(key)?,
        };
        let table = tables::HISTORY.read(&self.tx).map_err(|e| self.fail(e))?;
        let between = |low: u32, high: u32| {
            let (low, high) = (version_key(hash, low), version_key(hash, high));
            table.range(&low[..]..&high[..]).map_err(|e| self.fail(e))
        };
        let newest = match (before, row) {
            (Some(before), _) => before,
            (None, Some(row)) => row.version,
            (None, None) => {
                let mut newest = 0;
                for entry in between(0, u32::MAX)? {
                    let (key, _) = entry.map_err(|e| self.fail(e))?;
                    newest = key.value().last_chunk().map_or(0, |number| u32::from_be_bytes(*number)) + 1;
                }
                newest
            }
        };
        // Versions follow each other, but for those that were dropped: the
        // window below the newest one holds the page.
        let mut rows: VecDeque<HistoryRow> = VecDeque::new();
        let (mut high, mut window) = (newest, limit as u32 + 1);
        while rows.len() <= limit && high > 0 && between(0, high)?.next().is_some() {
            let low = high.saturating_sub(window);
            let mut found = Vec::new();
            for entry in between(low, high)? {
                let (_, bytes) = entry.map_err(|e| self.fail(e))?;
                found.extend(HistoryRow::decode(bytes.value()));
            }
            found.into_iter().rev().for_each(|row| rows.push_back(row));
            (high, window) = (low, window.saturating_mul(2));
        }
        let more = rows.len() > limit;
        rows.truncate(limit);
        let is_entity = matches!(key, Key::Entity(_));
        let items = self.versions(rows.into(), is_entity)?;
        let next = items.last().filter(|_| more).map(|last| last.version);
        Ok(HistoryPage { items, next })
    }
}

impl EmbeddedCatalogue {
    /// Up to `limit` (500 at most) relationships of an entity, behind the place
    /// `after` that the page before named. `None`: there is no such entity.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when `after` is no such place.
    pub fn relationships(
        &self,
        key: &EntityKey,
        direction: Option<Direction>,
        type_name: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<RelationshipPage>> {
        let after = after.map(parse_cursor).transpose()?;
        let limit = limit.clamp(1, MAX_PAGE);
        let mut reading = Reading::new(self)?;
        let Some(entity) = reading.entity(key)? else { return Ok(None) };
        let mut page = RelationshipPage { items: Vec::new(), next: None };
        let mut left = if type_name.is_some() { LOOKED_AT } else { limit };
        for side in [Direction::Out, Direction::In] {
            let behind = match after {
                Some((Direction::In, _)) if side == Direction::Out => continue,
                Some((at, hash)) if at == side => hash,
                Some(_) | None => None,
            };
            if direction.is_some_and(|direction| direction != side) {
                continue;
            }
            if left == 0 || page.items.len() == limit {
                // Whether there is anything on this side, the next page tells.
                page.next = Some(cursor(side, None));
                break;
            }
            let (found, more) = rows(&reading, entity.number, side, behind, left)?;
            left -= found.len();
            let count = found.len();
            for (n, (hash, row)) in found.into_iter().enumerate() {
                let view = reading.relationship_view(side, &row)?;
                page.items
                    .extend(view.filter(|view| type_name.is_none_or(|name| view.key.type_name == name)));
                let at_end = n + 1 == count && !more;
                if !at_end && (page.items.len() == limit || n + 1 == count) {
                    page.next = Some(cursor(side, Some(hash)));
                    return Ok(Some(page));
                }
            }
        }
        Ok(Some(page))
    }

    /// Up to `limit` (500 at most) versions of an entity or relationship that
    /// were replaced, newest first, before version `before`. What is deleted
    /// has them too.
    pub fn history(&self, key: &Key, before: Option<u32>, limit: usize) -> Result<HistoryPage> {
        Reading::new(self)?.history(key, before, limit)
    }

    /// The entities that are up to `depth` (10 at most) relationships away from
    /// one, up to `max_nodes` (500 at most) of them, whichever way the
    /// relationships lead. Of an entity with very many only some are followed,
    /// of each type alike. Relationships between two outermost entities are
    /// not looked for. `None`: there is no such entity.
    pub fn neighbourhood(
        &self,
        key: &EntityKey,
        depth: u32,
        max_nodes: usize,
    ) -> Result<Option<Neighbourhood>> {
        let reading = Reading::new(self)?;
        let Some(row) = reading.entity(key)? else { return Ok(None) };
        let mut walk = Walk {
            reading,
            max_nodes: max_nodes.clamp(1, MAX_NODES),
            left: OF_ALL,
            numbers: Vec::new(),
            places: HashMap::new(),
            met: HashSet::new(),
            found: Neighbourhood::default(),
        };
        walk.place(key, &row, 0);
        let mut next = 0;
        while let Some(node) = walk.found.nodes.get(next) {
            if node.distance == depth.min(MAX_DEPTH) {
                break;
            }
            walk.expand(next)?;
            next += 1;
        }
        Ok(Some(walk.found))
    }
}

/// A relationship that was read, until it is put into the graph.
struct Met {
    hash: u128,
    key: RelationshipKey,
    archived: bool,
}

struct Walk<'a> {
    reading: Reading<'a>,
    max_nodes: usize,
    /// Relationships that may still be read.
    left: usize,
    /// Numbers of the entities, in the order of the nodes.
    numbers: Vec<u32>,
    places: HashMap<EntityKey, usize>,
    met: HashSet<u128>,
    found: Neighbourhood,
}

impl Walk<'_> {
    fn place(&mut self, key: &EntityKey, row: &Row, distance: u32) -> usize {
        let place = self.found.nodes.len();
        self.found.nodes.push(Node { key: key.clone(), archived: row.archived, distance, more: false });
        self.numbers.push(row.number);
        self.places.insert(key.clone(), place);
        place
    }

    fn leave_out(&mut self, node: usize) {
        self.found.cut = true;
        if let Some(node) = self.found.nodes.get_mut(node) {
            node.more = true;
        }
    }

    /// Follows the relationships of a node.
    fn expand(&mut self, node: usize) -> Result<()> {
        let Some(number) = self.numbers.get(node).copied() else { return Ok(()) };
        let mut by_type: BTreeMap<String, VecDeque<Met>> = BTreeMap::new();
        for direction in [Direction::Out, Direction::In] {
            let (rows, more) = rows(&self.reading, number, direction, None, OF_ONE.min(self.left))?;
            self.left -= rows.len();
            if more {
                self.leave_out(node);
            }
            for (hash, row) in rows {
                if self.met.contains(&hash) {
                    continue;
                }
                if let Some(view) = self.reading.relationship_view(direction, &row)? {
                    let met = Met { hash, key: view.key, archived: view.archived };
                    by_type.entry(met.key.type_name.clone()).or_default().push_back(met);
                }
            }
        }
        // One of each type in turn, so that a type of which there are many
        // does not keep the others out.
        while !by_type.is_empty() {
            let mut turn = Vec::new();
            by_type.retain(|_, waiting| {
                turn.extend(waiting.pop_front());
                !waiting.is_empty()
            });
            for met in turn {
                self.follow(node, met)?;
            }
        }
        Ok(())
    }

    /// Puts a relationship of a node into the graph, and its other end.
    fn follow(&mut self, node: usize, met: Met) -> Result<()> {
        if !self.met.insert(met.hash) {
            // One from the entity to itself is read both ways.
            return Ok(());
        }
        let mut ends = [0; 2];
        for (slot, key) in ends.iter_mut().zip([&met.key.from, &met.key.to]) {
            *slot = match self.places.get(key) {
                Some(place) => *place,
                None if self.found.nodes.len() >= self.max_nodes => {
                    self.leave_out(node);
                    return Ok(());
                }
                None => {
                    let Some(row) = self.reading.entity(key)? else { return Ok(()) };
                    let distance = self.found.nodes.get(node).map_or(0, |node| node.distance) + 1;
                    self.place(key, &row, distance)
                }
            };
        }
        let [from, to] = ends;
        let RelationshipKey { type_name, label, .. } = met.key;
        self.found.edges.push(Edge { type_name, label, from, to, archived: met.archived });
        Ok(())
    }
}
