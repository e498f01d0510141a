//! Ranked search: entities by the words of their names and attributes.

use super::super::engine::Engine;
use super::super::views::{FindQuery, MAX_OFFSET, SearchPage};
use super::{Part, cursor};
use crate::domain::ids::TargetName;
use crate::error::{Error, ErrorKind, Result};
use crate::targets::embedded::FindOrder;

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct SearchEntities {
    /// Words, phrases and what else [`FindQuery`] knows; empty: everything.
    pub text: String,
    /// Of this type.
    pub type_name: Option<String>,
    /// Archived ones too.
    pub archived: bool,
    /// In which order.
    pub order: FindOrder,
    /// At this target.
    pub target: Option<TargetName>,
    /// Which part.
    pub part: Part,
}

impl Engine {
    /// A part of the entities that were found. Its cursor is a position among
    /// them, and none leads behind the first [`MAX_OFFSET`] or so.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a cursor of another search, or a limit out of bounds.
    pub fn search_entities(&self, query: &SearchEntities) -> Result<SearchPage> {
        let (target, _) = self.open_target(query.target.as_ref())?;
        let SearchEntities { text, type_name, archived, order, target: _, part } = query;
        let name = format!("search\0{target}\0{text:?}\0{type_name:?}\0{archived}\0{order:?}");
        let limit = part.limit()?;
        let offset = match part.after(&name)? {
            None => 0,
            Some(key) => {
                let bytes =
                    key.try_into().map_err(|_| Error::new(ErrorKind::Usage, "`cursor` is damaged"))?;
                usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX)
            }
        };
        let found = self.find(
            Some(target),
            &FindQuery {
                text: text.clone(),
                types: type_name.iter().cloned().collect(),
                archived: *archived,
                order: *order,
                offset,
                limit,
            },
        )?;
        let end = offset + limit;
        let next = (found.more && end <= MAX_OFFSET).then_some(end as u64);
        Ok(SearchPage {
            items: found.items,
            next_cursor: next.map(|end| cursor::encode(&name, &end.to_be_bytes())),
            total: found.total,
            types: found.types,
            behind: found.behind,
        })
    }
}
