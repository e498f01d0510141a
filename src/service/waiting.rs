//! What has a batch wait that is no fault of its own: a target that can't be
//! used, a maintenance window, something that an operator knows of.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use jiff::Timestamp;

use super::SELF;
use super::breaker::next_probe;
use super::engine::Engine;
use super::views::WaitCode;
use crate::config::Settings;
use crate::domain::ids::SourceId;
use crate::domain::publish_state::PublishStatus;
use crate::error::Result;
use crate::intake::manifest::MANIFEST;
use crate::store::{BatchRecord, View};

/// Why a batch waits, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// For what.
    pub code: WaitCode,
    /// The same in words.
    pub text: String,
    /// When it is looked at again; `None`: when a person says so.
    pub until: Option<Timestamp>,
}

/// Why a batch without a manifest is held: the settings of its source do not say
/// how it is meant.
pub(super) fn mode_missing(settings: &Settings, batch: &BatchRecord) -> Option<String> {
    let source = batch.batch_id.source();
    let missing = batch.mode.is_none() && settings.source(source).mode.is_none();
    missing.then(|| {
        format!("it has no {MANIFEST}, and `sources.{source}.mode` is not set: set it, then send SIGHUP or restart")
    })
}

impl Engine {
    /// What a batch that may run by its source waits for. One that is being
    /// executed is stopped by windows and known issues between two
    /// operations, and not here.
    pub(super) fn waits_for(
        &self,
        view: &View<'_>,
        settings: &Settings,
        batch: &BatchRecord,
        now: Timestamp,
    ) -> Result<Option<Waiting>> {
        let source = batch.batch_id.source();
        if let Some(why) = mode_missing(settings, batch) {
            let text = format!("it is held: {why}");
            return Ok(Some(Waiting { code: WaitCode::SourceHeld, text, until: None }));
        }
        let target = settings.source(source).target;
        if let Some(breaker) = view.breaker(&target)?.filter(|breaker| breaker.is_open()) {
            let waiting = |text, until| Ok(Some(Waiting { code: WaitCode::TargetDown, text, until }));
            // It ends, and sends nothing any more.
            if batch.status == PublishStatus::Executing && batch.cancel.is_some() {
                return Ok(None);
            }
            if !breaker.half_open {
                let text = format!(
                    "the target {target} can't be used ({}): it is looked at again at {}",
                    breaker.code,
                    breaker.next_probe.strftime("%F %T UTC")
                );
                // While it is probed nothing is known of a time.
                return waiting(text, next_probe(&breaker, &settings.retry, now));
            }
            if let Some(other) = self.work.trial_of(&target).filter(|other| other != source) {
                let text = format!("the target {target} answers again, and is tried with a batch of {other}");
                return waiting(text, None);
            }
        }
        if batch.status == PublishStatus::Executing {
            return Ok(None);
        }
        if let Some(until) = settings.window_open(&target, source, now) {
            let text = format!("a maintenance window is open until {}", until.strftime("%F %T UTC"));
            return Ok(Some(Waiting { code: WaitCode::Window, text, until: Some(until) }));
        }
        let code = batch.retry.as_ref().map(|retry| retry.code.as_str());
        if let Some(issue) = view.known_issue(&target, source, code, now)? {
            let text = format!("known issue {}: {}", issue.id, issue.note);
            return Ok(Some(Waiting { code: WaitCode::KnownIssue, text, until: issue.until }));
        }
        Ok(None)
    }

    /// Notes, once, that a batch which would run waits for a window or for a
    /// known issue: else its timeline would say nothing until its turn comes.
    pub(super) fn tell_wait(&self, batch: &BatchRecord, waiting: &Waiting) -> Result<()> {
        let until = match (waiting.code, waiting.until) {
            // The text of a window says it.
            (WaitCode::Window, _) => String::new(),
            (WaitCode::KnownIssue, Some(at)) => format!(", until {}", at.strftime("%F %T UTC")),
            (WaitCode::KnownIssue, None) => ", until an operator lifts it".to_owned(),
            _ => return Ok(()),
        };
        let (id, why) = (batch.batch_id.clone(), waiting.text.clone());
        let mut told = self.waits_told.lock().unwrap_or_else(PoisonError::into_inner);
        let text = format!("it waits: {why}{until}");
        if told.get(id.source()).is_some_and(|(batch, last)| *batch == id && *last == text) {
            return Ok(());
        }
        let (batch, cause) = (id.clone(), text.clone());
        self.store.write(move |tx| {
            let record = tx.expect_batch(&batch)?;
            // Before a restart, or when the window had it stop between operations.
            let last = tx.timeline_page(&batch, true, None, 1)?.pop();
            let is_told = last.is_some_and(|(_, entry)| entry.cause.contains(&why));
            if is_told || record.status.is_final() {
                return Ok(());
            }
            tx.remark(&record, cause, SELF)
        })?;
        told.insert(id.source().clone(), (id, text));
        Ok(())
    }

    /// The sources that their target, half open, was tried with in vain, each
    /// with its place: the one tried last has the highest. Others go first, so
    /// that a few which fail by their own fault can't keep the rest waiting.
    pub(super) fn tried_in_vain(&self, view: &View<'_>) -> Result<BTreeMap<SourceId, usize>> {
        let open = view.open_breakers()?.into_iter().filter(|(_, breaker)| breaker.half_open);
        Ok(open.flat_map(|(_, breaker)| breaker.in_vain.into_iter().zip(1..)).collect())
    }

    /// Whether a source that is in work may be the one that its target is
    /// tried with, should the target need that.
    pub(super) fn may_try(&self, source: &SourceId) -> Result<bool> {
        let target = self.settings().source(source).target;
        let tried = self.store.read(|view| view.breaker(&target))?;
        let needs = tried.is_some_and(|breaker| breaker.is_open() && breaker.half_open);
        Ok(!needs || self.work.claim_trial(&target, source))
    }
}
