//! `tidegate recover`: a new `tidegate.redb` from the state folder.

use clap::Args;
use url::Url;

use super::Global;
use super::common::{clock, load_options, out, out_json, table, usage};
use super::render::safe;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::service::recover::{LOST, Recovered, recover};

/// What to recover from.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// The state folder: a path, or a file URL
    #[arg(long, value_name = "URL")]
    state: String,
}

/// Runs the command.
pub fn run(global: &Global, args: &RecoverArgs) -> Result<u8> {
    if global.server.is_some() {
        return Err(usage("recover works on a data directory, not on a server"));
    }
    let settings = settings(global, &args.state)?;
    let recovered = recover(settings, clock())?;
    if global.json {
        out_json(&recovered)?;
    } else {
        out(text(&recovered))?;
    }
    Ok(0)
}

/// The settings, with this state folder. What serves the data directory later
/// has to find it too.
fn settings(global: &Global, state: &str) -> Result<Settings> {
    let options = load_options(global);
    let settings = Settings::load(&options)?;
    let folder = match Url::parse(state) {
        Ok(url) if state.contains("://") => url.to_file_path().map_err(|()| {
            usage(format!("--state {state}: only folders (a path or file:///…) are supported so far"))
        })?,
        Ok(_) | Err(_) => state.into(),
    };
    let whole = |path: &std::path::Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if whole(&settings.state) == whole(&folder) {
        return Ok(settings);
    }
    let text = format!(
        "the settings say that the state folder is {}: set `state.url` (or TIDEGATE_STATE__URL) to {} first, \
         so that it is found when the data directory is served",
        settings.state.display(),
        folder.display()
    );
    Err(Error::new(ErrorKind::Settings, text))
}

fn text(recovered: &Recovered) -> String {
    let rows: Vec<Vec<String>> = recovered
        .sources
        .iter()
        .map(|source| {
            vec![
                source.source_id.to_string(),
                source.target.to_string(),
                source.published_to.to_string(),
                source.entities.to_string(),
                source.relationships.to_string(),
                source.unsure.to_string(),
                source.snapshot_id.to_string(),
            ]
        })
        .collect();
    let head = ["SOURCE", "TARGET", "PUBLISHED TO", "ENTITIES", "RELATIONSHIPS", "UNSURE", "SNAPSHOT"];
    let mut text = match rows.is_empty() {
        true => "Nothing was published before.\n".to_owned(),
        false => format!("Recovered:\n{}", table(&head, &rows)),
    };
    if !recovered.batches.is_empty() {
        text.push_str("\nIn the queue again, or FAILED as they were, from their pins:\n");
        for id in &recovered.batches {
            text.push_str(&format!("  {id}\n"));
        }
    }
    let count = recovered.passed_by.len();
    if count > 0 {
        text.push_str(&format!(
            "\n{count} folders of the inboxes are not newer than what is published and are not accepted again; \
             `tidegate inbox list` shows them.\n"
        ));
    }
    text.push_str(&format!("\nNot recovered: {LOST}.\n"));
    for problem in &recovered.problems {
        text.push_str(&format!("problem: {}\n", safe(problem)));
    }
    text.push_str("\nNext: `tidegate doctor`, then `tidegate serve`.\n");
    text
}
