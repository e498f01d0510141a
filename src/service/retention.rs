//! Which snapshots and plans are kept, and collecting what they leave.

use std::collections::{BTreeMap, HashSet};

use super::engine::Engine;
use crate::domain::ids::{PlanId, SnapshotId, SourceId};
use crate::error::Result;
use crate::planning::collect::collect;
use crate::store::{PlanRecord, PlanState};

impl Engine {
    /// Forgets snapshots past the retention setting, and removes files that
    /// nothing refers to.
    pub(super) fn collect(&self, source: &SourceId) -> Result<()> {
        let settings = self.settings();
        // What speculative plans refer to can't change while this is read.
        let (mut of_source, current, plans, alive, commits, pins) = self.work.pinned(|pins| {
            self.store.read(|view| {
                let mut snapshots = Vec::new();
                for target in view.targets()? {
                    snapshots.extend(view.snapshots_of(&target, source, usize::MAX)?);
                }
                let (current, plans) = (self.current_ids(view)?, view.plans_of(source)?);
                Ok((snapshots, current, plans, view.alive_plans(None)?, view.kept_commits()?, pins.clone()))
            })
        })?;
        of_source.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
        let keep = settings.retention.snapshots.max(1);
        // A plan of any source that may still be executed, or is, refers to
        // the snapshots that it was made from, of other sources too.
        let alive = alive.iter().map(|plan| &plan.bases);
        let bases = |all: &BTreeMap<SourceId, SnapshotId>| all.get(source).cloned();
        let referred: HashSet<SnapshotId> = alive.chain(pins.values()).filter_map(bases).collect();
        let (kept, gone): (Vec<_>, Vec<_>) = of_source.into_iter().enumerate().partition(|(n, record)| {
            *n < keep || current.contains(record.id.as_str()) || referred.contains(&record.id)
        });
        let kept_ids: HashSet<String> = kept.iter().map(|(_, record)| record.id.to_string()).collect();
        // A plan is kept while it may still be executed, shown beside a
        // snapshot that is kept, or compared with by an approval.
        // So is one whose footprint older plans are held against.
        let mut needed: HashSet<PlanId> = pins.into_keys().collect();
        needed.extend(commits.into_iter().map(|commit| commit.plan_id));
        let mut dropped: Vec<PlanRecord> = Vec::new();
        for plan in plans {
            let batch = self.batch(&plan.batch_id).ok().filter(|batch| !batch.status.is_final());
            let wanted = match plan.state {
                PlanState::Registered | PlanState::Complete | PlanState::Executing => batch.is_some(),
                PlanState::Lingering => true,
                PlanState::Dropped => batch
                    .and_then(|batch| batch.approval)
                    .is_some_and(|approval| approval.plan_id == plan.plan_id),
                PlanState::Committed => kept_ids.contains(plan.plan_id.as_str()),
            };
            if wanted {
                needed.insert(plan.plan_id.clone());
            } else {
                dropped.push(plan);
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
            collect(&self.state, source, &paths, &needed, self.clock.now(), settings.retention.grace)?;
        let removed = removed + self.collect_pins(source)?;
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
