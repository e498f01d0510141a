//! Skips: keys that an operator knows to be bad. They keep their published
//! value, are neither sent nor deleted, and are counted.

use jiff::Timestamp;

use super::SELF;
use super::engine::Engine;
use super::views::SkipView;
use crate::domain::glob::Glob;
use crate::domain::ids::SourceId;
use crate::domain::key::Key;
use crate::domain::publish_state::PublishStatus;
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_NAME, MAX_TYPE};
use crate::store::{PlanState, SkipRecord, Tx};

/// Most skips of a source: each is compared with every line that is parsed.
const MOST: usize = 1_000;

/// A skip as a person asks for it.
#[derive(Debug, Clone)]
pub struct Skip {
    /// The type, as it is.
    pub type_name: String,
    /// Globs of qualified names.
    pub name: String,
    /// When it ends by itself; `None`: it does not.
    pub until: Option<Timestamp>,
}

fn usage(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, text)
}

fn check(skip: &Skip, now: Timestamp) -> Result<()> {
    for (what, text, most) in [("type", &skip.type_name, MAX_TYPE), ("name", &skip.name, MAX_NAME)] {
        if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
            return Err(usage(format!(
                "the {what} of a skip must have 1 to {most} bytes and no control characters"
            )));
        }
    }
    if skip.type_name.contains('*') {
        return Err(usage(format!(
            "the type of a skip is matched as it is, and {} is a glob: give one skip for each type",
            skip.type_name
        )));
    }
    match skip.until {
        Some(until) if until <= now => Err(usage(format!("the skip would end at {until}, which is over"))),
        Some(_) | None => Ok(()),
    }
}

/// Has plans of a source that are not executed yet made again: they were made
/// under other skips.
fn plan_again(tx: &mut Tx<'_>, source: &SourceId) -> Result<()> {
    for plan in tx.alive_plans(None)? {
        let waits = plan.state == PlanState::Complete && plan.batch_id.source() == source;
        if waits && tx.expect_batch(&plan.batch_id)?.status == PublishStatus::PlanComplete {
            let cause = "what is skipped of its source is something else now";
            tx.transition_batch(&plan.batch_id, Event::PlanStale, cause, SELF, |record| record.hold = None)?;
        }
    }
    Ok(())
}

impl Engine {
    /// Skips keys of a source from now on. A skip of the same type and name
    /// gives way to this one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when nobody knows the source,
    /// [`ErrorKind::Usage`] when the skip can't be, [`ErrorKind::Conflict`]
    /// when the source has too many.
    pub fn skip(&self, source: &SourceId, skip: &Skip, actor: &str, reason: &str) -> Result<()> {
        self.expect_source(source)?;
        check(skip, self.clock.now())?;
        let record = SkipRecord {
            type_name: skip.type_name.clone(),
            name: Glob::new(skip.name.clone()),
            until: skip.until,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            at: self.clock.now(),
        };
        let source = source.clone();
        self.store.write(move |tx| {
            if tx.skips(&source)?.len() >= MOST {
                let text = format!("source {source} has {MOST} skips: one with a glob does as well as many");
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            tx.put_skip(&source, &record)?;
            let until =
                record.until.map_or_else(|| "until it is lifted".to_owned(), |at| format!("until {at}"));
            let text =
                format!("skips {} {} {until}: {}", record.type_name, record.name.as_str(), record.reason);
            tx.note_source(&source, &text, &record.actor)?;
            plan_again(tx, &source)
        })
    }

    /// Lifts a skip: the next batch that asserts the keys publishes them.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such skip.
    pub fn unskip(
        &self,
        source: &SourceId,
        type_name: &str,
        name: &str,
        actor: &str,
        reason: &str,
    ) -> Result<()> {
        let (source, type_name, name) = (source.clone(), type_name.to_owned(), name.to_owned());
        let (actor, reason) = (actor.to_owned(), reason.to_owned());
        self.store.write(move |tx| {
            if tx.remove_skip(&source, &type_name, &name)?.is_none() {
                let there: Vec<String> = tx
                    .skips(&source)?
                    .iter()
                    .take(10)
                    .map(|skip| format!("{} {}", skip.type_name, skip.name.as_str()))
                    .collect();
                let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
                let text = format!("source {source} does not skip {type_name} {name}; it skips {there}");
                return Err(Error::new(ErrorKind::NotFound, text));
            }
            tx.note_source(&source, &format!("no longer skips {type_name} {name}: {reason}"), &actor)?;
            plan_again(tx, &source)
        })
    }

    /// What is skipped of a source now.
    ///
    /// # Errors
    /// Those of the store.
    pub fn skips(&self, source: &SourceId) -> Result<Vec<SkipView>> {
        let now = self.clock.now();
        let skips = self.store.read(|view| view.skips(source))?;
        Ok(skips.into_iter().filter(|skip| skip.is_active(now)).map(SkipView::from).collect())
    }

    /// The skip that a key of a source is under now.
    ///
    /// # Errors
    /// Those of the store.
    pub fn skip_of(&self, source: &SourceId, key: &Key) -> Result<Option<SkipView>> {
        let has = |skip: &SkipView| {
            skip.type_name == key.type_name() && Glob::new(skip.name.clone()).matches(key.scope_name())
        };
        Ok(self.skips(source)?.into_iter().find(has))
    }

    /// Forgets skips of a source that have ended, and says so.
    pub(super) fn end_skips(&self, source: &SourceId) -> Result<()> {
        let now = self.clock.now();
        let over: Vec<SkipRecord> = self
            .store
            .read(|view| view.skips(source))?
            .into_iter()
            .filter(|skip| !skip.is_active(now))
            .collect();
        if over.is_empty() {
            return Ok(());
        }
        for skip in &over {
            tracing::info!(%source, type_name = skip.type_name, name = skip.name.as_str(), "a skip has ended");
        }
        let source = source.clone();
        self.store.write(move |tx| {
            for skip in &over {
                let name = skip.name.as_str();
                // Another one may have taken its place.
                let same = tx.skips(&source)?.into_iter().any(|stored| stored == *skip);
                if same && tx.remove_skip(&source, &skip.type_name, name)?.is_some() {
                    let text = format!("no longer skips {} {name}: its time is over", skip.type_name);
                    tx.note_source(&source, &text, SELF)?;
                }
            }
            Ok(())
        })
    }
}
