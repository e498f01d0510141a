//! `tidegate targets`: the catalogues that are published to.

use clap::Subcommand;

use super::Global;
use super::backend::{self, all};
use super::common::{more, out, out_json, table, target};
use super::part::PartArgs;
use crate::domain::ids::TargetName;
use crate::error::Result;
use crate::service::views::{Page, TargetView};

/// Looks at targets.
#[derive(Debug, Subcommand)]
pub enum TargetsCommand {
    /// List them
    List {
        #[command(flatten)]
        part: PartArgs<500>,
    },
    /// Check that they can be used, and hold what was published to them
    #[command(after_help = "Exit codes: 0 all is well, 1 something is not.")]
    Check {
        /// Only this one
        name: Option<String>,
    },
}

/// Runs the command.
pub fn run(global: &Global, command: &TargetsCommand) -> Result<u8> {
    match command {
        TargetsCommand::List { part } => list(global, part),
        TargetsCommand::Check { name } => check(global, target(name.as_ref())?.as_ref()),
    }
}

fn list(global: &Global, part: &PartArgs<500>) -> Result<u8> {
    let page = backend::look(global, |backend| part.all(|part| backend.targets(part)))?;
    if global.json {
        return out_json(&page).map(|()| 0);
    }
    let row = |target: &TargetView| {
        let sources: Vec<&str> = target.sources.iter().map(|id| id.as_str()).collect();
        vec![
            target.target.to_string(),
            target.kind.clone(),
            target.deletion.as_str().to_owned(),
            sources.join(", "),
            standing(target).to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = page.items.iter().map(row).collect();
    let head = ["TARGET", "KIND", "DELETION", "SOURCES", "STATE"];
    out(format!("{}{}", table(&head, &rows), more(page.next_cursor.as_deref())))?;
    Ok(0)
}

fn check(global: &Global, name: Option<&TargetName>) -> Result<u8> {
    let page = backend::look(global, |backend| match name {
        Some(name) => Ok(Page { items: vec![backend.target(name)?], next_cursor: None }),
        None => all(usize::MAX, None, |part| backend.targets(part)),
    })?;
    if global.json {
        out_json(&page)?;
    } else {
        out(page.items.iter().map(checked).collect::<String>())?;
    }
    Ok(u8::from(page.items.iter().any(|target| !target.problems.is_empty())))
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
        return format!("{}: it answers, and is the one that was published to\n", target.target);
    }
    let lines = target.problems.iter().map(|problem| format!("{}: {problem}", target.target));
    lines.map(|line| format!("{}\n", super::render::safe(&line))).collect()
}
