//! What lies upstream and downstream of an entity.

use super::super::engine::Engine;
use crate::domain::ids::TargetName;
use crate::domain::key::EntityKey;
use crate::error::{Error, ErrorKind, Result};
use crate::targets::embedded::LineageQuery;
pub use crate::targets::embedded::{Lineage, LineageNode};

/// Entities of one graph.
const ENTITIES: usize = 48;
/// Entities that one entity is followed to on one side.
const FAN: usize = 10;
/// Steps along lineage.
const STEPS: u32 = 2;

impl Engine {
    /// The entities around an entity: those that lineage leads to, or with
    /// `all` those of every relationship, one step away.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the catalogue does not have the entity.
    pub fn lineage(&self, key: &EntityKey, target: Option<&TargetName>, all: bool) -> Result<Lineage> {
        let query = LineageQuery { all, steps: if all { 1 } else { STEPS }, entities: ENTITIES, fan: FAN };
        let found = self.catalogue(target)?.guarded(|catalogue| catalogue.lineage(key, &query))?;
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the catalogue has no {key}")))
    }
}
