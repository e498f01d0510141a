//! Originals that are too long for the store: each is a file under the state
//! folder, written before the commit that opens its letter, read back against
//! its hash, and removed with its letter.

use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_128;

use super::super::engine::Engine;
use crate::domain::ids::{PlanId, SourceId};
use crate::error::{Error, Result};
use crate::planning::format::block_file::invalid;
use crate::planning::state_dir::StateDir;
use crate::store::{DeadLetter, LetterKind, LongContent};

/// Bytes from which an original is a file. Lists read whole records.
const LONG: usize = 64 << 10;

/// Writes the long originals of the letters of one plan.
pub(super) struct Writer<'a> {
    state: &'a StateDir,
    source: &'a SourceId,
    plan: &'a PlanId,
    last: Option<PathBuf>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(state: &'a StateDir, source: &'a SourceId, plan: &'a PlanId) -> Self {
        Self { state, source, plan, last: None }
    }

    /// What of an original goes into the letter's record. A plan that is
    /// committed once more writes the same files.
    pub(super) fn put(&mut self, content: Vec<u8>) -> Result<(Vec<u8>, Option<LongContent>)> {
        if content.len() <= LONG {
            return Ok((content, None));
        }
        let xxh3 = format!("{:032x}", xxh3_128(&content));
        let name = format!("{}-{xxh3}.line", self.plan);
        let path = self.state.letter_path(self.source, &name);
        self.state.write_durable(&path, &content)?;
        self.last = Some(path);
        let file = format!("{}/letters/{name}", self.source);
        Ok((Vec::new(), Some(LongContent { file, bytes: content.len() as u64, xxh3 })))
    }

    /// Makes the names of all of them durable.
    pub(super) fn finish(self) -> Result<()> {
        match self.last.as_deref().and_then(std::path::Path::parent) {
            Some(folder) => self.state.sync_tree(folder),
            None => Ok(()),
        }
    }
}

impl Engine {
    /// The original of an entity's letter, whole.
    ///
    /// # Errors
    /// `ErrorKind::SnapshotInvalid` when its file is not what was written.
    pub(super) fn content_of(&self, letter: &DeadLetter) -> Result<Vec<u8>> {
        let Some(long) = &letter.long else { return Ok(letter.content.clone()) };
        let path = self.state.root().join(&long.file);
        let read = std::fs::read(&path).map_err(|e| Error::io(&path, e));
        let bad = match read {
            Ok(bytes) if format!("{:032x}", xxh3_128(&bytes)) == long.xxh3 => return Ok(bytes),
            Ok(_) => invalid(&path, "its checksum does not match"),
            Err(error) => error,
        };
        let action = format!(
            "Put the file back from a copy of the state folder, or give the line: `tidegate dlq edit {} --file FILE`.",
            letter.id
        );
        Err(bad.context(format!("the original of dead letter {}", letter.id)).with_action(action))
    }

    /// What a requeue of an entity's letter brings: what a person made of it,
    /// else the original.
    pub(super) fn wanted_of(&self, letter: &DeadLetter) -> Result<Vec<u8>> {
        match &letter.edited {
            Some(edited) => Ok(edited.content.clone()),
            None => self.content_of(letter),
        }
    }

    /// Removes the file of a letter that was forgotten.
    pub(super) fn remove_long(&self, letter: &DeadLetter) -> Result<()> {
        let Some(long) = letter.long.as_ref().filter(|_| letter.kind == LetterKind::Entity) else {
            return Ok(());
        };
        let path = self.state.root().join(&long.file);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path, e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes files that are no letter's: of originals that newer ones
    /// replaced, and of commits that did not come about. Called by whoever
    /// commits for the source, so that none of them is to be committed yet.
    pub(in crate::service) fn collect_letters(&self, source: &SourceId) -> Result<()> {
        let folder = self.state.source(source).join("letters");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io(&folder, e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(&folder, e))?;
            let file = format!("{source}/letters/{}", entry.file_name().to_string_lossy());
            if !self.store.read(|view| view.is_letter_file(&file))? {
                std::fs::remove_file(entry.path()).map_err(|e| Error::io(&entry.path(), e))?;
            }
        }
        Ok(())
    }
}
