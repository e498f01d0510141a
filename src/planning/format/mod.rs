//! The files of snapshots and plans. `docs/snapshot-format.md` describes them
//! byte by byte.

pub mod block_file;
pub mod body;
pub mod bytes;
pub mod dictionary;
pub mod entry;
pub mod layer;
pub mod order;
mod sealed;
pub mod written;
