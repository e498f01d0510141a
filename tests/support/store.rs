//! What the tests of the store share: a store in a temporary folder, and one
//! filled-in record of each kind.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;

use tidegate::clock::ManualClock;
use tidegate::domain::change::{Part, Rejection, SentIn};
use tidegate::domain::glob::Glob;
use tidegate::domain::guards::{GuardRule, GuardTrip};
use tidegate::domain::ids::{BatchId, PlanId, SnapshotId, SourceId, TargetName};
use tidegate::domain::key::{EntityKey, Key};
use tidegate::domain::notice::NoticeKind;
use tidegate::domain::plan::{FootprintRef, PlanDigest, PlanHeader, PlanSummary};
use tidegate::domain::publish_state::{BatchMetrics, FailureDetails, PublishStatus};
use tidegate::domain::settings::Mode;
use tidegate::domain::stamp::Stamp;
use tidegate::domain::transition::Event;
use tidegate::store::*;

pub fn time(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(time("2026-11-24T12:00:00Z"), 7))
}

pub fn open(folder: &Path) -> Store {
    Store::open(folder, StoreOptions::default(), clock()).unwrap()
}

pub fn source() -> SourceId {
    SourceId::new("warehouse").unwrap()
}

pub fn target() -> TargetName {
    TargetName::new("catalogue").unwrap()
}

pub fn plan_id() -> PlanId {
    PlanId::new("20261124T120000Z-0123456789abcdef").unwrap()
}

pub fn snapshot_id(n: u8) -> SnapshotId {
    SnapshotId::new(format!("20261124T12000{n}Z-0123456789abcdef")).unwrap()
}

/// The stamp of run `run` of the source, written at `hour`.
pub fn stamp(hour: u8, run: &str) -> Stamp {
    let batch_id: BatchId = format!("warehouse:20261124T{hour:02}0000Z_{run}").parse().unwrap();
    Stamp {
        source_timestamp: batch_id.folder().time(),
        processing_timestamp: time(&format!("2026-11-24T{hour:02}:01:00Z")),
        batch_id,
    }
}

/// A batch that was just accepted.
pub fn pending(stamp: &Stamp) -> BatchRecord {
    let url = format!("file:///inbox/{}/{}/", stamp.batch_id.source(), stamp.batch_id.folder());
    BatchRecord {
        workflow: "postgres".into(),
        mode: Some(Mode::Full),
        manifest_hash: "00".repeat(16),
        ..BatchRecord::pending(stamp.clone(), url, "/inbox/warehouse".into(), time("2026-11-24T12:00:00Z"))
    }
}

pub fn decision() -> Decision {
    Decision { actor: "ana".into(), reason: "it is urgent".into(), at: time("2026-11-24T12:00:00Z") }
}

pub fn trip() -> GuardTrip {
    GuardTrip {
        rule: GuardRule::DeleteMax,
        type_name: "table".into(),
        limit: 10_000.0,
        actual: 10_001.0,
        reason: "10001 deletions, over the limit of 10000".into(),
    }
}

pub fn metrics() -> BatchMetrics {
    BatchMetrics {
        entities_created: 3,
        relationships_deleted: 2,
        execution_time_ms: 41,
        ..BatchMetrics::default()
    }
}

/// A batch with every field set.
pub fn filled(stamp: &Stamp) -> BatchRecord {
    let at = time("2026-11-24T12:00:01.5Z");
    BatchRecord {
        complexity: Some(4),
        listing: Some("[]".into()),
        totals: BatchTotals { files: 2, lines: Some(1_000), bytes: None },
        status: PublishStatus::Retrying,
        metrics: Some(metrics()),
        failure: Some(FailureDetails {
            error_code: "TARGET_THROTTLED".into(),
            error_message: "the target asked to be sent less".into(),
            failed_operation: Some("operation 3".into()),
            stack_trace: Some("HTTP 429".into()),
            retry_count: 2,
        }),
        publish_start: Some(at),
        publish_end: Some(at),
        plan_id: Some(plan_id()),
        plan_path: Some("file:///state/plans/p".into()),
        snapshot_path: Some("file:///state/snapshots/s".into()),
        hold: Some(Hold { reason: HoldReason::Approval, since: at, note: "10001 deletions".into() }),
        approval: Some(Approval {
            plan_id: plan_id(),
            digest: PlanDigest(u128::MAX),
            trips: vec![trip()],
            actor: "ana".into(),
            reason: "the schema was dropped on purpose".into(),
            at,
        }),
        attempts: 2,
        next_attempt: Some(at),
        priority: Some(decision()),
        cancel: Some(decision()),
        pin: Some(Pin { at, files: 3, bytes: 4_096 }),
        ..pending(stamp)
    }
}

pub fn timeline_entry() -> TimelineEntry {
    TimelineEntry {
        at: time("2026-11-24T12:00:00Z"),
        event: Some(Event::PlanningStarted),
        from: PublishStatus::Pending,
        to: PublishStatus::Planning,
        cause: "taken up".into(),
        actor: "tidegate".into(),
    }
}

pub fn plan() -> PlanRecord {
    let batch_id = stamp(1, "r").batch_id;
    let bases: std::collections::BTreeMap<_, _> = [(source(), snapshot_id(0))].into();
    PlanRecord {
        plan_id: plan_id(),
        batch_id: batch_id.clone(),
        registered_at: time("2026-11-24T12:00:00Z"),
        bases: bases.clone(),
        header: Some(PlanHeader {
            plan_id: plan_id(),
            batch_id,
            source_id: source(),
            target: target(),
            bases,
            digest: PlanDigest(1),
            summary: PlanSummary::default(),
            guards: vec![trip()],
            operations: 2,
        }),
        state: PlanState::Complete,
        target: Some(target()),
        base_commit: 0,
        footprint: FootprintRef { first_block: 3, blocks: 1, keys: 5, whole: false },
        lingers_until: None,
    }
}

pub fn commit() -> CommitRecord {
    CommitRecord {
        plan_id: PlanId::new("20261124T110000Z-0123456789abcdef").unwrap(),
        batch_id: stamp(0, "r").batch_id,
        footprint: FootprintRef { first_block: 1, blocks: 1, keys: 2, whole: false },
    }
}

pub fn journal_entry() -> JournalEntry {
    let at = time("2026-11-24T12:00:00Z");
    let sent = SentIn { at, part: Some(Part { first: 8, count: 2 }), changes: 2 };
    let told = Rejection { answer: "{}".into(), sent: Some(sent), ..Rejection::from("too long") };
    let rejected = vec![(7, "no such type".into()), (8, told)];
    JournalEntry::Done { at, rejected, metrics: metrics() }
}

/// The `n`th snapshot of the source, on top of the one before.
pub fn snapshot(n: u8) -> SnapshotRecord {
    SnapshotRecord {
        id: snapshot_id(n),
        target: target(),
        source: source(),
        parent: n.checked_sub(1).map(snapshot_id),
        batch_id: stamp(n, "r").batch_id,
        newest: stamp(n, "r"),
        created_at: time("2026-11-24T12:00:00Z"),
        url: "file:///state/snapshots/s".into(),
        entities: 10,
        relationships: 9,
    }
}

pub fn key(name: &str) -> Key {
    Key::Entity(EntityKey { type_name: "table".into(), qualified_name: name.into() })
}

/// Where a long original lies.
pub fn long_content() -> LongContent {
    LongContent {
        file: "warehouse/letters/20261124T120000Z-0123456789abcdef.lines".into(),
        at: 5_000,
        bytes: 6_000,
        xxh3: "0123456789abcdef0123456789abcdef".into(),
    }
}

/// A dead letter as a commit opens it.
pub fn dead_letter(stamp: &Stamp, key: Option<Key>, content: &str) -> DeadLetter {
    let (message, opened_at) = ("`attributes` is no object", stamp.source_timestamp);
    DeadLetter {
        key,
        content: content.into(),
        file: "entities-00000.ndjson".into(),
        line: 3,
        pattern: message.into(),
        ..DeadLetter::new(stamp.clone(), "LINE_INVALID", message.into(), opened_at)
    }
}

pub fn inbox_entry() -> InboxEntry {
    let state = InboxState::Accepted { batch_id: stamp(1, "r").batch_id };
    InboxEntry { signature: "5f".into(), state, at: time("2026-11-24T12:00:00Z") }
}

pub fn source_hold() -> SourceHold {
    SourceHold {
        reason: SourceHoldReason::TargetMoved,
        code: "TARGET_MOVED".into(),
        note: "the target is another one".into(),
        since: time("2026-11-24T12:00:00Z"),
        batch_id: Some(stamp(1, "r").batch_id),
    }
}

pub fn message() -> OutboxMessage {
    OutboxMessage {
        number: 7,
        outlet: "https://example.org/hook".into(),
        id: "0123-7".into(),
        kind: NoticeKind::BatchEnded,
        subject: stamp(1, "r").batch_id.to_string(),
        body: "{}".into(),
        created_at: time("2026-11-24T12:00:00Z"),
        attempts: 1,
        next_attempt: Some(time("2026-11-24T12:00:02Z")),
        last_error: Some("the receiver answered 500".into()),
        alert: None,
    }
}

pub fn pin_work() -> PinWork {
    PinWork {
        attempts: 1,
        next_attempt: Some(time("2026-11-24T12:00:02Z")),
        last_error: Some("there is no room".into()),
        asked: 1,
        ..PinWork::new(PinTask::Copy)
    }
}

pub fn skip() -> SkipRecord {
    SkipRecord {
        type_name: "table".into(),
        name: Glob::new("sales.*"),
        until: Some(time("2026-12-01T00:00:00Z")),
        actor: "ann".into(),
        reason: "known to be bad".into(),
        at: time("2026-11-24T12:00:00Z"),
    }
}

/// Writes one filled-in record of each kind.
pub fn fill(store: &Store) {
    store
        .write(|tx| {
            tx.put_batch(&filled(&stamp(1, "r")))?;
            tx.note(&stamp(1, "r").batch_id, &timeline_entry())?;
            tx.put_plan(&plan())?;
            tx.put_journal(&plan_id(), tidegate::domain::ids::OperationNo(0), &journal_entry())?;
            tx.commit_snapshot(&snapshot(0))?;
            let letter = dead_letter(&stamp(1, "r"), Some(key("a")), "");
            tx.open_dead_letter(DeadLetter { long: Some(long_content()), ..letter })?;
            tx.put_inbox_entry("file:///inbox/", "warehouse/x", &inbox_entry())?;
            tx.hold_source(&source(), &source_hold())?;
            tx.note_source(&source(), "held: the target is another one", "tidegate")?;
            tx.put_commit(&target(), &commit())?;
            tx.put_message(&message())?;
            tx.put_skip(&source(), &skip())?;
            tx.set_pin_work(&stamp(1, "r").batch_id, Some(&pin_work()))
        })
        .unwrap();
}
