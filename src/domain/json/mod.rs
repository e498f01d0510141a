//! JSON: one strict scanner for everything that comes in, a canonical form
//! with numbers by exact value, and the forms that are stored and compared.
//!
//! Own code, because no library has the three things that the diff rests on:
//! numbers that never go through a float, duplicate names as an error, and one
//! acceptance rule for the lazy path and the thorough one.

mod canonical;
mod forms;
mod indent;
mod number;
mod outline;
mod place;
pub mod scan;
mod twice;

use std::fmt;

pub use canonical::{Canonicalizer, canonicalize};
pub use forms::{ComparisonRules, Members, comparison_form, members, stored_form};
pub use indent::indented;
pub use outline::is_one_value;
pub use place::member_at;
pub use twice::{lines_of, named_twice};

/// Why a text is not the JSON that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// Where, in bytes from the start of the text.
    pub offset: usize,
    /// What is wrong.
    pub problem: &'static str,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.problem, self.offset)
    }
}

impl std::error::Error for JsonError {}
