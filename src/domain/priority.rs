//! Which source's turn it is: the score of a batch against those of other
//! sources. Within a source only the stamp decides.

use serde::{Deserialize, Serialize};

/// Weights of the score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PriorityWeights {
    /// Weight of the batch's age, per half-life.
    pub age: f64,
    /// Weight of the source's importance.
    pub importance: f64,
    /// Weight of the workflow's simplicity.
    pub simplicity: f64,
    /// The age that counts as 1, in seconds.
    pub half_life_seconds: f64,
}

impl Default for PriorityWeights {
    fn default() -> Self {
        Self { age: 1.0, importance: 1.0, simplicity: 1.0, half_life_seconds: 3600.0 }
    }
}

/// A batch's score with its parts, so that it can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// `age_weight · age / half_life`; unbounded, so that nothing starves.
    pub age: f64,
    /// `importance_weight · importance / 100`
    pub importance: f64,
    /// `simplicity_weight · (10 − complexity) / 9`
    pub simplicity: f64,
}

impl Score {
    /// The score of a batch that is `age_seconds` old, of a source of this
    /// importance (0–100) and a workflow of this complexity (1–10). Values
    /// outside are drawn to the nearest bound.
    pub fn new(weights: &PriorityWeights, age_seconds: f64, importance: u8, complexity: u8) -> Self {
        let half_life = weights.half_life_seconds.max(1.0);
        Self {
            age: weights.age * age_seconds.max(0.0) / half_life,
            importance: weights.importance * f64::from(importance.min(100)) / 100.0,
            simplicity: weights.simplicity * f64::from(10 - complexity.clamp(1, 10)) / 9.0,
        }
    }

    /// The sum of the parts.
    pub fn total(&self) -> f64 {
        self.age + self.importance + self.simplicity
    }
}

/// The complexity of a batch of which nothing tells how large it is.
pub const UNKNOWN_COMPLEXITY: u8 = 5;

/// The complexity (1–10) of a batch whose manifest gives none: it grows with
/// the logarithm of the number of lines and with the number of types.
pub fn estimated_complexity(lines: u64, types: u64) -> u8 {
    // 1 up to 1,000 lines of one type; one more for each tenfold and for
    // each doubling of the types.
    let size = (lines.max(1) as f64 / 1_000.0).log10().max(0.0);
    let variety = (types.max(1) as f64).log2();
    (1.0 + size + variety).round().clamp(1.0, 10.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_by_table() {
        let weights = PriorityWeights::default();
        for (age, importance, complexity, total) in [
            (0.0, 0, 10, 0.0),
            (0.0, 0, 1, 1.0),
            (0.0, 100, 10, 1.0),
            (3600.0, 0, 10, 1.0),
            (36_000.0, 50, 10, 10.5),
            (-5.0, 200, 0, 2.0),
        ] {
            let score = Score::new(&weights, age, importance, complexity);
            assert!((score.total() - total).abs() < 1e-9, "{age} {importance} {complexity}: {score:?}");
        }
    }

    #[test]
    fn age_wins_in_the_end() {
        let weights = PriorityWeights { age: 0.01, importance: 100.0, ..PriorityWeights::default() };
        let old = Score::new(&weights, 1e9, 0, 10).total();
        let young = Score::new(&weights, 0.0, 100, 1).total();
        assert!(old > young);
    }

    #[test]
    fn complexity_by_table() {
        for (lines, types, expected) in
            [(0, 0, 1), (1_000, 1, 1), (10_000, 1, 2), (1_000_000, 4, 6), (u64::MAX, u64::MAX, 10)]
        {
            assert_eq!(estimated_complexity(lines, types), expected, "{lines} {types}");
        }
    }
}
