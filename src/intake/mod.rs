//! From the object store to complete, verified batches: listing, completeness,
//! manifests, and readers that hand out lines. Knows nothing of snapshots.

pub mod batch;
pub mod check;
pub mod discovery;
pub mod fetch;
pub mod folder;
pub mod inbox;
mod listed;
pub mod manifest;
mod misplaced;
pub mod monitor;
mod pack;
mod pages;
pub mod pin;
pub mod prefix;
pub mod reader;
mod remote;
pub mod signature;
pub mod unpack;
pub mod write;
