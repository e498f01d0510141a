//! The loop of `serve`: look into the inboxes, queue what is complete, publish
//! it in order; stop between operations when asked to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

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
