//! `tidegate demo --once`: the story from beginning to end in the terminal,
//! with every plan, and nothing left running.

use super::super::Global;
use super::super::common::{colour, out, out_json, quoted};
use super::super::render;
use super::super::shown::Stored;
use super::material::{self, Expect, Step};
use super::wrapped;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, Result};
use crate::service::Engine;
use crate::store::BatchRecord;

/// Of plans with more changes than this only some creations and updates are
/// listed; what is deleted always is.
const SHOW_ALL: u64 = 40;
/// How many.
const SOME: usize = 5;

/// Publishes the story.
pub fn run(global: &Global, engine: &Engine, data: &std::path::Path) -> Result<u8> {
    let steps = material::steps()?;
    let mut states = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        let folder = material::deliver(step, &data.join("inbox"))?;
        let id = engine.accept(&folder)?;
        if !global.json {
            out(format!("\n{}\n{}\n\n", title(n, steps.len(), &id.to_string()), wrapped(&step.caption)))?;
        }
        let mut record = engine.run_batch(&id)?;
        if !global.json {
            show(engine, &record)?;
        }
        if record.hold.is_some() {
            engine.reject(&id, "demo operator", "most tables are missing: the extraction was cut off")?;
            record = engine.batch(&id)?;
        }
        verify(engine, step, &record)?;
        if global.json {
            states.push(record.publish_state());
        } else {
            out(format!("{}\n", ending(&record)))?;
        }
    }
    if global.json {
        out_json(&states)?;
    } else {
        finish(global, engine, data)?;
    }
    Ok(0)
}

/// Shows a batch's plan: all of it, or its deletions and the first of its
/// other changes where it is long.
fn show(engine: &Engine, record: &BatchRecord) -> Result<()> {
    let Some(plan) = engine.plan_of(record)? else { return Ok(()) };
    let is_long = plan.manifest().header.summary.changes() > SHOW_ALL;
    let listed = if is_long { SOME } else { render::plan::LISTED };
    let options = render::plan::Options { summary: false, full: false, listed, json: false };
    render::plan::print(&Stored::new(&plan)?, &options)
}

/// The demo promises what it shows: anything else is a defect.
fn verify(engine: &Engine, step: &Step, record: &BatchRecord) -> Result<()> {
    let code = record.failure.as_ref().map(|failure| failure.error_code.as_str());
    let changes = match engine.plan_of(record)? {
        Some(plan) => plan.manifest().header.summary.changes(),
        None => 0,
    };
    let right = match step.expect {
        Expect::Complete => record.status == PublishStatus::Complete && code.is_none() && changes > 0,
        Expect::NoChanges => record.status == PublishStatus::Complete && code.is_none() && changes == 0,
        Expect::Partial => record.status == PublishStatus::Complete && code == Some("PARTIAL"),
        Expect::ParkedThenRejected => record.status == PublishStatus::Failed && code == Some("REJECTED"),
    };
    if right {
        return Ok(());
    }
    Err(Error::internal(format!(
        "batch {} of the demo ended {} ({}), {:?} was expected",
        record.batch_id,
        record.status.as_str(),
        code.unwrap_or("no failure"),
        step.expect
    )))
}

fn title(n: usize, of: usize, batch: &str) -> String {
    let text = format!("── {} of {of}  {batch} ", n + 1);
    let line = format!("{text}{}", "─".repeat(78usize.saturating_sub(text.chars().count())));
    if colour() {
        let bold = anstyle::Style::new().bold();
        format!("{bold}{line}{bold:#}")
    } else {
        line
    }
}

fn ending(record: &BatchRecord) -> String {
    let metrics = record.metrics.unwrap_or_default();
    match (&record.failure, record.status) {
        (None, _) => format!("COMPLETE in {} ms", metrics.execution_time_ms),
        (Some(failure), status) => {
            render::safe(&format!("{} {}: {}", status.as_str(), failure.error_code, failure.error_message))
        }
    }
}

fn finish(global: &Global, engine: &Engine, data: &std::path::Path) -> Result<()> {
    let mut export = Vec::new();
    engine.export(&mut export, false)?;
    let (mut entities, mut relationships) = (0, 0);
    for line in serde_json::Deserializer::from_slice(&export).into_iter::<Exported>() {
        let line = line.map_err(|e| Error::internal("a line of the export").caused_by(e))?;
        *(if line.from.is_some() { &mut relationships } else { &mut entities }) += 1;
    }
    let mut text = format!(
        "\n{}\nThe catalogue has {entities} entities and {relationships} relationships.\n",
        "─".repeat(78)
    );
    if global.data.is_some() {
        let data = quoted(&data.display().to_string());
        text.push_str(&format!(
            "Look around:\n  tidegate --data {data} catalogue search revenue\n  tidegate --data {data} catalogue get dbt_model halden_analytics.mart_revenue_daily\n  tidegate --data {data} batches list\n"
        ));
    } else {
        text.push_str("With `--data DIR` it is kept, to look around in.\n");
    }
    out(text)
}

/// As much of an exported line as tells a relationship from an entity.
#[derive(serde::Deserialize)]
struct Exported {
    from: Option<serde::de::IgnoredAny>,
}
