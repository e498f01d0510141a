//! Search over a target's catalogue, and the threads that keep its index.

use super::engine::Engine;
use crate::domain::ids::TargetName;
use crate::error::Result;
use crate::targets::embedded::{FindPage, FindQuery, Following};

impl Engine {
    /// Keeps the search index of every target behind publishing, until what
    /// this returns is dropped.
    ///
    /// # Errors
    /// When a thread can't be started, or follows already.
    pub fn index_behind(&self) -> Result<Vec<Following>> {
        self.targets.values().filter_map(|open| open.embedded.as_ref()).map(|c| c.index_behind()).collect()
    }

    /// Entities of a target by words of their names and attributes, the best
    /// first. Where no thread keeps the index, it is brought up to date first.
    ///
    /// # Errors
    /// Those of [`crate::targets::embedded::EmbeddedCatalogue::find`].
    pub fn find(&self, target: Option<&TargetName>, query: &FindQuery) -> Result<FindPage> {
        let catalogue = self.catalogue(target)?;
        catalogue.guarded(|catalogue| {
            if !catalogue.is_followed() {
                catalogue.index_until(&|| self.stopping())?;
            }
            catalogue.find(query)
        })
    }
}
