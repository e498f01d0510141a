//! What the catalogue holds: searches, entities, relationships.

use super::super::engine::Engine;
use super::super::views::{CatalogueHit, EntityPage, Page, RelationshipsPage};
use super::{Order, PAGE_MAX, Part, Times, cursor, cut};
use crate::domain::ids::TargetName;
use crate::domain::key::{EntityKey, Key, KeyHash};
use crate::error::{Error, ErrorKind, Result};
use crate::targets::embedded::{Direction, HistoryPage, HistoryView, SearchQuery};

/// Relationships that an entity is shown with, at most.
pub const RELATIONSHIPS: usize = 500;

/// Entities that are looked at for one part of a list, about a hundredth of a
/// second's: a text that few names have must not keep anyone waiting while a
/// million are looked at.
const EXAMINED: usize = 50_000;

/// Which entities to find.
#[derive(Debug, Clone, Default)]
pub struct FindEntities {
    /// A part of the name, whatever the case.
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
        let most = relationships.min(RELATIONSHIPS);
        match open.catalogue(name)?.guarded(|catalogue| catalogue.get(key, most))? {
            Some(entity) => Ok(EntityPage { target: name.clone(), entity }),
            None => Err(Error::new(ErrorKind::NotFound, format!("the catalogue has no {key}"))),
        }
    }

    /// A part of the versions of an entity that were replaced, by when they
    /// were, the newest first without an order. What is deleted has them too.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the catalogue knows nothing of the entity.
    pub fn history_of(
        &self,
        key: &EntityKey,
        target: Option<&TargetName>,
        times: &Times,
    ) -> Result<Page<HistoryView>> {
        let (target, open) = self.open_target(target)?;
        let catalogue = open.catalogue(target)?;
        let name = format!("history\0{target}\0{}\0{}", key.type_name, key.qualified_name);
        let name = times.name(&name);
        let (limit, after) = (times.part.limit()?, times.after(&name)?);
        let oldest_first = times.order == Some(Order::Oldest);
        let after = after.map(|after| u32::try_from(after).unwrap_or(u32::MAX));
        let of = Key::Entity(key.clone());
        let mut found = Vec::new();
        let mut before = after.filter(|_| !oldest_first);
        loop {
            let page = catalogue.guarded(|catalogue| catalogue.history(&of, before, PAGE_MAX))?;
            let is_empty = page.items.is_empty();
            if is_empty && before.is_none() && catalogue.guarded(|catalogue| catalogue.get(key, 0))?.is_none()
            {
                return Err(Error::new(ErrorKind::NotFound, format!("the catalogue has no {key}")));
            }
            let behind = |version: u32| !oldest_first || after.is_none_or(|after| version > after);
            let fits = |item: &HistoryView| behind(item.version) && times.has(item.ended_by.at);
            let fitting = page.items.into_iter().filter(fits);
            found.extend(fitting.map(|item| (u64::from(item.version), item)));
            before = page.next;
            if is_empty || before.is_none() || (found.len() > limit && !oldest_first) {
                break;
            }
        }
        if oldest_first {
            // As many as the setting `history` of the target lets be kept.
            found.reverse();
        }
        let (items, next_cursor) = cut(found, limit, &name);
        Ok(Page { items, next_cursor })
    }

    /// Up to `limit` versions of an entity that were replaced, the newest first,
    /// before version `before`.
    ///
    /// # Errors
    /// When the catalogue can't be read.
    pub fn versions_before(
        &self,
        key: &EntityKey,
        target: Option<&TargetName>,
        before: u32,
        limit: usize,
    ) -> Result<HistoryPage> {
        let (target, open) = self.open_target(target)?;
        let of = Key::Entity(key.clone());
        open.catalogue(target)?.guarded(|catalogue| catalogue.history(&of, Some(before), limit))
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
        let Some((items, more)) =
            open.catalogue(name)?.guarded(|catalogue| catalogue.relationships_of(key, after, limit))?
        else {
            return Err(Error::new(ErrorKind::NotFound, format!("the catalogue has no {key}")));
        };
        let next_cursor = items.last().filter(|_| more).map(|last| {
            let mut place = vec![last.direction as u8];
            place.extend_from_slice(&last.key.hash().0.to_be_bytes());
            cursor::encode(&list, &place)
        });
        Ok(RelationshipsPage { items, next_cursor })
    }

    /// A part of the entities that fit, by type and name. It may be short, or
    /// empty, and still have more behind it.
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
        let wanted = SearchQuery {
            type_name: query.type_name.clone(),
            prefix: query.prefix.clone(),
            contains: query.text.clone().filter(|text| !text.is_empty()),
            archived: query.archived,
            limit: query.part.limit()?,
            examine: EXAMINED,
            after,
        };
        let page = open.catalogue(target)?.guarded(|catalogue| catalogue.search(&wanted))?;
        let next_cursor = page.next.map(|last| {
            let place = format!("{}\0{}", last.type_name, last.qualified_name);
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
