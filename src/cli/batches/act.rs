//! What a person does with a batch. Without a server the batch is worked on
//! here and now; a server is waited for until the batch has ended or waits.

use std::io::IsTerminal;

use super::super::Global;
use super::super::backend::{self, Act, Backend, Purpose};
use super::super::common::{actor, confirmed, usage};
use super::{On, batch_id, exit_after, settled};
use crate::domain::ids::BatchId;
use crate::domain::plan::PlanDigest;
use crate::domain::publish_state::PublishStatus;
use crate::error::Result;
use crate::service::views::BatchAction;
use crate::store::BatchRecord;

/// What stands in the timeline when nobody says why.
fn reason(on: &On, action: BatchAction) -> String {
    on.reason.clone().unwrap_or_else(|| {
        let done = match action {
            BatchAction::Approve => "approved",
            BatchAction::Reject => "rejected",
            BatchAction::Prioritize => "prioritised",
            BatchAction::Unprioritize => "no longer prioritised",
            BatchAction::Cancel => "cancelled",
            BatchAction::Retry => "tried again",
        };
        format!("{done} on the command line")
    })
}

/// Runs `batches approve`.
pub fn approve(global: &Global, on: &On, digest: Option<&str>) -> Result<u8> {
    let id = batch_id(&on.id)?;
    let digest = digest.map(str::parse::<PlanDigest>).transpose().map_err(usage)?;
    backend::with(global, Purpose::Change, |backend| {
        if let Some(left) = approved_before(backend, &id, digest)? {
            return go_on(global, backend, &left);
        }
        // A digest says what was looked at; so does a script that names the batch.
        if digest.is_none() && std::io::stdin().is_terminal() {
            let asked = match backend.batch(&id)?.plan {
                Some(plan) => {
                    let counts = super::super::render::plan::counts_line(&plan.summary);
                    format!("{}Approve it, digest {}, of batch {id}?", counts, plan.digest)
                }
                None => format!("Approve batch {id}?"),
            };
            if !confirmed(global, &asked)? {
                return Ok(1);
            }
        }
        let (actor, reason) = (actor(), reason(on, BatchAction::Approve));
        let id = backend.approve(&id, digest, &Act { actor: &actor, reason: &reason })?;
        go_on(global, backend, &id)
    })
}

/// Runs any other action.
pub fn act(global: &Global, on: &On, action: BatchAction) -> Result<u8> {
    let id = batch_id(&on.id)?;
    backend::with(global, Purpose::Change, |backend| {
        if action == BatchAction::Cancel {
            // Whoever is asked should know that there is such a batch.
            let status = backend.batch(&id)?.publish_state.status;
            if !confirmed(global, &format!("Cancel batch {id}, which is {}?", status.as_str()))? {
                return Ok(1);
            }
        }
        let (actor, reason) = (actor(), reason(on, action));
        if !is_left_behind(backend, &id, |_| action == BatchAction::Retry)? {
            backend.act(&id, action, &Act { actor: &actor, reason: &reason })?;
        }
        backend.remove_pins()?;
        match action {
            BatchAction::Approve | BatchAction::Retry => go_on(global, backend, &id),
            BatchAction::Cancel => exit_after(global, &settled(backend, &id)?).map(|_| 0),
            BatchAction::Reject | BatchAction::Prioritize | BatchAction::Unprioritize => {
                exit_after(global, &backend.batch(&id)?).map(|_| 0)
            }
        }
    })
}

/// The batch that goes on by an approval of this one, which a command that was killed
/// left: itself, or the one that brings what it withheld.
fn approved_before(backend: &Backend, id: &BatchId, digest: Option<PlanDigest>) -> Result<Option<BatchId>> {
    let Backend::Directory(engine, _) = backend else { return Ok(None) };
    let is_it = |approved: PlanDigest| digest.is_none_or(|digest| digest == approved);
    let left = engine.approved_of_withheld(id, digest)?.map_or_else(|| id.clone(), |made| made.batch_id);
    let was_approved = |record: &BatchRecord| {
        let approval = record.approval.as_ref();
        approval.is_some_and(|approval| is_it(approval.digest)) || record.absence.is_some() && left != *id
    };
    Ok(is_left_behind(backend, &left, was_approved)?.then_some(left))
}

/// Whether a batch that `was_decided` was left by a command that was killed: all that
/// it needs is to be worked on, and without a server nobody does that.
pub fn is_left_behind(
    backend: &Backend,
    id: &BatchId,
    was_decided: impl FnOnce(&BatchRecord) -> bool,
) -> Result<bool> {
    let Backend::Directory(engine, _) = backend else { return Ok(false) };
    let record = engine.batch(id)?;
    Ok(was_decided(&record)
        && match record.status {
            PublishStatus::Pending | PublishStatus::Planning => true,
            PublishStatus::PlanComplete => record.hold.is_none(),
            PublishStatus::Executing => !record.waits_in_execution(),
            PublishStatus::Retrying | PublishStatus::Complete | PublishStatus::Failed => false,
        })
}

fn go_on(global: &Global, backend: &Backend, id: &BatchId) -> Result<u8> {
    if let Backend::Directory(engine, _) = backend {
        engine.run_batch(id)?;
        engine.keep_pins()?;
    }
    exit_after(global, &settled(backend, id)?)
}
