//! Holds of sources that end by themselves: when the target is the right one
//! again, the settings know the source, or what failed may go well now.

use super::SELF;
use super::engine::{Engine, OpenTarget};
use super::work::Wait;
use crate::config::{Settings, UnknownSources};
use crate::domain::ids::{PlanId, SourceId, TargetName};
use crate::domain::plan::PlanHeader;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::planning::plan_file::Plan;
use crate::planning::snapshot::SnapshotManifest;
use crate::store::{APPLIED, JournalEntry, PlanState, Read, SourceHold, SourceHoldReason};

/// The row of the store that has the last plan of a source with an operation.
pub(super) fn applied_row(target: &str, source: &str) -> Vec<u8> {
    format!("applied:{target}:{source}").into_bytes()
}

/// The row of the store that has what stood in that one when a plan began.
pub(super) fn before_row(target: &str, source: &str) -> Vec<u8> {
    format!("applied-before:{target}:{source}").into_bytes()
}

/// What stands in it: the plan that began, and the one that was the last then.
pub(super) fn before(begun: &PlanId, last: Option<&[u8]>) -> Vec<u8> {
    [begun.as_str().as_bytes(), b" ", last.unwrap_or_default()].concat()
}

impl Engine {
    /// The hold of a source that the settings do not know, if they want that.
    pub(super) fn unknown_source(&self, settings: &Settings, source: &SourceId) -> Option<SourceHold> {
        let known = settings.sources.contains_key(source);
        match settings.service.unknown_sources {
            UnknownSources::Accept => None,
            UnknownSources::Hold if known => None,
            UnknownSources::Hold => Some(SourceHold {
                reason: SourceHoldReason::UnknownSource,
                code: ErrorKind::Settings.info().code.into(),
                note: format!(
                    "there is no `[sources.{source}]`, and `service.unknown_sources` is \"hold\"; add it, or resume the source"
                ),
                since: self.clock.now(),
                batch_id: None,
            }),
        }
    }

    /// Ends the holds whose reason may be over: of one source, or of all.
    /// Whatever is still wrong holds the source again.
    pub(super) fn recheck_holds(&self, only: Option<&SourceId>) -> Result<()> {
        let settings = self.settings();
        for (source, hold) in self.store.read(|view| view.all_holds())? {
            if only.is_some_and(|only| *only != source) {
                continue;
            }
            let why = match hold.reason {
                SourceHoldReason::Paused | SourceHoldReason::BatchFailed => None,
                SourceHoldReason::Trouble => Some("it is tried again"),
                SourceHoldReason::TargetMoved => {
                    self.is_right_again(&source)?.then_some("the target is the right one again")
                }
                SourceHoldReason::UnknownSource => {
                    let unknown = self.unknown_source(&settings, &source).is_some();
                    (!unknown).then_some("the settings let it go on")
                }
            };
            let Some(why) = why else { continue };
            tracing::info!(%source, was = hold.reason.as_str(), "goes on: {why}");
            self.store.write(move |tx| {
                tx.lift_source_hold(&source, hold.reason, hold.batch_id.as_ref())?;
                tx.note_source(&source, &format!("goes on: {why}"), SELF)
            })?;
        }
        Ok(())
    }

    /// Whether the target of a source, or of its plan that was begun, is the one
    /// that something was published to.
    fn is_right_again(&self, source: &SourceId) -> Result<bool> {
        let unfinished = self.store.read(|view| view.unfinished(source))?;
        let begun = unfinished.into_iter().find(|batch| batch.status == PublishStatus::Executing);
        let Some(plan) = begun.and_then(|batch| batch.plan_id) else {
            return Ok(self.check_target(source).is_ok());
        };
        let resumed = || {
            let plan = Plan::open(&self.state, source, &plan)?;
            let (_, open) = self.target_named(&plan.manifest().header.target, source)?;
            self.check_resumed(&plan, open)
        };
        Ok(resumed().is_ok())
    }

    /// Whether something holds a source that not even a full batch overtakes.
    pub(super) fn is_stopped(&self, source: &SourceId) -> Result<bool> {
        let holds = self.store.read(|view| view.source_holds(source))?;
        Ok(holds.iter().any(|hold| !hold.reason.is_overtaken()))
    }

    /// The source whose batch has to come to its end before `source` goes on.
    pub(super) fn blocked_by(&self, source: &SourceId) -> Result<Option<SourceId>> {
        match self.work.wait_of(source) {
            Some(Wait::Plan(plan)) => self.store.read(|view| {
                let plan = view.plan(&plan)?.filter(|plan| plan.state == PlanState::Executing);
                Ok(plan.map(|plan| plan.batch_id.source().clone()))
            }),
            Some(Wait::Source(other)) => Ok(Some(other)),
            Some(Wait::Unanswered(..)) | None => Ok(None),
        }
    }

    /// The target must be the one that the snapshot was published to, with
    /// what was published last (`SEMANTICS` 10): that plan, of a target that
    /// tracks them.
    pub(super) fn check_target(&self, source: &SourceId) -> Result<Option<PlanId>> {
        let (name, open) = self.target_of(source)?;
        self.check_identity(source, (name, open), None)
    }

    /// The same of a target that said already what it is, which need not be the
    /// one that the source is published to now.
    pub(super) fn check_target_is(
        &self,
        source: &SourceId,
        target: &TargetName,
        identity: &str,
    ) -> Result<()> {
        self.check_identity(source, self.target_named(target, source)?, Some(identity)).map(drop)
    }

    fn check_identity(
        &self,
        source: &SourceId,
        (name, open): (&TargetName, &OpenTarget),
        identity: Option<&str>,
    ) -> Result<Option<PlanId>> {
        let (current, applied, before_it) = self.store.read(|view| {
            let applied = view.get(APPLIED, &applied_row(name.as_str(), source.as_str()))?;
            let before_it = view.get(APPLIED, &before_row(name.as_str(), source.as_str()))?;
            Ok((view.current_snapshot(name, source)?, applied, before_it))
        })?;
        if let Some(current) = current {
            let path = self.state.snapshot_path(source, name, &current);
            let snapshot = SnapshotManifest::read(&path)?;
            let identity = match identity {
                Some(identity) => identity.to_owned(),
                None => open
                    .target
                    .identity()
                    .map_err(|e| e.context(format!("source {source}, target {name}")))?,
            };
            if identity != snapshot.target_identity {
                return Err(moved(
                    source,
                    format!(
                        "the target {name} is {identity}, snapshot {current} was published to {}",
                        snapshot.target_identity
                    ),
                ));
            }
        }
        if !open.target.capabilities().tracks_plans {
            return Ok(None);
        }
        let last = open.target.last_plan(source)?;
        let is = last.as_ref().map(|plan| plan.as_str().as_bytes());
        // A plan that came to its end without an outcome may be there, or not.
        let is_from_before = || {
            let begun = PlanId::new(String::from_utf8_lossy(applied.as_deref().unwrap_or_default())).ok();
            begun.is_some_and(|begun| before_it == Some(before(&begun, is)))
        };
        if applied.as_deref() != is && !is_from_before() {
            let text = |plan: Option<&[u8]>| match plan {
                Some(plan) => String::from_utf8_lossy(plan).into_owned(),
                None => "none".into(),
            };
            return Err(moved(
                source,
                format!(
                    "the target {name} had plan {} last, tidegate.redb says {}",
                    text(is),
                    text(applied.as_deref())
                ),
            ));
        }
        Ok(last)
    }

    /// A plan whose execution goes on must find the target that it began with,
    /// and what was done of it there.
    pub(super) fn check_resumed(&self, plan: &Plan, open: &OpenTarget) -> Result<()> {
        let PlanHeader { plan_id, source_id: source, target: name, .. } = &plan.manifest().header;
        let planned = &plan.manifest().target_identity;
        let identity =
            open.target.identity().map_err(|e| e.context(format!("source {source}, target {name}")))?;
        if identity != *planned {
            let text = format!("the target {name} is {identity}, plan {plan_id} was begun at {planned}");
            return Err(moved(source, text));
        }
        // One that sends nothing is never the last one there.
        if !open.target.capabilities().tracks_plans || plan.manifest().header.operations == 0 {
            return Ok(());
        }
        let last = open.target.last_plan(source)?;
        if last.as_ref() == Some(plan_id) {
            return Ok(());
        }
        let (has_outcome, before_it) = self.store.read(|view| {
            let is_outcome = |_, entry| matches!(entry, JournalEntry::Done { .. });
            let row = before_row(name.as_str(), source.as_str());
            Ok((view.has_journal_entry(plan_id, is_outcome)?, view.get(APPLIED, &row)?))
        })?;
        // Nothing of it need be there yet; then it is as it was before it.
        let known = before(plan_id, last.as_ref().map(|plan| plan.as_str().as_bytes()));
        if !has_outcome && before_it.is_none_or(|before_it| before_it == known) {
            return Ok(());
        }
        let last = last.map_or_else(|| "none".to_owned(), |plan| plan.to_string());
        let text = format!("the target {name} had plan {last} last, plan {plan_id} was begun there");
        Err(moved(source, text))
    }
}

/// The error of a target that is not the one that something was published to.
fn moved(source: &SourceId, what: String) -> Error {
    let text = format!("source {source}: {what}; publishing goes on when they belong together again");
    Error::new(ErrorKind::TargetMoved, text)
}
