//! The embedded catalogue: a metadata catalogue in a redb file of its own, so
//! that everything works with nothing else installed.
//!
//! Bodies of large operations lie in compressed blocks that rows point into;
//! those of small ones lie in their rows. What an update replaces goes to the
//! history by moving the pointer, not the body.

mod apply;
mod around;
mod aside;
mod blocks;
mod buffered;
mod export;
mod file;
mod lineage;
mod look_ahead;
mod prepare;
mod read;
mod row;
mod search;
mod sort;
mod tables;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use around::{Edge, HistoryPage, Neighbourhood, Node, RelationshipPage};
pub use lineage::{Lineage, LineageNode, LineageQuery};
pub use read::{Direction, EntityView, HistoryView, Hit, Origin, RelationshipView, SearchPage, SearchQuery};
pub use search::behind::Following;
pub use search::find::{
    FindHit, FindOrder, FindPage, FindQuery, MAX_OFFSET, MAX_PAGE, Matched, TextRange, TypeCount,
};

use self::file::CatalogueFile;
use self::search::Search;
use super::http::wire;
use super::{Capabilities, Operation, Outcomes, Target, TargetValue};
use crate::clock::Clock;
use crate::domain::ids::{PlanId, SourceId};
use crate::domain::key::Key;
use crate::domain::settings::Deletion;
use crate::error::{Error, ErrorKind, Result};

/// How the catalogue is opened.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedOptions {
    /// What a deletion means.
    pub deletion: Deletion,
    /// Bytes that redb may keep in memory.
    pub cache_bytes: usize,
    /// Versions kept of each entity or relationship, besides the present one.
    pub history: u32,
    /// Most changes of an operation.
    pub max_changes: usize,
    /// Threads that write a large operation; 1 is the slow twin of more.
    pub threads: usize,
    /// Bytes that the writer of the search index may hold; it takes no fewer
    /// than 16 MB.
    pub search_memory: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            deletion: Deletion::Delete,
            cache_bytes: 144 << 20,
            history: 20,
            max_changes: 50_000,
            threads: std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
            search_memory: 32 << 20,
        }
    }
}

/// The catalogue.
pub struct EmbeddedCatalogue {
    file: CatalogueFile,
    options: EmbeddedOptions,
    clock: Arc<dyn Clock>,
    search: Search,
    /// Whether its file is not there, and it is empty for that.
    absent: bool,
}

impl EmbeddedCatalogue {
    /// Opens the catalogue, or makes an empty one. One that is damaged is told of by
    /// whatever asks it for something: what else the process does goes on without it,
    /// and so does this when its file is another one.
    ///
    /// # Errors
    /// [`ErrorKind::StoreInUse`] when another process has it open,
    /// [`ErrorKind::StoreNewer`] when a newer version wrote it.
    pub fn open(path: &Path, options: EmbeddedOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let file = CatalogueFile::open(path, options.cache_bytes, true, Arc::clone(&clock))?;
        Ok(Self::of(file, options, clock, false))
    }

    /// A catalogue that something was published to: where its file is not there, none
    /// is made in its place.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn expect(path: &Path, options: EmbeddedOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let file = CatalogueFile::open(path, options.cache_bytes, false, Arc::clone(&clock))?;
        Ok(Self::of(file, options, clock, false))
    }

    /// Runs what uses its file.
    ///
    /// # Errors
    /// [`ErrorKind::CatalogueFailed`] when it is damaged in a way that redb takes
    /// for impossible, and panics about; else those of `use_it`.
    pub fn guarded<T>(&self, use_it: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.file.guarded(|| use_it(self))
    }

    /// Opens the catalogue to look at. Where its file is not there none is
    /// made: the catalogue is empty, and says so when it is asked.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn look(path: &Path, options: EmbeddedOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        if crate::whole_file::is_made(path).unwrap_or(true) {
            return Self::expect(path, options, clock);
        }
        let file = CatalogueFile::in_memory(path, Arc::clone(&clock))?;
        Ok(Self::of(file, options, clock, true))
    }

    fn of(file: CatalogueFile, options: EmbeddedOptions, clock: Arc<dyn Clock>, absent: bool) -> Self {
        let search = Search::new(file.path(), options.search_memory);
        Self { file, options, clock, search, absent }
    }

    /// Whether its file is not there.
    pub fn is_absent(&self) -> bool {
        self.absent
    }

    /// # Errors
    /// [`ErrorKind::CatalogueFailed`] when its file is not there.
    pub fn present(&self) -> Result<()> {
        if !self.absent {
            return Ok(());
        }
        let text = format!(
            "the embedded catalogue {} is not there: it was lost, or nothing was published to it yet",
            self.path().display()
        );
        Err(Error::new(ErrorKind::CatalogueFailed, text))
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn failure(&self, error: impl Into<redb::Error>) -> Error {
        self.file.failed(error)
    }

    fn begin_read(&self) -> Result<redb::ReadTransaction> {
        self.file.begin_read()
    }
}

impl Target for EmbeddedCatalogue {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_changes: self.options.max_changes,
            max_bytes: 24 << 20,
            atomic: true,
            tracks_plans: true,
            // Nothing takes effect behind a call that came back.
            request_limit: Duration::ZERO,
        }
    }

    fn identity(&self) -> Result<String> {
        self.present()?;
        self.file.identity()
    }

    fn apply(&self, operation: &Operation) -> Result<Outcomes> {
        self.guarded(|catalogue| apply::apply(catalogue, operation))
    }

    fn describe(&self, operation: &Operation) -> String {
        let body = wire::operation(operation, self.options.deletion).unwrap_or_default();
        format!("operation {}\n\n{}", wire::idempotency_key(operation), String::from_utf8_lossy(&body))
    }

    fn read(&self, keys: &[Key]) -> Result<Vec<Option<TargetValue>>> {
        self.present()?;
        self.guarded(|catalogue| read::values(catalogue, keys))
    }

    fn health(&self) -> Result<()> {
        self.present()?;
        self.guarded(|catalogue| catalogue.begin_read().map(|_| ()))
    }

    fn last_plan(&self, source: &SourceId) -> Result<Option<PlanId>> {
        self.guarded(|catalogue| read::last_plan(catalogue, source))
    }

    fn forget_operations(&self, plan: &PlanId) -> Result<()> {
        self.guarded(|catalogue| apply::forget(catalogue, plan))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::Database;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_file_that_was_opened_is_not_read_as_a_whole_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.redb");
        let clock = Arc::new(ManualClock::new("2026-11-24T12:00:00Z".parse().unwrap(), 7));
        // New, and opened again: as a kill at that moment would leave it.
        for time in ["made", "opened again"] {
            let _open = EmbeddedCatalogue::open(&path, EmbeddedOptions::default(), clock.clone()).unwrap();
            let copy = folder.path().join(time);
            std::fs::copy(&path, &copy).unwrap();
            let repaired = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&repaired);
            let mut builder = Database::builder();
            builder.set_repair_callback(move |_| seen.store(true, Ordering::Relaxed));
            drop(builder.open(&copy).unwrap());
            assert!(!repaired.load(Ordering::Relaxed), "{time}");
        }
    }
}
