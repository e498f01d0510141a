//! The pass over a batch: every line is read, and found equal to what is
//! published, or turned into an [`Asserted`] record with its body in a pack.
//!
//! A line goes three steps at most (`DESIGN`, Planning):
//! 1. Its hash equals that of the next line in the order of the last full
//!    batch: it asserts what is published, and is not parsed. Where a run of
//!    lines stands as it stood there, one hash says so for all of them.
//! 2. Its raw attributes hash as the published ones do: unchanged.
//! 3. Their comparison form hashes as the published one does: unchanged.
//!
//! With `fast_path` off only the third step is taken; the outcome is the same.

mod reject;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use twox_hash::XxHash3_128;
use xxhash_rust::xxh3::xxh3_64;

use super::asserted::{AGAIN, Asserted, DELETED, OUTSIDE, SKIPPED, SUPERSEDED, UNCHANGED};
use super::bodies::Bodies;
use super::follow::{Follower, SharedTable};
use super::format::block_file::BlockWriter;
use super::format::body::{entity_head, relationship_head};
use super::format::entry::{Loc, NO_POSITION};
use super::format::layer::{Scratch, StampInfo};
use super::format::order::{Order, OrderWriter, RUN, ThreadOrder, run_hash};
use super::halt::Halt;
use super::look_alikes::LookAlikes;
use super::pack_dictionaries::PackDictionaries;
use super::pack_writer::PackWriter;
use super::rejects::Rejects;
use super::restate;
use super::seen::{Seen, dropped};
use super::snapshot::{Found, Snapshot, TypeEdge};
use super::sorter::Sorter;
use super::types::Types;
use crate::domain::assertion::{BadLine, Line, LineKey, bad_attributes, parse_line};
use crate::domain::json::{Canonicalizer, ComparisonRules, comparison_form, stored_form};
use crate::domain::key::{KeyHash, Kind};
use crate::domain::scope::ScopeIndex;
use crate::domain::settings::Mode;
use crate::domain::skip::Skips;
use crate::error::{Error, Result};
use crate::intake::batch::Batch;
use crate::intake::reader::{LineSink, ReadLimits, Run, read_file};

/// What a pass works on.
pub struct PassInput<'a> {
    /// The batch.
    pub batch: &'a Batch,
    /// How its lines are taken: a full batch that lost a line without a
    /// readable key counts as incremental.
    pub mode: Mode,
    /// Its stamp and workflow.
    pub stamp: &'a StampInfo,
    /// What is published.
    pub snapshot: Option<&'a Snapshot>,
    /// Its line order, if it may be used for this batch.
    pub order: Option<&'a Order>,
    /// Whether steps 1 and 2 are taken.
    pub fast_path: bool,
    /// Which attributes are volatile or unordered.
    pub rules: &'a ComparisonRules,
    /// Fingerprint of those settings.
    pub comparison: u64,
    /// Whether what is published may have another form by them.
    pub restates: bool,
    /// Keys that an operator skips.
    pub skips: &'a Skips,
    /// Where bodies go.
    pub pack: &'a BlockWriter,
    /// Blocks of a type that a dictionary for them is made from; 0: none is.
    pub dictionary_samples: usize,
    /// Where the new line order goes, if one is written.
    pub new_order: Option<&'a OrderWriter>,
    /// Folder for runs of sorting.
    pub tmp: &'a Path,
    /// Bytes of records to keep in memory.
    pub budget: usize,
    /// Bytes that a table of the line order may take.
    pub table_limit: usize,
    /// Threads to read with.
    pub threads: usize,
    /// Limits of reading.
    pub limits: &'a ReadLimits,
    /// Types by number.
    pub types: &'a Types,
    /// Where bad lines go.
    pub rejects: &'a Rejects,
    /// Called with the number of stored bytes read since the last call.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Whether to go on.
    pub halt: Halt<'a>,
}

/// What a pass found.
pub struct PassOutput {
    /// Assertions that the plan has to look at.
    pub asserted: Sorter<Asserted>,
    /// Which live keys were seen, by slot; `None` for an incremental batch.
    pub seen: Option<Seen>,
    /// Position in the new line order of each entry of the snapshot.
    pub new_positions: Vec<AtomicU32>,
    /// Lines that are neither blank nor bad, by kind.
    pub lines: [u64; 2],
    /// Lines that step 1 took.
    pub in_order: u64,
    /// Lines found unchanged without a record, by kind.
    pub unchanged: [u64; 2],
    /// Bad lines.
    pub bad: u64,
    /// Bad lines without a readable key.
    pub unreadable: [u64; 2],
    /// Lines with members that the contract does not name.
    pub unknown_members: u64,
    /// Names of entities that the source did not assert before.
    pub new_names: LookAlikes,
}

/// Reads the batch.
///
/// # Errors
/// What concerns the whole batch: a file that is missing, damaged or not as
/// the manifest says, more bad lines than `batch` may have; and failures of
/// the state folder.
pub fn run(input: &PassInput<'_>) -> Result<PassOutput> {
    let positions = input.order.map_or(0, Order::positions);
    let dropped = match (input.snapshot, input.order) {
        (Some(snapshot), Some(_)) => dropped(snapshot, positions)?,
        (Some(_) | None, _) => Vec::new(),
    };
    let entries = input.snapshot.map_or(0, Snapshot::entries);
    let seen = match input.mode {
        Mode::Full => Some(Seen::new(u64::from(positions), entries)),
        Mode::Incremental => None,
    };
    let wanted = if input.new_order.is_some() { entries as usize } else { 0 };
    let new_positions: Vec<AtomicU32> = (0..wanted).map(|_| AtomicU32::new(NO_POSITION)).collect();
    let entities = match (input.snapshot, input.order) {
        (Some(snapshot), Some(_)) => snapshot.layer(0).entities(&mut Scratch::default())?,
        (Some(_) | None, _) => 0,
    };
    let table = input.order.map(|order| SharedTable::new(order, input.table_limit));
    let new_names = Mutex::new(LookAlikes::default());
    let dictionaries =
        PackDictionaries::new(input.pack, input.snapshot, input.types, input.dictionary_samples);
    let shared = Shared {
        input,
        scope: ScopeIndex::new(&input.batch.scope),
        dictionaries: &dictionaries,
        seen: seen.as_ref(),
        table: table.as_ref(),
        entities,
        dropped: &dropped,
        new_positions: &new_positions,
        new_names: &new_names,
    };

    let next = AtomicUsize::new(0);
    let files = &input.batch.files;
    let total = Mutex::new(Tally::default());
    let sorters = Mutex::new(Vec::new());
    let threads = input.threads.clamp(1, files.len().max(1));
    let first_error: Mutex<Option<Error>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (shared, next, total, sorters, first_error) =
                (&shared, &next, &total, &sorters, &first_error);
            scope.spawn(move || {
                let work = || -> Result<()> {
                    let mut worker = Worker::new(shared, thread, input.budget / threads)?;
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= files.len() || lock(first_error).is_some() {
                            break;
                        }
                        worker.read(index)?;
                    }
                    worker.finish()?;
                    lock(total).add(&worker.tally);
                    lock(shared.new_names).absorb(worker.new_names);
                    lock(sorters).push(worker.sorter);
                    Ok(())
                };
                if let Err(error) = work() {
                    lock(first_error).get_or_insert(error);
                }
            });
        }
    });
    if let Some(error) = first_error.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error);
    }
    let mut asserted = Sorter::new(input.tmp, "asserted", input.budget);
    for sorter in sorters.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        asserted.absorb(sorter)?;
    }
    if let Some(snapshot) = input.snapshot.filter(|_| input.restates) {
        restate::run(input, snapshot, &dictionaries, &new_positions, &mut asserted)?;
    }
    let tally = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(PassOutput {
        asserted,
        seen,
        new_positions,
        lines: tally.lines,
        in_order: tally.in_order,
        unchanged: tally.unchanged,
        bad: tally.bad,
        unreadable: tally.unreadable,
        unknown_members: tally.unknown_members,
        new_names: new_names.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Default)]
struct Tally {
    lines: [u64; 2],
    in_order: u64,
    unchanged: [u64; 2],
    bad: u64,
    unreadable: [u64; 2],
    unknown_members: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        for kind in 0..2 {
            self.lines[kind] += other.lines[kind];
            self.unchanged[kind] += other.unchanged[kind];
            self.unreadable[kind] += other.unreadable[kind];
        }
        self.in_order += other.in_order;
        self.bad += other.bad;
        self.unknown_members += other.unknown_members;
    }
}

struct Shared<'a> {
    input: &'a PassInput<'a>,
    scope: ScopeIndex,
    dictionaries: &'a PackDictionaries<'a>,
    seen: Option<&'a Seen>,
    table: Option<&'a SharedTable<'a>>,
    /// How many entries of the base are entities: these are the first ones.
    entities: u32,
    dropped: &'a [u64],
    new_positions: &'a [AtomicU32],
    new_names: &'a Mutex<LookAlikes>,
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    sorter: Sorter<Asserted>,
    pack: PackWriter<'a>,
    new_order: Option<ThreadOrder<'a>>,
    tally: Tally,
    scratch: Scratch,
    bodies: Bodies,
    canonicalizer: Canonicalizer,
    canonical: Vec<u8>,
    stored: Vec<u8>,
    compared: Vec<u8>,
    /// The type seen last and its number.
    last_type: (String, u32),
    last_edge: Option<TypeEdge>,
    new_names: LookAlikes,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared<'a>, thread: usize, budget: usize) -> Result<Self> {
        let input = shared.input;
        Ok(Self {
            shared,
            sorter: Sorter::new(input.tmp, format!("asserted-{thread}"), budget),
            pack: PackWriter::new(input.pack, shared.dictionaries)?,
            new_order: input.new_order.map(OrderWriter::thread),
            tally: Tally::default(),
            scratch: Scratch::default(),
            bodies: Bodies::new()?,
            canonicalizer: Canonicalizer::new(),
            canonical: Vec::new(),
            stored: Vec::new(),
            compared: Vec::new(),
            last_type: (String::new(), u32::MAX),
            last_edge: None,
            new_names: LookAlikes::default(),
        })
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let input = self.shared.input;
        let file = &input.batch.files[index];
        let follower = match self.shared.table {
            Some(table) => Some(Follower::new(table, &file.path)?),
            None => None,
        };
        if let Some(order) = &mut self.new_order {
            order.begin(&file.path);
        }
        let mut sink = Sink {
            worker: self,
            follower,
            file: index as u32,
            kind: file.kind,
            path: &file.path,
            passed: 0,
            refused: None,
        };
        let report = read_file(&input.batch.folder, file, input.limits, &mut sink)
            .map_err(|e| e.context(format!("batch {}", input.batch.id)))?;
        (input.progress)(report.stored_bytes.saturating_sub(sink.passed));
        if let Some(order) = &mut self.new_order {
            order.end_of_file();
        }
        // Blocks end with their file, so that what follows in a pack is what
        // followed in the batch, but for small ones, and for the first ones of a
        // type, which wait for its dictionary.
        let sorter = &mut self.sorter;
        self.pack.end_of_file(&mut |asserted| sorter.push(asserted))
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(order) = self.new_order.take() {
            order.finish()?;
        }
        let sorter = &mut self.sorter;
        self.pack.finish(&mut |asserted| sorter.push(asserted))
    }

    /// Counts the line that is being read.
    fn has_unknown_members(&mut self) {
        self.tally.unknown_members += 1;
        if let Some(order) = &mut self.new_order {
            order.has_unknown_members();
        }
    }

    fn type_id(&mut self, name: &str) -> u32 {
        if self.last_type.1 == u32::MAX || self.last_type.0 != name {
            self.last_type = (name.to_owned(), self.shared.input.types.id(name));
        }
        self.last_type.1
    }
}

struct Sink<'w, 'a> {
    worker: &'w mut Worker<'a>,
    follower: Option<Follower<'a>>,
    file: u32,
    kind: Kind,
    path: &'w str,
    /// Stored bytes of the file that were told of.
    passed: u64,
    /// Position of a run that did not stand here: it is not hashed again for
    /// each new line that comes before what is left of it.
    refused: Option<u32>,
}

impl LineSink for Sink<'_, '_> {
    fn passed(&mut self, stored: u64) -> Result<()> {
        let input = self.worker.shared.input;
        (input.progress)(stored.saturating_sub(self.passed));
        self.passed = stored;
        input.halt.check()
    }

    #[inline]
    fn run(&mut self, bytes: &[u8]) -> Result<Run> {
        match self.take_run(bytes)? {
            Run::Taken { bytes, lines } => {
                self.worker.tally.lines[self.kind as usize] += lines;
                self.worker.tally.in_order += lines;
                self.worker.tally.unchanged[self.kind as usize] += lines;
                Ok(Run::Taken { bytes, lines })
            }
            other @ (Run::More | Run::None) => Ok(other),
        }
    }

    #[inline]
    fn line(&mut self, line_no: u64, line: &[u8]) -> Result<()> {
        let shared = self.worker.shared;
        let input = shared.input;
        let new_order = &mut self.worker.new_order;
        let hash = if input.order.is_some() || new_order.is_some() { XxHash3_128::oneshot(line) } else { 0 };
        let position = match new_order {
            Some(order) => order.push(hash, line)?,
            None => NO_POSITION,
        };
        if let Some(old) = self.take_next(hash)? {
            self.worker.tally.lines[self.kind as usize] += 1;
            self.worker.tally.in_order += 1;
            self.worker.tally.unchanged[self.kind as usize] += 1;
            if let Some(entry) = old {
                shared.new_positions[entry as usize].store(position, Ordering::Relaxed);
            }
            return Ok(());
        }
        match parse_line(self.kind, input.mode_of_lines(), line) {
            Ok(parsed) => self.take(line_no, line, &parsed, position),
            Err(bad) => self.reject(line_no, line, false, bad, None),
        }
    }

    fn bad_line(&mut self, line_no: u64, start_of_line: &[u8], problem: BadLine) -> Result<()> {
        if let Some(order) = &mut self.worker.new_order {
            order.push_bad()?;
        }
        self.reject(line_no, start_of_line, true, problem, None)
    }
}

impl PassInput<'_> {
    /// `deleted` is judged by the batch's own mode, whatever it counts as.
    fn mode_of_lines(&self) -> Mode {
        self.batch.mode
    }
}

impl Shared<'_> {
    /// [`OUTSIDE`] for a key that a full batch does not speak for.
    fn outside(&self, type_name: &str, scope_name: &str) -> u16 {
        let inside = self.input.mode == Mode::Incremental || self.scope.contains_parts(type_name, scope_name);
        if inside { 0 } else { OUTSIDE }
    }
}

impl Sink<'_, '_> {
    /// Step 1 for many lines: those of a run of the order, if they stand here
    /// as they stood there, and each may be trusted as in [`Self::take_next`].
    #[inline]
    fn take_run(&mut self, bytes: &[u8]) -> Result<Run> {
        let shared = self.worker.shared;
        // A new order wants each line.
        let Some(follower) = self.follower.as_mut().filter(|_| self.worker.new_order.is_none()) else {
            return Ok(Run::None);
        };
        let Some(run) = follower.run()? else { return Ok(Run::None) };
        if run.bytes > shared.input.limits.max_line || self.refused == Some(run.position) {
            return Ok(Run::None);
        }
        let Some(bytes) = bytes.get(..run.bytes) else { return Ok(Run::More) };
        // Most that changed have another length.
        if bytes.last() != Some(&b'\n') {
            return Ok(Run::None);
        }
        if run_hash(bytes) != run.hash {
            self.refused = Some(run.position);
            return Ok(Run::None);
        }
        let entities = shared.entities;
        let known = match self.kind {
            Kind::Entity => follower.run_entries(|entry| entry < entities),
            Kind::Relationship => follower.run_entries(|entry| entry >= entities),
        };
        let (word, mask) = (run.position as usize / 64, u64::from(u16::MAX) << (run.position % 64));
        if !known || shared.dropped[word] & mask != 0 {
            return Ok(Run::None);
        }
        if let Some(seen) = shared.seen
            && !seen.set_if_none(word, mask)
        {
            return Ok(Run::None);
        }
        follower.took_run();
        let order = shared.input.order;
        self.worker.tally.unknown_members += order.map_or(0, |order| order.unknown_members(word, mask));
        Ok(Run::Taken { bytes: run.bytes, lines: RUN as u64 })
    }

    /// Step 1. `Some` when the line is the next of the order, or the one
    /// behind it, its entry may be trusted and no line took it before; with
    /// the number of its base entry where the new order wants to know it.
    #[inline]
    fn take_next(&mut self, hash: u128) -> Result<Option<Option<u32>>> {
        let shared = self.worker.shared;
        let Some(follower) = &mut self.follower else { return Ok(None) };
        let Some(place) = follower.find(hash)? else { return Ok(None) };
        let position = place.position;
        // A file that holds the lines of the other kind has bad lines only.
        if (place.entry < shared.entities) != (self.kind == Kind::Entity) {
            return Ok(None);
        }
        if shared.dropped[position as usize / 64] >> (position % 64) & 1 == 1 {
            return Ok(None);
        }
        if let Some(seen) = shared.seen
            && seen.test_and_set(u64::from(position))
        {
            return Ok(None);
        }
        follower.took(place)?;
        let (word, mask) = (position as usize / 64, 1 << (position % 64));
        if shared.input.order.is_some_and(|order| order.unknown_members(word, mask) > 0) {
            self.worker.has_unknown_members();
        }
        let wanted = !shared.new_positions.is_empty();
        Ok(Some(wanted.then_some(place.entry)))
    }

    /// Steps 2 and 3.
    fn take(&mut self, line_no: u64, line: &[u8], parsed: &Line<'_>, position: u32) -> Result<()> {
        let worker = &mut *self.worker;
        let shared = worker.shared;
        let input = shared.input;
        let key = parsed.key.hash();
        let found = match input.snapshot {
            Some(snapshot) => snapshot.live(key, &mut worker.scratch)?,
            None => None,
        };
        let mut flags = 0;
        if let (Some(snapshot), Some(found), Some(seen)) = (input.snapshot, &found, shared.seen)
            && seen.test_and_set(seen.slot(snapshot, found))
        {
            flags |= AGAIN;
        }
        if let (Some(follower), Some(found)) = (&mut self.follower, &found)
            && found.layer == 0
            && found.entry.pos != NO_POSITION
        {
            follower.jump(found.entry.pos)?;
        }

        let skipped =
            !input.skips.is_empty() && input.skips.has_parts(parsed.key.type_name(), parsed.key.scope_name());
        let mut canon = 0;
        let mut raw = 0;
        let mut canonical_made = false;
        match parsed.attributes {
            None => flags |= DELETED,
            Some(attributes) => {
                raw = xxh3_64(attributes);
                // By other rules the same text may have another canonical form.
                let comparable = |found: &Found| {
                    input.snapshot.is_some_and(|own| own.is_comparable(found, input.comparison))
                };
                let same_text = input.fast_path
                    && found.as_ref().is_some_and(|found| found.entry.raw == raw && comparable(found));
                if same_text {
                    flags |= UNCHANGED;
                    canon = found.map_or(0, |found| found.entry.canon);
                } else {
                    worker.canonical.clear();
                    if let Err(error) = worker.canonicalizer.run(attributes, &mut worker.canonical) {
                        let bad = bad_attributes(parsed, error);
                        return self.reject(line_no, line, false, bad, Some(flags & AGAIN != 0));
                    }
                    canonical_made = true;
                    canon = worker.canon_of_canonical();
                    if let (Some(snapshot), Some(found)) = (input.snapshot, &found) {
                        let published = worker.published_canon(snapshot, found, skipped)?;
                        if published == canon {
                            flags |= UNCHANGED;
                        }
                    }
                }
            }
        }
        worker.tally.lines[self.kind as usize] += 1;
        if parsed.unknown_members {
            worker.has_unknown_members();
        }

        let (type_name, scope_name) = (parsed.key.type_name(), parsed.key.scope_name());
        if let Some(snapshot) = input.snapshot
            && !snapshot.is_newest(input.stamp)
        {
            // Of a key that is not live, a tombstone may still speak.
            let known = match found {
                Some(found) => Some(found),
                None => snapshot.lookup(key, &mut worker.scratch)?,
            };
            let effective = snapshot.effective_stamp(key, type_name, scope_name, known.as_ref())?;
            // What the batch itself published when it ended half way is no newer.
            if effective.is_some_and(|effective| effective.stamp > input.stamp.stamp) {
                flags |= SUPERSEDED;
            }
        }
        flags |= shared.outside(type_name, scope_name);
        // A line outside the scope raises its key's stamp each time: it has no
        // place in the order, which would pass over it.
        let position = if flags & OUTSIDE != 0 { NO_POSITION } else { position };
        // Only the line that gave the key its published value stands for it:
        // this one's may not be published, be it refused or contradicted.
        if let (Some(snapshot), Some(found), false, true) =
            (input.snapshot, &found, shared.new_positions.is_empty(), flags & UNCHANGED != 0)
            && !restate::is_unapplied(&found.entry)
        {
            shared.new_positions[snapshot.slot(found) as usize].store(position, Ordering::Relaxed);
        }
        if input.mode == Mode::Full && flags == UNCHANGED {
            worker.tally.unchanged[self.kind as usize] += 1;
            return Ok(());
        }
        if skipped {
            flags |= SKIPPED;
        }

        let type_id = worker.type_id(parsed.key.type_name());
        if let LineKey::Entity { type_name, qualified_name } = &parsed.key
            && found.is_none()
            && flags & (DELETED | SKIPPED) == 0
        {
            worker.new_names.push(type_id, type_name, qualified_name);
            if worker.new_names.is_full() {
                lock(shared.new_names).absorb(std::mem::take(&mut worker.new_names));
            }
        }
        let (from, to) = parsed.key.end_hashes().unwrap_or((KeyHash(0), KeyHash(0)));
        let asserted = Asserted {
            key,
            raw,
            canon,
            loc: Loc::NONE,
            pos: position,
            file: self.file,
            line: line_no as u32,
            type_id,
            size: 0,
            depth: depth(&parsed.key),
            flags,
            ends: [from, to],
        };
        worker.note_edge(&parsed.key);
        if flags & UNCHANGED != 0 {
            return worker.sorter.push(asserted);
        }
        let Worker { pack, sorter, canonical, stored, .. } = worker;
        let attributes: &[u8] = if !canonical_made {
            b""
        } else if input.rules.has_unordered() {
            stored.clear();
            stored_form(canonical, input.rules, stored);
            stored
        } else {
            canonical
        };
        pack.push(
            asserted,
            |out| {
                head(out, &parsed.key);
                out.extend_from_slice(attributes);
            },
            &mut |asserted| sorter.push(asserted),
        )
    }
}

impl Worker<'_> {
    /// Hash of the comparison form of `self.canonical`.
    fn canon_of_canonical(&mut self) -> u64 {
        let rules = self.shared.input.rules;
        if rules.is_plain() {
            return xxh3_64(&self.canonical);
        }
        self.compared.clear();
        comparison_form(&self.canonical, rules, &mut self.compared);
        xxh3_64(&self.compared)
    }

    /// The hash that a published value is compared by, made anew where it
    /// was made under other settings.
    fn published_canon(&mut self, snapshot: &Snapshot, found: &Found, skipped: bool) -> Result<u64> {
        let input = self.shared.input;
        // What is not sent for now has nothing new to say by its old form alone.
        let is_asked = skipped && restate::is_unapplied(&found.entry);
        if snapshot.is_comparable(found, input.comparison) && !is_asked {
            return Ok(found.entry.canon);
        }
        let body = snapshot.body(found, &mut self.bodies)?;
        self.compared.clear();
        comparison_form(body.body()?.attributes, input.rules, &mut self.compared);
        Ok(xxh3_64(&self.compared))
    }

    fn note_edge(&mut self, key: &LineKey<'_>) {
        let LineKey::Relationship { type_name, from_type, to_type, .. } = key else { return };
        let same = self.last_edge.as_ref().is_some_and(|edge| {
            edge.relationship == *type_name && edge.from == *from_type && edge.to == *to_type
        });
        if !same {
            let edge = TypeEdge {
                relationship: type_name.to_string(),
                from: from_type.to_string(),
                to: to_type.to_string(),
            };
            self.shared.input.types.add_edge(edge.clone());
            self.last_edge = Some(edge);
        }
    }
}

fn head(out: &mut Vec<u8>, key: &LineKey<'_>) {
    match key {
        LineKey::Entity { type_name, qualified_name } => entity_head(out, type_name, qualified_name),
        LineKey::Relationship { type_name, from_type, from_name, to_type, to_name, label } => {
            relationship_head(out, type_name, (from_type, from_name), (to_type, to_name), label);
        }
    }
}

/// Separators in a name: contents have more of them than their container.
pub fn name_depth(name: &str) -> u16 {
    let count = name.bytes().filter(|b| matches!(b, b'.' | b'/' | b':' | b'#' | b'\\')).count();
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn depth(key: &LineKey<'_>) -> u16 {
    match key {
        LineKey::Entity { qualified_name, .. } => name_depth(qualified_name),
        LineKey::Relationship { .. } => 0,
    }
}
