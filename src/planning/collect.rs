//! Collecting files under the state folder that nothing needs any more.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::format::layer::{CacheBudget, Layer};
use super::snapshot::SnapshotManifest;
use super::state_dir::StateDir;
use crate::domain::ids::{PlanId, SourceId};
use crate::error::{Error, Result};

/// Removes the files of a source that are older than `grace` and are referred
/// to neither by one of `snapshots` (paths of manifests) nor by one of `plans`.
/// Returns how many were removed.
///
/// References are read before the listing, so that a file that is written
/// meanwhile is younger than the grace time.
pub fn collect(
    state: &StateDir,
    source: &SourceId,
    snapshots: &[PathBuf],
    plans: &HashSet<PlanId>,
    now: Timestamp,
    grace: Duration,
) -> Result<u64> {
    let mut keep: HashSet<PathBuf> = snapshots.iter().cloned().collect();
    for path in snapshots {
        let manifest = SnapshotManifest::read(path)?;
        for reference in &manifest.layers {
            let layer = state.layer_path(source, &reference.file);
            if keep.insert(layer.clone()) {
                let open = Layer::open(&layer, &CacheBudget::new(0))?;
                keep.extend(open.meta().packs.iter().map(|pack| state.pack_path(source, pack)));
            }
        }
        keep.extend(manifest.order.iter().map(|order| state.order_path(source, &order.file)));
    }
    let root = state.source(source);
    let mut removed = 0;
    for folder in ["packs", "layers", "orders", "plans"] {
        removed += sweep(state, &root.join(folder), &keep, plans, now, grace)?;
    }
    let folder = root.join("snapshots");
    for target in std::fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
        let target = target.map_err(|e| Error::io(&folder, e))?.path();
        removed += sweep(state, &target, &keep, &HashSet::new(), now, grace)?;
    }
    Ok(removed)
}

fn sweep(
    state: &StateDir,
    folder: &Path,
    keep: &HashSet<PathBuf>,
    plans: &HashSet<PlanId>,
    now: Timestamp,
    grace: Duration,
) -> Result<u64> {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let needed = keep.contains(&path) || plans.iter().any(|plan| name.starts_with(plan.as_str()));
        if needed {
            continue;
        }
        let meta = entry.metadata().map_err(|e| Error::io(&path, e))?;
        let written = meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        let old = written.is_some_and(|at| now.duration_since(at).unsigned_abs() > grace && at < now);
        if old {
            state.forget_pack(&path);
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            removed += 1;
        }
    }
    Ok(removed)
}
