//! Filling the views from the store, the state folder and the catalogue. Each
//! answer is a part of a list or one thing, and reads no more than it shows.

pub mod alike;
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
mod known;
mod lineage;
mod overview;
pub mod plan_json;
mod plans;
mod queue;
mod search;
mod snapshots;
mod sources;
mod targets;
mod waits;
mod why;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use batches::BatchQuery;
pub(super) use cache::Looks;
pub use catalogue::FindEntities;
pub use dead_letters::{LetterQuery, to_do};
pub use figures::Figures;
pub use groups::GroupQuery;
pub use lineage::{Lineage, LineageNode};
pub use plans::PlanQuery;
pub use search::SearchEntities;
pub use snapshots::SnapshotQuery;

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

/// Which part of a list that is in the order of its times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// At or after this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// In which order; `None`: the list's own.
    pub order: Option<Order>,
    /// Which part.
    pub part: Part,
}

impl Times {
    /// The first `limit` items.
    pub fn first(limit: usize) -> Self {
        Self { part: Part::first(limit), ..Self::default() }
    }

    fn has(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
    }

    /// The list named `of`, with all that bounds it, for cursors.
    fn name(&self, of: &str) -> String {
        let Self { since, until, order, part: _ } = self;
        format!("{of}\0{since:?}\0{until:?}\0{order:?}")
    }

    /// The number behind which this part of the list begins, whose name is `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when the cursor is of another list, or none.
    fn after(&self, name: &str) -> Result<Option<u64>> {
        let Some(key) = self.part.after(name)? else { return Ok(None) };
        let bytes = key.try_into().map_err(|_| Error::new(ErrorKind::Usage, "`cursor` is damaged"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }
}

/// The part of `found` that is shown, and the cursor behind it. One item more
/// than `limit` says that there are more.
fn cut<T>(found: Vec<(u64, T)>, limit: usize, name: &str) -> (Vec<T>, Option<String>) {
    let mut found = found;
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more);
    let next_cursor = last.map(|(number, _)| cursor::encode(name, &number.to_be_bytes()));
    (found.into_iter().map(|(_, item)| item).collect(), next_cursor)
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
