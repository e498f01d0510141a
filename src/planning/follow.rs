//! Following the line order while a file is read: which published entry the
//! next line stands for, known by the line's hash alone. Whether that entry
//! may be trusted is the pass's business.
//!
//! Most batches bring their lines in the order of the last one: a cursor goes
//! along. A batch in another order would have the cursor jump at every line,
//! and each jump reads a chunk; then all hashes are put into a table, once,
//! and lines are looked up there.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::format::order::{Begin, CHUNK, Chunk, Order, RUN};
use super::line_table::LineTable;
use crate::error::Result;

/// Jumps without a hit after which a file is taken to be in another order.
const FRUITLESS: u32 = 32;
/// Lines found one behind the other after which it is in order again.
const IN_ORDER: u32 = 64;
/// Without a table, so many jumps are left out before one is tried again.
const TRY_AGAIN: u32 = 1_024;

/// The table of a pass, made when a thread first asks for it.
pub struct SharedTable<'a> {
    order: &'a Order,
    /// Bytes that it may take.
    limit: usize,
    table: OnceLock<Option<LineTable>>,
    making: Mutex<()>,
}

impl<'a> SharedTable<'a> {
    /// One of this order, not made yet.
    pub fn new(order: &'a Order, limit: usize) -> Self {
        Self { order, limit, table: OnceLock::new(), making: Mutex::new(()) }
    }

    /// The table; `None` when it would take more than it may.
    fn get(&self) -> Result<Option<&LineTable>> {
        if let Some(table) = self.table.get() {
            return Ok(table.as_ref());
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = self.table.get() {
            return Ok(table.as_ref());
        }
        let fits = LineTable::bytes(self.order.positions()) <= self.limit;
        let table = if fits { Some(LineTable::new(self.order)?) } else { None };
        Ok(self.table.get_or_init(|| table).as_ref())
    }
}

/// A place of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its position.
    pub position: u32,
    /// The number of its entry in the base layer.
    pub entry: u32,
}

/// Lines that come one behind the other in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Position of the first.
    pub position: u32,
    /// Their bytes, each with a line feed behind it.
    pub bytes: usize,
    /// Hash of these.
    pub hash: u128,
}

/// The cursor of one file.
pub struct Follower<'a> {
    shared: &'a SharedTable<'a>,
    chunk_no: Option<u32>,
    at: usize,
    chunk: Chunk,
    /// Jumps since the last line that was where it was expected.
    fruitless: u32,
    /// Whether lines are looked up in the table.
    lost: bool,
    /// Position behind the line found last, and how many were found in a row.
    next: u32,
    in_a_row: u32,
}

impl<'a> Follower<'a> {
    /// Begins a file of this path.
    pub fn new(shared: &'a SharedTable<'a>, path: &str) -> Result<Self> {
        let chunk = Chunk::default();
        let mut follower =
            Self { shared, chunk_no: None, at: 0, chunk, fruitless: 0, lost: false, next: 0, in_a_row: 0 };
        if let Some(Begin { chunk, at }) = shared.order.begin(path) {
            follower.place(Some(chunk), at)?;
        }
        Ok(follower)
    }

    fn place(&mut self, chunk_no: Option<u32>, at: usize) -> Result<()> {
        if self.chunk_no != chunk_no
            && let Some(chunk_no) = chunk_no
        {
            self.shared.order.read(chunk_no, &mut self.chunk)?;
        }
        self.chunk_no = chunk_no;
        self.at = at;
        Ok(())
    }

    /// The number of the chunk that the cursor is in, the next one behind its end.
    #[inline]
    fn chunk(&mut self) -> Result<Option<u32>> {
        if let Some(chunk_no) = self.chunk_no
            && self.at >= CHUNK
        {
            self.place(self.shared.order.next_chunk(chunk_no), 0)?;
        }
        Ok(self.chunk_no)
    }

    /// The run that begins with the next line, if one does that may be taken
    /// at once.
    #[inline]
    pub fn run(&mut self) -> Result<Option<Run>> {
        if self.lost || !self.at.is_multiple_of(RUN) {
            return Ok(None);
        }
        let Some(chunk_no) = self.chunk()? else { return Ok(None) };
        let position = chunk_no * CHUNK as u32 + self.at as u32;
        Ok(self.chunk.run(self.at).map(|(hash, bytes)| Run { position, bytes, hash }))
    }

    /// Whether each line of the run at the cursor has an entry for which `is` holds.
    #[inline]
    pub fn run_entries(&self, is: impl Fn(u32) -> bool) -> bool {
        self.chunk.run_entries(self.at, is)
    }

    /// Goes on behind the run at the cursor.
    #[inline]
    pub fn took_run(&mut self) {
        self.fruitless = 0;
        self.at += RUN;
    }

    /// The place of the published line of this hash: the next one or the one
    /// behind it; in a file of another order, wherever it is.
    #[inline]
    pub fn find(&mut self, hash: u128) -> Result<Option<Place>> {
        if self.lost {
            return Ok(self.shared.get()?.and_then(|table| table.find(hash)));
        }
        let Some(chunk_no) = self.chunk()? else { return Ok(None) };
        if !self.chunk.has_hashes() {
            self.shared.order.read_hashes(chunk_no, &mut self.chunk)?;
        }
        let at = if self.chunk.matches(self.at, hash) {
            self.at
        } else if self.chunk.matches(self.at + 1, hash) {
            self.at + 1
        } else {
            return Ok(None);
        };
        Ok(Some(Place { position: chunk_no * CHUNK as u32 + at as u32, entry: self.chunk.entry(at) }))
    }

    /// Goes on behind a place that was found and could be trusted.
    #[inline]
    pub fn took(&mut self, place: Place) -> Result<()> {
        if !self.lost {
            self.fruitless = 0;
            self.at = place.position as usize % CHUNK + 1;
            return Ok(());
        }
        self.in_a_row = if place.position == self.next { self.in_a_row + 1 } else { 0 };
        self.next = place.position + 1;
        if self.in_a_row >= IN_ORDER {
            self.lost = false;
            self.fruitless = 0;
            self.place(Some(place.position / CHUNK as u32), place.position as usize % CHUNK + 1)?;
        }
        Ok(())
    }

    /// Goes on behind the position of a key whose line is another one now.
    pub fn jump(&mut self, position: u32) -> Result<()> {
        self.fruitless = self.fruitless.saturating_add(1);
        if self.lost {
            // A table needs no cursor.
            if self.fruitless < TRY_AGAIN || self.shared.get()?.is_some() {
                return Ok(());
            }
            self.lost = false;
            self.fruitless = FRUITLESS / 2;
        } else if self.fruitless > FRUITLESS {
            self.lost = true;
            self.in_a_row = 0;
            return Ok(());
        }
        self.place(Some(position / CHUNK as u32), position as usize % CHUNK + 1)
    }
}
