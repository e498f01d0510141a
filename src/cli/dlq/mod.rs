//! `tidegate dlq`: dead letters, what is wrong with them, and their repair.

mod act;
mod backend;
mod edit;
mod look;

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

use super::Global;
use super::common::{OrderArg, parse_time, report, usage};
use super::part::PartArgs;
use crate::domain::ids::{BatchId, SourceId};
use crate::error::{Error, ErrorKind, Result};
use crate::service::query::{GroupQuery, LetterQuery, Order, Part};
use crate::service::views::LetterState;
use crate::store::LetterKind;

/// Looks at dead letters and repairs them.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List them, newest first; without --state those that are not settled
    List(ListArgs),
    /// List the reasons that unsettled ones have, the most frequent first
    Groups {
        /// Of this source
        #[arg(long, value_name = "ID")]
        source: Option<String>,
        /// Of entities and relationships, or of batches
        #[arg(long, value_enum)]
        kind: Option<KindArg>,
        /// With this code, such as ENTITY_REJECTED
        #[arg(long)]
        code: Option<String>,
        #[command(flatten)]
        part: PartArgs,
    },
    /// Show one with its reason, diagnostics, attempts and content
    Show {
        /// Its number, or its group, as `dlq groups` names both
        #[arg(value_name = "NUMBER|GROUP")]
        id: String,
        /// Only its original, byte for byte
        #[arg(long)]
        raw: bool,
    },
    /// Put other content in the place of the original, in $EDITOR or from a file
    #[command(after_help = "The content is checked by the rules of a batch, and what it would change is \
                            shown before it is kept. Nothing is sent before it is requeued.")]
    Edit {
        /// Its number
        id: u64,
        /// Take the content from this file; - for standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Only check it and show what it would change
        #[arg(long)]
        check: bool,
        /// Put it back into the queue with that content
        #[arg(long, conflicts_with = "check")]
        requeue: bool,
        /// Take an edit back
        #[arg(long, conflicts_with_all = ["file", "check", "requeue"])]
        undo: bool,
        /// Why
        #[arg(long, value_parser = crate::cli::common::parse_reason)]
        reason: Option<String>,
    },
    /// Put one, or all that a filter finds, back into the queue
    #[command(after_help = EXIT_CODES)]
    Requeue(ActArgs),
    /// Give one, or all that a filter finds, up
    Discard(ActArgs),
}

const EXIT_CODES: &str = "Without a server the batches are published here and now; a server is waited for. \
                          Exit codes: 0 COMPLETE, 1 refused or FAILED, 3 parked by a guard, 4 dead letters \
                          again, 5 not finished.";

/// A kind of dead letter.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum KindArg {
    Entity,
    Batch,
}

impl From<KindArg> for LetterKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Entity => Self::Entity,
            KindArg::Batch => Self::Batch,
        }
    }
}

/// A state, or all of them.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StateArg {
    Open,
    Requeued,
    Resolved,
    Discarded,
    Expired,
    All,
}

impl StateArg {
    fn states(self) -> Vec<LetterState> {
        match self {
            Self::Open => vec![LetterState::Open],
            Self::Requeued => vec![LetterState::Requeued],
            Self::Resolved => vec![LetterState::Resolved],
            Self::Discarded => vec![LetterState::Discarded],
            Self::Expired => vec![LetterState::Expired],
            Self::All => LetterState::ALL.to_vec(),
        }
    }
}

/// Which dead letters.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Filter")]
struct FilterArgs {
    /// Of this source
    #[arg(long, value_name = "ID")]
    source: Option<String>,
    /// Of entities and relationships, or of batches
    #[arg(long, value_enum)]
    kind: Option<KindArg>,
    /// Of entities or relationships of this type
    #[arg(long = "type", value_name = "TYPE")]
    type_name: Option<String>,
    /// Whose name this glob matches
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,
    /// With this code, such as ENTITY_REJECTED
    #[arg(long)]
    code: Option<String>,
    /// Of this group, as `dlq groups` names it
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// That this batch brought
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// That came from this time on: RFC 3339, or so long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<jiff::Timestamp>,
    /// That came before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<jiff::Timestamp>,
}

impl FilterArgs {
    fn query(&self) -> Result<LetterQuery> {
        Ok(LetterQuery {
            states: Vec::new(),
            source_id: self.source.as_ref().map(SourceId::new).transpose().map_err(usage)?,
            kind: self.kind.map(LetterKind::from),
            type_name: self.type_name.clone(),
            name: self.name.clone(),
            code: self.code.clone(),
            signature: self.group.clone(),
            batch_id: self.batch.as_deref().map(str::parse::<BatchId>).transpose().map_err(usage)?,
            since: self.since,
            until: self.until,
            order: Order::Newest,
            part: Part::default(),
        })
    }

    fn is_empty(&self) -> bool {
        let Self { source, kind, type_name, name, code, group, batch, since, until } = self;
        source.is_none()
            && kind.is_none()
            && type_name.is_none()
            && name.is_none()
            && code.is_none()
            && group.is_none()
            && batch.is_none()
            && since.is_none()
            && until.is_none()
    }
}

/// Which dead letters to list.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// In this state
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// In the order in which they came
    #[arg(long, value_enum, default_value = "newest")]
    order: OrderArg,
    #[command(flatten)]
    part: PartArgs,
}

/// Which dead letters something is done about, and why.
#[derive(Debug, Args)]
pub struct ActArgs {
    /// Its number
    id: Option<u64>,
    /// All open ones
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Why: it is kept with each
    // Before the filter, whose heading all behind it would come under.
    #[arg(long, value_parser = crate::cli::common::parse_reason)]
    reason: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Runs the command.
pub fn run(global: &Global, command: &DlqCommand) -> Result<u8> {
    match command {
        DlqCommand::List(args) => look::list(global, args),
        DlqCommand::Groups { source, kind, code, part } => {
            let query = GroupQuery {
                source_id: source.as_ref().map(SourceId::new).transpose().map_err(usage)?,
                kind: kind.map(LetterKind::from),
                code: code.clone(),
                part: Part::default(),
            };
            look::groups(global, &query, part)
        }
        DlqCommand::Show { id, raw: false } => look::show(global, id),
        DlqCommand::Show { id, raw: true } => look::raw(global, id),
        DlqCommand::Edit { id, file, check, requeue, undo, reason } => {
            let edit = edit::Edit {
                id: *id,
                file: file.as_deref(),
                check: *check,
                requeue: *requeue,
                reason: reason.as_deref(),
            };
            if *undo { edit::undo(global, &edit) } else { edit::edit(global, &edit) }
        }
        DlqCommand::Requeue(args) => act::requeue(global, args),
        DlqCommand::Discard(args) => act::discard(global, args),
    }
}

/// The exit code of what was refused. A bad line is no batch that was published
/// without it, which is what its own code says.
///
/// # Errors
/// Any other error than of a bad line.
pub fn refused(global: &Global, error: Error) -> Result<u8> {
    if error.kind() != ErrorKind::LineInvalid {
        return Err(error);
    }
    report(global, &error);
    Ok(1)
}
