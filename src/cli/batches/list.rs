//! `tidegate batches list` and `show`.

use serde::Serialize;

use super::super::Global;
use super::super::backend;
use super::super::common::{command_of, more, out, out_json, table, usage};
use super::super::render;
use super::ListArgs;
use crate::domain::ids::{BatchId, SourceId};
use crate::error::Result;
use crate::service::query::{BatchQuery, Part};
use crate::service::views::{BatchView, Page, TimelineItem};

/// Runs `batches list`. As JSON it is what `GET /api/v1/publish-states` returns.
pub fn list(global: &Global, args: &ListArgs) -> Result<u8> {
    let source_id = args.source.as_ref().map(SourceId::new).transpose().map_err(usage)?;
    let status = args
        .status
        .as_ref()
        .map(|text| {
            let upper = serde_json::Value::String(text.to_uppercase().replace('-', "_"));
            serde_json::from_value(upper)
                .map_err(|_| usage(format!("--status {text}: there is no such status")))
        })
        .transpose()?;
    let query = BatchQuery {
        source_id,
        status,
        since: args.times.since,
        until: args.times.until,
        order: args.times.order(),
        part: Part::default(),
    };
    let page = backend::look(global, |backend| {
        args.part.all(|part| backend.batches(&BatchQuery { part: part.clone(), ..query.clone() }))
    })?;
    if global.json {
        let items: Vec<_> = page.items.into_iter().map(|batch| batch.publish_state).collect();
        return out_json(&Page { items, next_cursor: page.next_cursor }).map(|()| 0);
    }
    let rows: Vec<Vec<String>> = page.items.iter().map(render::batch::row).collect();
    out(format!("{}{}", table(&render::batch::HEAD, &rows), more(page.next_cursor.as_deref())))?;
    Ok(0)
}

/// `batches show --json`: the batch as the API returns it, and its timeline.
#[derive(Serialize)]
struct Full<'a> {
    #[serde(flatten)]
    batch: &'a BatchView,
    timeline: &'a [TimelineItem],
}

/// Runs `batches show`.
pub fn show(global: &Global, id: &BatchId, summary: bool, full: bool) -> Result<u8> {
    backend::look(global, |backend| {
        let batch = backend.batch(id)?;
        let timeline = backend.timeline(id)?;
        if global.json {
            return out_json(&Full { batch: &batch, timeline: &timeline }).map(|()| 0);
        }
        let text = render::batch::batch(&batch, &command_of(global));
        let happened = render::batch::timeline(&timeline);
        out(format!("{text}\n{happened}\n"))?;
        let options = render::plan::Options { summary, full, listed: render::plan::LISTED, json: false };
        backend.plan_of(&batch, |plan| render::plan::print(plan, &options))?;
        Ok(0)
    })
}
