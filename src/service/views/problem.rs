//! An error as the API tells it: a problem document of RFC 9457.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Error;

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemView {
    /// Identifies the kind of problem: `urn:tidegate:error:<code>`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// What the kind means.
    pub title: String,
    /// The answer's HTTP status.
    pub status: u16,
    /// What was met, where.
    pub detail: String,
    /// A code of the table of errors, or one of HTTP's own such as `METHOD_NOT_ALLOWED`.
    pub code: String,
    /// What to do next.
    pub action: String,
}

impl From<&Error> for ProblemView {
    fn from(error: &Error) -> Self {
        let info = error.kind().info();
        Self {
            type_uri: format!("urn:tidegate:error:{}", info.code),
            title: info.meaning.to_owned(),
            status: info.http_status,
            detail: error.to_string(),
            code: info.code.to_owned(),
            action: error.action().to_owned(),
        }
    }
}
