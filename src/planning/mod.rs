//! Assertions + snapshot → a checked plan, and the snapshot format.
//!
//! ```text
//! pass      lines → assertions that differ from what is published, bodies into a pack;
//!           restate: published values that changed settings give another form
//! absent    live keys that a full batch did not list
//! settle    assertions by key → the source's own changes, the plan's layer
//! judge     own changes → changes at the target, in the order of execution
//! footprint which keys no other plan in work may touch
//! look_alikes  keys that differ by case, Unicode form or outer blanks
//! check     the finished plan, read back and checked by other rules than made it
//! next      outcome of a plan → the next snapshot; kept: of a plan that was not
//!           published as a whole
//! fold      layers → one; merged: their keys in order; repack: small packs → one
//! ```

mod absent;
pub mod asserted;
pub mod bodies;
pub mod candidate;
pub mod check;
pub mod collect;
mod durable;
pub mod fold;
mod follow;
pub mod footprint;
pub mod format;
pub mod halt;
mod judge;
mod kept;
mod key_lines;
mod key_pack;
mod layer_tables;
mod line_table;
mod look_alikes;
mod merged;
mod moved_keys;
mod moving;
pub mod next;
pub mod of_batch;
mod originals;
mod pack_dictionaries;
mod pack_writer;
pub mod pass;
pub mod plan_file;
pub mod plan_writer;
pub mod planner;
pub mod ranks;
pub mod records;
pub mod recover;
pub mod rejects;
mod repack;
mod restate;
mod seen;
mod settle;
pub mod snapshot;
pub mod sorter;
pub mod state_dir;
pub mod types;
pub mod unpublished;
pub mod unsure;
pub mod view;
