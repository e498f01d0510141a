//! `tidegate batches watch`: what happens, as it happens. Listens to the
//! server's events; where they can't be had, looks at it every other second.

use std::collections::HashMap;
use std::io::BufReader;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::super::Global;
use super::super::backend::{Backend, Purpose};
use super::super::client::Client;
use super::super::common::{clock, out, settings, tell};
use super::super::{render, sse};
use crate::clock::Clock;
use crate::domain::ids::BatchId;
use crate::error::{Error, ErrorKind, Result};
use crate::service::views::{BatchView, OverviewView};

/// Time between two looks where there are no events.
const PAUSE: Duration = Duration::from_secs(2);
/// Time until a stream that ended is asked for again.
const BETWEEN: Duration = Duration::from_millis(200);
/// How long a server that was there is waited for.
const GONE: Duration = Duration::from_secs(60);
/// Looks before events are asked for again.
const LOOKS: u32 = 10;

/// As much of an event as says what to look at.
#[derive(Deserialize)]
struct Happened {
    kind: String,
    batch_id: Option<BatchId>,
}

struct Watch<'a> {
    global: &'a Global,
    client: &'a Client,
    only: Option<&'a BatchId>,
    /// What was printed last of each batch.
    told: HashMap<String, String>,
    /// Whether the server answered at all: what has ended by then is no news.
    reached: bool,
    clock: Arc<dyn Clock>,
}

/// Runs the command.
pub fn run(global: &Global, only: Option<&BatchId>) -> Result<u8> {
    let backend = Backend::open(global, Purpose::Look)?;
    let Some(client) = backend.server() else {
        if let Some(id) = only {
            let batch = backend.batch(id)?;
            if batch.publish_state.status.is_final() {
                Watch::new(global, &Client::new("http://localhost")?, only).tell(&batch)?;
                return Ok(render::batch::exit_code(&batch));
            }
        }
        let data = settings(global)?.data;
        let text = format!("no server holds {}: nothing happens there to watch", data.display());
        return Err(Error::new(ErrorKind::ServerUnreachable, text));
    };
    Watch::new(global, client, only).follow()
}

impl<'a> Watch<'a> {
    fn new(global: &'a Global, client: &'a Client, only: Option<&'a BatchId>) -> Self {
        Self { global, client, only, told: HashMap::new(), reached: false, clock: clock() }
    }

    /// Until the only batch has ended, or for ever.
    fn follow(&mut self) -> Result<u8> {
        let mut gone = None;
        loop {
            // Listening begins before the first look, so that nothing falls between.
            let stream = self.client.stream(&["api", "v1", "events"], &[], "text/event-stream");
            match self.look() {
                Ok(Some(code)) => return Ok(code),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::ServerUnreachable && self.reached => {
                    // It may be started again.
                    let since = *gone.get_or_insert_with(|| self.say_gone());
                    if self.clock.monotonic().saturating_sub(since) > GONE {
                        return Err(error);
                    }
                    self.clock.sleep(PAUSE);
                    continue;
                }
                Err(error) => return Err(error),
            }
            if !std::mem::replace(&mut self.reached, true) && self.only.is_none() {
                // Until something happens there is nothing else to be seen.
                if !self.global.quiet {
                    tell(format_args!("watching the server {}", self.client.url()));
                }
            }
            if gone.take().is_some() {
                tell(format_args!("the server {} answers again", self.client.url()));
            }
            let heard = match stream {
                Ok(stream) => self.listen(&mut BufReader::new(stream)),
                Err(error) => {
                    tracing::debug!(%error, "no events can be had; looking every {} s", PAUSE.as_secs());
                    self.look_on()
                }
            };
            match heard {
                Ok(Some(code)) => return Ok(code),
                // Whether it is gone shows when it is looked at again, at once.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::ServerUnreachable => {}
                Err(error) => return Err(error),
            }
            self.clock.sleep(BETWEEN);
        }
    }

    /// Says that the server is gone, and tells when it was found to be.
    fn say_gone(&self) -> Duration {
        let (url, most) = (self.client.url(), GONE.as_secs());
        tell(format_args!("the server {url} does not answer any more; it is tried again for {most} s"));
        self.clock.monotonic()
    }

    /// Looks a few times, where events can't be had.
    fn look_on(&mut self) -> Result<Option<u8>> {
        for _ in 0..LOOKS {
            self.clock.sleep(PAUSE);
            if let Some(code) = self.look()? {
                return Ok(Some(code));
            }
        }
        Ok(None)
    }

    /// Tells what changed since the last look.
    fn look(&mut self) -> Result<Option<u8>> {
        if let Some(id) = self.only {
            return self.see(&id.clone());
        }
        let seen: OverviewView = self.client.get(&["api", "v1", "overview"], &[])?;
        let mut ids: Vec<String> = seen.waiting.iter().map(|item| item.batch_id.to_string()).collect();
        let mut batches: Vec<BatchView> = Vec::new();
        for batch in seen.results.into_iter().rev() {
            if self.reached {
                batches.push(batch);
            } else {
                self.told.insert(batch.publish_state.batch_id.clone(), self.now(&batch));
            }
        }
        batches.extend(seen.parked.into_iter().chain(seen.running));
        ids.retain(|id| batches.iter().all(|batch| batch.publish_state.batch_id != *id));
        for batch in &batches {
            self.tell(batch)?;
        }
        for id in ids {
            if let Ok(id) = id.parse() {
                self.see(&id)?;
            }
        }
        Ok(None)
    }

    fn listen(&mut self, stream: &mut BufReader<reqwest::blocking::Response>) -> Result<Option<u8>> {
        loop {
            let event = match sse::next(stream) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(None),
                // A server that is started again is listened to again.
                Err(error) if error.kind() == ErrorKind::ServerUnreachable => return Ok(None),
                Err(error) => return Err(error),
            };
            let Ok(happened) = serde_json::from_str::<Happened>(&event.data) else {
                // Whoever lags behind is told to look again.
                if let Some(code) = self.look()? {
                    return Ok(Some(code));
                }
                continue;
            };
            let wanted = happened.batch_id.filter(|id| self.only.is_none_or(|only| only == id));
            let progress = happened.kind == "progress";
            if let Some(id) = wanted.filter(|_| !progress || self.global.verbose > 0)
                && let Some(code) = self.see(&id)?
            {
                return Ok(Some(code));
            }
        }
    }

    /// Looks at one batch: the exit code, when it is the only one and has ended.
    fn see(&mut self, id: &BatchId) -> Result<Option<u8>> {
        let Some(batch) = self.client.find::<BatchView>(&["api", "v1", "batches", &id.to_string()], &[])?
        else {
            if self.only.is_some() {
                return Err(Error::new(ErrorKind::NotFound, format!("there is no batch {id}")));
            }
            return Ok(None);
        };
        self.tell(&batch)?;
        let ended = batch.publish_state.status.is_final() && self.only.is_some();
        Ok(ended.then(|| render::batch::exit_code(&batch)))
    }

    /// How a batch stands, as far as a change of it is told.
    fn now(&self, batch: &BatchView) -> String {
        if self.global.verbose > 0 { line(batch) } else { what(batch) }
    }

    /// Prints how a batch stands, if it stood otherwise before.
    fn tell(&mut self, batch: &BatchView) -> Result<()> {
        let now = self.now(batch);
        if self.told.get(&batch.publish_state.batch_id) == Some(&now) {
            return Ok(());
        }
        self.told.insert(batch.publish_state.batch_id.clone(), now);
        if self.global.json {
            let text = serde_json::to_string(batch).map_err(|e| Error::internal("JSON").caused_by(e))?;
            return out(format!("{text}\n"));
        }
        out(format!("{}  {}\n", self.clock.now().strftime("%F %T"), line(batch)))
    }
}

/// What makes a line of its own: the status and what holds the batch.
fn what(batch: &BatchView) -> String {
    let state = &batch.publish_state;
    let code = state.failure_details.as_ref().map_or("", |failure| failure.error_code.as_str());
    let held = batch.hold.is_some();
    format!("{} {held} {} {code} {}", state.status.as_str(), batch.prioritised.is_some(), batch.attempts)
}

fn line(batch: &BatchView) -> String {
    let [id, status, changes, note] = <[String; 4]>::try_from(render::batch::row(batch)).unwrap_or_default();
    let ended = batch.publish_state.status.is_final();
    let changes = if ended { changes } else { String::new() };
    let text = format!("{id:<48}  {status:<13}  {changes}  {note}");
    render::safe(text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_server_that_is_gone_is_waited_for_so_long_and_no_longer() {
        let global = Global::default();
        // Nobody listens there.
        let client = Client::new("http://127.0.0.1:1").unwrap();
        let clock = Arc::new(ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7));
        for (reached, waited) in [(false, Duration::ZERO), (true, GONE + PAUSE)] {
            let before = clock.monotonic();
            let mut watch =
                Watch { reached, clock: Arc::clone(&clock) as _, ..Watch::new(&global, &client, None) };
            let error = watch.follow().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ServerUnreachable);
            assert_eq!(clock.monotonic() - before, waited);
        }
    }
}
