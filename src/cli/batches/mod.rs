//! `tidegate batches`: what was accepted, what became of it, and what a person
//! decides about it.

mod act;
mod list;
mod settle;
mod watch;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

pub use act::is_left_behind;
pub use settle::{exit_after, settled};

use super::Global;
use super::common::{clock, out, out_json, settings, usage};
use super::part::{PartArgs, TimesArgs};
use super::{progress, render};
use crate::config::parse_duration;
use crate::domain::ids::BatchId;
use crate::error::Result;
use crate::intake::check;
use crate::service::views::BatchAction;

/// Look at batches, and decide about them
#[derive(Debug, Subcommand)]
pub enum BatchesCommand {
    /// List them, newest first
    #[command(after_help = "--since, --until and --order are about when the data was extracted.")]
    List(ListArgs),
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
    Write(write::WriteArgs),
    /// Follow what happens, one line for each change
    Watch {
        /// Only this batch, until it ends
        id: Option<String>,
    },
    /// Wait until a batch has ended, or waits for a person
    #[command(after_help = "Exit codes: 0 COMPLETE, 1 FAILED, 3 parked by a guard, 4 COMPLETE with dead \
                            letters, 5 not finished in time.")]
    Wait {
        /// Its id; it need not have arrived yet
        id: String,
        /// How long to wait, such as 90s, 10m or 2h
        #[arg(long, default_value = "10m", value_parser = parse_duration)]
        timeout: Duration,
    },
    /// Put one ahead of other sources' batches
    Prioritize {
        #[command(flatten)]
        on: On,
        /// Take it back
        #[arg(long)]
        undo: bool,
    },
    /// Put a failed one back into the queue, or try a waiting one now
    Retry(On),
    /// End one that has not ended; what is published stays
    Cancel(On),
    /// Approve what a guard parked, and publish it
    #[command(after_help = "Exit codes: 0 COMPLETE, 1 FAILED, 3 parked by a guard, 4 COMPLETE with dead \
                            letters, 5 not finished: it waits for something else.")]
    Approve {
        #[command(flatten)]
        on: On,
        /// Only if the plan has this digest
        #[arg(long)]
        digest: Option<String>,
    },
    /// Reject what a guard parked
    Reject(On),
}

/// Which batches to list.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Of this source
    #[arg(long, value_name = "ID")]
    source: Option<String>,
    /// In this status, such as failed
    #[arg(long)]
    status: Option<String>,
    #[command(flatten)]
    times: TimesArgs,
    #[command(flatten)]
    part: PartArgs,
}

/// A batch, and why something is done with it.
#[derive(Debug, Args)]
pub struct On {
    /// The batch
    id: String,
    /// Why
    #[arg(long, value_parser = crate::cli::common::parse_reason)]
    reason: Option<String>,
}

fn batch_id(text: &str) -> Result<BatchId> {
    text.parse().map_err(usage)
}

/// Bytes of the files of a folder, as far as they can be looked at.
fn size_of(folder: &Path) -> Option<u64> {
    let sizes = std::fs::read_dir(folder).ok()?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum::<std::io::Result<u64>>().ok()
}

/// Runs the command.
pub fn run(global: &Global, command: &BatchesCommand) -> Result<u8> {
    match command {
        BatchesCommand::List(args) => list::list(global, args),
        BatchesCommand::Show { id, summary, full } => list::show(global, &batch_id(id)?, *summary, *full),
        BatchesCommand::Check { folder } => {
            let settings = settings(global)?;
            let rules =
                check::Rules { limits: settings.limits, now: clock().now(), max_future: settings.max_future };
            let bar = progress::bytes(global, "checking", size_of(folder));
            let report = check::check(folder, &rules, &|more| bar.inc(more))?;
            bar.finish_and_clear();
            if global.json {
                out_json(&report)?;
            } else {
                out(render::safe_lines(&report.to_string()))?;
            }
            Ok(u8::from(report.errors > 0))
        }
        BatchesCommand::Write(args) => write::run(global, args),
        BatchesCommand::Watch { id } => watch::run(global, id.as_deref().map(batch_id).transpose()?.as_ref()),
        BatchesCommand::Wait { id, timeout } => settle::wait(global, &batch_id(id)?, *timeout),
        BatchesCommand::Prioritize { on, undo } => {
            let action = if *undo { BatchAction::Unprioritize } else { BatchAction::Prioritize };
            act::act(global, on, action)
        }
        BatchesCommand::Retry(on) => act::act(global, on, BatchAction::Retry),
        BatchesCommand::Cancel(on) => act::act(global, on, BatchAction::Cancel),
        BatchesCommand::Reject(on) => act::act(global, on, BatchAction::Reject),
        BatchesCommand::Approve { on, digest } => act::approve(global, on, digest.as_deref()),
    }
}
