//! What the catalogue holds: searches, entities, relationships.

use super::super::engine::Engine;
use super::super::views::{CatalogueHit, EntityPage, Page, RelationshipsPage};
use super::{Part, cursor};
use crate::domain::ids::TargetName;
use crate::domain::key::{EntityKey, KeyHash};
use crate::error::{Error, ErrorKind, Result};
use crate::targets::embedded::{Direction, SearchQuery};

/// Relationships that an entity is shown with, at most.
pub const RELATIONSHIPS: usize = 500;

/// Which entities to find.
#[derive(Debug, Clone, Default)]
pub struct FindEntities {
    /// Words, or a part of the name.
    pub text: Option<String>,
    /// Of this type.
    pub type_name: Option<String>,
    /// Names that begin with this.
    pub prefix: Option<String>,
    /// Archived ones too.
    pub archived: bool,
    /// At this target.
    pub target: Option<TargetName>,
    /// Which part.
    pub part: Part,
}

impl Engine {
    /// An entity with its history and up to `relationships` of its relationships.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the catalogue does not have it.
    pub fn entity_view(
        &self,
        key: &EntityKey,
        target: Option<&TargetName>,
        relationships: usize,
    ) -> Result<EntityPage> {
        let (name, open) = self.open_target(target)?;
        match open.catalogue(name)?.get(key, relationships.min(RELATIONSHIPS))? {
            Some(entity) => Ok(EntityPage { target: name.clone(), entity }),
            None => Err(Error::new(ErrorKind::NotFound, format!("the catalogue has no {key}"))),
        }
    }

    /// A part of the relationships of an entity: those that lead away, then
    /// those that lead to it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the catalogue does not have the entity.
    pub fn relationships_of(
        &self,
        key: &EntityKey,
        target: Option<&TargetName>,
        part: &Part,
    ) -> Result<RelationshipsPage> {
        let (name, open) = self.open_target(target)?;
        let list = format!("relationships\0{name}\0{}\0{}", key.type_name, key.qualified_name);
        let limit = part.limit()?;
        let after = match part.after(&list)? {
            None => None,
            Some(place) => {
                let bad = || Error::new(ErrorKind::Usage, "`cursor` is damaged");
                let (direction, hash) = place.split_first().ok_or_else(bad)?;
                let direction = if *direction == 0 { Direction::Out } else { Direction::In };
                Some((direction, KeyHash(u128::from_be_bytes(hash.try_into().map_err(|_| bad())?))))
            }
        };
        let Some((items, more)) = open.catalogue(name)?.relationships_of(key, after, limit)? else {
            return Err(Error::new(ErrorKind::NotFound, format!("the catalogue has no {key}")));
        };
        let next_cursor = items.last().filter(|_| more).map(|last| {
            let mut place = vec![last.direction as u8];
            place.extend_from_slice(&last.key.hash().0.to_be_bytes());
            cursor::encode(&list, &place)
        });
        Ok(RelationshipsPage { items, next_cursor })
    }

    /// A part of the entities that fit.
    pub fn find_entities(&self, query: &FindEntities) -> Result<Page<CatalogueHit>> {
        let (target, open) = self.open_target(query.target.as_ref())?;
        let name = format!(
            "entities\0{target}\0{:?}\0{:?}\0{:?}\0{}",
            query.text, query.type_name, query.prefix, query.archived
        );
        let after = match query.part.after(&name)? {
            None => None,
            Some(key) => {
                let text = String::from_utf8(key).ok();
                let parts = text.as_deref().and_then(|text| text.split_once('\0'));
                let bad = || Error::new(ErrorKind::Usage, "`cursor` is damaged");
                let (type_name, name) = parts.ok_or_else(bad)?;
                Some(EntityKey::new(type_name, name))
            }
        };
        let page = open.catalogue(target)?.search(&SearchQuery {
            type_name: query.type_name.clone(),
            prefix: query.prefix.clone(),
            contains: query.text.clone().filter(|text| !text.is_empty()),
            archived: query.archived,
            limit: query.part.limit()?,
            after,
        })?;
        let next_cursor = page.items.last().filter(|_| page.more).map(|last| {
            let place = format!("{}\0{}", last.key.type_name, last.key.qualified_name);
            cursor::encode(&name, place.as_bytes())
        });
        let items = page.items.into_iter().map(|hit| CatalogueHit {
            type_name: hit.key.type_name,
            qualified_name: hit.key.qualified_name,
            archived: hit.archived,
        });
        Ok(Page { items: items.collect(), next_cursor })
    }
}
