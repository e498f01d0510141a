//! `config show`: the settings in force, each value with where it came from.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Secret, SettingLine, Settings, TargetKind, TargetSettings, UnknownSources};
use crate::domain::glob::Glob;
use crate::domain::ids::SourceId;
use crate::domain::maintenance::Window;
use crate::domain::scope::Scope;
use crate::domain::settings::{OnFailure, SourceSettings};
use crate::intake::inbox::Complete;

/// The settings as a file.
pub fn to_toml(settings: &Settings) -> String {
    write(settings).text
}

/// Every value, with its key and where it came from.
pub fn lines(settings: &Settings) -> Vec<SettingLine> {
    write(settings).lines
}

/// Every key with its value, as the file has it.
pub fn values(settings: &Settings) -> BTreeMap<String, String> {
    write(settings).lines.into_iter().map(|line| (line.key, line.value)).collect()
}

fn write(settings: &Settings) -> Out<'_> {
    let mut out = Out { text: String::new(), lines: Vec::new(), settings };
    out.section("server");
    out.value("server.listen", quoted(&settings.server.listen.to_string()));
    out.value("server.allowed_hosts", list(&settings.server.allowed_hosts));
    out.value("server.max_upload", settings.server.max_upload.to_string());
    out.value("server.plan_ttl", duration(settings.server.plan_ttl));
    if let Some(url) = &settings.server.public_url {
        out.value("server.public_url", quoted(url.as_str()));
    }
    out.value("server.log_format", quoted(settings.server.log_format.as_str()));
    out.section("state");
    out.value("state.url", path(&settings.state));
    out.value("state.pin", settings.pin.to_string());
    out.section("service");
    out.value("service.workers", settings.service.workers.to_string());
    let unknown = match settings.service.unknown_sources {
        UnknownSources::Accept => "accept",
        UnknownSources::Hold => "hold",
    };
    out.value("service.unknown_sources", quoted(unknown));
    out.value("service.min_free", settings.service.min_free.to_string());
    for (n, inbox) in settings.inboxes.iter().enumerate() {
        out.text.push_str("\n[[inbox]]\n");
        out.value(&format!("inbox[{n}].url"), quoted(inbox.url.as_str()));
        out.value(&format!("inbox[{n}].poll"), duration(inbox.poll));
        out.value(&format!("inbox[{n}].rescan"), duration(inbox.rescan));
        let complete = match &inbox.complete {
            Complete::Manifest => "manifest".to_owned(),
            Complete::Marker(name) => format!("marker:{name}"),
            Complete::Quiet(time) => format!("quiet:{}", duration(*time).trim_matches('"')),
        };
        out.value(&format!("inbox[{n}].complete"), quoted(&complete));
    }
    for (n, webhook) in settings.webhooks.iter().enumerate() {
        out.text.push_str("\n[[webhook]]\n");
        out.value(&format!("webhook[{n}].url"), quoted(webhook.url.as_str()));
        let events: Vec<String> = webhook.events.iter().map(ToString::to_string).collect();
        out.value(&format!("webhook[{n}].events"), list(&events));
        out.value(&format!("webhook[{n}].timeout"), duration(webhook.timeout));
        out.value(&format!("webhook[{n}].give_up"), duration(webhook.give_up));
        match &webhook.secret {
            Some(Secret::File(file)) => out.value(&format!("webhook[{n}].secret_file"), path(file)),
            Some(Secret::Env(name)) => out.value(&format!("webhook[{n}].secret_env"), quoted(name)),
            None => {}
        }
    }
    for (id, source) in &settings.sources {
        out.source(id.as_str(), source);
    }
    for (name, target) in &settings.targets {
        out.target(name.as_str(), target);
    }
    out.section("priority");
    out.value("priority.age_weight", number(settings.priority.age));
    out.value("priority.importance_weight", number(settings.priority.importance));
    out.value("priority.simplicity_weight", number(settings.priority.simplicity));
    out.value("priority.half_life", duration(Duration::from_secs_f64(settings.priority.half_life_seconds)));
    out.section("limits");
    out.value("limits.max_line", settings.limits.max_line.to_string());
    out.value("limits.max_expansion", settings.limits.max_expansion.to_string());
    out.value("limits.max_file", settings.limits.max_file.to_string());
    out.value("limits.max_future", duration(settings.max_future));
    out.section("planning");
    out.value("planning.fast_path", settings.planning.fast_path.to_string());
    out.value("planning.threads", settings.planning.threads.to_string());
    out.value("planning.sort_memory", settings.planning.sort_memory.to_string());
    out.value("planning.index_memory", settings.planning.index_memory.to_string());
    out.value("planning.dictionaries", settings.planning.dictionaries.to_string());
    out.value("planning.max_layers", settings.planning.max_layers.to_string());
    out.value("planning.smallest_base", settings.planning.smallest_base.to_string());
    if let Some(max) = settings.max_changes {
        out.section("publishing");
        out.value("publishing.max_changes", max.to_string());
    }
    out.section("retry");
    let retry = &settings.retry;
    out.value("retry.quick_tries", retry.quick_tries.to_string());
    out.value("retry.quick_window", duration(retry.quick_window));
    out.value("retry.first_wait", duration(retry.first_wait));
    out.value("retry.longest_wait", duration(retry.longest_wait));
    out.value("retry.attempts", retry.attempts.to_string());
    out.value("retry.give_up_after", duration(retry.give_up_after));
    out.value("retry.longest_probe", duration(retry.longest_probe));
    out.section("alerts");
    out.value("alerts.target_down_after", duration(settings.alerts.target_down_after));
    out.section("retention");
    out.value("retention.snapshots", settings.retention.snapshots.to_string());
    out.value("retention.grace", duration(settings.retention.grace));
    out.value("retention.dead_letters", duration(settings.retention.dead_letters));
    if let Some(after) = settings.retention.open_dead_letters {
        out.value("retention.open_dead_letters", duration(after));
    }
    out.value("retention.batches", duration(settings.retention.batches));
    out
}

/// The settings of a source, each value with where it came from.
pub fn source_lines(settings: &Settings, id: &SourceId) -> Vec<SettingLine> {
    let mut out = Out { text: String::new(), lines: Vec::new(), settings };
    out.source(id.as_str(), &settings.source(id));
    out.lines
}

struct Out<'a> {
    text: String,
    lines: Vec<SettingLine>,
    settings: &'a Settings,
}

impl Out<'_> {
    fn section(&mut self, name: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "{gap}[{name}]");
    }

    fn value(&mut self, key: &str, value: String) {
        let name = key.rsplit('.').next().unwrap_or(key);
        let origin = self.settings.origins.get(key).filter(|origin| !origin.is_empty());
        let origin = origin.map_or("default", String::as_str);
        let _ = writeln!(self.text, "{name} = {value}  # {origin}");
        self.lines.push(SettingLine { key: key.to_owned(), value, origin: origin.to_owned() });
    }

    fn source(&mut self, id: &str, source: &SourceSettings) {
        let path = format!("sources.{id}");
        // A dot in an id is none of TOML's.
        let section = if id.contains('.') { format!("sources.{}", quoted(id)) } else { path.clone() };
        self.section(&section);
        let globs = |list: &[Glob]| list.iter().map(|g| g.as_str().to_owned()).collect::<Vec<_>>();
        self.value(&format!("{path}.target"), quoted(source.target.as_str()));
        self.value(&format!("{path}.importance"), source.importance.to_string());
        self.value(&format!("{path}.precedence"), source.precedence.to_string());
        self.value(&format!("{path}.volatile"), list(&source.volatile));
        self.value(&format!("{path}.unordered"), list(&source.unordered));
        self.value(&format!("{path}.containment"), list(&globs(&source.containment)));
        self.value(
            &format!("{path}.max_lateness"),
            duration(Duration::from_secs(source.max_lateness_seconds)),
        );
        if let Some(on_failure) = source.on_failure {
            let text = match on_failure {
                OnFailure::Continue => "continue",
                OnFailure::Hold => "hold",
            };
            self.value(&format!("{path}.on_failure"), quoted(text));
        }
        if let Some(mode) = source.mode {
            self.value(&format!("{path}.mode"), quoted(mode.as_str()));
        }
        if source.scope != Scope::default() {
            let scope = format!("{path}.scope");
            self.section(&format!("{section}.scope"));
            self.value(&format!("{scope}.types"), list(&globs(&source.scope.types)));
            self.value(&format!("{scope}.names"), list(&globs(&source.scope.names)));
            self.value(&format!("{scope}.except"), list(&globs(&source.scope.except)));
        }
        let guards = format!("{path}.guards");
        self.section(&format!("{section}.guards"));
        let limits = &source.guards;
        for (name, value) in [
            ("delete_ratio", number(limits.delete_ratio)),
            ("delete_min", limits.delete_min.to_string()),
            ("delete_max", limits.delete_max.to_string()),
            ("container_contents", limits.container_contents.to_string()),
            ("empty_full", limits.empty_full.to_string()),
            ("full_count_ratio", number(limits.full_count_ratio)),
            ("update_ratio", number(limits.update_ratio)),
            ("update_min", limits.update_min.to_string()),
            ("other_workflow", limits.other_workflow.to_string()),
        ] {
            self.value(&format!("{guards}.{name}"), value);
        }
        let isolation = format!("{path}.isolation");
        self.section(&format!("{section}.isolation"));
        self.value(&format!("{isolation}.count"), source.isolation.count.to_string());
        self.value(&format!("{isolation}.ratio"), number(source.isolation.ratio));
        self.value(&format!("{isolation}.requests"), source.isolation.requests.to_string());
        self.windows(&section, &path, &source.maintenance);
    }

    fn target(&mut self, name: &str, target: &TargetSettings) {
        let section = format!("targets.{name}");
        self.section(&section);
        let mut set = |key: &str, value: String| self.value(&format!("{section}.{key}"), value);
        set("kind", quoted(target.kind.as_str()));
        set("deletion", quoted(target.deletion.as_str()));
        match &target.kind {
            TargetKind::Embedded(embedded) => {
                set("path", path(&embedded.path));
                set("history", embedded.history.to_string());
                set("cache_memory", embedded.cache_memory.to_string());
                set("search_memory", embedded.search_memory.to_string());
            }
            TargetKind::Http(http) => {
                set("url", quoted(http.url.as_str()));
                match &http.token {
                    Some(Secret::File(file)) => set("token_file", path(file)),
                    Some(Secret::Env(name)) => set("token_env", quoted(name)),
                    None => {}
                }
                set("timeout", duration(http.timeout));
                set("request_limit", duration(http.request_limit));
                set("max_changes", http.max_changes.to_string());
                set("max_bytes", http.max_bytes.to_string());
            }
        }
        self.windows(&section, &section, &target.maintenance);
    }

    fn windows(&mut self, section: &str, path: &str, windows: &[Window]) {
        for (n, window) in windows.iter().enumerate() {
            // Writing to a string can't fail.
            let _ = writeln!(self.text, "\n[[{section}.maintenance]]");
            let path = format!("{path}.maintenance[{n}]");
            self.value(&format!("{path}.cron"), quoted(&window.cron));
            self.value(&format!("{path}.duration"), duration(window.duration));
            self.value(&format!("{path}.time_zone"), quoted(&window.time_zone));
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A path as a settings file may have it wherever it lies: there it would be
/// relative to the file's folder, here it is to where the command runs.
fn path(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // Some come with a slash at the end, which is no other folder.
    let whole: PathBuf = whole.components().collect();
    quoted(&whole.display().to_string())
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

fn number(value: f64) -> String {
    toml::Value::Float(value).to_string()
}

fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let text = match millis {
        0 => "0s".to_owned(),
        m if m % 86_400_000 == 0 => format!("{}d", m / 86_400_000),
        m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1_000 == 0 => format!("{}s", m / 1_000),
        m => format!("{m}ms"),
    };
    quoted(&text)
}
