//! Where data comes from and where it goes: what lies upstream of an entity,
//! what upstream of that, and the same downstream, up to a bounded number of
//! steps and entities. What leads both ways is in `around`.

use std::collections::{HashMap, VecDeque};

use super::EmbeddedCatalogue;
use super::around::rows;
use super::read::{Direction, Reading};
use crate::domain::key::{EntityKey, KeyHash, RelationshipKey};
use crate::error::Result;

/// Relationships of one entity that are looked at.
const LOOKED_AT: usize = 2_000;

/// How far to follow relationships.
#[derive(Debug, Clone, Copy)]
pub struct LineageQuery {
    /// Every relationship, and not only those whose type has `lineage` in it.
    pub all: bool,
    /// Most steps to either side.
    pub steps: u32,
    /// Most entities.
    pub entities: usize,
    /// Most entities that one entity leads to on one side.
    pub fan: usize,
}

/// An entity of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineageNode {
    /// Its key.
    pub key: EntityKey,
    /// Whether it is archived.
    pub archived: bool,
    /// Steps from the entity that was asked for: negative upstream.
    pub step: i64,
    /// Entities beyond it, away from the one that was asked for, that were left out.
    pub more: usize,
}

/// Entities and what connects them. The first is the one that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The entities.
    pub nodes: Vec<LineageNode>,
    /// From which to which, by their places, with the relationship's type.
    pub edges: Vec<(usize, usize, String)>,
    /// Whether more relationships of an entity lay there than are looked at.
    pub cut: bool,
}

impl Lineage {
    /// Whether it holds more than the entity itself.
    pub fn has_edges(&self) -> bool {
        !self.edges.is_empty()
    }
}

/// Whether a relationship of this type tells where data comes from.
pub fn is_lineage(type_name: &str) -> bool {
    type_name.to_ascii_lowercase().contains("lineage")
}

/// Keys of an entity's relationships on one side, archived ones left out, of
/// the first [`LOOKED_AT`]; and whether there are more.
fn neighbours(
    reading: &mut Reading<'_>,
    entity: u32,
    side: Direction,
    all: bool,
) -> Result<(Vec<RelationshipKey>, bool)> {
    let (found, more) = rows(reading, entity, side, None, LOOKED_AT)?;
    let mut keys = Vec::new();
    for (_, row) in found.into_iter().filter(|(_, row)| !row.archived) {
        if let Some(view) = reading.relationship_view(side, &row)?
            && (all || is_lineage(&view.key.type_name))
        {
            keys.push(view.key);
        }
    }
    Ok((keys, more))
}

impl EmbeddedCatalogue {
    /// What lies around an entity; `None` when the catalogue does not have it.
    pub fn lineage(&self, key: &EntityKey, query: &LineageQuery) -> Result<Option<Lineage>> {
        let mut reading = Reading::new(self)?;
        let Some(row) = reading.entity(key)? else { return Ok(None) };
        let start = LineageNode { key: key.clone(), archived: row.archived, step: 0, more: 0 };
        let mut lineage = Lineage { nodes: vec![start], ..Lineage::default() };
        let mut places: HashMap<KeyHash, usize> = [(key.hash(), 0)].into();
        let mut queue: VecDeque<(usize, u32, Direction)> =
            [(0, row.number, Direction::In), (0, row.number, Direction::Out)].into();
        while let Some((place, number, side)) = queue.pop_front() {
            let (found, cut) = neighbours(&mut reading, number, side, query.all)?;
            lineage.cut |= cut;
            let step = lineage.nodes[place].step;
            let (next, is_last) = match side {
                Direction::In => (step - 1, step.unsigned_abs() >= u64::from(query.steps)),
                Direction::Out => (step + 1, step.unsigned_abs() >= u64::from(query.steps)),
            };
            let (mut taken, mut left) = (0, 0);
            for key in found {
                let end = match side {
                    Direction::In => &key.from,
                    Direction::Out => &key.to,
                };
                let other = match places.get(&end.hash()) {
                    // One to itself leads nowhere.
                    Some(other) if *other == place => continue,
                    Some(other) => *other,
                    None if is_last || taken == query.fan || lineage.nodes.len() == query.entities => {
                        left += 1;
                        continue;
                    }
                    None => {
                        // Both ends of a relationship that shows live.
                        let Some(row) = reading.entity(end)? else { continue };
                        let other = lineage.nodes.len();
                        taken += 1;
                        places.insert(end.hash(), other);
                        lineage.nodes.push(LineageNode {
                            key: end.clone(),
                            archived: row.archived,
                            step: next,
                            more: 0,
                        });
                        queue.push_back((other, row.number, side));
                        other
                    }
                };
                let edge = match side {
                    Direction::In => (other, place, key.type_name),
                    Direction::Out => (place, other, key.type_name),
                };
                if !lineage.edges.contains(&edge) {
                    lineage.edges.push(edge);
                }
            }
            lineage.nodes[place].more += left;
        }
        Ok(Some(lineage))
    }
}
