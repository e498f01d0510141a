//! Settings: `tidegate.toml`, the environment, or none at all.
//!
//! Every key has a default. Unknown keys are refused with the nearest right
//! name, and all problems are told at once.

mod alerts;
mod changes;
mod maintenance;
mod places;
mod read;
pub mod reference;
mod retry;
mod show;
mod target;
mod values;
mod webhook;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use url::Url;

pub use alerts::AlertSettings;
pub use target::{EmbeddedSettings, HttpSettings, TargetKind, TargetSettings};
pub use values::parse_duration;
pub use webhook::{Secret, WebhookSettings};

use crate::domain::ids::{SourceId, TargetName};
use crate::domain::maintenance as windows;
use crate::domain::priority::PriorityWeights;
use crate::domain::retry::RetrySettings;
use crate::domain::settings::{SourceSettings, default_target};
use crate::error::{Error, ErrorKind, Result};
use crate::intake::inbox::{Complete, InboxSettings};
use crate::intake::reader::ReadLimits;

pub use changes::{Change, Reload};

/// How plans are made and executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanningSettings {
    /// Whether lines equal to what is published are taken without being parsed.
    pub fast_path: bool,
    /// Threads that read a batch; 0: as many as there are cores, up to 4.
    pub threads: usize,
    /// Bytes that sorting may hold.
    pub sort_memory: u64,
    /// Bytes of the index that may be kept.
    pub index_memory: u64,
    /// Whether packs get dictionaries.
    pub dictionaries: bool,
    /// Layers of changes above a snapshot's base before they become one.
    pub max_layers: usize,
    /// Entries that a base of fewer counts as, when it is decided whether those
    /// above it outgrew it.
    pub smallest_base: u64,
}

/// What becomes of a source that the settings do not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownSources {
    /// It is published with the settings that are there without any.
    Accept,
    /// Its first batch waits until the settings name it, or a person resumes it.
    Hold,
}

/// How the service works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Batches of different sources that are worked on at once.
    pub workers: usize,
    /// What becomes of a source that the settings do not name.
    pub unknown_sources: UnknownSources,
    /// Bytes that have to be free on every disk for batches to be accepted and
    /// begun; 0: it is not looked at.
    pub min_free: u64,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Snapshots kept per source, the current one included.
    pub snapshots: usize,
    /// Files that nothing refers to are collected when they are older.
    pub grace: Duration,
    /// Dead letters that are settled are forgotten after so long.
    pub dead_letters: Duration,
    /// Dead letters that nobody decided about expire after so long; `None`: never.
    pub open_dead_letters: Option<Duration>,
    /// Batches that ended are forgotten after so long.
    pub batches: Duration,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    /// `pretty` or `json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        }
    }
}

/// How the server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// A loopback address; port 0: any that is free.
    pub listen: SocketAddr,
    /// Hosts that requests may name besides loopback names.
    pub allowed_hosts: Vec<String>,
    /// Largest batch that may be sent to be planned, in bytes of its archive.
    pub max_upload: u64,
    /// How long the plan of such a batch is kept.
    pub plan_ttl: Duration,
    /// How `serve` writes its log.
    pub log_format: LogFormat,
    /// Where people reach the pages, for links in messages; `None`: where the server answers.
    pub public_url: Option<Url>,
}

impl ServerSettings {
    /// Where people reach the pages, without a slash at the end. `bound`: where
    /// the server answers, for `listen` may leave the port open.
    pub fn address(&self, bound: Option<&SocketAddr>) -> String {
        match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", bound.unwrap_or(&self.listen)),
        }
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8484)),
            allowed_hosts: Vec::new(),
            max_upload: 256 << 20,
            plan_ttl: Duration::from_secs(3600),
            log_format: LogFormat::Pretty,
            public_url: None,
        }
    }
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Data directory.
    pub data: PathBuf,
    /// Folder of plans and snapshots.
    pub state: PathBuf,
    /// Whether the files of batches that wait are copied there.
    pub pin: bool,
    /// How the service works.
    pub service: ServiceSettings,
    /// How the server answers.
    pub server: ServerSettings,
    /// Where batches are delivered.
    pub inboxes: Vec<InboxSettings>,
    /// Settings of sources by id; others have the defaults.
    pub sources: BTreeMap<SourceId, SourceSettings>,
    /// Targets by name.
    pub targets: BTreeMap<TargetName, TargetSettings>,
    /// Weights of the score across sources.
    pub priority: PriorityWeights,
    /// Limits of reading.
    pub limits: ReadLimits,
    /// How far ahead of the clock a source timestamp may lie.
    pub max_future: Duration,
    /// How plans are made.
    pub planning: PlanningSettings,
    /// Most changes of an operation; `None`: what the target takes.
    pub max_changes: Option<usize>,
    /// When what failed is tried again.
    pub retry: RetrySettings,
    /// From when on somebody is told.
    pub alerts: AlertSettings,
    /// How long things are kept.
    pub retention: RetentionSettings,
    /// Who is told of what happens.
    pub webhooks: Vec<WebhookSettings>,
    /// Where each value that is not a default came from, by key.
    pub origins: BTreeMap<String, String>,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingLine {
    /// Its key, such as `sources.warehouse.importance`.
    pub key: String,
    /// Its value, as a settings file has it.
    pub value: String,
    /// A file and line, a variable, or `default`.
    pub origin: String,
}

/// Where settings are looked for.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Data directory of the command line.
    pub data: Option<PathBuf>,
    /// File of the command line.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
}

impl LoadOptions {
    /// The data directory: no settings file says where it is.
    pub fn data(&self) -> PathBuf {
        let variable = self.environment.get("TIDEGATE_DATA").filter(|value| !value.is_empty());
        self.data.clone().or_else(|| variable.map(PathBuf::from)).unwrap_or_else(|| "data".into())
    }

    /// The settings file: one that is named, or that of the data directory if
    /// it is there. One that can't be looked at is there too, so that whoever
    /// reads it tells why it can't be read.
    pub fn settings_file(&self) -> Option<PathBuf> {
        let variable = self.environment.get("TIDEGATE_CONFIG").filter(|value| !value.is_empty());
        let named = self.file.clone().or_else(|| variable.map(PathBuf::from));
        let is_away = |path: &PathBuf| matches!(path.try_exists(), Ok(false));
        named.or_else(|| Some(self.data().join("tidegate.toml")).filter(|path| !is_away(path)))
    }
}

impl Settings {
    /// The settings that are there without any: everything below `data`.
    pub fn defaults(data: &Path) -> Self {
        let absolute = std::path::absolute(data).unwrap_or_else(|_| data.into());
        let inbox = Url::from_directory_path(absolute.join("inbox"));
        Self {
            data: data.into(),
            state: data.join("state"),
            pin: true,
            service: ServiceSettings {
                workers: 2,
                unknown_sources: UnknownSources::Accept,
                min_free: 256 << 20,
            },
            server: ServerSettings::default(),
            inboxes: inbox
                .map(|url| {
                    vec![InboxSettings {
                        url,
                        poll: Duration::from_secs(2),
                        rescan: Duration::from_secs(60),
                        complete: Complete::Manifest,
                    }]
                })
                .unwrap_or_default(),
            sources: BTreeMap::new(),
            targets: [(default_target(), TargetSettings::embedded(data))].into(),
            priority: PriorityWeights::default(),
            limits: ReadLimits::default(),
            max_future: Duration::from_secs(crate::limits::MAX_FUTURE_SECONDS),
            planning: PlanningSettings {
                fast_path: true,
                threads: 0,
                sort_memory: 96 << 20,
                index_memory: 112 << 20,
                dictionaries: true,
                max_layers: 6,
                smallest_base: 4096,
            },
            max_changes: None,
            retry: RetrySettings::default(),
            alerts: AlertSettings::default(),
            retention: RetentionSettings {
                snapshots: 30,
                grace: Duration::from_secs(3600),
                dead_letters: Duration::from_secs(90 * 24 * 3600),
                open_dead_letters: None,
                batches: Duration::from_secs(730 * 24 * 3600),
            },
            webhooks: Vec::new(),
            origins: BTreeMap::new(),
        }
    }

    /// Reads the settings: the file that is given or found, then the
    /// environment.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] with everything that is wrong.
    pub fn load(options: &LoadOptions) -> Result<Self> {
        let (settings, problems) = read::load(options)?;
        if problems.is_empty() {
            return Ok(settings);
        }
        Err(Error::new(ErrorKind::Settings, problems.join("\n")))
    }

    /// Reads the settings and tells everything that is wrong with them, each
    /// in a line. Settings with problems are not to be used.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when the file can't be read.
    pub fn read(options: &LoadOptions) -> Result<(Self, Vec<String>)> {
        read::load(options)
    }

    /// The settings of a source.
    pub fn source(&self, id: &SourceId) -> SourceSettings {
        let mut settings = self.sources.get(id).cloned().unwrap_or_default();
        settings.max_future_seconds = self.max_future.as_secs();
        settings
    }

    /// When the maintenance window of a target or a source ends that is open.
    pub fn window_open(&self, target: &TargetName, source: &SourceId, now: Timestamp) -> Option<Timestamp> {
        let of_target = self.targets.get(target).map(|target| target.maintenance.as_slice());
        let of_source = self.sources.get(source).map(|source| source.maintenance.as_slice());
        let lists = of_target.into_iter().chain(of_source);
        lists.filter_map(|list| windows::open_until(list, now)).max()
    }

    /// The settings of a source in force, each value with where it came from.
    pub fn source_lines(&self, id: &SourceId) -> Vec<SettingLine> {
        show::source_lines(self, id)
    }

    /// Every value in force, with where it came from.
    pub fn lines(&self) -> Vec<SettingLine> {
        show::lines(self)
    }

    /// The settings as a file, each value with where it came from.
    pub fn to_toml(&self) -> String {
        show::to_toml(self)
    }
}
