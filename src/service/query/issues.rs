//! Known issues, as they are shown.

use super::super::engine::Engine;
use super::super::views::{KnownIssueView, LiftedView, Page};
use super::{Order, Times, cut};
use crate::error::Result;
use crate::store::KnownIssue;

impl Engine {
    /// A part of the known issues, by when they were declared, the newest
    /// first without an order.
    ///
    /// # Errors
    /// When the cursor is none, or the store fails.
    pub fn issue_views(&self, times: &Times) -> Result<Page<KnownIssueView>> {
        let name = times.name("known issues");
        let (limit, after) = (times.part.limit()?, times.after(&name)?);
        let oldest_first = times.order == Some(Order::Oldest);
        // Few are declared. Their numbers rise with the time.
        let mut issues = self.known_issues()?;
        if oldest_first {
            issues.reverse();
        }
        let behind = |id: u64| after.is_none_or(|after| if oldest_first { id > after } else { id < after });
        issues.retain(|issue| behind(issue.id) && times.has(issue.declared.at));
        let found = issues.into_iter().map(|issue| (issue.id, issue)).collect();
        let (issues, next_cursor) = cut(found, limit, &name);
        Ok(Page { items: issues.into_iter().map(|issue| self.issue_view(issue)).collect(), next_cursor })
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
