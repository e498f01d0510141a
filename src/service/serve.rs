//! The loop of `serve`: look into the inboxes, queue what is complete, publish
//! it in order; stop between operations when asked to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::engine::Engine;
use crate::config::{Complete, InboxSettings};
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishStatus;
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::folder;
use crate::intake::monitor::{self, InboxFolder};
use crate::store::{InboxEntry, InboxState};

/// How often a request to stop is looked for while nothing is to do.
const TICK: Duration = Duration::from_millis(50);

/// Runs until SIGTERM or Ctrl-C. Ends within the time of one operation.
pub fn serve(engine: Engine) -> Result<()> {
    let stop = engine.stop_flag();
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|e| Error::internal("a signal handler could not be set").caused_by(e))?;
    }
    for inbox in &engine.settings().inboxes {
        if let Ok(path) = inbox.url.to_file_path() {
            std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        }
        tracing::info!(inbox = %inbox.url, "watching");
    }
    let result = run(&engine, &stop);
    tracing::info!("stopped");
    result
}

fn run(engine: &Engine, stop: &AtomicBool) -> Result<()> {
    let mut due: Vec<Duration> = vec![Duration::ZERO; engine.settings.inboxes.len()];
    while !stop.load(Ordering::Relaxed) {
        let now = engine.clock.monotonic();
        for (inbox, due) in engine.settings.inboxes.iter().zip(&mut due) {
            if now >= *due {
                if let Err(error) = engine.scan_inbox(inbox) {
                    tracing::warn!(inbox = %inbox.url, %error, "the inbox can't be looked into");
                }
                *due = now + inbox.poll;
            }
        }
        match engine.step() {
            Ok(Some(_)) => continue,
            Ok(None) => {}
            // The store answers nothing any more, and neither do we.
            Err(error) if engine.store.failed() || error.kind() == ErrorKind::StoreFailed => {
                return Err(error);
            }
            Err(error) if error.kind() == ErrorKind::TargetMoved => {
                tracing::error!(%error, "the source is held");
            }
            Err(error) => return Err(error),
        }
        engine.clock.sleep(TICK);
    }
    Ok(())
}

impl Engine {
    /// Looks into an inbox once: accepts what is complete, and reports folders
    /// that were changed after they became batches. Returns how many batches
    /// are new.
    pub fn scan_inbox(&self, inbox: &InboxSettings) -> Result<usize> {
        let url = inbox.url.as_str();
        let known: std::collections::HashMap<String, InboxEntry> =
            self.store.read(|view| view.inbox_entries(url))?.into_iter().collect();
        let mut accepted = 0;
        let folders = monitor::scan(inbox, self.clock.now(), |path| known.contains_key(path))?;
        let mut complete: Vec<InboxFolder> =
            folders.into_iter().filter(|folder| folder.waits.is_none()).collect();
        complete.sort_by(|a, b| a.names.as_ref().map(|n| &n.1).cmp(&b.names.as_ref().map(|n| &n.1)));
        for folder in complete {
            accepted += usize::from(self.accept_folder(inbox, &folder)?);
        }
        Ok(accepted)
    }

    fn accept_folder(&self, inbox: &InboxSettings, found: &InboxFolder) -> Result<bool> {
        let Some((source, name)) = &found.names else { return Ok(false) };
        let settings = self.settings.source(source);
        let opened = match &inbox.complete {
            Complete::Manifest => folder::open_in_inbox(&found.local, source, name),
            Complete::Marker(_) | Complete::Quiet(_) => {
                if found.local.join(crate::intake::manifest::MANIFEST).exists() {
                    folder::open_in_inbox(&found.local, source, name)
                } else {
                    folder::open_without_manifest(&found.local, source, name, &settings, found.newest)
                }
            }
        };
        let id = BatchId::new(source.clone(), name.clone());
        let state = match opened.and_then(|batch| self.accept_batch(&batch)) {
            Ok(id) => {
                tracing::info!(batch = %id, %source, "accepted");
                InboxState::Accepted { batch_id: id }
            }
            Err(error) if error.kind() == ErrorKind::IdReused => {
                tracing::warn!(batch = %id, %source, %error, "refused");
                InboxState::Ignored { reason: error.to_string() }
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::Io | ErrorKind::DiskFull | ErrorKind::StoreFailed) =>
            {
                return Err(error);
            }
            Err(error) => {
                tracing::warn!(batch = %id, %source, %error, "the batch can't be accepted");
                self.accept_broken(&id, found, &error)?;
                InboxState::Accepted { batch_id: id }
            }
        };
        let fresh = matches!(state, InboxState::Accepted { .. });
        let entry = InboxEntry { signature: found.signature.clone(), state, at: self.clock.now() };
        let (url, path) = (inbox.url.to_string(), found.path.clone());
        self.store.write(move |tx| tx.put_inbox_entry(&url, &path, &entry))?;
        Ok(fresh)
    }

    /// A batch whose manifest can't be used is FAILED, with what its folder's
    /// name says of it (contract: the publish state).
    fn accept_broken(&self, id: &BatchId, found: &InboxFolder, error: &Error) -> Result<()> {
        let url = url::Url::from_directory_path(&found.local)
            .map_or_else(|()| found.local.display().to_string(), String::from);
        let time = id.folder().time();
        let batch = crate::intake::batch::Batch {
            id: id.clone(),
            stamp: crate::domain::stamp::Stamp {
                source_timestamp: time,
                processing_timestamp: time,
                batch_id: id.clone(),
            },
            url,
            folder: found.local.clone(),
            workflow: String::new(),
            mode: crate::domain::settings::Mode::Full,
            scope: crate::domain::scope::Scope::default(),
            complexity: None,
            files: Vec::new(),
            manifest_hash: found.signature.clone(),
        };
        let mut record = self.record(&batch)?;
        record.mode = None;
        let details = super::publish::failure(error, Some("intake".into()), 0);
        let cause = error.to_string();
        let id = id.clone();
        self.store.write(move |tx| {
            if tx.batch(&id)?.is_some_and(|known| known.status != PublishStatus::Pending) {
                return Ok(());
            }
            tx.put_batch(&record)?;
            let now = tx.now();
            tx.transition_batch(&id, Event::Failed, &cause, "tidegate", |record| {
                record.publish_end = Some(now);
                record.failure = Some(details);
            })?;
            Ok(())
        })
    }
}
