//! Maintenance windows: times at which a target or a source is left alone.

use std::time::Duration;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Longest window.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// So many windows that overlap are looked at at a time for their end; who
/// waits for it looks again then.
const LOOKED_AT: usize = 400;

/// A window that comes again and again: when it begins, and how long it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it begins: a cron expression of five fields.
    pub cron: String,
    /// How long it is.
    pub duration: Duration,
    /// The IANA name of the time zone that the expression is meant in.
    pub time_zone: String,
}

impl Window {
    /// The expression, read.
    fn crontab(&self) -> Result<Crontab, String> {
        // The zone is a setting of its own; one inside the expression would
        // make seven fields.
        let text = format!("{} {}", self.cron.trim(), self.time_zone.trim());
        cronexpr::parse_crontab(&text).map_err(|error| {
            let text = error.to_string();
            // A head, the expression, and below it what is wrong where.
            let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("is no cron expression: {}", last.trim_matches([' ', '^']))
        })
    }

    /// What is wrong with it at the time `now`: an expression that can't be
    /// read or never fires, an unknown zone, a window that never ends.
    ///
    /// # Errors
    /// The name of the setting that is wrong, and what is wrong with it.
    pub fn check(&self, now: Timestamp) -> Result<(), (&'static str, String)> {
        if jiff::tz::TimeZone::get(self.time_zone.trim()).is_err() {
            let text =
                format!("{:?} is no time zone; it takes names such as Europe/Berlin or UTC", self.time_zone);
            return Err(("time_zone", text));
        }
        if self.cron.split_whitespace().count() != 5 {
            let text = "takes five fields: minute, hour, day of month, month, day of week".to_owned();
            return Err(("cron", text));
        }
        let crontab = self.crontab().map_err(|problem| ("cron", problem))?;
        if self.duration.is_zero() || self.duration > LONGEST {
            return Err(("duration", "is more than nothing and at most 7d".to_owned()));
        }
        let never = "never fires in four years".to_owned();
        next(&crontab, now).ok_or(("cron", never))?;
        if never_end(std::slice::from_ref(self), now) {
            let text = "is so long that the window never ends: the next one begins before";
            return Err(("duration", text.to_owned()));
        }
        Ok(())
    }

    /// When the window that is open at `now` ends; `None`: none is.
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        let crontab = self.crontab().ok()?;
        let length = SignedDuration::try_from(self.duration).ok()?;
        let mut end = now;
        // Windows that overlap are one.
        for _ in 0..LOOKED_AT {
            let begun = next(&crontab, end.checked_sub(length).ok()?)?;
            if begun > end {
                break;
            }
            let ends = last_before(&crontab, begun, end).checked_add(length).ok()?;
            if ends <= end {
                break;
            }
            end = ends;
        }
        (end > now).then_some(end)
    }

    /// When it opens next after `now`.
    pub fn opens(&self, now: Timestamp) -> Option<Timestamp> {
        next(&self.crontab().ok()?, now)
    }
}

/// The last beginning that is not after `until`, from one that is not: found
/// by halving, for there may be thousands.
fn last_before(crontab: &Crontab, begun: Timestamp, until: Timestamp) -> Timestamp {
    let within = |after| next(crontab, after).filter(|following| *following <= until);
    // There is none after `none_after`.
    let (mut last, mut none_after) = (begun, until);
    while none_after.duration_since(last) > SHORTEST {
        let middle = last + none_after.duration_since(last) / 2;
        match within(middle) {
            Some(following) => last = following,
            None => none_after = middle,
        }
    }
    within(last).unwrap_or(last)
}

/// Cron counts in minutes.
const SHORTEST: SignedDuration = SignedDuration::from_secs(60);

fn next(crontab: &Crontab, after: Timestamp) -> Option<Timestamp> {
    let after = MakeTimestamp::from_second(after.as_second()).ok()?;
    let found = crontab.find_next(after).ok()?;
    Timestamp::from_second(found.timestamp().as_second()).ok()
}

/// When the last of several windows that are open at `now` ends.
pub fn open_until(windows: &[Window], now: Timestamp) -> Option<Timestamp> {
    windows.iter().filter_map(|window| window.open_until(now)).max()
}

/// Longest time for which several windows may follow each other without a gap.
const LONGEST_TOGETHER: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Whether several windows together never end: while one is closed another is
/// open, for longer than a month. Seen from `now` and from where each of them
/// opens next.
pub fn never_end(windows: &[Window], now: Timestamp) -> bool {
    let beginnings = windows.iter().filter_map(|window| window.opens(now)).chain([now]);
    beginnings.into_iter().any(|beginning| {
        let mut at = beginning;
        while let Some(end) = open_until(windows, at) {
            if end.duration_since(beginning) > LONGEST_TOGETHER {
                return true;
            }
            at = end;
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(cron: &str, hours: u64, zone: &str) -> Window {
        Window { cron: cron.into(), duration: Duration::from_secs(hours * 3600), time_zone: zone.into() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_beginning_to_its_end_in_its_zone() {
        let nightly = window("0 2 * * *", 2, "Europe/Berlin");
        for (now, until) in [
            ("2026-11-24T00:59:59Z", None),
            ("2026-11-24T01:00:00Z", Some("2026-11-24T03:00:00Z")),
            ("2026-11-24T02:59:59Z", Some("2026-11-24T03:00:00Z")),
            ("2026-11-24T03:00:00Z", None),
            // In summer an hour earlier.
            ("2026-07-24T00:30:00Z", Some("2026-07-24T02:00:00Z")),
        ] {
            assert_eq!(nightly.open_until(at(now)), until.map(at), "{now}");
        }
        assert_eq!(nightly.opens(at("2026-11-24T01:00:00Z")), Some(at("2026-11-25T01:00:00Z")));
    }

    #[test]
    fn windows_that_meet_are_one() {
        // 02:00 to 04:00 and 03:00 to 05:00.
        let two = window("0 2,3 * * *", 2, "UTC");
        assert_eq!(two.open_until(at("2026-11-24T02:10:00Z")), Some(at("2026-11-24T05:00:00Z")));
    }

    #[test]
    fn what_never_fires_or_never_ends_is_refused() {
        let now = at("2026-11-24T12:00:00Z");
        for (window, field) in [
            (window("0 0 30 2 *", 1, "UTC"), "cron"),
            (window("0 25 * * *", 1, "UTC"), "cron"),
            (window("0 2 * *", 1, "UTC"), "cron"),
            (window("0 2 * * * UTC", 1, "UTC"), "cron"),
            (window("0 2 * * *", 1, "Europe/Atlantis"), "time_zone"),
            (window("0 2 * * *", 0, "UTC"), "duration"),
            (window("0 2 * * *", 24 * 8, "UTC"), "duration"),
            (window("0 * * * *", 1, "UTC"), "duration"),
            (window("0 2 * * *", 24, "UTC"), "duration"),
        ] {
            assert_eq!(window.check(now).unwrap_err().0, field, "{window:?}");
        }
        assert_eq!(window("0 2 * * SUN", 23, "UTC").check(now), Ok(()));
        assert_eq!(window("0 0 29 2 *", 23, "UTC").check(now), Ok(()));
    }

    #[test]
    fn windows_with_many_beginnings_before_their_gap_do_end() {
        let now = at("2026-11-24T12:00:00Z");
        let minutes = |cron: &str, minutes: u64| Window {
            duration: Duration::from_secs(minutes * 60),
            ..window(cron, 0, "Europe/Berlin")
        };
        for (window, field) in [
            // An hour a night, and the weekend.
            (minutes("* 0-22 * * *", 10), None),
            (minutes("*/5 * * * MON-FRI", 10), None),
            (minutes("* * * * *", 1), Some("duration")),
            (minutes("*/5 * * * *", 7 * 24 * 60), Some("duration")),
            (minutes("* * * * MON-FRI", 3 * 24 * 60), Some("duration")),
        ] {
            assert_eq!(window.check(now).err().map(|(field, _)| field), field, "{window:?}");
        }
        let day = minutes("* 0-22 * * *", 10);
        assert_eq!(day.open_until(now), Some(at("2026-11-24T22:09:00Z")));
    }

    #[test]
    fn the_last_beginning_is_found_however_many_there_are() {
        let every = window("*/7 * * * *", 1, "UTC").crontab().unwrap();
        let first = at("2026-11-24T00:00:00Z");
        for minute in [0, 1, 6, 7, 8, 59, 60, 61, 10_079] {
            let until = first + SignedDuration::from_mins(minute);
            let mut last = first;
            while let Some(following) = next(&every, last).filter(|following| *following <= until) {
                last = following;
            }
            assert_eq!(last_before(&every, first, until), last, "{minute}");
        }
    }

    #[test]
    fn windows_that_take_turns_without_a_gap_never_end() {
        let now = at("2026-11-24T12:00:00Z");
        let day = window("0 0 * * *", 12, "UTC");
        for (others, never) in [
            (vec![window("0 12 * * *", 12, "UTC")], true),
            (vec![window("0 12 * * *", 11, "UTC")], false),
            (vec![window("0 13 * * *", 11, "UTC")], false),
            (vec![window("0 6 * * *", 12, "UTC"), window("0 18 * * *", 6, "UTC")], true),
            // In June only: thirty days at a stretch.
            (vec![window("0 12 * 6 *", 12, "UTC")], false),
        ] {
            let windows = [vec![day.clone()], others].concat();
            assert_eq!(never_end(&windows, now), never, "{windows:?}");
        }
        assert!(!never_end(&[], now));
    }
}
