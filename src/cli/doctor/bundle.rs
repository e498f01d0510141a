//! The archive: what doctor found, settings, versions, how things stand, and
//! recent batches. Everything goes through [`Scrub`]; bodies of entities are
//! never asked for.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::Examined;
use super::known::Known;
use super::scrub::Scrub;
use crate::cli::backend::Backend;
use crate::cli::common::clock;
use crate::config::LoadOptions;
use crate::domain::ids::compact_time;
use crate::error::{Error, IT_SAID, Result};
use crate::service::query::{BatchQuery, Part};
use crate::service::views::BatchView;
use crate::web::presence::Announcement;

/// Recent batches that are taken in.
const BATCHES: usize = 50;
/// Bytes of a log that are taken in.
const LOG: u64 = 4 << 20;

/// Most archives of one second.
const SAME: u32 = 100;

struct Archive {
    out: tar::Builder<GzEncoder<File>>,
    path: PathBuf,
    root: String,
    time: u64,
    scrub: Scrub,
}

impl Archive {
    fn text(&mut self, name: &str, text: &str) -> Result<()> {
        let text = self.scrub.text(text);
        self.add(name, &text)
    }

    /// Adds what was scrubbed.
    fn add(&mut self, name: &str, text: &str) -> Result<()> {
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
        let failed = |e| Error::internal("JSON").caused_by(e);
        let mut value = match value {
            Ok(value) => serde_json::to_value(&value).map_err(failed)?,
            Err(error) => serde_json::json!({ "error": error.to_string() }),
        };
        self.scrub.json(&mut value);
        self.add(name, &serde_json::to_string_pretty(&value).map_err(failed)?)
    }
}

/// A file that nobody else may read, and that is not written over. Without a
/// name given there may be several of one second.
fn create(root: &str, to: Option<&Path>) -> Result<(PathBuf, File)> {
    let mut n = 1;
    loop {
        let path = match (to, n) {
            (Some(to), _) => to.to_owned(),
            (None, 1) => PathBuf::from(format!("{root}.tar.gz")),
            (None, n) => PathBuf::from(format!("{root}-{n}.tar.gz")),
        };
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && to.is_none() && n < SAME => n += 1,
            Err(e) => return Err(Error::io(&path, e)),
        }
    }
}

/// Writes the archive and returns where it is.
///
/// # Errors
/// Those of the file. What can't be found out is said in the archive.
pub fn write(
    options: &LoadOptions,
    examined: &Examined,
    to: Option<&Path>,
    log: Option<&Path>,
) -> Result<PathBuf> {
    let now = clock().now();
    let root = format!("tidegate-diagnosis-{}", compact_time(now));
    let (path, file) = create(&root, to)?;
    let environment: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let mut archive = Archive {
        out: tar::Builder::new(GzEncoder::new(file, Compression::default())),
        path: path.clone(),
        root,
        time: u64::try_from(now.as_second()).unwrap_or_default(),
        scrub: Scrub::new(known(options, &environment)),
    };
    archive.json("doctor.json", Ok(&examined.view))?;
    let settings = match &examined.settings {
        Some(settings) => settings.to_toml(),
        None => "# The settings can't be read, see doctor.json.\n".to_owned(),
    };
    archive.text("settings.toml", &settings)?;
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
            archive.text("README.txt", "The data directory could not be opened; doctor.json says why.\n")?
        }
    }
    if let Some(log) = log {
        let text = archive.scrub.log(&newest_part(log)?);
        archive.add("log.txt", &text)?;
    }
    let encoder = archive.out.into_inner().map_err(|e| Error::io(&path, e))?;
    encoder.finish().and_then(|file| file.sync_all()).map_err(|e| Error::io(&path, e))?;
    Ok(path)
}

/// What the settings, the environment and that of the server are known to hold.
fn known(options: &LoadOptions, environment: &[(String, String)]) -> Known {
    let file = options.settings_file();
    let read = file.as_ref().and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
    let base = file.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    let mut all = environment.to_vec();
    // A server may have been given what this shell has not.
    if let Some(server) = Announcement::read(&options.data()) {
        all.extend(environment_of(server.pid));
    }
    Known::of(&String::from_utf8_lossy(&read), base, &all)
}

/// The environment of a process of the same user, where the system tells it.
fn environment_of(pid: u32) -> Vec<(String, String)> {
    let read = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let text = String::from_utf8_lossy(&read);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// How things stand, from whoever holds the data directory.
fn service(archive: &mut Archive, backend: &Backend) -> Result<()> {
    archive.json("sources.json", backend.sources(&Part::first(500)))?;
    archive.json("targets.json", backend.targets(&Part::first(500)))?;
    archive.json("inbox.json", backend.inbox(&Part::first(500)))?;
    let query = BatchQuery { part: Part::first(BATCHES), ..BatchQuery::default() };
    let mut batches = backend.batches(&query);
    for batch in batches.iter_mut().flat_map(|page| page.items.iter_mut()) {
        forget_words(batch);
    }
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

/// What a target said of a failure may name attribute values.
fn forget_words(batch: &mut BatchView) {
    let failure = batch.publish_state.failure_details.as_mut();
    if let Some(trace) = failure.and_then(|failure| failure.stack_trace.as_mut()) {
        let kept: Vec<&str> = trace.lines().filter(|line| !line.starts_with(IT_SAID)).collect();
        *trace = kept.join("\n");
    }
}

fn newest_part(log: &Path) -> Result<String> {
    let failed = |e| Error::io(log, e);
    let mut file = File::open(log).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LOG))).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LOG).read_to_end(&mut bytes).map_err(failed)?;
    // Half a line may hold half a secret, which nothing would know any more.
    let whole = match bytes.iter().position(|byte| *byte == b'\n') {
        _ if size <= LOG => 0,
        Some(end) => end + 1,
        None => bytes.len(),
    };
    Ok(String::from_utf8_lossy(&bytes[whole..]).into_owned())
}
