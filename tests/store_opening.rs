//! Opening the store: who may, what is refused, and what is there afterwards.
//!
//! Some of it needs a second process: a test starts this test binary again
//! with one of the ignored tests, which are no tests of their own.

#[path = "support/store.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::TableDefinition;
use support::{clock, fill, filled, open, pending, source, stamp};
use tidegate::error::ErrorKind;
use tidegate::store::{Store, StoreOptions};

const FOLDER: &str = "TIDEGATE_TEST_FOLDER";
const META: TableDefinition<&[u8], &[u8]> = TableDefinition::new("meta");
const BATCHES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("batches");

fn overwrite(folder: &Path, table: TableDefinition<&[u8], &[u8]>, key: &[u8], value: &[u8]) {
    let db = redb::Database::open(folder.join("tidegate.redb")).unwrap();
    let tx = db.begin_write().unwrap();
    tx.open_table(table).unwrap().insert(key, value).unwrap();
    tx.commit().unwrap();
}

fn refusal(folder: &Path) -> tidegate::error::Error {
    Store::open(folder, StoreOptions::default(), clock()).err().expect("the store was opened")
}

#[test]
fn the_data_directory_is_made_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a/b");
    drop(open(&data));
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_folder_that_others_share_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(refusal(folder.path()).kind(), ErrorKind::Settings);
    let mode = std::fs::metadata(folder.path()).unwrap().permissions().mode();
    assert_eq!((mode & 0o7777, std::fs::read_dir(folder.path()).unwrap().count()), (0o1777, 0));
}

#[test]
fn a_store_keeps_its_owner_id_and_its_records_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (owner, dump) = {
        let store = open(folder.path());
        fill(&store);
        (store.owner_id().to_owned(), store.dump().unwrap())
    };
    assert!(owner.len() == 32 && owner.bytes().all(|b| b.is_ascii_hexdigit()), "{owner}");
    let store = open(folder.path());
    assert_eq!((store.owner_id(), store.dump().unwrap()), (owner.as_str(), dump));
}

#[test]
fn a_store_that_was_opened_is_not_read_as_a_whole_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    // New, and opened again: as a kill at that moment would leave it.
    for time in ["made", "opened again"] {
        let _open = open(folder.path());
        let copy = folder.path().join(time);
        std::fs::copy(folder.path().join("tidegate.redb"), &copy).unwrap();
        let repaired = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&repaired);
        let mut builder = redb::Database::builder();
        builder.set_repair_callback(move |_| seen.store(true, Ordering::Relaxed));
        drop(builder.open(&copy).unwrap());
        assert!(!repaired.load(Ordering::Relaxed), "{time}");
    }
}

#[test]
fn a_second_opening_in_this_process_is_refused_with_the_holders_pid() {
    let folder = tempfile::tempdir().unwrap();
    let _held = open(folder.path());
    let error = refusal(folder.path());
    assert_eq!(error.kind(), ErrorKind::StoreInUse);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

#[test]
fn a_file_of_a_newer_format_is_refused_by_name_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    overwrite(folder.path(), META, b"format", b"2");
    for _ in 0..2 {
        let error = refusal(folder.path());
        assert_eq!(error.kind(), ErrorKind::StoreNewer);
        let text = error.to_string();
        assert!(text.contains("tidegate.redb") && text.contains("format 2"), "{text}");
    }
}

#[test]
fn a_record_of_a_newer_version_is_refused_with_its_table_and_version() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let id = stamp(1, "r").batch_id;
    overwrite(folder.path(), BATCHES, id.to_string().as_bytes(), &[2, 0x80]);
    let error = open(folder.path()).read(|view| view.batch(&id)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreNewer);
    assert!(error.to_string().contains("batches has version 2"), "{error}");
}

#[test]
fn a_damaged_record_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let id = stamp(1, "r").batch_id;
    for bytes in [&[][..], &[0], &[1], &[1, 0xc1], &[1, 0xdf, 0xff, 0xff, 0xff, 0xff]] {
        overwrite(folder.path(), BATCHES, id.to_string().as_bytes(), bytes);
        let error = open(folder.path()).read(|view| view.batch(&id)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreFailed, "{bytes:?}");
    }
}

/// Starts `helper` of this binary on `folder`, under `shell` commands.
fn start(helper: &str, folder: &Path, shell: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let binary = std::env::current_exe().unwrap();
    let mut child = Command::new("bash")
        .args(["-c", &format!("{shell} exec \"$0\" --exact {helper} --ignored --nocapture")])
        .arg(binary)
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines)
}

#[test]
#[ignore = "a helper: writes batches until it is killed"]
fn helper_writes() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = open(Path::new(&folder));
    for n in 0u32.. {
        let batch = filled(&stamp(1, &format!("r{n}")));
        if let Err(error) = store.write(move |tx| tx.put_batch(&batch)) {
            let later = store.write(|_| Ok(())).err().map(|e| e.kind());
            let read = store.read(|view| view.sources()).err().map(|e| e.kind());
            println!("\nstopped {n} {:?} {} {later:?} {read:?}", error.kind(), store.failed());
            return;
        }
        println!("\nwritten {n}");
    }
}

#[test]
fn another_process_is_told_who_holds_the_store_and_takes_over_what_a_killed_one_had_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = start("helper_writes", folder.path(), "");
    let _ = lines.by_ref().find(|line| line == "written 3").expect("the other process writes");

    let error = refusal(folder.path());
    assert_eq!(error.kind(), ErrorKind::StoreInUse);
    assert!(error.to_string().contains(&child.id().to_string()), "{error}");

    child.kill().unwrap();
    child.wait().unwrap();
    let acknowledged = 4 + lines.filter(|line| line.starts_with("written ")).count();
    let store = open(folder.path());
    let batches = store.read(|view| view.unfinished(&source())).unwrap();
    // One more may have become durable without an answer.
    assert!([acknowledged, acknowledged + 1].contains(&batches.len()), "{} of {acknowledged}", batches.len());
    store.write(|tx| tx.put_batch(&pending(&stamp(9, "after")))).unwrap();
}

#[test]
fn after_the_first_io_error_every_call_fails_and_the_store_says_so() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let size = std::fs::metadata(folder.path().join("tidegate.redb")).unwrap().len();
    // A limit on the size of files, in KiB, stands in for a full disk.
    let shell = format!("trap '' XFSZ; ulimit -f {};", size / 1024 + 256);
    let (mut child, mut lines) = start("helper_writes", folder.path(), &shell);
    let end = lines.find(|line| line.starts_with("stopped ")).expect("the limit is met");
    child.wait().unwrap();
    assert!(end.ends_with("StoreFailed true Some(StoreFailed) Some(StoreFailed)"), "{end}");

    // Started again without the limit, it goes on where it was.
    let written: usize = end.split(' ').nth(1).unwrap().parse().unwrap();
    let store = open(folder.path());
    assert_eq!(store.read(|view| view.unfinished(&source())).unwrap().len(), written);
    assert!(!store.failed());
}
