//! Progress bars for long work on a terminal.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::domain::ids::BatchId;
use crate::service::engine::ProgressSink;

/// Bars on standard error.
pub struct Bars {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    /// No bar yet.
    pub fn new() -> Self {
        Self { bar: Mutex::new(None) }
    }

    fn set(&self, bar: Option<ProgressBar>) {
        let mut slot = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *slot, bar) {
            old.finish_and_clear();
        }
    }

    fn advance(&self, by: u64) {
        if let Some(bar) = &*self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            bar.inc(by);
        }
    }

    fn start(&self, len: Option<u64>, template: &str, message: String) {
        let bar = match len {
            Some(len) => ProgressBar::new(len),
            None => ProgressBar::new_spinner(),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(200));
        self.set(Some(bar));
    }
}

impl ProgressSink for Bars {
    fn reading(&self, batch: &BatchId, bytes: Option<u64>) {
        self.start(bytes, "{msg} {bar:30} {bytes}/{total_bytes} {eta}", format!("reading {batch}"));
    }

    fn read(&self, bytes: u64) {
        self.advance(bytes);
    }

    fn executing(&self, batch: &BatchId, changes: u64) {
        self.start(
            Some(changes),
            "{msg} {bar:30} {human_pos}/{human_len} changes {eta}",
            format!("publishing {batch}"),
        );
    }

    fn executed(&self, changes: u64) {
        self.advance(changes);
    }

    fn finished(&self, _batch: &BatchId) {
        self.set(None);
    }
}
