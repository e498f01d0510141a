//! Times: relative to now where people look, absolute and in UTC behind it.

use jiff::Timestamp;

use super::Html;

/// `2026-11-25 03:52:40 UTC`
pub fn absolute(at: Timestamp) -> String {
    at.strftime("%F %T UTC").to_string()
}

/// `now`, `40 s ago`, `in 5 min`. The same words as in `static/tidegate.js`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    let size = seconds.unsigned_abs();
    if size < 5 {
        return "now".to_owned();
    }
    let units =
        [(1, 60, "s"), (60, 60, "min"), (3_600, 24, "h"), (86_400, 60, "d"), (2_592_000, u64::MAX, "months")];
    // What is over is told in full units, what is to come to the nearest.
    let half = |per: u64| if seconds < 0 { per / 2 } else { 0 };
    let counted = units.map(|(per, below, unit)| ((size + half(per)) / per, below, unit));
    let fits = counted.iter().find(|(count, below, _)| count < below);
    let text = fits.map_or_else(String::new, |(count, _, unit)| format!("{count} {unit}"));
    if seconds < 0 { format!("in {text}") } else { format!("{text} ago") }
}

/// A time as people read it.
pub fn ago(at: Timestamp, now: Timestamp) -> Html {
    Html::trusted(format!(
        "<time datetime=\"{at}\" title=\"{}\" data-relative>{}</time>",
        absolute(at),
        relative(at, now)
    ))
}

/// A time of day and date, where the moment itself matters.
pub fn moment(at: Timestamp) -> Html {
    Html::trusted(format!("<time datetime=\"{at}\">{}</time>", absolute(at)))
}

/// A length of time: `850 ms`, `12.3 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn length(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{}.{} s", seconds, millis % 1_000 / 100),
        60..3_600 => two((seconds / 60, "min"), (seconds % 60, "s")),
        3_600..86_400 => two((seconds / 3_600, "h"), (seconds % 3_600 / 60, "min")),
        86_400.. => two((seconds / 86_400, "d"), (seconds % 86_400 / 3_600, "h")),
    }
}

/// Two units, the smaller one where there is any of it.
fn two((large, unit): (u64, &str), (small, part): (u64, &str)) -> String {
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {part}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_table() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        for (at, words) in [
            ("2026-11-25T12:00:00Z", "now"),
            ("2026-11-25T11:59:20Z", "40 s ago"),
            ("2026-11-25T11:01:00Z", "59 min ago"),
            ("2026-11-24T12:00:00Z", "1 d ago"),
            ("2026-11-25T13:29:00Z", "in 1 h"),
            ("2026-11-25T15:59:11Z", "in 4 h"),
            ("2026-11-25T12:59:40Z", "in 1 h"),
            ("2026-11-25T12:00:45Z", "in 45 s"),
            ("2026-11-25T08:00:49Z", "3 h ago"),
            ("2026-05-25T12:00:00Z", "6 months ago"),
        ] {
            assert_eq!(relative(at.parse().unwrap(), now), words);
        }
    }

    #[test]
    fn lengths_by_table() {
        for (millis, words) in [
            (0, "0 ms"),
            (12_345, "12.3 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
            (1_800_000, "30 min"),
            (259_200_000, "3 d"),
        ] {
            assert_eq!(length(millis), words);
        }
    }
}
