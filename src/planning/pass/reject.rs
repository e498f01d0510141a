//! Lines that can't be taken: each becomes a dead letter, and its key, where it
//! can be read, is not missed.

use super::super::asserted::{AGAIN, Asserted, BAD, SKIPPED};
use super::super::format::entry::{Loc, NO_POSITION};
use super::super::rejects::Reject;
use super::Sink;
use crate::domain::assertion::BadLine;
use crate::domain::key::KeyHash;
use crate::error::{ErrorKind, Result};

impl Sink<'_, '_> {
    /// Keeps a bad line. `again` tells whether its key was seen before, where
    /// its bit is set already.
    pub(super) fn reject(
        &mut self,
        line_no: u64,
        line: &[u8],
        cut: bool,
        bad: BadLine,
        again: Option<bool>,
    ) -> Result<()> {
        let input = self.worker.shared.input;
        let skipped = bad.key.as_ref().is_some_and(|key| input.skips.has(key));
        if !skipped {
            self.worker.tally.bad += 1;
        }
        match &bad.key {
            None => self.worker.tally.unreadable[self.kind as usize] += 1,
            Some(key) => {
                let type_id = self.worker.type_id(key.type_name());
                let mut asserted = Asserted {
                    key: key.hash(),
                    raw: 0,
                    canon: 0,
                    loc: Loc::NONE,
                    pos: NO_POSITION,
                    file: self.file,
                    line: line_no as u32,
                    type_id,
                    size: 0,
                    depth: 0,
                    flags: if skipped { BAD | SKIPPED } else { BAD },
                    ends: [KeyHash(0); 2],
                };
                let found = match input.snapshot {
                    Some(snapshot) => snapshot.live(asserted.key, &mut self.worker.scratch)?,
                    None => None,
                };
                // Its key is known, so the key's present value is not missed.
                let again = match (again, input.snapshot, self.worker.shared.seen, &found) {
                    (Some(again), ..) => again,
                    (None, Some(snapshot), Some(seen), Some(found)) => {
                        seen.test_and_set(seen.slot(snapshot, found))
                    }
                    (None, ..) => false,
                };
                asserted.flags |= if again { AGAIN } else { 0 };
                asserted.flags |= self.worker.shared.outside(key.type_name(), key.scope_name());
                self.worker.sorter.push(asserted)?;
            }
        }
        if let Some(key) = bad.key.as_ref().filter(|_| skipped) {
            return input.rejects.remember(key);
        }
        input.rejects.push(&Reject {
            code: ErrorKind::LineInvalid.info().code.into(),
            kind: self.kind,
            key: bad.key.map(|key| *key),
            file: self.path.into(),
            line: line_no,
            field: bad.field,
            problem: bad.problem,
            content: line.to_vec(),
            cut,
        })
    }
}
