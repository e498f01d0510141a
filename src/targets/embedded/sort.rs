//! Sorting of lines by a key, with more of them than memory should hold:
//! sorted runs go to temporary files beside the catalogue.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Bytes of keys and lines to hold.
const BUDGET: usize = 64 << 20;

/// Takes keys and lines in any order and hands out the lines sorted.
pub struct LineSorter {
    folder: PathBuf,
    name: String,
    buffer: Vec<(Vec<u8>, Vec<u8>)>,
    held: usize,
    runs: Vec<(PathBuf, File)>,
}

impl Drop for LineSorter {
    fn drop(&mut self) {
        for (path, _) in &self.runs {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl LineSorter {
    /// A sorter with files `folder/name-<n>.run`.
    pub fn new(folder: &Path, name: String) -> Self {
        Self { folder: folder.into(), name, buffer: Vec::new(), held: 0, runs: Vec::new() }
    }

    /// Takes a line.
    pub fn push(&mut self, key: Vec<u8>, line: Vec<u8>) -> Result<()> {
        self.held += key.len() + line.len() + 64;
        self.buffer.push((key, line));
        if self.held > BUDGET { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        self.buffer.sort_unstable();
        let path = self.folder.join(format!("{}-{}.run", self.name, self.runs.len()));
        let at = |e| Error::io(&path, e);
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).map_err(at)?;
        let mut out = BufWriter::new(&file);
        for (key, line) in self.buffer.drain(..) {
            for part in [&key, &line] {
                out.write_all(&(part.len() as u32).to_le_bytes())
                    .and_then(|()| out.write_all(part))
                    .map_err(at)?;
            }
        }
        out.flush().map_err(at)?;
        drop(out);
        self.held = 0;
        self.runs.push((path, file));
        Ok(())
    }

    /// Hands out the lines in order of their keys.
    pub fn finish(mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.buffer.sort_unstable();
        if self.runs.is_empty() {
            return self.buffer.iter().try_for_each(|(_, line)| each(line));
        }
        if !self.buffer.is_empty() {
            self.spill()?;
        }
        let mut readers = Vec::new();
        let mut heap = BinaryHeap::new();
        for (n, (path, file)) in self.runs.iter_mut().enumerate() {
            file.rewind().map_err(|e| Error::io(path, e))?;
            let mut reader = BufReader::new(&*file);
            if let Some((key, line)) = read(&mut reader).map_err(|e| Error::io(path, e))? {
                heap.push(Reverse((key, n, line)));
            }
            readers.push((reader, &*path));
        }
        while let Some(Reverse((_, n, line))) = heap.pop() {
            each(&line)?;
            let (reader, path) = &mut readers[n];
            if let Some((key, line)) = read(reader).map_err(|e| Error::io(path, e))? {
                heap.push(Reverse((key, n, line)));
            }
        }
        Ok(())
    }
}

fn read(reader: &mut impl Read) -> std::io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut part = || -> std::io::Result<Option<Vec<u8>>> {
        let mut len = [0; 4];
        match reader.read_exact(&mut len) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e),
        }
        let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
        reader.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    };
    match part()? {
        Some(key) => Ok(part()?.map(|line| (key, line))),
        None => Ok(None),
    }
}
