//! `[retry]`: when what failed is tried again.

use std::time::Duration;

use toml::Table;

use super::read::Reading;
use super::reference;
use super::values::{duration, whole};
use crate::domain::retry::RetrySettings;

impl Reading {
    pub(super) fn retry(&mut self, table: &Table, into: &mut RetrySettings) {
        self.unknown(table, "retry", &reference::names("retry"));
        self.value(table, "retry", "quick_tries", &mut into.quick_tries, |value| match whole(value)? {
            n @ 1..=10 => Ok(n as u32),
            _ => Err("must be from 1 to 10".into()),
        });
        self.value(table, "retry", "quick_window", &mut into.quick_window, |value| match duration(value)? {
            window if window <= Duration::from_secs(10) => Ok(window),
            _ => Err("must be at most 10s: it is waited in place".into()),
        });
        for (key, slot) in [
            ("first_wait", &mut into.first_wait),
            ("longest_wait", &mut into.longest_wait),
            ("give_up_after", &mut into.give_up_after),
            ("longest_probe", &mut into.longest_probe),
        ] {
            self.value(table, "retry", key, slot, |value| match duration(value)? {
                Duration::ZERO => Err("must be more than nothing".into()),
                time => Ok(time),
            });
        }
        self.value(table, "retry", "attempts", &mut into.attempts, |value| match whole(value)? {
            0 => Err("must be at least 1".into()),
            n => u32::try_from(n).map_err(|_| "is too large".into()),
        });
    }
}
