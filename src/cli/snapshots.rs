//! `tidegate snapshots`: what was published, and when.

use clap::{Args, Subcommand};

use super::Global;
use super::backend;
use super::common::{more, out, out_json, table, usage};
use super::part::{PartArgs, TimesArgs};
use super::render;
use crate::domain::ids::{SnapshotId, SourceId};
use crate::error::{Error, Result};
use crate::service::query::SnapshotQuery;

/// Looks at snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotsCommand {
    /// List them, newest first
    #[command(after_help = "--since, --until and --order are about when a snapshot was made.")]
    List(ListArgs),
    /// Show one
    Show {
        /// Its id
        id: String,
    },
    /// Show what differs between two of one source; as JSON one object a line
    Diff {
        /// The older one
        before: String,
        /// The newer one
        after: String,
    },
}

/// Which snapshots to list.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Of this source
    #[arg(long, value_name = "ID")]
    source: Option<String>,
    #[command(flatten)]
    times: TimesArgs,
    #[command(flatten)]
    part: PartArgs,
}

fn snapshot_id(text: &str) -> Result<SnapshotId> {
    SnapshotId::new(text).map_err(usage)
}

/// Runs the command.
pub fn run(global: &Global, command: &SnapshotsCommand) -> Result<u8> {
    match command {
        SnapshotsCommand::List(args) => list(global, args)?,
        SnapshotsCommand::Show { id } => {
            let id = snapshot_id(id)?;
            let view = backend::look(global, |backend| backend.snapshot(&id))?;
            if global.json {
                out_json(&view)?;
            } else {
                out(render::snapshot::snapshot(&view))?;
            }
        }
        SnapshotsCommand::Diff { before, after } => {
            let (before, after) = (snapshot_id(before)?, snapshot_id(after)?);
            diff(global, &before, &after)?;
        }
    }
    Ok(0)
}

fn list(global: &Global, args: &ListArgs) -> Result<()> {
    let query = SnapshotQuery {
        source_id: args.source.as_ref().map(SourceId::new).transpose().map_err(usage)?,
        since: args.times.since,
        until: args.times.until,
        order: args.times.order(),
        ..SnapshotQuery::default()
    };
    let page = backend::look(global, |backend| {
        args.part.all(|part| backend.snapshots(&SnapshotQuery { part: part.clone(), ..query.clone() }))
    })?;
    if global.json {
        return out_json(&page);
    }
    let rows: Vec<Vec<String>> = page.items.iter().map(render::snapshot::row).collect();
    out(format!("{}{}", table(&render::snapshot::HEAD, &rows), more(page.next_cursor.as_deref())))
}

fn diff(global: &Global, before: &SnapshotId, after: &SnapshotId) -> Result<()> {
    let mut counts = [0u64; 3];
    backend::look(global, |backend| {
        let mut cursor = None;
        loop {
            let page = backend.snapshot_diff(before, after, cursor)?;
            let mut text = String::new();
            for change in &page.items {
                counts[change.action as usize] += 1;
                if global.json {
                    let line =
                        serde_json::to_string(change).map_err(|e| Error::internal("JSON").caused_by(e))?;
                    text.push_str(&line);
                    text.push('\n');
                } else {
                    text.push_str(&render::snapshot::change(change));
                }
            }
            out(text)?;
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    })?;
    if global.json {
        return Ok(());
    }
    out(format!("{} created, {} updated, {} deleted.\n", counts[0], counts[1], counts[2]))
}
