//! What becomes of a batch, or of its source, when something goes wrong.

use super::SELF;
use super::dead_letters::said_anew;
use super::engine::Engine;
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::publish_state::{FailureDetails, PublishStatus};
use crate::domain::settings::OnFailure;
use crate::domain::stamp::Stamp;
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::planning::snapshot::SnapshotManifest;
use crate::store::{BatchRecord, SourceHold, SourceHoldReason, Tx};

/// How an error is told in a publish state.
pub(super) fn failure(
    id: &BatchId,
    error: &Error,
    operation: Option<String>,
    retries: u32,
) -> FailureDetails {
    let info = error.kind().info();
    let causes = error.trace();
    FailureDetails {
        error_code: info.code.into(),
        error_message: format!(
            "{}. {}{}",
            said(id, error).trim_end_matches('.'),
            info.meaning,
            info.to_do()
                .map(|action| to_do(action).replace("SOURCE", id.source().as_str()))
                .unwrap_or_default()
        ),
        failed_operation: operation,
        stack_trace: (!causes.is_empty()).then(|| causes.join("\n")),
        retry_count: retries,
    }
}

/// What went wrong, with the batch that it happened to. What the machine says
/// of its disks is the reason itself; other causes may be long, and are told apart.
fn said(id: &BatchId, error: &Error) -> String {
    use ErrorKind::{CompressionInvalid, DiskFull, Io, ObjectStore};
    let mut text = error.message().to_owned();
    if matches!(error.kind(), Io | DiskFull | CompressionInvalid | ObjectStore) {
        for cause in error.causes() {
            text = format!("{}: {cause}", text.trim_end_matches('.'));
        }
    }
    if text.contains(&id.to_string()) { text } else { format!("batch {id}: {text}") }
}

/// What to do, as the end of a message.
fn to_do(action: &str) -> String {
    // "Nothing" answers a question that a message does not ask.
    let action = action.strip_prefix("Nothing; ").unwrap_or(action);
    let mut letters = action.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!(" {first}{}", letters.as_str())
}

/// What was sent and answered when a batch failed: for its dead letter.
pub(super) struct Exchange {
    request: Option<String>,
    answer: Option<String>,
}

impl Exchange {
    pub(super) fn of(error: &Error) -> Self {
        let answer = error.answer().map(|answer| answer.text.clone());
        Self {
            request: error.request().map(str::to_owned),
            answer: answer.filter(|answer| !answer.is_empty()),
        }
    }

    /// Puts it into the batch's letter, if it has one.
    pub(super) fn keep(self, tx: &mut Tx<'_>, id: &BatchId) -> Result<()> {
        match self {
            Self { request: None, answer: None } => Ok(()),
            Self { request, answer } => tx.add_exchange(id, request, answer),
        }
    }
}

/// Whether an error is the batch's own, so that the batch fails and its
/// source goes on; else it concerns the machine, and the batch waits.
pub(super) fn concerns_batch(kind: ErrorKind) -> bool {
    use ErrorKind::*;
    match kind {
        ManifestMissing | ManifestInvalid | ManifestMismatch | ManifestVersion | ModeMissing | FromFuture
        | TooLate | IdReused | FolderChanged | FileMissing | FileUnsafe | SizeMismatch | ChecksumMismatch
        | CountMismatch | UploadInvalid | CompressionInvalid | ExpansionLimit | TooManyBadLines
        | LineInvalid | KeyConflict | EntityRejected | EntityMissing | TooManyRefused | PlanInvalid
        | PinDamaged | Rejected | Cancelled | Superseded | Partial => true,
        Usage | Settings | NotFound | Conflict | PlanStale | Parked | SnapshotInvalid | StateForeign
        | StateMissing | DataMissing | StoreDamaged | StoreInUse | StoreNewer | StoreFailed | DiskFull
        | Io | ObjectStore | TargetUnavailable | TargetTimeout | TargetUnauthorized | TargetContract
        | TargetInterrupted | TargetAnswer | BulkRejected | CatalogueFailed | TargetThrottled
        | TargetFailed | TargetMoved | Maintenance | KnownIssue | ServerUnreachable | ServerAnswer
        | Interrupted | Internal => false,
    }
}

/// Holds a source, and says so in its timeline.
pub(super) fn hold(tx: &mut Tx<'_>, id: &BatchId, hold: &SourceHold) -> Result<()> {
    tx.hold_source(id.source(), hold)?;
    tx.note_source(id.source(), &format!("held: {}", hold.note), SELF)
}

impl Engine {
    /// Whether the store can't go on, and the process has to end.
    pub(super) fn is_fatal(&self, error: &Error) -> bool {
        self.store.failed() || error.kind() == ErrorKind::StoreFailed
    }

    /// The hold that a failed batch leaves its source with. `newer`: the stamp of
    /// what was published already and said anew all that the batch says.
    pub(super) fn hold_after(
        &self,
        record: &BatchRecord,
        failed: Option<&Error>,
        newer: Option<&Stamp>,
    ) -> Option<SourceHold> {
        let error = failed.filter(|error| error.kind() != ErrorKind::Cancelled)?;
        self.hold_for(record, error.kind().info().code, error.message(), newer)
    }

    /// The same of one that failed with this code.
    pub(super) fn hold_for(
        &self,
        record: &BatchRecord,
        code: &str,
        message: &str,
        newer: Option<&Stamp>,
    ) -> Option<SourceHold> {
        // What a late batch was to bring was said anew.
        if newer.is_some() {
            return None;
        }
        // The source went on without what it was made of, and that is open again.
        if record.letters > 0 {
            return None;
        }
        match self.settings().source(record.batch_id.source()).on_failure(record.mode) {
            OnFailure::Continue => None,
            OnFailure::Hold => Some(SourceHold {
                reason: SourceHoldReason::BatchFailed,
                code: code.to_owned(),
                note: says_failed(&record.batch_id, message),
                since: self.clock.now(),
                batch_id: Some(record.batch_id.clone()),
            }),
        }
    }

    pub(super) fn fail(&self, id: &BatchId, error: &Error, operation: Option<String>) -> Result<BatchRecord> {
        tracing::warn!(batch = %id, source = %id.source(), code = error.kind().info().code, "failed: {error}");
        let record = self.batch(id)?;
        let published = self.published(id.source());
        let newer = published.as_ref().and_then(|snapshot| said_anew(snapshot, &record)).cloned();
        let held = self.hold_after(&record, Some(error), newer.as_ref());
        let (details, exchange) = (failure(id, error, operation, record.attempts), Exchange::of(error));
        let (id, cause) = (id.clone(), error.to_string());
        self.store.write(move |tx| {
            if let Some(held) = &held {
                hold(tx, &id, held)?;
            }
            let now = tx.now();
            let record = tx.fail_batch(&id, (&cause, SELF), newer, |record| {
                record.publish_end = Some(now);
                record.failure = Some(details);
            })?;
            exchange.keep(tx, &id)?;
            Ok(record)
        })
    }

    /// The stamp of what was published already and said anew all that a batch
    /// says.
    pub(super) fn newer_than(&self, record: &BatchRecord) -> Option<Stamp> {
        let published = self.published(record.batch_id.source())?;
        said_anew(&published, record).cloned()
    }

    /// What is published of a source, to know what is moot or how much a batch
    /// is. Whatever it is that can't be read, nothing fails for it here: a dead
    /// letter stays open, an estimate is made without, and the next plan says what
    /// is wrong.
    pub(super) fn published(&self, source: &SourceId) -> Option<SnapshotManifest> {
        let read = || {
            let (name, _) = self.target_of(source)?;
            let current = self.store.read(|view| view.current_snapshot(name, source))?;
            current.map(|id| SnapshotManifest::read(&self.state.snapshot_path(source, name, &id))).transpose()
        };
        read().unwrap_or_else(|error| {
            tracing::warn!(%source, %error, "what is published of it can't be read");
            None
        })
    }

    /// What was tried again went well at last.
    pub(super) fn goes_on(&self, id: &BatchId) {
        if let Some(times) = self.folded.over(&format!("retry of {}", id.source())) {
            tracing::info!(batch = %id, source = %id.source(), times, "it went well after failures");
        }
    }

    pub(super) fn end(&self, id: &BatchId, event: Event, error: &Error) -> Result<BatchRecord> {
        let record = self.batch(id)?;
        let details = failure(id, error, None, record.attempts);
        let (id, cause) = (id.clone(), error.to_string());
        self.store.write(move |tx| {
            let now = tx.now();
            tx.transition_batch(&id, event, &cause, SELF, |record| {
                record.publish_end = Some(now);
                record.failure = Some(details);
                record.hold = None;
            })
        })
    }

    /// What is wrong is not the batch's own: one source's trouble must not be
    /// the others'. What may pass by itself has the source wait; the rest
    /// holds it until a person, other settings or a restart let it go on.
    /// Returns whether all that follows is that the batch is tried again.
    pub(super) fn trouble(&self, id: &BatchId, error: &Error) -> Result<bool> {
        if self.is_fatal(error) || error.kind() == ErrorKind::Interrupted {
            return Ok(false);
        }
        let source = id.source();
        let record = self.batch(id)?;
        if record.status.is_final() {
            return Ok(false);
        }
        if error.kind().info().retry != Retry::Never {
            if record.status != PublishStatus::Executing {
                return self.retry_later(id, error).map(|_| true);
            }
            // EXECUTING goes on from its journal, and is left only by a commit.
            self.go_on_later(id, error)?;
            return Ok(false);
        }
        let reason = match error.kind() {
            ErrorKind::TargetMoved => SourceHoldReason::TargetMoved,
            _ => SourceHoldReason::Trouble,
        };
        let held = SourceHold {
            reason,
            code: error.kind().info().code.into(),
            note: error.to_string(),
            since: self.clock.now(),
            batch_id: Some(id.clone()),
        };
        let same = |other: &SourceHold| other.reason == reason && other.note == held.note;
        if !self.store.read(|view| view.source_holds(source))?.iter().any(same) {
            tracing::error!(batch = %id, %source, code = error.kind().info().code, %error, "the source is held");
            let id = id.clone();
            self.store.write(move |tx| hold(tx, &id, &held))?;
        }
        if record.status == PublishStatus::Executing && record.cancel.is_some() {
            // No hold keeps it from its end, and it must not try that without a pause.
            self.go_on_later(id, error)?;
        }
        Ok(false)
    }
}

/// That a batch failed, with its id once: most messages begin with it.
fn says_failed(id: &BatchId, message: &str) -> String {
    let own = message.strip_prefix("batch ").and_then(|rest| rest.strip_prefix(id.to_string().as_str()));
    let what = own.and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message);
    format!("batch {id} failed: {what}")
}
