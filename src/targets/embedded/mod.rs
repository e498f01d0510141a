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
mod hand_over;
mod lineage;
mod look_ahead;
mod read;
mod row;
mod search;
mod sort;
mod tables;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable};

pub use around::{Edge, HistoryPage, Neighbourhood, Node, RelationshipPage};
pub use lineage::{Lineage, LineageNode, LineageQuery};
pub use read::{Direction, EntityView, HistoryView, Hit, Origin, RelationshipView, SearchPage, SearchQuery};
pub use search::behind::Following;
pub use search::find::{
    FindHit, FindOrder, FindPage, FindQuery, MAX_OFFSET, MAX_PAGE, Matched, TextRange, TypeCount,
};

use self::search::Search;
use super::{Capabilities, Operation, Outcomes, Target, TargetValue};
use crate::clock::Clock;
use crate::domain::ids::{PlanId, SourceId};
use crate::domain::key::Key;
use crate::domain::settings::Deletion;
use crate::error::{Error, ErrorKind, Result};
use crate::page_cache;

/// How the catalogue is opened.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedOptions {
    /// What a deletion means.
    pub deletion: Deletion,
    /// Bytes that redb may keep in memory at most.
    pub cache_bytes: usize,
    /// Versions kept of each entity or relationship, besides the present one.
    pub history: u32,
    /// Most changes of an operation.
    pub max_changes: usize,
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
            search_memory: 32 << 20,
        }
    }
}

/// The catalogue.
pub struct EmbeddedCatalogue {
    db: Database,
    path: PathBuf,
    options: EmbeddedOptions,
    clock: Arc<dyn Clock>,
    identity: String,
    failed: AtomicBool,
    search: Search,
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
        let cache = page_cache::bytes_for(path, options.cache_bytes);
        let db = Database::builder().set_cache_size(cache).create(path).map_err(|e| match e {
            redb::DatabaseError::DatabaseAlreadyOpen => {
                Error::new(ErrorKind::StoreInUse, format!("{} is held by another process", path.display()))
            }
            redb::DatabaseError::UpgradeRequired(version) => Error::new(
                ErrorKind::StoreNewer,
                format!("{} has redb's file format {version}", path.display()),
            ),
            other => failure(path, other),
        })?;
        let identity = prepare(&db, path, &*clock)?;
        let search = Search::new(path, options.search_memory);
        let failed = AtomicBool::new(false);
        Ok(Self { db, path: path.into(), options, clock, identity, failed, search })
    }

    /// A failure of the file. redb answers nothing behind one of the disk.
    fn failure(&self, error: impl Into<redb::Error>) -> Error {
        self.failed.store(true, Ordering::Release);
        failure(&self.path, error)
    }

    fn begin_read(&self) -> Result<redb::ReadTransaction> {
        self.db.begin_read().map_err(|e| failure(&self.path, e))
    }
}

fn failure(path: &Path, error: impl Into<redb::Error>) -> Error {
    let error: redb::Error = error.into();
    let full = matches!(&error, redb::Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull);
    let kind = if full { ErrorKind::DiskFull } else { ErrorKind::CatalogueFailed };
    Error::new(kind, format!("the embedded catalogue {}", path.display())).caused_by(error)
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
        Ok(self.identity.clone())
    }

    fn apply(&self, operation: &Operation) -> Result<Outcomes> {
        apply::apply(self, operation)
    }

    fn read(&self, keys: &[Key]) -> Result<Vec<Option<TargetValue>>> {
        read::values(self, keys)
    }

    fn health(&self) -> Result<()> {
        if self.failed.load(Ordering::Acquire) {
            let text =
                format!("the embedded catalogue {} failed before; start Tidegate again", self.path.display());
            return Err(Error::new(ErrorKind::CatalogueFailed, text));
        }
        self.begin_read().map(|_| ())
    }

    fn last_plan(&self, source: &SourceId) -> Result<Option<PlanId>> {
        read::last_plan(self, source)
    }

    fn forget_operations(&self, plan: &PlanId) -> Result<()> {
        apply::forget(self, plan)
    }
}

#[cfg(test)]
mod tests {

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
