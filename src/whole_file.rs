//! Files that are there as a whole or not at all: one that is made in its
//! place, and whose maker is killed, could be opened by nobody again.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes that tell what a file is. redb writes them last of all when it makes a
/// file, so that one that begins with zeros was never finished.
const MAGIC: usize = 9;
/// Bytes that a file may have which was never finished: redb makes it a few
/// megabytes large at most. In a larger one something was stored.
const UNFINISHED: u64 = 16 << 20;

/// Whether a file is there and was finished.
///
/// # Errors
/// When it is there and can't be read.
pub fn is_made(path: &Path) -> Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io(path, e)),
    };
    let mut first = [0; MAGIC];
    match file.read_exact(&mut first) {
        Ok(()) if first == [0; MAGIC] => {
            let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
            Ok(size > UNFINISHED)
        }
        Ok(()) => Ok(true),
        // Too short to be any.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(first.iter().any(|byte| *byte != 0)),
        Err(e) => Err(Error::io(path, e)),
    }
}

/// Has `make` make a file beside its place and puts it there, unless it is there
/// already. Of several that do so at once one makes it.
///
/// # Errors
/// Those of `make` and of the disk.
pub fn make(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if is_made(path)? {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    let lock = File::open(folder).map_err(|e| Error::io(folder, e))?;
    // Where folders can't be locked, nobody else is likely to be at work.
    let _held = lock.lock();
    if is_made(path)? {
        return Ok(());
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&new, e)),
        Ok(()) | Err(_) => {}
    }
    let made = make(&new).and_then(|()| {
        File::open(&new).and_then(|file| file.sync_all()).map_err(|e| Error::io(&new, e))?;
        std::fs::rename(&new, path).map_err(|e| Error::io(path, e))?;
        lock.sync_all().map_err(|e| Error::io(folder, e))
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, bytes: &[u8]) -> Result<()> {
        std::fs::write(path, bytes).map_err(|e| Error::io(path, e))
    }

    #[test]
    fn a_file_is_made_once_and_again_if_it_was_never_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(!is_made(&path).unwrap());
        assert!(make(&path, |_| Err(Error::internal("no"))).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        make(&path, |new| write(new, b"redb and more")).unwrap();
        make(&path, |_| panic!("it is there")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"redb and more");
        for unfinished in [&[0u8; 72 << 10][..], b""] {
            write(&path, unfinished).unwrap();
            assert!(!is_made(&path).unwrap());
            make(&path, |new| write(new, b"whole again")).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"whole again");
        }
        // What is no file of ours, or was one that is damaged, stays, and is told of.
        File::create(&path).and_then(|file| file.set_len(UNFINISHED + 1)).unwrap();
        make(&path, |_| panic!("something was stored in it")).unwrap();
        write(&path, b"text").unwrap();
        make(&path, |_| panic!("it is somebody's")).unwrap();
    }
}
