//! `tidegate doctor`: what is wrong, and the command that mends it; and an
//! archive for whoever is asked for help.

mod bundle;
mod scrub;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Global;
use super::backend::Backend;
use super::common::{clock, load_options, out, out_json, table};
use super::render::safe;
use crate::config::Settings;
use crate::error::Result;
use crate::service::doctor::unopened;
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
    /// Write an archive with what doctor finds, settings, versions and recent batches; without secrets
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
            let to = bundle::write(&examined, to.as_deref(), log.as_deref())?;
            if global.json {
                out_json(&serde_json::json!({ "bundle": to }))?;
            } else {
                out(format!(
                    "{}\nIt has no secrets and no attribute values; names of batches, sources and entities are in it.\n",
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

/// Looks at the settings here, and at all else where the data directory is held.
fn examine(global: &Global) -> Examined {
    let (settings, check) = check_settings(global);
    let checked = |mut view: DoctorView| {
        view.checks.insert(0, check.clone());
        view
    };
    let failed = |check: CheckView| DoctorView {
        at: clock().now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        checks: vec![check],
    };
    let info = |error: &crate::error::Error| error.action().to_owned();
    if settings.is_none() && global.server.is_none() {
        // Nothing says where anything is.
        return Examined { view: failed(check), settings, backend: None };
    }
    match Backend::open(global) {
        Ok(backend) => {
            let view = backend
                .doctor()
                .unwrap_or_else(|error| failed(CheckView::error("server", error.to_string(), info(&error))));
            Examined { view: checked(view), settings, backend: Some(backend) }
        }
        Err(error) => {
            let view = match &settings {
                Some(settings) if global.server.is_none() => unopened(settings, &clock(), &error),
                Some(_) | None => failed(CheckView::error("server", error.to_string(), info(&error))),
            };
            Examined { view: checked(view), settings, backend: None }
        }
    }
}

fn check_settings(global: &Global) -> (Option<Settings>, CheckView) {
    let options = load_options(global);
    let problems = Settings::check(&options);
    let mend =
        "mend the settings file; `tidegate config check` tells what is wrong, docs/settings.md what there is";
    match problems {
        Ok(problems) if problems.is_empty() => match Settings::load(&options) {
            Ok(settings) => {
                let from = settings.origins.len();
                let text = format!("they are valid; {from} values are set, the others are defaults");
                (Some(settings), CheckView::ok("settings", text))
            }
            Err(error) => (None, CheckView::error("settings", error.to_string(), mend)),
        },
        Ok(problems) => (None, CheckView::error("settings", problems.join("\n"), mend)),
        Err(error) => (None, CheckView::error("settings", error.to_string(), mend)),
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
        for check in mends {
            let mend = check.mend.as_deref().unwrap_or_default();
            text.push_str(&format!("  {}: {}\n", safe(&check.check), safe(mend)));
        }
    }
    text
}
