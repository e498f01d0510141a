//! What happens, as it happens: server-sent events. A client that lost its
//! connection is told what it missed, as far as that is kept; one that is too
//! slow is let go, and comes again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::{broadcast, watch};

use super::AppState;
use super::extract::{NoParams, Params};
use super::problem::Problem;
use crate::service::Engine;
use crate::service::events::{Event, EventKind};

/// Events that are kept for those who come again.
const KEPT: usize = 1_024;
/// Events that a client may lag behind before it is let go.
const LAG: usize = 512;
/// Most clients.
const CLIENTS: usize = 1_000;
/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// An event as it is sent, made once for all clients.
struct Made {
    /// Its number; `None`: events were lost, and whoever listens has to look
    /// at everything again.
    seq: Option<u64>,
    kind: &'static str,
    json: String,
}

/// Passes the engine's events on.
pub struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    /// Tells this process's events from those of another.
    epoch: u64,
    kept: Mutex<VecDeque<Arc<Made>>>,
    sender: broadcast::Sender<Arc<Made>>,
    clients: AtomicUsize,
}

impl Relay {
    /// Begins to listen to the engine.
    pub fn start(engine: &Engine, mut stop: watch::Receiver<bool>) -> Self {
        let shared = Arc::new(Shared {
            epoch: engine.random(),
            kept: Mutex::default(),
            sender: broadcast::channel(LAG).0,
            clients: AtomicUsize::new(0),
        });
        let (relay, mut events) = (Arc::clone(&shared), engine.events().subscribe());
        tokio::spawn(async move {
            loop {
                let received = tokio::select! {
                    received = events.recv() => received,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                match received {
                    Ok(event) => relay.pass(&event),
                    // Whoever comes again is told to look at everything.
                    Err(broadcast::error::RecvError::Lagged(_)) => relay.forget(),
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        Self { shared }
    }

    /// Clients that listen now.
    pub fn clients(&self) -> usize {
        self.shared.clients.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Made>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, event: &Event) {
        // An event is texts and numbers: it has a JSON form.
        let json = serde_json::to_string(event).unwrap_or_default();
        let made = Arc::new(Made { seq: Some(event.seq), kind: name(event.kind), json });
        let mut kept = self.lock();
        kept.push_back(Arc::clone(&made));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        // Sent under the lock, so that a client that joins misses nothing and
        // hears nothing twice. Without clients there is nobody to tell.
        let _ = self.sender.send(made);
    }

    fn forget(&self) {
        let mut kept = self.lock();
        kept.clear();
        let _ = self.sender.send(Arc::new(Made { seq: None, kind: "reset", json: "{}".to_owned() }));
    }

    /// What a client that had `last` has missed, and everything from now on;
    /// `None` in place of what it missed: that is not known any more.
    fn join(&self, last: Option<u64>) -> (Option<Vec<Arc<Made>>>, broadcast::Receiver<Arc<Made>>) {
        let kept = self.lock();
        let receiver = self.sender.subscribe();
        let Some(last) = last else { return (Some(Vec::new()), receiver) };
        let oldest = kept.front().and_then(|made| made.seq);
        // An event before the oldest one kept may have been missed.
        let known = oldest.map_or(last == 0, |oldest| last + 1 >= oldest);
        let newest = kept.back().and_then(|made| made.seq).unwrap_or_default();
        if !known || last > newest {
            return (None, receiver);
        }
        (Some(kept.iter().filter(|made| made.seq > Some(last)).cloned().collect()), receiver)
    }

    fn id(&self, seq: u64) -> String {
        format!("{:016x}-{seq}", self.epoch)
    }

    /// The number in the id of an event that this process sent.
    fn seq_of(&self, id: &str) -> Option<u64> {
        let (epoch, seq) = id.split_once('-')?;
        (u64::from_str_radix(epoch, 16).ok()? == self.epoch).then_some(())?;
        seq.parse().ok()
    }

    fn sent(&self, made: &Made) -> Sent {
        let sent = Sent::default().event(made.kind).data(&made.json);
        match made.seq {
            Some(seq) => sent.id(self.id(seq)),
            None => sent,
        }
    }
}

fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Batch => "batch",
        EventKind::Progress => "progress",
        EventKind::Source => "source",
        EventKind::Inbox => "inbox",
        EventKind::Target => "target",
        EventKind::Settings => "settings",
    }
}

/// A client's place, given back when it has gone.
struct Client(Arc<Shared>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Client {
    fn new(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.clients.fetch_add(1, Ordering::Relaxed);
        let client = Self(Arc::clone(shared));
        (before < CLIENTS).then_some(client)
    }
}

/// Follow what happens
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", operation_id = "followEvents",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received")),
    responses(
        (status = 200, description = "A stream of server-sent events, each with an id and an event of the kinds `batch`, `progress`, `source`, `inbox` and `settings`; `reset` tells that events were missed, so that everything should be looked at again", content_type = "text/event-stream", body = Event),
        (status = 503, description = "There are too many listeners", body = crate::service::views::ProblemView, content_type = "application/problem+json"),
    )
)]
pub async fn follow(
    State(state): State<AppState>,
    Params(_): Params<NoParams>,
    headers: HeaderMap,
) -> Response {
    let shared = &state.inner.events.shared;
    let Some(client) = Client::new(shared) else {
        let text = format!("{CLIENTS} clients listen already");
        return Problem::http(&crate::error::http::TOO_MANY_LISTENERS, text).into_response();
    };
    let last = headers.get("last-event-id").map(|value| shared.seq_of(value.to_str().unwrap_or_default()));
    let joined = shared.join(last.flatten());
    // An id of another process, or none of ours: everything may be new.
    let reset = last == Some(None) || joined.0.is_none();
    let stream = told(client, joined, reset, state.stopping());
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("");
    let mut response = Sse::new(stream).keep_alive(heartbeat).into_response();
    // A proxy that buffers would hold events back.
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    response
}

type Joined = (Option<Vec<Arc<Made>>>, broadcast::Receiver<Arc<Made>>);

/// What a client is sent: a first sign of life, what it missed or that it
/// missed something, and then what happens, until it lags or the server stops.
fn told(
    client: Client,
    (missed, receiver): Joined,
    reset: bool,
    mut stop: watch::Receiver<bool>,
) -> impl Stream<Item = Result<Sent, Infallible>> {
    let shared = Arc::clone(&client.0);
    let mut first = vec![Sent::default().comment("tidegate").retry(Duration::from_secs(2))];
    if reset {
        first.push(Sent::default().event("reset").data("{}"));
    }
    first.extend(missed.into_iter().flatten().map(|made| shared.sent(&made)));
    let live = stream::unfold((receiver, client), |(mut receiver, client)| async move {
        // One that lags is let go: its place in the stream is lost.
        let made = receiver.recv().await.ok()?;
        let sent = client.0.sent(&made);
        Some((sent, (receiver, client)))
    });
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    stream::iter(first).chain(live.take_until(Box::pin(stopped))).map(Ok)
}
