//! `[[….maintenance]]`: windows of targets and sources.

use jiff::Timestamp;
use toml::{Table, Value};

use super::read::{Reading, join};
use super::reference;
use super::values::{duration, text};
use crate::domain::maintenance::{Window, never_end};

/// The beginning of 2026. Whether a window ever opens and ends does not hang
/// on when it is asked.
const SOME_DAY: Timestamp = Timestamp::constant(1_767_225_600, 0);

impl Reading {
    /// The windows of a section. `section`: its name in the reference.
    pub(super) fn windows(&mut self, table: &Table, path: &str, section: &str) -> Vec<Window> {
        let path = join(path, "maintenance");
        let list = match table.get("maintenance") {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.problem(&path, format!("must be written as [[{path}]]"));
                return Vec::new();
            }
        };
        let mut windows = Vec::new();
        for (n, value) in list.iter().enumerate() {
            let path = format!("{path}[{n}]");
            let Value::Table(table) = value else {
                self.problem(&path, "must be a section");
                continue;
            };
            self.unknown(table, &path, &reference::names(section));
            let mut window =
                Window { cron: String::new(), duration: std::time::Duration::ZERO, time_zone: "UTC".into() };
            let missing: Vec<&str> =
                ["cron", "duration"].into_iter().filter(|key| !table.contains_key(*key)).collect();
            for key in &missing {
                self.problem(&join(&path, key), "is missing");
            }
            let before = self.problems();
            self.value(table, &path, "cron", &mut window.cron, text);
            self.value(table, &path, "duration", &mut window.duration, duration);
            self.value(table, &path, "time_zone", &mut window.time_zone, text);
            if !missing.is_empty() || self.problems() > before {
                continue;
            }
            match window.check(SOME_DAY) {
                Ok(()) => windows.push(window),
                Err((key, problem)) => self.problem(&join(&path, key), problem),
            }
        }
        if windows.len() > 1 && never_end(&windows, SOME_DAY) {
            self.problem(&path, "leave no time in between: together these windows never end");
        }
        windows
    }

    /// A source's windows beside those of its target: one of both is enough to wait.
    pub(super) fn windows_together(&mut self, path: &str, source: &[Window], target: &[Window]) {
        if !source.is_empty() && !target.is_empty() && never_end(&[source, target].concat(), SOME_DAY) {
            let problem = "leave no time in between: together with those of its target they never end";
            self.problem(&join(path, "maintenance"), problem);
        }
    }
}
