//! `/`: everything at a glance, what waits for a person first.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;

use super::AppState;
use super::frame::{Frame, answer, rendered};
use super::query::PageQuery;
use super::show::number::counted;
use super::show::{Html, filters, link, state, words};
use crate::error::Result;
use crate::service::Engine;
use crate::service::query::{GroupQuery, Part};
use crate::service::views::{BatchView, LetterState, OverviewView, QueueDepth, SourceState, SourceView};

/// Sources that are shown.
const SOURCES: usize = 12;

/// Something that waits for a person.
struct Attention {
    key: String,
    state: Html,
    what: String,
    why: String,
    since: Option<Timestamp>,
    href: String,
    act: &'static str,
}

#[derive(Template)]
#[template(path = "overview.html", blocks = ["live"])]
struct Overview {
    frame: Frame,
    view: OverviewView,
    attention: Vec<Attention>,
    sources: Vec<SourceView>,
    running: u64,
    /// Without the parked ones, which are told apart.
    waiting: u64,
    /// How much of each source waits, with how many of it are parked.
    depths: Vec<(QueueDepth, u64)>,
    deepest: u64,
}

/// Answers with the page.
pub async fn page(State(state): State<AppState>, query: PageQuery) -> Response {
    let started = state.started;
    answer(state, move |engine| {
        let mut view = engine.overview(started, true)?;
        // They are shown above all others.
        view.waiting.retain(|item| item.hold.is_none());
        let depths: Vec<(QueueDepth, u64)> =
            view.depth.iter().map(|depth| with_parked(&view, depth)).collect();
        let page = Overview {
            frame: Frame { at: view.at, ..Frame::new(engine, "Overview", "/") },
            attention: down(engine)?
                .into_iter()
                .chain(lost(&view))
                .chain(attention(&view))
                .chain(letters(engine)?)
                .collect(),
            sources: most_urgent(&view.sources),
            running: depths.iter().map(|(depth, _)| depth.running).sum(),
            waiting: depths.iter().map(|(depth, parked)| depth.waiting - parked).sum(),
            depths,
            deepest: view.depth.iter().map(|depth| depth.waiting + depth.running).max().unwrap_or(1),
            view,
        };
        if query.is_fragment() { rendered(&page.as_live()) } else { rendered(&page) }
    })
    .await
}

/// How much of a source waits, and how many of these are parked.
fn with_parked(view: &OverviewView, depth: &QueueDepth) -> (QueueDepth, u64) {
    let own = |batch: &&BatchView| batch.publish_state.source_id == depth.source_id.as_str();
    let parked = view.parked.iter().filter(own).count() as u64;
    (depth.clone(), parked.min(depth.waiting))
}

/// Targets that can't be used.
fn down(engine: &Engine) -> Result<Vec<Attention>> {
    let down = engine.targets_down()?.into_iter();
    Ok(down
        .map(|(name, down)| Attention {
            key: format!("target {name}"),
            state: state::of_down(&down).html(),
            what: format!("Target {name}"),
            why: down.message,
            since: Some(down.since),
            href: "/targets".to_owned(),
            act: "Look",
        })
        .collect())
}

/// Inboxes that can't be looked into.
fn lost(view: &OverviewView) -> impl Iterator<Item = Attention> {
    view.lost_inboxes.iter().map(|lost| Attention {
        key: format!("inbox {}", lost.url),
        state: state::LOST.html(),
        what: format!("Inbox {}", lost.url),
        why: lost.error.clone(),
        since: Some(lost.since),
        href: "/inbox".to_owned(),
        act: "Look",
    })
}

/// Dead letters that wait for repair, with the reason that most of them have.
fn letters(engine: &Engine) -> Result<Option<Attention>> {
    let first = GroupQuery { part: Part::first(1), ..GroupQuery::default() };
    let Some(most) = engine.letter_groups(&first)?.items.pop() else { return Ok(None) };
    let (mut count, mut reasons, mut since) = (0, 0u64, most.first_at);
    engine.store().read(|view| {
        view.each_letter_group(|group| {
            count += group.count;
            reasons += 1;
            since = since.min(group.first_at);
            Ok(())
        })
    })?;
    let others = match reasons.saturating_sub(1) {
        0 => String::new(),
        1 => ", and one other reason".to_owned(),
        others => format!(", and {others} other reasons"),
    };
    Ok(Some(Attention {
        key: "dead letters".to_owned(),
        state: state::of_letter(LetterState::Open).html(),
        what: if count == 1 { "1 dead letter".to_owned() } else { format!("{count} dead letters") },
        why: format!("{} at {}: {}{others}", most.code, most.source_id, most.message),
        since: Some(since),
        href: match &most.example {
            Some(only) if count == 1 => format!("/dlq/{}", only.id),
            Some(_) | None => "/dlq".to_owned(),
        },
        act: "Repair",
    }))
}

/// Parked plans, held sources, and sources whose newest batch failed.
fn attention(view: &OverviewView) -> Vec<Attention> {
    let mut items: Vec<Attention> = view.parked.iter().map(parked).collect();
    for source in &view.sources {
        let look = state::of_source(source.state).html();
        if let Some(hold) = source.hold.as_ref().filter(|_| source.state == SourceState::Held) {
            items.push(Attention {
                key: format!("source {}", source.source_id),
                state: look,
                what: source.source_id.to_string(),
                why: hold.note.clone(),
                since: Some(hold.since),
                href: link::source(source.source_id.as_str()),
                act: "Look",
            });
        } else if let Some(batch) =
            source.newest_batch.as_ref().filter(|_| source.state == SourceState::Failing)
        {
            let id = batch.to_string();
            let ended = view.results.iter().find(|ended| ended.publish_state.batch_id == id);
            let failure =
                ended.map(|batch| words::what_failed(&batch.publish_state)).filter(|why| !why.is_empty());
            items.push(Attention {
                key: format!("failed {id}"),
                state: look,
                why: failure.map_or_else(|| source.words.clone(), str::to_owned),
                since: ended.and_then(|batch| batch.publish_state.publish_end_timestamp),
                href: link::batch(&id),
                what: id,
                act: "Look",
            });
        }
    }
    items
}

fn parked(batch: &BatchView) -> Attention {
    let id = &batch.publish_state.batch_id;
    Attention {
        key: format!("parked {id}"),
        state: state::of_batch(batch).html(),
        what: id.clone(),
        why: tripped(batch),
        since: batch.hold.as_ref().map(|hold| hold.since),
        href: link::batch(id),
        act: "Review the plan",
    }
}

/// The first guard that a parked plan trips, and how many others.
fn tripped(batch: &BatchView) -> String {
    let trips = batch.plan.as_ref().map(|plan| plan.guards.as_slice()).unwrap_or_default();
    match trips {
        [] => batch.hold.as_ref().map(|hold| hold.note.clone()).unwrap_or_default(),
        [only] => only.reason.clone(),
        [first, others @ ..] => {
            let others = counted(others.len() as u64, "other guard", "other guards");
            format!("{}; {others} tripped", first.reason)
        }
    }
}

/// The sources that are in the worst state first, as many as there is room for.
fn most_urgent(sources: &[SourceView]) -> Vec<SourceView> {
    let rank = |source: &SourceView| match source.state {
        SourceState::Held | SourceState::Failing | SourceState::Parked => 0,
        SourceState::Publishing => 1,
        SourceState::Retrying | SourceState::Delayed | SourceState::Waiting | SourceState::Paused => 2,
        SourceState::UpToDate => 3,
    };
    let mut sorted: Vec<SourceView> = sources.to_vec();
    sorted.sort_by_key(rank);
    sorted.truncate(SOURCES);
    sorted
}
