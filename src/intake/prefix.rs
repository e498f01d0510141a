//! A prefix that can be listed and read: a local folder, or one in an object
//! store. Only here does intake know which of them it is.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, RetryConfig};
use url::Url;

use crate::error::{Error, ErrorKind, Result};

/// An object of a batch folder, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name within the folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// What changes with its content: the store's ETag; of a local file, none
    /// but size and time.
    pub tag: String,
}

/// Something in the place of a folder or object that can't be read as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Its name, as far as it can be shown.
    pub name: String,
    /// Why.
    pub why: &'static str,
    /// When it was put there.
    pub since: Timestamp,
}

/// A prefix. Calls block; they are made from threads of their own.
pub trait Prefix: Send + Sync {
    /// Names of the folders in a folder of the prefix; `""`: in itself.
    ///
    /// # Errors
    /// When it can't be listed. A folder that is not there is empty.
    fn folders(&self, folder: &str) -> Result<Vec<String>>;

    /// The objects that lie in a folder, by name.
    ///
    /// # Errors
    /// As [`Self::folders`].
    fn objects(&self, folder: &str) -> Result<Vec<Object>>;

    /// What lies in a folder and is neither listed as a folder nor as an object,
    /// though it was meant as one.
    ///
    /// # Errors
    /// As [`Self::folders`].
    fn unusable(&self, _folder: &str) -> Result<Vec<Unusable>> {
        Ok(Vec::new())
    }

    /// When the list of what lies in a folder changed last.
    ///
    /// # Errors
    /// When that can't be found out now.
    fn changed(&self, folder: &str) -> Result<Changed>;

    /// The folders of a folder that sort behind `after` (see [`behind`]), with
    /// their objects, by name. Costs what lies behind it, not what lies before.
    ///
    /// # Errors
    /// As [`Self::folders`].
    fn tail(&self, folder: &str, after: &str) -> Result<Vec<(String, Vec<Object>)>>;

    /// How many requests for a listing were made so far; one lists up to
    /// [`PAGE`] names.
    fn listings(&self) -> u64;

    /// Where a folder lies on this machine, if it does.
    fn local(&self, folder: &str) -> Option<PathBuf>;

    /// The folder's URL, with a slash at the end.
    fn url_of(&self, folder: &str) -> String;

    /// Writes an object's bytes to a local file, which is made durable.
    ///
    /// # Errors
    /// [`ErrorKind::FileMissing`] when it is gone, [`ErrorKind::FolderChanged`]
    /// when it is another one than the listing showed.
    /// Calls `each` with the number of bytes as they come; its error ends it.
    fn fetch(&self, folder: &str, object: &Object, to: &Path, each: Passing<'_>) -> Result<()>;
}

/// Called with bytes as they pass; its error ends what it watches.
pub type Passing<'a> = &'a (dyn Fn(u64) -> Result<()> + Sync);

/// When the list of what lies in a folder changed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Then.
    At(Timestamp),
    /// The place does not know.
    Unknown,
    /// The folder is not there.
    Gone,
}

/// Names that one request lists at most.
pub const PAGE: u64 = 1000;

/// Whether a folder's objects are listed behind those of the folder `after`.
pub fn behind(folder: &str, after: &str) -> bool {
    let key = |name: &str| name.bytes().chain([b'/']).collect::<Vec<u8>>();
    key(folder) > key(after)
}

/// A folder's URL as the prefix that it lies in, and its name there.
///
/// # Errors
/// [`ErrorKind::Usage`] when it names no folder within a prefix.
pub fn parent_of(url: &str) -> Result<(Url, String)> {
    let parts = url.trim_end_matches('/').rsplit_once('/');
    let parent = parts.and_then(|(parent, name)| Some((Url::parse(&format!("{parent}/")).ok()?, name)));
    match parent {
        Some((parent, name)) if parent.host_str().is_some_and(|host| !host.is_empty()) => {
            Ok((parent, name.to_owned()))
        }
        Some(_) | None => {
            let text = format!("{url}: this names no batch folder, such as s3://bucket/batches/monday");
            Err(Error::new(ErrorKind::Usage, text))
        }
    }
}

/// Opens the prefix of a URL: `file:///…` or `s3://bucket/…`. Credentials and
/// endpoint of S3 come from the variables that its other tools use:
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`,
/// `AWS_ALLOW_HTTP` and their like.
///
/// # Errors
/// [`ErrorKind::Settings`] when nothing can be opened by that URL.
pub fn open(url: &Url) -> Result<Arc<dyn Prefix>> {
    match url.scheme() {
        "file" => {
            let root = url.to_file_path().map_err(|()| {
                Error::new(ErrorKind::Settings, format!("inbox {url}: this names no local folder"))
            })?;
            Ok(Arc::new(LocalPrefix { root, listings: AtomicU64::new(0) }))
        }
        "s3" => {
            let store = AmazonS3Builder::from_env()
                .with_url(url.as_str())
                .with_retry(retries())
                .build()
                .map_err(|e| Error::new(ErrorKind::Settings, format!("inbox {url}")).caused_by(e))?;
            Ok(Arc::new(RemotePrefix::new(Arc::new(store), url.clone())?))
        }
        other => Err(Error::new(
            ErrorKind::Settings,
            format!("inbox {url}: `{other}` is no kind of URL that is read; there are file and s3"),
        )),
    }
}

/// Few and short: whoever calls tries again by its own rules, and the store's
/// client would otherwise retry 10 times over 3 minutes within each of them.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: Duration::from_secs(20),
    }
}

/// A folder of this machine. Read without the object store's own local client,
/// which lists half-written files and follows links out of its root.
struct LocalPrefix {
    root: PathBuf,
    listings: AtomicU64,
}

/// What is said of links in an inbox.
const LINK: &str = "it is a link, and links are not followed: put what it leads to in its place";
/// What is said of names that no URL of ours could have.
const NOT_UTF8: &str = "its name is not UTF-8: rename it";

impl LocalPrefix {
    fn path(&self, folder: &str) -> PathBuf {
        if folder.is_empty() { self.root.clone() } else { self.root.join(folder) }
    }

    /// Whether a link leads to a folder: what lies there is not of this prefix.
    /// The prefix itself may be one.
    fn is_linked(&self, folder: &str) -> bool {
        let mut path = self.root.clone();
        folder.split('/').filter(|part| !part.is_empty()).any(|part| {
            path.push(part);
            std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink())
        })
    }

    fn entries(&self, folder: &str) -> Result<Vec<std::fs::DirEntry>> {
        let path = self.path(folder);
        self.listings.fetch_add(1, Ordering::Relaxed);
        if self.is_linked(folder) {
            return Ok(Vec::new());
        }
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io(&path, e)),
        };
        let mut list = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(&path, e))?;
            if !entry.file_name().to_string_lossy().starts_with('.') {
                list.push(entry);
            }
        }
        Ok(list)
    }
}

fn written(meta: &std::fs::Metadata) -> Option<Timestamp> {
    meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok())
}

fn name_of(entry: &std::fs::DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

impl Prefix for LocalPrefix {
    fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let entries = self.entries(folder)?;
        let folders = entries.iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        Ok(folders.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn objects(&self, folder: &str) -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        for entry in self.entries(folder)? {
            // A file that went away between the listing and this look.
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() {
                continue;
            }
            let modified = written(&meta);
            objects.push(Object {
                name: name_of(&entry),
                size: meta.len(),
                modified: modified.unwrap_or(Timestamp::UNIX_EPOCH),
                tag: String::new(),
            });
        }
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    fn unusable(&self, folder: &str) -> Result<Vec<Unusable>> {
        let mut found = Vec::new();
        for entry in self.entries(folder)? {
            let Ok(kind) = entry.file_type() else { continue };
            let why = if kind.is_symlink() {
                LINK
            } else if kind.is_dir() && entry.file_name().to_str().is_none() {
                NOT_UTF8
            } else {
                continue;
            };
            let since = entry.metadata().ok().and_then(|meta| written(&meta));
            found.push(Unusable {
                name: name_of(&entry),
                why,
                since: since.unwrap_or(Timestamp::UNIX_EPOCH),
            });
        }
        Ok(found)
    }

    fn changed(&self, folder: &str) -> Result<Changed> {
        let path = self.path(folder);
        if self.is_linked(folder) {
            return Ok(Changed::Gone);
        }
        match std::fs::metadata(&path) {
            Ok(meta) => Ok(written(&meta).map_or(Changed::Unknown, Changed::At)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Changed::Gone),
            Err(e) => Err(Error::io(&path, e)),
        }
    }

    fn tail(&self, folder: &str, after: &str) -> Result<Vec<(String, Vec<Object>)>> {
        let mut names = self.folders(folder)?;
        names.retain(|name| behind(name, after));
        names.sort();
        names.into_iter().map(|name| Ok((name.clone(), self.objects(&format!("{folder}/{name}"))?))).collect()
    }

    fn listings(&self) -> u64 {
        self.listings.load(Ordering::Relaxed)
    }

    fn local(&self, folder: &str) -> Option<PathBuf> {
        Some(self.root.join(folder))
    }

    fn url_of(&self, folder: &str) -> String {
        let path = self.root.join(folder);
        Url::from_directory_path(&path).map_or_else(|()| path.display().to_string(), String::from)
    }

    fn fetch(&self, folder: &str, object: &Object, to: &Path, each: Passing<'_>) -> Result<()> {
        let path = self.root.join(folder).join(&object.name);
        let bytes = std::fs::copy(&path, to).map_err(|e| Error::io(&path, e))?;
        each(bytes)
    }
}

/// A prefix of an object store.
pub struct RemotePrefix {
    store: Arc<dyn ObjectStore>,
    base: Key,
    url: Url,
    runtime: tokio::runtime::Runtime,
    listings: AtomicU64,
}

impl RemotePrefix {
    /// The prefix that `url` names in `store`.
    ///
    /// # Errors
    /// When the URL's path is no key.
    pub fn new(store: Arc<dyn ObjectStore>, url: Url) -> Result<Self> {
        let base = Key::from_url_path(url.path())
            .map_err(|e| Error::new(ErrorKind::Settings, format!("inbox {url}")).caused_by(e))?;
        // Calls block their own thread; this one drives their connections.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("object-store")
            .enable_all()
            .build()
            .map_err(|e| Error::internal("a runtime for the object store").caused_by(e))?;
        Ok(Self { store, base, url, runtime, listings: AtomicU64::new(0) })
    }

    fn key(&self, folder: &str) -> Key {
        let parts = folder.split('/').filter(|part| !part.is_empty());
        parts.fold(self.base.clone(), |key, part| key.join(part))
    }

    fn failed(&self, what: &str, error: object_store::Error) -> Error {
        Error::new(ErrorKind::ObjectStore, format!("{}{what}", self.url)).caused_by(error)
    }

    fn list(&self, folder: &str) -> Result<object_store::ListResult> {
        let key = self.key(folder);
        let prefix = (!key.as_ref().is_empty()).then_some(&key);
        let listed = self.runtime.block_on(self.store.list_with_delimiter(prefix));
        let names = listed.as_ref().map_or(0, |list| list.objects.len() + list.common_prefixes.len());
        self.listed(names);
        listed.map_err(|e| self.failed(folder, e))
    }

    fn listed(&self, names: usize) {
        self.listings.fetch_add(1 + (names as u64).saturating_sub(1) / PAGE, Ordering::Relaxed);
    }
}

fn timestamp(meta: &object_store::ObjectMeta) -> Timestamp {
    Timestamp::from_millisecond(meta.last_modified.timestamp_millis()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn object(meta: &object_store::ObjectMeta) -> Option<Object> {
    let name = meta.location.filename().filter(|name| !name.starts_with('.'))?;
    Some(Object {
        name: name.to_owned(),
        size: meta.size,
        modified: timestamp(meta),
        tag: meta.e_tag.clone().unwrap_or_default(),
    })
}

impl Prefix for RemotePrefix {
    fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let list = self.list(folder)?;
        let names = list.common_prefixes.iter().filter_map(|key| key.filename()).map(str::to_owned);
        Ok(names.filter(|name| !name.starts_with('.')).collect())
    }

    fn objects(&self, folder: &str) -> Result<Vec<Object>> {
        let mut objects: Vec<Object> = self.list(folder)?.objects.iter().filter_map(object).collect();
        // A listing is in no order that could be relied on.
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    fn changed(&self, _folder: &str) -> Result<Changed> {
        Ok(Changed::Unknown)
    }

    fn tail(&self, folder: &str, after: &str) -> Result<Vec<(String, Vec<Object>)>> {
        let prefix = self.key(folder);
        // The character behind the slash: what lies in `after` sorts before.
        let offset = prefix.clone().join(format!("{after}0"));
        let listed: Result<Vec<object_store::ObjectMeta>, _> =
            self.runtime.block_on(self.store.list_with_offset(Some(&prefix), &offset).try_collect());
        self.listed(listed.as_ref().map_or(0, Vec::len));
        let mut folders: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        for meta in listed.map_err(|e| self.failed(folder, e))? {
            let Some(parts) = meta.location.prefix_match(&prefix) else { continue };
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            let [name, rest @ ..] = parts.as_slice() else { continue };
            if name.starts_with('.') || rest.is_empty() || !behind(name, after) {
                continue;
            }
            let objects = folders.entry(name.clone()).or_default();
            if rest.len() == 1 {
                objects.extend(object(&meta));
            }
        }
        for objects in folders.values_mut() {
            objects.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(folders.into_iter().collect())
    }

    fn listings(&self) -> u64 {
        self.listings.load(Ordering::Relaxed)
    }

    fn local(&self, _folder: &str) -> Option<PathBuf> {
        None
    }

    fn url_of(&self, folder: &str) -> String {
        let slash = if self.url.as_str().ends_with('/') { "" } else { "/" };
        format!("{}{slash}{folder}/", self.url)
    }

    fn fetch(&self, folder: &str, object: &Object, to: &Path, each: Passing<'_>) -> Result<()> {
        let name = format!("{folder}/{}", object.name);
        let key = self.key(folder).join(object.name.as_str());
        let changed = || {
            Error::new(
                ErrorKind::FolderChanged,
                format!("{}{name} is not the object that was listed", self.url),
            )
        };
        self.runtime.block_on(async {
            let got = self.store.get(&key).await.map_err(|e| match e {
                object_store::Error::NotFound { .. } => {
                    Error::new(ErrorKind::FileMissing, format!("{}{name} is not there", self.url))
                }
                other => self.failed(&name, other),
            })?;
            let tag = got.meta.e_tag.clone().unwrap_or_default();
            if got.meta.size != object.size || tag != object.tag {
                return Err(changed());
            }
            let mut file = std::fs::File::create(to).map_err(|e| Error::io(to, e))?;
            let mut bytes = got.into_stream().map_err(|e| self.failed(&name, e)).boxed();
            while let Some(chunk) = bytes.try_next().await? {
                file.write_all(&chunk).map_err(|e| Error::io(to, e))?;
                each(chunk.len() as u64)?;
            }
            file.sync_all().map_err(|e| Error::io(to, e))
        })
    }
}
