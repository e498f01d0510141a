//! What a state folder tells without `tidegate.redb`: whose it is, its
//! snapshots, and the plans that may have been executed since.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::bodies::Bodies;
use super::format::block_file::{BlockReader, FileKind};
use super::format::layer::{CacheBudget, Layer};
use super::plan_file::Plan;
use super::snapshot::SnapshotManifest;
use super::state_dir::{OWNER, StateDir, read_checked};
use super::unsure::key_of;
use crate::domain::ids::{PlanId, SnapshotId, SourceId, TargetName};
use crate::domain::key::Key;
use crate::domain::plan::PlanHeader;
use crate::error::{Error, ErrorKind, Result};

/// The snapshots of a source at a target.
#[derive(Debug, Default)]
pub struct FoundSnapshots {
    /// Those that are whole, the newest last.
    pub whole: Vec<SnapshotManifest>,
    /// What is wrong with the others.
    pub damaged: Vec<String>,
}

/// The id of the data directory that a state folder belongs to.
///
/// # Errors
/// [`ErrorKind::NotFound`] when it is no state folder.
pub fn owner(root: &Path) -> Result<String> {
    let path = root.join(OWNER);
    if !path.is_file() {
        let text = format!("{} is no state folder: it has no {OWNER}", root.display());
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    read_checked(&path)
}

fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        // A file beside the folders of sources is none of them.
        Err(e) if [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory].contains(&e.kind()) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(Error::io(folder, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        names.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    names.sort();
    Ok(names)
}

/// Every snapshot below a state folder.
///
/// # Errors
/// When a folder can't be listed; [`ErrorKind::StoreNewer`] when a newer version wrote
/// one of them.
pub fn snapshots(root: &Path) -> Result<BTreeMap<(TargetName, SourceId), FoundSnapshots>> {
    let mut found: BTreeMap<(TargetName, SourceId), FoundSnapshots> = BTreeMap::new();
    for (source, folder) in names(root)? {
        let Ok(source) = SourceId::new(source) else { continue };
        for (target, folder) in names(&folder.join("snapshots"))? {
            let Ok(target) = TargetName::new(target) else { continue };
            for (name, path) in names(&folder)? {
                if !name.ends_with(".json") {
                    continue;
                }
                let of = found.entry((target.clone(), source.clone())).or_default();
                match whole(root, &source, &path) {
                    Ok(manifest) => of.whole.push(manifest),
                    // It is newer than all that could be taken in its place.
                    Err(error) if error.kind() == ErrorKind::StoreNewer => return Err(error),
                    Err(error) => of.damaged.push(error.to_string()),
                }
            }
        }
    }
    for found in found.values_mut() {
        in_order(&mut found.whole);
    }
    Ok(found)
}

/// Sorts snapshots by the chain of parents, the newest last. Times only decide
/// where there is more than one chain: clocks may be put back.
fn in_order(snapshots: &mut [SnapshotManifest]) {
    snapshots.sort_by(|a, b| (a.created_at, &a.snapshot_id).cmp(&(b.created_at, &b.snapshot_id)));
    let parents: HashSet<SnapshotId> =
        snapshots.iter().filter_map(|snapshot| snapshot.parent.clone()).collect();
    let mut next = snapshots.iter().rev().find(|snapshot| !parents.contains(&snapshot.snapshot_id));
    let mut places: HashMap<SnapshotId, usize> = HashMap::new();
    while let Some(snapshot) = next {
        places.insert(snapshot.snapshot_id.clone(), places.len());
        let parent = snapshot.parent.as_ref().filter(|parent| !places.contains_key(parent));
        next = snapshots.iter().find(|older| Some(&older.snapshot_id) == parent);
    }
    snapshots
        .sort_by_key(|snapshot| Reverse(places.get(&snapshot.snapshot_id).copied().unwrap_or(usize::MAX)));
}

/// Reads a snapshot's manifest, and looks whether all of its files are there:
/// indexes and packs as far as their own tables and checksums tell.
fn whole(root: &Path, source: &SourceId, path: &Path) -> Result<SnapshotManifest> {
    let manifest = SnapshotManifest::read(path)?;
    if manifest.source_id != *source {
        let text = format!("{}: it is of source {}", path.display(), manifest.source_id);
        return Err(Error::new(ErrorKind::SnapshotInvalid, text));
    }
    let folder = root.join(source.as_str());
    for layer in &manifest.layers {
        let layer = Layer::open(&folder.join("layers").join(&layer.file), &CacheBudget::new(0))?;
        for pack in &layer.meta().packs {
            BlockReader::open(&folder.join("packs").join(pack), FileKind::Pack)?;
        }
    }
    Ok(manifest)
}

/// The plans of a source that were complete, led to none of the snapshots that
/// are whole, and may have been begun after the newest of these: those made
/// from it, those made later, and those that can't be read.
///
/// # Errors
/// When the folder can't be listed.
pub fn plans_since(state: &StateDir, source: &SourceId, whole: &[SnapshotManifest]) -> Result<Vec<PlanId>> {
    let Some(newest) = whole.last() else { return Ok(Vec::new()) };
    let done: HashSet<&PlanId> = whole.iter().map(|snapshot| &snapshot.plan_id).collect();
    let mut plans = Vec::new();
    each_plan(state, source, |id, header| {
        let may_be_begun = match header {
            Ok(header) => {
                let from_it = header.bases.get(source) == Some(&newest.snapshot_id);
                let later = id.as_str() > newest.plan_id.as_str();
                header.target == newest.target && (from_it || later)
            }
            // Whoever asks for its keys is told.
            Err(_) => true,
        };
        if may_be_begun && !done.contains(&id) {
            plans.push(id);
        }
    })?;
    Ok(plans)
}

/// The plans of a source that were complete, and their targets, or why these
/// can't be read.
///
/// # Errors
/// When the folder can't be listed.
pub fn complete_plans(state: &StateDir, source: &SourceId) -> Result<Vec<(PlanId, Result<TargetName>)>> {
    let mut plans = Vec::new();
    each_plan(state, source, |id, header| plans.push((id, header.map(|header| header.target))))?;
    Ok(plans)
}

/// Without its manifest a plan was never executed; one without its changes is
/// half collected: nothing needed it.
fn each_plan(
    state: &StateDir,
    source: &SourceId,
    mut take: impl FnMut(PlanId, Result<PlanHeader>),
) -> Result<()> {
    for (name, _) in names(&state.source(source).join("plans"))? {
        let Some(id) = name.strip_suffix(".json").and_then(|id| PlanId::new(id.to_owned()).ok()) else {
            continue;
        };
        let header = Plan::open(state, source, &id).map(|plan| plan.manifest().header.clone());
        if header.is_ok() || !matches!(state.plan_path(source, &id).try_exists(), Ok(false)) {
            take(id, header);
        }
    }
    Ok(())
}

/// Calls `take` with each key that a plan changes.
///
/// # Errors
/// When the plan can't be read; the keys before that were taken.
pub fn each_key(state: &StateDir, source: &SourceId, plan: &PlanId, mut take: impl FnMut(Key)) -> Result<()> {
    let plan = Plan::open(state, source, plan)?;
    let mut bodies = Bodies::new()?;
    plan.changes(|change| {
        take(key_of(&plan, &change, &mut bodies)?);
        Ok(())
    })
}

/// Writes a snapshot that is `newest` with more unsure keys.
///
/// # Errors
/// Those of the disk.
pub fn with_unsure(
    state: &StateDir,
    newest: &SnapshotManifest,
    id: SnapshotId,
    keys: BTreeSet<Key>,
    now: jiff::Timestamp,
) -> Result<SnapshotManifest> {
    let mut next = newest.clone();
    next.parent = Some(newest.snapshot_id.clone());
    next.snapshot_id = id;
    next.created_at = now;
    next.unsure.extend(keys);
    next.unsure.sort();
    next.unsure.dedup();
    let path = state.snapshot_path(&next.source_id, &next.target, &next.snapshot_id);
    state.write_checked(&path, &next)?;
    Ok(next)
}
