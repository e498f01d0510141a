//! How much memory the pages of a redb file may hold.
//!
//! redb keeps every page that it met until the cache is full, also those that
//! nobody asks for again, so that a process grows with its files. What a small
//! cache does not have, the system's own cache does.

use std::path::Path;

/// What a file gets at least, in bytes.
const LEAST: usize = 4 << 20;

/// What part of a file is worth being kept.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// A quarter: of a file whose pages are read again and again.
    Quarter,
    /// A 64th, which holds the inner pages of its tables: of a file that is
    /// read all over, for a page that is kept is seldom asked for again, and
    /// new memory for every page costs more than reading some twice.
    Inner,
}

/// Bytes for the pages of a file that is about to be opened: a part of its
/// size, and no more than `most`.
pub fn bytes_for(file: &Path, part: Part, most: usize) -> usize {
    let size = std::fs::metadata(file).map_or(0, |meta| meta.len());
    let part = match part {
        Part::Quarter => size / 4,
        Part::Inner => size / 64,
    };
    usize::try_from(part).unwrap_or(usize::MAX).max(LEAST).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_gets_what_is_set_and_a_small_one_little() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(bytes_for(&path, Part::Quarter, 144 << 20), 4 << 20, "it is not there yet");
        for (size, bytes) in
            [(1 << 20, 4 << 20), (16 << 20, 4 << 20), (100 << 20, 25 << 20), (1 << 30, 144 << 20)]
        {
            std::fs::File::create(&path).unwrap().set_len(size).unwrap();
            assert_eq!(bytes_for(&path, Part::Quarter, 144 << 20), bytes, "{size}");
        }
        assert_eq!(bytes_for(&path, Part::Inner, 144 << 20), 16 << 20);
        assert_eq!(bytes_for(&path, Part::Quarter, 1 << 20), 1 << 20);
    }
}
