//! Plans and their journals.

use jiff::Timestamp;

use super::records::{JournalEntry, PlanRecord, PlanState};
use super::tables::{Table, decode, encode, key, number_behind, numbered};
use super::tx::{Read, Tx, View};
use crate::domain::change::Rejection;
use crate::domain::ids::{OperationNo, PlanId, SourceId, TargetName};
use crate::error::Result;

fn alive_row(target: &TargetName, plan: &PlanId) -> Vec<u8> {
    key(&[target.as_str().as_bytes(), plan.as_str().as_bytes()])
}

fn by_source(source: &SourceId, plan: &PlanId) -> Vec<u8> {
    let mut row = key(&[source.as_str().as_bytes()]);
    row.extend_from_slice(plan.as_str().as_bytes());
    row
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// A plan.
            pub fn plan(&self, id: &PlanId) -> Result<Option<PlanRecord>> {
                let found = self.get(Table::Plans, id.as_str().as_bytes())?;
                found.map(|bytes| decode(Table::Plans, &bytes)).transpose()
            }

            /// All plans.
            pub fn plans(&self) -> Result<Vec<PlanRecord>> {
                self.all(Table::Plans, b"")?.iter().map(|(_, bytes)| decode(Table::Plans, bytes)).collect()
            }

            /// The plans that may still be executed: of a target, or of all.
            pub fn alive_plans(&self, target: Option<&TargetName>) -> Result<Vec<PlanRecord>> {
                let prefix = target.map_or_else(Vec::new, |target| key(&[target.as_str().as_bytes()]));
                let mut plans = Vec::new();
                for (row, _) in self.all(Table::Alive, &prefix)? {
                    let id = row.split(|b| *b == 0).nth(1).unwrap_or_default();
                    if let Some(bytes) = self.get(Table::Plans, id)? {
                        plans.push(decode(Table::Plans, &bytes)?);
                    }
                }
                Ok(plans)
            }

            /// The plans of a source, oldest first.
            pub fn plans_of(&self, source: &SourceId) -> Result<Vec<PlanRecord>> {
                let prefix = key(&[source.as_str().as_bytes()]);
                let mut plans = Vec::new();
                for (row, _) in self.all(Table::PlansBySource, &prefix)? {
                    if let Some(bytes) = self.get(Table::Plans, &row[prefix.len()..])? {
                        plans.push(decode(Table::Plans, &bytes)?);
                    }
                }
                Ok(plans)
            }

            /// What the journal has of an operation.
            pub fn journal_entry(&self, id: &PlanId, no: OperationNo) -> Result<Option<JournalEntry>> {
                let row = numbered(&[id.as_str().as_bytes()], u64::from(no.0));
                let found = self.get(Table::Journal, &row)?;
                found.map(|bytes| decode(Table::Journal, &bytes)).transpose()
            }

            /// The changes of an operation that the target refused, as the
            /// journal has them: by their place.
            pub fn rejections(&self, id: &PlanId, no: OperationNo) -> Result<Vec<(u32, Rejection)>> {
                match self.journal_entry(id, no)? {
                    Some(JournalEntry::Done { rejected, .. }) => Ok(rejected),
                    Some(JournalEntry::Sent { .. }) | None => Ok(Vec::new()),
                }
            }

            /// Hands out what the journal has of a plan, in order, one entry at
            /// a time in memory.
            pub fn each_journal_entry(
                &self,
                id: &PlanId,
                mut each: impl FnMut(OperationNo, JournalEntry),
            ) -> Result<()> {
                self.has_journal_entry(id, |no, entry| {
                    each(no, entry);
                    false
                })
                .map(drop)
            }

            /// Whether the journal of a plan has such an entry: looks at one
            /// after the other, in order, until it is found.
            pub fn has_journal_entry(
                &self,
                id: &PlanId,
                mut is_it: impl FnMut(OperationNo, JournalEntry) -> bool,
            ) -> Result<bool> {
                let prefix = key(&[id.as_str().as_bytes()]);
                let mut after: Option<Vec<u8>> = None;
                while let Some((row, bytes)) = self.scan(Table::Journal, &prefix, after.as_deref(), 1)?.pop()
                {
                    if is_it(OperationNo(number_behind(&row) as u32), decode(Table::Journal, &bytes)?) {
                        return Ok(true);
                    }
                    after = Some(row);
                }
                Ok(false)
            }

            /// What the journal has of a plan, in order.
            pub fn journal(&self, id: &PlanId) -> Result<Vec<(OperationNo, JournalEntry)>> {
                let prefix = key(&[id.as_str().as_bytes()]);
                let rows = self.all(Table::Journal, &prefix)?;
                rows.iter()
                    .map(|(row, bytes)| {
                        Ok((OperationNo(number_behind(row) as u32), decode(Table::Journal, bytes)?))
                    })
                    .collect()
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Stores a plan.
    pub fn put_plan(&mut self, plan: &PlanRecord) -> Result<()> {
        let bytes = encode(plan)?;
        let id = plan.plan_id.as_str().as_bytes();
        if let Some(target) = &plan.target {
            let row = alive_row(target, &plan.plan_id);
            if plan.is_alive() {
                self.put(Table::Alive, row, Vec::new());
            } else {
                self.remove(Table::Alive, row);
            }
        }
        self.put(Table::Plans, id.to_vec(), bytes);
        self.put(Table::PlansBySource, by_source(plan.batch_id.source(), &plan.plan_id), Vec::new());
        Ok(())
    }

    /// Says that a plan will not be executed any more. One that is not there,
    /// or was committed, is left as it is; so is one that lingers.
    pub fn drop_plan(&mut self, id: &PlanId) -> Result<()> {
        match self.plan(id)? {
            Some(plan) if plan.is_alive() && plan.state != PlanState::Lingering => {
                self.put_plan(&PlanRecord { state: PlanState::Dropped, ..plan })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Has the plans of a target that lingered long enough hold nothing any more.
    pub fn end_lingering(&mut self, target: &TargetName, now: Timestamp) -> Result<()> {
        for plan in self.alive_plans(Some(target))? {
            if plan.state == PlanState::Lingering && plan.lingers_until.is_none_or(|until| until <= now) {
                self.put_plan(&PlanRecord { state: PlanState::Committed, lingers_until: None, ..plan })?;
            }
        }
        Ok(())
    }

    /// Removes a plan.
    pub fn remove_plan(&mut self, plan: &PlanRecord) {
        if let Some(target) = &plan.target {
            self.remove(Table::Alive, alive_row(target, &plan.plan_id));
        }
        self.remove(Table::Plans, plan.plan_id.as_str().as_bytes().to_vec());
        self.remove(Table::PlansBySource, by_source(plan.batch_id.source(), &plan.plan_id));
    }

    /// Journals an operation.
    pub fn put_journal(&mut self, plan: &PlanId, no: OperationNo, entry: &JournalEntry) -> Result<()> {
        let bytes = encode(entry)?;
        self.put(Table::Journal, numbered(&[plan.as_str().as_bytes()], u64::from(no.0)), bytes);
        Ok(())
    }

    /// Drops a plan's journal.
    pub fn drop_journal(&mut self, plan: &PlanId) -> Result<()> {
        // Entries hold what was refused, which may be much.
        let prefix = key(&[plan.as_str().as_bytes()]);
        let mut after: Option<Vec<u8>> = None;
        while let Some((row, _)) = self.scan(Table::Journal, &prefix, after.as_deref(), 1)?.pop() {
            self.remove(Table::Journal, row.clone());
            after = Some(row);
        }
        Ok(())
    }
}
