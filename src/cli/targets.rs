//! `tidegate targets`: the catalogues that are published to.

use clap::Subcommand;

use super::Global;
use super::backend;
use super::common::{out, out_json, table};
use crate::error::Result;
use crate::service::views::{Page, TargetView};

/// Looks at targets.
#[derive(Debug, Subcommand)]
pub enum TargetsCommand {
    /// List them
    List,
    /// Check that they can be used, and hold what was published to them
    #[command(after_help = "Exit codes: 0 all is well, 1 something is not.")]
    Check {
        /// Only this one
        name: Option<String>,
    },
}

/// Runs the command.
pub fn run(global: &Global, command: &TargetsCommand) -> Result<u8> {
    let name = match command {
        TargetsCommand::List | TargetsCommand::Check { name: None } => None,
        TargetsCommand::Check { name: Some(name) } => super::common::target(Some(name))?,
    };
    let items = backend::look(global, |backend| backend.targets(name.as_ref()))?;
    let check = matches!(command, TargetsCommand::Check { .. });
    let bad = check && items.iter().any(|target| !target.problems.is_empty());
    if global.json {
        out_json(&Page { items, next_cursor: None })?;
    } else if check {
        out(items.iter().map(checked).collect::<String>())?;
    } else {
        let rows: Vec<Vec<String>> = items
            .iter()
            .map(|target| {
                let sources: Vec<&str> = target.sources.iter().map(|id| id.as_str()).collect();
                vec![
                    target.target.to_string(),
                    target.kind.clone(),
                    target.deletion.as_str().to_owned(),
                    sources.join(", "),
                    standing(target).to_owned(),
                ]
            })
            .collect();
        out(table(&["TARGET", "KIND", "DELETION", "SOURCES", "STATE"], &rows))?;
    }
    Ok(u8::from(bad))
}

/// How a target stands, in a word or two.
fn standing(target: &TargetView) -> &'static str {
    match &target.down {
        Some(down) if down.half_open => "is tried again",
        Some(_) => "down",
        None if !target.problems.is_empty() => "has problems",
        None if target.maintenance.iter().any(|window| window.open_until.is_some()) => "maintenance",
        None => "in use",
    }
}

fn checked(target: &TargetView) -> String {
    if target.problems.is_empty() {
        return format!("{}: all is well\n", target.target);
    }
    let lines = target.problems.iter().map(|problem| format!("{}: {problem}", target.target));
    lines.map(|line| format!("{}\n", super::render::safe(&line))).collect()
}
