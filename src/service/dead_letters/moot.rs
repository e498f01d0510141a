//! Dead letters that a published plan makes moot.

use std::collections::HashSet;

use super::super::engine::Engine;
use super::missing::Missing;
use super::owners::Owners;
use crate::domain::ids::BatchId;
use crate::domain::key::{Key, KeyHash};
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::domain::stamp::Stamp;
use crate::error::Result;
use crate::planning::of_batch::OfBatch;
use crate::planning::plan_file::{Plan, PlannedChange};
use crate::planning::snapshot::SnapshotManifest;
use crate::publishing::outcome::Executed;
use crate::store::{BatchRecord, DeadLetter, LetterAttempt, LetterKind, OpenLetter, Tx};

/// Keys of letters that are held in memory, at most: beyond that each change
/// of a plan is looked up.
const KEYS: u64 = 100_000;

impl Engine {
    /// Which open dead letters a plan makes moot. `unpublished` are the keys
    /// whose assertion by its batch was not published, `next` the snapshot
    /// that the plan leaves.
    ///
    /// Reads only letters that are about what the plan is about, and of the
    /// others of its source at most what the index says of them, if it says
    /// something of all keys.
    pub(in crate::service) fn moot(
        &self,
        plan: &Plan,
        executed: &Executed,
        unpublished: &[Key],
        next: &SnapshotManifest,
    ) -> Result<Moot> {
        let manifest = plan.manifest();
        let moot = Moot {
            stamp: manifest.stamp.stamp.clone(),
            own: Vec::new(),
            mended: Vec::new(),
            brought: Vec::new(),
        };
        let source = &manifest.header.source_id;
        let (all, own) = self
            .store
            .read(|view| Ok((view.count_unsettled_dead_letters()?, view.count_open_dead_letters(source)?)))?;
        if all == 0 {
            return Ok(moot);
        }
        let exceptions: HashSet<KeyHash> =
            manifest.exceptions.iter().chain(unpublished).map(Key::hash).collect();
        let own = match own {
            0 => Vec::new(),
            _ => self.moot_of_source(plan, executed, (&exceptions, unpublished), next, own)?,
        };
        let mended = self.mended(plan, executed, &exceptions)?;
        let brought = self.brought(plan, executed, &exceptions, all)?;
        Ok(Moot { own, mended, brought, ..moot })
    }

    /// Those without a key of a batch that a batch made of dead letters brings,
    /// by the keys that people gave them: they need not be requeued with it, if
    /// it ended otherwise before.
    fn mended(
        &self,
        plan: &Plan,
        executed: &Executed,
        exceptions: &HashSet<KeyHash>,
    ) -> Result<Vec<OpenLetter>> {
        let manifest = plan.manifest();
        let (source, batch) = (&manifest.header.source_id, &manifest.header.batch_id);
        // One that speaks for what its original does not list was made of none.
        if batch.n() == 0 || manifest.stamp.stamp.batch_id != *batch {
            return Ok(Vec::new());
        }
        let mut said = OfBatch::open(&self.state, manifest)?;
        let outcome = &executed.outcome;
        self.store.read(|view| {
            let mut keyless = Vec::new();
            view.each_open_letter(
                source,
                |_| Ok(true),
                |_, letter| {
                    let same = letter.stamp.batch_id.with_n(0) == batch.with_n(0);
                    let is = letter.kind == LetterKind::Entity && letter.key.is_none() && same;
                    keyless.extend(Some(letter).filter(|_| is));
                    Ok(())
                },
            )?;
            let mut found = Vec::new();
            for letter in keyless {
                let wanted = view.dead_letter(letter.id)?.and_then(|letter| letter.wanted_key());
                let Some(hash) = wanted.map(|key| key.hash()) else { continue };
                let published = !exceptions.contains(&hash)
                    && (outcome.complete || outcome.done.contains(&hash))
                    && said.entry(hash)?.is_some_and(|entry| entry.is_live());
                found.extend(Some(letter).filter(|_| published));
            }
            Ok(found)
        })
    }

    /// Those of the plan's source whose key its batch says something of.
    /// `count`: how many there are.
    fn moot_of_source(
        &self,
        plan: &Plan,
        executed: &Executed,
        (exceptions, unpublished): (&HashSet<KeyHash>, &[Key]),
        next: &SnapshotManifest,
        count: u64,
    ) -> Result<Vec<OpenLetter>> {
        let manifest = plan.manifest();
        let excepted = [manifest.exceptions.as_slice(), unpublished].concat();
        let (source, stamp) = (&manifest.header.source_id, &manifest.stamp.stamp);
        let outcome = &executed.outcome;
        let full = (outcome.complete && manifest.asserts_absence).then_some(&manifest.scope);
        let mut said = OfBatch::open(&self.state, manifest)?;
        let is_wanted =
            |hash: KeyHash| !exceptions.contains(&hash) && (outcome.complete || outcome.done.contains(&hash));
        let mut found = Vec::new();
        self.store.read(|view| {
            let Some(scope) = full else {
                if count <= said.layer().len() {
                    return view.each_open_letter(
                        source,
                        |hash| Ok(is_wanted(hash) && said.entry(hash)?.is_some()),
                        |_, letter| {
                            found.extend(Some(letter).filter(|letter| letter.stamp <= *stamp));
                            Ok(())
                        },
                    );
                }
                return said.each(|entry| {
                    if is_wanted(entry.key)
                        && let Some(letter) = view.open_letter(source, entry.key)?
                    {
                        found.extend(Some(letter).filter(|letter| letter.stamp <= *stamp));
                    }
                    Ok(())
                });
            };
            let mut missing = Missing::new(self, plan, next);
            view.each_open_letter(
                source,
                |hash| Ok(!exceptions.contains(&hash)),
                |hash, letter| {
                    let is = match (letter.kind, &letter.key) {
                        (LetterKind::Batch, _) => {
                            let failed = view.batch(&letter.stamp.batch_id)?;
                            letter.stamp < *stamp && says_all_of(scope, &excepted, failed.as_ref())
                        }
                        _ if letter.stamp > *stamp => false,
                        (LetterKind::Entity, Some((type_name, name))) => {
                            said.entry(hash)?.is_some()
                                // What is not there yet as it is asserted stays a letter.
                                || scope.contains_parts(type_name, name) && !missing.has(view, hash)?
                        }
                        // Not by the batch that has the line itself, though a person
                        // had it speak for what it does not list.
                        (LetterKind::Entity, None) => {
                            letter.stamp < *stamp && scope.is_everything() && excepted.is_empty()
                        }
                    };
                    found.extend(Some(letter).filter(|_| is));
                    Ok(())
                },
            )
        })?;
        Ok(found)
    }

    /// Dead letters of changes that no new assertion asked for, and that a
    /// plan brought after all: what they wanted is what is asserted already.
    /// `count`: how many dead letters there are.
    fn brought(
        &self,
        plan: &Plan,
        executed: &Executed,
        exceptions: &HashSet<KeyHash>,
        count: u64,
    ) -> Result<Vec<Brought>> {
        let outcome = &executed.outcome;
        // Among them what was not sent for an end that did not come.
        let unsure: HashSet<KeyHash> = outcome.unsure.iter().map(Key::hash).collect();
        let is_brought = |change: &PlannedChange| {
            let hash = &change.hash;
            (change.moved || change.replace)
                && (outcome.complete || outcome.done.contains(hash))
                && !exceptions.contains(hash)
                && !unsure.contains(hash)
                && !outcome.failed.contains_key(hash)
        };
        let changes: u64 = plan.manifest().operations.iter().map(|op| u64::from(op.changes)).sum();
        self.store.read(|view| {
            let mut of_letters = None;
            if count <= changes.min(KEYS) {
                let mut keys = HashSet::new();
                view.each_key_of_open_letters(|hash| {
                    keys.insert(hash);
                })?;
                of_letters = Some(keys);
            }
            let mut numbers = Vec::new();
            plan.changes(|change| {
                let may_be = of_letters.as_ref().is_none_or(|keys| keys.contains(&change.hash));
                if may_be && is_brought(&change) {
                    numbers.extend(view.open_letters_of_key(change.hash)?);
                }
                Ok(())
            })?;
            let mut found = Vec::new();
            if numbers.is_empty() {
                return Ok(found);
            }
            let mut owners = Owners::new(self, plan, outcome.complete)?;
            for id in numbers {
                let letter = view.expect_dead_letter(id)?;
                let Some(key) = &letter.key else { continue };
                // Where nothing was ever said of it, that it was brought is all.
                let mut said = || owners.said_by(&letter.source, key);
                if !letter.asserts() || said()?.is_some_and(|stamp| stamp >= letter.stamp) {
                    found.push(Brought::of(letter));
                }
            }
            Ok(found)
        })
    }
}

/// The stamp of the newest full batch of a snapshot that says anew all that
/// `failed` says, and is newer: the dead letter of that is moot when it is made.
pub(in crate::service) fn said_anew<'a>(
    snapshot: &'a SnapshotManifest,
    failed: &BatchRecord,
) -> Option<&'a Stamp> {
    let says_so =
        snapshot.full_records.iter().filter(|full| says_all_of(&full.scope, &full.exceptions, Some(failed)));
    says_so.map(|full| &full.stamp.stamp).filter(|stamp| **stamp > failed.stamp).max()
}

/// Whether a full batch of this scope, but for its exceptions, says anew all
/// that a failed batch said.
fn says_all_of(scope: &Scope, exceptions: &[Key], failed: Option<&BatchRecord>) -> bool {
    match failed {
        // What it listed beside its scope, nobody knows; the next batch that is
        // about that says it.
        Some(failed) if failed.mode == Some(Mode::Full) => {
            scope.covers(&failed.scope) && !exceptions.iter().any(|key| failed.scope.contains(key))
        }
        // It may have said something of any key.
        Some(_) | None => scope.is_everything() && exceptions.is_empty(),
    }
}

/// Which open dead letters a plan makes moot: a newer assertion of their key,
/// absence included, was published or found unchanged (`SEMANTICS` 9); or the
/// plan brought what they are about.
pub(in crate::service) struct Moot {
    stamp: Stamp,
    own: Vec<OpenLetter>,
    /// Those that are about what a person's edit says, as it was looked at.
    mended: Vec<OpenLetter>,
    brought: Vec<Brought>,
}

/// A letter whose change was brought.
struct Brought {
    id: u64,
    revision: u64,
    last: Option<LetterAttempt>,
}

impl Brought {
    fn of(mut letter: DeadLetter) -> Self {
        Self { id: letter.id, revision: letter.revision, last: letter.history.pop() }
    }
}

impl Moot {
    /// Resolves them. Those that were changed since they were looked at are
    /// looked at anew: somebody may have settled one, or edited it; or there
    /// is a reason by now that the plan knows nothing of.
    pub(in crate::service) fn resolve(&self, tx: &mut Tx<'_>, batch: &BatchId) -> Result<()> {
        let own = self.own.iter().map(|letter| (letter.id, letter.revision, None));
        let brought = self.brought.iter().map(|letter| (letter.id, letter.revision, Some(letter)));
        for mended in &self.mended {
            let letter = tx.dead_letter(mended.id)?.filter(|letter| letter.state.settled_at().is_none());
            if letter.is_some_and(|letter| letter.revision == mended.revision) {
                tx.resolve_dead_letter(mended.id, &batch.to_string())?;
                tx.spill()?;
            }
        }
        for (id, revision, brought) in own.chain(brought) {
            let Some(letter) = tx.dead_letter(id)?.filter(|letter| letter.state.settled_at().is_none())
            else {
                continue;
            };
            let is = letter.revision == revision
                || match brought {
                    Some(brought) => letter.history.last() == brought.last.as_ref(),
                    None => letter.stamp <= self.stamp,
                };
            if is {
                tx.resolve_dead_letter(id, &batch.to_string())?;
                tx.spill()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::key::EntityKey;
    use crate::store::{Store, StoreOptions};

    fn letter(hour: u32, message: &str) -> DeadLetter {
        let time: jiff::Timestamp = format!("2026-11-01T{hour:02}:00:00Z").parse().unwrap();
        let batch_id: BatchId = format!("alpha:20261101T{hour:02}0000Z_r").parse().unwrap();
        let stamp = Stamp { source_timestamp: time, processing_timestamp: time, batch_id };
        DeadLetter {
            key: Some(Key::Entity(EntityKey::new("t", "a"))),
            content: b"{}".to_vec(),
            pattern: message.into(),
            ..DeadLetter::new(stamp, "ENTITY_REJECTED", message.into(), time)
        }
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Which {
        Own,
        Mended,
        Brought,
    }

    #[derive(Clone, Copy)]
    enum Meanwhile {
        Nothing,
        /// Somebody edits it.
        Edit,
        /// A batch of this hour brings it again.
        Batch(u32),
    }

    /// What becomes of a letter that a plan would settle, and of what happened to
    /// it just before.
    fn settled(which: Which, meanwhile: Meanwhile) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7);
        let store = Store::open(folder.path(), StoreOptions::default(), Arc::new(clock)).unwrap();
        let id = store.write(|tx| tx.open_dead_letter(letter(1, "one"))).unwrap();
        let seen = store.read(|view| view.expect_dead_letter(id)).unwrap();
        let open = store.read(|view| view.open_letter(&seen.source, seen.key.as_ref().unwrap().hash()));
        let open = open.unwrap().unwrap();
        let mut moot =
            Moot { stamp: letter(5, "").stamp, own: Vec::new(), mended: Vec::new(), brought: Vec::new() };
        match which {
            Which::Own => moot.own.push(open),
            Which::Mended => moot.mended.push(open),
            Which::Brought => moot.brought.push(Brought::of(seen)),
        }
        store
            .write(move |tx| {
                match meanwhile {
                    Meanwhile::Nothing => {}
                    Meanwhile::Batch(hour) => drop(tx.open_dead_letter(letter(hour, "two"))?),
                    Meanwhile::Edit => {
                        let letter = tx.expect_dead_letter(id)?;
                        tx.put_dead_letter(letter)?;
                    }
                }
                moot.resolve(tx, &letter(5, "").batch_id)
            })
            .unwrap();
        store.read(|view| view.expect_dead_letter(id)).unwrap().state.settled_at().is_some()
    }

    #[test]
    fn a_letter_with_a_newer_reason_is_not_settled_for_the_old_one() {
        use Meanwhile::{Batch, Edit, Nothing};
        use Which::{Brought, Mended, Own};
        for which in [Own, Mended, Brought] {
            assert!(settled(which, Nothing));
            // Somebody's edit changes nothing of what was published, but where it
            // is the edit that says what the letter is about.
            assert_eq!(settled(which, Edit), which != Mended);
        }
        // The plan knows nothing of why it failed since.
        assert!(!settled(Brought, Batch(2)) && !settled(Brought, Batch(9)));
        // Its batch is newer than that, or it is not.
        assert!(settled(Own, Batch(2)) && !settled(Own, Batch(9)));
        assert!(!settled(Mended, Batch(2)) && !settled(Mended, Batch(9)));
    }
}
