//! What is kept of a plan's layer when not all of it was published.

use std::collections::HashMap;

use super::bodies::Bodies;
use super::fold::{self, FoldInput};
use super::format::entry::{Entry, Loc, NO_POSITION, State};
use super::format::layer::{CacheBudget, EndRow, Layer, LayerWriter, Scratch, end_prefix};
use super::halt::Halt;
use super::key_pack::KeyPack;
use super::layer_tables::LayerTables;
use super::next::PlanOutcome;
use super::plan_file::{FoldRef, Plan};
use super::restate::{is_restated, unapplied};
use super::snapshot::{Found, LayerRef, Snapshot, SnapshotManifest};
use super::state_dir::StateDir;
use super::unsure::key_of;
use crate::domain::change::Action;
use crate::domain::key::{Key, KeyHash, Kind};
use crate::error::{Error, Result};

/// Bytes of index blocks that are held.
const INDEX: usize = 16 << 20;
/// Bytes that sorting may hold.
const SORT: usize = 16 << 20;

/// The plan's layer without what was not published.
pub fn keep(
    state: &StateDir,
    plan: &Plan,
    own: Option<&Snapshot>,
    outcome: &PlanOutcome,
    next: &mut SnapshotManifest,
) -> Result<LayerRef> {
    let manifest = plan.manifest();
    let source = &manifest.header.source_id;
    let budget = CacheBudget::new(16 << 20);
    let whole = Layer::open(&state.layer_path(source, &manifest.layer.file), &budget)?;
    let mut scratch = Scratch::default();
    let published = |key: &KeyHash| {
        if outcome.complete { !outcome.failed.contains_key(key) } else { outcome.done.contains(key) }
    };

    let mut gone: HashMap<KeyHash, Key> = HashMap::new();
    let mut reader = Bodies::new()?;
    if !outcome.complete {
        plan.changes(|change| {
            if !change.moved && change.action == Action::Delete && published(&change.hash) {
                gone.insert(change.hash, key_of(plan, &change, &mut reader)?);
            }
            Ok(())
        })?;
    }

    // A deletion by a full batch that counts as incremental leaves a
    // tombstone, which has its key's text.
    let pack_name = format!("{}-kept.pack", manifest.header.plan_id);
    let mut places = HashMap::new();
    if !gone.is_empty() {
        let mut pack = KeyPack::create(&state.pack_path(source, &pack_name))?;
        let mut keys: Vec<_> = gone.iter().collect();
        keys.sort_unstable_by_key(|(hash, _)| **hash);
        for (hash, key) in keys {
            places.insert(*hash, pack.push(key)?);
        }
        state.make_durable(&pack.finish()?)?;
    }

    let name = format!("{}-kept.layer", manifest.header.plan_id);
    let path = state.layer_path(source, &name);
    let mut writer = LayerWriter::create(&path)?;
    let mut tables = LayerTables::default();
    for pack in &whole.meta().packs {
        tables.pack(pack)?;
    }
    for stamp in &whole.meta().stamps {
        tables.stamp(stamp);
    }
    let mut renumbered = vec![NO_POSITION; whole.len() as usize];
    let mut uncounted = Uncounted::default();
    let mut scan = whole.scan();
    while let Some((number, entry)) = scan.advance()? {
        let before = match own {
            Some(own) => own.lookup(entry.key, &mut scratch)?,
            None => None,
        };
        let live_before = before.filter(|found| found.entry.is_live());
        // Without the new line order, positions mean those of the present one.
        let pos = before.map_or(NO_POSITION, |found| found.entry.pos);
        if !published(&entry.key) {
            uncounted.add(plan, own, (&entry, live_before.as_ref()), &mut reader, next)?;
            // What is restated as a whole next time needs no mark.
            if let (Some(own), Some(found)) = (own, live_before)
                && outcome.complete
                && is_restated(&entry)
            {
                let adopted = tables.adopt(own, &found)?;
                writer.push(&unapplied(Entry { pos, ..adopted }))?;
            }
            continue;
        }
        let mut entry = Entry { pos, ..entry };
        if entry.state == State::Gone && !outcome.complete {
            entry.state = State::Tombstone;
            if let Some(place) = places.get(&entry.key) {
                entry.loc = place.with_pack(tables.pack(&pack_name)?);
            }
        }
        renumbered[number as usize] = writer.push(&entry)?;
    }
    uncounted.finish(plan, &mut reader, next)?;
    whole.scan_ends(|row| match renumbered.get(row.entry as usize) {
        Some(&entry) if entry != NO_POSITION => writer.push_end(EndRow { entry, ..row }),
        Some(_) | None => Ok(()),
    })?;
    let entries = writer.len();
    state.make_durable(&writer.finish(&tables.into_meta(manifest.comparison))?)?;
    Ok(LayerRef { file: name, entries })
}

/// A layer above what the plan folded, which took everything for published:
/// the keys that were refused are in it as they were before. `None`: the plan
/// asserted nothing of them.
pub fn put_back(
    state: &StateDir,
    plan: &Plan,
    own: Option<&Snapshot>,
    outcome: &PlanOutcome,
    folded: &FoldRef,
    next: &mut SnapshotManifest,
) -> Result<Option<LayerRef>> {
    let manifest = plan.manifest();
    let source = &manifest.header.source_id;
    let budget = CacheBudget::new(INDEX);
    let whole = Layer::open(&state.layer_path(source, &manifest.layer.file), &budget)?;
    let folded = Layer::open(&state.layer_path(source, &folded.layer.file), &budget)?;
    let (mut scratch, mut bodies) = (Scratch::default(), Bodies::new()?);
    let mut uncounted = Uncounted::default();
    let mut refused: Vec<KeyHash> = outcome.failed.keys().copied().collect();
    refused.sort_unstable();

    let name = format!("{}-kept.layer", manifest.header.plan_id);
    let path = state.layer_path(source, &name);
    let mut writer = LayerWriter::create(&path)?;
    let mut tables = LayerTables::default();
    let mut ends: Vec<EndRow> = Vec::new();
    for hash in refused {
        let Some((_, planned)) = whole.lookup(hash, &mut scratch)? else { continue };
        let before = match own {
            Some(own) => own.lookup(hash, &mut scratch)?.map(|found| (own, found)),
            None => None,
        };
        let live = before.as_ref().map(|(_, found)| found).filter(|found| found.entry.is_live());
        uncounted.add(plan, own, (&planned, live), &mut bodies, next)?;
        let below = folded.lookup(hash, &mut scratch)?;
        // Its place in the line order that is below stays hidden.
        let pos = below.map_or(NO_POSITION, |(_, entry)| entry.pos);
        let entry = match before {
            Some((own, found)) => {
                let adopted = tables.adopt(own, &found)?;
                let stale = adopted.stale || !own.is_comparable(&found, manifest.comparison);
                if found.entry.is_live() && hash.kind() == Kind::Relationship {
                    let (from, to) = own.body(&found, &mut bodies)?.body()?.ends();
                    let entry = u32::try_from(writer.len()).unwrap_or(NO_POSITION);
                    ends.extend([(from, false), (to, true)].map(|(end, to)| EndRow {
                        end: end_prefix(end),
                        entry,
                        to,
                    }));
                }
                let entry = Entry { pos, stale, ..adopted };
                if is_restated(&planned) { unapplied(entry) } else { entry }
            }
            None if below.is_some() => Entry {
                key: hash,
                raw: 0,
                canon: 0,
                loc: Loc::NONE,
                pos,
                stamp: tables.stamp(&manifest.stamp),
                state: State::Gone,
                stale: false,
            },
            None => continue,
        };
        writer.push(&entry)?;
    }
    uncounted.finish(plan, &mut bodies, next)?;
    ends.sort_unstable();
    for row in ends {
        writer.push_end(row)?;
    }
    let entries = writer.len();
    let written = writer.finish(&tables.into_meta(manifest.comparison))?;
    if entries == 0 {
        drop(written);
        return std::fs::remove_file(&path).map(|()| None).map_err(|e| Error::io(&path, e));
    }
    state.make_durable(&written)?;
    Ok(Some(LayerRef { file: name, entries }))
}

/// Takes back what the plan counted of entries of its layer that were not
/// published; with it what the source had of their keys before, if that was live.
#[derive(Default)]
struct Uncounted {
    /// What is new. Its types are in the plan's own pack, in the order of lines;
    /// entries come by their keys.
    new: Vec<(Loc, Kind)>,
}

impl Uncounted {
    /// New entries that are held.
    const MOST: usize = 1 << 20;

    fn add(
        &mut self,
        plan: &Plan,
        own: Option<&Snapshot>,
        (planned, live): (&Entry, Option<&Found>),
        bodies: &mut Bodies,
        next: &mut SnapshotManifest,
    ) -> Result<()> {
        match (own.zip(live), planned.is_live()) {
            (None, true) => self.new.push((planned.loc, planned.key.kind())),
            (Some((own, found)), false) => {
                let body = own.body(found, bodies)?;
                *count_of(next, planned.key.kind(), body.body()?.type_name()) += 1;
            }
            (Some(_), true) | (None, false) => {}
        }
        if self.new.len() < Self::MOST { Ok(()) } else { self.take(plan, bodies, next) }
    }

    fn take(&mut self, plan: &Plan, bodies: &mut Bodies, next: &mut SnapshotManifest) -> Result<()> {
        self.new.sort_unstable_by_key(|(loc, _)| *loc);
        for (loc, kind) in self.new.drain(..) {
            let body = bodies.get(plan.pack(), loc)?;
            let count = count_of(next, kind, body.body()?.type_name());
            *count = count.saturating_sub(1);
        }
        Ok(())
    }

    fn finish(mut self, plan: &Plan, bodies: &mut Bodies, next: &mut SnapshotManifest) -> Result<()> {
        self.take(plan, bodies, next)
    }
}

fn count_of<'a>(next: &'a mut SnapshotManifest, kind: Kind, type_name: &str) -> &'a mut u64 {
    let counts = match kind {
        Kind::Entity => &mut next.entity_counts,
        Kind::Relationship => &mut next.relationship_counts,
    };
    counts.entry(type_name.to_owned()).or_default()
}

/// Makes the layers above the base one.
pub fn fold(state: &StateDir, next: &mut SnapshotManifest) -> Result<()> {
    if next.layers.len() < 3 {
        return Ok(());
    }
    let snapshot = Snapshot::from_manifest(state, next.clone(), &CacheBudget::new(INDEX))?;
    let tmp = state.fold_folder(&next.plan_id)?;
    let (name, packed) =
        (format!("{}-folded.layer", next.plan_id), format!("{}-repacked.pack", next.plan_id));
    let folded = fold::run(
        &FoldInput {
            next: &snapshot,
            from: 1,
            new_positions: &[],
            positions_are_new: false,
            horizon: None,
            covering: &[],
            comparison: next.comparison,
            repacked: (&packed, &state.pack_path(&next.source_id, &packed)),
            tmp: tmp.path(),
            budget: SORT,
            halt: Halt::never(),
        },
        &state.layer_path(&next.source_id, &name),
        0,
    )?;
    if let Some(repacked) = &folded.repacked {
        state.make_durable(repacked)?;
    }
    state.make_durable(&folded.layer)?;
    next.layers.truncate(1);
    next.layers.push(LayerRef { file: name, entries: folded.entries });
    Ok(())
}
