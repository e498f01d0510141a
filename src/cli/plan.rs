//! `tidegate plan`: what a batch would change. Publishes nothing.

use std::fs::File;
use std::path::Path;

use clap::Args;

use super::Global;
use super::backend::{Backend, Purpose};
use super::client::Client;
use super::common::settings;
use super::place::Place;
use super::render;
use super::scratch::Scratch;
use super::shown::{Answered, Shown, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::intake::folder;
use crate::intake::manifest::MANIFEST;
use crate::service::present;

/// Shows what a batch folder would change. A server is sent the folder; what
/// is published there is what the batch is compared with, and nothing is queued.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 no changes, 2 there are changes, 3 a guard would park the plan.")]
pub struct PlanArgs {
    /// The batch: its folder, or its URL (file:///…, s3://…)
    #[arg(value_name = "BATCH")]
    batch: Place,
    /// Leave the changes out
    #[arg(long)]
    summary: bool,
    /// Show long text in full, and every key of a group
    #[arg(long)]
    full: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: &PlanArgs) -> Result<u8> {
    let show = |plan: &dyn Shown| {
        let options = render::plan::Options {
            summary: args.summary,
            full: args.full,
            listed: render::plan::LISTED,
            json: global.json,
        };
        render::plan::print(plan, &options)?;
        let head = plan.head();
        Ok(if !head.guards.is_empty() {
            ErrorKind::Parked.info().exit_code
        } else if head.summary.changes() > 0 {
            2
        } else {
            0
        })
    };
    // A plan is made of files: where there is no data directory they lie in a
    // folder for a while.
    let mut scratch = None;
    let backend = match Backend::server_of(global)? {
        Some(client) => Backend::Server(client),
        None => {
            let mut settings = settings(global)?;
            if !present::has_store(&settings.data) {
                present::not_lost(&settings.data, &settings)?;
                settings = scratch.insert(Scratch::new()?).instead_of(settings);
            }
            Backend::directory(global, settings, Purpose::Make)?
        }
    };
    let code = args.batch.at_hand(|folder| match &backend {
        Backend::Directory(engine, _) => engine.plan_only(folder, |plan| show(&Stored::new(plan)?)),
        Backend::Server(client) => show(&upload(client, folder)?),
    });
    backend.close()?;
    drop(scratch);
    code
}

/// Has the server plan a folder.
fn upload(client: &Client, folder: &Path) -> Result<Answered> {
    let archive = pack(folder)?;
    let answer = client.upload(&["api", "v1", "plans"], "application/x-tar", archive)?;
    Answered::read(&answer)
}

/// The names of a folder's files that a batch of it may have: those that its manifest
/// lists, or else the ones that lie in it. The server says what is missing, as it
/// would of a batch in its inbox.
fn names_of(folder: &Path) -> Result<Vec<String>> {
    if let Ok(batch) = folder::open_local(folder) {
        let mut names = vec![MANIFEST.to_owned()];
        for file in batch.files {
            match folder::plain_file(folder, &file.path) {
                Ok(_) => names.push(file.path),
                Err(error) if error.kind() == ErrorKind::FileMissing => {}
                // What a link leads to is no part of the folder.
                Err(error) => return Err(error),
            }
        }
        return Ok(names);
    }
    let at = |e| Error::io(folder, e);
    let entries = std::fs::read_dir(folder).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format!("there is no folder {}", folder.display()))
        }
        _ => Error::io(folder, e),
    })?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(at)?;
        // Only what the contract knows: plain files.
        if entry.file_type().map_err(at)?.is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// The files of a folder as an archive, in a file that is gone when it is closed.
fn pack(folder: &Path) -> Result<File> {
    let at = |e| Error::io(folder, e);
    let mut names = names_of(folder)?;
    names.sort();
    names.dedup();
    let mut archive = tar::Builder::new(super::common::scratch_file()?);
    archive.mode(tar::HeaderMode::Deterministic);
    for name in names {
        let path = folder.join(&name);
        let mut file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        archive.append_file(&name, &mut file).map_err(|e| Error::io(&path, e))?;
    }
    let mut file = archive.into_inner().map_err(at)?;
    std::io::Seek::rewind(&mut file).map_err(at)?;
    Ok(file)
}
