//! Where plans and snapshots lie under the state URL, and how they are made
//! durable.
//!
//! ```text
//! owner.json                              which data directory the state belongs to
//! <source>/packs/<plan>.pack              bodies
//! <source>/layers/<plan>[-merged|-base].layer
//! <source>/orders/<plan>.order
//! <source>/plans/<plan>.plan, .json       changes; the manifest is written last
//! <source>/pins/<folder>/                 files of a batch that waits; `.pin.json` is written last
//! <source>/letters/<plan>.lines           originals of dead letters that are too long for the store
//! <source>/snapshots/<target>/<id>.json   manifest of a snapshot, written last
//! tmp/<plan>/                             work in progress, emptied at start
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use super::format::block_file::{BlockReader, FileKind, invalid, newer};
use super::format::written::Written;
use crate::domain::ids::{BatchId, PlanId, SnapshotId, SourceId, TargetName};
use crate::error::{Error, ErrorKind, Result};

/// Says which data directory the state belongs to.
pub const OWNER: &str = "owner.json";

/// Called after each object under the state URL is durable.
pub type AfterSync = Arc<dyn Fn() + Send + Sync>;

/// The folder that holds plans and snapshots.
pub struct StateDir {
    root: PathBuf,
    after_sync: Option<AfterSync>,
    /// Open packs, shared by all that use them; closed with their last user.
    packs: Mutex<HashMap<PathBuf, Weak<Pack>>>,
}

/// A pack that is opened when its first body is read.
pub struct Pack {
    path: PathBuf,
    reader: OnceLock<BlockReader>,
    opening: Mutex<()>,
}

impl Pack {
    /// The open pack.
    pub fn reader(&self) -> Result<&BlockReader> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        // One thread opens it: the index of a large pack is many megabytes.
        let _opening = self.opening.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let reader = BlockReader::open(&self.path, FileKind::Pack)?;
        Ok(self.reader.get_or_init(|| reader))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A folder of work in progress, removed with all that is in it when this is
/// dropped.
pub struct WorkFolder(PathBuf);

impl WorkFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // What stays behind is removed at the next start.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A folder that becomes a state folder: what somebody else has in it would be taken
/// for what Tidegate left there.
///
/// # Errors
/// [`ErrorKind::StateForeign`] when something is in it.
fn is_nobodys(root: &Path) -> Result<()> {
    let at = |e| Error::io(root, e);
    for entry in std::fs::read_dir(root).map_err(at)? {
        let name = entry.map_err(at)?.file_name();
        let name = name.to_string_lossy();
        // What a file system begins with, and what making this was killed at.
        let partial = Path::new(OWNER).with_extension("partial");
        if name.starts_with('.') || partial == Path::new(&*name) || name == "lost+found" {
            continue;
        }
        let text = format!("{} is no state folder, and has something in it: {name:?}", root.display());
        return Err(Error::new(ErrorKind::StateForeign, text)
            .with_action("Name a folder for it in `state.url` that is empty or not there yet."));
    }
    Ok(())
}

impl StateDir {
    /// Opens the folder, makes it if it is not there, and claims it for
    /// `owner`: a state that belongs to another data directory is refused.
    pub fn open(root: &Path, owner: &str, after_sync: Option<AfterSync>) -> Result<Self> {
        std::fs::create_dir_all(root).map_err(|e| Error::io(root, e))?;
        let state = Self { root: root.into(), after_sync, packs: Mutex::default() };
        let path = root.join(OWNER);
        if path.exists() {
            let found: String = read_checked(&path)?;
            if found != owner {
                return Err(Error::new(
                    ErrorKind::StateForeign,
                    format!("{} belongs to the data directory {found}, this one is {owner}", root.display()),
                ));
            }
        } else {
            is_nobodys(root)?;
            state.write_checked(&path, &owner)?;
            state.sync_own_name()?;
        }
        // Another's is in use, perhaps at this moment.
        let tmp = state.tmp();
        if tmp.exists() {
            std::fs::remove_dir_all(&tmp).map_err(|e| Error::io(&tmp, e))?;
        }
        std::fs::create_dir_all(&tmp).map_err(|e| Error::io(&tmp, e))?;
        Ok(state)
    }

    /// Makes the name of a new state folder durable, before anything refers to
    /// what lies in it.
    fn sync_own_name(&self) -> Result<()> {
        let Some(parent) = self.root.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
            return Ok(());
        };
        match File::open(parent) {
            // One that may not be listed can't be synced from here.
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
            opened => opened.and_then(|folder| folder.sync_all()).map_err(|e| Error::io(parent, e)),
        }
    }

    /// The folder as it is, or is not, to look at: nothing is made or claimed.
    pub fn unmade(root: &Path) -> Self {
        Self { root: root.into(), after_sync: None, packs: Mutex::default() }
    }

    /// Whether there is a state folder, of whomever: an empty one is the place
    /// that one is mounted at.
    pub fn is_there(root: &Path) -> bool {
        root.join(OWNER).is_file()
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A folder for the work on one plan; goes with its owner.
    pub fn work_folder(&self, plan: &PlanId) -> Result<WorkFolder> {
        self.work_folder_of(plan.as_str())
    }

    /// Another one, for folding at the plan's commit.
    pub fn fold_folder(&self, plan: &PlanId) -> Result<WorkFolder> {
        self.work_folder_of(&format!("{plan}-fold"))
    }

    fn work_folder_of(&self, name: &str) -> Result<WorkFolder> {
        let path = self.tmp().join(name);
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        Ok(WorkFolder(path))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of one source.
    pub fn source(&self, source: &SourceId) -> PathBuf {
        self.root.join(source.as_str())
    }

    /// Path of a pack, by the name that layers know it by.
    pub fn pack_path(&self, source: &SourceId, name: &str) -> PathBuf {
        self.source(source).join("packs").join(name)
    }

    /// Path of a layer, by the name that snapshots know it by.
    pub fn layer_path(&self, source: &SourceId, name: &str) -> PathBuf {
        self.source(source).join("layers").join(name)
    }

    /// Path of a line order, by the name that snapshots know it by.
    pub fn order_path(&self, source: &SourceId, name: &str) -> PathBuf {
        self.source(source).join("orders").join(name)
    }

    /// Path of a plan's changes.
    pub fn plan_path(&self, source: &SourceId, plan: &PlanId) -> PathBuf {
        self.source(source).join("plans").join(format!("{plan}.plan"))
    }

    /// Path of a plan's manifest.
    pub fn plan_manifest_path(&self, source: &SourceId, plan: &PlanId) -> PathBuf {
        self.source(source).join("plans").join(format!("{plan}.json"))
    }

    /// Path of a snapshot's manifest.
    pub fn snapshot_path(&self, source: &SourceId, target: &TargetName, id: &SnapshotId) -> PathBuf {
        self.source(source).join("snapshots").join(target.as_str()).join(format!("{id}.json"))
    }

    /// Path of the long originals of the dead letters of a plan.
    pub fn letters_path(&self, source: &SourceId, plan: &PlanId) -> PathBuf {
        self.source(source).join("letters").join(format!("{plan}.lines"))
    }

    /// The folder that a batch's files are pinned in.
    pub fn pin_path(&self, batch: &BatchId) -> PathBuf {
        let name = match batch.n() {
            0 => batch.folder().to_string(),
            n => format!("{}~{n}", batch.folder()),
        };
        self.source(batch.source()).join("pins").join(name)
    }

    /// The pins of a source, by the names of their batches' folders.
    pub fn pins(&self, source: &SourceId) -> Result<Vec<(String, PathBuf)>> {
        let folder = self.source(source).join("pins");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // A file beside the folders of sources is none of them.
            Err(e)
                if [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory].contains(&e.kind()) =>
            {
                return Ok(Vec::new());
            }
            Err(e) => return Err(Error::io(&folder, e)),
        };
        let mut pins = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(&folder, e))?;
            pins.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
        Ok(pins)
    }

    /// Makes the names of everything in a folder durable, and its own and
    /// those of the folders up to the root.
    pub fn sync_tree(&self, folder: &Path) -> Result<()> {
        self.sync_names(folder)?;
        let above = folder.ancestors().skip(1).take_while(|path| path.starts_with(&self.root));
        above.into_iter().try_for_each(sync_folder)
    }

    fn sync_names(&self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
            let path = entry.map_err(|e| Error::io(folder, e))?.path();
            if path.is_dir() {
                self.sync_names(&path)?;
            }
        }
        sync_folder(folder)
    }

    /// Writes an object, reads it back, lists it and deletes it. Returns when
    /// it was written, as the folder has it.
    pub fn probe(&self, random: u64) -> Result<Timestamp> {
        let name = format!("probe-{random:016x}.json");
        let path = self.tmp().join(&name);
        let failed = |what: &str| Error::new(ErrorKind::Io, format!("{}: {what}", path.display()));
        std::fs::create_dir_all(self.tmp()).map_err(|e| Error::io(&self.tmp(), e))?;
        let result = self.write_checked(&path, &random).and_then(|()| {
            if read_checked::<u64>(&path)? != random {
                return Err(failed("what was written is not what is read"));
            }
            let mut listed = std::fs::read_dir(self.tmp()).map_err(|e| Error::io(&self.tmp(), e))?;
            if !listed.any(|entry| entry.is_ok_and(|entry| entry.file_name() == *name)) {
                return Err(failed("what was written is not listed"));
            }
            let written = std::fs::metadata(&path).and_then(|meta| meta.modified());
            let written = written.map_err(|e| Error::io(&path, e))?;
            Timestamp::try_from(written).map_err(|_| failed("the time of writing makes no sense"))
        });
        let removed = std::fs::remove_file(&path).map_err(|e| Error::io(&path, e));
        let written = result?;
        removed.map(|()| written)
    }

    /// The URL of a path under the folder.
    pub fn url_of(&self, path: &Path) -> String {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
        Url::from_file_path(&absolute).map_or_else(|()| absolute.display().to_string(), String::from)
    }

    /// Makes the folders of a source and a target.
    pub fn prepare(&self, source: &SourceId, target: &TargetName) -> Result<()> {
        let folder = self.source(source);
        for name in ["packs", "layers", "orders", "plans"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        }
        let path = folder.join("snapshots").join(target.as_str());
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        for path in [&folder.join("snapshots"), &folder, &self.root] {
            sync_folder(path)?;
        }
        Ok(())
    }

    /// Makes a file durable that was written, and its name.
    pub fn make_durable(&self, written: &Written) -> Result<()> {
        written.sync()?;
        self.synced(written.path())
    }

    /// Says that a file that was written and synced is complete: its name is
    /// made durable too.
    pub fn synced(&self, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent() {
            sync_folder(parent)?;
        }
        if let Some(after) = &self.after_sync {
            after();
        }
        Ok(())
    }

    /// Writes a value as a line of JSON with a line of its XXH3-64 behind it,
    /// under a temporary name first, durable.
    pub fn write_checked<T: Serialize>(&self, path: &Path, value: &T) -> Result<()> {
        use std::io::Write;
        let mut bytes = serde_json::to_vec(value).map_err(|e| Error::internal("a manifest").caused_by(e))?;
        let hash = xxh3_64(&bytes);
        bytes.extend_from_slice(format!("\nxxh3 {hash:016x}\n").as_bytes());
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial).map_err(|e| Error::io(&partial, e))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|e| Error::io(&partial, e))?;
        std::fs::rename(&partial, path).map_err(|e| Error::io(path, e))?;
        self.synced(path)
    }

    /// The pack of a path; every user of one path shares it.
    pub fn pack(&self, path: &Path) -> Arc<Pack> {
        let mut packs = self.packs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(pack) = packs.get(path).and_then(Weak::upgrade) {
            return pack;
        }
        if packs.len() >= 256 {
            packs.retain(|_, pack| pack.strong_count() > 0);
        }
        let pack = Arc::new(Pack { path: path.into(), reader: OnceLock::new(), opening: Mutex::default() });
        packs.insert(path.into(), Arc::downgrade(&pack));
        pack
    }

    /// Closes a pack that was collected or thrown away.
    pub fn forget_pack(&self, path: &Path) {
        self.packs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(path);
    }
}

fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|e| Error::io(path, e))
}

/// Reads what [`StateDir::write_checked`] wrote.
pub fn read_checked<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse(path, &body_of(path)?)
}

/// The same of a file that names its format, such as `tidegate.snapshot/1`: one of a
/// newer version may have other members, and is told by its name.
pub fn read_format<T: DeserializeOwned>(path: &Path, format: &str) -> Result<T> {
    let body = body_of(path)?;
    let found = parse::<Head>(path, &body)?.format;
    if found == format {
        return parse(path, &body);
    }
    let parts = |format: &str| {
        let (name, version) = format.rsplit_once('/')?;
        Some((name.to_owned(), version.parse::<u32>().ok()?))
    };
    Err(match (parts(&found), parts(format)) {
        (Some((name, version)), Some((known, last))) if name == known && version > last => {
            newer(path, &found, format)
        }
        _ => invalid(path, format!("format {found} is not known here")),
    })
}

/// What a file says of itself first.
#[derive(Deserialize)]
struct Head {
    format: String,
}

fn parse<T: DeserializeOwned>(path: &Path, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| invalid(path, format!("it can't be read: {e}")))
}

/// What a file holds, without the checksum behind it, which is checked.
fn body_of(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => invalid(path, "the file is missing"),
        _ => Error::io(path, e),
    })?;
    const TAIL: usize = "\nxxh3 0123456789abcdef\n".len();
    let split = bytes.len().checked_sub(TAIL).ok_or_else(|| invalid(path, "the file is cut short"))?;
    let (body, tail) = bytes.split_at(split);
    if tail != format!("\nxxh3 {:016x}\n", xxh3_64(body)).as_bytes() {
        return Err(invalid(path, "its checksum does not match"));
    }
    bytes.truncate(split);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        StateDir::open(folder.path(), "a", None).unwrap();
        StateDir::open(folder.path(), "a", None).unwrap();
        // What the owner works on at this moment.
        let work = folder.path().join("tmp/work");
        std::fs::create_dir_all(&work).unwrap();
        let refused = StateDir::open(folder.path(), "b", None).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::StateForeign);
        assert!(work.exists());
    }

    #[test]
    fn a_flipped_bit_in_a_manifest_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path(), "a", None).unwrap();
        let path = folder.path().join("x.json");
        state.write_checked(&path, &vec![1, 2, 3]).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(read_checked::<Vec<u8>>(&path).is_err(), "byte {at}");
        }
    }
}
