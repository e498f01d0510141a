//! `tidegate catalogue`: what the embedded catalogue holds.

use std::io::{BufWriter, Write};

use clap::Subcommand;

use super::Global;
use super::common::{out, out_json, table, with_engine, write_error};
use super::render;
use crate::domain::ids::TargetName;
use crate::domain::key::EntityKey;
use crate::error::{Error, ErrorKind, Result};
use crate::targets::embedded::SearchQuery;

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
    /// Show an entity with its history and relationships
    Get {
        /// Its type
        #[arg(value_name = "TYPE")]
        type_name: String,
        /// Its qualified name
        name: String,
        /// Relationships to show
        #[arg(long, default_value_t = 50)]
        relationships: usize,
        /// The target, where there are several
        #[arg(long)]
        target: Option<String>,
    },
    /// Find entities by a part of their names
    Search {
        /// A part of the name, whatever the case; without it everything is listed
        text: Option<String>,
        /// Of this type
        #[arg(long = "type", value_name = "TYPE")]
        type_name: Option<String>,
        /// Names that begin with this
        #[arg(long)]
        prefix: Option<String>,
        /// Archived ones too
        #[arg(long)]
        archived: bool,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// The target, where there are several
        #[arg(long)]
        target: Option<String>,
    },
}

fn target(name: Option<&String>) -> Result<Option<TargetName>> {
    name.map(|name| TargetName::new(name).map_err(|e| Error::new(ErrorKind::Usage, e.to_string())))
        .transpose()
}

/// Runs the command.
pub fn run(global: &Global, command: &CatalogueCommand) -> Result<u8> {
    with_engine(global, |engine| match command {
        CatalogueCommand::Export { archived, target: name } => {
            let mut stdout = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
            engine.catalogue(target(name.as_ref())?.as_ref())?.export(&mut stdout, *archived)?;
            stdout.flush().map_err(write_error)?;
            Ok(0)
        }
        CatalogueCommand::Get { type_name, name, relationships, target: of } => {
            let key = EntityKey::new(type_name, name);
            let catalogue = engine.catalogue(target(of.as_ref())?.as_ref())?;
            let Some(view) = catalogue.get(&key, *relationships)? else {
                return Err(Error::new(ErrorKind::NotFound, format!("the catalogue has no {key}")));
            };
            if global.json {
                out_json(&view)?;
            } else {
                out(render::entity::entity(&view))?;
            }
            Ok(0)
        }
        CatalogueCommand::Search { text, type_name, prefix, archived, limit, target: of } => {
            let page = engine.catalogue(target(of.as_ref())?.as_ref())?.search(&SearchQuery {
                type_name: type_name.clone(),
                prefix: prefix.clone(),
                contains: text.clone(),
                archived: *archived,
                limit: *limit,
                after: None,
            })?;
            if global.json {
                out_json(&page)?;
            } else {
                let rows: Vec<Vec<String>> = page
                    .items
                    .iter()
                    .map(|hit| {
                        let mark = if hit.archived { "archived" } else { "" };
                        vec![hit.key.type_name.clone(), hit.key.qualified_name.clone(), mark.into()]
                    })
                    .collect();
                let more =
                    if page.more { "There are more: raise --limit, or narrow the search.\n" } else { "" };
                out(format!("{}{more}", table(&["TYPE", "NAME", ""], &rows)))?;
            }
            Ok(0)
        }
    })
}
