//! Lines that can't be published, kept with their bytes and reason: they
//! become dead letters when the plan is committed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::plan_writer::SectionWriter;
use crate::domain::key::{Key, KeyHash, Kind};
use crate::error::{Error, ErrorKind, Result};

/// A line that can't be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// A code of `error.rs`.
    pub code: String,
    /// What the line is, by its file.
    pub kind: Kind,
    /// Its key, if it could be read.
    pub key: Option<Key>,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The field that is wrong; empty: the line as a whole.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
    /// The line's bytes; of a line over the limit its beginning; of a key of
    /// which the batch says different things the first line for each of them.
    #[serde(with = "text_or_bytes")]
    pub content: Vec<u8>,
    /// Whether something of that was left out.
    pub cut: bool,
}

impl Reject {
    /// Where it is and what is wrong with it, in one line.
    pub fn place_and_problem(&self) -> String {
        let field = if self.field.is_empty() { String::new() } else { format!(", {}", self.field) };
        format!("{} line {}{field}: {}", self.file, self.line, self.problem)
    }
}

/// Bytes in JSON: as text where they are text, which takes a third of the
/// room, else as numbers.
mod text_or_bytes {
    use std::fmt;

    use serde::de::{SeqAccess, Visitor};
    use serde::{Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Vec<u8>, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => bytes.serialize(serializer),
        }
    }

    /// Reads either as it comes: an enum of both would hold each number as a
    /// value of its own first.
    struct Either;

    impl<'de> Visitor<'de> for Either {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or an array of bytes")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<u8>, E> {
            Ok(text.as_bytes().to_vec())
        }

        fn visit_string<E>(self, text: String) -> Result<Vec<u8>, E> {
            Ok(text.into_bytes())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = numbers.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// Bytes that the keys of bad lines may take, with what holding one costs: past
/// that the batch fails, whatever its isolation limit allows, for they are held
/// until the batch has been read, and are in the plan and in the snapshot as a
/// whole. Some three million of usual length. Lines without a key take nothing.
const MOST: usize = 512 << 20;
/// Bytes that holding a key costs beside its texts: its entry, and the headers
/// of its allocations.
const COST: usize = 96;

/// Takes rejects from several threads.
pub struct Rejects {
    inner: Mutex<Inner>,
    most: usize,
}

struct Inner {
    section: SectionWriter,
    keys: HashMap<KeyHash, Key>,
    key_bytes: usize,
    first: Option<String>,
}

impl Inner {
    /// # Errors
    /// [`ErrorKind::TooManyBadLines`] when there are more than are held.
    fn keep(&mut self, key: &Key, most: usize) -> Result<()> {
        if self.keys.insert(key.hash(), key.clone()).is_none() {
            self.key_bytes += key.text_bytes() + COST;
        }
        if self.key_bytes <= most {
            return Ok(());
        }
        let text = format!("the keys of {} bad lines take more memory than there is", self.keys.len());
        Err(Error::new(ErrorKind::TooManyBadLines, text))
    }
}

impl Rejects {
    /// Writes into `section`.
    pub fn new(section: SectionWriter) -> Self {
        let inner = Inner { section, keys: HashMap::new(), key_bytes: 0, first: None };
        Self { inner: Mutex::new(inner), most: MOST }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one.
    ///
    /// # Errors
    /// [`ErrorKind::TooManyBadLines`] when their keys are more than are held.
    pub fn push(&self, reject: &Reject) -> Result<()> {
        let bytes = serde_json::to_vec(reject).map_err(|e| Error::internal("a reject").caused_by(e))?;
        let mut inner = self.inner();
        if let Some(key) = &reject.key {
            let place = || format!("up to {} line {}", reject.file, reject.line);
            inner.keep(key, self.most).map_err(|e| e.context(place()))?;
        }
        inner.first.get_or_insert_with(|| reject.place_and_problem());
        inner.section.push(|out| out.extend_from_slice(&bytes))
    }

    /// Keeps the key of a bad line that is no reject.
    ///
    /// # Errors
    /// As [`Rejects::push`].
    pub fn remember(&self, key: &Key) -> Result<()> {
        self.inner().keep(key, self.most)
    }

    /// The key of a bad line, by its hash.
    pub fn key_of(&self, hash: KeyHash) -> Result<Option<Key>> {
        Ok(self.inner().keys.get(&hash).cloned())
    }

    /// Where the first one was and what is wrong with it.
    pub fn first(&self) -> Option<String> {
        self.inner().first.clone()
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.inner().section.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The section with all of them.
    pub fn into_section(self) -> SectionWriter {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).section
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::EntityKey;

    #[test]
    fn only_keys_take_room_and_what_takes_too_much_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let section = SectionWriter::new(folder.path(), "rejects").unwrap();
        let rejects = Rejects { most: 3 * (COST + 4), ..Rejects::new(section) };
        let key = |n: u32| Key::Entity(EntityKey::new("t", format!("n{n:02}")));
        let reject = |key: Option<Key>| Reject {
            code: "LINE_INVALID".into(),
            kind: Kind::Entity,
            key,
            file: "entities-00000.ndjson".into(),
            line: 7,
            field: String::new(),
            problem: "is not a JSON object".into(),
            content: b"[]".to_vec(),
            cut: false,
        };
        for _ in 0..1000 {
            rejects.push(&reject(None)).unwrap();
            rejects.push(&reject(Some(key(1)))).unwrap();
        }
        rejects.remember(&key(2)).unwrap();
        rejects.push(&reject(Some(key(3)))).unwrap();
        assert_eq!(rejects.len(), 2001);
        assert_eq!(rejects.remember(&key(4)).unwrap_err().kind(), ErrorKind::TooManyBadLines);
        let error = rejects.push(&reject(Some(key(5)))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooManyBadLines);
        assert!(error.to_string().contains("entities-00000.ndjson line 7"), "{error}");
    }
}
