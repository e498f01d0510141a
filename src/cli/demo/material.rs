//! The demo's batches and their story, kept within the program.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::intake::manifest::MANIFEST;

static BATCHES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/data/demo/batches");
const STORY: &str = include_str!("../../../data/demo/story.json");
/// The settings that the demo runs with.
pub const SETTINGS: &str = include_str!("../../../data/demo/tidegate.toml");

/// What should come of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Expect {
    /// It is published.
    #[serde(rename = "complete")]
    Complete,
    /// It is published but for its bad lines.
    #[serde(rename = "partial")]
    Partial,
    /// It changes nothing.
    #[serde(rename = "no changes")]
    NoChanges,
    /// A guard parks it, and the operator rejects it.
    #[serde(rename = "parked-then-rejected")]
    ParkedThenRejected,
}

/// One batch of the story.
#[derive(Debug, Clone, Deserialize)]
pub struct Step {
    /// Its folder, as `<source>/<time>_<run>`.
    pub batch: String,
    /// What happened, and what to look at.
    pub caption: String,
    /// What should come of it.
    pub expect: Expect,
}

/// The story, in order of arrival.
pub fn steps() -> Result<Vec<Step>> {
    serde_json::from_str(STORY).map_err(|e| Error::internal("the demo's story").caused_by(e))
}

/// The lines of one of the batches, entities first.
pub fn lines(batch: &str) -> Result<Vec<String>> {
    let missing = || Error::internal(format!("the demo has no batch {batch}"));
    let mut files: Vec<_> = BATCHES.get_dir(batch).ok_or_else(missing)?.files().collect();
    files.sort_by_key(|file| file.path());
    let mut lines = Vec::new();
    for file in files.into_iter().filter(|file| !file.path().ends_with(MANIFEST)) {
        let text = file.contents_utf8().ok_or_else(missing)?;
        lines.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    }
    Ok(lines)
}

/// Delivers a step's batch below `inbox`, as a workflow does it: the manifest
/// last. Returns the folder.
pub fn deliver(step: &Step, inbox: &Path) -> Result<PathBuf> {
    let missing = || Error::internal(format!("the demo has no batch {}", step.batch));
    let batch = BATCHES.get_dir(&step.batch).ok_or_else(missing)?;
    let folder = inbox.join(&step.batch);
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let mut files: Vec<_> = batch.files().collect();
    files.sort_by_key(|file| file.path().ends_with(MANIFEST));
    for file in files {
        // Under its name it is whole: whoever watches reads it at once.
        let (path, partial) = (inbox.join(file.path()), folder.join(".partial"));
        std::fs::write(&partial, file.contents()).map_err(|e| Error::io(&partial, e))?;
        std::fs::rename(&partial, &path).map_err(|e| Error::io(&path, e))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::check;
    use crate::intake::reader::ReadLimits;

    #[test]
    fn every_batch_of_the_story_keeps_to_the_contract_but_for_its_bad_lines() {
        let inbox = tempfile::tempdir().unwrap();
        let steps = steps().unwrap();
        for step in &steps {
            let folder = deliver(step, inbox.path()).unwrap();
            let rules = check::Rules {
                limits: ReadLimits::default(),
                now: jiff::Timestamp::MAX,
                max_future: std::time::Duration::ZERO,
            };
            let report = check::check(&folder, &rules, &|_| {}).unwrap();
            let bad = u64::from(step.expect == Expect::Partial);
            assert_eq!(report.errors, bad, "{}: {report}", step.batch);
        }
        let folders: usize = BATCHES.dirs().map(|source| source.dirs().count()).sum();
        assert_eq!(folders, steps.len(), "every batch has a place in the story");
    }
}
