//! The redb file of the catalogue. redb answers nothing behind an error of the
//! disk until the file is opened again; that is done here, so that a disk that
//! was full for a while needs no restart of the program.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::error::{Error, ErrorKind, Result};
use crate::page_cache::{Part, bytes_for};
use crate::whole_file;

/// See the head of this file.
pub(super) struct CatalogueFile {
    path: PathBuf,
    cache_bytes: usize,
    state: Mutex<State>,
}

/// Whether the file can be used.
enum State {
    Open(Arc<Database>),
    /// It failed in this way, and is to be opened again.
    Failed(ErrorKind),
}

impl CatalogueFile {
    /// Opens the file, or makes an empty one.
    ///
    /// # Errors
    /// [`ErrorKind::StoreInUse`] when another process has it open,
    /// [`ErrorKind::StoreNewer`] when it has a newer format of redb's.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self> {
        whole_file::make(path, |new| Database::create(new).map(drop).map_err(|e| opening(new, e)))?;
        let db = Database::builder().set_cache_size(bytes_for(path, Part::Inner, cache_bytes)).open(path);
        let db = db.map_err(|e| opening(path, e))?;
        Ok(Self { path: path.to_owned(), cache_bytes, state: Mutex::new(State::Open(Arc::new(db))) })
    }

    /// An empty one that lies nowhere, in place of a file that is not there.
    ///
    /// # Errors
    /// Of redb.
    pub(super) fn in_memory(path: &Path) -> Result<Self> {
        let backend = redb::backends::InMemoryBackend::new();
        let db = Database::builder().create_with_backend(backend).map_err(|e| failure(path, e))?;
        Ok(Self { path: path.to_owned(), cache_bytes: 0, state: Mutex::new(State::Open(Arc::new(db))) })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, opened again if it failed before.
    ///
    /// # Errors
    /// As [`CatalogueFile::open`]. How it failed, as long as somebody still
    /// reads what was open then.
    pub(super) fn db(&self) -> Result<Arc<Database>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = match &*state {
            State::Open(db) => return Ok(Arc::clone(db)),
            State::Failed(kind) => *kind,
        };
        // Not made anew: what was published is in it, or nowhere.
        let cache = bytes_for(&self.path, Part::Inner, self.cache_bytes);
        let again = Database::builder().set_cache_size(cache).open(&self.path);
        match again.map_err(|e| opening(&self.path, e)) {
            Ok(db) => {
                tracing::info!(path = %self.path.display(), "the embedded catalogue was opened again");
                let db = Arc::new(db);
                *state = State::Open(Arc::clone(&db));
                Ok(db)
            }
            // This process holds it: a transaction from before has not ended.
            Err(error) if error.kind() == ErrorKind::StoreInUse => {
                let text =
                    format!("the embedded catalogue {} failed, and is opened again", self.path.display());
                Err(Error::new(kind, text))
            }
            Err(error) => Err(error),
        }
    }

    /// Begins to read.
    ///
    /// # Errors
    /// As [`CatalogueFile::db`], and of the file.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction> {
        self.db()?.begin_read().map_err(|e| self.failed(e))
    }

    /// Begins to read what was committed before, while a write transaction is
    /// open: the file can't be opened again then.
    ///
    /// # Errors
    /// Of the file.
    pub(super) fn begin_read_beside(&self) -> std::result::Result<ReadTransaction, redb::Error> {
        let db = match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open(db) => Arc::clone(db),
            State::Failed(_) => return Err(redb::Error::PreviousIo),
        };
        Ok(db.begin_read()?)
    }

    /// Begins to write.
    ///
    /// # Errors
    /// As [`CatalogueFile::db`], and of the file.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction> {
        self.db()?.begin_write().map_err(|e| self.failed(e))
    }

    /// The error of a failure of the file. Behind one of the disk the file is
    /// opened again.
    pub(super) fn failed(&self, error: impl Into<redb::Error>) -> Error {
        let error: redb::Error = error.into();
        let of_disk = matches!(&error, redb::Error::Io(_) | redb::Error::PreviousIo);
        let error = failure(&self.path, error);
        if of_disk {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let State::Open(_) = &*state {
                *state = State::Failed(error.kind());
            }
        }
        error
    }
}

fn opening(path: &Path, error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => {
            Error::new(ErrorKind::StoreInUse, format!("{} is held by another process", path.display()))
        }
        DatabaseError::UpgradeRequired(version) => {
            Error::new(ErrorKind::StoreNewer, format!("{} has redb's file format {version}", path.display()))
        }
        other => failure(path, other),
    }
}

/// What a failure of the file at `path` is told as.
pub(super) fn failure(path: &Path, error: impl Into<redb::Error>) -> Error {
    let error: redb::Error = error.into();
    let full = matches!(&error, redb::Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull);
    let kind = if full { ErrorKind::DiskFull } else { ErrorKind::CatalogueFailed };
    Error::new(kind, format!("the embedded catalogue {}", path.display())).caused_by(error)
}
