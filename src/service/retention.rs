//! Which snapshots and plans are kept, and collecting what they leave.

use std::collections::HashSet;

use super::engine::Engine;
use crate::domain::ids::{PlanId, SourceId};
use crate::error::Result;
use crate::planning::collect::collect;
use crate::store::PlanState;

impl Engine {
    /// Forgets snapshots past the retention setting, and removes files that
    /// nothing refers to.
    pub(super) fn collect(&self, source: &SourceId) -> Result<()> {
        let (snapshots, current, plans) =
            self.store.read(|view| Ok((view.snapshots()?, self.current_ids(view)?, view.plans()?)))?;
        let mut of_source: Vec<_> = snapshots.into_iter().filter(|record| record.source == *source).collect();
        of_source.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
        let keep = self.settings.retention.snapshots.max(1);
        let (kept, gone): (Vec<_>, Vec<_>) = of_source
            .into_iter()
            .enumerate()
            .partition(|(n, record)| *n < keep || current.contains(record.id.as_str()));
        let kept_ids: HashSet<String> = kept.iter().map(|(_, record)| record.id.to_string()).collect();
        // A plan is kept while it may still be executed, shown beside a
        // snapshot that is kept, or compared with by an approval.
        let mut needed: HashSet<PlanId> = HashSet::new();
        let mut dropped: Vec<PlanId> = Vec::new();
        for plan in plans.iter().filter(|plan| plan.batch_id.source() == source) {
            let open = self.batch(&plan.batch_id).is_ok_and(|batch| !batch.status.is_final());
            let wanted = match plan.state {
                PlanState::Registered | PlanState::Complete | PlanState::Executing | PlanState::Dropped => {
                    open
                }
                PlanState::Committed => kept_ids.contains(plan.plan_id.as_str()),
            };
            if wanted {
                needed.insert(plan.plan_id.clone());
            } else {
                dropped.push(plan.plan_id.clone());
            }
        }
        if !gone.is_empty() || !dropped.is_empty() {
            self.store.write(move |tx| {
                for (_, record) in &gone {
                    tx.remove_snapshot(record);
                }
                for plan in &dropped {
                    tx.remove_plan(plan);
                }
                Ok(())
            })?;
        }
        let paths: Vec<_> = kept
            .iter()
            .map(|(_, record)| self.state.snapshot_path(source, &record.target, &record.id))
            .collect();
        let removed =
            collect(&self.state, source, &paths, &needed, self.clock.now(), self.settings.retention.grace)?;
        if removed > 0 {
            tracing::debug!(%source, removed, "collected files that nothing refers to");
        }
        Ok(())
    }

    fn current_ids(&self, view: &crate::store::View<'_>) -> Result<HashSet<String>> {
        let mut ids = HashSet::new();
        for name in self.targets.keys() {
            ids.extend(view.current_snapshots(name)?.into_values().map(|id| id.to_string()));
        }
        Ok(ids)
    }
}
