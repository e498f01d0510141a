//! From assertions sorted by key to the source's own changes: what its next
//! snapshot says of each key, and which keys have to be judged at the target.
//!
//! One pass in order of keys over the assertions and the absent keys. Writes
//! the plan's layer; everything here concerns one source only.

mod said;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::absent::Absent;
use super::asserted::{AGAIN, Asserted, BAD, DELETED, OUTSIDE, RESTATED, SKIPPED, SUPERSEDED, UNCHANGED};
use super::candidate::{Candidate, GONE, NONE, REFRESH, UNSURE, group};
use super::format::entry::{Entry, Loc, NO_POSITION, State};
use super::format::layer::{EndRow, LayerWriter, StampInfo, end_prefix};
use super::format::written::Written;
use super::halt::Halt;
use super::key_lines::{KeyLines, Says};
use super::layer_tables::{EndRecord, LayerTables};
use super::moved_keys::MovedKeys;
use super::moving::{Asking, Gone, LookUps, Moved, Moving, rank};
use super::originals::Originals;
use super::rejects::Rejects;
use super::restate::{is_unapplied, unapplied};
use super::snapshot::{Found, Snapshot, SnapshotManifest};
use super::sorter::{Sorted, Sorter};
use super::state_dir::Pack;
use super::types::Types;
use super::view::{Reader, TargetView, UnsureKeys};
use crate::domain::glob::Glob;
use crate::domain::guards::GuardFacts;
use crate::domain::key::{Key, KeyHash, Kind};
use crate::domain::plan::PlanSummary;
use crate::domain::settings::Mode;
use crate::domain::skip::Skips;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::Batch;
use crate::limits::{MAX_SKIPPED, MAX_WITHHELD};

/// What settling works on.
pub struct SettleInput<'a> {
    /// The batch.
    pub batch: &'a Batch,
    /// How its lines are taken.
    pub mode: Mode,
    /// Its stamp and workflow.
    pub stamp: &'a StampInfo,
    /// The published snapshots.
    pub view: &'a TargetView,
    /// Fingerprint of the comparison settings.
    pub comparison: u64,
    /// The plan's pack, finished, and its name.
    pub pack: (&'a std::sync::Arc<Pack>, &'a str),
    /// Types by number.
    pub types: &'a Types,
    /// Ranks of types.
    pub ranks: &'a BTreeMap<String, u16>,
    /// Types of relationships that lead to contents.
    pub containment: &'a [Glob],
    /// Contents that a deleted container may have.
    pub container_contents: u64,
    /// Whether entries get the positions of the order that is being written.
    pub new_positions: bool,
    /// Those of the pass: they know keys that nothing else holds.
    pub rejects: &'a Rejects,
    /// Keys that an operator skips.
    pub skips: &'a Skips,
    /// Keys whose state at the target is not known.
    pub unsure: &'a UnsureKeys<'a>,
    /// Threads that look up what comes and goes.
    pub threads: usize,
    /// Folder for runs of sorting.
    pub tmp: &'a Path,
    /// Bytes of relationships that move to sort in memory.
    pub moved_budget: usize,
    /// Keys that the pass found unchanged without a record, by kind.
    pub unchanged: [u64; 2],
    /// Whether to go on.
    pub halt: Halt<'a>,
}

/// What settling found.
pub struct Settled {
    /// Counts; creates, updates and deletes of the target come later.
    pub summary: PlanSummary,
    /// What the guards look at.
    pub facts: GuardFacts,
    /// Keys of which the batch says nothing.
    pub exceptions: Vec<Key>,
    /// Keys whose deletion is withheld, the first ones.
    pub withheld: Vec<Key>,
    /// Live keys by type after the plan, entities and relationships.
    pub counts: [BTreeMap<String, u64>; 2],
    /// Unsure relationships whose ends come or go.
    pub moved_unsure: HashSet<KeyHash>,
    /// Entries of the plan's layer.
    pub entries: u64,
    /// Rejects that settling added.
    pub rejected: u64,
    /// Unsure keys that the batch does not change.
    pub unsure: HashSet<KeyHash>,
}

struct Work<'a, 'b, 'l> {
    input: &'a SettleInput<'a>,
    layer: LayerWriter,
    tables: LayerTables,
    ends: Sorter<EndRecord>,
    candidates: &'b mut Sorter<Candidate>,
    /// Where rejects go whose lines are still to be read.
    originals: &'b mut Originals,
    reader: Reader,
    /// Looks up what comes and goes.
    asking: Asking<'l, 'a>,
    moved: MovedKeys,
    out: Settled,
    unsure: HashSet<KeyHash>,
    /// The number of the batch's stamp, once it has one.
    stamp: Option<u32>,
    /// Keys that were not live before, by the numbers of their types.
    new: [Vec<u64>; 2],
}

/// Settles every key, hands the candidates to `candidates` and the keys of which
/// the batch says different things to `originals`, and returns the relationships whose ends come or go and the layer that it wrote too.
pub fn run(
    input: &SettleInput<'_>,
    asserted: Sorted<Asserted>,
    absent: Sorted<Absent>,
    layer: LayerWriter,
    ends: Sorter<EndRecord>,
    candidates: &mut Sorter<Candidate>,
    originals: &mut Originals,
) -> Result<(Settled, MovedKeys, Written)> {
    let own = input.view.own.as_ref().map(Snapshot::manifest);
    let counts =
        own.map_or_else(Default::default, |m| [m.entity_counts.clone(), m.relationship_counts.clone()]);
    let mut out = Settled {
        summary: PlanSummary::default(),
        facts: GuardFacts::default(),
        exceptions: Vec::new(),
        withheld: Vec::new(),
        counts,
        moved_unsure: HashSet::new(),
        entries: 0,
        rejected: 0,
        unsure: HashSet::new(),
    };
    out.summary.entities.unchanged = input.unchanged[0];
    out.summary.relationships.counts.unchanged = input.unchanged[1];
    if input.mode == Mode::Full {
        // Each line that the pass found unchanged without a record is a live
        // key of the scope. Withheld deletions do not happen: a batch that
        // counts as incremental is judged when they do.
        let in_place = input.unchanged.iter().sum();
        out.facts.full_listed = Some(in_place);
        out.facts.live_in_scope = in_place;
    }
    out.facts.entities_live = own.map_or(0, |m| m.live(Kind::Entity));
    out.facts.live_by_type = own.map(SnapshotManifest::live_by_type).unwrap_or_default();
    let unsure = input.unsure.keys().copied().collect();
    let look_ups = LookUps::new(Moving {
        view: input.view,
        stamp: input.stamp,
        ranks: input.ranks,
        containment: input.containment,
    });
    let mut readers = (1..input.threads).map(|_| Reader::new()).collect::<Result<Vec<_>>>()?;
    let (asking, reader) = (look_ups.ask(Reader::new()?), Reader::new()?);
    let tables = LayerTables::default();
    let mut work = Work {
        input,
        layer,
        tables,
        ends,
        candidates,
        originals,
        reader,
        asking,
        moved: MovedKeys::new(input.tmp, input.moved_budget),
        out,
        unsure,
        stamp: None,
        new: Default::default(),
    };
    work.tables.pack(input.pack.1)?;
    std::thread::scope(|scope| {
        // Whoever leaves drops `work`, which ends the helpers.
        let mut work = work;
        for reader in &mut readers {
            scope.spawn(|| look_ups.help(reader));
        }
        work.all(asserted, absent)?;
        work.finish()
    })
}

impl Work<'_, '_, '_> {
    /// Every key, in order.
    fn all(&mut self, mut asserted: Sorted<Asserted>, mut absent: Sorted<Absent>) -> Result<()> {
        let mut line = asserted.take_next()?;
        let mut gone = absent.take_next()?;
        let mut lines = KeyLines::default();
        let mut pace = self.input.halt.pace();
        loop {
            pace.tick()?;
            match (&line, &gone) {
                (None, None) => return Ok(()),
                (Some(first), gone_next) if gone_next.is_none_or(|gone| first.key <= gone.key) => {
                    let key = first.key;
                    lines.clear();
                    while let Some(next) = line.filter(|next| next.key == key) {
                        lines.push(next);
                        line = asserted.take_next()?;
                    }
                    // A key can't be listed and absent; should it be, it is listed.
                    let is_listed = lines.all().iter().any(|line| !line.has(RESTATED));
                    let mut goes = false;
                    while let Some(next) = gone.filter(|gone| gone.key == key) {
                        goes |= !is_listed && self.absent(next)?;
                        gone = absent.take_next()?;
                    }
                    if !goes {
                        self.asserted(lines.all(), lines.is_cut())?;
                    }
                }
                (_, Some(next)) => {
                    self.absent(*next)?;
                    gone = absent.take_next()?;
                }
                (Some(_), None) => unreachable!("the second arm takes every line when no absent key is left"),
            }
        }
    }

    fn finish(mut self) -> Result<(Settled, MovedKeys, Written)> {
        let found = self.asking.finish();
        self.take_moved(found)?;
        for (counts, new) in self.out.counts.iter_mut().zip(&self.new) {
            for (type_id, new) in new.iter().enumerate().filter(|(_, new)| **new > 0) {
                *counts.entry(self.input.types.name(type_id as u32).to_string()).or_default() += new;
            }
        }
        let mut ends = self.ends.finish()?;
        while let Some(end) = ends.take_next()? {
            self.layer.push_end(end.0)?;
        }
        self.out.entries = self.layer.len();
        let layer = self.layer.finish(&self.tables.into_meta(self.input.comparison))?;
        self.out.unsure = self.unsure;
        Ok((self.out, self.moved, layer))
    }

    /// The number of the batch's stamp.
    fn stamp(&mut self) -> u32 {
        *self.stamp.get_or_insert_with(|| self.tables.stamp(self.input.stamp))
    }

    /// All lines of one key. `cut`: some are not held that say something else.
    fn asserted(&mut self, lines: &[Asserted], cut: bool) -> Result<()> {
        let (lines, restated) = match lines.split_last() {
            Some((last, lines)) if last.has(RESTATED) => (lines, Some(last)),
            Some(_) | None => (lines, None),
        };
        let Some(first) = lines.first() else { return self.restate(restated, None) };
        let kind = first.key.kind();
        // The unchanged line that came before all of these was counted then.
        let counted = lines.iter().all(|line| line.has(AGAIN));
        let skipped = lines.iter().any(|line| line.has(SKIPPED));
        let own = self.input.view.own.as_ref();
        let known = match own {
            Some(own) => own.lookup(first.key, &mut self.reader.scratch)?,
            None => None,
        };
        let live = known.filter(|found| found.entry.is_live());
        if !counted && !first.has(OUTSIDE) {
            self.in_scope(true, live.is_some());
        }
        if lines.iter().any(|line| line.has(BAD)) {
            if counted {
                self.uncount(kind);
            }
            if skipped {
                self.skip(first)?;
                return self.restate(restated, None);
            }
            self.keep_beside_bad(lines, counted, cut)?;
            self.except(first, None)?;
            return self.restate(restated, None);
        }
        let conflict = lines.iter().any(|line| Says::of(line) != Says::of(first))
            || counted && Says::of(first) != Says::Published;
        if conflict {
            if counted {
                self.uncount(kind);
            }
            if skipped {
                self.skip(first)?;
                return self.restate(restated, None);
            }
            self.except(first, Some((lines, counted, cut)))?;
            return self.restate(restated, None);
        }
        if first.has(SUPERSEDED) {
            if !counted {
                self.out.summary.of(kind).superseded += 1;
            }
            return self.restate(restated, None);
        }
        // What is published already may be asserted: nothing is sent for it.
        let published = first.has(UNCHANGED) || first.has(DELETED) && live.is_none();
        if skipped && !published {
            self.skip(first)?;
            return self.restate(restated, None);
        }
        let stamp = self.stamp();
        // Its old place in the line order stays hidden, also when it comes back.
        let pos = if self.input.new_positions {
            first.pos
        } else {
            known.map_or(NO_POSITION, |found| found.entry.pos)
        };
        if first.has(DELETED) {
            let entry = Entry {
                key: first.key,
                raw: 0,
                canon: 0,
                loc: first.loc,
                pos: if self.input.new_positions { NO_POSITION } else { pos },
                stamp,
                state: State::Tombstone,
                stale: false,
            };
            self.layer.push(&entry)?;
            match live {
                Some(found) => self.gone(found)?,
                None => self.out.summary.of(kind).unchanged += 1,
            }
            return Ok(());
        }
        if first.has(UNCHANGED) {
            if !counted {
                self.out.summary.of(kind).unchanged += 1;
            }
            let raises = self.input.mode == Mode::Incremental || first.has(OUTSIDE);
            if restated.is_some() {
                return self.restate(restated, raises.then_some(stamp));
            }
            if let (Some(own), Some(found)) = (own, live)
                && raises
            {
                let adopted = self.tables.adopt(own, &found)?;
                let comparable = own.is_comparable(&found, self.input.comparison);
                let canon_is_new = first.canon != found.entry.canon || comparable;
                // Its line is that of the body, which need not be this one.
                let entry = Entry { canon: first.canon, pos, stamp, stale: !canon_is_new, ..adopted };
                // A skipped one is sent when that is over.
                let entry = if is_unapplied(&found.entry) { unapplied(entry) } else { entry };
                self.layer.push(&entry)?;
            }
            if !skipped && self.unsure.remove(&first.key) {
                self.candidate(first, live, UNSURE)?;
            }
            return Ok(());
        }
        let entry = Entry {
            key: first.key,
            raw: first.raw,
            canon: first.canon,
            loc: first.loc,
            pos,
            stamp,
            state: State::Live,
            stale: false,
        };
        let number = self.layer.push(&entry)?;
        if live.is_none() {
            if kind == Kind::Relationship {
                for (to, end) in [(false, first.ends[0]), (true, first.ends[1])] {
                    self.ends.push(EndRecord(EndRow { end: end_prefix(end), entry: number, to }))?;
                }
            }
            let new = &mut self.new[kind as usize];
            let type_id = first.type_id as usize;
            if new.len() <= type_id {
                new.resize(type_id + 1, 0);
            }
            new[type_id] += 1;
            if kind == Kind::Entity {
                self.comes(first.key)?;
            }
        } else if kind == Kind::Entity {
            self.out.facts.entities_updated += 1;
        }
        let unsure = if self.unsure.remove(&first.key) { UNSURE } else { 0 };
        self.candidate(first, live, unsure)
    }

    /// The published value in its new form; what is asserted is what was, as of
    /// `stamp` if the batch says it too.
    fn restate(&mut self, restated: Option<&Asserted>, stamp: Option<u32>) -> Result<()> {
        let (Some(restated), Some(own)) = (restated, &self.input.view.own) else { return Ok(()) };
        let Some(found) = own.live(restated.key, &mut self.reader.scratch)? else { return Ok(()) };
        let stamp = match stamp {
            Some(stamp) => stamp,
            None => self.tables.stamp(own.own_stamp(&found)?),
        };
        if restated.has(SKIPPED) {
            // Nothing is sent of it, and it has its new form when that is over.
            let entry = unapplied(self.tables.adopt(own, &found)?);
            // Its line must be looked at then: it has no place in a new order.
            let pos = if self.input.new_positions { NO_POSITION } else { found.entry.pos };
            return self.layer.push(&Entry { pos, stamp, ..entry }).map(drop);
        }
        self.layer.push(&Entry {
            key: restated.key,
            raw: restated.raw,
            canon: restated.canon,
            loc: restated.loc,
            pos: if self.input.new_positions { restated.pos } else { found.entry.pos },
            stamp,
            state: State::Live,
            stale: false,
        })?;
        self.out.facts.entities_updated += u64::from(restated.key.kind() == Kind::Entity);
        let unsure = if self.unsure.remove(&restated.key) { UNSURE } else { 0 };
        self.candidate(restated, Some(found), REFRESH | unsure)
    }

    /// Counts one key of the scope, by what the source's own snapshot has of it.
    fn in_scope(&mut self, named: bool, live: bool) {
        let facts = &mut self.out.facts;
        if let Some(listed) = &mut facts.full_listed {
            *listed += u64::from(named);
            facts.live_in_scope += u64::from(live);
        }
    }

    fn uncount(&mut self, kind: Kind) {
        let unchanged = &mut self.out.summary.of(kind).unchanged;
        *unchanged = unchanged.saturating_sub(1);
    }

    /// A key that an operator skips: the batch says nothing of it, and nobody
    /// is asked to repair it.
    fn skip(&mut self, first: &Asserted) -> Result<()> {
        let key = self.key_of(first)?;
        self.skip_key(first.key.kind(), key)
    }

    fn skip_key(&mut self, kind: Kind, key: Option<Key>) -> Result<()> {
        self.out.summary.of(kind).skipped += 1;
        self.out.exceptions.extend(key);
        if self.out.summary.skipped() > MAX_SKIPPED {
            let (batch, source) = (&self.input.batch.id, self.input.batch.id.source());
            let text = format!(
                "batch {batch}: more than {MAX_SKIPPED} keys with something new are skipped; \
                 narrow what source {source} skips, or pause it"
            );
            return Err(Error::new(ErrorKind::Settings, text));
        }
        Ok(())
    }

    /// A live key that a full batch did not list. Returns whether it goes.
    fn absent(&mut self, absent: Absent) -> Result<bool> {
        let Some(own) = &self.input.view.own else { return Ok(false) };
        let entry = own.layer(absent.layer as usize).get(absent.number, &mut self.reader.scratch)?;
        let found = Found { layer: absent.layer as usize, number: absent.number, entry };
        if self.input.mode == Mode::Incremental {
            // The batch lost a line without a readable key: it deletes nothing.
            self.out.summary.of(absent.key.kind()).withheld += 1;
            if self.out.withheld.len() < MAX_WITHHELD {
                self.out.withheld.push(own.body(&found, &mut self.reader.bodies)?.body()?.key());
            }
            return Ok(false);
        }
        self.in_scope(false, true);
        if !self.input.skips.is_empty() {
            let key = own.body(&found, &mut self.reader.bodies)?.body()?.key();
            if self.input.skips.has(&key) {
                self.skip_key(absent.key.kind(), Some(key))?;
                return Ok(false);
            }
        }
        let stamp = self.stamp();
        self.layer.push(&Entry {
            key: absent.key,
            raw: 0,
            canon: 0,
            loc: Loc::NONE,
            pos: if self.input.new_positions { NO_POSITION } else { entry.pos },
            stamp,
            state: State::Gone,
            stale: false,
        })?;
        self.gone(found)?;
        Ok(true)
    }

    /// A live key goes.
    fn gone(&mut self, found: Found) -> Result<()> {
        let found = self.asking.goes(found);
        self.take_moved(found)
    }

    /// An entity of the source comes.
    fn comes(&mut self, key: KeyHash) -> Result<()> {
        let found = self.asking.comes(key);
        self.take_moved(found)
    }

    /// Takes what was found of keys that come or go.
    fn take_moved(&mut self, found: Vec<Result<Moved>>) -> Result<()> {
        for moved in found {
            let moved = moved?;
            for key in moved.relationships {
                if self.input.unsure.contains_key(&key) {
                    self.out.moved_unsure.insert(key);
                }
                self.moved.push(key)?;
            }
            for gone in moved.gone {
                self.take_gone(gone)?;
            }
        }
        Ok(())
    }

    fn take_gone(&mut self, gone: Gone) -> Result<()> {
        let key = gone.found.entry.key;
        let kind = key.kind();
        let facts = &mut self.out.facts;
        facts.other_workflow_deletions += u64::from(gone.of_other_workflow);
        if gone.contents > self.input.container_contents {
            facts.large_containers += 1;
            facts.largest_container = facts.largest_container.max(gone.contents);
        }
        if let Some(count) = self.out.counts[kind as usize].get_mut(&gone.type_name) {
            *count = count.saturating_sub(1);
        }
        *facts.deleted_by_type.entry(gone.type_name).or_default() += 1;
        let unsure = if self.unsure.remove(&key) { UNSURE } else { 0 };
        self.candidates.push(Candidate {
            group: if kind == Kind::Entity { group::ENTITY_GONE } else { group::RELATIONSHIP },
            rank: u32::MAX - gone.rank,
            file: 0,
            line: 0,
            key,
            ends: gone.ends,
            loc: Loc::NONE,
            canon: 0,
            size: 0,
            old_layer: gone.found.layer as u32,
            old_number: gone.found.number,
            flags: GONE | unsure,
        })
    }

    fn candidate(&mut self, line: &Asserted, live: Option<Found>, flags: u32) -> Result<()> {
        let type_name = self.input.types.name(line.type_id);
        let (group, rank) = match line.key.kind() {
            Kind::Entity => (group::ENTITY, rank(self.input.ranks, &type_name, line.depth)),
            Kind::Relationship => (group::RELATIONSHIP, 0),
        };
        self.candidates.push(Candidate {
            group,
            rank,
            file: line.file,
            line: line.line,
            key: line.key,
            ends: line.ends,
            loc: line.loc,
            canon: line.canon,
            size: line.size,
            old_layer: live.map_or(NONE, |found| found.layer as u32),
            old_number: live.map_or(0, |found| found.number),
            flags,
        })
    }
}
