//! `tidegate batches`: what was accepted, and what became of it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Global;
use super::common::{actor, out, out_json, table, with_engine};
use super::{publish, render};
use crate::domain::ids::{BatchId, RunId, SourceId};
use crate::domain::plan::PlanDigest;
use crate::domain::settings::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::Compression;
use crate::intake::{check, write};
use crate::service::query::plan_json;
use crate::store::BatchFilter;

/// Looks at batches, and decides on parked ones.
#[derive(Debug, Subcommand)]
pub enum BatchesCommand {
    /// List them, newest first within a source
    List {
        /// Of this source
        #[arg(long)]
        source: Option<String>,
        /// In this status
        #[arg(long)]
        status: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one with its timeline and its plan
    Show {
        /// Its id
        id: String,
        /// Leave the plan's changes out
        #[arg(long)]
        summary: bool,
        /// Show long text in full
        #[arg(long)]
        full: bool,
    },
    /// Check a folder against the whole contract; touches no state
    Check {
        /// The batch folder
        folder: PathBuf,
    },
    /// Make a batch folder of NDJSON on standard input
    Write(WriteArgs),
    /// Approve what a guard parked, and publish it
    Approve {
        /// The batch
        id: String,
        /// Only if the plan has this digest
        #[arg(long)]
        digest: Option<String>,
        /// Why
        #[arg(long, default_value = "approved on the command line")]
        reason: String,
    },
    /// Reject what a guard parked
    Reject {
        /// The batch
        id: String,
        /// Why
        #[arg(long, default_value = "rejected on the command line")]
        reason: String,
    },
}

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
    /// How files are packed
    #[arg(long, value_enum, default_value = "zst")]
    compress: CompressArg,
    /// Lines of a file
    #[arg(long, default_value_t = 100_000)]
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

fn usage(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, error.to_string())
}

fn batch_id(text: &str) -> Result<BatchId> {
    text.parse().map_err(usage)
}

/// Runs the command.
pub fn run(global: &Global, command: &BatchesCommand) -> Result<u8> {
    match command {
        BatchesCommand::List { source, status, limit } => {
            list(global, source.as_ref(), status.as_ref(), *limit)
        }
        BatchesCommand::Show { id, summary, full } => show(global, &batch_id(id)?, *summary, *full),
        BatchesCommand::Check { folder } => {
            let settings = super::common::settings(global)?;
            let report = check::check(folder, &settings.limits)?;
            if global.json {
                out_json(&report)?;
            } else {
                out(render::safe_lines(&report.to_string()))?;
            }
            Ok(u8::from(report.errors > 0))
        }
        BatchesCommand::Write(args) => write_batch(global, args),
        BatchesCommand::Approve { id, digest, reason } => {
            let (id, digest) =
                (batch_id(id)?, digest.as_deref().map(str::parse::<PlanDigest>).transpose().map_err(usage)?);
            with_engine(global, |engine| {
                engine.approve(&id, digest, &actor(), reason)?;
                let record = engine.run_batch(&id)?;
                publish::print(global, engine, &record)
            })
        }
        BatchesCommand::Reject { id, reason } => {
            let id = batch_id(id)?;
            with_engine(global, |engine| {
                engine.reject(&id, &actor(), reason)?;
                let record = engine.batch(&id)?;
                publish::print(global, engine, &record).map(|_| 0)
            })
        }
    }
}

fn list(global: &Global, source: Option<&String>, status: Option<&String>, limit: usize) -> Result<u8> {
    let source = source.map(|source| SourceId::new(source).map_err(usage)).transpose()?;
    let status = status
        .map(|text| {
            let upper = serde_json::Value::String(text.to_uppercase().replace('-', "_"));
            serde_json::from_value(upper)
                .map_err(|_| usage(format!("--status {text}: there is no such status")))
        })
        .transpose()?;
    with_engine(global, |engine| {
        let batches = engine.store().read(|view| view.batches(&BatchFilter { source, status, limit }))?;
        if global.json {
            let items: Vec<_> = batches.iter().map(crate::store::BatchRecord::publish_state).collect();
            out_json(&serde_json::json!({ "items": items, "next_cursor": null }))?;
            return Ok(0);
        }
        let rows: Vec<Vec<String>> = batches
            .iter()
            .map(|batch| {
                let m = batch.metrics.unwrap_or_default();
                let code = batch.failure.as_ref().map_or("", |failure| failure.error_code.as_str());
                let note = if batch.hold.is_some() { "waits for approval" } else { code };
                vec![
                    batch.batch_id.to_string(),
                    batch.status.as_str().into(),
                    format!(
                        "+{} ~{} -{}",
                        m.entities_created + m.relationships_created,
                        m.entities_updated + m.relationships_updated,
                        m.entities_deleted + m.relationships_deleted
                    ),
                    note.into(),
                ]
            })
            .collect();
        out(table(&["BATCH", "STATUS", "CHANGES", ""], &rows))?;
        Ok(0)
    })
}

fn show(global: &Global, id: &BatchId, summary: bool, full: bool) -> Result<u8> {
    with_engine(global, |engine| {
        let record = engine.batch(id)?;
        let timeline = engine.store().read(|view| view.timeline(id))?;
        let plan = engine.plan_of(&record)?;
        if global.json {
            let plan = plan.as_ref().map(plan_json::Head::of);
            let value = serde_json::json!({
                "publish_state": record.publish_state(),
                "hold": record.hold,
                "approval": record.approval,
                "timeline": timeline,
                "plan": plan,
            });
            out_json(&value)?;
            return Ok(0);
        }
        publish::print(global, engine, &record)?;
        let rows: Vec<Vec<String>> = timeline
            .iter()
            .map(|entry| {
                vec![
                    entry.at.strftime("%F %T").to_string(),
                    entry.to.as_str().into(),
                    entry.actor.clone(),
                    entry.cause.clone(),
                ]
            })
            .collect();
        out(format!("\n{}\n", table(&["AT (UTC)", "STATUS", "WHO", "WHY"], &rows)))?;
        if let Some(plan) = plan {
            render::plan::print(&plan, &render::plan::Options { summary, full, json: false })?;
        }
        Ok(0)
    })
}

fn write_batch(global: &Global, args: &WriteArgs) -> Result<u8> {
    let now = super::common::clock().now();
    let scope = crate::domain::scope::Scope::default();
    let globs = |list: &[String], default: Vec<crate::domain::glob::Glob>| {
        if list.is_empty() { default } else { list.iter().map(crate::domain::glob::Glob::new).collect() }
    };
    let options = write::WriteOptions {
        source_id: SourceId::new(&args.source).map_err(usage)?,
        run_id: RunId::new(&args.run).map_err(usage)?,
        workflow: args.workflow.clone(),
        mode: match args.mode {
            ModeArg::Full => Mode::Full,
            ModeArg::Incremental => Mode::Incremental,
        },
        source_timestamp: match &args.source_timestamp {
            Some(text) => text
                .parse()
                .map_err(|_| usage(format!("--source-timestamp {text}: no time with an offset")))?,
            None => now,
        },
        processing_timestamp: now,
        scope: crate::domain::scope::Scope {
            types: globs(&args.types, scope.types),
            names: globs(&args.names, scope.names),
            except: globs(&args.except, scope.except),
        },
        compression: match args.compress {
            CompressArg::None => Compression::None,
            CompressArg::Zst => Compression::Zstd,
            CompressArg::Gz => Compression::Gzip,
        },
        lines_per_file: args.lines.max(1),
    };
    let written = write::write_batch(&options, &mut std::io::stdin().lock(), &args.out)?;
    if global.json {
        out_json(&serde_json::json!({ "folder": written }))?;
    } else {
        out(format!("{}\n", written.display()))?;
    }
    Ok(0)
}
