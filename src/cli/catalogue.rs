//! `tidegate catalogue`: what the embedded catalogue holds.

use std::io::{BufWriter, Write};

use clap::Subcommand;

use super::Global;
use super::backend::{self, Backend, all, copy_out};
use super::common::{more, out, out_json, table, target, write_error};
use super::render;
use crate::domain::key::EntityKey;
use crate::error::Result;
use crate::service::query::{FindEntities, Part};

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
    /// Find entities by their names
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
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Go on behind a list that gave this
        #[arg(long)]
        cursor: Option<String>,
        /// The target, where there are several
        #[arg(long)]
        target: Option<String>,
    },
}

/// Runs the command.
pub fn run(global: &Global, command: &CatalogueCommand) -> Result<u8> {
    match command {
        CatalogueCommand::Export { archived, target: name } => export(global, *archived, name.as_ref()),
        CatalogueCommand::Get { type_name, name, relationships, target: of } => {
            let (key, of) = (EntityKey::new(type_name, name), target(of.as_ref())?);
            let page = backend::look(global, |backend| backend.entity(&key, of.as_ref(), *relationships))?;
            if global.json {
                out_json(&page.entity)?;
            } else {
                out(render::entity::entity(&page.entity))?;
            }
            Ok(0)
        }
        CatalogueCommand::Search { text, type_name, prefix, archived, limit, cursor, target: of } => {
            let find = FindEntities {
                text: text.clone(),
                type_name: type_name.clone(),
                prefix: prefix.clone(),
                archived: *archived,
                target: target(of.as_ref())?,
                part: Part::default(),
            };
            let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
            let page = backend::look(global, |backend| {
                all(limit, cursor.clone(), |part| {
                    backend.find(&FindEntities { part: part.clone(), ..find.clone() })
                })
            })?;
            if global.json {
                return out_json(&page).map(|()| 0);
            }
            let rows: Vec<Vec<String>> = page
                .items
                .iter()
                .map(|hit| {
                    let mark = if hit.archived { "archived" } else { "" };
                    vec![hit.type_name.clone(), hit.qualified_name.clone(), mark.into()]
                })
                .collect();
            out(format!("{}{}", table(&["TYPE", "NAME", ""], &rows), more(page.next_cursor.as_deref())))?;
            Ok(0)
        }
    }
}

fn export(global: &Global, archived: bool, name: Option<&String>) -> Result<u8> {
    let target = target(name)?;
    backend::look(global, |backend| {
        match backend {
            Backend::Directory(engine, _) => {
                let mut stdout = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
                engine.catalogue(target.as_ref())?.export(&mut stdout, archived)?;
                stdout.flush().map_err(write_error)?;
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
