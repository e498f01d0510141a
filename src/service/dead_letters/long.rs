//! Originals that are too long for the store. Those of a plan lie one behind
//! another in a file under the state folder, which is written before the commit
//! that opens their letters, and removed when no letter has its original there.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_128;

use super::super::checksums::Spread;
use super::super::engine::Engine;
use crate::domain::ids::{PlanId, SourceId};
use crate::error::{Error, Result};
use crate::planning::format::block_file::invalid;
use crate::planning::state_dir::StateDir;
use crate::store::{DeadLetter, LongContent};

/// Bytes beyond which an original is too long: a commit has all records of its
/// letters in memory, and lists read whole records.
const LONG: usize = 4 << 10;

/// Writes the long originals of the letters of one plan.
pub(super) struct Writer<'a> {
    state: &'a StateDir,
    path: PathBuf,
    /// Its path from the state folder.
    name: String,
    open: Option<(PathBuf, BufWriter<File>)>,
    at: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(state: &'a StateDir, source: &SourceId, plan: &PlanId) -> Self {
        let path = state.letters_path(source, plan);
        let name = path.strip_prefix(state.root()).unwrap_or(&path).display().to_string();
        Self { state, path, name, open: None, at: 0 }
    }

    /// What of an original goes into the letter's record.
    pub(super) fn put(&mut self, content: Vec<u8>) -> Result<(Vec<u8>, Option<LongContent>)> {
        if content.len() <= LONG {
            return Ok((content, None));
        }
        let (partial, file) = match &mut self.open {
            Some(open) => open,
            None => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
                }
                let partial = self.path.with_extension("partial");
                // Bad lines are nobody's business who may only look at the folder.
                let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial);
                let file = file.map_err(|e| Error::io(&partial, e))?;
                self.open.insert((partial, BufWriter::new(file)))
            }
        };
        file.write_all(&content).map_err(|e| Error::io(partial, e))?;
        let at = self.at;
        let bytes = content.len() as u64;
        self.at += bytes;
        let xxh3 = format!("{:032x}", xxh3_128(&content));
        Ok((Vec::new(), Some(LongContent { file: self.name.clone(), at, bytes, xxh3 })))
    }

    /// Makes all of them durable. A plan that is committed once more, after a
    /// crash, writes the file once more.
    pub(super) fn finish(&mut self) -> Result<()> {
        let Some((partial, file)) = self.open.take() else { return Ok(()) };
        let file = file.into_inner().map_err(|e| Error::io(&partial, e.into_error()))?;
        file.sync_all().map_err(|e| Error::io(&partial, e))?;
        std::fs::rename(&partial, &self.path).map_err(|e| Error::io(&self.path, e))?;
        if let Some(folder) = self.path.parent() {
            // It may be new itself.
            self.state.sync_tree(folder)?;
        }
        self.state.synced(&self.path)
    }

    /// Removes what was written, and not finished.
    pub(super) fn remove(self) {
        // What is left is collected with the next commit of the source.
        let _ = std::fs::remove_file(self.path.with_extension("partial"));
    }
}

/// What was found of the long originals.
pub(in crate::service) struct Originals {
    /// How many there should be.
    pub count: u64,
    /// What of them was read.
    pub spread: Spread,
    /// The letters of those that are not what was written, with what is wrong.
    pub bad: Vec<(u64, Error)>,
}

impl Engine {
    /// The original of an entity's letter, whole.
    ///
    /// # Errors
    /// `ErrorKind::SnapshotInvalid` when its file is not what was written.
    pub(super) fn content_of(&self, letter: &DeadLetter) -> Result<Vec<u8>> {
        let Some(long) = &letter.long else { return Ok(letter.content.clone()) };
        self.read_long(long).map_err(|error| {
            let action = format!(
                "Put the file back from a copy of the state folder, or give the line: `tidegate dlq edit {} --file FILE`.",
                letter.id
            );
            error.context(format!("the original of dead letter {}", letter.id)).with_action(action)
        })
    }

    /// Looks whether the long originals are there, and reads a spread of them.
    pub(in crate::service) fn look_at_originals(&self) -> Result<Originals> {
        let (mut count, mut bytes, mut bad) = (0, 0_u64, Vec::new());
        let told = |letter: &DeadLetter, error: Error| {
            (letter.id, error.context(format!("dead letter {}", letter.id)))
        };
        self.store.read(|view| {
            view.each_long_letter(|letter| {
                let Some(long) = &letter.long else { return Ok(()) };
                count += 1;
                match self.open_long(long) {
                    Err(error) => bad.push(told(&letter, error)),
                    Ok(_) => bytes = bytes.saturating_add(long.bytes),
                }
                Ok(())
            })
        })?;
        let mut spread = Spread::over(bytes, self.clock.random());
        self.store.read(|view| {
            view.each_long_letter(|letter| {
                let Some(long) = &letter.long else { return Ok(()) };
                if self.open_long(long).is_ok()
                    && spread.takes(long.bytes)
                    && let Err(error) = self.read_long(long)
                {
                    bad.push(told(&letter, error));
                }
                Ok(())
            })
        })?;
        Ok(Originals { count, spread, bad })
    }

    /// The file of a long original, which is long enough.
    fn open_long(&self, long: &LongContent) -> Result<File> {
        let path = self.state.root().join(&long.file);
        let io = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => invalid(&path, "the file is missing"),
            _ => Error::io(&path, e),
        };
        let file = File::open(&path).map_err(io)?;
        if file.metadata().map_err(io)?.len() < long.at.saturating_add(long.bytes) {
            return Err(invalid(&path, "the file is cut short"));
        }
        Ok(file)
    }

    fn read_long(&self, long: &LongContent) -> Result<Vec<u8>> {
        let path = self.state.root().join(&long.file);
        let file = self.open_long(long)?;
        let mut bytes = vec![0; usize::try_from(long.bytes).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, long.at).map_err(|e| Error::io(&path, e))?;
        if format!("{:032x}", xxh3_128(&bytes)) != long.xxh3 {
            return Err(invalid(&path, "its checksum does not match"));
        }
        Ok(bytes)
    }

    /// What a requeue of an entity's letter brings: what a person made of it,
    /// else the original.
    pub(super) fn wanted_of(&self, letter: &DeadLetter) -> Result<Vec<u8>> {
        match &letter.edited {
            Some(edited) => Ok(edited.content.clone()),
            None => self.content_of(letter),
        }
    }

    /// Removes the file of a letter that was forgotten, unless others have
    /// their originals there.
    pub(super) fn remove_long(&self, letter: &DeadLetter) -> Result<()> {
        let Some(long) = &letter.long else { return Ok(()) };
        if self.store.read(|view| view.is_letter_file(&long.file))? {
            return Ok(());
        }
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
