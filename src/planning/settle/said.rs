//! Keys of which a batch says nothing that can be taken: everything that it says of
//! them goes into their dead letters.

use std::collections::HashSet;

use super::super::asserted::{Asserted, BAD};
use super::super::format::entry::Loc;
use super::super::key_lines::Says;
use super::super::originals::CONTRADICTS;
use super::super::rejects::Reject;
use super::Work;
use crate::domain::key::Key;
use crate::error::{ErrorKind, Result};

impl Work<'_, '_, '_> {
    /// A key that the batch says nothing of: bad line, or two values; of these
    /// their lines, and whether the published value came before all of them.
    pub(super) fn except(
        &mut self,
        first: &Asserted,
        conflict: Option<(&[Asserted], bool, bool)>,
    ) -> Result<()> {
        self.out.summary.of(first.key.kind()).rejected += 1;
        let key = self.key_of(first)?;
        if let (Some((lines, published, cut)), Some(key)) = (conflict, &key) {
            let last = lines.last().unwrap_or(first);
            self.out.rejected += 1;
            // Where it says them is added when that is known of all of them.
            let problem = CONTRADICTS.to_owned();
            self.keep(key.clone(), last, problem, lines, published, cut)?;
        }
        self.out.exceptions.extend(key);
        Ok(())
    }

    /// Keeps what a batch says of a key beside a bad line of it, so that the dead
    /// letter has all of it.
    pub(super) fn keep_beside_bad(&mut self, lines: &[Asserted], published: bool, cut: bool) -> Result<()> {
        let good: Vec<Asserted> = lines.iter().filter(|line| !line.has(BAD)).copied().collect();
        let Some(last) = good.last().or(lines.first()).filter(|_| published || !good.is_empty()) else {
            return Ok(());
        };
        let Some(key) = self.key_of(last)? else { return Ok(()) };
        let problem = "another line about this key is bad".to_owned();
        self.keep(key, last, problem, &good, published, cut)
    }

    /// The key's text, from whichever body holds it.
    pub(super) fn key_of(&mut self, line: &Asserted) -> Result<Option<Key>> {
        if line.has(BAD) || line.loc == Loc::NONE {
            if let Some(own) = &self.input.view.own
                && let Some(found) = own.live(line.key, &mut self.reader.scratch)?
            {
                return Ok(Some(own.body(&found, &mut self.reader.bodies)?.body()?.key()));
            }
            return self.input.rejects.key_of(line.key);
        }
        let body = self.reader.bodies.get(self.input.pack.0, line.loc)?;
        Ok(Some(body.body()?.key()))
    }

    /// Keeps a reject with the lines that say something of the key, of those that
    /// say the same the first one. `cut`: some others were not held.
    fn keep(
        &mut self,
        key: Key,
        last: &Asserted,
        problem: String,
        lines: &[Asserted],
        published: bool,
        cut: bool,
    ) -> Result<()> {
        // There may be millions of them: what that takes is bounded at once.
        self.input.rejects.remember(&key)?;
        let mut said = HashSet::new();
        let mut places = Vec::new();
        for line in lines {
            if said.insert(Says::of(line)) {
                places.push((line.file, line.line));
            }
        }
        let has_no_place = published && !said.contains(&Says::Published);
        let reject = Reject {
            code: ErrorKind::KeyConflict.info().code.into(),
            kind: key.kind(),
            key: Some(key),
            file: self.input.batch.files[last.file as usize].path.clone(),
            line: u64::from(last.line),
            field: String::new(),
            problem,
            content: Vec::new(),
            cut,
        };
        self.originals.push(reject, last.key, &places, has_no_place)
    }
}
