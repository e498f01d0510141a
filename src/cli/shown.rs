//! A plan to be shown, wherever its changes come from: the files of a data
//! directory, a server's pages, or the answer to an upload.

use serde::Deserialize;

use super::client::Client;
use crate::domain::change::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::planning::plan_file::Plan;
use crate::service::query::PAGE_MAX;
use crate::service::query::plan_json::{self, FORMAT, Head};
use crate::service::views::PlanPage;

/// A plan that can be shown.
pub trait Shown {
    /// What it says of itself.
    fn head(&self) -> &Head;
    /// Its changes, in the order of execution.
    fn each(&self, f: &mut dyn FnMut(&Change) -> Result<()>) -> Result<()>;
}

/// A plan of this machine.
pub struct Stored<'a> {
    plan: &'a Plan,
    head: Head,
}

impl<'a> Stored<'a> {
    /// Shows `plan`.
    ///
    /// # Errors
    /// Of its file.
    pub fn new(plan: &'a Plan) -> Result<Self> {
        Ok(Self { plan, head: Head::of(plan)? })
    }

    /// As the plan of a batch, whose bad lines are dead letters, or will be.
    pub fn of_batch(mut self) -> Self {
        self.head.bad_lines = Vec::new();
        self.head.bad_line_count = 0;
        self
    }
}

impl Shown for Stored<'_> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn each(&self, f: &mut dyn FnMut(&Change) -> Result<()>) -> Result<()> {
        plan_json::changes_of(self.plan, f)
    }
}

/// A plan of a server's batch, fetched a page at a time.
pub struct Fetched<'a> {
    client: &'a Client,
    path: Vec<String>,
    head: Head,
}

impl<'a> Fetched<'a> {
    /// The plan at `path`; `None` when there is none.
    pub fn find(client: &'a Client, path: &[&str]) -> Result<Option<Self>> {
        let first = [("limit", Some("1".to_owned()))];
        let Some(page) = client.find::<PlanPage>(path, &first)? else { return Ok(None) };
        let path = path.iter().map(|segment| (*segment).to_owned()).collect();
        Ok(Some(Self { client, path, head: head_of(&page) }))
    }
}

fn head_of(page: &PlanPage) -> Head {
    let plan = &page.plan;
    Head {
        format: FORMAT.to_owned(),
        plan_id: plan.plan_id.to_string(),
        digest: plan.digest.to_string(),
        batch_id: page.batch_id.to_string(),
        target: plan.target.to_string(),
        base_snapshot: plan.base_snapshot.as_ref().map(ToString::to_string),
        summary: plan.summary,
        guards: plan.guards.clone(),
        warnings: page.warnings.clone(),
        withheld: page.withheld.clone(),
        volatile: page.volatile.clone(),
        // What became of them are dead letters.
        bad_lines: Vec::new(),
        bad_line_count: 0,
    }
}

impl Shown for Fetched<'_> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn each(&self, f: &mut dyn FnMut(&Change) -> Result<()>) -> Result<()> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let mut cursor = None;
        loop {
            let query = [("limit", Some(PAGE_MAX.to_string())), ("cursor", cursor)];
            let page: PlanPage = self.client.get(&path, &query)?;
            if page.plan.plan_id.to_string() != self.head.plan_id {
                let text = format!("batch {} was planned again meanwhile", page.batch_id);
                return Err(Error::new(ErrorKind::PlanStale, text));
            }
            for item in page.items {
                f(&Change {
                    action: item.action,
                    kind: item.kind,
                    key: item.key,
                    moved: item.moved,
                    before: item.before,
                    after: item.after,
                })?;
            }
            match page.next_cursor {
                None => return Ok(()),
                next => cursor = next,
            }
        }
    }
}

/// A plan that a server made of an upload, as its answer has it.
pub struct Answered {
    head: Head,
    changes: Vec<Change>,
}

impl Answered {
    /// Reads the plan's JSON.
    pub fn read(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Changes {
            changes: Vec<Change>,
        }
        let bad = |e| Error::new(ErrorKind::ServerAnswer, "the plan that the server made").caused_by(e);
        let head: Head = serde_json::from_slice(json).map_err(bad)?;
        let Changes { changes } = serde_json::from_slice(json).map_err(bad)?;
        Ok(Self { head, changes })
    }
}

impl Shown for Answered {
    fn head(&self) -> &Head {
        &self.head
    }

    fn each(&self, f: &mut dyn FnMut(&Change) -> Result<()>) -> Result<()> {
        self.changes.iter().try_for_each(f)
    }
}
