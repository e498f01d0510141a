//! Keys of the source that come or go, and what moves with them: looked up
//! beside settling, for each reads blocks all over the snapshots.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::format::layer::StampInfo;
use super::pass::name_depth;
use super::snapshot::Found;
use super::view::{Reader, TargetView};
use crate::domain::glob::Glob;
use crate::domain::key::{KeyHash, Kind};
use crate::error::{Error, Result};

/// Keys that are looked up together.
const SHARE: usize = 128;
/// Shares that may wait for a helper.
const AHEAD: usize = 64;

/// What the look-ups need to know.
pub struct Moving<'a> {
    /// The published snapshots.
    pub view: &'a TargetView,
    /// The batch's stamp and workflow.
    pub stamp: &'a StampInfo,
    /// Ranks of types.
    pub ranks: &'a BTreeMap<String, u16>,
    /// Types of relationships that lead to contents.
    pub containment: &'a [Glob],
}

/// A live key that goes.
pub struct Gone {
    /// Its entry before.
    pub found: Found,
    /// Its type.
    pub type_name: String,
    /// Rank of its type and depth of its name.
    pub rank: u32,
    /// Ends of a relationship.
    pub ends: [KeyHash; 2],
    /// Whether another workflow asserted it last.
    pub of_other_workflow: bool,
    /// How much an entity contains.
    pub contents: u64,
}

/// What was found.
#[derive(Default)]
pub struct Moved {
    /// The keys that go.
    pub gone: Vec<Gone>,
    /// Relationships that come or go with an entity.
    pub relationships: Vec<KeyHash>,
}

/// Some keys.
#[derive(Default)]
struct Share {
    goes: Vec<Found>,
    comes: Vec<KeyHash>,
}

impl Share {
    fn is_full(&self) -> bool {
        self.goes.len() + self.comes.len() >= SHARE
    }
}

/// Look-ups that threads of their own do while settling goes on. Their results
/// come in any order.
pub struct LookUps<'a> {
    moving: Moving<'a>,
    state: Mutex<State>,
    /// Told when there is something to do or to take.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Share>,
    found: Vec<Result<Moved>>,
    /// Shares that helpers are at.
    taken: usize,
    /// Nothing more is coming.
    closed: bool,
    /// A helper ended in the middle of a share.
    lost: bool,
}

/// The side that settles. Closes the look-ups when it goes, however it does:
/// the helpers must not wait for it.
pub struct Asking<'l, 'a> {
    look_ups: &'l LookUps<'a>,
    reader: Reader,
    share: Share,
}

/// A share that a helper is at.
struct Taken<'l, 'a>(&'l LookUps<'a>);

impl Drop for Taken<'_, '_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.taken -= 1;
        state.lost |= std::thread::panicking();
        drop(state);
        self.0.changed.notify_all();
    }
}

impl Drop for Asking<'_, '_> {
    fn drop(&mut self) {
        let mut state = self.look_ups.lock();
        state.closed = true;
        // What is left of it is of use to nobody: whoever finished took it all.
        state.waiting.clear();
        drop(state);
        self.look_ups.changed.notify_all();
    }
}

impl<'a> LookUps<'a> {
    /// Nothing so far.
    pub fn new(moving: Moving<'a>) -> Self {
        Self { moving, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up what is asked for until that is over; one thread, one reader.
    pub fn help(&self, reader: &mut Reader) {
        loop {
            let mut state = self.lock();
            let share = loop {
                if let Some(share) = state.waiting.pop_front() {
                    break share;
                }
                if state.closed {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.taken += 1;
            drop(state);
            let _taken = Taken(self);
            let found = self.moving.share(&share.goes, &share.comes, reader);
            self.lock().found.push(found);
        }
    }

    /// Begins to ask.
    pub fn ask(&self, reader: Reader) -> Asking<'_, 'a> {
        Asking { look_ups: self, reader, share: Share::default() }
    }
}

impl Asking<'_, '_> {
    /// A key that goes. Returns what was found meanwhile.
    pub fn goes(&mut self, found: Found) -> Vec<Result<Moved>> {
        self.share.goes.push(found);
        self.pass_on()
    }

    /// An entity that comes. Returns what was found meanwhile.
    pub fn comes(&mut self, key: KeyHash) -> Vec<Result<Moved>> {
        let view = self.look_ups.moving.view;
        if view.own.is_none() && view.others.is_empty() {
            // There is nothing that could move with it.
            return Vec::new();
        }
        self.share.comes.push(key);
        self.pass_on()
    }

    fn pass_on(&mut self) -> Vec<Result<Moved>> {
        if !self.share.is_full() {
            return Vec::new();
        }
        let mut state = self.look_ups.lock();
        state.waiting.push_back(std::mem::take(&mut self.share));
        // Helpers that fall behind are helped.
        let own = if state.waiting.len() > AHEAD { state.waiting.pop_front() } else { None };
        let mut found = std::mem::take(&mut state.found);
        drop(state);
        self.look_ups.changed.notify_all();
        found.extend(own.map(|share| self.look(&share)));
        found
    }

    fn look(&mut self, share: &Share) -> Result<Moved> {
        self.look_ups.moving.share(&share.goes, &share.comes, &mut self.reader)
    }

    /// Everything that was not returned yet.
    pub fn finish(&mut self) -> Vec<Result<Moved>> {
        let rest = std::mem::take(&mut self.share);
        self.look_ups.lock().waiting.push_back(rest);
        loop {
            // A guard in the condition would be held while it is looked up.
            let next = self.look_ups.lock().waiting.pop_front();
            let Some(share) = next else { break };
            let found = self.look(&share);
            self.look_ups.lock().found.push(found);
        }
        let mut state = self.look_ups.lock();
        while state.taken > 0 {
            state = self.look_ups.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.lost {
            state.found.push(Err(Error::internal("a thread that looks up has ended")));
        }
        std::mem::take(&mut state.found)
    }
}

impl Moving<'_> {
    fn share(&self, goes: &[Found], comes: &[KeyHash], reader: &mut Reader) -> Result<Moved> {
        let mut moved = Moved::default();
        for found in goes {
            moved.gone.extend(self.gone(found, reader, &mut moved.relationships)?);
        }
        for key in comes {
            self.comes_or_goes(*key, None, reader, &mut moved.relationships)?;
        }
        Ok(moved)
    }

    fn gone(
        &self,
        found: &Found,
        reader: &mut Reader,
        relationships: &mut Vec<KeyHash>,
    ) -> Result<Option<Gone>> {
        let Some(own) = &self.view.own else { return Ok(None) };
        let key = found.entry.key;
        let body = own.body(found, &mut reader.bodies)?;
        let body = body.body()?;
        let (type_name, name) = (body.type_name(), body.scope_name());
        let effective = own.effective_stamp(key, type_name, name, Some(found))?;
        let before = effective.map_or("", |stamp| &stamp.workflow);
        let mut gone = Gone {
            found: *found,
            type_name: type_name.to_owned(),
            rank: rank(self.ranks, type_name, name_depth(name)),
            ends: [KeyHash(0); 2],
            of_other_workflow: self.is_of_other_workflow(before),
            contents: 0,
        };
        match key.kind() {
            Kind::Relationship => gone.ends = body.ends().into(),
            Kind::Entity => {
                let at = own.relationships_of(key, &mut reader.scratch, &mut reader.bodies)?;
                for (relationship, from) in &at {
                    let body = own.body(relationship, &mut reader.bodies)?;
                    let body = body.body()?;
                    let contains = self.containment.iter().any(|glob| glob.matches(body.type_name()));
                    gone.contents += u64::from(*from && contains);
                }
                self.comes_or_goes(key, Some(at), reader, relationships)?;
            }
        }
        Ok(Some(gone))
    }

    /// Whether a workflow that asserted a key is another one than the batch's. A key
    /// that none is named for may be anybody's; and a requeue whose original is
    /// forgotten does not know its own.
    fn is_of_other_workflow(&self, before: &str) -> bool {
        let now = &self.stamp.workflow;
        let is_forgotten = now.is_empty() && self.stamp.stamp.batch_id.n() > 0;
        !before.is_empty() && before != now && !is_forgotten
    }

    /// An entity of the source comes or goes: if no other source has it, the
    /// relationships at it come and go with it, whoever asserts them. `own`:
    /// the source's own ones, where they are known.
    fn comes_or_goes(
        &self,
        key: KeyHash,
        own: Option<Vec<(Found, bool)>>,
        reader: &mut Reader,
        relationships: &mut Vec<KeyHash>,
    ) -> Result<()> {
        if self.view.others_have(key, reader)? {
            return Ok(());
        }
        let Reader { scratch, bodies } = reader;
        let mut all = match (own, &self.view.own) {
            (Some(own), _) => own,
            (None, Some(own)) => own.relationships_of(key, scratch, bodies)?,
            (None, None) => Vec::new(),
        };
        for other in &self.view.others {
            all.append(&mut other.relationships_of(key, scratch, bodies)?);
        }
        relationships.extend(all.into_iter().map(|(relationship, _)| relationship.entry.key));
        Ok(())
    }
}

/// Rank of a type, then depth of a name: containers before their contents.
pub fn rank(ranks: &BTreeMap<String, u16>, type_name: &str, depth: u16) -> u32 {
    u32::from(ranks.get(type_name).copied().unwrap_or(0)) << 16 | u32::from(depth)
}
