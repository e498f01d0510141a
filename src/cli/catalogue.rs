//! `tidegate catalogue`: what the embedded catalogue holds.

use std::io::{BufWriter, IsTerminal, Write};

use clap::{Args, Subcommand, ValueEnum};
use indicatif::ProgressBar;

use super::Global;
use super::backend::{self, Backend, copy_out};
use super::common::{more, out, out_json, table, target, write_error};
use super::part::{PartArgs, TimesArgs};
use super::progress::{self, Counted};
use super::render;
use crate::domain::ids::TargetName;
use crate::domain::key::EntityKey;
use crate::error::Result;
use crate::service::query::{FindEntities, Part, SearchEntities};
use crate::service::views::{CatalogueHit, FindHit, Page, SearchPage};
use crate::targets::embedded::FindOrder;

/// Looks into the embedded catalogue.
#[derive(Debug, Subcommand)]
pub enum CatalogueCommand {
    /// Write all of it in the line format of batches
    Export {
        /// Archived entities and relationships too
        #[arg(long)]
        archived: bool,
        /// The target, where there are several
        #[arg(long)]
        target: Option<String>,
    },
    /// Show an entity with its newest versions and its relationships
    Get {
        #[command(flatten)]
        of: EntityArgs,
        /// Relationships to show
        #[arg(long, default_value_t = 50)]
        relationships: usize,
    },
    /// List the versions of an entity that were replaced, newest first
    #[command(after_help = "--since, --until and --order are about when a version was replaced. As JSON \
                            each version has its attributes. What is deleted has versions too.")]
    History {
        #[command(flatten)]
        of: EntityArgs,
        #[command(flatten)]
        times: TimesArgs,
        #[command(flatten)]
        part: PartArgs,
    },
    /// Find entities by their names, or by words of their attributes too
    Search(SearchArgs),
}

/// Which entity.
#[derive(Debug, Args)]
pub struct EntityArgs {
    /// Its type
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// Its qualified name
    name: String,
    /// The target, where there are several
    #[arg(long)]
    target: Option<String>,
}

impl EntityArgs {
    fn key(&self) -> EntityKey {
        EntityKey::new(&self.type_name, &self.name)
    }

    fn target(&self) -> Result<Option<TargetName>> {
        target(self.target.as_ref())
    }
}

/// Which entities to find.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// A part of the name, whatever the case; with --ranked words; without it everything is listed
    text: Option<String>,
    /// Search the words of names and attributes, and list what fits best first
    #[arg(long, conflicts_with = "prefix")]
    ranked: bool,
    /// In which order --ranked lists
    #[arg(long, value_enum, default_value = "best", requires = "ranked")]
    order: RankArg,
    /// Of this type
    #[arg(long = "type", value_name = "TYPE")]
    type_name: Option<String>,
    /// Names that begin with this
    #[arg(long)]
    prefix: Option<String>,
    /// Archived ones too
    #[arg(long)]
    archived: bool,
    #[command(flatten)]
    part: PartArgs,
    /// The target, where there are several
    #[arg(long)]
    target: Option<String>,
}

/// In which order what was found is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RankArg {
    /// What fits best first
    Best,
    /// What changed last first
    Newest,
}

/// Runs the command.
pub fn run(global: &Global, command: &CatalogueCommand) -> Result<u8> {
    match command {
        CatalogueCommand::Export { archived, target: name } => export(global, *archived, name.as_ref()),
        CatalogueCommand::Get { of, relationships } => {
            let (key, target) = (of.key(), of.target()?);
            let page =
                backend::look(global, |backend| backend.entity(&key, target.as_ref(), *relationships))?;
            if global.json {
                out_json(&page.entity)?;
            } else {
                out(render::entity::entity(&page.entity))?;
            }
            Ok(0)
        }
        CatalogueCommand::History { of, times, part } => history(global, of, times, part),
        CatalogueCommand::Search(args) if args.ranked => ranked(global, args),
        CatalogueCommand::Search(args) => by_name(global, args),
    }
}

fn history(global: &Global, of: &EntityArgs, times: &TimesArgs, part: &PartArgs) -> Result<u8> {
    let (key, target) = (of.key(), of.target()?);
    let page = backend::look(global, |backend| {
        part.all(|part| backend.history(&key, target.as_ref(), &times.times(part)))
    })?;
    if global.json {
        return out_json(&page).map(|()| 0);
    }
    let rows: Vec<Vec<String>> = page.items.iter().map(render::entity::version_row).collect();
    out(format!("{}{}", table(&render::entity::VERSIONS, &rows), more(page.next_cursor.as_deref())))?;
    Ok(0)
}

fn by_name(global: &Global, args: &SearchArgs) -> Result<u8> {
    let find = FindEntities {
        text: args.text.clone(),
        type_name: args.type_name.clone(),
        prefix: args.prefix.clone(),
        archived: args.archived,
        target: target(args.target.as_ref())?,
        part: Part::default(),
    };
    let page = backend::look(global, |backend| {
        args.part.all(|part| backend.find(&FindEntities { part: part.clone(), ..find.clone() }))
    })?;
    if global.json {
        return out_json(&page).map(|()| 0);
    }
    let row = |hit: &CatalogueHit| {
        vec![hit.type_name.clone(), hit.qualified_name.clone(), mark(hit.archived).into()]
    };
    let rows: Vec<Vec<String>> = page.items.iter().map(row).collect();
    out(format!("{}{}", table(&["TYPE", "NAME", ""], &rows), more(page.next_cursor.as_deref())))?;
    Ok(0)
}

fn ranked(global: &Global, args: &SearchArgs) -> Result<u8> {
    let search = SearchEntities {
        text: args.text.clone().unwrap_or_default(),
        type_name: args.type_name.clone(),
        archived: args.archived,
        order: match args.order {
            RankArg::Best => FindOrder::Best,
            RankArg::Newest => FindOrder::Newest,
        },
        target: target(args.target.as_ref())?,
        part: Part::default(),
    };
    let page = backend::look(global, |backend| {
        // Of the counts, which every part has, those of the last part are told.
        let mut last = None;
        let found = args.part.all(|part| {
            let page = backend.search(&SearchEntities { part: part.clone(), ..search.clone() })?;
            let (items, next_cursor) = (page.items, page.next_cursor);
            last = Some((page.total, page.types, page.behind));
            Ok(Page { items, next_cursor })
        })?;
        let (total, types, behind) = last.unwrap_or_default();
        Ok(SearchPage { items: found.items, next_cursor: found.next_cursor, total, types, behind })
    })?;
    if global.json {
        return out_json(&page).map(|()| 0);
    }
    let row = |hit: &FindHit| {
        let places: Vec<&str> = hit.matched.iter().map(|matched| &*matched.attribute).collect();
        let (type_name, name) = (hit.key.type_name.clone(), hit.key.qualified_name.clone());
        vec![type_name, name, places.join(", "), mark(hit.archived).into()]
    };
    let rows: Vec<Vec<String>> = page.items.iter().map(row).collect();
    let mut text = table(&["TYPE", "NAME", "MET IN", ""], &rows);
    text.push_str(&more(page.next_cursor.as_deref()));
    if page.behind > 0 {
        text.push_str(&format!("The search index is being brought up to date: {} to go.\n", page.behind));
    }
    out(text)?;
    Ok(0)
}

fn mark(archived: bool) -> &'static str {
    if archived { "archived" } else { "" }
}

fn export(global: &Global, archived: bool, name: Option<&String>) -> Result<u8> {
    let target = target(name)?;
    backend::look(global, |backend| {
        match backend {
            Backend::Directory(engine, _) => {
                // At a terminal the lines themselves show how far it is.
                let bar = match std::io::stdout().is_terminal() {
                    true => ProgressBar::hidden(),
                    false => progress::bytes(global, "exporting", None),
                };
                let to = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
                let mut out = Counted { to, bar };
                let catalogue = engine.catalogue(target.as_ref())?;
                catalogue.guarded(|catalogue| catalogue.export(&mut out, archived))?;
                out.flush().map_err(write_error)?;
                out.bar.finish_and_clear();
            }
            Backend::Server(client) => {
                let query = [
                    ("archived", archived.then(|| "true".to_owned())),
                    ("target", target.as_ref().map(ToString::to_string)),
                ];
                copy_out(client.stream(&["api", "v1", "export"], &query, "application/x-ndjson")?)?;
            }
        }
        Ok(0)
    })
}
