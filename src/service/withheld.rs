//! Deletions that a full batch withheld, because it had a line whose key could
//! not be read. A person who looked at them may have the batch speak for what
//! it does not list all the same (`SEMANTICS` 3): it comes again as `<id>~n`,
//! and is planned against today, guards included.

use super::engine::Engine;
use super::operate::conflict;
use crate::domain::ids::{BatchId, PlanId};
use crate::domain::plan::PlanDigest;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{BatchRecord, Decision, PlanRecord};

/// How many deletions a batch that ended withheld, and the digest of its plan;
/// `None` when it withheld none, or a person approved them.
pub(super) fn withheld(
    batch: &BatchRecord,
    plan_of: impl Fn(&PlanId) -> Result<Option<PlanRecord>>,
    batch_of: impl Fn(&BatchId) -> Result<Option<BatchRecord>>,
) -> Result<Option<(u64, PlanDigest)>> {
    if batch.status != PublishStatus::Complete || batch.absence.is_some() {
        return Ok(None);
    }
    let Some(plan) = &batch.plan_id else { return Ok(None) };
    let Some(header) = plan_of(plan)?.and_then(|plan| plan.header) else { return Ok(None) };
    let count = header.summary.entities.withheld + header.summary.relationships.counts.withheld;
    if count == 0 {
        return Ok(None);
    }
    let speaks = speaks_for(&batch.batch_id, batch_of)?;
    Ok(speaks.is_none().then_some((count, header.digest)))
}

/// The batch that speaks for what another one withheld, once a person approved that.
fn speaks_for(
    id: &BatchId,
    batch_of: impl Fn(&BatchId) -> Result<Option<BatchRecord>>,
) -> Result<Option<BatchRecord>> {
    let mut n = id.n();
    loop {
        n = n.saturating_add(1);
        match batch_of(&id.with_n(n))? {
            Some(later) if later.absence.is_none() => {}
            found => return Ok(found),
        }
    }
}

impl Engine {
    /// The batch that an approval of what a batch withheld made, if it was of the plan
    /// with that digest.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such batch.
    pub fn approved_of_withheld(
        &self,
        id: &BatchId,
        digest: Option<PlanDigest>,
    ) -> Result<Option<BatchRecord>> {
        self.store.read(|view| {
            let original = view.expect_batch(id)?;
            if original.status != PublishStatus::Complete || original.absence.is_some() {
                return Ok(None);
            }
            let plan = original.plan_id.map(|plan| view.plan(&plan)).transpose()?.flatten();
            let planned = plan.and_then(|plan| plan.header).map(|header| header.digest);
            if digest.is_some() && digest != planned {
                return Ok(None);
            }
            speaks_for(id, |batch| view.batch(batch))
        })
    }

    /// Approves what a batch withheld: makes the batch that speaks for it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when nothing is withheld, or the batch's files
    /// are gone; [`ErrorKind::PlanStale`] when its plan has another digest.
    pub(super) fn approve_withheld(
        &self,
        id: &BatchId,
        digest: Option<PlanDigest>,
        actor: &str,
        reason: &str,
    ) -> Result<BatchRecord> {
        let original = self.batch(id)?;
        if !self.is_still_delivered(&original)? {
            let text = format!(
                "batch {id} withheld deletions, and its files are not at {} any more: have its source deliver a new full batch",
                original.url
            );
            return Err(conflict(text));
        }
        let next = self.next_n(id)?;
        // What was accepted is what is read: no file may have changed since.
        let fresh = BatchRecord { files: original.files.clone(), ..self.record(&self.batch_of(&original)?)? };
        let (id, actor, reason) = (id.clone(), actor.to_owned(), reason.to_owned());
        let record = self.store.write(move |tx| {
            let original = tx.expect_batch(&id)?;
            let found = withheld(&original, |plan| tx.plan(plan), |batch| tx.batch(batch))?;
            let Some((count, planned)) = found else {
                return Err(conflict(format!("batch {id} does not wait for an approval")));
            };
            if let Some(digest) = digest.filter(|digest| *digest != planned) {
                let text = format!("batch {id} has a plan with digest {planned}, not {digest}");
                return Err(Error::new(ErrorKind::PlanStale, text));
            }
            if tx.batch(&next)?.is_some() {
                return Err(conflict(format!("batch {next} was made meanwhile; try again")));
            }
            let at = tx.now();
            let mut record = BatchRecord { batch_id: next.clone(), ..fresh };
            record.stamp.batch_id = next;
            record.absence = Some(Decision { actor: actor.clone(), reason: reason.clone(), at });
            tx.put_batch(&record)?;
            let text = format!("{count} withheld deletions approved, as batch {}: {reason}", record.batch_id);
            tx.remark(&original, text, &actor)?;
            tx.remark(&record, format!("batch {id} with what it withheld, approved: {reason}"), &actor)?;
            Ok(record)
        })?;
        self.work.notify();
        Ok(record)
    }
}
