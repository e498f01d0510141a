//! Files that are there as a whole or not at all: one that is made in its
//! place, and whose maker is killed, could be opened by nobody again.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result};

/// Whether a file is there, and something was ever put into it.
///
/// # Errors
/// When it is there and can't be looked at.
pub fn is_made(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(meta.len() > 0),
        Ok(_) => Err(Error::io(path, std::io::Error::other("this is no file"))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            // In the place of a link nothing is made: what it leads to is away.
            match std::fs::symlink_metadata(path) {
                Ok(_) => Err(Error::io(path, std::io::Error::other("the link leads to nothing"))),
                Err(_) => Ok(false),
            }
        }
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
    fn a_file_is_made_once_and_again_if_it_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(!is_made(&path).unwrap());
        assert!(make(&path, |_| Err(Error::internal("no"))).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        make(&path, |new| write(new, b"redb and more")).unwrap();
        make(&path, |_| panic!("it is there")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"redb and more");
        write(&path, b"").unwrap();
        assert!(!is_made(&path).unwrap());
        make(&path, |new| write(new, b"whole again")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole again");
        // What is no file of ours, or is damaged, stays, and is told of.
        write(&path, &[0; 72 << 10]).unwrap();
        make(&path, |_| panic!("something was stored in it")).unwrap();
        write(&path, b"text").unwrap();
        make(&path, |_| panic!("it is somebody's")).unwrap();
        // A disk that is not mounted is no place for another one.
        std::fs::remove_file(&path).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("away/file"), &path).unwrap();
            assert!(make(&path, |_| panic!("it lies elsewhere")).is_err());
        }
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        assert!(is_made(&folder.path().join("folder")).is_err());
    }
}
