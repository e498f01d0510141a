//! `tidegate sources`: the systems that metadata comes from.

use clap::Subcommand;

use super::Global;
use super::common::{out, out_json, table, with_engine};
use crate::domain::ids::SourceId;
use crate::error::{Error, ErrorKind, Result};
use crate::service::Engine;
use crate::store::BatchFilter;

/// Looks at sources.
#[derive(Debug, Subcommand)]
pub enum SourcesCommand {
    /// List them
    List,
    /// Show one
    Show {
        /// Its id
        source: String,
    },
}

fn view(engine: &Engine, source: &SourceId) -> Result<serde_json::Value> {
    let settings = engine.settings().source(source);
    let (batches, waiting, hold, letters, current, snapshots) = engine.store().read(|view| {
        Ok((
            view.batches(&BatchFilter { source: Some(source.clone()), limit: 1, ..BatchFilter::default() })?,
            view.unfinished(source)?.len(),
            view.source_hold(source)?,
            view.open_dead_letters(source)?.len(),
            view.current_snapshot(&settings.target, source)?,
            view.snapshots()?,
        ))
    })?;
    let snapshot =
        snapshots.into_iter().find(|record| Some(&record.id) == current.as_ref() && record.source == *source);
    Ok(serde_json::json!({
        "source_id": source,
        "target": settings.target,
        "importance": settings.importance,
        "precedence": settings.precedence,
        "waiting": waiting,
        "newest_batch": batches.first().map(|batch| batch.batch_id.to_string()),
        "newest_status": batches.first().map(|batch| batch.status),
        "hold": hold.map(|hold| serde_json::json!({ "code": hold.code, "note": hold.note, "since": hold.since })),
        "open_dead_letters": letters,
        "snapshot": current,
        "entities": snapshot.as_ref().map(|record| record.entities),
        "relationships": snapshot.as_ref().map(|record| record.relationships),
    }))
}

/// Runs the command.
pub fn run(global: &Global, command: &SourcesCommand) -> Result<u8> {
    with_engine(global, |engine| {
        let known = engine.store().read(|view| view.sources())?;
        match command {
            SourcesCommand::List => {
                let views = known.iter().map(|source| view(engine, source)).collect::<Result<Vec<_>>>()?;
                if global.json {
                    return out_json(&serde_json::json!({ "items": views })).map(|()| 0);
                }
                let cell = |value: &serde_json::Value, name: &str| match &value[name] {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let rows: Vec<Vec<String>> = views
                    .iter()
                    .map(|v| {
                        let held = if v["hold"].is_null() { "" } else { "held" };
                        let names = [
                            "source_id",
                            "target",
                            "newest_status",
                            "waiting",
                            "entities",
                            "relationships",
                            "open_dead_letters",
                        ];
                        names.iter().map(|name| cell(v, name)).chain([held.to_owned()]).collect()
                    })
                    .collect();
                out(table(
                    &[
                        "SOURCE",
                        "TARGET",
                        "NEWEST",
                        "WAITING",
                        "ENTITIES",
                        "RELATIONSHIPS",
                        "DEAD LETTERS",
                        "",
                    ],
                    &rows,
                ))?;
            }
            SourcesCommand::Show { source } => {
                let id = SourceId::new(source).map_err(|e| Error::new(ErrorKind::Usage, e.to_string()))?;
                if !known.contains(&id) {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("no batch of a source {id} was ever accepted"),
                    ));
                }
                let value = view(engine, &id)?;
                if global.json {
                    out_json(&value)?;
                } else if let Some(object) = value.as_object() {
                    let rows: Vec<Vec<String>> = object
                        .iter()
                        .map(|(name, value)| {
                            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                            vec![name.replace('_', " "), if value.is_null() { "-".into() } else { text }]
                        })
                        .collect();
                    out(table(&["", ""], &rows).trim_start_matches([' ', '\n']))?;
                }
            }
        }
        Ok(0)
    })
}
