//! The redb file of the catalogue. redb answers nothing behind an error of the
//! disk until the file is opened again; that is done here, so that a disk that
//! was full for a while needs no restart of the program.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

/// Goes over to another state. Closing a damaged file, redb may panic.
fn let_go(state: &mut State, next: State) {
    let before = std::mem::replace(state, next);
    let _ = panics::caught(|| drop(before));
}

/// An open file.
#[derive(Clone)]
struct Opened {
    db: Arc<Database>,
    identity: Arc<str>,
    /// Which file it is; `None` of one that lies nowhere.
    is: Option<FileId>,
}

/// How it failed.
struct Failed {
    kind: ErrorKind,
    text: String,
    /// What the file was like.
    was: Was,
    /// What it is like since, and since when: it may be being written.
    since: Option<(Look, Duration)>,
}

/// What a file was like that could not be opened, as far as that says when to try
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    /// It may be well by now.
    Unwell,
    /// Damaged: as long as it is as it was, opening it again would find the same, and
    /// may read all of it.
    Damaged(Look),
    /// Not there. What comes in its place may be on its way.
    Away,
    /// It could not be made, and nothing was ever in it.
    Unmade,
}

/// A file on its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

/// What a file looks like from outside: which one it is, its size, and when it was
/// written and changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    is: FileId,
    bytes: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// For so long a file that is another one in its place must stay as it is before it
/// is opened: it may be on its way back from a backup.
const STILL: Duration = Duration::from_secs(3);

#[cfg(unix)]
fn look(path: &Path) -> Option<Look> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    Some(Look {
        is: FileId(meta.dev(), meta.ino()),
        bytes: meta.len(),
        written: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

#[cfg(not(unix))]
fn look(path: &Path) -> Option<Look> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Look { is: FileId(0, 0), bytes: meta.len(), written: (0, 0), changed: (0, 0) })
}

impl Failed {
    fn new(error: &Error, was: Was) -> Self {
        Self { kind: error.kind(), text: error.to_string(), was, since: None }
    }

    /// Of a file that could not be opened.
    fn opening(error: &Error, path: &Path) -> Self {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<redb::Error>());
        let of_disk = match cause {
            Some(redb::Error::Io(e)) => {
                !matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
            }
            Some(redb::Error::PreviousIo) => true,
            Some(_) | None => false,
        };
        let was = match look(path) {
            None => Was::Away,
            Some(_) if of_disk => Was::Unwell,
            Some(look) => Was::Damaged(look),
        };
        Self::new(error, was)
    }

    fn error(&self) -> Error {
        Error::new(self.kind, self.text.clone())
    }

    /// Why the file is not to be opened now, if it is not.
    fn waits(&mut self, path: &Path, now: Duration) -> Option<Error> {
        let present = look(path)?;
        match self.was {
            Was::Unwell | Was::Unmade => return None,
            Was::Damaged(was) if present == was => return Some(self.error()),
            // What was put in its place by renaming is there as a whole.
            Was::Damaged(was) if present.is != was.is && self.since.is_none() => return None,
            Was::Damaged(_) | Was::Away => {}
        }
        let since = match self.since {
            Some((seen, since)) if seen == present => since,
            Some(_) | None => {
                self.since = Some((present, now));
                now
            }
        };
        if now.saturating_sub(since) >= STILL {
            return None;
        }
        let text = format!(
            "{}; the file was changed since, and is opened again when nothing wrote to it for {} s",
            self.text,
            STILL.as_secs()
        );
        Some(Error::new(self.kind, text))
    }
}

impl Drop for CatalogueFile {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let_go(state, State::Failed(Failed::new(&lost(&self.path), Was::Away)));
    }
}

impl CatalogueFile {
    /// Opens the file, or with `make` makes an empty one. One that can't be used is
    /// opened again when something is wanted of it.
    ///
    /// # Errors
    /// [`ErrorKind::StoreInUse`] when another process has it open,
    /// [`ErrorKind::StoreNewer`] when it has a newer format.
    pub(super) fn open(path: &Path, cache_bytes: usize, make: bool, clock: Arc<dyn Clock>) -> Result<Self> {
        let made = if make { made(path) } else { Ok(()) };
        let state = match made {
            Err(error) => State::Failed(Failed::new(&error, Was::Unmade)),
            Ok(()) if look(path).is_none() => State::Failed(Failed::new(&lost(path), Was::Away)),
            Ok(()) => match opened(path, cache_bytes, &*clock) {
                Ok(opened) => State::Open(opened),
                Err(error) if matches!(error.kind(), ErrorKind::StoreInUse | ErrorKind::StoreNewer) => {
                    return Err(error);
                }
                Err(error) => State::Failed(Failed::opening(&error, path)),
            },
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
        let state = Mutex::new(State::Open(Opened { db: Arc::new(db), identity, is: None }));
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
        if let State::Open(opened) = &*state {
            let is = look(&self.path).map(|look| look.is);
            if opened.is.is_none() || opened.is == is {
                return Ok(opened.clone());
            }
            // What is written to it now would be in no file that anybody finds.
            let what = if is.is_some() { "is another one" } else { "is gone" };
            let text = format!("the file of the embedded catalogue {} {what} by now", self.path.display());
            let_go(
                &mut state,
                State::Failed(Failed::new(&Error::new(ErrorKind::CatalogueFailed, text), Was::Unwell)),
            );
        }
        let State::Failed(failed) = &mut *state else {
            return Err(Error::internal("the catalogue's file is neither open nor failed"));
        };
        if let Some(error) = failed.waits(&self.path, self.clock.monotonic()) {
            return Err(error);
        }
        if failed.was == Was::Unmade {
            if let Err(error) = made(&self.path) {
                *failed = Failed::new(&error, Was::Unmade);
                return Err(error);
            }
        } else if look(&self.path).is_none() {
            // Not made anew: what was published is in it, or nowhere.
            *failed = Failed::new(&lost(&self.path), Was::Away);
            return Err(failed.error());
        }
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
                let_go(&mut state, State::Failed(Failed::opening(&error, &self.path)));
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

    /// The error of a failure of the file. Behind one of the disk, or damage, the file
    /// is opened again: it may be another one by then.
    pub(super) fn failed(&self, error: impl Into<redb::Error>) -> Error {
        let error: redb::Error = error.into();
        let is_unfit =
            matches!(&error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::Corrupted(_));
        let error = failure(&self.path, error);
        if is_unfit { self.fail(error) } else { error }
    }

    /// Has it opened again before it is used for something else.
    fn fail(&self, error: Error) -> Error {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Open(_) = &*state {
            let_go(&mut state, State::Failed(Failed::new(&error, Was::Unwell)));
        }
        error
    }

    /// Runs what uses the file.
    ///
    /// # Errors
    /// [`ErrorKind::CatalogueFailed`] when it is damaged in a way that redb takes for
    /// impossible, and panics about; else those of `use_it`.
    pub(super) fn guarded<T>(&self, use_it: impl FnOnce() -> Result<T>) -> Result<T> {
        panics::caught(use_it).unwrap_or_else(|| Err(self.fail(contradiction(&self.path))))
    }
}

/// Makes an empty file, unless there is one.
fn made(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) => std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, e)),
        None => Ok(()),
    };
    let create = |new: &Path| Database::create(new).map(drop).map_err(|e| opening(new, e));
    folder.and_then(|()| whole_file::make(path, create)).map_err(|error| {
        let kind =
            if error.kind() == ErrorKind::DiskFull { error.kind() } else { ErrorKind::CatalogueFailed };
        Error::new(kind, format!("the embedded catalogue {} can't be opened: {error}", path.display()))
    })
}

/// Opens a file that is there, and prepares it.
fn opened(path: &Path, cache_bytes: usize, clock: &dyn Clock) -> Result<Opened> {
    let open = || {
        let db = Database::builder().set_cache_size(bytes_for(path, Part::Inner, cache_bytes)).open(path);
        let db = db.map_err(|e| opening(path, e))?;
        let identity = prepare(&db, path, clock)?.into();
        Ok(Opened { db: Arc::new(db), identity, is: look(path).map(|look| look.is) })
    };
    panics::caught(open).unwrap_or_else(|| Err(contradiction(path)))
}

fn lost(path: &Path) -> Error {
    let text = format!(
        "the embedded catalogue {} is not there: it was lost, or its disk is not mounted",
        path.display()
    );
    Error::new(ErrorKind::CatalogueFailed, text)
}

fn contradiction(path: &Path) -> Error {
    let text = format!("the embedded catalogue {}: what it holds contradicts itself", path.display());
    Error::new(ErrorKind::CatalogueFailed, text)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new("2026-11-24T12:00:00Z".parse().unwrap(), 7))
    }

    fn made(path: &Path, clock: &Arc<ManualClock>) -> String {
        CatalogueFile::open(path, 1 << 20, true, clock.clone()).unwrap().identity().unwrap()
    }

    #[test]
    fn a_file_that_was_replaced_while_it_was_open_is_the_new_one_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("c.redb"), folder.path().join("other.redb"));
        let clock = clock();
        let (first, second) = (made(&path, &clock), made(&other, &clock));
        assert_ne!(first, second);
        let file = CatalogueFile::open(&path, 1 << 20, true, clock).unwrap();
        assert_eq!(file.identity().unwrap(), first);
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(file.identity().unwrap(), second);
        drop(file.begin_write().unwrap());
        // Nothing is written to a file that nobody would find.
        std::fs::remove_file(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(file.begin_write().map(drop).unwrap_err().kind(), ErrorKind::CatalogueFailed);
        }
    }

    #[test]
    fn what_could_not_be_made_is_made_when_it_can_be_and_what_is_gone_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (place, clock) = (folder.path().join("place"), clock());
        std::fs::write(&place, "in the way").unwrap();
        let path = place.join("c.redb");
        let file = CatalogueFile::open(&path, 1 << 20, true, clock.clone()).unwrap();
        for _ in 0..2 {
            let error = file.identity().unwrap_err();
            assert!(error.to_string().contains("can't be opened"), "{error}");
        }
        std::fs::remove_file(&place).unwrap();
        let identity = file.identity().unwrap();
        drop(file);
        // One that was published to comes back when it lies still.
        let away = folder.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        let file = CatalogueFile::open(&path, 1 << 20, false, clock.clone()).unwrap();
        assert!(file.identity().unwrap_err().to_string().contains("is not there"));
        assert!(!path.exists());
        std::fs::rename(&away, &path).unwrap();
        assert!(file.identity().unwrap_err().to_string().contains("the file was changed since"));
        clock.advance(STILL);
        assert_eq!(file.identity().unwrap(), identity);
    }

    #[test]
    fn closing_what_was_overwritten_while_it_was_open_is_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.redb");
        let clock = clock();
        made(&path, &clock);
        let file = CatalogueFile::open(&path, 1 << 20, true, clock).unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        std::fs::write(&path, vec![0; bytes as usize]).unwrap();
        // As redb does where it meets such a page.
        let error = file.guarded(|| -> Result<()> { panic!("impossible") }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CatalogueFailed);
        assert_eq!(file.identity().unwrap_err().kind(), ErrorKind::CatalogueFailed);
        drop(file);
    }

    #[test]
    fn a_damaged_file_is_opened_again_when_it_is_another_one_and_lies_still() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.redb");
        let clock = clock();
        let identity = made(&path, &clock);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, vec![0x82; good.len()]).unwrap();
        let file = CatalogueFile::open(&path, 1 << 20, true, clock.clone()).unwrap();
        let refused = |what: &str| {
            let error = file.identity().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CatalogueFailed);
            assert_eq!(
                error.to_string().contains("the file was changed since"),
                what == "changed",
                "{error}"
            );
        };
        refused("as it was");
        clock.advance(Duration::from_secs(60));
        refused("as it was");
        // It is on its way back, and whole by now, which nobody can know.
        std::fs::write(&path, &good[..good.len() / 2]).unwrap();
        refused("changed");
        clock.advance(Duration::from_secs(2));
        std::fs::write(&path, &good).unwrap();
        refused("changed");
        clock.advance(Duration::from_secs(2));
        refused("changed");
        clock.advance(Duration::from_secs(1));
        assert_eq!(file.identity().unwrap(), identity);
    }
}
