//! What a dead letter's content would change now: planned as a requeue would
//! be, against what is published, and thrown away.

use std::ops::ControlFlow;

use super::super::engine::Engine;
use super::content::one_line;
use super::decide::edit_first;
use crate::error::{ErrorKind, Result};
use crate::planning::bodies::Bodies;
use crate::planning::plan_file::{ChangeAt, Plan};
use crate::service::views::{LetterPreview, PlanPreview};
use crate::store::{DeadLetter, LetterKind};

/// Most changes that a preview shows.
const SHOWN: usize = 100;
/// Bytes of values after which it shows no more.
const VALUES: usize = 1 << 20;

impl Engine {
    /// What content would change against what is published now; without
    /// content, what the letter holds. Nothing is kept.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such letter. What is wrong
    /// with the content, or with the batch, is no error here.
    pub fn check_letter(&self, id: u64, content: Option<&[u8]>) -> Result<LetterPreview> {
        let letter = self.store.read(|view| view.expect_dead_letter(id))?;
        match self.previewed(&letter, content) {
            Ok(preview) => Ok(preview),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Interrupted)
                    || self.is_fatal(&error) =>
            {
                Err(error)
            }
            Err(error) => Ok(LetterPreview {
                valid: false,
                keepable: content.is_none_or(|content| self.checked(&letter, content).is_ok()),
                problem: Some(error.to_string()),
                action: Some(error.action().to_owned()),
                note: None,
                plan: None,
                changes: Vec::new(),
            }),
        }
    }

    fn previewed(&self, letter: &DeadLetter, content: Option<&[u8]>) -> Result<LetterPreview> {
        let checked = content.map(|content| self.checked(letter, content)).transpose()?;
        match letter.kind {
            LetterKind::Entity => {
                let line = match checked {
                    Some(line) => {
                        self.unskipped_with(letter, &line)?;
                        line
                    }
                    None => {
                        self.unskipped(letter)?;
                        one_line(&self.ready(letter).map_err(|error| edit_first(error, letter.id))?)
                    }
                };
                self.preview_line(letter, line)
            }
            LetterKind::Batch => {
                let edited = letter.edited.as_ref().map(|edited| edited.content.clone());
                self.preview_batch(letter, checked.or(edited).as_deref())
            }
        }
    }

    /// Plans a batch of one line as a requeue would.
    fn preview_line(&self, letter: &DeadLetter, line: Vec<u8>) -> Result<LetterPreview> {
        let scratch = self.scratch()?;
        let id = self.next_n(&letter.batch_id)?;
        let made =
            self.batch_of_lines(&id, letter, &mut std::io::Cursor::new(line), &scratch.path().join("b"))?;
        self.plan_only_batch(&made, shown)
    }

    /// Plans a failed batch as it would be read once it is requeued, with
    /// another manifest if there is one.
    fn preview_batch(&self, letter: &DeadLetter, manifest: Option<&[u8]>) -> Result<LetterPreview> {
        let record = self.batch(&letter.batch_id)?;
        let fresh = match manifest {
            Some(manifest) => self.with_manifest(&record, manifest)?,
            // Perhaps it was mended where it lies.
            None if record.mode.is_none() || self.has_other_manifest(&record) => {
                self.with_manifest(&record, &self.original_of(letter)?)?
            }
            None => record.clone(),
        };
        let mut batch = self.batch_of(&fresh)?;
        let scratch = self.scratch()?;
        // As a requeue: from where it was delivered, or else from the copy.
        if record.pin.is_some() && !self.is_still_delivered(&fresh)? {
            self.read_from_pin(&mut batch)?;
        } else if !batch.is_local() {
            // Not where a worker would bring it, which may begin meanwhile.
            batch.folder = scratch.path().join("b");
        }
        self.plan_only_batch(&batch, shown)
    }
}

/// A plan as a preview shows it.
fn shown(plan: &Plan) -> Result<LetterPreview> {
    let mut bodies = Bodies::new()?;
    let (mut changes, mut bytes) = (Vec::new(), 0);
    plan.changes_from(ChangeAt::default(), |_, change| {
        if changes.len() == SHOWN || bytes > VALUES {
            return Ok(ControlFlow::Break(()));
        }
        let change = plan.resolve(change, &mut bodies)?;
        let values = [&change.before, &change.after];
        bytes += values.into_iter().flatten().map(|value| value.get().len()).sum::<usize>();
        changes.push(change);
        Ok(ControlFlow::Continue(()))
    })?;
    let manifest = plan.manifest();
    let summary = manifest.header.summary;
    let note = if summary.skipped() > 0 && changes.is_empty() {
        Some("An operator skips it: it would change nothing until the skip is lifted.")
    } else if summary.entities.superseded + summary.relationships.counts.superseded > 0 && changes.is_empty()
    {
        Some("A newer batch said something of it since: it would change nothing.")
    } else if summary.relationships.waiting > 0 && changes.is_empty() {
        Some("It would wait: an end of the relationship is not there.")
    } else if changes.is_empty() {
        Some("It is what is published already: it would change nothing.")
    } else {
        None
    };
    Ok(LetterPreview {
        valid: true,
        keepable: true,
        problem: None,
        action: None,
        note: note.map(str::to_owned),
        plan: Some(PlanPreview {
            target: manifest.header.target.clone(),
            changes: summary.changes(),
            summary,
            guards: manifest.header.guards.clone(),
            rejects: manifest.reject_count,
            warnings: manifest.warnings.clone(),
        }),
        changes,
    })
}
