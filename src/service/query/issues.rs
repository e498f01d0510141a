//! Known issues, as they are shown.

use super::super::engine::Engine;
use super::super::views::{KnownIssueView, LiftedView, Page};
use super::{Part, cursor};
use crate::error::{Error, ErrorKind, Result};
use crate::store::KnownIssue;

const NAME: &str = "known issues";

impl Engine {
    /// A part of the known issues, the newest first.
    ///
    /// # Errors
    /// When the cursor is none, or the store fails.
    pub fn issue_views(&self, part: &Part) -> Result<Page<KnownIssueView>> {
        let limit = part.limit()?;
        let bad = || Error::new(ErrorKind::Usage, "`cursor` is damaged");
        let after = match part.after(NAME)? {
            Some(bytes) => Some(u64::from_be_bytes(bytes.as_slice().try_into().map_err(|_| bad())?)),
            None => None,
        };
        let mut issues = self.known_issues()?;
        issues.retain(|issue| after.is_none_or(|after| issue.id < after));
        let more = issues.len() > limit;
        issues.truncate(limit);
        let last = issues.last().filter(|_| more).map(|issue| issue.id);
        Ok(Page {
            items: issues.into_iter().map(|issue| self.issue_view(issue)).collect(),
            next_cursor: last.map(|id| cursor::encode(NAME, &id.to_be_bytes())),
        })
    }

    /// A known issue as it is shown.
    pub fn issue_view(&self, issue: KnownIssue) -> KnownIssueView {
        KnownIssueView {
            id: issue.id,
            in_force: issue.is_in_force(self.clock.now()),
            target: issue.target,
            source_id: issue.source,
            code: issue.code,
            note: issue.note,
            declared_by: issue.declared.actor,
            declared_at: issue.declared.at,
            until: issue.until,
            lifted: issue.lifted.map(|lifted| LiftedView {
                actor: lifted.actor,
                reason: lifted.reason,
                at: lifted.at,
            }),
        }
    }
}
