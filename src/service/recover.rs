//! A new `tidegate.redb` from what the state folder holds, when the old one is
//! lost: the current snapshots, with the keys unsure that a plan may have
//! changed since (`SEMANTICS` 10), and the batches that waited and are pinned.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SELF;
use super::engine::Engine;
use super::failing::{failure, hold};
use super::given::clear;
use super::holds::applied_row;
use super::pinned::Opened;
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::ids::{BatchId, FolderName, PlanId, SnapshotId, SourceId, TargetName};
use crate::domain::key::Kind;
use crate::domain::publish_state::FailureDetails;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::manifest::MANIFEST;
use crate::intake::pin::{self, PIN, PinManifest};
use crate::intake::{folder, monitor};
use crate::planning::recover::{self, FoundSnapshots};
use crate::planning::snapshot::SnapshotManifest;
use crate::planning::state_dir::StateDir;
use crate::store::{BatchRecord, InboxEntry, InboxState, Pin, SnapshotRecord};

/// What was recovered of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredSource {
    /// The source.
    pub source_id: SourceId,
    /// The target.
    pub target: TargetName,
    /// Its current snapshot.
    pub snapshot_id: SnapshotId,
    /// The batch that was published last.
    pub batch_id: BatchId,
    /// The source timestamp up to which it is published.
    pub published_to: Timestamp,
    /// Entities that are published.
    pub entities: u64,
    /// Relationships that are published.
    pub relationships: u64,
    /// Keys that are compared with the target, or sent again, by the next plan.
    pub unsure: u64,
}

/// What was recovered, and what could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The sources.
    pub sources: Vec<RecoveredSource>,
    /// Older snapshots that can be looked at.
    pub older_snapshots: u64,
    /// Batches that waited, and are in the queue again; those that had failed are
    /// FAILED.
    pub batches: Vec<BatchId>,
    /// Folders of the inboxes that are not accepted again: they are not newer
    /// than what is published.
    pub passed_by: Vec<String>,
    /// What could not be recovered, in words.
    pub problems: Vec<String>,
}

/// What each target calls itself, or why it can't be asked: it is asked once,
/// for one that is down may have each question wait.
type Identities = BTreeMap<TargetName, Result<String, String>>;

/// What nobody can recover, whatever the state folder holds.
pub const LOST: &str = "the history of batches with their timelines; approvals, pauses, other holds than for failed batches, and skips; \
    dead letters; messages that were not delivered yet";

/// Makes `tidegate.redb` anew in a data directory that has none, or half of one that a
/// recovery which was killed, or failed, has left. The store is held from the beginning
/// to the end: of two at once one makes it.
///
/// # Errors
/// [`ErrorKind::Conflict`] when the data directory has a `tidegate.redb`,
/// [`ErrorKind::NotFound`] when the state folder holds nothing to recover,
/// [`ErrorKind::StoreInUse`] when another recovery is at work.
pub fn recover(settings: Settings, clock: Arc<dyn Clock>) -> Result<Recovered> {
    let data = settings.data.clone();
    let owner = recover::owner(&settings.state)?;
    let found = recover::snapshots(&settings.state)?;
    something(&settings.state, &found)?;
    let engine = Engine::open_anew(&data, settings, owner, clock)?;
    let recovered = engine.take_over(found)?;
    engine.store.end_recovery()?;
    Ok(recovered)
}

/// # Errors
/// [`ErrorKind::NotFound`] when a state folder has nothing to recover, or only
/// snapshots that are damaged: a store that begins anew has their files
/// removed, and they may be all that a backup lacks.
fn something(root: &Path, found: &BTreeMap<(TargetName, SourceId), FoundSnapshots>) -> Result<()> {
    if found.values().any(|found| !found.whole.is_empty()) {
        return Ok(());
    }
    let damaged: Vec<&str> = found.values().flat_map(|found| &found.damaged).map(String::as_str).collect();
    if !damaged.is_empty() {
        let text = format!("{} holds no snapshot that is whole: {}", root.display(), damaged.join("; "));
        return Err(Error::new(ErrorKind::NotFound, text).with_action(
            "Restore the files from a backup; or move the folders `<source>/snapshots` away to begin anew \
             with the batches that wait there, and run this again.",
        ));
    }
    let state = StateDir::unmade(root);
    for source in sources(&state)? {
        if !state.pins(&source)?.is_empty() {
            return Ok(());
        }
    }
    for source in sources(&state)? {
        let plans = state.source(&source).join("plans");
        if std::fs::read_dir(&plans).is_ok_and(|mut plans| plans.next().is_some()) {
            let text = format!(
                "{} holds no snapshot and no batch that waits, but a plan of source {source}: perhaps it was begun",
                root.display()
            );
            return Err(Error::new(ErrorKind::NotFound, text).with_action(
                "Move that folder away, and the embedded catalogue if nothing else published into it: \
                 `tidegate serve` makes new ones. Then deliver the batches again.",
            ));
        }
    }
    let text = format!(
        "{} holds no snapshot and no batch that waits: nothing was published from it yet",
        root.display()
    );
    Err(Error::new(ErrorKind::NotFound, text)
        .with_action("Move that folder away: `tidegate serve` makes a new one, with a new tidegate.redb."))
}

/// The sources that have a folder under the state URL.
fn sources(state: &StateDir) -> Result<Vec<SourceId>> {
    let entries = std::fs::read_dir(state.root()).map_err(|e| Error::io(state.root(), e))?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    let mut sources: Vec<SourceId> = names.filter_map(|name| SourceId::new(name).ok()).collect();
    sources.sort();
    Ok(sources)
}

impl Engine {
    fn take_over(&self, found: BTreeMap<(TargetName, SourceId), FoundSnapshots>) -> Result<Recovered> {
        // It was brought of batches that nobody knows any more, and is told from what
        // lies there now by its size alone.
        clear(&self.spool_root())?;
        let mut recovered = Recovered::default();
        let mut identities = Identities::default();
        for ((target, source), found) in found {
            recovered
                .problems
                .extend(found.damaged.iter().map(|damaged| format!("source {source}: {damaged}")));
            let whole = &found.whole[..];
            let Some((newest, older)) = whole.split_last() else {
                recovered.problems.push(format!(
                    "source {source}: no snapshot at target {target} is whole; its next batch is planned as its first"
                ));
                continue;
            };
            let current =
                self.take_snapshot(&target, &source, whole, newest, &mut identities, &mut recovered)?;
            recovered.older_snapshots += older.len() as u64;
            let records: Vec<SnapshotRecord> = older.iter().map(|older| self.record_of(older)).collect();
            let record = self.record_of(&current);
            let previous = (current.snapshot_id != newest.snapshot_id).then(|| self.record_of(newest));
            let applied = self.applied(&target, &source, whole, newest, &current)?;
            let (of, at) = (source.clone(), target.clone());
            self.store.write(move |tx| {
                for record in records.iter().chain(&previous) {
                    tx.restore_snapshot(record, false)?;
                }
                tx.restore_snapshot(&record, true)?;
                if let Some(applied) = applied {
                    tx.put(
                        crate::store::APPLIED,
                        applied_row(at.as_str(), of.as_str()),
                        applied.into_bytes(),
                    );
                }
                tx.note_source(&of, &format!("recovered from snapshot {}", record.id), SELF)
            })?;
            recovered.sources.push(RecoveredSource {
                source_id: source,
                target,
                snapshot_id: current.snapshot_id.clone(),
                batch_id: current.batch_id.clone(),
                published_to: current.newest.stamp.source_timestamp,
                entities: current.live(Kind::Entity),
                relationships: current.live(Kind::Relationship),
                unsure: current.unsure.len() as u64,
            });
        }
        self.begin_anew(&mut recovered)?;
        self.tell_begun(&mut recovered)?;
        self.take_pins(&mut recovered)?;
        self.pass_by(&mut recovered)?;
        Ok(recovered)
    }

    /// The snapshot that is current, with the keys unsure of every plan that
    /// the target may have begun since.
    fn take_snapshot(
        &self,
        target: &TargetName,
        source: &SourceId,
        whole: &[SnapshotManifest],
        newest: &SnapshotManifest,
        identities: &mut Identities,
        recovered: &mut Recovered,
    ) -> Result<SnapshotManifest> {
        let mut plans = recover::plans_since(&self.state, source, whole)?;
        let Some(open) = self.targets.get(target) else {
            let text = format!("source {source}: its target {target} is not in the settings");
            recovered.problems.push(text);
            return Ok(newest.clone());
        };
        // A target that keeps track tells which of them it has begun; of one
        // that can't be asked now, all of them count.
        match open.target.last_plan(source) {
            Ok(Some(last)) => plans.retain(|plan| *plan == last),
            Ok(None) => {}
            Err(error) => recovered.problems.push(format!(
                "source {source}: the target {target} can't tell which plan it had last: {error}; \
                 every plan since the snapshot counts as begun"
            )),
        }
        let identity = identities
            .entry(target.clone())
            .or_insert_with(|| open.target.identity().map_err(|e| e.to_string()));
        match identity {
            Ok(identity) if *identity == newest.target_identity => {}
            Ok(identity) => recovered.problems.push(format!(
                "source {source}: the target {target} is {identity}, the snapshot was published to {}; \
                 the source is held until they belong together",
                newest.target_identity
            )),
            // Whether it is that one is looked at before anything is published.
            Err(error) => recovered.problems.push(format!(
                "source {source}: the target {target} can't be asked whether it is the one that was published to: \
                 {error}; its next batch asks"
            )),
        }
        let mut keys = BTreeSet::new();
        for plan in &plans {
            let mut take = |key| {
                keys.insert(key);
            };
            match recover::each_key(&self.state, source, plan, &mut take) {
                Ok(()) => {}
                Err(error) => recovered.problems.push(format!(
                    "source {source}: plan {plan} may have been begun and can't be read: {error}; \
                     deliver its batch again"
                )),
            }
        }
        if keys.is_empty() {
            return Ok(newest.clone());
        }
        let id = SnapshotId::from(self.new_plan_id()?);
        recover::with_unsure(&self.state, newest, id, keys, self.clock.now())
    }

    /// What `tidegate.redb` has to say of the target's last plan: what the
    /// target itself says, unless it has begun one that nothing is known of.
    fn applied(
        &self,
        target: &TargetName,
        source: &SourceId,
        whole: &[SnapshotManifest],
        newest: &SnapshotManifest,
        current: &SnapshotManifest,
    ) -> Result<Option<String>> {
        let Some(open) = self.targets.get(target) else { return Ok(Some(newest.plan_id.to_string())) };
        let last = match open.target.last_plan(source) {
            Ok(Some(last)) => last,
            Ok(None) => return Ok(None),
            // If it had another one since, that holds the source at its next batch.
            Err(_) => return Ok(Some(newest.plan_id.to_string())),
        };
        let ancestor = whole.iter().any(|snapshot| snapshot.plan_id == last);
        let known =
            ancestor || last.as_str() <= newest.plan_id.as_str() || current.snapshot_id != newest.snapshot_id;
        Ok(Some(if known { last.to_string() } else { newest.plan_id.to_string() }))
    }

    fn record_of(&self, manifest: &SnapshotManifest) -> SnapshotRecord {
        let path = self.state.snapshot_path(&manifest.source_id, &manifest.target, &manifest.snapshot_id);
        SnapshotRecord {
            id: manifest.snapshot_id.clone(),
            target: manifest.target.clone(),
            source: manifest.source_id.clone(),
            parent: manifest.parent.clone(),
            batch_id: manifest.batch_id.clone(),
            newest: manifest.newest.stamp.clone(),
            created_at: manifest.created_at,
            url: self.state.url_of(&path),
            entities: manifest.live(Kind::Entity),
            relationships: manifest.live(Kind::Relationship),
        }
    }

    /// A source without a snapshot is planned as if for the first time, whatever
    /// its targets had of it: else the plan that they had last would hold it.
    fn begin_anew(&self, recovered: &mut Recovered) -> Result<()> {
        for source in sources(&self.state)? {
            let known = recover::complete_plans(&self.state, &source)?;
            for (name, open) in &self.targets {
                let has = recovered.sources.iter().any(|of| of.source_id == source && of.target == *name);
                if has || !open.target.capabilities().tracks_plans {
                    continue;
                }
                // One that can't be asked now is asked by the next batch.
                let Ok(Some(last)) = open.target.last_plan(&source) else { continue };
                // Of those that are known it is told apart.
                let is_last = |(plan, target): &(PlanId, Result<TargetName>)| {
                    *plan == last && target.as_ref().is_ok_and(|target| target == name)
                };
                if !known.iter().any(is_last) {
                    recovered.problems.push(format!(
                        "source {source}: no snapshot of it at target {name} is there, which had plan {last} of it: \
                         what that and others brought and no later batch names stays there"
                    ));
                }
                let row = applied_row(name.as_str(), source.as_str());
                self.store.write(move |tx| {
                    tx.put(crate::store::APPLIED, row, last.as_str().as_bytes().to_vec());
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Tells of plans that may have been begun where no snapshot is there to
    /// keep their keys unsure.
    fn tell_begun(&self, recovered: &mut Recovered) -> Result<()> {
        for source in sources(&self.state)? {
            for (plan, target) in recover::complete_plans(&self.state, &source)? {
                let target = match target {
                    Ok(target) => target,
                    // Told where the keys of plans since a snapshot are taken.
                    Err(_) if recovered.sources.iter().any(|of| of.source_id == source) => continue,
                    Err(_) if !self.may_be_begun(&source, &plan) => continue,
                    Err(error) => {
                        recovered.problems.push(format!(
                            "source {source}: plan {plan} may have been begun and can't be read: {error}; \
                             what it brought and no later batch names stays there"
                        ));
                        continue;
                    }
                };
                if recovered.sources.iter().any(|of| of.source_id == source && of.target == target) {
                    continue;
                }
                // A target that keeps track tells that it has begun no other.
                let open = self.targets.get(&target).filter(|open| open.target.capabilities().tracks_plans);
                let last = open.map(|open| open.target.last_plan(&source));
                if let Some(Ok(last)) = last
                    && last.as_ref() != Some(&plan)
                {
                    continue;
                }
                recovered.problems.push(format!(
                    "source {source}: plan {plan} may have been begun at target {target}, and no snapshot is \
                     there to remember it: what it brought and no later batch names stays there"
                ));
            }
        }
        Ok(())
    }

    /// Whether any target may have begun a plan.
    fn may_be_begun(&self, source: &SourceId, plan: &PlanId) -> bool {
        self.targets.values().map(|open| &open.target).any(|target| match target.last_plan(source) {
            Ok(last) => !target.capabilities().tracks_plans || last.as_ref() == Some(plan),
            Err(_) => true,
        })
    }

    /// Batches that waited when `tidegate.redb` was lost: their files are
    /// pinned, and they are in the queue again, or FAILED as they were.
    fn take_pins(&self, recovered: &mut Recovered) -> Result<()> {
        for source in sources(&self.state)? {
            let mut pins = self.state.pins(&source)?;
            pins.sort();
            for (name, at) in pins {
                let Ok(name) = name.parse::<FolderName>() else {
                    if format!("{source}:{name}").parse::<BatchId>().is_ok() {
                        // What was approved is not known any more.
                        recovered.problems.push(format!(
                            "batch {source}:{name}, which waited: what it was made for is lost, and its copy {} \
                             goes with the source's next batch; have the source deliver a new full batch",
                            at.display()
                        ));
                    }
                    continue;
                };
                let id = BatchId::new(source.clone(), name);
                if !at.join(PIN).is_file() {
                    recovered.problems.push(format!(
                        "batch {id}, which waited: {} was not copied to its end; deliver it again if no inbox has it",
                        at.display()
                    ));
                    continue;
                }
                match self.take_pin(&id, &at) {
                    Ok(damage) => {
                        let told =
                            damage.map(|error| [vec![error.to_string()], error.causes()].concat().join(": "));
                        recovered.problems.extend(told);
                        recovered.batches.push(id);
                    }
                    Err(error) if self.is_fatal(&error) => return Err(error),
                    Err(error) => recovered.problems.push(format!("batch {id}, which waited: {error}")),
                }
            }
        }
        Ok(())
    }

    /// Puts down a batch that is known by the copy of its files: in the queue, or
    /// FAILED as it was, or as what can't be used. Returns what is damaged.
    fn take_pin(&self, id: &BatchId, at: &Path) -> Result<Option<Error>> {
        let mut pin = Pin { at: self.clock.now(), files: 0, bytes: 0 };
        match self.open_pin(id, at) {
            Ok(Opened { mut made, batch, has_no_mode }) => {
                pin.files = made.files.len() as u64;
                pin.bytes = made.files.iter().map(|file| file.bytes).sum();
                let (batch, broken) = match batch {
                    Ok(batch) => (Some(batch), None),
                    Err(error) => (None, Some(error)),
                };
                let failed = match (made.failed.take(), &broken) {
                    (Some(code), _) => Some(had_failed(id, code, broken.as_ref())),
                    (None, Some(error)) => Some(failure(id, error, Some("intake".into()), 0)),
                    (None, None) => None,
                };
                let record = match batch {
                    Some(batch) => BatchRecord { listing: Opened::listing(&made)?, ..self.record(&batch)? },
                    None => self.unread(id, String::new(), at.to_owned(), made.manifest_hash.clone())?,
                };
                let record = BatchRecord { mode: record.mode.filter(|_| !has_no_mode), ..record };
                self.put_recovered(record, pin, (at, Some(&made)), failed)?;
                Ok(None)
            }
            // It stays, so that it can be mended.
            Err(error) => {
                let details = failure(id, &error, Some("intake".into()), 0);
                let record = self.unread(id, String::new(), at.to_owned(), String::new())?;
                self.put_recovered(record, pin, (at, None), Some(details)).map(|()| Some(error))
            }
        }
    }

    fn put_recovered(
        &self,
        mut record: BatchRecord,
        pin: Pin,
        (at, made): (&Path, Option<&PinManifest>),
        failed: Option<FailureDetails>,
    ) -> Result<()> {
        let id = record.batch_id.clone();
        record.url = self.state.url_of(at);
        if let Some((url, folder)) = self.delivered(&id) {
            (record.url, record.folder) = (url, folder);
            if let Some(files) = made.map(|made| self.files_there(&record, made)).transpose()?.flatten() {
                record.files = files;
            }
        }
        record.pin = Some(pin);
        let newer = self.newer_than(&record);
        let as_meant = BatchRecord { mode: record.mode.or_else(|| folder::mode_meant(at)), ..record.clone() };
        let held = failed.as_ref().and_then(|details| {
            let code = &details.error_code;
            self.hold_for(&as_meant, code, code, newer.as_ref())
        });
        self.store.write(move |tx| {
            tx.put_batch(&record)?;
            tx.remark(&record, "recovered: its files were pinned under the state URL", SELF)?;
            if let Some(held) = &held {
                hold(tx, &id, held)?;
            }
            if let Some(details) = failed {
                let now = tx.now();
                let cause = details.error_message.clone();
                tx.fail_batch(&id, (&cause, SELF), newer, |record| {
                    record.publish_end = Some(now);
                    record.failure = Some(details);
                })?;
            }
            Ok(())
        })
    }

    /// What the files of a batch are like where it was delivered, if they are those
    /// that were copied: what it withholds is approved of them.
    fn files_there(&self, record: &BatchRecord, made: &PinManifest) -> Result<Option<String>> {
        let batch = self.batch_of(record)?;
        // A checksum tells more, and so does the listing of an object store.
        let is_told = !batch.is_local() || batch.files.iter().all(|file| file.xxh3.is_some());
        if is_told || pin::verify(&batch.folder, made, &|_| self.go_on()).is_ok() {
            return self.files_as_they_are(&batch).map(Some);
        }
        Ok(None)
    }

    /// Where a batch was delivered, if one of the inboxes still has it, and its
    /// local folder.
    fn delivered(&self, id: &BatchId) -> Option<(String, PathBuf)> {
        let path = format!("{}/{}", id.source(), id.folder());
        self.settings().inboxes.iter().find_map(|inbox| {
            let prefix = self.prefix(&inbox.url).ok()?;
            let there = prefix.objects(&path).is_ok_and(|objects| !objects.is_empty());
            let folder = || prefix.local(&path).unwrap_or_else(|| self.spool(id));
            there.then(|| (prefix.url_of(&path), folder()))
        })
    }

    /// Folders of the inboxes that are not newer than what is published were
    /// published, rejected or cancelled before; nobody knows any more. They
    /// are not accepted again by themselves, and `inbox list` shows them.
    fn pass_by(&self, recovered: &mut Recovered) -> Result<()> {
        let now = self.clock.now();
        for inbox in &self.settings().inboxes {
            let scanned =
                self.prefix(&inbox.url).and_then(|prefix| monitor::scan(inbox, &*prefix, now, |_| Ok(false)));
            let folders = match scanned {
                Ok(folders) => folders,
                Err(error) => {
                    recovered.problems.push(format!(
                        "the inbox {} can't be listed: {error}; what lies there is accepted again when it can",
                        inbox.url
                    ));
                    continue;
                }
            };
            for found in folders {
                let Some((source, name)) = &found.names else { continue };
                let id = BatchId::new(source.clone(), name.clone());
                let state = if recovered.batches.contains(&id) {
                    InboxState::Accepted { batch_id: id }
                } else {
                    let of_source = recovered.sources.iter().filter(|of| of.source_id == *source);
                    let Some(published_to) = of_source.map(|of| of.published_to).max() else { continue };
                    if name.time() > published_to {
                        continue;
                    }
                    recovered.passed_by.push(format!("{}{}", inbox.url, found.path));
                    // `publish` takes no batch without one.
                    let again = match found.has(MANIFEST) {
                        true => "stop the server and run `tidegate publish` on it",
                        false => "give its folder another run id",
                    };
                    InboxState::Ignored {
                        reason: format!(
                            "tidegate.redb was recovered, and the source is published to {published_to}: \
                             if this was not published before, {again}"
                        ),
                    }
                };
                let entry = InboxEntry { signature: found.signature, state, at: now };
                let (url, path) = (inbox.url.to_string(), found.path);
                self.store.write(move |tx| tx.put_inbox_entry(&url, &path, &entry))?;
            }
        }
        Ok(())
    }
}

/// How a batch failed before the store was lost. `broken`: what is wrong with
/// the copy of its files by itself.
fn had_failed(id: &BatchId, code: String, broken: Option<&Error>) -> FailureDetails {
    let why = broken.map(|error| format!(" {}.", error.message())).unwrap_or_default();
    FailureDetails {
        error_message: format!(
            "batch {id} had failed with {code} when its files were copied; the message went with tidegate.redb.{why} \
             Look at its files, then `tidegate batches retry {id}` or correct its manifest with `tidegate dlq edit`."
        ),
        error_code: code,
        failed_operation: broken.map(|_| "intake".to_owned()),
        stack_trace: None,
        retry_count: 0,
    }
}
