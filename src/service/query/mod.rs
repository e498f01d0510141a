//! Filling the views from the store, the state folder and the catalogue. Each
//! answer is a part of a list or one thing, and reads no more than it shows.

mod batches;
mod cache;
mod catalogue;
mod cursor;
pub(in crate::service) mod dead_letters;
mod diff;
mod figures;
mod groups;
mod inbox;
mod issues;
mod lineage;
mod overview;
pub mod plan_json;
mod plans;
mod queue;
mod snapshots;
mod sources;
mod targets;
mod waits;
mod why;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use batches::BatchQuery;
pub(super) use cache::Looks;
pub use catalogue::FindEntities;
pub use dead_letters::LetterQuery;
pub use figures::Figures;
pub use groups::GroupQuery;
pub use lineage::{Lineage, LineageNode};
pub use plans::PlanQuery;

use crate::error::{Error, ErrorKind, Result};

/// Items of a part of a list that does not say how many it wants.
pub const PAGE: usize = 50;
/// Most items of one part.
pub const PAGE_MAX: usize = 500;

/// In which order a list is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
}

/// How many items of a list are wanted, and behind which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// 1 to [`PAGE_MAX`]; `None`: [`PAGE`].
    pub limit: Option<usize>,
    /// As an answer of the same list gave it.
    pub cursor: Option<String>,
}

impl Part {
    /// The first `limit` items.
    pub fn first(limit: usize) -> Self {
        Self { limit: Some(limit), cursor: None }
    }

    /// The number of items.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is out of bounds.
    fn limit(&self) -> Result<usize> {
        match self.limit {
            None => Ok(PAGE),
            Some(limit @ 1..=PAGE_MAX) => Ok(limit),
            Some(limit) => Err(Error::new(
                ErrorKind::Usage,
                format!("`limit` is {limit}: it must be from 1 to {PAGE_MAX}"),
            )),
        }
    }

    /// The key behind which this part of the list named `of` begins.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when the cursor is of another list, or none.
    fn after(&self, of: &str) -> Result<Option<Vec<u8>>> {
        self.cursor.as_deref().map(|text| cursor::decode(of, text)).transpose()
    }
}
