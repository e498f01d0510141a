//! `[targets.<name>]`: the metadata catalogues that are published to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};
use url::Url;

use super::read::{Reading, join};
use super::values::{self, duration, size, text, whole};
use super::{Secret, Settings, reference};
use crate::domain::maintenance::Window;
use crate::domain::settings::Deletion;

/// A metadata catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// What it is.
    pub kind: TargetKind,
    /// What a deletion means there.
    pub deletion: Deletion,
    /// When it is left alone.
    pub maintenance: Vec<Window>,
}

/// What a target is, and what is set for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetKind {
    /// A catalogue in a file of its own.
    Embedded(EmbeddedSettings),
    /// Whatever answers by the contract of `docs/http-target.md`.
    Http(HttpSettings),
}

impl TargetKind {
    /// `embedded` or `http`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Http(_) => "http",
        }
    }
}

/// The embedded catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedSettings {
    /// Its file.
    pub path: PathBuf,
    /// Versions kept of each entity or relationship.
    pub history: u32,
    /// Bytes that pages of its file may hold.
    pub cache_memory: u64,
    /// Bytes that writing the search index may hold.
    pub search_memory: u64,
}

/// A catalogue that is spoken to over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where it answers; ends with a slash.
    pub url: Url,
    /// The bearer token that it wants.
    pub token: Option<Secret>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a request that got no answer may still take effect.
    pub request_limit: Duration,
    /// Most changes of one request.
    pub max_changes: usize,
    /// Most bytes of attributes of one request.
    pub max_bytes: usize,
}

impl HttpSettings {
    /// Those of a URL with everything else left out.
    pub fn new(url: Url) -> Self {
        Self {
            url: slashed(url),
            token: None,
            timeout: Duration::from_secs(30),
            request_limit: Duration::from_secs(120),
            max_changes: 500,
            max_bytes: 4 << 20,
        }
    }
}

/// What pages of the file may hold, in bytes.
const CACHE_MEMORY: std::ops::RangeInclusive<u64> = (4 << 20)..=(64 << 30);
/// What writing a search index may hold, in bytes.
const SEARCH_MEMORY: std::ops::RangeInclusive<u64> = (16 << 20)..=(2 << 30);
/// Keys that only the embedded catalogue has, and those of the others.
const EMBEDDED: &[&str] = &["path", "history", "cache_memory", "search_memory"];
const HTTP: &[&str] =
    &["url", "token_file", "token_env", "timeout", "request_limit", "max_changes", "max_bytes"];

impl TargetSettings {
    /// The embedded catalogue in a data directory.
    pub fn embedded(data: &Path) -> Self {
        Self::of(TargetKind::Embedded(EmbeddedSettings {
            path: data.join("catalogue.redb"),
            history: 20,
            cache_memory: 144 << 20,
            search_memory: 32 << 20,
        }))
    }

    /// A catalogue that is spoken to over HTTP.
    pub fn http(url: Url) -> Self {
        Self::of(TargetKind::Http(HttpSettings::new(url)))
    }

    fn of(kind: TargetKind) -> Self {
        Self { kind, deletion: Deletion::Delete, maintenance: Vec::new() }
    }

    /// Its file, if it is embedded.
    pub fn path(&self) -> Option<&Path> {
        match &self.kind {
            TargetKind::Embedded(embedded) => Some(&embedded.path),
            TargetKind::Http(_) => None,
        }
    }
}

/// A URL that others can be joined to.
fn slashed(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

fn http_url(value: &Value) -> Result<Url, String> {
    let url = Url::parse(&text(value)?).map_err(|e| format!("is not a URL: {e}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(format!("has the scheme {}; there are: http, https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password: use token_file or token_env".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold a query or a fragment".into());
    }
    Ok(slashed(url))
}

impl Reading {
    /// A section of `targets`. `name`: that of the target.
    pub(super) fn target(
        &mut self,
        table: &Table,
        path: &str,
        base: &Path,
        data: &Path,
        name: &str,
    ) -> TargetSettings {
        self.unknown(table, path, &reference::names("targets.<name>"));
        let mut is_http = false;
        self.value(table, path, "kind", &mut is_http, |value| match text(value)?.as_str() {
            "embedded" => Ok(false),
            "http" => Ok(true),
            other => Err(format!("is {other:?}; there are: \"embedded\", \"http\"")),
        });
        let (kind, foreign) = if is_http { ("http", EMBEDDED) } else { ("embedded", HTTP) };
        for key in foreign.iter().filter(|key| table.contains_key(**key)) {
            self.problem(&join(path, key), format!("is none of a target of the kind \"{kind}\""));
        }
        let mut target = if is_http {
            self.http(table, path, base, data)
        } else {
            self.embedded(table, path, base, data, name)
        };
        self.value(table, path, "deletion", &mut target.deletion, |value| match text(value)?.as_str() {
            "delete" => Ok(Deletion::Delete),
            "archive" => Ok(Deletion::Archive),
            _ => Err("must be \"delete\" or \"archive\"".into()),
        });
        target.maintenance = self.windows(table, path, "targets.<name>.maintenance");
        target
    }

    fn embedded(
        &mut self,
        table: &Table,
        path: &str,
        base: &Path,
        data: &Path,
        name: &str,
    ) -> TargetSettings {
        let mut target = TargetSettings::embedded(data);
        let TargetKind::Embedded(embedded) = &mut target.kind else { return target };
        if name != "catalogue" {
            embedded.path = data.join(format!("catalogue-{name}.redb"));
        }
        self.value(table, path, "path", &mut embedded.path, |value| values::path(value, base));
        self.value(table, path, "history", &mut embedded.history, |value| {
            u32::try_from(whole(value)?).map_err(|_| "is too large".into())
        });
        self.value(table, path, "cache_memory", &mut embedded.cache_memory, |value| match size(value)? {
            bytes if CACHE_MEMORY.contains(&bytes) => Ok(bytes),
            _ => Err("must be from 4MiB to 64GiB".into()),
        });
        self.value(table, path, "search_memory", &mut embedded.search_memory, |value| match size(value)? {
            bytes if SEARCH_MEMORY.contains(&bytes) => Ok(bytes),
            _ => Err("must be from 16MiB to 2GiB".into()),
        });
        target
    }

    /// Two targets can't have one file, nor can one have that of the store.
    pub(super) fn files_of_targets(&mut self, settings: &Settings) {
        // From the root, and without the `.` that a path may have in it.
        let plain = |path: &Path| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            path.components().collect::<PathBuf>()
        };
        let mut taken = BTreeMap::from([(plain(&settings.data.join("tidegate.redb")), None)]);
        for (name, target) in &settings.targets {
            let Some(path) = target.path().map(plain) else { continue };
            match taken.get(&path) {
                None => drop(taken.insert(path, Some(name))),
                Some(other) => {
                    let other = match other {
                        None => "Tidegate itself".to_owned(),
                        Some(other) => format!("the target {other}"),
                    };
                    let problem = format!("is the file of {other}; each has one of its own");
                    self.problem(&join(&join("targets", name.as_str()), "path"), problem);
                }
            }
        }
    }

    fn http(&mut self, table: &Table, path: &str, base: &Path, data: &Path) -> TargetSettings {
        let mut url = None;
        if !table.contains_key("url") {
            self.problem(&join(path, "url"), "is missing");
        }
        self.value(table, path, "url", &mut url, |value| http_url(value).map(Some));
        // Its problem is told; nothing is opened with it.
        let Some(url) = url else { return TargetSettings::embedded(data) };
        let mut http = HttpSettings::new(url);
        let within = |value: &Value, least: Duration, most: Duration, words: &str| match duration(value)? {
            time if (least..=most).contains(&time) => Ok(time),
            _ => Err(format!("must be {words}")),
        };
        self.value(table, path, "timeout", &mut http.timeout, |value| {
            within(value, Duration::from_millis(100), Duration::from_secs(600), "from 100ms to 10m")
        });
        self.value(table, path, "request_limit", &mut http.request_limit, |value| {
            within(value, Duration::ZERO, Duration::from_secs(24 * 3600), "at most 1d")
        });
        self.value(table, path, "max_changes", &mut http.max_changes, |value| match whole(value)? {
            n @ 1..=100_000 => Ok(n as usize),
            _ => Err("must be from 1 to 100000".into()),
        });
        self.value(table, path, "max_bytes", &mut http.max_bytes, |value| match size(value)? {
            n if ((64 << 10)..=(64 << 20)).contains(&n) => Ok(n as usize),
            _ => Err("must be from 64KiB to 64MiB".into()),
        });
        self.value(table, path, "token_file", &mut http.token, |value| {
            Ok(Some(Secret::File(values::path(value, base)?)))
        });
        self.value(table, path, "token_env", &mut http.token, |value| Ok(Some(Secret::Env(text(value)?))));
        if table.contains_key("token_file") && table.contains_key("token_env") {
            self.problem(&join(path, "token_env"), "stands beside `token_file`: leave one of them out");
        } else if let Some(Err(error)) = http.token.as_ref().map(Secret::token) {
            let name = if table.contains_key("token_env") { "token_env" } else { "token_file" };
            self.problem(&join(path, name), format!("can't be used: {}", error.message()));
        }
        TargetSettings::of(TargetKind::Http(http))
    }
}
