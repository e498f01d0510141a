//! `doctor`: looks at everything that Tidegate stands on, and says of what is
//! wrong which command or setting mends it.

use std::sync::{Arc, PoisonError, TryLockError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::dead_letters::Originals;
use super::engine::{Engine, OpenTarget};
use super::present::missing;
use super::query::{GroupQuery, PAGE_MAX, Part};
use super::queue::Standing;
use super::space::{FreeSpace, SystemSpace, disks_of, in_words};
use super::views::{CheckView, DiskView, DoctorView, InboxFolderState, TargetView};
use crate::clock::Clock;
use crate::config::{LoadOptions, Settings};
use crate::domain::ids::SourceId;
use crate::error::{self, Error, ErrorKind, Result};
use crate::intake::prefix;
use crate::planning::state_dir::StateDir;
use crate::store::{FORMAT_VERSION, SourceHold, SourceHoldReason};
use crate::threads;

/// The name of the check of settings.
pub const SETTINGS: &str = "settings";
/// A folder that has waited for so long is told of.
const STUCK: u64 = 86_400;
/// A clock that is off by so much is told of.
const OFF: SignedDuration = SignedDuration::from_secs(5);
/// For how long a server tells of one reading of the store.
const FRESH: Duration = Duration::from_secs(600);

impl Engine {
    /// Looks at everything. `serving`: whether this process serves. Of those
    /// who ask a server at the same time one looks: it may wait for targets and
    /// reads the whole store. The others get what was found last.
    ///
    /// # Errors
    /// None of its own: what can't be looked at is a check that failed.
    pub fn examine(&self, serving: bool) -> Result<DoctorView> {
        if !serving {
            return self.look_at_all(false);
        }
        let last = || self.looks.examined.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let _alone = match self.looks.examining.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                if let Some(found) = last() {
                    return Ok(found);
                }
                let alone = self.looks.examining.lock().unwrap_or_else(PoisonError::into_inner);
                // What the first one found while we waited for it.
                if let Some(found) = last() {
                    return Ok(found);
                }
                alone
            }
        };
        let found = self.look_at_all(true)?;
        *self.looks.examined.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        Ok(found)
    }

    fn look_at_all(&self, serving: bool) -> Result<DoctorView> {
        let settings = self.settings();
        // A command looks at those that it was given itself.
        let own = if serving { self.check_own_settings(&settings) } else { Vec::new() };
        let mut checks = own.clone();
        checks.extend([versions(), self.check_store(serving)]);
        let (state, written) = self.check_state();
        checks.push(state);
        checks.extend(self.check_inboxes(&settings, serving));
        checks.extend(self.check_targets());
        checks.extend(self.check_sources());
        checks.push(self.check_originals());
        checks.extend(self.check_pins());
        checks.extend(self.check_letters());
        checks.extend(self.check_outbox(&settings));
        checks.push(self.check_clock(written));
        checks.push(time_zone());
        checks.extend(check_disks(&self.disks(), settings.service.min_free));
        checks.extend(check_secrets(&settings));
        // Most of them ask the store: what has failed is told once, and what
        // could not be looked at is left out. It may have failed meanwhile.
        if let Some(failure) = self.store.failure() {
            checks = own;
            checks.extend([versions(), store_failed(&failure), self.check_state().0, time_zone()]);
            checks.extend(check_disks(&self.disks(), settings.service.min_free));
            checks.extend(check_secrets(&settings));
        }
        Ok(DoctorView { at: self.clock.now(), version: env!("CARGO_PKG_VERSION").to_owned(), checks })
    }

    /// The settings of a server: those in force, and what became of their file
    /// since.
    fn check_own_settings(&self, settings: &Settings) -> Vec<CheckView> {
        let Some(options) = self.load_options.get() else { return vec![valid(settings)] };
        let (now, mut checks) = check_settings(options);
        let pid = std::process::id();
        let Some(now) = now else {
            for check in &mut checks {
                check.mend = Some(format!(
                    "mend the settings file, then send SIGHUP (kill -HUP {pid}); those that were read before stay in force, and a restart would be refused"
                ));
            }
            return checks;
        };
        let changes = settings.reload(&now).changes;
        if changes.is_empty() {
            return checks;
        }
        // The values are nobody's business who may look.
        let keys = |restart: bool| -> Vec<&str> {
            let of = changes.iter().filter(|change| change.needs_restart == restart);
            of.map(|change| change.key.as_str()).collect()
        };
        let told = |keys: Vec<&str>, what: &str, mend: String| {
            let text = format!("{} changed since the server read them: {what}", keys.join(", "));
            (!keys.is_empty()).then(|| CheckView::warning(SETTINGS, text, mend))
        };
        let soon = told(keys(false), "they are not in force yet", format!("send SIGHUP: kill -HUP {pid}"));
        let later = told(keys(true), "they are in force after a restart", "restart the server".to_owned());
        soon.into_iter().chain(later).collect()
    }

    fn check_store(&self, serving: bool) -> CheckView {
        let holder = if serving { "a server" } else { "this command" };
        match self.records(serving) {
            Ok((at, rows)) => {
                let size =
                    std::fs::metadata(self.settings().data.join("tidegate.redb")).map_or(0, |m| m.len());
                let text = format!(
                    "tidegate.redb has format {FORMAT_VERSION} and {}, all {rows} records could be read at {}; held by {holder}, process {}",
                    in_words(size),
                    at.strftime("%F %T UTC"),
                    std::process::id()
                );
                CheckView::ok("store", text)
            }
            Err(error) => CheckView::error("store", error.to_string(), action(&error)),
        }
    }

    /// How many records the store has, and when all of them were read. A
    /// server reads them at most every ten minutes, for all who ask: there may
    /// be millions, and it has other work.
    fn records(&self, serving: bool) -> Result<(Timestamp, u64)> {
        let mut kept = self.looks.store.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.clock.monotonic();
        if let Some((read, at, rows)) = *kept
            && serving
            && now.saturating_sub(read) < FRESH
        {
            return Ok((at, rows));
        }
        let at = self.clock.now();
        let verify = || {
            threads::stand_back(threads::PUBLISHING);
            self.store.verify()
        };
        // A thread that stood back can't come forward again.
        let read = std::thread::scope(|scope| scope.spawn(verify).join());
        let tables = read.unwrap_or_else(|_| Err(Error::internal("reading the store met a panic")))?;
        let rows = tables.iter().map(|(_, rows)| rows).sum();
        *kept = Some((now, at, rows));
        Ok((at, rows))
    }

    /// The state folder, and when it says that the probe was written.
    fn check_state(&self) -> (CheckView, Option<Timestamp>) {
        let shown = self.state.root().display().to_string();
        if !StateDir::is_there(self.state.root()) {
            let error = missing(self.state.root());
            return (CheckView::error("state", error.to_string(), action(&error)), None);
        }
        match self.state.probe(self.clock.random()) {
            Ok(written) => (
                CheckView::ok("state", format!("{shown}: an object was written, read, listed and deleted")),
                Some(written),
            ),
            Err(error) => {
                let mend = match error.kind() {
                    ErrorKind::DiskFull => action(&error),
                    _ => "make the folder writable for this user, or set `state.url`".to_owned(),
                };
                (CheckView::error("state", format!("{shown}: {error}"), mend), None)
            }
        }
    }

    fn check_inboxes(&self, settings: &Settings, serving: bool) -> Vec<CheckView> {
        let list = match self.inbox_view(&Part::first(PAGE_MAX)) {
            Ok(list) => list,
            Err(error) => return vec![CheckView::error("inboxes", error.to_string(), action(&error))],
        };
        let mut checks = Vec::new();
        if list.inboxes.is_empty() {
            checks.push(CheckView::warning(
                "inboxes",
                "no inbox is set",
                "add an `[[inbox]]` with its `url` to the settings",
            ));
        }
        for inbox in &list.inboxes {
            let check = format!("inbox {}", inbox.url);
            let set = settings.inboxes.iter().find(|set| set.url.as_str() == inbox.url);
            if !serving && set.is_some_and(is_unmade) {
                checks.push(CheckView::ok(check, "it is not there yet; `tidegate serve` makes it"));
                continue;
            }
            let away = set.and_then(is_away);
            if let Some(problem) = inbox.error.as_ref().or(away.as_ref()) {
                let mend =
                    "make it reachable for this user (credentials, network, rights), or change `inbox.url`";
                checks.push(CheckView::error(check, problem.clone(), mend));
                continue;
            }
            let of =
                |state| list.items.iter().filter(move |item| item.inbox == inbox.url && item.state == state);
            let stuck = of(InboxFolderState::Waiting)
                .filter(|item| item.age_seconds > STUCK && item.folder.contains('/'))
                .count();
            // Tools hide what they still write; `inbox list` has it.
            let hidden = |folder: &str| {
                folder.split('/').any(|part| part.starts_with('.') && !matches!(part, "." | ".."))
            };
            let ignored = of(InboxFolderState::Ignored).filter(|item| !hidden(&item.folder)).count();
            let odd = ignored + of(InboxFolderState::Changed).count();
            // Of a source's own folder nothing else is waited for.
            let unlisted: Vec<&str> = of(InboxFolderState::Waiting)
                .filter(|item| !item.folder.contains('/'))
                .map(|item| item.folder.as_str())
                .collect();
            if stuck + odd + unlisted.len() > 0 {
                let mut text = format!(
                    "{stuck} folders are incomplete for more than a day, {odd} are ignored or were changed after they were accepted"
                );
                if let Some(first) = unlisted.first() {
                    text.push_str(&format!(", {} can't be listed, such as {first}", unlisted.len()));
                }
                checks.push(CheckView::warning(check, text, "tidegate inbox list"));
            } else {
                checks.push(CheckView::ok(
                    check,
                    format!("it can be listed; {} folders are not accepted yet", inbox.waiting),
                ));
            }
        }
        checks
    }

    fn check_targets(&self) -> Vec<CheckView> {
        let looked = |name: &crate::domain::ids::TargetName, seen: Result<TargetView>| {
            let check = format!("target {name}");
            let open = self.targets.get(name);
            let absent = open.and_then(|open| open.embedded.as_ref()).is_some_and(|c| c.is_absent());
            match seen {
                Ok(seen) if seen.problems.is_empty() && absent => {
                    CheckView::ok(check, "it is not there yet; what is published to it first makes it")
                }
                Ok(seen) if seen.problems.is_empty() => self.check_sample(check, &seen, open),
                Ok(seen) => {
                    let mend = match &seen.down {
                        Some(down) => down.action.clone(),
                        None => open.and_then(|open| self.remedy_of(&seen, open)),
                    };
                    let mend = mend.unwrap_or_else(|| "tidegate targets check".to_owned());
                    CheckView::error(check, seen.problems.join("; "), mend)
                }
                Err(error) => CheckView::error(check, error.to_string(), action(&error)),
            }
        };
        self.targets.keys().map(|name| looked(name, self.target_view(name))).collect()
    }

    /// Of a target that answers, and is the one that was published to: whether
    /// it has what was published, as far as a look at a few entities tells.
    fn check_sample(&self, check: String, seen: &TargetView, open: Option<&OpenTarget>) -> CheckView {
        let is = format!(
            "it answers, and is the one that was published to ({} {})",
            seen.kind,
            seen.identity.as_deref().unwrap_or_default()
        );
        let Some(open) = open else { return CheckView::ok(check, is) };
        let sampled = match self.sample(&seen.target, open) {
            Ok(sampled) => sampled,
            Err(error) => {
                let text = format!("{is}, but what it has can't be looked at: {error}");
                return CheckView::warning(check, text, action(&error));
            }
        };
        let looked_at: usize = sampled.iter().map(|of| of.looked_at).sum();
        let lost: Vec<String> = (sampled.iter())
            .filter_map(|of| {
                let first = of.first.as_ref()?;
                Some(format!(
                    "of {} entities of source {} that were looked at it does not have {}, such as {first}",
                    of.looked_at, of.source, of.lost
                ))
            })
            .collect();
        if lost.is_empty() {
            let text = match looked_at {
                0 => is,
                _ => format!("{is}; it has all {looked_at} entities that were looked at"),
            };
            return CheckView::ok(check, text);
        }
        CheckView::error(
            check,
            lost.join("; "),
            "find out what deletes there, or does not store what it acknowledges; what a batch changes next is found missing (ENTITY_MISSING) and sent whole by the batch after it or by tidegate dlq requeue",
        )
    }

    /// What mends a target that is not what was published to, or does not answer.
    fn remedy_of(&self, seen: &TargetView, open: &OpenTarget) -> Option<String> {
        let error = match &seen.identity {
            Some(is) => {
                seen.sources.iter().find_map(|source| self.check_target_is(source, &seen.target, is).err())
            }
            None => open.target.health().and_then(|()| open.target.identity().map(drop)).err(),
        };
        error.map(|error| action(&error))
    }

    /// What mends that a source is held, and has it go on.
    fn mend_of(&self, source: &SourceId, hold: &SourceHold) -> String {
        let resume = format!("tidegate sources resume {source}");
        match hold.reason {
            SourceHoldReason::BatchFailed => {
                let letter = hold.batch_id.as_ref().map(|id| self.store.read(|view| view.batch_letter(id)));
                match letter {
                    Some(Ok(Some(letter))) => format!(
                        "tidegate dlq show {0}, mend what it tells of, then tidegate dlq requeue {0}; tidegate dlq discard {0} goes on without that batch, {resume} without any batch of the source that failed",
                        letter.id
                    ),
                    Some(_) | None => format!("tidegate sources show {source}, then {resume}"),
                }
            }
            SourceHoldReason::TargetMoved | SourceHoldReason::Trouble => {
                let known = error::by_code(&hold.code).and_then(|info| info.to_do());
                let known = known.map(|action| action.replace("SOURCE", source.as_str()));
                match known {
                    Some(action) if action.contains(&resume) => action,
                    Some(action) => format!("{action} Then {resume}"),
                    None => resume,
                }
            }
            SourceHoldReason::Paused | SourceHoldReason::UnknownSource => {
                format!("tidegate sources show {source}, then {resume}")
            }
        }
    }

    /// Dead letters that wait for somebody.
    fn check_letters(&self) -> Option<CheckView> {
        const CHECK: &str = "open dead letters";
        let part = GroupQuery { part: Part::first(1), ..GroupQuery::default() };
        let found = self.store.read(|view| view.count_unsettled_dead_letters());
        match found.and_then(|count| Ok((count, self.letter_groups(&part)?))) {
            Ok((0, _)) => None,
            Ok((count, groups)) => {
                let most = groups.items.first().map(|group| {
                    format!("; the most frequent reason is {} of source {}", group.code, group.source_id)
                });
                let text = format!("{count} are not settled{}", most.unwrap_or_default());
                Some(CheckView::warning(CHECK, text, "tidegate dlq groups"))
            }
            Err(error) => Some(CheckView::error(CHECK, error.to_string(), action(&error))),
        }
    }

    /// Messages that their webhook does not take.
    fn check_outbox(&self, settings: &Settings) -> Vec<CheckView> {
        let mut checks = Vec::new();
        for (n, webhook) in settings.webhooks.iter().enumerate() {
            let check = format!("webhook {n}");
            match self.store.read(|view| view.next_message(webhook.url.as_str())) {
                Ok(Some(message)) if message.attempts > 0 => {
                    let text = format!(
                        "a message of {} did not arrive in {} attempts: {}",
                        message.created_at,
                        message.attempts,
                        message.last_error.unwrap_or_default()
                    );
                    let mend = format!(
                        "have its receiver answer 2xx, or change `webhook[{n}].url`; messages are kept and sent until then"
                    );
                    checks.push(CheckView::warning(check, text, mend));
                }
                Ok(_) => {}
                Err(error) => checks.push(CheckView::error(check, error.to_string(), action(&error))),
            }
        }
        checks
    }

    /// Sources whose next batch is tried again, with why.
    fn check_waits(&self) -> Vec<CheckView> {
        let turns = match self.turns() {
            Ok(turns) => turns,
            Err(error) => return vec![CheckView::error("sources", error.to_string(), action(&error))],
        };
        let told = turns.into_iter().filter_map(|turn| {
            let (Standing::Until(at), Some(batch)) = (&turn.standing, &turn.batch) else { return None };
            let code = batch.retry.as_ref().map_or("", |retry| retry.code.as_str());
            let text =
                format!("batch {} is tried again at {}: {code}", batch.batch_id, at.strftime("%F %T UTC"));
            let known = error::by_code(code).and_then(|info| info.to_do());
            let known = known.map(|action| action.replace("SOURCE", turn.source.as_str()));
            let mend = known.unwrap_or_else(|| format!("tidegate batches show {}", batch.batch_id));
            Some(CheckView::warning(format!("source {}", turn.source), text, mend))
        });
        told.collect()
    }

    /// Sources that wait for a person.
    fn check_sources(&self) -> Vec<CheckView> {
        let holds = match self.store.read(|view| view.all_holds()) {
            Ok(holds) => holds,
            Err(error) => return vec![CheckView::error("sources", error.to_string(), action(&error))],
        };
        let waits = self.check_waits();
        if holds.is_empty() && waits.is_empty() {
            return vec![CheckView::ok("sources", "none is held")];
        }
        let told = holds.into_iter().map(|(source, hold)| {
            let mend = self.mend_of(&source, &hold);
            CheckView::warning(
                format!("source {source}"),
                format!("held since {}: {}", hold.since, hold.note),
                mend,
            )
        });
        told.chain(waits).collect()
    }

    /// Originals of dead letters that lie under the state folder.
    fn check_originals(&self) -> CheckView {
        const CHECK: &str = "dead letters";
        match self.look_at_originals() {
            Ok(Originals { count: 0, .. }) => CheckView::ok(CHECK, "none has its original in a file"),
            Ok(Originals { count, spread, bad }) => match bad.first() {
                None => CheckView::ok(
                    CHECK,
                    format!(
                        "{count} long originals are files, and all there; of their checksums {}, and match",
                        spread.in_words(count)
                    ),
                ),
                Some((first, error)) => {
                    let text = format!(
                        "{} of {count} long originals are gone or damaged ({}): {error}",
                        bad.len(),
                        spread.in_words(count)
                    );
                    let mend = format!(
                        "put the file back from a copy of the state folder, or give the line: tidegate dlq edit {first} --file FILE"
                    );
                    CheckView::error(CHECK, text, mend)
                }
            },
            Err(error) => CheckView::error(CHECK, error.to_string(), action(&error)),
        }
    }

    fn check_clock(&self, written: Option<Timestamp>) -> CheckView {
        let now = self.clock.now();
        let mend = "have the machine's clock set by NTP (timedatectl status)";
        if let Some(written) = written {
            let off = written.duration_since(now);
            if off.abs() > OFF {
                let text = format!(
                    "the state folder's clock and this machine's are {} s apart",
                    off.abs().as_secs()
                );
                return CheckView::warning("clock", text, mend);
            }
        }
        let newest =
            self.store.read(|view| Ok(view.ended_last(1)?.pop().and_then(|batch| batch.publish_end)));
        match newest {
            Ok(Some(end)) if end.duration_since(now) > OFF => {
                let text = format!("it is {now}, and a batch ended at {end}: the clock was put back");
                CheckView::warning("clock", text, mend)
            }
            Ok(_) => CheckView::ok("clock", format!("{now}, as the state folder has it")),
            Err(error) => CheckView::error("clock", error.to_string(), action(&error)),
        }
    }
}

/// What is wrong with the settings, each as a check of its own; the settings
/// when nothing is.
pub fn check_settings(options: &LoadOptions) -> (Option<Settings>, Vec<CheckView>) {
    let mend =
        "mend the settings file; `tidegate config check` tells what is wrong, docs/settings.md what there is";
    let wrong = |text: String| CheckView::error(SETTINGS, text, mend);
    match Settings::read(options) {
        Ok((settings, problems)) if problems.is_empty() => {
            let check = valid(&settings);
            (Some(settings), vec![check])
        }
        Ok((_, problems)) => (None, problems.into_iter().map(wrong).collect()),
        Err(error) => (None, vec![wrong(error.to_string())]),
    }
}

fn valid(settings: &Settings) -> CheckView {
    let from = settings.origins.len();
    CheckView::ok(SETTINGS, format!("they are valid; {from} values are set, the others are defaults"))
}

/// What can be looked at of a data directory that could not be opened.
pub fn unopened(settings: &Settings, clock: &Arc<dyn Clock>, error: &Error) -> DoctorView {
    let empty = error.kind() == ErrorKind::DataMissing;
    let found = match error.kind() {
        ErrorKind::StateForeign | ErrorKind::StateMissing => {
            CheckView::error("state", error.to_string(), action(error))
        }
        // A data directory that is not used yet is no failure; a name with a
        // slip in it looks the same.
        ErrorKind::DataMissing => CheckView::warning("store", error.to_string(), action(error)),
        _ => CheckView::error("store", error.to_string(), action(error)),
    };
    let mut checks = vec![versions(), found];
    let data = std::path::absolute(&settings.data).unwrap_or_else(|_| settings.data.clone());
    for inbox in &settings.inboxes {
        let check = format!("inbox {}", inbox.url);
        let path = inbox.url.to_file_path();
        if empty && path.is_ok_and(|path| path.starts_with(&data) && !path.exists()) {
            checks.push(CheckView::ok(check, "it is not there yet; `tidegate serve` makes it"));
            continue;
        }
        let listed = match is_away(inbox) {
            Some(away) => Err(away),
            None => prefix::open(&inbox.url).and_then(|prefix| prefix.folders("")).map_err(|e| e.to_string()),
        };
        checks.push(match listed {
            Ok(folders) => {
                CheckView::ok(check, format!("it can be listed; it has {} sources", folders.len()))
            }
            Err(problem) => CheckView::error(
                check,
                problem,
                "make it reachable for this user (credentials, network, rights), or change `inbox.url`",
            ),
        });
    }
    checks.push(time_zone());
    let reader: &dyn FreeSpace = &SystemSpace;
    checks.extend(check_disks(&disks_of(settings, reader), settings.service.min_free));
    checks.extend(check_secrets(settings));
    DoctorView { at: clock.now(), version: env!("CARGO_PKG_VERSION").to_owned(), checks }
}

/// What the table of errors says is to be done.
fn action(error: &Error) -> String {
    error.action().to_owned()
}

/// What is left to say when the store has failed.
fn store_failed(failure: &Error) -> CheckView {
    let text = format!("{failure}; what else the store has to be asked for was not looked at");
    let mend = "make room on its disk if that is full, look at the system's log for what the disk met, then start Tidegate again";
    CheckView::error("store", text, mend)
}

fn versions() -> CheckView {
    let text = format!(
        "tidegate {}, batches {}, plans {}, snapshots {}, store {FORMAT_VERSION}",
        env!("CARGO_PKG_VERSION"),
        crate::intake::manifest::FORMAT,
        crate::planning::plan_file::FORMAT,
        crate::planning::snapshot::FORMAT,
    );
    CheckView::ok("versions", text)
}

/// Why a local inbox is not there.
fn is_away(inbox: &crate::intake::inbox::InboxSettings) -> Option<String> {
    let path = inbox.url.to_file_path().ok()?;
    match std::fs::read_dir(&path) {
        Ok(_) => None,
        // `serve` makes it.
        Err(e)
            if e.kind() == std::io::ErrorKind::NotFound
                && path.parent().is_some_and(|above| above.is_dir()) =>
        {
            None
        }
        Err(e) => Some(format!("{} can't be listed: {e}", path.display())),
    }
}

/// Whether a local inbox only waits for `serve` to make it.
fn is_unmade(inbox: &crate::intake::inbox::InboxSettings) -> bool {
    let path = inbox.url.to_file_path();
    path.is_ok_and(|path| !path.exists() && path.parent().is_some_and(std::path::Path::is_dir))
}

/// Maintenance windows and what people read are in local time.
fn time_zone() -> CheckView {
    match jiff::tz::TimeZone::try_system() {
        Ok(zone) => CheckView::ok("time zone", zone.iana_name().unwrap_or("without a name").to_owned()),
        Err(error) => CheckView::warning(
            "time zone",
            format!("that of the system can't be found out: {error}"),
            "set TZ, or /etc/localtime; UTC is used until then",
        ),
    }
}

fn check_disks(disks: &[DiskView], floor: u64) -> Vec<CheckView> {
    let look = |disk: &DiskView| {
        let check = format!("disk of {}", disk.what);
        let (Some(free), Some(total)) = (disk.free, disk.total) else {
            let text = disk.error.clone().unwrap_or_default();
            return CheckView::warning(check, format!("{}: {text}", disk.path), "look at the mount");
        };
        let text = format!(
            "{} of {} are free at {}, the floor is {}",
            in_words(free),
            in_words(total),
            disk.path,
            in_words(floor)
        );
        let mend = "make room (`retention.snapshots` keeps fewer snapshots), or lower `service.min_free`";
        if floor > 0 && free < floor {
            CheckView::error(check, format!("{text}: nothing is accepted or begun"), mend)
        } else if floor > 0 && free < floor.saturating_mul(4) {
            CheckView::warning(check, text, mend)
        } else {
            CheckView::ok(check, text)
        }
    };
    disks.iter().map(look).collect()
}

/// Secrets that are named and can't be read.
fn check_secrets(settings: &Settings) -> Vec<CheckView> {
    let mut checks = Vec::new();
    for (n, webhook) in settings.webhooks.iter().enumerate() {
        if let Some(Err(error)) = webhook.secret.as_ref().map(|secret| secret.read()) {
            let mend = format!("put the secret where `webhook[{n}].secret_file` or `secret_env` says");
            checks.push(CheckView::error(format!("webhook {n}"), error.to_string(), mend));
        }
    }
    checks
}
