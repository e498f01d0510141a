//! How many changes are put into one request while bad ones are looked for.
//!
//! Group testing: with a share p of bad ones, groups of about ln 2 / p are
//! good every other time, which tells most for a request; and from
//! p = (3 − √5) / 2 on nothing beats asking for each one alone (Ungar,
//! "The cutoff point for group testing", 1960).

/// From this share on every change is sent alone.
const ALONE: f64 = 0.381_966;

/// What is known of the share of bad changes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Density {
    tested: u64,
    bad: u64,
}

impl Density {
    /// So many changes got their outcome, so many of them are bad.
    pub fn told(&mut self, tested: u64, bad: u64) {
        self.tested += tested;
        self.bad += bad;
    }

    /// The most changes of one request. Without limit until two are known to
    /// be bad: one says nothing of a share.
    pub fn group(&self) -> usize {
        if self.bad < 2 {
            return usize::MAX;
        }
        let share = self.bad as f64 / self.tested.max(self.bad) as f64;
        if share >= ALONE {
            return 1;
        }
        // At least 1, for the share is below ALONE.
        (std::f64::consts::LN_2 / share).round().max(1.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_get_smaller_as_more_is_bad() {
        for (tested, bad, group) in [
            (0, 0, usize::MAX),
            (1, 1, usize::MAX),
            (2, 2, 1),
            (100, 50, 1),
            (1000, 10, 69),
            (100_000, 2, 34_657),
        ] {
            assert_eq!(Density { tested, bad }.group(), group, "{bad} of {tested}");
        }
    }
}
