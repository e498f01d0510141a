//! Search in the embedded catalogue: an index of names and of the words of all
//! attributes, in a folder beside the catalogue's file.
//!
//! The index is derived: it is built behind publishing, from a change feed in
//! the catalogue, and built anew whenever it is missing, damaged, of another
//! version or of another catalogue. Publishing never waits for it and never
//! fails because of it.

pub mod behind;
pub mod feed;
pub mod find;
mod index;
mod indexer;
mod matching;
mod needs;
mod position;
mod query;
mod rank;
mod rows;
mod schema;
mod slots;
mod snippet;
mod texts;
mod words;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::ReadTransaction;
use tantivy::IndexWriter;

use self::behind::Signal;
use self::feed::Follower;
use self::index::{OpenIndex, Opening, failure};
use self::indexer::{Indexer, Step};
use self::position::{Mark, Position};
use super::EmbeddedCatalogue;
use super::tables::ENTITIES;
use crate::error::Result;

/// The index of one catalogue.
pub struct Search {
    folder: PathBuf,
    memory: usize,
    /// What the writing side of the feed knows.
    pub follower: Follower,
    /// Wakes the thread that follows.
    pub signal: Signal,
    open: Mutex<Option<Arc<OpenIndex>>>,
    /// Held by whoever takes a step.
    writer: Mutex<Option<IndexWriter>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Search {
    /// The index beside a catalogue's file, with a writer of so many bytes.
    pub fn new(catalogue: &Path, memory: usize) -> Self {
        let mut folder = catalogue.as_os_str().to_owned();
        folder.push(".search");
        let search = Self {
            folder: folder.into(),
            memory,
            follower: Follower::default(),
            signal: Signal::default(),
            open: Mutex::default(),
            writer: Mutex::default(),
        };
        if search.folder.exists() {
            search.follower.follow();
        }
        search
    }
}

impl EmbeddedCatalogue {
    /// Lets the index see everything that was published before the call. It is
    /// built first where it has to be.
    ///
    /// # Errors
    /// When its folder can't be written. What is published is not touched by
    /// that.
    pub fn index_now(&self) -> Result<()> {
        self.index_until(&|| false)
    }

    /// The same, but ends early when `stop` says so. What was not done then is
    /// done the next time.
    pub fn index_until(&self, stop: &dyn Fn() -> bool) -> Result<()> {
        // Reading all of it would cost more than most of what there is to do;
        // a damage that is met makes the second attempt look for it.
        let result = self.catch_up(false, stop).or_else(|_| self.catch_up(true, stop));
        if !self.search.signal.is_followed()
            && let Some(writer) = lock(&self.search.writer).take()
            && let Err(error) = writer.wait_merging_threads()
        {
            tracing::debug!("merging the search index: {error}");
        }
        result
    }

    /// Whether a thread keeps the index behind publishing.
    pub fn is_followed(&self) -> bool {
        self.search.signal.is_followed()
    }

    /// Throws the index away and builds it anew: at once, or by the thread that
    /// follows, if there is one.
    pub fn rebuild_search(&self) -> Result<()> {
        self.start_anew("it was asked for")?;
        if self.search.signal.is_followed() {
            self.search.signal.wake();
            return Ok(());
        }
        self.index_now()
    }

    /// Takes steps until there is nothing to do, or until told to stop. With
    /// `thorough`, an index that is opened is checked as a whole.
    fn catch_up(&self, thorough: bool, stop: &dyn Fn() -> bool) -> Result<()> {
        self.search.follower.follow();
        while !stop() && self.index_step(thorough, stop)? == Step::More {}
        Ok(())
    }

    fn index_step(&self, thorough: bool, stop: &dyn Fn() -> bool) -> Result<Step> {
        let mut writer = lock(&self.search.writer);
        if lock(&self.search.open).is_none() {
            // It belongs to an index that is not used any more.
            *writer = None;
        }
        let open = self.opened_to_write(thorough)?;
        let mut taken = match writer.take() {
            Some(writer) => writer,
            None => open.writer(self.search.memory).map_err(|e| failure(&self.search.folder, e))?,
        };
        let result = Indexer { catalogue: self, open: &open, writer: &mut taken }.step(stop);
        if result.is_err() {
            *lock(&self.search.open) = None;
        } else if !stop() {
            *writer = Some(taken);
        }
        // Else what was not committed goes with the writer.
        result
    }

    /// The index, opened or made.
    fn opened_to_write(&self, thorough: bool) -> Result<Arc<OpenIndex>> {
        if let Some(open) = &*lock(&self.search.open) {
            return Ok(Arc::clone(open));
        }
        let folder = self.search.folder.display();
        match self.usable(OpenIndex::open(&self.search.folder, thorough))? {
            Opening::Open(open) => {
                let open: Arc<OpenIndex> = Arc::from(open);
                *lock(&self.search.open) = Some(Arc::clone(&open));
                return Ok(open);
            }
            Opening::Missing => tracing::info!("the search index {folder} is built"),
            Opening::Unfit(problem) => tracing::warn!("the search index {folder} is built anew: {problem}"),
        }
        self.create_index()
    }

    /// The index as it is, to search in, if it is of use.
    fn opened_to_search(&self) -> Result<Option<Arc<OpenIndex>>> {
        let open = lock(&self.search.open).clone();
        if open.is_some() || self.search.signal.is_followed() {
            // Who follows is about to check it.
            return Ok(open);
        }
        match self.usable(OpenIndex::open(&self.search.folder, false))? {
            Opening::Open(open) => Ok(Some(Arc::from(open))),
            Opening::Missing | Opening::Unfit(_) => Ok(None),
        }
    }

    /// Unfit, if it does not belong to this catalogue as it is now.
    fn usable(&self, opening: Opening) -> Result<Opening> {
        let Opening::Open(open) = opening else { return Ok(opening) };
        let tx = self.begin_read()?;
        let problem = open.position().problem(&self.file.identity()?, &tx).map_err(|e| self.failure(e))?;
        Ok(match problem {
            Some(problem) => Opening::Unfit(problem.into()),
            None => Opening::Open(open),
        })
    }

    /// Throws the index away.
    fn start_anew(&self, reason: &str) -> Result<()> {
        let mut writer = lock(&self.search.writer);
        tracing::info!("the search index {} is built anew: {reason}", self.search.folder.display());
        if let Some(writer) = writer.take() {
            // Files of merges under way must not come back.
            if let Err(error) = writer.wait_merging_threads() {
                tracing::debug!("merging the search index: {error}");
            }
        }
        self.create_index().map(|_| ())
    }

    /// Makes an empty index in place of the one that is there.
    fn create_index(&self) -> Result<Arc<OpenIndex>> {
        let identity = self.file.identity()?;
        let mut slot = lock(&self.search.open);
        *slot = None;
        let position = Position::start(&identity);
        let open = Arc::new(OpenIndex::create(&self.search.folder, position)?);
        *slot = Some(Arc::clone(&open));
        Ok(open)
    }

    /// How many changed entities the index has not seen; of one that is being
    /// built, about how many entities it lacks.
    fn unseen(&self, tx: &ReadTransaction, open: Option<&OpenIndex>) -> Result<u64> {
        let seen = open.and_then(|open| open.position().seen);
        if let Some(seen) = seen {
            let now = Mark::now(tx).map_err(|e| self.failure(e))?;
            return Ok(now.changes.saturating_sub(seen.changes));
        }
        let documents = open.map_or(0, |open| open.searcher().num_docs());
        let entities = ENTITIES.read(tx).and_then(|table| table.about()).map_err(|e| self.failure(e))?;
        Ok(entities.saturating_sub(documents))
    }
}
