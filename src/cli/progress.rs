//! Progress bars for long work on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Global;
use crate::domain::ids::BatchId;
use crate::service::engine::ProgressSink;

/// Whether anybody sees a bar.
pub fn is_seen(global: &Global) -> bool {
    !global.quiet && std::io::stderr().is_terminal()
}

/// A bar of bytes, of so many if that is known; a hidden one where nobody sees it.
pub fn bytes(global: &Global, what: &'static str, of: Option<u64>) -> ProgressBar {
    if !is_seen(global) {
        return ProgressBar::hidden();
    }
    let template = match of {
        Some(_) => "{msg} {bar:30} {bytes}/{total_bytes} {eta}",
        None => "{msg} {spinner} {bytes}",
    };
    bar(of, template, what.to_owned())
}

fn bar(len: Option<u64>, template: &str, message: String) -> ProgressBar {
    let bar = match len {
        Some(len) => ProgressBar::new(len),
        None => ProgressBar::new_spinner(),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(message);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Tells a bar of the bytes that are written.
pub struct Counted<W> {
    /// Where they go.
    pub to: W,
    /// The bar.
    pub bar: ProgressBar,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bar.inc(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

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
        self.set(Some(bar(len, template, message)));
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
