//! `/sources` and `/sources/{id}`: how sources stand, with the settings in
//! force, batches, snapshots, and pausing.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::AppState;
use super::batch_actions::Decision;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::{filters, link};
use crate::domain::ids::SourceId;
use crate::error::{self, Error, ErrorKind, KindInfo};
use crate::service::views::{Page, SkipView, SourceDetail, SourceHoldView, SourceState, SourceView};

#[derive(Template)]
#[template(path = "sources.html", blocks = ["live"])]
struct Sources {
    frame: Frame,
    page: Page<SourceView>,
    back: Option<String>,
    next: Option<String>,
}

/// Answers with all sources.
pub async fn list(State(state): State<AppState>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let page = engine.sources(&query.part())?;
        let page = Sources {
            frame: Frame::new(engine, "Sources", "/sources"),
            back: query.is_later().then(|| "/sources".to_owned()),
            next: page
                .next_cursor
                .as_deref()
                .map(|cursor| link::with_query("/sources", &[("cursor", Some(cursor))])),
            page,
        };
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}

#[derive(Template)]
#[template(path = "source.html", blocks = ["live"])]
struct Source {
    frame: Frame,
    source: SourceView,
    detail: SourceDetail,
    hold_info: Option<&'static KindInfo>,
    /// What is skipped, as far as it is shown, each with its dialog's id.
    skips: Vec<(String, SkipView)>,
    actions: Vec<Decision>,
    whole: String,
}

/// Skips that are shown, each with its dialog.
const SKIPS: usize = 100;

/// Answers with one source.
pub async fn one(State(state): State<AppState>, Path(id): Path<String>, query: PageQuery) -> Response {
    answer(state, move |engine| {
        let id = SourceId::new(id).map_err(|e| Error::new(ErrorKind::NotFound, e.to_string()))?;
        let detail = engine.source_view(&id)?;
        let source = detail.source.clone();
        let actions = vec![decision(&source)];
        let page = Source {
            frame: Frame::new(engine, format!("Source {id}"), "/sources"),
            hold_info: source.hold.as_ref().and_then(|hold| error::by_code(&hold.code)),
            whole: whole(&actions, &detail.skips),
            skips: detail
                .skips
                .iter()
                .take(SKIPS)
                .enumerate()
                .map(|(n, skip)| (format!("d-unskip-{n}"), skip.clone()))
                .collect(),
            source,
            detail,
            actions,
        };
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}

/// Changes when the dialogs have to be other ones.
fn whole(actions: &[Decision], skips: &[SkipView]) -> String {
    let names: Vec<&str> = actions.iter().map(|action| action.name).collect();
    let last = skips.iter().map(|skip| skip.at).max();
    format!("{} {} {}", names.join(" "), skips.len(), last.map(|at| at.to_string()).unwrap_or_default())
}

fn is_paused(hold: &SourceHoldView) -> bool {
    hold.code == "PAUSED"
}

fn decision(source: &SourceView) -> Decision {
    let post = format!("/api/v1{}", link::source(source.source_id.as_str()));
    match &source.hold {
        None => Decision::new(
            "pause",
            "Pause",
            "Pause this source?",
            "What runs is finished; its other batches wait until the source is resumed. Other sources go on.",
            format!("{post}/pause"),
            "The source is paused.",
        ),
        Some(hold) if is_paused(hold) => Decision::new(
            "resume",
            "Resume",
            "Resume this source?",
            "Its batches run again, the oldest first.",
            format!("{post}/resume"),
            "The source is resumed.",
        )
        .into_main(),
        Some(_) => Decision::new(
            "resume",
            "Lift the hold",
            "Lift the hold of this source?",
            "Its next batch runs although the reason of the hold may still be there.",
            format!("{post}/resume"),
            "The hold is lifted.",
        )
        .into_main(),
    }
}
