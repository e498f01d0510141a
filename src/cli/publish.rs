//! `tidegate publish`: one shot from folder to catalogue.

use clap::Args;

use super::Global;
use super::backend::{Backend, Purpose};
use super::batches::exit_after;
use super::client::Client;
use super::common::{actor, report, settings, usage};
use super::place::Place;
use crate::domain::ids::BatchId;
use crate::domain::plan::PlanDigest;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::folder::expect_folder;
use crate::service::engine::Engine;
use crate::service::query::Part;
use crate::service::views::InboxListView;
use crate::store::BatchRecord;

/// Publishes one batch folder and prints its publish state.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 COMPLETE, 1 FAILED, 3 parked by a guard, 4 COMPLETE with dead letters, \
                        5 not finished."
)]
pub struct PublishArgs {
    /// The batch: its folder, or its URL (file:///…, s3://…)
    #[arg(value_name = "BATCH")]
    batch: Place,
    /// Approve what a guard parks; with a digest, only if it is the plan's
    #[arg(long, value_name = "DIGEST", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    approve: Option<String>,
    /// Why it is approved
    #[arg(long, default_value = "approved on the command line", value_parser = crate::cli::common::parse_reason)]
    reason: String,
}

/// Runs the command.
pub fn run(global: &Global, args: &PublishArgs) -> Result<u8> {
    let digest = match args.approve.as_deref() {
        None | Some("") => None,
        Some(text) => Some(text.parse::<PlanDigest>().map_err(usage)?),
    };
    // A slip of the hand makes no data directory. What is wrong with settings is told first.
    if let Place::Folder(folder) = &args.batch
        && settings(global).is_ok()
    {
        expect_folder(folder)?;
    }
    let backend = Backend::open(global, Purpose::Make)?;
    let engine = match &backend {
        Backend::Directory(engine, _) => engine,
        Backend::Server(client) => return Err(held(client)),
    };
    let work = || {
        let id = match &args.batch {
            Place::Folder(folder) => engine.accept_given(folder)?,
            Place::Remote(url) => engine.accept_url(url)?,
        };
        // Who asks for it does not mean the next attempt that is due.
        let record = engine.batch(&id)?;
        if record.status == PublishStatus::Retrying || record.waits_in_execution() {
            engine.retry(&id, &actor(), "published again on the command line")?;
        }
        let record = attempt(global, engine, &id)?;
        if record.hold.is_some() && args.approve.is_some() {
            engine.approve(&id, digest, &actor(), &args.reason)?;
            attempt(global, engine, &id)?;
        }
        engine.keep_pins()?;
        exit_after(global, &backend.batch(&id)?)
    };
    let result = work();
    backend.close()?;
    result
}

/// Works on the batch until it has ended or waits. Why it waits in the middle
/// of its execution is told; the batch is not finished, and goes on with the
/// next `publish` of it.
fn attempt(global: &Global, engine: &Engine, id: &BatchId) -> Result<BatchRecord> {
    let error = match engine.run_batch(id) {
        Ok(record) => return Ok(record),
        Err(error) => error,
    };
    match engine.batch(id) {
        Ok(record) if record.waits_in_execution() => {
            report(global, &error);
            Ok(record)
        }
        Ok(_) | Err(_) => Err(error),
    }
}

/// One shot needs the directory; a server publishes what lies in its inboxes.
fn held(client: &Client) -> Error {
    let part = [("limit", Part::first(1).limit.map(|limit| limit.to_string()))];
    let inboxes = client
        .get::<InboxListView>(&["api", "v1", "inbox"], &part)
        .map(|list| list.inboxes.into_iter().map(|inbox| inbox.url).collect::<Vec<_>>())
        .unwrap_or_default();
    let place = match inboxes.first() {
        Some(url) => format!("drop the folder into {url}<source>/<time>_<run>/"),
        None => "it watches no inbox".to_owned(),
    };
    let text = format!(
        "the server {} holds the data directory and publishes what comes to its inbox: {place}",
        client.url()
    );
    Error::new(ErrorKind::StoreInUse, text)
}
