//! Plans and their journals.

use super::records::{JournalEntry, PlanRecord};
use super::tables::{Table, decode, encode, key, numbered};
use super::tx::{Read, Tx, View};
use crate::domain::ids::{OperationNo, PlanId};
use crate::error::Result;

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

            /// What the journal has of a plan, in order.
            pub fn journal(&self, id: &PlanId) -> Result<Vec<(OperationNo, JournalEntry)>> {
                let prefix = key(&[id.as_str().as_bytes()]);
                let rows = self.all(Table::Journal, &prefix)?;
                rows.iter()
                    .map(|(row, bytes)| {
                        let mut number = [0; 8];
                        number.copy_from_slice(&row[row.len().saturating_sub(8)..]);
                        Ok((OperationNo(u64::from_be_bytes(number) as u32), decode(Table::Journal, bytes)?))
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
        self.put(Table::Plans, plan.plan_id.as_str().as_bytes().to_vec(), bytes);
        Ok(())
    }

    /// Removes a plan.
    pub fn remove_plan(&mut self, id: &PlanId) {
        self.remove(Table::Plans, id.as_str().as_bytes().to_vec());
    }

    /// Journals an operation.
    pub fn put_journal(&mut self, plan: &PlanId, no: OperationNo, entry: &JournalEntry) -> Result<()> {
        let bytes = encode(entry)?;
        self.put(Table::Journal, numbered(&[plan.as_str().as_bytes()], u64::from(no.0)), bytes);
        Ok(())
    }

    /// Drops a plan's journal.
    pub fn drop_journal(&mut self, plan: &PlanId) -> Result<()> {
        for (row, _) in self.all(Table::Journal, &key(&[plan.as_str().as_bytes()]))? {
            self.remove(Table::Journal, row);
        }
        Ok(())
    }
}
