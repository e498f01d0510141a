//! Whom a command talks to: the server that it was told of, else the one that
//! holds the data directory, else the directory itself. Commands ask here and
//! render what they get; it is the same values either way.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::Global;
use super::client::Client;
use super::common::{clock, crash_points, load_options, settings, usage, write_error};
use super::issues::DeclareArgs;
use super::progress::{self, Bars};
use super::shown::{Fetched, Shown, Stored};
use crate::config::Settings;
use crate::domain::ids::{BatchId, SnapshotId, SourceId, TargetName};
use crate::domain::key::EntityKey;
use crate::domain::plan::PlanDigest;
use crate::error::{Error, ErrorKind, Result};
use crate::publishing::crash::CrashPoints;
use crate::service::Engine;
use crate::service::present;
use crate::service::query::{BatchQuery, FindEntities, PAGE_MAX, Part, SearchEntities, SnapshotQuery, Times};
use crate::service::skips::Skip;
use crate::service::views::{
    BatchAction, BatchView, CatalogueHit, DoctorView, EntityPage, InboxListView, KnownIssueView, Page,
    SearchPage, SnapshotChange, SnapshotView, SourceDetail, SourceView, TargetView, TimelineItem, WhyView,
};
use crate::targets::embedded::HistoryView;
use crate::web::presence::{self, Announcement};

/// Whom the command talks to.
pub enum Backend {
    /// A server.
    Server(Client),
    /// A data directory that this process holds.
    Directory(Box<Engine>, Arc<CrashPoints>),
}

/// What a command wants of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To look: nothing is made.
    Look,
    /// To do something with what is there.
    Change,
    /// To bring something: what is not there yet is made.
    Make,
}

/// Who acts, and why: what every action of a person carries.
#[derive(Debug, Clone, Serialize)]
pub struct Act<'a> {
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
}

#[derive(Serialize)]
struct Declare<'a> {
    #[serde(flatten)]
    declare: &'a DeclareArgs,
    actor: &'a str,
}

#[derive(Serialize)]
struct Approve<'a> {
    plan_digest: String,
    #[serde(flatten)]
    act: &'a Act<'a>,
}

#[derive(Serialize)]
struct SkipBody<'a> {
    #[serde(rename = "type")]
    type_name: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Option<jiff::Timestamp>>,
    #[serde(flatten)]
    act: &'a Act<'a>,
}

/// The server that holds a data directory, if one does and answers.
///
/// # Errors
/// When it can't be told, for want of the right to look.
fn holder(data: &Path) -> Result<Option<Client>> {
    if !present::is_readable(&data.join(presence::FILE))? {
        return Ok(None);
    }
    let Some(file) = Announcement::read(data) else { return Ok(None) };
    let Ok(client) = Client::new(&file.url) else { return Ok(None) };
    if client.answers() {
        return Ok(Some(client));
    }
    tracing::debug!(pid = file.pid, url = file.url, "a server file names a server that does not answer");
    Ok(None)
}

impl Backend {
    /// Finds out whom to talk to, and opens the data directory if it is nobody.
    ///
    /// # Errors
    /// [`ErrorKind::ServerUnreachable`] when the server that was named does not
    /// answer; [`ErrorKind::StoreInUse`], with who it is, when another process
    /// holds the directory and has no server; [`ErrorKind::DataMissing`] when
    /// there is nothing to look at or to change.
    pub fn open(global: &Global, purpose: Purpose) -> Result<Self> {
        match Self::server_of(global)? {
            Some(client) => Ok(Self::Server(client)),
            None => Self::directory(global, settings(global)?, purpose),
        }
    }

    /// The server that was named, or holds the data directory.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when what was named is no URL; [`ErrorKind::Io`]
    /// when the data directory can't be looked into.
    pub fn server_of(global: &Global) -> Result<Option<Client>> {
        match &global.server {
            Some(url) => Client::new(url).map(Some),
            // Whoever may use a server need not know its secrets.
            None => holder(&load_options(global).data()),
        }
    }

    /// The data directory itself.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn directory(global: &Global, settings: Settings, purpose: Purpose) -> Result<Self> {
        let crash = crash_points()?;
        let data = settings.data.clone();
        let at = Arc::clone(&crash);
        let engine = match purpose {
            Purpose::Look => Engine::look(&data, settings, clock(), at)?,
            Purpose::Change => {
                present::something(&data, &settings)?;
                Engine::open_with(&data, settings, clock(), at)?
            }
            Purpose::Make => Engine::open_with(&data, settings, clock(), at)?,
        };
        let engine = match progress::is_seen(global) {
            true => engine.with_progress(Box::new(Bars::new())),
            false => engine,
        };
        Ok(Self::Directory(Box::new(engine), crash))
    }

    /// The server, if it is one.
    pub fn server(&self) -> Option<&Client> {
        match self {
            Self::Server(client) => Some(client),
            Self::Directory(..) => None,
        }
    }

    /// A part of the batches.
    pub fn batches(&self, query: &BatchQuery) -> Result<Page<BatchView>> {
        match self {
            Self::Directory(engine, _) => engine.batches(query),
            Self::Server(client) => client.get(
                &["api", "v1", "batches"],
                &[
                    ("source_id", query.source_id.as_ref().map(ToString::to_string)),
                    ("status", query.status.map(|status| status.as_str().to_owned())),
                    ("since", query.since.map(|time| time.to_string())),
                    ("until", query.until.map(|time| time.to_string())),
                    ("order", text_of(&query.order)),
                    ("limit", query.part.limit.map(|limit| limit.to_string())),
                    ("cursor", query.part.cursor.clone()),
                ],
            ),
        }
    }

    /// A batch.
    pub fn batch(&self, id: &BatchId) -> Result<BatchView> {
        match self {
            Self::Directory(engine, _) => engine.batch_view(id),
            Self::Server(client) => client.get(&["api", "v1", "batches", &id.to_string()], &[]),
        }
    }

    /// What happened to a batch, all of it.
    pub fn timeline(&self, id: &BatchId) -> Result<Vec<TimelineItem>> {
        let page = all(usize::MAX, None, |part| match self {
            Self::Directory(engine, _) => {
                engine.timeline(id, &Times { part: part.clone(), ..Times::default() })
            }
            Self::Server(client) => {
                client.get(&["api", "v1", "batches", &id.to_string(), "timeline"], &part_of(part))
            }
        })?;
        Ok(page.items)
    }

    /// Hands the newest plan of a batch to `look`, if it is still stored.
    pub fn plan_of(&self, batch: &BatchView, look: impl FnOnce(&dyn Shown) -> Result<()>) -> Result<()> {
        let id = &batch.publish_state.batch_id;
        match self {
            Self::Directory(engine, _) => {
                let record = engine.batch(&id.parse().map_err(|_| Error::internal("a batch id"))?)?;
                match engine.plan_of(&record)? {
                    Some(plan) if plan.manifest().header.plan_id.as_str() == plan_id(batch) => {
                        look(&Stored::new(&plan)?.of_batch())
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Self::Server(client) => match Fetched::find(client, &["api", "v1", "batches", id, "plan"])? {
                Some(plan) => look(&plan),
                None => Ok(()),
            },
        }
    }

    /// Approves what a guard parks, or what a batch withheld; with a digest,
    /// only if it is the plan's. The batch that goes on.
    pub fn approve(&self, id: &BatchId, digest: Option<PlanDigest>, act: &Act<'_>) -> Result<BatchId> {
        match self {
            Self::Directory(engine, _) => {
                engine.approve(id, digest, act.actor, act.reason).map(|record| record.batch_id)
            }
            Self::Server(client) => {
                let digest = match digest {
                    Some(digest) => digest,
                    // The server wants to know what was looked at; without a
                    // digest that is whatever is parked now.
                    None => match self.batch(id)?.plan.map(|plan| plan.digest) {
                        Some(digest) => digest,
                        None => {
                            let text = format!("batch {id} does not wait for an approval");
                            return Err(Error::new(ErrorKind::Conflict, text));
                        }
                    },
                };
                let path = ["api", "v1", "batches", &id.to_string(), "approve"];
                client
                    .post::<_, BatchView>(&path, &Approve { plan_digest: digest.to_string(), act })
                    .and_then(|batch| batch.publish_state.batch_id.parse().map_err(usage))
            }
        }
    }

    /// Does something else with a batch.
    pub fn act(&self, id: &BatchId, action: BatchAction, act: &Act<'_>) -> Result<()> {
        match self {
            Self::Directory(engine, _) => match action {
                BatchAction::Approve => engine.approve(id, None, act.actor, act.reason),
                BatchAction::Reject => engine.reject(id, act.actor, act.reason),
                BatchAction::Prioritize => engine.prioritize(id, act.actor, act.reason),
                BatchAction::Unprioritize => engine.unprioritize(id, act.actor, act.reason),
                BatchAction::Cancel => engine.cancel(id, act.actor, act.reason),
                BatchAction::Retry => engine.retry(id, act.actor, act.reason),
            }
            .map(|_| ()),
            Self::Server(client) => {
                let path = ["api", "v1", "batches", &id.to_string(), action.as_str()];
                client.post::<_, serde::de::IgnoredAny>(&path, act).map(|_| ())
            }
        }
    }

    /// Has the copies go that nobody needs any more. A server does that by itself.
    pub fn remove_pins(&self) -> Result<()> {
        match self {
            Self::Directory(engine, _) => engine.remove_pins(),
            Self::Server(_) => Ok(()),
        }
    }

    /// The folders that are no batches.
    pub fn inbox(&self, part: &Part) -> Result<InboxListView> {
        match self {
            Self::Directory(engine, _) => engine.inbox_view(part),
            Self::Server(client) => client.get(&["api", "v1", "inbox"], &part_of(part)),
        }
    }

    /// A part of the sources.
    pub fn sources(&self, part: &Part) -> Result<Page<SourceView>> {
        match self {
            Self::Directory(engine, _) => engine.sources(part),
            Self::Server(client) => client.get(&["api", "v1", "sources"], &part_of(part)),
        }
    }

    /// A source.
    pub fn source(&self, id: &SourceId) -> Result<SourceDetail> {
        match self {
            Self::Directory(engine, _) => engine.source_view(id),
            Self::Server(client) => client.get(&["api", "v1", "sources", id.as_str()], &[]),
        }
    }

    /// Pauses a source, or lets it go on.
    pub fn pause(&self, id: &SourceId, pause: bool, act: &Act<'_>) -> Result<()> {
        match self {
            Self::Directory(engine, _) => {
                engine.source_view(id)?;
                if pause {
                    engine.pause_source(id, act.actor, act.reason)
                } else {
                    engine.resume_source(id, act.actor, act.reason)
                }
            }
            Self::Server(client) => {
                let action = if pause { "pause" } else { "resume" };
                let path = ["api", "v1", "sources", id.as_str(), action];
                client.post::<_, serde::de::IgnoredAny>(&path, act).map(|_| ())
            }
        }
    }

    /// Skips keys of a source.
    pub fn skip(&self, id: &SourceId, skip: &Skip, act: &Act<'_>) -> Result<()> {
        match self {
            Self::Directory(engine, _) => {
                engine.source_view(id)?;
                engine.skip(id, skip, act.actor, act.reason)
            }
            Self::Server(client) => {
                let Skip { type_name, name, until } = skip;
                let body = SkipBody { type_name, name, until: Some(*until), act };
                let path = ["api", "v1", "sources", id.as_str(), "skip"];
                client.post::<_, serde::de::IgnoredAny>(&path, &body).map(|_| ())
            }
        }
    }

    /// Lifts a skip.
    pub fn unskip(&self, id: &SourceId, type_name: &str, name: &str, act: &Act<'_>) -> Result<()> {
        match self {
            Self::Directory(engine, _) => {
                engine.source_view(id)?;
                engine.unskip(id, type_name, name, act.actor, act.reason)
            }
            Self::Server(client) => {
                let body = SkipBody { type_name, name, until: None, act };
                let path = ["api", "v1", "sources", id.as_str(), "unskip"];
                client.post::<_, serde::de::IgnoredAny>(&path, &body).map(|_| ())
            }
        }
    }

    /// A part of the snapshots.
    pub fn snapshots(&self, query: &SnapshotQuery) -> Result<Page<SnapshotView>> {
        match self {
            Self::Directory(engine, _) => engine.snapshots(query),
            Self::Server(client) => client.get(
                &["api", "v1", "snapshots"],
                &[
                    ("source_id", query.source_id.as_ref().map(ToString::to_string)),
                    ("since", query.since.map(|time| time.to_string())),
                    ("until", query.until.map(|time| time.to_string())),
                    ("order", text_of(&query.order)),
                    ("limit", query.part.limit.map(|limit| limit.to_string())),
                    ("cursor", query.part.cursor.clone()),
                ],
            ),
        }
    }

    /// A snapshot.
    pub fn snapshot(&self, id: &SnapshotId) -> Result<SnapshotView> {
        match self {
            Self::Directory(engine, _) => engine.snapshot_view(id),
            Self::Server(client) => client.get(&["api", "v1", "snapshots", id.as_str()], &[]),
        }
    }

    /// A part of what differs between two snapshots.
    pub fn snapshot_diff(
        &self,
        before: &SnapshotId,
        after: &SnapshotId,
        cursor: Option<String>,
    ) -> Result<Page<SnapshotChange>> {
        let part = Part { limit: Some(PAGE_MAX), cursor };
        match self {
            Self::Directory(engine, _) => engine.snapshot_diff(before, after, &part),
            Self::Server(client) => {
                let path = ["api", "v1", "snapshots", after.as_str(), "diff", before.as_str()];
                client.get(&path, &part_of(&part))
            }
        }
    }

    /// A part of the known issues.
    pub fn issues(&self, times: &Times) -> Result<Page<KnownIssueView>> {
        match self {
            Self::Directory(engine, _) => engine.issue_views(times),
            Self::Server(client) => client.get(&["api", "v1", "known-issues"], &times_of(times)),
        }
    }

    /// Declares a known issue.
    pub fn declare_issue(&self, args: &DeclareArgs, actor: &str) -> Result<KnownIssueView> {
        match self {
            Self::Directory(engine, _) => {
                let issue = engine.declare_issue(args.declared()?, actor)?;
                Ok(engine.issue_view(issue))
            }
            Self::Server(client) => {
                client.post(&["api", "v1", "known-issues"], &Declare { declare: args, actor })
            }
        }
    }

    /// Lifts a known issue.
    pub fn lift_issue(&self, id: u64, act: &Act<'_>) -> Result<KnownIssueView> {
        match self {
            Self::Directory(engine, _) => {
                let issue = engine.lift_issue(id, act.actor, act.reason)?;
                Ok(engine.issue_view(issue))
            }
            Self::Server(client) => client.post(&["api", "v1", "known-issues", &id.to_string(), "lift"], act),
        }
    }

    /// A part of the targets.
    pub fn targets(&self, part: &Part) -> Result<Page<TargetView>> {
        match self {
            Self::Directory(engine, _) => engine.targets_part(part),
            Self::Server(client) => client.get(&["api", "v1", "targets"], &part_of(part)),
        }
    }

    /// A target.
    pub fn target(&self, name: &TargetName) -> Result<TargetView> {
        match self {
            Self::Directory(engine, _) => engine.target_view(name),
            Self::Server(client) => client.get(&["api", "v1", "targets", name.as_str()], &[]),
        }
    }

    /// Why an entity looks as it does.
    pub fn why(&self, key: &EntityKey, target: Option<&TargetName>) -> Result<WhyView> {
        match self {
            Self::Directory(engine, _) => engine.why(key, target),
            Self::Server(client) => client.get(
                &["api", "v1", "entities", &key.type_name, &key.qualified_name, "why"],
                &[("target", target.map(ToString::to_string))],
            ),
        }
    }

    /// An entity of the catalogue.
    pub fn entity(
        &self,
        key: &EntityKey,
        target: Option<&TargetName>,
        relationships: usize,
    ) -> Result<EntityPage> {
        match self {
            Self::Directory(engine, _) => engine.entity_view(key, target, relationships),
            Self::Server(client) => client.get(
                &["api", "v1", "entities", &key.type_name, &key.qualified_name],
                &[
                    ("target", target.map(ToString::to_string)),
                    ("relationships", Some(relationships.to_string())),
                ],
            ),
        }
    }

    /// A part of the versions of an entity that were replaced.
    pub fn history(
        &self,
        key: &EntityKey,
        target: Option<&TargetName>,
        times: &Times,
    ) -> Result<Page<HistoryView>> {
        match self {
            Self::Directory(engine, _) => engine.history_of(key, target, times),
            Self::Server(client) => client.get(
                &["api", "v1", "entities", &key.type_name, &key.qualified_name, "history"],
                &[&[("target", target.map(ToString::to_string))], &times_of(times)[..]].concat(),
            ),
        }
    }

    /// Entities of the catalogue.
    pub fn find(&self, find: &FindEntities) -> Result<Page<CatalogueHit>> {
        match self {
            Self::Directory(engine, _) => engine.find_entities(find),
            Self::Server(client) => client.get(
                &["api", "v1", "entities"],
                &[
                    ("q", find.text.clone()),
                    ("type", find.type_name.clone()),
                    ("prefix", find.prefix.clone()),
                    ("archived", find.archived.then(|| "true".to_owned())),
                    ("target", find.target.as_ref().map(ToString::to_string)),
                    ("limit", find.part.limit.map(|limit| limit.to_string())),
                    ("cursor", find.part.cursor.clone()),
                ],
            ),
        }
    }

    /// A part of what a search finds, the best first.
    pub fn search(&self, search: &SearchEntities) -> Result<SearchPage> {
        match self {
            Self::Directory(engine, _) => engine.search_entities(search),
            Self::Server(client) => client.get(
                &["api", "v1", "search"],
                &[
                    ("q", Some(search.text.clone()).filter(|text| !text.is_empty())),
                    ("type", search.type_name.clone()),
                    ("archived", search.archived.then(|| "true".to_owned())),
                    ("order", text_of(&search.order)),
                    ("target", search.target.as_ref().map(ToString::to_string)),
                    ("limit", search.part.limit.map(|limit| limit.to_string())),
                    ("cursor", search.part.cursor.clone()),
                ],
            ),
        }
    }

    /// What doctor finds.
    pub fn doctor(&self) -> Result<DoctorView> {
        match self {
            Self::Directory(engine, _) => engine.examine(false),
            Self::Server(client) => client.get(&["api", "v1", "doctor"], &[]),
        }
    }

    /// How many rows the store's tables have; `None`: a server holds it.
    pub fn tables(&self) -> Option<Result<BTreeMap<&'static str, u64>>> {
        match self {
            Self::Directory(engine, _) => {
                Some(engine.store().verify().map(|rows| rows.into_iter().collect()))
            }
            Self::Server(_) => None,
        }
    }

    /// Ends the work: a test's crash points report what they counted.
    pub fn close(self) -> Result<()> {
        match self {
            Self::Server(_) => Ok(()),
            Self::Directory(engine, crash) => {
                engine.close();
                crash.report()
            }
        }
    }
}

/// Opens the backend for a command that looks, runs it and closes it.
pub fn look<T>(global: &Global, work: impl FnOnce(&Backend) -> Result<T>) -> Result<T> {
    with(global, Purpose::Look, work)
}

/// Opens the backend for a command, runs it and closes it.
pub fn with<T>(global: &Global, purpose: Purpose, work: impl FnOnce(&Backend) -> Result<T>) -> Result<T> {
    let backend = Backend::open(global, purpose)?;
    let result = work(&backend);
    backend.close()?;
    result
}

fn plan_id(batch: &BatchView) -> &str {
    batch.plan.as_ref().map_or("", |plan| plan.plan_id.as_str())
}

/// A value as a parameter has it.
fn text_of<T: Serialize>(value: &T) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

fn times_of(times: &Times) -> [(&'static str, Option<String>); 5] {
    let [limit, cursor] = part_of(&times.part);
    [
        ("since", times.since.map(|time| time.to_string())),
        ("until", times.until.map(|time| time.to_string())),
        ("order", times.order.as_ref().and_then(text_of)),
        limit,
        cursor,
    ]
}

fn part_of(part: &Part) -> [(&'static str, Option<String>); 2] {
    [("limit", part.limit.map(|limit| limit.to_string())), ("cursor", part.cursor.clone())]
}

/// Up to `limit` items behind `cursor`, in as many parts as it takes.
pub fn all<T>(
    limit: usize,
    cursor: Option<String>,
    mut part: impl FnMut(&Part) -> Result<Page<T>>,
) -> Result<Page<T>> {
    let mut items: Vec<T> = Vec::new();
    let mut cursor = cursor;
    loop {
        let wanted = (limit - items.len()).min(PAGE_MAX);
        let page = part(&Part { limit: Some(wanted), cursor })?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() || items.len() >= limit {
            return Ok(Page { items, next_cursor: cursor });
        }
    }
}

/// Copies what a server streams to standard output.
pub fn copy_out(mut stream: impl std::io::Read) -> Result<()> {
    let mut stdout = std::io::BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = stream
            .read(&mut buffer)
            .map_err(|e| Error::new(ErrorKind::ServerUnreachable, "the answer broke off").caused_by(e))?;
        if read == 0 {
            return stdout.flush().map_err(write_error);
        }
        stdout.write_all(&buffer[..read]).map_err(write_error)?;
    }
}
