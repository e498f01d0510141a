//! `/snapshots/{id}`: what is published of a source, as of one batch.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::show::filters;
use crate::domain::ids::SnapshotId;
use crate::error::{Error, ErrorKind};
use crate::service::views::SnapshotView;

#[derive(Template)]
#[template(path = "snapshot.html")]
struct Snapshot {
    frame: Frame,
    snapshot: SnapshotView,
    parent_kept: bool,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    answer(state, move |engine| {
        let id = SnapshotId::new(id).map_err(|e| Error::new(ErrorKind::NotFound, e.to_string()))?;
        let snapshot = engine.snapshot_view(&id)?;
        let parent_kept = snapshot.parent.as_ref().is_some_and(|parent| engine.snapshot_view(parent).is_ok());
        rendered(&Snapshot {
            frame: Frame::new(engine, format!("Snapshot {id}"), "/sources"),
            snapshot,
            parent_kept,
        })
    })
    .await
}
