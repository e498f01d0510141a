//! A plan as JSON (contract: command line): one piece of code for `plan
//! --json`, wherever the plan comes from, and for plans that are uploaded.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::domain::change::Change;
use crate::domain::guards::GuardTrip;
use crate::domain::key::Key;
use crate::domain::plan::PlanSummary;
use crate::error::{Error, ErrorKind, Result};
use crate::planning::bodies::Bodies;
use crate::planning::plan_file::Plan;

/// The format's name.
pub const FORMAT: &str = "tidegate.plan/1";

/// What a plan says of itself: all of its JSON but the changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`].
    pub format: String,
    /// Its id.
    pub plan_id: String,
    /// Digest of its changes.
    pub digest: String,
    /// The batch.
    pub batch_id: String,
    /// The target.
    pub target: String,
    /// The snapshot of the source that it is made from.
    pub base_snapshot: Option<String>,
    /// Its counts.
    pub summary: PlanSummary,
    /// The guards that it trips.
    pub guards: Vec<GuardTrip>,
    /// What should be looked at, in words.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Keys whose deletion is withheld, the first ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Key>,
    /// Paths of the source's volatile attributes: updates that differ in them
    /// alone are shown as one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volatile: Vec<String>,
    /// Lines that become dead letters, the first ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_lines: Vec<BadLine>,
    /// How many there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bad_line_count: u64,
}

/// A line that a plan leaves out. Never holds values.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BadLine {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The field that is wrong; empty: the line as a whole.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Bad lines that a plan names.
const BAD_LINES: usize = 10;

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Head {
    /// What a stored plan says of itself.
    ///
    /// # Errors
    /// Of the plan's file.
    pub fn of(plan: &Plan) -> Result<Self> {
        let header = &plan.manifest().header;
        let bad_lines = plan.first_rejects(BAD_LINES)?.into_iter().map(|reject| BadLine {
            file: reject.file,
            line: reject.line,
            field: reject.field,
            problem: reject.problem,
        });
        Ok(Self {
            format: FORMAT.to_owned(),
            plan_id: header.plan_id.to_string(),
            digest: header.digest.to_string(),
            batch_id: header.batch_id.to_string(),
            target: header.target.to_string(),
            base_snapshot: header.bases.get(&header.source_id).map(ToString::to_string),
            summary: header.summary,
            guards: header.guards.clone(),
            warnings: plan.manifest().warnings.clone(),
            withheld: plan.manifest().withheld.clone(),
            volatile: plan.manifest().volatile.clone(),
            bad_lines: bad_lines.collect(),
            bad_line_count: plan.manifest().reject_count,
        })
    }
}

fn unwritten(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "the plan as JSON could not be written").caused_by(error)
}

/// Writes a plan. `changes` hands out the changes in the order of execution;
/// without it they are left out.
pub fn write<F>(head: &Head, changes: Option<F>, out: &mut dyn Write) -> Result<()>
where
    F: FnOnce(&mut dyn FnMut(&Change) -> Result<()>) -> Result<()>,
{
    let mut text = serde_json::to_string(head).map_err(|e| Error::internal("a plan as JSON").caused_by(e))?;
    let Some(changes) = changes else {
        text.push('\n');
        return out.write_all(text.as_bytes()).map_err(unwritten);
    };
    text.pop();
    text.push_str(",\"changes\":[");
    out.write_all(text.as_bytes()).map_err(unwritten)?;
    let mut first = true;
    changes(&mut |change| {
        let text =
            serde_json::to_string(change).map_err(|e| Error::internal("a change as JSON").caused_by(e))?;
        let gap = if std::mem::take(&mut first) { "\n" } else { ",\n" };
        out.write_all(gap.as_bytes()).and_then(|()| out.write_all(text.as_bytes())).map_err(unwritten)
    })?;
    out.write_all(b"\n]}\n").map_err(unwritten)
}

/// Hands out the changes of a stored plan.
pub fn changes_of(plan: &Plan, each: &mut dyn FnMut(&Change) -> Result<()>) -> Result<()> {
    let mut bodies = Bodies::new()?;
    plan.changes(|change| each(&plan.resolve(change, &mut bodies)?))
}

/// Writes a stored plan, with or without its changes.
pub fn write_plan(plan: &Plan, summary: bool, out: &mut dyn Write) -> Result<()> {
    let changes = (!summary).then_some(|each: &mut dyn FnMut(&Change) -> Result<()>| changes_of(plan, each));
    write(&Head::of(plan)?, changes, out)
}
