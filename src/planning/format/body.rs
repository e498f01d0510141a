//! The body of an entity or relationship: its key's texts and its attributes.
//!
//! ```text
//! kind u8 (0 entity, 1 relationship), then each part as u32 length + bytes:
//! entity        type, qualified name
//! relationship  type, from type, from name, to type, to name, label
//! and the attributes (canonical JSON object) up to the record's end
//! ```

use super::bytes::u32_at;
use crate::domain::key::{EntityKey, Key, KeyHash, Kind, RelationshipKey};

/// A body as it lies in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body<'a> {
    /// Type, and qualified name; or type, both ends and label.
    parts: [&'a str; 6],
    kind: Kind,
    /// Canonical JSON object.
    pub attributes: &'a [u8],
}

/// Writes the head of an entity's body; the attributes follow.
pub fn entity_head(out: &mut Vec<u8>, type_name: &str, qualified_name: &str) {
    out.push(0);
    part(out, type_name);
    part(out, qualified_name);
}

/// Writes the head of a relationship's body; the attributes follow.
pub fn relationship_head(
    out: &mut Vec<u8>,
    type_name: &str,
    from: (&str, &str),
    to: (&str, &str),
    label: &str,
) {
    out.push(1);
    for text in [type_name, from.0, from.1, to.0, to.1, label] {
        part(out, text);
    }
}

/// Writes the head of the body of `key`.
pub fn key_head(out: &mut Vec<u8>, key: &Key) {
    match key {
        Key::Entity(key) => entity_head(out, &key.type_name, &key.qualified_name),
        Key::Relationship(key) => relationship_head(
            out,
            &key.type_name,
            (&key.from.type_name, &key.from.qualified_name),
            (&key.to.type_name, &key.to.qualified_name),
            &key.label,
        ),
    }
}

fn part(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl<'a> Body<'a> {
    /// Reads a record; `None` when it is not a body.
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let (kind, count) = match record.first()? {
            0 => (Kind::Entity, 2),
            1 => (Kind::Relationship, 6),
            2..=u8::MAX => return None,
        };
        let mut at = 1usize;
        let mut parts = [""; 6];
        for slot in parts.iter_mut().take(count) {
            let start = at + 4;
            let end = start.checked_add(u32_at(record, at) as usize)?;
            *slot = std::str::from_utf8(record.get(start..end)?).ok()?;
            at = end;
        }
        Some(Self { parts, kind, attributes: record.get(at..)? })
    }

    /// Whether it is an entity's or a relationship's.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its own type.
    pub fn type_name(&self) -> &'a str {
        self.parts[0]
    }

    /// The name that scopes match: the qualified name, or that of the `from` end.
    pub fn scope_name(&self) -> &'a str {
        match self.kind {
            Kind::Entity => self.parts[1],
            Kind::Relationship => self.parts[2],
        }
    }

    /// Types of a relationship's ends.
    pub fn end_types(&self) -> (&'a str, &'a str) {
        (self.parts[1], self.parts[3])
    }

    /// Hashes of a relationship's ends.
    pub fn ends(&self) -> (KeyHash, KeyHash) {
        (KeyHash::of_entity(self.parts[1], self.parts[2]), KeyHash::of_entity(self.parts[3], self.parts[4]))
    }

    /// The key, as owned text.
    pub fn key(&self) -> Key {
        match self.kind {
            Kind::Entity => Key::Entity(EntityKey::new(self.parts[0], self.parts[1])),
            Kind::Relationship => Key::Relationship(RelationshipKey {
                type_name: self.parts[0].into(),
                from: EntityKey::new(self.parts[1], self.parts[2]),
                to: EntityKey::new(self.parts[3], self.parts[4]),
                label: self.parts[5].into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let entity = Key::Entity(EntityKey::new("table", "ä.b"));
        let edge = Key::Relationship(RelationshipKey {
            type_name: "has".into(),
            from: EntityKey::new("table", "ä.b"),
            to: EntityKey::new("column", ""),
            label: "x".into(),
        });
        for key in [entity, edge] {
            let mut record = Vec::new();
            key_head(&mut record, &key);
            record.extend_from_slice(b"{}");
            let body = Body::parse(&record).unwrap();
            assert_eq!(body.key(), key);
            assert_eq!((body.scope_name(), body.type_name()), (key.scope_name(), key.type_name()));
            assert_eq!(body.attributes, b"{}");
            for cut in 0..record.len() - 2 {
                assert!(Body::parse(&record[..cut]).is_none());
            }
        }
    }
}
