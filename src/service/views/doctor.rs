//! What `doctor` finds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// All is well.
    Ok,
    /// It works, and should be looked at.
    Warning,
    /// It does not work.
    Error,
}

/// A check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckView {
    /// What was looked at, such as `state` or `inbox s3://metadata/landing/`.
    pub check: String,
    /// How it ended.
    pub status: CheckStatus,
    /// What was found.
    pub found: String,
    /// The command or setting that mends it.
    pub mend: Option<String>,
}

impl CheckView {
    /// All is well.
    pub fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), status: CheckStatus::Ok, found: found.into(), mend: None }
    }

    /// It works, and should be looked at.
    pub fn warning(check: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            status: CheckStatus::Warning,
            found: found.into(),
            mend: Some(mend.into()),
        }
    }

    /// It does not work.
    pub fn error(check: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check: check.into(), status: CheckStatus::Error, found: found.into(), mend: Some(mend.into()) }
    }
}

/// What `doctor` finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorView {
    /// When it looked.
    pub at: Timestamp,
    /// Version of the program that looked.
    pub version: String,
    /// Its checks.
    pub checks: Vec<CheckView>,
}

impl DoctorView {
    /// The worst of all checks.
    pub fn worst(&self) -> CheckStatus {
        self.checks.iter().map(|check| check.status).max().unwrap_or(CheckStatus::Ok)
    }
}
