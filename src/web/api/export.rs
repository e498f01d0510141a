//! The whole embedded catalogue, in the line format of batches.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use crate::domain::ids::TargetName;
use crate::service::views::ProblemView;
use crate::targets::Target;
use crate::web::AppState;
use crate::web::extract::Params;
use crate::web::problem::Problem;

/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;
/// Chunks that wait to be sent.
const AHEAD: usize = 4;

/// What to export.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportParams {
    /// Archived ones too
    archived: Option<bool>,
    /// The target, where there are several
    target: Option<TargetName>,
}

/// Export the catalogue
///
/// Entities by type and name, then relationships by type and ends, one JSON object a line.
#[utoipa::path(get, path = "/api/v1/export", tag = "entities", operation_id = "exportCatalogue", params(ExportParams),
    responses((status = 200, description = "The lines", body = String, content_type = "application/x-ndjson"),
              (status = 404, description = "There is no such target", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Params(params): Params<ExportParams>,
) -> Result<Response, Problem> {
    let target = params.target.clone();
    let catalogue = state
        .run(move |engine| {
            let catalogue = engine.catalogue(target.as_ref())?;
            // What is wrong from the beginning is an answer, and not one that breaks off.
            catalogue.health()?;
            Ok(Arc::clone(catalogue))
        })
        .await?;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
    let archived = params.archived.unwrap_or_default();
    tokio::task::spawn_blocking(move || {
        let mut out = Sender { sender, buffer: Vec::with_capacity(CHUNK) };
        let done = catalogue.guarded(|catalogue| catalogue.export(&mut out, archived));
        if let Err(error) = done {
            // A client that has gone hears nothing; another sees the answer break off.
            let _ = out.sender.blocking_send(Err(io::Error::other(error)));
        }
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    Ok((headers, body).into_response())
}

struct Sender {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(Ok(Bytes::from(chunk))).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
