//! `tidegate publish`: one shot from folder to catalogue.

use std::path::PathBuf;

use clap::Args;

use super::Global;
use super::common::{actor, out, out_json, with_engine};
use super::render;
use crate::domain::plan::PlanDigest;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::service::Engine;
use crate::store::BatchRecord;

/// Publishes one batch folder and prints its publish state.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The batch folder
    folder: PathBuf,
    /// Approve what a guard parks; with a digest, only if it is the plan's
    #[arg(long, value_name = "DIGEST", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    approve: Option<String>,
    /// Why it is approved
    #[arg(long, default_value = "approved on the command line")]
    reason: String,
}

/// Runs the command.
pub fn run(global: &Global, args: &PublishArgs) -> Result<u8> {
    let digest = match args.approve.as_deref() {
        None | Some("") => None,
        Some(text) => Some(text.parse::<PlanDigest>().map_err(|e| Error::new(ErrorKind::Usage, e))?),
    };
    with_engine(global, |engine| {
        let id = engine.accept(&args.folder)?;
        let mut record = engine.run_batch(&id)?;
        if record.hold.is_some() && args.approve.is_some() {
            engine.approve(&id, digest, &actor(), &args.reason)?;
            record = engine.run_batch(&id)?;
        }
        print(global, engine, &record)
    })
}

/// Prints a batch's publish state and tells the exit code that goes with it.
pub fn print(global: &Global, engine: &Engine, record: &BatchRecord) -> Result<u8> {
    let state = record.publish_state();
    if global.json {
        out_json(&state)?;
    } else {
        let mut text = render::state::publish_state(&state);
        if let (Some(hold), Some(plan)) = (&record.hold, engine.plan_of(record)?) {
            text.push_str(&render::safe(&format!("  held         {}\n", hold.note)));
            text.push_str(&format!("  digest       {}\n", plan.manifest().header.digest));
            text.push_str(&format!("\nApprove or reject it: tidegate batches approve {}\n", record.batch_id));
        }
        out(text)?;
    }
    Ok(exit_code(record))
}

/// The exit code that tells how a batch stands.
pub fn exit_code(record: &BatchRecord) -> u8 {
    match record.status {
        PublishStatus::Complete if record.failure.is_some() => ErrorKind::Partial.info().exit_code,
        PublishStatus::Complete => 0,
        PublishStatus::Failed => 1,
        PublishStatus::PlanComplete if record.hold.is_some() => ErrorKind::Parked.info().exit_code,
        PublishStatus::Pending
        | PublishStatus::Planning
        | PublishStatus::PlanComplete
        | PublishStatus::Executing
        | PublishStatus::Retrying => ErrorKind::Interrupted.info().exit_code,
    }
}
