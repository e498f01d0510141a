//! Writing: what a transaction promises, and what shares a commit.

#[path = "support/store.rs"]
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use support::{clock, open, pending, source, stamp, timeline_entry};
use tidegate::error::{Error, ErrorKind};
use tidegate::store::{Store, StoreOptions};

#[test]
fn a_closure_sees_its_own_writes_and_a_reader_only_what_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    let inner = Arc::clone(&store);
    store
        .write(move |tx| {
            tx.put_batch(&pending(&stamp(1, "r")))?;
            assert_eq!(tx.unfinished(&source())?.len(), 1);
            assert_eq!(inner.read(|view| view.unfinished(&source()))?.len(), 0);
            Ok(())
        })
        .unwrap();
    assert_eq!(store.read(|view| view.unfinished(&source())).unwrap().len(), 1);
}

#[test]
fn a_closure_that_fails_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(|tx| tx.put_batch(&pending(&stamp(1, "kept")))).unwrap();
    let before = store.dump().unwrap();
    let error = store
        .write(|tx| {
            tx.put_batch(&pending(&stamp(2, "gone")))?;
            tx.note(&stamp(1, "kept").batch_id, &timeline_entry())?;
            Err::<(), _>(Error::new(ErrorKind::Conflict, "no"))
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(store.dump().unwrap(), before);
    assert!(!store.failed());
}

#[test]
fn closures_that_share_a_commit_do_not_share_their_errors() {
    let folder = tempfile::tempdir().unwrap();
    let commits = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&commits);
    let options = StoreOptions {
        after_commit: Some(Arc::new(move || _ = counter.fetch_add(1, Ordering::SeqCst))),
        ..StoreOptions::default()
    };
    let store = Store::open(folder.path(), options, clock()).unwrap();
    // While the first closure waits, the others queue up behind it.
    let gate = Barrier::new(2);
    let gate = Arc::new(gate);
    let hold = Arc::clone(&gate);
    let results: Vec<_> = std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            store.write(move |_| {
                hold.wait();
                hold.wait();
                Ok(())
            })
        });
        gate.wait();
        let others: Vec<_> = (0..20)
            .map(|n| {
                let store = &store;
                scope.spawn(move || {
                    store.write(move |tx| {
                        tx.put_batch(&pending(&stamp(1, &format!("r{n:02}"))))?;
                        if n % 3 == 0 { Err(Error::new(ErrorKind::Conflict, n.to_string())) } else { Ok(n) }
                    })
                })
            })
            .collect();
        // Nothing tells when a thread waits in `write`; too short a wait only
        // makes more commits, which the bound below allows for.
        clock_free_pause();
        gate.wait();
        first.join().unwrap().unwrap();
        others.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (n, result) in results.iter().enumerate() {
        match result {
            Ok(value) => assert!(n % 3 != 0 && *value == n),
            Err(error) => {
                assert!(n % 3 == 0 && error.kind() == ErrorKind::Conflict && error.message() == n.to_string())
            }
        }
    }
    let runs: Vec<_> = store.read(|view| view.unfinished(&source())).unwrap();
    let runs: Vec<_> = runs.iter().map(|batch| batch.batch_id.folder().run_id().to_string()).collect();
    let expected: Vec<_> = (0..20).filter(|n| n % 3 != 0).map(|n| format!("r{n:02}")).collect();
    assert_eq!(runs, expected);
    assert!(commits.load(Ordering::SeqCst) < 21, "nothing shared a commit");
}

fn clock_free_pause() {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(std::time::Duration::from_millis(300));
}

#[test]
fn after_commit_is_called_once_a_commit_before_the_caller_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let commits = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&commits);
    let options = StoreOptions {
        after_commit: Some(Arc::new(move || _ = counter.fetch_add(1, Ordering::SeqCst))),
        ..StoreOptions::default()
    };
    let store = Store::open(folder.path(), options, clock()).unwrap();
    for n in 1..=5 {
        store.write(|_| Ok(())).unwrap();
        assert_eq!(commits.load(Ordering::SeqCst), n);
    }
}

#[test]
fn a_writing_thread_that_ends_is_a_store_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        after_commit: Some(Arc::new(|| std::panic::resume_unwind(Box::new("a defect behind a commit")))),
        ..StoreOptions::default()
    };
    let store = Store::open(folder.path(), options, clock()).unwrap();
    assert_eq!(store.write(|_| Ok(())).unwrap_err().kind(), ErrorKind::StoreFailed);
    assert!(store.failed(), "the service would go on and write nothing");
    assert_eq!(store.read(|view| view.unfinished(&source())).unwrap_err().kind(), ErrorKind::StoreFailed);
    assert_eq!(store.write(|_| Ok(())).unwrap_err().kind(), ErrorKind::StoreFailed);
}

#[test]
fn a_closure_that_panics_fails_its_caller_and_the_store_says_that_it_failed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let error = store.write::<()>(|_| panic!("a defect in a closure")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreFailed);
    let later = store.write(|_| Ok(())).unwrap_err();
    assert_eq!(later.kind(), ErrorKind::StoreFailed);
    assert!(store.failed(), "the service would not know that it has to end");
}

#[test]
#[ignore = "a measurement: run with --ignored --nocapture"]
#[allow(clippy::disallowed_methods)]
fn measure_a_durable_commit() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = open(folder.path());
    let mut times: Vec<_> = (0..300)
        .map(|n| {
            let batch = pending(&stamp(1, &format!("r{n}")));
            let start = std::time::Instant::now();
            store.write(move |tx| tx.put_batch(&batch)).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("durable commit of one batch: median {:?}, 99th of 100 {:?}", times[150], times[297]);
}

/// Notes of a kilobyte each, handed over as they are written.
fn notes(tx: &mut tidegate::store::Tx<'_>, count: usize) -> tidegate::error::Result<()> {
    for n in 0..count {
        let mut entry = timeline_entry();
        entry.cause = format!("{n}{}", "y".repeat(1024));
        tx.note(&stamp(1, "kept").batch_id, &entry)?;
        tx.spill()?;
    }
    Ok(())
}

#[test]
fn much_that_is_written_becomes_visible_as_one_and_is_read_back_by_its_closure() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    store.write(|tx| tx.put_batch(&pending(&stamp(1, "kept")))).unwrap();
    let inner = Arc::clone(&store);
    let id = stamp(1, "kept").batch_id;
    let of = id.clone();
    store
        .write_much(move |tx| {
            notes(tx, 3_000)?;
            assert_eq!(tx.timeline(&of)?.len(), 3_000);
            assert_eq!(inner.read(|view| view.timeline(&of))?.len(), 0);
            Ok(())
        })
        .unwrap();
    assert_eq!(store.read(|view| view.timeline(&id)).unwrap().len(), 3_000);
}

#[test]
fn much_that_is_written_and_fails_leaves_no_trace_and_takes_nobody_along() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    store.write(|tx| tx.put_batch(&pending(&stamp(1, "kept")))).unwrap();
    let before = store.dump().unwrap();
    // Others come while it writes, before and behind it in the queue.
    let barrier = Arc::new(Barrier::new(2));
    let (inner, gate) = (Arc::clone(&store), Arc::clone(&barrier));
    let other = std::thread::spawn(move || {
        gate.wait();
        inner.write(|tx| tx.put_batch(&pending(&stamp(2, "kept")))).unwrap();
    });
    let error = store
        .write_much(move |tx| {
            notes(tx, 1_500)?;
            barrier.wait();
            notes(tx, 1_500)?;
            Err::<(), _>(Error::new(ErrorKind::Conflict, "no"))
        })
        .unwrap_err();
    other.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(!store.failed());
    assert_eq!(store.read(|view| view.timeline(&stamp(1, "kept").batch_id)).unwrap().len(), 0);
    assert!(store.read(|view| view.batch(&stamp(2, "kept").batch_id)).unwrap().is_some());
    assert_ne!(store.dump().unwrap(), before);
}
