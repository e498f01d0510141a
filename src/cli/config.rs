//! `tidegate config`: the settings.

use clap::Subcommand;
use serde_json::{Map, Value};

use super::Global;
use super::common::{load_options, out, out_json, settings};
use crate::config::{Settings, reference};
use crate::error::{Error, ErrorKind, Result};

/// Looks at the settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell everything that is wrong with them
    Check,
    /// Print those in force, each with where it came from
    Show,
    /// Print every setting that there is, as docs/settings.md has it
    #[command(hide = true)]
    Reference,
    /// Print every error code that there is, as docs/errors.md has it
    #[command(hide = true)]
    Errors,
}

/// Runs the command.
pub fn run(global: &Global, command: &ConfigCommand) -> Result<u8> {
    match command {
        ConfigCommand::Check => {
            let (_, problems) = Settings::read(&load_options(global))?;
            if global.json {
                out_json(&serde_json::json!({ "problems": problems }))?;
            } else if problems.is_empty() {
                out("The settings are valid.\n")?;
            } else {
                out(problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())?;
            }
            Ok(if problems.is_empty() { 0 } else { ErrorKind::Settings.info().exit_code })
        }
        ConfigCommand::Reference => {
            out(reference::markdown())?;
            Ok(0)
        }
        ConfigCommand::Errors => {
            out(crate::error::markdown())?;
            Ok(0)
        }
        ConfigCommand::Show => {
            let settings = settings(global)?;
            if global.json {
                out_json(&as_json(&settings)?)?;
            } else {
                out(settings.to_toml())?;
            }
            Ok(0)
        }
    }
}

/// The settings as the file has them, and where each came from by its key.
fn as_json(settings: &Settings) -> Result<Value> {
    let failed = |e| Error::internal("the settings as JSON").caused_by(e);
    let table: toml::Table = settings.to_toml().parse().unwrap_or_default();
    let mut json = serde_json::to_value(table).map_err(failed)?;
    let origins: Map<String, Value> =
        settings.lines().into_iter().map(|line| (line.key, line.origin.into())).collect();
    if let Some(json) = json.as_object_mut() {
        json.insert("origins".into(), origins.into());
    }
    Ok(json)
}
