//! Reading the settings: file, then environment, with all problems collected.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use super::places::{self, Places};
use super::values::{
    at_least, boolean, complete, duration, globs, listen_address, location, positive, ratio, size, text,
    texts, whole, within,
};
use super::{LoadOptions, LogFormat, Settings, UnknownSources, reference};
use crate::domain::guards::GuardLimits;
use crate::domain::ids::{SourceId, TargetName};
use crate::domain::isolation::IsolationLimit;
use crate::domain::scope::Scope;
use crate::domain::settings::{Mode, OnFailure, SourceSettings};
use crate::error::{Error, ErrorKind, Result};

/// Prefix of variables that set a key: `TIDEGATE_SECTION__KEY`.
const PREFIX: &str = "TIDEGATE_";

/// Reads everything there is; what is wrong is told beside it.
pub fn load(options: &LoadOptions) -> Result<(Settings, Vec<String>)> {
    let data_default = options.data();
    let file = options.settings_file();

    let mut reading = Reading {
        problems: Vec::new(),
        origins: BTreeMap::new(),
        made: BTreeMap::new(),
        file: None,
        places: Places::default(),
    };
    let mut table = Table::new();
    let mut base = std::path::absolute(".").unwrap_or_default();
    if let Some(path) = &file {
        let text = std::fs::read_to_string(path).map_err(|e| unread(path, e))?;
        reading.file = Some(path.clone());
        if let Some(folder) = std::path::absolute(path).ok().as_deref().and_then(Path::parent) {
            base = folder.to_path_buf();
        }
        match text.parse::<Table>() {
            Ok(parsed) => table = parsed,
            Err(error) => {
                // Its own form quotes the line, which may hold a secret.
                let line = places::line_of(&text, error.span().map_or(0, |span| span.start));
                let problem = format!("{}:{line}: is no TOML: {}", path.display(), error.message());
                return Ok((Settings::defaults(&data_default), vec![one_line(&problem)]));
            }
        }
        reading.places = Places::of(&text);
    }
    reading.environment(&mut table, &options.environment);

    let mut settings = Settings::defaults(&data_default);
    reading.settings(&table, &base, &mut settings);
    settings.origins = reading.origins;
    Ok((settings, reading.problems))
}

/// Why the settings file can't be read.
fn unread(path: &Path, error: std::io::Error) -> Error {
    let is_refused = error.kind() == std::io::ErrorKind::PermissionDenied;
    let text = format!("the settings file {} can't be read", path.display());
    let error = Error::new(ErrorKind::Settings, text).caused_by(error);
    if !is_refused {
        return error;
    }
    error.with_action(
        "Run this as the user that it belongs to, or give this user the right to read it and its folder.",
    )
}

pub(super) struct Reading {
    problems: Vec<String>,
    origins: BTreeMap<String, String>,
    /// Sections that the file does not have, by the variable that made each.
    made: BTreeMap<String, String>,
    file: Option<PathBuf>,
    places: Places,
}

/// A problem is a line, whatever stands in the names and values that it tells.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

impl Reading {
    pub(super) fn problem(&mut self, key: &str, problem: impl std::fmt::Display) {
        let known = self.origins.get(key).or_else(|| self.maker(key)).cloned();
        let origin = known.or_else(|| self.place(key));
        let place = origin.map_or_else(String::new, |origin| format!("{origin}: "));
        self.problems.push(one_line(&format!("{place}`{key}` {problem}")));
    }

    /// The variable that made a section, or the nearest one around a key.
    fn maker(&self, key: &str) -> Option<&String> {
        let mut path = key;
        loop {
            if let Some(name) = self.made.get(path) {
                return Some(name);
            }
            path = &path[..path.rfind('.')?];
        }
    }

    /// How many problems are known.
    pub(super) fn problems(&self) -> usize {
        self.problems.len()
    }

    /// File and line of a key, or of the section that it is missing in.
    fn place(&self, key: &str) -> Option<String> {
        let file = self.file.as_ref()?;
        Some(match self.places.line(key) {
            Some(line) => format!("{}:{line}", file.display()),
            None => file.display().to_string(),
        })
    }

    /// Puts variables over the file's values.
    fn environment(&mut self, table: &mut Table, environment: &BTreeMap<String, String>) {
        // The items of a list in their order.
        let mut variables: Vec<(&String, &String)> = environment.iter().collect();
        variables.sort_by_key(|(name, _)| {
            name.split("__").map(|part| (part.parse::<u64>().ok(), part)).collect::<Vec<_>>()
        });
        for (name, text) in variables {
            let Some(path) = name.strip_prefix(PREFIX).filter(|path| path.contains("__")) else { continue };
            let parts: Vec<&str> = path.split("__").collect();
            let Some((last, sections)) = parts.split_last() else { continue };
            if let Some(fitting) = ambiguous(table, &parts) {
                self.problems.push(format!("{name} fits {}: set it in the file", fitting.join(" and ")));
                continue;
            }
            let (mut key, mut made) = (String::new(), Vec::new());
            let place = descend(table, sections, &mut key, &mut made);
            for section in made {
                self.made.insert(section, name.clone());
            }
            let Some(place) = place else {
                if key.ends_with("].") {
                    let item = key.trim_end_matches('.');
                    self.problems.push(format!("{name}: `{item}` has none before it: items count from 0"));
                    continue;
                }
                self.problems.push(format!("{name}: `{key}` is not a section that a variable can set"));
                continue;
            };
            let found = present(place, last);
            key.push_str(&found);
            let parsed = format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
            place.insert(found, parsed.unwrap_or_else(|| Value::String(text.clone())));
            self.origins.insert(key, name.clone());
        }
    }

    pub(super) fn unknown(&mut self, table: &Table, path: &str, known: &[&str]) {
        for name in table.keys() {
            if known.contains(&name.as_str()) {
                continue;
            }
            let nearest = known
                .iter()
                .map(|right| (strsim::damerau_levenshtein(name, right), *right))
                .min()
                .filter(|(distance, right)| *distance <= right.len().max(4) / 2);
            let hint = match nearest {
                Some((_, right)) => format!("is not known: did you mean `{right}`?"),
                None => format!("is not known; there are: {}", known.join(", ")),
            };
            self.problem(&join(path, name), hint);
        }
    }

    /// The value of a key, read by `read`, which says what it should have been.
    pub(super) fn value<T>(
        &mut self,
        table: &Table,
        path: &str,
        name: &str,
        slot: &mut T,
        read: impl Fn(&Value) -> Result<T, String>,
    ) {
        let Some(value) = table.get(name) else { return };
        let key = join(path, name);
        match read(value) {
            Ok(read) => {
                *slot = read;
                let place = self.place(&key).unwrap_or_default();
                self.origins.entry(key).or_insert(place);
            }
            Err(problem) => self.problem(&key, problem),
        }
    }

    pub(super) fn section<'t>(&mut self, table: &'t Table, path: &str, name: &str) -> Option<&'t Table> {
        match table.get(name)? {
            Value::Table(inner) => Some(inner),
            _ => {
                self.problem(&join(path, name), "must be a section");
                None
            }
        }
    }

    fn settings(&mut self, table: &Table, base: &Path, settings: &mut Settings) {
        self.unknown(table, "", &reference::names(""));
        if let Some(server) = self.section(table, "", "server") {
            self.server(server, settings);
        }
        if let Some(state) = self.section(table, "", "state") {
            self.unknown(state, "state", &reference::names("state"));
            self.value(state, "state", "url", &mut settings.state, |value| {
                let url = location(value, base)?;
                url.to_file_path().map_err(|()| {
                    format!(
                        "has the scheme {}: only folders (a path or file:///…) are supported so far",
                        url.scheme()
                    )
                })
            });
            self.value(state, "state", "pin", &mut settings.pin, boolean);
        }
        if let Some(service) = self.section(table, "", "service") {
            self.unknown(service, "service", &reference::names("service"));
            let into = &mut settings.service;
            self.value(service, "service", "workers", &mut into.workers, |value| match whole(value)? {
                n @ 1..=64 => Ok(n as usize),
                _ => Err("must be from 1 to 64".into()),
            });
            self.value(service, "service", "unknown_sources", &mut into.unknown_sources, |value| match text(
                value,
            )?
            .as_str()
            {
                "accept" => Ok(UnknownSources::Accept),
                "hold" => Ok(UnknownSources::Hold),
                _ => Err("must be \"accept\" or \"hold\"".into()),
            });
            self.value(service, "service", "min_free", &mut into.min_free, size);
        }
        self.inboxes(table, base, settings);
        self.webhooks(table, base, settings);
        if let Some(targets) = self.section(table, "", "targets") {
            settings.targets.clear();
            for name in targets.keys() {
                let path = join("targets", name);
                match TargetName::new(name.clone()) {
                    Ok(id) => {
                        if let Some(target) = self.section(targets, "targets", name) {
                            let target = self.target(target, &path, base, &settings.data, name);
                            settings.targets.insert(id, target);
                        }
                    }
                    Err(error) => self.problem(&path, error.problem),
                }
            }
            self.files_of_targets(settings);
        }
        if let Some(sources) = self.section(table, "", "sources") {
            for name in sources.keys() {
                let path = join("sources", name);
                match SourceId::new(name.clone()) {
                    Ok(id) => {
                        if let Some(source) = self.section(sources, "sources", name) {
                            let source = self.source(source, &path);
                            if let Some(target) = settings.targets.get(&source.target) {
                                self.windows_together(&path, &source.maintenance, &target.maintenance);
                            } else {
                                let names: Vec<_> =
                                    settings.targets.keys().map(ToString::to_string).collect();
                                self.problem(
                                    &join(&path, "target"),
                                    format!("is {}; there are: {}", source.target, names.join(", ")),
                                );
                            }
                            settings.sources.insert(id, source);
                        }
                    }
                    Err(error) => self.problem(&path, error.problem),
                }
            }
        }
        if let Some(priority) = self.section(table, "", "priority") {
            self.unknown(priority, "priority", &reference::names("priority"));
            let weights = &mut settings.priority;
            self.value(priority, "priority", "age_weight", &mut weights.age, positive);
            self.value(priority, "priority", "importance_weight", &mut weights.importance, positive);
            self.value(priority, "priority", "simplicity_weight", &mut weights.simplicity, positive);
            self.value(priority, "priority", "half_life", &mut weights.half_life_seconds, |value| {
                Ok(at_least(value, Duration::from_secs(1))?.as_secs_f64())
            });
        }
        if let Some(limits) = self.section(table, "", "limits") {
            self.unknown(limits, "limits", &reference::names("limits"));
            self.value(limits, "limits", "max_line", &mut settings.limits.max_line, |value| {
                match size(value)? {
                    short if short < 1 << 10 => Err("must be at least \"1KiB\"".into()),
                    long if long > 1 << 30 => Err("must be at most \"1GiB\"".into()),
                    length => usize::try_from(length).map_err(|e| e.to_string()),
                }
            });
            self.value(limits, "limits", "max_expansion", &mut settings.limits.max_expansion, |value| {
                within(value, 1, 1 << 40)
            });
            self.value(limits, "limits", "max_file", &mut settings.limits.max_file, |value| {
                match size(value)? {
                    little if little < 1 << 10 => Err("must be at least \"1KiB\"".into()),
                    enough => Ok(enough),
                }
            });
            self.value(limits, "limits", "max_future", &mut settings.max_future, duration);
        }
        if let Some(planning) = self.section(table, "", "planning") {
            self.unknown(planning, "planning", &reference::names("planning"));
            let into = &mut settings.planning;
            self.value(planning, "planning", "fast_path", &mut into.fast_path, boolean);
            self.value(planning, "planning", "threads", &mut into.threads, |value| {
                Ok(within(value, 0, 256)? as usize)
            });
            self.value(planning, "planning", "sort_memory", &mut into.sort_memory, |value| {
                // Each run that is spilled is a file that stays open until it is merged.
                match size(value)? {
                    little if little < 1 << 20 => Err("must be at least \"1MiB\"".into()),
                    enough => Ok(enough),
                }
            });
            self.value(planning, "planning", "index_memory", &mut into.index_memory, size);
            self.value(planning, "planning", "dictionaries", &mut into.dictionaries, boolean);
            self.value(planning, "planning", "max_layers", &mut into.max_layers, |value| {
                Ok(within(value, 1, 64)? as usize)
            });
            self.value(planning, "planning", "smallest_base", &mut into.smallest_base, |value| {
                within(value, 1, 1 << 32)
            });
        }
        if let Some(publishing) = self.section(table, "", "publishing") {
            self.unknown(publishing, "publishing", &reference::names("publishing"));
            self.value(publishing, "publishing", "max_changes", &mut settings.max_changes, |value| {
                Ok(Some(within(value, 1, 1 << 20)? as usize))
            });
        }
        if let Some(retry) = self.section(table, "", "retry") {
            self.retry(retry, &mut settings.retry);
        }
        if let Some(alerts) = self.section(table, "", "alerts") {
            self.alerts(alerts, &mut settings.alerts);
        }
        if let Some(retention) = self.section(table, "", "retention") {
            self.unknown(retention, "retention", &reference::names("retention"));
            self.value(retention, "retention", "snapshots", &mut settings.retention.snapshots, |value| {
                match usize::try_from(whole(value)?) {
                    Ok(0) => Err("must be at least 1".into()),
                    Ok(count) => Ok(count),
                    Err(_) => Ok(usize::MAX),
                }
            });
            let into = &mut settings.retention;
            self.value(retention, "retention", "grace", &mut into.grace, |value| {
                // What is being written must not be taken for what is left over.
                match duration(value)? {
                    short if short < Duration::from_secs(60) => Err("must be at least \"1m\"".into()),
                    long => Ok(long),
                }
            });
            self.value(retention, "retention", "dead_letters", &mut into.dead_letters, duration);
            self.value(retention, "retention", "open_dead_letters", &mut into.open_dead_letters, |value| {
                match duration(value)? {
                    Duration::ZERO => Err("must not be 0; left out, they never expire".into()),
                    some => Ok(Some(some)),
                }
            });
            self.value(retention, "retention", "batches", &mut into.batches, |value| {
                match duration(value)? {
                    short if short < Duration::from_secs(24 * 3600) => Err("must be at least \"1d\"".into()),
                    long => Ok(long),
                }
            });
        }
    }

    fn server(&mut self, table: &Table, settings: &mut Settings) {
        self.unknown(table, "server", &reference::names("server"));
        let server = &mut settings.server;
        self.value(table, "server", "listen", &mut server.listen, |value| listen_address(&text(value)?));
        self.value(table, "server", "allowed_hosts", &mut server.allowed_hosts, |value| {
            let hosts = texts(value)?;
            let is_host = |host: &String| {
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
            };
            if hosts.iter().all(is_host) {
                Ok(hosts)
            } else {
                Err("must be an array of host names, such as \"tidegate.example.com\"".into())
            }
        });
        self.value(table, "server", "max_upload", &mut server.max_upload, size);
        self.value(table, "server", "public_url", &mut server.public_url, |value| {
            super::webhook::url(value).map(Some)
        });
        self.value(table, "server", "plan_ttl", &mut server.plan_ttl, duration);
        self.value(table, "server", "log_format", &mut server.log_format, |value| {
            match text(value)?.as_str() {
                "pretty" => Ok(LogFormat::Pretty),
                "json" => Ok(LogFormat::Json),
                _ => Err("must be \"pretty\" or \"json\"".into()),
            }
        });
    }

    fn inboxes(&mut self, table: &Table, base: &Path, settings: &mut Settings) {
        let list = match table.get("inbox") {
            None => return,
            Some(Value::Array(list)) => list,
            Some(_) => return self.problem("inbox", "must be written as [[inbox]]"),
        };
        let default = settings.inboxes.first().cloned();
        settings.inboxes.clear();
        for (n, value) in list.iter().enumerate() {
            let path = format!("inbox[{n}]");
            let (Value::Table(inbox), Some(mut entry)) = (value, default.clone()) else {
                self.problem(&path, "must be a section");
                continue;
            };
            self.unknown(inbox, &path, &reference::names("inbox"));
            if !inbox.contains_key("url") {
                self.problem(&join(&path, "url"), "is missing");
            }
            self.value(inbox, &path, "url", &mut entry.url, |value| location(value, base));
            self.value(inbox, &path, "poll", &mut entry.poll, |value| {
                at_least(value, Duration::from_millis(10))
            });
            self.value(inbox, &path, "rescan", &mut entry.rescan, |value| {
                at_least(value, Duration::from_secs(1))
            });
            self.value(inbox, &path, "complete", &mut entry.complete, complete);
            settings.inboxes.push(entry);
        }
    }

    fn source(&mut self, table: &Table, path: &str) -> SourceSettings {
        self.unknown(table, path, &reference::names("sources.<id>"));
        let mut source = SourceSettings::default();
        self.value(table, path, "target", &mut source.target, |value| {
            TargetName::new(text(value)?).map_err(|e| e.problem.into())
        });
        self.value(table, path, "importance", &mut source.importance, |value| match whole(value)? {
            n @ 0..=100 => Ok(n as u8),
            _ => Err("must be from 0 to 100".into()),
        });
        self.value(table, path, "precedence", &mut source.precedence, |value| {
            value.as_integer().ok_or_else(|| "must be a whole number".into())
        });
        self.value(table, path, "volatile", &mut source.volatile, texts);
        self.value(table, path, "unordered", &mut source.unordered, texts);
        self.value(table, path, "containment", &mut source.containment, globs);
        self.value(table, path, "on_failure", &mut source.on_failure, |value| match text(value)?.as_str() {
            "continue" => Ok(Some(OnFailure::Continue)),
            "hold" => Ok(Some(OnFailure::Hold)),
            _ => Err("must be \"continue\" or \"hold\"".into()),
        });
        self.value(table, path, "max_lateness", &mut source.max_lateness_seconds, |value| {
            Ok(duration(value)?.as_secs())
        });
        self.value(table, path, "mode", &mut source.mode, |value| match text(value)?.as_str() {
            "full" => Ok(Some(Mode::Full)),
            "incremental" => Ok(Some(Mode::Incremental)),
            _ => Err("must be \"full\" or \"incremental\"".into()),
        });
        source.maintenance = self.windows(table, path, "sources.<id>.maintenance");
        if let Some(scope) = self.section(table, path, "scope") {
            let (path, mut out) = (join(path, "scope"), Scope::default());
            self.unknown(scope, &path, &reference::names("sources.<id>.scope"));
            self.value(scope, &path, "types", &mut out.types, globs);
            self.value(scope, &path, "names", &mut out.names, globs);
            self.value(scope, &path, "except", &mut out.except, globs);
            source.scope = out;
        }
        if let Some(guards) = self.section(table, path, "guards") {
            source.guards = self.guards(guards, &join(path, "guards"));
        }
        if let Some(isolation) = self.section(table, path, "isolation") {
            let (path, mut limit) = (join(path, "isolation"), IsolationLimit::default());
            self.unknown(isolation, &path, &reference::names("sources.<id>.isolation"));
            self.value(isolation, &path, "count", &mut limit.count, whole);
            self.value(isolation, &path, "ratio", &mut limit.ratio, ratio);
            self.value(isolation, &path, "requests", &mut limit.requests, whole);
            source.isolation = limit;
        }
        source
    }

    fn guards(&mut self, table: &Table, path: &str) -> GuardLimits {
        self.unknown(table, path, &reference::names("sources.<id>.guards"));
        let mut guards = GuardLimits::default();
        self.value(table, path, "delete_ratio", &mut guards.delete_ratio, ratio);
        self.value(table, path, "delete_min", &mut guards.delete_min, whole);
        self.value(table, path, "delete_max", &mut guards.delete_max, whole);
        self.value(table, path, "container_contents", &mut guards.container_contents, whole);
        self.value(table, path, "empty_full", &mut guards.empty_full, boolean);
        self.value(table, path, "full_count_ratio", &mut guards.full_count_ratio, ratio);
        self.value(table, path, "update_ratio", &mut guards.update_ratio, ratio);
        self.value(table, path, "update_min", &mut guards.update_min, whole);
        self.value(table, path, "other_workflow", &mut guards.other_workflow, boolean);
        guards
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The section below `sections`, made where it is not there; of a list the item of
/// that number, or the next one. `key` gets its path, `made` the paths of those that were made.
fn descend<'t>(
    table: &'t mut Table,
    sections: &[&str],
    key: &mut String,
    made: &mut Vec<String>,
) -> Option<&'t mut Table> {
    let Some((first, rest)) = sections.split_first() else { return Some(table) };
    let found = present(table, first);
    key.push_str(&found);
    if let Some((index, rest)) = rest.split_first()
        && let Ok(index) = index.parse::<usize>()
        && reference::is_list(&found)
    {
        let list = table.entry(found).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?;
        let _ = write!(key, "[{index}]");
        if index == list.len() {
            made.push(key.clone());
            list.push(Value::Table(Table::new()));
        }
        key.push('.');
        return descend(list.get_mut(index)?.as_table_mut()?, rest, key, made);
    }
    if !table.contains_key(&found) {
        made.push(key.clone());
    }
    key.push('.');
    match table.entry(found).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => descend(inner, rest, key, made),
        _ => None,
    }
}

/// The key that a part of a variable's name means: one that is there, with
/// other characters read as `_` and case left out, or the part in lower case.
fn present(table: &Table, part: &str) -> String {
    let wanted = plain(part);
    table.keys().find(|name| plain(name) == wanted).cloned().unwrap_or(wanted)
}

fn plain(name: &str) -> String {
    name.replace(['-', '.'], "_").to_lowercase()
}

/// The keys that a part of a variable's name may mean, where they are several.
fn ambiguous(mut table: &Table, parts: &[&str]) -> Option<Vec<String>> {
    for part in parts {
        let wanted = plain(part);
        let fitting: Vec<String> = table.keys().filter(|name| plain(name) == wanted).cloned().collect();
        match &fitting[..] {
            [] => return None,
            [only] => table = table.get(only)?.as_table()?,
            [_, _, ..] => return Some(fitting),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings::Deletion;
    use crate::intake::inbox::Complete;

    fn check(toml: &str, environment: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidegate.toml");
        std::fs::write(&file, toml).unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (settings, problems) = load(&LoadOptions { data: None, file: Some(file), environment }).unwrap();
        let strip = format!("{}/", folder.path().display());
        (settings, problems.into_iter().map(|p| p.replace(&strip, "")).collect())
    }

    #[test]
    fn no_settings_at_all_are_working_settings() {
        let folder = tempfile::tempdir().unwrap();
        let options = LoadOptions { data: Some(folder.path().join("d")), ..LoadOptions::default() };
        let settings = Settings::load(&options).unwrap();
        assert_eq!(settings.state, folder.path().join("d/state"));
        assert!(settings.inboxes[0].url.path().ends_with("/d/inbox/"));
        assert_eq!(settings.source(&SourceId::new("any").unwrap()), SourceSettings::default());
    }

    #[test]
    fn variables_make_the_items_of_lists_and_change_those_of_the_file() {
        let set = |n: usize, url: &'static str| (format!("TIDEGATE_INBOX__{n}__URL"), url.to_owned());
        let many: Vec<(String, String)> = (0..12).map(|n| set(n, "file:///a/")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let (settings, problems) = check("", &many);
        assert_eq!((settings.inboxes.len(), problems), (12, Vec::new()));
        let file = "[[inbox]]\nurl = \"file:///a/\"\n[targets.t]\nkind = \"embedded\"\n";
        let (settings, problems) = check(
            file,
            &[
                ("TIDEGATE_INBOX__0__POLL", "7s"),
                ("TIDEGATE_INBOX__1__URL", "s3://b/c"),
                ("TIDEGATE_TARGETS__T__MAINTENANCE__0__CRON", "0 1 * * *"),
                ("TIDEGATE_TARGETS__T__MAINTENANCE__0__DURATION", "1h"),
            ],
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(settings.inboxes[0].poll, Duration::from_secs(7));
        assert_eq!(settings.inboxes[1].url.as_str(), "s3://b/c/");
        assert_eq!(settings.targets.values().next().unwrap().maintenance.len(), 1);
        let (_, problems) =
            check(file, &[("TIDEGATE_INBOX__2__URL", "s3://b/c"), ("TIDEGATE_INBOX__0__POL", "1s")]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        let told = "TIDEGATE_INBOX__2__URL: `inbox[2]` has none before it: items count from 0";
        assert_eq!(problems[0], told);
        assert!(problems[1].contains("`inbox[0].pol`"), "{problems:?}");
    }

    /// But for the state folder in an object store, which is not built yet.
    #[test]
    fn the_example_of_the_design_is_read() {
        let (settings, problems) = check(
            r#"
            [state]
            url = "state"
            [[inbox]]
            url = "s3://metadata/landing"
            poll = "10s"
            complete = "quiet:5m"
            [sources.warehouse]
            target = "catalogue"
            importance = 80
            precedence = 10
            volatile = ["statistics.*"]
            unordered = ["tags"]
            [sources.warehouse.guards]
            delete_ratio = 0.1
            [targets.catalogue]
            kind = "embedded"
            deletion = "archive"
            [priority]
            age_weight = 1
            half_life = "1h"
            "#,
            &[],
        );
        assert_eq!(problems, Vec::<String>::new());
        let source = settings.source(&SourceId::new("warehouse").unwrap());
        assert_eq!((source.importance, source.precedence, source.guards.delete_ratio), (80, 10, 0.1));
        assert_eq!(settings.inboxes[0].url.as_str(), "s3://metadata/landing/");
        assert_eq!(settings.inboxes[0].complete, Complete::Quiet(Duration::from_secs(300)));
        assert_eq!(settings.targets.values().next().unwrap().deletion, Deletion::Archive);
    }

    #[test]
    fn every_problem_is_told_with_its_place_and_the_nearest_name() {
        let (_, problems) = check(
            "[sources.w]\nimportence = 5\nimportance = 500\ntarget = \"x\"\n[statee]\n[limits]\nmax_future = 5\n",
            &[("TIDEGATE_PLANNING__THREADS", "many")],
        );
        assert_eq!(
            problems,
            [
                "tidegate.toml:5: `statee` is not known: did you mean `state`?",
                "tidegate.toml:2: `sources.w.importence` is not known: did you mean `importance`?",
                "tidegate.toml:3: `sources.w.importance` must be from 0 to 100",
                "tidegate.toml:4: `sources.w.target` is x; there are: catalogue",
                "tidegate.toml:7: `limits.max_future` must be a duration such as \"500ms\", \"10s\", \"15m\", \"1h\" or \"30d\"",
                "TIDEGATE_PLANNING__THREADS: `planning.threads` must be a whole number from 0 to 256",
            ]
        );
    }

    #[test]
    fn variables_win_over_the_file_and_find_names_with_dashes() {
        let (settings, problems) = check(
            "[sources.my-source]\nprecedence = 1\n",
            &[("TIDEGATE_SOURCES__MY_SOURCE__PRECEDENCE", "7"), ("TIDEGATE_PLANNING__FAST_PATH", "false")],
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(settings.source(&SourceId::new("my-source").unwrap()).precedence, 7);
        assert!(!settings.planning.fast_path);
        assert_eq!(
            settings.origins["sources.my-source.precedence"],
            "TIDEGATE_SOURCES__MY_SOURCE__PRECEDENCE"
        );
        let (_, problems) = check(
            "[sources.my-source]\nprecedence = 1\n[sources.my_source]\nprecedence = 2\n",
            &[("TIDEGATE_SOURCES__MY_SOURCE__PRECEDENCE", "7")],
        );
        assert_eq!(
            problems,
            ["TIDEGATE_SOURCES__MY_SOURCE__PRECEDENCE fits my-source and my_source: set it in the file"]
        );
    }

    #[test]
    fn each_target_has_a_file_of_its_own() {
        let (_, problems) = check(
            "[targets.x]\nkind = \"embedded\"\npath = \"c.redb\"\n[targets.y]\nkind = \"embedded\"\npath = \"./c.redb\"\n",
            &[],
        );
        assert_eq!(
            problems,
            ["tidegate.toml:6: `targets.y.path` is the file of the target x; each has one of its own"]
        );
    }

    #[test]
    fn windows_that_together_never_end_are_refused_where_they_stand() {
        let window = |section: &str, hour: u8| {
            format!("[[{section}.maintenance]]\ncron = \"0 {hour} * * *\"\nduration = \"12h\"\n")
        };
        let (target, source) = ("targets.catalogue", "sources.w");
        let kind = "[targets.catalogue]\nkind = \"embedded\"\n[sources.w]\nimportance = 1\n";
        for (windows, key) in [
            (window(target, 0) + &window(target, 12), Some("targets.catalogue.maintenance")),
            (window(target, 0) + &window(source, 12), Some("sources.w.maintenance")),
            (window(source, 0) + &window(source, 6), None),
        ] {
            let (_, problems) = check(&format!("{kind}{windows}"), &[]);
            let told: Vec<_> = problems.iter().map(|problem| problem.contains("never end")).collect();
            assert_eq!(told, vec![true; usize::from(key.is_some())], "{problems:?}");
            assert!(key.is_none_or(|key| problems[0].contains(key)), "{problems:?}");
        }
    }

    #[test]
    fn the_server_listens_on_loopback_only_and_says_why() {
        let (settings, problems) = check(
            "[server]\nlisten = \"localhost:0\"\nallowed_hosts = [\"tidegate.example\"]\nmax_upload = \"1MiB\"\nplan_ttl = \"5m\"\nlog_format = \"json\"\n",
            &[],
        );
        assert_eq!(problems, Vec::<String>::new());
        let server = &settings.server;
        assert_eq!(server.listen.to_string(), "127.0.0.1:0");
        assert_eq!((server.max_upload, server.plan_ttl), (1 << 20, Duration::from_secs(300)));
        assert_eq!(
            (&server.allowed_hosts[..], server.log_format),
            (&["tidegate.example".to_owned()][..], LogFormat::Json)
        );
        for address in ["0.0.0.0:8484", "192.168.0.1:80", "[::]:8484", "8.8.8.8:1"] {
            let (_, problems) = check(&format!("[server]\nlisten = \"{address}\"\n"), &[]);
            assert!(problems[0].contains("only a loopback address"), "{problems:?}");
        }
        for wrong in [
            "listen = \"x\"",
            "listen = \"127.0.0.1\"",
            "allowed_hosts = [\"a b\"]",
            "log_format = \"xml\"",
            "port = 1",
        ] {
            let (_, problems) = check(&format!("[server]\n{wrong}\n"), &[]);
            assert_eq!(problems.len(), 1, "{wrong}");
        }
    }

    #[test]
    fn broken_toml_is_told_with_its_line() {
        let (_, problems) = check("[state\nurl = 1", &[]);
        assert!(problems[0].starts_with("tidegate.toml:1: is no TOML: "), "{problems:?}");
        assert!(!problems[0].contains("url"), "{problems:?}");
    }
}
