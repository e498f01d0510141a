//! `tidegate doctor`: what is wrong, and the command that mends it; and an
//! archive for whoever is asked for help.

mod bundle;
mod known;
mod scrub;
mod shapes;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Global;
use super::backend::{Backend, Purpose};
use super::common::{clock, load_options, out, out_json, table};
use super::render::safe;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::service::doctor::{SETTINGS, check_settings, unopened};
use crate::service::views::{CheckStatus, CheckView, DoctorView};

/// Looks at everything that Tidegate stands on.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all is well or only warnings, 1 something is wrong.")]
pub struct DoctorArgs {
    #[command(subcommand)]
    command: Option<DoctorCommand>,
}

#[derive(Debug, Subcommand)]
enum DoctorCommand {
    /// Write an archive with what doctor finds, settings, versions and recent batches; secrets are taken out
    Bundle {
        /// Where to [default: tidegate-diagnosis-TIME.tar.gz in this folder]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// A log of the server, of which the newest part is taken in
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
    },
}

/// What was found, and whom to ask for more.
struct Examined {
    view: DoctorView,
    settings: Option<Settings>,
    backend: Option<Backend>,
}

/// Runs the command.
pub fn run(global: &Global, args: &DoctorArgs) -> Result<u8> {
    let examined = examine(global);
    let code = u8::from(examined.view.worst() == CheckStatus::Error);
    match &args.command {
        None if global.json => out_json(&examined.view)?,
        None => out(text(&examined.view))?,
        Some(DoctorCommand::Bundle { out: to, log }) => {
            let to = bundle::write(&load_options(global), &examined, to.as_deref(), log.as_deref())?;
            if global.json {
                out_json(&serde_json::json!({ "bundle": to }))?;
            } else {
                out(format!(
                    "{}\nSecrets that are known or look like one were taken out, and it has no attribute values; names of \
                     batches, sources and entities are in it. Look through it before you hand it on.\n",
                    to.display()
                ))?;
            }
        }
    }
    if let Some(backend) = examined.backend {
        backend.close()?;
    }
    // An archive of what is wrong is what was asked for.
    Ok(if args.command.is_some() { 0 } else { code })
}

/// Looks at the settings here, and at all else where the data directory is
/// held. What a server has in force is its own to tell.
fn examine(global: &Global) -> Examined {
    let (settings, checks) = check_settings(&load_options(global));
    let view = |checks: Vec<CheckView>| DoctorView {
        at: clock().now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        checks,
    };
    let with = |mut view: DoctorView| {
        if view.checks.iter().all(|check| check.check != SETTINGS) {
            view.checks.splice(0..0, checks.clone());
        }
        view
    };
    let unreachable = |error: &Error| {
        let action = error.action();
        view(vec![CheckView::error("server", error.to_string(), action)])
    };
    let backend = match (Backend::server_of(global), &settings) {
        (Ok(Some(client)), _) => Ok(Backend::Server(client)),
        (Ok(None), Some(settings)) => Backend::directory(global, settings.clone(), Purpose::Look),
        // Nothing says where anything is.
        (Ok(None), None) => return Examined { view: view(checks), settings, backend: None },
        (Err(error), _) => Err(error),
    };
    match backend {
        Ok(backend) => {
            let view = backend.doctor().unwrap_or_else(|error| unreachable(&error));
            Examined { view: with(view), settings, backend: Some(backend) }
        }
        Err(error) => {
            let view = match &settings {
                Some(settings) if global.server.is_none() => unopened(settings, &clock(), &error),
                Some(_) | None => unreachable(&error),
            };
            Examined { view: with(view), settings, backend: None }
        }
    }
}

fn text(view: &DoctorView) -> String {
    let word = |status| match status {
        CheckStatus::Ok => "ok",
        CheckStatus::Warning => "warning",
        CheckStatus::Error => "ERROR",
    };
    let rows: Vec<Vec<String>> = view
        .checks
        .iter()
        .map(|check| vec![word(check.status).to_owned(), check.check.clone(), check.found.clone()])
        .collect();
    let mut text = table(&["", "CHECK", "FOUND"], &rows);
    let mends: Vec<&CheckView> = view.checks.iter().filter(|check| check.mend.is_some()).collect();
    if mends.is_empty() {
        text.push_str("\nAll is well.\n");
    } else {
        text.push_str("\nWhat to do:\n");
        let mut told = BTreeSet::new();
        for check in mends {
            let mend = check.mend.as_deref().unwrap_or_default();
            // Several problems of one kind have one remedy.
            if told.insert((&check.check, mend)) {
                text.push_str(&format!("  {}: {}\n", safe(&check.check), safe(mend)));
            }
        }
    }
    text
}
