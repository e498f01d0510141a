//! What whoever looks at a plan should look at, in words.

use std::collections::BTreeMap;

use super::super::look_alikes::warn_of_types;
use super::super::pass::PassOutput;
use super::super::settle::Settled;
use super::super::snapshot::SnapshotManifest;
use super::Making;
use crate::domain::settings::Mode;
use crate::intake::check::unknown_members;

impl Making<'_> {
    /// Tells of types that look alike, by the live keys of each that the source has
    /// after the plan.
    pub(super) fn look_alike_types(&self, counts: &[BTreeMap<String, u64>; 2]) -> Vec<String> {
        let add = |all: &mut BTreeMap<String, u64>, of: &BTreeMap<String, u64>| {
            of.iter().for_each(|(name, live)| *all.entry(name.clone()).or_default() += live);
        };
        let of = |manifest: &SnapshotManifest, kind: usize| match kind {
            0 => manifest.entity_counts.clone(),
            _ => manifest.relationship_counts.clone(),
        };
        let mut warnings = Vec::new();
        for (kind, own_after) in counts.iter().enumerate() {
            let mut before = BTreeMap::new();
            for other in &self.view.others {
                add(&mut before, &of(other.manifest(), kind));
            }
            let mut after = before.clone();
            if let Some(own) = &self.view.own {
                add(&mut before, &of(own.manifest(), kind));
            }
            add(&mut after, own_after);
            warnings.extend(warn_of_types(&before, &after));
        }
        warnings
    }

    pub(super) fn warnings(&self, output: &PassOutput, settled: &Settled, alike: Vec<String>) -> Vec<String> {
        let mut warnings = alike;
        if output.unknown_members > 0 {
            warnings.push(unknown_members(output.unknown_members));
        }
        if output.bad > 0 {
            warnings.push(format!("bad lines, which become dead letters: {}", output.bad));
        }
        let unreadable: u64 = output.unreadable.iter().sum();
        if unreadable > 0 && self.input.batch.mode == Mode::Full {
            let lines = if unreadable == 1 { "line is" } else { "lines are" };
            warnings.push(format!(
                "{unreadable} {lines} bad without a readable key, so the batch deletes nothing",
            ));
        }
        let skipped = settled.summary.skipped();
        if skipped > 0 {
            let keys = if skipped == 1 { "key is" } else { "keys are" };
            warnings.push(format!("{skipped} {keys} skipped by an operator, what is published stays"));
        }
        if settled.rejected > 0 {
            let count = settled.rejected;
            let keys = if count == 1 { "key has" } else { "keys have" };
            warnings.push(format!("{count} {keys} two values in the batch: a dead letter each"));
        }
        warnings
    }
}
