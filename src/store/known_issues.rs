//! What operators know of, and have batches wait for.

use jiff::Timestamp;

use super::records::{Decision, KnownIssue};
use super::tables::{Table, decode, encode};
use super::tx::{Read, Tx, View};
use crate::domain::ids::{SourceId, TargetName};
use crate::error::Result;

/// Rows of issues that may be in force come first, so that finding those is
/// no matter of how many there ever were.
fn row(issue: &KnownIssue) -> Vec<u8> {
    let mut row = vec![u8::from(issue.lifted.is_some())];
    row.extend_from_slice(&issue.id.to_be_bytes());
    row
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            fn known_issues_in(&self, prefix: &[u8]) -> Result<Vec<KnownIssue>> {
                let rows = self.all(Table::KnownIssues, prefix)?;
                rows.iter().map(|(_, bytes)| decode(Table::KnownIssues, bytes)).collect()
            }

            /// Every known issue, those that are over included, oldest first.
            pub fn known_issues(&self) -> Result<Vec<KnownIssue>> {
                let mut issues = self.known_issues_in(b"")?;
                issues.sort_by_key(|issue| issue.id);
                Ok(issues)
            }

            /// The known issue of a number.
            pub fn known_issue_of(&self, id: u64) -> Result<Option<KnownIssue>> {
                for lifted in [0, 1] {
                    let mut row = vec![lifted];
                    row.extend_from_slice(&id.to_be_bytes());
                    if let Some(bytes) = self.get(Table::KnownIssues, &row)? {
                        return decode(Table::KnownIssues, &bytes).map(Some);
                    }
                }
                Ok(None)
            }

            /// The first known issue in force that a batch waits for.
            pub fn known_issue(
                &self,
                target: &TargetName,
                source: &SourceId,
                code: Option<&str>,
                now: Timestamp,
            ) -> Result<Option<KnownIssue>> {
                let issues = self.known_issues_in(&[0])?.into_iter();
                let mut waits = issues.filter(|i| i.is_in_force(now) && i.is_about(target, source, code));
                Ok(waits.next())
            }

            /// When the last known issue ended that a batch waited for.
            pub fn last_known_issue_end(
                &self,
                target: &TargetName,
                source: &SourceId,
                code: &str,
                now: Timestamp,
            ) -> Result<Option<Timestamp>> {
                let issues = self.known_issues()?.into_iter();
                let about = issues.filter(|issue| issue.is_about(target, source, Some(code)));
                Ok(about.filter_map(|issue| issue.ended(now)).max())
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Takes down a known issue, and returns its number.
    pub fn add_known_issue(&mut self, mut issue: KnownIssue) -> Result<u64> {
        let last = self.known_issues()?.last().map_or(0, |issue| issue.id);
        issue.id = last + 1;
        self.put(Table::KnownIssues, row(&issue), encode(&issue)?);
        Ok(issue.id)
    }

    /// Says that a known issue is over. `None`: there is none of the number.
    /// One that is over already is left as it is.
    pub fn lift_known_issue(&mut self, id: u64, lifted: Decision) -> Result<Option<KnownIssue>> {
        let Some(mut issue) = self.known_issue_of(id)? else { return Ok(None) };
        if issue.is_in_force(self.now()) {
            self.remove(Table::KnownIssues, row(&issue));
            issue.lifted = Some(lifted);
            self.put(Table::KnownIssues, row(&issue), encode(&issue)?);
        }
        Ok(Some(issue))
    }
}
