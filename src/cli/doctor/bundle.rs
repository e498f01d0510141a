//! The archive: what doctor found, settings, versions, how things stand, and
//! recent batches. Every text goes through [`Scrub`]; bodies of entities are
//! never asked for.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::Examined;
use super::scrub::Scrub;
use crate::cli::backend::Backend;
use crate::cli::common::clock;
use crate::domain::ids::compact_time;
use crate::error::{Error, Result};
use crate::service::query::{BatchQuery, Part};
use crate::service::views::BatchView;

/// Recent batches that are taken in.
const BATCHES: usize = 50;
/// Bytes of a log that are taken in.
const LOG: u64 = 4 << 20;

struct Archive {
    out: tar::Builder<GzEncoder<File>>,
    path: PathBuf,
    root: String,
    time: u64,
    scrub: Scrub,
}

impl Archive {
    fn add(&mut self, name: &str, text: &str) -> Result<()> {
        let text = self.scrub.clean(text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        header.set_cksum();
        let name = format!("{}/{name}", self.root);
        self.out.append_data(&mut header, name, text.as_bytes()).map_err(|e| Error::io(&self.path, e))
    }

    /// What could not be had is said in its place.
    fn json<T: Serialize>(&mut self, name: &str, value: Result<T>) -> Result<()> {
        let text = match value {
            Ok(value) => {
                serde_json::to_string_pretty(&value).map_err(|e| Error::internal("JSON").caused_by(e))?
            }
            Err(error) => serde_json::json!({ "error": error.to_string() }).to_string(),
        };
        self.add(name, &text)
    }
}

/// Writes the archive and returns where it is.
///
/// # Errors
/// Those of the file. What can't be found out is said in the archive.
pub fn write(examined: &Examined, to: Option<&Path>, log: Option<&Path>) -> Result<PathBuf> {
    let now = clock().now();
    let root = format!("tidegate-diagnosis-{}", compact_time(now));
    let path = to.map_or_else(|| PathBuf::from(format!("{root}.tar.gz")), Path::to_owned);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let file = file.map_err(|e| Error::io(&path, e))?;
    let environment: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let mut archive = Archive {
        out: tar::Builder::new(GzEncoder::new(file, Compression::default())),
        path: path.clone(),
        root,
        time: u64::try_from(now.as_second()).unwrap_or_default(),
        scrub: Scrub::new(examined.settings.as_ref(), environment.clone()),
    };
    archive.json("doctor.json", Ok(&examined.view))?;
    let settings = match &examined.settings {
        Some(settings) => settings.to_toml(),
        None => "# The settings can't be read, see doctor.json.\n".to_owned(),
    };
    archive.add("settings.toml", &settings)?;
    let mut names: Vec<&str> = environment
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| {
            ["TIDEGATE_", "AWS_", "TZ", "HTTP", "NO_PROXY"].iter().any(|start| name.starts_with(start))
        })
        .collect();
    names.sort_unstable();
    archive.json("environment.json", Ok(&names))?;
    match &examined.backend {
        Some(backend) => service(&mut archive, backend)?,
        None => {
            archive.add("README.txt", "The data directory could not be opened; doctor.json says why.\n")?
        }
    }
    if let Some(log) = log {
        let text = newest_part(log)?;
        archive.add("log.txt", &text)?;
    }
    let encoder = archive.out.into_inner().map_err(|e| Error::io(&path, e))?;
    encoder.finish().and_then(|file| file.sync_all()).map_err(|e| Error::io(&path, e))?;
    Ok(path)
}

/// How things stand, from whoever holds the data directory.
fn service(archive: &mut Archive, backend: &Backend) -> Result<()> {
    archive.json("sources.json", backend.sources(&Part::first(500)))?;
    archive.json("targets.json", backend.targets(None))?;
    archive.json("inbox.json", backend.inbox(&Part::first(500)))?;
    let query = BatchQuery { part: Part::first(BATCHES), ..BatchQuery::default() };
    let batches = backend.batches(&query);
    let items: &[BatchView] = batches.as_ref().map_or(&[], |page| page.items.as_slice());
    for batch in items {
        let id = &batch.publish_state.batch_id;
        let Ok(parsed) = id.parse() else { continue };
        let name: String = id
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .collect();
        archive.json(&format!("timelines/{name}.json"), backend.timeline(&parsed))?;
    }
    archive.json("batches.json", batches)?;
    if let Some(tables) = backend.tables() {
        archive.json("store.json", tables)?;
    }
    Ok(())
}

fn newest_part(log: &Path) -> Result<String> {
    let failed = |e| Error::io(log, e);
    let mut file = File::open(log).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LOG))).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LOG).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
