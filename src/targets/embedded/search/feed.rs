//! The change feed: which entities the last operations changed, in a small
//! table of the catalogue's file that is written with the changes themselves.
//!
//! An entry per operation, numbered as its origin is, without gaps: whoever
//! has seen the catalogue up to some operation finds in the entries behind it
//! what to look at again. An entry *lists* row keys, or says only how many
//! there are; then every row has to be asked who wrote it last. It is bounded:
//! large operations do not list, nor do those that come when much is listed
//! and not yet seen, nor any while nobody reads the feed. The oldest entries
//! go when there are many; a reader that needs them looks at all rows.
//!
//! ```text
//! changes u64: entities that this and all entries before changed,
//! listed u64: bytes that this and all entries before listed,
//! 0 and the keys, each as: length of what it shares with the one before, length of the rest (LEB128), the rest;
//! 1: not listed
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use crate::domain::key::Key;
use crate::targets::TargetChange;

/// Number of the operation's origin → entry.
pub const FEED: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("search_feed");

/// Most entities that an entry lists.
const LISTED: u64 = 25_000;
/// Bytes of keys that may lie in the table.
const LISTED_BYTES: u64 = 8 << 20;
/// Bytes of keys, as they are without what they share, from which on a reader has
/// enough of them. An operation has not much more.
const ENOUGH_BYTES: usize = 32 << 20;
/// Most entries.
const ENTRIES: u64 = 10_000;
/// Entries that an operation drops at most.
const DROPPED: usize = 64;
const HEAD: usize = 17;

/// What the writing side knows of the reader.
#[derive(Default)]
pub struct Follower {
    /// Whether there is one.
    follows: AtomicBool,
    /// Operations that it has seen: their entries may go.
    seen: AtomicU32,
}

impl Follower {
    /// From now on entries list what changed.
    pub fn follow(&self) {
        self.follows.store(true, Ordering::Release);
    }

    /// The reader has seen so many operations, durably.
    pub fn seen(&self, operations: u32) {
        self.seen.store(operations, Ordering::Release);
    }
}

/// Writes the entry of an operation, and drops some that are not needed any
/// more.
pub fn note(
    follower: &Follower,
    tx: &WriteTransaction,
    origin: u32,
    changes: &[TargetChange],
    types: &HashMap<String, u32>,
) -> Result<(), redb::Error> {
    let mut feed = tx.open_table(FEED)?;
    let last = feed.last()?.and_then(|(_, entry)| Head::decode(entry.value())).unwrap_or_default();
    let seen = follower.seen.load(Ordering::Acquire);
    for _ in 0..DROPPED {
        let first = feed.first()?.map(|(number, _)| number.value());
        if first.is_none_or(|first| first >= seen) && feed.len()? <= ENTRIES {
            break;
        }
        feed.pop_first()?;
    }
    let before = feed.first()?.and_then(|(_, entry)| Head::decode(entry.value())).unwrap_or(last);
    let entities = changes.iter().filter_map(|change| match &change.key {
        Key::Entity(key) => Some(key),
        Key::Relationship(_) => None,
    });
    let count = entities.clone().count() as u64;
    let waiting = last.listed.saturating_sub(before.listed);
    let list =
        count == 0 || (follower.follows.load(Ordering::Acquire) && count <= LISTED && waiting < LISTED_BYTES);
    let mut entry = vec![0; HEAD];
    if list {
        let (mut previous, mut row) = (Vec::new(), Vec::new());
        for key in entities {
            let Some(number) = types.get(&key.type_name) else { continue };
            row.clear();
            row.extend_from_slice(&number.to_be_bytes());
            row.extend_from_slice(key.qualified_name.as_bytes());
            let shared = previous.iter().zip(&row).take_while(|(a, b)| a == b).count();
            put(&mut entry, shared);
            put(&mut entry, row.len() - shared);
            entry.extend_from_slice(&row[shared..]);
            std::mem::swap(&mut previous, &mut row);
        }
    } else {
        entry[HEAD - 1] = 1;
    }
    let changes = last.changes + count;
    let listed = last.listed + (entry.len() - HEAD) as u64;
    entry[..8].copy_from_slice(&changes.to_le_bytes());
    entry[8..16].copy_from_slice(&listed.to_le_bytes());
    feed.insert(origin, &entry[..])?;
    Ok(())
}

#[derive(Default, Clone, Copy)]
struct Head {
    changes: u64,
    listed: u64,
}

impl Head {
    fn decode(entry: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(entry.get(at..at + 8)?.try_into().ok()?));
        Some(Self { changes: word(0)?, listed: word(8)? })
    }
}

fn put(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in [0, 7, 14, 21] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// How many changes of entities the feed has counted since it began.
pub fn changes(tx: &ReadTransaction) -> Result<u64, redb::Error> {
    let feed = tx.open_table(FEED)?;
    let last = feed.last()?;
    Ok(last.and_then(|(_, entry)| Head::decode(entry.value())).unwrap_or_default().changes)
}

/// What changed behind some operation.
pub struct Changed {
    /// Keys of rows of entities.
    pub keys: BTreeSet<Vec<u8>>,
    /// Operations seen with that.
    pub operations: u32,
    /// Changes counted up to there.
    pub changes: u64,
}

/// The rows that changed behind the first `seen` of `operations` operations:
/// those of the next ones, until there are `enough`, or they take much room.
/// `None`: the feed does not tell.
pub fn behind(
    tx: &ReadTransaction,
    seen: u32,
    operations: u32,
    enough: usize,
) -> Result<Option<Changed>, redb::Error> {
    let feed = tx.open_table(FEED)?;
    let mut changed = Changed { keys: BTreeSet::new(), operations: seen, changes: 0 };
    let mut bytes = 0;
    for entry in feed.range(seen..operations)? {
        let (number, entry) = entry?;
        let entry = entry.value();
        let head = Head::decode(entry).filter(|_| number.value() == changed.operations);
        let (Some(head), Some(0)) = (head, entry.get(HEAD - 1)) else { return Ok(None) };
        let Some(listed) = list(&entry[HEAD..], &mut changed.keys) else { return Ok(None) };
        bytes += listed;
        changed.operations += 1;
        changed.changes = head.changes;
        if changed.keys.len() >= enough || bytes >= ENOUGH_BYTES {
            return Ok(Some(changed));
        }
    }
    Ok((changed.operations == operations).then_some(changed))
}

/// Adds the keys that an entry lists, and says how many bytes these have.
fn list(mut bytes: &[u8], keys: &mut BTreeSet<Vec<u8>>) -> Option<usize> {
    let mut previous: Vec<u8> = Vec::new();
    let mut listed = 0;
    while !bytes.is_empty() {
        let (shared, rest) = (take(&mut bytes)?, take(&mut bytes)?);
        previous.truncate(shared);
        previous.extend_from_slice(bytes.get(..rest)?);
        bytes = &bytes[rest..];
        listed += previous.len();
        keys.insert(previous.clone());
    }
    Some(listed)
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase};

    use super::*;
    use crate::domain::change::Action;
    use crate::domain::key::EntityKey;

    struct Feed {
        db: Database,
        follower: Follower,
        operations: u32,
    }

    impl Feed {
        fn new() -> Self {
            let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
            Self { db, follower: Follower::default(), operations: 0 }
        }

        fn note(&mut self, names: impl IntoIterator<Item = String>) {
            let change = |name| TargetChange {
                action: Action::Create,
                key: Key::Entity(EntityKey::new("t", name)),
                set: Vec::new(),
                unset: Vec::new(),
                replace: false,
            };
            let changes: Vec<_> = names.into_iter().map(change).collect();
            let tx = self.db.begin_write().unwrap();
            note(&self.follower, &tx, self.operations, &changes, &[("t".to_owned(), 7)].into()).unwrap();
            tx.commit().unwrap();
            self.operations += 1;
        }

        fn behind(&self, seen: u32, enough: usize) -> Option<(Vec<String>, u32, u64)> {
            let tx = self.db.begin_read().unwrap();
            let changed = behind(&tx, seen, self.operations, enough).unwrap()?;
            let name = |key: Vec<u8>| {
                assert_eq!(key[..4], 7u32.to_be_bytes());
                String::from_utf8(key[4..].to_vec()).unwrap()
            };
            Some((changed.keys.into_iter().map(name).collect(), changed.operations, changed.changes))
        }

        fn entries(&self) -> u64 {
            self.db.begin_read().unwrap().open_table(FEED).unwrap().len().unwrap()
        }
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_reader_finds_what_changed_behind_what_it_has_seen() {
        let mut feed = Feed::new();
        feed.follower.follow();
        let long = "x".repeat(300);
        feed.note(names(&["a.b", "a.c"]));
        feed.note(names(&[]));
        feed.note(names(&["b", "a.c", &long]));
        assert_eq!(feed.behind(0, 100), Some((names(&["a.b", "a.c", "b", &long]), 3, 5)));
        assert_eq!(feed.behind(0, 1), Some((names(&["a.b", "a.c"]), 1, 2)));
        assert_eq!(feed.behind(1, 100), Some((names(&["a.c", "b", &long]), 3, 5)));
        assert_eq!(feed.behind(3, 100), Some((vec![], 3, 0)));
        assert_eq!(changes(&feed.db.begin_read().unwrap()).unwrap(), 5);
    }

    #[test]
    fn what_was_seen_goes() {
        let mut feed = Feed::new();
        feed.follower.follow();
        for n in 0..5 {
            feed.note([n.to_string()]);
        }
        feed.follower.seen(3);
        feed.note(names(&["x"]));
        assert_eq!(feed.entries(), 3);
        assert_eq!(feed.behind(3, 100), Some((names(&["3", "4", "x"]), 6, 6)));
        assert_eq!(feed.behind(2, 100), None);
    }

    #[test]
    fn nothing_is_listed_for_nobody_nor_too_much_for_anybody() {
        let mut feed = Feed::new();
        feed.note(names(&["a"]));
        assert_eq!(feed.behind(0, 100), None);
        feed.follower.follow();
        feed.note(names(&["b"]));
        assert_eq!(feed.behind(1, 100), Some((names(&["b"]), 2, 2)));
        feed.note((0..=LISTED).map(|n| n.to_string()));
        assert_eq!(feed.behind(1, 100), None);
        assert_eq!(changes(&feed.db.begin_read().unwrap()).unwrap(), 2 + LISTED + 1);
        // Names that share nothing, 100 kB an operation.
        for n in 0..200 {
            feed.note((0..100).map(|m| format!("{}{n:0>999}", char::from(b'A' + (m % 50) as u8))));
        }
        let bytes: usize = {
            let tx = feed.db.begin_read().unwrap();
            let table = tx.open_table(FEED).unwrap();
            table.iter().unwrap().map(|entry| entry.unwrap().1.value().len()).sum()
        };
        assert!(bytes < (LISTED_BYTES as usize) * 11 / 10, "{bytes}");
        feed.follower.seen(feed.operations);
        for _ in 0..10 {
            feed.note(names(&["y"]));
        }
        assert_eq!(feed.behind(feed.operations - 1, 100).unwrap().0, names(&["y"]));
    }

    #[test]
    fn long_names_that_share_much_are_handed_out_in_parts() {
        let mut feed = Feed::new();
        feed.follower.follow();
        let many = |with: char| (0..1_500).map(move |n| format!("{}{with}{n}", "x".repeat(16_000)));
        for with in ['a', 'b', 'c'] {
            feed.note(many(with));
        }
        let (names, operations, _) = feed.behind(0, usize::MAX).unwrap();
        assert_eq!((names.len(), operations), (3_000, 2));
        assert_eq!(feed.behind(2, usize::MAX).unwrap().0.len(), 1_500);
    }

    #[test]
    fn there_are_never_more_than_so_many_entries() {
        let mut feed = Feed::new();
        let tx = feed.db.begin_write().unwrap();
        for n in 0..(ENTRIES as u32 + 500) {
            note(&feed.follower, &tx, n, &[], &HashMap::new()).unwrap();
        }
        tx.commit().unwrap();
        feed.operations = ENTRIES as u32 + 500;
        assert_eq!(feed.entries(), ENTRIES + 1);
        assert_eq!(feed.behind(400, 1), None);
        assert_eq!(feed.behind(499, 1), Some((vec![], feed.operations, 0)));
    }

    #[test]
    fn a_gap_is_seen() {
        let mut feed = Feed::new();
        feed.follower.follow();
        feed.note(names(&["a"]));
        feed.operations += 1;
        feed.note(names(&["b"]));
        assert_eq!(feed.behind(0, 100), None);
        assert_eq!(feed.behind(2, 100), Some((names(&["b"]), 3, 2)));
        feed.operations += 1;
        assert_eq!(feed.behind(2, 100), None);
    }
}
