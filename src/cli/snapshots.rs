//! `tidegate snapshots`: what was published, and when.

use clap::Subcommand;

use super::Global;
use super::common::{out, out_json, table, with_engine};
use crate::domain::ids::SnapshotId;
use crate::error::{Error, ErrorKind, Result};
use crate::planning::bodies::Bodies;
use crate::planning::format::layer::{CacheBudget, Scratch};
use crate::planning::snapshot::Snapshot;
use crate::service::Engine;
use crate::store::SnapshotRecord;

/// Looks at snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotsCommand {
    /// List them, newest first
    List {
        /// Of this source
        #[arg(long)]
        source: Option<String>,
    },
    /// Show one
    Show {
        /// Its id
        id: String,
    },
    /// Show what differs between two of one source
    Diff {
        /// The older one
        before: String,
        /// The newer one
        after: String,
    },
}

fn find(engine: &Engine, id: &str) -> Result<(SnapshotRecord, Snapshot)> {
    let wanted = SnapshotId::new(id).map_err(|e| Error::new(ErrorKind::Usage, e.to_string()))?;
    let found = engine.store().read(|view| view.snapshots())?.into_iter().find(|record| record.id == wanted);
    let Some(record) = found else {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no snapshot {wanted}")));
    };
    let budget = CacheBudget::new(64 << 20);
    let snapshot = Snapshot::open(engine.state(), &record.source, &record.target, &record.id, &budget)?;
    Ok((record, snapshot))
}

/// Runs the command.
pub fn run(global: &Global, command: &SnapshotsCommand) -> Result<u8> {
    with_engine(global, |engine| {
        match command {
            SnapshotsCommand::List { source } => {
                let mut records = engine.store().read(|view| view.snapshots())?;
                records
                    .retain(|record| source.as_ref().is_none_or(|source| record.source.as_str() == source));
                records.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
                if global.json {
                    let item = |r: &crate::store::SnapshotRecord| {
                        serde_json::json!({
                            "snapshot_id": r.id, "source_id": r.source, "target": r.target, "parent": r.parent,
                            "batch_id": r.batch_id, "created_at": r.created_at, "url": r.url,
                            "entities": r.entities, "relationships": r.relationships,
                        })
                    };
                    let items: Vec<_> = records.iter().map(item).collect();
                    return out_json(&serde_json::json!({ "items": items })).map(|()| 0);
                }
                let rows: Vec<Vec<String>> = records
                    .iter()
                    .map(|r| {
                        vec![
                            r.id.to_string(),
                            r.source.to_string(),
                            r.created_at.strftime("%F %T").to_string(),
                            r.entities.to_string(),
                            r.relationships.to_string(),
                            r.batch_id.to_string(),
                        ]
                    })
                    .collect();
                out(table(
                    &["SNAPSHOT", "SOURCE", "MADE (UTC)", "ENTITIES", "RELATIONSHIPS", "BATCH"],
                    &rows,
                ))?;
            }
            SnapshotsCommand::Show { id } => {
                let (_, snapshot) = find(engine, id)?;
                out_json(snapshot.manifest())?;
            }
            SnapshotsCommand::Diff { before, after } => {
                let (old, new) = (find(engine, before)?, find(engine, after)?);
                if old.0.source != new.0.source {
                    let text = format!("{before} is of {}, {after} of {}", old.0.source, new.0.source);
                    return Err(Error::new(ErrorKind::Usage, text));
                }
                diff(global, &old.1, &new.1)?;
            }
        }
        Ok(0)
    })
}

fn diff(global: &Global, old: &Snapshot, new: &Snapshot) -> Result<()> {
    let mut scratch = Scratch::default();
    let mut bodies = Bodies::new()?;
    let mut counts = [0u64; 3];
    let mut line = |sign: &str,
                    action: &str,
                    n: usize,
                    key: crate::domain::key::Key,
                    patch: Option<crate::domain::merge::Patch>| {
        counts[n] += 1;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if global.json {
            let raw =
                |bytes: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_default();
            let (before, after) =
                patch.map_or((None, None), |patch| (Some(raw(patch.before)), Some(raw(patch.after))));
            let value = serde_json::json!({ "action": action, "kind": key.kind(), "key": key, "before": before, "after": after });
            out(format!("{value}\n"))
        } else {
            let detail = patch
                .map_or(String::new(), |patch| format!("  {} → {}", text(patch.before), text(patch.after)));
            out(format!(
                "{}\n",
                super::render::safe(&format!("{sign} {} {key}{detail}", key.kind().as_str()))
            ))
        }
    };
    new.each_live(|found| {
        let before = old.live(found.entry.key, &mut scratch)?;
        let body = new.body(&found, &mut bodies)?;
        match before {
            None => line("+", "create", 0, body.body()?.key(), None),
            Some(before) => {
                let old_body = old.body(&before, &mut bodies)?;
                match crate::domain::merge::diff(old_body.body()?.attributes, body.body()?.attributes) {
                    None => Ok(()),
                    patch => line("~", "update", 1, body.body()?.key(), patch),
                }
            }
        }
    })?;
    let mut scratch = Scratch::default();
    let mut bodies = Bodies::new()?;
    old.each_live(|found| {
        if new.live(found.entry.key, &mut scratch)?.is_some() {
            return Ok(());
        }
        line("-", "delete", 2, old.body(&found, &mut bodies)?.body()?.key(), None)
    })?;
    if global.json {
        return Ok(());
    }
    out(format!("{} created, {} updated, {} deleted.\n", counts[0], counts[1], counts[2]))
}
