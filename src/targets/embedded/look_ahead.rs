//! Looking up what the catalogue holds of an operation's changes on other
//! threads, ahead of the one that writes.
//!
//! Only one operation is written at a time, so the last commit is what the
//! operation finds. A key stands once in an operation; what else of it bears
//! on a relationship is said at [`relationships`].

use std::collections::{HashMap, HashSet};

use redb::{ReadTransaction, ReadableTable};

use super::EmbeddedCatalogue;
use super::buffered::Reader;
use super::row::Row;
use super::tables::{self, end_key, entity_key};
use crate::domain::change::Action;
use crate::domain::key::{EntityKey, Key, KeyHash, Kind};
use crate::hand_over::{HandOver, Turn};
use crate::targets::TargetChange;

/// Below so many changes the writing thread looks them up itself.
const FEW: usize = 512;

/// An end of a relationship: the entity's number, and whether it is there and
/// not archived.
pub type End = Option<(u32, bool)>;

/// What the catalogue holds of a relationship, or of an entity that goes.
pub struct Held {
    /// Hash of its key.
    pub hash: KeyHash,
    /// A relationship's `from` and `to` end.
    pub ends: (End, End),
    /// Its row.
    pub row: Option<Row>,
    /// Where the relationships of an entity that goes are, if they are few.
    pub around: Option<Around>,
}

/// Keys of the rows of all relationships at an entity.
#[derive(Default)]
pub struct Around {
    /// In the table of those that begin at it.
    pub forward: Vec<[u8; 20]>,
    /// In the table of those that end at it.
    pub reverse: Vec<[u8; 20]>,
}

/// A change whose place among the rows is known.
pub trait Placed: Sync {
    /// Key of its row.
    fn row(&self) -> &[u8];
    /// Its place in the operation.
    fn number(&self) -> usize;
}

/// Rows of entities, in the order in which they were asked for, each with its
/// key's hash.
type Rows = Result<Vec<(KeyHash, Option<Row>)>, redb::Error>;

/// Keys of relationships that each thread may hold of entities that go.
const MOST_AROUND: usize = 1 << 16;

/// Rows that are handed over at a time.
const CHUNK: usize = 256;
/// Chunks that may be held ready.
const AHEAD: usize = 16;

/// Whether looking so many changes up ahead is worth it: there must be many,
/// and something to find.
fn is_worth_it(tx: &ReadTransaction, changes: usize, threads: usize) -> Result<bool, redb::Error> {
    Ok(changes >= FEW && threads > 1 && !tables::ENTITIES.read(tx)?.is_empty()?)
}

/// Calls `begin`, which must not change rows of entities, and then `each` with
/// every place of an entity, its key's hash and its row, in order, while another
/// thread goes ahead of both and looks the rows up; where that one is not far
/// enough ahead, both look up. Returns `false`, without a call of `each`, when
/// the writing thread does better alone.
pub fn entities<P: Placed, S>(
    catalogue: &EmbeddedCatalogue,
    places: &[P],
    changes: &[TargetChange],
    state: &mut S,
    begin: impl FnOnce(&mut S) -> Result<(), redb::Error>,
    mut each: impl FnMut(&mut S, &P, KeyHash, Option<Row>) -> Result<(), redb::Error>,
) -> Result<bool, redb::Error> {
    let tx = catalogue.file.begin_read_beside()?;
    if !is_worth_it(&tx, places.len(), catalogue.options.threads)? {
        return begin(state).map(|()| false);
    }
    let (own, others) = (tables::ENTITIES.read(&tx)?, tables::ENTITIES.read(&tx)?);
    let chunks: Vec<&[P]> = places.chunks(CHUNK).collect();
    let look = |reader: &Reader, chunk: &[P]| -> Rows {
        let rows = chunk.iter().map(|place| {
            let found = reader.get(place.row())?;
            let hash = changes[place.number()].key.hash();
            Ok((hash, found.and_then(|row| Row::decode(row.value()))))
        });
        rows.collect()
    };
    let hand_over = HandOver::new(chunks.len(), AHEAD);
    std::thread::scope(|scope| {
        let helper = hand_over.helper();
        scope.spawn(|| {
            let _helper = helper;
            while let Some(n) = hand_over.next_ahead() {
                hand_over.put(n, look(&others, chunks[n]));
            }
        });
        let _taker = hand_over.taker();
        begin(state)?;
        for (n, chunk) in chunks.iter().enumerate() {
            let rows = loop {
                match hand_over.take(n) {
                    Turn::Found(rows) => break rows?,
                    Turn::LookUp(other) => hand_over.put(other, look(&own, chunks[other])),
                    Turn::Lost => {
                        let text = "the thread that looks ahead has ended";
                        return Err(redb::Error::Io(std::io::Error::other(text)));
                    }
                }
            };
            for (place, (hash, row)) in chunk.iter().zip(rows) {
                each(state, place, hash, row)?;
            }
        }
        Ok(true)
    })
}

/// Looks up all relationships of an operation, but those that come to an entity
/// that the operation creates or deletes; and the entities that go. `None` when the
/// writing thread does better alone.
pub fn relationships(
    catalogue: &EmbeddedCatalogue,
    changes: &[TargetChange],
) -> Result<Option<Vec<Option<Held>>>, redb::Error> {
    let wanted = changes.iter().filter(|change| change.key.kind() == Kind::Relationship).count();
    let tx = catalogue.file.begin_read_beside()?;
    let threads = catalogue.options.threads;
    if !is_worth_it(&tx, wanted, threads)? {
        return Ok(None);
    }
    let entities = changes.iter().filter(|change| change.key.kind() == Kind::Entity);
    // One that is sent whole comes, should it not be there.
    let moves = |change: &&TargetChange| change.action != Action::Update || change.replace;
    let moving: HashSet<KeyHash> = entities.filter(moves).map(|change| change.key.hash()).collect();
    // Relationships come one after the other: shares are counted in them.
    let wanted: Vec<usize> = (0..changes.len()).filter(|n| is_looked_up(&changes[*n])).collect();
    let share = wanted.len().div_ceil(threads);
    let parts: Vec<Result<Vec<(usize, Held)>, redb::Error>> = std::thread::scope(|scope| {
        let (tx, moving) = (&tx, &moving);
        let look = |tx, share, moving| look(tx, changes, share, moving);
        let mut shares = wanted.chunks(share);
        let first = shares.next();
        let others: Vec<_> = shares.map(|share| scope.spawn(move || look(tx, share, moving))).collect();
        let first = first.map(|share| look(tx, share, moving));
        let others = others.into_iter().map(|thread| match thread.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        first.into_iter().chain(others).collect()
    });
    let mut all: Vec<Option<Held>> = changes.iter().map(|_| None).collect();
    for part in parts {
        for (n, held) in part? {
            all[n] = Some(held);
        }
    }
    Ok(Some(all))
}

/// Whether a change is looked up ahead: a relationship; or an entity that
/// goes, which looks whether relationships are still at it.
fn is_looked_up(change: &TargetChange) -> bool {
    change.key.kind() == Kind::Relationship || change.action == Action::Delete
}

fn look(
    tx: &ReadTransaction,
    changes: &[TargetChange],
    share: &[usize],
    moving: &HashSet<KeyHash>,
) -> Result<Vec<(usize, Held)>, redb::Error> {
    let mut types: HashMap<String, u32> = HashMap::new();
    for row in tx.open_table(tables::TYPES)?.iter()? {
        let (number, name) = row?;
        types.insert(name.value().to_owned(), number.value());
    }
    let looking = Looking {
        types,
        entities: tables::ENTITIES.read(tx)?,
        forward: tables::FORWARD.read(tx)?,
        reverse: tables::REVERSE.read(tx)?,
    };
    // Contents come one after the other.
    let mut last: Option<(&EntityKey, End)> = None;
    let mut room = MOST_AROUND;
    let mut all = Vec::with_capacity(share.len());
    for n in share {
        let change = &changes[*n];
        let key = match &change.key {
            Key::Relationship(key) => key,
            Key::Entity(key) => {
                let (hash, row) = (change.key.hash(), looking.entity(key)?);
                let around = match &row {
                    Some(row) => looking.around(row.number, &mut room)?,
                    None => None,
                };
                all.push((*n, Held { hash, ends: (None, None), row, around }));
                continue;
            }
        };
        // Those that go do so before any entity comes or goes.
        if !moving.is_empty() && change.action != Action::Delete {
            let moves = [moving.contains(&key.from.hash()), moving.contains(&key.to.hash())];
            if moves != [false; 2] {
                // What is looked up now may not hold then; its pages will be at hand.
                for (end, moves) in [&key.from, &key.to].into_iter().zip(moves) {
                    if !moves {
                        looking.end(end)?;
                    }
                }
                continue;
            }
        }
        let from = match &last {
            Some((known, end)) if *known == &key.from => *end,
            Some(_) | None => looking.end(&key.from)?,
        };
        last = Some((&key.from, from));
        let to = looking.end(&key.to)?;
        let hash = change.key.hash();
        let row = match (from, to) {
            (Some((from, _)), Some(_)) => {
                let row = looking.forward.get(&end_key(from, hash.0))?;
                row.and_then(|row| Row::decode(row.value()))
            }
            (Some(_) | None, _) => None,
        };
        all.push((*n, Held { hash, ends: (from, to), row, around: None }));
    }
    Ok(all)
}

struct Looking {
    types: HashMap<String, u32>,
    entities: Reader,
    forward: Reader,
    reverse: Reader,
}

impl Looking {
    /// Where the relationships of an entity are; `None` when they are more
    /// than there is `room` for.
    fn around(&self, number: u32, room: &mut usize) -> Result<Option<Around>, redb::Error> {
        let (from, to) = (end_key(number, 0), end_key(number, u128::MAX));
        let mut around = Around::default();
        for (table, keys) in [(&self.forward, &mut around.forward), (&self.reverse, &mut around.reverse)] {
            for row in table.range(&from[..]..=&to[..])? {
                let (key, _) = row?;
                let Ok(key) = key.value().try_into() else { return Ok(None) };
                let Some(left) = room.checked_sub(1) else { return Ok(None) };
                *room = left;
                keys.push(key);
            }
        }
        Ok(Some(around))
    }

    fn entity(&self, key: &EntityKey) -> Result<Option<Row>, redb::Error> {
        let Some(number) = self.types.get(&key.type_name) else { return Ok(None) };
        let row = self.entities.get(&entity_key(*number, &key.qualified_name))?;
        Ok(row.and_then(|row| Row::decode(row.value())))
    }

    fn end(&self, key: &EntityKey) -> Result<End, redb::Error> {
        let Some(number) = self.types.get(&key.type_name) else { return Ok(None) };
        let row = self.entities.get(&entity_key(*number, &key.qualified_name))?;
        Ok(row.and_then(|row| Row::end(row.value())))
    }
}
