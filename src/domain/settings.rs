//! Settings as the rules see them: resolved, with every default filled in.
//! Reading them from a file and the environment is `config.rs`'s work.

use serde::{Deserialize, Serialize};

use super::glob::Glob;
use super::guards::GuardLimits;
use super::ids::{SourceId, TargetName};
use super::isolation::IsolationLimit;
use super::maintenance::Window;
use super::scope::Scope;

/// How a batch's lines are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every key of the scope that is not in the batch is asserted absent.
    Full,
    /// Only the listed keys are asserted.
    Incremental,
}

impl Mode {
    /// `full` or `incremental`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
        }
    }
}

/// What follows within a source when one of its batches fails (`SEMANTICS` 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The source goes on with the next batch.
    Continue,
    /// The source is held until a person decides, or a full batch of scope
    /// everything completes without exceptions.
    Hold,
}

/// What a deletion means at a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Deletion {
    /// The entity goes.
    #[default]
    Delete,
    /// The entity is kept, marked archived, and revived by a later create.
    Archive,
}

impl Deletion {
    /// `delete` or `archive`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Archive => "archive",
        }
    }
}

/// Everything that is set per source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceSettings {
    /// The target that the source is published to.
    pub target: TargetName,
    /// 0 to 100: how much the source matters against the others.
    pub importance: u8,
    /// Which source's value of an attribute shows: the highest.
    pub precedence: i64,
    /// Paths of attributes that are kept, but make no update by themselves.
    /// Segments are parted by `.`; `*` stands for any run of characters
    /// within a segment. A path that ends at an object covers all of it.
    pub volatile: Vec<String>,
    /// Paths of arrays whose order means nothing.
    pub unordered: Vec<String>,
    /// Types of relationships that lead from a container to its contents.
    pub containment: Vec<Glob>,
    /// Limits of the guards.
    pub guards: GuardLimits,
    /// How many bad lines or rejected changes a batch survives.
    pub isolation: IsolationLimit,
    /// When it is left alone.
    pub maintenance: Vec<Window>,
    /// What follows a failed batch; `None`: by the failed batch's mode.
    pub on_failure: Option<OnFailure>,
    /// How late a batch may be, in seconds behind the newest published one.
    pub max_lateness_seconds: u64,
    /// How far ahead of the clock a source timestamp may lie, in seconds.
    pub max_future_seconds: u64,
    /// The mode of batches without a manifest.
    pub mode: Option<Mode>,
    /// The scope of batches without a manifest.
    pub scope: Scope,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self {
            target: default_target(),
            importance: 50,
            precedence: 0,
            volatile: Vec::new(),
            unordered: Vec::new(),
            containment: vec![Glob::new("*")],
            guards: GuardLimits::default(),
            isolation: IsolationLimit::default(),
            maintenance: Vec::new(),
            on_failure: None,
            max_lateness_seconds: 30 * 24 * 3600,
            max_future_seconds: crate::limits::MAX_FUTURE_SECONDS,
            mode: None,
            scope: Scope::default(),
        }
    }
}

/// The target that is there without any settings: `catalogue`.
pub fn default_target() -> TargetName {
    // The literal is a valid name; a test holds it to that.
    TargetName::new("catalogue").unwrap_or_else(|_| unreachable!("`catalogue` is a valid target name"))
}

impl SourceSettings {
    /// What follows when a batch of this mode fails; an unreadable mode
    /// counts as full.
    pub fn on_failure(&self, mode: Option<Mode>) -> OnFailure {
        self.on_failure.unwrap_or(match mode {
            None | Some(Mode::Full) => OnFailure::Continue,
            Some(Mode::Incremental) => OnFailure::Hold,
        })
    }

    /// Fingerprint of every setting that affects comparison or output, of
    /// their resolved meaning (`SEMANTICS` 12): 64 bits, stable across
    /// versions as long as the meaning is.
    pub fn fingerprint(&self, source: &SourceId, deletion: Deletion) -> u64 {
        let sorted = |list: &[String]| {
            let mut list: Vec<&str> = list.iter().map(String::as_str).collect();
            list.sort_unstable();
            list.dedup();
            list.join("\n")
        };
        let text = format!(
            "tidegate fingerprint 1\0{source}\0{}\0{}\0{}\0{deletion:?}",
            sorted(&self.volatile),
            sorted(&self.unordered),
            self.precedence,
        );
        xxhash_rust::xxh3::xxh3_64(text.as_bytes())
    }

    /// Fingerprint of the settings that decide whether two values are equal:
    /// a part of [`Self::fingerprint`]. When it changes, stored comparison
    /// hashes are made anew.
    pub fn comparison_fingerprint(&self) -> u64 {
        let plain = SourceSettings {
            volatile: self.volatile.clone(),
            unordered: self.unordered.clone(),
            ..Self::default()
        };
        SourceId::new("x").map_or(0, |any| plain.fingerprint(&any, Deletion::Delete))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn importance_is_not_in_the_fingerprint_and_precedence_is() {
        let source = SourceId::new("s").unwrap();
        let base = SourceSettings::default();
        let print = |s: &SourceSettings| s.fingerprint(&source, Deletion::Delete);
        assert_eq!(print(&base), print(&SourceSettings { importance: 90, ..base.clone() }));
        assert_ne!(print(&base), print(&SourceSettings { precedence: 1, ..base.clone() }));
        assert_ne!(print(&base), print(&SourceSettings { volatile: vec!["x".into()], ..base.clone() }));
        assert_ne!(print(&base), base.fingerprint(&source, Deletion::Archive));
        let (ab, ba) = (vec!["a".to_owned(), "b".into()], vec!["b".to_owned(), "a".into()]);
        assert_eq!(
            print(&SourceSettings { unordered: ab, ..base.clone() }),
            print(&SourceSettings { unordered: ba, ..base })
        );
    }
}
