//! The long-running part: what is accepted, whose turn it is, and the way of
//! a batch from folder to snapshot.

pub mod engine;
pub mod inboxes;
mod letters;
mod publish;
mod queue;
mod retention;
pub mod serve;

pub use engine::Engine;
