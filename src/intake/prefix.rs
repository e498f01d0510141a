//! A prefix that can be listed and read: a local folder, or one in an object
//! store. Only here does intake know which of them it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use object_store::aws::AmazonS3Builder;
use object_store::{BackoffConfig, RetryConfig};
use url::Url;

pub use super::remote::RemotePrefix;
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
    /// When it was put there, where that is known.
    pub since: Option<Timestamp>,
}

/// All that lies in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// See [`Prefix::folders`].
    pub folders: Vec<String>,
    /// See [`Prefix::objects`].
    pub objects: Vec<Object>,
    /// See [`Prefix::unusable`].
    pub unusable: Vec<Unusable>,
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

    /// All three at once, where that costs less.
    ///
    /// # Errors
    /// As [`Self::folders`].
    fn listing(&self, folder: &str) -> Result<Listing> {
        Ok(Listing {
            folders: self.folders(folder)?,
            objects: self.objects(folder)?,
            unusable: self.unusable(folder)?,
        })
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
            Ok(Arc::new(RemotePrefix::in_pages(Arc::new(store), url.clone())?))
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
/// What is said of folders that tools hide while they write them.
pub(super) const HIDDEN: &str =
    "it is passed over, for its name begins with a dot: rename it when it is complete";

/// Whether a name is of something that is passed over.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

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
        match std::fs::read_dir(&path) {
            Ok(entries) => entries.collect::<std::io::Result<_>>().map_err(|e| Error::io(&path, e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Error::io(&path, e)),
        }
    }
}

/// Its name, where it is that of a folder to look into.
fn folder_in(entry: &std::fs::DirEntry) -> Option<String> {
    let name = entry.file_name().into_string().ok().filter(|name| !is_hidden(name))?;
    entry.file_type().is_ok_and(|kind| kind.is_dir()).then_some(name)
}

/// It as an object, where it is one and did not go away since it was listed.
fn object_in(entry: &std::fs::DirEntry) -> Option<Object> {
    let name = name_of(entry);
    if is_hidden(&name) || !entry.file_type().ok()?.is_file() {
        return None;
    }
    let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let modified = written(&meta).unwrap_or(Timestamp::UNIX_EPOCH);
    Some(Object { name, size: meta.len(), modified, tag: String::new() })
}

/// What is to be said of it, where it is neither of both and was meant as one.
fn unusable_in(entry: &std::fs::DirEntry) -> Option<Unusable> {
    let (name, kind) = (name_of(entry), entry.file_type().ok()?);
    let why = match (is_hidden(&name), kind.is_dir()) {
        (true, true) => HIDDEN,
        (true, false) => return None,
        (false, true) if entry.file_name().to_str().is_none() => NOT_UTF8,
        (false, _) if kind.is_symlink() => LINK,
        (false, _) => return None,
    };
    Some(Unusable { name, why, since: entry.metadata().ok().and_then(|meta| written(&meta)) })
}

fn by_name(entries: &[std::fs::DirEntry]) -> Vec<Object> {
    let mut objects: Vec<Object> = entries.iter().filter_map(object_in).collect();
    objects.sort_by(|a, b| a.name.cmp(&b.name));
    objects
}

fn written(meta: &std::fs::Metadata) -> Option<Timestamp> {
    meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok())
}

fn name_of(entry: &std::fs::DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

impl Prefix for LocalPrefix {
    fn folders(&self, folder: &str) -> Result<Vec<String>> {
        Ok(self.entries(folder)?.iter().filter_map(folder_in).collect())
    }

    fn objects(&self, folder: &str) -> Result<Vec<Object>> {
        Ok(by_name(&self.entries(folder)?))
    }

    fn unusable(&self, folder: &str) -> Result<Vec<Unusable>> {
        Ok(self.entries(folder)?.iter().filter_map(unusable_in).collect())
    }

    fn listing(&self, folder: &str) -> Result<Listing> {
        let entries = self.entries(folder)?;
        Ok(Listing {
            folders: entries.iter().filter_map(folder_in).collect(),
            objects: by_name(&entries),
            unusable: entries.iter().filter_map(unusable_in).collect(),
        })
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
