//! What a dead letter's content would change now: planned as a requeue would
//! be, against what is published, and thrown away.

use std::ops::ControlFlow;

use url::Url;

use super::super::accept::FoundIn;
use super::super::engine::Engine;
use super::super::reopen::{Edited, Lies};
use super::content::one_line;
use super::decide::edit_first;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::fetch;
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
        let edit = manifest.map(|manifest| self.with_manifest(&record, manifest)).transpose()?;
        // What is edited now is of what is shown now.
        let kept = letter.edited.as_ref().filter(|kept| manifest == Some(&*kept.content));
        let of = kept.and_then(|kept| kept.of.as_deref());
        let edited = edit.as_ref().map(|record| Edited { record, of });
        // As a requeue: as it lies where it was delivered, or else from the copy.
        let lies = match record.status == PublishStatus::Failed {
            true => self.as_it_lies(&record, edited.as_ref())?,
            false => Lies::Elsewhere,
        };
        let is_copy = record.pin.is_some() && !matches!(lies, Lies::Whole(_));
        let (mended, found) = match lies {
            Lies::Whole(whole) => (whole.fresh, whole.found),
            Lies::Copied(fresh) => (Some(*fresh), None),
            Lies::Elsewhere | Lies::Away | Lies::Partly => (None, None),
        };
        let is = mended.or(edit);
        let mut batch = self.batch_of(is.as_ref().unwrap_or(&record))?;
        if is.is_none() && record.absence.is_none() {
            // Whatever they are by now, they are read.
            batch.files.iter_mut().for_each(|file| file.accepted = None);
        }
        let scratch = self.scratch()?;
        if is_copy {
            self.read_from_pin(&mut batch)?;
        } else if !batch.is_local() {
            // Not where a worker would bring it, which may begin meanwhile.
            batch.folder = scratch.path().join("b");
            if let Some(FoundIn { inbox, folder, signature }) = found {
                let inbox = inbox.parse().map_err(|e| Error::internal("an inbox's URL").caused_by(e))?;
                let prefix = self.prefix(&inbox)?;
                fetch::bring_batch(&*prefix, &folder, &signature, &batch, &|_| self.go_on())?;
                // It is at hand; the store expects another one there.
                batch.url = Url::from_directory_path(&batch.folder).map_or(batch.url, String::from);
            }
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
