//! The long-running part: what is accepted, whose turn it is, and the way of
//! a batch from folder to snapshot.
//!
//! ```text
//! engine    the one way in; opening a data directory
//! inboxes   folders → accepted batches; looking: into an inbox; watch: when
//! given     batches that a person gives, by a folder or a URL
//! queue     whose turn it is; estimate: of a batch's complexity; work: who is in
//!           work, and waking
//! stages    the way of one batch: prepare → begin → publish
//! skips     keys that an operator knows to be bad
//! failing   what follows when that goes wrong; retrying: when it is tried
//!           again; breaker: targets that can't be used
//! holds     what holds sources and ends by itself
//! operate   what a person can do; dead_letters: what failed, and its repair
//! pins      files of batches that wait
//! space     room on disks; doctor: what is wrong; recover: a lost store
//! events    what happens, told; live: how far batches in work have come
//! find      search, and the threads that keep its index
//! serve     workers, watchers, signals; notices: webhooks
//! views     what is shown; query: filling it
//! ```

mod accept;
mod begin;
mod breaker;
mod checksums;
mod copying;
pub mod dead_letters;
pub mod doctor;
pub mod engine;
mod estimate;
pub mod events;
mod failing;
mod find;
mod folded;
mod given;
mod holds;
pub mod inboxes;
pub mod issues;
pub mod live;
mod looking;
mod making;
mod notices;
mod old_batches;
mod operate;
mod pinned;
mod pins;
mod prepare;
pub mod present;
mod publish;
pub mod query;
pub mod queue;
pub mod recover;
mod reload;
mod reopen;
mod retention;
mod retrying;
mod sample;
pub mod serve;
pub mod skips;
pub mod space;
mod stages;
mod stop;
mod suspecting;
mod uploads;
pub mod views;
pub mod waiting;
mod watch;
mod withheld;
mod work;

pub use engine::Engine;
pub use serve::Service;

/// The actor of what the program does by itself.
const SELF: &str = "tidegate";
