//! Lines that can't be published, kept with their bytes and reason: they
//! become dead letters when the plan is committed.

use std::collections::HashMap;
use std::sync::Mutex;

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
    /// which the batch says different things a line for each of them.
    #[serde(with = "text_or_bytes")]
    pub content: Vec<u8>,
    /// Whether something of that was left out.
    pub cut: bool,
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

/// Bad lines of a batch that are kept at most, and bytes of their keys: past
/// that the batch fails, whatever its isolation limit allows, for all that is
/// known of each is held until the batch has been read.
const MOST: u64 = 1_000_000;
const MOST_KEYS: usize = 256 << 20;

/// Takes rejects from several threads.
pub struct Rejects(Mutex<Inner>);

struct Inner {
    section: SectionWriter,
    keys: HashMap<KeyHash, Key>,
    key_bytes: usize,
    first: Option<String>,
}

impl Inner {
    fn keep(&mut self, key: &Key) {
        if self.keys.insert(key.hash(), key.clone()).is_none() {
            self.key_bytes += key.text_bytes();
        }
    }
}

impl Rejects {
    /// Writes into `section`.
    pub fn new(section: SectionWriter) -> Self {
        Self(Mutex::new(Inner { section, keys: HashMap::new(), key_bytes: 0, first: None }))
    }

    /// Keeps one.
    ///
    /// # Errors
    /// [`ErrorKind::TooManyBadLines`] when there are more than are kept.
    pub fn push(&self, reject: &Reject) -> Result<()> {
        let bytes = serde_json::to_vec(reject).map_err(|e| Error::internal("a reject").caused_by(e))?;
        let mut inner = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(key) = &reject.key {
            inner.keep(key);
        }
        if inner.section.len() >= MOST || inner.key_bytes > MOST_KEYS {
            let text = format!(
                "after {} bad lines, up to {} line {}: more than are kept",
                inner.section.len(),
                reject.file,
                reject.line
            );
            return Err(Error::new(ErrorKind::TooManyBadLines, text));
        }
        if inner.first.is_none() {
            let field = if reject.field.is_empty() { String::new() } else { format!(", {}", reject.field) };
            inner.first = Some(format!("{} line {}{field}: {}", reject.file, reject.line, reject.problem));
        }
        inner.section.push(|out| out.extend_from_slice(&bytes))
    }

    /// Keeps the key of a bad line that is no reject.
    pub fn remember(&self, key: &Key) {
        let mut inner = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.keep(key);
    }

    /// The key of a bad line, by its hash.
    pub fn key_of(&self, hash: KeyHash) -> Result<Option<Key>> {
        Ok(self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).keys.get(&hash).cloned())
    }

    /// Where the first one was and what is wrong with it.
    pub fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).first.clone()
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).section.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The section with all of them.
    pub fn into_section(self) -> SectionWriter {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).section
    }
}
