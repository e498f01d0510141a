//! `tidegate inbox`: folders that are no batches yet.

use clap::Subcommand;

use super::Global;
use super::common::{out, out_json, settings, table};
use crate::error::Result;
use crate::intake::{monitor, prefix};
use crate::service::inboxes;

/// Looks into the inboxes.
#[derive(Debug, Subcommand)]
pub enum InboxCommand {
    /// List every folder that is not accepted, with the reason
    List,
}

/// Runs the command.
pub fn run(global: &Global, command: &InboxCommand) -> Result<u8> {
    match command {
        InboxCommand::List => {
            let settings = settings(global)?;
            let now = super::common::clock().now();
            let mut rows = Vec::new();
            for inbox in &settings.inboxes {
                let prefix = prefix::open(&inbox.url)?;
                for folder in monitor::scan(inbox, &*prefix, now, |_| Ok(false))? {
                    let held = inboxes::held(&settings, &folder);
                    if let Some(reason) = folder.waits.as_ref().or(held.as_ref()) {
                        let age = now.duration_since(folder.newest).as_secs().max(0);
                        rows.push((folder.path.clone(), reason.clone(), age));
                    }
                }
            }
            if global.json {
                let items: Vec<_> = rows
                    .iter()
                    .map(|(folder, reason, age)| serde_json::json!({ "folder": folder, "reason": reason, "age_seconds": age }))
                    .collect();
                out_json(&serde_json::json!({ "items": items }))?;
            } else {
                let rows: Vec<Vec<String>> = rows
                    .into_iter()
                    .map(|(folder, reason, age)| vec![folder, format!("{age} s"), reason])
                    .collect();
                out(table(&["FOLDER", "UNCHANGED FOR", "REASON"], &rows))?;
            }
            Ok(0)
        }
    }
}
