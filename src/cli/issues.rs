//! `tidegate issues`: what operators know of, and have batches wait for.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Global;
use super::backend::{self, Act, Backend, Purpose};
use super::common::{actor, confirmed, more, out, out_json, parse_time_ahead, table, usage};
use super::part::{PartArgs, TimesArgs};
use crate::domain::ids::{SourceId, TargetName};
use crate::error::Result;
use crate::service::issues::Declared;
use crate::service::query::Part;
use crate::service::views::KnownIssueView;

/// Looks at known issues, declares them and lifts them.
#[derive(Debug, Subcommand)]
pub enum IssuesCommand {
    /// List them, the newest first
    #[command(after_help = "--since, --until and --order are about when one was declared.")]
    List {
        /// Only those that batches wait for now
        #[arg(long)]
        in_force: bool,
        #[command(flatten)]
        times: TimesArgs,
        #[command(flatten)]
        part: PartArgs<500>,
    },
    /// Declare one: matching batches wait until it is lifted or over
    #[command(
        after_help = "Give at least one of --target, --source and --code; a batch waits that matches all that is given."
    )]
    Declare(DeclareArgs),
    /// Lift one: what waited for it goes on
    Lift {
        /// Its number
        id: u64,
        /// Why
        #[arg(long, value_parser = crate::cli::common::parse_reason)]
        reason: Option<String>,
    },
}

/// What is declared.
#[derive(Debug, Clone, Args, Serialize)]
pub struct DeclareArgs {
    /// Batches that are published to this target
    #[arg(long)]
    target: Option<String>,
    /// Batches of this source
    #[arg(long)]
    #[serde(rename = "source_id")]
    source: Option<String>,
    /// Batches that fail with this error code, such as TARGET_FAILED
    #[arg(long)]
    code: Option<String>,
    /// What is known; it is shown as the reason
    #[arg(long)]
    note: String,
    /// When it ends by itself: a time with an offset, or a duration from now such as 4h
    #[arg(long, value_parser = parse_time_ahead)]
    until: Option<jiff::Timestamp>,
    /// That every batch may wait, which is asked.
    #[arg(skip)]
    everything: bool,
}

impl DeclareArgs {
    /// # Errors
    /// When a name is none.
    pub fn declared(&self) -> Result<Declared> {
        Ok(Declared {
            target: self.target.as_ref().map(TargetName::new).transpose().map_err(usage)?,
            source: self.source.as_ref().map(SourceId::new).transpose().map_err(usage)?,
            code: self.code.clone(),
            note: self.note.clone(),
            until: self.until,
            everything: self.everything,
        })
    }
}

/// Runs the command.
pub fn run(global: &Global, command: &IssuesCommand) -> Result<u8> {
    let issue = match command {
        IssuesCommand::List { in_force, times, part } => return list(global, *in_force, times, part),
        IssuesCommand::Declare(args) => {
            let declared = backend::with(global, Purpose::Make, |backend| {
                let everything = is_about_everything(backend, args)?;
                if everything && !confirmed(global, EVERYTHING)? {
                    return Ok(None);
                }
                backend.declare_issue(&DeclareArgs { everything, ..args.clone() }, &actor()).map(Some)
            })?;
            let Some(declared) = declared else { return Ok(1) };
            declared
        }
        IssuesCommand::Lift { id, reason } => backend::with(global, Purpose::Change, |backend| {
            let reason = reason.clone().unwrap_or_else(|| "lifted on the command line".into());
            backend.lift_issue(*id, &Act { actor: &actor(), reason: &reason })
        })?,
    };
    if global.json {
        out_json(&issue)?
    } else {
        out(table(&HEAD, &[row(&issue)]))?
    }
    Ok(0)
}

/// What is asked before every batch waits.
const EVERYTHING: &str =
    "It is the only target: every batch waits until the issue is lifted or over. Declare it?";

fn is_about_everything(backend: &Backend, args: &DeclareArgs) -> Result<bool> {
    let targets = backend.targets(&Part::first(2))?.items;
    Ok(args.declared()?.is_about_everything(targets.iter().map(|target| &target.target)))
}

fn list(global: &Global, in_force: bool, times: &TimesArgs, part: &PartArgs<500>) -> Result<u8> {
    let mut page = backend::look(global, |backend| part.all(|part| backend.issues(&times.times(part))))?;
    page.items.retain(|issue| issue.in_force || !in_force);
    if global.json {
        return out_json(&page).map(|()| 0);
    }
    let rows: Vec<Vec<String>> = page.items.iter().map(row).collect();
    out(format!("{}{}", table(&HEAD, &rows), more(page.next_cursor.as_deref())))?;
    Ok(0)
}

const HEAD: [&str; 5] = ["ISSUE", "ABOUT", "STATE", "DECLARED", "NOTE"];

fn row(issue: &KnownIssueView) -> Vec<String> {
    let about: Vec<String> = [
        issue.target.as_ref().map(|name| format!("target {name}")),
        issue.source_id.as_ref().map(|id| format!("source {id}")),
        issue.code.clone(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let state = match (&issue.lifted, issue.in_force, issue.until) {
        (Some(lifted), _, _) => format!("lifted by {}", lifted.actor),
        (None, true, Some(until)) => format!("in force until {}", until.strftime("%F %T UTC")),
        (None, true, None) => "in force until lifted".to_owned(),
        (None, false, _) => "over".to_owned(),
    };
    let declared = format!("{} by {}", issue.declared_at.strftime("%F %T UTC"), issue.declared_by);
    vec![issue.id.to_string(), about.join(", "), state, declared, issue.note.clone()]
}
