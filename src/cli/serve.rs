//! `tidegate serve`: the long-running service.

use std::sync::Arc;

use clap::Args;

use super::Global;
use super::common::{clock, crash_points, load_options, settings};
use crate::error::Result;
use crate::service::{Engine, Service};

/// Watches the inboxes and publishes what comes, until it is asked to stop.
#[derive(Debug, Args)]
pub struct ServeArgs {}

/// Runs the command.
pub fn run(global: &Global, _args: &ServeArgs) -> Result<u8> {
    let settings = settings(global)?;
    let data = settings.data.clone();
    let crash = crash_points()?;
    let engine = Arc::new(Engine::open_with(&data, settings, clock(), crash.clone())?);
    Service::start(engine)?.until_signal(&load_options(global))?;
    crash.report()?;
    Ok(0)
}
