//! Targets: what is set for them, and whether they hold what was published.

use jiff::Timestamp;

use super::super::engine::{Engine, OpenTarget};
use super::super::views::{DownView, Page, TargetView, WindowView};
use super::{Part, cursor};
use crate::domain::ids::{SourceId, TargetName};
use crate::domain::maintenance::Window;
use crate::domain::publish_state::PublishStatus;
use crate::error::{self, Error, ErrorKind, Result};
use crate::store::BreakerRecord;

/// The list's name, for cursors.
const NAME: &str = "targets";

impl Engine {
    /// A part of the targets, by name.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a cursor of another list, or a limit out of bounds.
    pub fn targets_part(&self, part: &Part) -> Result<Page<TargetView>> {
        let (limit, after) = (part.limit()?, part.after(NAME)?);
        let behind =
            |name: &TargetName| after.as_ref().is_none_or(|after| name.as_str().as_bytes() > &after[..]);
        let mut left = self.targets.iter().filter(|(name, _)| behind(name));
        let items: Vec<TargetView> =
            left.by_ref().take(limit).map(|(name, open)| self.seen(name, open)).collect::<Result<_>>()?;
        let last = items.last().filter(|_| left.next().is_some());
        let next_cursor = last.map(|last| cursor::encode(NAME, last.target.as_str().as_bytes()));
        Ok(Page { items, next_cursor })
    }

    /// The targets, by name.
    pub fn targets(&self) -> Result<Vec<TargetView>> {
        self.targets.iter().map(|(name, open)| self.seen(name, open)).collect()
    }

    /// The targets that can't be used now, or are tried again.
    ///
    /// # Errors
    /// When the store fails.
    pub fn targets_down(&self) -> Result<Vec<(TargetName, DownView)>> {
        let open = self.store.read(|view| view.open_breakers())?.into_iter();
        let here = open.filter(|(name, _)| self.targets.contains_key(name));
        Ok(here.map(|(name, breaker)| (name, down(breaker))).collect())
    }

    /// A target.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this name.
    pub fn target_view(&self, name: &TargetName) -> Result<TargetView> {
        match self.targets.get(name) {
            Some(open) => self.seen(name, open),
            None => Err(Error::new(ErrorKind::NotFound, format!("there is no target {name}"))),
        }
    }

    fn seen(&self, name: &TargetName, open: &OpenTarget) -> Result<TargetView> {
        let (breaker, current) =
            self.store.read(|view| Ok((view.breaker(name)?, view.current_snapshots(name)?)))?;
        let sources: Vec<SourceId> = current.into_keys().collect();
        let identity = if breaker.as_ref().is_some_and(BreakerRecord::is_open) {
            None
        } else {
            Some(open.target.identity())
        };
        let last_outage = breaker.as_ref().and_then(|breaker| breaker.closed_at);
        let down = breaker.filter(BreakerRecord::is_open).map(down);
        let problems = match &down {
            // Nothing is sent to it but probes.
            Some(down) => vec![format!("it can't be used: {}", down.message)],
            None => self.problems((name, open), &sources, identity.as_ref())?,
        };
        let now = self.clock.now();
        let settings = self.settings();
        let windows = settings.targets.get(name).map_or(&[][..], |target| &target.maintenance);
        Ok(TargetView {
            target: name.clone(),
            kind: if open.embedded.is_some() { "embedded" } else { "http" }.to_owned(),
            deletion: open.deletion,
            identity: identity.and_then(Result::ok),
            sources,
            down,
            last_outage,
            maintenance: windows.iter().map(|window| shown(window, now)).collect(),
            problems,
        })
    }

    /// What is wrong with a target that answers, as far as anyone knows.
    fn problems(
        &self,
        (name, open): (&TargetName, &OpenTarget),
        sources: &[SourceId],
        identity: Option<&Result<String>>,
    ) -> Result<Vec<String>> {
        let absent = open.embedded.as_ref().is_some_and(|catalogue| catalogue.is_absent());
        if absent && sources.is_empty() {
            return Ok(Vec::new());
        }
        if let Err(error) = open.target.health() {
            return Ok(vec![format!("it can't be used: {error}")]);
        }
        // It is asked once, however many sources are published to it.
        let identity = match identity {
            Some(Ok(identity)) => identity,
            Some(Err(error)) => return Ok(vec![format!("it can't be used: {error}")]),
            None => return Ok(Vec::new()),
        };
        let mut problems = Vec::new();
        for source in sources {
            // While a plan is executed the target is ahead of what is stored.
            let at_work = self.store.read(|view| view.unfinished(source))?;
            let at_work = at_work.iter().any(|batch| batch.status == PublishStatus::Executing);
            if !at_work && let Err(error) = self.check_target_is(source, name, identity) {
                problems.push(error.to_string());
            }
        }
        Ok(problems)
    }
}

fn down(breaker: BreakerRecord) -> DownView {
    DownView {
        since: breaker.since,
        action: error::by_code(&breaker.code).map(|info| info.action.to_owned()),
        code: breaker.code,
        message: breaker.message,
        probes: breaker.probes,
        next_probe: breaker.next_probe,
        half_open: breaker.half_open,
    }
}

fn shown(window: &Window, now: Timestamp) -> WindowView {
    WindowView {
        cron: window.cron.clone(),
        time_zone: window.time_zone.clone(),
        seconds: window.duration.as_secs(),
        open_until: window.open_until(now),
        opens: window.opens(now),
    }
}
