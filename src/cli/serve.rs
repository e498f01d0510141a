//! `tidegate serve`: the long-running service.

use clap::Args;

use super::Global;
use super::common::{clock, crash_points, settings};
use crate::error::Result;
use crate::service::{Engine, serve};

/// Watches the inboxes and publishes what comes, until it is asked to stop.
#[derive(Debug, Args)]
pub struct ServeArgs {}

/// Runs the command.
pub fn run(global: &Global, _args: &ServeArgs) -> Result<u8> {
    let settings = settings(global)?;
    let data = settings.data.clone();
    let crash = crash_points()?;
    let engine = Engine::open_with(&data, settings, clock(), crash.clone())?;
    serve::serve(engine)?;
    crash.report()?;
    Ok(0)
}
