//! What an alert says, by what it is about as that stands. No value of an
//! attribute is in it, and no words of a target, which may hold one.

use serde::Serialize;
use serde_json::Value;

use super::records::{AlertRecord, BatchRecord, SourceHold, SourceHoldReason};
use super::tx::Tx;
use crate::domain::alert::{BatchParked, SourceHeld, TargetDown};
use crate::domain::ids::{BatchId, SourceId, TargetName};
use crate::domain::notice::NoticeKind;
use crate::domain::signature::pattern;
use crate::error::{Error, Result, by_code};

fn parked_key(batch: &BatchId) -> String {
    format!("parked/{batch}")
}

fn held_key(source: &SourceId, reason: SourceHoldReason) -> String {
    format!("held/{source}/{}", reason.as_str())
}

/// What tells the alert of a target apart.
pub(super) fn down_key(target: &TargetName) -> String {
    format!("down/{target}")
}

/// What a code means, and what to do.
fn explained(code: &str) -> (String, String) {
    by_code(code).map(|info| (info.meaning.to_owned(), info.action.to_owned())).unwrap_or_default()
}

fn json(data: impl Serialize) -> Result<Option<Value>> {
    serde_json::to_value(data).map(Some).map_err(|e| Error::internal("an alert").caused_by(e))
}

impl Tx<'_> {
    /// What an alert says; `None`: there is no reason for it any more.
    pub(super) fn alert_data(&self, alert: &AlertRecord) -> Result<Option<Value>> {
        match alert.kind {
            NoticeKind::BatchEnded => Ok(None),
            NoticeKind::DeadLetterOpened => self.dead_letters_opened(&alert.subject),
            NoticeKind::BatchParked => self.batch_parked(&alert.subject),
            NoticeKind::SourceHeld => self.source_held(alert),
            NoticeKind::TargetDown => self.target_down(&alert.subject),
        }
    }

    /// Raises or ends the alert of a batch that waits for approval.
    pub(super) fn batch_alert(&mut self, old: Option<&BatchRecord>, batch: &BatchRecord) -> Result<()> {
        let (key, id) = (parked_key(&batch.batch_id), batch.batch_id.to_string());
        if batch.is_parked() {
            self.raise_alert(&key, NoticeKind::BatchParked, &id)?;
        } else if old.is_some_and(BatchRecord::is_parked) {
            self.clear_alert(&key);
        }
        Ok(())
    }

    /// Raises the alert of a source that is held. One that a person paused
    /// needs none.
    pub(super) fn hold_alert(&mut self, source: &SourceId, reason: SourceHoldReason) -> Result<()> {
        if reason == SourceHoldReason::Paused {
            return Ok(());
        }
        self.raise_alert(&held_key(source, reason), NoticeKind::SourceHeld, source.as_str())
    }

    /// Ends it.
    pub(super) fn end_hold_alert(&mut self, source: &SourceId, reason: SourceHoldReason) {
        self.clear_alert(&held_key(source, reason));
    }

    /// Raises the alert of a target that can't be used.
    pub fn raise_target_down(&mut self, target: &TargetName) -> Result<()> {
        self.raise_alert(&down_key(target), NoticeKind::TargetDown, target.as_str())
    }

    /// Ends it.
    pub fn clear_target_down(&mut self, target: &TargetName) {
        self.clear_alert(&down_key(target));
    }

    fn batch_parked(&self, subject: &str) -> Result<Option<Value>> {
        let Ok(id) = subject.parse::<BatchId>() else { return Ok(None) };
        let batch = self.batch(&id)?.filter(BatchRecord::is_parked);
        let Some((batch, hold)) = batch.and_then(|mut batch| batch.hold.take().map(|hold| (batch, hold)))
        else {
            return Ok(None);
        };
        json(BatchParked {
            source_id: id.source().clone(),
            plan_id: batch.plan_id,
            message: hold.note,
            action: format!(
                "Look at its plan, then `tidegate batches approve {id}` or `tidegate batches reject {id}`."
            ),
            since: hold.since,
            link: self.outlets().link(&format!("/batches/{id}")),
            batch_id: id,
        })
    }

    fn source_held(&self, alert: &AlertRecord) -> Result<Option<Value>> {
        let Ok(source) = SourceId::new(&alert.subject) else { return Ok(None) };
        let is = |hold: &SourceHold| held_key(&source, hold.reason) == alert.key;
        let Some(hold) = self.source_holds(&source)?.into_iter().find(is) else { return Ok(None) };
        let (meaning, action) = explained(&hold.code);
        let action = action.replace("SOURCE", source.as_str());
        let batch = hold.batch_id.as_ref().map(ToString::to_string).unwrap_or_default();
        json(SourceHeld {
            reason: hold.reason.as_str(),
            meaning,
            action,
            message: pattern(&hold.note, &[&batch, source.as_str()]),
            batch_id: hold.batch_id,
            since: hold.since,
            link: self.outlets().link(&format!("/sources/{source}")),
            source_id: source,
            code: hold.code,
        })
    }

    fn target_down(&self, subject: &str) -> Result<Option<Value>> {
        let Ok(target) = TargetName::new(subject) else { return Ok(None) };
        let Some(breaker) = self.breaker(&target)?.filter(|breaker| breaker.is_open()) else {
            return Ok(None);
        };
        let (meaning, action) = explained(&breaker.code);
        json(TargetDown {
            target,
            meaning,
            action,
            since: breaker.since,
            link: self.outlets().link("/targets"),
            code: breaker.code,
        })
    }
}
