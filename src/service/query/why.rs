//! Why an entity looks as it does: what each source asserts of it, who wins
//! each attribute, what became of the newest assertion, and which of its
//! relationships wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::super::engine::{Engine, OpenTarget};
use super::super::views::{
    AssertionKind, VerdictCode, WaitingRelationship, WhyAttribute, WhySource, WhyVerdict, WhyView,
};
use crate::domain::ids::{SourceId, TargetName};
use crate::domain::key::{EntityKey, Key, KeyHash};
use crate::domain::stamp::Stamp;
use crate::error::{Error, Result};
use crate::planning::format::entry::State;
use crate::planning::format::layer::CacheBudget;
use crate::planning::snapshot::Snapshot;
use crate::planning::view::Reader;
use crate::store::{DeadLetter, SkipRecord};

/// Bytes of index blocks that all snapshots together may keep for answers.
const INDEX_MEMORY: usize = 8 << 20;
/// Relationships of an entity that are looked at.
const LOOKED_AT: usize = 1_000;
/// Waiting ones that are shown.
const SHOWN: usize = 100;

type Attributes = BTreeMap<String, Box<RawValue>>;

/// A source with what it says.
struct Voice {
    shown: WhySource,
    stamp: Option<Stamp>,
    attributes: Attributes,
    letter: Option<DeadLetter>,
    /// A full batch that did not list the key, and deleted nothing for a line
    /// that could not be read.
    withheld: Option<Stamp>,
    /// Why an operator skips the key.
    skip: Option<SkipRecord>,
}

impl Engine {
    /// Why an entity looks as it does at a target; without a name at the only
    /// one, or at `catalogue`.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::NotFound`] when there is no such target. An
    /// entity that nobody knows is an answer, no error.
    pub fn why(&self, key: &EntityKey, target: Option<&TargetName>) -> Result<WhyView> {
        let (name, open) = self.open_target(target)?;
        let snapshots = self.current(name)?;
        let mut reader = Reader::new()?;
        let mut voices = Vec::new();
        for snapshot in &snapshots {
            let mut voice = self.voice(snapshot, key, &mut reader)?;
            voice.shown.unsure &= !is_settled(snapshot, key, &snapshots);
            voices.push(voice);
        }
        voices.sort_by(|a, b| {
            let rank = |voice: &Voice| (-i128::from(voice.shown.precedence), voice.shown.source_id.clone());
            rank(a).cmp(&rank(b))
        });
        let held = open.target.read(&[Key::Entity(key.clone())])?.pop().flatten();
        let (live, archived) = held.as_ref().map_or((false, false), |held| (!held.archived, held.archived));
        let at_target = match &held {
            Some(held) => parsed(&held.attributes)?,
            None => Attributes::new(),
        };
        let attributes = attributes(&voices, &at_target, live);
        let verdict = self.verdict(key, &voices, live)?;
        let waiting = waiting(key, &snapshots, &mut reader)?;
        let sources = voices.into_iter().map(|voice| voice.shown).collect();
        Ok(WhyView {
            key: key.clone(),
            target: name.clone(),
            live,
            archived,
            sources,
            attributes,
            verdict,
            waiting,
        })
    }

    /// A target by its name; without one `catalogue`, or the only one.
    pub(in crate::service) fn open_target(
        &self,
        name: Option<&TargetName>,
    ) -> Result<(&TargetName, &OpenTarget)> {
        let default = crate::domain::settings::default_target();
        let found = match name {
            Some(name) => self.targets.get_key_value(name),
            None => self.targets.get_key_value(&default).or_else(|| self.targets.iter().next()),
        };
        found.ok_or_else(|| {
            let name = name.map_or_else(|| "any".into(), ToString::to_string);
            Error::new(crate::error::ErrorKind::NotFound, format!("there is no target {name}"))
        })
    }

    /// The current snapshots of a target's sources, kept open between answers.
    pub(in crate::service) fn current(&self, target: &TargetName) -> Result<Vec<Arc<Snapshot>>> {
        let ids = self.store.read(|view| view.current_snapshots(target))?;
        let mut kept = self.looks.snapshots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut current = Vec::new();
        for (source, id) in &ids {
            let open = match kept.get(id) {
                Some(open) => Arc::clone(open),
                None => {
                    let budget = CacheBudget::new(INDEX_MEMORY / ids.len().max(1));
                    Arc::new(Snapshot::open(&self.state, source, target, id, &budget)?)
                }
            };
            current.push(open);
        }
        // Those that are no longer current make room.
        kept.retain(|_, snapshot| snapshot.manifest().target != *target);
        kept.extend(current.iter().map(|open| (open.manifest().snapshot_id.clone(), Arc::clone(open))));
        Ok(current)
    }

    fn voice(&self, snapshot: &Snapshot, key: &EntityKey, reader: &mut Reader) -> Result<Voice> {
        let manifest = snapshot.manifest();
        let hash = key.hash();
        let found = snapshot.lookup(hash, &mut reader.scratch)?;
        let (type_name, name) = (key.type_name.as_str(), key.qualified_name.as_str());
        let stamp = snapshot.effective_stamp(hash, type_name, name, found.as_ref())?.cloned();
        let live = found.filter(|found| found.entry.is_live());
        let tombstone = found.filter(|found| found.entry.state == State::Tombstone);
        let own = tombstone.as_ref().map(|found| snapshot.own_stamp(found)).transpose()?;
        let asserts = match (&live, own, &stamp) {
            (Some(_), _, _) => AssertionKind::Value,
            (None, Some(own), Some(stamp)) if own.stamp == stamp.stamp => AssertionKind::Deleted,
            (None, _, Some(_)) => AssertionKind::NotListed,
            (None, _, None) => AssertionKind::Nothing,
        };
        let body = live.as_ref().map(|live| snapshot.body(live, &mut reader.bodies)).transpose()?;
        let attributes = match &body {
            Some(body) => parsed(body.body()?.attributes)?,
            None => Attributes::new(),
        };
        let shown_attributes = body.as_ref().map(|body| raw(body.body()?.attributes)).transpose()?;
        let any = Key::Entity(key.clone());
        let now = self.clock.now();
        let (letter, pending, withheld, skip) = self.store.read(|view| {
            let letter = view.open_dead_letter_of(&manifest.source_id, &any)?;
            let pending = view.unfinished_page(&manifest.source_id, None, 1)?.pop();
            let newest = &manifest.newest.stamp;
            let is_older = live.is_some() && stamp.as_ref().is_some_and(|stamp| stamp.stamp < *newest);
            let plan =
                match view.batch(&newest.batch_id)?.filter(|_| is_older).and_then(|batch| batch.plan_id) {
                    Some(plan) => view.plan(&plan)?,
                    None => None,
                };
            let held_back =
                plan.and_then(|plan| plan.header).is_some_and(|h| h.summary.entities.withheld > 0);
            let skips = view.skips(&manifest.source_id)?.into_iter();
            let skip = skips
                .filter(|skip| skip.is_active(now))
                .find(|skip| skip.type_name == key.type_name && skip.name.matches(&key.qualified_name));
            Ok((letter, pending, held_back.then(|| newest.clone()), skip))
        })?;
        Ok(Voice {
            shown: WhySource {
                source_id: manifest.source_id.clone(),
                precedence: manifest.precedence,
                asserts,
                batch_id: stamp.as_ref().map(|info| info.stamp.batch_id.clone()),
                source_timestamp: stamp.as_ref().map(|info| info.stamp.source_timestamp),
                processing_timestamp: stamp.as_ref().map(|info| info.stamp.processing_timestamp),
                workflow: stamp.as_ref().map(|info| info.workflow.clone()).unwrap_or_default(),
                attributes: shown_attributes,
                unsure: manifest.unsure.contains(&any),
                dead_letter: letter.as_ref().map(|letter| letter.id),
                pending_batch: pending.map(|batch| batch.batch_id),
            },
            stamp: stamp.map(|info| info.stamp),
            attributes,
            letter,
            withheld,
            skip,
        })
    }

    fn verdict(&self, key: &EntityKey, voices: &[Voice], live: bool) -> Result<WhyVerdict> {
        let verdict = |code, text, stamp: Option<&Stamp>| {
            Ok(WhyVerdict { code, text, batch_id: stamp.map(|stamp| stamp.batch_id.clone()) })
        };
        let newest_letter = self.newest_letter(key, voices)?;
        if let Some(letter) = newest_letter {
            let text = format!(
                "the newest assertion is a dead letter (number {}, {}): {}",
                letter.id, letter.code, letter.message
            );
            return verdict(VerdictCode::DeadLetter, text, Some(&letter.stamp));
        }
        let skipped = voices.iter().find_map(|voice| Some((&voice.shown.source_id, voice.skip.as_ref()?)));
        if let Some((source, skip)) = skipped {
            let until = skip.until.map_or_else(String::new, |until| format!(" until {until}"));
            let text = format!(
                "{} skips it for source {source} since {}{until}, so it stays as it is published: {}",
                skip.actor, skip.at, skip.reason
            );
            return verdict(VerdictCode::Skipped, text, None);
        }
        if let Some(stamp) = voices.iter().filter_map(|voice| voice.withheld.as_ref()).max() {
            let text = format!(
                "batch {} did not list it, and deleted nothing because it has a line that can't be read",
                stamp.batch_id
            );
            return verdict(VerdictCode::Withheld, text, Some(stamp));
        }
        let asserting = || voices.iter().filter(|voice| voice.shown.asserts == AssertionKind::Value);
        // Who decides: while anyone asserts the entity, another source's
        // silence or deletion plays no part. Voices are in order of precedence.
        let decides = asserting().next().or_else(|| {
            voices.iter().filter(|voice| voice.stamp.is_some()).max_by(|a, b| a.stamp.cmp(&b.stamp))
        });
        if let Some(decides) = decides {
            if let Some(late) = self.late(decides)? {
                let text = format!(
                    "batch {late} was published last and is older than batch {}, which decides",
                    text_of(decides.stamp.as_ref())
                );
                return verdict(VerdictCode::Superseded, text, decides.stamp.as_ref());
            }
            let batch = text_of(decides.stamp.as_ref());
            return match (decides.shown.asserts == AssertionKind::Value, live) {
                (true, true) => {
                    let others: Vec<String> =
                        asserting().skip(1).map(|voice| text_of(voice.stamp.as_ref())).collect();
                    let also = match others.as_slice() {
                        [] => String::new(),
                        others => format!(", and after it in precedence {}", others.join(", ")),
                    };
                    let text = format!("published; batch {batch} asserted last what is there{also}");
                    verdict(VerdictCode::Published, text, decides.stamp.as_ref())
                }
                (false, false) => {
                    let what = match decides.shown.asserts {
                        AssertionKind::Deleted => "deleted it",
                        AssertionKind::NotListed | AssertionKind::Nothing | AssertionKind::Value => {
                            "speaks for it and does not list it"
                        }
                    };
                    let text = format!("no source asserts it; batch {batch} {what}");
                    verdict(VerdictCode::Absent, text, decides.stamp.as_ref())
                }
                (true, false) => {
                    let text = "a source asserts it and the target does not have it: it was taken away there"
                        .to_owned();
                    verdict(VerdictCode::Unknown, text, decides.stamp.as_ref())
                }
                (false, true) => {
                    let text =
                        "no source asserts it and the target has it: it came from elsewhere".to_owned();
                    verdict(VerdictCode::Unknown, text, decides.stamp.as_ref())
                }
            };
        }
        let pending = self.store.read(|view| view.sources_with_unfinished())?;
        if !live && !pending.is_empty() {
            let text = "no source has said anything of it yet; batches wait in the queue".to_owned();
            return verdict(VerdictCode::Waiting, text, None);
        }
        let text = if live {
            "no source says anything of it: it came to the target from elsewhere"
        } else {
            "no source ever said anything of it, as far as is remembered"
        };
        verdict(VerdictCode::Unknown, text.to_owned(), None)
    }

    /// The newest open dead letter of the key that nothing newer overtook. A
    /// source may have one without ever having published anything.
    fn newest_letter(&self, key: &EntityKey, voices: &[Voice]) -> Result<Option<DeadLetter>> {
        let known: Vec<&SourceId> = voices.iter().map(|voice| &voice.shown.source_id).collect();
        let any = Key::Entity(key.clone());
        let mut letters: Vec<DeadLetter> = voices
            .iter()
            .filter(|voice| {
                voice.letter.as_ref().is_some_and(|letter| Some(&letter.stamp) >= voice.stamp.as_ref())
            })
            .filter_map(|voice| voice.letter.clone())
            .collect();
        self.store.read(|view| {
            for source in view.sources()? {
                if !known.contains(&&source) {
                    letters.extend(view.open_dead_letter_of(&source, &any)?);
                }
            }
            Ok(())
        })?;
        Ok(letters.into_iter().max_by(|a, b| a.stamp.cmp(&b.stamp)))
    }

    /// The batch of a source that was published last, if it is older than what
    /// decides, and some of what it asserts was superseded.
    fn late(&self, voice: &Voice) -> Result<Option<crate::domain::ids::BatchId>> {
        self.store.read(|view| {
            let ended = view.ended_last(50)?;
            let last = ended.into_iter().find(|batch| {
                batch.batch_id.source() == &voice.shown.source_id
                    && batch.status == crate::domain::publish_state::PublishStatus::Complete
            });
            let Some(last) = last.filter(|last| Some(&last.stamp) < voice.stamp.as_ref()) else {
                return Ok(None);
            };
            let plan = match &last.plan_id {
                Some(plan) => view.plan(plan)?,
                None => None,
            };
            let superseded =
                plan.and_then(|plan| plan.header).is_some_and(|h| h.summary.entities.superseded > 0);
            Ok(superseded.then_some(last.batch_id))
        })
    }
}

/// Whether a plan of another source settled what a snapshot does not know of a key.
fn is_settled(snapshot: &Snapshot, key: &EntityKey, all: &[Arc<Snapshot>]) -> bool {
    let id = &snapshot.manifest().snapshot_id;
    let key = Key::Entity(key.clone());
    all.iter().filter_map(|other| other.manifest().settled.get(id)).any(|settled| settled.contains(&key))
}

fn text_of(stamp: Option<&Stamp>) -> String {
    stamp.map(|stamp| stamp.batch_id.to_string()).unwrap_or_default()
}

fn raw(bytes: &[u8]) -> Result<Box<RawValue>> {
    let bad = |e: serde_json::Error| Error::internal("a published value").caused_by(e);
    serde_json::from_slice::<Box<RawValue>>(bytes).map_err(bad)
}

fn parsed(bytes: &[u8]) -> Result<Attributes> {
    serde_json::from_slice(bytes).map_err(|e| Error::internal("a published value").caused_by(e))
}

/// Each attribute with the source that it comes from. Sources are sorted by
/// precedence.
fn attributes(voices: &[Voice], at_target: &Attributes, live: bool) -> Vec<WhyAttribute> {
    let mut names: Vec<&String> = voices.iter().flat_map(|voice| voice.attributes.keys()).collect();
    names.extend(at_target.keys());
    names.sort();
    names.dedup();
    let shown = |name: &String| {
        let mut asserting = voices.iter().filter(|voice| voice.attributes.contains_key(name));
        let winner = asserting.next();
        let value = at_target.get(name);
        let asserted = winner.and_then(|winner| winner.attributes.get(name));
        WhyAttribute {
            name: name.clone(),
            at_target: value.is_some(),
            value: value.cloned(),
            source_id: winner.map(|winner| winner.shown.source_id.clone()),
            batch_id: winner.and_then(|winner| winner.shown.batch_id.clone()),
            overruled: asserting.map(|voice| voice.shown.source_id.clone()).collect(),
            differs: live && asserted.map(|value| value.get()) != value.map(|value| value.get()),
        }
    };
    names.into_iter().map(shown).collect()
}

/// Relationships of an entity that some source asserts and that do not show.
fn waiting(
    key: &EntityKey,
    snapshots: &[Arc<Snapshot>],
    reader: &mut Reader,
) -> Result<Vec<WaitingRelationship>> {
    let mut found = Vec::new();
    let hash = key.hash();
    let here = is_live(snapshots, hash, reader)?;
    for snapshot in snapshots {
        let mut looked_at = 0;
        for index in 0..snapshot.layers() {
            for (number, _) in snapshot.layer(index).ends_of(hash)? {
                looked_at += 1;
                if looked_at > LOOKED_AT || found.len() == SHOWN {
                    return Ok(found);
                }
                let entry = snapshot.layer(index).get(number, &mut reader.scratch)?;
                let Some(live) = snapshot.live(entry.key, &mut reader.scratch)? else { continue };
                if (live.layer, live.number) != (index, number) {
                    continue;
                }
                let body = snapshot.body(&live, &mut reader.bodies)?;
                let Key::Relationship(relationship) = body.body()?.key() else { continue };
                let other = if relationship.from == *key { &relationship.to } else { &relationship.from };
                // A prefix of a hash may be shared by another entity's.
                if relationship.from != *key && relationship.to != *key {
                    continue;
                }
                let missing = if !here {
                    Some(key)
                } else if is_live(snapshots, other.hash(), reader)? {
                    None
                } else {
                    Some(other)
                };
                if let Some(missing) = missing {
                    let reason = format!("no source has published its end {missing}");
                    let source_id = snapshot.manifest().source_id.clone();
                    found.push(WaitingRelationship { key: relationship, source_id, reason });
                }
            }
        }
    }
    Ok(found)
}

fn is_live(snapshots: &[Arc<Snapshot>], hash: KeyHash, reader: &mut Reader) -> Result<bool> {
    for snapshot in snapshots {
        if snapshot.live(hash, &mut reader.scratch)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
