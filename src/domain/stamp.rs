//! The total order of a source's batches.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::BatchId;

/// (source timestamp, processing timestamp, batch id, n), compared in that
/// order (`SEMANTICS` 1). Of two assertions of one source about one key, the
/// one with the newer stamp wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// When the data was extracted from the source.
    pub source_timestamp: Timestamp,
    /// When the data was transformed and written.
    pub processing_timestamp: Timestamp,
    /// The batch. Its `~n` compares as a number, after the batch itself.
    pub batch_id: BatchId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(source: &str, processing: &str, batch: &str) -> Stamp {
        Stamp {
            source_timestamp: source.parse().unwrap(),
            processing_timestamp: processing.parse().unwrap(),
            batch_id: batch.parse().unwrap(),
        }
    }

    #[test]
    fn compares_source_time_then_processing_time_then_id_then_n() {
        let (a, b) = ("2026-11-24T01:00:00Z", "2026-11-24T02:00:00Z");
        let id = "w:20261124T010000Z_r";
        let order = [
            stamp(a, a, id),
            stamp(a, b, id),
            stamp(a, b, "w:20261124T010000Z_r~2"),
            stamp(a, b, "w:20261124T010000Z_r~10"),
            stamp(a, b, "w:20261124T010000Z_s"),
            stamp(b, a, id),
        ];
        for pair in order.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
    }
}
