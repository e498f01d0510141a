//! The forms of single values: what a setting takes, and the words for what it
//! does not.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;
use url::Url;

use crate::domain::glob::Glob;
use crate::intake::inbox::Complete;

pub(super) fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "must be a string".into())
}

/// A path relative to `base`. An empty one would be `base` itself, which nobody means.
pub(super) fn path(value: &Value, base: &Path) -> Result<PathBuf, String> {
    let text = text(value)?;
    if text.trim().is_empty() { Err("must not be empty".into()) } else { Ok(base.join(text)) }
}

pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or("must be an array of strings")?;
    list.iter()
        .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| "must be an array of strings".into()))
        .collect()
}

pub(super) fn globs(value: &Value) -> Result<Vec<Glob>, String> {
    Ok(texts(value)?.into_iter().map(Glob::new).collect())
}

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "must be true or false".into())
}

pub(super) fn whole(value: &Value) -> Result<u64, String> {
    let number = value.as_integer().and_then(|n| u64::try_from(n).ok());
    number.ok_or_else(|| "must be a whole number that is not negative".into())
}

/// A whole number within bounds.
pub(super) fn within(value: &Value, from: u64, to: u64) -> Result<u64, String> {
    whole(value)
        .ok()
        .filter(|n| (from..=to).contains(n))
        .ok_or_else(|| format!("must be a whole number from {from} to {to}"))
}

/// A duration of at least `shortest`, which is whole seconds or milliseconds.
pub(super) fn at_least(value: &Value, shortest: Duration) -> Result<Duration, String> {
    let least = match shortest.subsec_millis() {
        0 => format!("{}s", shortest.as_secs()),
        _ => format!("{}ms", shortest.as_millis()),
    };
    Some(duration(value)?)
        .filter(|long| *long >= shortest)
        .ok_or_else(|| format!("must be at least \"{least}\""))
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64)).filter(|n| n.is_finite())
}

pub(super) fn positive(value: &Value) -> Result<f64, String> {
    number(value).filter(|n| *n >= 0.0).ok_or_else(|| "must be a number that is not negative".into())
}

pub(super) fn ratio(value: &Value) -> Result<f64, String> {
    number(value).filter(|n| (0.0..=1.0).contains(n)).ok_or_else(|| "must be a number from 0 to 1".into())
}

/// A size: a number of bytes, or a text such as `"64MiB"`.
pub(super) fn size(value: &Value) -> Result<u64, String> {
    const PROBLEM: &str = "must be a number of bytes, or a size such as \"64MiB\"";
    if let Ok(bytes) = whole(value) {
        return Ok(bytes);
    }
    let text = value.as_str().ok_or(PROBLEM)?;
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[at..].trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(PROBLEM.into()),
    };
    let number: u64 = text[..at].parse().map_err(|_| PROBLEM)?;
    number.checked_mul(1 << shift).ok_or_else(|| PROBLEM.into())
}

/// A duration such as `"500ms"`, `"10s"`, `"15m"`, `"1h"`, `"30d"`.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    const PROBLEM: &str = "must be a duration such as \"500ms\", \"10s\", \"15m\", \"1h\" or \"30d\"";
    parse_duration(value.as_str().ok_or(PROBLEM)?).map_err(|_| PROBLEM.into())
}

/// The same as text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const PROBLEM: &str = "must be a duration such as 500ms, 10s, 15m, 1h or 30d";
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or(PROBLEM)?;
    let number: u64 = text[..at].parse().map_err(|_| PROBLEM)?;
    let millis = match &text[at..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(PROBLEM.into()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| PROBLEM.into())
}

/// An address of this machine's own loopback.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    const PROBLEM: &str = "must be an address with a port, such as \"127.0.0.1:8484\"";
    let text =
        text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    let address: SocketAddr = text.parse().map_err(|_| PROBLEM)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "is {address}: only a loopback address such as 127.0.0.1 or [::1] is taken, because the server has no \
         sign-in yet and whoever reaches it may approve and cancel; put a proxy that signs people in before it"
    ))
}

pub(super) fn complete(value: &Value) -> Result<Complete, String> {
    const PROBLEM: &str = "must be \"manifest\", \"marker:<name>\" or \"quiet:<duration>\"";
    let text = text(value)?;
    match text.split_once(':') {
        None if text == "manifest" => Ok(Complete::Manifest),
        Some(("marker", name)) if !name.is_empty() && !name.contains('/') => {
            Ok(Complete::Marker(name.into()))
        }
        Some(("quiet", time)) => Ok(Complete::Quiet(duration(&Value::String(time.into()))?)),
        Some(_) | None => Err(PROBLEM.into()),
    }
}

/// A URL, or a path below `base`. With a slash at the end.
pub(super) fn location(value: &Value, base: &Path) -> Result<Url, String> {
    let text = text(value)?;
    if text.trim().is_empty() {
        return Err("must not be empty".into());
    }
    if text.contains("://") {
        let mut url = Url::parse(&text).map_err(|e| format!("is not a URL: {e}"))?;
        if !["file", "s3"].contains(&url.scheme()) {
            return Err(format!("has the scheme {}; there are: file, s3", url.scheme()));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        return Ok(url);
    }
    Url::from_directory_path(base.join(text)).map_err(|()| "is not a path that can be used".into())
}
