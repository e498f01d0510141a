//! Commits of a target whose footprints older plans still have to be held
//! against (`SEMANTICS` 6).

use super::records::CommitRecord;
use super::tables::{Table, decode, encode, key, numbered};
use super::tx::{Read, Tx, View};
use crate::domain::ids::TargetName;
use crate::error::Result;
use crate::limits::MAX_KEPT_COMMITS;

fn number(row: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&row[row.len().saturating_sub(8)..]);
    u64::from_be_bytes(bytes)
}

fn meta(target: &TargetName, what: &str) -> Vec<u8> {
    format!("commits:{target}:{what}").into_bytes()
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            fn commit_number(&self, target: &TargetName, what: &str) -> Result<u64> {
                let bytes = self.get(Table::Meta, &meta(target, what))?;
                Ok(bytes.and_then(|b| String::from_utf8_lossy(&b).parse().ok()).unwrap_or(0))
            }

            /// The number of a target's last commit; 0 before the first.
            pub fn last_commit(&self, target: &TargetName) -> Result<u64> {
                self.commit_number(target, "last")
            }

            /// The commits of a target behind number `after`, if all of them
            /// are still known that touched anything.
            pub fn commits_since(
                &self,
                target: &TargetName,
                after: u64,
            ) -> Result<Option<Vec<(u64, CommitRecord)>>> {
                if after < self.commit_number(target, "forgotten")? {
                    return Ok(None);
                }
                let prefix = [target.as_str().as_bytes()];
                let from = numbered(&prefix, after);
                let rows = self.scan(Table::Commits, &key(&prefix), Some(&from), usize::MAX)?;
                rows.iter()
                    .map(|(row, bytes)| Ok((number(row), decode(Table::Commits, bytes)?)))
                    .collect::<Result<_>>()
                    .map(Some)
            }

            /// Every commit that is kept.
            pub fn kept_commits(&self) -> Result<Vec<CommitRecord>> {
                let rows = self.all(Table::Commits, b"")?;
                rows.iter().map(|(_, bytes)| decode(Table::Commits, bytes)).collect()
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Takes down a commit, as long as a plan that is older than it may still
    /// be executed. The committed plan itself must not be alive any more.
    pub fn put_commit(&mut self, target: &TargetName, commit: &CommitRecord) -> Result<()> {
        let last = self.last_commit(target)? + 1;
        self.put(Table::Meta, meta(target, "last"), last.to_string().into_bytes());
        let oldest = self.alive_plans(Some(target))?.iter().map(|plan| plan.base_commit).min();
        let prefix = [target.as_str().as_bytes()];
        if oldest.is_some() && !commit.footprint.is_empty() {
            let bytes = encode(commit)?;
            self.put(Table::Commits, numbered(&prefix, last), bytes);
        }
        let mut kept: Vec<u64> =
            self.all(Table::Commits, &key(&prefix))?.iter().map(|(row, _)| number(row)).collect();
        // What is older than every plan is of no use to any.
        let useless = kept.partition_point(|no| oldest.is_none_or(|oldest| *no <= oldest));
        // A plan that is older than what is kept counts as stale.
        let over = (kept.len() - useless).saturating_sub(MAX_KEPT_COMMITS);
        for no in kept.drain(..useless + over) {
            self.remove(Table::Commits, numbered(&prefix, no));
            if oldest.is_some_and(|oldest| no > oldest) {
                self.put(Table::Meta, meta(target, "forgotten"), no.to_string().into_bytes());
            }
        }
        Ok(())
    }
}
