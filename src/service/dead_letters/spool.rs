//! Letters that are made and not yet opened. They lie in the work folder of
//! their plan, which a crash leaves to be emptied, and are read one at a time in
//! the transaction that opens all of them.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::domain::ids::PlanId;
use crate::error::{Error, Result};
use crate::planning::state_dir::{StateDir, WorkFolder};
use crate::store::NewLetter;

const NAME: &str = "letters";

/// Takes letters, each behind its length.
pub(super) struct Spool<'a> {
    state: &'a StateDir,
    plan: &'a PlanId,
    open: Option<(WorkFolder, PathBuf, BufWriter<File>)>,
    count: u64,
}

impl<'a> Spool<'a> {
    pub(super) fn new(state: &'a StateDir, plan: &'a PlanId) -> Self {
        Self { state, plan, open: None, count: 0 }
    }

    pub(super) fn put(&mut self, letter: &NewLetter) -> Result<()> {
        let (_, path, file) = match &mut self.open {
            Some(open) => open,
            None => {
                let folder = self.state.work_folder(self.plan)?;
                let path = folder.path().join(NAME);
                let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
                self.open.insert((folder, path, BufWriter::new(file)))
            }
        };
        let bytes = rmp_serde::to_vec_named(letter).map_err(|e| failed().caused_by(e))?;
        let length = u32::try_from(bytes.len()).map_err(|_| failed())?;
        file.write_all(&length.to_le_bytes()).map_err(|e| Error::io(path, e))?;
        file.write_all(&bytes).map_err(|e| Error::io(path, e))?;
        self.count += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Spooled> {
        let mut from = None;
        if let Some((folder, path, file)) = self.open {
            let written = file.into_inner().map_err(|e| Error::io(&path, e.into_error()))?;
            drop(written);
            let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
            from = Some((folder, path, BufReader::new(file)));
        }
        Ok(Spooled { from, left: self.count })
    }
}

/// Hands them out again, in order.
pub(in crate::service) struct Spooled {
    from: Option<(WorkFolder, PathBuf, BufReader<File>)>,
    left: u64,
}

impl Spooled {
    /// How many there are still.
    pub(in crate::service) fn left(&self) -> u64 {
        self.left
    }
}

impl Iterator for Spooled {
    type Item = Result<NewLetter>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, path, file) = self.from.as_mut()?;
        self.left = self.left.checked_sub(1)?;
        Some(read(path, file))
    }
}

fn read(path: &Path, file: &mut BufReader<File>) -> Result<NewLetter> {
    let mut length = [0; 4];
    file.read_exact(&mut length).map_err(|e| Error::io(path, e))?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    file.read_exact(&mut bytes).map_err(|e| Error::io(path, e))?;
    rmp_serde::from_slice(&bytes).map_err(|e| failed().caused_by(e))
}

fn failed() -> Error {
    Error::internal("a dead letter that is to be opened")
}
