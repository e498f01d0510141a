//! A prefix of an object store.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::list::PaginatedListStore;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use super::pages::{self, Listed};
use super::prefix::{Changed, HIDDEN, Listing, Object, PAGE, Passing, Prefix, Unusable, behind, is_hidden};
use crate::error::{Error, ErrorKind, Result};

/// A prefix of an object store.
pub struct RemotePrefix {
    store: Arc<dyn ObjectStore>,
    /// The same, where it lists page by page, and so gets over odd keys.
    pages: Option<Arc<dyn PaginatedListStore>>,
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
        Ok(Self { store, pages: None, base, url, runtime, listings: AtomicU64::new(0) })
    }

    /// The same in a store that lists page by page: a key that is no path does
    /// not hide the others there.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn in_pages<S: ObjectStore + PaginatedListStore>(store: Arc<S>, url: Url) -> Result<Self> {
        let pages = Some(Arc::clone(&store) as Arc<dyn PaginatedListStore>);
        Ok(Self { pages, ..Self::new(store, url)? })
    }

    /// The key of what lies there, as it is: names come from listings and are
    /// not to be escaped once more.
    fn key(&self, folder: &str) -> Result<Key> {
        let slash = if folder.is_empty() || self.base.as_ref().is_empty() { "" } else { "/" };
        Key::parse(format!("{}{slash}{folder}", self.base)).map_err(|e| self.failed(folder, e.into()))
    }

    fn failed(&self, what: &str, error: object_store::Error) -> Error {
        Error::new(ErrorKind::ObjectStore, format!("{}{what}", self.url)).caused_by(error)
    }

    /// What lies in a folder (`None`: only that, and the folders there), or all
    /// below it whose keys sort behind one.
    fn list(&self, folder: &str, behind: Option<&Key>) -> Result<Listed> {
        let mut listed = Listed::default();
        // What can't be named is not there.
        let Ok(key) = self.key(folder) else { return Ok(listed) };
        let done = self.runtime.block_on(async {
            if let Some(pages) = &self.pages {
                let prefix = if key.as_ref().is_empty() { String::new() } else { format!("{key}/") };
                let offset = behind.map(ToString::to_string);
                return pages::list(&**pages, &prefix, offset, behind.is_none(), &mut listed).await;
            }
            let prefix = (!key.as_ref().is_empty()).then_some(&key);
            match behind {
                Some(offset) => {
                    listed.objects = self.store.list_with_offset(prefix, offset).try_collect().await?;
                }
                None => {
                    let list = self.store.list_with_delimiter(prefix).await?;
                    listed.objects = list.objects;
                    listed.folders = list.common_prefixes.into_iter().collect();
                }
            }
            Ok(())
        });
        let names = listed.objects.len() + listed.folders.len();
        let requests = 1 + (names as u64).saturating_sub(1) / PAGE;
        self.listings.fetch_add(listed.requests.max(requests), Ordering::Relaxed);
        done.map_err(|e| self.failed(folder, e))?;
        Ok(listed)
    }
}

fn timestamp(meta: &object_store::ObjectMeta) -> Timestamp {
    Timestamp::from_millisecond(meta.last_modified.timestamp_millis()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn object(meta: &object_store::ObjectMeta) -> Option<Object> {
    let name = meta.location.filename().filter(|name| !is_hidden(name))?;
    Some(Object {
        name: name.to_owned(),
        size: meta.size,
        modified: timestamp(meta),
        tag: meta.e_tag.clone().unwrap_or_default(),
    })
}

impl Prefix for RemotePrefix {
    fn folders(&self, folder: &str) -> Result<Vec<String>> {
        Ok(self.listing(folder)?.folders)
    }

    fn objects(&self, folder: &str) -> Result<Vec<Object>> {
        Ok(self.listing(folder)?.objects)
    }

    fn unusable(&self, folder: &str) -> Result<Vec<Unusable>> {
        Ok(self.listing(folder)?.unusable)
    }

    fn listing(&self, folder: &str) -> Result<Listing> {
        let listed = self.list(folder, None)?;
        let mut listing = Listing::default();
        for odd in listed.odd {
            listing.unusable.push(Unusable { name: odd.name, why: odd.why, since: None });
        }
        for key in &listed.folders {
            // A slash at the beginning is lost where the key is parsed.
            let Some(name) = key.filename().map(str::to_owned) else {
                listing.unusable.push(Unusable { name: "/".to_owned(), why: pages::EMPTY_PART, since: None });
                continue;
            };
            if is_hidden(&name) {
                listing.unusable.push(Unusable { name, why: HIDDEN, since: None });
            } else {
                listing.folders.push(name);
            }
        }
        listing.objects = listed.objects.iter().filter_map(object).collect();
        // A listing is in no order that could be relied on.
        listing.objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    fn changed(&self, _folder: &str) -> Result<Changed> {
        Ok(Changed::Unknown)
    }

    fn tail(&self, folder: &str, after: &str) -> Result<Vec<(String, Vec<Object>)>> {
        let prefix = self.key(folder)?;
        // The character behind the slash: what lies in `after` sorts before.
        let offset = self.key(&format!("{folder}/{after}0"))?;
        let mut folders: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        for meta in self.list(folder, Some(&offset))?.objects {
            let Some(parts) = meta.location.prefix_match(&prefix) else { continue };
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            let [name, rest @ ..] = parts.as_slice() else { continue };
            if is_hidden(name) || rest.is_empty() || !behind(name, after) {
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
        let key = self.key(&name)?;
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
