//! Opening the store: the data directory, its lock, the format's version.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use redb::{Database, DatabaseError};

use super::failure::OnFailure;
use super::index::{INDEX_ROW, INDEX_VERSION, rebuild};
use super::outbox::{Outlet, Outlets};
use super::tables::Table;
use super::touched::{OnChange, Touched};
use super::tx::{Read, Tx, View, failed, is_io};
use super::writer::{AfterCommit, Job, Writer};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::page_cache;
use crate::panics;
use crate::whole_file;

/// Version of the file that this version of the program writes.
pub const FORMAT_VERSION: u32 = 1;
/// The store's file.
pub const FILE: &str = "tidegate.redb";
const PID_FILE: &str = "tidegate.pid";
/// The row of [`Table::Meta`] that a store has as long as it is recovered.
const RECOVERS: &[u8] = b"recovers";

/// How the store is opened.
#[derive(Clone)]
pub struct StoreOptions {
    /// Bytes that redb may keep in memory at most.
    pub cache_bytes: usize,
    /// Called after each durable commit, before anyone who waits for it goes on.
    pub after_commit: Option<AfterCommit>,
    /// Hears what commits change.
    pub on_change: Option<OnChange>,
    /// Hears, once, that the file failed.
    pub on_failure: Option<OnFailure>,
    /// Id of the data directory whose store was lost and is made anew: it is of no use
    /// to anybody else until [`Store::end_recovery`] says so. What a recovery that did
    /// not come to its end has left is emptied first.
    pub recovers: Option<String>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20, after_commit: None, on_change: None, on_failure: None, recovers: None }
    }
}

/// The store.
pub struct Store {
    db: Arc<Database>,
    writer: Writer,
    outlets: Arc<Outlets>,
    owner: String,
    pid_file: PathBuf,
}

impl Store {
    /// Opens the store in `folder`, which is made if it is not there (mode 0700).
    ///
    /// # Errors
    /// [`ErrorKind::StoreInUse`] when another process holds it,
    /// [`ErrorKind::StoreNewer`] when a newer version wrote it,
    /// [`ErrorKind::StateForeign`] when its recovery did not come to its end,
    /// [`ErrorKind::Conflict`] when it is to be recovered and is there.
    pub fn open(folder: &Path, options: StoreOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        if !folder.exists() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|e| Error::io(folder, e))?;
        }
        own(folder)?;
        let path = folder.join(FILE);
        let pid_file = folder.join(PID_FILE);
        let cache = page_cache::bytes_for(&path, page_cache::Part::Quarter, options.cache_bytes);
        let recovers = options.recovers.as_deref();
        // What redb takes for impossible in a damaged file it panics about.
        let opened = panics::caught(|| {
            whole_file::make(&path, |new| {
                let db = Database::builder().create(new).map_err(|error| refused(error, new, &pid_file))?;
                prepare(&db, new, &*clock, recovers).map(drop)
            })?;
            let db = Database::builder().set_cache_size(cache).open(&path);
            let db = db.map_err(|error| refused(error, &path, &pid_file))?;
            let prepared =
                fitting(&db, &path, recovers.is_some()).and_then(|()| prepare(&db, &path, &*clock, recovers));
            let owner = prepared.map_err(|error| damaged(error, &path))?;
            Ok((db, owner))
        });
        let (db, owner) = opened.unwrap_or_else(|| {
            let text = format!("{}: what it holds contradicts itself", path.display());
            Err(Error::new(ErrorKind::StoreDamaged, text))
        })?;
        let db = Arc::new(db);
        // Only to be shown; the lock is redb's.
        let _ = std::fs::write(&pid_file, std::process::id().to_string());
        let outlets = Arc::<Outlets>::default();
        let (after, on_change) = (options.after_commit, options.on_change);
        let on_failure = options.on_failure;
        let writer =
            Writer::start(Arc::clone(&db), clock, after, on_change, on_failure, Arc::clone(&outlets))?;
        Ok(Self { db, writer, outlets, owner, pid_file })
    }

    /// The id of the data directory: 32 hex digits, drawn when it was made.
    pub fn owner_id(&self) -> &str {
        &self.owner
    }

    /// Says that it was recovered to its end.
    ///
    /// # Errors
    /// Those of the file.
    pub fn end_recovery(&self) -> Result<()> {
        self.write(|tx| {
            tx.remove(Table::Meta, RECOVERS.to_vec());
            Ok(())
        })
    }

    pub(super) fn outlets(&self) -> &Outlets {
        &self.outlets
    }

    /// Says who wants to hear of what happens from now on.
    pub fn set_outlets(&self, outlets: Vec<Outlet>) {
        self.outlets.set(outlets);
    }

    /// Says where the pages are that messages lead to, such as
    /// `http://127.0.0.1:8484`.
    pub fn set_address(&self, address: String) {
        self.outlets.set_address(address);
    }

    /// Whether the file failed: the process should end and be started again.
    pub fn failed(&self) -> bool {
        self.failure().is_some()
    }

    /// The first failure of the file.
    pub fn failure(&self) -> Option<Error> {
        self.writer.failure().first()
    }

    /// Runs `f` in a transaction that is durable when this returns. An error
    /// of `f` leaves no trace.
    pub fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.send(f, false)
    }

    /// The same for one that writes much: it has its commit for itself, and may
    /// [`Tx::spill`] what it writes, so that memory is bounded.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_much<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.send(f, true)
    }

    fn send<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
        is_large: bool,
    ) -> Result<T> {
        let (sender, answer) = sync_channel(1);
        let job = Closure { f: Some(f), is_large, value: None, touched: Vec::new(), sender };
        self.writer.send(Box::new(job))?;
        answer.recv().unwrap_or_else(|_| Err(self.writer.gone()))
    }

    /// Runs `f` on a consistent view.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFailed`] after the first failure of the file; else
    /// that of `f`.
    pub fn read<T>(&self, f: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        use redb::ReadableDatabase;
        // Pages in the cache could still be read, but would soon be out of date.
        if let Some(error) = self.writer.failure().error() {
            return Err(error);
        }
        let result = self.db.begin_read().map_err(failed).and_then(|tx| f(&View::new(&tx)));
        if let Err(error) = &result
            && is_io(error)
        {
            self.writer.failure().met(&error.to_string());
        }
        result
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

/// Makes the data directory its owner's alone.
fn own(folder: &Path) -> Result<()> {
    let mode = std::fs::metadata(folder).map_err(|e| Error::io(folder, e))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if mode & 0o1000 != 0 {
        let text = format!(
            "{} is shared with others, such as /tmp is; a data directory is its owner's alone: name one below it",
            folder.display()
        );
        return Err(Error::new(ErrorKind::Settings, text));
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(|e| {
        let error = Error::io(folder, e);
        error.context(format!("{} can't be made its owner's alone (mode 0700)", folder.display()))
    })
}

/// Whether `folder` has a store. A file without a byte is one that was never
/// written, or of which nothing is left.
pub fn is_there(folder: &Path) -> bool {
    // What can't be read is told of by whoever opens it.
    whole_file::is_made(&folder.join(FILE)).unwrap_or(true)
}

/// Why a file could not be opened.
fn refused(error: DatabaseError, path: &Path, pid_file: &Path) -> Error {
    let folder = path.parent().unwrap_or(path).display();
    match error {
        DatabaseError::DatabaseAlreadyOpen => {
            let holder = std::fs::read_to_string(pid_file).unwrap_or_default();
            let holder = if holder.trim().is_empty() {
                "another process".into()
            } else {
                format!("process {}", holder.trim())
            };
            Error::new(ErrorKind::StoreInUse, format!("{folder} is held by {holder}"))
        }
        DatabaseError::UpgradeRequired(version) => {
            Error::new(ErrorKind::StoreNewer, format!("{} has redb's file format {version}", path.display()))
        }
        other => damaged(failed(other), path),
    }
}

/// Tells a file that is damaged, or none of redb's, from one that can't be
/// read just now.
fn damaged(error: Error, path: &Path) -> Error {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<redb::Error>());
    let is_damaged = match cause {
        Some(redb::Error::Corrupted(_)) => true,
        Some(redb::Error::Io(e)) => [InvalidData, UnexpectedEof].contains(&e.kind()),
        Some(_) | None => false,
    };
    if !is_damaged {
        return error;
    }
    let text = format!("{}: {}", path.display(), error.causes().join(": "));
    Error::new(ErrorKind::StoreDamaged, text)
}

struct Closure<T, F> {
    f: Option<F>,
    is_large: bool,
    value: Option<Result<T>>,
    touched: Vec<Touched>,
    sender: SyncSender<Result<T>>,
}

impl<T: Send, F: FnOnce(&mut Tx<'_>) -> Result<T> + Send> Job for Closure<T, F> {
    fn is_large(&self) -> bool {
        self.is_large
    }

    fn run(&mut self, mut tx: Tx<'_>) -> Result<bool> {
        let Some(f) = self.f.take() else { return Ok(false) };
        let value = f(&mut tx);
        // The closure's own error concerns its caller alone; one of applying
        // its changes concerns the file.
        let keep = value.is_ok();
        self.value = Some(value);
        if keep {
            self.touched = tx.touched();
            tx.apply()?;
        }
        Ok(keep)
    }

    fn touched(&mut self) -> Vec<Touched> {
        std::mem::take(&mut self.touched)
    }

    fn done(self: Box<Self>, commit: Option<Error>) {
        let value = match (commit, self.value) {
            (None, Some(value)) => value,
            (None, None) => Err(Error::internal("a write was not run")),
            (Some(error), _) => Err(error),
        };
        // Whoever asked may have gone.
        let _ = self.sender.send(value);
    }
}

/// The owner of a file that needs no preparing: of the present format, with
/// every table and the present index.
fn ready(db: &Database) -> Result<Option<String>> {
    use redb::{ReadableDatabase, TableHandle};
    let tx = db.begin_read().map_err(failed)?;
    let tables: Vec<String> =
        tx.list_tables().map_err(failed)?.map(|table| table.name().to_owned()).collect();
    if !Table::ALL.iter().all(|table| tables.iter().any(|name| name == table.name())) {
        return Ok(None);
    }
    let view = View::new(&tx);
    let format = view.get(Table::Meta, b"format")?;
    let index = view.get(Table::Meta, INDEX_ROW)?;
    if format.as_deref() != Some(FORMAT_VERSION.to_string().as_bytes())
        || index.as_deref() != Some(INDEX_VERSION)
    {
        return Ok(None);
    }
    Ok(view.get(Table::Meta, b"owner")?.map(|owner| String::from_utf8_lossy(&owner).into_owned()))
}

/// Tells half a recovery from a whole store: the mark is in the file, so that it goes
/// with it, and a file that takes its place has none.
///
/// # Errors
/// As [`Store::open`].
fn fitting(db: &Database, path: &Path, recovers: bool) -> Result<()> {
    use redb::{ReadableDatabase, TableHandle};
    let tx = db.begin_read().map_err(failed)?;
    let has_meta = tx.list_tables().map_err(failed)?.any(|table| table.name() == Table::Meta.name());
    let is_half = has_meta && View::new(&tx).get(Table::Meta, RECOVERS)?.is_some();
    match (is_half, recovers) {
        (true, false) => {
            let text = format!("{}: its recovery has not come to its end", path.display());
            Err(Error::new(ErrorKind::StateForeign, text).with_action(
                "Run `tidegate recover --state DIR` again, which begins anew; or put a backup of that file in its place. To begin without what was published, move it and the state folder away.",
            ))
        }
        (false, true) => {
            let text = format!(
                "{} is there: recover makes a new one. If it can't be opened, move it away first",
                path.display()
            );
            Err(Error::new(ErrorKind::Conflict, text))
        }
        (true, true) | (false, false) => Ok(()),
    }
}

/// Makes the tables of a new file, or anew those of one that `recovers`, and looks at
/// the version of an old one.
fn prepare(db: &Database, path: &Path, clock: &dyn Clock, recovers: Option<&str>) -> Result<String> {
    // A commit that changes nothing would still cost its syncs.
    if recovers.is_none()
        && let Some(owner) = ready(db)?
    {
        return Ok(owner);
    }
    let mut tx = db.begin_write().map_err(failed)?;
    // The last commit decides how long a file takes to open after a kill: one
    // without this would undo what all the others did.
    tx.set_quick_repair(true);
    if recovers.is_some() {
        for table in Table::ALL {
            tx.delete_table(table.definition()).map_err(failed)?;
        }
    }
    let nobody = Outlets::default();
    let mut changes = Tx::large(&tx, clock.now(), &nobody);
    let owner = match changes.get(Table::Meta, b"format")? {
        Some(version) => {
            let text = String::from_utf8_lossy(&version).into_owned();
            let version: u32 = text.parse().unwrap_or(u32::MAX);
            if version > FORMAT_VERSION {
                let text = format!(
                    "{} has format {text}, this program knows up to {FORMAT_VERSION}",
                    path.display()
                );
                return Err(Error::new(ErrorKind::StoreNewer, text));
            }
            let owner = changes.get(Table::Meta, b"owner")?.unwrap_or_default();
            String::from_utf8_lossy(&owner).into_owned()
        }
        None => {
            let drawn = || format!("{:016x}{:016x}", clock.random(), clock.random());
            let owner = recovers.map_or_else(drawn, str::to_owned);
            if recovers.is_some() {
                changes.put(Table::Meta, RECOVERS.to_vec(), Vec::new());
            }
            changes.put(Table::Meta, b"format".to_vec(), FORMAT_VERSION.to_string().into_bytes());
            changes.put(Table::Meta, b"owner".to_vec(), owner.clone().into_bytes());
            owner
        }
    };
    if changes.get(Table::Meta, INDEX_ROW)?.as_deref() != Some(INDEX_VERSION) {
        rebuild(&mut changes)?;
    }
    changes.apply()?;
    for table in Table::ALL {
        tx.open_table(table.definition()).map_err(failed)?;
    }
    tx.commit().map_err(failed)?;
    Ok(owner)
}
