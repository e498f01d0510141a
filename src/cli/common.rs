//! What all commands share: opening things, printing, reporting errors.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::Global;
use super::progress::Bars;
use crate::clock::{Clock, SystemClock};
use crate::config::{LoadOptions, LogFormat, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::publishing::crash::CrashPoints;
use crate::service::Engine;

/// Sets up logs on standard error: warnings, of a service (which has a format
/// for them) also what it does, or what `-q`, `-v` and `TIDEGATE_LOG` say.
pub fn logging(global: &Global, service: Option<LogFormat>) {
    let level = match (global.quiet, global.verbose + u8::from(service.is_some())) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIDEGATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("tidegate={level}")));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false);
    // A second call keeps what the first one set.
    let _ = match service {
        Some(LogFormat::Json) => log.json().flatten_event(true).try_init(),
        Some(LogFormat::Pretty) | None => log.try_init(),
    };
}

/// The environment's settings variables.
pub fn load_options(global: &Global) -> LoadOptions {
    let mut environment: std::collections::BTreeMap<String, String> =
        std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")).collect();
    if global.no_fast_path {
        environment.insert("TIDEGATE_PLANNING__FAST_PATH".into(), "false".into());
    }
    LoadOptions { data: global.data.clone(), file: global.config.clone(), environment }
}

/// The settings in force.
pub fn settings(global: &Global) -> Result<Settings> {
    Settings::load(&load_options(global))
}

/// Where a test may kill the process, from the environment.
pub fn crash_points() -> Result<Arc<CrashPoints>> {
    let after = std::env::var("TIDEGATE_CRASH_AFTER").ok();
    let report = std::env::var_os("TIDEGATE_CRASH_COUNT").map(PathBuf::from);
    CrashPoints::new(after.as_deref(), report).map(Arc::new)
}

/// Opens the data directory for a command that works on it, and runs it.
pub fn with_engine<T>(global: &Global, work: impl FnOnce(&Engine) -> Result<T>) -> Result<T> {
    let settings = settings(global)?;
    let crash = crash_points()?;
    let data = settings.data.clone();
    let engine = Engine::open_with(&data, settings, clock(), Arc::clone(&crash))?;
    let engine = if global.quiet || !std::io::stderr().is_terminal() {
        engine
    } else {
        engine.with_progress(Box::new(Bars::new()))
    };
    let result = work(&engine);
    drop(engine);
    crash.report()?;
    result
}

/// The operating system's clock.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

/// Who runs the command, for timelines.
pub fn actor() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let plain: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    if plain.is_empty() { "operator".into() } else { plain }
}

/// Writes to standard output.
pub fn out(text: impl AsRef<str>) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_ref().as_bytes()).and_then(|()| stdout.flush()).map_err(write_error)
}

/// Writes a value as JSON.
pub fn out_json<T: Serialize>(value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::internal("JSON").caused_by(e))?;
    text.push('\n');
    out(text)
}

/// A failure to write a result.
pub fn write_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "standard output").caused_by(error)
}

/// Whether the reader of our output went away, which is no error of ours.
pub fn is_closed_pipe(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
        {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Whether results may be coloured.
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Tells an error on standard error: what happened, what it means, what to do.
pub fn report(global: &Global, error: &Error) {
    let info = error.kind().info();
    let mut stderr = std::io::stderr().lock();
    let _ = if global.json {
        let value = serde_json::json!({
            "error_code": info.code,
            "error_message": error.message(),
            "causes": error.causes(),
            "meaning": info.meaning,
            "action": info.action,
        });
        writeln!(stderr, "{value}")
    } else {
        let text = super::render::safe(&error.to_string());
        writeln!(stderr, "error: {text}\n  {} {}\n  ({})", info.meaning, info.action, info.code)
    };
}

/// A table with aligned columns.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let safe: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| super::render::safe(cell)).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|name| name.chars().count()).collect();
    for row in &safe {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: Vec<&str>| {
        let last = cells.len().saturating_sub(1);
        for (n, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if n < last {
                text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
            }
        }
        text.push('\n');
    };
    line(head.to_vec());
    for row in &safe {
        line(row.iter().map(String::as_str).collect());
    }
    text
}
