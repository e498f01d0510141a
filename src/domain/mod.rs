//! The words that everything else is written in: records, rules and
//! decisions. Pure: no I/O, no clock, no randomness.

pub mod alert;
pub mod assertion;
pub mod change;
pub mod completion;
pub mod due;
pub mod glob;
pub mod guards;
pub mod ids;
pub mod isolation;
pub mod json;
pub mod key;
pub mod maintenance;
pub mod merge;
pub mod notice;
pub mod plan;
pub mod priority;
pub mod publish_state;
pub mod reason;
pub mod retry;
pub mod scope;
pub mod settings;
pub mod signature;
pub mod skip;
pub mod stamp;
pub mod transition;
