//! Fills a data directory with batches that have ended, as years of service
//! leave them: records, timelines, what became of their folders. For
//! `service.py`, which looks at the pages of such a directory.
//!
//! Usage: `cargo bench --bench fill -- DATA BATCHES [SOURCES]`, with a data
//! directory that nobody holds. Every transition goes through the store, as the
//! service makes it; plans and snapshots of old batches are gone by then, and
//! so are their folders.

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tidegate::clock::SystemClock;
use tidegate::domain::ids::BatchId;
use tidegate::domain::publish_state::{BatchMetrics, FailureDetails};
use tidegate::domain::settings::Mode;
use tidegate::domain::stamp::Stamp;
use tidegate::domain::transition::Event;
use tidegate::store::{BatchRecord, BatchTotals, InboxEntry, InboxState, Store, StoreOptions, Tx};

/// Batches of one transaction.
const TOGETHER: usize = 500;
/// Who makes the transitions.
const ACTOR: &str = "tidegate";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (data, batches, sources) = match &arguments[..] {
        [data, batches] => (data, batches.parse::<usize>()?, 20),
        [data, batches, sources] => (data, batches.parse()?, sources.parse()?),
        [..] => {
            println!("usage: cargo bench --bench fill -- DATA BATCHES [SOURCES]");
            return Ok(());
        }
    };
    let data = std::path::absolute(data)?;
    let store = Store::open(&data, StoreOptions::default(), Arc::new(SystemClock::default()))?;
    let first: Timestamp = "2026-01-01T00:00:00Z".parse()?;
    for begin in (0..batches).step_by(TOGETHER) {
        let numbers = begin..(begin + TOGETHER).min(batches);
        let inbox = data.join("inbox");
        store.write(move |tx| {
            for number in numbers {
                put(tx, &inbox, first, number, sources)?;
            }
            Ok(())
        })?;
    }
    println!("{batches} batches of {sources} sources");
    Ok(())
}

/// One batch from its acceptance to its end.
fn put(
    tx: &mut Tx<'_>,
    inbox: &Path,
    first: Timestamp,
    number: usize,
    sources: usize,
) -> tidegate::error::Result<()> {
    let at = first + SignedDuration::from_secs(60 * (number / sources) as i64 + 1);
    let folder = format!("source-{:03}/{}_run-{number:06}", number % sources, at.strftime("%Y%m%dT%H%M%SZ"));
    let id: BatchId = folder
        .replacen('/', ":", 1)
        .parse()
        .map_err(|_| tidegate::error::Error::internal("the id of a batch"))?;
    let stamp = Stamp { source_timestamp: at, processing_timestamp: at, batch_id: id.clone() };
    let url = format!("file://{}/", inbox.display());
    let record = BatchRecord {
        workflow: "postgres".into(),
        mode: Some(if number.is_multiple_of(7) { Mode::Full } else { Mode::Incremental }),
        files: r#"[{"path":"entities-00000.ndjson.zst","kind":"entity","count":120,"bytes":9000}]"#.into(),
        totals: BatchTotals { files: 1, lines: Some(120), bytes: Some(9000) },
        manifest_hash: format!("{number:032x}"),
        ..BatchRecord::pending(stamp, format!("{url}{folder}/"), inbox.join(&folder), at)
    };
    tx.put_batch(&record)?;
    tx.remark(&record, "accepted", ACTOR)?;
    let mut step = |event: Event, cause: &str, change: &dyn Fn(&mut BatchRecord)| {
        tx.transition_batch(&id, event, cause, ACTOR, change).map(drop)
    };
    step(Event::PlanningStarted, "taken up by worker-0", &|record| record.publish_start = Some(at))?;
    let end = at + SignedDuration::from_millis(40 + (number % 900) as i64);
    if number.is_multiple_of(50) {
        step(Event::Failed, "the manifest says 120 lines, the file has 119", &|record| {
            record.publish_end = Some(end);
            record.failure = Some(FailureDetails {
                error_code: "BATCH_COUNT_MISMATCH".into(),
                error_message: "entities-00000.ndjson.zst: the manifest says 120 lines, it has 119".into(),
                failed_operation: Some("reading".into()),
                stack_trace: None,
                retry_count: 0,
            });
        })?;
        // Its files were copied, or given up, long ago.
        tx.set_pin_work(&id, None)?;
    } else {
        step(Event::PlanCompleted, "5 changes", &|_| {})?;
        step(Event::ExecutionStarted, "taken up by worker-0", &|_| {})?;
        step(Event::Completed, "published", &|record| {
            record.publish_end = Some(end);
            record.metrics =
                Some(BatchMetrics { entities_updated: 5, execution_time_ms: 30, ..BatchMetrics::default() });
        })?;
    }
    let entry = InboxEntry {
        signature: format!("{number:032x}"),
        state: InboxState::Accepted { batch_id: id },
        at: end,
    };
    tx.put_inbox_entry(&url, &folder, &entry)
}
