//! A file system that Tidegate writes to.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A file system that Tidegate writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskView {
    /// What lies there: `data directory`, `state` or `target <name>`, the first of them.
    pub what: String,
    /// The path of that.
    pub path: String,
    /// Bytes that may still be written.
    pub free: Option<u64>,
    /// Bytes that it has.
    pub total: Option<u64>,
    /// Why that is not known.
    pub error: Option<String>,
}
