//! What other settings than those in force change, key by key, and which of
//! the keys wait for a restart.

use std::collections::{BTreeMap, BTreeSet};

use super::{Settings, show};

/// A key whose value is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, such as `sources.warehouse.importance`.
    pub key: String,
    /// Its value before, as in a settings file; `None`: it was not there.
    pub old: Option<String>,
    /// Its value now; `None`: it is not there any more.
    pub new: Option<String>,
    /// Whether it is in force only after a restart.
    pub needs_restart: bool,
}

/// What a reload of the settings does.
#[derive(Debug, Clone, PartialEq)]
pub struct Reload {
    /// Every key that changed.
    pub changes: Vec<Change>,
    /// The settings that can be in force now: the new ones, but for what
    /// needs a restart.
    pub settings: Settings,
}

/// Keys that are read at the start alone: what is open then stays open.
const AT_START: &[&str] = &["data", "server.", "state.", "targets."];

/// The key of the kind of the target that a key is of: there when the target is.
fn kind_of(key: &str) -> String {
    let target = key.split(".maintenance[").next().unwrap_or(key);
    format!("{target}.kind")
}

impl Settings {
    /// What `new` changes.
    pub fn reload(&self, new: &Settings) -> Reload {
        let mut settings = new.clone();
        settings.data.clone_from(&self.data);
        settings.state.clone_from(&self.state);
        settings.pin = self.pin;
        settings.targets.clone_from(&self.targets);
        for (name, target) in &mut settings.targets {
            // Nothing of it is open: it is looked at when it matters.
            if let Some(new) = new.targets.get(name) {
                target.maintenance.clone_from(&new.maintenance);
            }
        }
        // A source can't be published to a target that is not open.
        let mut waiting: BTreeSet<String> = BTreeSet::new();
        for (id, source) in &mut settings.sources {
            if !self.targets.contains_key(&source.target) {
                source.target = self.source(id).target;
                waiting.insert(format!("sources.{id}.target"));
            }
        }
        let all = |settings: &Settings| {
            let mut values = show::values(settings);
            values.insert("data".into(), settings.data.display().to_string());
            values
        };
        let (before, after) = (all(self), all(new));
        let mut sections = Sections::of(self, new);
        let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let needs_restart = |key: &str| {
            let at_start = AT_START.iter().any(|start| key.starts_with(start))
                && !(key.contains(".maintenance[") && before.contains_key(&kind_of(key)));
            at_start || waiting.contains(key)
        };
        let mut changes = Vec::new();
        for key in keys {
            let (old, new) = (before.get(key), after.get(key));
            if old != new && sections.says(key) {
                changes.push(Change {
                    key: key.clone(),
                    old: old.cloned(),
                    new: new.cloned(),
                    needs_restart: needs_restart(key),
                });
            }
        }
        changes.extend(sections.silent().map(|(section, is_new)| {
            let empty = || Some("{}".to_owned());
            let (old, new) = if is_new { (None, empty()) } else { (empty(), None) };
            let needs_restart = needs_restart(&format!("{section}."));
            Change { key: section, old, new, needs_restart }
        }));
        changes.sort_by(|one, other| one.key.cmp(&other.key));
        Reload { changes, settings }
    }
}

/// The sections that only one side has, such as that of a new source. Of such a
/// one the file's keys are told, and none of the many defaults that come with it.
struct Sections<'a> {
    /// Whether each is new, and whether anything of it was told.
    sections: BTreeMap<String, (bool, bool)>,
    old: &'a Settings,
    new: &'a Settings,
}

impl<'a> Sections<'a> {
    fn of(old: &'a Settings, new: &'a Settings) -> Self {
        let (before, after) = (names(old), names(new));
        let one_sided = before.symmetric_difference(&after);
        let sections = one_sided.map(|name| (name.clone(), (after.contains(name), false))).collect();
        Self { sections, old, new }
    }

    /// Whether a key that only one side has is told, or one that both have.
    fn says(&mut self, key: &str) -> bool {
        let around = |(name, _): &(&String, &mut (bool, bool))| {
            key.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))
        };
        // An id may have a dot in it: the longest name is the section's.
        let around = self.sections.iter_mut().filter(around).max_by_key(|(name, _)| name.len());
        let Some((_, (is_new, told))) = around else { return true };
        let origins = if *is_new { &self.new.origins } else { &self.old.origins };
        let says = origins.contains_key(key);
        *told |= says;
        says
    }

    /// Those of which nothing is told but that they are there, or are not any
    /// more.
    fn silent(self) -> impl Iterator<Item = (String, bool)> {
        self.sections.into_iter().filter(|(_, (_, told))| !told).map(|(name, (is_new, _))| (name, is_new))
    }
}

/// The names of the sections of which there may be any number.
fn names(settings: &Settings) -> BTreeSet<String> {
    let sources = settings.sources.keys().map(|id| format!("sources.{id}"));
    let targets = settings.targets.keys().map(|name| format!("targets.{name}"));
    let inboxes = (0..settings.inboxes.len()).map(|n| format!("inbox[{n}]"));
    let webhooks = (0..settings.webhooks.len()).map(|n| format!("webhook[{n}]"));
    sources.chain(targets).chain(inboxes).chain(webhooks).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{LoadOptions, TargetSettings};
    use crate::domain::ids::{SourceId, TargetName};

    fn settings(toml: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidegate.toml");
        std::fs::write(&file, toml).unwrap();
        let options = LoadOptions { data: Some("d".into()), file: Some(file), environment: BTreeMap::new() };
        Settings::load(&options).unwrap()
    }

    #[test]
    fn every_key_that_changes_is_told_and_what_is_open_stays_open() {
        let old =
            settings("[sources.w]\nimportance = 10\n[sources.x]\nprecedence = 1\n[service]\nworkers = 1\n");
        let new = settings(
            "[sources.w]\nimportance = 90\ntarget = \"other\"\n[service]\nworkers = 3\n[[inbox]]\nurl = \"s3://b/in\"\n[targets.catalogue]\nhistory = 7\n[targets.other]\n",
        );
        let reload = old.reload(&new);
        let told = |key: &str| {
            let change = reload.changes.iter().find(|change| change.key == key).unwrap();
            (change.old.as_deref(), change.new.as_deref(), change.needs_restart)
        };
        assert_eq!(told("sources.w.importance"), (Some("10"), Some("90"), false));
        assert_eq!(told("service.workers"), (Some("1"), Some("3"), false));
        assert_eq!(told("inbox[0].url").1, Some("\"s3://b/in/\""));
        assert_eq!(told("sources.x.precedence"), (Some("1"), None, false));
        assert_eq!(told("sources.w.target"), (Some("\"catalogue\""), Some("\"other\""), true));
        assert_eq!(told("targets.catalogue.history"), (Some("20"), Some("7"), true));
        assert_eq!(told("targets.other"), (None, Some("{}"), true));
        assert!(reload.changes.iter().all(|change| !change.key.starts_with("guards")));
        let source = reload.settings.source(&SourceId::new("w").unwrap());
        assert_eq!((source.importance, source.target.as_str()), (90, "catalogue"));
        assert_eq!(reload.settings.targets, old.targets);
        let other = TargetName::new("other").unwrap();
        assert_ne!(new.targets[&other], TargetSettings::embedded(Path::new("d")));
    }

    #[test]
    fn equal_settings_change_nothing() {
        let one = settings("[sources.w]\nvolatile = [\"a\"]\n");
        assert_eq!(one.reload(&one).changes, []);
    }
}
