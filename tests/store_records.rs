//! The records and what is asked of them: order, states, dead letters,
//! snapshots, journals, and the bytes that later versions have to read.

#[path = "support/store.rs"]
mod support;

use std::fmt::Write;

use proptest::prelude::*;
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use support::*;
use tidegate::domain::ids::OperationNo;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::stamp::Stamp;
use tidegate::domain::transition::{Event, transition};
use tidegate::error::ErrorKind;
use tidegate::store::*;

#[test]
fn the_stored_bytes_of_every_record_are_those_of_format_1() {
    let folder = tempfile::tempdir().unwrap();
    fill(&open(folder.path()));
    let db = redb::Database::open(folder.path().join("tidegate.redb")).unwrap();
    let tx = db.begin_read().unwrap();
    let mut names: Vec<_> = tx.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
    names.sort();
    let mut text = String::new();
    for name in &names {
        let table = tx.open_table(TableDefinition::<&[u8], &[u8]>::new(name)).unwrap();
        for row in table.iter().unwrap() {
            let (key, value) = row.unwrap();
            writeln!(text, "{name} {}\n  {}", key.value().escape_ascii(), value.value().escape_ascii())
                .unwrap();
        }
    }
    insta::assert_snapshot!("format_1", text);
}

#[test]
fn every_record_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store);
    let id = stamp(1, "r").batch_id;
    store
        .read(|view| {
            assert_eq!(view.batch(&id)?, Some(filled(&stamp(1, "r"))));
            assert_eq!(view.timeline(&id)?, [timeline_entry()]);
            assert_eq!(view.plan(&plan_id())?, Some(plan()));
            assert_eq!(view.journal(&plan_id())?, [(OperationNo(0), journal_entry())]);
            assert_eq!(view.snapshots()?, [snapshot(0)]);
            assert_eq!(view.inbox_entry("file:///inbox/", "warehouse/x")?, Some(inbox_entry()));
            assert_eq!(view.source_hold(&source())?, Some(source_hold()));
            assert_eq!(view.skips(&source())?, [skip()]);
            assert_eq!(view.pin_work(&id)?, Some(pin_work()));
            assert_eq!(view.next_message(&message().outlet)?, Some(message()));
            let letter = dead_letter(&stamp(1, "r"), Some(key("a")), "");
            let opened_at = time("2026-11-24T12:00:00Z");
            let attempt = LetterAttempt {
                batch_id: letter.batch_id.clone(),
                stamp: letter.stamp.clone(),
                at: opened_at,
                code: letter.code.clone(),
                message: letter.message.clone(),
            };
            let expected = DeadLetter {
                id: 1,
                attempts: 1,
                opened_at,
                changed_at: Some(opened_at),
                history: vec![attempt],
                revision: 1,
                long: Some(long_content()),
                ..letter
            };
            assert_eq!(view.dead_letters()?, [expected]);
            Ok(())
        })
        .unwrap();
}

#[test]
fn equal_stores_dump_to_equal_text() {
    let dump = || {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store);
        store.dump().unwrap()
    };
    let text = dump();
    assert_eq!(text, dump());
    insta::assert_snapshot!("dump", text);
}

#[test]
fn an_event_that_the_status_allows_is_stored_and_journalled_and_any_other_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for (s, status) in PublishStatus::ALL.into_iter().enumerate() {
        for (e, event) in Event::ALL.into_iter().enumerate() {
            let record = BatchRecord { status, ..pending(&stamp(1, &format!("s{s}e{e}"))) };
            let id = record.batch_id.clone();
            store.write(move |tx| tx.put_batch(&record)).unwrap();
            let changed = id.clone();
            let result = store.write(move |tx| {
                tx.transition_batch(&changed, event, "why", "ana", |batch| batch.attempts = 9)
            });
            let (batch, timeline) = store.read(|v| Ok((v.expect_batch(&id)?, v.timeline(&id)?))).unwrap();
            match transition(status, event) {
                Ok(to) => {
                    assert_eq!((batch.status, batch.attempts), (to, 9));
                    assert_eq!(result.unwrap(), batch);
                    let at = time("2026-11-24T12:00:00Z");
                    let (cause, actor) = ("why".into(), "ana".into());
                    let entry = TimelineEntry { at, event: Some(event), from: status, to, cause, actor };
                    assert_eq!(timeline, [entry]);
                    let listed = store.read(|v| v.unfinished(&source())).unwrap().contains(&batch);
                    assert_eq!(listed, !to.is_final(), "{status:?} {event:?}");
                }
                Err(_) => {
                    let error = result.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Conflict);
                    assert!(error.message().contains(&id.to_string()), "{error}");
                    assert_eq!((batch.status, batch.attempts, timeline.len()), (status, 0, 0));
                }
            }
        }
    }
}

#[test]
fn a_batch_that_is_not_there_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let id = stamp(1, "r").batch_id;
    let error = store.write(move |tx| tx.transition_batch(&id, Event::Failed, "", "", |_| ())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_timeline_keeps_its_order_past_ten_entries() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let id = stamp(1, "r").batch_id;
    for n in 0..300 {
        let (id, entry) = (id.clone(), TimelineEntry { cause: n.to_string(), ..timeline_entry() });
        store.write(move |tx| tx.note(&id, &entry)).unwrap();
    }
    let causes: Vec<_> =
        store.read(|v| v.timeline(&id)).unwrap().into_iter().map(|entry| entry.cause).collect();
    assert_eq!(causes, (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
}

prop_compose! {
    // Times around zero, with parts of a second, and ids that are prefixes of
    // each other: where byte orders go wrong.
    fn stamps()(
        source in (-2i64..3, prop::sample::select(vec![0, 1, 500_000_000, 999_999_999])),
        processing in (-2i64..3, prop::sample::select(vec![0, -1, -999_999_999])),
        folder in 0i64..3,
        run in prop::sample::select(vec!["r", "r-", "r0", "r.", "r_", "rr", "R", "0"]),
        n in prop::sample::select(vec![0u32, 1, 2, 10, 256, u32::MAX]),
    ) -> Stamp {
        let at = |(seconds, nanos): (i64, i32)| {
            jiff::Timestamp::from_nanosecond(i128::from(seconds) * 1_000_000_000 + i128::from(nanos)).unwrap()
        };
        let folder = tidegate::domain::ids::FolderName::new(at((folder, 0)), run.parse().unwrap());
        Stamp {
            source_timestamp: at(source),
            processing_timestamp: at(processing),
            batch_id: tidegate::domain::ids::BatchId::new(support::source(), folder).with_n(n),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn unfinished_batches_come_in_the_order_of_their_stamps(stamps in prop::collection::vec(stamps(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let mut expected: Vec<Stamp> = Vec::new();
        for stamp in stamps {
            if expected.iter().all(|other| other.batch_id != stamp.batch_id) {
                expected.push(stamp);
            }
        }
        let records: Vec<_> = expected.iter().map(pending).collect();
        store.write(move |tx| records.iter().try_for_each(|record| tx.put_batch(record))).unwrap();
        expected.sort();
        let stored = store.read(|view| view.unfinished(&source())).unwrap();
        prop_assert_eq!(stored.into_iter().map(|batch| batch.stamp).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn sources_whose_names_begin_alike_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let names = ["a", "a-b", "a.b", "a0", "ab", "b"];
    for name in names {
        let id = format!("{name}:20261124T010000Z_r").parse().unwrap();
        let record = pending(&Stamp { batch_id: id, ..stamp(1, "r") });
        store.write(move |tx| tx.put_batch(&record)).unwrap();
    }
    let view = |ended: &str| {
        let sources = store.read(|v| Ok((v.sources()?, v.sources_with_unfinished()?))).unwrap();
        assert_eq!(sources.0.iter().map(|s| s.as_str()).collect::<Vec<_>>(), names);
        let left: Vec<_> = names.into_iter().filter(|name| *name != ended).collect();
        assert_eq!(sources.1.iter().map(|s| s.as_str()).collect::<Vec<_>>(), left);
        for source in &sources.0 {
            let filter = BatchFilter { source: Some(source.clone()), ..BatchFilter::default() };
            assert_eq!(store.read(|v| v.batches(&filter)).unwrap().len(), 1, "{source}");
        }
    };
    view("");
    let id = "a:20261124T010000Z_r".parse().unwrap();
    store.write(move |tx| tx.transition_batch(&id, Event::Failed, "", "", |_| ())).unwrap();
    view("a");
}

#[test]
fn batches_are_listed_newest_first_by_source_status_and_limit() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for hour in 1..=4 {
        let status = if hour % 2 == 0 { PublishStatus::Complete } else { PublishStatus::Pending };
        let record = BatchRecord { status, ..pending(&stamp(hour, "r")) };
        store.write(move |tx| tx.put_batch(&record)).unwrap();
    }
    let hours = |filter: BatchFilter| {
        let batches = store.read(|v| v.batches(&filter)).unwrap();
        batches.into_iter().map(|b| stamp_hour(&b.stamp)).collect::<Vec<_>>()
    };
    assert_eq!(hours(BatchFilter::default()), [4, 3, 2, 1]);
    assert_eq!(hours(BatchFilter { limit: 3, ..BatchFilter::default() }), [4, 3, 2]);
    assert_eq!(
        hours(BatchFilter { status: Some(PublishStatus::Pending), limit: 1, ..BatchFilter::default() }),
        [3]
    );
}

fn stamp_hour(stamp: &Stamp) -> i64 {
    stamp.source_timestamp.as_second() / 3600 % 24
}

#[test]
fn a_journal_keeps_the_order_of_operations_and_is_dropped_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let other: tidegate::domain::ids::PlanId = format!("{}0", plan_id()).parse().unwrap();
    let plans = [plan_id(), other.clone()];
    store
        .write(move |tx| {
            for plan in &plans {
                for no in [300, 2, 256, 0] {
                    tx.put_journal(
                        plan,
                        OperationNo(no),
                        &JournalEntry::Sent { at: time("2026-11-24T12:00:00Z") },
                    )?;
                }
            }
            tx.put_journal(&plans[0], OperationNo(2), &journal_entry())
        })
        .unwrap();
    let journal = store.read(|v| v.journal(&plan_id())).unwrap();
    assert_eq!(journal.iter().map(|(no, _)| no.0).collect::<Vec<_>>(), [0, 2, 256, 300]);
    assert_eq!(journal[1].1, journal_entry());
    store.write(|tx| tx.drop_journal(&plan_id())).unwrap();
    let left = store.read(|v| Ok((v.journal(&plan_id())?.len(), v.journal(&other)?.len()))).unwrap();
    assert_eq!(left, (0, 4));
}

#[test]
fn a_snapshot_becomes_current_only_on_top_of_the_current_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let commit = |record: SnapshotRecord| store.write(move |tx| tx.commit_snapshot(&record));
    assert_eq!(commit(snapshot(1)).unwrap_err().kind(), ErrorKind::PlanStale);
    commit(snapshot(0)).unwrap();
    commit(snapshot(1)).unwrap();
    // Made from the same parent as the one before: too late.
    let rival = SnapshotRecord { id: snapshot_id(9), ..snapshot(1) };
    assert_eq!(commit(rival).unwrap_err().kind(), ErrorKind::PlanStale);
    let current =
        store.read(|v| Ok((v.current_snapshot(&target(), &source())?, v.current_snapshots(&target())?)));
    let (one, all) = current.unwrap();
    assert_eq!(one, Some(snapshot_id(1)));
    assert_eq!(all, [(source(), snapshot_id(1))].into());
    assert_eq!(store.read(|v| v.snapshots()).unwrap().len(), 2);
}

#[test]
fn a_source_and_key_have_one_open_dead_letter_with_the_content_of_the_newest_stamp() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let put = |hour, name: Option<&str>, content: &str| {
        let letter = dead_letter(&stamp(hour, "r"), name.map(key), content);
        store.write(move |tx| tx.open_dead_letter(letter)).unwrap()
    };
    let first = put(2, Some("a"), "second");
    assert_eq!(put(3, Some("a"), "third"), first);
    assert_eq!(put(1, Some("a"), "late"), first);
    let letter = store.read(|v| v.dead_letter(first)).unwrap().unwrap();
    assert_eq!((&letter.content[..], letter.attempts, letter.stamp), (&b"third"[..], 3, stamp(3, "r")));
    // Without a key the bytes tell them apart.
    let bytes = put(1, None, "x");
    assert_eq!(put(2, None, "x"), bytes);
    assert_ne!(put(2, None, "y"), bytes);
    assert_eq!(store.read(|v| v.open_dead_letters(&source())).unwrap().len(), 3);

    let resolved = store
        .write(|tx| {
            let keyed = tx.open_dead_letters(&source())?.into_iter().filter(|letter| letter.key.is_some());
            let ids: Vec<u64> = keyed.map(|letter| letter.id).collect();
            ids.iter().try_for_each(|id| tx.resolve_dead_letter(*id, "a batch"))?;
            Ok(ids.len())
        })
        .unwrap();
    assert_eq!(resolved, 1);
    let letter = store.read(|v| v.dead_letter(first)).unwrap().unwrap();
    let at = time("2026-11-24T12:00:00Z");
    assert_eq!(letter.state, DeadLetterState::Resolved { at, by: "a batch".into() });
    // Its history stays; the next bad line for the key opens another.
    let next = put(4, Some("a"), "fourth");
    assert!(next > first);
    assert_eq!(store.read(|v| v.dead_letters()).unwrap().len(), 4);
}

#[test]
fn two_reasons_for_one_key_in_one_batch_are_one_dead_letter_in_the_group_of_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let bad_line = dead_letter(&stamp(1, "r"), Some(key("a")), "{");
    let refused = DeadLetter { code: "ENTITY_REJECTED".into(), ..bad_line.clone() };
    let ids = store.write(move |tx| tx.open_all_dead_letters([Ok(bad_line), Ok(refused)])).unwrap();
    assert_eq!(ids[0], ids[1]);
    let letter = store.read(|v| v.expect_dead_letter(ids[0])).unwrap();
    assert_eq!((letter.attempts, &letter.code[..]), (1, "ENTITY_REJECTED"));
    let mut groups = Vec::new();
    store
        .read(|view| {
            view.each_letter_group(|group| {
                groups.push(group);
                Ok(())
            })
        })
        .unwrap();
    let groups: Vec<_> = groups.iter().map(|group| (&group.code[..], group.count)).collect();
    assert_eq!(groups, [("ENTITY_REJECTED", 1)]);
}

#[test]
fn a_source_is_held_until_every_hold_is_taken_away_and_what_lets_the_least_pass_is_told_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let failed = SourceHold { reason: SourceHoldReason::BatchFailed, code: "IO".into(), ..source_hold() };
    let (first, second) = (failed.clone(), source_hold());
    store
        .write(move |tx| {
            tx.hold_source(&source(), &first)?;
            tx.hold_source(&source(), &second)
        })
        .unwrap();
    assert_eq!(store.read(|v| v.source_holds(&source())).unwrap(), [source_hold(), failed.clone()]);
    let lift = |reason| {
        let batch = failed.batch_id.clone();
        store.write(move |tx| tx.lift_source_hold(&source(), reason, batch.as_ref())).unwrap()
    };
    assert_eq!(lift(SourceHoldReason::TargetMoved), Some(source_hold()));
    assert_eq!(lift(SourceHoldReason::TargetMoved), None);
    assert_eq!(store.read(|v| v.source_hold(&source())).unwrap(), Some(failed.clone()));
    lift(SourceHoldReason::BatchFailed);
    assert_eq!(store.read(|v| v.source_hold(&source())).unwrap(), None);
    store.write(|tx| tx.note_source(&source(), "resumed: all is well", "ana")).unwrap();
    let timeline = store.read(|v| v.source_timeline(&source())).unwrap();
    assert_eq!((timeline[0].cause.as_str(), timeline[0].actor.as_str()), ("resumed: all is well", "ana"));
}

#[test]
fn a_commit_is_kept_as_long_as_an_older_plan_may_still_be_executed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let numbers = |after| {
        let commits = store.read(|v| v.commits_since(&target(), after)).unwrap();
        commits.map(|commits| commits.into_iter().map(|(no, _)| no).collect::<Vec<_>>())
    };
    let put = || store.write(|tx| tx.put_commit(&target(), &commit())).unwrap();
    let state = |state| store.write(move |tx| tx.put_plan(&PlanRecord { state, ..plan() })).unwrap();
    put();
    assert_eq!(numbers(0), Some(vec![]), "there is no plan that it could concern");
    store.write(|tx| tx.put_plan(&PlanRecord { base_commit: 1, ..plan() })).unwrap();
    put();
    put();
    assert_eq!((numbers(1), numbers(2)), (Some(vec![2, 3]), Some(vec![3])));
    let empty = CommitRecord { footprint: tidegate::domain::plan::FootprintRef::default(), ..commit() };
    store.write(move |tx| tx.put_commit(&target(), &empty)).unwrap();
    assert_eq!(store.read(|v| v.last_commit(&target())).unwrap(), 4);
    assert_eq!(numbers(1), Some(vec![2, 3]), "it touched nothing");
    for _ in 0..tidegate::limits::MAX_KEPT_COMMITS {
        put();
    }
    assert_eq!(numbers(1), None, "not all of them are known any more");
    assert_eq!(numbers(4).unwrap().len(), tidegate::limits::MAX_KEPT_COMMITS);
    state(PlanState::Committed);
    put();
    assert_eq!(store.read(|v| v.kept_commits()).unwrap(), []);
}

#[test]
fn a_batch_that_is_not_executed_takes_its_plan_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let parked = BatchRecord {
        status: PublishStatus::PlanComplete,
        plan_id: Some(plan_id()),
        ..pending(&stamp(1, "r"))
    };
    store
        .write(move |tx| {
            tx.put_batch(&parked)?;
            tx.put_plan(&plan())
        })
        .unwrap();
    assert_eq!(store.read(|v| v.alive_plans(Some(&target()))).unwrap(), [plan()]);
    let id = stamp(1, "r").batch_id;
    store.write(move |tx| tx.transition_batch(&id, Event::Cancelled, "", "ana", |_| ())).unwrap();
    assert_eq!(store.read(|v| v.alive_plans(None)).unwrap(), []);
    assert_eq!(store.read(|v| v.plan(&plan_id())).unwrap().unwrap().state, PlanState::Dropped);
}

#[test]
fn a_batch_that_a_person_put_first_is_known_by_its_source_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let first = |priority, status| {
        let batch = BatchRecord { priority, status, ..pending(&stamp(1, "r")) };
        store.write(move |tx| tx.put_batch(&batch)).unwrap();
        store.read(|v| v.is_prioritised(&source())).unwrap()
    };
    assert!(!first(None, PublishStatus::Pending));
    assert!(first(Some(decision()), PublishStatus::Pending));
    assert!(!first(None, PublishStatus::Pending));
    assert!(!first(Some(decision()), PublishStatus::Complete));
}

#[test]
fn the_publish_state_has_exactly_the_members_of_the_specification() {
    let state = serde_json::to_value(filled(&stamp(1, "r")).publish_state()).unwrap();
    let names = |value: &serde_json::Value| {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(
        names(&state),
        "batch_id execution_plan_path failure_details metrics processing_timestamp publish_end_timestamp \
         publish_start_timestamp s3_path source_id source_timestamp state_snapshot_path status workflow_run_id"
    );
    assert_eq!(
        names(&state["metrics"]),
        "entities_created entities_deleted entities_updated execution_time_ms relationships_created \
         relationships_deleted relationships_updated"
    );
    assert_eq!(
        names(&state["failure_details"]),
        "error_code error_message failed_operation retry_count stack_trace"
    );
    assert_eq!(state["status"], "RETRYING");
    assert_eq!(state["source_timestamp"], "2026-11-24T01:00:00Z");
}
