//! Keys of the source that come or go, and what moves with them: looked up on
//! several threads, for each reads blocks all over the snapshots.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::format::layer::StampInfo;
use super::pass::name_depth;
use super::snapshot::Found;
use super::view::{Reader, TargetView};
use crate::domain::glob::Glob;
use crate::domain::key::{KeyHash, Kind};
use crate::error::Result;

/// Below so many keys one thread does as well.
const FEW: usize = 64;
/// Keys that a thread takes at a time.
const SHARE: usize = 32;

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
    /// The keys that go, in the order in which they were given.
    pub gone: Vec<Gone>,
    /// Relationships that come or go with an entity.
    pub relationships: Vec<KeyHash>,
}

impl Moving<'_> {
    /// Looks up the keys that go and the entities that come; one thread for
    /// each reader.
    pub fn look(&self, goes: &[Found], comes: &[KeyHash], readers: &mut [Reader]) -> Result<Moved> {
        let busy = if goes.len() + comes.len() < FEW { 1 } else { readers.len().max(1) };
        // An entity costs far more than a relationship: whoever is free takes
        // the next few.
        let shares: Vec<(&[Found], &[KeyHash])> = goes
            .chunks(SHARE)
            .map(|goes| (goes, &[][..]))
            .chain(comes.chunks(SHARE).map(|comes| (&[][..], comes)))
            .collect();
        let next = AtomicUsize::new(0);
        let work = |reader: &mut Reader| -> Result<Vec<(usize, Moved)>> {
            let mut parts = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((goes, comes)) = shares.get(number) else { return Ok(parts) };
                parts.push((number, self.share(goes, comes, reader)?));
            }
        };
        let parts: Vec<Result<Vec<(usize, Moved)>>> = std::thread::scope(|scope| {
            let mut readers = readers.iter_mut().take(busy);
            let first = readers.next();
            let others: Vec<_> = readers.map(|reader| scope.spawn(|| work(reader))).collect();
            let first = first.map(&work);
            let others = others.into_iter().map(|thread| match thread.join() {
                Ok(part) => part,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            first.into_iter().chain(others).collect()
        });
        let mut parts: Vec<(usize, Moved)> =
            parts.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        parts.sort_unstable_by_key(|(number, _)| *number);
        let mut all = Moved::default();
        for (_, mut part) in parts {
            all.gone.append(&mut part.gone);
            all.relationships.append(&mut part.relationships);
        }
        Ok(all)
    }

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
        let (before, now) = (effective.map_or("", |stamp| &stamp.workflow), &self.stamp.workflow);
        let mut gone = Gone {
            found: *found,
            type_name: type_name.to_owned(),
            rank: rank(self.ranks, type_name, name_depth(name)),
            ends: [KeyHash(0); 2],
            of_other_workflow: !before.is_empty() && !now.is_empty() && before != now,
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
