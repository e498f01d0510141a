//! The next snapshot: what was published, and what has to be remembered
//! (`SEMANTICS` 2 and 4).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use super::format::entry::{Entry, NO_POSITION, State};
use super::format::layer::{CacheBudget, LayerWriter, Scratch, StampInfo};
use super::kept;
use super::key_pack::KeyPack;
use super::layer_tables::LayerTables;
use super::plan_file::{Plan, PlanManifest};
use super::planner::horizon;
use super::records::forget;
use super::snapshot::{FORMAT, Found, FullRecord, LayerRef, Snapshot, SnapshotManifest};
use super::state_dir::StateDir;
use super::unsure;
use crate::domain::ids::PlanId;
use crate::domain::key::{Key, KeyHash};
use crate::domain::plan::PlanHeader;
use crate::domain::stamp::Stamp;
use crate::error::Result;

/// What became of a plan.
#[derive(Debug, Default)]
pub struct PlanOutcome {
    /// Whether every operation was executed. If not, the batch counts as an
    /// incremental one of exactly what was published.
    pub complete: bool,
    /// Keys whose change was not published: refused by the target.
    pub failed: HashMap<KeyHash, Key>,
    /// Keys whose change was published; only needed of an incomplete plan.
    pub done: HashSet<KeyHash>,
    /// Keys whose request was sent and whose outcome is not known.
    pub unsure: Vec<Key>,
}

/// The manifest of the snapshot that follows `own` when everything in the
/// plan is published, with these layers.
pub fn draft(
    plan: &PlanManifest,
    own: Option<&SnapshotManifest>,
    layers: Vec<LayerRef>,
    plan_id: PlanId,
) -> SnapshotManifest {
    let newest = match own {
        Some(own) if own.newest.stamp > plan.stamp.stamp => own.newest.clone(),
        Some(_) | None => plan.stamp.clone(),
    };
    SnapshotManifest {
        format: FORMAT.into(),
        snapshot_id: plan_id.clone().into(),
        source_id: plan.header.source_id.clone(),
        target: plan.header.target.clone(),
        target_identity: plan.target_identity.clone(),
        parent: own.map(|own| own.snapshot_id.clone()),
        plan_id,
        batch_id: plan.header.batch_id.clone(),
        created_at: Timestamp::UNIX_EPOCH,
        newest,
        horizon: own.and_then(|own| own.horizon),
        fingerprint: plan.fingerprint,
        comparison: plan.comparison,
        precedence: plan.precedence,
        layers,
        order: own.and_then(|own| own.order.clone()),
        full_records: own.map_or_else(Vec::new, |own| own.full_records.clone()),
        unsure: own.map_or_else(Vec::new, |own| own.unsure.clone()),
        settled: own.map_or_else(BTreeMap::new, |own| {
            let mut settled = own.settled.clone();
            settled.retain(|snapshot, _| plan.header.bases.values().any(|base| base == snapshot));
            settled
        }),
        entity_counts: plan.entity_counts.clone(),
        relationship_counts: plan.relationship_counts.clone(),
        type_edges: plan.type_edges.clone(),
    }
}

/// Writes the snapshot that follows a plan's outcome, and returns its manifest.
///
/// `unpublished` are the keys whose assertion by the batch was not published;
/// `held_back` is the source timestamp of the oldest unfinished batch or open
/// dead letter: the horizon does not pass it.
pub fn write(
    state: &StateDir,
    plan: &Plan,
    own: Option<&Snapshot>,
    outcome: &PlanOutcome,
    unpublished: &[Key],
    now: Timestamp,
    held_back: Option<Timestamp>,
) -> Result<SnapshotManifest> {
    let manifest = plan.manifest();
    let before = own.map(Snapshot::manifest);
    let source = &manifest.header.source_id;
    let clean = outcome.complete && outcome.failed.is_empty();
    let mut layers = before.map_or_else(Vec::new, |own| own.layers.clone());
    let mut next = draft(manifest, before, Vec::new(), manifest.header.plan_id.clone());
    next.created_at = now;
    if !outcome.complete && outcome.done.is_empty() {
        next.newest = before.map_or_else(|| unpublished_yet(&manifest.stamp), |own| own.newest.clone());
    }
    if let (false, Some(before)) = (outcome.complete, before) {
        // The settings were not applied as a whole: the next plan does it.
        next.fingerprint = before.fingerprint;
        next.precedence = before.precedence;
    }

    match &manifest.fold {
        Some(fold) if outcome.complete => {
            layers.truncate(fold.keep);
            layers.push(fold.layer.clone());
            if fold.keep == 0 {
                next.order = fold.order.clone();
            }
            if !clean {
                layers.extend(kept::put_back(state, plan, own, outcome, fold, &mut next)?);
            }
            next.layers = layers;
        }
        None if clean => {
            layers.push(manifest.layer.clone());
            next.layers = layers;
        }
        fold => {
            layers.push(kept::keep(state, plan, own, outcome, &mut next)?);
            next.layers = layers;
            if fold.as_ref().is_some_and(|fold| fold.keep == 0) {
                // The entries have positions of an order that is not written.
                next.order = None;
            }
            if fold.is_some() {
                // What the plan folded is of no use, and was due.
                kept::fold(state, &mut next)?;
            }
        }
    }

    if outcome.complete && manifest.asserts_absence {
        let mut exceptions = manifest.exceptions.clone();
        exceptions.extend(unpublished.iter().cloned());
        next.full_records.push(FullRecord {
            stamp: manifest.stamp.clone(),
            scope: manifest.scope.clone(),
            exceptions,
        });
    }
    let mut limit = horizon(next.horizon, next.newest.stamp.source_timestamp, manifest.max_lateness_seconds);
    if let Some(held_back) = held_back {
        limit = next.horizon.max(limit.map(|limit| limit.min(held_back)));
    }
    next.horizon = limit;
    let forgotten = forget(&mut next.full_records, next.horizon);
    next.horizon = next.horizon.max(forgotten.horizon);

    if outcome.complete {
        let again: HashSet<&Key> = outcome.unsure.iter().collect();
        let is_settled = |key: &Key| !outcome.failed.contains_key(&key.hash()) && !again.contains(key);
        let settled: HashSet<&Key> = manifest.settles.iter().filter(|key| is_settled(key)).collect();
        next.unsure.retain(|key| !settled.contains(key));
        settle_others(state, &manifest.header, &settled, &mut next)?;
    }
    settled_by_others(state, &manifest.header, before, &mut next)?;
    next.unsure.extend(outcome.unsure.iter().cloned());
    if !clean {
        next.unsure.extend(unsure::keys(state, plan, own, outcome, &next)?);
    }
    next.unsure.sort();
    next.unsure.dedup();

    if !forgotten.raised.is_empty() {
        raise(state, &mut next, &forgotten.raised)?;
    }
    let path = state.snapshot_path(source, &next.target, &next.snapshot_id);
    state.write_checked(&path, &next)?;
    Ok(next)
}

/// The newest stamp of a source of which nothing is published.
fn unpublished_yet(of: &StampInfo) -> StampInfo {
    let (source_timestamp, processing_timestamp) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
    let batch_id = of.stamp.batch_id.clone();
    StampInfo { stamp: Stamp { source_timestamp, processing_timestamp, batch_id }, workflow: String::new() }
}

/// Takes out the unsure keys of the source's last snapshot that plans of other
/// sources settled: what they say of that one is not said of the next.
fn settled_by_others(
    state: &StateDir,
    header: &PlanHeader,
    own: Option<&SnapshotManifest>,
    next: &mut SnapshotManifest,
) -> Result<()> {
    let Some(own) = own.filter(|own| !own.unsure.is_empty()) else { return Ok(()) };
    for (source, id) in header.bases.iter().filter(|(source, _)| **source != header.source_id) {
        let mut theirs = SnapshotManifest::read(&state.snapshot_path(source, &header.target, id))?;
        let settled: BTreeSet<Key> =
            theirs.settled.remove(&own.snapshot_id).unwrap_or_default().into_iter().collect();
        next.unsure.retain(|key| !settled.contains(key));
    }
    Ok(())
}

/// Remembers which unsure keys of other sources' snapshots are settled.
fn settle_others(
    state: &StateDir,
    header: &PlanHeader,
    settled: &HashSet<&Key>,
    next: &mut SnapshotManifest,
) -> Result<()> {
    if settled.is_empty() {
        return Ok(());
    }
    for (source, id) in header.bases.iter().filter(|(source, _)| **source != header.source_id) {
        let theirs = SnapshotManifest::read(&state.snapshot_path(source, &header.target, id))?;
        let keys: BTreeSet<Key> = theirs.unsure.into_iter().filter(|key| settled.contains(key)).collect();
        if !keys.is_empty() {
            let known = next.settled.entry(id.clone()).or_default();
            known.extend(keys);
            known.sort();
            known.dedup();
        }
    }
    Ok(())
}

/// A layer on top that gives keys a newer stamp of their own.
fn raise(state: &StateDir, next: &mut SnapshotManifest, raised: &[(Key, StampInfo)]) -> Result<()> {
    let budget = CacheBudget::new(16 << 20);
    let snapshot = Snapshot::from_manifest(state, next.clone(), &budget)?;
    let mut scratch = Scratch::default();
    let mut newest: HashMap<KeyHash, (&Key, &StampInfo)> = HashMap::new();
    for (key, stamp) in raised {
        let entry = newest.entry(key.hash()).or_insert((key, stamp));
        if entry.1.stamp < stamp.stamp {
            *entry = (key, stamp);
        }
    }
    let mut keys: Vec<_> = newest.into_iter().collect();
    keys.sort_unstable_by_key(|(hash, _)| *hash);

    let stem = format!("{}-raised", next.plan_id);
    let pack_name = format!("{stem}.pack");
    let pack_path = state.pack_path(&next.source_id, &pack_name);
    let mut pack = KeyPack::create(&pack_path)?;
    let mut tables = LayerTables::default();
    tables.pack(&pack_name)?;
    let mut entries = Vec::new();
    for (hash, (key, stamp)) in keys {
        let found: Option<Found> = snapshot.lookup(hash, &mut scratch)?;
        let own = match found {
            Some(found) if found.entry.state != State::Gone => {
                Some(snapshot.own_stamp(&found)?.stamp.clone())
            }
            Some(_) | None => None,
        };
        if own.is_some_and(|own| own >= stamp.stamp) {
            continue;
        }
        let number = tables.stamp(stamp);
        match found.filter(|found| found.entry.is_live()) {
            Some(found) => {
                let adopted = tables.adopt(&snapshot, &found)?;
                let stale = adopted.stale || !snapshot.is_comparable(&found, next.comparison);
                entries.push(Entry { stamp: number, stale, ..adopted });
            }
            None => entries.push(Entry {
                key: hash,
                raw: 0,
                canon: 0,
                loc: pack.push(key)?,
                pos: found.map_or(NO_POSITION, |found| found.entry.pos),
                stamp: number,
                state: State::Tombstone,
                stale: false,
            }),
        }
    }
    if entries.is_empty() {
        drop(pack);
        return std::fs::remove_file(&pack_path).map_err(|e| crate::error::Error::io(&pack_path, e));
    }
    state.make_durable(&pack.finish()?)?;
    let name = format!("{stem}.layer");
    let path = state.layer_path(&next.source_id, &name);
    let mut writer = LayerWriter::create(&path)?;
    for entry in &entries {
        writer.push(entry)?;
    }
    // Relationships are in the end index of the layer that has their body.
    let count = writer.len();
    state.make_durable(&writer.finish(&tables.into_meta(next.comparison))?)?;
    next.layers.push(LayerRef { file: name, entries: count });
    Ok(())
}
