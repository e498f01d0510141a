//! `tidegate plan`: what a batch would change. Publishes nothing.

use std::path::PathBuf;

use clap::Args;

use super::Global;
use super::common::with_engine;
use super::render;
use crate::error::{ErrorKind, Result};

/// Shows what a batch folder would change.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The batch folder
    folder: PathBuf,
    /// Leave the changes out
    #[arg(long)]
    summary: bool,
    /// Show long text in full, and every key of a group
    #[arg(long)]
    full: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: &PlanArgs) -> Result<u8> {
    with_engine(global, |engine| {
        engine.plan_only(&args.folder, |plan| {
            let options = render::plan::Options { summary: args.summary, full: args.full, json: global.json };
            render::plan::print(plan, &options)?;
            let header = &plan.manifest().header;
            Ok(if !header.guards.is_empty() {
                ErrorKind::Parked.info().exit_code
            } else if header.summary.changes() > 0 {
                2
            } else {
                0
            })
        })
    })
}
