//! Whether everything in the store can be read.

use super::open::Store;
use super::tables::Table;
use super::tx::{KeyRange, Read};
use crate::error::Result;

/// Rows that are read at a time.
const PAGE: usize = 1_000;

impl Store {
    /// Reads every row of every table, and tells how many each has.
    ///
    /// # Errors
    /// That of the first row that can't be read.
    pub fn verify(&self) -> Result<Vec<(&'static str, u64)>> {
        self.read(|view| {
            let mut tables = Vec::new();
            for table in Table::ALL {
                let (mut rows, mut after): (u64, Option<Vec<u8>>) = (0, None);
                loop {
                    let mut range = KeyRange::of_prefix(b"");
                    if let Some(after) = after.take() {
                        range.from = std::ops::Bound::Excluded(after);
                    }
                    let page = view.range(table, &range, PAGE)?;
                    for (_, value) in &page {
                        super::dump::show(table, value)?;
                    }
                    rows += page.len() as u64;
                    if page.len() < PAGE {
                        break;
                    }
                    after = page.into_iter().next_back().map(|(key, _)| key);
                }
                tables.push((table.name(), rows));
            }
            Ok(tables)
        })
    }
}
