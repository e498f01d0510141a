//! What the catalogue holds: hits of a search, and an entity.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::TargetName;
use crate::domain::key::EntityKey;
use crate::targets::embedded::{EntityView, FindHit, RelationshipView, TypeCount};

/// An entity that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogueHit {
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its name.
    pub qualified_name: String,
    /// Whether it is archived.
    #[serde(default)]
    pub archived: bool,
}

impl CatalogueHit {
    /// Its key.
    pub fn key(&self) -> EntityKey {
        EntityKey::new(&*self.type_name, &*self.qualified_name)
    }
}

/// Entities that were found by words.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SearchPage {
    /// The entities. What went while the index did not look is left out, so a
    /// part may be short.
    pub items: Vec<FindHit>,
    /// Given back as `cursor`, it brings what follows.
    pub next_cursor: Option<String>,
    /// How many there are in all.
    pub total: u64,
    /// How many there are of each type, the most first, whatever type was asked for.
    pub types: Vec<TypeCount>,
    /// Changes of entities that the index has not seen yet.
    pub behind: u64,
}

/// An entity with where it was found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EntityPage {
    /// The target that has it.
    pub target: TargetName,
    /// The entity.
    pub entity: EntityView,
}

/// Relationships of an entity.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RelationshipsPage {
    /// The relationships.
    pub items: Vec<RelationshipView>,
    /// Given back as `cursor`, it brings what follows.
    pub next_cursor: Option<String>,
}
