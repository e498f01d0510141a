//! Identifiers. Each is its own type, so that one can't be passed for another.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} {problem}")]
pub struct IdError {
    /// What the text was meant to be, such as `source_id`.
    pub what: &'static str,
    /// The text, cut to 100 characters.
    pub text: String,
    /// What is wrong with it and what would be right.
    pub problem: &'static str,
}

impl IdError {
    fn new(what: &'static str, text: &str, problem: &'static str) -> Self {
        Self { what, text: text.chars().take(100).collect(), problem }
    }
}

const PLAIN: &str = "must be 1 to 63 characters of A-Z a-z 0-9 . _ - and begin with a letter or digit";

/// `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Describes an identifier in the API's documents as the text that it is.
macro_rules! text_schema {
    ($name:ident) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                String::schema()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $valid:expr, $problem:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        text_schema!($name);

        impl $name {
            /// Checks the text and wraps it.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(IdError::new($what, &text, $problem)) }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

text_id!(
    /// A system that metadata comes from: `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`.
    SourceId, "source_id", is_plain, PLAIN
);
text_id!(
    /// One execution of a workflow: `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`.
    RunId, "run_id", is_plain, PLAIN
);
text_id!(
    /// The name of a target in the settings, such as `catalogue`.
    TargetName, "target", is_plain, PLAIN
);
text_id!(
    /// One plan. Also the name of its files and packs under the state URL.
    /// `<UTC time, YYYYMMDDTHHMMSSZ>-<16 hex digits>`, so that names sort by time.
    PlanId, "plan id", is_plain, PLAIN
);
text_id!(
    /// One snapshot: the id of the plan whose outcome it records.
    SnapshotId, "snapshot id", is_plain, PLAIN
);

impl From<PlanId> for SnapshotId {
    fn from(plan: PlanId) -> Self {
        Self(plan.0)
    }
}

/// The name of a batch's folder: `<YYYYMMDDTHHMMSSZ>_<run_id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FolderName {
    time: Timestamp,
    run_id: RunId,
}

text_schema!(FolderName);

impl FolderName {
    /// The folder name of a run whose source timestamp is `time` (cut to seconds).
    pub fn new(time: Timestamp, run_id: RunId) -> Self {
        // Cut towards the past, also before 1970.
        let second = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
        let seconds = Timestamp::from_second(second).unwrap_or(time);
        Self { time: seconds, run_id }
    }

    /// The source timestamp that the name states, in whole seconds.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The run that wrote the folder.
    pub fn run_id(&self) -> &RunId {
        &self.run_id
    }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", compact_time(self.time), self.run_id)
    }
}

impl FromStr for FolderName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        const PROBLEM: &str = "must be <YYYYMMDDTHHMMSSZ>_<run_id>, such as 20261124T010000Z_run-1";
        let error = || IdError::new("folder name", text, PROBLEM);
        let (time, run) = text.split_once('_').ok_or_else(error)?;
        if time.len() != 16 || !time.is_ascii() {
            return Err(error());
        }
        let civil = DateTime::strptime("%Y%m%dT%H%M%SZ", time).map_err(|_| error())?;
        let time = TimeZone::UTC.to_timestamp(civil).map_err(|_| error())?;
        let folder = Self { time, run_id: RunId::new(run).map_err(|_| error())? };
        // Two spellings of one name would be two names of one batch.
        if folder.to_string() == text { Ok(folder) } else { Err(error()) }
    }
}

impl TryFrom<String> for FolderName {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<FolderName> for String {
    fn from(name: FolderName) -> String {
        name.to_string()
    }
}

/// `YYYYMMDDTHHMMSSZ`
pub fn compact_time(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// A batch: `<source_id>:<folder name>`; a requeue or republish adds `~<n>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BatchId {
    source: SourceId,
    folder: FolderName,
    n: u32,
}

text_schema!(BatchId);

impl BatchId {
    /// The id of the batch in `folder` of `source`.
    pub fn new(source: SourceId, folder: FolderName) -> Self {
        Self { source, folder, n: 0 }
    }

    /// The same batch taken up again for the `n`th time; 0 is the original.
    pub fn with_n(&self, n: u32) -> Self {
        Self { n, ..self.clone() }
    }

    /// The source that the batch belongs to.
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// The folder that the run wrote.
    pub fn folder(&self) -> &FolderName {
        &self.folder
    }

    /// 0 for the batch as it was written, else the number behind `~`.
    pub fn n(&self) -> u32 {
        self.n
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.folder)?;
        if self.n > 0 { write!(f, "~{}", self.n) } else { Ok(()) }
    }
}

impl FromStr for BatchId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        const PROBLEM: &str = "must be <source_id>:<YYYYMMDDTHHMMSSZ>_<run_id>, with ~<n> behind it for a requeue, such as warehouse:20261124T010000Z_run-1";
        let error = || IdError::new("batch id", text, PROBLEM);
        let (source, rest) = text.split_once(':').ok_or_else(error)?;
        let (folder, n) = match rest.split_once('~') {
            None => (rest, 0),
            Some((folder, n)) => (folder, n.parse().map_err(|_| error())?),
        };
        let id = Self {
            source: SourceId::new(source).map_err(|_| error())?,
            folder: folder.parse().map_err(|_| error())?,
            n,
        };
        if id.to_string() == text { Ok(id) } else { Err(error()) }
    }
}

impl TryFrom<String> for BatchId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<BatchId> for String {
    fn from(id: BatchId) -> String {
        id.to_string()
    }
}

/// One operation of a plan, counted from 0 in the order of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationNo(pub u32);

impl fmt::Display for OperationNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_id_reads_back_as_it_was_written() {
        for text in ["warehouse:20261124T010000Z_run-0001", "a.b:20261124T010000Z_r_1~12"] {
            assert_eq!(text.parse::<BatchId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "warehouse",
            "w:x",
            "w:20261124T010000Z",
            "w:20261124T010000Z_",
            "w:20261324T010000Z_r",
            "w:20261124T010000Z_r~0",
            "w:20261124T010000Z_r~01",
            "w:20261124T010000Z_r~4294967296",
            ":20261124T010000Z_r",
            "-w:20261124T010000Z_r",
            "w:2026-11-24T01:00:00Z_r",
            "w/..:20261124T010000Z_r",
        ] {
            assert!(text.parse::<BatchId>().is_err(), "{text}");
        }
        assert!(SourceId::new("a".repeat(63)).is_ok());
        assert!(SourceId::new("a".repeat(64)).is_err());
        assert!(SourceId::new("ä").is_err());
    }

    #[test]
    fn a_folder_name_is_cut_to_seconds() {
        let time: Timestamp = "2026-11-24T01:00:00.75Z".parse().unwrap();
        let name = FolderName::new(time, RunId::new("r").unwrap());
        assert_eq!(name.to_string(), "20261124T010000Z_r");
        assert_eq!(name, "20261124T010000Z_r".parse().unwrap());
        // Towards the past, on both sides of 1970.
        for (time, cut) in [
            ("1969-12-31T23:59:59.9Z", "19691231T235959Z_r"),
            ("1970-01-01T00:00:00.1Z", "19700101T000000Z_r"),
        ] {
            assert_eq!(FolderName::new(time.parse().unwrap(), RunId::new("r").unwrap()).to_string(), cut);
        }
    }
}
