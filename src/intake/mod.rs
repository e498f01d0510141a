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
pub mod monitor;
mod pack;
pub mod pin;
pub mod prefix;
pub mod reader;
pub mod unpack;
pub mod write;
