//! Unpacking an uploaded batch: a tar archive of one folder, from a stream,
//! onto this machine. Takes plain files only, and never leaves its folder.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::manifest::{MANIFEST, safe_path};
use crate::error::{Error, ErrorKind, Result};

/// Most entries of an archive.
const ENTRIES: usize = 10_000;
/// Largest header that a long name may take.
const LONG: u64 = 64 << 10;

fn bad(text: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::UploadInvalid, format!("the archive: {text}"))
}

fn unread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::UploadInvalid, "the archive can't be read to its end").caused_by(error)
}

/// Unpacks an archive into `folder`, which must be empty, and returns the
/// folder that holds the manifest: `folder`, or the only one within it.
///
/// # Errors
/// [`ErrorKind::UploadInvalid`] when it is no such archive.
pub fn unpack(archive: &mut dyn Read, folder: &Path) -> Result<PathBuf> {
    let mut archive = Archive::new(archive);
    // Raw entries: what the headers of long names say is read here, bounded.
    let entries = archive.entries().map_err(unread)?.raw(true);
    let mut long_name: Option<String> = None;
    let mut manifests: Vec<PathBuf> = Vec::new();
    for (number, entry) in entries.enumerate() {
        if number == ENTRIES {
            return Err(bad(format!("it has more than {ENTRIES} entries")));
        }
        let mut entry = entry.map_err(unread)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::XHeader => {
                long_name = pax_path(&read_small(&mut entry)?)?.or(long_name);
                continue;
            }
            EntryType::GNULongName => {
                let bytes = read_small(&mut entry)?;
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                long_name = Some(text(&bytes[..end])?);
                continue;
            }
            EntryType::XGlobalHeader | EntryType::Directory => {
                long_name = None;
                continue;
            }
            EntryType::Regular | EntryType::Continuous => {}
            other => {
                return Err(bad(format!("it has an entry of type {other:?}; only plain files are taken")));
            }
        }
        let name = match long_name.take() {
            Some(name) => name,
            None => text(&entry.path_bytes())?,
        };
        let name = name.trim_start_matches("./").to_owned();
        let is_manifest = name == MANIFEST || name.ends_with("/manifest.json");
        if !is_manifest {
            safe_path(&name).map_err(|problem| bad(format!("the name {name:?} {problem}")))?;
        } else if let Some(parent) = name.strip_suffix("/manifest.json") {
            safe_path(parent).map_err(|problem| bad(format!("the name {name:?} {problem}")))?;
        }
        let path = folder.join(&name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        }
        let mut file = File::create_new(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => bad(format!("it has {name:?} twice")),
            _ => Error::io(&path, e),
        })?;
        copy(&mut entry, &mut file, &path)?;
        if is_manifest {
            manifests.push(path);
        }
    }
    manifests.sort_by_key(|path| path.components().count());
    let root = manifests.first().and_then(|path| path.parent());
    match root {
        Some(root) if root == folder || root.parent() == Some(folder) => Ok(root.to_path_buf()),
        Some(_) | None => Err(bad(format!("it has no {MANIFEST} at its top, nor in a folder at its top"))),
    }
}

/// Copies an entry; tells a failure of the archive from one of the disk.
fn copy(from: &mut impl Read, to: &mut File, path: &Path) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).map_err(unread)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).map_err(|e| Error::io(path, e))?;
    }
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| bad("a name is not UTF-8"))
}

fn read_small(entry: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(LONG + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > LONG { Err(bad("a header is too long")) } else { Ok(bytes) }
}

/// The path of a pax header: records `<length> <key>=<value>\n`.
fn pax_path(bytes: &[u8]) -> Result<Option<String>> {
    let mut path = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        let broken = || bad("a pax header is damaged");
        let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let length: usize = text(&rest[..space])?.parse().map_err(|_| broken())?;
        let record = rest.get(space + 1..length.saturating_sub(1)).ok_or_else(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
        match &record[..equals] {
            b"path" => path = Some(text(&record[equals + 1..])?),
            // Its size would have to be believed over the header's.
            b"size" => return Err(bad("a file is larger than 8 GiB")),
            name if name.starts_with(b"GNU.sparse") => return Err(bad("it has a sparse file")),
            _ => {}
        }
        rest = rest.get(length..).ok_or_else(broken)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn archive(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            // Names are written as they are: hostile ones too.
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("in");
        std::fs::create_dir(&inner).unwrap();
        let result = unpack(&mut &bytes[..], &inner);
        // Nothing beside the folder, whatever the names were.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        (folder, result)
    }

    #[test]
    fn a_batch_is_unpacked_from_the_top_or_from_one_folder() {
        let plain = EntryType::Regular;
        for prefix in ["", "./", "batch/", "./batch/"] {
            let names = [format!("{prefix}manifest.json"), format!("{prefix}entities-00000.ndjson")];
            let bytes = archive(&[(&names[0], plain, b"{}"), (&names[1], plain, b"x\n")]);
            let (_folder, root) = unpacked(&bytes);
            assert_eq!(std::fs::read(root.unwrap().join("entities-00000.ndjson")).unwrap(), b"x\n");
        }
    }

    #[test]
    fn long_names_are_read_from_the_headers_that_hold_them() {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{}/manifest.json", "n".repeat(150));
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        builder.append_data(&mut header, &name, &b"{}"[..]).unwrap();
        let root = unpack(&mut &builder.into_inner().unwrap()[..], folder.path()).unwrap();
        assert!(root.ends_with("n".repeat(150)));
        assert_eq!(pax_path(b"16 path=a/b/c.x\n13 mtime=1.5\n").unwrap().as_deref(), Some("a/b/c.x"));
    }

    #[test]
    fn whatever_is_no_plain_file_of_the_folder_is_refused() {
        let plain = EntryType::Regular;
        let manifest: (&str, EntryType, &[u8]) = ("manifest.json", plain, b"{}");
        for name in
            ["../x", "/etc/x", "a/../../x", "a\\b", "..", "a//b", "x/../manifest.json", "../manifest.json"]
        {
            let (_folder, result) = unpacked(&archive(&[manifest, (name, plain, b"x")]));
            assert_eq!(result.unwrap_err().kind(), ErrorKind::UploadInvalid, "{name}");
        }
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Fifo,
            EntryType::Block,
            EntryType::Char,
            EntryType::GNUSparse,
        ] {
            let (_folder, result) = unpacked(&archive(&[manifest, ("x", kind, b"")]));
            assert_eq!(result.unwrap_err().kind(), ErrorKind::UploadInvalid, "{kind:?}");
        }
        let twice = archive(&[manifest, manifest]);
        let deep = archive(&[("a/b/manifest.json", plain, b"{}")]);
        for bytes in [&twice, &deep, &archive(&[]), &twice[..700].to_vec(), &b"no archive".repeat(100)] {
            assert_eq!(unpacked(bytes).1.unwrap_err().kind(), ErrorKind::UploadInvalid);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn rubbish_never_panics_and_never_leaves_the_folder(
            flips in prop::collection::vec((0usize..2048, any::<u8>()), 0..40),
        ) {
            let mut bytes = archive(&[("manifest.json", EntryType::Regular, b"{}"), ("e", EntryType::Regular, b"x")]);
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            let _ = unpacked(&bytes);
        }
    }
}
