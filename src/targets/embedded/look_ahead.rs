//! Looking up what the catalogue holds of an operation's changes on other
//! threads, ahead of the one that writes.
//!
//! Only one operation is written at a time, so the last commit is what the
//! operation finds. A key stands once in an operation; what else of it bears
//! on a relationship is said at [`relationships`].

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::sync_channel;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable};

use super::EmbeddedCatalogue;
use super::buffered::Reader;
use super::row::Row;
use super::tables::{self, end_key, entity_key};
use crate::domain::change::Action;
use crate::domain::key::{EntityKey, Key, KeyHash, Kind};
use crate::targets::TargetChange;

/// Below so many changes the writing thread looks them up itself.
const FEW: usize = 512;

/// An end of a relationship: the entity's number, and whether it is there and
/// not archived.
pub type End = Option<(u32, bool)>;

/// What the catalogue holds of a relationship.
pub struct Held {
    /// Hash of its key.
    pub hash: KeyHash,
    /// Its `from` and its `to` end.
    pub ends: (End, End),
    /// Its row.
    pub row: Option<Row>,
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

/// Rows that are handed over at a time.
const CHUNK: usize = 256;

/// Whether looking so many changes up ahead is worth it: there must be many,
/// and something to find.
fn is_worth_it(tx: &ReadTransaction, changes: usize) -> Result<bool, redb::Error> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(changes >= FEW && threads > 1 && !tables::ENTITIES.read(tx)?.is_empty()?)
}

/// Calls `each` with every place of an entity, its key's hash and its row, in
/// order, while another thread goes ahead of it and looks the rows up.
/// Returns `false`, without a call, when the writing thread does better alone.
pub fn entities<P: Placed>(
    catalogue: &EmbeddedCatalogue,
    places: &[P],
    changes: &[TargetChange],
    mut each: impl FnMut(&P, KeyHash, Option<Row>) -> Result<(), redb::Error>,
) -> Result<bool, redb::Error> {
    let tx = catalogue.db.begin_read()?;
    if !is_worth_it(&tx, places.len())? {
        return Ok(false);
    }
    let reader = tables::ENTITIES.read(&tx)?;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<Rows>(4);
        scope.spawn(move || {
            for chunk in places.chunks(CHUNK) {
                let rows = chunk.iter().map(|place| {
                    let found = reader.get(place.row())?;
                    let hash = changes[place.number()].key.hash();
                    Ok((hash, found.and_then(|row| Row::decode(row.value()))))
                });
                // Who writes has failed: nobody needs the rest.
                if sender.send(rows.collect()).is_err() {
                    return;
                }
            }
        });
        for chunk in places.chunks(CHUNK) {
            let gone = |_| redb::Error::Io(std::io::Error::other("the thread that looks ahead has ended"));
            let rows = receiver.recv().map_err(gone)??;
            for (place, (hash, row)) in chunk.iter().zip(rows) {
                each(place, hash, row)?;
            }
        }
        Ok(true)
    })
}

/// Looks up all relationships of an operation, but those at an entity that the
/// operation creates or deletes. `None` when the writing thread does better
/// alone.
pub fn relationships(
    catalogue: &EmbeddedCatalogue,
    changes: &[TargetChange],
) -> Result<Option<Vec<Option<Held>>>, redb::Error> {
    let wanted = changes.iter().filter(|change| change.key.kind() == Kind::Relationship).count();
    let tx = catalogue.db.begin_read()?;
    if !is_worth_it(&tx, wanted)? {
        return Ok(None);
    }
    let entities = changes.iter().filter(|change| change.key.kind() == Kind::Entity);
    let moving: HashSet<KeyHash> =
        entities.filter(|change| change.action != Action::Update).map(|change| change.key.hash()).collect();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    let share = changes.len().div_ceil(threads);
    let parts: Vec<Result<Vec<Option<Held>>, redb::Error>> = std::thread::scope(|scope| {
        let (tx, moving) = (&tx, &moving);
        let mut shares = changes.chunks(share);
        let first = shares.next();
        let others: Vec<_> = shares.map(|share| scope.spawn(move || look(tx, share, moving))).collect();
        let first = first.map(|share| look(tx, share, moving));
        let others = others.into_iter().map(|thread| match thread.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        first.into_iter().chain(others).collect()
    });
    let mut all = Vec::with_capacity(changes.len());
    for part in parts {
        all.append(&mut part?);
    }
    Ok(Some(all))
}

fn look(
    tx: &ReadTransaction,
    changes: &[TargetChange],
    moving: &HashSet<KeyHash>,
) -> Result<Vec<Option<Held>>, redb::Error> {
    let mut types: HashMap<String, u32> = HashMap::new();
    for row in tx.open_table(tables::TYPES)?.iter()? {
        let (number, name) = row?;
        types.insert(name.value().to_owned(), number.value());
    }
    let looking = Looking { types, entities: tables::ENTITIES.read(tx)?, forward: tables::FORWARD.read(tx)? };
    // Contents come one after the other.
    let mut last: Option<(&EntityKey, End)> = None;
    let mut all = Vec::with_capacity(changes.len());
    for change in changes {
        let Key::Relationship(key) = &change.key else {
            all.push(None);
            continue;
        };
        if !moving.is_empty() && (moving.contains(&key.from.hash()) || moving.contains(&key.to.hash())) {
            all.push(None);
            continue;
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
        all.push(Some(Held { hash, ends: (from, to), row }));
    }
    Ok(all)
}

struct Looking {
    types: HashMap<String, u32>,
    entities: Reader,
    forward: Reader,
}

impl Looking {
    fn end(&self, key: &EntityKey) -> Result<End, redb::Error> {
        let Some(number) = self.types.get(&key.type_name) else { return Ok(None) };
        let row = self.entities.get(&entity_key(*number, &key.qualified_name))?;
        Ok(row.and_then(|row| Row::end(row.value())))
    }
}
