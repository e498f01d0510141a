//! Targets: what is set for them, and whether they hold what was published.

use super::super::engine::{Engine, OpenTarget};
use super::super::views::TargetView;
use crate::domain::ids::{SourceId, TargetName};
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};

impl Engine {
    /// The targets, by name.
    pub fn targets(&self) -> Result<Vec<TargetView>> {
        self.targets.iter().map(|(name, open)| self.seen(name, open)).collect()
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
        let mut problems = Vec::new();
        if let Err(error) = open.target.health() {
            problems.push(format!("it can't be used: {error}"));
        }
        let sources: Vec<SourceId> =
            self.store.read(|view| view.current_snapshots(name))?.into_keys().collect();
        for source in &sources {
            // While a plan is executed the target is ahead of what is stored.
            let at_work = self.store.read(|view| view.unfinished(source))?;
            let at_work = at_work.iter().any(|batch| batch.status == PublishStatus::Executing);
            if !at_work && let Err(error) = self.check_target(source) {
                problems.push(error.to_string());
            }
        }
        Ok(TargetView {
            target: name.clone(),
            kind: if open.embedded.is_some() { "embedded" } else { "http" }.to_owned(),
            deletion: open.deletion,
            identity: open.target.identity().ok(),
            sources,
            problems,
        })
    }
}
