//! The server: API, events, pages, metrics. Shows what `service` knows, and
//! passes on what operators decide; holds no rules of its own.

mod accept;
mod api;
mod assets;
mod events;
mod extract;
mod guard;
mod health;
mod lanes;
mod metrics;
mod openapi;
mod pages;
pub mod presence;
mod problem;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

pub use api::dead_letters::LetterFilter;
pub use openapi::document as openapi_document;
pub use problem::Problem;

use self::lanes::{Lane, Lanes};
use crate::config::ServerSettings;
use crate::error::{Error, Result};
use crate::service::Engine;

/// Batches that are planned at a time for those who sent them.
const UPLOADS: usize = 2;
/// How long open requests have to end when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// The same when the store failed, so that none of them can be answered.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// What every handler has at hand.
#[derive(Clone)]
pub struct AppState {
    /// The data directory.
    pub engine: Arc<Engine>,
    /// When the server started.
    pub started: Timestamp,
    inner: Arc<Inner>,
}

struct Inner {
    lanes: Lanes,
    uploads: Arc<Semaphore>,
    settings: ServerSettings,
    events: events::Relay,
    metrics: metrics::Metrics,
    stop: watch::Receiver<bool>,
}

impl AppState {
    /// Runs a call of the engine, which blocks, on a thread for such calls.
    ///
    /// # Errors
    /// That of the call; [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) when it panics.
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_in(Lane::Quick, call).await
    }

    /// The same of a call that is none of the quick ones.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_in<T: Send + 'static>(
        &self,
        lane: Lane,
        call: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let state = self.clone();
        // The place goes with the call: one whose client has gone still works.
        let place = self.inner.lanes.place(lane).await?;
        let done = tokio::task::spawn_blocking(move || {
            let result = call(&state.engine);
            drop(place);
            result
        });
        done.await.unwrap_or_else(|_| Err(Error::internal("a call of the service ended in a panic")))
    }

    /// The settings of the server.
    pub fn settings(&self) -> &ServerSettings {
        &self.inner.settings
    }

    /// A place for an upload, if one is free.
    fn upload_place(&self) -> Option<api::plans::Place> {
        api::plans::Place::take(&self.inner.uploads)
    }

    /// Becomes `true` when the server stops.
    fn stopping(&self) -> watch::Receiver<bool> {
        self.inner.stop.clone()
    }
}

/// Every route, behind the guards.
fn router(state: AppState) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(health::routes())
        .merge(pages::routes())
        .merge(assets::routes())
        .fallback(pages::missing)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(state.clone(), guard::requests))
        .layer(from_fn_with_state(state.clone(), guard::time))
        .layer(from_fn(guard::panics))
        .layer(from_fn(guard::headers))
        .layer(from_fn_with_state(state.clone(), guard::watch))
        .with_state(state)
}

/// Answers requests until `shutdown` ends, then lets open ones end within a
/// few seconds. Runs on a tokio runtime.
///
/// # Errors
/// When the listener can't be used.
pub async fn serve(
    engine: Arc<Engine>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let started = engine.now();
    let (stop, stopping) = watch::channel(false);
    let settings = engine.settings().server.clone();
    let relay = events::Relay::start(&engine, stopping.clone());
    let inner = Inner {
        lanes: Lanes::default(),
        uploads: Arc::new(Semaphore::new(UPLOADS)),
        settings,
        events: relay,
        metrics: metrics::Metrics::new(),
        stop: stopping.clone(),
    };
    let asked = Arc::clone(&engine);
    let grace = move || if asked.store().failed() { AFTER_FAILURE } else { GRACE };
    let state = AppState { engine, started, inner: Arc::new(inner) };
    let app = router(state);
    let accepting = accept::accept(listener, app, stopping, grace);
    tokio::pin!(accepting);
    tokio::select! {
        () = &mut accepting => Ok(()),
        () = shutdown => {
            // Whoever waits for events or for a batch is told by this.
            let _ = stop.send(true);
            accepting.await;
            Ok(())
        }
    }
}
