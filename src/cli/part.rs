//! What commands that list have in common: which part of the list, and of which
//! time.

use clap::Args;
use jiff::Timestamp;

use super::backend;
use super::common::{OrderArg, parse_time};
use crate::error::Result;
use crate::service::query::{Order, Part, Times};
use crate::service::views::Page;

/// Which part of a list; `LIMIT` items without it.
#[derive(Debug, Clone, Args)]
pub struct PartArgs<const LIMIT: u32 = 50> {
    /// At most so many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on behind a list that gave this
    #[arg(long)]
    cursor: Option<String>,
}

impl<const LIMIT: u32> PartArgs<LIMIT> {
    /// How many items are wanted.
    pub fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    /// Where the list goes on.
    pub fn cursor(&self) -> Option<String> {
        self.cursor.clone()
    }

    /// As many items, in as many parts as it takes.
    ///
    /// # Errors
    /// Whatever `part` fails with.
    pub fn all<T>(&self, part: impl FnMut(&Part) -> Result<Page<T>>) -> Result<Page<T>> {
        backend::all(self.limit(), self.cursor(), part)
    }
}

/// Of which time a list tells, and in which order. What time it is, the
/// command says.
#[derive(Debug, Clone, Args)]
pub struct TimesArgs {
    /// From this time on: RFC 3339, or so long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<Timestamp>,
    /// In the order of these times
    #[arg(long, value_enum, default_value = "newest")]
    order: OrderArg,
}

impl TimesArgs {
    /// In which order.
    pub fn order(&self) -> Order {
        self.order.into()
    }

    /// This part of a list of these times.
    pub fn times(&self, part: &Part) -> Times {
        Times { since: self.since, until: self.until, order: Some(self.order()), part: part.clone() }
    }
}
