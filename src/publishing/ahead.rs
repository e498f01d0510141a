//! Preparing the next operation while the target works on this one.

use super::operation::{Prepared, Refusals, prepare};
use crate::domain::ids::OperationNo;
use crate::error::Result;
use crate::planning::bodies::Bodies;
use crate::planning::plan_file::Plan;

/// The next operation, read and unpacked while the target works on this one.
pub(super) struct Ahead<'a> {
    plan: &'a Plan,
    bodies: Bodies,
    prepared: Option<(OperationNo, Prepared)>,
}

/// Operations of fewer changes are not worth a thread.
const WORTH_A_THREAD: u32 = 256;

impl<'a> Ahead<'a> {
    /// Nothing is prepared yet.
    pub(super) fn new(plan: &'a Plan) -> Result<Self> {
        Ok(Self { plan, bodies: Bodies::new()?, prepared: None })
    }

    /// Runs `work`, and prepares operation `next` beside it as if nothing will
    /// have been refused.
    pub(super) fn beside<T>(&mut self, next: OperationNo, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let operation = self.plan.manifest().operations.get(next.0 as usize);
        if operation.is_none_or(|operation| operation.changes < WORTH_A_THREAD) {
            return work();
        }
        let (plan, bodies) = (self.plan, &mut self.bodies);
        let (done, prepared) = std::thread::scope(|scope| {
            let thread = scope.spawn(move || prepare(plan, next, &Refusals::default(), bodies));
            let done = work();
            match thread.join() {
                Ok(prepared) => (done, prepared),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        let done = done?;
        self.prepared = Some((next, prepared?));
        Ok(done)
    }

    /// What was prepared of an operation, if that still holds.
    pub(super) fn take(&mut self, no: OperationNo, refusals: &Refusals) -> Option<Prepared> {
        let (prepared_no, prepared) = self.prepared.take()?;
        (prepared_no == no && refusals.keys.is_empty()).then_some(prepared)
    }
}
