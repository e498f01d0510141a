//! Known issues: an operator says that batches of a target, of a source, or
//! that fail with a code are to wait, and when they go on.

use jiff::Timestamp;

use super::engine::Engine;
use crate::domain::ids::{SourceId, TargetName};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::store::{Decision, KnownIssue};

/// What an operator declares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Batches that are published to this target.
    pub target: Option<TargetName>,
    /// Batches of this source.
    pub source: Option<SourceId>,
    /// Batches that fail with this code of the table of errors.
    pub code: Option<String>,
    /// What is known.
    pub note: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Whether it may be about every batch there is, as one about the only
    /// target is.
    pub everything: bool,
}

impl Declared {
    /// Whether it is about the only one of these targets, and about nothing in
    /// particular.
    pub fn is_about_everything<'a>(&self, targets: impl IntoIterator<Item = &'a TargetName>) -> bool {
        let mut targets = targets.into_iter();
        let only = targets.next().filter(|_| targets.next().is_none());
        self.source.is_none() && self.code.is_none() && self.target.is_some() && self.target.as_ref() == only
    }
}

impl Engine {
    /// Has matching batches wait.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is about everything or about nothing,
    /// says nothing, or is over already.
    pub fn declare_issue(&self, declared: Declared, actor: &str) -> Result<KnownIssue> {
        let bad = |text: String| Err(Error::new(ErrorKind::Usage, text));
        let is_too_much = !declared.everything && declared.is_about_everything(self.targets.keys());
        let Declared { target, source, code, note, until, .. } = declared;
        let code = code.map(|code| code.to_uppercase());
        if target.is_none() && source.is_none() && code.is_none() {
            return bad("a known issue is about a target, a source or an error code: without any of them everything would wait".into());
        }
        if note.trim().is_empty() {
            return bad("a known issue needs a note: it is what others see as the reason".into());
        }
        if let Some(name) = target.as_ref().filter(|name| !self.targets.contains_key(*name)) {
            let names: Vec<&str> = self.targets.keys().map(|name| name.as_str()).collect();
            return bad(format!("there is no target {name}; there are: {}", names.join(", ")));
        }
        if is_too_much {
            return bad("it is the only target: every batch would wait; set `everything` if that is meant, or name a source or a code too".into());
        }
        if let Some(code) = &code {
            match crate::error::by_code(code) {
                Some(info) if info.retry != Retry::Never => {}
                Some(_) => {
                    return bad(format!(
                        "what fails with {code} is not tried again, so nothing would wait; docs/errors.md says which codes are"
                    ));
                }
                None => return bad(format!("there is no error code {code}; docs/errors.md lists them")),
            }
        }
        if let Some(source) = &source {
            let known = self.source_ids()?;
            if !known.contains(source) {
                return bad(format!(
                    "there is no source {source}: no batch of it was accepted, and no setting names it"
                ));
            }
        }
        let now = self.clock.now();
        if until.is_some_and(|until| until <= now) {
            return bad("`until` is over already".into());
        }
        let declared = Decision { actor: actor.to_owned(), reason: note.clone(), at: now };
        let issue = KnownIssue { id: 0, target, source, code, note, declared, until, lifted: None };
        tracing::info!(
            target = issue.target.as_ref().map(|t| t.as_str()),
            source = issue.source.as_ref().map(|s| s.as_str()),
            code = issue.code,
            actor,
            "a known issue was declared"
        );
        self.store.write(move |tx| {
            let id = tx.add_known_issue(issue.clone())?;
            Ok(KnownIssue { id, ..issue })
        })
    }

    /// Ends a known issue: what waited for it goes on, oldest first.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this number,
    /// [`ErrorKind::Conflict`] when it is over already.
    pub fn lift_issue(&self, id: u64, actor: &str, reason: &str) -> Result<KnownIssue> {
        let decision = Decision { actor: actor.to_owned(), reason: reason.to_owned(), at: self.clock.now() };
        let issue = self.store.write(move |tx| {
            let missing = || Error::new(ErrorKind::NotFound, format!("there is no known issue {id}"));
            let before = tx.known_issue_of(id)?.ok_or_else(missing)?;
            if !before.is_in_force(tx.now()) {
                let text = match &before.lifted {
                    Some(lifted) => {
                        format!("known issue {id} was lifted by {} at {}", lifted.actor, lifted.at)
                    }
                    None => format!("known issue {id} is over already"),
                };
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            tx.lift_known_issue(id, decision)?.ok_or_else(missing)
        })?;
        tracing::info!(issue = id, actor, "a known issue was lifted");
        Ok(issue)
    }

    /// Every known issue, those that are over included, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn known_issues(&self) -> Result<Vec<KnownIssue>> {
        let mut issues = self.store.read(|view| view.known_issues())?;
        issues.reverse();
        Ok(issues)
    }
}
