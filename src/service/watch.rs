//! The watching of one inbox: looks at intervals, and at once where the
//! operating system tells of changes. Notifications only make it prompt; what
//! is listed is the truth.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::engine::Engine;
use super::inboxes::NOT_THERE;
use super::looking::{Looked, Looking};
use super::views::LostInboxView;
use crate::error::Result;
use crate::intake::inbox::{Complete, InboxSettings};
use crate::intake::manifest::MANIFEST;

/// A manifest that can't be read may still be written for so long.
const SETTLE: SignedDuration = SignedDuration::from_secs(5);
/// Time until something that may still be written is looked at again.
const SOON: Duration = Duration::from_millis(200);
/// Most folders that are watched; the others are found by looks.
const MOST_WATCHED: usize = 4096;

#[derive(Default)]
struct Told {
    /// Folders and sources in which something changed.
    paths: BTreeSet<String>,
    /// Notifications were lost: everything may have changed.
    all: bool,
    /// Folders that are not there any more, or are others of the same name.
    moved: Vec<PathBuf>,
    ended: bool,
}

/// What a watcher is told from outside.
#[derive(Default)]
pub(super) struct Control {
    told: Mutex<Told>,
    wake: Condvar,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the watcher end.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.wake.notify_all();
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.lock());
        self.wake.notify_all();
    }

    /// Waits until something is told, or `most` is over.
    fn wait(&self, most: Duration) {
        let quiet = |told: &mut Told| !told.ended && !told.all && told.paths.is_empty();
        drop(self.wake.wait_timeout_while(self.lock(), most, quiet));
    }
}

/// Watches an inbox until it is told to end.
pub(super) fn run(engine: &Engine, inbox: &InboxSettings, control: &Arc<Control>) {
    tracing::info!(inbox = %inbox.url, "watching");
    let mut notices = Notices::new(inbox, control);
    let mut next_poll = Duration::ZERO;
    let mut next_full = Duration::ZERO;
    let mut next_soon: Option<Duration> = None;
    loop {
        let (paths, all) = {
            let mut told = control.lock();
            if told.ended {
                return;
            }
            let moved = std::mem::take(&mut told.moved);
            let told = (std::mem::take(&mut told.paths), std::mem::take(&mut told.all));
            if let Some(notices) = &mut notices {
                moved.iter().for_each(|path| notices.forget(path));
            }
            told
        };
        let now = engine.clock.monotonic();
        let soon = next_soon.is_some_and(|at| now >= at);
        let looking = if all || soon || now >= next_poll {
            let full = all || now >= next_full;
            if full {
                next_full = now + inbox.rescan;
            }
            next_poll = now + inbox.poll;
            Some(Looking { full, at: None, settle: SETTLE })
        } else if paths.is_empty() {
            None
        } else {
            Some(Looking { full: false, at: Some(paths.into_iter().collect()), settle: SETTLE })
        };
        if let Some(looking) = looking {
            let looked = engine.look_into(inbox, &looking, &mut |path| {
                if let Some(notices) = &mut notices {
                    notices.watch(path);
                }
            });
            next_soon = looked.as_ref().is_ok_and(|looked| looked.soon).then(|| now + SOON);
            if let (Ok(looked), Some(notices)) = (&looked, &mut notices) {
                notices.keep(looked);
            }
            if engine.report(inbox, looked) {
                // It is another one than was watched.
                next_full = Duration::ZERO;
                next_poll = Duration::ZERO;
                continue;
            }
        }
        let until = next_soon.map_or(next_poll, |soon| soon.min(next_poll));
        control.wait(until.saturating_sub(engine.clock.monotonic()).max(Duration::from_millis(1)));
    }
}

/// The name under which troubles with an inbox are told.
fn told_as(inbox: &InboxSettings) -> String {
    format!("inbox {}", inbox.url)
}

impl Engine {
    /// What does not work though the rest does, in words: inboxes that the last
    /// look could not be taken into. Empty when all is well.
    pub fn degraded(&self) -> Vec<String> {
        let told =
            |lost: LostInboxView| format!("the inbox {} can't be looked into: {}", lost.url, lost.error);
        self.lost_inboxes().into_iter().map(told).collect()
    }

    /// The inboxes that the last look could not be taken into.
    pub fn lost_inboxes(&self) -> Vec<LostInboxView> {
        let settings = self.settings();
        let lost = settings.inboxes.iter().filter_map(|inbox| {
            let lost = self.inboxes.lost(&inbox.url)?;
            Some(LostInboxView { url: inbox.url.to_string(), error: lost.error, since: lost.since })
        });
        lost.collect()
    }

    /// Says how a look went: once, then only when that changes. Returns
    /// whether the inbox was away and is back.
    fn report(&self, inbox: &InboxSettings, looked: Result<Looked>) -> bool {
        let what = told_as(inbox);
        let trouble = match &looked {
            Ok(looked) if looked.gone => Some(NOT_THERE.to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        self.inboxes.note(&inbox.url, trouble.clone(), self.clock.now());
        match trouble {
            Some(text) => {
                if self.folded.is_news(&what, &text) {
                    tracing::warn!(inbox = %inbox.url, error = text, "the inbox can't be looked into");
                    self.events.inbox();
                }
                false
            }
            None => match self.folded.over(&what) {
                Some(times) => {
                    tracing::warn!(inbox = %inbox.url, times, "the inbox can be looked into again");
                    self.events.inbox();
                    true
                }
                None => false,
            },
        }
    }
}

/// Notifications of the operating system about one local inbox.
struct Notices {
    root: PathBuf,
    watcher: RecommendedWatcher,
    watched: HashSet<PathBuf>,
}

impl Notices {
    /// `None` for an inbox that is not local, or where there are none.
    fn new(inbox: &InboxSettings, control: &Arc<Control>) -> Option<Self> {
        let root = inbox.url.to_file_path().ok()?;
        // Events have the paths that were watched.
        let (control, base) = (Arc::clone(control), root.clone());
        let awaited = match &inbox.complete {
            Complete::Manifest => Some(MANIFEST.to_owned()),
            Complete::Marker(name) => Some(name.clone()),
            Complete::Quiet(_) => None,
        };
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) => note(&control, &base, awaited.as_deref(), &event),
            Err(_) => control.tell(|told| told.all = true),
        });
        match watcher {
            Ok(watcher) => Some(Self { root, watcher, watched: HashSet::new() }),
            Err(error) => {
                tracing::warn!(inbox = %inbox.url, %error, "changes are not notified; it is looked into at intervals alone");
                None
            }
        }
    }

    /// Watches a folder, should it not be watched.
    fn watch(&mut self, path: &str) {
        let path = if path.is_empty() { self.root.clone() } else { self.root.join(path) };
        if self.watched.len() >= MOST_WATCHED || self.watched.contains(&path) {
            return;
        }
        // What can't be watched is found by looks.
        if self.watcher.watch(&path, RecursiveMode::NonRecursive).is_ok() {
            self.watched.insert(path);
        }
    }

    fn forget(&mut self, path: &Path) {
        self.watched.retain(|watched| !watched.starts_with(path));
    }

    /// Watches no batch folder but those that may still become batches.
    fn keep(&mut self, looked: &Looked) {
        if looked.gone {
            self.watched.clear();
            return;
        }
        let waits = |path: &Path| {
            let below = path.strip_prefix(&self.root).unwrap_or(path);
            below.components().count() < 2 || below.to_str().is_some_and(|path| looked.waiting.contains(path))
        };
        let done: Vec<PathBuf> = self.watched.iter().filter(|path| !waits(path)).cloned().collect();
        for path in done {
            // It may be gone.
            let _ = self.watcher.unwatch(&path);
            self.watched.remove(&path);
        }
    }
}

/// Turns a notification into what is to be looked at.
fn note(control: &Control, root: &Path, awaited: Option<&str>, event: &notify::Event) {
    if event.need_rescan() {
        return control.tell(|told| told.all = true);
    }
    let (comes, goes) = match event.kind {
        EventKind::Create(_) | EventKind::Access(AccessKind::Close(AccessMode::Write)) => (true, false),
        EventKind::Modify(ModifyKind::Name(_)) => (true, true),
        EventKind::Remove(_) => (false, true),
        EventKind::Any | EventKind::Access(_) | EventKind::Modify(_) | EventKind::Other => return,
    };
    for path in &event.paths {
        let Ok(below) = path.strip_prefix(root) else { continue };
        let parts: Vec<&str> = below.iter().filter_map(|part| part.to_str()).collect();
        if parts.iter().any(|part| part.starts_with('.')) {
            continue;
        }
        if goes && parts.len() < 3 {
            control.tell(|told| {
                told.moved.push(path.clone());
                told.all |= parts.is_empty();
            });
        }
        if !comes {
            continue;
        }
        let place = match parts.as_slice() {
            [source] => (*source).to_owned(),
            [source, folder] => format!("{source}/{folder}"),
            [source, folder, file] if Some(*file) == awaited => format!("{source}/{folder}"),
            [..] => continue,
        };
        control.tell(|told| {
            told.paths.insert(place);
        });
    }
}
