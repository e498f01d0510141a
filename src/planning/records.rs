//! Which full records a snapshot goes on remembering (`SEMANTICS` 2,
//! "Forgetting").

use std::collections::HashSet;

use jiff::Timestamp;

use super::snapshot::FullRecord;
use crate::domain::key::{Key, KeyHash};
use crate::domain::scope::ScopeIndex;
use crate::domain::stamp::Stamp;
use crate::limits::MAX_FULL_RECORDS;

/// What forgetting leaves behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Keys that get a stamp of their own: on the value if live, else as a tombstone.
    pub raised: Vec<(Key, super::format::layer::StampInfo)>,
    /// The horizon has to rise to this.
    pub horizon: Option<Timestamp>,
}

/// Drops every record that a newer one covers. Each exception of the newer
/// one of which the older one did speak keeps the older one's stamp.
pub fn forget(records: &mut Vec<FullRecord>, horizon: Option<Timestamp>) -> Forgotten {
    let mut forgotten = Forgotten::default();
    records.sort_by(|a, b| a.stamp.stamp.cmp(&b.stamp.stamp));
    let mut kept: Vec<FullRecord> = Vec::with_capacity(records.len());
    for index in 0..records.len() {
        let older = &records[index];
        // The oldest of those that cover it passes its exceptions on to the next.
        let cover = records[index + 1..].iter().find(|newer| newer.scope.covers(&older.scope));
        let Some(newer) = cover else {
            kept.push(older.clone());
            continue;
        };
        let scope = ScopeIndex::new(&older.scope);
        let excepted: HashSet<KeyHash> = older.exceptions.iter().map(Key::hash).collect();
        for key in &newer.exceptions {
            if scope.contains(key) && !excepted.contains(&key.hash()) {
                forgotten.raised.push((key.clone(), older.stamp.clone()));
            }
        }
    }
    if let Some(horizon) = horizon
        && kept.len() > 1
    {
        // Nothing older than the horizon comes any more. The newest record
        // stays: it says which workflow was there last.
        let newest = kept.pop();
        kept.retain(|record| record.stamp.stamp.source_timestamp >= horizon);
        kept.extend(newest);
    }
    while kept.len() > MAX_FULL_RECORDS {
        let oldest = kept.remove(0);
        forgotten.horizon = Some(rise(forgotten.horizon, &oldest.stamp.stamp));
    }
    *records = kept;
    forgotten
}

fn rise(horizon: Option<Timestamp>, stamp: &Stamp) -> Timestamp {
    horizon.map_or(stamp.source_timestamp, |horizon| horizon.max(stamp.source_timestamp))
}

#[cfg(test)]
mod tests {
    use super::super::format::layer::StampInfo;
    use super::*;
    use crate::domain::glob::Glob;
    use crate::domain::key::EntityKey;
    use crate::domain::scope::Scope;

    fn stamp(n: u32) -> StampInfo {
        let time: Timestamp = format!("2026-11-{n:02}T00:00:00Z").parse().unwrap();
        let batch_id = format!("s:202611{n:02}T000000Z_r").parse().unwrap();
        StampInfo {
            stamp: Stamp { source_timestamp: time, processing_timestamp: time, batch_id },
            workflow: String::new(),
        }
    }

    fn record(n: u32, names: &str, exceptions: &[&str]) -> FullRecord {
        let scope = Scope { names: vec![Glob::new(names)], ..Scope::default() };
        let exceptions = exceptions.iter().map(|name| Key::Entity(EntityKey::new("t", *name))).collect();
        FullRecord { stamp: stamp(n), scope, exceptions }
    }

    #[test]
    fn a_wider_newer_record_takes_the_place_of_an_older_one() {
        let mut records = vec![record(2, "*", &["x"]), record(1, "a*", &[]), record(3, "a*", &[])];
        let forgotten = forget(&mut records, None);
        assert_eq!(records, [record(2, "*", &["x"]), record(3, "a*", &[])]);
        // "x" is not in the scope of the first record.
        assert_eq!(forgotten, Forgotten::default());
    }

    #[test]
    fn an_exception_keeps_the_stamp_of_the_record_that_spoke_of_it() {
        let mut records = vec![record(1, "*", &["y"]), record(2, "*", &["x", "y"])];
        let forgotten = forget(&mut records, None);
        assert_eq!(records, [record(2, "*", &["x", "y"])]);
        assert_eq!(forgotten.raised, [(Key::Entity(EntityKey::new("t", "x")), stamp(1))]);
    }

    #[test]
    fn at_most_a_thousand_are_kept_and_the_horizon_rises() {
        let mut records: Vec<_> =
            (0..MAX_FULL_RECORDS + 2).map(|n| record(1 + (n % 28) as u32, &format!("n{n}"), &[])).collect();
        let forgotten = forget(&mut records, None);
        assert_eq!(records.len(), MAX_FULL_RECORDS);
        assert_eq!(forgotten.horizon, Some(stamp(1).stamp.source_timestamp));
    }
}
