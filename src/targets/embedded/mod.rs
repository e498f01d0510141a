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
mod read;
mod row;
mod search;
mod sort;
mod tables;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable};

pub use around::{Edge, HistoryPage, Neighbourhood, Node, RelationshipPage};
pub use lineage::{Lineage, LineageNode, LineageQuery};
pub use read::{Direction, EntityView, HistoryView, Hit, Origin, RelationshipView, SearchPage, SearchQuery};
pub use search::behind::Following;
pub use search::find::{
    FindHit, FindOrder, FindPage, FindQuery, MAX_OFFSET, MAX_PAGE, Matched, TextRange, TypeCount,
};

use self::file::{CatalogueFile, failure};
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
    identity: String,
    search: Search,
    /// Whether its file is not there, and it is empty for that.
    absent: bool,
}

const FORMAT_VERSION: u32 = 1;

impl EmbeddedCatalogue {
    /// Opens the catalogue, or makes an empty one.
    ///
    /// # Errors
    /// [`ErrorKind::StoreInUse`] when another process has it open,
    /// [`ErrorKind::StoreNewer`] when a newer version wrote it.
    pub fn open(path: &Path, options: EmbeddedOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        }
        unharmed(path, || {
            Self::prepared(CatalogueFile::open(path, options.cache_bytes)?, options, clock, false)
        })
    }

    /// Runs what uses its file.
    ///
    /// # Errors
    /// [`ErrorKind::CatalogueFailed`] when it is damaged in a way that redb takes
    /// for impossible, and panics about; else those of `use_it`.
    pub fn guarded<T>(&self, use_it: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        unharmed(self.path(), || use_it(self))
    }

    /// Opens the catalogue to look at. Where its file is not there none is
    /// made: the catalogue is empty, and says so when it is asked.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn look(path: &Path, options: EmbeddedOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        if crate::whole_file::is_made(path)? {
            return Self::open(path, options, clock);
        }
        Self::prepared(CatalogueFile::in_memory(path)?, options, clock, true)
    }

    fn prepared(
        file: CatalogueFile,
        options: EmbeddedOptions,
        clock: Arc<dyn Clock>,
        absent: bool,
    ) -> Result<Self> {
        let identity = prepare(&*file.db()?, file.path(), &*clock)?;
        let search = Search::new(file.path(), options.search_memory);
        Ok(Self { file, options, clock, identity, search, absent })
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

fn unharmed<T>(path: &Path, use_it: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(use_it)).unwrap_or_else(|_| {
        let text = format!("the embedded catalogue {}: what it holds contradicts itself", path.display());
        Err(Error::new(ErrorKind::CatalogueFailed, text))
    })
}

/// The identity of a file that needs no preparing: of the present format and
/// with every table.
fn ready(db: &Database) -> std::result::Result<Option<String>, redb::Error> {
    use redb::TableHandle;
    let tx = db.begin_read()?;
    let names: Vec<String> = tx.list_tables()?.map(|table| table.name().to_owned()).collect();
    if !tables::names().iter().all(|table| names.iter().any(|name| name == table)) {
        return Ok(None);
    }
    let meta = tx.open_table(tables::META)?;
    let found = |name: &str| -> std::result::Result<Option<String>, redb::Error> {
        Ok(meta.get(name.as_bytes())?.map(|value| String::from_utf8_lossy(value.value()).into_owned()))
    };
    if found("format")? != Some(FORMAT_VERSION.to_string()) {
        return Ok(None);
    }
    found("identity")
}

fn prepare(db: &Database, path: &Path, clock: &dyn Clock) -> Result<String> {
    let fail = |e: redb::Error| failure(path, e);
    // A commit that changes nothing would still cost its syncs.
    if let Some(identity) = ready(db).map_err(fail)? {
        return Ok(identity);
    }
    let mut tx = db.begin_write().map_err(|e| fail(e.into()))?;
    // Else a file whose process is killed before the first operation would be
    // read as a whole at the next start.
    tx.set_quick_repair(true);
    let identity = {
        let mut meta = tx.open_table(tables::META).map_err(|e| fail(e.into()))?;
        let found = |name: &str| -> Result<Option<String>> {
            let value = meta.get(name.as_bytes()).map_err(|e| fail(e.into()))?;
            Ok(value.map(|value| String::from_utf8_lossy(value.value()).into_owned()))
        };
        match found("format")? {
            Some(version) => {
                if version.parse::<u32>().is_ok_and(|version| version <= FORMAT_VERSION) {
                    found("identity")?.unwrap_or_default()
                } else {
                    let text = format!(
                        "{} has format {version}, this program knows up to {FORMAT_VERSION}",
                        path.display()
                    );
                    return Err(Error::new(ErrorKind::StoreNewer, text));
                }
            }
            None => {
                let identity = format!("embedded:{:016x}{:016x}", clock.random(), clock.random());
                let version = FORMAT_VERSION.to_string();
                for (name, value) in [("format", &version), ("identity", &identity)] {
                    meta.insert(name.as_bytes(), value.as_bytes()).map_err(|e| fail(e.into()))?;
                }
                identity
            }
        }
    };
    tables::create_all(&tx).map_err(fail)?;
    tx.commit().map_err(|e| fail(e.into()))?;
    Ok(identity)
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
        Ok(self.identity.clone())
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
