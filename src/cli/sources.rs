//! `tidegate sources`: the systems that metadata comes from.

use clap::{Args, Subcommand};

use super::Global;
use super::backend::{self, Act, all};
use super::common::{actor, more, out, out_json, table, usage};
use super::render;
use crate::domain::ids::SourceId;
use crate::error::Result;

/// Looks at sources, pauses them and lets them go on.
#[derive(Debug, Subcommand)]
pub enum SourcesCommand {
    /// List them
    List {
        /// At most so many
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Go on behind a list that gave this
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one with its settings, newest batches and snapshots
    Show {
        /// Its id
        source: String,
    },
    /// Let its batches wait; one in work is finished
    Pause(On),
    /// Let a paused or held one go on
    Resume(On),
}

/// A source, and why something is done with it.
#[derive(Debug, Args)]
pub struct On {
    /// Its id
    source: String,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

/// Runs the command.
pub fn run(global: &Global, command: &SourcesCommand) -> Result<u8> {
    match command {
        SourcesCommand::List { limit, cursor } => list(global, *limit, cursor.clone()),
        SourcesCommand::Show { source } => show(global, &SourceId::new(source).map_err(usage)?),
        SourcesCommand::Pause(on) => pause(global, on, true),
        SourcesCommand::Resume(on) => pause(global, on, false),
    }
}

fn list(global: &Global, limit: u32, cursor: Option<String>) -> Result<u8> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = backend::with(global, |backend| all(limit, cursor, |part| backend.sources(part)))?;
    if global.json {
        return out_json(&page).map(|()| 0);
    }
    let rows: Vec<Vec<String>> = page.items.iter().map(render::source::row).collect();
    out(format!("{}{}", table(&render::source::HEAD, &rows), more(page.next_cursor.as_deref())))?;
    Ok(0)
}

fn show(global: &Global, id: &SourceId) -> Result<u8> {
    let detail = backend::with(global, |backend| backend.source(id))?;
    if global.json {
        out_json(&detail)?;
    } else {
        out(render::source::detail(&detail))?;
    }
    Ok(0)
}

fn pause(global: &Global, on: &On, pause: bool) -> Result<u8> {
    let id = SourceId::new(&on.source).map_err(usage)?;
    let detail = backend::with(global, |backend| {
        let done = if pause { "paused" } else { "resumed" };
        let reason = on.reason.clone().unwrap_or_else(|| format!("{done} on the command line"));
        backend.pause(&id, pause, &Act { actor: &actor(), reason: &reason })?;
        backend.source(&id)
    })?;
    if global.json {
        out_json(&detail.source)?;
    } else {
        out(table(&render::source::HEAD, &[render::source::row(&detail.source)]))?;
    }
    Ok(0)
}
