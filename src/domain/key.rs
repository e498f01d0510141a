//! Keys of entities and relationships, and their 128-bit hashes.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// What a key names.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Keyed by (type, qualified name).
    Entity,
    /// Keyed by (type, from, to, label).
    Relationship,
}

impl Kind {
    /// `entity` or `relationship`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Relationship => "relationship",
        }
    }
}

/// The key of an entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EntityKey {
    /// Its type, such as `rdbms_table`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its name, unique within its type.
    pub qualified_name: String,
}

/// The key of a relationship.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RelationshipKey {
    /// Its type, such as `rdbms_table_columns`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The entity that it leads from.
    pub from: EntityKey,
    /// The entity that it leads to.
    pub to: EntityKey,
    /// Tells several relationships of one type between the same ends apart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
}

/// The key of an entity or a relationship. Sorts entities first, then by
/// (type, qualified name) or (type, from, to, label), by code points.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Key {
    /// An entity's.
    Entity(EntityKey),
    /// A relationship's.
    Relationship(RelationshipKey),
}

impl Key {
    /// Bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        let entity = |key: &EntityKey| key.type_name.len() + key.qualified_name.len();
        match self {
            Self::Entity(key) => entity(key),
            Self::Relationship(key) => {
                key.type_name.len() + entity(&key.from) + entity(&key.to) + key.label.len()
            }
        }
    }

    /// What the key names.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Entity(_) => Kind::Entity,
            Self::Relationship(_) => Kind::Relationship,
        }
    }

    /// The entity's or relationship's own type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Entity(key) => &key.type_name,
            Self::Relationship(key) => &key.type_name,
        }
    }

    /// The name that a scope is matched against: the qualified name, for a
    /// relationship that of its `from` end.
    pub fn scope_name(&self) -> &str {
        match self {
            Self::Entity(key) => &key.qualified_name,
            Self::Relationship(key) => &key.from.qualified_name,
        }
    }

    /// The key's hash.
    pub fn hash(&self) -> KeyHash {
        match self {
            Self::Entity(key) => key.hash(),
            Self::Relationship(key) => key.hash(),
        }
    }
}

impl fmt::Display for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.type_name, self.qualified_name)
    }
}

impl fmt::Display for RelationshipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.type_name, self.from.qualified_name, self.to.qualified_name)?;
        if self.label.is_empty() { Ok(()) } else { write!(f, " [{}]", self.label) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entity(key) => key.fmt(f),
            Self::Relationship(key) => key.fmt(f),
        }
    }
}

/// The 128-bit hash by which a key is known in snapshots and plans.
///
/// XXH3-128 over the key's parts; the top bit is 0 for entities and 1 for
/// relationships, so that in an order by hash all entities come first. 127
/// bits make an accidental collision among 10⁹ keys less likely than 10⁻²⁰.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyHash(pub u128);

const KIND_BIT: u128 = 1 << 127;

impl KeyHash {
    /// Where relationships begin in the order of hashes.
    pub const FIRST_RELATIONSHIP: Self = Self(KIND_BIT);

    /// Hashes an entity's key.
    pub fn of_entity(type_name: &str, qualified_name: &str) -> Self {
        // One call over one buffer is several times as fast as the streaming
        // form; nearly all keys fit.
        let (t, n) = (type_name.as_bytes(), qualified_name.as_bytes());
        let mut buffer = [0u8; 512];
        let length = 4 + t.len() + n.len();
        let hash = if length <= buffer.len() {
            buffer[..4].copy_from_slice(&(t.len() as u32).to_le_bytes());
            buffer[4..4 + t.len()].copy_from_slice(t);
            buffer[4 + t.len()..length].copy_from_slice(n);
            xxhash_rust::xxh3::xxh3_128(&buffer[..length])
        } else {
            let mut hasher = Xxh3::new();
            hasher.update(&(t.len() as u32).to_le_bytes());
            hasher.update(t);
            hasher.update(n);
            hasher.digest128()
        };
        Self(hash & !KIND_BIT)
    }

    /// Hashes a relationship's key from the hashes of its ends.
    pub fn of_relationship(type_name: &str, from: KeyHash, to: KeyHash, label: &str) -> Self {
        let (t, l) = (type_name.as_bytes(), label.as_bytes());
        let mut buffer = [0u8; 512];
        let length = 36 + t.len() + l.len();
        let mut head = [0u8; 36];
        head[..16].copy_from_slice(&from.0.to_le_bytes());
        head[16..32].copy_from_slice(&to.0.to_le_bytes());
        head[32..].copy_from_slice(&(t.len() as u32).to_le_bytes());
        let hash = if length <= buffer.len() {
            buffer[..36].copy_from_slice(&head);
            buffer[36..36 + t.len()].copy_from_slice(t);
            buffer[36 + t.len()..length].copy_from_slice(l);
            xxhash_rust::xxh3::xxh3_128(&buffer[..length])
        } else {
            let mut hasher = Xxh3::new();
            hasher.update(&head);
            hasher.update(t);
            hasher.update(l);
            hasher.digest128()
        };
        Self(hash | KIND_BIT)
    }

    /// What the key names.
    pub fn kind(self) -> Kind {
        if self.0 & KIND_BIT == 0 { Kind::Entity } else { Kind::Relationship }
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl EntityKey {
    /// A key of these two parts.
    pub fn new(type_name: impl Into<String>, qualified_name: impl Into<String>) -> Self {
        Self { type_name: type_name.into(), qualified_name: qualified_name.into() }
    }

    /// The key's hash.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of_entity(&self.type_name, &self.qualified_name)
    }
}

impl RelationshipKey {
    /// The key's hash.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of_relationship(&self.type_name, self.from.hash(), self.to.hash(), &self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(KeyHash::of_entity("ab", "c"), KeyHash::of_entity("a", "bc"));
        let (x, y) = (KeyHash::of_entity("t", "x"), KeyHash::of_entity("t", "y"));
        assert_ne!(KeyHash::of_relationship("r", x, y, ""), KeyHash::of_relationship("r", y, x, ""));
        assert_ne!(KeyHash::of_relationship("ra", x, y, "b"), KeyHash::of_relationship("r", x, y, "ab"));
    }

    #[test]
    fn long_keys_hash_like_short_ones() {
        let name = "n".repeat(10_000);
        assert_eq!(KeyHash::of_entity("t", &name).kind(), Kind::Entity);
        assert_ne!(KeyHash::of_entity("t", &name), KeyHash::of_entity("t", &name[1..]));
        let mut hasher = Xxh3::new();
        hasher.update(&1u32.to_le_bytes());
        hasher.update(b"tab");
        assert_eq!(hasher.digest128() & !KIND_BIT, KeyHash::of_entity("t", "ab").0);
    }

    #[test]
    fn entities_sort_before_relationships() {
        let x = KeyHash::of_entity("t", "x");
        assert!(x < KeyHash::of_relationship("r", x, x, ""));
    }
}
