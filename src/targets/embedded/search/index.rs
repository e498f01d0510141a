//! The index's folder: opening it, making it anew, and what makes it unfit.
//!
//! Everything in it is derived from the catalogue. Files that do not belong to
//! an index are left where they are.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tantivy::indexer::IndexWriterOptions;
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyError};

use super::position::Position;
use super::schema::{Fields, register, schema};
use crate::error::{Error, ErrorKind, Result};

/// Least memory of a writer, in bytes: tantivy takes no less.
pub const MIN_MEMORY: usize = 16 << 20;
const META: &str = "meta.json";

/// An index that is open.
pub struct OpenIndex {
    index: Index,
    reader: IndexReader,
    /// Its fields.
    pub fields: Fields,
    position: Mutex<Position>,
}

/// What became of opening an index.
pub enum Opening {
    /// It is open.
    Open(Box<OpenIndex>),
    /// There is none.
    Missing,
    /// It can't be used, for this reason.
    Unfit(String),
}

impl OpenIndex {
    /// Opens the index in a folder. With `thorough`, every file is read and
    /// compared with its checksum.
    pub fn open(folder: &Path, thorough: bool) -> Opening {
        if !folder.join(META).exists() {
            return Opening::Missing;
        }
        match Self::try_open(folder, thorough) {
            Ok(Some(open)) => Opening::Open(Box::new(open)),
            Ok(None) => Opening::Unfit("another version of Tidegate wrote it".into()),
            Err(error) => Opening::Unfit(format!("it is damaged: {error}")),
        }
    }

    fn try_open(folder: &Path, thorough: bool) -> tantivy::Result<Option<Self>> {
        let index = Index::open_in_dir(folder)?;
        let (schema, fields) = schema();
        if index.schema() != schema {
            return Ok(None);
        }
        let record = index.load_metas()?.payload;
        let Some(position) = record.and_then(|record| Position::parse(&record)) else { return Ok(None) };
        if thorough && let Some(file) = index.validate_checksum()?.into_iter().next() {
            let problem = format!("{} is not as it was written", file.display());
            return Err(TantivyError::InternalError(problem));
        }
        Self::new(index, fields, position).map(Some)
    }

    /// Makes an empty index in a folder, in place of the one that is there.
    pub fn create(folder: &Path, position: Position) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        clear(folder)?;
        let (schema, fields) = schema();
        let create = || -> tantivy::Result<Self> {
            let index = Index::create_in_dir(folder, schema)?;
            register(index.tokenizers());
            // An index without a commit record would be taken for a foreign one.
            let mut writer = write(&index, MIN_MEMORY)?;
            commit(&mut writer, &position)?;
            drop(writer);
            Self::new(index, fields, position)
        };
        create().map_err(|e| failure(folder, e))
    }

    fn new(index: Index, fields: Fields, position: Position) -> tantivy::Result<Self> {
        register(index.tokenizers());
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { index, reader, fields, position: Mutex::new(position) })
    }

    /// The last commit, to search in.
    pub fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// Whether there is an attribute of this folded name.
    pub fn knows(&self, searcher: &Searcher, member: &str) -> tantivy::Result<bool> {
        for segment in searcher.segment_readers() {
            let index = segment.inverted_index(self.fields.members)?;
            let range = index.terms().range().ge([member, "\0"].concat()).lt([member, "\u{1}"].concat());
            if range.into_stream()?.advance() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the last commit stands.
    pub fn position(&self) -> Position {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves the position without a commit: what lies between concerns no
    /// document.
    pub fn move_to(&self, position: Position) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }

    /// A writer with so many bytes of memory. There can be one at a time.
    pub fn writer(&self, memory: usize) -> tantivy::Result<IndexWriter> {
        write(&self.index, memory.max(MIN_MEMORY))
    }

    /// Makes what was written durable, together with its position, and lets
    /// searches see it.
    pub fn commit(&self, writer: &mut IndexWriter, position: Position) -> tantivy::Result<()> {
        commit(writer, &position)?;
        self.reader.reload()?;
        self.move_to(position);
        Ok(())
    }
}

fn write(index: &Index, memory: usize) -> tantivy::Result<IndexWriter> {
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(memory)
        .build();
    index.writer_with_options(options)
}

fn commit(writer: &mut IndexWriter, position: &Position) -> tantivy::Result<()> {
    let mut prepared = writer.prepare_commit()?;
    prepared.set_payload(&position.record());
    prepared.commit().map(|_| ())
}

/// Removes the files of an index.
fn clear(folder: &Path) -> Result<()> {
    let mut doomed: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if is_ours(&name) && path.is_file() {
            doomed.push(path);
        }
    }
    // Without the list of its segments no half of the old index can be opened.
    doomed.sort_by_key(|path| !path.ends_with(META));
    for path in doomed {
        std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
    }
    Ok(())
}

/// Whether a file of this name belongs to an index: its lists, one of a
/// segment, which is named by 32 hex digits, or what a write that was cut off
/// left.
fn is_ours(name: &str) -> bool {
    let is_segment = name.get(..32).is_some_and(|id| id.bytes().all(|b| b.is_ascii_hexdigit()));
    [META, ".managed.json", ".tantivy-meta.lock", ".tantivy-writer.lock"].contains(&name)
        || (is_segment && name[32..].starts_with('.'))
        || (name.starts_with(".tmp") && name.len() == 10)
}

/// A failure of the index.
pub fn failure(folder: &Path, error: TantivyError) -> Error {
    let full = match &error {
        TantivyError::IoError(e) => e.kind() == std::io::ErrorKind::StorageFull,
        _ => false,
    };
    let kind = if full { ErrorKind::DiskFull } else { ErrorKind::CatalogueFailed };
    Error::new(kind, format!("the search index {}", folder.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_an_index_are_cleared() {
        for name in [META, ".managed.json", "0123456789abcdef0123456789abcdef.idx"] {
            assert!(is_ours(name), "{name}");
        }
        for name in ["notes.txt", "0123456789abcdef.idx", "meta.json.bak", "0123456789abcdef0123456789abcdef"]
        {
            assert!(!is_ours(name), "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        std::fs::write(folder.path().join(META), "{").unwrap();
        assert!(matches!(OpenIndex::open(folder.path(), true), Opening::Unfit(_)));
        OpenIndex::create(folder.path(), Position::start("x")).unwrap();
        assert!(folder.path().join("notes.txt").exists());
        let Opening::Open(open) = OpenIndex::open(folder.path(), true) else { panic!("it is made") };
        assert_eq!(open.position(), Position::start("x"));
    }
}
