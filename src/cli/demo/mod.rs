//! `tidegate demo`: a small company, published through the real pipeline.

mod material;

use std::path::PathBuf;

use clap::Args;
use material::{Expect, Step};

use super::Global;
use super::common::{clock, colour, crash_points, out, out_json};
use super::render;
use crate::config::{LoadOptions, Settings};
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::service::Engine;
use crate::store::BatchRecord;

/// Publishes the demo company.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End when everything is published
    #[arg(long)]
    pub once: bool,
}

/// Plans with more changes than this are shown in short.
const SHOW_ALL: u64 = 40;

/// Runs the command.
pub fn run(global: &Global, _args: &DemoArgs) -> Result<u8> {
    // Kept for as long as the demo runs, and removed with all that is in it.
    let temporary;
    let data: PathBuf = match &global.data {
        Some(data) if data.join("tidegate.redb").exists() => {
            let text = format!("{} is in use already: the demo wants a folder of its own", data.display());
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        Some(data) => data.clone(),
        None => {
            temporary = TemporaryFolder::new()?;
            temporary.0.clone()
        }
    };
    std::fs::create_dir_all(&data).map_err(|e| Error::io(&data, e))?;
    let settings = data.join("tidegate.toml");
    std::fs::write(&settings, material::SETTINGS).map_err(|e| Error::io(&settings, e))?;
    let options = LoadOptions { data: Some(data.clone()), file: None, environment: [].into() };
    let engine = Engine::open_with(&data, Settings::load(&options)?, clock(), crash_points()?)?;

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
            show(&engine, &record)?;
        }
        if record.hold.is_some() {
            engine.reject(&id, "demo operator", "most tables are missing: the extraction was cut off")?;
            record = engine.batch(&id)?;
        }
        verify(&engine, step, &record)?;
        if global.json {
            states.push(record.publish_state());
        } else {
            out(format!("{}\n", ending(&record)))?;
        }
    }
    if global.json {
        out_json(&states)?;
    } else {
        finish(global, &engine, &data)?;
    }
    Ok(0)
}

/// Shows a batch's plan: all of it, or in short where it is long.
fn show(engine: &Engine, record: &BatchRecord) -> Result<()> {
    let Some(plan) = engine.plan_of(record)? else { return Ok(()) };
    let summary = plan.manifest().header.summary.changes() > SHOW_ALL;
    render::plan::print(&plan, &render::plan::Options { summary, full: false, json: false })
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

/// Text in lines of at most 78 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 78 => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
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
        let data = data.display();
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

/// A folder that goes with its owner.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> Result<Self> {
        let random = crate::clock::Clock::random(&*clock());
        let path = std::env::temp_dir().join(format!("tidegate-demo-{random:016x}"));
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Should it stay, it is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
