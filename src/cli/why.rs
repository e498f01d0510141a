//! `tidegate why`: why an entity looks as it does.

use clap::Args;

use super::Global;
use super::backend;
use super::common::{out, out_json, target};
use super::render;
use crate::domain::key::EntityKey;
use crate::error::Result;

/// Which entity.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Its type
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// Its qualified name
    name: String,
    /// The target, where there are several
    #[arg(long)]
    target: Option<String>,
}

/// Runs the command.
pub fn run(global: &Global, args: &WhyArgs) -> Result<u8> {
    let key = EntityKey::new(&args.type_name, &args.name);
    let target = target(args.target.as_ref())?;
    let view = backend::look(global, |backend| backend.why(&key, target.as_ref()))?;
    if global.json {
        out_json(&view)?;
    } else {
        out(render::why::why(&view))?;
    }
    Ok(0)
}
