//! Batches: one, a part of the list, a timeline, and waiting for an end.

use jiff::Timestamp;

use super::super::engine::Engine;
use super::super::views::{ApprovalView, BatchView, Page, PlanBrief, RetryView, TimelineItem};
use super::waits::{self, Fronts};
use super::{Order, Part, Times, cursor, cut};
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::publish_state::{PublishState, PublishStatus};
use crate::error::Result;
use crate::store::{BatchList, BatchRecord, PlanRecord, PlanState, View};

/// Which batches to list.
#[derive(Debug, Clone, Default)]
pub struct BatchQuery {
    /// Of this source.
    pub source_id: Option<SourceId>,
    /// In this status.
    pub status: Option<PublishStatus>,
    /// Source timestamp at or after this.
    pub since: Option<Timestamp>,
    /// Source timestamp before this.
    pub until: Option<Timestamp>,
    /// By source timestamp.
    pub order: Order,
    /// Which part.
    pub part: Part,
}

impl BatchQuery {
    /// The list, with all that bounds it, for cursors.
    fn name(&self) -> String {
        format!(
            "batches\0{}\0{}\0{:?}\0{:?}\0{:?}",
            self.source_id.as_ref().map_or("", SourceId::as_str),
            self.status.map_or("", PublishStatus::as_str),
            self.since,
            self.until,
            self.order
        )
    }
}

/// What a plan's state is called.
pub fn plan_state(state: PlanState) -> &'static str {
    match state {
        PlanState::Registered => "registered",
        PlanState::Complete => "complete",
        PlanState::Executing => "executing",
        PlanState::Committed | PlanState::Lingering => "committed",
        PlanState::Dropped => "dropped",
    }
}

/// A plan without its changes; `None` while it is being made.
pub fn plan_brief(plan: &PlanRecord) -> Option<PlanBrief> {
    let header = plan.header.as_ref()?;
    Some(PlanBrief {
        plan_id: header.plan_id.clone(),
        digest: header.digest,
        target: header.target.clone(),
        base_snapshot: header.bases.get(&header.source_id).cloned(),
        state: plan_state(plan.state).to_owned(),
        changes: header.summary.changes(),
        summary: header.summary,
        guards: header.guards.clone(),
        operations: header.operations,
        registered_at: plan.registered_at,
    })
}

impl Engine {
    /// A batch with all that is known of it.
    ///
    /// # Errors
    /// [`NotFound`](crate::error::ErrorKind::NotFound) when there is none of this id.
    pub fn batch_view(&self, id: &BatchId) -> Result<BatchView> {
        self.store.read(|view| {
            let record = view.expect_batch(id)?;
            self.view_of(view, &mut Fronts::new(self, view), &record)
        })
    }

    /// A part of the batches.
    pub fn batches(&self, query: &BatchQuery) -> Result<Page<BatchView>> {
        self.store.read(|view| {
            let mut fronts = Fronts::new(self, view);
            let (records, next_cursor) = list(view, query)?;
            let items = records.iter().map(|record| self.view_of(view, &mut fronts, record));
            Ok(Page { items: items.collect::<Result<_>>()?, next_cursor })
        })
    }

    /// The same part as publish states (contract: HTTP).
    pub fn publish_states(&self, query: &BatchQuery) -> Result<Page<PublishState>> {
        self.store.read(|view| {
            let (records, next_cursor) = list(view, query)?;
            Ok(Page { items: records.iter().map(BatchRecord::publish_state).collect(), next_cursor })
        })
    }

    /// What happened to a batch, oldest first without an order.
    ///
    /// # Errors
    /// [`NotFound`](crate::error::ErrorKind::NotFound) when there is none of this id.
    pub fn timeline(&self, id: &BatchId, times: &Times) -> Result<Page<TimelineItem>> {
        let name = times.name(&format!("timeline\0{id}"));
        let (limit, mut after) = (times.part.limit()?, times.after(&name)?);
        let backwards = times.order == Some(Order::Newest);
        self.store.read(|view| {
            view.expect_batch(id)?;
            let mut found = Vec::new();
            loop {
                let entries = view.timeline_page(id, backwards, after, limit + 1)?;
                let at_end = entries.len() <= limit;
                after = entries.last().map(|(number, _)| *number);
                found.extend(entries.into_iter().filter(|(_, entry)| times.has(entry.at)));
                if at_end || found.len() > limit {
                    break;
                }
            }
            let (entries, next_cursor) = cut(found, limit, &name);
            let items = entries.into_iter().map(|entry| TimelineItem {
                at: entry.at,
                event: entry.event,
                from: entry.from,
                to: entry.to,
                cause: entry.cause,
                actor: entry.actor,
            });
            Ok(Page { items: items.collect(), next_cursor })
        })
    }

    pub(super) fn view_of(
        &self,
        view: &View<'_>,
        fronts: &mut Fronts<'_>,
        record: &BatchRecord,
    ) -> Result<BatchView> {
        let now = fronts.now();
        let plan = match &record.plan_id {
            Some(plan) => view.plan(plan)?,
            None => None,
        };
        let open = !record.status.is_final();
        let waits = fronts.wait(record)?;
        let own = if open { self.next_attempt(&self.settings(), record, now) } else { None };
        let progress = if open { self.progress_of(&record.batch_id) } else { None };
        Ok(BatchView {
            publish_state: record.publish_state(),
            workflow: record.workflow.clone(),
            mode: record.mode,
            scope: record.scope.clone(),
            complexity: record.complexity(),
            complexity_estimated: record.complexity.is_none(),
            files: record.totals.files,
            lines: record.totals.lines,
            bytes: record.totals.bytes,
            accepted_at: record.accepted_at,
            priority: open.then(|| waits::priority(self, record, now)),
            hold: waits::hold(record),
            next_attempt: waits::next_attempt(own, waits.as_ref(), now),
            eta: progress.as_ref().and_then(|progress| waits::eta(progress, now)),
            progress,
            completion: record.completion,
            attempts: record.attempts,
            retry: record.retry.as_ref().map(|retry| RetryView {
                tier: waits.as_ref().and_then(|waits| waits.code.tier()).unwrap_or(retry.tier()),
                since: retry.since,
                code: retry.code.clone(),
            }),
            waits,
            approval: record.approval.as_ref().map(|approval| ApprovalView {
                plan_id: approval.plan_id.clone(),
                digest: approval.digest,
                guards: approval.trips.clone(),
                actor: approval.actor.clone(),
                reason: approval.reason.clone(),
                at: approval.at,
            }),
            plan: plan.as_ref().and_then(plan_brief),
            open_dead_letters: view.count_dead_letters_of(&record.batch_id)?,
            actions: fronts.actions(record)?,
            prioritised: waits::prioritised(record),
        })
    }
}

impl BatchView {
    /// Whether nothing happens to it by itself any more: it has ended, or
    /// waits for a person.
    pub fn is_settled(&self) -> bool {
        self.publish_state.status.is_final() || self.hold.is_some()
    }
}

fn list(view: &View<'_>, query: &BatchQuery) -> Result<(Vec<BatchRecord>, Option<String>)> {
    let name = query.name();
    let rows = view.list_batches(&BatchList {
        source: query.source_id.clone(),
        status: query.status,
        since: query.since,
        until: query.until,
        oldest_first: query.order == Order::Oldest,
        after: query.part.after(&name)?,
        limit: query.part.limit()?,
    })?;
    Ok((rows.batches, rows.next.map(|key| cursor::encode(&name, &key))))
}
