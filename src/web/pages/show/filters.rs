//! The filters that templates use: `{{ name|text }}`.

use std::fmt::Display;

use askama::{Result, Values};
use jiff::Timestamp;

use super::{Html, bars, link, number, state, time, words};
use crate::domain::change::Action;
use crate::domain::guards::GuardTrip;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishState;
use crate::domain::transition::Event;
use crate::service::views::{
    AssertionKind, BatchView, InboxFolderState, InboxView, LetterState, PriorityView, ProgressView,
    QueueDepth, QueueItem, SourceState, TargetView, TimelineItem, VerdictCode, WaitView,
};

/// A foreign value as a whole.
#[askama::filter_fn]
pub fn text(value: impl Display, _: &dyn Values) -> Result<Html> {
    Ok(super::text::whole(&value.to_string()))
}

/// A foreign value, cut. For places that lead to the whole of it.
#[askama::filter_fn]
pub fn cut(value: impl Display, _: &dyn Values, most: usize) -> Result<Html> {
    Ok(super::text::short(&value.to_string(), most))
}

/// A foreign value that unfolds where it is longer than that.
#[askama::filter_fn]
pub fn fold(value: impl Display, _: &dyn Values, most: usize) -> Result<Html> {
    Ok(super::text::folded(&value.to_string(), most, false))
}

/// A foreign value of several lines.
#[askama::filter_fn]
pub fn lines(value: impl Display, _: &dyn Values) -> Result<Html> {
    Ok(super::text::folded(&value.to_string(), usize::MAX, true))
}

/// A dead letter's state.
#[askama::filter_fn]
pub fn letter_state(value: &LetterState, _: &dyn Values) -> Result<Html> {
    Ok(state::of_letter(*value).html())
}

/// A time, relative to `now`.
#[askama::filter_fn]
pub fn ago(at: &Timestamp, _: &dyn Values, now: &Timestamp) -> Result<Html> {
    Ok(time::ago(*at, *now))
}

/// A time as date and time of day.
#[askama::filter_fn]
pub fn moment(at: &Timestamp, _: &dyn Values) -> Result<Html> {
    Ok(time::moment(*at))
}

/// Milliseconds as a length of time.
#[askama::filter_fn]
pub fn length(millis: &u64, _: &dyn Values) -> Result<String> {
    Ok(time::length(*millis))
}

/// A length of time, of seconds.
#[askama::filter_fn]
pub fn seconds(seconds: &u64, _: &dyn Values) -> Result<String> {
    Ok(time::length(seconds.saturating_mul(1000)))
}

/// A target's state.
#[askama::filter_fn]
pub fn target_state(target: &TargetView, _: &dyn Values) -> Result<Html> {
    Ok(state::of_target(target).html())
}

/// A number with commas.
#[askama::filter_fn]
pub fn count(value: &u64, _: &dyn Values) -> Result<String> {
    Ok(number::thousands(*value))
}

/// A number of bytes.
#[askama::filter_fn]
pub fn bytes(value: &u64, _: &dyn Values) -> Result<String> {
    Ok(number::bytes(*value))
}

/// A part of an address.
#[askama::filter_fn]
pub fn encoded(value: impl Display, _: &dyn Values) -> Result<String> {
    Ok(link::encode(&value.to_string()))
}

/// The address of a file of `static/`, which changes with its content.
#[askama::filter_fn]
pub fn asset(name: impl Display, _: &dyn Values) -> Result<String> {
    Ok(crate::web::assets::url(&name.to_string()))
}

/// An icon by its name.
#[askama::filter_fn]
pub fn icon(name: impl Display, _: &dyn Values) -> Result<Html> {
    Ok(state::icon(&name.to_string()))
}

/// `1 change`, `2 changes`.
#[askama::filter_fn]
pub fn counted(value: &u64, _: &dyn Values, one: &str, many: &str) -> Result<String> {
    Ok(number::counted(*value, one, many))
}

/// A batch's state.
#[askama::filter_fn]
pub fn batch_state(batch: &BatchView, _: &dyn Values) -> Result<Html> {
    Ok(state::of_batch(batch).html())
}

/// What failed, in short.
#[askama::filter_fn]
pub fn what_failed(state: &PublishState, _: &dyn Values) -> Result<String> {
    Ok(words::what_failed(state).to_owned())
}

/// A queued batch's state.
#[askama::filter_fn]
pub fn item_state(item: &QueueItem, _: &dyn Values) -> Result<Html> {
    Ok(state::of_item(item).html())
}

/// A source's state.
#[askama::filter_fn]
pub fn source_state(value: &SourceState, _: &dyn Values) -> Result<Html> {
    Ok(state::of_source(*value).html())
}

/// How a source stands, without the word that its state is shown with.
#[askama::filter_fn]
pub fn source_words(value: &str, _: &dyn Values) -> Result<String> {
    Ok(words::beside_state(value).to_owned())
}

/// The class of text that begins with a word and not with a name.
#[askama::filter_fn]
pub fn sentence(value: impl Display, _: &dyn Values) -> Result<&'static str> {
    Ok(words::sentence(&value.to_string()))
}

/// A message of ours, cut, with what it quotes as code.
#[askama::filter_fn]
pub fn said(value: impl Display, _: &dyn Values, most: usize) -> Result<Html> {
    Ok(super::text::said(&value.to_string(), most))
}

/// A message of ours that unfolds where it is longer than that.
#[askama::filter_fn]
pub fn said_whole(value: impl Display, _: &dyn Values, most: usize) -> Result<Html> {
    Ok(super::text::said_folded(&value.to_string(), most))
}

/// What became of a folder.
#[askama::filter_fn]
pub fn folder_state(value: &InboxFolderState, _: &dyn Values) -> Result<Html> {
    Ok(state::of_folder(*value).html())
}

/// Whether an inbox can be looked into.
#[askama::filter_fn]
pub fn inbox_state(inbox: &InboxView, _: &dyn Values) -> Result<Html> {
    Ok(state::of_inbox(inbox).html())
}

/// What became of an assertion.
#[askama::filter_fn]
pub fn verdict_state(value: &VerdictCode, _: &dyn Values) -> Result<Html> {
    Ok(state::of_verdict(*value).html())
}

/// The colour of something that happened.
#[askama::filter_fn]
pub fn event_tone(event: &Option<Event>, _: &dyn Values) -> Result<&'static str> {
    Ok(state::of_event(*event))
}

/// What happened.
#[askama::filter_fn]
pub fn event_words(item: &TimelineItem, _: &dyn Values) -> Result<Html> {
    Ok(words::event(item))
}

/// `+`, `~` or `−`.
#[askama::filter_fn]
pub fn sign(action: &Action, _: &dyn Values) -> Result<Html> {
    Ok(state::sign(*action))
}

/// The setting of a guard's limit.
#[askama::filter_fn]
pub fn guard_setting(trip: &GuardTrip, _: &dyn Values) -> Result<&'static str> {
    Ok(words::guard(trip.rule))
}

/// What a source says of an entity.
#[askama::filter_fn]
pub fn assertion(kind: &AssertionKind, _: &dyn Values) -> Result<&'static str> {
    Ok(words::assertion(*kind))
}

/// How an inbox knows complete batches.
#[askama::filter_fn]
pub fn completeness(inbox: &InboxView, _: &dyn Values) -> Result<Html> {
    Ok(words::completeness(&inbox.complete))
}

/// Words that may name a batch, which they lead to then.
#[askama::filter_fn]
pub fn linked(value: impl Display, _: &dyn Values, batch: &Option<BatchId>) -> Result<Html> {
    Ok(words::linked(&value.to_string(), batch.as_ref()))
}

/// Why a batch waits, with the batch that it waits for as a link.
#[askama::filter_fn]
pub fn wait_words(wait: &WaitView, _: &dyn Values) -> Result<Html> {
    Ok(words::wait(wait))
}

/// How far work has come, as a bar.
#[askama::filter_fn]
pub fn progress_bar(progress: &ProgressView, _: &dyn Values) -> Result<Html> {
    Ok(bars::progress(progress))
}

/// How far work has come, in words.
#[askama::filter_fn]
pub fn progress_words(progress: &ProgressView, _: &dyn Values) -> Result<String> {
    Ok(words::progress(progress))
}

/// How much of a source waits, beside the deepest.
#[askama::filter_fn]
pub fn depth_bar(depth: &QueueDepth, _: &dyn Values, deepest: &u64) -> Result<Html> {
    Ok(bars::depth(depth, *deepest))
}

/// A score with its parts, beside the best.
#[askama::filter_fn]
pub fn score(priority: &PriorityView, _: &dyn Values, best: &f64) -> Result<Html> {
    Ok(bars::score(priority, *best))
}

/// A score with its parts, in words.
#[askama::filter_fn]
pub fn score_words(priority: &PriorityView, _: &dyn Values) -> Result<String> {
    Ok(words::score(priority))
}
