//! Connections: how many, how long a head may take to come, how long an
//! answer may take to be read, and how they end when the server stops.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// Most open connections; others wait to be accepted.
const CONNECTIONS: usize = 2_048;
/// How long the head of a request may take, and an idle connection may stay.
const HEAD: Duration = Duration::from_secs(30);
/// How long a client may take nothing of an answer that it is sent.
const STALLED: Duration = Duration::from_secs(30);
/// Largest head of a request. A cursor may hold a long name.
const HEAD_BYTES: usize = 128 << 10;
/// Most header fields.
const HEADERS: usize = 64;
/// Wait after a failure to accept, such as too many open files.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Serves connections until `stop` turns true, then lets them end for as long
/// as `grace` says then.
pub async fn accept(
    listener: TcpListener,
    app: Router,
    mut stop: watch::Receiver<bool>,
    grace: impl Fn() -> Duration,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (listener.accept().await, slot)
        };
        tokio::select! {
            () = stopped(&mut stop) => break,
            (accepted, slot) = next => match accepted {
                Ok((stream, _)) => {
                    let (app, stop) = (app.clone(), stop.clone());
                    open.spawn(async move {
                        connection(stream, app, stop).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BACK_OFF).await;
                }
            },
        }
        // Those that have ended are forgotten.
        while open.try_join_next().is_some() {}
    }
    drop(listener);
    let ended = tokio::time::timeout(grace(), async { while open.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::debug!(open = open.len(), "connections are cut off");
        open.abort_all();
    }
}

/// Ends when the server stops, or has gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // What is waited for is a guard, which must not be held any longer.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn connection(stream: TcpStream, app: Router, mut stop: watch::Receiver<bool>) {
    // Small answers are sent at once.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patient { stream, stalled: None });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(io, TowerToHyperService::new(app));
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        // Clients go away at any time.
        tracing::trace!(%error, "a connection ended early");
    }
}

/// A connection whose client has to go on taking what it is sent.
struct Patient {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    /// Ends the connection when a write has been pending for too long.
    fn watched<T>(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.stalled = None;
            return write;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watched(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watched(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.stream).poll_flush(cx);
        self.watched(cx, flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
