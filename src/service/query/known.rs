//! Whether what a filter of dead letters names is there at all: a slip in a
//! source, code or group would find nothing, and look as if all were well.

use super::super::engine::Engine;
use crate::domain::ids::SourceId;
use crate::error::{Error, ErrorKind, Result, by_code};
use crate::store::LetterList;

/// Codes are told apart without regard to case.
fn expect_code(code: &str) -> Result<()> {
    if by_code(&code.to_uppercase()).is_some() {
        return Ok(());
    }
    let text = format!("{code} is no error code");
    let action = "`tidegate dlq groups` has those that there are, docs/errors.md all of them.";
    Err(Error::new(ErrorKind::NotFound, text).with_action(action))
}

impl Engine {
    /// Whether the source, code and group of a filter are known.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] names the first that is not.
    pub(in crate::service) fn expect_named(
        &self,
        source: Option<&SourceId>,
        code: Option<&str>,
        group: Option<&str>,
    ) -> Result<()> {
        if let Some(source) = source {
            self.expect_source(source)?;
        }
        if let Some(code) = code {
            expect_code(code)?;
        }
        group.map_or(Ok(()), |group| self.expect_group(group))
    }

    /// A group is known while a letter is that has or had its reason.
    fn expect_group(&self, group: &str) -> Result<()> {
        let list = LetterList { signature: Some(group.to_owned()), limit: 1, ..LetterList::default() };
        let there = self.store.read(|view| {
            let found = view.list_of_dead_letters(&list, drop)?;
            Ok(!found.letters.is_empty() || found.next.is_some())
        })?;
        if there {
            return Ok(());
        }
        let text = format!("there is no group {group} of dead letters, or all of it was forgotten");
        let action = "`tidegate dlq groups` has the groups that are not settled.";
        Err(Error::new(ErrorKind::NotFound, text).with_action(action))
    }
}
