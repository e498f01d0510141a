//! `tidegate demo`: a small company, published through the real pipeline.

use clap::Args;

use super::Global;
use crate::error::Result;

/// Publishes the demo company.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End when everything is published
    #[arg(long)]
    pub once: bool,
}

/// Runs the command.
pub fn run(_global: &Global, _args: &DemoArgs) -> Result<u8> {
    Ok(0)
}
