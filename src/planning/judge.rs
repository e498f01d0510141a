//! From the source's own changes to changes at the target: what all sources
//! show together before the plan and after it (`SEMANTICS` 5 and 6).
//!
//! Candidates come in the order of execution, so that bodies are read in the
//! order in which they were written.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::bodies::BodyRef;
use super::candidate::{Candidate, GONE, NONE, REFRESH, UNSURE};
use super::footprint::Footprint;
use super::format::entry::Loc;
use super::format::layer::{Layer, Scratch};
use super::halt::Halt;
use super::look_alikes::LookAlikes;
use super::moved_keys::MovedKeys;
use super::plan_file::{PlannedChange, PlannedValue};
use super::plan_writer::ChangeSection;
use super::snapshot::Found;
use super::sorter::Sorted;
use super::state_dir::Pack;
use super::types::Types;
use super::view::{Part, Reader, TargetView, UnsureKeys, merged};
use crate::domain::change::Action;
use crate::domain::ids::SourceId;
use crate::domain::key::{Key, KeyHash, Kind};
use crate::domain::merge;
use crate::domain::plan::{PlanDigest, PlanSummary};
use crate::error::{Error, Result};
use crate::hand_over::{HandOver, Turn};

/// What judging works on.
pub struct JudgeInput<'a> {
    /// The published snapshots.
    pub view: &'a TargetView,
    /// The plan's layer: what the source will assert.
    pub layer: &'a Layer,
    /// The plan's pack.
    pub pack: &'a Arc<Pack>,
    /// The source's precedence in the settings.
    pub precedence: i64,
    /// The types by number.
    pub types: &'a Types,
    /// Keys whose state at the target is not known.
    pub unsure: &'a UnsureKeys<'a>,
    /// How many threads may judge.
    pub threads: usize,
    /// Called with the number of keys judged since the last call.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Whether to go on.
    pub halt: Halt<'a>,
}

/// The plan's changes, in the sections in which they are executed.
pub struct Sections {
    /// Relationships that go.
    pub relationships_gone: ChangeSection,
    /// Entities that come or change.
    pub entities: ChangeSection,
    /// Relationships that come or change.
    pub relationships: ChangeSection,
    /// Entities that go.
    pub entities_gone: ChangeSection,
}

impl Sections {
    /// Empty sections whose operations hold at most so much.
    pub fn new(tmp: &Path, max_changes: usize, max_bytes: usize) -> Result<Self> {
        let section = |name| ChangeSection::new(tmp, name, max_changes, max_bytes);
        Ok(Self {
            relationships_gone: section("relationships-gone")?,
            entities: section("entities")?,
            relationships: section("relationships")?,
            entities_gone: section("entities-gone")?,
        })
    }
}

/// Candidates that a thread takes at a time.
const SHARE: usize = 256;
/// Shares that may be judged before the first of them is put into the plan.
const AHEAD: usize = 24;
/// Below so many candidates, one thread does as well.
const FEW: usize = 64;
/// Bytes of values that may be held ready of one share.
const HOLD: usize = 1 << 20;

/// The candidates, cut into shares. They are read in order, whoever wants one.
struct Shares {
    candidates: Sorted<Candidate>,
    /// Relationships whose ends come or go.
    moved: MovedKeys,
    /// The number of the share that is read next, and those that were read
    /// for others.
    next: usize,
    read: HashMap<usize, Vec<Candidate>>,
}

impl Shares {
    fn take(&mut self, number: usize) -> Result<Vec<Candidate>> {
        while self.next <= number {
            let mut share = Vec::with_capacity(SHARE);
            while share.len() < SHARE
                && let Some(candidate) = self.candidates.take_next()?
            {
                if candidate.key.kind() == Kind::Relationship {
                    self.moved.leave_out(candidate.key)?;
                }
                share.push(candidate);
            }
            self.read.insert(self.next, share);
            self.next += 1;
        }
        Ok(self.read.remove(&number).unwrap_or_default())
    }
}

/// Judges `count` candidates, then the relationships whose ends come or go.
///
/// Candidates do not depend on each other: threads judge shares of them as
/// they are free, while this one puts what was found into the sections, in the
/// candidates' order, and judges too where it would have to wait.
pub fn run(
    input: &JudgeInput<'_>,
    (candidates, count): (Sorted<Candidate>, u64),
    moved: MovedKeys,
    sections: &mut Sections,
    summary: &mut PlanSummary,
    footprint: &mut Footprint,
    names: &mut LookAlikes,
) -> Result<PlanDigest> {
    let others = if count < FEW as u64 { 0 } else { input.threads.max(1) - 1 };
    let mut judges = (0..others).map(|_| Judge::new(input)).collect::<Result<Vec<_>>>()?;
    let mut own = Judge::new(input)?;
    let mut out =
        Gathered { types: input.types, sections, summary, footprint, names, digest: PlanDigest::default() };
    let count = usize::try_from(count).unwrap_or(usize::MAX).div_ceil(SHARE);
    let hand_over: HandOver<Result<(Vec<Candidate>, Judged)>> = HandOver::new(count, AHEAD);
    let shares = Shares { candidates, moved, next: 0, read: HashMap::new() };
    let shares = Mutex::new(shares);
    let judged = |judge: &mut Judge<'_>, number: usize| {
        let share = shares.lock().unwrap_or_else(PoisonError::into_inner).take(number)?;
        let found = judge.share(&share)?;
        Ok((share, found))
    };
    std::thread::scope(|scope| -> Result<()> {
        let (hand_over, judged) = (&hand_over, &judged);
        // Before any thread is there: should one not start, the others are let go.
        let _taker = hand_over.taker();
        for judge in &mut judges {
            let helper = hand_over.helper();
            scope.spawn(move || {
                let _helper = helper;
                while let Some(number) = hand_over.next_ahead() {
                    hand_over.put(number, judged(judge, number));
                }
            });
        }
        for number in 0..count {
            input.halt.check()?;
            let (share, found) = loop {
                match hand_over.take(number) {
                    Turn::Found(found) => break found?,
                    Turn::LookUp(other) => hand_over.put(other, judged(&mut own, other)),
                    Turn::Lost => return Err(Error::internal("a thread that judges has ended")),
                }
            };
            (input.progress)(share.len() as u64);
            out.take(&share, found, &mut own)?;
        }
        Ok(())
    })?;
    let shares = shares.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut pace = input.halt.pace();
    shares.moved.each(|key| {
        pace.tick()?;
        own.relationship(key, None)?;
        out.put(own.hand_over(0))
    })?;
    Ok(out.digest)
}

/// What a thread found of its share.
struct Judged {
    changes: Vec<PlannedChange>,
    /// What it touched.
    touched: Vec<KeyHash>,
    summary: PlanSummary,
    /// How many candidates it judged: those behind would have been too much to
    /// hold.
    judged: usize,
}

/// The plan as far as it is gathered.
struct Gathered<'a> {
    types: &'a Types,
    names: &'a mut LookAlikes,
    sections: &'a mut Sections,
    summary: &'a mut PlanSummary,
    footprint: &'a mut Footprint,
    digest: PlanDigest,
}

impl Gathered<'_> {
    /// Takes what was found of a share, and has `judge` do what was left of it.
    fn take(&mut self, share: &[Candidate], found: Judged, judge: &mut Judge<'_>) -> Result<()> {
        let judged = found.judged;
        self.put(found)?;
        for candidate in &share[judged..] {
            judge.candidate(candidate)?;
            self.put(judge.hand_over(1))?;
        }
        Ok(())
    }

    fn put(&mut self, found: Judged) -> Result<()> {
        self.summary.add(&found.summary);
        for key in found.touched {
            self.footprint.push(key)?;
        }
        for change in found.changes {
            self.digest.add(change.digest());
            if let (Action::Delete, PlannedValue::Gone(Key::Entity(key), _)) = (change.action, &change.value)
            {
                self.names.push(self.types.id(&key.type_name), &key.type_name, &key.qualified_name);
            }
            let section = match (change.kind(), change.action) {
                (Kind::Relationship, Action::Delete) => &mut self.sections.relationships_gone,
                (Kind::Relationship, Action::Create | Action::Update) => &mut self.sections.relationships,
                (Kind::Entity, Action::Delete) => &mut self.sections.entities_gone,
                (Kind::Entity, Action::Create | Action::Update) => &mut self.sections.entities,
            };
            section.push(change.weight(), |out| change.write(out))?;
        }
        Ok(())
    }
}

struct Judge<'a> {
    input: &'a JudgeInput<'a>,
    /// What was found and not handed over yet, and the bytes of its values.
    changes: Vec<PlannedChange>,
    held: usize,
    /// What was touched by that.
    touched: Vec<KeyHash>,
    summary: PlanSummary,
    reader: Reader,
    /// For the plan's layer; `reader` has one of its own for the snapshots.
    scratch: Scratch,
    /// The `from` end looked at last, and whether it is there before and
    /// after: contents come one after the other.
    last_from: Option<(KeyHash, bool, bool)>,
}

impl<'a> Judge<'a> {
    fn new(input: &'a JudgeInput<'a>) -> Result<Self> {
        Ok(Self {
            input,
            changes: Vec::new(),
            held: 0,
            touched: Vec::new(),
            summary: PlanSummary::default(),
            reader: Reader::new()?,
            scratch: Scratch::default(),
            last_from: None,
        })
    }

    /// Judges candidates until it holds too much.
    fn share(&mut self, candidates: &[Candidate]) -> Result<Judged> {
        for (n, candidate) in candidates.iter().enumerate() {
            if self.held > HOLD {
                return Ok(self.hand_over(n));
            }
            self.candidate(candidate)?;
        }
        Ok(self.hand_over(candidates.len()))
    }

    fn hand_over(&mut self, judged: usize) -> Judged {
        self.held = 0;
        Judged {
            changes: std::mem::take(&mut self.changes),
            touched: std::mem::take(&mut self.touched),
            summary: std::mem::take(&mut self.summary),
            judged,
        }
    }

    fn candidate(&mut self, candidate: &Candidate) -> Result<()> {
        match candidate.key.kind() {
            Kind::Entity => self.entity(candidate),
            Kind::Relationship => self.relationship(candidate.key, Some(candidate)),
        }
    }

    fn old(&mut self, candidate: &Candidate) -> Result<Option<BodyRef>> {
        let Some(own) = self.input.view.own.as_ref().filter(|_| candidate.old_layer != NONE) else {
            return Ok(None);
        };
        let layer = candidate.old_layer as usize;
        let entry = own.layer(layer).get(candidate.old_number, &mut self.reader.scratch)?;
        let found = Found { layer, number: candidate.old_number, entry };
        own.body(&found, &mut self.reader.bodies).map(Some)
    }

    fn fresh(&mut self, candidate: &Candidate, old: Option<&BodyRef>) -> Result<Option<BodyRef>> {
        if candidate.has(GONE) {
            Ok(None)
        } else if candidate.loc == Loc::NONE {
            // Asserted as it is published.
            Ok(old.cloned())
        } else {
            self.reader.bodies.get(self.input.pack, candidate.loc).map(Some)
        }
    }

    fn entity(&mut self, candidate: &Candidate) -> Result<()> {
        self.touched.push(candidate.key);
        let others = self.input.view.other_parts(candidate.key, &mut self.reader)?;
        let replace = candidate.has(UNSURE);
        if others.is_empty() && candidate.old_layer == NONE && !candidate.has(GONE) && !replace {
            // The common case of a first publish: no body has to be read.
            self.put(PlannedChange {
                action: Action::Create,
                hash: candidate.key,
                moved: false,
                replace,
                value: PlannedValue::Packed(candidate.loc, candidate.size, candidate.canon),
            });
            return Ok(());
        }
        let old = self.old(candidate)?;
        let new = self.fresh(candidate, old.as_ref())?;
        let before = self.merge(&others, old.as_ref(), true)?;
        let after = self.merge(&others, new.as_ref(), false)?;
        let key = match old.as_ref().or(new.as_ref()).or(others.first().map(|part| &part.body)) {
            Some(body) => body.body()?.key(),
            None => match self.input.unsure.get(&candidate.key) {
                Some(unsure) => unsure.key.clone(),
                None => return Ok(()),
            },
        };
        self.differ(candidate, key, before, after, replace, false)
    }

    fn merge(&self, others: &[Part], own: Option<&BodyRef>, before: bool) -> Result<Option<Vec<u8>>> {
        let view = self.input.view;
        let precedence = match (&view.own, before) {
            (Some(own), true) => own.manifest().precedence,
            (Some(_) | None, _) => self.input.precedence,
        };
        let mut parts: Vec<(i64, &SourceId, &[u8])> = Vec::with_capacity(others.len() + 1);
        for part in others {
            parts.push((part.precedence, &part.source, part.body.body()?.attributes));
        }
        if let Some(own) = own {
            parts.push((precedence, &view.source, own.body()?.attributes));
        }
        Ok(merged(parts))
    }

    fn differ(
        &mut self,
        candidate: &Candidate,
        key: Key,
        before: Option<Vec<u8>>,
        after: Option<Vec<u8>>,
        replace: bool,
        moved: bool,
    ) -> Result<()> {
        let hash = candidate.key;
        let (action, value) = match (before, after) {
            (None, Some(after)) => (Action::Create, PlannedValue::Whole(key, after)),
            (Some(_), Some(after)) if replace => (Action::Create, PlannedValue::Whole(key, after)),
            (Some(before), Some(after)) => match merge::diff(&before, &after) {
                Some(patch) => (Action::Update, PlannedValue::Patch(key, patch.before, patch.after)),
                None => return self.invisible(candidate),
            },
            (Some(before), None) => (Action::Delete, PlannedValue::Gone(key, before)),
            (None, None) if replace => (Action::Delete, PlannedValue::Gone(key, b"{}".to_vec())),
            (None, None) => return self.invisible(candidate),
        };
        self.put(PlannedChange { action, hash, moved, replace, value });
        Ok(())
    }

    /// The source's change does not show: another source's value covers it,
    /// or the key is still there for another's sake.
    fn invisible(&mut self, candidate: &Candidate) -> Result<()> {
        if !candidate.has(REFRESH) && !candidate.has(GONE) {
            self.summary.of(candidate.key.kind()).unchanged += 1;
        }
        Ok(())
    }

    fn relationship(&mut self, hash: KeyHash, candidate: Option<&Candidate>) -> Result<()> {
        self.touched.push(hash);
        let others = self.input.view.other_parts(hash, &mut self.reader)?;
        let (old, new) = match candidate {
            Some(candidate) => {
                let old = self.old(candidate)?;
                let fresh =
                    old.is_none() && others.is_empty() && !candidate.has(GONE) && !candidate.has(UNSURE);
                if fresh {
                    return self.new_relationship(candidate);
                }
                let new = self.fresh(candidate, old.as_ref())?;
                (old, new)
            }
            None => {
                let old = match self.input.view.own_live(hash, &mut self.reader)? {
                    Some(found) => match &self.input.view.own {
                        Some(own) => Some(own.body(&found, &mut self.reader.bodies)?),
                        None => None,
                    },
                    None => None,
                };
                let new = old.clone();
                (old, new)
            }
        };
        let Some(any) = old.as_ref().or(new.as_ref()).or(others.first().map(|part| &part.body)) else {
            if let Some(candidate) = candidate
                && let Some(unsure) = self.input.unsure.get(&hash)
            {
                return self.differ(candidate, unsure.key.clone(), None, None, candidate.has(UNSURE), false);
            }
            return Ok(());
        };
        let (key, (from, to)) = (any.body()?.key(), any.body()?.ends());
        if candidate.is_some() {
            self.touched.extend([from, to]);
        }
        let before = self.merge(&others, old.as_ref(), true)?;
        let after = self.merge(&others, new.as_ref(), false)?;
        let (before_there, after_there) = self.ends(from, to)?;
        let waits = after.is_some() && !after_there;
        if waits {
            self.summary.relationships.waiting += 1;
        }
        let replace = match candidate {
            Some(candidate) => candidate.has(UNSURE),
            None => self.input.unsure.contains_key(&hash),
        };
        let moved = candidate.is_none() || waits;
        let plain = Candidate {
            group: 0,
            rank: 0,
            file: 0,
            line: 0,
            key: hash,
            ends: [from, to],
            loc: Loc::NONE,
            canon: 0,
            size: 0,
            old_layer: NONE,
            old_number: 0,
            flags: REFRESH,
        };
        let (shown, shows) = (before.filter(|_| before_there), after.filter(|_| after_there));
        if waits && shown.is_none() && !replace {
            return Ok(());
        }
        self.differ(candidate.unwrap_or(&plain), key, shown, shows, replace, moved)
    }

    /// A relationship that no source asserted before.
    fn new_relationship(&mut self, candidate: &Candidate) -> Result<()> {
        let [from, to] = candidate.ends;
        // Waiting ones too: another plan may bring the end meanwhile.
        self.touched.extend([from, to]);
        let (_, there) = self.ends(from, to)?;
        if !there {
            self.summary.relationships.waiting += 1;
            return Ok(());
        }
        self.put(PlannedChange {
            action: Action::Create,
            hash: candidate.key,
            moved: false,
            replace: false,
            value: PlannedValue::Packed(candidate.loc, candidate.size, candidate.canon),
        });
        Ok(())
    }

    /// Whether both ends are there before, and after.
    fn ends(&mut self, from: KeyHash, to: KeyHash) -> Result<(bool, bool)> {
        let (from_before, from_after) = match self.last_from {
            Some((key, before, after)) if key == from => (before, after),
            Some(_) | None => {
                let (before, after) = self.entity_there(from)?;
                self.last_from = Some((from, before, after));
                (before, after)
            }
        };
        let (to_before, to_after) = self.entity_there(to)?;
        Ok((from_before && to_before, from_after && to_after))
    }

    fn entity_there(&mut self, key: KeyHash) -> Result<(bool, bool)> {
        if self.input.view.others_have(key, &mut self.reader)? {
            return Ok((true, true));
        }
        let own = self.input.view.own_live(key, &mut self.reader)?.is_some();
        let after = match self.input.layer.lookup(key, &mut self.scratch)? {
            Some((_, entry)) => entry.is_live(),
            None => own,
        };
        Ok((own, after))
    }

    fn put(&mut self, change: PlannedChange) {
        // A relationship that begins to wait is no deletion (`SEMANTICS` 5).
        if !(change.moved && change.action == Action::Delete) {
            self.summary.of(change.kind()).count(change.action);
        }
        self.held += change.weight();
        self.changes.push(change);
    }
}
