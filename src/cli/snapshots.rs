//! `tidegate snapshots`: what was published, and when.

use clap::{Args, Subcommand};

use super::Global;
use super::backend::{self, all};
use super::common::{OrderArg, more, out, out_json, parse_time, table, usage};
use super::render;
use crate::domain::change::Action;
use crate::domain::ids::{SnapshotId, SourceId};
use crate::error::{Error, Result};
use crate::service::query::SnapshotQuery;
use crate::service::views::SnapshotChange;

/// Looks at snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotsCommand {
    /// List them, newest first
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
    /// Made at or after: RFC 3339, or so long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<jiff::Timestamp>,
    /// Made before
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<jiff::Timestamp>,
    /// By when they were made
    #[arg(long, value_enum, default_value = "newest")]
    order: OrderArg,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on behind a list that gave this
    #[arg(long)]
    cursor: Option<String>,
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
        since: args.since,
        until: args.until,
        order: args.order.into(),
        ..SnapshotQuery::default()
    };
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let page = backend::look(global, |backend| {
        all(limit, args.cursor.clone(), |part| {
            backend.snapshots(&SnapshotQuery { part: part.clone(), ..query.clone() })
        })
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
                } else {
                    text.push_str(&render::safe(&line(change)));
                }
                text.push('\n');
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

fn line(change: &SnapshotChange) -> String {
    let text = |value: &Option<Box<serde_json::value::RawValue>>| {
        value.as_ref().map_or_else(String::new, |value| value.get().to_owned())
    };
    let values = match change.action {
        Action::Update => format!("  {} → {}", text(&change.before), text(&change.after)),
        Action::Create | Action::Delete => String::new(),
    };
    format!("{} {} {}{values}", change.action.sign(), change.kind.as_str(), change.key)
}
