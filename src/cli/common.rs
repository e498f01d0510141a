//! What all commands share: opening things, printing, reporting errors.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use clap::ValueEnum;
use serde::Serialize;

use super::Global;
pub use super::render::table::table;
use crate::clock::{Clock, SystemClock};
use crate::config::{LoadOptions, LogFormat, Settings, parse_duration};
use crate::domain::ids::TargetName;
use crate::error::{Error, ErrorKind, Result};
use crate::publishing::crash::CrashPoints;
use crate::service::query::Order;

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
        // Where a log can't be written, that can't be said either: a disk that is
        // full of logs, or a reader that has gone, stops nothing else.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false);
    // A second call keeps what the first one set.
    let _ = match service {
        Some(LogFormat::Json) => log.json().flatten_event(true).try_init(),
        Some(LogFormat::Pretty) | None => log.try_init(),
    };
}

/// Tells a person something beside the results; what can't be told is not.
pub fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A word of a command, so that a shell takes it as it is.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:~+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// How Tidegate was called: what has to stand before another command for it to
/// find the same data.
pub fn command_of(global: &Global) -> String {
    let mut command = "tidegate".to_owned();
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            command.push_str(&format!(" {name} {}", quoted(&value)));
        }
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    option("--data", path(&global.data));
    option("--config", path(&global.config));
    // One with a password in it is nothing to print.
    option("--server", global.server.clone().filter(|server| !server.contains('@')));
    command
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

/// A use of the command line that can't be served.
pub fn usage(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, error.to_string())
}

/// The target that a command names.
pub fn target(name: Option<&String>) -> Result<Option<TargetName>> {
    name.map(TargetName::new).transpose().map_err(usage)
}

/// In which order a list is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OrderArg {
    Newest,
    Oldest,
}

impl From<OrderArg> for Order {
    fn from(order: OrderArg) -> Self {
        match order {
            OrderArg::Newest => Self::Newest,
            OrderArg::Oldest => Self::Oldest,
        }
    }
}

/// Why something is done, by the rules of the API.
pub fn parse_reason(text: &str) -> Result<String, String> {
    crate::domain::reason::reason(text).map_err(str::to_owned)
}

/// A time: RFC 3339, or a duration ago.
pub fn parse_time(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = parse_duration(text)
        .map_err(|_| "must be a time with an offset, or a duration ago such as 90m, 2h or 7d".to_owned())?;
    let ago = jiff::SignedDuration::try_from(ago).unwrap_or(jiff::SignedDuration::MAX);
    Ok(clock().now().checked_sub(ago).unwrap_or(jiff::Timestamp::MIN))
}

/// A time: RFC 3339, or a duration from now.
pub fn parse_time_ahead(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ahead = parse_duration(text).map_err(|_| {
        "must be a time with an offset, or a duration from now such as 90m, 2h or 7d".to_owned()
    })?;
    let ahead = jiff::SignedDuration::try_from(ahead).unwrap_or(jiff::SignedDuration::MAX);
    Ok(clock().now().checked_add(ahead).unwrap_or(jiff::Timestamp::MAX))
}

/// Asks a person, once, before something that can't be taken back.
///
/// # Errors
/// [`ErrorKind::Usage`] when there is nobody to ask, and no `--yes`.
pub fn confirmed(global: &Global, question: &str) -> Result<bool> {
    if global.yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(usage(format!("{question} There is nobody to ask: give --yes to go on")));
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{} [y/N] ", super::render::safe(question));
    let _ = stderr.flush();
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|e| Error::new(ErrorKind::Io, "standard input").caused_by(e))?;
    let yes = ["y", "yes"].contains(&answer.trim().to_lowercase().as_str());
    if !yes {
        let _ = writeln!(stderr, "Nothing was done.");
    }
    Ok(yes)
}

/// The line under a list that goes on.
pub fn more(cursor: Option<&str>) -> String {
    cursor.map_or_else(String::new, |cursor| format!("There are more: --cursor {cursor}\n"))
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

/// A file for a while: it is gone when it is closed.
pub fn scratch_file() -> Result<std::fs::File> {
    let path = std::env::temp_dir().join(format!("tidegate-{:016x}", clock().random()));
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(|e| Error::io(&path, e))?;
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
    Ok(file)
}

/// Whether the reader of standard output has gone.
static GONE: AtomicBool = AtomicBool::new(false);
/// Whether that ends the command.
static ENDS_UNREAD: AtomicBool = AtomicBool::new(false);

/// Has the command end when the reader of its output has gone: it prints what
/// happens or all that there is, and nobody wants to know how it ends.
pub fn end_unread() {
    ENDS_UNREAD.store(true, Relaxed);
}

/// Standard output. Where its reader has gone the rest goes nowhere, so that
/// the command does what it was asked for and ends with its own exit code.
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if GONE.load(Relaxed) {
            return Ok(bytes.len());
        }
        or_unread(io::stdout().lock().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if GONE.load(Relaxed) {
            return Ok(());
        }
        or_unread(io::stdout().lock().flush(), ())
    }
}

/// A reader that has gone is remembered and no error, unless it ends the command.
fn or_unread<T>(written: io::Result<T>, instead: T) -> io::Result<T> {
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe && !ENDS_UNREAD.load(Relaxed) => {
            GONE.store(true, Relaxed);
            Ok(instead)
        }
        other => other,
    }
}

/// Writes to standard output.
pub fn out(text: impl AsRef<str>) -> Result<()> {
    out_bytes(text.as_ref().as_bytes())
}

/// Writes bytes to standard output, as they are.
pub fn out_bytes(bytes: &[u8]) -> Result<()> {
    // What two threads print does not mix.
    let _one = io::stdout().lock();
    Stdout.write_all(bytes).and_then(|()| Stdout.flush()).map_err(write_error)
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

/// Whether the reader of our output went away, which is no error of ours. A
/// server that did is one.
pub fn is_closed_pipe(error: &Error) -> bool {
    if error.kind() != ErrorKind::Io {
        return false;
    }
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
    let mut stderr = std::io::stderr().lock();
    let _ = if global.json {
        let value = serde_json::json!({
            "error_code": error.code(),
            "error_message": error.message(),
            "causes": error.causes(),
            "meaning": error.meaning(),
            "action": error.action(),
        });
        writeln!(stderr, "{value}")
    } else {
        // Of the settings everything that is wrong is told, each in its line.
        let text = match error.kind() {
            ErrorKind::Settings => super::render::safe_lines(&error.to_string()),
            _ => super::render::safe(&error.to_string()),
        };
        let action = super::render::safe(error.action());
        writeln!(stderr, "error: {text}\n  {} {action}\n  ({})", error.meaning(), error.code())
    };
}
