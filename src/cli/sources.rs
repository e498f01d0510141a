//! `tidegate sources`: the systems that metadata comes from.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Global;
use super::backend::{self, Act, Purpose};
use super::common::{actor, clock, confirmed, more, out, out_json, table, usage};
use super::part::PartArgs;
use super::render;
use crate::config::parse_duration;
use crate::domain::ids::SourceId;
use crate::error::Result;
use crate::service::skips::Skip;
use crate::service::views::SourceDetail;

/// Looks at sources, pauses them and lets them go on.
#[derive(Debug, Subcommand)]
pub enum SourcesCommand {
    /// List them
    List {
        #[command(flatten)]
        part: PartArgs<500>,
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
    /// Keep keys that are known to be bad as they are published
    Skip {
        #[command(flatten)]
        keys: Keys,
        /// When it ends by itself: a time such as 2026-12-01T00:00:00Z, or a duration such as 7d
        #[arg(long)]
        until: Option<String>,
    },
    /// Have skipped keys published again by the next batch that asserts them
    Unskip(Keys),
    /// List what is skipped of a source
    Skips {
        /// Its id
        source: String,
    },
}

/// Keys of a source, and why something is done with them.
#[derive(Debug, Args)]
pub struct Keys {
    /// The source's id
    source: String,
    /// The keys' type
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// Their qualified name, or a glob of names; of relationships that of the `from` end
    #[arg(value_name = "NAME|GLOB")]
    name: String,
    /// Why
    #[arg(long, value_parser = crate::cli::common::parse_reason)]
    reason: Option<String>,
}

/// A source, and why something is done with it.
#[derive(Debug, Args)]
pub struct On {
    /// Its id
    source: String,
    /// Why
    #[arg(long, value_parser = crate::cli::common::parse_reason)]
    reason: Option<String>,
}

/// Runs the command.
pub fn run(global: &Global, command: &SourcesCommand) -> Result<u8> {
    match command {
        SourcesCommand::List { part } => list(global, part),
        SourcesCommand::Show { source } => show(global, &SourceId::new(source).map_err(usage)?),
        SourcesCommand::Pause(on) => pause(global, on, true),
        SourcesCommand::Resume(on) => pause(global, on, false),
        SourcesCommand::Skip { keys, until } => skip(global, keys, until.as_deref()),
        SourcesCommand::Unskip(keys) => unskip(global, keys),
        SourcesCommand::Skips { source } => skips(global, &SourceId::new(source).map_err(usage)?),
    }
}

/// A time, or a duration from now.
fn until(text: &str) -> Result<Timestamp> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let wrong = || {
        usage(format!("--until {text}: give a time such as 2026-12-01T00:00:00Z, or a duration such as 7d"))
    };
    let span = parse_duration(text).map_err(|_| wrong())?;
    let span = jiff::SignedDuration::try_from(span).map_err(|_| wrong())?;
    clock().now().checked_add(span).map_err(|_| wrong())
}

fn skip(global: &Global, keys: &Keys, end: Option<&str>) -> Result<u8> {
    let id = SourceId::new(&keys.source).map_err(usage)?;
    let Some(reason) = &keys.reason else {
        return Err(usage("say why: --reason TEXT"));
    };
    let skip = Skip {
        type_name: keys.type_name.clone(),
        name: keys.name.clone(),
        until: end.map(until).transpose()?,
    };
    let end = skip.until.map_or_else(|| "without an end".to_owned(), |at| format!("until {at}"));
    let question = format!(
        "Skip {} {} of source {id} {end}? What batches say of it is not published",
        skip.type_name, skip.name
    );
    if !confirmed(global, &format!("{question}."))? {
        return Ok(1);
    }
    let detail = backend::with(global, Purpose::Make, |backend| {
        backend.skip(&id, &skip, &Act { actor: &actor(), reason })?;
        backend.source(&id)
    })?;
    show_skips(global, &detail)
}

fn unskip(global: &Global, keys: &Keys) -> Result<u8> {
    let id = SourceId::new(&keys.source).map_err(usage)?;
    let reason = keys.reason.clone().unwrap_or_else(|| "lifted on the command line".to_owned());
    let detail = backend::with(global, Purpose::Change, |backend| {
        backend.unskip(&id, &keys.type_name, &keys.name, &Act { actor: &actor(), reason: &reason })?;
        backend.source(&id)
    })?;
    show_skips(global, &detail)
}

fn skips(global: &Global, id: &SourceId) -> Result<u8> {
    let detail = backend::look(global, |backend| backend.source(id))?;
    show_skips(global, &detail)
}

fn show_skips(global: &Global, detail: &SourceDetail) -> Result<u8> {
    if global.json {
        return out_json(&detail.skips).map(|()| 0);
    }
    if detail.skips.is_empty() {
        return out(format!("source {} skips nothing\n", detail.source.source_id)).map(|()| 0);
    }
    let rows: Vec<Vec<String>> = detail.skips.iter().map(render::source::skip_row).collect();
    out(table(&render::source::SKIPS, &rows)).map(|()| 0)
}

fn list(global: &Global, part: &PartArgs<500>) -> Result<u8> {
    let page = backend::look(global, |backend| part.all(|part| backend.sources(part)))?;
    if global.json {
        return out_json(&page).map(|()| 0);
    }
    let rows: Vec<Vec<String>> = page.items.iter().map(render::source::row).collect();
    out(format!("{}{}", table(&render::source::HEAD, &rows), more(page.next_cursor.as_deref())))?;
    Ok(0)
}

fn show(global: &Global, id: &SourceId) -> Result<u8> {
    let detail = backend::look(global, |backend| backend.source(id))?;
    if global.json {
        out_json(&detail)?;
    } else {
        out(render::source::detail(&detail))?;
    }
    Ok(0)
}

fn pause(global: &Global, on: &On, pause: bool) -> Result<u8> {
    let id = SourceId::new(&on.source).map_err(usage)?;
    let detail = backend::with(global, Purpose::Make, |backend| {
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
