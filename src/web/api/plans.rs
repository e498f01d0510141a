//! Plans of batches that are sent here to be looked at: what a pull request's
//! checks need. Nothing is queued.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::domain::ids::PlanId;
use crate::service::views::ProblemView;
use crate::web::AppState;
use crate::web::extract::{Id, NoParams, Params, media_type};
use crate::web::problem::Problem;

/// The type of an archive.
const TAR: &str = "application/x-tar";
/// How long the next bytes of an upload may take.
const STALLED: Duration = Duration::from_secs(30);
/// Bytes of a body that are taken in vain, so that its client hears why.
const MOST_DRAINED: usize = 1 << 30;
/// Parts of an upload that wait to be unpacked.
const AHEAD: usize = 4;
/// Bytes of an answer that are read at once.
const CHUNK: usize = 64 << 10;

/// Plan a batch without publishing it
///
/// The body is a tar archive of one batch folder. It is planned against what is published now; the answer is the plan, as `plan --json` prints it, which is kept for `server.plan_ttl`.
#[utoipa::path(post, path = "/api/v1/plans", tag = "plans", operation_id = "createPlan",
    request_body(content = Vec<u8>, content_type = "application/x-tar", description = "A tar archive of plain files, with manifest.json at its top or in one folder"),
    responses((status = 201, description = "The plan, of the format tidegate.plan/1", body = Object),
              (status = 409, description = "A batch of this id was accepted with another manifest", body = ProblemView, content_type = "application/problem+json"),
              (status = 413, description = "The body is larger than `server.max_upload`", body = ProblemView, content_type = "application/problem+json"),
              (status = 422, description = "The body is no archive of one batch, or the batch breaks the contract", body = ProblemView, content_type = "application/problem+json")))]
pub async fn create(State(state): State<AppState>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if media_type(&parts) != TAR {
        return Err(Problem::media_type(TAR));
    }
    let limit = state.settings().max_upload;
    let stated =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|stated| stated > limit) {
        drain(body.into_data_stream()).await;
        return Err(Problem::too_large(limit));
    }
    let place = match place(&state) {
        Ok(place) => place,
        Err(problem) => {
            drain(body.into_data_stream()).await;
            return Err(problem);
        }
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    let planned = state.run(move |engine| {
        let _place = place;
        engine.plan_upload(&mut Arriving { receiver, part: Bytes::new() })
    });
    // Reading and unpacking go on side by side.
    let (read, planned) = tokio::join!(pass_on(body, limit, sender), planned);
    read?;
    let id = planned?;
    let mut response = send(&state, id.clone()).await?;
    *response.status_mut() = axum::http::StatusCode::CREATED;
    if let Ok(location) = format!("/api/v1/plans/{id}").parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// A place to plan a batch for whoever asked.
///
/// # Errors
/// When others take all of them.
pub fn place(state: &AppState) -> Result<Place, Problem> {
    state.upload_place().ok_or_else(|| {
        let text = "two batches are being planned for others already";
        Problem::http(&crate::error::http::TOO_MANY_UPLOADS, text)
    })
}

/// Show a plan that was made of an upload
#[utoipa::path(get, path = "/api/v1/plans/{plan_id}", tag = "plans", operation_id = "showPlan",
    params(("plan_id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The plan, of the format tidegate.plan/1", body = Object),
              (status = 404, description = "There is no such plan, or its time is over", body = ProblemView, content_type = "application/problem+json")))]
pub async fn show(
    State(state): State<AppState>,
    Id(id): Id<PlanId>,
    Params(_): Params<NoParams>,
) -> Result<Response, Problem> {
    send(&state, id).await
}

/// Streams the plan from its file.
async fn send(state: &AppState, id: PlanId) -> Result<Response, Problem> {
    let (mut file, size) = state.run(move |engine| engine.uploaded_plan(&id)).await?;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = vec![0; CHUNK];
            let part = match file.read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => {
                    chunk.truncate(read);
                    Ok(Bytes::from(chunk))
                }
                Err(error) => Err(error),
            };
            let last = part.is_err();
            // The client may have gone.
            if sender.blocking_send(part).is_err() || last {
                return;
            }
        }
    });
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    Ok((headers, body).into_response())
}

/// Passes a body on, part by part, up to a limit of bytes.
async fn pass_on(body: Body, limit: u64, sender: mpsc::Sender<io::Result<Bytes>>) -> Result<(), Problem> {
    let broken = |kind: io::ErrorKind| Err(io::Error::from(kind));
    let mut stream = body.into_data_stream();
    let mut total = 0u64;
    loop {
        let part = match tokio::time::timeout(STALLED, stream.next()).await {
            Ok(Some(Ok(part))) => part,
            Ok(None) => return Ok(()),
            Ok(Some(Err(_))) | Err(_) => {
                let _ = sender.send(broken(io::ErrorKind::UnexpectedEof)).await;
                return Err(Problem::usage("the body broke off"));
            }
        };
        total += part.len() as u64;
        if total > limit {
            let _ = sender.send(broken(io::ErrorKind::FileTooLarge)).await;
            drain(stream).await;
            return Err(Problem::too_large(limit));
        }
        if sender.send(Ok(part)).await.is_err() {
            // Whoever unpacks has seen enough, and says why.
            drain(stream).await;
            return Ok(());
        }
    }
}

/// Takes the rest of a body that nobody wants: a client that is still sending
/// when the connection ends does not see why it was refused.
async fn drain(mut stream: BodyDataStream) {
    let rest = async {
        let mut total = 0;
        while let Some(Ok(part)) = stream.next().await {
            total += part.len();
            if total > MOST_DRAINED {
                return;
            }
        }
    };
    // Whoever is slower than this has to do without.
    let _ = tokio::time::timeout(STALLED, rest).await;
}

/// A body as it arrives, for a thread that reads it.
struct Arriving {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    part: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            match self.receiver.blocking_recv() {
                Some(part) => self.part = part?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.part.len());
        buffer[..length].copy_from_slice(&self.part.split_to(length));
        Ok(length)
    }
}

/// A place for an upload, given back when it is done with.
pub struct Place(std::sync::Arc<tokio::sync::Semaphore>);

impl Place {
    /// A place, if one is free.
    pub fn take(places: &std::sync::Arc<tokio::sync::Semaphore>) -> Option<Self> {
        places.try_acquire().ok()?.forget();
        Some(Self(std::sync::Arc::clone(places)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}
