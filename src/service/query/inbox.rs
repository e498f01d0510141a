//! Why a folder of an inbox is no batch.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::engine::Engine;
use super::super::inboxes::NOT_THERE;
use super::super::views::{InboxFolderState, InboxFolderView, InboxListView, InboxView};
use super::super::waiting::mode_missing;
use super::{Part, cursor};
use crate::config::Settings;
use crate::domain::ids::BatchId;
use crate::error::Result;
use crate::intake::folder;
use crate::intake::inbox::{Complete, InboxSettings};
use crate::intake::manifest::MANIFEST;
use crate::intake::monitor::{self, InboxFolder};
use crate::intake::prefix::{Changed, Prefix};
use crate::store::{InboxState, View};

/// The list's name, for cursors.
const NAME: &str = "inbox";
/// How long one look into the inboxes is shown: listings cost.
const FRESH: Duration = Duration::from_secs(2);

/// Folders whose manifests are read at one look, to say what is wrong with them.
const OPENED: usize = 100;

/// Why a complete folder of this machine can't be accepted as it is now. It may
/// still be written, and so is not a failed batch at once.
fn unusable(prefix: &dyn Prefix, folder: &InboxFolder) -> Option<String> {
    let (source, name) = folder.names.as_ref()?;
    let local = prefix.local(&folder.path).filter(|_| folder.has(MANIFEST))?;
    let error = folder::open_in_inbox(&local, source, name).err()?;
    Some(format!("it becomes a FAILED batch in a moment, unless it is being written: {error}"))
}

/// The batches that wait for the `mode` of their source, with the reason.
fn held(view: &View<'_>, settings: &Settings) -> Result<BTreeMap<BatchId, String>> {
    let mut held = BTreeMap::new();
    for source in view.sources_with_unfinished()? {
        view.each_unfinished(&source, |batch| {
            held.extend(mode_missing(settings, &batch).map(|why| (batch.batch_id, why)));
            Ok(true)
        })?;
    }
    Ok(held)
}

impl Engine {
    /// The inboxes and a part of the folders that are not accepted, each with
    /// its reason and age. One look serves all who ask within two seconds.
    pub fn inbox_view(&self, part: &Part) -> Result<InboxListView> {
        let (limit, after) = (part.limit()?, part.after(NAME)?);
        let now = self.clock.monotonic();
        let mut kept = self.looks.inbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let all = match &*kept {
            Some((at, view)) if now.saturating_sub(*at) < FRESH => view,
            Some(_) | None => &kept.insert((now, self.look_into_inboxes()?)).1,
        };
        let place = |item: &InboxFolderView| [item.inbox.as_bytes(), b"\0", item.folder.as_bytes()].concat();
        let mut items: Vec<InboxFolderView> = all
            .items
            .iter()
            .filter(|item| after.as_ref().is_none_or(|after| place(item) > *after))
            .take(limit + 1)
            .cloned()
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(|item| cursor::encode(NAME, &place(item)));
        Ok(InboxListView {
            seen_at: all.seen_at,
            stopped: all.stopped.clone(),
            inboxes: all.inboxes.clone(),
            items,
            next_cursor,
        })
    }

    fn look_into_inboxes(&self) -> Result<InboxListView> {
        let (mut inboxes, mut items) = (Vec::new(), Vec::new());
        for inbox in &self.settings().inboxes {
            let (found, error) = match self.folders_of(inbox) {
                Ok(Some(found)) => (found, None),
                Ok(None) => (Vec::new(), Some(NOT_THERE.to_owned())),
                Err(error) => (Vec::new(), Some(error.to_string())),
            };
            inboxes.push(InboxView {
                url: inbox.url.to_string(),
                poll_ms: u64::try_from(inbox.poll.as_millis()).unwrap_or(u64::MAX),
                complete: match &inbox.complete {
                    Complete::Manifest => "manifest".to_owned(),
                    Complete::Marker(name) => format!("marker:{name}"),
                    Complete::Quiet(time) => format!("quiet:{}s", time.as_secs()),
                },
                error,
                waiting: found.len() as u64,
            });
            items.extend(found);
        }
        items.sort_by(|a: &InboxFolderView, b| (&a.inbox, &a.folder).cmp(&(&b.inbox, &b.folder)));
        Ok(InboxListView {
            seen_at: self.clock.now(),
            stopped: self.too_little_room(),
            inboxes,
            items,
            next_cursor: None,
        })
    }

    /// Its folders that are not accepted; `None` when it is not there.
    fn folders_of(&self, inbox: &InboxSettings) -> Result<Option<Vec<InboxFolderView>>> {
        let prefix = self.prefix(&inbox.url)?;
        if prefix.changed("")? == Changed::Gone {
            return Ok(None);
        }
        let now = self.clock.now();
        let settings = self.settings();
        let url = inbox.url.to_string();
        let low = self.too_little_room().is_some();
        self.store.read(|view| {
            let mut items = Vec::new();
            let held = held(view, &settings)?;
            let waiting = monitor::scan(inbox, &*prefix, now, |path| {
                let Some(entry) = view.inbox_entry(&url, path)? else { return Ok(false) };
                let (state, reason, batch_id) = match entry.state {
                    InboxState::Accepted { batch_id } => match held.get(&batch_id) {
                        None => return Ok(true),
                        Some(why) => {
                            let reason = format!("it is accepted, and held: {why}");
                            (InboxFolderState::Waiting, reason, Some(batch_id))
                        }
                    },
                    InboxState::Changed { batch_id } => (
                        InboxFolderState::Changed,
                        "it was changed after it was accepted; what was accepted is not read again"
                            .to_owned(),
                        Some(batch_id),
                    ),
                    InboxState::Ignored { reason } => (InboxFolderState::Ignored, reason, None),
                };
                items.push(InboxFolderView {
                    inbox: url.clone(),
                    folder: path.to_owned(),
                    source_id: path.split('/').next().and_then(|source| source.parse().ok()),
                    state,
                    reason,
                    age_seconds: now.duration_since(entry.at).as_secs().max(0).unsigned_abs(),
                    batch_id,
                });
                Ok(true)
            })?;
            let mut opened = 0;
            for folder in waiting {
                let mut unusable = || {
                    opened += 1;
                    if opened > OPENED { None } else { unusable(&*prefix, &folder) }
                };
                let reason =
                    folder.waits.clone().or_else(&mut unusable).or_else(|| {
                        low.then(|| "it is complete, and is accepted when there is room".to_owned())
                    });
                items.push(InboxFolderView {
                    inbox: url.clone(),
                    source_id: folder.names.as_ref().map(|names| names.0.clone()),
                    state: if folder.never { InboxFolderState::Ignored } else { InboxFolderState::Waiting },
                    reason: reason
                        .unwrap_or_else(|| "it is complete, and is accepted at the next look".to_owned()),
                    age_seconds: now.duration_since(folder.newest).as_secs().max(0).unsigned_abs(),
                    batch_id: None,
                    folder: folder.path,
                });
            }
            Ok(Some(items))
        })
    }
}
