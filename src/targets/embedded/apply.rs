//! Applying operations: one transaction each, with its outcomes stored beside
//! its effect, so that a repeat is answered and not applied.

use redb::{Durability, ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::EmbeddedCatalogue;
use super::read::Origin;
use super::tables::{self, operation_key};
use super::work::write;
use crate::domain::change::Action;
use crate::domain::ids::PlanId;
use crate::error::{Error, Result};
use crate::targets::{ChangeOutcome, Operation, Outcomes, Rejection};

/// Stored outcomes: how many changes there were, and which were refused.
#[derive(Serialize, Deserialize)]
struct StoredOutcomes {
    changes: u32,
    rejected: Vec<(u32, Rejection)>,
}

/// A row of the history: action u8 (0 create, 1 update, 2 delete), number of
/// the origin u32, then the row as it was.
pub struct HistoryRow {
    /// What ended the version.
    pub action: Action,
    /// Who ended it.
    pub ended_by: u32,
    /// The row as it was.
    pub row: Vec<u8>,
}

impl HistoryRow {
    /// Its stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(5 + self.row.len());
        out.push(self.action as u8);
        out.extend_from_slice(&self.ended_by.to_le_bytes());
        out.extend_from_slice(&self.row);
        out
    }

    /// Reads a stored row; `None` when it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let action = match bytes.first()? {
            0 => Action::Create,
            1 => Action::Update,
            2 => Action::Delete,
            3.. => return None,
        };
        let ended_by = u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?);
        Some(Self { action, ended_by, row: bytes.get(5..)?.to_vec() })
    }
}

/// Applies an operation.
pub fn apply(catalogue: &EmbeddedCatalogue, operation: &Operation) -> Result<Outcomes> {
    let fail = |e: redb::Error| catalogue.failure(e);
    let mut tx = catalogue.file.begin_write()?;
    tx.set_durability(Durability::Immediate).map_err(|e| fail(e.into()))?;
    tx.set_quick_repair(true);
    let mut row = operation_key(operation.plan_id.as_str(), operation.no.0);
    if let Some(part) = operation.part {
        row.extend_from_slice(&part.first.to_be_bytes());
        row.extend_from_slice(&part.count.to_be_bytes());
    }
    if let Some(known) = stored(&tx, &row).map_err(fail)? {
        tx.abort().map_err(|e| fail(e.into()))?;
        return Ok(known);
    }
    let origin = Origin {
        source: operation.source_id.to_string(),
        batch: operation.batch_id.to_string(),
        plan: operation.plan_id.to_string(),
        at: operation.at,
    };
    let outcomes = write(catalogue, &tx, &origin, &operation.changes).map_err(fail)?;
    let rejected = outcomes.iter().enumerate().filter_map(|(n, outcome)| match outcome {
        ChangeOutcome::Done => None,
        ChangeOutcome::Rejected(reason) => Some((n as u32, reason.clone())),
    });
    let value = StoredOutcomes { changes: outcomes.len() as u32, rejected: rejected.collect() };
    let bytes = rmp_serde::to_vec(&value).map_err(|e| Error::internal("outcomes").caused_by(e))?;
    let finish = || -> Result<(), redb::Error> {
        tx.open_table(tables::OPERATIONS)?.insert(&row[..], &bytes[..])?;
        tx.open_table(tables::LAST_PLAN)?.insert(operation.source_id.as_str(), operation.plan_id.as_str())?;
        Ok(())
    };
    finish().map_err(fail)?;
    tx.commit().map_err(|e| fail(e.into()))?;
    catalogue.search.signal.wake();
    Ok(outcomes)
}

/// Drops the stored outcomes of a plan.
pub fn forget(catalogue: &EmbeddedCatalogue, plan: &PlanId) -> Result<()> {
    let fail = |e: redb::Error| catalogue.failure(e);
    let mut tx = catalogue.file.begin_write()?;
    let work = || -> Result<(), redb::Error> {
        // Nothing depends on it: it may be done again.
        tx.set_durability(Durability::None)?;
        {
            let mut table = tx.open_table(tables::OPERATIONS)?;
            let from = operation_key(plan.as_str(), 0);
            let mut to = operation_key(plan.as_str(), u32::MAX);
            // Past the parts of the last one.
            to.push(0xFF);
            table.retain_in::<&[u8], _>(&from[..]..=&to[..], |_, _| false)?;
        }
        tx.commit()?;
        Ok(())
    };
    work().map_err(fail)
}

fn stored(tx: &WriteTransaction, row: &[u8]) -> Result<Option<Outcomes>, redb::Error> {
    let table = tx.open_table(tables::OPERATIONS)?;
    let found = table.get(row)?;
    Ok(found.and_then(|bytes| rmp_serde::from_slice::<StoredOutcomes>(bytes.value()).ok()).map(|stored| {
        let mut outcomes = vec![ChangeOutcome::Done; stored.changes as usize];
        for (n, reason) in stored.rejected {
            if let Some(slot) = outcomes.get_mut(n as usize) {
                *slot = ChangeOutcome::Rejected(reason);
            }
        }
        outcomes
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_history_reads_back() {
        for action in [Action::Create, Action::Update, Action::Delete] {
            let row = HistoryRow { action, ended_by: 70_000, row: vec![1, 2, 3] };
            let back = HistoryRow::decode(&row.encode()).unwrap();
            assert_eq!((back.action, back.ended_by, back.row), (action, 70_000, vec![1, 2, 3]));
        }
        assert!(HistoryRow::decode(&[]).is_none() && HistoryRow::decode(&[9; 8]).is_none());
        assert!(HistoryRow::decode(&[0, 1, 2]).is_none());
    }
}
