//! The redb file of the catalogue. redb answers nothing behind an error of the
//! disk until the file is opened again; that is done here, so that a disk that
//! was full for a while needs no restart of the program.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::prepare::prepare;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::page_cache::{Part, bytes_for};
use crate::panics;
use crate::whole_file;

/// See the head of this file.
pub(super) struct CatalogueFile {
    path: PathBuf,
    cache_bytes: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// Whether the file can be used.
enum State {
    Open(Opened),
    /// It is to be opened again.
    Failed(Failed),
}

/// An open file.
#[derive(Clone)]
struct Opened {
    db: Arc<Database>,
    identity: Arc<str>,
}

/// How it failed.
struct Failed {
    kind: ErrorKind,
    text: String,
    /// What the file was like, if it is damaged: as long as it is so, opening it
    /// again would find the same, and may read all of it.
    damaged: Option<Look>,
}

/// What a file looks like from outside: its size, and when it was written.
type Look = (u64, Option<std::time::SystemTime>);

fn look(path: &Path) -> Option<Look> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.len(), meta.modified().ok()))
}

impl Failed {
    fn of(error: &Error, path: &Path) -> Self {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<redb::Error>());
        let of_disk = match cause {
            Some(redb::Error::Io(e)) => {
                !matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
            }
            Some(redb::Error::PreviousIo) => true,
            Some(_) | None => false,
        };
        let damaged = if of_disk { None } else { look(path) };
        Self { kind: error.kind(), text: error.to_string(), damaged }
    }

    fn error(&self) -> Error {
        Error::new(self.kind, self.text.clone())
    }
}

impl CatalogueFile {
    /// Opens the file, or makes an empty one. One that can't be used is opened
    /// again when something is wanted of it.
    ///
    /// # Errors
    /// [`ErrorKind::StoreInUse`] when another process has it open,
    /// [`ErrorKind::StoreNewer`] when it has a newer format.
    pub(super) fn open(path: &Path, cache_bytes: usize, clock: Arc<dyn Clock>) -> Result<Self> {
        whole_file::make(path, |new| Database::create(new).map(drop).map_err(|e| opening(new, e)))?;
        let state = match opened(path, cache_bytes, &*clock) {
            Ok(opened) => State::Open(opened),
            Err(error) if matches!(error.kind(), ErrorKind::CatalogueFailed | ErrorKind::DiskFull) => {
                tracing::debug!("{error}");
                State::Failed(Failed::of(&error, path))
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), cache_bytes, clock, state: Mutex::new(state) })
    }

    /// An empty one that lies nowhere, in place of a file that is not there.
    ///
    /// # Errors
    /// Of redb.
    pub(super) fn in_memory(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let backend = redb::backends::InMemoryBackend::new();
        let db = Database::builder().create_with_backend(backend).map_err(|e| failure(path, e))?;
        let identity = prepare(&db, path, &*clock)?.into();
        let state = Mutex::new(State::Open(Opened { db: Arc::new(db), identity }));
        Ok(Self { path: path.to_owned(), cache_bytes: 0, clock, state })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A text that is the same as long as the file is.
    ///
    /// # Errors
    /// As [`CatalogueFile::opened`].
    pub(super) fn identity(&self) -> Result<String> {
        Ok(self.opened()?.identity.to_string())
    }

    /// The file, opened again if it failed before.
    ///
    /// # Errors
    /// As [`CatalogueFile::open`]. How it failed, as long as somebody still
    /// reads what was open then, or it is damaged and as it was.
    fn opened(&self) -> Result<Opened> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = match &*state {
            State::Open(opened) => return Ok(opened.clone()),
            State::Failed(failed) => failed,
        };
        if failed.damaged.is_some() && failed.damaged == look(&self.path) {
            return Err(failed.error());
        }
        // Not made anew: what was published is in it, or nowhere.
        match opened(&self.path, self.cache_bytes, &*self.clock) {
            Ok(opened) => {
                tracing::info!(path = %self.path.display(), "the embedded catalogue was opened again");
                *state = State::Open(opened.clone());
                Ok(opened)
            }
            // This process holds it: a transaction from before has not ended.
            Err(error) if error.kind() == ErrorKind::StoreInUse => {
                let text =
                    format!("the embedded catalogue {} failed, and is opened again", self.path.display());
                Err(Error::new(failed.kind, text))
            }
            Err(error) => {
                *state = State::Failed(Failed::of(&error, &self.path));
                Err(error)
            }
        }
    }

    /// Begins to read.
    ///
    /// # Errors
    /// As [`CatalogueFile::opened`], and of the file.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction> {
        self.opened()?.db.begin_read().map_err(|e| self.failed(e))
    }

    /// Begins to read what was committed before, while a write transaction is
    /// open: the file can't be opened again then.
    ///
    /// # Errors
    /// Of the file.
    pub(super) fn begin_read_beside(&self) -> std::result::Result<ReadTransaction, redb::Error> {
        let db = match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open(opened) => Arc::clone(&opened.db),
            State::Failed(_) => return Err(redb::Error::PreviousIo),
        };
        Ok(db.begin_read()?)
    }

    /// Begins to write.
    ///
    /// # Errors
    /// As [`CatalogueFile::opened`], and of the file.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction> {
        self.opened()?.db.begin_write().map_err(|e| self.failed(e))
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
                *state = State::Failed(Failed { kind: error.kind(), text: error.to_string(), damaged: None });
            }
        }
        error
    }
}

/// Opens a file that is there, and prepares it.
fn opened(path: &Path, cache_bytes: usize, clock: &dyn Clock) -> Result<Opened> {
    unharmed(path, || {
        let db = Database::builder().set_cache_size(bytes_for(path, Part::Inner, cache_bytes)).open(path);
        let db = db.map_err(|e| opening(path, e))?;
        let identity = prepare(&db, path, clock)?.into();
        Ok(Opened { db: Arc::new(db), identity })
    })
}

/// Runs what uses a file.
///
/// # Errors
/// [`ErrorKind::CatalogueFailed`] when it is damaged in a way that redb takes for
/// impossible, and panics about; else those of `use_it`.
pub(super) fn unharmed<T>(path: &Path, use_it: impl FnOnce() -> Result<T>) -> Result<T> {
    panics::caught(use_it).unwrap_or_else(|| {
        let text = format!("the embedded catalogue {}: what it holds contradicts itself", path.display());
        Err(Error::new(ErrorKind::CatalogueFailed, text))
    })
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
