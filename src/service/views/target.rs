//! A target: a metadata catalogue that is published to.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::{SourceId, TargetName};
use crate::domain::settings::Deletion;

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetView {
    /// Its name.
    pub target: TargetName,
    /// What it is: `embedded` or `http`.
    pub kind: String,
    /// What a deletion means there.
    pub deletion: Deletion,
    /// Tells what it holds from any other data; `null` when it can't be reached.
    pub identity: Option<String>,
    /// Sources that are published to it.
    pub sources: Vec<SourceId>,
    /// Why it can't be used, or does not hold what was published to it; empty
    /// when all is well.
    pub problems: Vec<String>,
}
