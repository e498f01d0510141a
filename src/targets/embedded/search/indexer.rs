//! Following the catalogue: one step at a time, from the index's position to a
//! later one.
//!
//! A step looks at the entities that the feed lists, or, where it does not
//! tell, walks over all rows: it takes those that were written since, and
//! removes documents that have no row. A walk takes several commits and goes
//! on where it was cut off. Rows that are written while it is under way are in
//! the feed behind its end.

use redb::ReadTransaction;
use tantivy::{IndexWriter, Term};

use super::feed::{self, Changed};
use super::index::{OpenIndex, failure};
use super::position::{Mark, Position, Scan};
use super::rows::{Chunk, Rows};
use super::schema::{Entity, document};
use crate::error::Result;
use crate::targets::embedded::EmbeddedCatalogue;
use crate::targets::embedded::row::Row;

/// Entities from the feed in one step.
const LISTED: usize = 50_000;
/// Rows that are walked over in one transaction of the catalogue: an open one
/// keeps it from using freed pages again.
const CHUNK: usize = 2_000;
/// Documents written between two commits of a walk.
const DOCUMENTS: usize = 250_000;
/// Bytes of documents written between two commits: they may all wait in the
/// writer's queue.
const BYTES: usize = 32 << 20;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The index has seen everything.
    Done,
    /// There may be more to do.
    More,
}

/// The two ends of a step.
pub struct Indexer<'a> {
    /// What is followed.
    pub catalogue: &'a EmbeddedCatalogue,
    /// What follows.
    pub open: &'a OpenIndex,
    /// Writes it. After an error, or a step that was told to stop, it holds
    /// what no position goes with, and has to be dropped.
    pub writer: &'a mut IndexWriter,
}

impl Indexer<'_> {
    /// Takes one step, or part of it when told to stop.
    pub fn step(&mut self, stop: &dyn Fn() -> bool) -> Result<Step> {
        let mut position = self.open.position();
        let tx = self.catalogue.begin_read()?;
        let fail = |e: redb::Error| self.catalogue.failure(e);
        let now = Mark::now(&tx).map_err(fail)?;
        if position.scan.is_none() {
            let changed = match position.seen {
                Some(seen) if seen.operations == now.operations => return Ok(Step::Done),
                Some(seen) => feed::behind(&tx, seen.operations, now.operations, LISTED).map_err(fail)?,
                None => None,
            };
            if let Some(changed) = changed {
                return self.listed(&tx, &changed, position);
            }
            position.scan = Some(Scan { to: now, cursor: Vec::new() });
        }
        drop(tx);
        self.walk(position, stop)
    }

    /// Looks at the entities that the feed lists.
    fn listed(&mut self, tx: &ReadTransaction, changed: &Changed, mut position: Position) -> Result<Step> {
        let mark = Mark::at(tx, changed.operations, changed.changes);
        let mark = mark.map_err(|e| self.catalogue.failure(e))?;
        let mut rows = Rows::new(self.catalogue, tx)?;
        let mut bytes = 0;
        for key in &changed.keys {
            self.remove(key);
            if let Some(row) = rows.get(key)? {
                bytes += self.add(&mut rows, key, &row)?;
            }
            if bytes >= BYTES {
                // Seeing an entity twice does no harm.
                self.commit(position.clone())?;
                bytes = 0;
            }
        }
        position.seen = Some(mark);
        if changed.keys.is_empty() {
            // The next commit takes this with it.
            self.open.move_to(position);
        } else {
            self.commit(position)?;
        }
        Ok(Step::More)
    }

    /// Walks on, up to the next commit.
    fn walk(&mut self, mut position: Position, stop: &dyn Fn() -> bool) -> Result<Step> {
        let Some(scan) = &mut position.scan else { return Ok(Step::More) };
        // While an index is built there is nothing to replace or remove.
        let since = position.seen.map(|seen| seen.operations);
        let (mut documents, mut bytes, mut more) = (0, 0, true);
        while more && documents < DOCUMENTS && bytes < BYTES {
            if stop() {
                return Ok(Step::More);
            }
            let tx = self.catalogue.begin_read()?;
            let mut rows = Rows::new(self.catalogue, &tx)?;
            let chunk = rows.chunk(&scan.cursor, CHUNK)?;
            if since.is_some() {
                self.remove_absent(&scan.cursor, &chunk)
                    .map_err(|e| failure(&self.catalogue.search.folder, e))?;
            }
            for (key, row) in &chunk.rows {
                if since.is_some_and(|since| row.updated < since) {
                    continue;
                }
                if since.is_some() {
                    self.remove(key);
                }
                bytes += self.add(&mut rows, key, row)?;
                documents += 1;
            }
            more = chunk.more;
            if let Some((last, _)) = chunk.rows.last() {
                last.clone_into(&mut scan.cursor);
            }
        }
        if !more {
            position.seen = Some(scan.to);
            position.scan = None;
        }
        self.commit(position)?;
        Ok(Step::More)
    }

    /// Removes documents between the row at `cursor` and the end of a chunk
    /// that have no row there.
    fn remove_absent(&self, cursor: &[u8], chunk: &Chunk) -> tantivy::Result<()> {
        for segment in self.open.searcher().segment_readers() {
            let index = segment.inverted_index(self.open.fields.key)?;
            let mut range = index.terms().range().gt(cursor);
            if let Some((last, _)) = chunk.rows.last().filter(|_| chunk.more) {
                range = range.le(last);
            }
            let mut documents = range.into_stream()?;
            let mut rows = chunk.rows.iter().map(|(key, _)| &key[..]).peekable();
            while documents.advance() {
                let key = documents.key();
                while rows.next_if(|row| *row < key).is_some() {}
                if rows.peek().is_none_or(|row| *row != key) {
                    self.remove(key);
                }
            }
        }
        Ok(())
    }

    fn remove(&self, key: &[u8]) {
        self.writer.delete_term(Term::from_field_bytes(self.open.fields.key, key));
    }

    /// Writes the document of a row, and says how large it is.
    fn add(&self, rows: &mut Rows<'_>, key: &[u8], row: &Row) -> Result<usize> {
        let attributes = rows.body(row)?;
        let updated = u64::try_from(rows.updated(row)?.as_second()).unwrap_or_default();
        let (type_no, name) = key.split_first_chunk().unwrap_or((&[0; 4], b""));
        let entity = Entity {
            type_no: u32::from_be_bytes(*type_no),
            name: &String::from_utf8_lossy(name),
            archived: row.archived,
            updated,
            attributes: &attributes,
        };
        let (document, bytes) = document(&self.open.fields, key, &entity);
        self.writer.add_document(document).map_err(|e| failure(&self.catalogue.search.folder, e))?;
        Ok(bytes)
    }

    fn commit(&mut self, position: Position) -> Result<()> {
        let seen = position.seen.map(|seen| seen.operations);
        let folder = &self.catalogue.search.folder;
        self.open.commit(self.writer, position).map_err(|e| failure(folder, e))?;
        if let Some(seen) = seen {
            self.catalogue.search.follower.seen(seen);
        }
        Ok(())
    }
}
