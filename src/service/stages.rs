//! The way of one batch, stage by stage: plan, park or begin, execute, commit.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::engine::Engine;
use super::queue::{Claim, is_parked};
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, Result};
use crate::store::BatchRecord;

impl Engine {
    /// Takes a batch as far as it goes now. An error that is not the batch's
    /// own has had its effect on the source before it is returned.
    pub(super) fn attempt(&self, claim: Claim<'_>) -> Result<()> {
        self.work_on(claim, |batch| {
            let mut next = Some(batch);
            while let Some(batch) = next {
                next = self.stage(batch)?;
                if self.stopping() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Takes a batch one stage further.
    pub(super) fn one_stage(&self, claim: Claim<'_>) -> Result<()> {
        self.work_on(claim, |batch| self.stage(batch).map(|_| ()))
    }

    fn work_on(&self, claim: Claim<'_>, work: impl FnOnce(BatchRecord) -> Result<()>) -> Result<()> {
        let batch = (*claim.batch).clone();
        let id = batch.batch_id.clone();
        // A defect met by one batch must not take the worker with it.
        let result = catch_unwind(AssertUnwindSafe(|| work(batch))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Error::internal(format!("batch {id}: a worker panicked: {text}")))
        });
        self.live.end(&id);
        let result = match result {
            Err(error) => match self.trouble(&id, &error)? {
                true => Ok(()),
                false => Err(error),
            },
            Ok(()) if self.stopping() => Ok(()),
            Ok(()) => self.close_breaker(&self.settings().source(id.source()).target),
        };
        drop(claim);
        result
    }

    /// One stage; `None`: the batch goes no further now.
    fn stage(&self, batch: BatchRecord) -> Result<Option<BatchRecord>> {
        let id = batch.batch_id.clone();
        let result = match batch.status {
            PublishStatus::Pending | PublishStatus::Planning | PublishStatus::Retrying => {
                self.plan_batch(batch)
            }
            PublishStatus::PlanComplete if is_parked(&batch) => Ok(None),
            PublishStatus::PlanComplete => self.begin(batch),
            PublishStatus::Executing => self.execute(batch),
            PublishStatus::Complete | PublishStatus::Failed => {
                if !self.awaits_pin(&id)? {
                    self.clear_spool(&batch);
                }
                Ok(None)
            }
        };
        match result {
            // Somebody ended it meanwhile: that is how it stands.
            Err(error) if !self.is_fatal(&error) && self.batch(&id)?.status.is_final() => {
                tracing::debug!(batch = %id, source = %id.source(), %error, "it was ended meanwhile");
                self.stage(self.batch(&id)?)
            }
            other => other,
        }
    }
}
