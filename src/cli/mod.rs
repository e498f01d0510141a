//! The command line (contract). One file a command; results on standard
//! output, everything else on standard error.

mod backend;
mod batches;
mod catalogue;
mod client;
mod common;
mod config;
pub mod demo;
mod dlq;
mod doctor;
mod inbox;
mod issues;
mod part;
mod place;
mod plan;
mod progress;
mod publish;
mod recover;
mod render;
mod scratch;
mod serve;
mod shown;
mod snapshots;
mod sources;
mod sse;
mod targets;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::error::{ErrorKind, Result};
use crate::service::present;

/// Plans every change to a metadata catalogue, then publishes it, in order,
/// resumably.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Data directory [default: ./data]
    #[arg(long, global = true, value_name = "DIR", env = "TIDEGATE_DATA", hide_env_values = true)]
    pub data: Option<PathBuf>,
    /// Settings file [default: tidegate.toml in the data directory]
    #[arg(long, global = true, value_name = "FILE", env = "TIDEGATE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Talk to this server [default: one that holds the data directory]
    #[arg(long, global = true, value_name = "URL", env = "TIDEGATE_SERVER", hide_env_values = true)]
    pub server: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Say less
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Do not ask
    #[arg(long, global = true)]
    pub yes: bool,
    /// Parse and compare every line, for plan, publish and serve; the plan is the same
    #[arg(long, global = true)]
    pub no_fast_path: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the inboxes and publish what comes
    Serve(serve::ServeArgs),
    /// Publish a small company, to look at
    Demo(demo::DemoArgs),
    /// Show what a batch would change
    Plan(plan::PlanArgs),
    /// Publish one batch
    Publish(publish::PublishArgs),
    /// Batches
    #[command(subcommand)]
    Batches(batches::BatchesCommand),
    /// Dead letters: what could not be published, and its repair
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Folders of the inboxes that are no batches
    #[command(subcommand)]
    Inbox(inbox::InboxCommand),
    /// Sources
    #[command(subcommand)]
    Sources(sources::SourcesCommand),
    /// Snapshots
    #[command(subcommand)]
    Snapshots(snapshots::SnapshotsCommand),
    /// The embedded catalogue
    #[command(subcommand, alias = "catalog")]
    Catalogue(catalogue::CatalogueCommand),
    /// Tell why an entity looks as it does
    Why(why::WhyArgs),
    /// The catalogues that are published to
    #[command(subcommand)]
    Targets(targets::TargetsCommand),
    /// What you know of, and have batches wait for
    #[command(subcommand)]
    Issues(issues::IssuesCommand),
    /// Settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Tell what is wrong, and what mends it
    Doctor(doctor::DoctorArgs),
    /// Make tidegate.redb anew from the state folder when it is lost
    Recover(recover::RecoverArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Whether it prints what happens for as long as it happens, or page after
    /// page, and had better end when nobody reads it. The export of a catalogue
    /// writes for itself, and ends so too.
    fn is_stream(&self) -> bool {
        matches!(
            self,
            Self::Batches(batches::BatchesCommand::Watch { .. })
                | Self::Snapshots(snapshots::SnapshotsCommand::Diff { .. })
        )
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error),
    };
    if cli.command.is_stream() {
        common::end_unread();
    }
    let log = if let Command::Serve(args) = &cli.command {
        Some(serve::log_format(&cli.global, args))
    } else {
        None
    };
    common::logging(&cli.global, log);
    crate::panics::hide_expected();
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        // Of a stream: whoever read it had enough.
        Err(error) if common::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            common::report(&cli.global, &error);
            ExitCode::from(error.kind().info().exit_code)
        }
    }
}

/// Tells why the arguments were not taken, or what was asked for instead of a
/// command: help or the version.
fn unparsed(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && asks_for_json(std::env::args_os().skip(1)) {
        let global = Global { json: true, ..Global::default() };
        common::report(&global, &common::usage(words(error)));
    } else {
        // Whoever can't be told can't be told that either.
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { ErrorKind::Usage.info().exit_code } else { 0 })
}

/// Whether JSON is asked for by arguments that could not be taken.
fn asks_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut options = arguments.take_while(|argument| argument != "--");
    options.any(|argument| argument == "--json")
}

/// What is wrong with the arguments, in one line and without the usage.
fn words(error: &clap::Error) -> String {
    if error.kind() == DisplayHelpOnMissingArgumentOrSubcommand {
        return "arguments are missing".to_owned();
    }
    let text = error.to_string();
    let is_usage = |part: &&str| part.starts_with("Usage:") || part.starts_with("For more information");
    let parts = text.trim_start_matches("error: ").split("\n\n").filter(|part| !is_usage(part));
    let one_line = |part: &str| part.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    parts.map(one_line).collect::<Vec<_>>().join("; ")
}

fn run(cli: &Cli) -> Result<u8> {
    let global = &cli.global;
    match &cli.command {
        Command::Serve(args) => serve::run(global, args),
        Command::Demo(args) => demo::run(global, args),
        Command::Plan(args) => plan::run(global, args),
        Command::Publish(args) => publish::run(global, args),
        Command::Batches(command) => batches::run(global, command),
        Command::Dlq(command) => dlq::run(global, command).or_else(|error| dlq::refused(global, error)),
        Command::Inbox(command) => inbox::run(global, command),
        Command::Sources(command) => sources::run(global, command),
        Command::Snapshots(command) => snapshots::run(global, command),
        Command::Catalogue(command) => catalogue::run(global, command),
        Command::Why(args) => why::run(global, args),
        Command::Targets(command) => targets::run(global, command),
        Command::Issues(command) => issues::run(global, command),
        Command::Config(command) => config::run(global, command),
        Command::Doctor(args) => doctor::run(global, args),
        Command::Recover(args) => {
            // It makes what is not there: what is hidden is no such thing.
            if global.server.is_none() {
                let settings = common::settings(global)?;
                present::nothing_hidden(&settings.data, &settings)?;
            }
            recover::run(global, args)
        }
        Command::Completions { shell } => {
            // Into memory first: its own writing panics where the reader has gone.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "tidegate", &mut script);
            common::out(String::from_utf8_lossy(&script))?;
            Ok(0)
        }
    }
}
