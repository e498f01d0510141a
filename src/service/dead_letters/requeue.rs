//! Putting dead letters back into the queue. Entities of one batch go together
//! into an incremental batch `<id>~n` with the original's timestamps
//! (`SEMANTICS` 9), whose folder is made under the state URL, manifest last;
//! a batch goes back as what it is, with its own stamp.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::super::engine::Engine;
use super::super::operate::Retry;
use super::decide::decidable;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishStatus;
use crate::domain::scope::Scope;
use crate::domain::settings::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::{Batch, Compression};
use crate::intake::folder;
use crate::intake::write::{WriteOptions, write_into};
use crate::store::{DeadLetter, LetterKind};

/// Lines of one file.
const LINES: u64 = 100_000;

/// What became of a requeue: the batch, and the first letter that was refused.
pub(super) type Requeued = (Option<BatchId>, Option<(u64, Error)>);

/// The lines of letters, read one at a time.
struct Lines<'a> {
    engine: &'a Engine,
    ids: std::slice::Iter<'a, (u64, u64)>,
    line: std::io::Cursor<Vec<u8>>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let n = self.line.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let Some((id, revision)) = self.ids.next() else { return Ok(0) };
            let letter = self.engine.store.read(|view| view.dead_letter(*id));
            let letter = letter.map_err(std::io::Error::other)?;
            // What was decided meanwhile stands: the transaction says so.
            let Some(letter) = letter.filter(|letter| decidable(letter, Some(*revision)).is_ok()) else {
                continue;
            };
            let mut line = self.engine.wanted_of(&letter).map_err(std::io::Error::other)?;
            line.push(b'\n');
            self.line = std::io::Cursor::new(line);
        }
    }
}

impl Engine {
    /// The id of the next batch that is made of another one.
    pub(in crate::service) fn next_n(&self, of: &BatchId) -> Result<BatchId> {
        self.store.read(|view| {
            let mut n = 1;
            while view.batch(&of.with_n(n))?.is_some() {
                n += 1;
            }
            Ok(of.with_n(n))
        })
    }

    /// Makes a batch folder of lines.
    pub(super) fn batch_of_lines(
        &self,
        id: &BatchId,
        like: &DeadLetter,
        lines: &mut dyn BufRead,
        folder: &Path,
    ) -> Result<Batch> {
        let original = self.store.read(|view| view.batch(&id.with_n(0)))?;
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let options = WriteOptions {
            source_id: id.source().clone(),
            run_id: id.folder().run_id().clone(),
            workflow: original.map(|original| original.workflow).unwrap_or_default(),
            mode: Mode::Incremental,
            source_timestamp: like.stamp.source_timestamp,
            processing_timestamp: like.stamp.processing_timestamp,
            complexity: None,
            scope: Scope::default(),
            compression: Compression::None,
            lines_per_file: LINES,
        };
        write_into(&options, lines, folder)?;
        let mut batch = folder::open_local(folder)?;
        if batch.id != id.with_n(0) {
            return Err(Error::internal(format!("the requeue {id} became batch {}", batch.id)));
        }
        batch.id = id.clone();
        batch.stamp.batch_id = id.clone();
        Ok(batch)
    }

    /// Where the batch lies that brings letters again.
    pub(super) fn requeue_folder(&self, id: &BatchId) -> PathBuf {
        self.state.source(id.source()).join("requeued").join(format!("{}~{}", id.folder(), id.n()))
    }

    /// Requeues letters of entities that one batch brought, each as it was at
    /// a revision. Their content was checked. Called by one at a time. Those
    /// about which others decide meanwhile are left out, and told.
    pub(super) fn requeue_lines(
        &self,
        letters: &[(u64, u64)],
        like: &DeadLetter,
        actor: &str,
        reason: &str,
    ) -> Result<Requeued> {
        let mut letters = letters.to_vec();
        let mut first: Option<(u64, Error)> = None;
        loop {
            // Only what is still as it was goes into the batch's files.
            let seen = letters.clone();
            let (left, refused) = self.store.read(|view| {
                let (mut left, mut refused) = (Vec::new(), None);
                for (id, revision) in seen {
                    match view.expect_dead_letter(id).and_then(|letter| decidable(&letter, Some(revision))) {
                        Ok(()) => left.push((id, revision)),
                        Err(error) => refused = refused.or(Some((id, error))),
                    }
                }
                Ok((left, refused))
            })?;
            first = first.or(refused);
            letters = left;
            if letters.is_empty() {
                return Ok((None, first));
            }
            if let Some(batch) = self.requeue_these(&letters, like, actor, reason)? {
                let requeued = letters.len();
                tracing::info!(%batch, source = %batch.source(), letters = requeued, "dead letters were requeued");
                self.work.notify();
                return Ok((Some(batch), first));
            }
        }
    }

    /// The same of exactly these; `None` when one of them is not as it was any
    /// more, and nothing was done.
    fn requeue_these(
        &self,
        letters: &[(u64, u64)],
        like: &DeadLetter,
        actor: &str,
        reason: &str,
    ) -> Result<Option<BatchId>> {
        let id = self.next_n(&like.batch_id)?;
        let folder = self.requeue_folder(&id);
        // What an earlier try left has no record, so nobody needs it.
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        }
        let lines = Lines { engine: self, ids: letters.iter(), line: std::io::Cursor::default() };
        let made = self
            .batch_of_lines(&id, like, &mut BufReader::new(lines), &folder)
            .and_then(|batch| self.state.synced(&folder).map(|()| batch));
        let done = made.and_then(|mut batch| {
            batch.url = self.state.url_of(&folder);
            let mut record = self.record(&batch)?;
            record.letters = letters.len() as u64;
            let (letters, actor, reason) = (letters.to_vec(), actor.to_owned(), reason.to_owned());
            self.store.write(move |tx| {
                let mut taken = Vec::with_capacity(letters.len());
                for (number, revision) in letters {
                    match tx.dead_letter(number)?.filter(|l| decidable(l, Some(revision)).is_ok()) {
                        Some(letter) => taken.push(letter),
                        // Its line is in the batch, and must not be published.
                        None => return Ok(None),
                    }
                }
                for letter in taken {
                    tx.requeue_dead_letter(letter, &record, &actor, &reason)?;
                }
                tx.put_batch(&record)?;
                tx.remark(&record, format!("requeued {} dead letters: {reason}", record.letters), &actor)?;
                Ok(Some(record.batch_id.clone()))
            })
        });
        if !matches!(&done, Ok(Some(_))) {
            // Should it stay, the next try or the collection removes it.
            let _ = std::fs::remove_dir_all(&folder);
        }
        done
    }

    /// Requeues a batch as a whole, with the manifest that a person made.
    pub(super) fn requeue_batch(&self, letter: &DeadLetter, actor: &str, reason: &str) -> Result<BatchId> {
        decidable(letter, None)?;
        let id = &letter.batch_id;
        let record = self.batch(id)?;
        if record.status != PublishStatus::Failed {
            let text = format!("batch {id} is {}: it can't be requeued", record.status.as_str());
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_action(format!("Look at it: `tidegate batches show {id}`.")));
        }
        let fresh = match &letter.edited {
            Some(edited) => Some(self.with_manifest(&record, &edited.content)?),
            None => None,
        };
        let shown = letter.edited.as_ref().and_then(|edited| edited.of.clone());
        let of = Some((letter.id, letter.revision));
        self.retry_as(id, Retry { fresh, shown, of, ..Retry::default() }, actor, reason)?;
        Ok(id.clone())
    }

    /// Removes the folders of requeues that are done with.
    pub(in crate::service) fn collect_requeues(&self, source: &crate::domain::ids::SourceId) -> Result<()> {
        // Nobody collects a folder while it is being made.
        let Ok(_alone) = self.repairs.try_lock() else { return Ok(()) };
        let folder = self.state.source(source).join("requeued");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io(&folder, e)),
        };
        let kept = self.settings().retention.dead_letters;
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(&folder, e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(id) = format!("{source}:{name}").parse::<BatchId>() else { continue };
            let record = self.store.read(|view| view.batch(&id))?;
            let is_over = match &record {
                None => true,
                Some(record) if record.status == PublishStatus::Complete => true,
                Some(record) => record.status.is_final() && self.is_past(record.publish_end, kept),
            };
            if is_over {
                std::fs::remove_dir_all(entry.path()).map_err(|e| Error::io(&entry.path(), e))?;
            }
        }
        Ok(())
    }

    /// Whether a time is longer ago than this.
    pub(super) fn is_past(&self, at: Option<jiff::Timestamp>, kept: std::time::Duration) -> bool {
        let kept = jiff::SignedDuration::try_from(kept).unwrap_or(jiff::SignedDuration::MAX);
        at.and_then(|at| at.checked_add(kept).ok()).is_some_and(|until| until <= self.clock.now())
    }
}

/// Whether letters may go into one batch.
pub(super) fn go_together(a: &DeadLetter, b: &DeadLetter) -> bool {
    a.kind == LetterKind::Entity
        && b.kind == LetterKind::Entity
        && a.batch_id.with_n(0) == b.batch_id.with_n(0)
        && a.stamp.source_timestamp == b.stamp.source_timestamp
        && a.stamp.processing_timestamp == b.stamp.processing_timestamp
}
