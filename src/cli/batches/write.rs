//! `tidegate batches write`: a batch folder of lines on standard input.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::super::Global;
use super::super::common::{clock, out, out_json, report, settings, usage};
use crate::domain::glob::Glob;
use crate::domain::ids::{RunId, SourceId};
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::Compression;
use crate::intake::{folder, manifest, write};

/// What `batches write` is told.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// The source that the metadata comes from
    #[arg(long)]
    source: String,
    /// The run; with the time it names the folder
    #[arg(long)]
    run: String,
    /// Folder that gets <source>/<time>_<run>/
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,
    /// What the batch asserts
    #[arg(long, value_enum)]
    mode: ModeArg,
    /// When the data was extracted (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME")]
    source_timestamp: Option<String>,
    /// The workflow that made it
    #[arg(long, default_value = "")]
    workflow: String,
    /// Globs of types that a full batch speaks for
    #[arg(long = "scope-type", value_name = "GLOB")]
    types: Vec<String>,
    /// Globs of names that a full batch speaks for
    #[arg(long = "scope-name", value_name = "GLOB")]
    names: Vec<String>,
    /// Globs of names that it does not speak for
    #[arg(long = "scope-except", value_name = "GLOB")]
    except: Vec<String>,
    /// How much work it is, from 1 to 10 [default: estimated]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=10))]
    complexity: Option<u8>,
    /// How files are packed
    #[arg(long, value_enum, default_value = "zst")]
    compress: CompressArg,
    /// Lines of a file
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    lines: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeArg {
    Full,
    Incremental,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CompressArg {
    None,
    Zst,
    Gz,
}

/// Runs the command.
pub fn run(global: &Global, args: &WriteArgs) -> Result<u8> {
    let now = clock().now();
    let scope = Scope::default();
    let globs = |list: &[String], default: Vec<Glob>| {
        if list.is_empty() { default } else { list.iter().map(Glob::new).collect() }
    };
    if matches!(args.mode, ModeArg::Incremental)
        && [&args.types, &args.names, &args.except].iter().any(|globs| !globs.is_empty())
    {
        return Err(usage(
            "--scope-… is about a full batch: an incremental one speaks for the keys that it names",
        ));
    }
    let options = write::WriteOptions {
        source_id: SourceId::new(&args.source).map_err(usage)?,
        run_id: RunId::new(&args.run).map_err(usage)?,
        workflow: args.workflow.clone(),
        mode: match args.mode {
            ModeArg::Full => Mode::Full,
            ModeArg::Incremental => Mode::Incremental,
        },
        source_timestamp: match &args.source_timestamp {
            Some(text) => manifest::timestamp(text)
                .map_err(|problem| usage(format!("--source-timestamp {text} {problem}")))?,
            None => now,
        },
        processing_timestamp: now,
        scope: Scope {
            types: globs(&args.types, scope.types),
            names: globs(&args.names, scope.names),
            except: globs(&args.except, scope.except),
        },
        complexity: args.complexity,
        compression: match args.compress {
            CompressArg::None => Compression::None,
            CompressArg::Zst => Compression::Zstd,
            CompressArg::Gz => Compression::Gzip,
        },
        lines_per_file: args.lines,
    };
    let settings = settings(global)?;
    let limits = settings.limits;
    if let Some(problem) = folder::ahead(options.source_timestamp, now, settings.max_future) {
        return Err(usage(format!("--source-timestamp {problem}: the batch would fail")));
    }
    let place = write::Place::new(&options, &args.out);
    clear_when_stopped(place.clone())?;
    let written = match write::write_batch(&options, &limits, &mut std::io::stdin().lock(), &place) {
        Err(error) if error.kind() == ErrorKind::LineInvalid => {
            // Nothing is published, so this is none of the codes of a batch.
            let action = "Nothing was written. Mend these lines, and run the command again.";
            report(global, &error.with_action(action));
            return Ok(1);
        }
        written => written?,
    };
    if global.json {
        out_json(&serde_json::json!({ "folder": written }))?;
    } else {
        out(format!("{}\n", written.display()))?;
    }
    Ok(0)
}

/// Removes what is not whole when the process is stopped, and lets it end then as
/// it would have without this. A signal that it was started to ignore, by `nohup`
/// for one, stays ignored.
fn clear_when_stopped(place: write::Place) -> Result<()> {
    let failed = |e| Error::internal("signals can't be listened to").caused_by(e);
    let ignored = ignored();
    let stopping = [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(stopping).map_err(failed)?;
    let clear = move || {
        for signal in signals.forever() {
            place.clear();
            let _ = emulate_default_handler(signal);
        }
    };
    std::thread::Builder::new().name("stop".into()).spawn(clear).map(drop).map_err(failed)
}

/// The signals that this process ignores, the first in the lowest bit: `SigIgn` of
/// proc_pid_status(5). None where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
