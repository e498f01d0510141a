//! Guards: what makes a plan wait for a person. Pure functions of counts.
//!
//! They look at what the source says, not at what the target loses: a key that
//! the source no longer has counts also where another source keeps it there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Limits of the guards, per source.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GuardLimits {
    /// Share of a type or of the source that it may no longer have, 0 to 1.
    pub delete_ratio: f64,
    /// Fewer deletions than this do not trip `delete_ratio`.
    pub delete_min: u64,
    /// More deletions than this always trip.
    pub delete_max: u64,
    /// Contents that a deleted container may have.
    pub container_contents: u64,
    /// Whether an empty full batch over a non-empty snapshot trips.
    pub empty_full: bool,
    /// A full batch may have this share of the snapshot's keys, or more.
    pub full_count_ratio: f64,
    /// Share of the source's entities that may be updated, 0 to 1.
    pub update_ratio: f64,
    /// Updates below this number do not trip `update_ratio`.
    pub update_min: u64,
    /// Whether the deletion of keys last asserted by another workflow trips.
    pub other_workflow: bool,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            delete_ratio: 0.2,
            delete_min: 10,
            delete_max: 10_000,
            container_contents: 100,
            empty_full: true,
            full_count_ratio: 0.5,
            update_ratio: 0.8,
            update_min: 10,
            other_workflow: true,
        }
    }
}

/// The names of the guards.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum GuardRule {
    /// The source no longer has too large a share of a type.
    DeleteRatioOfType,
    /// The source no longer has too large a share of its keys.
    DeleteRatioOfSource,
    /// The source no longer has too many keys.
    DeleteMax,
    /// The source no longer has a container with many contents.
    ContainerContents,
    /// A full batch without a key in its scope, over a snapshot that has some there.
    EmptyFull,
    /// A full batch with far fewer keys than the snapshot.
    FullCountFell,
    /// Too large a share of the source's entities has another value.
    UpdateRatio,
    /// The source no longer has keys that another of its workflows asserted last.
    OtherWorkflow,
}

/// One guard that a plan trips.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GuardTrip {
    /// Which guard.
    pub rule: GuardRule,
    /// The type that it looked at; empty where it looks at the whole source.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The limit in force.
    pub limit: f64,
    /// What the plan has.
    pub actual: f64,
    /// The same in words.
    pub reason: String,
}

/// What the guards look at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GuardFacts {
    /// Entities and relationships live in the source's snapshot before the
    /// plan, by type.
    pub live_by_type: BTreeMap<String, u64>,
    /// Deletions that the source asserts, by type. Relationships that only
    /// begin to wait are no deletions (`SEMANTICS` 5).
    pub deleted_by_type: BTreeMap<String, u64>,
    /// Entities live before.
    pub entities_live: u64,
    /// Updates of entities.
    pub entities_updated: u64,
    /// Keys of its scope that a full batch names, each once: also those that
    /// are skipped, superseded, have two values, or stand in a bad line whose
    /// key can be read. Lines without a readable key do not count, nor do those
    /// outside of the scope. `None` for an incremental batch, and for one that
    /// counts as such because of lines without a readable key: its deletions
    /// are withheld.
    pub full_listed: Option<u64>,
    /// Keys of a full batch's scope that the source's own snapshot has live
    /// before the plan, but for those that a late batch does not name and of
    /// which something newer is known: that it lacks them says nothing. What
    /// other sources assert, and what shows at the target, plays no part.
    pub live_in_scope: u64,
    /// Deleted containers with more contents than allowed: name and number
    /// of the largest, and how many there are.
    pub large_containers: u64,
    /// The largest deleted container's number of contents.
    pub largest_container: u64,
    /// Deletions of keys that another workflow asserted last.
    pub other_workflow_deletions: u64,
}

/// The guards that trip, in a stable order.
pub fn evaluate(limits: &GuardLimits, facts: &GuardFacts) -> Vec<GuardTrip> {
    let mut trips = Vec::new();
    let mut trip = |rule, type_name: &str, limit: f64, actual: f64, reason: String| {
        trips.push(GuardTrip { rule, type_name: type_name.to_owned(), limit, actual, reason });
    };
    let percent = |ratio: f64| format!("{:.0} %", ratio * 100.0);
    let deleted: u64 = facts.deleted_by_type.values().sum();
    let live: u64 = facts.live_by_type.values().sum();

    if facts.full_listed == Some(0) && facts.live_in_scope > 0 && limits.empty_full {
        let n = facts.live_in_scope;
        trip(
            GuardRule::EmptyFull,
            "",
            0.0,
            n as f64,
            format!("the full batch is empty: no keys in its scope where the source's snapshot has {n}"),
        );
    } else if let Some(listed) = facts.full_listed
        && (listed as f64) < limits.full_count_ratio * facts.live_in_scope as f64
    {
        let before = facts.live_in_scope;
        let ratio = listed as f64 / before as f64;
        trip(
            GuardRule::FullCountFell,
            "",
            limits.full_count_ratio,
            ratio,
            format!("the full batch has {listed} keys in its scope where the source's snapshot has {before}"),
        );
    }
    if deleted > limits.delete_max {
        trip(
            GuardRule::DeleteMax,
            "",
            limits.delete_max as f64,
            deleted as f64,
            format!(
                "the source no longer has {deleted} of its {live} keys, over the limit of {}",
                limits.delete_max
            ),
        );
    }
    if deleted >= limits.delete_min && deleted as f64 > limits.delete_ratio * live as f64 {
        let ratio = deleted as f64 / live.max(1) as f64;
        trip(
            GuardRule::DeleteRatioOfSource,
            "",
            limits.delete_ratio,
            ratio,
            format!(
                "the source no longer has {deleted} of its {live} keys, over {}",
                percent(limits.delete_ratio)
            ),
        );
    }
    for (type_name, &count) in &facts.deleted_by_type {
        let of = facts.live_by_type.get(type_name).copied().unwrap_or(0);
        if count >= limits.delete_min && count as f64 > limits.delete_ratio * of as f64 {
            trip(
                GuardRule::DeleteRatioOfType,
                type_name,
                limits.delete_ratio,
                count as f64 / of.max(1) as f64,
                format!(
                    "the source no longer has {count} of its {of} {type_name}, over {}",
                    percent(limits.delete_ratio)
                ),
            );
        }
    }
    if facts.large_containers > 0 {
        trip(
            GuardRule::ContainerContents,
            "",
            limits.container_contents as f64,
            facts.largest_container as f64,
            format!(
                "the source no longer has {} containers with more than {} contents, the largest with {}",
                facts.large_containers, limits.container_contents, facts.largest_container
            ),
        );
    }
    if facts.entities_updated >= limits.update_min
        && facts.entities_updated as f64 > limits.update_ratio * facts.entities_live as f64
    {
        trip(
            GuardRule::UpdateRatio,
            "",
            limits.update_ratio,
            facts.entities_updated as f64 / facts.entities_live.max(1) as f64,
            format!(
                "the source has another value for {} of its {} entities, over {}",
                facts.entities_updated,
                facts.entities_live,
                percent(limits.update_ratio)
            ),
        );
    }
    if facts.other_workflow_deletions > 0 && limits.other_workflow {
        let n = facts.other_workflow_deletions;
        trip(
            GuardRule::OtherWorkflow,
            "",
            0.0,
            n as f64,
            format!("the source no longer has {n} keys that another of its workflows asserted last"),
        );
    }
    trips
}

/// Whether an approval of `approved` covers what a new plan of the same batch
/// trips: the same guards on the same types. That its deletions are among those
/// that were looked at is for the caller to see (`SEMANTICS` 8).
pub fn covers(approved: &[GuardTrip], trips: &[GuardTrip]) -> bool {
    trips.iter().all(|trip| approved.iter().any(|a| a.rule == trip.rule && a.type_name == trip.type_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(live: u64, deleted: u64) -> GuardFacts {
        GuardFacts {
            live_by_type: [("t".to_owned(), live)].into(),
            deleted_by_type: [("t".to_owned(), deleted)].into(),
            entities_live: live,
            ..GuardFacts::default()
        }
    }

    fn rules(facts: &GuardFacts) -> Vec<GuardRule> {
        evaluate(&GuardLimits::default(), facts).into_iter().map(|trip| trip.rule).collect()
    }

    #[test]
    fn each_guard_trips_past_its_limit_and_not_at_it() {
        use GuardRule::*;
        // Over 20 % and at least 10.
        assert_eq!(rules(&facts(50, 10)), []);
        assert_eq!(rules(&facts(49, 10)), [DeleteRatioOfSource, DeleteRatioOfType]);
        assert_eq!(rules(&facts(9, 9)), []);
        // Over 10,000, whatever the share.
        assert_eq!(rules(&facts(1_000_000, 10_000)), []);
        assert_eq!(rules(&facts(1_000_000, 10_001)), [DeleteMax]);
        // One type of several.
        let mut two = facts(1_000, 0);
        two.live_by_type.insert("u".into(), 40);
        two.deleted_by_type = [("u".to_owned(), 20)].into();
        assert_eq!(rules(&two), [DeleteRatioOfType]);
        // Empty and halved full batches; an incremental batch may be empty.
        let full = |listed, live| GuardFacts {
            full_listed: Some(listed),
            live_in_scope: live,
            ..GuardFacts::default()
        };
        assert_eq!(rules(&full(0, 1)), [EmptyFull]);
        assert_eq!(rules(&full(0, 0)), []);
        assert_eq!(rules(&full(49, 100)), [FullCountFell]);
        assert_eq!(rules(&full(50, 100)), []);
        // Updates over 80 %.
        assert_eq!(rules(&GuardFacts { entities_updated: 80, ..facts(100, 0) }), []);
        assert_eq!(rules(&GuardFacts { entities_updated: 81, ..facts(100, 0) }), [UpdateRatio]);
        assert_eq!(rules(&GuardFacts { entities_updated: 9, ..facts(9, 0) }), []);
        // Containers and other workflows.
        let container = GuardFacts { large_containers: 1, largest_container: 101, ..facts(1_000, 1) };
        assert_eq!(rules(&container), [ContainerContents]);
        assert_eq!(rules(&GuardFacts { other_workflow_deletions: 1, ..facts(1_000, 1) }), [OtherWorkflow]);
    }

    #[test]
    fn an_approval_covers_a_subset_only() {
        let trips = evaluate(&GuardLimits::default(), &facts(49, 10));
        assert!(covers(&trips, &trips[..1]) && covers(&trips, &[]) && !covers(&trips[..1], &trips));
    }
}
