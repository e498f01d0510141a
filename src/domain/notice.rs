//! What Tidegate tells others of its own accord: the kinds of notices. What a
//! notice says is decided where it happens; how it travels, elsewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Something that others want to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NoticeKind {
    /// A batch ended: COMPLETE or FAILED. Its data is the publish state.
    #[serde(rename = "batch.ended")]
    BatchEnded,
    /// Dead letters of one reason came, where there was none: an alert.
    #[serde(rename = "dead_letter.opened")]
    DeadLetterOpened,
    /// A guard parked a plan, which waits for a person: an alert.
    #[serde(rename = "batch.parked")]
    BatchParked,
    /// Nothing of a source is begun until a person does something: an alert.
    #[serde(rename = "source.held")]
    SourceHeld,
    /// A target can't be used for longer than `alerts.target_down_after`: an alert.
    #[serde(rename = "target.down")]
    TargetDown,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [NoticeKind; 5] = [
        NoticeKind::BatchEnded,
        NoticeKind::DeadLetterOpened,
        NoticeKind::BatchParked,
        NoticeKind::SourceHeld,
        NoticeKind::TargetDown,
    ];

    /// Its name in settings and messages: `batch.ended`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BatchEnded => "batch.ended",
            Self::DeadLetterOpened => "dead_letter.opened",
            Self::BatchParked => "batch.parked",
            Self::SourceHeld => "source.held",
            Self::TargetDown => "target.down",
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NoticeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let names: Vec<String> = Self::ALL.iter().map(|kind| format!("\"{kind}\"")).collect();
            format!("{text:?} is no event; there is: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_as_it_is_named() {
        for kind in NoticeKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("batch.begun".parse::<NoticeKind>().unwrap_err().contains("batch.ended"));
    }
}
