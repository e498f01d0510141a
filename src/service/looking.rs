//! A look into an inbox: what is new is accepted, what is a batch already is
//! compared with what it was, and what is done with costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::engine::Engine;
use super::inboxes::Became;
use crate::error::Result;
use crate::intake::discovery::Discovery;
use crate::intake::inbox::InboxSettings;
use crate::intake::monitor::InboxFolder;
use crate::store::{BatchRecord, InboxState};

/// What is remembered of each inbox.
#[derive(Default)]
pub(super) struct Inboxes {
    all: Mutex<BTreeMap<Url, Arc<Mutex<Option<Discovery>>>>>,
    costs: Mutex<BTreeMap<LookKind, LookCosts>>,
    lost: Mutex<BTreeMap<Url, Lost>>,
}

/// Why an inbox can't be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    /// The look that was the first to fail.
    pub(super) since: Timestamp,
    /// What is wrong, as the last look met it.
    pub(super) error: String,
}

/// What gave rise to a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LookKind {
    /// The time: at what is new or not done with.
    Poll,
    /// The time: at everything.
    Rescan,
    /// A notification.
    Notified,
}

/// What looks cost since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookCosts {
    /// How many there were.
    pub looks: u64,
    /// Requests for listings.
    pub listings: u64,
    /// Time until everything was seen, before anything was accepted.
    pub time: Duration,
}

impl Inboxes {
    /// Of one; `None` within: nothing yet.
    fn of(&self, url: &Url) -> Arc<Mutex<Option<Discovery>>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(url.clone()).or_default())
    }

    /// Keeps how the last look went: `error` says why it could not be taken.
    pub(super) fn note(&self, url: &Url, error: Option<String>, now: Timestamp) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => {
                let since = lost.get(url).map_or(now, |before| before.since);
                lost.insert(url.clone(), Lost { since, error });
            }
            None => drop(lost.remove(url)),
        }
    }

    /// Why the last look into an inbox could not be taken, if it could not.
    pub(super) fn lost(&self, url: &Url) -> Option<Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    fn costs(&self) -> MutexGuard<'_, BTreeMap<LookKind, LookCosts>> {
        self.costs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an inbox is looked into.
#[derive(Debug, Clone)]
pub(super) struct Looking {
    /// At everything, however old.
    pub(super) full: bool,
    /// At these paths alone.
    pub(super) at: Option<Vec<String>>,
    /// A manifest that can't be read and is younger may still be written.
    pub(super) settle: SignedDuration,
}

impl Looking {
    /// Once, taking everything as it is.
    pub(super) fn once() -> Self {
        Self { full: false, at: None, settle: SignedDuration::ZERO }
    }

    fn kind(&self) -> LookKind {
        match (&self.at, self.full) {
            (Some(_), _) => LookKind::Notified,
            (None, true) => LookKind::Rescan,
            (None, false) => LookKind::Poll,
        }
    }
}

/// What a look at an inbox led to.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Whether the inbox is not there.
    pub(super) gone: bool,
    /// How many batches are new.
    pub(super) accepted: usize,
    /// Whether something is to be looked at again in a moment.
    pub(super) soon: bool,
    /// The folders that may still become batches.
    pub(super) waiting: BTreeSet<String>,
}

impl Engine {
    /// Looks into an inbox once: accepts what is complete, and reports folders
    /// that were changed after they became batches. Returns how many batches
    /// are new. One that is not there is empty.
    ///
    /// # Errors
    /// When the inbox can't be listed, or the store fails.
    pub fn scan_inbox(&self, inbox: &InboxSettings) -> Result<usize> {
        let looked = self.look_into(inbox, &Looking::once(), &mut |_| {})?;
        Ok(looked.accepted)
    }

    /// The same at everything that lies in the inbox, however old.
    ///
    /// # Errors
    /// As [`Self::scan_inbox`].
    pub fn rescan_inbox(&self, inbox: &InboxSettings) -> Result<usize> {
        let looking = Looking { full: true, ..Looking::once() };
        let looked = self.look_into(inbox, &looking, &mut |_| {})?;
        Ok(looked.accepted)
    }

    /// How many requests for listings an inbox cost so far.
    pub fn listings(&self, inbox: &Url) -> Result<u64> {
        Ok(self.prefix(inbox)?.listings())
    }

    /// What looks into all inboxes cost so far, by what gave rise to them.
    pub fn look_costs(&self) -> BTreeMap<LookKind, LookCosts> {
        self.inboxes.costs().clone()
    }

    /// Looks into an inbox as `looking` says. `watch` is told of each folder
    /// before it is looked at.
    pub(super) fn look_into(
        &self,
        inbox: &InboxSettings,
        looking: &Looking,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Looked> {
        let prefix = self.prefix(&inbox.url)?;
        let memory = self.inboxes.of(&inbox.url);
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let (began, before) = (self.clock.monotonic(), prefix.listings());
        let discovery = match &mut *memory {
            Some(discovery) => discovery,
            None => memory.insert(self.remembered(inbox, now)?),
        };
        if self.too_little_room().is_some() {
            // What is there is found when there is room.
            return Ok(Looked { waiting: discovery.waiting(), ..Looked::default() });
        }
        let look = match &looking.at {
            Some(paths) => discovery.glance(inbox, &*prefix, now, paths.iter().cloned(), watch),
            None => {
                self.note_finished(inbox, discovery)?;
                discovery.look(inbox, &*prefix, now, looking.full, watch)?
            }
        };
        {
            let mut costs = self.inboxes.costs();
            let costs = costs.entry(looking.kind()).or_default();
            costs.looks += 1;
            costs.listings += prefix.listings().saturating_sub(before);
            costs.time += self.clock.monotonic().saturating_sub(began);
        }
        let mut looked = Looked { gone: look.gone, ..Looked::default() };
        for (source, error) in look.unreadable {
            if self.folded.is_news(&format!("folder {}{source}", inbox.url), &error.to_string()) {
                tracing::warn!(inbox = %inbox.url, source = source, %error, "a folder of the inbox can't be listed");
            }
        }
        // What is a batch already need not be complete any more.
        let mut complete: Vec<InboxFolder> = look.folders;
        complete.retain(|folder| folder.waits.is_none() || !discovery.is_waiting(&folder.path));
        complete.sort_by(|a, b| a.names.as_ref().map(|n| &n.1).cmp(&b.names.as_ref().map(|n| &n.1)));
        for folder in complete {
            if self.stopping() {
                break;
            }
            let known = self.store.read(|view| view.inbox_entry(inbox.url.as_str(), &folder.path))?;
            if let Some(entry) = known {
                if !self.compare(inbox, &folder, &entry)? {
                    discovery.finished(&folder.path);
                }
                continue;
            }
            if folder.waits.is_some() {
                continue;
            }
            match self.accept_folder(inbox, &*prefix, &folder, looking.settle)? {
                Became::Batch => {
                    looked.accepted += 1;
                    discovery.accepted(&folder.path, now);
                }
                Became::Failed => {
                    looked.accepted += 1;
                    discovery.finished(&folder.path);
                }
                Became::Nothing => discovery.finished(&folder.path),
                Became::Soon => looked.soon = true,
                Became::Later => {}
            }
        }
        looked.waiting = discovery.waiting();
        Ok(looked)
    }

    /// What the store remembers of an inbox.
    fn remembered(&self, inbox: &InboxSettings, now: Timestamp) -> Result<Discovery> {
        let mut discovery = Discovery::default();
        self.store.read(|view| {
            view.each_inbox_entry(inbox.url.as_str(), |path, entry| {
                match entry.state {
                    InboxState::Accepted { batch_id }
                        if view.batch(&batch_id)?.is_some_and(|batch| !batch.status.is_final()) =>
                    {
                        discovery.accepted(&path, now);
                    }
                    InboxState::Accepted { .. } | InboxState::Changed { .. } | InboxState::Ignored { .. } => {
                        discovery.finished(&path);
                    }
                }
                Ok(())
            })
        })?;
        Ok(discovery)
    }

    /// Batches that ended since are done with.
    fn note_finished(&self, inbox: &InboxSettings, discovery: &mut Discovery) -> Result<()> {
        let paths = discovery.compared();
        let finished = self.store.read(|view| {
            let mut finished = Vec::new();
            for path in paths {
                let entry = view.inbox_entry(inbox.url.as_str(), &path)?;
                let batch = match entry.map(|entry| entry.state) {
                    Some(InboxState::Accepted { batch_id }) => view.batch(&batch_id)?,
                    Some(InboxState::Changed { .. } | InboxState::Ignored { .. }) | None => None,
                };
                if batch.is_none_or(|batch| batch.status.is_final()) {
                    finished.push(path);
                }
            }
            Ok(finished)
        })?;
        for path in finished {
            discovery.finished(&path);
        }
        Ok(())
    }

    /// A batch that is tried again is compared with its folder again.
    pub(super) fn forget_finished(&self, record: &BatchRecord) {
        let path = format!("{}/{}", record.batch_id.source(), record.batch_id.folder());
        for inbox in &self.settings().inboxes {
            let memory = self.inboxes.of(&inbox.url);
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(discovery) = &mut *memory
                && record.url.starts_with(inbox.url.as_str())
            {
                discovery.accepted(&path, self.clock.now());
            }
        }
    }
}
