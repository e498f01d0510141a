//! What was done since the data directory was made: counters that rise with
//! the batches, in the same transactions, for the metrics.

use super::records::BatchRecord;
use super::tables::{Table, key};
use super::tx::{Read, Tx, View};
use crate::domain::publish_state::{BatchMetrics, PublishStatus};
use crate::error::Result;

/// Upper bounds of the buckets of durations, in seconds; the last is open.
pub const BUCKETS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, f64::MAX];

/// Durations, by bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durations {
    /// Their sum in seconds.
    pub sum: f64,
    /// How many lie in each bucket, and in none before.
    pub buckets: [u64; BUCKETS.len()],
}

/// Everything that is counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// Changes at targets.
    pub metrics: BatchMetrics,
    /// From the beginning of publishing to its end, of batches that were published.
    pub duration: Durations,
    /// From the writing of a batch to its end, of batches that were published.
    pub latency: Durations,
    /// Batches that ended or waited with an error, by its code.
    pub errors: Vec<(String, u64)>,
    /// Assertions that were not published because an operator skips their key.
    pub skipped: u64,
}

const METRIC: &[u8] = b"metric";
const ERROR: &[u8] = b"error";
const SKIPPED: &str = "skipped";

fn metric_row(name: &str) -> Vec<u8> {
    key(&[METRIC, name.as_bytes()])
}

fn fields(metrics: &BatchMetrics) -> [(&'static str, u64); 7] {
    [
        ("entities_created", metrics.entities_created),
        ("entities_updated", metrics.entities_updated),
        ("entities_deleted", metrics.entities_deleted),
        ("relationships_created", metrics.relationships_created),
        ("relationships_updated", metrics.relationships_updated),
        ("relationships_deleted", metrics.relationships_deleted),
        ("execution_time_ms", metrics.execution_time_ms),
    ]
}

/// Whether a counter is of these: no record is left of some that they count.
pub(super) fn is_total(row: &[u8]) -> bool {
    row.starts_with(&key(&[METRIC])) || row.starts_with(&key(&[ERROR]))
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// What was done so far.
            pub fn totals(&self) -> Result<Totals> {
                let count = |name: &str| self.count(&metric_row(name));
                let durations = |name: &str| -> Result<Durations> {
                    let mut buckets = [0; BUCKETS.len()];
                    for (n, bucket) in buckets.iter_mut().enumerate() {
                        *bucket = count(&format!("{name}_{n}"))?;
                    }
                    Ok(Durations { sum: count(&format!("{name}_ms"))? as f64 / 1000.0, buckets })
                };
                let prefix = key(&[ERROR]);
                let mut errors = Vec::new();
                for (row, _) in self.all(Table::Counts, &prefix)? {
                    let code = String::from_utf8_lossy(&row[prefix.len()..row.len() - 1]).into_owned();
                    errors.push((code, self.count(&row)?));
                }
                Ok(Totals {
                    metrics: BatchMetrics {
                        entities_created: count("entities_created")?,
                        entities_updated: count("entities_updated")?,
                        entities_deleted: count("entities_deleted")?,
                        relationships_created: count("relationships_created")?,
                        relationships_updated: count("relationships_updated")?,
                        relationships_deleted: count("relationships_deleted")?,
                        execution_time_ms: count("execution_time_ms")?,
                    },
                    duration: durations("duration")?,
                    latency: durations("latency")?,
                    errors,
                    skipped: count(SKIPPED)?,
                })
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Counts what a batch did since it was stored last.
    pub(super) fn count_done(&mut self, old: Option<&BatchRecord>, batch: &BatchRecord) -> Result<()> {
        let before = old.and_then(|old| old.metrics).unwrap_or_default();
        let after = batch.metrics.unwrap_or_default();
        for ((name, before), (_, after)) in fields(&before).into_iter().zip(fields(&after)) {
            if after > before {
                self.add_count(metric_row(name), i64::try_from(after - before).unwrap_or(i64::MAX))?;
            }
        }
        if old.is_some_and(|old| old.status == batch.status) {
            return Ok(());
        }
        let errs =
            matches!(batch.status, PublishStatus::Failed | PublishStatus::Retrying | PublishStatus::Complete);
        // What ended by somebody's decision is no error (`SEMANTICS` 13).
        if let Some(failure) = batch.failure.as_ref().filter(|_| errs && !batch.was_ended()) {
            self.add_count(key(&[ERROR, failure.error_code.as_bytes()]), 1)?;
        }
        if batch.status == PublishStatus::Complete
            && let (Some(start), Some(end)) = (batch.publish_start, batch.publish_end)
        {
            self.count_duration("duration", end.duration_since(start))?;
            self.count_duration("latency", end.duration_since(batch.stamp.processing_timestamp))?;
        }
        Ok(())
    }

    /// Counts what a published plan skipped.
    pub fn count_skipped(&mut self, assertions: u64) -> Result<()> {
        self.add_count(metric_row(SKIPPED), i64::try_from(assertions).unwrap_or(i64::MAX))
    }

    fn count_duration(&mut self, name: &str, duration: jiff::SignedDuration) -> Result<()> {
        let seconds = duration.as_secs_f64().max(0.0);
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len() - 1);
        self.add_count(metric_row(&format!("{name}_{bucket}")), 1)?;
        let ms = i64::try_from(duration.as_millis().max(0)).unwrap_or(i64::MAX);
        self.add_count(metric_row(&format!("{name}_ms")), ms)
    }
}
