//! A file as the catalogue needs it: of its format, with every table, and with
//! an identity of its own.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::file::failure;
use super::tables;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

const FORMAT_VERSION: u32 = 1;

/// The identity of a file that needs no preparing: of the present format and
/// with every table.
fn ready(db: &Database) -> std::result::Result<Option<String>, redb::Error> {
    use redb::TableHandle;
    let tx = db.begin_read()?;
    let names: Vec<String> = tx.list_tables()?.map(|table| table.name().to_owned()).collect();
    if !tables::names().iter().all(|table| names.iter().any(|name| name == table)) {
        return Ok(None);
    }
    let meta = tx.open_table(tables::META)?;
    let found = |name: &str| -> std::result::Result<Option<String>, redb::Error> {
        Ok(meta.get(name.as_bytes())?.map(|value| String::from_utf8_lossy(value.value()).into_owned()))
    };
    if found("format")? != Some(FORMAT_VERSION.to_string()) {
        return Ok(None);
    }
    found("identity")
}

/// Prepares a file, if it is not, and returns its identity.
///
/// # Errors
/// [`ErrorKind::StoreNewer`] when a newer version wrote it; and of the file.
pub(super) fn prepare(db: &Database, path: &Path, clock: &dyn Clock) -> Result<String> {
    let fail = |e: redb::Error| failure(path, e);
    // A commit that changes nothing would still cost its syncs.
    if let Some(identity) = ready(db).map_err(fail)? {
        return Ok(identity);
    }
    let mut tx = db.begin_write().map_err(|e| fail(e.into()))?;
    // Else a file whose process is killed before the first operation would be
    // read as a whole at the next start.
    tx.set_quick_repair(true);
    let identity = {
        let mut meta = tx.open_table(tables::META).map_err(|e| fail(e.into()))?;
        let found = |name: &str| -> Result<Option<String>> {
            let value = meta.get(name.as_bytes()).map_err(|e| fail(e.into()))?;
            Ok(value.map(|value| String::from_utf8_lossy(value.value()).into_owned()))
        };
        match found("format")? {
            Some(version) => {
                if version.parse::<u32>().is_ok_and(|version| version <= FORMAT_VERSION) {
                    found("identity")?.unwrap_or_default()
                } else {
                    let text = format!(
                        "{} has format {version}, this program knows up to {FORMAT_VERSION}",
                        path.display()
                    );
                    return Err(Error::new(ErrorKind::StoreNewer, text));
                }
            }
            None => {
                let identity = format!("embedded:{:016x}{:016x}", clock.random(), clock.random());
                let version = FORMAT_VERSION.to_string();
                for (name, value) in [("format", &version), ("identity", &identity)] {
                    meta.insert(name.as_bytes(), value.as_bytes()).map_err(|e| fail(e.into()))?;
                }
                identity
            }
        }
    };
    tables::create_all(&tx).map_err(fail)?;
    tx.commit().map_err(|e| fail(e.into()))?;
    Ok(identity)
}
